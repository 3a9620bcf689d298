"""What stands about a person: restricted, objecting, opted out. Written at once, ended with a reason, kept as history.

Danger: a wish that waits for a batch, or that the next import undoes. Principle: a decision is in force when its row is committed,
for every record of the person (by the keyed hash of their address); screens and letters ask the database, not a copy. Mechanism:
``privacy.restriction``, ``objection`` and ``opt_out``. Objections and opt-outs begin with their request (a trigger), a
restriction with :func:`restrict`. Whoever asked for a restriction is told before it ends: the trigger asks for the letter.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Table, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput
from core.models.base import uuid7
from core.models.labels import Processor
from core.models.requests import Propagation
from core.models.standing import ASKED, END_REASONS, RESTRICTION_BASES, Restriction
from core.models.ways import fates
from core.privacy.audit import Action, append
from core.privacy.rules import in_words
from core.privacy.sessions import Staff

MARKETING = ("marketing", "newsletter", "offer", "survey", "event")  # as privacy.is_marketing has them; a test compares


def restrict(
    session: Session,
    *,
    student_id: uuid.UUID | None = None,
    visitor_id: uuid.UUID | None = None,
    basis: str,
    request_id: uuid.UUID | None = None,
    by: Staff | None,
    now: datetime,
) -> uuid.UUID:
    """Restrict a person's data from now on, and return the row that says so; that of an earlier one, when it stands already.

    ``basis`` is one of RESTRICTION_BASES; each stands for itself, and a person is restricted while any of them does. ``by`` is a
    privacy officer, or None for a job of the worker. It is planned for every processor that holds some of the person's data (for the
    basis "asked": with its ``request_id``). Raises BadInput for another basis, Refused (from the database) for another role or one's own record.
    """
    person = _person(student_id, visitor_id)
    if basis not in RESTRICTION_BASES:
        raise BadInput(f"{basis!r} is no reason for a restriction. Choose one of: {', '.join(RESTRICTION_BASES)}.")
    _acting(session, by)
    row = {
        "id": uuid7(),
        **person,
        "basis": basis,
        "since": now,
        "request_id": request_id,
        "made_by": by.id if by else None,
    }
    made: uuid.UUID | None
    with in_words():
        made = session.scalar(
            _plain(Restriction, insert).values(row).on_conflict_do_nothing().returning(Restriction.id)
        )
    if made is None:
        standing = select(Restriction.id).where(*_mine(Restriction, person), Restriction.basis == basis)
        found: uuid.UUID | None = session.scalar(standing.where(Restriction.until.is_(None)))
        assert found is not None
        return found
    _pass_on(session, "student" if student_id else "visitor", "restrict", basis, made, request_id, now)
    append(session, Action.RESTRICTED, now=now, subject_kind="student" if student_id else "visitor",
           subject_id=student_id or visitor_id, asked=basis in ASKED)  # fmt: skip
    return made


def lift_restriction(
    session: Session,
    *,
    student_id: uuid.UUID | None = None,
    visitor_id: uuid.UUID | None = None,
    basis: str,
    request_id: uuid.UUID | None = None,
    reason: str = "",
    by: Staff | None,
    now: datetime,
) -> bool:
    """End the standing restriction of a person on one basis; return False when there is none (any more).

    ``reason`` is one of END_REASONS; without one it is "lifted" for what the person asked for, else that the rule does not hold any
    more. ``request_id`` keeps it to the restriction of that request. For the basis "asked" the database demands that the letter
    about its end was sent before (:func:`core.privacy.lifting.announce_lifting`).
    """
    person = _person(student_id, visitor_id)
    reason = reason or ("lifted" if basis == "asked" else "rule does not hold any more")
    if reason not in END_REASONS:
        raise BadInput(f"{reason!r} is no reason for its end. Choose one of: {', '.join(END_REASONS)}.")
    _acting(session, by)
    mine = _plain(Restriction, update).where(*_mine(Restriction, person), Restriction.basis == basis,
                                             Restriction.until.is_(None))  # fmt: skip
    if request_id is not None:
        mine = mine.where(Restriction.request_id == request_id)
    ended = mine.values(until=now, ended_by=by.id if by else None, end_reason=reason).returning(
        Restriction.id, Restriction.request_id
    )
    with in_words():
        rows = session.execute(ended).all()
    if not rows:
        return False
    _pass_on(
        session, "student" if student_id else "visitor", "restriction ended", basis, rows[0].id, rows[0].request_id, now
    )
    append(session, Action.RESTRICTION_LIFTED, now=now, subject_kind="student" if student_id else "visitor",
           subject_id=student_id or visitor_id, asked=basis in ASKED, reason=reason)  # fmt: skip
    return True


def plan_restriction(
    session: Session, person: str, what: str, now: datetime, *, request_id: uuid.UUID | None = None,
    restriction_id: uuid.UUID | None = None,
) -> None:  # fmt: skip
    """Write down that every processor that holds some of a "student"'s or "visitor"'s data has to follow (GDPR 19): what a
    request asked for, or a restriction that a rule set."""
    rows = [{"id": uuid7(), "request_id": request_id, "restriction_id": restriction_id, "what": what, "processor": str(each),
             "planned_at": now} for each in receivers(person)]  # fmt: skip
    session.execute(_plain(Propagation, insert).values(rows).on_conflict_do_nothing())


def _pass_on(
    session: Session, person: str, what: str, basis: str, restriction_id: uuid.UUID, request_id: uuid.UUID | None, now: datetime
) -> None:  # fmt: skip
    """Plan what has to follow. Of a rule's restriction that ends before it left, nothing leaves at all."""
    if basis in ASKED:
        if request_id is not None:
            plan_restriction(session, person, what, now, request_id=request_id)
        return
    if what == "restriction ended":
        mine = _plain(Propagation, update).where(Propagation.restriction_id == restriction_id)
        session.execute(mine.where(Propagation.state == "planned").values(state="canceled"))
        begun = select(Propagation.id).where(
            Propagation.restriction_id == restriction_id, Propagation.state != "canceled"
        )
        if session.scalar(begun.limit(1)) is None:
            return
    plan_restriction(session, person, what, now, restriction_id=restriction_id)


def receivers(person: str) -> tuple[Processor, ...]:
    """Return the processors that hold some of a "student"'s or "visitor"'s data, by the labels."""
    return tuple(Processor(name) for name in sorted({each for fate in fates(person) for each in fate.processors}))


def _person(student_id: uuid.UUID | None, visitor_id: uuid.UUID | None) -> dict[str, uuid.UUID | None]:
    if (student_id is None) == (visitor_id is None):
        raise BadInput("It is about one person: a student or a visitor.")
    return {"student_id": student_id, "visitor_id": visitor_id}


def _mine(model: Any, person: dict[str, uuid.UUID | None]) -> list[Any]:
    return [getattr(model, name) == value for name, value in person.items() if value is not None]


def _plain(model: Any, verb: Any) -> Any:
    """A statement on the table itself: the dashboard may write some of its columns only."""
    table: Table = model.__table__
    return verb(table)


def _acting(session: Session, by: Staff | None) -> None:
    if by is not None:
        identify(session, staff_id=by.id, session_id=by.session_id)
