"""The suppression list: an erased person's old records do not come back, whoever brings them.

Danger: an old spreadsheet or a late sync brings back who was erased; or a list that is too strict keeps a former student from
signing up again for ever. Principle: keyed hashes of the addresses and provider ids that were theirs, with basis and end; what is
dated after the erasure is of somebody new, what is older is refused, what cannot be told waits for an officer. Mechanism: triggers
on the tables of persons refuse old records (migration 0023); importers ask first (:func:`sift`), so that the rest of an import
goes on.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql
from sqlalchemy import delete, exists, func, select, text
from sqlalchemy.orm import Session

from core import keys
from core.models.base import among, uuid7
from core.models.platform import EmailLog, Student, Visitor
from core.models.proof import Quarantine, Suppression
from core.models.standing import Correction
from core.privacy.audit import Action, append
from core.processors.protocol import Person

MAIL, PROVIDER = "e-mail", "provider id"
WITHOUT_PROVIDER = ("csv",)  # sources that know no id of their own: it is made of the address
QUARANTINED_DAYS = 30
SET_ASIDE, NO_DATE = "set aside", "null::timestamptz"


@dataclass(frozen=True)
class SetAside:
    """What of an import did not go in: records of erased people that were refused, and doubtful ones that wait."""

    refused: int = 0
    waiting: int = 0

    def __add__(self, other: "SetAside") -> "SetAside":
        return SetAside(self.refused + other.refused, self.waiting + other.waiting)

    @property
    def lines(self) -> list[str]:
        """The same in words, for whoever imported; none when everything went in."""
        told = [f"{self.refused:,} left out: records of people who were erased."] if self.refused else []
        wait = "wait in quarantine until a privacy officer has decided: they may be of people who were erased."
        return told + ([f"{self.waiting:,} {wait}"] if self.waiting else [])


NOTHING = SetAside()


def hashes_of(session: Session, person: Person) -> tuple[tuple[str, bytes], ...]:
    """Return every (kind, keyed hash) by which old records of one person are recognized: :func:`hashes_together` for one."""
    return hashes_together(session, [person])[0]


def hashes_together(session: Session, people: Sequence[Person]) -> list[tuple[tuple[str, bytes], ...]]:
    """Return every (kind, keyed hash) by which old records of each person are recognized, as the worker, while they are there.

    Addresses include those that mail went to earlier, and those of forms they left. Forms have to be known (local.known).
    """
    digest = keys.person_hashes()
    found: list[set[tuple[str, bytes]]] = [set() for _ in people]
    students, forms = whose(people)
    for table, owners in ((Student, students), (Visitor, forms)):
        theirs = select(table.id, table.email_hash, table.provider_hash, table.source).where(among(table.id, owners))
        for row in session.execute(theirs) if owners else ():
            for place in owners[row.id]:
                found[place].add((MAIL, row.email_hash))
                if row.source not in WITHOUT_PROVIDER:
                    found[place].add((PROVIDER, row.provider_hash))
    for column, owners in ((EmailLog.student_id, students), (EmailLog.visitor_id, forms)):
        used = select(column, EmailLog.address).where(among(column, owners)).distinct()
        for owner, address in session.execute(used) if owners else ():
            for place in owners[owner] if owner and address else ():
                found[place].add((MAIL, digest(address, "")[0]))
    earlier, never = _replaced(session, students, forms, len(people))
    own = [{(MAIL, each.email_hash)} if each.email_hash else set() for each in people]
    return [tuple(sorted((one | earlier[place]) - never[place] | own[place])) for place, one in enumerate(found)]


def whose(people: Sequence[Person]) -> tuple[dict[uuid.UUID, list[int]], dict[uuid.UUID, list[int]]]:
    """Return the ids of students, and of forms, each with the places in ``people`` that they belong to."""
    students: dict[uuid.UUID, list[int]] = {}
    forms: dict[uuid.UUID, list[int]] = {}
    for place, person in enumerate(people):
        if person.kind == "student":
            students.setdefault(person.id, []).append(place)
        for form in person.forms:
            forms.setdefault(form, []).append(place)
    return students, forms


def _replaced(
    session: Session, students: dict[uuid.UUID, list[int]], forms: dict[uuid.UUID, list[int]], many: int
) -> tuple[list[set[tuple[str, bytes]]], list[set[tuple[str, bytes]]]]:
    """Addresses that a correction replaced: those that were theirs until then, and those that never were."""
    earlier: list[set[tuple[str, bytes]]] = [set() for _ in range(many)]
    never: list[set[tuple[str, bytes]]] = [set() for _ in range(many)]
    asked = select(Correction.student_id, Correction.visitor_id, Correction.old_hash, Correction.reason).where(
        among(Correction.student_id, students) | among(Correction.visitor_id, forms), Correction.state == "in force")  # fmt: skip
    for row in session.execute(asked):
        if row.old_hash:
            kept = never if row.reason == "never theirs" else earlier
            for place in {*students.get(row.student_id, ()), *forms.get(row.visitor_id, ())}:
                kept[place].add((MAIL, row.old_hash))
    return earlier, never


def suppress(
    session: Session, *, erasure_id: uuid.UUID, hashes: Sequence[tuple[str, bytes]], basis: str, until: datetime, now: datetime,
) -> int:  # fmt: skip
    """Keep one person's hashes out until ``until``: :func:`suppress_together` for one; return how many are new."""
    return suppress_together(session, [(erasure_id, hashes, until)], basis=basis, now=now)


