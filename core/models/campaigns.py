"""Notices to many people at once, and how fast mail may leave.

A campaign is one text to one audience, fixed when it is begun. Whom it reached stands in one row per recipient, which is
reduced to counts after the period of clause 8. Every mail of a campaign passes through the outbox, like any letter.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, Processor, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
CAMPAIGN_STATES = ("gathering", "running", "paused", "done", "canceled")
CHANNELS = ("mail", "platform")
QUESTION = "age question"  # the kind of the notice "18 or over?" (core.privacy.ages_asked)
RECIPIENT_STATES = ("waiting", "queued", "sent", "bounced", "not reached")

_NOBODY = about(reaches="", erasure=Erasure.NONE)
_TOLD = "who was told of a change or an incident (clause 10, GDPR article 34)"


class Campaign(Base):
    """One notice to many. ``audience`` is a rule of core.privacy.campaigns with its values; ``about`` names what it is about: a
    version of the policy, an incident.

    ``gathered_to`` is the last student whom the audience was asked about, until it is asked about all. ``counts`` is written at the
    end and stays when the recipients go (``reduced_at``).
    """

    __tablename__ = "campaign"
    __table_args__ = (
        one_of("channel", CHANNELS),
        one_of("state", CAMPAIGN_STATES),
        CheckConstraint("(state in ('done', 'canceled')) = (finished_at is not null)", name="over_has_date"),
        Index("ix_campaign_begun", text("begun_at desc"), text("id desc")),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[Id]
    form_key: Mapped[uuid.UUID | None] = mapped_column(unique=True, info=technical())
    kind: Mapped[str] = mapped_column(info=technical())
    channel: Mapped[str] = mapped_column(info=technical())
    about: Mapped[str] = mapped_column(server_default="", info=technical())
    audience: Mapped[str] = mapped_column(info=technical())
    audience_values: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}", info=technical())
    subject: Mapped[str] = mapped_column(info=technical())
    body: Mapped[str] = mapped_column(info=technical())
    deadline: Mapped[datetime] = mapped_column(info=technical())
    state: Mapped[str] = mapped_column(server_default="gathering", info=technical())
    gathered_to: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    recipients: Mapped[int] = mapped_column(Integer, server_default="0", info=technical())
    begun_at: Mapped[datetime] = mapped_column(info=technical())
    begun_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    shown_at: Mapped[datetime | None] = mapped_column(info=technical())
    shown_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    shown_where: Mapped[str] = mapped_column(server_default="", info=technical())
    finished_at: Mapped[datetime | None] = mapped_column(info=technical())
    counts: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info=technical())
    reduced_at: Mapped[datetime | None] = mapped_column(info=technical())


class CampaignRecipient(Base):
    """Whether one notice reached one student. ``id`` is that of the letter, and of the mail's Message-ID.

    ``unclear``: a worker died, or the server fell silent, while this mail was under way: it may have arrived twice, under one
    Message-ID. ``code`` says why somebody was not reached.
    """

    __tablename__ = "campaign_recipient"
    __table_args__ = (
        one_of("state", RECIPIENT_STATES),
        UniqueConstraint("campaign_id", "student_id"),
        Index("ix_campaign_recipient_state", "campaign_id", "state", "id"),
        {"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.ROW, processors=(Processor.SMTP,))},
    )

    id: Mapped[Id]
    campaign_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.campaign.id"), info=technical())
    student_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("platform.student.id"), index=True, info=technical())
    state: Mapped[str] = mapped_column(server_default="waiting", info=outside(_TOLD, "notice"))
    unclear: Mapped[bool] = mapped_column(Boolean, server_default=text("false"), info=technical())
    code: Mapped[str] = mapped_column(server_default="", info=technical())
    told_at: Mapped[datetime | None] = mapped_column(info=outside(_TOLD, "notice sent"))


class MailPace(Base):
    """One row: how many letters left within ten seconds, for all workers; and until when the mail server is left alone."""

    __tablename__ = "mail_pace"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"), {"schema": SCHEMA, "info": _NOBODY})

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, info=technical())
    window_at: Mapped[datetime] = mapped_column(info=technical())
    taken: Mapped[int] = mapped_column(Integer, server_default="0", info=technical())
    failures: Mapped[int] = mapped_column(Integer, server_default="0", info=technical())
    closed_until: Mapped[datetime | None] = mapped_column(info=technical())
    closed_since: Mapped[datetime | None] = mapped_column(info=technical())
    code: Mapped[str] = mapped_column(server_default="", info=technical())
    last_taken_at: Mapped[datetime | None] = mapped_column(info=technical())


class MailLane(Base):
    """How far the batch has come that a worker has claimed for a lane: its ticket, its letters in their order, how many of them
    began to leave, and what the server said of each but the last.

    Not logged by the database: empty after a crash of it, and never on a replica.
    """

    __tablename__ = "mail_lane"
    __table_args__ = ({"schema": SCHEMA, "info": _NOBODY, "prefixes": ["UNLOGGED"]},)

    lane: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, info=technical())
    claim: Mapped[uuid.UUID] = mapped_column(info=technical())
    letters: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(Uuid), info=technical())
    begun: Mapped[int] = mapped_column(Integer, server_default="0", info=technical())
    answers: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}", info=technical())
