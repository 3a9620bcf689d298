"""Realistic records of any size, made up: ``python -m core generate --students N [--seed S]``.

COPY into a table under FORCE row-level security is refused, and no index or trigger is switched off: the school is made in
chunks of some thousand students, each goes by binary COPY into temporary tables and from there as the worker into the real
ones, while the next one is made. All in one transaction: an interrupted run leaves nothing.

The school is marked with the source ``generated`` and with its sizes and seed, so that a second run knows it.
"""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import Any

from psycopg import Cursor, sql
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core import keys
from core.errors import BadInput, Refused
from core.importers.blocks import HEADER, TRAILER
from core.importers.loading import Progress, leave_out, load, make_months, table_of
from core.importers.made_up import EPOCH, RECENT_DAYS, TOPICS, Catalog, catalog, chunks, instant
from core.importers.made_up_rows import SOURCE, Block, Setting, blocks
from core.importers.made_up_work import learning
from core.importers.sizes import Sizes
from core.models import platform as p
from core.models import privacy as v
from core.models.staff import StaffMember
from core.privacy.audit import Action, append

SCHOOL = (
    p.Program, p.Module, p.Cohort, p.Student, p.StudentProfile, v.Guardian, v.Consent, p.Subscription, p.Payment, p.Visitor, p.VisitorDevice,
    p.Enrollment, p.ModuleProgress, p.Submission, p.CodeReview, p.Result, p.Certificate, p.UsageEvent, p.EmailLog,
)  # fmt: skip
TABLES = tuple(table_of(model).fullname for model in SCHOOL)
MADE_UP = {SOURCE, "seed", "oulad"}
FEWEST, MOST = 100, 10_000_000
MOST_OF = {"visitors": 5.0, "projects": 10, "usage": 500.0, "mails": 20.0}


def prepare(session: Session, sizes: Sizes, *, now: datetime, beside_real_records: bool = False) -> bool:
    """Check that these sizes may be generated here and make the months they need; return False when all is there already.

    In a transaction of its own: making a month locks its table for everybody until the commit. Raises BadInput for sizes
    that cannot be, Refused when the database holds real records, or generated ones of another size or seed.
    """
    _check(sizes)
    if (known := _generated(session)) is not None:
        if known == _mark(sizes):
            return False
        raise Refused(
            "This database already holds generated records of another size, seed or mix. Take an empty database."
        )
    if (real := sorted(_sources(session) - MADE_UP)) and not beside_real_records:
        raise Refused(
            f"This database holds records from {', '.join(real)}. Made-up ones beside them would count in every figure, and "
            "nobody could take them out again. Take another database, or say --beside-real-records.",
            sources=real,
        )
    for table in ("usage_event", "email_log"):
        make_months(session, table, [now - timedelta(days=RECENT_DAYS + 1), now])
    return True


def generate(session: Session, sizes: Sizes, *, now: datetime, progress: Progress | None = None) -> dict[str, int]:
    """Write the school as the worker, behind :func:`prepare`; return the rows written by table."""
    session.execute(text("select pg_advisory_xact_lock(hashtext('resocode generate'))"))
    if _generated(session) is not None:
        raise Refused("Somebody else has just generated records here. Nothing was added.")
    known, instant_ = catalog(sizes, instant(now)), instant(now)
    written = _write_catalog(session, known, sizes, now)
    setting = Setting(known, sizes, instant_, keys.person_hashes(), _owners(session))
    connection: Any = session.connection().connection.driver_connection
    with connection.cursor() as cursor:
        cursor.execute("set local gin_pending_list_limit = '32MB'")
        for made in _ahead(_blocks(setting)):
            for each in made:
                name = table_of(each.model).name
                written[name] = written.get(name, 0) + _write(session, cursor, each, now)
            if progress:
                progress("students", written["student"], sizes.students)
    append(session, Action.IMPORTED, now=now, source=SOURCE, rows=sum(written.values()))
    return written


def _check(sizes: Sizes) -> None:
    if not FEWEST <= sizes.students <= MOST:
        raise BadInput(f"--students takes a number from {FEWEST} to {MOST:,}.")
    if not 0 <= sizes.seed < 2**32:
        raise BadInput("--seed takes a number from 0 to 4,294,967,295.")
    for name, most in MOST_OF.items():
        if not 0 <= getattr(sizes, name) <= most:
            raise BadInput(f"--{name} takes a number from 0 to {most:g}.")


def _mark(sizes: Sizes) -> str:
    return f"{sizes.students}/{sizes.seed}/{sizes.visitors:g}/{sizes.projects}/{sizes.usage:g}/{sizes.mails:g}"


