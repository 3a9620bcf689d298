"""Letters: wordings that a person can edit, filled in safely, put into the outbox once.

Danger: a letter with somebody else's name, with a placeholder left in it, or sent twice. Principle: placeholders are a fixed list,
filled in one pass, so that a name in braces stays a name; every letter has a key that exists once. Mechanism: the newest
row of ``letter_template`` counts, version 0 is :data:`SHIPPED`; :func:`queue` writes a row of ``outbox``.
"""

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound
from core.models.base import uuid7
from core.models.consent import Guardian
from core.models.labels import Processor
from core.models.platform import Student, Visitor
from core.models.requests import LONGEST_TEXT, LetterTemplate, Outbox, Request
from core.policy.machine import KIND_WORDS, number
from core.privacy.acting import MISSING, Case, Receipt, clock, clocks, hold_officer, subject, subjects
from core.privacy.age_letters import AGE_LETTERS
from core.privacy.audit import Action, append
from core.privacy.mail_kinds import NOTICES
from core.privacy.sessions import Staff
from core.words import clean, clean_text

PLACEHOLDERS = {
    "name": "the person's name",
    "number": "number of the request, like R-2041",
    "kind": "what was asked for",
    "received": "day of receipt",
    "due": "day on which the answer is due",
    "erased_on": "day on which a closed account is erased, or –",
    "reason": "the reason that was chosen",
    "words": "your own words",
    "recipients": "who else held the data and was told",
    "ended": "last day of a subscription, or –",
    "days": "days from the notice of its end to the closing of the account, or –",
    "grace": "days from the closing of an account to its erasure, or –",
}
REMINDER_DAYS = (23, 29)
_COURT = "You can complain to a data protection authority, and you can go to court. Neither depends on the other."
SHIPPED: dict[str, tuple[str, str]] = {
    "acknowledgement": (
        "We have received your request {number}",
        "Dear {name},\n\nwe received your request for {kind} on {received}. You will have our answer by {due}.\n\n{words}\n\n"
        "Your number is {number}.",
    ),
    "identity": (
        "Request {number}: please confirm that it is you",
        "Dear {name},\n\nbefore we act on your request for {kind}, we have to be sure that it comes from you. Please answer this"
        " mail from the address that we know, or sign in on the platform. We do not need a copy of a document.\n\n{words}\n\n"
        "Until we hear from you, the time for our answer rests.",
    ),
    "extension": (
        "Request {number}: we need more time",
        "Dear {name},\n\nyour request for {kind} of {received} takes longer than a month ({reason}). You will have our answer by"
        " {due}.\n\n{words}\n\n" + _COURT,
    ),
    "refusal": (
        "Request {number}: our answer",
        "Dear {name},\n\nwe cannot do what you asked for on {received} ({kind}). The reason: {reason}.\n\n{words}\n\n"
        + _COURT,
    ),
    "closing": (
        "Your account is closed and will be erased on {erased_on}",
        "Dear {name},\n\nas you asked ({number}), your account is closed. Until {erased_on} you can have it back: tell us, or use"
        " the link on the sign-in page. After that everything is erased, but what the law makes us keep (payments).\n\n{words}",
    ),
    "reminder": (
        "Your account will be erased on {erased_on}",
        "Dear {name},\n\nyour closed account will be erased on {erased_on} ({number}). If you want to keep it, tell us before"
        " that day; everything is still there. If not, you need to do nothing.",
    ),
    "reactivated": (
        "Your account is open again",
        "Dear {name},\n\nyour account is open again and everything is as it was. The deletion {number} is canceled.\n\n{words}",
    ),
    "reopened": (
        "Your account is open again for now",
        "Dear {name},\n\nwe had closed your account for the deletion {number}, and have opened it again: {reason}. Everything is as it"
        " was. If you asked for the deletion, we go on with it and tell you before the account is closed anew.\n\n{words}",
    ),
    "answer": (
        "Request {number}: done",
        "Dear {name},\n\nwhat you asked for on {received} ({kind}) is done: {reason}.\n\n{words}\n\n" + _COURT,
    ),
    "export": (
        "Your data are ready ({number})",
        "Dear {name},\n\non {received} you asked us for {kind}. The file with everything that we hold about you is ready: {reason}.\n\n"
        "It is a ZIP. Unpack it and open index.html; any browser shows it, also without a network. Where the file is encrypted, 7-Zip"
        " and Keka open it; the ZIP program of Windows does not.\n\n{words}\n\n" + _COURT,
    ),
    "corrected": (
        "Request {number}: corrected",
        "Dear {name},\n\nas you asked on {received}, we corrected: {reason}. These hold a part of your data and are told: {recipients}."
        "\n\n{words}\n\n" + _COURT,
    ),
    "address changed": (
        "The e-mail address of your account was changed",
        "Dear {name},\n\nsomebody asked us ({number}) to use another e-mail address for you, and we checked that it was you. From now on our"
        " mail goes there. If it was not you, answer this mail at once.",
    ),
    "restricted": (
        "Request {number}: your data is restricted",
        "Dear {name},\n\nas you asked on {received}, we keep your data and do not use it for now: nobody who teaches or advises sees it, and"
        " you get no mail but what concerns your rights and your account. These hold a part of it and are told: {recipients}. We write to"
        " you before this ends.\n\n{words}\n\n" + _COURT,
    ),
    "restriction ends": (
        "Request {number}: we are going to use your data again",
        "Dear {name},\n\nsince your request of {received} we have kept your data without using it. That ends now: {reason}.\n\n{words}\n\nIf you"
        " do not agree, answer this mail. " + _COURT,
    ),
    "opted out": (
        "Request {number}: no more marketing mail",
        "Dear {name},\n\nas you asked on {received}, you get no marketing mail from us any more. What belongs to your account or to your rights"
        " we still have to send.\n\n{words}",
    ),
    "objection": (
        "Request {number}: your objection",
        "Dear {name},\n\nyour objection of {received} holds: nobody orders you by how much help you seem to need, you are counted in no"
        " anonymized figures from now on, and you get no marketing mail.\n\n{words}\n\n" + _COURT,
    ),
    "completion": (
        "Our last letter: your data is being erased ({number})",
        "Dear {name},\n\nas you asked, what we hold about you is erased now. These held a part of it and were told: {recipients}. Our own"
        " records follow as soon as this letter is out; after that we do not know your address any more.\n\nFor a time there remain"
        " copies in backups, payments as the law demands, and a keyed mark of your address that keeps old records from coming"
        " back.\n\n{words}\n\n" + _COURT,
    ),
    "subscription ended": (
        "Your subscription ended on {ended}: your account will be closed",
        "Dear {name},\n\nyour subscription ended on {ended}. We keep your data as long as a subscription runs, so we will close your"
        " account {days} days after this letter. {grace} days later everything is erased, but what the law makes us keep (payments).\n\n"
        "Before that you can have a copy of everything we hold about you, as a file that you can open and take along: answer this"
        " mail. If you renew your subscription, nothing happens to your account.",
    ),
    "subscription renewed": (
        "Your subscription runs again: your account stays",
        "Dear {name},\n\nyour subscription runs again. What we wrote about the end of it no longer holds: your account stays open,"
        " and nothing is erased.",
    ),
    "subscription closing": (
        "Your account is closed and will be erased on {erased_on}",
        "Dear {name},\n\nas we wrote to you when your subscription had ended, your account is closed now ({number}). Until"
        " {erased_on} you can have it back: renew your subscription, or tell us. Until then you can also have a copy of everything we"
        " hold about you. After that everything is erased, but what the law makes us keep (payments).",
    ),
    "subscription completion": (
        "Our last letter: your data is being erased ({number})",
        "Dear {name},\n\nyour subscription ended, your account was closed, and the time in which you could have it back is over: what we"
        " hold about you is erased now. These held a part of it and were told: {recipients}. Our own records follow as soon as this"
        " letter is out; after that we do not know your address any more.\n\nFor a time there remain copies in backups, payments as"
        " the law demands, and a keyed mark of your address that keeps old records from coming back.\n\n{words}\n\n"
        + _COURT,
    ),
}
KINDS = tuple(SHIPPED)
OTHERS = NOTICES | AGE_LETTERS
WORDINGS = (*SHIPPED, *OTHERS)
BY_HAND = tuple(kind for kind in KINDS if not kind.startswith("subscription "))  # retention writes the others
_PLACEHOLDER = re.compile(r"\{([A-Za-z_0-9]*)\}")


