"""This database as a processor: what it holds about a person, erased child before parent, and looked for afterwards.

Danger: a list of tables in the code forgets the newest one. Principle: everything follows from the labels and the foreign
keys (core.models.ways); a column without a label stops it. Mechanism: each way becomes a condition on the table's rows; rows
go in parts of a few thousand, the person's own row last. What a hold spares stays, and with it every row it points to.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import (
    ARRAY,
    UUID,
    BindParameter,
    Column,
    ColumnElement,
    Executable,
    FromClause,
    Integer,
    LargeBinary,
    Row,
    Select,
    Table,
    any_,
    bindparam,
    column,
    delete,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from core.errors import DatabaseError
from core.models.base import Base, uuid7
from core.models.data_map import unmapped
from core.models.labels import AT_ERASURE, ColumnLabel, Erasure
from core.models.platform import Student, Tombstone, Visitor
from core.models.shown import ShownTable, shown_tables, statement
from core.models.ways import GO_TOGETHER, PERSONS, TOMBSTONE, Fate, Way, fates, fates_told, problems, references
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
        """Erase at most ``order.at_most`` rows of one person: :meth:`erase_together` for one."""
        return self.erase_together(session, [order], at_most=order.at_most, now=now)[0]

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        """Count what is left of one person: :meth:`verify_together` for one."""
        return self.verify_together(session, [order], now=now)[0]

    def erase_together(
        self, session: Session, orders: Sequence[Order], *, at_most: int, now: datetime
    ) -> list[Outcome]:
        """Erase at most ``at_most`` rows of several people, as the worker, each table once for all of them; an outcome for each.

        "more" when there may be others, "gone" when there was nobody. "failed" with the code "labels" when a column has no
        label: nothing is erased by an incomplete map. The live database is asked before a person's first part, and once more
        before anything is called proven. People under the same holds go together; whom a hold keeps whole, stays whole.
        """
        if problems() or (not all(order.begun for order in orders) and unmapped(session)):
            return [Outcome(Became.FAILED, error="labels") for _ in orders]
        outcomes: dict[int, Outcome] = {}
        for kind, spared, numbers in _alike(orders):
            if any(each.table is None for each in spared):
                outcomes |= dict.fromkeys(numbers, Outcome(Became.WAITING, error="held"))
                continue
            owned = _owned(session, [(number, orders[number].person) for number in numbers])
            there = _there(session, owned)
            outcomes |= {number: Outcome(Became.GONE) for number in numbers if number not in there}
            outcomes |= _rows_erased(session, kind, spared, owned.only(there), at_most, now)
        return [outcomes[number] for number in range(len(orders))]

    def verify_together(self, session: Session, orders: Sequence[Order], *, now: datetime) -> list[Proof]:
        """Count what is left of what should be gone. Foreign keys hold everything else to the person's own row.

        Nothing is proven ("labels") while the database has a column that the map does not know.
        """
        if unmapped(session):
            return [Proof(None, error="labels") for _ in orders]
        found: dict[int, dict[str, int]] = {number: {} for number in range(len(orders))}
        for kind, spared, numbers in _alike(orders):
            owned = _owned(session, [(number, orders[number].person) for number in numbers])
            for fate, left in _counting(fates(kind), spared):
                for row in session.execute(left, owned.values):
                    found[row.owner][fate.table] = int(row.number)
        return [Proof(absent=not found[number], found=found[number]) for number in range(len(orders))]

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
    if person.kind == "student" and person.email_hash is None:
        return _known_student(session, person)
    return known_together(session, [person])[0]


def _known_student(session: Session, person: Person) -> Person:
    """A student and the forms that were left with the same address, in one round trip."""
    mine = select(Student.email_hash, Visitor.id).outerjoin(Visitor, Visitor.email_hash == Student.email_hash)
    rows = session.execute(mine.where(Student.id == person.id)).all()
    forms = {row[1] for row in rows if row[1] is not None}
    return replace(person, email_hash=rows[0][0] if rows else None, forms=tuple(sorted({*person.forms, *forms})))


def known_together(session: Session, people: Sequence[Person]) -> list[Person]:
    """Return several people with all that finds their rows, in the same order."""
    hashes: dict[uuid.UUID, bytes] = {}
    for kind, table in PERSONS.items():
        own, digest = _column(table, "id"), _column(table, "email_hash")
        if asked := [each.id for each in people if each.kind == kind and each.email_hash is None]:
            hashes |= {row[0]: row[1] for row in session.execute(select(own, digest).where(own == any_(_ids(asked))))}
    digests = [each.email_hash or hashes.get(each.id) for each in people]
    same = _forms_of(session, {each for each in digests if each})
    return [
        replace(person, email_hash=digest, forms=tuple(sorted({
            *person.forms, *same.get(digest or b"", ()), *([person.id] if person.kind == "visitor" else [])})))
        for person, digest in zip(people, digests, strict=True)
    ]  # fmt: skip


def _forms_of(session: Session, hashes: set[bytes]) -> dict[bytes, list[uuid.UUID]]:
    """Every form that was left with these addresses."""
    found: dict[bytes, list[uuid.UUID]] = {}
    if hashes:
        asked = bindparam("hashes", sorted(hashes), ARRAY(LargeBinary))
        for row in session.execute(select(Visitor.id, Visitor.email_hash).where(Visitor.email_hash == any_(asked))):
            found.setdefault(row.email_hash, []).append(row.id)
    return found


def _ids(values: Sequence[uuid.UUID]) -> BindParameter[Any]:
    return bindparam(None, list(values), ARRAY(UUID(as_uuid=True)), unique=True)


def erase_visitors(session: Session, ids: Iterable[uuid.UUID], *, at_most: int, now: datetime) -> dict[str, int]:
    """Erase, as the worker, the rows about visitors (all forms of each have to be among ``ids``), at most so many; return how many
    went, by table. Retention does so, which looked for holds before. Raises DatabaseError when the map is not whole.
    """
    if problems() or unmapped(session):
        raise DatabaseError("A column has no privacy label, so nothing is erased. See `python -m core labels`.")
    owned = Owned({"visitor": [(each, 0) for each in ids]})
    return dict(_rows_erased(session, "visitor", (), owned, at_most, now)[0].counts)


def _roots(session: Session, person: Person) -> Roots:
    """The rows that are the person, there or not: their own, and forms that were left with the same e-mail address."""
    return roots_of(known(session, person))


def roots_of(person: Person) -> Roots:
    """Return the rows that are a person who is :func:`known`: what :func:`rows_of` and :func:`condition` ask for."""
    found = {"student": [person.id], "visitor": list(person.forms)}
    return {kind: found[kind] for kind in GO_TOGETHER[person.kind]}


def rows_of(person: Person, shown: ShownTable, roots: Whose) -> Select[Any]:
    """Return the select of a person's rows of one table of their export."""
    fate = next(each for each in fates_told(person.kind) if each.table == shown.place)
    return statement(shown).where(condition(fate, roots))


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


