"""Following a visitor up: who owns them, when the next contact is, how they stand, and that contact was made.

Every change is one step of the visitor's follow-up (``platform.follow_up``). Whoever acts says which step their screen
showed (``seen``): of two people at once, the second is told who was first, and nothing of theirs is written. The same
click twice is one step. Whether a visitor became a student is never set here: it follows from enrollments.
"""

import uuid
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, NotFound, Refused, Stale
from core.models.platform import VISITOR_STATUS, FollowUp, Visitor
from core.privacy.audit import Action, append, append_view
from core.privacy.contacts import MOST_AT_ONCE
from core.privacy.sessions import Staff
from core.words import clean_lines

FOLLOWS_UP = "program_staff"
LONGEST_NOTE = 1000
FARTHEST_CONTACT = timedelta(days=366)


@dataclass(frozen=True)
class VisitorContact:
    """The whole contact of a visitor."""

    email: str
    phone: str | None


def assign_visitor(
    session: Session, *, visitor_id: uuid.UUID, owner_id: uuid.UUID | None, seen: int, by: Staff, now: datetime
) -> None:
    """Give a visitor to somebody who works on programs (to oneself: take them), or to nobody.

    Raises Refused for other roles or when the owner does not work on programs, Stale when the visitor was changed
    since step ``seen``, NotFound when there is no such visitor for ``by``.
    """
    visitor = _locked(session, visitor_id, by)
    step = {"kind": "owner set", "owner_id": owner_id}
    if _done_already(session, visitor, step, seen=seen, by=by):
        return
    if owner_id is not None and not _works(session, owner_id):
        raise Refused("Visitors are followed up by program staff. Choose somebody who works on programs now.")
    visitor.owner_id = owner_id
    _add_step(session, visitor, step, seen=seen, by=by, now=now)
    _record(session, Action.VISITOR_OWNED, visitor, now=now, owner=str(owner_id) if owner_id else None)


def set_next_contact(
    session: Session, *, visitor_id: uuid.UUID, on: date | None, seen: int, by: Staff, now: datetime
) -> None:
    """Plan the next contact for a day (UTC) from today to a year on, or for none. Errors as in :func:`assign_visitor`;
    Refused for somebody who is not to be contacted."""
    visitor = _locked(session, visitor_id, by)
    step = {"kind": "next contact set", "next_contact_on": on}
    if _done_already(session, visitor, step, seen=seen, by=by):
        return
    _demand_wanted(session, visitor, on)
    visitor.next_contact_on = _plannable(on, now)
    _add_step(session, visitor, step, seen=seen, by=by, now=now)
    _record(session, Action.VISITOR_PLANNED, visitor, now=now, on=on.isoformat() if on else None)


def set_visitor_status(
    session: Session, *, visitor_id: uuid.UUID, status: str, seen: int, by: Staff, now: datetime
) -> None:
    """Say how a visitor stands. Errors as in :func:`assign_visitor`; BadInput for "new" once somebody answered."""
    visitor = _locked(session, visitor_id, by)
    step = {"kind": "status set", "status": _status(status, visitor)}
    if _done_already(session, visitor, step, seen=seen, by=by):
        return
    before = visitor.status
    _stand(visitor, status, now)
    _add_step(session, visitor, step, seen=seen, by=by, now=now)
    _record(session, Action.VISITOR_STATUS, visitor, now=now, before=before, after=status)


def note_contact(
    session: Session,
    *,
    visitor_id: uuid.UUID,
    note: str,
    status: str,
    next_contact_on: date | None,
    seen: int,
    by: Staff,
    now: datetime,
) -> None:
    """Note that contact was made: what was said (at most ``LONGEST_NOTE`` characters), how the visitor stands now, and when to
    contact them next (None: a planned contact is done). Whoever makes contact with an unowned visitor owns them.

    Errors as in :func:`set_next_contact`; BadInput for a note that cannot be kept or a day that cannot be planned.
    """
    visitor = _locked(session, visitor_id, by)
    written = clean_lines(note, what="The note", longest=LONGEST_NOTE) or None
    if _status(status, visitor) == "new":
        raise BadInput('Contact was made, so the visitor is not "new" any more. Choose another status.')
    step = {"kind": "contact made", "note": written, "status": status, "next_contact_on": next_contact_on}
    if _done_already(session, visitor, step, seen=seen, by=by):
        return
    _demand_wanted(session, visitor, next_contact_on)
    _stand(visitor, status, now)
    visitor.answered_at = visitor.answered_at or now
    visitor.next_contact_on = None if status == "lost" else _plannable(next_contact_on, now)
    if visitor.owner_id is None or not _works(session, visitor.owner_id):
        visitor.owner_id = by.id
    _add_step(session, visitor, step, seen=seen, by=by, now=now)
    _record(session, Action.VISITOR_CONTACTED, visitor, now=now, status=status)