@dataclass(frozen=True)
class Wording:
    """A wording of one kind of letter; version 0 is the one that comes with the product."""

    kind: str
    version: int
    subject: str
    body: str


@dataclass(frozen=True)
class Letter:
    """A letter filled in. ``address`` is None when none is known: it can be copied, and sent by hand."""

    kind: str
    version: int
    address: str | None
    subject: str
    body: str


def wording(session: Session, kind: str) -> Wording:
    """Return the wording of a kind of letter that counts now. Raises BadInput for a kind that is not there."""
    if kind not in WORDINGS:
        raise BadInput(f"There is no letter {kind!r}. Choose one of: {', '.join(WORDINGS)}.", kind=kind)
    newest = select(LetterTemplate).where(LetterTemplate.kind == kind).order_by(LetterTemplate.version.desc()).limit(1)
    row = session.scalars(newest).first()
    return Wording(kind, row.version, row.subject, row.body) if row else Wording(kind, 0, *_shipped(kind))


def fillable(kind: str) -> dict[str, str]:
    """Return what may be filled into the wording of a kind, with what it stands for."""
    return OTHERS[kind].placeholders if kind in OTHERS else PLACEHOLDERS


def _shipped(kind: str) -> tuple[str, str]:
    return SHIPPED[kind] if kind in SHIPPED else (OTHERS[kind].subject, OTHERS[kind].body)


