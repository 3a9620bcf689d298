"""What the promises need: the audit and the policy in force. Requests stand in core/models/requests.py, ages and consent in
core/models/consent.py, whose tables are told here too."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.consent import Consent as Consent
from core.models.consent import Guardian as Guardian
from core.models.labels import Category, Erasure, about, label, technical
from core.models.platform import one_of

SCHEMA = "privacy"
SEAL_REASONS = (
    "fault of disk or software",
    "changed by hand, cause known",
    "changed, cause unknown",
    "backup restored without its end",
)

_RECORD = about(
    reaches="", erasure=Erasure.KEEP, reason="proof that promises were kept", until="3 years after the event"
)
_NOBODY = about(reaches="", erasure=Erasure.NONE)


class AuditEvent(Base):
    """One line of the audit: append-only, gapless, hash-chained (see core.privacy.audit). No foreign keys, so that it never
    holds back an erasure; ids are opaque and ``details`` holds codes, never text about a person."""

    __tablename__ = "audit_event"
    __table_args__ = (
        Index("ix_audit_event_subject", "subject_id", "seq"),
        Index("ix_audit_event_actor", "actor_id", "seq"),
        Index("ix_audit_event_action", "action", "seq"),
        Index("ix_audit_event_at", "at"),
        {"schema": SCHEMA, "info": _RECORD},
    )

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False, info=technical())
    at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    actor: Mapped[str] = mapped_column(info=label(Category.STAFF))
    actor_id: Mapped[uuid.UUID | None] = mapped_column(info=label(Category.STAFF))
    session_id: Mapped[uuid.UUID | None] = mapped_column(info=label(Category.STAFF))
    action: Mapped[str] = mapped_column(info=label(Category.STAFF))
    subject_kind: Mapped[str | None] = mapped_column(info=technical())
    subject_id: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    details: Mapped[str] = mapped_column(info=technical())
    previous: Mapped[bytes] = mapped_column(info=technical())
    hash: Mapped[bytes] = mapped_column(info=technical())


class AuditCheck(Base):
    """One verification of the whole audit. ``problem`` is "" when it was sound; the row with the highest number decides (a clock may jump) whether guarded
    actions are open. ``head`` is the hash of the last good line, ``signed_at`` the time of the newest of the ``checkpoints`` found in
    ``place``.

    Where lines are broken, ``last_line`` is the last one that is (``broken_at`` the first), ``lost_until`` the last one that was seen
    and is gone, ``digest`` the SHA-256 of what stands in between, and ``end_head`` the hash from which the log goes on."""

    __tablename__ = "audit_check"
    __table_args__ = ({"schema": SCHEMA, "info": _NOBODY},)

    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True, info=technical())
    checked_at: Mapped[datetime] = mapped_column(info=technical())
    lines: Mapped[int] = mapped_column(BigInteger, info=technical())
    head: Mapped[bytes] = mapped_column(info=technical())
    broken_at: Mapped[int | None] = mapped_column(BigInteger, info=technical())
    problem: Mapped[str] = mapped_column(info=technical())
    checkpoints: Mapped[int] = mapped_column(info=technical())
    signed_at: Mapped[datetime | None] = mapped_column(info=technical())
    place: Mapped[str] = mapped_column(info=technical())
    last_line: Mapped[int | None] = mapped_column(BigInteger, info=technical())
    lost_until: Mapped[int | None] = mapped_column(BigInteger, info=technical())
    digest: Mapped[bytes | None] = mapped_column(info=technical())
    end_head: Mapped[bytes | None] = mapped_column(info=technical())


class AuditSeal(Base):
    """A break of the audit that two people have acknowledged: proposed by one, confirmed by another, signed by our key.

    It repeats what one check found (``check_number``): lines ``first_line`` to ``last_line`` are not as they were written
    (None: signed checkpoints are missing, no line), those up to ``lost_until`` were seen and are gone. ``digest`` binds what
    stands there now, ``end_head`` is the hash from which the log goes on. Never changed, never removed: every later
    verification names it.
    """

    __tablename__ = "audit_seal"
    __table_args__ = (
        one_of("reason", SEAL_REASONS),
        CheckConstraint(
            "num_nulls(confirmed_at, confirmed_by, signature, public_key) in (0, 4)", name="confirmed_whole"
        ),
        CheckConstraint("confirmed_by <> proposed_by", name="two_people"),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[Id]
    check_number: Mapped[int] = mapped_column(BigInteger, info=technical())
    checked_at: Mapped[datetime] = mapped_column(info=technical())
    first_line: Mapped[int | None] = mapped_column(BigInteger, info=technical())
    last_line: Mapped[int | None] = mapped_column(BigInteger, info=technical())
    lost_until: Mapped[int | None] = mapped_column(BigInteger, info=technical())
    digest: Mapped[bytes | None] = mapped_column(info=technical())
    end_head: Mapped[bytes | None] = mapped_column(info=technical())
    problem: Mapped[str] = mapped_column(info=technical())
    reason: Mapped[str] = mapped_column(info=technical())
    proposed_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    proposed_by: Mapped[uuid.UUID] = mapped_column(info=label(Category.STAFF))
    confirmed_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    confirmed_by: Mapped[uuid.UUID | None] = mapped_column(info=label(Category.STAFF))
    public_key: Mapped[str | None] = mapped_column(info=technical())
    signature: Mapped[str | None] = mapped_column(info=technical())


class PolicyVersion(Base):
    """A published version of the policy; immutable. ``document`` is the whole file as data."""

    __tablename__ = "policy_version"
    __table_args__ = ({"schema": SCHEMA, "info": _NOBODY},)

    version: Mapped[str] = mapped_column(primary_key=True, info=technical())
    effective_at: Mapped[datetime] = mapped_column(unique=True, info=technical())
    published_at: Mapped[datetime] = mapped_column(info=technical())
    document: Mapped[dict[str, Any]] = mapped_column(JSONB, info=technical())
