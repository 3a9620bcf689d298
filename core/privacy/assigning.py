"""Which cohort's learning data opens to whom, as admins decide in the dashboard. The rules stand in migration 0011."""

import uuid
from datetime import date, datetime

from sqlalchemy.orm import Session

from core.db import identify
from core.models.base import uuid7
from core.privacy.audit import Action, append, guarded
from core.privacy.rules import ask
from core.privacy.sessions import Staff


@guarded
def add_assignment(
    session: Session,
    *,
    staff_id: uuid.UUID,
    cohort_id: uuid.UUID,
    starts_on: date,
    ends_on: date | None,
    by: Staff,
    now: datetime,
) -> uuid.UUID:
    """Open a cohort's learning data to an instructor or mentor, from day to day (UTC), both included; None: no end yet.

    Raises BadInput for another role, a disabled account, days the wrong way round, or days that are covered already.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    made = {"id": uuid7(), "staff": staff_id, "cohort": cohort_id, "starts": starts_on, "ends": ends_on, "now": now}
    ask(session, "staff.add_assignment(:id, :staff, :cohort, :starts, :ends, :now)", **made)
    append(session, Action.ASSIGNED, now=now, subject_kind="staff", subject_id=staff_id, cohort=str(cohort_id))
    return uuid.UUID(str(made["id"]))


def end_assignment(
    session: Session, *, assignment_id: uuid.UUID, last_day: date | None, by: Staff, now: datetime
) -> None:
    """End an assignment after ``last_day``; None: at once, from the next click of its owner.

    Raises BadInput when it is over, or would become longer.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    ask(session, "staff.end_assignment(:id, :last, :now)", id=assignment_id, last=last_day, now=now)
    append(session, Action.ASSIGNMENT_ENDED, now=now, subject_kind="assignment", subject_id=assignment_id,
           last_day=last_day.isoformat() if last_day else "at once")  # fmt: skip
