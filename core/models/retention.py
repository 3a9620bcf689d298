"""What retention leaves behind: its runs, the mails that a hold keeps, and subscriptions that ended.

Runs hold codes, counts and instants, no person.
"""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id, Source
from core.models.labels import Category, Erasure, Processor, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
RUN_WAITS = ("readers", "brake", "audit")
LAPSE_ENDS = ("renewed", "closed", "closed otherwise")
MOVED_TO = {"platform.email_log": "platform.held_mail"}  # a hold on the one holds the other, too
_LAPSE = "data is active while the subscription is (clause 8)"


class HeldMail(Base):
    """A mail past its period that a legal hold keeps. It was moved here before its month went; its id is the same as before."""

    __tablename__ = "held_mail"
    __table_args__ = (
        CheckConstraint("num_nonnulls(student_id, visitor_id) = 1", name="one_recipient"),
        {
            "schema": "platform",
            "info": about(reaches="student_id", erasure=Erasure.ROW, processors=(Processor.SMTP,)),
        },
    )

    sent_at: Mapped[datetime] = mapped_column(info=outside("kept by a legal hold", "mail sent"))
    id: Mapped[Id]
    student_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.student.id"), index=True, info=technical()
    )
    visitor_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.visitor.id"), index=True, info=technical()
    )
    kind: Mapped[str] = mapped_column(info=outside("what the mail was for (clause 2)", "kind of mail"))
    address: Mapped[str] = mapped_column(info=label(Category.ACCOUNT, "mail address used"))
    outcome: Mapped[str] = mapped_column(info=outside("kept by a legal hold", "delivery"))
    source: Mapped[Source]


class RetentionRun(Base):
    """One run of one rule. Open (``ended_at`` None) from its first part to its last; ``waits_for`` says why it does not go on.

    ``before``: what is older goes. ``counts``: what went and what was moved out, by name; ``oldest_left``: the age of the oldest
    record afterwards.
    """

    __tablename__ = "retention_run"
    __table_args__ = (
        one_of("waits_for", RUN_WAITS),
        CheckConstraint("ended_at is null or waits_for is null", name="ended_waits_for_nothing"),
        Index("uq_retention_run_open", "rule", unique=True, postgresql_where=text("ended_at is null")),
        Index("ix_retention_run_ended", "rule", text("ended_at desc")),
        Index("ix_retention_run_begun", text("begun_at desc"), text("id desc")),
        {
            "schema": SCHEMA,
            "info": about(
                reaches="",
                erasure=Erasure.KEEP,
                reason="proof that promises were kept",
                until="3 years after the event",
            ),
        },
    )

    id: Mapped[Id]
    rule: Mapped[str] = mapped_column(info=technical())
    begun_at: Mapped[datetime] = mapped_column(info=technical())
    tried_at: Mapped[datetime] = mapped_column(info=technical())
    ended_at: Mapped[datetime | None] = mapped_column(info=technical())
    before: Mapped[datetime | None] = mapped_column(info=technical())
    counts: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=technical())
    waits_for: Mapped[str | None] = mapped_column(info=technical())
    oldest_left: Mapped[datetime | None] = mapped_column(info=technical())


class Lapse(Base):
    """A subscription that ended: found, told, and closed after its time, unless it is renewed.

    ``notice_key`` is the letter's own key; the time runs from the day on which that letter was sent. ``request_id``: the deletion
    that the closing became.
    """

    __tablename__ = "lapse"
    __table_args__ = (
        UniqueConstraint("student_id", "ended_on"),
        one_of("ended_as", LAPSE_ENDS),
        CheckConstraint("(ended_at is null) = (ended_as is null)", name="ended_whole"),
        Index("ix_lapse_open", "found_at", postgresql_where=text("ended_at is null")),
        {"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.ROW)},
    )

    id: Mapped[Id]
    student_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("platform.student.id"), info=technical())
    ended_on: Mapped[date] = mapped_column(Date, info=outside(_LAPSE, "subscription ended"))
    found_at: Mapped[datetime] = mapped_column(info=outside(_LAPSE, "end noticed"))
    notice_key: Mapped[str] = mapped_column(info=technical())
    ended_at: Mapped[datetime | None] = mapped_column(info=outside(_LAPSE, "over"))
    ended_as: Mapped[str | None] = mapped_column(info=outside(_LAPSE, "how it ended"))
    request_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.request.id"), index=True, info=technical()
    )
