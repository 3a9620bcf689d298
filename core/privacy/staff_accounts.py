"""Accounts and grants, as admins make them in the dashboard. The rules stand in the database (migration 0011).

Danger: one admin alone makes an accomplice, or becomes somebody else. Principle: a grant (a new account, another role, an
account opened again, new one-time codes for a privacy officer or an admin) is proposed by one admin and approved by
another; nobody decides about themselves; taking rights away needs one person only. A company with one admin declares it,
and everybody who oversees sees the declaration. A code is returned once, to be handed over; when mail goes out, the same
verb's answer is what an outbox carries, in the same transaction.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput
from core.models.base import uuid7
from core.models.staff import CODED_ROLES, ROLES, Proposal, StaffMember
from core.privacy import codes
from core.privacy.audit import Action, append, guarded
from core.privacy.rules import ask
from core.privacy.sessions import Staff, demand_fresh
from core.words import clean

CODE_LIFE = timedelta(hours=24)
LONGEST_REASON = 500
DISABLE_REASONS = ("left the company", "long leave", "account in wrong hands", "made by mistake")
RESET_REASONS = ("password forgotten", "device lost", "account in wrong hands")


@dataclass(frozen=True)
class OneTimeCode:
    """A code on its way to its owner: shown once, here. ``waits``: another admin has to approve before it works."""

    code: str
    name: str
    email: str
    kind: str
    expires_at: datetime
    waits: bool


@guarded
def invite_staff(
    session: Session, *, email: str, name: str, role: str, reason: str, by: Staff | None, now: datetime
) -> OneTimeCode:
    """Make an account without a password, and the one-time code with which its owner chooses one within 24 hours.

    The grant is a proposal until another admin approves it. ``by`` is None on the command line. Raises BadInput for an
    address that is taken or an unknown role, NotFresh, Refused.
    """
    _begin(session, by, now)
    email, name = clean(email, what="The e-mail"), clean(name, what="The name")
    if "@" not in email[1:-1] or not name or any(char.isspace() for char in email):
        raise BadInput("An account needs a name and an e-mail address.")
    if role not in ROLES:
        raise BadInput(f"Choose one of {', '.join(ROLES)}.", role=role)
    staff_id = uuid7()
    made = {"id": staff_id, "email": email, "name": name, "role": role, "proposal": uuid7(), "reason": _reason(reason)}
    granted = bool(
        ask(session, "staff.add_account(:id, :email, :name, :role, :proposal, :reason, :now)", **made, now=now)
    )
    code = _new_code(session, staff_id, "invitation", now)
    append(session, Action.STAFF_INVITED, now=now, subject_kind="staff", subject_id=staff_id, role=role, alone=granted)
    return OneTimeCode(code, name, email, "invitation", now + CODE_LIFE, waits=not granted)


@guarded
def renew_code(session: Session, *, staff_id: uuid.UUID, by: Staff, now: datetime) -> OneTimeCode:
    """Make a new one-time code for a person who has no password yet; the old code dies."""
    _begin(session, by, now)
    code = _new_code(session, staff_id, "invitation", now)
    append(session, Action.CODE_MADE, now=now, subject_kind="staff", subject_id=staff_id)
    return _handed(session, staff_id, code, "invitation", now)


@guarded
def reset_sign_in(
    session: Session, *, staff_id: uuid.UUID, full: bool, reason: str, by: Staff | None, now: datetime
) -> OneTimeCode:
    """Take a person's password away (``full``: their one-time codes too), end their sessions, and make a one-time code.

    For privacy officers and admins a full reset is a grant: see :func:`propose_reset`. Raises Refused then.
    """
    _begin(session, by, now)
    _one_of(reason, RESET_REASONS)
    kind = "full reset" if full else "password reset"
    ask(session, "staff.reset_secrets(:staff, :full, :now)", staff=staff_id, full=full, now=now)
    code = _new_code(session, staff_id, kind, now)
    append(session, Action.SECRETS_RESET, now=now, subject_kind="staff", subject_id=staff_id, kind=kind, reason=reason)
    return _handed(session, staff_id, code, kind, now)


@guarded
def propose_role(session: Session, *, staff_id: uuid.UUID, role: str, reason: str, by: Staff, now: datetime) -> bool:
    """Propose another role for a person. Return whether it is in force already (single-admin mode); sessions end then."""
    if role not in ROLES:
        raise BadInput(f"Choose one of {', '.join(ROLES)}.", role=role)
    return _propose(session, "role", staff_id, role, reason, by, now)


@guarded
def propose_enabling(session: Session, *, staff_id: uuid.UUID, reason: str, by: Staff, now: datetime) -> bool:
    """Propose to open a disabled account again. Return whether it is open already (single-admin mode)."""
    return _propose(session, "enable", staff_id, None, reason, by, now)


@guarded
def propose_reset(session: Session, *, staff_id: uuid.UUID, reason: str, by: Staff, now: datetime) -> bool:
    """Propose to take password and one-time codes of a privacy officer or admin away. Return whether that is done."""
    return _propose(session, "full reset", staff_id, None, reason, by, now)


@guarded
def decide_proposal(
    session: Session, *, proposal_id: uuid.UUID, decision: str, by: Staff, now: datetime, reason: str = ""
) -> OneTimeCode | None:
    """Approve, decline or withdraw a proposal. An approved full reset returns the one-time code for its person.

    Raises Refused for who proposed it (approve) or who did not (withdraw), and for the person it is about.
    """
    _begin(session, by, now, fresh=decision == "approved")
    known = session.execute(
        select(Proposal.kind, Proposal.staff_id, Proposal.before, Proposal.after).where(Proposal.id == proposal_id)
    ).first()
    ask(session, "staff.decide(:proposal, :decision, :now)", proposal=proposal_id, decision=decision, now=now)
    assert known
    made = None
    if decision == "approved" and known.kind == "full reset":
        made = _handed(
            session, known.staff_id, _new_code(session, known.staff_id, "full reset", now), "full reset", now
        )
    append(session, Action.GRANT_DECIDED, now=now, subject_kind="staff", subject_id=known.staff_id, kind=known.kind,
           before=known.before, after=known.after, decision=decision)  # fmt: skip
    return made


def disable_account(session: Session, *, staff_id: uuid.UUID, reason: str, by: Staff, now: datetime) -> None:
    """Close an account at once: its sessions end, its codes and waiting proposals die."""
    _begin(session, by, now)
    _one_of(reason, DISABLE_REASONS)
    ask(session, "staff.disable(:staff, :now)", staff=staff_id, now=now)
    append(session, Action.STAFF_DISABLED, now=now, subject_kind="staff", subject_id=staff_id, reason=reason)


@guarded
def set_account_end(session: Session, *, staff_id: uuid.UUID, last_day: date | None, by: Staff, now: datetime) -> None:
    """Let an account end with a day (included, UTC); None: it has no end, which an auditor's always has.

    Raises BadInput for a day that is past or more than a year ahead, NotFresh, and Refused for other roles or one's own account.
    """
    _begin(session, by, now)
    ends = datetime.combine(last_day + timedelta(days=1), datetime.min.time(), UTC) if last_day else None
    ask(session, "staff.set_end(:staff, :ends, :now)", staff=staff_id, ends=ends, now=now)
    told = last_day.isoformat() if last_day else None
    append(session, Action.ACCOUNT_END_SET, now=now, subject_kind="staff", subject_id=staff_id, last_day=told)


def end_session(session: Session, *, session_id: uuid.UUID, by: Staff, now: datetime) -> bool:
    """End a session of one's own; an admin ends anybody's. Return False when it is over already, or not theirs to end."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    ended = bool(ask(session, "staff.end_session(:id, :now, :why)", id=session_id, now=now, why="ended by hand"))
    if ended:
        append(session, Action.SESSION_ENDED, now=now, subject_kind="session", subject_id=session_id)
    return ended


