"""What is done with a staged batch of the platform's documents: one statement for all its rows, put together from constant parts.

``pg_temp.doc_<table>`` holds one row for each document, as core.importers.mongodb_rows has read it. :func:`ready` joins it with the rows
it hangs on and with the row it became before, into ``pg_temp.ready_<table>``, and says with a code what cannot be taken; :func:`merge`
adds and changes. Parameters: ``now``, ``today``, ``adults_born``. A row that says the same already is not touched.
"""

from collections.abc import Mapping

from core.models.base import Base
from core.processors.mongodb_mapping import Collection, Table
from core.processors.mongodb_tables import Kind

TYPES = {
    Kind.LINE: "text", Kind.TEXT: "text", Kind.EMAIL: "text", Kind.LINK: "text", Kind.WORD: "text", Kind.MOMENT: "timestamptz",
    Kind.DAY: "date", Kind.NUMBER: "bigint", Kind.DECIMAL: "numeric", Kind.YES: "boolean",
}  # fmt: skip
NO_PARENT, TWICE, ADDRESS_TAKEN, ERASED = (
    "parent missing",
    "there already",
    "address taken",
    "address of an erased person",
)
# An account that was closed here is opened again by a document only if the platform had learned of the closing before.
_REOPENS = """r.account_status = 'open' and r.changed > p.closed_at and not exists (
    select from privacy.request q where q.student_id = p.id and q.kind = 'delete' and q.closed_at is null and q.source <> 'platform'
      and not exists (select from privacy.propagation g where g.request_id = q.id and g.processor = 'MongoDB Atlas'
                      and g.what in ('sign-in off', 'close') and g.state = 'done' and g.done_at < r.changed))"""
# A closing that was dealt with here (the account was opened again after it) does not close the account once more.
_CLOSES = """r.account_status = 'closed' and p.account_status = 'open' and not exists (
    select from privacy.request q where q.student_id = p.id and q.kind = 'delete' and q.closed_at > coalesce(r.closed_at, r.changed))"""
_CALENDAR = """case when s.withdrawn_at is not null then 'withdrawn' when co.starts_on > :today then 'registered'
    when co.ends_on < :today then 'ended' else 'active' end"""
_STARTED = """case when co.starts_on::timestamp at time zone 'UTC' <= coalesce(s.withdrawn_at, :now)
    then greatest(co.starts_on::timestamp at time zone 'UTC', s.enrolled_at) end"""


def stage(table: Table) -> str:
    """Make the table that the rows of a batch are copied into."""
    typed = {"document": "text", "changed": "timestamptz", "id": "uuid"}
    typed |= {each.column: TYPES[table.column(each.column).kind] for each in table.fields}
    typed |= {f"ref_{name}": "text" for name in table.references}
    if table.target.person:
        typed |= {"email_hash": "bytea", "provider_hash": "bytea"}
    listed = ", ".join(f"{name} {kind}" for name, kind in typed.items())
    return f"create temporary table doc_{table.name} ({listed}) on commit drop"


def ready(collection: Collection, table: Table) -> str:
    """Join the staged rows with their parents and with what is there; ``why`` and ``place`` say what cannot be taken."""
    joins, parents, missing = _joined(table)
    mine, own = _mine(table)
    more = ", ".join(["", *parents, *_more(table)])
    code, field = _judged(table, missing)
    return f"""
        create temporary table ready_{table.name} on commit drop as
        select j.*, {code} as why, {field} as place from (
            select {_plain(table)}, {own} as id{more}
            from pg_temp.doc_{table.name} s {joins} {mine}) j"""


def misfits(table: Table) -> str:
    """Take out what cannot be taken; returns document, why and place of each."""
    return f"delete from pg_temp.ready_{table.name} where why is not null returning document, why, place"


def merge(table: Table) -> tuple[str, ...]:
    """Add and change rows; each statement returns one row for each, with ``added``."""
    return SPECIAL[table.name](table) if table.name in SPECIAL else (_upsert(table),)


