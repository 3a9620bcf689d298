"""The file of a request for access or export, as an officer sees it: counts, who was asked, and the sentences to be judged.

Never the records themselves: the worker makes the file, and nobody here reads it on a screen.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.artifacts import Artifact
from core.models.base import Base
from core.models.exports import Export, ExportText

TEXTS_SHOWN = 25


@dataclass(frozen=True)
class JudgedText:
    """A text that may name somebody else: what it is, the ``words`` and ``passages`` in question, and what was decided."""

    id: uuid.UUID
    what: str
    written_on: str | None
    words: tuple[str, ...]
    passages: tuple[str, ...]


@dataclass(frozen=True)
class AskedProcessor:
    """A processor, whether a machine could ask it, and what it answered; ``problem`` is a code."""

    name: str
    asked: bool
    complete: bool
    problem: str
    rows: int


@dataclass(frozen=True)
class ExportRead:
    """How far the file is. ``stage`` is a key of core.policy.machine.EXPORT_NEXT; ``records`` are counts by kind of record.

    ``texts`` are the next of ``waiting`` texts that nobody has judged; ``judged`` counts the others by decision.
    """

    stage: str
    records: tuple[tuple[str, int], ...]
    processors: tuple[AskedProcessor, ...]
    size: int | None
    sha256: str | None
    built_at: datetime | None
    kept_until: datetime | None
    error: str | None
    attempts: int
    next_at: datetime | None
    handed_how: str | None
    handed_by: str | None
    handed_at: datetime | None
    fetched_at: datetime | None
    texts: tuple[JudgedText, ...]
    waiting: int
    judged: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        """All records in the file."""
        return sum(number for _, number in self.records)


NOTHING_YET = ExportRead(
    "", (), (), None, None, None, None, None, 0, None, None, None, None, None, (), 0, ()
)  # fmt: skip


def export_of(session: Session, request_id: uuid.UUID, *, now: datetime) -> ExportRead:
    """Return how far the file of a request is, for those to whom it is open."""
    found = session.execute(_with_file().where(Export.request_id == request_id)).first()
    if found is None:
        return NOTHING_YET
    e: Export = found.Export
    named = text("select name from staff.names_of(:ids)")
    by = session.scalar(named, {"ids": [e.handed_by]}) if e.handed_by else None
    mine = ExportText.request_id == request_id
    listed = select(ExportText).where(mine, ExportText.decision.is_(None)).order_by(ExportText.id).limit(TEXTS_SHOWN)
    told = select(ExportText.decision, func.count().label("number")).where(mine).group_by(ExportText.decision)
    many = {str(row.decision or ""): int(row.number) for row in session.execute(told)}
    return ExportRead(
        stage=_stage(e, found.expires_at, gone=found.wrapped_key is None, now=now),
        records=tuple(sorted(((_words(place), int(rows)) for place, rows in e.rows.items()), key=lambda each: -each[1])),
        processors=tuple(AskedProcessor(**each) for each in e.processors),
        size=e.size,
        sha256=found.sha256,
        built_at=e.built_at,
        kept_until=found.expires_at,
        error=e.error,
        attempts=e.attempts,
        next_at=e.next_at,
        handed_how=e.handed_how,
        handed_by=by,
        handed_at=e.handed_at,
        fetched_at=e.fetched_at,
        texts=tuple(_text(each) for each in session.scalars(listed)),
        waiting=many.pop("", 0),
        judged=tuple(sorted(many.items())),
    )  # fmt: skip


def export_stages(session: Session, ids: Sequence[uuid.UUID], *, now: datetime) -> dict[uuid.UUID, str]:
    """Return how far the files of several requests are; those that nobody began are not in it."""
    if not ids:
        return {}
    rows = session.execute(_with_file().where(Export.request_id.in_(ids)))
    return {
        row.Export.request_id: _stage(row.Export, row.expires_at, gone=row.wrapped_key is None, now=now) for row in rows
    }


def _with_file() -> Any:
    columns = (Export, Artifact.expires_at, Artifact.wrapped_key, Artifact.sha256)
    return select(*columns).outerjoin(Artifact, Artifact.id == Export.artifact_id)


def _stage(e: Export, expires_at: datetime | None, *, gone: bool, now: datetime) -> str:
    if e.state == "ready" and (gone or expires_at is None or expires_at <= now):
        return "expired"
    return "linked" if e.state == "ready" and e.handed_at is not None else e.state


def _text(row: ExportText) -> JudgedText:
    found = row.found or {}
    return JudgedText(row.id, f"{row.place}, {row.field}", row.written_on, tuple(found.get("words", ())), tuple(found.get("passages", ())))  # fmt: skip


def _words(place: str) -> str:
    table = Base.metadata.tables.get(place)
    return (table.name if table is not None else place).replace("_", " ")
