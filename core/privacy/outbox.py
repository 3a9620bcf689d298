"""The outbox: letters that wait, are sent by mail or by hand, or are canceled.

Danger: a letter that is sent twice, or never, while the screen says it was. Principle: a letter counts as sent when the
server took it, or when a person says that they sent it; the address is forgotten in that moment. Mechanism: one row per
letter with a key that exists once, locked while it is handed over. A worker that dies between the server's answer and the
commit sends a second copy with the same Message-ID: at least once, recognizably.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound
from core.models.requests import Outbox
from core.privacy.acting import hold_officer
from core.privacy.audit import Action, append
from core.privacy.sessions import Staff
from core.processors import mail

ATTEMPTS = 5
FIRST_PAUSE = timedelta(minutes=5)
MOST_AT_ONCE = 200


@dataclass(frozen=True)
class LetterReceipt:
    """What became of a letter; ``again`` is True when a click was repeated."""

    letter_id: uuid.UUID
    state: str
    sentence: str
    again: bool = False


def mark_sent_by_hand(session: Session, *, letter_id: uuid.UUID, by: Staff, now: datetime) -> LetterReceipt:
    """Record that ``by`` sent a waiting letter by hand; its address is forgotten. Raises BadInput before its day."""
    letter = _letter(session, letter_id, by)
    if letter.state == "sent":
        return LetterReceipt(letter.id, letter.state, "That letter is sent already.", again=True)
    if letter.state == "canceled":
        raise BadInput("This letter was canceled; it would not be true any more.")
    if letter.not_before > now:
        raise BadInput(f"This letter is due on {letter.not_before:%-d %B %Y}, not before.")
    letter.state, letter.address, letter.sent_at, letter.sent_by, letter.sent_how = "sent", None, now, by.id, "by hand"
    session.flush()
    append(
        session,
        Action.LETTER_SENT,
        now=now,
        subject_kind="letter",
        subject_id=letter.id,
        kind=letter.kind,
        how="by hand",
    )
    return LetterReceipt(letter.id, "sent", "Recorded as sent by hand.")


def cancel_letter(session: Session, *, letter_id: uuid.UUID, by: Staff, now: datetime) -> LetterReceipt:
    """Take a letter that was not sent out of the outbox."""
    letter = _letter(session, letter_id, by)
    if letter.state == "canceled":
        return LetterReceipt(letter.id, letter.state, "That letter is canceled already.", again=True)
    if letter.state == "sent":
        raise BadInput("This letter is sent; it cannot be called back.")
    letter.state, letter.address = "canceled", None
    session.flush()
    append(session, Action.LETTER_CANCELED, now=now, subject_kind="letter", subject_id=letter.id, kind=letter.kind)
    return LetterReceipt(letter.id, "canceled", "Canceled.")


def letters_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the letters whose day has come and that can go by mail; none while no mail server is set."""
    if not mail.configured():
        return []
    due = select(Outbox.id).where(Outbox.state == "waiting", Outbox.not_before <= now, Outbox.address.is_not(None))
    return [str(each) for each in session.scalars(due.order_by(Outbox.not_before, Outbox.id).limit(MOST_AT_ONCE))]


def send_letter(session: Session, *, letter_id: uuid.UUID, now: datetime) -> str:
    """Send one letter by mail; return "taken", "later", "refused" or "nothing" (it is not due any more).

    Refused for good, or later for the fifth time: the letter is "failed" and a person sends it by hand.
    """
    letter = session.get(Outbox, letter_id, with_for_update=True, populate_existing=True)
    if letter is None or letter.state != "waiting" or letter.not_before > now or letter.address is None:
        return "nothing"
    answer = mail.deliver(letter_id=str(letter.id), address=letter.address, subject=letter.subject, body=letter.body)
    letter.attempts += 1
    if answer.outcome == "taken":
        letter.state, letter.address, letter.sent_at, letter.sent_how, letter.error = "sent", None, now, "mail", None
    else:
        letter.error = answer.code
        if answer.outcome == "refused" or letter.attempts >= ATTEMPTS:
            letter.state = "failed"
        else:
            letter.not_before = now + FIRST_PAUSE * 4 ** (letter.attempts - 1)
    session.flush()
    if letter.state == "sent":
        append(
            session,
            Action.LETTER_SENT,
            now=now,
            subject_kind="letter",
            subject_id=letter.id,
            kind=letter.kind,
            how="mail",
        )
    elif letter.state == "failed":
        append(session, Action.LETTER_FAILED, now=now, subject_kind="letter", subject_id=letter.id, kind=letter.kind,
               code=answer.code)  # fmt: skip
    return answer.outcome


def _letter(session: Session, letter_id: uuid.UUID, by: Staff) -> Outbox:
    hold_officer(session, by)
    letter = session.get(Outbox, letter_id, with_for_update=True, populate_existing=True)
    if letter is None:
        raise NotFound("There is no such letter, or it is not open to you.", letter_id=letter_id)
    return letter