def _upsert(table: Table, keep: Mapping[str, str] | None = None) -> str:
    """The common way: a row by its primary key; what is there is changed where it differs. ``keep`` says how, for some columns."""
    columns = _written(table)
    model = Base.metadata.tables[f"platform.{table.name}"]
    keys = [column.name for column in model.primary_key]
    free = [name for name in columns if name not in keys]
    new = {name: (keep or {}).get(name, f"excluded.{name}") for name in free}
    added = "(xmax = 0)"
    if table.name == "usage_event":
        then, added = "do nothing", "true"
    else:
        before, after = ", ".join(f"t.{name}" for name in free), ", ".join(new.values())
        alive = " and t.tombstone_id is null" if table.name == "payment" else ""
        then = f"do update set {', '.join(f'{name} = {value}' for name, value in new.items())} where ({before}) is distinct from ({after}){alive}"
    return f"""
        insert into platform.{table.name} as t ({", ".join(columns)}) select {", ".join(columns.values())} from pg_temp.ready_{table.name} r
        on conflict ({", ".join(keys)}) {then} returning {added} as added"""


def _written(table: Table) -> dict[str, str]:
    """Every column that is written, and from where."""
    model = Base.metadata.tables[f"platform.{table.name}"]
    given = {each.column for each in table.fields} | {f"{name}_id" for name in table.references}
    given |= {
        "id",
        "email_hash",
        "provider_hash",
        "enrollment_id",
        "cohort_id",
        "program_id",
        "status",
        "started_at",
    } & _made(table)
    found = {column.name: f"r.{column.name}" for column in model.columns if column.name in given}
    if "source" in model.columns:
        found["source"] = "'mongodb'"
    if "source_key" in model.columns:
        found["source_key"] = "r.document"
    return found


def _made(table: Table) -> set[str]:
    """Columns that follow from the parents."""
    made = {"id"}
    if table.target.person:
        made |= {"email_hash", "provider_hash"}
    if "enrollment" in table.target.references or table.name == "code_review":
        made |= {"enrollment_id", "cohort_id"}
    if table.name == "enrollment":
        made |= {"program_id", "status", "started_at"}
    return made


def _plain(table: Table) -> str:
    names = ["document", "changed", *(each.column for each in table.fields)]
    if table.target.person:
        names += ["email_hash", "provider_hash"]
    return ", ".join(f"s.{name}" for name in names)


def _joined(table: Table) -> tuple[str, list[str], dict[str, str]]:
    """The rows a document hangs on: joins, the columns they give, and by which reference each that must be there is found."""
    joins, columns, missing = [], [], {}
    names = {name: f"p_{name}" for name in table.references}
    for name, alias in names.items():
        if name != "enrollment":
            joins.append(
                f"left join platform.{name} {alias} on {alias}.source = 'mongodb' and {alias}.source_key = s.ref_{name}"
            )
    if "enrollment" in names:
        joins.append("left join platform.enrollment e on e.source = 'mongodb' and e.source_key = s.ref_enrollment")
    elif "enrollment" in table.target.references:
        joins.append("left join platform.enrollment e on e.student_id = p_student.id and e.cohort_id = p_cohort.id")
    for name, alias in names.items():
        if name not in ("enrollment",) and not (
            "enrollment" in table.target.references and name in ("student", "cohort")
        ):
            columns.append(f"{alias}.id as {name}_id")
            missing[f"{name}_id"] = name
    if "enrollment" in table.target.references:
        columns += ["e.id as enrollment_id", "e.cohort_id as cohort_id"]
        missing["enrollment_id"] = "enrollment" if "enrollment" in names else "student"
    if table.name == "code_review":
        columns += ["p_submission.enrollment_id", "p_submission.cohort_id"]
    if table.name == "enrollment":
        joins.append("left join platform.cohort co on co.id = p_cohort.id")
        columns += ["co.program_id as program_id", f"{_CALENDAR} as status", f"{_STARTED} as started_at"]
    optional = {f"{name}_id" for name in table.target.optional if name in names}
    missing = {column: table.references[name] for column, name in missing.items() if column not in optional}
    if "cohort" in table.target.optional and "cohort" in names:
        missing["cohort_id or s.ref_cohort is null"] = table.references["cohort"]
        columns.append("s.ref_cohort")
    return " ".join(joins), columns, missing


