"""What every verb on a request begins and ends with: who may, which request, which version; the change and its receipt.

Danger: a stale screen, a second click or a second officer does something twice, or to what it no longer is. Principle: the
role is read and held, and the request locked, inside the transaction of the effect; a screen names the version it shows.
Mechanism: :func:`begin` locks the row and compares versions. The same verb by the same person on the version that it made
is a repeated click: the receipt comes again and nothing happens.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, NotFound, Refused, Stale
from core.models.base import among
from core.models.consent import Guardian
from core.models.platform import Student, Visitor
from core.models.requests import FINAL_STATES, LONGEST_TEXT, Request, RequestClock, RequestText, Transition
from core.policy import Parameters, pinned
from core.policy.clock import Clock, Tick, fold
from core.policy.machine import KIND_WORDS, STATE_WORDS, number
from core.privacy.sessions import Staff, demand_fresh
from core.words import clean_text

OFFICER = "privacy_officer"
MISSING = "There is no such request, or it is not open to you."


@dataclass(frozen=True)
class Receipt:
    """What a verb did. ``what`` is its code, or a different outcome such as "plan changed"; ``sentence`` is for the screen;
    ``again`` is True when a click was repeated and nothing happened now."""

    request_id: uuid.UUID
    number: str
    what: str
    state: str
    version: int
    sentence: str
    again: bool = False


@dataclass(frozen=True)
class Case:
    """A locked request in the hands of one verb. ``done`` is the receipt of a repeated click."""

    request: Request
    verb: str
    by: Staff | None
    done: Receipt | None = None


def hold_officer(session: Session, by: Staff) -> None:
    """Say who acts, and hold their role until the end of the transaction. Raises Refused unless it is a privacy officer's."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    role = session.scalar(text("select staff.hold_my_role()"))
    if role != OFFICER:
        raise Refused("Privacy officers work on requests. Your role does not, or no longer.", role=role)


def begin(session: Session, *, verb: str, request_id: uuid.UUID, version: int, by: Staff) -> Case:
    """Lock a request for a verb of a privacy officer.

    Raises Refused for another role, NotFound, and Stale when the request is not at ``version`` any more.
    """
    hold_officer(session, by)
    request = session.get(Request, request_id, with_for_update=True, populate_existing=True)
    if request is None:
        raise NotFound(MISSING, request_id=request_id)
    if (request.version, request.changed_by, request.changed_what) == (version + 1, by.id, verb):
        return Case(request, verb, by, _receipt(request, verb, "That is done already.", again=True))
    if request.version != version:
        raise Stale(f"{number(request.number)} was changed since you opened it. Look at it again, then decide.")
    return Case(request, verb, by)


def of_system(session: Session, *, verb: str, request_id: uuid.UUID) -> Case:
    """Lock a request for a job of the worker."""
    request = session.get(Request, request_id, with_for_update=True, populate_existing=True)
    if request is None:
        raise NotFound(MISSING, request_id=request_id)
    return Case(request, verb, None)


def of_system_together(session: Session, *, verb: str, request_ids: Sequence[uuid.UUID]) -> list[Case]:
    """Lock requests for a job of the worker, in the order of their ids; those that somebody is at, or that are not there, are left out."""
    mine = select(Request).where(among(Request.id, request_ids)).order_by(Request.id).with_for_update(skip_locked=True)
    return [Case(request, verb, None) for request in session.scalars(mine.execution_options(populate_existing=True))]


def demand_move(session: Session, case: Case, to: str, now: datetime, *, start: tuple[str, ...] = ()) -> Transition:
    """Return the row that lets this case move, or raise BadInput, NotFresh, or Refused (one's own record).

    ``start``: the states from which this verb moves, where another verb makes the same move from another one. The trigger asks
    the same again; here it gets its sentence.
    """
    request, role = case.request, OFFICER if case.by else "system"
    rule = session.get(Transition, (request.kind, request.state, to, role))
    if rule is None or (start and request.state not in start):
        raise BadInput(
            f"{number(request.number)} is “{STATE_WORDS[request.state]}”; from there a request for"
            f" {KIND_WORDS[request.kind]} does not become “{STATE_WORDS[to]}”.",
            state=request.state,
        )
    if case.by is not None:
        demand_not_own(session, request)
        if rule.needs_fresh:
            demand_fresh(case.by, now)
    return rule


def demand_not_own(session: Session, request: Request) -> None:
    """Raise Refused when whoever acts is the person whom the request is about."""
    if at_work(session, request)[1]:
        raise Refused("This is your own record. Another privacy officer has to decide.", request_id=request.id)


def at_work(session: Session, request: Request) -> tuple[bool, bool]:
    """Return whether the subject works here, and whether they are whoever acts."""
    if request.guardian_id is not None:
        own = bool(session.scalar(text("select privacy.is_my_guardian(:id)"), {"id": request.guardian_id}))
        return own, own
    asked = {"student": request.student_id, "visitor": request.visitor_id}
    row = session.execute(text("select * from privacy.subject_at_work(:student, :visitor)"), asked).first()
    return (bool(row.staff), bool(row.own)) if row else (False, False)


def demand_open(case: Case) -> None:
    """Raise BadInput when the request is closed."""
    if case.request.closed_at is not None:
        raise BadInput(f"{number(case.request.number)} is closed; it does not change any more.")


