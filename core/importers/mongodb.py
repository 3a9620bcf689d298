"""The sync with the platform's database: ``python -m core sync mongodb``, and a job of the worker.

Danger: a document is lost or doubled when the sync dies; a misfit stops everybody else's records; an erased person comes back; a
stale document undoes what was decided here; an empty collection, seen by mistake, takes everybody away. Principle: a batch and the
place up to which it was read are one transaction; what does not fit is set aside with a code, and the rest goes on; the suppression
list is asked before, decisions made here hold; a comparison that would take many away stops and asks. Mechanism: each collection is
read in the order of (date of change, id), from a little before where the last pass ended; rows go by COPY into a temporary table
and from there, in one statement, where they belong (core.importers.mongodb_sql); once a day all ids are compared, which shows what
was deleted there, what never came, and what has no date of change.

:func:`step` does the next part of it in the caller's transaction; whoever calls it again goes on. Two at once wait for each other.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from bson.errors import BSONError
from psycopg import Connection, errors, sql
from pymongo.cursor import Cursor
from pymongo.database import Database
from pymongo.errors import CursorNotFound, PyMongoError
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from core import keys
from core.errors import SettingsError
from core.importers import mongodb_sql
from core.importers.loading import make_months
from core.importers.mongodb_rows import SOURCE, Misfit, Read, at, columns_of, looks_like, read, row_id
from core.importers.spreadsheets import years_before
from core.models.base import Base
from core.models.syncing import SyncCollection, SyncGap, SyncMisfit
from core.models.ways import references
from core.policy import in_force
from core.privacy import suppression
from core.privacy.audit import Action, append
from core.processors import mongodb_client
from core.processors.mongodb_client import Document, code_of, id_of, key_of
from core.processors.mongodb_mapping import Collection, PlatformMapping, Table, mapping, paths, told
from core.processors.mongodb_tables import CATALOG

BATCH, SOME = 2000, 500
EVERY, OVERLAP = timedelta(minutes=5), timedelta(minutes=5)
SWEEP_EVERY = timedelta(days=1)
FEW, SHARE = 20, 0.02
MOST_GAPS, MOST_MISSING, MOST_RETRIED = 200, 20_000, 1000
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
EVERYWHERE = (
    "no connection",
    "sign-in refused",
    "connection lost",
    "timed out",
    "too many requests",
    "not primary",
)  # of all collections
STALE = ("parent missing", "there already", "address taken")


@dataclass(frozen=True)
class Done:
    """What a step, or several together, did. ``error`` is a code: the platform's database could not be read."""

    collection: str = ""
    documents: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    refused: int = 0
    misfits: int = 0
    error: str = ""
    more: bool = False

    def __add__(self, other: "Done") -> "Done":
        numbers = {
            name: getattr(self, name) + getattr(other, name)
            for name in ("documents", "added", "changed", "removed", "refused", "misfits")
        }
        return Done(other.collection, **numbers, error=other.error or self.error, more=other.more)

    @property
    def counts(self) -> dict[str, int]:
        """The same for the worker's list of jobs."""
        found = {
            name: getattr(self, name) for name in ("documents", "added", "changed", "removed", "refused", "misfits")
        }
        return {name: number for name, number in found.items() if number}


