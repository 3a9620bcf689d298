"""MongoDB Atlas as a processor: the platform's own records about a person, in every collection that the mapping names.

Danger: a collection is forgotten; a filter without a condition takes everybody; half of a cluster has a deletion; the answer to one
is lost, and it counts as done. Principle: whom it is about is told by ids that this database knows, and by the address where a
collection has no id; what hangs on other documents goes first, and is counted before those go; proof is a count from the primary,
of what a majority has. Mechanism: :class:`Whom` makes one filter for each collection, or none; :meth:`MongoDB.erase` deletes (or
empties, where the law keeps a document), and takes ids out of lists; :meth:`MongoDB.verify` counts. Every call goes through
core.processors.remote, so that an error is a code.

What no line of the mapping mentions cannot be found by person: a whole collection of that kind makes previews and exports incomplete,
and is shown as a gap (core.models.syncing). Copies in backups and snapshots of Atlas cannot be reached: plans say so.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

from bson import Decimal128, ObjectId
from bson.regex import Regex
from pymongo.database import Database
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.models.base import Base
from core.models.labels import ColumnLabel
from core.models.labels import Processor as Named
from core.models.platform import Enrollment, Student, Submission, Visitor
from core.models.syncing import SyncGap, SyncMisfit
from core.processors import local, mongodb_client
from core.processors.manual import by_hand
from core.processors.mongodb_client import UNCLEAR, Document, code_of, id_of, ids_of
from core.processors.mongodb_mapping import Collection, Field, PlatformMapping, Right, Table, mapping
from core.processors.mongodb_tables import Kind
from core.processors.protocol import Became, Capability, Change, Exported, Line, Order, Outcome, Person, Preview, Proof
from core.processors.remote import BUSY_CODE, Trouble, guarded_call

PLATFORM_ID, STILL_THERE, NOT_TAKEN = "platform id", "still there", "not taken"
NOTHING_THERE = "no mapped collection is there"
SOURCE, UNKNOWN, NOT_MAPPED = "mongodb", "not known here", "collections that no mapping names"
CORRECTED, UNREADABLE = "correct", "document unreadable"
PASSED_ON = (Kind.LINE, Kind.TEXT, Kind.EMAIL, Kind.LINK)
OF_PERSON = {"student": ("student", "student_profile"), "visitor": ("visitor",)}
BUSY_FOR = timedelta(minutes=2)
PARENTS: Mapping[str, Any] = {"enrollment": Enrollment, "submission": Submission}
T = TypeVar("T")


class MongoDB:
    """The platform's database. ``payload``: ids and addresses by which somebody is found there, and what a correction changes."""

    name = str(Named.MONGODB)
    capabilities = frozenset(Capability)
    remote = True

    @property
    def payload(self) -> tuple[str, ...]:
        """The words of the data map for everything that leaves."""
        words = {word for kind in OF_PERSON for _, _, word in _correctable(mapping(), kind)}
        return tuple(sorted({PLATFORM_ID, "e-mail", *words}))

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        """Count the person's documents by collection. Not complete when there are collections that nobody mapped."""
        try:
            found = self._call(session, now, lambda whom: whom.counts(), person, changes=False)
        except Trouble as trouble:
            return Preview((Line(self.name, None),), complete=False, problem=trouble.code)
        whole = not unmapped_collections(session)
        return Preview(tuple(Line(name, rows) for name, rows in found.items()), whole, "" if whole else NOT_MAPPED)

    def export(self, session: Session, person: Person, *, now: datetime) -> Exported:
        """Return the person's documents by collection: fields by the words of the data map, where there is one. Never a secret."""
        try:
            found = self._call(session, now, lambda whom: whom.documents(), person, changes=False)
        except Trouble as trouble:
            return Exported({}, complete=False, problem=trouble.code)
        whole = not unmapped_collections(session)
        return Exported(found, whole, "" if whole else NOT_MAPPED)

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        """Erase the person in every mapped collection; "gone" when there was nothing. Again: harmless."""
        if any(spared.table is None for spared in order.spared):
            return Outcome(Became.WAITING, error="held")
        try:
            done = self._call(session, now, lambda whom: whom.erase(session), order.person, changes=True)
        except Trouble as trouble:
            return trouble.outcome()
        if left := {name: number for name, number in done.items() if number < 0}:
            return Outcome(Became.FAILED, error=STILL_THERE, counts={name: -number for name, number in left.items()})
        return Outcome(
            Became.DONE if any(done.values()) else Became.GONE, {name: many for name, many in done.items() if many}
        )

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        """Count what is left, on the primary, of what a majority has."""
        try:
            left = self._call(session, now, lambda whom: whom.left(), order.person, changes=False)
        except Trouble as trouble:
            return trouble.proof()
        found = {name: number for name, number in left.items() if number}
        return Proof(absent=not found, found=found)

    def propagate(self, session: Session, person: Person, change: Change, *, now: datetime) -> Outcome:
        """Make a change there and count that it is made. A change that the mapping does not know is made by hand."""
        if change.what != CORRECTED and change.what not in mapping().rights:
            return by_hand(self.name, session, person, change, now=now)
        try:
            became, counts = self._call(session, now, lambda whom: whom.change(change, now), person, changes=True)
        except Trouble as trouble:
            return trouble.outcome()
        return Outcome(became, counts, error=NOT_TAKEN if became is Became.FAILED else "")

    def forget_visitors(self, session: Session, keys: Sequence[str], *, now: datetime) -> None:
        """Erase documents of visitors by their ids, and count that they are gone. Raises Trouble when they are not, or nobody knows.

        By ids only: whoever wrote again since then has another document, which stays.
        """
        collection = mapping().collection_of("visitor")
        if collection is None:
            return

        def act() -> int:
            place = mongodb_client.database()[collection.name]
            wanted = {"_id": {"$in": [each for key in keys for each in ids_of(key)]}, **collection.condition}
            if collection.unset:
                place.update_many(wanted, {"$unset": dict.fromkeys(collection.unset, "")})
                wanted = {**wanted, "$or": [{path: {"$exists": True}} for path in collection.unset]}
            else:
                place.delete_many(wanted)
            return place.count_documents(wanted)

        if guarded_call(session, self.name, act, now=now, changes=True, read=lambda error: _trouble(error, now)):
            raise Trouble(STILL_THERE)

    def _call(self, session: Session, now: datetime, act: "Callable[[Whom], T]", person: Person, *, changes: bool) -> T:
        whom = whom_of(session, person)
        return guarded_call(
            session, self.name, lambda: act(whom), now=now, changes=changes, read=lambda error: _trouble(error, now)
        )