def _mine(table: Table) -> tuple[str, str]:
    """The row that this document became before, or that another import brought: how it is found, and its id."""
    if table.target.own != "key":
        return "", "s.id"
    found = f"left join platform.{table.name} mine on mine.source = 'mongodb' and mine.source_key = s.document"
    if adopted := ADOPTED.get(table.name):
        return (
            f"{found} left join platform.{table.name} other on mine.id is null and other.source <> 'mongodb' and {adopted}",
            "coalesce(mine.id, other.id, s.id)",
        )
    return found, "coalesce(mine.id, s.id)"


def _more(table: Table) -> list[str]:
    if table.name == "student":
        return ["mine.email_hash as email_before", "mine.id is not null or other.id is not null as known"]
    return []


def _judged(table: Table, missing: Mapping[str, str]) -> tuple[str, str]:
    codes, fields = [], []
    for column, path in missing.items():
        test = "j.cohort_id is null and j.ref_cohort is not null" if " or " in column else f"j.{column} is null"
        codes.append(f"when {test} then '{NO_PARENT}'")
        fields.append(f"when {test} then '{path}'")
    taken = ADDRESS_TAKEN if table.name == "student" else TWICE
    for unique in table.target.natural:
        same = " and ".join(f"x.{name} = j.{name}" for name in unique)
        there = f"exists (select from platform.{table.name} x where {same} and x.id <> j.id)"
        again = f"row_number() over (partition by {', '.join(f'j.{name}' for name in unique)} order by j.changed desc nulls last, j.document) > 1"
        codes.append(f"when {there} or {again} then '{taken}'")
        path = next(
            (each.path for each in table.fields if each.column in (unique[0], "email")),
            next(iter(table.references.values()), ""),
        )
        fields.append(f"when {there} or {again} then '{path}'")
    if table.name == "student":
        old = "(privacy.old_record(j.email_hash, j.provider_hash, j.registered_at, :now)).verdict is not null"
        codes.append(f"when j.known and j.email_hash is distinct from j.email_before and {old} then '{ERASED}'")
    if not codes:
        return "null::text", "''"
    return f"case {' '.join(codes)} end", f"case {' '.join(fields)} else '' end" if fields else "''"


ADOPTED = {
    "student": "other.email_hash = s.email_hash",
    "enrollment": "other.student_id = p_student.id and other.cohort_id = p_cohort.id",
    "program": "other.code = s.code",
    "cohort": "other.code = s.code",
}
# A corrected value holds against every document that is older than the decision, or than the platform's having it; until the platform
# has it, also against a newer one that still says what was wrong. What the document says otherwise is news, and is taken.
_CORRECTED = """exists (select from privacy.correction c where c.record_id = {record} and c.state = 'in force'
      and c.field = 'platform.{table}.{name}' and c.new_value is not distinct from {here}
      and (coalesce({changed} <= c.decided_at, false) or exists (
          select from privacy.propagation g where g.request_id = c.request_id and g.processor = 'MongoDB Atlas' and g.what = 'correct'
            and g.state <> 'canceled' and (g.state <> 'done' or coalesce({changed} <= g.done_at, true))
            and lower(c.old_value) is not distinct from lower({there}))))"""
LEAVING = "delete from pg_temp.doc_visitor s using privacy.sync_erasure e where e.document = s.document"
OPTED_OUT = "privacy.has_opted_out(p.id)"


def _unless_corrected(
    table: str, name: str, *, record: str, here: str, there: str, changed: str, judged: str | None = None
) -> str:
    """The value that stays: what is here when it was corrected, else what the document says. ``judged``: the column that decides."""
    of = judged or name
    corrected = _CORRECTED.format(
        record=record, table=table, name=of, here=f"{here}.{of}", there=f"{there}.{of}", changed=changed
    )
    return f"case when {corrected} then {here}.{name} else {there}.{name} end"


