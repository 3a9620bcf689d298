"""Legal holds: what may not be erased for now, as little as the law needs, with an owner, a basis and a day of review.

Danger: a hold on the whole account keeps for years what one record would have needed; a hold that is lifted unseen destroys
evidence. Principle: a hold names a record, a table, or openly everything; placing and releasing are dangerous verbs; an erasure
reads the standing holds under its lease, so that a release resumes what it held without anybody restarting it. Mechanism:
``privacy.legal_hold``, whose trigger asks for role, freshness and name again.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, NotFound, Refused
from core.models.base import Base, uuid7
from core.models.erasure import HOLD_BASES, LONGEST_NOTE, RELEASE_REASONS, LegalHold
from core.models.retention import MOVED_TO
from core.models.ways import Fate, fates
from core.privacy.audit import Action, append, append_view, guarded
from core.privacy.sessions import Staff, demand_fresh
from core.processors.local import ways_json
from core.processors.protocol import Spared
from core.words import clean, clean_text

LONGEST_REVIEW = timedelta(days=366)
MOST_RECORDS = 200
OFFICER = "privacy_officer"
DO = "place and release holds"
GONE = "There is no such hold, or it is not open to you."


@dataclass(frozen=True)
class StandingHold:
    """A hold in force, placed on a "student" or "visitor" record. ``table`` None: everything; ``record`` None: the whole table."""

    id: uuid.UUID
    number: str
    kind: str
    table: str | None
    record: uuid.UUID | None
    basis: str
    review_on: date


@dataclass(frozen=True)
class FoundPerson:
    """Whom an address belongs to, or a hold is about."""

    kind: str
    id: uuid.UUID
    name: str
    email: str


@dataclass(frozen=True)
class HoldableRecord:
    """A record that a hold can name: its id and its day, nothing of what is in it. ``at`` None: its table knows no day."""

    id: uuid.UUID
    at: datetime | None


def holds_on(
    session: Session, *, student_id: uuid.UUID | None = None, visitor_id: uuid.UUID | None = None
) -> tuple[StandingHold, ...]:
    """Return the standing holds on a person, for a privacy officer or the worker; by whichever of their records they were placed."""
    asked = {"student": student_id, "visitor": visitor_id}
    rows = session.execute(text("select * from privacy.standing_holds(:student, :visitor)"), asked)
    return tuple(
        StandingHold(
            row.id, numbered(row.number), row.kind, row.scope_table, row.scope_record, row.basis, row.review_on
        )
        for row in rows
    )


def holds_together(
    session: Session, asked: Sequence[tuple[uuid.UUID, uuid.UUID | None, uuid.UUID | None]]
) -> dict[uuid.UUID, tuple[StandingHold, ...]]:
    """Return the standing holds of many, as the worker: ``asked`` are (key, student id, visitor id), a key as often as it has
    records; by their numbers, each once."""
    found: dict[uuid.UUID, dict[uuid.UUID, StandingHold]] = {key: {} for key, _, _ in asked}
    told = {name: [each[at] for each in asked] for at, name in enumerate(("keys", "students", "visitors"))}
    for row in session.execute(text(TOGETHER), told) if asked else ():
        found[row.key][row.id] = StandingHold(
            row.id, numbered(row.number), row.kind, row.scope_table, row.scope_record, row.basis, row.review_on
        )
    return {key: tuple(each.values()) for key, each in found.items()}


def spared_by(holds: tuple[StandingHold, ...]) -> tuple[Spared, ...]:
    """Return what these holds keep, for an order to a processor: what they name, also where it was moved to, and their own rows."""
    named = [Spared(table, hold.record) for hold in holds for table in _places(hold.table)]
    return (*named, *(Spared("privacy.legal_hold", hold.id) for hold in holds))


def person_to_hold(session: Session, *, email: str, by: Staff, now: datetime) -> FoundPerson | None:
    """Return whose exact address this is, a student before a visitor, and record that they were seen; None: nobody's."""
    as_officer(session, by, do=DO)
    typed = clean(email, what="The e-mail")
    if not typed:
        raise BadInput("Type the person's e-mail address.")
    row = session.execute(text("select * from privacy.person_to_hold(:email)"), {"email": typed}).first()
    return _seen(session, row, now) if row else None


def reveal_held(session: Session, *, hold_id: uuid.UUID, by: Staff, now: datetime) -> FoundPerson:
    """Return whom a standing hold is about, and record that they were seen. Raises NotFound once it is released."""
    as_officer(session, by, do=DO)
    asked = text("select kind, person_id as id, name, email from privacy.held_persons() where hold_id = :hold")
    row = session.execute(asked, {"hold": hold_id}).first()
    if row is None:
        raise NotFound(GONE)
    return _seen(session, row, now)


