"""Manual steps at processors, for privacy officers: what is to be done, what waits for a second person, what was done."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, text, tuple_
from sqlalchemy.orm import Session

from core.models.erasure import ManualStep
from core.models.requests import Request
from core.policy.machine import number
from core.processors.checklists import checklist

PAGE_SIZE = 50
STEP_VIEWS = ("to do", "to confirm", "done")


@dataclass(frozen=True)
class Step:
    """A manual step at a processor, without its person (privacy_actions.reveal_step_person).

    ``state``: open, attested, confirmed, canceled (nobody needs it any more). ``change`` is what is passed on, "" otherwise; ``lines`` is the checklist. ``mine``: whoever
    looks attested it; ``own_record``: it is about whoever looks.
    """

    id: uuid.UUID
    processor: str
    what: str
    change: str
    state: str
    request_id: uuid.UUID | None
    request: str | None
    person: str | None
    owner: str | None
    owner_id: uuid.UUID | None
    due_on: date
    made_at: datetime
    attested_by: str | None
    attested_by_id: uuid.UUID | None
    attested_at: datetime | None
    evidence: str | None
    confirmed_by: str | None
    confirmed_at: datetime | None
    returned_for: str | None
    lines: tuple[str, ...]
    mine: bool
    own_record: bool

    @property
    def title(self) -> str:
        """What is to be done where: ``Erase at Vercel``."""
        verb = {"erase": "Erase", "export": "Export", "pass on": f"Pass on “{self.change}”"}[self.what]
        return f"{verb} at {self.processor}"

    def overdue(self, today: date) -> bool:
        """True when its day is past and it is not confirmed."""
        return self.state in ("open", "attested") and self.due_on < today


@dataclass(frozen=True)
class StepPage:
    """Up to 50 steps; ``after`` leads to the next page, None: there is none."""

    rows: tuple[Step, ...]
    after: tuple[str, uuid.UUID] | None


@dataclass(frozen=True)
class StepCounts:
    """How many are to be done and to be confirmed, how many of both are past their day, and how many whoever asks may confirm."""

    to_do: int
    to_confirm: int
    mine_to_confirm: int
    overdue: int
    done: int


def step_counts(session: Session, *, now: datetime) -> StepCounts:
    """Return how many manual steps there are, as far as whoever asks may see them."""
    opened, attested = ManualStep.state == "open", ManualStep.state == "attested"
    others = (ManualStep.attested_by != func.staff.my_id()) | func.privacy.single_officer()
    late = ManualStep.state.in_(("open", "attested")) & (ManualStep.due_on < now.astimezone(UTC).date())
    wanted = (opened, attested, attested & others, late, ManualStep.state == "confirmed")
    counted = select(*(func.count().filter(each) for each in wanted)).select_from(ManualStep)
    return StepCounts(*tuple(session.execute(counted).one()))


def step_page(session: Session, view: str, *, after: tuple[str, uuid.UUID] | None = None) -> StepPage:
    """Return 50 steps of a view: those that wait, due first; those that are done, newest first."""
    done = view == "done"
    when: Any = ManualStep.confirmed_at if done else ManualStep.due_on
    order = tuple_(when, ManualStep.id)
    listed = _listed(ManualStep.state == {"to do": "open", "to confirm": "attested", "done": "confirmed"}[view])
    if after is not None:
        value = datetime.fromisoformat(after[0]) if done else date.fromisoformat(after[0])
        listed = listed.where(order < (value, after[1]) if done else order > (value, after[1]))
    listed = listed.order_by(when.desc() if done else when, ManualStep.id.desc() if done else ManualStep.id)
    found = _steps(session, listed.limit(PAGE_SIZE + 1))
    rows = found[:PAGE_SIZE]
    if len(found) <= PAGE_SIZE:
        return StepPage(rows, None)
    last = rows[-1].confirmed_at if done else rows[-1].due_on
    return StepPage(rows, (last.isoformat() if last else "", rows[-1].id))


def manual_step(session: Session, step_id: uuid.UUID) -> Step | None:
    """Return one step, or None when there is none that whoever asks may see."""
    return next(iter(_steps(session, _listed(ManualStep.id == step_id))), None)


def manual_steps(session: Session, *, request_id: uuid.UUID | None = None, waiting: bool = True) -> tuple[Step, ...]:
    """Return manual steps, due first: those that wait (at most 200), or all of one request."""
    listed = _listed(*([ManualStep.request_id == request_id] if request_id else []),
                     *([ManualStep.state.in_(("open", "attested"))] if waiting else []))  # fmt: skip
    return _steps(session, listed.order_by(ManualStep.due_on, ManualStep.id).limit(200))


def _listed(*where: ColumnElement[bool]) -> Select[Any]:
    own = func.privacy.is_my_own(ManualStep.student_id, ManualStep.visitor_id)
    columns = (
        ManualStep,
        Request.number,
        own.label("own"),
        (ManualStep.attested_by == func.staff.my_id()).label("mine"),
    )
    return select(*columns).outerjoin(Request, Request.id == ManualStep.request_id).where(*where)


def _steps(session: Session, listed: Select[Any]) -> tuple[Step, ...]:
    names = {row.id: row.name for row in session.execute(text("select id, name from staff.directory()"))}
    return tuple(_step(row, names) for row in session.execute(listed))


def _step(row: Any, names: dict[uuid.UUID, str]) -> Step:
    step: ManualStep = row.ManualStep

    def name(who: uuid.UUID | None) -> str | None:
        return names.get(who, "–") if who else None

    return Step(
        id=step.id,
        processor=step.processor,
        what=step.what,
        change=step.key.partition(f" {step.processor} ")[2] if step.what == "pass on" else "",
        state=step.state,
        request_id=step.request_id,
        request=number(row.number) if row.number is not None else None,
        person="student" if step.student_id else "visitor" if step.visitor_id else None,
        owner=name(step.owner_id),
        owner_id=step.owner_id,
        due_on=step.due_on,
        made_at=step.made_at,
        attested_by=name(step.attested_by),
        attested_by_id=step.attested_by,
        attested_at=step.attested_at,
        evidence=step.evidence,
        confirmed_by=name(step.confirmed_by),
        confirmed_at=step.confirmed_at,
        returned_for=step.returned_for,
        lines=checklist(step.processor, step.what),
        mine=bool(row.mine),
        own_record=bool(row.own),
    )