@dataclass
class Source:
    """The platform's database, and the cursors that are open in it: each goes on only from where the last batch was committed."""

    database: Database[Document]
    mapping: PlatformMapping
    batch: int = BATCH
    _open: dict[str, tuple[tuple[datetime | None, str], "Cursor[Document]"]] = field(default_factory=dict)
    _told: set[tuple[str, str]] = field(default_factory=set)

    def batch_of(self, collection: Collection, at_: datetime | None, key: str) -> list[Document]:
        """Return the next documents behind a position."""
        known, cursor = self._open.pop(collection.name, ((None, ""), None))
        if cursor is None or known != (at_, key):
            cursor = self._find(collection, at_, key)
        try:
            found = list(islice(cursor, self.batch))
        except CursorNotFound:  # it waited too long: read on from the same place
            cursor = self._find(collection, at_, key)
            found = list(islice(cursor, self.batch))
        if len(found) == self.batch:
            self._open[collection.name] = (_position(collection, found, (at_, key)), cursor)
        return found

    def _find(self, collection: Collection, at_: datetime | None, key: str) -> "Cursor[Document]":
        changed = collection.changed
        behind: Document = {changed: {"$gte": at_ or BEGINNING}}
        if at_ and key:
            behind = {"$or": [{changed: {"$gt": at_}}, {changed: at_, "_id": {"$gt": id_of(key)}}]}
        order = [(changed, 1), ("_id", 1)]
        return self._reading(collection, {**collection.condition, **behind}).sort(order).allow_disk_use(True)

    def _reading(self, collection: Collection, wanted: Document) -> "Cursor[Document]":
        without = dict.fromkeys(collection.secrets, 0)
        return self.database[collection.name].find(wanted, without, batch_size=min(self.batch, 1000))

    def by_ids(self, collection: Collection, ids: Sequence[object]) -> list[Document]:
        """Return the documents of these ids that are there and concern us."""
        return list(self._reading(collection, {**collection.condition, "_id": {"$in": list(ids)}}))

    def undated(self, collection: Collection) -> "Cursor[Document]":
        """Return the documents without a date of change."""
        return self._reading(collection, {**collection.condition, collection.changed: {"$not": {"$type": "date"}}})

    def all_ids(self, collection: Collection) -> Iterator[object]:
        """Yield the id of every document."""
        for each in self.database[collection.name].find({}, {"_id": 1}, batch_size=10_000):
            yield each["_id"]


def source() -> Source:
    """Return the platform's database by the settings. Raises SettingsError when none is set, or the mapping cannot be used."""
    return Source(mongodb_client.database(), mapping())


_source: list[Source] = []


def sync_due(session: Session, now: datetime) -> list[str]:
    """Return what the worker has to sync now: nothing where no database of the platform is configured."""
    if not mongodb_client.configured():
        return []
    known = {row.collection: row for row in session.scalars(select(SyncCollection))}
    rows = [known.get(each.name) for each in mapping().collections]
    if any(row is not None and row.error in EVERYWHERE and _failed(row, now - EVERY) for row in rows):
        return []
    if any(_waits(row, now - EVERY) for row in rows):
        return [SOURCE]
    unswept = [row for row in rows if row is not None and (row.swept_at is None or row.swept_at < now - SWEEP_EVERY)]
    return [SOURCE] if any(not _failed(row, now - EVERY) for row in unswept) else []


def sync_part(session: Session, _key: str, now: datetime) -> dict[str, int]:
    """Do one part of the sync, as the worker; "more" when there is another one."""
    fresh = source()
    if not _source or (_source[0].database, _source[0].mapping) != (fresh.database, fresh.mapping):
        _source[:] = [fresh]
    done = step(session, _source[0], since=now - EVERY, now=now)
    return done.counts | ({"more": 1} if done.more else {})


def step(
    session: Session, source: Source, *, since: datetime, now: datetime, sweep: bool = False, accept: bool = False
) -> Done:
    """Do the next part: one batch of the first collection that was not read since ``since``, or one comparison of all ids.

    ``sweep`` compares although the last comparison is not a day old; ``accept`` lets it take many rows away. When the platform's
    database cannot be read, the code of why is written down and nothing else is changed.
    """
    session.execute(text("select pg_advisory_xact_lock(hashtext('resocode sync'))"))
    known = {row.collection: row for row in session.scalars(select(SyncCollection))}
    for collection in source.mapping.collections:
        if _waits(known.get(collection.name), since):
            state = known.get(collection.name) or _new_state(session, collection)
            return _guarded(session, state, now, partial(_batch, session, source, collection, state, now))
    for collection in reversed(source.mapping.collections):  # what hangs on others first
        state = known[collection.name]
        before = min(since, now) if sweep else now - SWEEP_EVERY
        if (state.swept_at is None or state.swept_at < before) and not _failed(state, since):
            return _guarded(session, state, now, partial(_sweep, session, source, collection, state, accept, now))
    return Done()


def _waits(row: SyncCollection | None, since: datetime) -> bool:
    if row is None or row.begun_at is None:
        return row is None or not _failed(row, since)
    return (row.ended_at is None or row.begun_at < since) and not _failed(row, since)


def _failed(row: SyncCollection, since: datetime) -> bool:
    """Whether it could not be read a moment ago: the others go on meanwhile."""
    return bool(row.error) and row.error_at is not None and row.error_at >= since