def change(
    session: Session,
    case: Case,
    *,
    sentence: str,
    to: str | None = None,
    now: datetime,
    what: str | None = None,
    **values: Any,
) -> Receipt:
    """Write what a verb changes and return its receipt. ``to`` moves the request; a final state closes it."""
    if to is not None:
        values |= {"state": to, "moved_at": max(now, case.request.moved_at or now)}  # machines' clocks differ a little
        if to in FINAL_STATES:
            values["closed_at"] = now
    mine = update(Request).where(Request.id == case.request.id).values(changed_what=case.verb, **values)
    session.execute(mine.execution_options(synchronize_session=False))
    session.refresh(case.request)
    return _receipt(case.request, what or case.verb, sentence)


def change_together(session: Session, cases: Sequence[Case], *, to: str, now: datetime, **values: Any) -> None:
    """Move several requests to the same state for one job, in one statement: the guard of the table asks for each."""
    values |= {"state": to, "moved_at": func.greatest(now, Request.moved_at)}  # machines' clocks differ a little
    if to in FINAL_STATES:
        values["closed_at"] = now
    mine = (
        update(Request)
        .where(among(Request.id, [case.request.id for case in cases]))
        .values(changed_what=cases[0].verb, **values)
    )
    session.execute(mine.execution_options(synchronize_session=False))


def parameters(session: Session, request: Request) -> Parameters:
    """Return the parameters of the policy that this request was filed under."""
    return pinned(session, request.policy_version, request.filed_at or request.received_at)


def clock(session: Session, request: Request) -> Clock:
    """Return the clock of a request. One that was imported without events started when it was received."""
    return clocks(session, [request])[request.id]


def clocks(session: Session, requests: Sequence[Request]) -> dict[uuid.UUID, Clock]:
    """Return the clock of each request."""
    ticks: dict[uuid.UUID, list[Tick]] = {request.id: [] for request in requests}
    for e in session.scalars(select(RequestClock).where(among(RequestClock.request_id, ticks))):
        ticks[e.request_id].append(Tick(e.version, e.what, e.at, e.months or 0))
    return {
        request.id: fold(ticks[request.id] or [Tick(1, "start", request.received_at)], parameters(session, request))
        for request in requests
    }


def tick(
    session: Session, case: Case, what: str, *, now: datetime, reason: str = "", months: int | None = None
) -> dict[str, Any]:
    """Add an event to the clock of a case, and return the columns that follow from it, for :func:`change`."""
    request = case.request
    session.add(RequestClock(request_id=request.id, version=request.version + 1, what=what, at=now,
                             set_by=case.by.id if case.by else None, reason=reason, months=months))  # fmt: skip
    session.flush()
    after = clock(session, request)
    return {
        "due_at": after.due_at,
        "paused_at": after.paused_at,
        "extended_months": after.extended_months,
        "answered_at": after.stopped_at,
    }


def stop_clock(session: Session, case: Case, *, now: datetime, reason: str) -> dict[str, Any]:
    """Stop the clock unless it stands: the person is told what is done."""
    return {} if case.request.answered_at else tick(session, case, "stop", now=now, reason=reason)


def write_text(session: Session, case: Case, what: str, body: str, *, now: datetime, needed: str = "") -> None:
    """Keep what somebody wrote, apart from the request. ``needed`` is the sentence for an empty one; "" lets it be empty.

    Raises BadInput when it is needed and empty, too long (20,000 characters), or holds what cannot be kept.
    """
    cleaned = clean_text(body, what="The text", longest=LONGEST_TEXT)
    if not cleaned:
        if needed:
            raise BadInput(needed)
        return
    request = case.request
    session.add(RequestText(request_id=request.id, student_id=request.student_id, visitor_id=request.visitor_id,
                            what=what, body=cleaned, written_by=case.by.id if case.by else None, written_at=now))  # fmt: skip
    session.flush()


def subject(session: Session, request: Request) -> Student | Visitor | Guardian | None:
    """Return the person behind a request, as far as whoever acts may see them."""
    if request.guardian_id is not None:
        return session.get(Guardian, request.guardian_id, populate_existing=True)
    if request.student_id is not None:
        return session.get(Student, request.student_id, populate_existing=True)
    return session.get(Visitor, request.visitor_id) if request.visitor_id is not None else None


def subjects(session: Session, requests: Sequence[Request]) -> dict[uuid.UUID, Student | Visitor]:
    """Return the person behind each request, by the request's id, as far as whoever acts may see them."""
    known: dict[uuid.UUID, Student | Visitor] = {}
    if ids := [request.student_id for request in requests if request.student_id]:
        students = select(Student).where(among(Student.id, ids)).execution_options(populate_existing=True)
        known |= {each.id: each for each in session.scalars(students)}
    if ids := [request.visitor_id for request in requests if request.visitor_id]:
        visitors = select(Visitor).where(among(Visitor.id, ids)).execution_options(populate_existing=True)
        known |= {each.id: each for each in session.scalars(visitors)}
    ids_of = {request.id: request.student_id or request.visitor_id for request in requests}
    return {request: known[person] for request, person in ids_of.items() if person in known}


def _receipt(request: Request, what: str, sentence: str, *, again: bool = False) -> Receipt:
    return Receipt(request.id, number(request.number), what, request.state, request.version, sentence, again)