def records_to_hold(
    session: Session,
    *,
    table: str,
    by: Staff,
    now: datetime,
    student_id: uuid.UUID | None = None,
    visitor_id: uuid.UUID | None = None,
) -> tuple[HoldableRecord, ...]:
    """Return the records that a table has about one person, newest first, at most 200, to place a hold on one; the view is
    recorded. Raises BadInput for a table that holds nothing about people of this kind."""
    as_officer(session, by, do=DO)
    kind = "student" if student_id else "visitor"
    fate = _fate_of(kind, table)
    asked = {"ways": ways_json([fate]), "student": student_id, "visitor": visitor_id, "most": MOST_RECORDS}
    found = text("select * from privacy.records_of(cast(:ways as jsonb), :student, :visitor, :most)")
    rows = session.execute(found, asked).all()
    append_view(
        session,
        person_kind=kind,
        person_ids=[student_id or visitor_id or uuid.UUID(int=0)],
        purpose="legal hold",
        now=now,
    )
    return tuple(HoldableRecord(row.record, row.at) for row in rows)


@guarded
def place_hold(
    session: Session,
    *,
    student_id: uuid.UUID | None = None,
    visitor_id: uuid.UUID | None = None,
    table: str | None = None,
    record_id: uuid.UUID | None = None,
    basis: str,
    reference: str,
    note: str = "",
    review_on: date,
    form_key: uuid.UUID,
    by: Staff,
    now: datetime,
) -> str:
    """Place a hold, owned by ``by``, and return its number (H-7); the same ``form_key`` again returns the same number.

    ``table`` and ``record_id`` narrow it down; without both it keeps everything about the person. ``reference`` is the case's
    own number at the court, authority or insurer. Raises BadInput (nobody named, unknown table, a record of somebody else, a
    review that is past or more than a year away), NotFresh, Refused (not a privacy officer, or one's own record).
    """
    as_officer(session, by, do=DO)
    demand_fresh(by, now)
    if (student_id is None) == (visitor_id is None):
        raise BadInput("A hold is about one student or one visitor.")
    _demand_not_own(session, student_id, visitor_id)
    if basis not in HOLD_BASES:
        raise BadInput(f"Choose a basis: {', '.join(HOLD_BASES)}.")
    reference = clean(reference, what="The case reference")
    if not reference:
        raise BadInput("Give the reference of the case, so that the next officer can ask about it.")
    _demand_scope(session, student_id, visitor_id, table, record_id)
    row = {
        "id": uuid7(), "form_key": form_key, "student_id": student_id, "visitor_id": visitor_id, "scope_table": table,
        "scope_record": record_id, "basis": basis, "reference": reference,
        "note": clean_text(note, what="The note", longest=LONGEST_NOTE) or None, "owner_id": by.id,
        "review_on": _review_day(review_on, now), "placed_at": now, "placed_by": by.id,
    }  # fmt: skip
    made = insert(LegalHold).values(row).on_conflict_do_nothing(index_elements=[LegalHold.form_key])
    if session.execute(made.returning(LegalHold.id)).first() is None:
        return numbered(session.scalar(select(LegalHold.number).where(LegalHold.form_key == form_key)) or 0)
    number = session.scalars(select(LegalHold.number).where(LegalHold.id == row["id"])).one()
    scope = "record" if record_id else "table" if table else "everything"
    append(session, Action.HOLD_PLACED, now=now, subject_kind="student" if student_id else "visitor",
           subject_id=student_id or visitor_id, hold=numbered(number), basis=basis, scope=scope)  # fmt: skip
    return numbered(number)


@guarded
def release_hold(
    session: Session, *, hold_id: uuid.UUID, confirmation: str, reason: str, by: Staff, now: datetime
) -> str:
    """Release a hold and return its number; what it held goes on by itself. ``confirmation`` is the number, typed.

    Releasing it twice in the same way is one release. Raises BadInput, NotFound, NotFresh, Refused.
    """
    hold = _locked(session, hold_id, by)
    if (hold.released_by, hold.release_reason) == (by.id, reason):
        return numbered(hold.number)
    demand_fresh(by, now)
    _demand_standing(hold)
    if reason not in RELEASE_REASONS:
        raise BadInput(f"Choose a reason: {', '.join(RELEASE_REASONS)}.")
    if confirmation.strip().upper() != numbered(hold.number):
        raise BadInput(f"Type {numbered(hold.number)} to confirm.")
    hold.released_at, hold.released_by, hold.release_reason = now, by.id, reason
    session.flush()
    append(session, Action.HOLD_RELEASED, now=now, subject_kind="student" if hold.student_id else "visitor",
           subject_id=hold.student_id or hold.visitor_id, hold=numbered(hold.number), reason=reason)  # fmt: skip
    return numbered(hold.number)


