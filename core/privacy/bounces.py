"""Letters that came back: reports of the mail system (RFC 3464), read from a file, an mbox or a maildir.

A report names the letter by its Message-ID (or the envelope id that we gave): whom it concerns is looked up here, never taken
from the report, so that a forged one can at most mark a letter whose random id it knows. What the server wrote stays out: it
repeats the address. A letter counts as sent *and* came back; nothing is sent anew by itself.
"""

import mailbox
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email import message_from_binary_file, message_from_bytes
from email.message import Message
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.errors import BadInput
from core.models.campaigns import Campaign, CampaignRecipient
from core.models.requests import Outbox
from core.privacy import ages_asked
from core.privacy.audit import Action, append
from core.privacy.campaigns import tally

_ID = re.compile(r"<?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:@|>|$)", re.IGNORECASE)
_STATUS = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})")


@dataclass(frozen=True)
class Report:
    """One report: whether the letter failed for good, with its enhanced code ("5.1.1"); ``letter_id`` None: it names none."""

    letter_id: uuid.UUID | None
    failed: bool
    code: str


@dataclass(frozen=True)
class BouncesRead:
    """What came of a pile of mail: letters marked as come back, marked before, reports about none of ours, other mail, delays."""

    bounced: int = 0
    known: int = 0
    unknown: int = 0
    other: int = 0
    delayed: int = 0


def reports_in(path: Path) -> Iterator[Report | None]:
    """Yield each mail of a file, mbox or maildir as a report; None: it is other mail. Raises BadInput when nothing is there."""
    if path.is_dir():
        if not (path / "cur").is_dir() and not (path / "new").is_dir():
            raise BadInput(f"{path} is a folder and no maildir: it has no folders “new” and “cur”.")
        for message in mailbox.Maildir(path, create=False):
            yield report_in(message)
    elif not path.is_file():
        raise BadInput(f"There is no file {path}.")
    elif path.read_bytes()[:5] == b"From ":
        for each in mailbox.mbox(path, create=False):
            yield report_in(each)
    else:
        with path.open("rb") as file:
            yield report_in(message_from_binary_file(file))


def report_in(message: Message) -> Report | None:
    """Return what a mail says about a letter of ours, or None when it is no report."""
    if message.get_content_type() != "multipart/report":
        return None
    fields = [
        part for each in message.walk() if each.get_content_type() == "message/delivery-status" for part in _parts(each)
    ]
    if not fields:
        return None
    actions = [str(each["Action"]).strip().lower() for each in fields if each["Action"]]
    codes = [found[1] for each in fields if (found := _STATUS.match(str(each["Status"] or "")))]
    named = [str(each["Original-Envelope-Id"]) for each in fields if each["Original-Envelope-Id"]]
    ids = [match[1] for each in (*_original_ids(message), *named) if (match := _ID.search(each))]
    return Report(uuid.UUID(ids[0]) if ids else None, "failed" in actions, codes[0] if codes else "bounced")


def record_bounces(session: Session, reports: Iterator[Report | None], *, now: datetime) -> BouncesRead:
    """Mark the letters that came back; the same pile again changes nothing."""
    told = {"bounced": 0, "known": 0, "unknown": 0, "other": 0, "delayed": 0}
    for report in reports:
        told[_record(session, report, now)] += 1
    if told["bounced"] or told["unknown"]:
        append(session, Action.BOUNCES_READ, now=now, bounced=told["bounced"], unknown=told["unknown"])
    return BouncesRead(**told)


def _record(session: Session, report: Report | None, now: datetime) -> str:
    if report is None:
        return "other"
    if not report.failed:
        return "delayed"
    if report.letter_id is None:
        return "unknown"
    letter = session.get(Outbox, report.letter_id, with_for_update=True, populate_existing=True)
    if letter is not None and letter.sent_at is not None:
        if letter.bounced_at is not None:
            return "known"
        letter.bounced_at, letter.error = now, report.code
        _log(session, letter.id, letter.sent_at)
        return "bounced"
    told = session.get(CampaignRecipient, report.letter_id, with_for_update=True, populate_existing=True)
    if told is None or told.state not in ("sent", "bounced"):
        return "unknown"
    if told.state == "bounced":
        return "known"
    assert told.told_at is not None
    _log(session, told.id, told.told_at)
    told.state, told.code = "bounced", report.code
    session.flush()
    ages_asked.note_came_back(session, recipient=told.id, now=now)
    campaign = session.get(Campaign, told.campaign_id, with_for_update=True, populate_existing=True)
    if campaign is not None and campaign.counts is not None:
        campaign.counts = tally(session, campaign)
    return "bounced"


def _log(session: Session, letter_id: uuid.UUID, sent_at: datetime) -> None:
    mine = text("update platform.email_log set outcome = 'bounced' where sent_at = :at and id = :id")
    session.execute(mine, {"at": sent_at, "id": letter_id})


def _parts(status: Message) -> list[Message]:
    """The blocks of fields of a report: one about the message, one for each recipient."""
    held = status.get_payload()
    return [each for each in held if isinstance(each, Message)] if isinstance(held, list) else []


def _original_ids(report: Message) -> Iterator[str]:
    """The Message-ID of the letter that a report returns, whole or as headers."""
    for part in report.walk():
        if part.get_content_type() == "text/rfc822-headers":
            held = part.get_payload(decode=True)
            yield str(message_from_bytes(held if isinstance(held, bytes) else b"")["Message-ID"] or "")
        elif part.get_content_type() == "message/rfc822":
            for inner in _parts(part):
                yield str(inner["Message-ID"] or "")
