"""What the sync with the platform knows of its own work: how far it is, which documents it set aside, what nobody mapped.

No value of a document stands here. A document is named by its own id there, so that somebody can look it up.
"""

import uuid
from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base
from core.models.labels import Erasure, about, technical
from core.models.platform import one_of

SCHEMA = "privacy"
GAPS = ("field", "collection", "undated")
_NOBODY = about(reaches="", erasure=Erasure.NONE)


class SyncCollection(Base):
    """How far a collection is. ``position_at`` and ``position_key`` name the last document of this pass that is committed; a pass
    without an end goes on from there. ``seen_until`` is how far earlier passes came: the next one begins a little before it.

    ``error`` is a code; "" when the last attempt went well. ``sweep_stopped`` counts rows that a comparison of all ids would have
    taken away, when they were too many: nothing was, until an admin says so.
    """

    __tablename__ = "sync_collection"
    __table_args__ = (
        CheckConstraint("(position_at is null) <= (position_key = '')", name="key_of_a_position"),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    collection: Mapped[str] = mapped_column(primary_key=True, info=technical())
    mapping: Mapped[str] = mapped_column(server_default="", info=technical())
    position_at: Mapped[datetime | None] = mapped_column(info=technical())
    position_key: Mapped[str] = mapped_column(server_default="", info=technical())
    seen_until: Mapped[datetime | None] = mapped_column(info=technical())
    begun_at: Mapped[datetime | None] = mapped_column(info=technical())
    ended_at: Mapped[datetime | None] = mapped_column(info=technical())
    swept_at: Mapped[datetime | None] = mapped_column(info=technical())
    sweep_stopped: Mapped[int | None] = mapped_column(info=technical())
    pass_documents: Mapped[int] = mapped_column(server_default="0", info=technical())
    pass_seconds: Mapped[float] = mapped_column(server_default="0", info=technical())
    pass_rows: Mapped[int] = mapped_column(server_default="0", info=technical())
    documents: Mapped[int] = mapped_column(BigInteger, server_default="0", info=technical())
    added: Mapped[int] = mapped_column(BigInteger, server_default="0", info=technical())
    changed: Mapped[int] = mapped_column(BigInteger, server_default="0", info=technical())
    removed: Mapped[int] = mapped_column(BigInteger, server_default="0", info=technical())
    refused: Mapped[int] = mapped_column(BigInteger, server_default="0", info=technical())
    error: Mapped[str] = mapped_column(server_default="", info=technical())
    error_at: Mapped[datetime | None] = mapped_column(info=technical())


class SyncMisfit(Base):
    """A document that could not be taken: why (a code), by which field. Gone as soon as it fits, or is gone there.

    ``id`` is made of the collection and the document's own id, ``changed_at`` is when the document says that it was changed.
    """

    __tablename__ = "sync_misfit"
    __table_args__ = (
        Index("ix_sync_misfit_collection", "collection", "found_at", "id"),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, info=technical())
    collection: Mapped[str] = mapped_column(info=technical())
    document: Mapped[str] = mapped_column(info=technical())
    code: Mapped[str] = mapped_column(info=technical())
    field: Mapped[str] = mapped_column(server_default="", info=technical())
    changed_at: Mapped[datetime | None] = mapped_column(info=technical())
    found_at: Mapped[datetime] = mapped_column(info=technical())
    tried_at: Mapped[datetime] = mapped_column(info=technical())
    tries: Mapped[int] = mapped_column(server_default="1", info=technical())


class SyncErasure(Base):
    """A document of somebody whom retention erased here, to be deleted there; the row goes when it was read back that it is gone.

    ``document`` is its own id there, without its type; ``error`` a code. The sync keeps such a document out.
    """

    __tablename__ = "sync_erasure"
    __table_args__ = (
        Index("ix_sync_erasure_next_at", "next_at"),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    document: Mapped[str] = mapped_column(primary_key=True, info=technical())
    purged_at: Mapped[datetime] = mapped_column(info=technical())
    attempts: Mapped[int] = mapped_column(server_default="0", info=technical())
    next_at: Mapped[datetime] = mapped_column(info=technical())
    error: Mapped[str] = mapped_column(server_default="", info=technical())


class SyncGap(Base):
    """What the platform keeps and no line of the mapping mentions: a field, a whole collection, or documents without a date of
    change ("undated", with how many). ``looks_like`` guesses from names and values what it holds; the values are not kept."""

    __tablename__ = "sync_gap"
    __table_args__ = (one_of("kind", GAPS), {"schema": SCHEMA, "info": _NOBODY})

    collection: Mapped[str] = mapped_column(primary_key=True, info=technical())
    path: Mapped[str] = mapped_column(primary_key=True, info=technical())
    kind: Mapped[str] = mapped_column(info=technical())
    looks_like: Mapped[str] = mapped_column(server_default="", info=technical())
    documents: Mapped[int] = mapped_column(BigInteger, server_default="0", info=technical())
    first_at: Mapped[datetime] = mapped_column(info=technical())
    last_at: Mapped[datetime] = mapped_column(info=technical())
