"""Somebody below the minimum age is found: the account is closed at once and erased without a waiting period (clause 9).

Danger: a typing mistake in a year erases somebody for good, today. Principle: no person decides and none is needed, because the
policy itself says so; in its place stand what a machine can prove: the birth date of record, read in the student's favor (in doubt
nobody is too young), asked again in the transaction of the point of no return and by the database; the brakes against many at
once, legal holds, other open requests, the read-back and the certificate are those of every erasure. Mechanism: a deletion with
the source "age rule", early, approved by the rule :data:`RULE`; ``privacy.is_approved`` lets that rule waive the grace period
only while the birth date of record says so. A plan that has changed since (a hold was placed or released) goes to people, as always.
Where the date was wrong, or the birthday came first, the account opens again.

Waiving the grace period is otherwise an early deletion with two approvers (core.privacy.deletion): this is the one exception.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.models.base import uuid7
from core.models.consent import Consent, Guardian
from core.models.platform import Student
from core.models.requests import Request, RequestClock, RequestMove
from core.policy import in_force
from core.policy.age import AgeStanding, case_days
from core.policy.clock import add_months
from core.privacy import consent_letters, letters
from core.privacy.accounts import AFTER_CLOSING, plan_steps, set_account
from core.privacy.acting import Case, change, demand_move, of_system
from core.privacy.audit import Action, append
from core.privacy.consent_watch import standing_of
from core.privacy.deletion import approve_by_rule, reactivate
from core.privacy.preview import preview_of, store

RULE, SOURCE = "below the minimum age (clause 9)", "age rule"
OLD_ENOUGH = "not below the minimum age"


def found_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the students below the minimum age whose account is open, or who are in no deletion."""
    return list(map(str, session.scalars(text(FOUND), case_days(now, in_force(session, now)))))


def close_below_age(session: Session, *, student_id: uuid.UUID, now: datetime) -> int:
    """Close the account and put its erasure up, approved by the rule; return 1 when it was new.

    Somebody who is in a deletion already keeps that one: the account is closed, and people may waive its grace period.
    """
    student = session.get(Student, student_id, with_for_update=True, populate_existing=True)
    if student is None or str(student_id) not in found_due(session, now):
        return 0
    if student.closed_at is None:
        set_account(session, student, "closed", now)
    deletions = select(Request.id).where(
        Request.student_id == student_id, Request.kind == "delete", Request.closed_at.is_(None)
    )
    if session.scalar(deletions) is not None:
        append(session, Action.BELOW_AGE, now=now, subject_kind="student", subject_id=student_id)
        return 1
    case = _deletion(session, student, now)
    plan = preview_of(session, case.request, early=True, now=now)
    store(session, case.request, plan, by=None, now=now)
    approve_by_rule(session, case.request, plan, RULE, now)
    plan_steps(session, case, AFTER_CLOSING, now)
    change(session, case, now=now, plan_fingerprint=plan.fingerprint, sentence="")
    _tell(session, case.request, now)
    append(session, Action.BELOW_AGE, now=now, subject_kind="request", subject_id=case.request.id,
           plan=plan.fingerprint[:16])  # fmt: skip
    return 1


def mended_due(session: Session, now: datetime) -> Sequence[str]:
    """Return deletions by this rule that have not begun and whose student is not below the minimum age (any more)."""
    return list(map(str, session.scalars(text(MENDED), case_days(now, in_force(session, now)))))


def mend(session: Session, *, request_id: uuid.UUID, now: datetime) -> int:
    """Open the account again: the birth date was wrong, or the birthday came first. Return 1 when that was so."""
    case = of_system(session, verb="mend_below_age", request_id=request_id)
    if case.request.source != SOURCE or case.request.state != "waiting" or _still_below(session, case.request, now):
        return 0
    demand_move(session, case, "reactivated", now)
    letters.cancel_waiting(session, case, now=now, kinds=("below age",))
    reactivate(session, case, now=now, reason=OLD_ENOUGH)
    return 1


def _still_below(session: Session, request: Request, now: datetime) -> bool:
    record = session.get(Consent, request.student_id, populate_existing=True)
    return record is not None and standing_of(session, record, now) is AgeStanding.BELOW


def _deletion(session: Session, student: Student, now: datetime) -> Case:
    rules, closed_at = in_force(session, now), student.closed_at or now
    request = Request(
        id=uuid7(), kind="delete", student_id=student.id, channel="platform", requester="subject", state="waiting", early=True,
        policy_version=rules.version, received_at=now, filed_at=now, moved_at=now, due_at=add_months(now, rules.answer_months),
        answered_at=now, identity="confirmed", identity_method="birth date of record", identity_at=now,
        account_closed_at=closed_at, grace_ends_at=now, source=SOURCE,
    )  # fmt: skip
    session.add(request)
    session.flush()
    session.refresh(request)
    for what in ("start", "stop"):
        session.add(RequestClock(request_id=request.id, version=1, what=what, at=now, reason="account closed"))
    session.add(RequestMove(request_id=request.id, version=1, from_state="", to_state="waiting", moved_at=now))
    session.flush()
    return Case(request, "close_below_age", None)


def _tell(session: Session, request: Request, now: datetime) -> None:
    """To the guardian, where one is known, and to the student: this is also the last letter, for which the erasure waits."""
    assert request.student_id is not None
    about = consent_letters.pupil(session, request.student_id, by=None)
    record = session.get(Consent, request.student_id)
    guardian = session.get(Guardian, record.guardian_id) if record and record.guardian_id else None
    if guardian is not None:
        consent_letters.write(session, about, "below age", to=guardian, key=f"{request.id}:guardian", request_id=request.id,
                              by=None, now=now)  # fmt: skip
    consent_letters.write(session, about, "below age", key=f"{request.id}:completion:erasure", request_id=request.id, by=None,
                          now=now)  # fmt: skip


FOUND = """
    select c.student_id from privacy.consent c join platform.student s on s.id = c.student_id
    where c.birth_date > :allowed and (s.account_status = 'open' or not exists (
        select from privacy.request r where r.student_id = s.id and r.kind = 'delete' and r.closed_at is null))
    order by c.birth_date, c.student_id
"""
MENDED = """
    select r.id from privacy.request r join privacy.consent c on c.student_id = r.student_id
    where r.source = 'age rule' and r.state = 'waiting' and (c.birth_date is null or c.birth_date <= :allowed)
    order by r.id
"""