@guarded
def declare_single_admin(session: Session, *, reason: str, by: Staff | None, now: datetime) -> None:
    """Declare, openly, that grants are not checked by a second admin because there is none.

    Raises Refused when there is another admin, or was one within the last 7 days.
    """
    _begin(session, by, now)
    ask(session, "staff.declare_single_admin(:id, :reason, :now)", id=uuid7(), reason=_reason(reason), now=now)
    append(session, Action.SINGLE_ADMIN_DECLARED, now=now)


def end_single_admin(session: Session, *, by: Staff | None, now: datetime) -> None:
    """Take the declaration back: from now on grants wait for a second admin."""
    _begin(session, by, now, fresh=False)
    ask(session, "staff.end_single_admin(:now)", now=now)
    append(session, Action.SINGLE_ADMIN_ENDED, now=now)


def _begin(session: Session, by: Staff | None, now: datetime, *, fresh: bool = True) -> None:
    """Say who acts; on the command line (None) it is the operator of the machine, through the worker role."""
    if by is not None:
        identify(session, staff_id=by.id, session_id=by.session_id)
        if fresh:
            demand_fresh(by, now)


def _propose(
    session: Session, kind: str, staff_id: uuid.UUID, role: str | None, reason: str, by: Staff, now: datetime
) -> bool:
    _begin(session, by, now)
    current = session.scalar(select(StaffMember.role).where(StaffMember.id == staff_id))
    asked = {"id": uuid7(), "kind": kind, "staff": staff_id, "after": role or current or "", "reason": _reason(reason)}
    granted = bool(ask(session, "staff.propose(:id, :kind, :staff, :after, :reason, :now)", **asked, now=now))
    append(session, Action.GRANT_PROPOSED, now=now, subject_kind="staff", subject_id=staff_id, kind=kind, before=current,
           after=role or current, alone=granted)  # fmt: skip
    return granted


def _new_code(session: Session, staff_id: uuid.UUID, kind: str, now: datetime) -> str:
    code = codes.new_invitation_code()
    made = {"id": uuid7(), "staff": staff_id, "kind": kind, "hash": codes.invitation_digest(code)}
    ask(session, "staff.make_code(:id, :staff, :kind, :hash, :until, :now)", **made, until=now + CODE_LIFE, now=now)
    return code


def _handed(session: Session, staff_id: uuid.UUID, code: str, kind: str, now: datetime) -> OneTimeCode:
    owner = session.execute(select(StaffMember.name, StaffMember.email).where(StaffMember.id == staff_id)).one()
    waits = select(Proposal.id).where(
        Proposal.staff_id == staff_id, Proposal.kind == "account", Proposal.decided_at.is_(None)
    )
    return OneTimeCode(code, owner.name, owner.email, kind, now + CODE_LIFE, session.scalar(waits) is not None)


def _reason(typed: str) -> str:
    reason = clean(" ".join(typed.split()), what="The reason", longest=LONGEST_REASON)
    if not reason:
        raise BadInput("A reason is needed.")
    return reason


def _one_of(reason: str, known: tuple[str, ...]) -> None:
    """The audit holds codes, no free text."""
    if reason not in known:
        raise BadInput(f"Choose one of these reasons: {', '.join(known)}.")


def needs_second_admin(role: str) -> bool:
    """Return whether new one-time codes for this role are a grant (then :func:`propose_reset`)."""
    return role in CODED_ROLES
