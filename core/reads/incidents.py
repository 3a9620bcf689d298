"""The register of incidents: how long the 72 hours still are, what was decided, what is left to do."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, text
from sqlalchemy.orm import Session

from core.models.incidents import Incident, IncidentNote, left_to_do

HOURS_72, HOURS_48 = timedelta(hours=72), timedelta(hours=48)


@dataclass(frozen=True)
class IncidentRow:
    """One incident. ``due_at``: 72 hours after we knew; ``clock``: "running", "48 hours", "overdue" or "stopped" (the authority was
    notified, or that was decided not to be needed). ``asked_by_me``: closing was asked by whoever looks. ``left``: what is left to
    do before it is closed, in words.
    """

    id: uuid.UUID
    number: str
    title: str
    nature: str
    place: str
    summary: str
    aware_at: datetime
    due_at: datetime
    clock: str
    opened_at: datetime
    opened_by: str | None
    categories: tuple[str, ...]
    processors: tuple[str, ...]
    cohorts: tuple[uuid.UUID, ...]
    has_scope: bool
    affected: int | None
    counted: dict[str, int]
    counted_at: datetime | None
    authority: str
    authority_reason: str
    authority_at: datetime | None
    authority_by: str | None
    notified_at: datetime | None
    notified_reference: str
    people: str
    people_reason: str
    people_at: datetime | None
    people_by: str | None
    campaign_id: uuid.UUID | None
    close_asked_at: datetime | None
    close_asked_by: str | None
    asked_by_me: bool
    closed_at: datetime | None
    closed_by: str | None
    left: tuple[str, ...]


@dataclass(frozen=True)
class IncidentNoteRow:
    """Something filed with an incident. Show it as text, never as markdown."""

    kind: str
    sender: str
    reference: str
    body: str
    filed_at: datetime
    filed_by: str | None


@dataclass(frozen=True)
class IncidentAlarm:
    """An incident whose authority is not decided about, or not notified: for Today."""

    id: uuid.UUID
    number: str
    clock: str
    due_at: datetime


def incident_list(session: Session, *, staff_id: uuid.UUID, now: datetime) -> list[IncidentRow]:
    """Return the incidents: those whose 72 hours run or are over first, the most urgent on top; then other open ones; then closed ones."""
    newest = select(Incident).order_by(Incident.closed_at.is_not(None), Incident.aware_at.desc()).limit(200)
    rows = sorted(session.scalars(newest), key=lambda row: _urgency(row, now))
    people = {
        each
        for row in rows
        for each in (row.opened_by, row.authority_by, row.people_by, row.close_asked_by, row.closed_by)
        if each
    }
    names = _names(session, people)
    return [_row(row, names, staff_id, now) for row in rows]


def incident_notes(session: Session, incident_id: uuid.UUID) -> list[IncidentNoteRow]:
    """Return what was filed with an incident, oldest first; for privacy officers."""
    rows = session.scalars(
        select(IncidentNote)
        .where(IncidentNote.incident_id == incident_id)
        .order_by(IncidentNote.filed_at, IncidentNote.id)
    ).all()
    names = _names(session, {row.filed_by for row in rows})
    return [
        IncidentNoteRow(row.kind, row.sender, row.reference, row.body, row.filed_at, names.get(row.filed_by))
        for row in rows
    ]


def incident_alarms(session: Session, *, now: datetime) -> list[IncidentAlarm]:
    """Return the open incidents whose 72 hours still run, those due first."""
    waiting = or_(Incident.authority == "undecided", (Incident.authority == "notify") & Incident.notified_at.is_(None))
    rows = session.scalars(select(Incident).where(Incident.closed_at.is_(None), waiting).order_by(Incident.aware_at))
    return [IncidentAlarm(row.id, f"I-{row.number}", _clock(row, now), row.aware_at + HOURS_72) for row in rows]


def _urgency(row: Incident, now: datetime) -> tuple[int, float]:
    if row.closed_at is not None:
        return 2, -row.aware_at.timestamp()
    return int(_clock(row, now) == "stopped"), row.aware_at.timestamp()


def _clock(row: Incident, now: datetime) -> str:
    if row.notified_at is not None or row.authority == "not needed" or row.closed_at is not None:
        return "stopped"
    passed = now - row.aware_at
    return "overdue" if passed >= HOURS_72 else "48 hours" if passed >= HOURS_48 else "running"


def _row(row: Incident, names: dict[uuid.UUID, str], staff_id: uuid.UUID, now: datetime) -> IncidentRow:
    def name(of: uuid.UUID | None) -> str | None:
        return names.get(of) if of else None

    scope = row.scope or {}
    return IncidentRow(
        row.id, f"I-{row.number}", row.title, row.nature, row.place, row.summary, row.aware_at, row.aware_at + HOURS_72, _clock(row, now),
        row.opened_at, name(row.opened_by), tuple(scope.get("categories", ())), tuple(scope.get("processors", ())),
        tuple(uuid.UUID(each) for each in scope.get("cohorts", ())), row.scope is not None, row.affected, dict(row.counted or {}), row.counted_at,
        row.authority, row.authority_reason, row.authority_at, name(row.authority_by), row.notified_at, row.notified_reference,
        row.people, row.people_reason, row.people_at, name(row.people_by), row.campaign_id, row.close_asked_at, name(row.close_asked_by),
        row.close_asked_by == staff_id, row.closed_at, name(row.closed_by), tuple(left_to_do(row)),
    )  # fmt: skip


def _names(session: Session, people: set[uuid.UUID]) -> dict[uuid.UUID, str]:
    rows = session.execute(text("select * from staff.names_of(:ids)"), {"ids": list(people)})
    return {row.id: row.name for row in rows}
