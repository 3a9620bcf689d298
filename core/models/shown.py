"""What a person's own export shows of a table: which columns, under which names, and what stands there for somebody else.

Everything follows from labels and foreign keys, so a new labeled column is in the next export without a change here. A link
to a table about nobody (a module, a program) is shown by that table's title; a link to somebody who works here by the words of
its label, never by a name. Keys are shown where rows of the export lead to each other, so that a machine can put them together.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, ColumnElement, MetaData, Select, Table, case, null, select

from core.models.base import Base
from core.models.labels import Category, ColumnLabel, TableLabel
from core.models.ways import PERSONS, Fate, Shape, fates_told

KEY = "id"


class Kind(StrEnum):
    """How a field of an export comes about."""

    VALUE = "value"
    TITLE = "title"
    SOMEBODY = "somebody"
    KEY = "key"


@dataclass(frozen=True)
class Field:
    """One field of an export: its ``name`` there, the ``column`` it comes from, and how. ``free_text`` is screened first."""

    name: str
    column: str
    kind: Kind
    category: str
    free_text: bool = False


@dataclass(frozen=True)
class ShownTable:
    """One table of an export: ``name`` there ("code review"), ``place`` in the database ("platform.code_review")."""

    name: str
    place: str
    fields: tuple[Field, ...]
    categories: tuple[str, ...]

    def __hash__(self) -> int:
        return hash(
            self.place
        )  # the key of much that follows from it: to look at every field each time costs more than the rest


def shown_tables(person: str, metadata: MetaData | None = None) -> tuple[ShownTable, ...]:
    """Return the tables of the export of a "student" or "visitor", parents first; those with keys only are left out.

    These are the tables that can lead to the person, and those that are told with a row of theirs (``told_by``).
    """
    known = metadata or Base.metadata
    return shown_along(fates_told(person, known), known)


def shown_along(ways: tuple[Fate, ...], metadata: MetaData | None = None) -> tuple[ShownTable, ...]:
    """Return the same for whoever has asked for the ways already (core.models.ways.fates_told)."""
    known = metadata or Base.metadata
    labels = [column.info.get("privacy") for fate in ways for column in known.tables[fate.table].columns]
    return _shown_tables(known, ways, Shape(tuple(labels)))


@lru_cache(maxsize=16)
def _shown_tables(known: MetaData, ways: tuple[Fate, ...], _labels: Shape) -> tuple[ShownTable, ...]:
    places = tuple(fate.table for fate in reversed(ways))
    named = {place for place in places if any(label.export for label in _columns(known.tables[place]).values())}
    return tuple(_shown(known.tables[place], named) for place in places if place in named)


def statement(shown: ShownTable, metadata: MetaData | None = None) -> Select[Any]:
    """Return the select of a table's rows under the names of the export, in a steady order; the caller says whose rows."""
    table = (metadata or Base.metadata).tables[shown.place]
    source: Any = table
    wanted: list[ColumnElement[Any]] = []
    for number, each in enumerate(shown.fields):
        column = table.c[each.column]
        if each.kind is Kind.TITLE:
            key = _title_key(column)
            assert key is not None
            titled = key.table.alias(f"titled_{number}")
            source = source.outerjoin(titled, titled.c[key.name] == column)
            wanted.append(titled.c["title"].label(each.name))
        elif each.kind is Kind.SOMEBODY:
            words = column.info["privacy"].stands_for
            wanted.append(case((column.is_not(null()), words)).label(each.name))
        else:
            wanted.append(column.label(each.name))
    return select(*wanted).select_from(source).order_by(*table.primary_key.columns)


def _shown(table: Table, named: set[str]) -> ShownTable:
    fields = [field for column, label in _columns(table).items() if (field := _field(column, label, named))]
    fields.sort(key=lambda field: field.kind is Kind.KEY)  # what people read comes first
    categories = {field.category for field in fields} - {str(Category.NOBODY), str(Category.STAFF)}
    return ShownTable(table.name.replace("_", " "), table.fullname, tuple(fields), tuple(sorted(categories)))


def _field(column: Column[Any], label: ColumnLabel, named: set[str]) -> Field | None:
    category = str(label.category)
    if label.stands_for:
        return Field(label.export, column.name, Kind.SOMEBODY, category)
    if _title_key(column) is not None:
        name = label.export or column.name.removesuffix("_id").replace("_", " ")
        return Field(name, column.name, Kind.TITLE, category)
    if label.export:
        return Field(label.export, column.name, Kind.VALUE, category, label.free_text)
    if label.category is Category.NOBODY and _is_key(column, named):
        name = KEY if column.name == KEY else column.name.replace("_", " ")
        return Field(name, column.name, Kind.KEY, category)
    return None


def _title_key(column: Column[Any]) -> Column[Any] | None:
    """The key of a table about nobody that has a title, if the column leads to one."""
    for key in column.foreign_keys:
        target = key.column.table
        row = target.info.get("privacy")
        if isinstance(row, TableLabel) and not row.reaches and "title" in target.c:
            return key.column
    return None


def _is_key(column: Column[Any], named: set[str]) -> bool:
    """The row's own id, or a link to another row of the export; not one to the person, who is always the same."""
    if column.name == KEY:
        return True
    targets = {key.column.table.fullname for key in column.foreign_keys if key.column.name == KEY}
    return bool(targets & named) and not targets & set(PERSONS.values())


def _columns(table: Table) -> dict[Column[Any], ColumnLabel]:
    return {column: label for column in table.columns if isinstance(label := column.info.get("privacy"), ColumnLabel)}
