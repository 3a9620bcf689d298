"""This database as a processor: what it holds about a person, erased child before parent, and looked for afterwards.

Danger: a list of tables in the code forgets the newest one. Principle: everything follows from the labels and the foreign
keys (core.models.ways); a column without a label stops it. Mechanism: each way becomes a condition on the table's rows; rows
go in parts of a few thousand, the person's own row last. What a hold spares stays, and with it every row it points to.
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    CursorResult,
    LargeBinary,
    Select,
    Table,
    Uuid,
    any_,
    bindparam,
    delete,
    exists,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from core.errors import DatabaseError
from core.models.base import Base, uuid7
from core.models.data_map import unmapped
from core.models.labels import Erasure
from core.models.platform import Tombstone
from core.models.shown import ShownTable, shown_tables, statement
from core.models.ways import GO_TOGETHER, PERSONS, TOMBSTONE, Fate, Way, fates, problems, references
from core.processors.protocol import (
    Became,
    Capability,
    Change,
    Exported,
    Line,
    Order,
    Outcome,
    Person,
    Preview,
    Proof,
    Spared,
)

NAME = "this database"
_FOUND = {
    kind: text(
        "select d.digest, (select array_agg(v.id) from platform.visitor v where v.email_hash = d.digest) as same from"
        " (select coalesce(:digest, (select p.email_hash from platform.student p where p.id = :id)) as digest) d".replace(
            "platform.student", table
        )
    ).bindparams(bindparam("digest", type_=LargeBinary), bindparam("id", type_=Uuid))
    for kind, table in PERSONS.items()
}
Roots = dict[str, list[uuid.UUID]]
Whose = Mapping[str, list[uuid.UUID] | BindParameter[list[uuid.UUID]]]  # ids, or a place for them in a statement


class Local:
    """The local database. Erases and verifies as the worker; previews as the worker or a privacy officer with an open case."""

    name = NAME
    capabilities = frozenset(Capability)
    payload: tuple[str, ...] = ()
    remote = False

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        """Count the person's rows by table. Tables in the order of an erasure; those without rows are told with 0."""
        counted = counts(session, person)
        lines = tuple(Line(fate.table, counted.get(fate.table)) for fate in fates(person.kind))
        complete = all(line.rows is not None for line in lines)
        return Preview(lines, complete, "" if complete else "not open")

    def export(self, session: Session, person: Person, *, now: datetime) -> Exported:
        """Return every row about the person, as the worker, by the names that the labels give its columns in an export.

        All at once: what may be large is streamed by core.privacy.export_build, from the same statements.
        """
        roots = _roots(session, person)
        records = {
            shown.place: tuple(dict(row) for row in session.execute(rows_of(person, shown, roots)).mappings())
            for shown in shown_tables(person.kind)
        }
        return Exported({table: rows for table, rows in records.items() if rows})

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        """Erase at most ``order.at_most`` rows, as the worker; "more" when there may be others, "gone" when there was nobody.

        "failed" with the code "labels" when a column has no label: nothing is erased by an incomplete map. The live database is
        asked before the first part, and once more before anything is called proven.
        """
        if problems() or (not order.begun and unmapped(session)):
            return Outcome(Became.FAILED, error="labels")
        if any(spared.table is None for spared in order.spared):
            return Outcome(Became.WAITING, error="held")
        roots = _roots(session, order.person)
        if not _there(session, roots):
            return Outcome(Became.GONE)
        return _rows_erased(session, order.person.kind, order.spared, roots, order.at_most, now)

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        """Count what is left of what should be gone. Foreign keys hold everything else to the person's own row.

        Nothing is proven ("labels") while the database has a column that the map does not know.
        """
        if unmapped(session):
            return Proof(None, error="labels")
        roots = _roots(session, order.person)
        found = {}
        for fate in fates(order.person.kind):
            table = Base.metadata.tables[fate.table]
            left = condition(fate, roots) & _goes(fate, table, order.spared)
            if number := session.scalar(select(func.count()).select_from(table).where(left)):
                found[fate.table] = int(number)
        return Proof(absent=not found, found=found)

    def propagate(self, session: Session, person: Person, change: Change, *, now: datetime) -> Outcome:
        """Nothing to pass on: the change was made here."""
        return Outcome(Became.DONE)


def counts(session: Session, person: Person) -> dict[str, int]:
    """Return how many rows each table has about a person; empty for those who may not know (see privacy.person_rows)."""
    asked = {"ways": ways_json(fates(person.kind)), "student": None, "visitor": None, person.kind: person.id}
    counted = session.execute(
        text("select * from privacy.person_rows(cast(:ways as jsonb), :student, :visitor)"), asked
    )
    return {row.place: row.number for row in counted}


def ways_json(wanted: Iterable[Fate]) -> str:
    """Return ways as the database's functions take them; they follow real foreign keys only."""
    told = [
        {
            "table": way.table,
            "person": way.person,
            "links": [[link.table, link.column, link.to_table, link.to_column] for link in way.links],
        }
        for fate in wanted
        for way in fate.ways
    ]
    return json.dumps(told)


def known(session: Session, person: Person) -> Person:
    """Return a person with all that finds their rows, as the worker; to be kept as long as something of them is to go."""
    row = session.execute(_FOUND[person.kind], {"digest": person.email_hash, "id": person.id}).one()
    forms = sorted({*person.forms, *(row.same or ()), *([person.id] if person.kind == "visitor" else [])})
    return replace(person, email_hash=bytes(row.digest) if row.digest else None, forms=tuple(forms))


