"""How an erasure stands: its steps, what each waits for and what proves it; and what has stopped all of them.

Row-level security shows erasures to privacy officers. There is no person in any of it.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.models.erasures import SETTLED, Brake, ErasureEvidence, ErasureStep, PersonErasure
from core.models.requests import Request
from core.policy.machine import ERASURE_WAITS, number


@dataclass(frozen=True)
class EvidenceRow:
    """One thing that was done or seen. ``words`` tell it; ``counts`` are records by place or table."""

    at: datetime
    words: str
    counts: dict[str, int]
    reference: str


@dataclass(frozen=True)
class ErasureStepRow:
    """One step. ``waits_for`` is a sentence's end ("waits for …"), "" when it does not wait; ``owner`` sees to what failed."""

    id: uuid.UUID
    what: str
    place: str
    state: str
    attempts: int
    waits_for: str
    error: str
    reference: str
    counts: dict[str, int]
    proven_at: datetime | None
    next_at: datetime
    owner: str | None
    evidence: tuple[EvidenceRow, ...]

    @property
    def settled(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in SETTLED


@dataclass(frozen=True)
class ErasureRead:
    """One erasure. ``begun_at`` None: it is due and does not begin. ``waits_for`` is a sentence's end, "" when it goes on;
    ``waits_code`` says the same as a code (see core.privacy.erasure.WAITS)."""

    id: uuid.UUID
    begun_at: datetime | None
    finished_at: datetime | None
    waits_code: str
    waits_for: str
    waits_since: datetime | None
    next_at: datetime
    steps: tuple[ErasureStepRow, ...]

    @property
    def settled(self) -> int:
        """How many steps are proven, or not needed."""
        return sum(step.settled for step in self.steps)


@dataclass(frozen=True)
class BrakeRow:
    """What has stopped every erasure. ``confirm`` is what has to be typed to let them go on."""

    id: uuid.UUID
    kind: str
    why: str
    due: int | None
    people: int | None
    raised_at: datetime
    confirm: str


@dataclass(frozen=True)
class StuckErasure:
    """An erasure that waits for people: which request, for what, since when."""

    request_id: uuid.UUID
    number: str
    waits_for: str
    since: datetime


def erasure_of(session: Session, request_id: uuid.UUID) -> ErasureRead | None:
    """Return the erasure of a request; None when there is none yet, or it is not open to whoever asks."""
    columns = (PersonErasure.id, PersonErasure.begun_at, PersonErasure.finished_at, PersonErasure.waits_for,
               PersonErasure.waits_about, PersonErasure.waits_since, PersonErasure.next_at)  # fmt: skip
    found = session.execute(select(*columns).where(PersonErasure.request_id == request_id)).first()
    if found is None:
        return None
    mine = select(ErasureStep).where(ErasureStep.erasure_id == found.id).order_by(ErasureStep.phase, ErasureStep.place)
    steps = session.scalars(mine).all()
    told = _evidence(session, found.id)
    names = _names(session, [step.owner_id for step in steps if step.owner_id])
    rows = tuple(_step(step, told.get(step.id, ()), names) for step in steps)
    waits = _waits(found.waits_for, found.waits_about)
    return ErasureRead(
        id=found.id,
        begun_at=found.begun_at,
        finished_at=found.finished_at,
        waits_code=found.waits_for or "",
        waits_for=waits,
        waits_since=found.waits_since,
        next_at=found.next_at,
        steps=rows,
    )


def brakes_on(session: Session) -> tuple[BrakeRow, ...]:
    """Return what has stopped every erasure, for privacy officers; empty when nothing has."""
    rows = session.scalars(select(Brake).where(Brake.answered_at.is_(None)).order_by(Brake.raised_at))
    return tuple(
        BrakeRow(row.id, row.kind, row.why, row.due, row.people, row.raised_at, str(row.due) if row.due else "go on")
        for row in rows
    )


def stuck_erasures(session: Session, *, now: datetime, size: int = 50) -> tuple[StuckErasure, ...]:
    """Return the erasures that have waited for people (or failed) for a day, longest first."""
    waiting = select(
        Request.id, Request.number, PersonErasure.waits_for, PersonErasure.waits_about, PersonErasure.waits_since
    )
    waiting = waiting.join(PersonErasure, PersonErasure.request_id == Request.id)
    waiting = waiting.where(PersonErasure.waits_since <= now - STUCK_AFTER, Request.closed_at.is_(None))
    rows = session.execute(waiting.order_by(PersonErasure.waits_since, Request.id).limit(size))
    return tuple(
        StuckErasure(row.id, number(row.number), _waits(row.waits_for, row.waits_about), row.waits_since)
        for row in rows
    )


def _evidence(session: Session, erasure_id: uuid.UUID) -> dict[uuid.UUID | None, tuple[EvidenceRow, ...]]:
    asked = select(ErasureEvidence).where(ErasureEvidence.erasure_id == erasure_id)
    found: dict[uuid.UUID | None, tuple[EvidenceRow, ...]] = {}
    for row in session.scalars(asked.order_by(ErasureEvidence.at, ErasureEvidence.id)):
        by_hand = row.error == BY_HAND  # its reference is the id of the manual step, which has its own card
        told = EvidenceRow(row.at, _words(row), dict(row.counts), "" if by_hand else row.reference)
        found[row.step_id] = (*found.get(row.step_id, ()), told)
    return found


def _words(row: ErasureEvidence) -> str:
    if row.error == BY_HAND:
        return "Waits for people who do it by hand"
    detail = CODE_WORDS.get(row.error or row.became, row.error or row.became)
    return EVIDENCE_WORDS[row.what] + (f": {detail}" if detail and row.what != "begun" else "")


def _step(step: ErasureStep, told: tuple[EvidenceRow, ...], names: dict[uuid.UUID, str]) -> ErasureStepRow:
    return ErasureStepRow(
        id=step.id,
        what=step.what,
        place=step.place,
        state=step.state,
        attempts=step.attempts,
        waits_for=_waits(step.waits_for, step.waits_about if step.waits_for == "hold" else ""),
        error=step.error,
        reference=step.reference,
        counts=dict(step.counts),
        proven_at=step.proven_at,
        next_at=step.next_at,
        owner=names.get(step.owner_id) if step.owner_id else None,
        evidence=told,
    )


def _waits(code: str | None, about: str) -> str:
    if not code:
        return ""
    return ERASURE_WAITS[code] + (f" ({about})" if about else "")


def _names(session: Session, people: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    rows = session.execute(text("select * from staff.names_of(:ids)"), {"ids": people})
    return {row.id: row.name for row in rows}


BY_HAND = "manual"
STUCK_AFTER = timedelta(days=1)
CODE_WORDS = {"manual": "asked of a person", "held": "kept by a hold", "labels": "a column has no label"}
EVIDENCE_WORDS = {
    "begun": "Begun",
    "asked": "Asked",
    "answered": "Answered",
    "looked": "Read back",
    "waits": "Waits",
    "failed": "Failed",
    "again": "Goes on",
    "ended": "Ended",
}