def review_hold(session: Session, *, hold_id: uuid.UUID, review_on: date, by: Staff, now: datetime) -> str:
    """Record that a hold is still needed, take it over, and set its next review; return its number."""
    hold = _locked(session, hold_id, by)
    _demand_standing(hold)
    if hold.reviewed_by == by.id and hold.review_on == review_on:
        return numbered(hold.number)
    hold.review_on, hold.owner_id = _review_day(review_on, now), by.id
    hold.reviewed_at, hold.reviewed_by = now, by.id
    session.flush()
    append(session, Action.HOLD_REVIEWED, now=now, subject_kind="student" if hold.student_id else "visitor",
           subject_id=hold.student_id or hold.visitor_id, hold=numbered(hold.number))  # fmt: skip
    return numbered(hold.number)


def numbered(number: int) -> str:
    """Return a hold's number as people name it: ``H-7``."""
    return f"H-{number}"


def _places(table: str | None) -> tuple[str | None, ...]:
    """Where the rows are that a hold on a table keeps."""
    twins = {place for pair in MOVED_TO.items() for place in pair if table in pair}
    return (table, *sorted(twins - {table}))


def _locked(session: Session, hold_id: uuid.UUID, by: Staff) -> LegalHold:
    as_officer(session, by, do=DO)
    hold = session.get(LegalHold, hold_id, with_for_update=True, populate_existing=True)
    if hold is None:
        raise NotFound(GONE)
    _demand_not_own(session, hold.student_id, hold.visitor_id)
    return hold


def _seen(session: Session, row: Row[Any], now: datetime) -> FoundPerson:
    append_view(session, person_kind=row.kind, person_ids=[row.id], purpose="legal hold", now=now)
    return FoundPerson(row.kind, row.id, row.name, row.email)


def as_officer(session: Session, by: Staff, *, do: str) -> None:
    """Say who acts, and keep their role until the end of the transaction. Raises Refused unless it is a privacy officer's."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    role = session.scalar(text("select staff.hold_my_role()"))
    if role != OFFICER:
        raise Refused(f"Privacy officers {do}. Your role does not, or no longer.", role=role)


def _demand_not_own(session: Session, student_id: uuid.UUID | None, visitor_id: uuid.UUID | None) -> None:
    asked = {"student": student_id, "visitor": visitor_id}
    if session.scalar(text("select privacy.is_my_own(:student, :visitor)"), asked):
        raise Refused("This is your own record. Another privacy officer has to decide.")


def _demand_standing(hold: LegalHold) -> None:
    if hold.released_at is not None:
        raise BadInput(f"{numbered(hold.number)} was released already; it does not change any more.")


def _demand_scope(
    session: Session,
    student_id: uuid.UUID | None,
    visitor_id: uuid.UUID | None,
    table: str | None,
    record: uuid.UUID | None,
) -> None:
    if table is None and record is None:
        return
    fate = _fate_of("student" if student_id else "visitor", table)
    if record is None:
        return
    columns = Base.metadata.tables[fate.table]
    key = "id" if "id" in columns.c else next(iter(columns.primary_key.columns)).name
    asked = {"ways": ways_json([fate]), "key": key, "record": record, "student": student_id, "visitor": visitor_id}
    theirs = text("select privacy.is_record_of(cast(:ways as jsonb), :key, :record, :student, :visitor)")
    if not session.scalar(theirs, asked):
        raise BadInput("There is no such record of this person in that table. A hold on it would keep nothing.")


def _fate_of(kind: str, table: str | None) -> Fate:
    fate = next((each for each in fates(kind) if each.table == table), None)
    if fate is None:
        raise BadInput("Choose one of the tables that hold something about this person.", table=table)
    return fate


def _review_day(day: date, now: datetime) -> date:
    today = now.astimezone(UTC).date()
    if not today < day <= today + LONGEST_REVIEW:
        raise BadInput("A hold is reviewed within a year: choose a day after today and within the next 12 months.")
    return day


TOGETHER = """
    select a.key, h.* from unnest(cast(:keys as uuid[]), cast(:students as uuid[]), cast(:visitors as uuid[])) a(key, student, visitor),
        lateral privacy.standing_holds(a.student, a.visitor) h
    where exists (select from privacy.legal_hold where released_at is null) order by h.number
"""