def erase_visitors(session: Session, ids: Iterable[uuid.UUID], *, at_most: int, now: datetime) -> dict[str, int]:
    """Erase, as the worker, the rows about visitors (all forms of each have to be among ``ids``), at most so many; return how many
    went, by table. Retention does so, which looked for holds before. Raises DatabaseError when the map is not whole.
    """
    if problems() or unmapped(session):
        raise DatabaseError("A column has no privacy label, so nothing is erased. See `python -m core labels`.")
    found: Roots = {"visitor": list(ids)}
    return dict(_rows_erased(session, "visitor", (), found, at_most, now).counts)


def _roots(session: Session, person: Person) -> Roots:
    """The rows that are the person, there or not: their own, and forms that were left with the same e-mail address."""
    return roots_of(known(session, person))


def roots_of(person: Person) -> Roots:
    """Return the rows that are a person who is :func:`known`: what :func:`rows_of` and :func:`condition` ask for."""
    found = {"student": [person.id], "visitor": list(person.forms)}
    return {kind: found[kind] for kind in GO_TOGETHER[person.kind]}


def rows_of(person: Person, shown: ShownTable, roots: Whose) -> Select[Any]:
    """Return the select of a person's rows of one table of their export."""
    fate = next(each for each in fates(person.kind) if each.table == shown.place)
    return statement(shown).where(condition(fate, roots))


def _there(session: Session, roots: Roots) -> bool:
    return any(
        session.scalar(select(exists().where(_column(PERSONS[kind], "id").in_(ids)))) for kind, ids in roots.items()
    )


def condition(fate: Fate, roots: Whose) -> ColumnElement[bool]:
    """Return which rows of a table are about the persons of ``roots``."""
    return or_(false(), *(_along(way, roots[way.person]) for way in fate.ways if way.person in roots))


def _along(way: Way, ids: list[uuid.UUID] | BindParameter[list[uuid.UUID]]) -> ColumnElement[bool]:
    if not way.links:
        return _one_of(_column(way.table, "id"), ids)
    *between, last = way.links
    condition = _one_of(_column(last.table, last.column), ids)
    for link in reversed(between):
        target = _column(link.to_table, link.to_column)
        condition = _column(link.table, link.column).in_(select(target).where(condition))
    return condition


def _one_of(column: Column[Any], ids: list[uuid.UUID] | BindParameter[list[uuid.UUID]]) -> ColumnElement[bool]:
    return column == any_(ids) if isinstance(ids, BindParameter) else column.in_(ids)


def _rows_erased(
    session: Session, kind: str, spared: tuple[Spared, ...], roots: Roots, at_most: int, now: datetime
) -> Outcome:
    done: dict[str, int] = {}
    left = at_most
    for fate in fates(kind):
        if left <= 0:
            return Outcome(Became.MORE, done)
        table = Base.metadata.tables[fate.table]
        rows = condition(fate, roots) & _goes(fate, table, spared)
        if fate.action is Erasure.ROW:
            number = _delete(session, table, rows, left)
        elif fate.blanked:
            number = _blank(session, table, fate.blanked, rows, left, now)
        else:
            continue
        if number:
            done[fate.table] = number
        left -= number
    return Outcome(Became.MORE if left <= 0 else Became.DONE, done)


def _delete(session: Session, table: Table, rows: ColumnElement[bool], at_most: int) -> int:
    keys = _keys(table)
    some = select(*keys).where(rows).order_by(*keys).limit(at_most)
    return _number(session.execute(delete(table).where(tuple_(*keys).in_(some))))


def _blank(
    session: Session, table: Table, columns: tuple[str, ...], rows: ColumnElement[bool], at_most: int, now: datetime
) -> int:
    """Empty the columns; a link to the person becomes one to a tombstone, where the table has a place for it."""
    keys = _keys(table)
    some = session.execute(select(*keys).where(rows).order_by(*keys).limit(at_most)).all()
    if not some:
        return 0
    empty: dict[str, Any] = {name: None if table.c[name].nullable else "" for name in columns}
    if (place := _tombstone_column(table)) is not None:
        empty[place.name] = uuid7()
        session.execute(insert(Tombstone).values(id=empty[place.name], erased_at=now))
    mine = tuple_(*keys).in_([tuple(row) for row in some])
    return _number(session.execute(update(table).where(mine).values(**empty)))


def _tombstone_column(table: Table) -> Column[Any] | None:
    return next((key.parent for key in table.foreign_keys if key.column.table.fullname == TOMBSTONE), None)


def _goes(fate: Fate, table: Table, spared: tuple[Spared, ...]) -> ColumnElement[bool]:
    """What no hold keeps: neither the rows that it names, nor those which something that stays points to."""
    if not spared:
        return true()
    stays = _stays(table, spared)
    return ~(stays | _pointed_at(table)) if fate.action is Erasure.ROW else ~stays


def _stays(table: Table, spared: tuple[Spared, ...]) -> ColumnElement[bool]:
    """The rows of a table that a hold names."""
    mine = [each for each in spared if each.table in (None, table.fullname)]
    if any(each.record is None for each in mine):
        return true()
    record = table.c["id"] if "id" in table.c else _keys(table)[0]
    return or_(false(), *(record == each.record for each in mine))


def _pointed_at(table: Table) -> ColumnElement[bool]:
    """The rows that something which stays still points to."""
    pointing: list[ColumnElement[bool]] = []
    for key in references(table):
        child = key.parent.alias(f"child_{key.parent.name}_{len(pointing)}")
        same = [child.c[element.parent.name] == element.column for element in key.elements]
        pointing.append(select(literal_column("1")).select_from(child).where(*same).correlate(table).exists())
    return or_(false(), *pointing)


def _keys(table: Table) -> list[Column[Any]]:
    return list(table.primary_key.columns)


def _column(table: str, name: str) -> Column[Any]:
    return Base.metadata.tables[table].c[name]


def _number(result: object) -> int:
    assert isinstance(result, CursorResult)
    return int(result.rowcount)
