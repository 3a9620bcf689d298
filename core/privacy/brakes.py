"""Brakes: what stops every erasure until somebody has answered.

Danger: a wrong rule, a wrong clock or a wrong import makes everybody due at once, and a tireless worker erases them before
anybody looks. Principle: more people than usual in one day, or a clock that cannot be right, is a question and not an
order. Mechanism: ``privacy.brake`` has at most one open row of each kind; the eraser asks :func:`standing` in the transaction of
the effect; a privacy officer who has just proved who they are lets it go on, and for how many.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import timekeeping
from core.errors import BadInput, NotFound
from core.models.base import uuid7
from core.models.erasures import Brake
from core.models.platform import Student, Visitor
from core.privacy.audit import Action, append, guarded
from core.privacy.holds import as_officer
from core.privacy.rules import ask
from core.privacy.sessions import Staff, demand_fresh

FEW, SHARE = 20, 0.02
DAY = timedelta(days=1)
GO_ON = "go on"
REASONS = ("expected, all of them are right", "the time is right")


@dataclass(frozen=True)
class Stop:
    """A brake that is on: why, and how many of how many would have gone. "clock" stops everything, "many" the eraser, the other
    kinds one rule of retention."""

    id: uuid.UUID
    kind: str
    why: str
    due: int | None
    people: int | None
    raised_at: datetime


def standing(session: Session) -> tuple[Stop, ...]:
    """Return the brakes that are on, for the worker or a privacy officer."""
    rows = session.scalars(select(Brake).where(Brake.answered_at.is_(None)).order_by(Brake.raised_at))
    return tuple(Stop(row.id, row.kind, row.why, row.due, row.people, row.raised_at) for row in rows)


def limit(people: int) -> int:
    """Return how many people may be erased in a day without a question: 20, or 2 % of all."""
    return max(FEW, int(people * SHARE))


def watch_number(session: Session, *, now: datetime) -> None:
    """Put the brake on when more people are due, with those of the last 24 hours, than may go without a question."""
    due = session.scalar(text(DUE_IN_ONE_RUN), {"now": now, "day": now - DAY}) or 0
    if due <= FEW or due <= _allowed(session, now):
        return
    people = sum(session.scalar(select(func.count()).select_from(table)) or 0 for table in (Student, Visitor))
    if due > limit(people):
        _raise(session, "many", "many at once", now, due=due, people=people)
        on = update(Brake).where(Brake.kind == "many", Brake.answered_at.is_(None), Brake.due != due)
        session.execute(on.values(due=due, people=people))


def hold_back(session: Session, kind: str, *, due: int, of: int, now: datetime) -> None:
    """Put a brake of retention ("mail", "visitors", "lapses") on unless an officer has let so many go within a day. As the worker."""
    if due > _allowed(session, now, kind):
        _raise(session, kind, "more than usual", now, due=due, people=of)


def watch_clock(session: Session, *, now: datetime) -> None:
    """Put the brake on when the clocks cannot be right; take it off when two that differed agree again. As the worker."""
    found = timekeeping.trouble(timekeeping.read(session))
    on = next((stop for stop in standing(session) if stop.kind == "clock"), None)
    if found and on is None and not _time_is_right(session, found, now):
        _raise(session, "clock", found, now)
    elif not found and on is not None and on.why == timekeeping.DIFFER:
        passed = update(Brake).where(Brake.id == on.id, Brake.answered_at.is_(None))
        session.execute(passed.values(answered_at=now, answer="passed"))
        append(session, Action.BRAKE_PASSED, now=now, subject_kind="brake", subject_id=on.id, why=on.why)


@guarded
def answer_brake(
    session: Session, *, brake_id: uuid.UUID, confirmation: str, reason: str, by: Staff, now: datetime
) -> None:
    """Let erasures go on for 24 hours: for as many people as the brake counted, or with this clock.

    ``confirmation``: the number of people, or "go on" for a clock, typed; ``reason`` one of REASONS. Answered twice: nothing
    happens. Raises BadInput, NotFresh, NotFound, Refused (not a privacy officer).
    """
    as_officer(session, by, do="answer what stopped the eraser")
    demand_fresh(by, now)
    found = session.get(Brake, brake_id, populate_existing=True)
    if found is None:
        raise NotFound("There is no such question, or it is not open to you.")
    if found.answered_at is not None:
        return
    typed = GO_ON if found.due is None else str(found.due)
    if confirmation.strip().lower() != typed:
        raise BadInput(f"Type {typed} to confirm.")
    if reason not in REASONS:
        raise BadInput(f"Choose a reason: {', '.join(REASONS)}.")
    call = "privacy.answer_brake(:brake, :reason, :now, :until)"
    if ask(session, call, brake=brake_id, reason=reason, now=now, until=now + DAY):
        append(session, Action.BRAKE_ANSWERED, now=now, subject_kind="brake", subject_id=brake_id, why=found.why,
               due=found.due, reason=reason)  # fmt: skip


def _allowed(session: Session, now: datetime, kind: str = "many") -> int:
    """What an officer has let go on, not longer than a day ago."""
    answered = select(func.max(Brake.allows)).where(Brake.kind == kind, Brake.answer == GO_ON, Brake.until > now)
    return session.scalar(answered) or 0


def _time_is_right(session: Session, found: str, now: datetime) -> bool:
    """Whether an officer said so within a day. Heartbeats from a future that was none are brought back."""
    said = select(Brake.id).where(Brake.kind == "clock", Brake.answer == GO_ON, Brake.until > now, Brake.why == found)
    if session.scalar(said.limit(1)) is None:
        return False
    session.execute(
        text("update staff.worker_heartbeat set seen_at = clock_timestamp() where seen_at > clock_timestamp()")
    )
    return True


def _raise(session: Session, kind: str, why: str, now: datetime, **numbers: int) -> None:
    brake_id = uuid7()
    row = {"id": brake_id, "kind": kind, "why": why, "raised_at": now} | numbers
    written = insert(Brake).values(row).on_conflict_do_nothing().returning(Brake.id)
    if session.execute(written).first():
        append(session, Action.BRAKE_ON, now=now, subject_kind="brake", subject_id=brake_id, why=why,
               due=numbers.get("due"))  # fmt: skip


DUE_IN_ONE_RUN = """
    select (select count(*) from privacy.request r where r.kind = 'delete' and r.closed_at is null and r.state = 'waiting'
            and r.grace_ends_at <= :now and r.source <> 'canary')
        + (select count(*) from privacy.erasure e join privacy.request r on r.id = e.request_id where e.begun_at > :day and r.source <> 'canary')
"""
