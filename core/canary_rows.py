"""A canary's records in this database: one in every table that can hold something about a student or visitor.

The list of tables is that of the labels (core.models.ways); a test fails when a table is neither planted here, nor filled on the
canary's way, nor among those of which :data:`NOWHERE` says why not. Everything is dated so that it asks nothing of anybody: the
enrollment is confirmed and over, no review waits, the subscription has no end.
"""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import keys
from core.models import exports as x
from core.models import platform as p
from core.models import privacy as v
from core.models import requests as q
from core.models import standing as d
from core.models.anon import Contribution
from core.models.artifacts import Artifact
from core.models.canaries import SOURCE, Canary, Values, values
from core.models.staff import StaffMember
from core.privacy import artifacts

LONG_AGO = date(2000, 1, 3)
KEPT = timedelta(days=90)  # longer than a canary's way; then it goes like every file
HOME = uuid.uuid5(uuid.NAMESPACE_URL, "resocode:canaries")
"""The program and cohort in which canaries are enrolled, and nobody else. It has been over for long, so that no figure counts it."""

ON_ITS_WAY = {
    "privacy.request": "the deletion that the closing becomes",
    "privacy.outbox": "the letters of that deletion",
    "privacy.manual_step": "what is done by hand at processors that are not connected",
}
NOWHERE = {
    "privacy.guardian": "a guardian of somebody of age is erased at once",
    "privacy.correction": "belongs to a request for correction; canaries ask for deletion only",
    "privacy.legal_hold": "a hold would keep the canary from being erased",
    "platform.held_mail": "exists only while a legal hold stands",
    "privacy.lapse": "canaries get no warning of an end: their subscription has none",
    "privacy.incident_person": "no canary is among the people whom an incident concerns",
    "privacy.campaign_recipient": "no notice is sent to a canary",
}


def plant(session: Session, canary: Canary, *, from_platform: bool, now: datetime) -> int:
    """Write the canary's records, as the worker; return how many. Again: nothing is written twice.

    ``from_platform``: the platform's database or media library is connected, which know people by the platform's id.
    """
    who, source = values(canary.id), "mongodb" if from_platform else SOURCE
    _home(session)
    _months(session, now.astimezone(UTC).date())
    staff = session.scalar(select(StaffMember.id).order_by(StaffMember.created_at, StaffMember.id).limit(1))
    rows = 0
    for table, row in _rows(canary, who, source, staff, now):
        rows += _written(session, table, row)
    return rows + _consent_step(session, who, now) + _file(session, canary, who, now)


def plant_in_request(session: Session, canary: Canary, request_id: uuid.UUID, *, now: datetime) -> int:
    """Write what hangs on a request about the canary: a note, and a text to judge. Again: nothing."""
    who = values(canary.id)
    of: dict[str, Any] = {"request_id": request_id, "student_id": who.student_id}
    rows: list[tuple[type[Any], dict[str, Any]]] = [
        (q.RequestText, of | {"id": _id(canary, "words"), "what": "note", "body": f"Note about {who.name}.", "written_at": now}),
        (x.ExportText, of | {"id": _id(canary, "text"), "place": "platform.code_review", "field": "review comment",
                             "digest": _id(canary, "text").hex, "found": {"words": [who.name]}, "decision": "leave out", "decided_at": now}),
    ]  # fmt: skip
    return sum(_written(session, table, row) for table, row in rows)


def drop_payment(session: Session, canary: Canary) -> int:
    """Take the canary's payment of nothing out of the books, once it leads to nobody: no law keeps it."""
    paid = delete(p.Payment).where(p.Payment.id == _id(canary, "payment"), p.Payment.student_id.is_(None))
    return len(session.execute(paid.returning(p.Payment.id)).all())


def planted_tables() -> frozenset[str]:
    """Return the tables in which a canary has a record from its first day, or from its request on."""
    someone = Canary(id=HOME)
    rows = _rows(someone, values(HOME), SOURCE, HOME, datetime(2000, 1, 3, tzinfo=UTC))
    tables = {_name(table) for table, _ in rows}
    later = {_name(each) for each in (q.RequestText, x.ExportText)}
    return frozenset(tables | later | {"privacy.artifact", "privacy.artifact_part", "privacy.consent_step"})


def _name(table: type[Any]) -> str:
    return str(table.__table__.fullname)