def _new_state(session: Session, collection: Collection) -> SyncCollection:
    made = SyncCollection(collection=collection.name)
    session.add(made)
    session.flush()
    session.refresh(made)
    return made


def _guarded(session: Session, state: SyncCollection, now: datetime, act: Callable[[], Done]) -> Done:
    """Do a part; what goes wrong over there becomes a code, and the part is tried again later."""
    try:
        with session.begin_nested():
            done = act()
    except (PyMongoError, BSONError) as error:
        session.expire_all()
        state = session.get_one(SyncCollection, state.collection)
        state.error, state.error_at = code_of(error), now
        session.flush()
        return Done(state.collection, error=state.error, more=state.error not in EVERYWHERE)
    return done


# -- reading by date of change ------------------------------------------------------------------------------------------------


def _batch(session: Session, source: Source, collection: Collection, state: SyncCollection, now: datetime) -> Done:
    started = time.monotonic()
    if state.ended_at is not None or state.begun_at is None:
        _begin(session, source, collection, state, now)
    elif state.mapping != source.mapping.fingerprint:
        state.mapping, state.position_at, state.position_key = source.mapping.fingerprint, None, ""
    documents = source.batch_of(collection, state.position_at, state.position_key)
    done = take(session, source, collection, documents, now=now)
    state.position_at, state.position_key = _position(collection, documents, (state.position_at, state.position_key))
    ended = len(documents) < source.batch
    if ended:
        done += _again(session, source, collection, now)
        state.ended_at = now
        state.seen_until = max(filter(None, (state.seen_until, state.position_at)), default=None)
    _add_up(state, done, time.monotonic() - started)
    if ended and state.pass_rows:
        append(session, Action.IMPORTED, now=now, source=SOURCE, rows=state.pass_rows)
    return replace(done, collection=collection.name, more=True)


def _begin(session: Session, source: Source, collection: Collection, state: SyncCollection, now: datetime) -> None:
    """A new pass: from a little before the end of the last one, because clocks differ; from the beginning with a new mapping."""
    if state.mapping != source.mapping.fingerprint:
        session.execute(delete(SyncGap).where(SyncGap.collection == collection.name))
        source._told.clear()
        state.seen_until, state.swept_at = None, None
    if collection is source.mapping.collections[0]:
        _unknown_collections(session, source, now)
    before = state.begun_at
    state.mapping, state.begun_at, state.ended_at = source.mapping.fingerprint, now, None
    # a document may be dated in the future: what came since the last pass began is looked at, too
    state.position_at = min(state.seen_until, before or now) - OVERLAP if state.seen_until else None
    state.position_key, state.pass_documents, state.pass_rows, state.pass_seconds = "", 0, 0, 0.0
    state.error, state.error_at = "", None


def _position(
    collection: Collection, documents: Sequence[Document], before: tuple[datetime | None, str]
) -> tuple[datetime | None, str]:
    if not documents:
        return before
    last, key = at(documents[-1], collection.changed), key_of(documents[-1]["_id"])
    return (last, key) if key else (last + timedelta(milliseconds=1), "")


def _add_up(state: SyncCollection, done: Done, seconds: float) -> None:
    state.pass_documents += done.documents
    state.pass_rows += done.added + done.changed + done.removed
    state.pass_seconds += seconds
    for name in ("documents", "added", "changed", "removed", "refused"):
        setattr(state, name, getattr(state, name) + getattr(done, name))


def _again(session: Session, source: Source, collection: Collection, now: datetime) -> Done:
    """Try once more what was set aside because something else was missing; what changed comes by itself."""
    waiting = session.scalars(
        select(SyncMisfit)
        .where(SyncMisfit.collection == collection.name, SyncMisfit.code.in_(STALE), SyncMisfit.tried_at < now)
        .order_by(SyncMisfit.tried_at)
        .limit(MOST_RETRIED)
    ).all()
    done = Done()
    for some in _in_parts([each.document for each in waiting], SOME):
        found = source.by_ids(collection, [id_of(key) for key in some])
        done += replace(take(session, source, collection, found, now=now), misfits=0)
        there = {key_of(each["_id"]) for each in found}
        lost = [row_id(collection.name, key[2:]) for key in some if key not in there]
        session.execute(delete(SyncMisfit).where(SyncMisfit.id.in_(lost)))
    return done


