"""Restriction, opt-out and objection as requests: in force at once, answered with their own letter, ended with a notice.

Danger: a person waits a month for something that a click can do; a restriction ends and nobody told them. Principle: what can be put
in force at once is; the answer says what it means; before a restriction that somebody asked for ends, they are told (GDPR 18(3)).
Mechanism: core.privacy.standing writes the rows; opt-outs and objections stand since the filing (a trigger), a restriction begins
with :func:`restrict_now`, also before the identity is clear, and ends with its request when that turns out to be nobody's.
"""

import uuid
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound, Refused
from core.models.base import uuid7
from core.models.requests import Request
from core.models.standing import Restriction
from core.policy.machine import number
from core.privacy import letters
from core.privacy.acting import (
    Receipt,
    begin,
    change,
    demand_move,
    demand_not_own,
    demand_open,
    hold_officer,
    stop_clock,
    write_text,
)
from core.privacy.audit import Action, append
from core.privacy.rules import ask
from core.privacy.sessions import Staff
from core.privacy.standing import lift_restriction, restrict

KINDS = {"restrict": "restricted", "opt_out": "opted out", "object": "objection"}  # and the letter that answers each
LIFTED_BECAUSE = (
    "the person asks for it",
    "what was contested is settled",
    "the data is not needed for a claim any more",
    "the objection was decided",
)
NO_SUCH = "There is no such restriction, or it has ended."


def restrict_now(session: Session, *, request_id: uuid.UUID, version: int, by: Staff, now: datetime) -> Receipt:
    """Restrict the person of an open request for restriction from now on, whatever its state; the answer comes later.

    A refusal or withdrawal of the request ends it again.
    """
    case = begin(session, verb="restrict_now", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    demand_open(case)
    demand_not_own(session, case.request)
    _demand(case.request, "restrict")
    sentence = "Restricted: the data is kept and not used from now on. Check who asked, then answer."
    receipt = change(session, case, now=now, owner_id=case.request.owner_id or by.id, sentence=sentence)
    restrict(session, **_person(case.request), basis="asked", request_id=request_id, by=by, now=now)
    return receipt


def answer_right(
    session: Session, *, request_id: uuid.UUID, version: int, by: Staff, now: datetime, words: str = "", note: str = ""
) -> Receipt:
    """Answer a request for restriction, opt-out or objection: it is in force, and the person is told what that means.

    A restriction and an objection need a confirmed identity; an opt-out harms nobody. An objection is refused on compelling grounds
    with ``refuse_request`` instead; marketing mail stays off then, too.
    """
    case = begin(session, verb="answer_right", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    request = case.request
    _demand(request, *KINDS)
    if request.state != "verified" and request.kind != "opt_out":
        raise BadInput("Confirm the identity first; an answer to the wrong person is a breach.")
    demand_move(session, case, "answered", now)
    if request.kind == "restrict":
        restrict(session, **_person(request), basis="asked", request_id=request_id, by=by, now=now)
    write_text(session, case, "note", note, now=now)
    letters.queue(session, case, KINDS[request.kind], now=now, words=words)
    values = stop_clock(session, case, now=now, reason="answered")
    receipt = change(session, case, to="answered", now=now, outcome="in force", sentence="Answered: it is in force, and the letter waits.",
                     **values)  # fmt: skip
    append(session, Action.RIGHT_ANSWERED, now=now, subject_kind="request", subject_id=request_id, kind=request.kind)
    return receipt


def announce_lifting(
    session: Session, *, restriction_id: uuid.UUID, reason: str, words: str = "", by: Staff, now: datetime
) -> str:
    """Write the letter that tells a person that their restriction is going to end; return what to do next.

    ``reason`` is one of LIFTED_BECAUSE. Name and address are filled in by the database: a closed request opens no identity.
    Raises BadInput for a restriction that nobody asked for (it ends with its reason), NotFound for one that has ended.
    """
    found, request = _standing(session, restriction_id, by)
    if reason not in LIFTED_BECAUSE:
        raise BadInput(f"Choose a reason: {', '.join(LIFTED_BECAUSE)}.")
    letter = letters.filled_but_name(session, request, "restriction ends", words=words, reason=reason, now=now)
    made = ask(session, "privacy.announce_lifting(:id, :letter, :subject, :body, :version, :now)", id=restriction_id, letter=uuid7(),
               subject=letter.subject, body=letter.body, version=letter.version, now=now)  # fmt: skip
    if made:
        append(
            session,
            Action.RESTRICTION_ENDS,
            now=now,
            subject_kind="restriction",
            subject_id=restriction_id,
            reason=reason,
        )
    session.refresh(found)
    return "The letter waits. The restriction can be lifted once it was sent."


def lift(session: Session, *, restriction_id: uuid.UUID, by: Staff, now: datetime) -> str:
    """Lift a restriction that a person asked for, once the letter about its end was sent. Again: nothing happens."""
    hold_officer(session, by)
    known = session.get(Restriction, restriction_id, populate_existing=True)
    if known is not None and known.ended_by == by.id:
        return "That restriction is lifted already."
    found, request = _standing(session, restriction_id, by)
    lift_restriction(session, student_id=found.student_id, visitor_id=found.visitor_id, basis="asked", by=by, now=now)
    return f"Lifted. The restriction of {number(request.number)} has ended, and everything is used as before."


def _standing(session: Session, restriction_id: uuid.UUID, by: Staff) -> tuple[Restriction, Request]:
    hold_officer(session, by)
    found = session.get(Restriction, restriction_id, with_for_update=False, populate_existing=True)
    if found is None or found.until is not None:
        raise NotFound(NO_SUCH, restriction_id=restriction_id)
    request = session.get(Request, found.request_id) if found.request_id else None
    if found.basis != "asked" or request is None:
        raise BadInput("Nobody asked for this restriction; it ends with its reason, on the page where that is decided.")
    asked = {"student": found.student_id, "visitor": found.visitor_id}
    if session.scalar(text("select privacy.is_my_own(:student, :visitor)"), asked):
        raise Refused("This is your own record. Another privacy officer has to decide.")
    return found, request


def _demand(request: Request, *kinds: str) -> None:
    if request.kind not in kinds:
        raise BadInput("This request asks for something else.")
    if request.student_id is None and request.visitor_id is None:
        raise BadInput("Find out who this is first.")


def _person(request: Request) -> dict[str, uuid.UUID | None]:
    return {"student_id": request.student_id, "visitor_id": request.visitor_id}
