"""Manual steps: what a person does at a processor, attested with evidence by one and confirmed by another.

Danger: one person's word is taken for proof. Principle: who attests does not confirm; evidence is given in one's own name and
kept by its digest after the person is erased. Mechanism: ``privacy.manual_step``, whose trigger asks for both again.
"""

import hashlib
import uuid
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound, Refused
from core.models.base import among
from core.models.erasure import RETURN_REASONS, ManualStep
from core.privacy.audit import Action, append, append_view, guarded
from core.privacy.holds import FoundPerson, as_officer
from core.privacy.sessions import Staff, demand_fresh
from core.words import clean_text

LONGEST_EVIDENCE = 20_000
MISSING = "There is no such step, or it is not open to you."


def reveal_step_person(session: Session, *, step_id: uuid.UUID, by: Staff, now: datetime) -> FoundPerson:
    """Return whom a step is about, to be looked up at the processor, and record that they were seen.

    Raises NotFound once it is confirmed, or the person is erased here: then nobody needs to know any more.
    """
    as_officer(session, by, do="see to manual steps")
    row = session.execute(text("select * from privacy.step_person(:step)"), {"step": step_id}).first()
    if row is None:
        raise NotFound(MISSING)
    append_view(session, person_kind=row.kind, person_ids=[row.id], purpose="manual step", now=now)
    return FoundPerson(row.kind, row.id, row.name, row.email)


def take_manual_step(session: Session, *, step_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Take a step over: ``by`` sees to it."""
    step = _locked(session, step_id, by)
    if step.owner_id != by.id:
        step.owner_id = by.id
        session.flush()
        _told(session, Action.MANUAL_TAKEN, step, now)


@guarded
def attest_manual_step(session: Session, *, step_id: uuid.UUID, evidence: str, by: Staff, now: datetime) -> None:
    """Say, with evidence, that a step was done at the processor. The same words again change nothing."""
    step = _locked(session, step_id, by)
    words = clean_text(evidence, what="The evidence", longest=LONGEST_EVIDENCE)
    if not words:
        raise BadInput(
            "Write what was done and how you saw that it worked: the day, the place, the number of the ticket."
        )
    digest = hashlib.sha256(words.encode()).digest()
    if step.state == "attested" and (step.attested_by, step.evidence_sha256) == (by.id, digest):
        return
    if step.state != "open":
        raise BadInput("This step was attested already. Confirm it, or return it.")
    step.state, step.attested_at, step.attested_by, step.returned_for = "attested", now, by.id, None
    step.evidence, step.evidence_sha256, step.owner_id = words, digest, step.owner_id or by.id
    session.flush()
    _told(session, Action.MANUAL_ATTESTED, step, now)


@guarded
def confirm_manual_step(session: Session, *, step_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Confirm, as another person who has read the evidence, that a step is done.

    A company that declared a single officer has nobody else: then the same person may, and the Policy page says so.
    """
    step = _locked(session, step_id, by)
    if step.state == "confirmed" and step.confirmed_by == by.id:
        return
    demand_fresh(by, now)
    if step.state != "attested":
        raise BadInput("Only a step that was attested and not confirmed yet can be confirmed.")
    if step.attested_by == by.id and not session.scalar(text("select privacy.single_officer()")):
        raise Refused("You attested this step. Another privacy officer has to confirm it.")
    step.state, step.confirmed_at, step.confirmed_by = "confirmed", now, by.id
    session.flush()
    _told(session, Action.MANUAL_CONFIRMED, step, now)


@guarded
def return_manual_step(session: Session, *, step_id: uuid.UUID, reason: str, by: Staff, now: datetime) -> None:
    """Send an attested step back, because its evidence does not show that it was done. ``reason`` is one of RETURN_REASONS."""
    step = _locked(session, step_id, by)
    if reason not in RETURN_REASONS:
        raise BadInput(f"Choose a reason: {', '.join(RETURN_REASONS)}.")
    if step.state == "open" and step.returned_for == reason:
        return
    if step.state != "attested":
        raise BadInput("Only a step that was attested and not confirmed yet can be returned.")
    step.state, step.returned_for = "open", reason
    step.attested_at, step.attested_by, step.evidence, step.evidence_sha256 = None, None, None, None
    session.flush()
    _told(session, Action.MANUAL_RETURNED, step, now)


def is_confirmed(session: Session, key: str) -> ManualStep | None:
    """Return the step of an order when two persons have said that it is done, as the worker."""
    asked = select(ManualStep).where(ManualStep.key == key, ManualStep.state == "confirmed")
    return session.scalars(asked).first()


def drop_hand(session: Session, *keys: str) -> None:
    """Nobody needs to do these by hand any more: the processor did it, or what it followed from was taken back."""
    asked = update(ManualStep).where(among(ManualStep.key, keys), ManualStep.state.in_(("open", "attested")))
    session.execute(asked.values(state="canceled").execution_options(synchronize_session=False))


def _locked(session: Session, step_id: uuid.UUID, by: Staff) -> ManualStep:
    as_officer(session, by, do="see to manual steps")
    step = session.get(ManualStep, step_id, with_for_update=True, populate_existing=True)
    if step is None:
        raise NotFound(MISSING)
    asked = {"student": step.student_id, "visitor": step.visitor_id}
    if session.scalar(text("select privacy.is_my_own(:student, :visitor)"), asked):
        raise Refused("This is about your own record. Another privacy officer has to see to it.")
    return step


def _told(session: Session, action: Action, step: ManualStep, now: datetime) -> None:
    append(
        session,
        action,
        now=now,
        subject_kind="manual step",
        subject_id=step.id,
        processor=step.processor,
        what=step.what,
    )
