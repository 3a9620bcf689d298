"""The way in that all importers share: files read with care, rows loaded by COPY.

COPY into a table under FORCE row-level security is refused, so rows go through a temporary table and one INSERT … SELECT.
An import is one transaction: a malformed row names its file, line and reason, and nothing of that run remains.
"""

import csv
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

from psycopg import Connection, sql
from sqlalchemy import Table
from sqlalchemy.orm import Session

from core.errors import AdminError
from core.models.base import Base

MISSING = ("", "?")
BATCH = 10_000
FARTHEST_DAY = 20_000
Progress = Callable[[str, int, int], None]


class ImportRefused(AdminError):
    """A file cannot be imported. ``line`` counts from 1 with the header; it is None when the whole file is meant."""

    def __init__(self, file: str, line: int | None, reason: str) -> None:
        where = f"{file}, line {line}" if line else file
        super().__init__(f"{where}: {reason} Nothing was imported.", file=file, line=line, reason=reason)
        self.file, self.line, self.reason = file, line, reason


@dataclass(frozen=True)
class Record:
    """One row of a file, by column; a missing value (an empty cell or ``?``) is None."""

    file: str
    line: int
    cells: dict[str, str | None]

    def text(self, column: str) -> str:
        """Return a value that must be there."""
        value = self.cells[column]
        if value is None:
            raise self.refused(f"{column} is missing.")
        return value

    def number(self, column: str) -> int | None:
        """Return a whole number, or None when it is missing."""
        value = self.cells[column]
        if value is None:
            return None
        try:
            return int(value)
        except ValueError as error:
            raise self.refused(f"{column} must be a whole number, not {value[:40]!r}.") from error

    def decimal(self, column: str) -> float | None:
        """Return a number, or None when it is missing."""
        value = self.cells[column]
        if value is None:
            return None
        try:
            number = float(value)
        except ValueError as error:
            raise self.refused(f"{column} must be a number, not {value[:40]!r}.") from error
        if number != number or number in (float("inf"), float("-inf")):
            raise self.refused(f"{column} must be a number, not {value[:40]!r}.")
        return number

    def needed(self, column: str) -> int:
        """Return a whole number that must be there."""
        number = self.number(column)
        if number is None:
            raise self.refused(f"{column} is missing.")
        return number

    def day(self, column: str) -> int | None:
        """Return a number of days from some start, at most some decades either way."""
        number = self.number(column)
        if number is not None and abs(number) > FARTHEST_DAY:
            raise self.refused(f"{column} must be a number of days, not {number}.")
        return number

    def refused(self, reason: str) -> ImportRefused:
        """Return the error that names this row."""
        return ImportRefused(self.file, self.line, reason)


def records(file: Path, columns: Sequence[str]) -> Iterator[Record]:
    """Yield the rows of a CSV with a header; columns are found by name, others are ignored.

    UTF-8 with or without a byte order mark, quoted or not. Raises ImportRefused for anything else.
    """
    with file.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle, strict=True)
        try:
            places = _places(file, next(reader, []), columns)
            width = max(places.values()) + 1
            for cells in reader:
                if cells:
                    yield _record(file, reader.line_num, cells, places, width)
        except UnicodeDecodeError as error:
            raise ImportRefused(file.name, None, "it is not UTF-8.") from error
        except csv.Error as error:
            raise ImportRefused(file.name, reader.line_num, f"it is not a CSV ({error}).") from error


def line_count(file: Path) -> int:
    """Return the number of lines behind the header, for a progress bar."""
    with file.open("rb") as handle:
        return max(sum(block.count(b"\n") for block in iter(lambda: handle.read(1 << 20), b"")) - 1, 0)


def followed(rows: Iterable[Record], *, name: str, whole: int, progress: Progress | None) -> Iterator[Record]:
    """Yield the rows and tell how far they are, every ``BATCH`` rows and at the end."""
    done = 0
    for done, row in enumerate(rows, start=1):
        if progress and done % BATCH == 0:
            progress(name, min(done, whole), whole)
        yield row
    if progress:
        progress(name, max(done, whole), max(done, whole))


def load(session: Session, model: type[Base], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """Insert rows that are not there yet, as the worker, and return how many were. Rows that are there stay as they are."""
    table = table_of(model)
    target = sql.Identifier(str(table.schema), str(table.name))
    stage = sql.Identifier(f"stage_{table.name}")
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    connection: Connection[Any] = session.connection().connection.driver_connection  # type: ignore[assignment]
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("create temporary table {} as select {} from {} limit 0").format(stage, names, target))
        with cursor.copy(sql.SQL("copy {} ({}) from stdin").format(stage, names)) as copy:
            for row in rows:
                copy.write_row(row)
        insert = sql.SQL("insert into {} ({}) select {} from {} on conflict do nothing").format(
            target, names, names, stage
        )
        cursor.execute(insert)
        inserted = cursor.rowcount
        cursor.execute(sql.SQL("drop table {}").format(stage))
    return inserted


def table_of(model: type[Base]) -> Table:
    """Return the table behind a model."""
    return cast(Table, model.__table__)


def make_months(session: Session, table: str, moments: Iterable[datetime | date]) -> None:
    """Make the monthly partitions that rows of these moments need."""
    known = list(moments)
    if known:
        session.connection().exec_driver_sql(
            "select platform.make_months(%s, %s::date, %s::date)", (table, min(known), max(known))
        )


def stable_id(*parts: object) -> uuid.UUID:
    """Return the id that the same natural key always gets, so that children know their parents without looking."""
    return uuid.uuid5(NAMESPACE, "/".join(map(str, parts)))


NAMESPACE = uuid.UUID("6f0f4c58-54a6-4f0c-9a55-5f3c8b6d2a11")


def _places(file: Path, header: list[str], columns: Sequence[str]) -> dict[str, int]:
    found = {name.strip(): place for place, name in enumerate(header)}
    missing = [name for name in columns if name not in found]
    if missing:
        raise ImportRefused(file.name, 1, f"the column {', '.join(missing)} is missing.")
    return {name: found[name] for name in columns}


def _record(file: Path, line: int, cells: list[str], places: dict[str, int], width: int) -> Record:
    if len(cells) < width:
        raise ImportRefused(file.name, line, f"it has {len(cells)} cells, at least {width} are needed.")
    picked = {name: cells[place].strip() for name, place in places.items()}
    if any("\x00" in value for value in picked.values()):
        raise ImportRefused(file.name, line, "it holds a NUL character.")
    return Record(file.name, line, {name: None if value in MISSING else value for name, value in picked.items()})
