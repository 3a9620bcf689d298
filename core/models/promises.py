"""What is known about the promises: when they were checked and how they stood, who attested what, whom an alert reached.

Nothing here leads to a person but the staff member who acts: evidence is counts, instants and sentences made by the checks.
"""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, technical
from core.models.platform import one_of

SCHEMA = "privacy"
STATES = ("holds", "at risk", "broken", "not proven")
ALERT_KINDS = ("broken", "resolved")
CHANNELS = ("mail", "webhook")

_RECORD = about(
    reaches="", erasure=Erasure.KEEP, reason="proof that promises were kept", until="3 years after the event"
)
_NOBODY = about(reaches="", erasure=Erasure.NONE)


def _staff() -> Any:
    return mapped_column(ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF))


class CheckRun(Base):
    """One run of all checks. ``asked_by`` None: it was due. ``counts`` is by state; empty until it is over."""

    __tablename__ = "check_run"
    __table_args__ = (
        Index("ix_check_run_finished", text("finished_at desc")),
        Index("uq_check_run_asked", text("(finished_at is null)"), unique=True, postgresql_where=text("finished_at is null")),
        {"schema": SCHEMA, "info": _RECORD},
    )  # fmt: skip

    id: Mapped[Id]
    asked_at: Mapped[datetime] = mapped_column(info=technical())
    asked_by: Mapped[uuid.UUID | None] = _staff()
    finished_at: Mapped[datetime | None] = mapped_column(info=technical())
    counts: Mapped[dict[str, int]] = mapped_column(JSONB, server_default=text("'{}'"), info=technical())


class PromiseState(Base):
    """How a promise stands by its newest check. ``evidence`` holds one entry for each place where the promise is kept."""

    __tablename__ = "promise_state"
    __table_args__ = (one_of("state", STATES), {"schema": SCHEMA, "info": _NOBODY})

    promise: Mapped[str] = mapped_column(primary_key=True, info=technical())
    state: Mapped[str] = mapped_column(info=technical())
    since: Mapped[datetime] = mapped_column(info=technical())
    checked_at: Mapped[datetime] = mapped_column(info=technical())
    proven_at: Mapped[datetime | None] = mapped_column(info=technical())
    evidence: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=technical())


class PromiseCheck(Base):
    """A change of a promise's state, with the evidence that changed it; only added to."""

    __tablename__ = "promise_check"
    __table_args__ = (
        one_of("state", STATES),
        Index("ix_promise_check_promise", "promise", text("at desc")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    promise: Mapped[str] = mapped_column(info=technical())
    at: Mapped[datetime] = mapped_column(info=technical())
    before: Mapped[str | None] = mapped_column(info=technical())
    state: Mapped[str] = mapped_column(info=technical())
    evidence: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, info=technical())


class Attestation(Base):
    """Somebody's word for what no program can see, such as an encrypted disk. The newest one that stands counts.

    ``owner_id`` answers for it and renews it before ``expires_on``; ``statement`` says what was looked at.
    """

    __tablename__ = "attestation"
    __table_args__ = (
        CheckConstraint("char_length(statement) between 20 and 2000", name="statement_length"),
        CheckConstraint("(withdrawn_at is null) = (withdrawn_by is null)", name="withdrawn_whole"),
        Index("ix_attestation_promise", "promise", "place", text("given_at desc")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    promise: Mapped[str] = mapped_column(info=technical())
    place: Mapped[str] = mapped_column(info=technical())
    statement: Mapped[str] = mapped_column(info=label(Category.STAFF))
    owner_id: Mapped[uuid.UUID] = _staff()
    given_by: Mapped[uuid.UUID] = _staff()
    given_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    expires_on: Mapped[date] = mapped_column(Date, info=label(Category.STAFF))
    withdrawn_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    withdrawn_by: Mapped[uuid.UUID | None] = _staff()


class PromiseAlert(Base):
    """One message that a promise is broken since an instant, or not any more; once for each channel and receiver.

    ``target`` is a key of the configured receivers, no address: who is written to stands in the environment.
    """

    __tablename__ = "promise_alert"
    __table_args__ = (
        one_of("kind", ALERT_KINDS),
        one_of("channel", CHANNELS),
        one_of("state", ("waiting", "sent", "failed")),
        CheckConstraint("(state = 'sent') = (sent_at is not null)", name="sent_has_date"),
        UniqueConstraint("promise", "since", "kind", "channel", "target"),
        Index("ix_promise_alert_waiting", "next_at", postgresql_where=text("state = 'waiting'")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    promise: Mapped[str] = mapped_column(info=technical())
    since: Mapped[datetime] = mapped_column(info=technical())
    kind: Mapped[str] = mapped_column(info=technical())
    channel: Mapped[str] = mapped_column(info=technical())
    target: Mapped[str] = mapped_column(info=technical())
    sentence: Mapped[str] = mapped_column(info=technical())
    state: Mapped[str] = mapped_column(server_default="waiting", info=technical())
    made_at: Mapped[datetime] = mapped_column(info=technical())
    next_at: Mapped[datetime] = mapped_column(info=technical())
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0", info=technical())
    error: Mapped[str | None] = mapped_column(info=technical())
    sent_at: Mapped[datetime | None] = mapped_column(info=technical())


class SampleDraw(Base):
    """A random sample of closed requests: by its seed, its period and the instant, anybody draws the same one again."""

    __tablename__ = "sample_draw"
    __table_args__ = (
        CheckConstraint("size between 1 and 100", name="size_range"),
        CheckConstraint("closed_from < closed_to and closed_to <= drawn_at", name="period"),
        CheckConstraint("char_length(seed) between 1 and 64", name="seed_length"),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    seed: Mapped[str] = mapped_column(info=label(Category.STAFF))
    size: Mapped[int] = mapped_column(SmallInteger, info=technical())
    closed_from: Mapped[datetime] = mapped_column(info=technical())
    closed_to: Mapped[datetime] = mapped_column(info=technical())
    population: Mapped[int] = mapped_column(info=technical())
    requests: Mapped[list[uuid.UUID]] = mapped_column(ARRAY(UUID(as_uuid=True)), info=technical())
    drawn_by: Mapped[uuid.UUID] = _staff()
    drawn_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