def _trouble(error: BaseException, now: datetime) -> Trouble:
    code = code_of(error)
    if code == BUSY_CODE:
        return Trouble(code, until=now + BUSY_FOR)
    unclear = code in UNCLEAR or code == UNREADABLE  # an answer that nobody can read says nothing
    return Trouble(code, unclear=unclear, ours=code in ("document refused", UNREADABLE))


def declared(known: PlatformMapping) -> frozenset[str]:
    """Return the name of every field that a command to the platform's database may hold."""
    names = {"_id"}
    for each in known.collections:
        names |= {each.email, each.changed, *each.of.values(), *each.pull, *each.only, *each.unset, *each.secrets}
    for kind in OF_PERSON:
        names |= {field.path for _, field, _ in _correctable(known, kind)}
    names |= {path for rights in known.rights.values() for right in rights for path in (*right.set, *right.unset)}
    return frozenset(names - {""})


def unmapped_collections(session: Session) -> tuple[str, ...]:
    """Return the collections that were found there and that no line of the mapping mentions."""
    found = select(SyncGap.collection).where(SyncGap.kind == "collection").order_by(SyncGap.collection)
    return tuple(session.scalars(found))


@dataclass(frozen=True)
class Whom:
    """Somebody, by what finds them there: ids by collection, and their addresses."""

    database: "Database[Document]"
    mapping: PlatformMapping
    kind: str
    ids: Mapping[str, tuple[object, ...]]
    emails: tuple[str, ...]

    @cached_property
    def filters(self) -> dict[str, Document]:
        """One filter for each collection that may hold something; none without a condition."""
        found: dict[str, Document] = {}
        for collection in reversed(self.mapping.personal):  # persons first: others are found by them
            if ways := list(self._ways(collection)):
                found[collection.name] = ways[0] if len(ways) == 1 else {"$or": ways}
        return {each.name: found[each.name] for each in self.mapping.personal if each.name in found}

    @cached_property
    def lists(self) -> dict[str, tuple[str, ...]]:
        """Collections with lists of ids of people."""
        return {each.name: each.pull for each in self.mapping.collections if each.pull}

    @cached_property
    def own(self) -> tuple[object, ...]:
        """Ids of the person's own documents."""
        own = (each for each in self.mapping.personal if each.person)
        return tuple(found for collection in own for found in self._all_ids(collection))

    def counts(self) -> dict[str, int]:
        """How many documents there are, by collection."""
        found = {name: self.database[name].count_documents(wanted) for name, wanted in self.filters.items()}
        for name, wanted in self._listed():
            found[name] = found.get(name, 0) + self.database[name].count_documents(wanted)
        return found

    def left(self) -> dict[str, int]:
        """The same as a proof. Raises Trouble where none of the mapped collections is there: an empty database, by its name or its
        address another one than the platform's, has nobody in it."""
        found = self.counts()
        if not any(found.values()) and not {each.name for each in self.mapping.collections} & set(
            self.database.list_collection_names()
        ):
            raise Trouble(NOTHING_THERE, ours=True)
        return found

    def documents(self) -> dict[str, tuple[Mapping[str, object], ...]]:
        """The documents, by collection, as plain values by the words of the data map."""
        found: dict[str, tuple[Mapping[str, object], ...]] = {}
        for name, wanted in self.filters.items():
            collection = self.mapping[name]
            rows = self.database[name].find(wanted, dict.fromkeys(collection.secrets, 0))
            if told := tuple(dict(_plain(collection, row)) for row in rows):
                found[name] = told
        return found

    def erase(self, session: Session) -> dict[str, int]:
        """Delete or empty, what hangs on others first. A number below zero: so many are there although they were to go."""
        done: dict[str, int] = {}
        self.own  # noqa: B018 - found out while the documents are there
        for name, wanted in self.filters.items():
            self._forget_misfits(session, name, wanted)
            if unset := self.mapping[name].unset:
                done[name] = (
                    self.database[name].update_many(wanted, {"$unset": dict.fromkeys(unset, "")}).modified_count
                )
            else:
                done[name] = self.database[name].delete_many(wanted).deleted_count
            if left := self.database[name].count_documents(wanted):
                return {name: -left}
        for name, wanted in self._listed():
            taken = {path: {"$in": list(self.own)} for path in self.lists[name]}
            done[name] = done.get(name, 0) + self.database[name].update_many(wanted, {"$pull": taken}).modified_count
        return done

    def change(self, change: Change, now: datetime) -> tuple[Became, dict[str, int]]:
        """Make a change in the collections it concerns, and count that it is made."""
        rights = self._correction(change) if change.what == CORRECTED else self.mapping.rights[change.what]
        counts: dict[str, int] = {}
        for right in rights:
            if (wanted := self.filters.get(right.collection)) is None:
                continue
            there = self.database[right.collection].count_documents(wanted)
            counts[right.collection] = there
            if there and self._one(right, wanted, now) != (0 if right.delete else there):
                return Became.FAILED, counts
        return (Became.DONE if any(counts.values()) else Became.GONE), counts

    def _one(self, right: Right, wanted: Document, now: datetime) -> int:
        """Make one change where it is not made yet; return how many documents are as they should be (deleted: how many are left)."""
        place = self.database[right.collection]
        if right.delete:
            place.delete_many(wanted)
            return place.count_documents(wanted)
        as_it_should = {**right.set, **dict.fromkeys(right.unset, None)}
        made = {"$and": [wanted, *({path: value} for path, value in as_it_should.items())]}
        there = place.count_documents(wanted)
        if place.count_documents(made) != there:
            new: Document = {"$set": {**right.set, self.mapping[right.collection].changed: now}}
            if right.unset:
                new["$unset"] = dict.fromkeys(right.unset, "")
            place.update_many(wanted, new)
        return place.count_documents(made)

    def _correction(self, change: Change) -> tuple[Right, ...]:
        """What a correction sets, where it stands: the values that this database has now."""
        found: dict[str, dict[str, Any]] = {}
        for collection, field, word in _correctable(self.mapping, self.kind):
            if word in change.fields:
                found.setdefault(collection.name, {})[field.path] = change.fields[word]
        return tuple(Right(name, values) for name, values in found.items())

    def _ways(self, collection: Collection) -> Iterator[Document]:
        if ids := self.ids.get(collection.name):
            yield {"_id": {"$in": list(ids)}}
        for other, path in collection.of.items():
            if ids := self._all_ids(self.mapping[other]):
                yield {path: {"$in": list(ids)}}
        if collection.email and not (collection.person == "student" and self.ids.get(collection.name)):
            for email in self.emails:
                yield {collection.email: Regex(f"^{re.escape(email)}$", "i"), **collection.condition}

    def _all_ids(self, collection: Collection) -> tuple[object, ...]:
        """Ids of a collection's documents: those that this database knows, and those that are found there."""
        found = dict.fromkeys(self.ids.get(collection.name, ()))
        for way in self._ways(collection):
            if "_id" not in way:
                found |= dict.fromkeys(each["_id"] for each in self.database[collection.name].find(way, {"_id": 1}))
        return tuple(found)

    def _listed(self) -> Iterator[tuple[str, Document]]:
        if self.own:
            for name, places in self.lists.items():
                yield name, {"$or": [{path: {"$in": list(self.own)}} for path in places]}

    def _forget_misfits(self, session: Session, name: str, wanted: Document) -> None:
        """Ids of documents that were set aside here go with the documents."""
        aside = {
            row.document: row.id for row in session.scalars(select(SyncMisfit).where(SyncMisfit.collection == name))
        }
        if aside:
            mine = self.database[name].find(
                {"$and": [{"_id": {"$in": [id_of(key) for key in aside]}}, wanted]}, {"_id": 1}
            )
            ids = [aside[mongodb_client.key_of(each["_id"])] for each in mine]
            session.execute(delete(SyncMisfit).where(SyncMisfit.id.in_(ids)))