def suppress_together(
    session: Session,
    listed: Sequence[tuple[uuid.UUID, Sequence[tuple[str, bytes]], datetime]],
    *,
    basis: str,
    now: datetime,
) -> int:
    """Keep out, for what is dated ``now`` or before, the hashes of each (erasure id, hashes, until); return how many are new.
    Again: nothing.

    A record that waits in quarantine under one of them is discarded: its person is erased now.
    """
    rows = [(uuid7(), hash_, kind, erasure_id, until) for erasure_id, hashes, until in listed for kind, hash_ in hashes]
    if not rows:
        return 0
    told = dict(zip(("ids", "hashes", "kinds", "erasures", "untils"), map(list, zip(*rows, strict=True)), strict=True))
    added = session.execute(text(SUPPRESS), told | {"now": now, "basis": basis}).all()
    waiting = select(Quarantine).where(
        Quarantine.decision.is_(None), among(Quarantine.email_hash, {row[1] for row in rows})
    )
    for kept in session.scalars(waiting.order_by(Quarantine.id).with_for_update()):
        kept.decision, kept.record, kept.reason, kept.decided_at = "discarded", None, "erased meanwhile", now
    session.flush()
    return len(added)


def sift(
    session: Session, stage: str, person: str, *, source: str, now: datetime, dated: str = NO_DATE, only: str = "true",
    more: str = "'{}'::jsonb", only_count: bool = False,
) -> SetAside:  # fmt: skip
    """Take what may not come in out of a temporary table, as the worker, before its rows become students or visitors.

    SQL about a row ``s`` of it: ``dated`` says when each signed up, ``only`` which rows would be new, ``more`` what else belongs
    into a quarantined record, which takes the columns that the table of persons has. Writes a line into the audit when
    something was set aside; with ``only_count``, for a dry run, nothing is kept.
    """
    names = {
        "stage": sql.Identifier(stage), "dated": sql.SQL(dated), "only": sql.SQL(only), "more": sql.SQL(more),
        "judged": sql.Identifier(f"judged_{stage}"), "person": sql.Literal(person), "source": sql.Literal(source),
        "now": sql.Literal(now), "until": sql.Literal(now + timedelta(days=QUARANTINED_DAYS)),
    }  # fmt: skip
    with session.connection().connection.driver_connection.cursor() as cursor:  # type: ignore[union-attr]
        if not cursor.execute("select exists (select from privacy.suppression)").fetchone()[0]:
            return NOTHING
        for statement in (JUDGE, *([] if only_count else [QUARANTINE])):
            cursor.execute(sql.SQL(statement).format(**names))
        counted = dict(cursor.execute(sql.SQL(COUNT).format(**names)).fetchall())
        for statement in (LEAVE_OUT, FORGET):
            cursor.execute(sql.SQL(statement).format(**names))
    made = SetAside(refused=counted.pop("old", 0), waiting=sum(counted.values()))
    if made != NOTHING:
        session.info[SET_ASIDE] = session.info.get(SET_ASIDE, NOTHING) + made
        if not only_count:
            append(
                session, Action.RECORDS_SET_ASIDE, now=now, source=source, refused=made.refused, waiting=made.waiting
            )
    return made