@dataclass(frozen=True)
class Owned:
    """The rows that are persons, by kind: their ids, each with the number of whoever they belong to in this batch."""

    roots: Mapping[str, Sequence[tuple[uuid.UUID, int]]]

    @cached_property
    def values(self) -> dict[str, Any]:
        """The same, as the statements take it."""
        told: dict[str, Any] = {}
        for kind in PERSONS:
            rows = self.roots.get(kind, ())
            told |= {f"{kind}_ids": [each for each, _ in rows], f"{kind}_owners": [owner for _, owner in rows]}
        return told

    @property
    def owners(self) -> set[int]:
        """The numbers."""
        return {owner for rows in self.roots.values() for _, owner in rows}

    def only(self, owners: set[int]) -> "Owned":
        """Those of some."""
        return Owned({kind: [row for row in rows if row[1] in owners] for kind, rows in self.roots.items()})


def _owned(session: Session, people: Sequence[tuple[int, Person]]) -> Owned:
    kinds = GO_TOGETHER[people[0][1].kind]
    everyone = known_together(session, [person for _, person in people])
    roots: dict[str, list[tuple[uuid.UUID, int]]] = {kind: [] for kind in kinds}
    for (number, _), person in zip(people, everyone, strict=True):
        found = {"student": [person.id], "visitor": list(person.forms)}
        for kind in kinds:
            roots[kind] += [(each, number) for each in found[kind]]
    return Owned(roots)


