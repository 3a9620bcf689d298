"""Requests: filed by anybody who works here, worked on by privacy officers, up to the answer.

Danger: a request that is lost, answered to the wrong person, or late without anybody noticing. Principle: the clock starts with
the first member of staff who had it in hand; nothing is answered before the identity is confirmed; every decision has a
reason, an author and one line in the audit. Mechanism: :func:`file_request` writes through ``privacy.file_request``, which
knows the person and keeps one open request per kind and person; the other verbs follow core.privacy.acting.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from core import keys
from core.db import identify
from core.errors import BadInput, NotFound
from core.models.base import uuid7
from core.models.consent import Guardian
from core.models.platform import Student, Visitor
from core.models.requests import CHANNELS, GUARDIAN_KINDS, LONGEST_TEXT, REQUEST_KINDS, REQUESTERS, Request, RequestText
from core.policy import in_force
from core.policy.clock import add_months
from core.policy.machine import KIND_WORDS, number
from core.privacy import exports, letters
from core.privacy.accounts import reopen_account
from core.privacy.acting import (
    MISSING,
    Case,
    Receipt,
    begin,
    change,
    clock,
    demand_move,
    demand_not_own,
    demand_open,
    hold_officer,
    stop_clock,
    tick,
    write_text,
)
from core.privacy.audit import Action, append, append_view
from core.privacy.sessions import Staff
from core.words import clean, clean_text

IDENTITY_METHODS = (
    "signed in on the platform",
    "answered from the known address",
    "called back on the known number",
    "document shown, not kept",
    "known in person",
)
COMPELLING_GROUNDS = "compelling grounds"  # for an objection only (GDPR 21(1)); never against marketing mail
REFUSALS = (
    "identity not confirmed",
    "not theirs to ask",
    "manifestly unfounded",
    "repeated without change",
    "rights of others",
    "the law keeps the data",
    COMPELLING_GROUNDS,
)
WITHDRAWALS = ("by the person", "filed by mistake", "filed twice")
ANSWERS = ("done by hand", "sent by hand", "nothing is held")
EXTENSIONS = ("complex", "many requests at once")
PAUSES = ("proof of identity asked for", "proof was not enough")
RESUMES = ("the person answered", "asked without need")
OLDEST_RECEIPT = timedelta(days=366)


@dataclass(frozen=True)
class Filed:
    """What whoever files a request learns. ``made``: "filed", "same form" (a repeated click) or "already open" (``number``
    is that of the first one, and the words are kept with it). ``request_id`` opens to privacy officers only."""

    request_id: uuid.UUID
    number: str
    received_at: datetime
    due_at: datetime
    made: str
    sentence: str


def file_request(
    session: Session,
    *,
    kind: str,
    received_at: datetime,
    form_key: uuid.UUID,
    by: Staff,
    now: datetime,
    student_id: uuid.UUID | None = None,
    visitor_id: uuid.UUID | None = None,
    email: str = "",
    name: str = "",
    words: str = "",
    channel: str = "e-mail",
    requester: str = "subject",
) -> Filed:
    """File what somebody asked for; any member of staff may. The clock runs from ``received_at``.

    The subject is a student or visitor whom ``by`` may see (``student_id``, ``visitor_id``), or whoever has ``email``;
    nobody found there: unknown, and an officer finds out (link_subject). Whoever files by e-mail does not learn whether it
    is known. ``received_at``: the instant or the beginning of the day (UTC) on which the first member of staff had it in
    hand. ``form_key``: made once per form; the same form twice files once. ``words``: the person's own (20,000 characters).

    Raises BadInput for what cannot be used (nothing is saved, cut or lost), NotFound for a person who is not there or not
    open to ``by``: one answer.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    _known("kind", kind, REQUEST_KINDS)
    _known("channel", channel, CHANNELS)
    _known("requester", requester, REQUESTERS)
    if not now - OLDEST_RECEIPT <= received_at <= now:
        raise BadInput("The day of receipt must be today or within the last year.", received_at=received_at)
    words = clean_text(words, what="The person's words", longest=LONGEST_TEXT)
    email, name = clean(email, what="The e-mail"), clean(name, what="The name")
    _see_subject(session, student_id, visitor_id, email, name, words)
    rules = in_force(session, received_at)
    asked = {
        "id": uuid7(),
        "clock": uuid7(),
        "form_key": form_key,
        "kind": kind,
        "student": student_id,
        "visitor": visitor_id,
        "hash": keys.person_hashes()(email, "")[0] if email else None,
        "channel": channel,
        "requester": requester,
        "received": received_at,
        "due": add_months(received_at, rules.answer_months),
        "now": now,
        "policy": rules.version,
        "words": words,
        "contact": "\n".join(part for part in (name, email) if part)
        if student_id is None and visitor_id is None
        else "",
    }
    row = session.execute(text(FILE), asked).one()
    if row.made == "filed":
        append(session, Action.REQUEST_FILED, now=now, subject_kind="request", subject_id=row.id, kind=kind,
               channel=channel, requester=requester, known=row.known)  # fmt: skip
    elif row.made == "already open" and row.kept:
        append(session, Action.REQUEST_REPEATED, now=now, subject_kind="request", subject_id=row.id, kind=kind)
    return Filed(row.id, number(row.number), row.received_at, row.due_at, row.made, _filed_sentence(row, kind, by))