def set_aside(session: Session) -> SetAside:
    """Return what was set aside in this session so far."""
    found = session.info.get(SET_ASIDE, NOTHING)
    assert isinstance(found, SetAside)
    return found


def suppression_over(session: Session, now: datetime) -> list[str]:
    """Return "suppression list" when entries have expired, and "quarantine" when records have waited too long."""
    over = {
        "suppression list": exists().where(Suppression.until <= now),
        "quarantine": exists().where(Quarantine.decision.is_(None), Quarantine.until <= now),
    }
    return [name for name, there in over.items() if session.scalar(select(there))]


def drop_expired(session: Session, *, now: datetime) -> dict[str, int]:
    """Forget, as the worker, entries whose time is over, and empty records that nobody decided about in time."""
    gone = session.execute(delete(Suppression).where(Suppression.until <= now).returning(Suppression.id)).all()
    late = (
        select(Quarantine)
        .where(Quarantine.decision.is_(None), Quarantine.until <= now)
        .with_for_update(skip_locked=True)
    )
    expired = session.scalars(late).all()
    for kept in expired:
        kept.decision, kept.record, kept.reason, kept.decided_at = "expired", None, "nobody decided in time", now
    session.flush()
    if gone or expired:
        append(session, Action.SUPPRESSION_ENDED, now=now, entries=len(gone), records=len(expired))
    return {"entries": len(gone), "records": len(expired)}


def kept_hashes(session: Session, erasure_id: uuid.UUID) -> tuple[tuple[bytes, datetime], ...]:
    """Return the hashes that an erasure left in the list, each with its end."""
    mine = (
        select(Suppression.hash, Suppression.until)
        .where(Suppression.erasure_id == erasure_id)
        .order_by(Suppression.hash)
    )
    return tuple((row.hash, row.until) for row in session.execute(mine))


def entries(session: Session, erasure_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[int, datetime | None]]:
    """Return how many entries each erasure left in the list, and until when; one that left none is not named."""
    mine = select(Suppression.erasure_id, func.count(), func.max(Suppression.until)).where(
        among(Suppression.erasure_id, erasure_ids)
    )
    return {row[0]: (int(row[1]), row[2]) for row in session.execute(mine.group_by(Suppression.erasure_id))}


SUPPRESS = """
    insert into privacy.suppression (id, hash, kind, erasure_id, erased_at, basis, until)
    select n.id, n.hash, n.kind, n.erasure_id, :now, :basis, n.until from unnest(cast(:ids as uuid[]), cast(:hashes as bytea[]),
        cast(:kinds as text[]), cast(:erasures as uuid[]), cast(:untils as timestamptz[])) n(id, hash, kind, erasure_id, until)
    on conflict do nothing returning id
"""
JUDGE = """
    create temporary table {judged} on commit drop as
    select s.ctid as place, v.verdict, v.erased, {dated} as dated
    from pg_temp.{stage} s, lateral privacy.old_record(s.email_hash, s.provider_hash, {dated}, {now}) v
    where exists (select from privacy.suppression x where x.hash in (s.email_hash, s.provider_hash)) and v.verdict is not null and ({only})"""
QUARANTINE = """
    insert into privacy.quarantine (id, person, email_hash, provider_hash, record, why, dated_at, erased_at, source, found_at, until)
    select gen_random_uuid(), {person}, s.email_hash, s.provider_hash, (
            select jsonb_object_agg(e.key, e.value) from jsonb_each(to_jsonb(s) || {more} || jsonb_build_object('source', {source}::text)) e
            join information_schema.columns c on c.table_schema = 'platform' and c.table_name = {person} and c.column_name = e.key),
        j.verdict, j.dated, j.erased, {source}, {now}, {until}
    from pg_temp.{judged} j join pg_temp.{stage} s on s.ctid = j.place where j.verdict <> 'old'
    on conflict (person, email_hash, provider_hash) where decision is null do nothing"""
COUNT = "select verdict, count(*) from pg_temp.{judged} group by 1"
LEAVE_OUT = "delete from pg_temp.{stage} s using pg_temp.{judged} j where s.ctid = j.place"
FORGET = "drop table pg_temp.{judged}"