def edit_wording(session: Session, *, kind: str, subject: str, body: str, by: Staff, now: datetime) -> Wording:
    """Write a new version of a wording; letters that wait already keep theirs.

    Raises BadInput for a placeholder that is not in PLACEHOLDERS (the sentence lists them), or an empty part.
    """
    hold_officer(session, by)
    before = wording(session, kind)
    subject, body = clean(subject, what="The subject"), clean_text(body, what="The letter", longest=LONGEST_TEXT)
    if not subject or not body:
        raise BadInput("A letter needs a subject and a text.")
    known = fillable(kind)
    unknown = sorted({f"{{{name}}}" for name in _PLACEHOLDER.findall(subject + body) if name not in known})
    if unknown:
        possible = ", ".join(f"{{{name}}}" for name in known)
        raise BadInput(f"{', '.join(unknown)} cannot be filled in. Possible are {possible}.", unknown=unknown)
    if (subject, body) == (before.subject, before.body):
        return before
    row = LetterTemplate(
        kind=kind, version=before.version + 1, subject=subject, body=body, written_at=now, written_by=by.id
    )
    session.add(row)
    session.flush()
    append(session, Action.WORDING_CHANGED, now=now, kind=kind, version=row.version)
    return Wording(kind, row.version, subject, body)


def draft_letter(
    session: Session, *, request_id: uuid.UUID, kind: str, words: str = "", by: Staff, now: datetime
) -> Letter:
    """Return a letter of an open request filled in, to look at or to copy; nothing is written or sent."""
    hold_officer(session, by)
    if kind not in SHIPPED:
        raise BadInput(f"There is no letter {kind!r} about a request.", kind=kind)
    request = session.get(Request, request_id)
    if request is None:
        raise NotFound(MISSING, request_id=request_id)
    return _filled(session, request, kind, words=words, reason=request.outcome or "", now=now)


def write_letter(
    session: Session,
    *,
    request_id: uuid.UUID,
    kind: str,
    subject: str,
    body: str,
    form_key: uuid.UUID,
    by: Staff,
    now: datetime,
) -> Receipt:
    """Put a letter, as it was edited on the screen, into the outbox. The same ``form_key`` twice writes it once.

    Raises BadInput when a part is empty or cannot be kept, NotFound for the request.
    """
    hold_officer(session, by)
    request = session.get(Request, request_id)
    if request is None:
        raise NotFound(MISSING, request_id=request_id)
    subject, body = clean(subject, what="The subject"), clean_text(body, what="The letter", longest=LONGEST_TEXT)
    if not subject or not body:
        raise BadInput("A letter needs a subject and a text.")
    filled = _filled(session, request, kind, words="", reason="", now=now)
    letter = Letter(kind, filled.version, filled.address, subject, body)
    new = _put(session, request, letter, f"form:{form_key}", by=by, now=now, not_before=now)
    if new:
        append(session, Action.LETTER_WRITTEN, now=now, subject_kind="request", subject_id=request_id, kind=kind)
    sentence = "The letter waits in the outbox."
    return Receipt(
        request.id, number(request.number), "write_letter", request.state, request.version, sentence, not new
    )


