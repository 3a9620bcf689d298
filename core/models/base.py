"""What all tables share: the declarative base, the column types and the ids."""

import secrets
import time
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, ClassVar

from sqlalchemy import ARRAY, ColumnElement, DateTime, MetaData, Text, any_, bindparam
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import DeclarativeBase, mapped_column

from core.models.labels import technical

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The registry of every table."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar = {datetime: DateTime(timezone=True), str: Text, uuid.UUID: UUID(as_uuid=True)}


def uuid7() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562, 5.7): 48 bits of milliseconds, then random bits.

    Made in Python because only PostgreSQL 18 makes them itself.
    """
    value = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | (0x7 << 76)
    return uuid.UUID(int=value & ~(0x3 << 62) | (0x2 << 62))


def among(column: Any, values: Iterable[Any]) -> ColumnElement[bool]:
    """Return the condition that a column is one of many values: they go as one array, so that the statement is the same for all."""
    told: ColumnElement[bool] = column == any_(bindparam(None, list(values), ARRAY(column.type), unique=True))
    return told


Id = Annotated[uuid.UUID, mapped_column(primary_key=True, default=uuid7, info=technical())]
Source = Annotated[str, mapped_column(info=technical())]
SourceKey = Annotated[str | None, mapped_column(info=technical())]