# -- a batch of documents -------------------------------------------------------------------------------------------------------


def take(
    session: Session, source: Source, collection: Collection, documents: Sequence[Document], *, now: datetime
) -> Done:
    """Bring documents in, as the worker, in the caller's transaction: those that fit, the others are set aside."""
    if not documents:
        return Done(collection.name)
    hashes = keys.person_hashes()
    reads: dict[str, Read] = {}
    wrong: list[dict[str, Any]] = []
    for document in documents:
        _look_for_gaps(session, source, collection, document, now)
        try:
            one = read(collection, document, hashes, now)
            reads[one.key] = one
        except Misfit as error:
            if key := key_of(document.get("_id")):
                reads.pop(key, None)
                changed = at(document, collection.changed)
                wrong.append(_misfit(collection, key, changed if isinstance(changed, datetime) else None, error, now))
            else:
                _note_gap(session, source, collection.name, "_id", "field", "id that is no id", now)
    gone = [one for one in reads.values() if one.gone and not collection.person]
    done = _apply(
        session, collection, [one for one in reads.values() if one.gone is None or collection.person], wrong, now
    )
    removed = _remove_all(
        session, collection, [row_id(collection.name, one.plain) for one in gone], [one.plain for one in gone]
    )
    fit = {row_id(collection.name, one.plain) for one in reads.values()} - {each["id"] for each in wrong}
    _settle(session, collection, fit, wrong)
    return replace(done, documents=len(documents), removed=removed, misfits=len(wrong))


def _apply(
    session: Session, collection: Collection, reads: Sequence[Read], wrong: list[dict[str, Any]], now: datetime
) -> Done:
    """Write rows. Should the database refuse something that nobody foresaw, halves are tried, until one document is named."""
    if not reads:
        return Done(collection.name)
    before = session.info.get(suppression.SET_ASIDE)
    found: list[dict[str, Any]] = []
    try:
        with session.begin_nested():
            done = _write(session, collection, reads, found, now)
    except (IntegrityError, DataError, errors.IntegrityError, errors.DataError) as error:
        session.info[suppression.SET_ASIDE] = before or suppression.NOTHING
        if len(reads) == 1:
            rule = _rule(error)
            wrong.append(_misfit(collection, reads[0].key, reads[0].changed, Misfit(f"rule {rule}"), now))
            return Done(collection.name)
        middle = len(reads) // 2
        return _apply(session, collection, reads[:middle], wrong, now) + _apply(
            session, collection, reads[middle:], wrong, now
        )
    wrong += found
    return done


def _write(
    session: Session, collection: Collection, reads: Sequence[Read], wrong: list[dict[str, Any]], now: datetime
) -> Done:
    done, out, students = Done(collection.name), set[str](), False
    for table in collection.tables:
        rows = [one.rows[table.name] for one in reads if table.name in one.rows and one.plain not in out]
        if rows:
            part, left = _write_table(session, collection, table, rows, reads, wrong, now)
            done, out = done + part, out | left
            students = students or table.name == "student"
    if students:
        session.execute(text(mongodb_sql.NO_AGE))
    return done


def _write_table(
    session: Session, collection: Collection, table: Table, rows: Sequence[tuple[Any, ...]], reads: Sequence[Read],
    wrong: list[dict[str, Any]], now: datetime,
) -> tuple[Done, set[str]]:  # fmt: skip
    """Write the rows of one table; returns the documents that were left out, whose other rows would hang on nothing."""
    rules = in_force(session, now)
    today = now.astimezone(UTC).date()
    known = {"now": now, "today": today, "adults_born": years_before(today, rules.consent_age)}
    for name in (f"doc_{table.name}", f"ready_{table.name}"):
        session.execute(text(f"drop table if exists pg_temp.{name}"))
    session.execute(text(mongodb_sql.stage(table)))
    _copy(session, f"doc_{table.name}", columns_of(table), rows)
    if table.name == "usage_event":
        place = columns_of(table).index("at")
        make_months(session, "usage_event", [row[place] for row in rows])
    aside = _sift(session, table, now)
    if table.name == "visitor":  # erased here by the calendar, and not yet there
        session.execute(text(mongodb_sql.LEAVING))
    session.execute(text(mongodb_sql.ready(collection, table)), known)
    by_plain = {one.plain: one for one in reads}
    left = set()
    for each in session.execute(text(mongodb_sql.misfits(table))):
        one = by_plain[each.document]
        left.add(each.document)
        wrong.append(_misfit(collection, one.key, one.changed, Misfit(each.why, each.place), now))
    added = changed = 0
    for statement in mongodb_sql.merge(table):
        for row in session.execute(text(statement), known):
            added, changed = added + (row.added is True), changed + (row.added is False)
    return Done(collection.name, added=added, changed=changed, refused=aside.refused + aside.waiting), left