def reveal_visitors(
    session: Session, *, visitor_ids: list[uuid.UUID], purpose: str, by: Staff, now: datetime
) -> dict[uuid.UUID, VisitorContact]:
    """Return e-mail and phone of each visitor that ``by`` may see, and record that each of them was seen.

    Those who are not to be contacted are left out: their addresses stay masked.
    Raises Refused for a role that has no use for a contact, or for more than one page of people at once.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    if by.role != FOLLOWS_UP or len(visitor_ids) > MOST_AT_ONCE:
        raise Refused("Contacts of visitors open to program staff, one page at a time.", role=by.role)
    listed = select(Visitor.id, Visitor.email, Visitor.phone).where(Visitor.id.in_(visitor_ids))
    quiet = _quiet(session, visitor_ids)
    found = {row.id: VisitorContact(row.email, row.phone) for row in session.execute(listed) if row.id not in quiet}
    append_view(session, person_kind="visitor", person_ids=sorted(found), purpose=purpose, now=now)
    return found


def record_visitor_view(session: Session, *, visitor_id: uuid.UUID, purpose: str, by: Staff, now: datetime) -> None:
    """Record that one visitor's record was opened."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    append_view(session, person_kind="visitor", person_ids=[visitor_id], purpose=purpose, now=now)


def record_search(session: Session, *, students: int = 0, visitors: int = 0, by: Staff, now: datetime) -> None:
    """Record that a search showed people: how many of each kind, never what was typed nor who they were."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    append(session, Action.PEOPLE_SEARCHED, now=now, students=students, visitors=visitors)


def _locked(session: Session, visitor_id: uuid.UUID, by: Staff) -> Visitor:
    """The visitor, locked until the commit, so that two people act one after the other."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    if by.role != FOLLOWS_UP:
        raise Refused("Visitors are followed up by program staff.", role=by.role)
    found = session.get(Visitor, visitor_id, with_for_update=True, populate_existing=True)
    if found is None:
        raise NotFound("There is no such visitor, or the record is closed to your role.", visitor_id=visitor_id)
    return found


def _done_already(session: Session, visitor: Visitor, step: dict[str, Any], *, seen: int, by: Staff) -> bool:
    """Whether this very step was the last one (a second click). Raises Stale when another one came in between."""
    last = session.scalars(
        select(FollowUp).where(FollowUp.visitor_id == visitor.id).order_by(FollowUp.step.desc()).limit(1)
    ).first()
    if (last.step if last else 0) == seen:
        return False
    if last and last.step == seen + 1 and last.by_id == by.id and all(getattr(last, k) == v for k, v in step.items()):
        return True
    raise Stale(_who_was_first(session, last, by))


def _who_was_first(session: Session, last: FollowUp | None, by: Staff) -> str:
    if last is None:
        return "This visitor was imported anew. Nothing was changed. Look at what is there now."
    names = {row.id: row.name for row in session.execute(text("select id, name from staff.program_team()"))}
    who = "You were" if last.by_id == by.id else f"{names.get(last.by_id, 'Somebody')} was"
    done = {
        "contact made": "noted a contact",
        "owner set": f"gave the visitor to {names.get(last.owner_id, 'somebody')}"
        if last.owner_id
        else "let go of the visitor",
        "next contact set": "planned the next contact",
        "status set": f'set the status to "{last.status}"',
    }[last.kind]
    where = " in another tab" if last.by_id == by.id else ""
    return f"{who} first{where}: {done} at {last.at:%H:%M} UTC. Nothing of yours was changed; this is what stands there now."


def _quiet(session: Session, ids: list[uuid.UUID]) -> set[uuid.UUID]:
    return set(session.scalars(text("select platform.quiet_visitors(:ids)"), {"ids": ids}))


def _demand_wanted(session: Session, visitor: Visitor, on: date | None) -> None:
    """Raise Refused when a contact is planned with somebody who asked for none."""
    if on is not None and _quiet(session, [visitor.id]):
        raise Refused("This person is not to be contacted for now. A privacy officer knows more. Nothing was changed.")


def _works(session: Session, owner_id: uuid.UUID) -> bool:
    listed = text("select works from staff.program_team() where id = :id")
    return bool(session.scalar(listed, {"id": owner_id}))


def _status(status: str, visitor: Visitor) -> str:
    if status not in VISITOR_STATUS:
        raise BadInput(f"{status!r} is not a status. Choose one of {', '.join(VISITOR_STATUS)}.", status=status)
    if status == "new" and visitor.answered_at is not None:
        raise BadInput('Somebody answered this visitor already, so they cannot be "new" again.')
    return status


def _stand(visitor: Visitor, status: str, now: datetime) -> None:
    """Set the status and what follows from it: an answer has a time, and nobody is contacted any more who is lost."""
    visitor.status = status
    if status in ("answered", "in contact") and visitor.answered_at is None:
        visitor.answered_at = now
    if status == "lost":
        visitor.next_contact_on = None


def _plannable(on: date | None, now: datetime) -> date | None:
    today = now.date()
    if on is not None and not today <= on <= today + FARTHEST_CONTACT:
        raise BadInput("The next contact must be between today and a year from now.", on=on)
    return on


def _add_step(session: Session, visitor: Visitor, step: dict[str, Any], *, seen: int, by: Staff, now: datetime) -> None:
    session.add(FollowUp(visitor_id=visitor.id, step=seen + 1, at=now, by_id=by.id, **step))
    session.flush()


def _record(session: Session, action: Action, visitor: Visitor, *, now: datetime, **details: str | None) -> None:
    append(session, action, now=now, subject_kind="visitor", subject_id=visitor.id, **details)
