"""What those who teach decide about their students: handled until a day, limits of a cohort, who takes a review; and the
record that a cohort's learning data was looked at.

Row-level security says whose students these are: a verb finds nothing of a cohort that is not assigned today, and the
answer is the same as for something that is not there.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import ColumnElement, func, insert, or_, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, NotFound, Refused, Stale
from core.models.base import uuid7
from core.models.platform import HELP_LIMITS, Cohort, Enrollment, HelpLimit, HelpNote, ReviewClaim, Submission
from core.models.staff import TEACHING_ROLES
from core.privacy.audit import Action, append, append_once
from core.privacy.sessions import Staff
from core.words import clean

LONGEST_NOTE = 500
LONGEST_HANDLED = timedelta(days=180)
ABANDONED = timedelta(days=3)
CLOSED = "There is no such student, or the record is not open to you."


def mark_handled(
    session: Session, *, enrollment_id: uuid.UUID, until: date, note: str, by: Staff, now: datetime
) -> None:
    """Take a student off the list of those who need help until a day (included), with a short note.

    The note is learning data: it is part of the student's own export. Raises BadInput for a day in the past or more than 180
    days ahead, or a note of more than 500 characters; NotFound for an enrollment that is not open to ``by``.
    """
    today = now.astimezone(UTC).date()
    if not today <= until <= today + LONGEST_HANDLED:
        raise BadInput(f"Choose a day from today to {LONGEST_HANDLED.days} days ahead.", until=until)
    words = clean(" ".join(note.split()), what="The note", longest=LONGEST_NOTE)
    _note(session, enrollment_id, until, words, by, now)


def put_back(session: Session, *, enrollment_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Put a student back on the list of those who need help, as long as a reason holds. Earlier notes stay."""
    _note(session, enrollment_id, None, "", by, now)


def set_help_limits(
    session: Session, *, cohort_id: uuid.UUID, limits: Mapping[str, int], by: Staff, now: datetime
) -> None:
    """Set from when on a student of a cohort needs help; ``limits`` names each of HELP_LIMITS, 0 switches a reason off.

    Raises BadInput for a number out of its range, NotFound for a cohort that is not assigned to ``by``.
    """
    _teaching(session, by)
    if set(limits) != set(HELP_LIMITS) or any(not 0 <= limits[name] <= most for name, most in HELP_LIMITS.items()):
        raise BadInput("A limit is a whole number within its range; 0 switches a reason off.")
    if not session.scalar(select(Cohort.id).where(Cohort.id == cohort_id, _mine(Cohort.__table__.c.id))):
        raise NotFound("There is no such cohort, or it is not assigned to you.", cohort_id=cohort_id)
    row = {**limits, "changed_by": by.id, "changed_at": now}
    written = upsert(HelpLimit).values(cohort_id=cohort_id, **row)
    session.execute(written.on_conflict_do_update(index_elements=[HelpLimit.cohort_id], set_=row))
    append(session, Action.LIMITS_SET, now=now, subject_kind="cohort", subject_id=cohort_id, **limits)


def take_review(session: Session, *, submission_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Take the review of a waiting submission, so that nobody else begins it too.

    Raises Stale when somebody else has it (for less than three days) or it is reviewed by now; NotFound when it is not
    open to ``by``. Of two at the same moment the first wins.
    """
    _teaching(session, by)
    found = session.execute(select(Submission).where(Submission.id == submission_id)).scalar()
    if found is None:
        raise NotFound("There is no such submission, or it is not open to you.", submission_id=submission_id)
    if found.status != "waiting for review":
        raise Stale("This submission is reviewed by now. The list shows what still waits.")
    mine = {"staff_id": by.id, "taken_at": now}
    taken = upsert(ReviewClaim).values(
        submission_id=submission_id, enrollment_id=found.enrollment_id, cohort_id=found.cohort_id, **mine
    )
    free = or_(ReviewClaim.staff_id.is_(None), ReviewClaim.staff_id == by.id, ReviewClaim.taken_at < now - ABANDONED)
    taken = taken.on_conflict_do_update(index_elements=[ReviewClaim.submission_id], set_=mine, where=free)
    if session.execute(taken.returning(ReviewClaim.submission_id)).first() is None:
        raise Stale(f"{_taker(session, submission_id)} took this review first. Choose another one.")
    append(session, Action.REVIEW_TAKEN, now=now, subject_kind="submission", subject_id=submission_id)


def give_review_back(session: Session, *, submission_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Give a review back that ``by`` took. Raises Stale when it is not theirs (any more)."""
    _teaching(session, by)
    claim = session.get(ReviewClaim, submission_id)
    if claim is None or claim.staff_id != by.id:
        raise Stale("This review is not yours. The list shows who has it.")
    claim.staff_id, claim.taken_at = None, now
    session.flush()
    append(session, Action.REVIEW_GIVEN_BACK, now=now, subject_kind="submission", subject_id=submission_id)


def record_cohort_view(session: Session, *, cohort_id: uuid.UUID, purpose: str, by: Staff, now: datetime) -> None:
    """Record that the learning data of a whole cohort was shown: one line per session, cohort and purpose in 15 minutes."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    append_once(session, Action.COHORT_VIEWED, now=now, subject_kind="cohort", subject_id=cohort_id, purpose=purpose)


def _teaching(session: Session, by: Staff) -> None:
    identify(session, staff_id=by.id, session_id=by.session_id)
    if by.role not in TEACHING_ROLES:
        raise Refused("This is for instructors and mentors, in the cohorts that are assigned to them.", role=by.role)


def _note(session: Session, enrollment_id: uuid.UUID, until: date | None, words: str, by: Staff, now: datetime) -> None:
    _teaching(session, by)
    found = session.execute(
        select(Enrollment.student_id, Enrollment.cohort_id).where(
            Enrollment.id == enrollment_id, _mine(Enrollment.__table__.c.cohort_id)
        )
    ).first()
    if found is None:
        raise NotFound(CLOSED, enrollment_id=enrollment_id)
    row = {"id": uuid7(), "enrollment_id": enrollment_id, "cohort_id": found.cohort_id, "handled_until": until}
    session.execute(insert(HelpNote).values(**row, note=words, written_by=by.id, written_at=now))
    append(
        session,
        Action.HELP_NOTED,
        now=now,
        subject_kind="student",
        subject_id=found.student_id,
        handled_until=until.isoformat() if until else None,
    )


def _mine(cohort_id: ColumnElement[uuid.UUID]) -> ColumnElement[bool]:
    """Whether a cohort is assigned today: only the enrollments of these are open to whoever teaches."""
    return cohort_id == func.any(text("(select staff.my_cohorts())::uuid[]"))


def _taker(session: Session, submission_id: uuid.UUID) -> str:
    named = text(
        "select c.name from platform.review_claim r join staff.colleagues() c on c.id = r.staff_id"
        " where r.submission_id = :id"
    )
    return str(session.scalar(named, {"id": submission_id}) or "Somebody else")