def _alike(orders: Sequence[Order]) -> list[tuple[str, tuple[Spared, ...], list[int]]]:
    """Orders that the same statements serve: people of one kind under the same holds, or under none."""
    found: dict[tuple[str, tuple[Spared, ...]], list[int]] = {}
    for number, order in enumerate(orders):
        found.setdefault((order.person.kind, order.spared), []).append(number)
    return [(kind, spared, numbers) for (kind, spared), numbers in found.items()]


def _there(session: Session, owned: Owned) -> set[int]:
    """Whose own rows (or forms) are there."""
    found: set[int] = set()
    for kind, rows in owned.roots.items():
        if rows:
            own = _column(PERSONS[kind], "id")
            there = set(session.scalars(select(own).where(own == any_(_ids([each for each, _ in rows])))))
            found |= {owner for each, owner in rows if each in there}
    return found


def _rows_erased(
    session: Session, kind: str, spared: tuple[Spared, ...], owned: Owned, at_most: int, now: datetime
) -> dict[int, Outcome]:
    """Erase at most so many rows, child before parent. What went of whom is counted apart; the end is everybody's."""
    done: dict[int, dict[str, int]] = {owner: {} for owner in owned.owners}
    left = at_most
    for fate, going in _going(fates(kind), spared):
        if left <= 0 or not done:
            break
        if fate.action is Erasure.ROW:
            went = {row.owner: int(row.number) for row in session.execute(going, owned.values | {"most": left})}
        else:
            went = _blank(session, fate, session.execute(going, owned.values | {"most": left}).all(), now)
        for owner, number in went.items():
            done[owner][fate.table] = number
        left -= sum(went.values())
    became = Became.MORE if left <= 0 else Became.DONE
    return {owner: Outcome(became, counts) for owner, counts in done.items()}


def _going(known: tuple[Fate, ...], spared: tuple[Spared, ...]) -> Iterable[tuple[Fate, Executable]]:
    """A statement for each table whose rows go or are emptied: it deletes, or names the rows."""
    return _going_freely(known) if not spared else _going_around(known, spared)


@lru_cache(maxsize=8)
def _going_freely(known: tuple[Fate, ...]) -> tuple[tuple[Fate, Executable], ...]:
    return tuple(_going_around(known, ()))


def _going_around(known: tuple[Fate, ...], spared: tuple[Spared, ...]) -> Iterator[tuple[Fate, Executable]]:
    for fate in known:
        if fate.action is Erasure.ROW or fate.blanked:
            table = Base.metadata.tables[fate.table]
            mine = _mine(fate, table, spared).limit(bindparam("most", type_=Integer))
            yield fate, _deleting(table, mine) if fate.action is Erasure.ROW else mine


def _deleting(table: Table, mine: Select[Any]) -> Executable:
    """Delete the rows, and count them by owner."""
    found = mine.cte("mine")
    same = [found.c[key.name] == key for key in _keys(table)]
    gone = delete(table).where(*same).returning(found.c.owner).cte("gone")
    return select(gone.c.owner, func.count().label("number")).group_by(gone.c.owner)


