"""The outbox: letters that wait, are sent by mail or by hand, or are canceled.

Danger: a letter that is sent twice, or never, while the screen says it was. Principle: a letter counts as sent when the
server took it, or when a person says that they sent it; the address is forgotten in that moment. Mechanism: one row per
letter with a key that exists once; what is on its way to the mail server (core.privacy.sending) cannot be touched here.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound
from core.models.requests import Outbox
from core.privacy.acting import hold_officer
from core.privacy.audit import Action, append
from core.privacy.sessions import Staff
from core.processors import mail

BY_AN_OFFICER = "canceled by an officer"


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
    _demand_still(letter)
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
    _demand_still(letter)
    letter.state, letter.address, letter.error = "canceled", None, BY_AN_OFFICER
    session.flush()
    append(session, Action.LETTER_CANCELED, now=now, subject_kind="letter", subject_id=letter.id, kind=letter.kind)
    return LetterReceipt(letter.id, "canceled", "Canceled.")


def retry_letter(session: Session, *, letter_id: uuid.UUID, by: Staff, now: datetime) -> LetterReceipt:
    """Let the mail server try a failed letter again, with all its attempts. Raises BadInput when it cannot go by mail."""
    letter = _letter(session, letter_id, by)
    if letter.state in ("waiting", "sending"):
        return LetterReceipt(letter.id, letter.state, "That letter waits for the mail server already.", again=True)
    if letter.state != "failed" or letter.address is None:
        raise BadInput(
            "Only a letter that the mail server did not take can be tried again, while its address is known."
        )
    if mail.reserved(letter.address):
        raise BadInput("Its address is under a name that is kept for examples and tests: nobody would get it.")
    if not mail.configured():
        raise BadInput("No mail server is configured: send this letter by hand.")
    letter.state, letter.attempts, letter.not_before, letter.error = "waiting", 0, max(letter.not_before, now), None
    session.flush()
    append(session, Action.LETTER_RETRIED, now=now, subject_kind="letter", subject_id=letter.id, kind=letter.kind)
    return LetterReceipt(letter.id, "waiting", "The mail server is asked again, within the next minute.")


def _demand_still(letter: Outbox) -> None:
    """Raise BadInput while a letter is on its way: nobody knows yet whether it arrived."""
    if letter.state == "sending":
        raise BadInput("This letter is on its way to the mail server. Look again in a minute.")


def _letter(session: Session, letter_id: uuid.UUID, by: Staff) -> Outbox:
    hold_officer(session, by)
    letter = session.get(Outbox, letter_id, with_for_update=True, populate_existing=True)
    if letter is None:
        raise NotFound("There is no such letter, or it is not open to you.", letter_id=letter_id)
    return letter