def take_request(session: Session, *, request_id: uuid.UUID, version: int, by: Staff, now: datetime) -> Receipt:
    """Make ``by`` the owner of an open request: who works on it. Raises Refused for one's own record."""
    case = begin(session, verb="take_request", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    demand_open(case)
    demand_not_own(session, case.request)
    if case.request.state in ("to approve", "waiting", "erasing"):
        raise BadInput("This deletion is with its approver; an owner now could not approve it.")
    receipt = change(session, case, now=now, owner_id=by.id, sentence=f"{number(case.request.number)} is yours.")
    append(session, Action.REQUEST_TAKEN, now=now, subject_kind="request", subject_id=request_id)
    return receipt


def link_subject(
    session: Session, *, request_id: uuid.UUID, version: int, email: str, by: Staff, now: datetime
) -> Receipt:
    """Say who an unknown subject is, by the e-mail of a student, a visitor, or a parent or guardian.

    Raises BadInput when nobody has that address, when the subject is known already, or when this person has an open
    request of this kind (the sentence names it).
    """
    case = begin(session, verb="link_subject", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    demand_open(case)
    request = case.request
    if request.student_id or request.visitor_id or request.guardian_id:
        raise BadInput("This request has its person; file another one for somebody else.")
    digest = keys.person_hashes()(clean(email, what="The e-mail"), "")[0]
    found = session.execute(text("select * from privacy.person_of(:hash)"), {"hash": digest}).first()
    if found is None:
        return _link_guardian(session, case, email, now)
    person = {"student_id": found.student_id, "visitor_id": found.visitor_id}
    _demand_first(session, request, **person)
    session.execute(update(RequestText).where(RequestText.request_id == request.id).values(**person))
    receipt = change(session, case, now=now, sentence="The person is known now. Check their identity next.", **person)
    append(session, Action.SUBJECT_LINKED, now=now, subject_kind="request", subject_id=request_id,
           person="student" if found.student_id else "visitor")  # fmt: skip
    return receipt


def ask_identity(
    session: Session, *, request_id: uuid.UUID, version: int, by: Staff, now: datetime, words: str = ""
) -> Receipt:
    """Ask the person to prove who they are: a letter waits in the outbox, and the clock rests until they answer.

    From "received" to "checking". ``words`` are added to the letter. Raises BadInput when the person is unknown.
    """
    case = begin(session, verb="ask_identity", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    demand_move(session, case, "checking", now)
    _demand_known(case.request)
    letters.queue(session, case, "identity", now=now, words=words)
    values = tick(session, case, "pause", now=now, reason=PAUSES[0])
    receipt = change(session, case, to="checking", now=now, identity="asked",
                     sentence="The letter waits in the outbox; the clock rests until the person answers.", **values)  # fmt: skip
    append(session, Action.IDENTITY_ASKED, now=now, subject_kind="request", subject_id=request_id)
    return receipt


def record_identity(
    session: Session,
    *,
    request_id: uuid.UUID,
    version: int,
    method: str,
    confirmed: bool,
    by: Staff,
    now: datetime,
    note: str = "",
) -> Receipt:
    """Record how the identity was checked and what came out; a pause ends.

    Confirmed: "received" or "checking" becomes "verified". Not confirmed: the state stays; ask again or refuse.
    ``method`` is one of IDENTITY_METHODS. Raises BadInput when the person is unknown.
    """
    case = begin(session, verb="record_identity", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _known("method", method, IDENTITY_METHODS)
    demand_move(session, case, "verified", now, start=("received", "checking"))
    _demand_known(case.request)
    write_text(session, case, "note", note, now=now)
    values = tick(session, case, "resume", now=now, reason=RESUMES[0]) if case.request.paused_at else {}
    outcome = "confirmed" if confirmed else "failed"
    sentence = (
        "The identity is confirmed." if confirmed else "Recorded: not confirmed. Ask again, or refuse with a reason."
    )
    receipt = change(session, case, to="verified" if confirmed else None, now=now, sentence=sentence, identity=outcome,
                     identity_method=method, identity_by=by.id, identity_at=now,
                     owner_id=case.request.owner_id or by.id, **values)  # fmt: skip
    append(session, Action.IDENTITY_CHECKED, now=now, subject_kind="request", subject_id=request_id, method=method,
           outcome=outcome)  # fmt: skip
    return receipt


def pause_clock(
    session: Session, *, request_id: uuid.UUID, version: int, reason: str, by: Staff, now: datetime
) -> Receipt:
    """Let the clock rest again while the identity is checked; nothing else stops it. ``reason`` is one of PAUSES."""
    case = begin(session, verb="pause_clock", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _known("reason", reason, PAUSES)
    if case.request.state != "checking":
        raise BadInput("The clock rests only while the person's identity is being checked.")
    if case.request.paused_at:
        raise BadInput("The clock rests already.")
    values = tick(session, case, "pause", now=now, reason=reason)
    receipt = change(session, case, now=now, sentence="The clock rests.", **values)
    append(session, Action.CLOCK_PAUSED, now=now, subject_kind="request", subject_id=request_id, reason=reason)
    return receipt


def resume_clock(
    session: Session, *, request_id: uuid.UUID, version: int, reason: str, by: Staff, now: datetime
) -> Receipt:
    """Let the clock run on: the person answered, and now it is our turn. ``reason`` is one of RESUMES."""
    case = begin(session, verb="resume_clock", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _known("reason", reason, RESUMES)
    if not case.request.paused_at:
        raise BadInput("The clock of this request runs.")
    values = tick(session, case, "resume", now=now, reason=reason)
    receipt = change(session, case, now=now, sentence="The clock runs on.", **values)
    append(session, Action.CLOCK_RESUMED, now=now, subject_kind="request", subject_id=request_id, reason=reason)
    return receipt


def extend_answer(
    session: Session,
    *,
    request_id: uuid.UUID,
    version: int,
    months: int,
    reason: str,
    by: Staff,
    now: datetime,
    words: str = "",
) -> Receipt:
    """Make the answer due one or two months later, once, within the first month; the person is told why.

    ``reason`` is one of EXTENSIONS; ``words`` are added to the letter. Raises BadInput when it is too late, done already, or
    more months than the policy allows.
    """
    case = begin(session, verb="extend_answer", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _known("reason", reason, EXTENSIONS)
    demand_open(case)
    demand_not_own(session, case.request)
    before = clock(session, case.request)
    if before.extended_months:
        raise BadInput("The answer was extended already; that is possible once.")
    if not before.extendable(now):
        raise BadInput("An answer can be extended within the first month only, and before it is given.")
    values = tick(session, case, "extend", now=now, reason=reason, months=_months(session, months, before.started_at))
    receipt = change(
        session, case, now=now, sentence=f"Due on {values['due_at']:%-d %B %Y} now; the letter waits.", **values
    )
    letters.queue(session, case, "extension", now=now, words=words, reason=reason)
    append(session, Action.ANSWER_EXTENDED, now=now, subject_kind="request", subject_id=request_id, months=months,
           reason=reason)  # fmt: skip
    return receipt


def add_note(
    session: Session, *, request_id: uuid.UUID, form_key: uuid.UUID, note: str, by: Staff, now: datetime
) -> Receipt:
    """Keep a note of staff with an open request. The same ``form_key`` twice keeps it once. It changes no version."""
    hold_officer(session, by)
    request = session.get(Request, request_id)
    if request is None:
        raise NotFound(MISSING, request_id=request_id)
    body = clean_text(note, what="The note", longest=LONGEST_TEXT)
    if not body:
        raise BadInput("Write the note first.")
    if request.closed_at is not None:
        raise BadInput(f"{number(request.number)} is closed; it does not change any more.")
    row = {"id": uuid7(), "key": form_key, "request": request.id, "student": request.student_id,
           "visitor": request.visitor_id, "body": body, "by": by.id, "now": now}  # fmt: skip
    new = bool(session.execute(text(NOTE), row).first())
    if new:
        append(session, Action.NOTE_ADDED, now=now, subject_kind="request", subject_id=request_id)
    return Receipt(request.id, number(request.number), "add_note", request.state, request.version, "Noted.", not new)


def refuse_request(
    session: Session,
    *,
    request_id: uuid.UUID,
    version: int,
    reason: str,
    words: str,
    by: Staff,
    now: datetime,
) -> Receipt:
    """Refuse a request, with reasons in words that go into the letter (with the right to complain and to go to court).

    ``reason`` is one of REFUSALS; ``words`` must not be empty. An account that was closed for it is opened again first.
    """
    case = begin(session, verb="refuse_request", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _known("reason", reason, REFUSALS)
    if reason == COMPELLING_GROUNDS and case.request.kind != "object":
        raise BadInput("Compelling grounds are weighed against an objection only.")
    demand_move(session, case, "refused", now)
    write_text(
        session, case, "reason", words, now=now, needed="Say in words why the request is refused; the letter needs it."
    )
    if case.request.account_closed_at:
        reopen_account(session, case, now=now)
    letters.cancel_waiting(session, case, now=now)
    letters.queue(session, case, "refusal", now=now, words=words, reason=reason)
    values = stop_clock(session, case, now=now, reason="refused")
    receipt = change(session, case, to="refused", now=now, outcome=reason, sentence="Refused. The letter with the reasons waits.",
                     **values)  # fmt: skip
    append(session, Action.REQUEST_REFUSED, now=now, subject_kind="request", subject_id=request_id, reason=reason)
    return receipt


def withdraw_request(
    session: Session, *, request_id: uuid.UUID, version: int, reason: str, by: Staff, now: datetime, note: str = ""
) -> Receipt:
    """Close a request that is not wanted any more. ``reason`` is one of WITHDRAWALS.

    A deletion whose account is closed is not withdrawn but reactivated; that of a visitor is withdrawn until it is erased.
    """
    case = begin(session, verb="withdraw_request", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _known("reason", reason, WITHDRAWALS)
    demand_move(session, case, "withdrawn", now)
    if case.request.account_closed_at:
        raise BadInput("The account is closed for this request: reactivate it instead.")
    write_text(session, case, "note", note, now=now)
    letters.cancel_waiting(session, case, now=now)
    values = stop_clock(session, case, now=now, reason="withdrawn")
    receipt = change(session, case, to="withdrawn", now=now, outcome=reason, sentence="Withdrawn.", **values)
    append(session, Action.REQUEST_WITHDRAWN, now=now, subject_kind="request", subject_id=request_id, reason=reason)
    return receipt


def answer_request(
    session: Session, *, request_id: uuid.UUID, version: int, outcome: str, evidence: str, by: Staff, now: datetime
) -> Receipt:
    """Close a request that was answered by hand, with evidence of what was done.

    ``outcome`` is one of ANSWERS. Needs a confirmed identity, but for an opt-out (it harms nobody) and for "nothing is held"
    about somebody unknown. What was done was done by hand: ``evidence`` says what, and where the proof is. A deletion is not answered: it is erased, refused or withdrawn.
    """
    case = begin(session, verb="answer_request", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    _known("outcome", outcome, ANSWERS)
    request = case.request
    demand_move(session, case, "answered", now)
    guardian = request.guardian_id is not None
    known = request.student_id is not None or request.visitor_id is not None or guardian
    if guardian and request.kind in ("correct", "delete"):
        raise BadInput("Correct or erase what is held about this guardian; that is the answer.")
    if request.kind == "delete" and known:
        raise BadInput("A deletion is not answered by hand: close the account, refuse it, or record its withdrawal.")
    if request.state != "verified" and known and request.kind != "opt_out":
        raise BadInput("Confirm the identity first; an answer to the wrong person is a breach.")
    exports.demand_by_hand(session, request)
    if not known and outcome != "nothing is held":
        raise BadInput("Nobody is known by these details: find the person, or answer that nothing is held.")
    write_text(session, case, "evidence", evidence, now=now, needed="Say what was done, and where the proof of it is.")
    letters.queue(session, case, "answer", now=now, words="", reason=outcome)
    values = stop_clock(session, case, now=now, reason="answered")
    receipt = change(session, case, to="answered", now=now, outcome=outcome, sentence="Answered.", **values)
    append(session, Action.REQUEST_ANSWERED, now=now, subject_kind="request", subject_id=request_id, outcome=outcome)
    return receipt


def record_request_view(session: Session, *, request_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Record that an officer opened a request's page, and with it the identity of its person."""
    hold_officer(session, by)
    request = session.get(Request, request_id)
    if request is None:
        raise NotFound(MISSING, request_id=request_id)
    kind = "student" if request.student_id else "visitor" if request.visitor_id else "request"
    person = request.student_id or request.visitor_id or request.id
    append_view(session, person_kind=kind, person_ids=[person], purpose="request", now=now)


FILE = """
    select * from privacy.file_request(:id, :clock, :form_key, :kind, :student, :visitor, :hash, :channel, :requester, :received,
        :due, :now, :policy, :words, :contact)
"""
NOTE = """
    insert into privacy.request_text (id, form_key, request_id, student_id, visitor_id, what, body, written_by, written_at)
    values (:id, :key, :request, :student, :visitor, 'note', :body, :by, :now)
    on conflict (form_key) do nothing returning id
"""


def _known(what: str, value: str, values: tuple[str, ...]) -> None:
    if value not in values:
        raise BadInput(f"{value!r} is not a {what} that exists. Choose one of: {', '.join(values)}.", value=value)


def _see_subject(
    session: Session, student_id: uuid.UUID | None, visitor_id: uuid.UUID | None, email: str, name: str, words: str
) -> None:
    """The person is one whom whoever files may see, or there is something by which an officer can find them."""
    if student_id is not None and visitor_id is not None:
        raise BadInput("A request is about one person: a student or a visitor.")
    if student_id is not None and session.get(Student, student_id) is None:
        raise NotFound("There is no such student, or the record is not open to you.", student_id=student_id)
    if visitor_id is not None and session.get(Visitor, visitor_id) is None:
        raise NotFound("There is no such visitor, or the record is not open to you.", visitor_id=visitor_id)
    if student_id is None and visitor_id is None:
        if not (email or name or words):
            raise BadInput("Say who asked: an e-mail address, a name, or the words they wrote.")
        if email and "@" not in email[1:-1]:
            raise BadInput("That is not an e-mail address. Leave it empty if none is known.")


def _filed_sentence(row: object, kind: str, by: Staff) -> str:
    made, label = str(row.made), number(int(row.number))  # type: ignore[attr-defined]
    if made == "already open":
        return f"A request for {KIND_WORDS[kind]} of this person is open already: {label}. Your words are kept with it."
    if by.role == "privacy_officer":
        return f"{label} is filed."
    return f"{label} is received. A privacy officer takes it from here; you need to do nothing more."


def _link_guardian(session: Session, case: Case, email: str, now: datetime) -> Receipt:
    """The same for a parent or guardian who asks for themselves. One who stands in several records is one person with several rows:
    the newest is meant, and the others are found with the same address."""
    request, typed = case.request, clean(email, what="The e-mail").lower()
    theirs = select(Guardian.id).where(func.lower(Guardian.email) == typed).order_by(Guardian.id.desc())
    found = session.scalar(theirs.limit(1)) if typed else None
    if found is None:
        raise BadInput("No student, visitor or guardian has this e-mail address.")
    if request.kind not in GUARDIAN_KINDS:
        raise BadInput(
            f"A parent or guardian has nothing here that a request for {KIND_WORDS[request.kind]} could change."
        )
    same = select(Request.number).where(
        Request.kind == request.kind,
        Request.closed_at.is_(None),
        Request.id != request.id,
        Request.guardian_id == found,
    )
    if (first := session.scalar(same)) is not None:
        raise BadInput(
            f"This person has an open request for {KIND_WORDS[request.kind]} already: {number(first)}.", first=first
        )
    receipt = change(session, case, now=now, guardian_id=found,
                     sentence="It is a parent or guardian, who asks for themselves. Check their identity next.")  # fmt: skip
    append(session, Action.SUBJECT_LINKED, now=now, subject_kind="request", subject_id=request.id, person="guardian")
    return receipt


def _demand_known(request: Request) -> None:
    if request.student_id is None and request.visitor_id is None and request.guardian_id is None:
        raise BadInput("Find out who this is first; then their identity can be checked.")


def _demand_first(
    session: Session, request: Request, *, student_id: uuid.UUID | None, visitor_id: uuid.UUID | None
) -> None:
    """Nobody has two open requests of one kind; the database refuses it, here is its sentence."""
    same = select(Request.number).where(
        Request.kind == request.kind, Request.closed_at.is_(None), Request.id != request.id
    )
    person = Request.student_id == student_id if student_id else Request.visitor_id == visitor_id
    first = session.scalar(same.where(person))
    if first is not None:
        raise BadInput(
            f"This person has an open request for {KIND_WORDS[request.kind]} already: {number(first)}."
            " Withdraw this one as filed twice, and work on that.",
            first=first,
        )


def _months(session: Session, months: int, at: datetime) -> int:
    most = in_force(session, at).extension_months
    if not 1 <= months <= most:
        raise BadInput(f"An answer can be extended by 1 to {most} months, not by {months}.", months=months)
    return months