def _sift(session: Session, table: Table, now: datetime) -> suppression.SetAside:
    """Erased people do not come back: their records are refused, doubtful ones wait for an officer."""
    if not table.target.person:
        return suppression.NOTHING
    dated = "s.registered_at" if table.name == "student" else "s.asked_at"
    mine = f"p.source = '{SOURCE}' and p.source_key = s.document"
    same = " or p.email_hash = s.email_hash" if table.name == "student" else ""
    only = f"not exists (select from platform.{table.name} p where {mine}{same})"
    more = "jsonb_build_object('source_key', s.document)"
    return suppression.sift(
        session, f"doc_{table.name}", table.name, source=SOURCE, now=now, dated=dated, only=only, more=more
    )


def _copy(session: Session, place: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    connection: Connection[Any] = session.connection().connection.driver_connection  # type: ignore[assignment]
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy pg_temp.{} ({}) from stdin").format(sql.Identifier(place), listed)) as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _rule(error: Exception) -> str:
    """The name of the rule that refused a row; never its text, which holds values."""
    diagnosis = getattr(getattr(error, "orig", error), "diag", None)
    return getattr(diagnosis, "constraint_name", None) or getattr(diagnosis, "sqlstate", None) or "unknown"


# -- what does not fit --------------------------------------------------------------------------------------------------------------


def _misfit(collection: Collection, key: str, changed: datetime | None, error: Misfit, now: datetime) -> dict[str, Any]:
    return {"id": row_id(collection.name, key[2:]), "collection": collection.name, "document": key, "code": error.code,
            "field": told(error.field) if error.field else "", "changed_at": changed, "found_at": now, "tried_at": now}  # fmt: skip


def _settle(session: Session, collection: Collection, fit: set[Any], wrong: Sequence[dict[str, Any]]) -> None:
    """Forget misfits that fit now; write down the others."""
    there = session.scalar(select(SyncMisfit.id).where(SyncMisfit.collection == collection.name).limit(1))
    if fit and there is not None:
        session.execute(delete(SyncMisfit).where(SyncMisfit.id.in_(fit)))
    for some in _in_parts(list({each["id"]: each for each in wrong}.values()), SOME):
        new = insert(SyncMisfit).values(some)
        again = {name: getattr(new.excluded, name) for name in ("code", "field", "changed_at", "tried_at")} | {
            "tries": SyncMisfit.tries + 1
        }
        session.execute(new.on_conflict_do_update(index_elements=[SyncMisfit.id], set_=again))


def _look_for_gaps(session: Session, source: Source, collection: Collection, document: Document, now: datetime) -> None:
    """Fields that no line of the mapping mentions, each told once."""
    for path in paths(document, collection.known):
        if (collection.name, path) not in source._told:
            source._told.add((collection.name, path))
            if len(source._told) < MOST_GAPS * 20:
                _note_gap(
                    session, source, collection.name, told(path), "field", looks_like(path, _found(document, path)), now
                )


def _found(document: Any, path: str) -> Any:
    """What stands at a path, in the first document of a list that has it."""
    name, _, rest = path.partition(".")
    if isinstance(document, list):
        return next(
            (found for each in document if isinstance(each, dict) and (found := _found(each, path)) is not None), None
        )
    value = document.get(name) if isinstance(document, dict) else None
    return _found(value, rest) if rest else value


def _note_gap(
    session: Session,
    source: Source,
    collection: str,
    path: str,
    kind: str,
    looks: str,
    now: datetime,
    documents: int = 0,
) -> None:
    new = insert(SyncGap).values(
        collection=collection, path=path, kind=kind, looks_like=looks, documents=documents, first_at=now, last_at=now
    )
    again = {"looks_like": looks, "documents": documents, "last_at": now}
    session.execute(new.on_conflict_do_update(index_elements=[SyncGap.collection, SyncGap.path], set_=again))


def _unknown_collections(session: Session, source: Source, now: datetime) -> None:
    there = {name for name in source.database.list_collection_names() if not name.startswith("system.")}
    unknown = there - {each.name for each in source.mapping.collections} - set(source.mapping.ignored)
    session.execute(
        delete(SyncGap).where(SyncGap.kind == "collection", SyncGap.collection.not_in(list(map(told, unknown))))
    )
    session.execute(
        delete(SyncCollection).where(
            SyncCollection.collection.not_in([each.name for each in source.mapping.collections])
        )
    )
    for name in sorted(unknown)[:MOST_GAPS]:
        _note_gap(session, source, told(name), "", "collection", "", now)


# -- comparing all ids ----------------------------------------------------------------------------------------------------------------


def _sweep(
    session: Session, source: Source, collection: Collection, state: SyncCollection, accept: bool, now: datetime
) -> Done:
    """Compare every id that is there with every row that is here."""
    session.execute(text("drop table if exists pg_temp.swept"))
    session.execute(text("create temporary table swept (id uuid, key text, document text) on commit drop"))
    there = (
        (row_id(collection.name, key[2:]), key, key[2:])
        for value in source.all_ids(collection)
        if (key := key_of(value))
    )
    _copy(session, "swept", ("id", "key", "document"), there)
    session.execute(text("create index on pg_temp.swept (document)"))
    session.execute(text("create index on pg_temp.swept (id)"))
    session.execute(text("analyze pg_temp.swept"))
    forget = "delete from privacy.sync_misfit m where m.collection = :name and not exists (select from pg_temp.swept x where x.id = m.id)"
    session.execute(text(forget), {"name": collection.name})
    done = _sweep_away(session, collection, state, accept, now) + _catch_up(session, source, collection, now)
    state.swept_at, state.error, state.error_at = now, "", None
    for name in ("documents", "added", "changed", "removed", "refused"):
        setattr(state, name, getattr(state, name) + getattr(done, name))
    if done.removed:
        append(session, Action.IMPORTED, now=now, source=SOURCE, rows=done.removed)
    return replace(done, collection=collection.name, more=True)


def _sweep_away(session: Session, collection: Collection, state: SyncCollection, accept: bool, now: datetime) -> Done:
    """Rows of documents that are gone there. Many at once are a mistake until somebody says that they are not."""
    table = _main_table(collection)
    state.sweep_stopped = None
    if table is None or table.name in CATALOG or table.name == "payment":
        return Done(collection.name)
    ids = list(session.scalars(text(mongodb_sql.gone(table))))
    whole = (
        session.scalar(
            text(f"select count(*) from platform.{table.name} t where {mongodb_sql.of_platform(table.name)}")
        )
        or 0
    )
    empty = session.scalar(text("select not exists (select from pg_temp.swept)"))
    if ids and (empty or len(ids) > max(FEW, SHARE * whole)) and not accept:
        state.sweep_stopped = len(ids)
        return Done(collection.name)
    return Done(collection.name, removed=_remove(session, table, ids, now))


def _main_table(collection: Collection) -> Table | None:
    return collection.tables[0] if collection.tables else None


def _remove_all(session: Session, collection: Collection, ids: Sequence[Any], plains: Sequence[str]) -> int:
    """Rows of documents that carry the mark of a deletion."""
    table = _main_table(collection)
    if not ids or table is None or table.name in CATALOG or table.name == "payment":
        return 0
    if table.target.own == "key":
        mine = text(
            f"select t.id from platform.{table.name} t where t.source = 'mongodb' and t.source_key = any(:plains)"
        )
        ids = list(session.scalars(mine, {"plains": list(plains)}))
    return _remove(session, table, ids, None)


def _remove(session: Session, table: Table, ids: Sequence[Any], now: datetime | None) -> int:
    """A student who is gone there has closed their account; other rows go with what hangs on them, unless a hold keeps them."""
    if not ids:
        return 0
    if table.name == "student":
        close = text(
            "update platform.student set account_status = 'closed', closed_at = :now where id = any(:ids) and account_status = 'open' returning 1"
        )
        return len(session.execute(close, {"ids": list(ids), "now": now}).all())
    free = text(
        f"select t.id from platform.{table.name} t where t.id = any(:ids) and not {mongodb_sql.held(table.name)}"
    )
    gone = list(session.scalars(free, {"ids": list(ids)}))
    _remove_below(session, f"platform.{table.name}", gone)
    return len(
        session.execute(
            text(f"delete from platform.{table.name} where id = any(:ids) returning 1"), {"ids": gone}
        ).all()
    )


def _remove_below(session: Session, table: str, ids: Sequence[Any]) -> None:
    """What hangs on rows, by foreign keys, however deep."""
    for key in references(Base.metadata.tables[table]):
        child, column = key.table, key.elements[0].parent.name
        if "id" in child.columns and ids:
            below = list(
                session.scalars(text(f"select id from {child.fullname} where {column} = any(:ids)"), {"ids": list(ids)})
            )
            _remove_below(session, child.fullname, below)
        session.execute(text(f"delete from {child.fullname} where {column} = any(:ids)"), {"ids": list(ids)})


def _catch_up(session: Session, source: Source, collection: Collection, now: datetime) -> Done:
    """Documents that are there and not here, and those whose changes nobody sees because they have no date."""
    done, table = Done(collection.name), _main_table(collection)
    if table is not None:
        keys_ = list(session.scalars(text(mongodb_sql.not_here(table)), {"most": MOST_MISSING}))
        for some in _in_parts(keys_, SOME):
            done += take(session, source, collection, source.by_ids(collection, [id_of(key) for key in some]), now=now)
    undated = 0
    for some in _in_parts(source.undated(collection), SOME):
        undated += len(some)
        done += take(session, source, collection, some, now=now)
    session.execute(delete(SyncGap).where(SyncGap.collection == collection.name, SyncGap.kind == "undated"))
    if undated:
        _note_gap(session, source, collection.name, collection.changed, "undated", "", now, undated)
    return done


def _in_parts(found: Iterable[Any], size: int) -> Iterator[list[Any]]:
    some: list[Any] = []
    for each in found:
        some.append(each)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some


# -- told to people -----------------------------------------------------------------------------------------------------------------


def checked(source: Source) -> list[str]:
    """Return what a mapping and a connection are good for, in words. Raises SettingsError when the database does not answer."""
    known = source.mapping
    lines = [f"Mapping {known.file} ({known.fingerprint}): {len(known.collections)} collections."]
    try:
        there = set(source.database.list_collection_names())
    except PyMongoError as error:
        raise SettingsError(f"The platform's database does not answer: {code_of(error)}.") from error
    for each in known.collections:
        tables = ", ".join(table.name.replace("_", " ") for table in each.tables)
        lines.append(f"  {each.name:<16}{tables}{'' if each.name in there else '   (is not there)'}")
    unknown = sorted(map(told, there - {each.name for each in known.collections} - set(known.ignored)))
    return lines + ([f"Not in the mapping: {', '.join(unknown)}."] if unknown else [])


def upshot(session: Session, done: Done) -> list[str]:
    """Return what a sync did, in words."""
    lines = [
        f"{done.documents:,} documents read: {done.added:,} rows added, {done.changed:,} changed, {done.removed:,} removed."
    ]
    if done.refused:
        lines.append(f"{done.refused:,} records of people who were erased were refused or wait in quarantine.")
    waiting = session.execute(select(SyncMisfit.collection, SyncMisfit.code, SyncMisfit.field, func.count()).group_by(
        SyncMisfit.collection, SyncMisfit.code, SyncMisfit.field).order_by(func.count().desc(), SyncMisfit.collection)).all()  # fmt: skip
    lines += [
        f"  set aside: {number:,} of {name}: {code}{f' ({where})' if where else ''}"
        for name, code, where, number in waiting[:20]
    ]
    for row in session.scalars(select(SyncCollection).where(SyncCollection.sweep_stopped.is_not(None))):
        lines.append(f"  {row.collection}: {row.sweep_stopped:,} rows are gone there. That is many, and nothing was removed: look, then"
                     " run it with --sweep --accept-deletions.")  # fmt: skip
    if gaps := session.scalar(select(func.count()).select_from(SyncGap)):
        lines.append(
            f"{gaps:,} gaps: the platform keeps what no line of the mapping mentions. See the page Platform sync."
        )
    return lines
