"""What keeps an erasure proven: who may not come back, what waits for an officer, and the certificates.

Nothing here leads to a person by a foreign key, because what it is about is gone. Keyed hashes recognize old records; the
records themselves stand in :class:`Quarantine` only, and only until somebody has decided or their time is over.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
HASHED = ("e-mail", "provider id")
SET_ASIDE = ("no date", "same day", "same account, later date")
DECISIONS = ("let in", "discarded", "expired")
VERDICTS = ("removed", "somebody else", "stays in another record")

_RECORD = about(
    reaches="", erasure=Erasure.KEEP, reason="proof that promises were kept", until="3 years after the event"
)
_NOBODY = about(reaches="", erasure=Erasure.NONE)
_AWAY = "decides whether an old record of an erased person came back"


class Suppression(Base):
    """A keyed hash by which old records of an erased person are recognized. ``erased_at``: what is dated later is of somebody
    new. Gone after ``until``; ``basis`` says why it may be kept so long."""

    __tablename__ = "suppression"
    __table_args__ = (
        one_of("kind", HASHED),
        UniqueConstraint("hash", "kind", "erasure_id"),
        CheckConstraint("until > erased_at", name="ends_later"),
        Index("ix_suppression_erasure_id", "erasure_id"),
        Index("ix_suppression_until", "until"),
        {
            "schema": SCHEMA,
            "info": about(reaches="", erasure=Erasure.KEEP, reason="so that old records of an erased person do not come back",
                          until="3 years after the erasure"),
        },
    )  # fmt: skip

    id: Mapped[Id]
    hash: Mapped[bytes] = mapped_column(info=technical())
    kind: Mapped[str] = mapped_column(info=technical())
    erasure_id: Mapped[uuid.UUID] = mapped_column(info=technical())
    erased_at: Mapped[datetime] = mapped_column(info=technical())
    basis: Mapped[str] = mapped_column(info=technical())
    until: Mapped[datetime] = mapped_column(info=technical())


class Quarantine(Base):
    """A record that an import brought and that may be an erased person's: it waits until an officer lets it in or discards it.

    ``record`` is what would become the row; it is emptied with the decision. ``dated_at``: when the person signed up, by the
    record's own word. Undecided at ``until`` it expires.
    """

    __tablename__ = "quarantine"
    __table_args__ = (
        one_of("person", ("student", "visitor")),
        one_of("why", SET_ASIDE),
        one_of("decision", DECISIONS),
        CheckConstraint("(decision is null) = (decided_at is null)", name="decided_when"),
        CheckConstraint("(decision is null) = (record is not null)", name="decided_forgets"),
        Index("uq_quarantine_waiting", "person", "email_hash", "provider_hash", unique=True, postgresql_where=text("decision is null")),
        Index("ix_quarantine_hashes", "email_hash", "provider_hash"),
        Index("ix_quarantine_found", "found_at", "id"),
        {"schema": SCHEMA, "info": _RECORD},
    )  # fmt: skip

    id: Mapped[Id]
    person: Mapped[str] = mapped_column(info=technical())
    email_hash: Mapped[bytes] = mapped_column(info=technical())
    provider_hash: Mapped[bytes] = mapped_column(info=technical())
    record: Mapped[dict[str, Any] | None] = mapped_column(
        JSONB(none_as_null=True), info=outside(_AWAY, "record that was set aside", erasure=Erasure.BLANK)
    )
    why: Mapped[str] = mapped_column(info=technical())
    dated_at: Mapped[datetime | None] = mapped_column(info=outside(_AWAY, "signed up, by that record"))
    erased_at: Mapped[datetime] = mapped_column(info=technical())
    source: Mapped[str] = mapped_column(info=technical())
    found_at: Mapped[datetime] = mapped_column(info=technical())
    until: Mapped[datetime] = mapped_column(info=technical())
    decision: Mapped[str | None] = mapped_column(info=technical())
    reason: Mapped[str] = mapped_column(server_default="", info=technical())
    decided_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    decided_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )


class ErasureFinding(Base):
    """A place where the residue scan found something. ``place_row`` is the row's own key. Open until the place is clean or an officer has
    judged it; "gone": a later scan did not find it any more."""

    __tablename__ = "erasure_finding"
    __table_args__ = (
        one_of("trace", ("e-mail", "phone", "id", "name")),
        one_of("verdict", (*VERDICTS, "gone")),
        UniqueConstraint("erasure_id", "place_table", "place_column", "place_row", "trace"),
        CheckConstraint("(verdict is null) = (judged_at is null)", name="judged_when"),
        Index("ix_erasure_finding_open", "found_at", postgresql_where=text("verdict is null")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    erasure_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.erasure.id"), info=technical())
    place_table: Mapped[str] = mapped_column(info=technical())
    place_column: Mapped[str] = mapped_column(info=technical())
    place_row: Mapped[str] = mapped_column(info=technical())
    trace: Mapped[str] = mapped_column(info=technical())
    sure: Mapped[bool] = mapped_column(info=technical())
    found_at: Mapped[datetime] = mapped_column(info=technical())
    verdict: Mapped[str | None] = mapped_column(info=technical())
    judged_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    judged_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )


class ErasureCertificate(Base):
    """The certificate of one erasure: ``document`` is the canonical JSON that is signed. Never changed."""

    __tablename__ = "erasure_certificate"
    __table_args__ = (
        Index("ix_erasure_certificate_issued", text("issued_at desc"), text("id desc")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    number: Mapped[int] = mapped_column(BigInteger, unique=True, info=technical())
    erasure_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.erasure.id"), unique=True, info=technical())
    issued_at: Mapped[datetime] = mapped_column(info=technical())
    document: Mapped[str] = mapped_column(info=technical())
    sha256: Mapped[str] = mapped_column(info=technical())
    public_key: Mapped[str] = mapped_column(info=technical())
    signature: Mapped[str] = mapped_column(info=technical())


class Backup(Base):
    """A backup file, as its signed note tells it (core.backup): the folder is the truth, this is what checks look at.

    ``removed_at``: when it was found to be gone. ``expires_at`` is the day that certificates of erasure name."""

    __tablename__ = "backup"
    __table_args__ = (
        CheckConstraint("expires_at > made_at", name="expires_later"),
        Index("ix_backup_kept", "expires_at", postgresql_where=text("removed_at is null")),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(info=technical())
    made_at: Mapped[datetime] = mapped_column(info=technical())
    expires_at: Mapped[datetime] = mapped_column(info=technical())
    size: Mapped[int] = mapped_column(BigInteger, info=technical())
    sha256: Mapped[str] = mapped_column(unique=True, info=technical())
    removed_at: Mapped[datetime | None] = mapped_column(info=technical())
