"""How mail goes: the server, the figures by kind, the letters that came back, and notices to many."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.models.campaigns import Campaign, CampaignRecipient, MailPace
from core.models.requests import Outbox, Request
from core.policy.machine import number
from core.processors import mail
from core.reads.listing import PAGE_SIZE
from core.settings import settings

RESERVED = mail.RESERVED  # why a letter was not sent: its address stands under a name for examples and tests


@dataclass(frozen=True)
class MailServer:
    """Whether mail goes out by itself, how fast at most (letters a minute), and since when and why it does not; ``code`` is the
    server's own, or "no connection"."""

    configured: bool
    sender: str
    rate: int
    closed_since: datetime | None
    closed_until: datetime | None
    code: str
    last_taken_at: datetime | None


@dataclass(frozen=True)
class MailFigures:
    """One kind of mail: what waits, what the server did not take, and what the log of the days asked for says."""

    kind: str
    waiting: int
    failed: int
    sent: int
    bounced: int
    not_taken: int


@dataclass(frozen=True)
class LetterBack:
    """A letter that was sent and came back, with the code of the report."""

    id: uuid.UUID
    request_id: uuid.UUID | None
    request: str | None
    kind: str
    sent_at: datetime
    bounced_at: datetime
    code: str


@dataclass(frozen=True)
class CampaignRow:
    """One notice to many. ``counts``: by state, as it stands; ``unclear``: may have arrived twice."""

    id: uuid.UUID
    kind: str
    channel: str
    about: str
    audience: str
    subject: str
    body: str
    deadline: datetime
    state: str
    recipients: int
    begun_at: datetime
    begun_by: str | None
    shown_at: datetime | None
    shown_where: str
    finished_at: datetime | None
    reduced_at: datetime | None
    counts: dict[str, int]
    codes: dict[str, int]
    unclear: int


@dataclass(frozen=True)
class RecipientRow:
    """What became of one recipient; who it is stands nowhere on a screen."""

    id: uuid.UUID
    state: str
    code: str
    unclear: bool
    told_at: datetime | None


def mail_server(session: Session) -> MailServer:
    """Return how the mail server stands, as the workers know it."""
    known, pace = settings(), session.get(MailPace, 1, populate_existing=True)
    told = (pace.closed_since, pace.closed_until, pace.code, pace.last_taken_at) if pace else (None, None, "", None)
    return MailServer(mail.configured(), known.mail_from or "", known.mail_rate, *told)


def mail_figures(session: Session, *, now: datetime, days: int) -> list[MailFigures]:
    """Return figures by kind of the last ``days``."""
    rows = session.execute(text("select * from privacy.mail_figures(:since)"), {"since": now - timedelta(days=days)})
    return [MailFigures(*row) for row in rows]


def letters_back(session: Session, *, size: int = PAGE_SIZE) -> list[LetterBack]:
    """Return letters that people wrote and that came back, newest first."""
    back = select(Outbox, Request.number).outerjoin(Request, Request.id == Outbox.request_id)
    rows = session.execute(back.where(Outbox.bounced_at.is_not(None)).order_by(Outbox.bounced_at.desc()).limit(size))
    return [
        LetterBack(row.id, row.request_id, number(of) if of is not None else None, row.kind, row.sent_at, row.bounced_at, row.error or "")
        for row, of in rows if row.sent_at and row.bounced_at
    ]  # fmt: skip


def campaign_list(session: Session, *, size: int = PAGE_SIZE) -> list[CampaignRow]:
    """Return the notices to many, newest first, with how far each is."""
    rows = session.scalars(select(Campaign).order_by(Campaign.begun_at.desc(), Campaign.id.desc()).limit(size)).all()
    return [_row(session, row) for row in rows]


def campaign(session: Session, campaign_id: uuid.UUID) -> CampaignRow | None:
    """Return one notice to many, or None."""
    row = session.get(Campaign, campaign_id)
    return _row(session, row) if row is not None else None


def campaign_recipients(
    session: Session, campaign_id: uuid.UUID, *, state: str, after: uuid.UUID | None = None, size: int = PAGE_SIZE
) -> list[RecipientRow]:
    """Return recipients in one state, 50 at a time by id; for privacy officers."""
    r = CampaignRecipient
    asked = select(r.id, r.state, r.code, r.unclear, r.told_at).where(r.campaign_id == campaign_id, r.state == state)
    if after is not None:
        asked = asked.where(r.id > after)
    return [RecipientRow(*row) for row in session.execute(asked.order_by(r.id).limit(size))]


def _row(session: Session, row: Campaign) -> CampaignRow:
    names = {}
    if row.begun_by is not None:
        asked = text("select * from staff.names_of(:ids)")
        names = {each.id: each.name for each in session.execute(asked, {"ids": [row.begun_by]})}
    counts, codes, unclear = _counts(session, row)
    return CampaignRow(
        row.id, row.kind, row.channel, row.about, row.audience, row.subject, row.body, row.deadline, row.state, row.recipients,
        row.begun_at, names.get(row.begun_by), row.shown_at, row.shown_where, row.finished_at, row.reduced_at, counts, codes, unclear,
    )  # fmt: skip


def _counts(session: Session, row: Campaign) -> tuple[dict[str, int], dict[str, int], int]:
    if row.reduced_at is not None and row.counts is not None:
        kept = row.counts
        return (
            {"sent": kept["sent"], "bounced": kept["bounced"], "not reached": kept["not_reached"]},
            {},
            kept["unclear"],
        )
    counts: dict[str, int] = {}
    codes: dict[str, int] = {}
    unclear = 0
    for each in session.execute(text("select * from privacy.campaign_counts(:id)"), {"id": row.id}):
        counts[each.state] = counts.get(each.state, 0) + each.people
        unclear += each.people if each.unclear else 0
        if each.code and each.state in ("bounced", "not reached"):
            codes[each.code] = codes.get(each.code, 0) + each.people
    return counts, codes, unclear