def _student(table: Table) -> tuple[str, ...]:
    given = {each.column for each in table.fields}
    names = [*(each.column for each in table.fields), "email_hash", "provider_hash"]
    add = f"""
        insert into platform.student (id, {", ".join(names)}, source, source_key)
        select r.id, {", ".join(f"r.{name}" for name in names)}, 'mongodb', r.document from pg_temp.ready_student r where not r.known
        returning true as added"""
    how = {"record": "p.id", "here": "p", "there": "r", "changed": "r.changed"}
    own = {"name": "name", "email": "email", "email_hash": "email", "experience_level": "experience_level"}
    corrected = {name: _unless_corrected("student", name, judged=by, **how) for name, by in own.items() if by in given}
    plain = {"registered_at": "r.registered_at"} if "registered_at" in given else {}
    new = {**corrected, **plain, "provider_hash": "r.provider_hash", "source": "'mongodb'", "source_key": "r.document"}
    if {"account_status", "closed_at"} <= given:
        new["account_status"] = (
            f"case when {_CLOSES} then 'closed' when p.account_status = 'closed' and {_REOPENS} then 'open' else p.account_status end"
        )
        new["closed_at"] = f"case when {_CLOSES} then coalesce(r.closed_at, r.changed, :now) when p.account_status = 'closed' and {_REOPENS} then null else p.closed_at end"  # fmt: skip
    change = f"""
        update platform.student t set {", ".join(f"{name} = n.{name}" for name in new)}
        from (select p.id, {", ".join(f"{value} as {name}" for name, value in new.items())} from pg_temp.ready_student r
              join platform.student p on p.id = r.id where r.known) n
        where t.id = n.id and ({", ".join(f"t.{name}" for name in new)}) is distinct from ({", ".join(f"n.{name}" for name in new)})
        returning false as added"""
    return add, change


def _profile(table: Table) -> tuple[str, ...]:
    given = [each.column for each in table.fields]
    how = {"record": "p.id", "here": "t", "there": "r", "changed": "r.changed"}
    kept = {name: _unless_corrected("student_profile", name, **how) for name in given if name != "opted_out_at"}
    if "opted_out_at" in given:
        kept["opted_out_at"] = (
            f"case when {OPTED_OUT} then coalesce(t.opted_out_at, r.opted_out_at) else r.opted_out_at end"
        )
    add = f"""
        insert into platform.student_profile (student_id, {", ".join(given)}) select r.student_id, {", ".join(f"r.{name}" for name in given)}
        from pg_temp.ready_student_profile r on conflict (student_id) do nothing returning true as added"""
    change = f"""
        update platform.student_profile o set {", ".join(f"{name} = n.{name}" for name in kept)}
        from (select p.id, {", ".join(f"{value} as {name}" for name, value in kept.items())} from pg_temp.ready_student_profile r
              join platform.student p on p.id = r.student_id join platform.student_profile t on t.student_id = p.id) n
        where o.student_id = n.id and ({", ".join(f"o.{name}" for name in kept)}) is distinct from ({", ".join(f"n.{name}" for name in kept)})
        returning false as added"""
    return add, change


# Every student has a consent record, also one whose document says nothing of an age.
NO_AGE = """
    insert into privacy.consent (student_id, state, source) select r.id, 'not needed', 'mongodb' from pg_temp.ready_student r
    on conflict (student_id) do nothing"""


def _consent(table: Table) -> tuple[str, ...]:
    """An age that is on record is not changed by a document; one that is not is written down: of minors the day, of others that
    they are of age."""
    given = {each.column for each in table.fields}
    born, adult = (
        "r.birth_date" if "birth_date" in given else "null::date",
        "r.adult" if "adult" in given else "null::boolean",
    )
    told = f"({born} is not null or {adult} is not null)"
    return (
        f"""
        insert into privacy.consent as c (student_id, birth_date, adult, declared_at, state, source)
        select r.student_id, case when {born} > :adults_born then {born} end,
            case when {born} <= :adults_born then true when {born} is null then {adult} end, coalesce(r.changed, :now),
            case when {born} > :adults_born or not {adult} then 'missing' else 'not needed' end, 'mongodb'
        from pg_temp.ready_consent r where {told}
        on conflict (student_id) do update set birth_date = excluded.birth_date, adult = excluded.adult,
            declared_at = excluded.declared_at, state = excluded.state
        where c.birth_date is null and c.adult is null and c.state = 'not needed' returning null::boolean as added""",
    )