def whom_of(session: Session, person: Person) -> Whom:
    """Find out by what somebody is found there. Raises Trouble when this database does not know them (any more)."""
    known = mapping()
    forms = local.known(session, person).forms
    students = session.execute(
        select(Student.source, Student.source_key, Student.email).where(Student.id == person.id)
    ).all() if person.kind == "student" else []  # fmt: skip
    visitors = session.execute(
        select(Visitor.source, Visitor.source_key, Visitor.email).where(Visitor.id.in_(forms))
    ).all()
    if not students and not visitors:
        raise Trouble(UNKNOWN, ours=True)
    ids = {
        _of_table(known, "student"): _ids(students),
        _of_table(known, "visitor"): _ids(visitors),
    }
    if person.kind == "student":
        for table, model in PARENTS.items():
            mine = select(model.source, model.source_key).join(Enrollment, Enrollment.id == model.enrollment_id) if model is not Enrollment else select(Enrollment.source, Enrollment.source_key)  # fmt: skip
            ids[_of_table(known, table)] = _ids(session.execute(mine.where(Enrollment.student_id == person.id)).all())
    emails = tuple(dict.fromkeys(row.email for row in [*students, *visitors]))
    return Whom(
        mongodb_client.database(),
        known,
        person.kind,
        {name: found for name, found in ids.items() if name and found},
        emails,
    )


