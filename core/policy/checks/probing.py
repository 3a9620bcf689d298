"""Live probes: the dashboard's own database role, in the name of real members of staff, sees exactly what the matrix says.

Danger: a policy of row-level security is loosened and nobody notices, because the screens look the same. Principle: what may be
seen is tried, not read from a definition. Mechanism: a connection of the dashboard's role in a transaction that cannot write says
it is a member (``app.staff_id``), and asks each table whether there is a row that this member must not see. Up to 25 members of
each role are tried in a run, others the next day; nothing that was read is kept but "yes" or "no".

Whoever may see nothing of a table is told so only after the whole of it was read, and that would be every table for every member.
So of a large table :func:`chosen` takes :data:`ROWS` rows at random, others each time, and asks for those by their key: a rule that
was loosened for one row in a hundred is found in a run with a probability of 87 %, within a day for sure enough. What is small is
asked for whole; learning tables always are, because their policies go by an index.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from core import db
from core.models.base import Base
from core.models.data_map import data_map
from core.models.ways import PERSONS, ways_to
from core.policy.checks.asking import rows

OF_EACH_ROLE = 25
SMALL, ROWS = 2_000_000, 200  # bytes; by size, because statistics are missing after an import
MEMBERS = """
select m.id, m.role, coalesce(array_agg(a.cohort_id) filter (where a.id is not null and m.role in ('instructor', 'mentor')), '{}')
from staff.staff_member m
left join staff.assignment a on a.staff_id = m.id
    and (now() at time zone 'UTC')::date between a.starts_on and coalesce(a.ends_on, 'infinity')
