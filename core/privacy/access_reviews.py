"""The quarterly access review: somebody looks at each right, and confirms or removes it. Rules: migration 0011.

Source: ISO/IEC 27002:2022, 5.18; promise SEC-ACCESS counts a review of the last 90 days.
"""

import uuid
from datetime import UTC, date, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput
from core.models.base import uuid7
from core.models.staff import AccessReviewItem, Assignment, StaffMember
from core.privacy.audit import Action, append
from core.privacy.rules import ask
from core.privacy.sessions import Staff

REMOVE_REASONS = ("no longer needed", "left the company", "other work now", "never should have been")


def start_access_review(session: Session, *, due_on: date, by: Staff | None, now: datetime) -> int:
    """List everybody's rights as of now, to be decided until ``due_on``. Return how many. Raises BadInput while one is open."""
    if by is not None:
        identify(session, staff_id=by.id, session_id=by.session_id)
    review = uuid7()
    listed = int(ask(session, "staff.start_review(:id, :due, :now)", id=review, due=due_on, now=now))
    append(session, Action.REVIEW_STARTED, now=now, subject_kind="access review", subject_id=review, rights=listed)
    return listed


def decide_right(
    session: Session, *, item_id: uuid.UUID, verdict: str, by: Staff | None, now: datetime, reason: str = ""
) -> bool:
    """Confirm a right ("confirmed"), or take it away ("removed": the account is disabled, or the assignment ends).

    Return whether the review is over with it. Raises Refused for one's own right and for the only admin, NotFresh when
    something is removed without a fresh proof.
    """
    if by is not None:
        identify(session, staff_id=by.id, session_id=by.session_id)
    if verdict == "removed" and reason not in REMOVE_REASONS:
        raise BadInput(f"Choose one of these reasons: {', '.join(REMOVE_REASONS)}.")
    over = bool(ask(session, "staff.decide_right(:item, :verdict, :now)", item=item_id, verdict=verdict, now=now))
    action = Action.RIGHT_CONFIRMED if verdict == "confirmed" else Action.RIGHT_REMOVED
    more = {"reason": reason} if reason else {}
    append(session, action, now=now, subject_kind="right", subject_id=item_id, review_over=over, **more)
    return over


def settling_is_due(session: Session, *, now: datetime) -> bool:
    """Return whether a right in the open review ended by itself meanwhile."""
    today = now.astimezone(UTC).date()
    over = (StaffMember.disabled_at.is_not(None)) | (Assignment.ends_on < today)
    waiting = (
        select(AccessReviewItem.id)
        .join(StaffMember, StaffMember.id == AccessReviewItem.staff_id)
        .outerjoin(Assignment, Assignment.id == AccessReviewItem.assignment_id)
        .where(AccessReviewItem.verdict.is_(None), over)
    )
    return session.scalar(waiting.limit(1)) is not None


def settle_access_reviews(session: Session, *, now: datetime) -> bool:
    """As the worker: take rights that ended by themselves out of the open review. Return whether it is over with that."""
    return bool(ask(session, "staff.settle_reviews(:now)", now=now))
