"""A deletion, up to the point of no return: close the account, show the plan, approve it, or take everything back.

Danger: the wrong person is erased, too early, by one person's mistake. Principle: what one officer does alone can be taken back;
what cannot is approved by a second one, who has opened exactly that plan and proved who they are; the grace period is
30 times 24 hours from the closing and counted by the database. Mechanism: the plan's fingerprint is stored when it is
shown (``plan_view``), with each approval, and computed anew before every step; a different one goes back to approval. The
trigger on ``request`` counts approvals itself.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import AdminError, BadInput, NotFound, Refused, Stale
from core.models.base import uuid7
from core.models.platform import Student, StudentProfile
from core.models.requests import Approval, Declaration, DeletionPlan, PlanView, Request
from core.policy.clock import grace_end
from core.policy.machine import STATE_WORDS, number
from core.privacy import letters
from core.privacy.accounts import reopen_account, shut_account
from core.privacy.acting import (
    MISSING,
    Case,
    Receipt,
    begin,
    change,
    demand_move,
    demand_not_own,
    hold_officer,
    parameters,
    stop_clock,
    subject,
    tick,
    write_text,
)
from core.privacy.audit import Action, append, guarded
from core.privacy.preview import Preview, preview_of, store
from core.privacy.sessions import Staff, demand_fresh

APPROVALS = ("plan is right", "student asked again", "account was closed by the student")
REACTIVATIONS = ("the student changed their mind", "closed by mistake", "plan was wrong")
SEND_BACKS = ("approved by mistake", "something new came up")
# why a plan goes back before its approval → the state it goes back to
RETURNS = {
    "not the right person": "received",
    "identity is in doubt": "received",
    "the plan is not right": "verified",
    "something has to be held first": "verified",
}
MANY = 20
SINGLE_OFFICER = "single officer"


@dataclass(frozen=True)
class PlanShown:
    """A plan as an officer was shown it. ``fingerprint`` goes back with the approval."""

    request_id: uuid.UUID
    number: str
    fingerprint: str
    policy_version: str
    document: dict[str, Any]
    made_at: datetime


@dataclass(frozen=True)
class BulkReceipt:
    """What became of a bulk approval: receipts of those that went through, and for each bad one its number and sentence."""

    done: tuple[Receipt, ...]
    refused: tuple[tuple[str, str], ...]


@guarded
def close_account(
    session: Session, *, request_id: uuid.UUID, version: int, by: Staff, now: datetime, words: str = ""
) -> Receipt:
    """Close the account of a verified deletion at once, and put its plan up for approval by a second person.

    The grace period runs from the closing (or from the day on which the student closed the account themselves); the
    student is told the date, and again on days 23 and 29. A visitor has no account: only the plan is prepared, and no grace
    period runs. Needs a fresh proof of identity. ``words`` are added to the letter.
    """
    case = begin(session, verb="close_account", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    demand_move(session, case, "to approve", now, start=("verified",))
    person = subject(session, case.request)
    if person is None:
        raise BadInput("Find out who this is first.")
    values: dict[str, Any] = {"grace_ends_at": now}
    if isinstance(person, Student):
        closed_at = shut_account(session, case, person, now=now)
        ends = grace_end(closed_at, parameters(session, case.request))
        values = {
            "account_closed_at": closed_at,
            "grace_ends_at": ends,
            "opted_out_before": _opted_out(session, person),
        }
    plan = preview_of(session, case.request, early=False, now=now)
    store(session, case.request, plan, by=by, now=now)
    values |= stop_clock(session, case, now=now, reason="account closed")
    sentence = (
        f"The account is closed. It can be reactivated until {values['grace_ends_at']:%-d %B %Y, %H:%M} UTC."
        if isinstance(person, Student)
        else "The plan is ready. A second person approves it."
    )
    receipt = change(session, case, to="to approve", now=now, sentence=sentence, plan_fingerprint=plan.fingerprint,
                     owner_id=case.request.owner_id or by.id, **values)  # fmt: skip
    if isinstance(person, Student):
        letters.queue_closing(session, case, closed_at=values["account_closed_at"], now=now, words=words)
    append(session, Action.ACCOUNT_CLOSED, now=now, subject_kind="request", subject_id=request_id,
           plan=plan.fingerprint[:16], account=isinstance(person, Student))  # fmt: skip
    return receipt


def preview_deletion(session: Session, *, request_id: uuid.UUID, by: Staff, now: datetime) -> PlanShown:
    """Return what a deletion would do if the account were closed now. Nothing is kept, and nothing can be approved by it.

    Raises NotFound when there is no such request, or it is no deletion of somebody known.
    """
    hold_officer(session, by)
    request = session.get(Request, request_id)
    if request is None or request.kind != "delete" or not (request.student_id or request.visitor_id):
        raise NotFound("There is nothing to preview, or it is not open to you.", request_id=request_id)
    plan = preview_of(session, request, early=request.early, now=now)
    return PlanShown(request.id, number(request.number), plan.fingerprint, plan.policy_version, plan.document, now)


def open_plan(session: Session, *, request_id: uuid.UUID, by: Staff, now: datetime) -> PlanShown:
    """Return the plan of a deletion that waits for approval, and record that ``by`` was shown it.

    Each opening is recorded as a view; one audit line per person and plan.
    """
    hold_officer(session, by)
    request = session.get(Request, request_id)
    if request is None or request.plan_fingerprint is None:
        raise NotFound("There is no such plan, or it is not open to you.", request_id=request_id)
    plan = _stored(session, request)
    seen = select(PlanView.id).where(
        PlanView.request_id == request.id, PlanView.staff_id == by.id, PlanView.fingerprint == plan.fingerprint
    )
    new = session.scalar(seen.limit(1)) is None
    if new:
        session.add(PlanView(request_id=request.id, fingerprint=plan.fingerprint, staff_id=by.id, viewed_at=now))
        session.flush()
        append(session, Action.PLAN_OPENED, now=now, subject_kind="request", subject_id=request.id,
               plan=plan.fingerprint[:16])  # fmt: skip
    return PlanShown(
        request.id, number(request.number), plan.fingerprint, plan.policy_version, plan.document, plan.made_at
    )


@guarded
def approve_deletion(
    session: Session,
    *,
    request_id: uuid.UUID,
    version: int,
    fingerprint: str,
    confirmation: str,
    reason: str,
    by: Staff,
    now: datetime,
    note: str = "",
) -> Receipt:
    """Approve a deletion as the second person. ``confirmation`` is the typed number (R-2041); ``reason`` one of APPROVALS.

    ``fingerprint`` is that of the plan that ``by`` has opened. The receipt's ``what`` is "approve_deletion" (approved: the
    grace period runs out), "approval missing" (an early deletion or a large bulk needs another person too) or "plan
    changed": then nothing is approved, and the new plan waits to be opened.

    Raises BadInput (not waiting for approval; wrong confirmation; plan not opened), Stale (another plan), NotFresh, Refused
    (filed, owned or closed by ``by``, unless the company declared a single officer; their own record).
    """
    case = begin(session, verb="approve_deletion", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _demand_approvable(session, case, fingerprint, confirmation, reason, by, now)
    if changed := changed_plan(session, case, now=now):
        return changed
    write_text(session, case, "note", note, now=now)
    return _approve(session, case, reason, by=by, now=now, needed=case.request.approvals_needed)


@guarded
def approve_deletions(
    session: Session,
    *,
    items: Sequence[tuple[uuid.UUID, int, str]],
    confirmation: str,
    reason: str,
    by: Staff,
    now: datetime,
) -> BulkReceipt:
    """Approve several deletions; ``items`` are (request id, version, fingerprint of the opened plan).

    ``confirmation`` is the number of requests, typed. Each bad one is named, the rest goes through. More than 20 at once need
    one more person: this approval counts, and another officer's has to follow for each.
    """
    hold_officer(session, by)
    demand_fresh(by, now)
    if confirmation.strip() != str(len(items)):
        raise BadInput(f"Type the number of requests, {len(items)}, to confirm.")
    done: list[Receipt] = []
    refused: list[tuple[str, str]] = []
    for request_id, version, fingerprint in items:
        try:
            with session.begin_nested():
                done.append(
                    _approve_one(session, request_id, version, fingerprint, reason, by, now, many=len(items) > MANY)
                )
        except AdminError as error:
            refused.append((_label(session, request_id), error.sentence))
    return BulkReceipt(tuple(done), tuple(refused))


@guarded
def ask_early(
    session: Session, *, request_id: uuid.UUID, version: int, words: str, by: Staff, now: datetime
) -> Receipt:
    """Waive the grace period of a closed account, because the student says so: ``words`` are theirs and needed.

    The plan becomes another one, and two persons approve it, neither of whom filed, owns or closed.
    """
    case = begin(session, verb="ask_early", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _demand_state(case, "to approve")
    demand_not_own(session, case.request)
    demand_fresh(by, now)
    if case.request.early:
        raise BadInput("This is an early deletion already.")
    if case.request.student_id is None:
        raise BadInput("A visitor has no grace period to waive.")
    write_text(session, case, "words", words, now=now, needed="An early deletion needs the student's own words.")
    plan = preview_of(session, case.request, early=True, now=now)
    store(session, case.request, plan, by=by, now=now)
    receipt = change(session, case, now=now, early=True, approvals_needed=2, plan_fingerprint=plan.fingerprint,
                     sentence="Two persons have to approve the early deletion.")  # fmt: skip
    append(
        session, Action.EARLY_ASKED, now=now, subject_kind="request", subject_id=request_id, plan=plan.fingerprint[:16]
    )
    return receipt


def reactivate_account(
    session: Session, *, request_id: uuid.UUID, version: int, reason: str, by: Staff, now: datetime, words: str = ""
) -> Receipt:
    """Open the account again and cancel its deletion, at any time before the erasure begins; everything is as it was.

    ``reason`` is one of REACTIVATIONS; ``words`` are added to the letter. Reminders that wait are canceled.
    """
    case = begin(session, verb="reactivate_account", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    if reason not in REACTIVATIONS:
        raise BadInput(f"Choose a reason: {', '.join(REACTIVATIONS)}.")
    demand_move(session, case, "reactivated", now)
    if case.request.student_id is None:
        raise BadInput("A visitor has no account: record that they withdrew their request.")
    return reactivate(session, case, now=now, reason=reason, words=words)


def send_back(
    session: Session, *, request_id: uuid.UUID, version: int, reason: str, by: Staff, now: datetime, note: str = ""
) -> Receipt:
    """Take an approval back while the grace period runs: the plan waits for approval again. ``reason`` is one of SEND_BACKS."""
    case = begin(session, verb="send_back", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    if reason not in SEND_BACKS:
        raise BadInput(f"Choose a reason: {', '.join(SEND_BACKS)}.")
    _demand_state(case, "waiting")
    demand_move(session, case, "to approve", now)
    write_text(session, case, "note", note, now=now)
    plan = preview_of(session, case.request, early=case.request.early, now=now)
    store(session, case.request, plan, by=by, now=now)
    receipt = change(session, case, to="to approve", now=now, plan_fingerprint=plan.fingerprint,
                     sentence="The approval is taken back; the plan waits for one again.")  # fmt: skip
    append(session, Action.APPROVAL_TAKEN_BACK, now=now, subject_kind="request", subject_id=request_id, reason=reason)
    return receipt


def return_plan(
    session: Session,
    *,
    request_id: uuid.UUID,
    version: int,
    reason: str,
    note: str,
    by: Staff,
    now: datetime,
    words: str = "",
) -> Receipt:
    """Send a plan that nobody has approved for good back to whoever put it up, with a ``note`` for them.

    ``reason`` is one of RETURNS. The account that was closed for it opens again, and the clock of the answer runs on from its
    start, because the person has no answer any more. After "not the right person" or "identity is in doubt" the identity is
    checked anew. Who was told of the closing already gets a letter, with ``words``. Needs a fresh proof of identity.

    Raises BadInput when the student closed the account themselves: that is theirs to take back (reactivate_account).
    """
    case = begin(session, verb="return_plan", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    if reason not in RETURNS:
        raise BadInput(f"Choose a reason: {', '.join(RETURNS)}.")
    request, to = case.request, RETURNS[reason]
    demand_move(session, case, to, now, start=("to approve",))
    if session.scalar(text("select privacy.closed_by_student(:id)"), {"id": request.id}):
        raise BadInput(
            "The student closed this account on the platform, so it stays closed. Place a hold, or reactivate it when they want it back."
        )
    write_text(session, case, "note", note, now=now, needed="Say what is wrong, so that the next officer can mend it.")
    told = letters.was_sent(session, request, "closing")
    if request.account_closed_at:
        reopen_account(session, case, now=now)
    letters.cancel_waiting(session, case, now=now)
    values = tick(session, case, "restart", now=now, reason="sent back")
    if to == "received":
        values |= {"identity": "not checked", "identity_method": None, "identity_by": None, "identity_at": None}
    receipt = change(
        session, case, to=to, now=now, account_closed_at=None, grace_ends_at=None, opted_out_before=None, early=False,
        approvals_needed=1, plan_fingerprint=None,
        sentence=f"Sent back. The account is open again; {'check the identity anew' if to == 'received' else 'mend it, then close it again'}."
        if request.student_id else "Sent back to whoever put it up.", **values,
    )  # fmt: skip
    if told:
        letters.queue(session, case, "reopened", now=now, words=words, reason=reason)
    append(session, Action.PLAN_SENT_BACK, now=now, subject_kind="request", subject_id=request_id, reason=reason,
           account=request.student_id is not None)  # fmt: skip
    return receipt


@guarded
def declare_single_officer(session: Session, *, on: bool, now: datetime) -> bool:
    """Declare that one officer decides alone (or that this is over), as the worker; return whether anything changed.

    It holds only while exactly one officer's account is enabled. The screens show it, and the Policy page calls it a risk.
    """
    standing = session.scalars(
        select(Declaration).where(Declaration.what == SINGLE_OFFICER, Declaration.until.is_(None)).with_for_update()
    ).first()
    if (standing is not None) == on:
        return False
    if standing is not None:
        standing.until = now
    else:
        session.add(Declaration(what=SINGLE_OFFICER, since=now))
    session.flush()
    append(session, Action.SINGLE_OFFICER, now=now, on=on)
    return True


def put_up_plans(session: Session, *, source: str, now: datetime) -> int:
    """Give imported deletions that came without one their plan, and those that came approved an approval by rule.

    As the worker; part of an import, whose audit line tells it. Return how many.
    """
    bare = select(Request).where(
        Request.source == source, Request.plan_fingerprint.is_(None), Request.state.in_(("to approve", "waiting"))
    )
    found = session.scalars(bare).all()
    for request in found:
        case = Case(request, "put_up_plans", None)
        plan = preview_of(session, request, early=request.early, now=now)
        store(session, request, plan, by=None, now=now)
        if request.state == "waiting":
            approve_by_rule(session, request, plan, "imported as approved", now)
        change(session, case, now=now, plan_fingerprint=plan.fingerprint, sentence="")
    return len(found)


def approve_by_rule(session: Session, request: Request, plan: Preview, rule: str, now: datetime) -> None:
    """Let a rule of the policy, instead of a person, say yes to a plan."""
    current = session.scalar(text("select privacy.approval_round(:id)"), {"id": request.id})
    session.add(Approval(request_id=request.id, fingerprint=plan.fingerprint, rule=rule, round=current, reason="rule",
                         approved_at=now))  # fmt: skip
    session.flush()


def _demand_approvable(
    session: Session, case: Case, fingerprint: str, confirmation: str, reason: str, by: Staff, now: datetime
) -> None:
    request = case.request
    if request.state != "to approve":
        raise BadInput(f"{number(request.number)} does not wait for approval: it is “{STATE_WORDS[request.state]}”.")
    demand_move(session, case, "waiting", now)
    if confirmation.strip().upper() != number(request.number):
        raise BadInput(f"Type {number(request.number)} to confirm.")
    if reason not in APPROVALS:
        raise BadInput(f"Choose a reason: {', '.join(APPROVALS)}.")
    involved = session.scalar(text("select privacy.involved_in(:id)"), {"id": request.id}) or []
    if by.id in involved and not session.scalar(text("select privacy.single_officer()")):
        raise Refused("You filed this request, own it or closed the account. A second person has to approve it.")
    if fingerprint != request.plan_fingerprint:
        raise Stale("This is not the plan that waits for approval now. Open it, then decide.")
    seen = select(PlanView.id).where(
        PlanView.request_id == request.id, PlanView.staff_id == by.id, PlanView.fingerprint == fingerprint
    )
    if session.scalar(seen.limit(1)) is None:
        raise BadInput("Open the plan first; nobody approves what they have not seen.")


def changed_plan(session: Session, case: Case, *, now: datetime) -> Receipt | None:
    """Return the receipt of a plan that is not what was shown any more: it goes back to approval. None when it still is."""
    plan: Preview = preview_of(session, case.request, early=case.request.early, now=now)
    if plan.fingerprint == case.request.plan_fingerprint:
        return None
    store(session, case.request, plan, by=case.by, now=now)
    to = "to approve" if case.request.state == "waiting" else None
    receipt = change(session, case, to=to, now=now, what="plan changed", plan_fingerprint=plan.fingerprint,
                     sentence="The plan has changed since it was shown. Open the new one, then decide.")  # fmt: skip
    append(session, Action.PLAN_CHANGED, now=now, subject_kind="request", subject_id=case.request.id,
           plan=plan.fingerprint[:16])  # fmt: skip
    return receipt


def _approve(session: Session, case: Case, reason: str, *, by: Staff, now: datetime, needed: int) -> Receipt:
    request, fingerprint = case.request, case.request.plan_fingerprint
    mine = {"id": uuid7(), "request": request.id, "print": fingerprint, "by": by.id, "reason": reason, "now": now}
    if session.execute(text(APPROVE), mine).first() is None:
        raise BadInput("You have approved this plan already; another person's approval is missing.")
    given = session.scalar(text("select privacy.approvals_of(:request, :print)"), mine) or 0
    alone = bool(session.scalar(text("select privacy.single_officer()")))  # nobody else is there: shown as a risk
    if given < (1 if alone else needed):
        receipt = change(session, case, now=now, what="approval missing", approvals_needed=needed,
                         sentence=f"Approved by {given} of {needed}. Another officer's approval is missing.")  # fmt: skip
    else:
        ends = request.grace_ends_at or now
        if request.early:
            letters.cancel_waiting(session, case, now=now, kinds=("reminder",))
            ends = min(ends, now)
        receipt = change(session, case, to="waiting", now=now, approvals_needed=needed, grace_ends_at=ends,
                         sentence=f"Approved. Nothing is erased before {ends:%-d %B %Y, %H:%M} UTC.")  # fmt: skip
    append(session, Action.DELETION_APPROVED, now=now, subject_kind="request", subject_id=request.id,
           plan=str(fingerprint)[:16], reason=reason, given=int(given), needed=needed)  # fmt: skip
    return receipt


def _approve_one(
    session: Session, request_id: uuid.UUID, version: int, fingerprint: str, reason: str, by: Staff, now: datetime,
    *, many: bool,
) -> Receipt:  # fmt: skip
    case = begin(session, verb="approve_deletion", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _demand_approvable(session, case, fingerprint, number(case.request.number), reason, by, now)
    if changed := changed_plan(session, case, now=now):
        return changed
    needed = max(case.request.approvals_needed, 2 if many else 1)
    return _approve(session, case, reason, by=by, now=now, needed=needed)


def reactivate(session: Session, case: Case, *, now: datetime, reason: str, words: str = "") -> Receipt:
    """Give everything back, for a person or a job; the move was allowed before."""
    reopen_account(session, case, now=now)
    letters.cancel_waiting(session, case, now=now)
    letters.queue(session, case, "reactivated", now=now, words=words)
    receipt = change(session, case, to="reactivated", now=now, outcome=reason,
                     sentence="The account is open again; everything is as it was.")  # fmt: skip
    append(
        session, Action.ACCOUNT_REACTIVATED, now=now, subject_kind="request", subject_id=case.request.id, reason=reason
    )
    return receipt


def _demand_state(case: Case, state: str) -> None:
    if case.request.state != state:
        raise BadInput(
            f"{number(case.request.number)} is “{STATE_WORDS[case.request.state]}”, not “{STATE_WORDS[state]}”."
        )


def _opted_out(session: Session, student: Student) -> datetime | None:
    return session.scalar(select(StudentProfile.opted_out_at).where(StudentProfile.student_id == student.id))


def _stored(session: Session, request: Request) -> DeletionPlan:
    same = select(DeletionPlan).where(
        DeletionPlan.request_id == request.id, DeletionPlan.fingerprint == request.plan_fingerprint
    )
    return session.scalars(same).one()


def _label(session: Session, request_id: uuid.UUID) -> str:
    found = session.scalar(select(Request.number).where(Request.id == request_id))
    return number(found) if found is not None else MISSING


APPROVE = """
    insert into privacy.approval (id, request_id, fingerprint, staff_id, round, reason, approved_at)
    values (:id, :request, :print, :by, privacy.approval_round(:request), :reason, :now)
    on conflict (request_id, fingerprint, staff_id, round) do nothing returning id
"""