def _counting(known: tuple[Fate, ...], spared: tuple[Spared, ...]) -> Iterable[tuple[Fate, Executable]]:
    return _counting_all(known) if not spared else _counting_around(known, spared)


@lru_cache(maxsize=8)
def _counting_all(known: tuple[Fate, ...]) -> tuple[tuple[Fate, Executable], ...]:
    return tuple(_counting_around(known, ()))


def _counting_around(known: tuple[Fate, ...], spared: tuple[Spared, ...]) -> Iterator[tuple[Fate, Executable]]:
    for fate in known:
        mine = _mine(fate, Base.metadata.tables[fate.table], spared).order_by(None).subquery("mine")
        yield fate, select(mine.c.owner, func.count().label("number")).group_by(mine.c.owner)


def _mine(fate: Fate, table: Table, spared: tuple[Spared, ...]) -> Select[Any]:
    """The keys of the rows of a table that are about somebody of a batch and that no hold keeps, each with one owner."""
    keys = _keys(table)
    ways = [_along_to_owner(way, table).where(_goes(fate, table, spared)) for way in fate.ways]
    every = (union_all(*ways) if len(ways) > 1 else ways[0]).subquery("found")
    names = [every.c[key.name] for key in keys]
    return select(*names, func.min(every.c.owner).label("owner")).group_by(*names).order_by(*names)


def _along_to_owner(way: Way, table: Table) -> Select[Any]:
    """The rows along one way, with the number of whose they are."""
    ids, owners = (bindparam(f"{way.person}_{what}", type_=ARRAY(kind)) for what, kind in (("ids", UUID(as_uuid=True)), ("owners", Integer)))  # fmt: skip
    whose = func.unnest(ids, owners).table_valued(column("id", UUID(as_uuid=True)), column("owner", Integer), name=f"the_{way.person}").render_derived()  # fmt: skip
    rows = select(*_keys(table), whose.c.owner).select_from(table)
    at: FromClause = table
    if not way.links:
        return rows.join(whose, table.c["id"] == whose.c.id)
    for number, link in enumerate(way.links[:-1]):
        onward = Base.metadata.tables[link.to_table].alias(f"over_{number}")
        rows = rows.join(onward, at.c[link.column] == onward.c[link.to_column])
        at = onward
    return rows.join(whose, at.c[way.links[-1].column] == whose.c.id)


def _noted(table: Table) -> Iterator[tuple[str, str]]:
    """The columns that say that a row was emptied, and what they say."""
    for each in table.c:
        told = each.info.get("privacy")
        if isinstance(told, ColumnLabel) and told.on_erasure:
            yield each.name, told.on_erasure


def _blank(session: Session, fate: Fate, rows: Sequence[Row[Any]], now: datetime) -> dict[int, int]:
    """Empty the columns; a link to a person becomes one to a tombstone of their own, where the table has a place for it."""
    table = Base.metadata.tables[fate.table]
    keys, went = _keys(table), dict[int, int]()
    empty: dict[str, Any] = {name: None if table.c[name].nullable else "" for name in fate.blanked}
    noted: dict[str, Any] = {
        name: func.coalesce(table.c[name], now if word == AT_ERASURE else word) for name, word in _noted(table)
    }
    place = _tombstone_column(table)
    by_owner: dict[int, list[tuple[Any, ...]]] = {}
    for row in rows:
        by_owner.setdefault(row.owner if place is not None else 0, []).append(tuple(row)[: len(keys)])
        went[row.owner] = went.get(row.owner, 0) + 1
    stones = {owner: uuid7() for owner in by_owner} if place is not None else {}
    if stones:
        session.execute(insert(Tombstone).values([{"id": stone, "erased_at": now} for stone in stones.values()]))
    for owner, mine in by_owner.items():
        values = empty | noted | ({place.name: stones[owner]} if place is not None else {})
        session.execute(update(table).where(tuple_(*keys).in_(mine)).values(**values))
    return went


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