def _enrollment(table: Table) -> tuple[str, ...]:
    """A withdrawal is a result, too, as everywhere else."""
    keep = {
        "confirmed_at": "coalesce(excluded.confirmed_at, t.confirmed_at)",
        "started_at": "coalesce(t.started_at, excluded.started_at)",
    }
    withdrawn = """
        insert into platform.result (enrollment_id, cohort_id, kind, decided_at, source)
        select r.id, r.cohort_id, 'withdrawn', r.withdrawn_at, 'mongodb' from pg_temp.ready_enrollment r where r.withdrawn_at is not null
        on conflict (enrollment_id) do nothing returning null::boolean as added"""
    return (_upsert(table, keep), *([withdrawn] if any(each.column == "withdrawn_at" for each in table.fields) else []))


def _visitor(table: Table) -> tuple[str, ...]:
    given = {each.column for each in table.fields}
    changed = "(select r.changed from pg_temp.ready_visitor r where r.id = t.id)"
    how = {"record": "t.id", "here": "t", "there": "excluded", "changed": changed}
    own = {name: name for name in ("name", "email", "phone", "message", "experience_level")} | {"email_hash": "email"}
    keep = {name: _unless_corrected("visitor", name, judged=by, **how) for name, by in own.items() if by in given}
    return (_upsert(table, keep),)


SPECIAL = {
    "visitor": _visitor,
    "student": _student,
    "student_profile": _profile,
    "consent": _consent,
    "enrollment": _enrollment,
}


# -- what is gone there ----------------------------------------------------------------------------------------------------


def of_platform(table: str, alias: str = "t") -> str:
    """Which rows of a table came from the platform."""
    model = Base.metadata.tables[f"platform.{table}"]
    if "source" in model.columns:
        return f"{alias}.source = 'mongodb'"
    return f"exists (select from platform.enrollment e where e.id = {alias}.enrollment_id and e.source = 'mongodb')"


def gone(table: Table) -> str:
    """The ids of rows whose document was not among all ids that are there (``pg_temp.swept``)."""
    same = "x.document = t.source_key" if table.target.own == "key" else "x.id = t.id"
    closed = " and t.account_status = 'open'" if table.name == "student" else ""
    return f"""
        select t.id from platform.{table.name} t where {of_platform(table.name)}{closed}
          and not exists (select from pg_temp.swept x where {same})"""


def not_here(table: Table) -> str:
    """The keys of documents that are there and have neither a row nor a misfit here."""
    same = "t.source_key = x.document" if table.target.own == "key" else "t.id = x.id"
    return f"""
        select x.key from pg_temp.swept x where not exists (select from platform.{table.name} t where {of_platform(table.name)} and {same})
          and not exists (select from privacy.sync_misfit m where m.id = x.id) limit :most"""


HELD = {
    "student_id": "exists (select from privacy.legal_hold h where h.released_at is null and h.student_id = t.student_id)",
    "enrollment_id": """exists (select from privacy.legal_hold h join platform.enrollment e on e.student_id = h.student_id
        where h.released_at is null and e.id = t.enrollment_id)""",
    "visitor": "exists (select from privacy.legal_hold h where h.released_at is null and h.visitor_id = t.id)",
}


def held(table: str) -> str:
    """Which rows of a table (alias ``t``) a legal hold keeps."""
    columns = Base.metadata.tables[f"platform.{table}"].columns
    if table == "visitor":
        return f"({HELD['visitor']} or exists (select from privacy.request q where q.visitor_id = t.id))"
    return next((HELD[name] for name in ("student_id", "enrollment_id") if name in columns), "false")
