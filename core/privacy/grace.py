"""What the worker watches while requests are open: accounts that students closed themselves, signs of life during the grace
period, plans that are not what was approved, and requests that nobody acknowledged.

Danger: an erasure goes through on an old approval although something happened since. Principle: whatever makes the approval
doubtful sends the deletion back to people, before its day comes. Mechanism: each ``…_due`` reads what is due from the data,
each partner does it for one key in the worker's transaction and writes one audit line; doing it twice changes nothing.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.models.base import uuid7
from core.models.canaries import SOURCE as CANARY
from core.models.canaries import Canary
from core.models.platform import Student
from core.models.requests import Request, RequestClock, RequestMove
from core.policy import in_force
from core.policy.clock import add_months, grace_end
from core.policy.keeping import BY_RETENTION
from core.privacy import letters
from core.privacy.accounts import AFTER_CLOSING, plan_steps
from core.privacy.acting import Case, change, demand_move, of_system, write_text
from core.privacy.audit import Action, append
from core.privacy.deletion import approve_by_rule, changed_plan, reactivate
from core.privacy.preview import fingerprints, preview_of, store

CLOSED_BY_STUDENT = "closed by the student on the platform"
SIGNED_IN = "The student used the platform during the grace period. Ask whether they want their account back."


def closings_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the students whose account is closed and who have no open request for deletion."""
    return list(map(str, session.scalars(text(CLOSINGS))))


def adopt_closing(session: Session, *, student_id: uuid.UUID, now: datetime) -> int:
    """Make the closing of an account by its student a deletion, approved by rule; return 1 when it was new.

    The grace period runs from the closing on the platform. The identity is that of the sign-in there. The thresholds of the
    eraser apply to these as to all others.
    """
    student = session.get(Student, student_id, with_for_update=True, populate_existing=True)
    if student is None or student.closed_at is None or str(student_id) not in closings_due(session, now):
        return 0
    canary = session.scalar(select(Canary.id).where(Canary.student_id == student_id))
    _file(session, student, rule=CLOSED_BY_STUDENT, source=CANARY if canary else "platform", letter="closing", now=now,
          identity=("confirmed", "signed in on the platform"))  # fmt: skip
    return 1


def close_by_rule(session: Session, *, student_id: uuid.UUID, rule: str, now: datetime) -> uuid.UUID:
    """Close the account of a student whose subscription ended, as a deletion that a rule approves; return its request.

    The whole grace period follows; nobody asked, so no identity was checked.
    """
    student = session.get_one(Student, student_id, with_for_update=True, populate_existing=True)
    student.account_status, student.closed_at = "closed", now
    session.flush()
    return _file(session, student, rule=rule, source=BY_RETENTION, letter="subscription closing", now=now,
                 identity=("not checked", None))  # fmt: skip


def _file(
    session: Session,
    student: Student,
    *,
    rule: str,
    source: str,
    letter: str,
    identity: tuple[str, str | None],
    now: datetime,
) -> uuid.UUID:
    closed_at, rules = student.closed_at or now, in_force(session, now)
    request = Request(
        id=uuid7(), kind="delete", student_id=student.id, channel="platform", requester="subject", state="waiting",
        policy_version=rules.version, received_at=closed_at, filed_at=max(now, closed_at), moved_at=now,
        due_at=add_months(closed_at, rules.answer_months), answered_at=now, identity=identity[0],
        identity_method=identity[1], identity_at=closed_at if identity[1] else None, account_closed_at=closed_at,
        grace_ends_at=grace_end(closed_at, rules), source=source,
    )  # fmt: skip
    session.add(request)
    session.flush()
    session.refresh(request)
    case = Case(request, "close_by_rule" if source == BY_RETENTION else "adopt_closing", None)
    for what, at in (("start", closed_at), ("stop", now)):
        session.add(RequestClock(request_id=request.id, version=1, what=what, at=at, reason="account closed"))
    session.add(RequestMove(request_id=request.id, version=1, from_state="", to_state="waiting", moved_at=now))
    plan = preview_of(session, request, early=False, now=now)
    store(session, request, plan, by=None, now=now)
    approve_by_rule(session, request, plan, rule, now)
    plan_steps(session, case, AFTER_CLOSING, now)
    change(session, case, now=now, plan_fingerprint=plan.fingerprint, sentence="")
    letters.queue_closing(session, case, closed_at=closed_at, now=now, kind=letter)
    found = Action.LAPSED_CLOSED if source == BY_RETENTION else Action.CLOSING_FOUND
    append(session, found, now=now, subject_kind="request", subject_id=request.id, plan=plan.fingerprint[:16])
    return request.id


