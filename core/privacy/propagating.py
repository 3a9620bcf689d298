"""Propagations: what has to follow at processors from a decision here, carried out by the worker, or by hand.

Danger: an opt-out that stops at our own database; a tick that nobody can prove; something carried out after it was taken back.
Principle: whoever decides writes down what has to follow (core.privacy.accounts.plan_steps), in the transaction of the decision;
it is done when the processor answered that it did it, or when two persons said so with evidence, and the database refuses
anything else. Mechanism: the worker calls a processor that can; what none can becomes a manual step with the propagation's key.
A call leaves only after a commit that says so, and every change that is passed on may be made twice without harm.

What does not go through waits longer each time, an hour at most, and is a person's after five days: they may do it by hand, the
worker goes on trying, and whichever works first ends it. What is passed on is read when it leaves, so that the newest
correction goes out, whichever propagation asked for it.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core.models.base import Base
from core.models.labels import ColumnLabel
from core.models.requests import Propagation, Request
from core.models.standing import Restriction
from core.privacy.audit import Action, append
from core.privacy.erasure_steps import BY_HAND_AGAIN, HUMAN_AFTER, pause_after
from core.privacy.manual_steps import drop_hand, is_confirmed
from core.processors.manual import MANUAL, Manual
from core.processors.protocol import Became, Capability, Change, Outcome, Person, Processor
from core.processors.registry import configured

OPEN = ("planned", "called", "waiting")
RECORDS = {"student": (("platform.student", "id"), ("platform.student_profile", "student_id")),
           "visitor": (("platform.visitor", "id"),)}  # fmt: skip


def propagations_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the propagations to be carried out, or whose manual step somebody has confirmed, oldest first."""
    return list(map(str, session.scalars(text(DUE), {"now": now})))


def pass_on(session: Session, *, propagation_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Do the next part of one propagation, as the worker. Counts with "more" ask for the next part."""
    step = session.get(Propagation, propagation_id, with_for_update=True, populate_existing=True)
    if step is None or step.state not in OPEN:
        return {}
    person = _person(session, step)
    if by_hand := is_confirmed(session, step.key):
        _done(session, step, "by hand", by_hand.confirmed_by, str(by_hand.id), now)
        return {"by hand": 1}
    if person is None:  # erased meanwhile: the erasure asked every processor itself
        _set_canceled(session, step)
        return {"canceled": 1}
    processor = _who(step)
    if processor.remote and step.state != "called":
        step.state, step.next_at = "called", now
        session.flush()
        return {"called": 1, "more": 1}
    change = Change(step.what, _fields(session, person, processor), step.key)
    return _became(session, step, person, processor.propagate(session, person, change, now=now), now)


def note_trouble(session: Session, key: str, code: str, now: datetime) -> None:
    """Write down that a part failed with an error that nobody expected; it is tried again after a pause."""
    step = session.get(Propagation, uuid.UUID(key), with_for_update=True, populate_existing=True)
    if step is not None and step.state in OPEN:
        _failed(session, step, _person(session, step), code, now)


def cancel_propagations(session: Session, *, request_id: uuid.UUID) -> None:
    """Take back what was not done yet, and the manual steps that were asked for it."""
    mine = select(Propagation).where(Propagation.request_id == request_id, Propagation.state.in_(OPEN))
    for step in session.scalars(mine).all():
        _set_canceled(session, step)


def _set_canceled(session: Session, step: Propagation) -> None:
    changed = update(Propagation).where(Propagation.id == step.id).values(state="canceled")
    session.execute(changed.execution_options(synchronize_session="fetch"))
    drop_hand(session, step.key)


def _became(
    session: Session, step: Propagation, person: Person, outcome: Outcome, now: datetime
) -> dict[str, int]:  # fmt: skip
    if outcome.became in (Became.DONE, Became.GONE):
        _done(session, step, "answered", None, outcome.reference, now)
        return {"done": 1}
    if outcome.became is Became.MORE:
        return {"parts": 1, "more": 1}
    if outcome.became is Became.WAITING:
        step.state, step.error, step.reference = "waiting", outcome.error, outcome.reference
        step.next_at = (
            now + BY_HAND_AGAIN if outcome.error == MANUAL else max(outcome.until or now, now + pause_after(1))
        )
        if outcome.error != MANUAL:
            _ask_human(session, step, person, now)
        session.flush()
        return {"waits": 1}
    _failed(session, step, person, outcome.error or "failed", now)
    return {"failed": 1}


def _failed(session: Session, step: Propagation, person: Person | None, code: str, now: datetime) -> None:
    """Back off. What may have happened stays "called": it does no harm twice."""
    step.attempts += 1
    step.error, step.next_at = code, now + pause_after(step.attempts)
    if person is not None:
        _ask_human(session, step, person, now)
    session.flush()


def _ask_human(session: Session, step: Propagation, person: Person, now: datetime) -> None:
    """After five days of trouble a person is asked, too."""
    step.since = step.since or now
    if now - step.since >= HUMAN_AFTER:
        Manual(step.processor).propagate(session, person, Change(step.what, {}, step.key), now=now)


def _done(
    session: Session, step: Propagation, proof: str, by: uuid.UUID | None, reference: str, now: datetime
) -> None:  # fmt: skip
    step.state, step.proof, step.done_at, step.done_by = "done", proof, now, by
    step.error, step.next_at, step.since, step.reference = "", None, None, reference
    session.flush()
    drop_hand(session, step.key)
    append(session, Action.STEP_CONFIRMED, now=now, subject_kind="request" if step.request_id else "restriction",
           subject_id=step.request_id or step.restriction_id, step=step.what, processor=step.processor, how=proof)  # fmt: skip


def _who(step: Propagation) -> Processor:
    found = configured(step.processor)
    return found if Capability.PROPAGATE in found.capabilities else Manual(step.processor)


def _person(session: Session, step: Propagation) -> Person | None:
    """Whom it is about; None once they are erased."""
    source: Request | Restriction | None
    if step.request_id is not None:
        source = session.get_one(Request, step.request_id)
    else:
        source = session.get(Restriction, step.restriction_id)
    found = (source.student_id or source.visitor_id) if source else None
    if source is None or found is None:
        return None
    return Person("student" if source.student_id else "visitor", found, step.request_id)


def _fields(session: Session, person: Person, processor: Processor) -> dict[str, str]:
    """What the processor may know of the person, as it is now, by the words of the data map."""
    known: dict[str, str] = {}
    for name, key in RECORDS[person.kind]:
        table = Base.metadata.tables[name]
        labels = {column.name: column.info.get("privacy") for column in table.columns}
        wanted = [
            column.label(label.export) for column in table.columns
            if isinstance(label := labels[column.name], ColumnLabel) and label.export in processor.payload
        ]  # fmt: skip
        if wanted and (row := session.execute(select(*wanted).where(table.c[key] == person.id)).mappings().first()):
            known |= {str(word): str(value) for word, value in row.items() if value is not None}
    return known


DUE = """
    select p.id from privacy.propagation p
    where p.state in ('planned', 'called', 'waiting') and (coalesce(p.next_at, p.planned_at) <= :now or exists (
        select from privacy.manual_step m where m.key = privacy.propagation_key(p) and m.state = 'confirmed'))
    order by coalesce(p.next_at, p.planned_at), p.id limit 500
"""
