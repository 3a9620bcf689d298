"""The way out of a broken audit that no backup mends: two people acknowledge the break, and it is named for ever.

Danger: an acknowledgement hides what somebody did to the log. Principle: nothing is repaired or removed; the broken lines stay
as they stand, bound by a digest, and every later verification, screen and export names them; two people say so with a reason,
and the statement is signed by a key that the database does not hold. Mechanism: ``privacy.audit_seal`` repeats what the newest
check found; core.privacy.audit passes over exactly that stretch. Guarded actions open with the next sound check.
"""

import uuid
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, NotFound, Refused
from core.models.privacy import SEAL_REASONS, AuditCheck, AuditSeal
from core.privacy.audit import Action, append, newest_check, sign_seal
from core.privacy.sessions import Staff, demand_fresh

MAY_SEAL = ("privacy_officer", "admin")
CHANGED = "The break is not the one that was put up any more: the last check found something else. Put it up again."


def propose_seal(session: Session, *, check_number: int, reason: str, by: Staff, now: datetime) -> uuid.UUID:
    """Put the break that the newest check found up for acknowledgement by a second person; return its id.

    ``check_number`` is the check that the screen showed; ``reason`` one of SEAL_REASONS. The same break put up again by the same
    person is one. Needs a fresh proof of identity. Raises BadInput when the audit is sound or the check is not the newest.
    """
    _as_sealer(session, by, now)
    if reason not in SEAL_REASONS:
        raise BadInput(f"Choose a reason: {', '.join(SEAL_REASONS)}.")
    newest = newest_check(session)
    if newest is None or not newest.problem:
        raise BadInput("The audit is sound; there is nothing to acknowledge.")
    if newest.number != check_number and not _same(newest, session.get(AuditCheck, check_number)):
        raise BadInput(CHANGED)
    waiting = select(AuditSeal).where(
        AuditSeal.proposed_by == by.id, AuditSeal.confirmed_at.is_(None), AuditSeal.reason == reason
    )
    for known in session.scalars(waiting):
        if _same(newest, known):
            return known.id
    seal = AuditSeal(
        check_number=newest.number, checked_at=newest.checked_at, first_line=newest.broken_at, last_line=newest.last_line,
        lost_until=newest.lost_until, digest=newest.digest, end_head=newest.end_head, problem=newest.problem, reason=reason,
        proposed_at=now, proposed_by=by.id,
    )  # fmt: skip
    session.add(seal)
    session.flush()
    _told(session, Action.BREAK_PROPOSED, seal, now)
    return seal.id


def confirm_seal(session: Session, *, seal_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Acknowledge, as a second person, a break that somebody put up. The next check opens guarded actions, and names it.

    Needs a fresh proof of identity. Raises Refused for whoever put it up, BadInput when the newest check found another break.
    """
    _as_sealer(session, by, now)
    seal = session.get(AuditSeal, seal_id, with_for_update=True, populate_existing=True)
    if seal is None:
        raise NotFound("There is no such break, or it is not open to you.")
    if seal.confirmed_by == by.id:
        return
    if seal.confirmed_at is not None:
        raise BadInput("This break is acknowledged already.")
    if seal.proposed_by == by.id:
        raise Refused("You put this break up. Another privacy officer or admin has to acknowledge it.")
    newest = newest_check(session)
    if newest is None or not newest.problem or not _same(newest, seal):
        raise BadInput(CHANGED)
    seal.confirmed_at, seal.confirmed_by = now, by.id
    seal.public_key, seal.signature = sign_seal(seal)
    session.flush()
    _told(session, Action.BREAK_ACKNOWLEDGED, seal, now)


def seals_due(session: Session) -> bool:
    """Return whether a break was acknowledged since the newest check: the log has to be checked again, now."""
    newest = newest_check(session)
    made = select(AuditSeal.id).where(
        AuditSeal.confirmed_at.is_not(None), AuditSeal.check_number >= (newest.number if newest else 0)
    )
    return bool(newest and newest.problem) and session.scalar(made.limit(1)) is not None


def _as_sealer(session: Session, by: Staff, now: datetime) -> None:
    identify(session, staff_id=by.id, session_id=by.session_id)
    role = session.scalar(text("select staff.hold_my_role()"))
    if role not in MAY_SEAL:
        raise Refused("Privacy officers and admins acknowledge a break of the audit.", role=role)
    demand_fresh(by, now)


def _same(one: AuditCheck, other: AuditCheck | AuditSeal | None) -> bool:
    """Whether two checks, or a check and an acknowledgement, speak of the same break."""
    if other is None:
        return False
    first = other.broken_at if isinstance(other, AuditCheck) else other.first_line
    if _only_cut(one.broken_at, one.last_line) and _only_cut(first, other.last_line):
        return one.lost_until == other.lost_until  # lines are written behind the cut meanwhile
    return (one.broken_at, one.last_line, one.lost_until, one.digest, one.end_head) == (
        first, other.last_line, other.lost_until, other.digest, other.end_head,
    )  # fmt: skip


def _only_cut(first: int | None, last: int | None) -> bool:
    """Whether no line is broken: lines that were seen are gone from the end."""
    return first is not None and last is not None and last < first


def _told(session: Session, action: Action, seal: AuditSeal, now: datetime) -> None:
    append(session, action, now=now, subject_kind="audit break", subject_id=seal.id, first=seal.first_line, last=seal.last_line,
           lost=seal.lost_until, reason=seal.reason)  # fmt: skip