where m.disabled_at is null
group by m.id order by m.role, md5(m.id::text || :salt)"""
QUESTION = "select exists (select from {table} where {rule})"
DRAWN = "select {key} from (select {key} from {table} tablesample system ({share})) t where {key} is not null order by random() limit {most}"
SIZES = """
select n.nspname || '.' || c.relname as place, sum(pg_relation_size(p.oid)) as bytes,
    sum(pg_relation_size(p.oid)) / current_setting('block_size')::int as pages
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_class p on p.oid = c.oid or p.oid in (select i.inhrelid from pg_inherits i where i.inhparent = c.oid)
where n.nspname || '.' || c.relname = any(:tables) and has_any_column_privilege('resocode_app', c.oid, 'select') group by 1"""
PEOPLE = frozenset(("platform.student", "platform.student_profile", "platform.visitor"))
OPEN_REQUEST = (
    "{key} not in (select r.{person}_id from privacy.request r where r.closed_at is null and r.{person}_id is not null)"
)


@dataclass(frozen=True)
class Member:
    """Somebody in whose name the database is asked; ``cohorts`` are those assigned today."""

    id: uuid.UUID | None
    role: str
    cohorts: tuple[uuid.UUID, ...] = ()


def members(session: Session, now: datetime) -> list[Member]:
    """Return up to 25 members of each role, another choice every day; and nobody, and somebody who does not exist."""
    found: dict[str, list[Member]] = {}
    for row in rows(session, MEMBERS, salt=f"{now:%Y-%m-%d}"):
        found.setdefault(row[1], []).append(Member(row[0], row[1], tuple(row[2])))
    chosen = [member for of_role in found.values() for member in of_role[:OF_EACH_ROLE]]
    return [*chosen, Member(None, "nobody"), Member(uuid.uuid4(), "an unknown account")]


def learning_tables() -> tuple[str, ...]:
    """Return the tables that hold what belongs to an enrollment: learning data, by the labels."""
    return tuple(sorted({each.table for each in data_map() if each.reaches == "enrollment_id"}))


def person_tables() -> frozenset[str]:
    """Return every table with rows about a student or visitor."""
    return frozenset(table for person in PERSONS for table in ways_to(person))


def forbidden(member: Member) -> dict[str, str]:
    """Return table → condition of the rows that a member must not see, for every table about people.

    This is the matrix of who sees what (docs/privacy.md): a table that nobody thought of here is closed to everybody but
    privacy officers, who work on requests, and then only if it is one of theirs.
    """
    learning, tables = set(learning_tables()), person_tables()
    allowed: Mapping[str, str]
    if member.role == "program_staff":
        allowed = dict.fromkeys(PEOPLE | {"platform.enrollment", "platform.follow_up"}, "false")
    elif member.role in ("instructor", "mentor"):
        not_mine = "not (cohort_id = any(:cohorts))"
        of_nobody = "id not in (select e.student_id from platform.enrollment e where e.cohort_id = any(:cohorts))"
        allowed = {**dict.fromkeys(learning | {"platform.enrollment"}, not_mine), "platform.student": of_nobody}
    elif member.role == "privacy_officer":
        allowed = {
            **{table: "false" for table in tables if table.startswith("privacy.")},
            "platform.student": OPEN_REQUEST.format(key="id", person="student"),
            "platform.student_profile": OPEN_REQUEST.format(key="student_id", person="student"),
            "platform.visitor": OPEN_REQUEST.format(key="id", person="visitor"),
        }
    else:
        allowed = {}
    return {table: allowed.get(table, "true") for table in sorted(tables)}


@dataclass(frozen=True)
class Chosen:
    """What is asked of a table: all of it (no ``ids``), or the rows with these values in ``key``."""

    key: str = ""
    ids: tuple[uuid.UUID, ...] = ()


def chosen(session: Session) -> dict[str, Chosen]:
    """Return, as the worker, table → what is asked of it: of a large one some rows at random. A table that the dashboard's role has no
    right to read at all is left out: it shows nothing."""
    found = {}
    for place, size, pages in rows(session, SIZES, tables=sorted(person_tables())):
        key = Base.metadata.tables[place].info["privacy"].reaches
        if size <= SMALL or not key:
            found[place] = Chosen()
            continue
        share = min(100.0, 100 * ROWS / max(int(pages), 1))  # so many pages; of each page some rows
        drawn = rows(session, DRAWN.format(key=key, table=place, share=f"{share:.6f}", most=ROWS))
        found[place] = Chosen(key, tuple(dict.fromkeys(row[0] for row in drawn)))
    return found


def seen(member: Member, asked: Mapping[str, str], of: Mapping[str, Chosen] | None = None) -> list[str]:
    """Return the tables in which a member sees a row that fulfils the condition. A refused table shows nothing.

    ``of`` says which rows are asked for, by table; without it, all of them are.
    """
    wanted = {table: rule for table, rule in asked.items() if rule != "false" and (of is None or table in of)}
    with db.transaction("app", staff_id=member.id) as session:
        session.execute(text("set transaction read only"))
        session.execute(
            text("set local statement_timeout = '20s'")
        )  # whoever sees nothing is told so after a whole scan
        whole = Chosen()
        return [
            table
            for table, rule in wanted.items()
            if _is_seen(session, table, rule, member, of[table] if of else whole)
        ]


def _is_seen(session: Session, table: str, rule: str, member: Member, of: Chosen) -> bool:
    values: dict[str, object] = {"cohorts": list(member.cohorts)} if ":cohorts" in rule else {}
    if of.key:
        rule, values = f"{of.key} = any(:ids) and {rule}", values | {"ids": list(of.ids)}
    try:
        with session.begin_nested():
            return bool(session.scalar(text(QUESTION.format(table=table, rule=rule)), values))
    except ProgrammingError as error:
        if "permission denied" in str(error.orig):
            return False
        raise


def of_roles(found: Iterable[Member]) -> str:
    """Return who was asked in words: ``2 admins, 1 auditor …``."""
    counts: dict[str, int] = {}
    for member in found:
        counts[member.role] = counts.get(member.role, 0) + 1
    return ", ".join(f"{count} {role.replace('_', ' ')}" for role, count in counts.items())
