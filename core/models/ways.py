"""Ways to a person: which rows are about somebody, in which order they can go, and what becomes of them.

Nothing here names a table but the two that are persons. Ways are found along foreign keys and the labels' ``reaches``; the
order follows from the foreign keys, because none of them cascades. A new table with labels is found without a change here;
one whose labels contradict themselves is a :func:`problems` entry, and stops every plan.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Column, ForeignKeyConstraint, MetaData, Table, Text

from core.models.base import Base
from core.models.data_map import unlabeled
from core.models.labels import Category, ColumnLabel, Erasure, TableLabel

PERSONS = {"student": "platform.student", "visitor": "platform.visitor"}
# Whose rows go with whom: a student's own forms are found by the keyed hash of the e-mail, as are all forms of a visitor.
GO_TOGETHER = {"student": ("student", "visitor"), "visitor": ("visitor",)}
TOMBSTONE = "platform.tombstone"
# Where the labels stand: the ``info`` of tables and columns, looked up anew when a table is another one or has another number of columns.
_infos: WeakKeyDictionary[MetaData, tuple[list[tuple[Table, int]], list[dict[Any, Any]]]] = WeakKeyDictionary()


class Shape:
    """All labels of all columns at one moment, compared by what they are and not by what they say: cheap enough for every call."""

    __slots__ = ("_hash", "_ids", "_labels")

    def __init__(self, labels: tuple[object, ...]) -> None:
        self._labels = labels  # kept alive with the key, so that no other label gets the place of one in memory
        self._ids = tuple(map(id, labels))
        self._hash = hash(self._ids)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shape) and self._ids == other._ids


@dataclass(frozen=True)
class Link:
    """One step along a foreign key: ``column`` of a table holds ``to_column`` of another."""

    table: str
    column: str
    to_table: str
    to_column: str


@dataclass(frozen=True)
class Way:
    """From a table to a person: "student" or "visitor". Without links the rows are the persons themselves."""

    table: str
    person: str
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Fate:
    """What an erasure does to the rows of a table that are about a person.

    Where rows stay (``action`` is not ``Erasure.ROW``), ``blanked`` columns are emptied, so that nothing leads to the person;
    ``categories`` and ``processors`` are those of the columns, sorted.
    """

    table: str
    ways: tuple[Way, ...]
    action: Erasure
    blanked: tuple[str, ...]
    reason: str
    until: str
    categories: tuple[str, ...]
    processors: tuple[str, ...]

    def __hash__(self) -> int:
        return hash((self.table, self.action))  # as a key of caches, looked at often: not every way each time


def ways_to(person: str, metadata: MetaData | None = None) -> dict[str, tuple[Way, ...]]:
    """Return every table with rows about a "student" or "visitor", with the ways that lead there."""
    tables = (metadata or Base.metadata).sorted_tables  # parents first: what a link leads to is known before
    found: dict[str, tuple[Way, ...]] = {}
    for table in tables:
        if ways := tuple(dict.fromkeys(_ways(table, person, found))):
            found[table.fullname] = ways
    return found


def fates(person: str, metadata: MetaData | None = None) -> tuple[Fate, ...]:
    """Return what an erasure of a person does, table by table, in the order in which it can be done: children first.

    The person's own row comes last. Works on labeled tables only; see :func:`problems`.
    """
    known = metadata or Base.metadata
    return _fates(person, known, _shape(known))


@lru_cache(maxsize=16)
def _fates(person: str, known: MetaData, _shape: Shape) -> tuple[Fate, ...]:
    ways: dict[str, tuple[Way, ...]] = {}
    for each in reversed(GO_TOGETHER[person]):
        for table, more in ways_to(each, known).items():
            ways[table] = ways.get(table, ()) + more
    order = [table for table in reversed(known.sorted_tables) if table.fullname in ways]
    order.sort(key=lambda table: table.fullname == PERSONS[person])  # stable: only the person moves to the end
    return tuple(_fate(table, ways[table.fullname]) for table in order if _labeled(table))


def fates_told(person: str, metadata: MetaData | None = None) -> tuple[Fate, ...]:
    """Return every table with rows of a person's export, children first: :func:`fates`, and before them what is ``told_by`` those.

    What is told only is no part of a plan: an erasure leaves it, and it leads to nobody once the row that it follows does not.
    """
    known = metadata or Base.metadata
    return _told(person, known, _shape(known))


@lru_cache(maxsize=16)
def _told(person: str, known: MetaData, _shape: Shape) -> tuple[Fate, ...]:
    own = fates(person, known)
    ways = {fate.table: fate.ways for fate in own}
    more = []
    for table in reversed(known.sorted_tables):
        row = table.info.get("privacy")
        if table.fullname in ways or not isinstance(row, TableLabel) or not row.told_by:
            continue
        links = [link for link in _links(table) if link.column == row.told_by]
        found = tuple(
            Way(table.fullname, way.person, (link, *way.links)) for link in links for way in ways.get(link.to_table, ())
        )
        more += [_fate(table, found)] if found else []
    return (*more, *own)


def problems(metadata: MetaData | None = None) -> tuple[str, ...]:
    """Return, in words, everything about the labels that makes a plan unreliable; empty when they are whole."""
    known = metadata or Base.metadata
    return _problems(known, _shape(known))


@lru_cache(maxsize=16)
def _problems(known: MetaData, _shape: Shape) -> tuple[str, ...]:
    found = [f"{name} has no label" for name in unlabeled(known)]
    reached = {table for person in PERSONS for table in ways_to(person, known)}
    told = {fate.table for person in PERSONS for fate in fates_told(person, known)}
    for table in known.tables.values():
        row = table.info.get("privacy")
        if not isinstance(row, TableLabel):
            continue
        if row.reaches and table.fullname not in reached:
            found.append(f"{table.fullname} reaches a person by {row.reaches}, which leads nowhere")
        if row.told_by and table.fullname not in told:
            found.append(f"{table.fullname} is told by {row.told_by}, which leads to nobody's rows")
        if table.fullname in reached:
            found += _contradictions(table, row)
    return tuple(sorted(found))


def _shape(known: MetaData) -> Shape:
    """All that fates follow from: they are worked out again when a table or a label is another one."""
    return Shape((*known.tables.values(), *[info.get("privacy") for info in _infos_of(known)]))


def _infos_of(known: MetaData) -> list[dict[Any, Any]]:
    sizes = [(table, len(table.c)) for table in known.tables.values()]
    kept = _infos.get(known)
    if kept is None or kept[0] != sizes:
        infos = [info for table, _ in sizes for info in (table.info, *(column.info for column in table.c))]
        kept = _infos[known] = (sizes, infos)
    return kept[1]


def _ways(table: Table, person: str, found: dict[str, tuple[Way, ...]]) -> Iterator[Way]:
    if table.fullname == PERSONS[person]:
        yield Way(table.fullname, person, ())
        return
    row = table.info.get("privacy")
    for link in _links(table):
        direct = link.to_table == PERSONS[person]
        if direct or (isinstance(row, TableLabel) and link.column == row.reaches):
            for onward in found.get(link.to_table, ()):
                if onward.person == person:
                    yield Way(table.fullname, person, (link, *onward.links))


def _links(table: Table) -> Iterator[Link]:
    for constraint in sorted(table.foreign_key_constraints, key=lambda it: str(it.name)):
        for key in constraint.elements:
            to = key.column
            assert isinstance(to.table, Table)
            yield Link(table.fullname, key.parent.name, to.table.fullname, to.name)


def _fate(table: Table, ways: tuple[Way, ...]) -> Fate:
    row: TableLabel = table.info["privacy"]
    columns = [(column, label) for column in table.columns if (label := _label(column)) is not None]
    blanked = tuple(column.name for column, label in columns if _is_blanked(row, label))
    if row.erasure is Erasure.ROW:
        blanked = ()
    categories = {str(label.category) for _, label in columns} - {str(Category.NOBODY), str(Category.STAFF)}
    processors = set(row.processors).union(*(label.processors or () for _, label in columns))
    told = sorted(str(each) for each in processors)
    return Fate(
        table.fullname, ways, row.erasure, blanked, row.reason, row.until, tuple(sorted(categories)), tuple(told)
    )


def _is_blanked(row: TableLabel, label: ColumnLabel) -> bool:
    if label.erasure is not None:
        return label.erasure is Erasure.BLANK
    return row.erasure is Erasure.BLANK and label.category not in (Category.NOBODY, Category.STAFF)


def _contradictions(table: Table, row: TableLabel) -> Iterator[str]:
    if row.erasure is Erasure.ROW or table.fullname in PERSONS.values():
        return
    first = {
        way.links[0].column for person in PERSONS for way in ways_to(person, table.metadata).get(table.fullname, ())
    }
    for column in table.columns:
        label = _label(column)
        if label is None:
            continue
        blanked = _is_blanked(row, label)
        if column.name in first and not blanked:
            yield f"{table.fullname} stays and would still lead to the person by {column.name}"
        if blanked and not column.nullable and not isinstance(column.type, Text):
            yield f"{table.fullname}.{column.name} is to be blanked and cannot be empty"


def _label(column: Column[object]) -> ColumnLabel | None:
    found = column.info.get("privacy")
    return found if isinstance(found, ColumnLabel) else None


def _labeled(table: Table) -> bool:
    return isinstance(table.info.get("privacy"), TableLabel)


def ancestors(table: str, metadata: MetaData | None = None) -> frozenset[str]:
    """Return the tables whose rows a row of ``table`` may point to, however far: they stay as long as it stays."""
    known, found, ahead = (metadata or Base.metadata).tables, set[str](), [table]
    while ahead:
        to = {key.column.table.fullname for key in known[ahead.pop()].foreign_keys} - found
        found |= to
        ahead += to
    return frozenset(found - {table})


def references(table: Table) -> tuple[ForeignKeyConstraint, ...]:
    """Return the foreign keys of other tables that point at this one."""
    every = (key for other in table.metadata.tables.values() for key in other.foreign_key_constraints)
    return tuple(sorted((key for key in every if key.referred_table is table), key=lambda it: str(it.name)))
