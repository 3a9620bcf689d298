"""Quarantine: records that may be of erased people, and findings that may be about them. A privacy officer decides.

Danger: a new student is kept out for good, or somebody who was erased is let in by a habit of clicking. Principle: one decision on
one record, by somebody who has just proved who they are; the record is emptied with it. Mechanism: definer functions, which ask
again who acts; what was let in does not come back into quarantine, what was discarded is refused from then on.
"""

import uuid
from datetime import datetime

from sqlalchemy.orm import Session

from core.errors import BadInput
from core.models.proof import VERDICTS
from core.privacy.audit import Action, append, append_view, guarded
from core.privacy.holds import as_officer
from core.privacy.rules import ask
from core.privacy.sessions import Staff, demand_fresh

LET_IN_REASONS = ("signed up again", "somebody else", "erased by mistake")
DISCARD_REASONS = ("old record", "test record", "cannot be told")


@guarded
def let_in(session: Session, *, record_id: uuid.UUID, reason: str, by: Staff, now: datetime) -> uuid.UUID | None:
    """Let a quarantined record in as a new student or visitor, and return their id; None when that was decided before.

    ``reason`` is one of LET_IN_REASONS. What else the import knew of them comes with the next import.
    """
    _demand(session, by, reason, LET_IN_REASONS, now)
    made = ask(session, "privacy.decide_quarantined(:id, true, :reason, :now)", id=record_id, reason=reason, now=now)
    if made is not None:
        append(session, Action.QUARANTINE_DECIDED, now=now, subject_kind="quarantined record", subject_id=record_id,
               decision="let in", reason=reason)  # fmt: skip
    return uuid.UUID(str(made)) if made else None


@guarded
def discard(session: Session, *, record_id: uuid.UUID, reason: str, by: Staff, now: datetime) -> None:
    """Discard a quarantined record: it is emptied, and refused when it comes again. ``reason`` is one of DISCARD_REASONS."""
    _demand(session, by, reason, DISCARD_REASONS, now)
    done = ask(session, "privacy.decide_quarantined(:id, false, :reason, :now)", id=record_id, reason=reason, now=now)
    if done is not None:
        append(session, Action.QUARANTINE_DECIDED, now=now, subject_kind="quarantined record", subject_id=record_id,
               decision="discarded", reason=reason)  # fmt: skip


@guarded
def judge_finding(session: Session, *, finding_id: uuid.UUID, verdict: str, by: Staff, now: datetime) -> None:
    """Say of a finding of the residue scan what it is; the scan looks again at once. ``verdict`` is one of VERDICTS."""
    _demand(session, by, verdict, VERDICTS, now)
    if ask(session, "privacy.judge_finding(:id, :verdict, :now)", id=finding_id, verdict=verdict, now=now):
        append(session, Action.FINDING_JUDGED, now=now, subject_kind="finding", subject_id=finding_id, verdict=verdict)


def open_quarantined(session: Session, *, record_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Record that an officer looked at what a quarantined record says of a person: once in 15 minutes."""
    as_officer(session, by, do="look at what was set aside")
    append_view(session, person_kind="quarantined record", person_ids=[record_id], purpose="quarantine", now=now)


def _demand(session: Session, by: Staff, chosen: str, known: tuple[str, ...], now: datetime) -> None:
    as_officer(session, by, do="decide about what was set aside")
    demand_fresh(by, now)
    if chosen not in known:
        raise BadInput(f"Choose one: {', '.join(known)}.")