def signs_of_life_due(session: Session, now: datetime) -> Sequence[str]:
    """Return deletions whose student came back: the account is open again, or was used after the day of the closing."""
    return list(map(str, session.scalars(text(SIGNS.format(whose="")))))


def signs_of_life(session: Session, request_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of some deletions whose student came back."""
    return set(session.scalars(text(SIGNS.format(whose="r.id = any(:ids) and")), {"ids": list(request_ids)}))


def heed_sign_of_life(session: Session, *, request_id: uuid.UUID, now: datetime) -> int:
    """Act on a student who came back: reactivated on the platform cancels the deletion; a sign-in sends it back to approval."""
    if not signs_of_life(session, [request_id]):
        return 0
    case = of_system(session, verb="heed_sign_of_life", request_id=request_id)
    student = session.get(Student, case.request.student_id, populate_existing=True)
    if student is not None and student.account_status == "open":
        demand_move(session, case, "reactivated", now)
        reactivate(session, case, now=now, reason="reactivated on the platform")
        return 1
    demand_move(session, case, "to approve", now)
    write_text(session, case, "note", SIGNED_IN, now=now)
    change(session, case, to="to approve", now=now, sentence="")
    append(session, Action.SIGN_OF_LIFE, now=now, subject_kind="request", subject_id=request_id)
    return 1


def plans_due(session: Session, now: datetime) -> Sequence[str]:
    """Return approved deletions whose plan would be another one now."""
    waiting = session.scalars(select(Request).where(Request.state == "waiting").order_by(Request.grace_ends_at)).all()
    found = fingerprints(session, waiting, now=now)
    return [str(request.id) for request in waiting if found[request.id] != request.plan_fingerprint]


def recheck_plan(session: Session, *, request_id: uuid.UUID, now: datetime) -> int:
    """Send an approved deletion back to approval when its plan has changed; return 1 when it had."""
    case = of_system(session, verb="recheck_plan", request_id=request_id)
    if case.request.state != "waiting":
        return 0
    return int(changed_plan(session, case, now=now) is not None)


def acknowledgements_due(session: Session, now: datetime) -> Sequence[str]:
    """Return open requests of known people who were not told yet that we have them."""
    return list(map(str, session.scalars(text(UNACKNOWLEDGED))))


def acknowledge(session: Session, *, request_id: uuid.UUID, now: datetime) -> int:
    """Put the letter of receipt into the outbox, once; return 1 when it was new."""
    case = of_system(session, verb="acknowledge", request_id=request_id)
    if case.request.closed_at or case.request.answered_at:
        return 0
    new = letters.queue(session, case, "acknowledgement", now=now, key="first")
    if new:
        append(
            session,
            Action.LETTER_WRITTEN,
            now=now,
            subject_kind="request",
            subject_id=request_id,
            kind="acknowledgement",
        )
    return int(new)


CLOSINGS = """
    select s.id from platform.student s
    where s.account_status = 'closed' and not exists (
        select from privacy.request r where r.student_id = s.id and r.kind = 'delete' and r.closed_at is null)
    order by s.closed_at, s.id
"""
SIGNS = """
    select r.id from privacy.request r join platform.student s on s.id = r.student_id
    where {whose} r.kind = 'delete' and r.closed_at is null and r.state in ('to approve', 'waiting') and (
        s.account_status = 'open' or (r.state = 'waiting' and exists (
            select from platform.usage_event u join platform.enrollment e on e.id = u.enrollment_id
            where e.student_id = s.id and u.at >= date_trunc('day', r.account_closed_at) + interval '1 day'
              and u.at > r.moved_at)))
    order by r.id
"""
UNACKNOWLEDGED = """
    select r.id from privacy.request r
    where r.closed_at is null and r.answered_at is null and r.source = 'dashboard'
      and num_nonnulls(r.student_id, r.visitor_id) = 1
      and not exists (select from privacy.outbox o where o.request_id = r.id and o.kind = 'acknowledgement')
    order by r.received_at, r.id
"""