def _generated(session: Session) -> str | None:
    key = session.scalar(select(p.Program.source_key).where(p.Program.source == SOURCE).limit(1))
    return key.rpartition("/")[0] if key else None


def _sources(session: Session) -> set[str]:
    found = [
        session.scalars(select(each).distinct()).all()
        for each in (p.Program.source, p.Student.source, p.Visitor.source)
    ]
    return {source for sources in found for source in sources}


def _owners(session: Session) -> list[bytes]:
    staff = select(StaffMember.id).where(StaffMember.role == "program_staff", StaffMember.disabled_at.is_(None))
    return [each.bytes for each in session.scalars(staff.order_by(StaffMember.id))]


def _write_catalog(session: Session, known: Catalog, sizes: Sizes, now: datetime) -> dict[str, int]:
    """Programs, modules and cohorts: rows enough for COPY as text."""
    return {
        table_of(model).name: load(session, model, columns, list(rows), now=now)
        for model, columns, rows in (
            (p.Program, ("id", "code", "title", "source", "source_key"), _programs(known, sizes)),
            (p.Module, ("id", "program_id", "position", "title", "kind", "due_day", "source"), _modules(known)),
            (
                p.Cohort,
                ("id", "program_id", "code", "title", "starts_on", "ends_on", "seats", "source"),
                _cohorts(known),
            ),
        )
    }


def _programs(known: Catalog, sizes: Sizes) -> Iterator[tuple[Any, ...]]:
    for place, (code, title) in enumerate(zip(known.codes, known.titles, strict=True)):
        yield _id(known.program_id[place]), code, title, SOURCE, f"{_mark(sizes)}/{place}"


def _modules(known: Catalog) -> Iterator[tuple[Any, ...]]:
    for place, many in enumerate(known.modules.tolist()):
        for position in range(many):
            title = f"M{position + 1} {TOPICS[-1 if position == many - 1 else position]}"
            due = round(int(known.weeks[place]) * 7 * (position + 1) / many)
            kind = "project" if known.project[place, position] else "exercise"
            yield (
                _id(known.module_id[place, position]),
                _id(known.program_id[place]),
                position + 1,
                title,
                kind,
                due,
                SOURCE,
            )


def _cohorts(known: Catalog) -> Iterator[tuple[Any, ...]]:
    numbered = zip(
        known.program.tolist(),
        known.number.tolist(),
        known.starts.tolist(),
        known.ends.tolist(),
        known.seats.tolist(),
        strict=True,
    )
    for place, (program, number, starts, ends, seats) in enumerate(numbered):
        yield (
            _id(known.cohort_id[place]), _id(known.program_id[program]), f"{known.codes[program]}-{number:03}",
            f"{known.titles[program]} {number}", _date(starts), _date(ends), seats, SOURCE,
        )  # fmt: skip


def _blocks(setting: Setting) -> Iterator[list[Block]]:
    for chunk in chunks(setting.known, setting.sizes, setting.now):
        learned = learning(setting.known, chunk.enrollments, usage=setting.sizes.usage, now=setting.now, rng=chunk.rng)
        yield list(blocks(chunk, learned, setting))


def _ahead(made: Iterator[list[Block]]) -> Iterator[list[Block]]:
    """Yield the same, and let a thread make the next one meanwhile."""
    with ThreadPoolExecutor(1) as maker:
        upcoming = maker.submit(next, made, None)
        while (ready := upcoming.result()) is not None:
            upcoming = maker.submit(next, made, None)
            yield ready


def _write(session: Session, cursor: Cursor[Any], each: Block, now: datetime) -> int:
    """Write one block through its temporary table; return the rows written."""
    table = table_of(each.model)
    names = sql.SQL(", ").join(map(sql.Identifier, each.columns))
    parts = {
        "stage": sql.Identifier(f"made_up_{table.name}"),
        "names": names,
        "target": sql.Identifier(str(table.schema), table.name),
    }
    cursor.execute(
        sql.SQL(
            "create temporary table if not exists {stage} on commit drop as select {names} from {target} limit 0"
        ).format(**parts)
    )
    with cursor.copy(sql.SQL("copy {stage} ({names}) from stdin (format binary)").format(**parts)) as copy:
        copy.write(HEADER + each.content + TRAILER)
    leave_out(session, table, f"made_up_{table.name}", each.columns, now=now)
    cursor.execute(sql.SQL("insert into {target} ({names}) select {names} from {stage}").format(**parts))
    written = cursor.rowcount
    cursor.execute(sql.SQL("truncate {stage}").format(**parts))
    return written


def _id(raw: Any) -> uuid.UUID:
    return uuid.UUID(bytes=raw.tobytes())


def _date(day: int) -> date:
    return EPOCH.date() + timedelta(days=day)