def _of_table(known: PlatformMapping, table: str) -> str:
    collection = known.collection_of(table)
    return collection.name if collection else ""


def _ids(rows: Any) -> tuple[object, ...]:
    return tuple(each for row in rows if row.source == SOURCE and row.source_key for each in ids_of(row.source_key))


def _correctable(known: PlatformMapping, kind: str) -> Iterator[tuple[Collection, Field, str]]:
    """What a correction may change there: texts of the person's own record, each with its word in the data map."""
    for collection in known.collections:
        for table in collection.tables:
            for field in table.fields if collection.person == kind and table.name in OF_PERSON[kind] else ():
                if table.column(field.column).kind in PASSED_ON and (word := _word(table, field)):
                    yield collection, field, word


def _word(table: Table, field: Field) -> str:
    schema = "privacy" if table.name == "consent" else "platform"
    label = Base.metadata.tables[f"{schema}.{table.name}"].columns[field.column].info.get("privacy")
    return label.export if isinstance(label, ColumnLabel) else ""


def _plain(collection: Collection, document: Document) -> Iterator[tuple[str, object]]:
    """Label and value of everything a document says; ids of other documents say nothing, and may be other people's."""
    words = {field.path: word for table in collection.tables for field in table.fields if (word := _word(table, field))}
    for path, value in _leaves(document):
        told = _told(value)
        if told is not None and path != "_id":
            yield words.get(path, path), told


def _leaves(document: Document, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _told(value: Any) -> object:
    if value is None or isinstance(value, (ObjectId, uuid.UUID)):
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, list):
        told = [dict(_leaves(each)) if isinstance(each, dict) else _told(each) for each in value]
        return "; ".join(str(each) for each in told if each is not None) or None
    if isinstance(value, Decimal128):
        return value.to_decimal()
    return value if isinstance(value, (str, bool, int, float)) else str(type(value).__name__)
