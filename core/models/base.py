"""What all tables share: the declarative base, the column types and the ids."""

import json
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CursorResult,
    DateTime,
    Dialect,
    FromClause,
    MetaData,
    Text,
    any_,
    bindparam,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from core.models.labels import technical

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


_POSTGRESQL: Dialect = PGDialect()  # type: ignore[no-untyped-call]


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


def insert_many(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that name the same columns by one statement, with one array for each column: not a statement for each row."""
    if rows:
        table, names = model.__table__, tuple(rows[0])
        columns = ", ".join(names)
        asked = f"insert into {table} ({columns}) select {_read(table, names)} from {_arrays(table, names)}"  # noqa: S608 - names of the mapping
        session.execute(text(asked), _as_arrays(table, names, rows))


def update_many(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Update rows by their id by one statement, with one array for each column that every one of them names.

    Raises StaleDataError when one of them is not there any more, as the session does: nothing of it may stay.
    """
    if rows:
        table, names = model.__table__, tuple(rows[0])
        values = ", ".join(f"{name} = {_read(table, (name,))}" for name in names if name != "id")
        asked = f"update {table} t set {values} from {_arrays(table, names)} where t.id = n.id"  # noqa: S608 - names of the mapping
        done = session.execute(text(asked), _as_arrays(table, names, rows))
        if not isinstance(done, CursorResult) or done.rowcount != len(rows):
            raise StaleDataError(f"Not every row of {table} that was to be changed is there.")


def _read(table: FromClause, names: Sequence[str]) -> str:
    read = {
        name: f"cast(n.{name} as {_type_of(table, name)})" if _as_text(table, name) else f"n.{name}" for name in names
    }
    return ", ".join(read.values())


def _arrays(table: FromClause, names: Sequence[str]) -> str:
    arrays = ", ".join(f"cast(:{name} as {_array_of(table, name)}[])" for name in names)
    return f"unnest({arrays}) as n({', '.join(names)})"


def _array_of(table: FromClause, name: str) -> str:
    return "text" if _as_text(table, name) else _type_of(table, name)


@cache
def _type_of(table: FromClause, name: str) -> str:
    return str(table.c[name].type.compile(_POSTGRESQL))


def _as_arrays(table: FromClause, names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    lists: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in names}
    return {name: [_text_of(each) for each in of] if _as_text(table, name) else of for name, of in lists.items()}


def _as_text(table: FromClause, name: str) -> bool:
    """Whether a value travels as text: json, and a list, because a list of lists would have to be even."""
    return isinstance(table.c[name].type, (JSONB, ARRAY))


def _text_of(value: Any) -> str | None:
    """A value of json, or a list of ids, as PostgreSQL reads it."""
    if value is None or isinstance(value, Mapping):
        return None if value is None else json.dumps(value)
    assert all(isinstance(each, uuid.UUID) for each in value)
    return f"{{{','.join(map(str, value))}}}"


Id = Annotated[uuid.UUID, mapped_column(primary_key=True, default=uuid7, info=technical())]
Source = Annotated[str, mapped_column(info=technical())]
SourceKey = Annotated[str | None, mapped_column(info=technical())]