def _rows(
    canary: Canary, who: Values, source: str, staff: uuid.UUID | None, now: datetime
) -> list[tuple[type[Any], dict[str, Any]]]:
    """Every record, parents first."""
    hashes = keys.person_hashes()(who.email, f"{source}:{who.key}")
    person = {"email_hash": hashes[0], "provider_hash": hashes[1]}
    since, past = now - timedelta(days=1), datetime.combine(LONG_AGO, datetime.min.time(), UTC)
    student, visitor = {"student_id": who.student_id}, {"visitor_id": who.visitor_id}
    learns = {"enrollment_id": who.enrollment_id, "cohort_id": HOME}
    stands = {**student, "email_hash": hashes[0], "basis": "asked", "since": since}
    rows: list[tuple[type[Any], dict[str, Any]]] = [
        (p.Student, {"id": who.student_id, "name": who.name, "email": who.email, "registered_at": since, "source": source,
                     "source_key": who.key, **person}),
        (d.Restriction, {"id": _id(canary, "restriction"), **stands}),
        (d.Objection, {"id": _id(canary, "objection"), **stands}),
        (d.OptOut, {"id": _id(canary, "opt-out"), **stands}),
        (p.StudentProfile, {**student, "phone": who.phone, "headline": who.name, "link": f"https://{who.email.split('@')[1]}/{who.key}"}),
        (v.Consent, {**student, "adult": True, "declared_at": since, "state": "not needed", "source": SOURCE}),
        (p.Enrollment, {"id": who.enrollment_id, **student, "cohort_id": HOME, "program_id": HOME, "status": "ended", "enrolled_at": past,
                        "started_at": past, "confirmed_at": past, "source": SOURCE, "source_key": who.key}),
        (p.ModuleProgress, {"id": _id(canary, "progress"), **learns, "module_id": HOME, "status": "done", "score": 80, "done_at": past}),
        (p.Submission, {"id": _id(canary, "submission"), **learns, "module_id": HOME, "submitted_at": past, "status": "passed", "score": 80,
                        "url": f"https://{who.email.split('@')[1]}/{who.key}/work", "source": SOURCE, "source_key": who.key}),
        (p.ReviewClaim, {"submission_id": _id(canary, "submission"), **learns, "taken_at": past}),
        (p.CodeReview, {"id": _id(canary, "review"), "submission_id": _id(canary, "submission"), **learns, "reviewed_at": past, "passed": True,
                        "comment": f"Well done, {who.name}."}),
        (p.Result, {**learns, "kind": "pass", "decided_at": past, "source": SOURCE}),
        (p.Certificate, {"id": _id(canary, "certificate"), **learns, "number": f"CANARY-{who.key}", "issued_at": past, "source": SOURCE}),
        (p.UsageEvent, {"at": since, "id": _id(canary, "usage"), **learns, "kind": "page", "item": who.email, "clicks": 1, "source": SOURCE}),
        (p.EmailLog, {"sent_at": since, "id": _id(canary, "mail"), **student, "kind": "confirmation", "address": who.email, "outcome": "sent",
                      "source": SOURCE}),
        (p.Subscription, {"id": _id(canary, "subscription"), **student, "starts_on": since.date(), "source": SOURCE}),
        (p.Payment, {"id": _id(canary, "payment"), **student, "paid_at": now, "amount_cents": 0, "currency": "EUR",
                     "gateway_ref": f"canary-{_id(canary, 'payment').hex}", "source": SOURCE}),
        (Contribution, {**student, "flow": "canary", "slot": 1, "key": SOURCE, "period": SOURCE}),
        (p.Visitor, {"id": who.visitor_id, "name": who.name, "email": who.email, "phone": who.phone, "asked_at": since, "answered_at": since,
                     "message": f"Please call {who.name}.", "status": "lost", "source": source, "source_key": who.form_key, **person}),
        (p.VisitorDevice, {**visitor, "user_agent": f"Canary/{who.key}", "address": "192.0.2.1"}),
    ]  # fmt: skip
    if staff is not None:
        rows += [
            (p.HelpNote, {"id": _id(canary, "note"), **learns, "note": f"Note about {who.name}.", "written_by": staff, "written_at": past}),
            (p.FollowUp, {"id": _id(canary, "follow-up"), **visitor, "step": 1, "at": since, "by_id": staff, "kind": "contact made",
                          "note": f"Called {who.name}."}),
        ]  # fmt: skip
    return rows


def _home(session: Session) -> None:
    mine = {
        "id": HOME,
        "code": "CANARY",
        "title": "Canaries (synthetic people)",
        "source": SOURCE,
        "source_key": SOURCE,
    }
    _written(session, p.Program, mine)
    _written(
        session, p.Cohort, mine | {"program_id": HOME, "starts_on": LONG_AGO, "ends_on": LONG_AGO + timedelta(days=30)}
    )
    module = {"id": HOME, "program_id": HOME, "position": 1, "title": "Canary", "kind": "project", "source": SOURCE}
    _written(session, p.Module, module)


def _months(session: Session, today: date) -> None:
    for table in ("email_log", "usage_event"):
        asked = {"table": table, "first": today - timedelta(days=1), "last": today}
        made = text("select platform.make_months(:table, cast(:first as date), cast(:last as date))")
        session.execute(made, asked)


def _consent_step(session: Session, who: Values, now: datetime) -> int:
    """The history of a consent is written by a trigger, when the record changes."""
    mine = update(v.Consent).where(v.Consent.student_id == who.student_id, v.Consent.version == 1)
    done = session.execute(mine.values(declared_at=now).returning(v.Consent.version))
    return len(done.all())


def _file(session: Session, canary: Canary, who: Values, now: datetime) -> int:
    """An encrypted file about the canary; its content is found by nobody without its key, its rows are."""
    there = select(Artifact.id).where(Artifact.student_id == who.student_id)
    if session.scalar(there.limit(1)) is not None:
        return 0
    artifacts.keep(session, kind="evidence", student_id=who.student_id, name="evidence", media_type="text/plain",
                   chunks=[who.name.encode()], expires_at=now + KEPT, now=now)  # fmt: skip
    return 2


def _written(session: Session, table: type[Any], row: dict[str, Any]) -> int:
    done = session.execute(insert(table).values(row).on_conflict_do_nothing().returning(*table.__table__.primary_key))
    return len(done.all())


def _id(canary: Canary, what: str) -> uuid.UUID:
    return uuid.uuid5(canary.id, what)