def queue(
    session: Session,
    case: Case,
    kind: str,
    *,
    now: datetime,
    words: str = "",
    reason: str = "",
    not_before: datetime | None = None,
    key: str = "",
    dedupe_key: str = "",
    address: str = "",
) -> bool:
    """Put a letter of a case into the outbox, as part of a verb (whose audit line tells it). Return whether it is new.

    ``key`` tells letters of one kind apart; without it the request's version does. ``dedupe_key`` is a whole key instead.
    ``address`` is another one than the person's own.
    """
    request = case.request
    cleaned = clean_text(words, what="The text", longest=LONGEST_TEXT)
    letter = _filled(session, request, kind, words=cleaned, reason=reason, now=now)
    letter = replace(letter, address=address) if address else letter
    dedupe = dedupe_key or f"{request.id}:{kind}:{key or request.version}"
    return _put(session, request, letter, dedupe, by=case.by, now=now, not_before=not_before or now)


def queue_together(session: Session, wanted: Sequence[tuple[Case, str]], kind: str, *, now: datetime) -> set[uuid.UUID]:
    """Put one letter of a kind for each (case, dedupe key) into the outbox, as the worker; return the requests about nobody, who get none."""
    requests = [case.request for case, _ in wanted]
    people = subjects(session, requests)
    found, due = wording(session, kind), clocks(session, requests)
    rows = []
    for (case, key), request in zip(wanted, requests, strict=True):
        if person := people.get(request.id):
            letter = _filled_with(request, found, person, due=_day(due[request.id].due(now)))
            rows.append(_row(request, letter, key, by=case.by, now=now, not_before=now))
    if rows:
        session.execute(text(PUT.replace("returning id", "")), rows)
    return {request.id for request in requests} - set(people)


def queue_to_student(
    session: Session, student: Student, kind: str, *, key: str, values: dict[str, str], now: datetime
) -> bool:
    """Put a letter that belongs to no request into the outbox, as the worker; ``key`` exists once. Return whether it is new."""
    found, filled = (
        wording(session, kind),
        {**dict.fromkeys(PLACEHOLDERS, "–"), "words": "", "name": student.name, **values},
    )
    letter = Letter(kind, found.version, student.email, " ".join(fill(found.subject, filled).split()), fill(found.body, filled))  # fmt: skip
    row = {"id": uuid7(), "key": key, "request": None, "student": student.id, "visitor": None, "kind": kind, "version": found.version,
           "address": letter.address, "subject": letter.subject, "body": letter.body, "before": now, "now": now, "by": None}  # fmt: skip
    return bool(session.execute(text(PUT), row).first())


def cancel_or_was_sent(session: Session, key: str) -> bool:
    """Cancel the letter of this key unless it left; return whether it left."""
    waiting = update(Outbox).where(Outbox.dedupe_key == key, Outbox.state.in_(("waiting", "failed")))
    session.execute(waiting.values(state="canceled", address=None).execution_options(synchronize_session=False))
    return session.scalar(select(Outbox.state).where(Outbox.dedupe_key == key)) == "sent"


def queue_closing(
    session: Session, case: Case, *, closed_at: datetime, now: datetime, words: str = "", kind: str = "closing"
) -> None:
    """Put the letter about a closed account and the reminders of days 23 and 29 into the outbox, those that lie ahead.

    When the grace period is over already (an account that the student closed long ago), nothing is announced.
    """
    request = case.request
    if request.grace_ends_at is None or request.grace_ends_at <= now:
        return
    queue(session, case, kind, now=now, words=words, key=closed_at.isoformat())
    for day in REMINDER_DAYS:
        when = closed_at + day * timedelta(hours=24)
        if when >= now and when < request.grace_ends_at:
            queue(session, case, "reminder", now=now, not_before=when, key=f"{closed_at.isoformat()}:{day}")


