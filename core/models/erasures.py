"""An erasure as it runs: the steps, what came of them, what it waits for, and the brakes that stop all of them.

Everything here is codes, counts, instants and opaque ids. What finds the person's rows (``person_id``, ``email_hash``,
``forms``, ``traces``) is a copy made at the beginning, because the rows it came from go; it is emptied at the end.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, technical
from core.models.platform import one_of

SCHEMA = "privacy"
STEP_WHAT = ("ledger", "processor", "letter", "database", "residue", "certificate")
STEP_STATES = ("to do", "called", "erased", "waiting", "held", "failed", "proven", "exempt")
SETTLED = ("proven", "exempt")
EVIDENCE = ("begun", "asked", "answered", "looked", "waits", "failed", "again", "ended")
BRAKES = ("many", "clock", "mail", "visitors", "lapses")
ANSWERS = ("go on", "passed")

_RECORD = about(
    reaches="", erasure=Erasure.KEEP, reason="proof that promises were kept", until="3 years after the event"
)


def _counts() -> Any:
    return mapped_column(JSONB, server_default=text("'{}'"), info=technical())


class PersonErasure(Base):
    """One erasure, of the person of one request. ``begun_at``: the point of no return, in the transaction that moved the request.

    Before it (or while a brake is on) ``waits_for`` says why it does not go on, ``waits_about`` names it (H-7, R-12), and
    ``next_at`` when it looks again. ``finished_at``: everything was proven.
    """

    __tablename__ = "erasure"
    __table_args__ = (
        one_of("kind", ("student", "visitor")),
        CheckConstraint("(waits_for is null) = (waits_since is null)", name="waits_since_when"),
        CheckConstraint("finished_at is null or num_nonnulls(person_id, email_hash, forms, traces) = 0",
                        name="finished_forgets"),
        Index("ix_erasure_begun", "begun_at"),
        {"schema": SCHEMA, "info": _RECORD},
    )  # fmt: skip

    id: Mapped[Id]
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.request.id"), unique=True, info=technical())
    kind: Mapped[str] = mapped_column(info=technical())
    person_id: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    email_hash: Mapped[bytes | None] = mapped_column(info=technical())
    forms: Mapped[list[uuid.UUID] | None] = mapped_column(ARRAY(UUID(as_uuid=True)), info=technical())
    traces: Mapped[bytes | None] = mapped_column(info=technical())
    fingerprint: Mapped[str | None] = mapped_column(info=technical())
    waits_for: Mapped[str | None] = mapped_column(info=technical())
    waits_about: Mapped[str] = mapped_column(server_default="", info=technical())
    waits_since: Mapped[datetime | None] = mapped_column(info=technical())
    next_at: Mapped[datetime] = mapped_column(info=technical())
    made_at: Mapped[datetime] = mapped_column(info=technical())
    begun_at: Mapped[datetime | None] = mapped_column(info=technical())
    finished_at: Mapped[datetime | None] = mapped_column(info=technical())


class ErasureStep(Base):
    """One place that has to forget, or one thing to be done before the end. A later ``phase`` waits for the earlier ones.

    ``key`` is the same in every attempt. "called": a call left and its outcome is not known until it is written down; the
    next attempt reads before it repeats. "erased" is not enough: only "proven" counts, by reading back. "exempt": not needed,
    for the reason in ``error``. "failed" is a dead letter: ``owner_id`` sees to it, and it is tried again once a day.
    """

    __tablename__ = "erasure_step"
    __table_args__ = (
        one_of("what", STEP_WHAT),
        one_of("state", STEP_STATES),
        UniqueConstraint("erasure_id", "place"),
        CheckConstraint("(state = 'proven') = (proven_at is not null)", name="proven_has_date"),
        CheckConstraint("state not in ('erased', 'proven') or erased_at is not null", name="proven_was_erased"),
        CheckConstraint("state <> 'exempt' or error <> ''", name="exempt_has_reason"),
        CheckConstraint("state not in ('waiting', 'held') or waits_for is not null", name="waits_for_something"),
        Index("ix_erasure_step_open", "next_at", postgresql_where=text("state not in ('proven', 'exempt')")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    erasure_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.erasure.id"), info=technical())
    phase: Mapped[int] = mapped_column(SmallInteger, info=technical())
    what: Mapped[str] = mapped_column(info=technical())
    place: Mapped[str] = mapped_column(info=technical())
    key: Mapped[str] = mapped_column(unique=True, info=technical())
    state: Mapped[str] = mapped_column(server_default="to do", info=technical())
    attempts: Mapped[int] = mapped_column(server_default="0", info=technical())
    next_at: Mapped[datetime] = mapped_column(info=technical())
    waits_for: Mapped[str | None] = mapped_column(info=technical())
    waits_about: Mapped[str] = mapped_column(server_default="", info=technical())
    error: Mapped[str] = mapped_column(server_default="", info=technical())
    reference: Mapped[str] = mapped_column(server_default="", info=technical())
    counts: Mapped[dict[str, int]] = _counts()
    erased_at: Mapped[datetime | None] = mapped_column(info=technical())
    proven_at: Mapped[datetime | None] = mapped_column(info=technical())
    owner_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )


class ErasureEvidence(Base):
    """What was done and seen, in order; append-only. ``became`` and ``error`` are codes, ``counts`` name no person."""

    __tablename__ = "erasure_evidence"
    __table_args__ = (
        one_of("what", EVIDENCE),
        Index("ix_erasure_evidence_erasure_id", "erasure_id", "at"),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    erasure_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.erasure.id"), info=technical())
    step_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.erasure_step.id"), index=True, info=technical()
    )
    at: Mapped[datetime] = mapped_column(info=technical())
    what: Mapped[str] = mapped_column(info=technical())
    became: Mapped[str] = mapped_column(server_default="", info=technical())
    counts: Mapped[dict[str, int]] = _counts()
    error: Mapped[str] = mapped_column(server_default="", info=technical())
    reference: Mapped[str] = mapped_column(server_default="", info=technical())


class PastErasure(Base):
    """What is left of an erasure whose proof is past its period: its opaque id, by which the ledger outside knows it."""

    __tablename__ = "past_erasure"
    __table_args__ = ({"schema": SCHEMA, "info": about(reaches="", erasure=Erasure.NONE)},)

    id: Mapped[Id]
    gone_at: Mapped[datetime] = mapped_column(info=technical())


class Brake(Base):
    """Something that stops every erasure until it is answered: too many people due at once, or a clock that cannot be right.

    ``why`` is a code; ``due`` of ``people`` would have gone. ``allows``: how many an officer let go on until ``until``.
    """

    __tablename__ = "brake"
    __table_args__ = (
        one_of("kind", BRAKES),
        one_of("answer", ANSWERS),
        CheckConstraint("(answered_at is null) = (answer is null)", name="answered_whole"),
        Index("uq_brake_on", "kind", unique=True, postgresql_where=text("answered_at is null")),
        Index("ix_brake_raised", text("raised_at desc")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(info=technical())
    why: Mapped[str] = mapped_column(info=technical())
    raised_at: Mapped[datetime] = mapped_column(info=technical())
    due: Mapped[int | None] = mapped_column(info=technical())
    people: Mapped[int | None] = mapped_column(info=technical())
    answered_at: Mapped[datetime | None] = mapped_column(info=technical())
    answered_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    answer: Mapped[str | None] = mapped_column(info=technical())
    reason: Mapped[str] = mapped_column(server_default="", info=technical())
    allows: Mapped[int | None] = mapped_column(info=technical())
    until: Mapped[datetime | None] = mapped_column(info=technical())
