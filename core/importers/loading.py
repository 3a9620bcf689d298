"""The way in that all importers share: files read with care, rows loaded by COPY.

COPY into a table under FORCE row-level security is refused, so rows go through a temporary table and one INSERT … SELECT.
An import is one transaction: a malformed row names its file, line and reason, and nothing of that run remains.
"""

import csv
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast

from psycopg import Connection, IntegrityError, sql
from sqlalchemy import Table
from sqlalchemy.orm import Session

from core.errors import AdminError
from core.models.base import Base
from core.models.ways import PERSONS, ways_to
from core.privacy import suppression

DATED = {"platform.student": "registered_at", "platform.visitor": "asked_at"}
OF_PEOPLE = {table for person in PERSONS for table in ways_to(person)}
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
        if not WHOLE.fullmatch(value):
            raise self.refused(f"{column} must be a whole number, not {value[:40]!r}.")
        return int(value)

    def decimal(self, column: str) -> float | None:
        """Return a number, or None when it is missing."""
        value = self.cells[column]
        if value is None:
            return None
        if not DECIMAL.fullmatch(value):
            raise self.refused(f"{column} must be a number, not {value[:40]!r}.")
        return float(value)

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
    try:
        handle = file.open("rb")
    except OSError as error:
        raise ImportRefused(file.name, None, "it cannot be read.") from error
    with handle:
        reader = csv.reader(_lines(file, handle), strict=True)
        line = 1  # the first of the row: a quote that nobody closes is noticed at the end of the file only
        try:
            header = next(reader, [])
            places = _places(file, header, columns)
            line = reader.line_num + 1
            for cells in reader:
                if cells:
                    yield _record(file, line, cells, places, len(header))
                line = reader.line_num + 1
        except csv.Error as error:
            raise ImportRefused(file.name, line, f"it is not a CSV ({error}).") from error


def _lines(file: Path, handle: Iterable[bytes]) -> Iterator[str]:
    for number, raw in enumerate(handle, start=1):
        if b"\x00" in raw:
            raise ImportRefused(file.name, number, "it holds a NUL character.")
        try:
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ImportRefused(file.name, number, "it is not UTF-8.") from error


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


def load(
    session: Session, model: type[Base], columns: Sequence[str], rows: Iterable[Sequence[Any]], *, now: datetime
) -> int:
    """Insert rows that are not there yet, as the worker, and return how many were. Rows that are there stay as they are.

    Records of erased people are left out, or wait in quarantine, and with them what belongs to them.
    """
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
        leave_out(session, table, f"stage_{table.name}", columns, now=now)
        insert = sql.SQL("insert into {} ({}) select {} from {} on conflict ({}) do nothing").format(
            target, names, names, stage, sql.SQL(", ").join(sql.Identifier(c.name) for c in table.primary_key)
        )
        try:
            cursor.execute(insert)
        except IntegrityError as error:
            reason = f"rows break the rule {error.diag.constraint_name}."
            raise ImportRefused(f"table {table.name}", None, reason) from error
        inserted = cursor.rowcount
        cursor.execute(sql.SQL("drop table {}").format(stage))
    return inserted


def leave_out(session: Session, table: Table, stage: str, columns: Sequence[str], *, now: datetime) -> None:
    """Take records of erased people out of a temporary table, and rows whose person was taken out before."""
    connection: Connection[Any] = session.connection().connection.driver_connection  # type: ignore[assignment]
    if (dated := DATED.get(table.fullname)) is not None:
        there = f"not exists (select from {table.fullname} t where t.id = s.id)"
        first = connection.execute(sql.SQL("select source from {} limit 1").format(sql.Identifier(stage))).fetchone()
        suppression.sift(
            session, stage, table.name, source=first[0] if first else "", now=now, dated=f"s.{dated}", only=there
        )
    elif suppression.set_aside(session) != suppression.NOTHING:
        for key in table.foreign_key_constraints:
            pairs = [(each.parent.name, each.column.name) for each in key.elements]
            if key.referred_table.fullname in OF_PEOPLE and {mine for mine, _ in pairs} <= set(columns):
                connection.execute(_orphans(stage, key.referred_table.fullname, pairs))


def _orphans(stage: str, parent: str, pairs: Sequence[tuple[str, str]]) -> sql.Composed:
    """Delete what points to a row that is not there."""
    given = sql.SQL(" and ").join(sql.SQL("s.{} is not null").format(sql.Identifier(mine)) for mine, _ in pairs)
    same = sql.SQL(" and ").join(
        sql.SQL("p.{} = s.{}").format(sql.Identifier(theirs), sql.Identifier(mine)) for mine, theirs in pairs
    )
    orphans = sql.SQL("delete from {} s where {} and not exists (select from {} p where {})")
    return orphans.format(sql.Identifier(stage), given, sql.Identifier(*parent.split(".")), same)


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


WHOLE, DECIMAL = re.compile(r"-?[0-9]{1,12}"), re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,12})?")
NAMESPACE = uuid.UUID("6f0f4c58-54a6-4f0c-9a55-5f3c8b6d2a11")


def _places(file: Path, header: list[str], columns: Sequence[str]) -> dict[str, int]:
    found = {name.strip(): place for place, name in enumerate(header)}
    missing = [name for name in columns if name not in found]
    if missing:
        raise ImportRefused(file.name, 1, f"the column {', '.join(missing)} is missing.")
    if len(found) < len(header):
        raise ImportRefused(file.name, 1, "a column is there twice.")
    return {name: found[name] for name in columns}


def _record(file: Path, line: int, cells: list[str], places: dict[str, int], width: int) -> Record:
    if len(cells) != width:
        raise ImportRefused(file.name, line, f"it has {len(cells)} cells, the header has {width}.")
    picked = {name: cells[place].strip() for name, place in places.items()}
    return Record(file.name, line, {name: None if value in MISSING else value for name, value in picked.items()})
