"""What an erasure has to respect and to wait for: legal holds, and steps that a person does by hand."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Date, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
HOLD_BASES = ("court proceedings", "claim of ours", "claim of theirs", "order of an authority", "tax audit")
RELEASE_REASONS = ("proceedings ended", "claim settled", "order lifted", "placed by mistake")
STEP_KINDS = ("erase", "export", "pass on")
STEP_STATES = ("open", "attested", "confirmed", "canceled")
RETURN_REASONS = ("evidence missing", "evidence is of somebody else", "not complete")
LONGEST_NOTE = 2000
_HOLD = "keeps what the law needs (Art. 17(3) GDPR)"
_STEP = "proof that a processor did its part (clause 5)"


def _subject(kind: str) -> Any:
    blank = label(Category.NOBODY, erasure=Erasure.BLANK)
    return mapped_column(ForeignKey(f"platform.{kind}.id"), index=True, info=blank)


def _staff() -> Any:
    return mapped_column(ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF))


class LegalHold(Base):
    """What may not be erased for now, and why: everything about a person, all their rows of one table, or one record.

    ``scope_table`` None: everything; ``scope_record`` None: the whole table. ``review_on``: when somebody has to look whether it
    is still needed. ``number`` is how people name it (H-12); ``form_key`` makes a repeated click one hold.
    """

    __tablename__ = "legal_hold"
    __table_args__ = (
        one_of("basis", HOLD_BASES),
        one_of("release_reason", RELEASE_REASONS),
        CheckConstraint("num_nonnulls(student_id, visitor_id) <= 1", name="one_subject"),
        CheckConstraint("released_at is not null or num_nonnulls(student_id, visitor_id) = 1", name="held_has_subject"),
        CheckConstraint("scope_record is null or scope_table is not null", name="record_of_a_table"),
        CheckConstraint("num_nulls(released_at, released_by, release_reason) in (0, 3)", name="released_whole"),
        Index("ix_legal_hold_standing", "review_on", "id", postgresql_where=text("released_at is null")),
        Index("ix_legal_hold_placed", text("placed_at desc"), text("id desc")),
        {
            "schema": SCHEMA,
            "info": about(
                reaches="student_id",
                erasure=Erasure.KEEP,
                reason="proof of why something was kept",
                until="3 years after its release",
            ),
        },
    )

    id: Mapped[Id]
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True, info=outside(_HOLD, "number"))
    form_key: Mapped[uuid.UUID] = mapped_column(unique=True, info=technical())
    student_id: Mapped[uuid.UUID | None] = _subject("student")
    visitor_id: Mapped[uuid.UUID | None] = _subject("visitor")
    scope_table: Mapped[str | None] = mapped_column(info=technical())
    scope_record: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    basis: Mapped[str] = mapped_column(info=outside(_HOLD, "kept because of"))
    reference: Mapped[str | None] = mapped_column(info=outside(_HOLD, "case", erasure=Erasure.BLANK))
    note: Mapped[str | None] = mapped_column(info=outside(_HOLD, "note", erasure=Erasure.BLANK, free_text=True))
    owner_id: Mapped[uuid.UUID] = _staff()
    review_on: Mapped[date] = mapped_column(Date, info=outside(_HOLD, "to be reviewed"))
    reviewed_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    reviewed_by: Mapped[uuid.UUID | None] = _staff()
    placed_at: Mapped[datetime] = mapped_column(info=outside(_HOLD, "kept since"))
    placed_by: Mapped[uuid.UUID] = _staff()
    released_at: Mapped[datetime | None] = mapped_column(info=outside(_HOLD, "kept until"))
    released_by: Mapped[uuid.UUID | None] = _staff()
    release_reason: Mapped[str | None] = mapped_column(info=outside(_HOLD, "why no longer"))


class ManualStep(Base):
    """Something that a person does at a processor which this dashboard cannot reach: done and attested by one person with
    evidence, confirmed by another. ``key`` is the order it belongs to, so that it is asked for once. "canceled": nobody needs it any
    more, because the processor did it after all, or what it followed from was taken back.

    ``evidence`` is what the first one wrote; it may name the person and goes with them, its SHA-256 stays.
    """

    __tablename__ = "manual_step"
    __table_args__ = (
        one_of("what", STEP_KINDS),
        one_of("state", STEP_STATES),
        CheckConstraint("num_nonnulls(student_id, visitor_id) <= 1", name="one_subject"),
        CheckConstraint(
            "case state when 'open' then attested_at is null when 'canceled' then true else attested_at is not null end"
            " and num_nulls(attested_at, attested_by, evidence_sha256) in (0, 3)",
            name="attested_whole",
        ),
        CheckConstraint(
            "(state = 'confirmed') = (confirmed_at is not null) and num_nulls(confirmed_at, confirmed_by) in (0, 2)",
            name="confirmed_whole",
        ),
        CheckConstraint("char_length(evidence) between 1 and 20000", name="evidence_length"),
        Index("ix_manual_step_open", "due_on", "id", postgresql_where=text("state in ('open', 'attested')")),
        {
            "schema": SCHEMA,
            "info": about(
                reaches="student_id", erasure=Erasure.KEEP, reason="proof that promises were kept", until="3 years after the event"
            ),
        },
    )  # fmt: skip

    id: Mapped[Id]
    key: Mapped[str] = mapped_column(unique=True, info=technical())
    request_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.request.id"), index=True, info=technical()
    )
    student_id: Mapped[uuid.UUID | None] = _subject("student")
    visitor_id: Mapped[uuid.UUID | None] = _subject("visitor")
    processor: Mapped[str] = mapped_column(info=outside(_STEP, "processor"))
    what: Mapped[str] = mapped_column(info=outside(_STEP, "asked of it"))
    state: Mapped[str] = mapped_column(server_default="open", info=outside(_STEP, "state"))
    owner_id: Mapped[uuid.UUID | None] = _staff()
    due_on: Mapped[date] = mapped_column(Date, info=outside(_STEP, "due"))
    made_at: Mapped[datetime] = mapped_column(info=outside(_STEP, "asked"))
    attested_at: Mapped[datetime | None] = mapped_column(info=outside(_STEP, "done"))
    attested_by: Mapped[uuid.UUID | None] = _staff()
    evidence: Mapped[str | None] = mapped_column(info=outside(_STEP, "evidence", erasure=Erasure.BLANK, free_text=True))
    evidence_sha256: Mapped[bytes | None] = mapped_column(info=technical())
    confirmed_at: Mapped[datetime | None] = mapped_column(info=outside(_STEP, "confirmed"))
    confirmed_by: Mapped[uuid.UUID | None] = _staff()
    returned_for: Mapped[str | None] = mapped_column(info=technical())
