"""All rows about one person, under the names of the export: one round trip, whatever number of tables the labels name.

Danger: a query for each table makes the export of an ordinary person a hundred times as dear as it need be; reading
everything at once makes the one of a busy person fill the memory. Principle: what is small comes whole, at once; what is large is
counted, and streams. Mechanism: one statement, made from the labels and kept as long as they are the same, asks every table for at
most ``AT_ONCE`` rows and one more, as JSON, and says how many came; only tables with more are counted by themselves. Instants,
days, decimals and bytes are what they are in the database again before anybody sees them.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
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

from core import db
from core.models.base import Base
from core.models.shown import ShownTable, shown_tables
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
    shown = shown_tables(person.kind)
    ways = fates_told(person.kind)
    counts: dict[str, int] = {}
    small: dict[str, list[dict[str, Any]]] = {}
    pictured = ""
    by_place = {each.place: each for each in shown}
    asked, words = _statement(person.kind, shown, ways)
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
def _statement(kind: str, shown: tuple[ShownTable, ...], ways: tuple[Fate, ...]) -> tuple[str, dict[str, Any]]:
    """The statement for a kind of person, and the words in it; ids are its other parameters, arrays under "student" and "visitor"."""
    person = Person(kind, uuid.UUID(int=0))
    wanted = {way.person for fate in ways for way in fate.ways}
    whose = {each: bindparam(each, type_=ARRAY(Uuid())) for each in sorted(wanted)}
    made = union_all(*(_of_table(person, each, whose) for each in shown)).compile(dialect=_DIALECT)
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


def _read(shown: ShownTable, rows: str) -> list[dict[str, Any]]:
    """Rows of JSON as the database's own values: what JSON has no kind for is read back from its words."""
    found: list[dict[str, Any]] = json.loads(rows, parse_float=Decimal)
    for name, read in _readers(shown):
        for row in found:
            if row[name] is not None:
                row[name] = read(row[name])
    return found


@lru_cache(maxsize=256)
def _readers(shown: ShownTable) -> tuple[tuple[str, _Read], ...]:
    columns = Base.metadata.tables[shown.place].c
    found = []
    for each in shown.fields:
        if each.kind == "value" and (read := _reader(columns[each.column].type)) is not None:
            found.append((each.name, read))
    return tuple(found)


def _reader(kind: Any) -> _Read | None:
    try:
        python = kind.python_type
    except NotImplementedError:
        return None
    return {
        datetime: datetime.fromisoformat,
        date: date.fromisoformat,
        Decimal: _decimal,
        float: float,
        bytes: _bytes,
    }.get(python)


def _decimal(value: Any) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(value)


def _bytes(value: str) -> bytes:
    return bytes.fromhex(value.removeprefix("\\x"))
