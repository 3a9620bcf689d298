"""How the sync with the platform's database fares: how far each collection is, what was set aside and why, what nobody mapped."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from core.errors import SettingsError
from core.models.syncing import SyncCollection, SyncGap, SyncMisfit
from core.processors.mongodb_mapping import mapping
from core.settings import settings

PAGE_SIZE = 50
MOST_GAPS = 500
LATE = timedelta(hours=1)
Cursor = tuple[datetime, uuid.UUID]


@dataclass(frozen=True)
class SyncedCollection:
    """One collection. ``tables`` are what its documents become; ``seen_until`` is the date of change up to which it was read;
    ``state`` is "up to date", "reading", "waits" or "failed" (``error`` says why, since ``error_at``). ``per_second``: documents of
    the last pass. ``stopped``: so many rows are gone there, too many to be taken away without being asked."""

    name: str
    tables: tuple[str, ...]
    state: str
    seen_until: datetime | None
    ended_at: datetime | None
    documents: int
    per_second: float | None
    misfits: int
    gaps: int
    error: str
    error_at: datetime | None
    stopped: int | None
    swept_at: datetime | None


@dataclass(frozen=True)
class SyncState:
    """The whole sync. ``connected`` False: no database of the platform is configured. ``problem``: why the mapping cannot be used."""

    connected: bool
    mapping: str = ""
    fingerprint: str = ""
    problem: str = ""
    collections: tuple[SyncedCollection, ...] = ()

    @property
    def misfits(self) -> int:
        """How many documents are set aside."""
        return sum(each.misfits for each in self.collections)

    @property
    def ended_at(self) -> datetime | None:
        """When every collection was read to its end: the oldest of the last passes; None: not yet."""
        ends = [each.ended_at for each in self.collections]
        return min((end for end in ends if end), default=None) if all(ends) else None

    @property
    def failures(self) -> dict[str, list[str]]:
        """Which collections could not be read, by code."""
        found: dict[str, list[str]] = {}
        for each in self.collections:
            if each.error:
                found.setdefault(each.error, []).append(each.name)
        return found

    def told(self, now: datetime) -> str:
        """How it fares, in one line."""
        if self.problem:
            return self.problem
        if not self.connected:
            return "not connected"
        if self.failures:
            return "; ".join(f"{code}: {', '.join(names)}" for code, names in self.failures.items())
        if self.ended_at is None:
            return "the first pass is not at its end"
        late = now - self.ended_at > LATE
        aside = f"; {self.misfits:,} documents set aside" if self.misfits else ""
        return f"{'behind since' if late else 'read to the end at'} {self.ended_at:%F %H:%M} UTC{aside}"


@dataclass(frozen=True)
class Misfit:
    """A document that was set aside. ``document`` is its own id there, without its type."""

    id: uuid.UUID
    collection: str
    document: str
    code: str
    field: str
    changed_at: datetime | None
    found_at: datetime
    tries: int


@dataclass(frozen=True)
class MisfitPage:
    """Up to 50 documents, those that were set aside last first; ``after`` leads to the next page, None: there is none."""

    rows: tuple[Misfit, ...]
    after: Cursor | None


@dataclass(frozen=True)
class Gap:
    """What the platform keeps and no line of the mapping mentions; ``path`` "" is the whole collection."""

    collection: str
    path: str
    kind: str
    looks_like: str
    documents: int
    first_at: datetime
    last_at: datetime


def sync_state(session: Session) -> SyncState:
    """Return how the sync fares, as far as whoever asks may see it (set-aside documents: admins and privacy officers)."""
    connected = settings().mongodb_uri is not None
    try:
        known = mapping()
    except SettingsError as error:
        return SyncState(connected, problem=error.sentence)
    rows = {row.collection: row for row in session.scalars(select(SyncCollection))}
    misfits = _counted(session, SyncMisfit)
    gaps = _counted(session, SyncGap)
    found = tuple(
        _collection(each.name, tuple(t.name.replace("_", " ") for t in each.tables), rows.get(each.name), misfits, gaps)
        for each in known.collections
    )
    return SyncState(connected, known.file, known.fingerprint, "", found)


def misfit_page(session: Session, *, collection: str = "", code: str = "", after: Cursor | None = None) -> MisfitPage:
    """Return 50 documents that were set aside, of one collection and with one code, or all."""
    listed = select(SyncMisfit).order_by(SyncMisfit.found_at.desc(), SyncMisfit.id.desc()).limit(PAGE_SIZE + 1)
    if collection:
        listed = listed.where(SyncMisfit.collection == collection)
    if code:
        listed = listed.where(SyncMisfit.code == code)
    if after is not None:
        listed = listed.where(tuple_(SyncMisfit.found_at, SyncMisfit.id) < after)
    found = session.scalars(listed).all()
    rows = tuple(
        Misfit(
            each.id,
            each.collection,
            each.document[2:],
            each.code,
            each.field,
            each.changed_at,
            each.found_at,
            each.tries,
        )
        for each in found[:PAGE_SIZE]
    )
    return MisfitPage(rows, (rows[-1].found_at, rows[-1].id) if len(found) > PAGE_SIZE else None)


def misfit_reasons(session: Session) -> tuple[tuple[str, str, str, int], ...]:
    """Return why documents were set aside: collection, code, field and how many, the most first."""
    number = func.count()
    asked = select(SyncMisfit.collection, SyncMisfit.code, SyncMisfit.field, number)
    asked = asked.group_by(SyncMisfit.collection, SyncMisfit.code, SyncMisfit.field)
    return tuple((*row[:3], row[3]) for row in session.execute(asked.order_by(number.desc(), SyncMisfit.collection)))


def sync_gaps(session: Session) -> tuple[Gap, ...]:
    """Return what no line of the mapping mentions (at most 500): whole collections first."""
    listed = select(SyncGap).order_by(SyncGap.kind, SyncGap.collection, SyncGap.path).limit(MOST_GAPS)
    return tuple(
        Gap(each.collection, each.path, each.kind, each.looks_like, each.documents, each.first_at, each.last_at)
        for each in session.scalars(listed)
    )


def _counted(session: Session, table: type[SyncMisfit] | type[SyncGap]) -> dict[str, int]:
    return {
        row[0]: row[1] for row in session.execute(select(table.collection, func.count()).group_by(table.collection))
    }


def _collection(
    name: str, tables: tuple[str, ...], row: SyncCollection | None, misfits: dict[str, int], gaps: dict[str, int]
) -> SyncedCollection:  # fmt: skip
    if row is None:
        return SyncedCollection(name, tables, "waits", None, None, 0, None, 0, gaps.get(name, 0), "", None, None, None)
    state = "failed" if row.error else "up to date" if row.ended_at else "reading" if row.begun_at else "waits"
    rate = row.pass_documents / row.pass_seconds if row.pass_seconds and row.pass_documents else None
    seen = max(filter(None, (row.seen_until, row.position_at)), default=None)
    return SyncedCollection(
        name, tables, state, seen, row.ended_at, row.documents, rate, misfits.get(name, 0), gaps.get(name, 0), row.error, row.error_at,
        row.sweep_stopped, row.swept_at,
    )  # fmt: skip
