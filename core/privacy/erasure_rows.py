"""The rows of erasures as the eraser holds them: read by one statement, changed in memory, written by one statement.

A hundred people are seven hundred rows, read anew in each of five transactions. As objects of the session they took a quarter of
the processor's time of an erasure, most of it to note each change by itself; these are plain, and whoever writes compares.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from core.models.base import among, insert_many, update_many, uuid7
from core.models.erasures import ErasureStep, PersonErasure
from core.models.requests import Request

_STEP_CHANGES = ("state", "attempts", "next_at", "waits_for", "waits_about", "error", "reference", "counts", "erased_at", "proven_at",
                 "owner_id")  # fmt: skip
_FOUND_CHANGES = ("next_at", "waits_for", "waits_about", "waits_since")
_BEGINS = ("email_hash", "forms", "traces", "fingerprint", "begun_at", *_FOUND_CHANGES)
_ENDS = ("person_id", "email_hash", "forms", "traces", *_FOUND_CHANGES)


@dataclass(eq=False)
class Found:
    """An erasure: a row of ``privacy.erasure`` (core.models.erasures), without its traces, which are large and only for the scan."""

    id: uuid.UUID
    request_id: uuid.UUID
    kind: str
    person_id: uuid.UUID | None
    email_hash: bytes | None
    forms: Sequence[uuid.UUID] | None
    fingerprint: str | None
    waits_for: str | None
    waits_about: str
    waits_since: datetime | None
    next_at: datetime
    begun_at: datetime | None
    finished_at: datetime | None


@dataclass(eq=False)
class Step:
    """A step: a row of ``privacy.erasure_step``. Counts are replaced, never changed in place."""

    id: uuid.UUID
    erasure_id: uuid.UUID
    phase: int
    what: str
    place: str
    key: str
    state: str
    attempts: int
    next_at: datetime
    waits_for: str | None
    waits_about: str
    error: str
    reference: str
    counts: Mapping[str, int]
    erased_at: datetime | None
    proven_at: datetime | None
    owner_id: uuid.UUID | None


_FOUND, _STEP = (
    [model.__table__.c[each.name] for each in fields(held)]
    for model, held in ((PersonErasure, Found), (ErasureStep, Step))
)
_changes_of = {Found: attrgetter(*_FOUND_CHANGES), Step: attrgetter(*_STEP_CHANGES)}


class Rows:
    """The rows that one transaction holds, each of them once, however often it is asked for."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._founds: dict[uuid.UUID, tuple[Found, Any]] = {}
        self._steps: dict[uuid.UUID, tuple[Step, Any]] = {}

    def founds(self, condition: ColumnElement[bool], *, lock: bool = False) -> list[Found]:
        """Return erasures in the order of their ids, locked if asked for."""
        mine = select(*_FOUND).where(condition).order_by(PersonErasure.id)
        return [self._found(row) for row in self.session.execute(mine.with_for_update() if lock else mine)]

    def steps(self, condition: ColumnElement[bool]) -> list[Step]:
        """Return steps in the order in which they are taken."""
        mine = select(*_STEP).where(condition).order_by(ErasureStep.phase, ErasureStep.place)
        return [self._step(row) for row in self.session.execute(mine)]

    def make(self, requests: Iterable[Request], *, now: datetime) -> list[Found]:
        """Insert an erasure for each of these requests."""
        rows = [{
            "id": uuid7(), "request_id": request.id, "kind": "visitor" if request.visitor_id else "student",
            "person_id": request.student_id or request.visitor_id, "waits_about": "", "next_at": now, "made_at": now,
        } for request in requests]  # fmt: skip
        insert_many(self.session, PersonErasure, rows)
        return self.founds(among(PersonErasure.id, [row["id"] for row in rows]), lock=True) if rows else []

    def begin(self, founds: Sequence[Found], traces: Sequence[bytes]) -> None:
        """Write what an erasure keeps from its beginning on: what finds the person, and what the scan will look for (encrypted)."""
        told = [_told(found, _BEGINS) | {"traces": kept} for found, kept in zip(founds, traces, strict=True)]
        update_many(self.session, PersonErasure, told)
        self._founds |= {found.id: (found, _changes_of[Found](found)) for found in founds}

    def end(self, founds: Sequence[Found]) -> None:
        """Forget what found the persons; :meth:`finish` comes after the last evidence."""
        for found in founds:
            found.person_id, found.email_hash, found.forms = None, None, None
            found.waits_for, found.waits_about, found.waits_since = None, "", None
        update_many(self.session, PersonErasure, [_told(found, _ENDS) for found in founds])
        self._founds |= {found.id: (found, _changes_of[Found](found)) for found in founds}

    def finish(self, founds: Sequence[Found], *, now: datetime) -> None:
        """Say that everything was proven."""
        for found in founds:
            found.finished_at = now
        update_many(self.session, PersonErasure, [_told(found, ("finished_at",)) for found in founds])

    def write(self) -> None:
        """Write what changed since it was read or written."""
        self._steps = self._written(ErasureStep, self._steps, _STEP_CHANGES)
        self._founds = self._written(PersonErasure, self._founds, _FOUND_CHANGES)

    def saved(self) -> tuple[dict[uuid.UUID, Any], dict[uuid.UUID, Any]]:
        """Return what :meth:`restore` takes, when everything is written."""
        return dict(self._founds), dict(self._steps)

    def restore(self, before: tuple[dict[uuid.UUID, Any], dict[uuid.UUID, Any]]) -> None:
        """Hold what was held then, as it was: the database has taken back what came after."""
        self._founds, self._steps = before
        for held, names in ((self._founds, _FOUND_CHANGES), (self._steps, _STEP_CHANGES)):
            for row, told in held.values():
                for name, value in zip(names, told, strict=True):
                    setattr(row, name, value)

    def _written(self, model: Any, held: dict[uuid.UUID, tuple[Any, Any]], names: Sequence[str]) -> dict[uuid.UUID, tuple[Any, Any]]:  # fmt: skip
        now = {id_: (row, _changes_of[type(row)](row)) for id_, (row, _) in held.items()}
        update_many(
            self.session, model, [_told(row, names) for id_, (row, told) in now.items() if told != held[id_][1]]
        )
        return now

    def _found(self, row: Any) -> Found:
        if row.id not in self._founds:
            made = Found(*row)
            self._founds[made.id] = made, _changes_of[Found](made)
        return self._founds[row.id][0]

    def _step(self, row: Any) -> Step:
        if row.id not in self._steps:
            made = Step(*row)
            self._steps[made.id] = made, _changes_of[Step](made)
        return self._steps[row.id][0]


def _told(row: Found | Step, names: Iterable[str]) -> dict[str, Any]:
    return {"id": row.id} | {name: getattr(row, name, None) for name in names}
