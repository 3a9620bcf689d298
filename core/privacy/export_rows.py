"""All rows about one person, under the names of the export: one round trip, whatever number of tables the labels name.

Danger: a query for each table makes the export of an ordinary person a hundred times as dear as it need be; reading
everything at once makes the one of a busy person fill the memory. Principle: what is small comes whole, at once; what is large is
counted, and streams. Mechanism: one statement, made from the labels and kept as long as they are the same, asks every table for at
most ``AT_ONCE`` rows and one more, as JSON, and says how many came; only tables with more are counted by themselves. Both come
out as they leave, as plain values of JSON (:func:`plain`).
"""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    RowMapping,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Session

from core import cells, db
from core.models.base import Base
from core.models.shown import ShownTable, shown_along
from core.models.ways import Fate, fates_told
from core.privacy.export_pictures import PICTURED
from core.processors.local import Roots, condition, rows_of
from core.processors.protocol import Person

AT_ONCE = 2000  # rows of a table that are held; of a server-side cursor, those that come together

# To plan a statement over so many tables takes far longer than to run it, and the plan is the same for everybody: index by index.
_PLANNED_ONCE = "set local plan_cache_mode = force_generic_plan"

Values = Mapping[str, Any]
_Read = Callable[[Any], Any]
PICTURES = "pictures"  # beside the tables, in the same statement
_DIALECT = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Gathered:
    """What there is about a person: rows by table (tables without any are left out), and the rows of those that are small.

    ``every`` are all tables in which there could be something; ``pictured`` is what core.privacy.export_pictures draws, as JSON.
    """

    every: tuple[ShownTable, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    small: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    pictured: str = ""

    @property
    def large(self) -> bool:
        """Whether any table is to be streamed."""
        return len(self.small) < len(self.counts)


def gather(reader: Session, person: Person, roots: Roots) -> Gathered:
    """Read everything about a person that is small, and count the rest, as the worker on one snapshot."""
    ways = fates_told(person.kind)
    shown = shown_along(ways)
    counts: dict[str, int] = {}
    small: dict[str, list[dict[str, Any]]] = {}
    pictured = ""
    by_place = {each.place: each for each in shown}
    asked, words = _statement(person.kind, shown, ways, tuple(kind for kind, ids in roots.items() if ids))
    for place, number, rows in _together(reader, asked, {**words, **roots}):
        if place == PICTURES:
            pictured = rows
        elif number > AT_ONCE:
            counts[place] = _counted(reader, place, ways, roots)
        elif number:
            counts[place], small[place] = number, _read(by_place[place], rows)
    return Gathered(shown, counts, small, pictured)


def _together(reader: Session, asked: str, given: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Run the statement behind the setting that it needs, in one round trip."""
    return db.together(reader, db.asked(_PLANNED_ONCE), db.asked_in_full(asked, given))[-1]


@lru_cache(maxsize=8)
def _statement(
    kind: str, shown: tuple[ShownTable, ...], ways: tuple[Fate, ...], known: tuple[str, ...]
) -> tuple[str, dict[str, Any]]:
    """The statement for a kind of person, and the words in it; ids are its other parameters, arrays under "student" and "visitor".

    A student who never left a form is asked for by ways from a student only: ``known`` are the kinds of which there are ids.
    """
    person = Person(kind, uuid.UUID(int=0))
    whose = {each: bindparam(each, type_=ARRAY(Uuid())) for each in known}
    there = {fate.table for fate in ways for way in fate.ways if way.person in whose}
    tables = (_of_table(person, each, whose) for each in shown if each.place in there)
    made = union_all(*tables).compile(dialect=_DIALECT)
    drawn = f" union all select '{PICTURES}', 1, {PICTURED}" if kind == "student" else ""
    return f"{made}{drawn}", {name: value for name, value in made.params.items() if name not in whose}


def _of_table(person: Person, shown: ShownTable, whose: Mapping[str, Any]) -> Select[str, int, str]:
    rows = (
        rows_of(person, shown, whose)
        .limit(literal_column(str(AT_ONCE + 1)))
        .subquery(f"of_{shown.name.replace(' ', '_')}")
    )
    as_row: ColumnElement[Any] = literal_column(f'"{rows.name}"')
    place: ColumnElement[str] = literal_column(f"'{shown.place}'")
    return select(place, func.count(), cast(func.json_agg(as_row), Text)).select_from(rows)


def _counted(reader: Session, place: str, ways: tuple[Fate, ...], roots: Roots) -> int:
    fate = next(each for each in ways if each.table == place)
    number = select(func.count()).select_from(Base.metadata.tables[place]).where(condition(fate, roots))
    return int(reader.scalar(number) or 0)


def plain(row: RowMapping) -> dict[str, Any]:
    """Return a row of the database as it leaves: what JSON has no kind for in words (core.cells.as_json)."""
    return {name: cells.as_json(value) for name, value in row.items()}


@lru_cache(maxsize=256)
def instants(shown: ShownTable) -> tuple[str, ...]:
    """Return the fields of a table that are instants or days."""
    return tuple(name for name, python in _kinds(shown) if python in (datetime, date))


def _read(shown: ShownTable, rows: str) -> list[dict[str, Any]]:
    """Rows of JSON as they leave: the database writes some kinds in words of its own."""
    found: list[dict[str, Any]] = json.loads(rows)
    for name, read in _readers(shown):
        for row in found:
            if row[name] is not None:
                row[name] = read(row[name])
    return found


@lru_cache(maxsize=256)
def _readers(shown: ShownTable) -> tuple[tuple[str, _Read], ...]:
    return tuple((name, _READERS[python]) for name, python in _kinds(shown) if python in _READERS)


def _kinds(shown: ShownTable) -> Iterator[tuple[str, Any]]:
    columns = Base.metadata.tables[shown.place].c
    for each in shown.fields:
        if each.kind == "value":
            try:
                yield each.name, columns[each.column].type.python_type
            except NotImplementedError:
                continue


def _instant(value: str) -> str:
    if len(value) == WHOLE_SECOND and value.endswith("+00:00"):  # most of them
        return f"{value[:-6]}Z"
    return str(cells.as_json(datetime.fromisoformat(value)))


def _decimal(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bytes(value: str) -> Any:
    return cells.as_json(bytes.fromhex(value.removeprefix("\\x")))


WHOLE_SECOND = len("2026-11-24T12:00:00+00:00")
_READERS: dict[Any, _Read] = {datetime: _instant, Decimal: _decimal, float: float, bytes: _bytes}
