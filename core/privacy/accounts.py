"""A student's account on our side: closed and opened again, and what has to follow elsewhere.

Closing is reversible: nothing is removed, an opt-out stays as it is, and reactivation gives everything back. What the
platform and its processors have to do (sign-in, tokens, marketing mail) is a row of ``propagation``, planned until it was done.
"""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.errors import Refused
from core.models.labels import Processor
from core.models.platform import Student
from core.models.requests import Propagation
from core.privacy.acting import Case
from core.privacy.propagating import cancel_propagations

AFTER_CLOSING = (
    ("sign-in off", Processor.MONGODB),
    ("tokens revoked", Processor.MONGODB),
    ("marketing off", Processor.SMTP),
)
AFTER_OPENING = (("sign-in on", Processor.MONGODB), ("marketing as before", Processor.SMTP))


def shut_account(session: Session, case: Case, student: Student, *, now: datetime) -> datetime:
    """Close the account of a case's student unless it is closed, and return when it was. Works before the request moves."""
    if student.closed_at is None:
        set_account(session, student, "closed", now)
        plan_steps(session, case, AFTER_CLOSING, now)
    return student.closed_at or now


def reopen_account(session: Session, case: Case, *, now: datetime) -> None:
    """Open the account of a case's student again, unless it is. Works before the request moves."""
    student = session.get(Student, case.request.student_id, populate_existing=True)
    if student is not None and student.account_status == "closed":
        set_account(session, student, "open", None)
    cancel_propagations(session, request_id=case.request.id)
    plan_steps(session, case, AFTER_OPENING, now)


def set_account(session: Session, student: Student, status: str, closed_at: datetime | None) -> None:
    """Close or open an account here; what has to follow elsewhere is the caller's. Raises Refused where it is not open to whoever acts."""
    mine = update(Student).where(Student.id == student.id).values(account_status=status, closed_at=closed_at)
    changed = session.execute(mine.returning(Student.id).execution_options(synchronize_session=False)).all()
    if not changed:
        raise Refused("This account is not open to you.", student_id=student.id)
    session.refresh(student)


def plan_steps(session: Session, case: Case, steps: tuple[tuple[str, Processor], ...], now: datetime) -> None:
    """Write down what has to follow elsewhere."""
    session.add_all(
        Propagation(request_id=case.request.id, what=what, processor=str(processor), planned_at=now)
        for what, processor in steps
    )
    session.flush()
