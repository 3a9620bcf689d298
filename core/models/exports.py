"""The file that answers a request for access or export: how far it is, what an officer has to judge before, how it left.

The file itself is an artifact (core.models.artifacts). Here stand codes, counts and instants, kept as proof; passages of texts
that may name others stand apart in :class:`ExportText` and are emptied when the request is closed.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, technical
from core.models.platform import one_of

SCHEMA = "privacy"
EXPORT_STATES = ("to build", "to judge", "failed", "ready", "handed out")
DELIVERIES = ("handed over in person", "put into their account", "sent encrypted")
TEXT_DECISIONS = ("hand out", "redact", "leave out")


class Export(Base):
    """The file of one request. ``state`` is moved by the worker and by functions of ``privacy`` (hand_out_export, remake_export, …).

    ``rows`` counts what is in the file by table, ``processors`` tells who was asked and what each answered; no person in either.
    ``error`` is a code of the last attempt, ``next_at`` when it is tried again. ``round`` counts how often it was made.
    ``fetched_at``: its link was opened; ``handed_how`` is one of DELIVERIES.
    """

    __tablename__ = "export"
    __table_args__ = (
        one_of("state", EXPORT_STATES),
        one_of("handed_how", DELIVERIES),
        CheckConstraint("state not in ('ready', 'handed out') or artifact_id is not null", name="ready_has_file"),
        CheckConstraint("(state = 'handed out') = (fetched_at is not null)", name="handed_when"),
        CheckConstraint("(state = 'failed') = (error is not null)", name="failed_why"),
        Index("ix_export_open", "next_at", postgresql_where=text("state in ('to build', 'failed')")),
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

    request_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.request.id"), primary_key=True, info=technical()
    )
    state: Mapped[str] = mapped_column(server_default="to build", info=technical())
    round: Mapped[int] = mapped_column(server_default="0", info=technical())
    attempts: Mapped[int] = mapped_column(server_default="0", info=technical())
    error: Mapped[str | None] = mapped_column(info=technical())
    next_at: Mapped[datetime] = mapped_column(info=technical())
    artifact_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.artifact.id"), index=True, info=technical()
    )
    rows: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}", info=technical())
    processors: Mapped[list[Any]] = mapped_column(JSONB, server_default="[]", info=technical())
    size: Mapped[int | None] = mapped_column(BigInteger, info=technical())
    built_at: Mapped[datetime | None] = mapped_column(info=technical())
    handed_how: Mapped[str | None] = mapped_column(info=technical())
    handed_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    handed_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    fetched_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))


class ExportText(Base):
    """A text that may name somebody else, for an officer to judge: hand it out, redact words of it, or leave it out.

    ``digest`` binds the decision to this text in this place. ``found`` holds the words and passages in question, and nothing
    else of the text; it is emptied when the request is closed. ``words`` are those that are taken out.
    """

    __tablename__ = "export_text"
    __table_args__ = (
        UniqueConstraint("request_id", "digest"),
        one_of("decision", TEXT_DECISIONS),
        CheckConstraint("(decision is null) = (decided_at is null)", name="decided_when"),
        CheckConstraint("decision <> 'redact' or words is not null", name="redacted_what"),
        Index("ix_export_text_open", "request_id", postgresql_where=text("decision is null")),
        {"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.ROW)},
    )

    id: Mapped[Id]
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.request.id"), info=technical())
    student_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.student.id"), index=True, info=technical()
    )
    visitor_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.visitor.id"), index=True, info=technical()
    )
    place: Mapped[str] = mapped_column(info=technical())
    field: Mapped[str] = mapped_column(info=technical())
    written_on: Mapped[str | None] = mapped_column(info=technical())
    digest: Mapped[str] = mapped_column(info=technical())
    found: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info=technical())
    decision: Mapped[str | None] = mapped_column(info=technical())
    words: Mapped[list[Any] | None] = mapped_column(JSONB, info=technical())
    decided_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    decided_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )
