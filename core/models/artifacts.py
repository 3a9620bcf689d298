"""Artifacts: files that are kept for a while, encrypted in the database so that any machine can hand them out.

The bytes stand in parts, each encrypted under the artifact's own key; that key stands wrapped in the artifact's row, and the
key that wraps it is outside the database (core.keys, purpose "artifacts"). Destroying takes the key first: what is left of
the parts, in whatever backup, opens to nobody who has not that backup's row and our key as well.
"""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import AT_ERASURE, Category, Erasure, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
ARTIFACT_KINDS = ("export", "evidence")
ARTIFACT_ENDS = ("expired", "not needed any more", "made anew", "erased")

_RIGHT = "answers a right of clause 7, or proves a consent of clause 9"


class Artifact(Base):
    """One file: ``kind`` "export" (``owner_id``: the request) or "evidence" of a consent (whose case ``student_id`` says).

    ``size`` and ``sha256`` are of the whole content, in clear. Without ``wrapped_key`` it is destroyed, and this row is the
    proof. ``student_id`` or ``visitor_id`` says whom it is about, so that an erasure finds it, and nothing else does: with them
    gone the row names nobody.
    """

    __tablename__ = "artifact"
    __table_args__ = (
        one_of("kind", ARTIFACT_KINDS),
        one_of("destroyed_why", ARTIFACT_ENDS),
        CheckConstraint("num_nonnulls(student_id, visitor_id) <= 1", name="one_person"),
        CheckConstraint("(kind = 'export') = (owner_id is not null)", name="owner_of_export"),
        CheckConstraint("expires_at > kept_at", name="expires_later"),
        CheckConstraint("(destroyed_at is null) = (destroyed_why is null)", name="destroyed_why"),
        CheckConstraint("destroyed_at is null or wrapped_key is null", name="destroyed_without_key"),
        Index("ix_artifact_owner", "owner_id", text("kept_at desc")),
        Index("ix_artifact_expiring", "expires_at", "id", postgresql_where=text("destroyed_at is null")),
        {
            "schema": SCHEMA,
            "info": about(
                reaches="student_id",
                erasure=Erasure.KEEP,
                reason="proof that promises were kept",
                until="3 years after the event",
            ),
        },
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(info=outside(_RIGHT, "file kept for"))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    student_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.student.id"), index=True, info=label(Category.NOBODY, erasure=Erasure.BLANK)
    )
    visitor_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.visitor.id"), index=True, info=label(Category.NOBODY, erasure=Erasure.BLANK)
    )
    name: Mapped[str] = mapped_column(info=outside(_RIGHT, "file"))
    media_type: Mapped[str] = mapped_column(info=technical())
    size: Mapped[int] = mapped_column(BigInteger, info=outside(_RIGHT, "bytes"))
    sha256: Mapped[str] = mapped_column(info=technical())
    parts: Mapped[int] = mapped_column(Integer, info=technical())
    wrapped_key: Mapped[bytes | None] = mapped_column(info=label(Category.NOBODY, erasure=Erasure.BLANK))
    key_id: Mapped[str] = mapped_column(info=technical())
    kept_at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "file made"))
    expires_at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "file kept until"))
    destroyed_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "file destroyed", on_erasure=AT_ERASURE))
    destroyed_why: Mapped[str | None] = mapped_column(info=technical(on_erasure="erased"))


class ArtifactPart(Base):
    """The next half megabyte of an artifact, encrypted. Its number and whether it is the last one are sealed with it."""

    __tablename__ = "artifact_part"
    __table_args__ = (
        CheckConstraint("number >= 0", name="number_from_zero"),
        {"schema": SCHEMA, "info": about(reaches="artifact_id", erasure=Erasure.ROW)},
    )

    artifact_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.artifact.id", deferrable=True, initially="DEFERRED"), primary_key=True, info=technical()
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, info=technical())
    content: Mapped[bytes] = mapped_column(info=technical())
