"""The synthetic records of ``data/seed``: small, hostile in its names, and always fresh.

Days in the files are offsets from the day of seeding, so the running cohorts always run. That day is kept by the cohorts
themselves: seeding again on a later day changes nothing.

The header of a file says everything: ``key`` is the row's own key, ``student``, ``cohort``, … are keys of other rows,
``…_at`` and ``…_on`` are offsets in days; the rest goes in as it stands.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import keys
from core.importers.loading import Record, load, make_months, records, stable_id, table_of
from core.importers.statuses import refresh_statuses
from core.models import platform as p
from core.models import privacy as v
from core.models import requests as q
from core.models.base import Base
from core.policy import in_force
from core.policy.clock import add_months
from core.privacy.audit import Action, append
from core.privacy.deletion import put_up_plans
from core.processors.manual import Manual
from core.processors.protocol import Change, Person
from core.settings import ROOT

SOURCE = "seed"
FOLDER = ROOT / "data" / "seed"
FILES: tuple[tuple[str, type[Base]], ...] = (
    ("programs", p.Program),
    ("cohorts", p.Cohort),
    ("modules", p.Module),
    ("students", p.Student),
    ("student_profiles", p.StudentProfile),
    ("guardians", v.Guardian),
    ("consents", v.Consent),
    ("enrollments", p.Enrollment),
    ("module_progress", p.ModuleProgress),
    ("submissions", p.Submission),
    ("code_reviews", p.CodeReview),
    ("results", p.Result),
    ("certificates", p.Certificate),
    ("usage_events", p.UsageEvent),
    ("visitors", p.Visitor),
    ("visitor_devices", p.VisitorDevice),
    ("email_log", p.EmailLog),
    ("subscriptions", p.Subscription),
    ("payments", p.Payment),
    ("requests", q.Request),
    ("request_clocks", q.RequestClock),
    ("request_moves", q.RequestMove),
    ("request_texts", q.RequestText),
)
BY_MONTH = {"usage_event": "at", "email_log": "sent_at"}
# What a closed account asks of processors by hand: where, and what.
BY_HAND = (("MongoDB Atlas", "sign-in off"), ("SMTP", "marketing off"))
REFERENCES = ("program", "cohort", "module", "student", "enrollment", "submission", "visitor", "guardian", "request")


def seed(session: Session, *, now: datetime) -> dict[str, int]:
    """Write all files as the worker; return the rows written by file. Raises ImportRefused for a malformed file."""
    base = _base(session, now)
    written = {name: _load_file(session, name, model, base, now) for name, model in FILES}
    refresh_statuses(session, now)
    put_up_plans(session, source=SOURCE, now=now)
    if written["requests"]:
        _ask_by_hand(session)
    if any(written.values()):
        append(session, Action.IMPORTED, now=now, source=SOURCE, rows=sum(written.values()))
    return written


def _ask_by_hand(session: Session) -> None:
    """What has to follow a closed account at processors that nobody connected: steps for people, due 14 days after the closing."""
    closed = select(q.Request).where(
        q.Request.source == SOURCE, q.Request.account_closed_at.is_not(None), q.Request.closed_at.is_(None)
    )
    for request in session.scalars(closed.order_by(q.Request.account_closed_at)):
        assert request.student_id is not None and request.account_closed_at is not None
        about = Person("student", request.student_id, request.id)
        for processor, change in BY_HAND:
            Manual(processor).propagate(session, about, Change(change), now=request.account_closed_at)


def _base(session: Session, now: datetime) -> date:
    """The day from which offsets count: the stored one, or today."""
    first = next(iter(_records("cohorts")))
    starts_on = session.scalar(select(p.Cohort.starts_on).where(p.Cohort.id == _id("cohort", first.text("key"))))
    return starts_on - timedelta(days=first.needed("starts_on")) if starts_on else now.astimezone(UTC).date()


def _load_file(session: Session, name: str, model: type[Base], base: date, now: datetime) -> int:
    kind = table_of(model).name
    rows = [_row(record, kind, base) for record in _records(name)]
    if kind in ("student", "visitor"):
        _add_hashes(rows)
    if kind in MISSING_CELLS:
        MISSING_CELLS[kind](session, rows)
    if kind in BY_MONTH:
        make_months(session, kind, [row[BY_MONTH[kind]].date() for row in rows])
    columns = list(rows[0])
    return load(session, model, columns, [[row[column] for column in columns] for row in rows], now=now)


def _row(record: Record, kind: str, base: date) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column, value in record.cells.items():
        name, converted = _converted(kind, column, value, base)
        row[name] = converted
    if "source" in _columns(kind):
        row["source"] = SOURCE
    if "source_key" in _columns(kind):
        row["source_key"] = record.text("key")
    return row


def _converted(kind: str, column: str, value: str | None, base: date) -> tuple[str, Any]:
    if column == "key":
        return "id", _id(kind, value or "")
    if column in REFERENCES:
        return f"{column}_id", _id(column, value) if value is not None else None
    if value is None:
        return column, None
    if column in ("at", "answer_by") or column.endswith("_at"):
        return column, datetime.combine(base, time.min, UTC) + timedelta(days=float(value))
    if column.endswith("_on") or column == "birth_date":
        return column, base + timedelta(days=int(value))
    return column, value


def _add_hashes(rows: list[dict[str, Any]]) -> None:
    hashes: Callable[[str, str], tuple[bytes, bytes]] = keys.person_hashes()
    for row in rows:
        row["email_hash"], row["provider_hash"] = hashes(row["email"], f"{SOURCE}:{row['source_key']}")


def _complete_requests(session: Session, rows: list[dict[str, Any]]) -> None:
    """The answer is due some months after receipt: calendar months, which a number of days cannot say."""
    rules = in_force(session, max(row["filed_at"] for row in rows))
    for row in rows:
        row["due_at"] = add_months(row["received_at"], rules.answer_months + int(row["extended_months"]))
        row["policy_version"], row["moved_at"] = rules.version, row["filed_at"]


def _fill_empty(column: str) -> Callable[[Session, list[dict[str, Any]]], None]:
    def fill(_session: Session, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row[column] = row[column] or ""

    return fill


MISSING_CELLS: dict[str, Callable[[Session, list[dict[str, Any]]], None]] = {
    "request": _complete_requests,
    "request_clock": _fill_empty("reason"),
    "request_move": _fill_empty("from_state"),
}


def _records(name: str) -> list[Record]:
    file: Path = FOLDER / f"{name}.csv"
    header: Sequence[str] = file.read_text(encoding="utf-8").partition("\n")[0].strip().split(",")
    return list(records(file, header))


def _columns(kind: str) -> set[str]:
    table = Base.metadata.tables.get(f"platform.{kind}")
    return set((table if table is not None else Base.metadata.tables[f"privacy.{kind}"]).columns.keys())


def _id(kind: str, key: str) -> Any:
    return stable_id(SOURCE, kind, key)