def cancel_waiting(
    session: Session,
    case: Case,
    *,
    now: datetime,
    kinds: tuple[str, ...] = ("closing", "subscription closing", "reminder"),
) -> int:
    """Cancel letters of a case that wait and would not be true any more; return how many."""
    waiting = update(Outbox).where(
        Outbox.request_id == case.request.id, Outbox.state == "waiting", Outbox.kind.in_(kinds)
    )
    canceled = waiting.values(state="canceled", address=None).returning(Outbox.id)
    return len(session.execute(canceled.execution_options(synchronize_session=False)).all())


def was_sent(session: Session, request: Request, kind: str) -> bool:
    """Return whether a letter of this kind about a request left already."""
    sent = select(Outbox.id).where(Outbox.request_id == request.id, Outbox.kind == kind, Outbox.state == "sent")
    return session.scalar(sent.limit(1)) is not None


def fill(template: str, values: dict[str, str]) -> str:
    """Return a wording with its placeholders filled in, in one pass: what is filled in is not looked at again."""
    filled = _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)
    return re.sub(r"\n{3,}", "\n\n", filled).strip()


def filled_but_name(session: Session, request: Request, kind: str, *, words: str, reason: str, now: datetime) -> Letter:
    """Return a letter with "{name}" left in it, for a person whose identity is not open: the database fills it in."""
    cleaned = clean_text(words, what="The text", longest=LONGEST_TEXT).replace("{name}", "name")
    return _filled(session, request, kind, words=cleaned, reason=reason, now=now, name="{name}")


def _filled(
    session: Session, request: Request, kind: str, *, words: str, reason: str, now: datetime, name: str = ""
) -> Letter:
    found, person = wording(session, kind), subject(session, request)
    due = _day(clock(session, request).due(now))
    return _filled_with(request, found, person, due=due, words=words, reason=reason, name=name)


def _filled_with(
    request: Request, found: Wording, person: Student | Visitor | Guardian | None, *, due: str, words: str = "", reason: str = "", name: str = "",
) -> Letter:  # fmt: skip
    values = {
        "name": name or (person.name if person else "Sir or Madam"),
        "number": number(request.number),
        "kind": KIND_WORDS[request.kind],
        "received": _day(request.received_at),
        "due": due,
        "erased_on": _day(request.grace_ends_at),
        "reason": reason,
        "words": words,
        "recipients": ", ".join(Processor),
        "ended": "–",
        "days": "–",
        "grace": "–",
    }
    one_line = " ".join(fill(found.subject, values).split())
    return Letter(found.kind, found.version, person.email if person else None, one_line, fill(found.body, values))


def _put(
    session: Session,
    request: Request,
    letter: Letter,
    dedupe_key: str,
    *,
    by: Staff | None,
    now: datetime,
    not_before: datetime,
) -> bool:
    row = _row(request, letter, dedupe_key, by=by, now=now, not_before=not_before)
    person = subject(session, request) if request.guardian_id else None
    if isinstance(person, Guardian):
        row["student"] = person.student_id  # goes with the student's erasure
    return bool(session.execute(text(PUT), row).first())


def _row(
    request: Request, letter: Letter, dedupe_key: str, *, by: Staff | None, now: datetime, not_before: datetime
) -> dict[str, Any]:
    return {"id": uuid7(), "key": dedupe_key, "request": request.id, "student": request.student_id,
            "visitor": request.visitor_id, "kind": letter.kind, "version": letter.version, "address": letter.address,
            "subject": letter.subject, "body": letter.body, "before": not_before, "now": now,
            "by": by.id if by else None}  # fmt: skip


def _day(at: datetime | None) -> str:
    return f"{at:%-d %B %Y}" if at else "–"


PUT = """
    insert into privacy.outbox (id, dedupe_key, request_id, student_id, visitor_id, kind, template_version, address, subject,
        body, not_before, written_at, written_by, state, error)
    select :id, :key, :request, :student, :visitor, :kind, :version, case when not p.nobodys then :address end, :subject, :body, :before, :now,
        cast(:by as uuid), case when p.nobodys then 'canceled' else 'waiting' end,
        case when p.nobodys then 'a canary: nobody is there to write to' end
    from (select coalesce(lower(cast(:address as text)) like '%@canary.invalid', false) as nobodys) p -- core.models.canaries
    on conflict (dedupe_key) do nothing returning id
"""
