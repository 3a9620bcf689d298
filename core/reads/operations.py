"""How the installation fares: the workers and their jobs, and what ``python -m core status`` counts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from core.models.canaries import SOURCE as CANARY
from core.models.platform import Cohort, Enrollment, Program, Result, Student, Submission
from core.models.requests import Request
from core.models.staff import WorkerHeartbeat, WorkerJob

ALIVE = timedelta(minutes=1)
LATE = timedelta(minutes=15)
COUNTED = {
    "programs": Program.source,
    "cohorts": Cohort.source,
    "students": Student.source,
    "enrollments": Enrollment.source,
    "submissions": Submission.source,
}


@dataclass(frozen=True)
class Counts:
    """How many rows there are; ``enrollments_by_status`` and ``results_by_kind`` hold only what occurs."""

    programs: int
    cohorts: int
    students: int
    enrollments: int
    submissions: int
    enrollments_by_status: dict[str, int]
    results_by_kind: dict[str, int]
    open_requests: int


@dataclass(frozen=True)
class DeadJob:
    """A job that has used up its attempts. ``error`` is the code under which the worker's log tells more."""

    kind: str
    key: str
    attempts: int
    error: str
    failed_at: datetime


@dataclass(frozen=True)
class KindOfJob:
    """What became of one kind of job. ``done_at`` is the end of the last one, ``result`` its counts."""

    kind: str
    done_at: datetime | None
    result: dict[str, int]
    waiting: int
    failed: int


@dataclass(frozen=True)
class WorkerState:
    """How the workers fare. ``health`` is "alive" (a heartbeat within a minute), "late" or "never"; ``alive`` counts them.

    ``behind_since`` is when the oldest job became due that still waits a quarter of an hour later; None: nothing is behind.
    Without the right to see jobs there are none.
    """

    health: str
    seen_at: datetime | None
    alive: int
    behind_since: datetime | None
    dead: tuple[DeadJob, ...]
    kinds: tuple[KindOfJob, ...]


@dataclass(frozen=True)
class Status:
    """Database version, worker and counts, in all and by source. ``worker_seen`` is None when no worker ever ran."""

    server: str
    worker_seen: datetime | None
    worker: WorkerState
    total: Counts
    by_source: dict[str, Counts]


def worker_state(session: Session, *, now: datetime) -> WorkerState:
    """Return how the workers fare, as far as whoever asks may see it."""
    beats = list(session.scalars(select(WorkerHeartbeat.beat_at)))
    alive = sum(beat > now - ALIVE for beat in beats)
    due_at = select(func.min(WorkerJob.next_at)).where(WorkerJob.state.in_(("waiting", "running")))
    oldest = session.scalar(due_at)
    return WorkerState(
        health="alive" if alive else "late" if beats else "never",
        seen_at=max(beats, default=None),
        alive=alive,
        behind_since=oldest if oldest is not None and oldest < now - LATE else None,
        dead=tuple(_dead_jobs(session)),
        kinds=tuple(_kinds(session)),
    )


def status(session: Session, *, now: datetime) -> Status:
    """Return the state of the installation. Needs the worker role: no one else may count everything."""
    numbers = {name: _by_source(session, source) for name, source in COUNTED.items()}
    statuses = _by_source_and(session, Enrollment.source, Enrollment.status)
    kinds = _by_source_and(session, Result.source, Result.kind)
    requests = dict(
        session.execute(
            select(Request.source, func.count()).where(Request.closed_at.is_(None)).group_by(Request.source)
        ).all()
    )
    sources = sorted({source for found in numbers.values() for source in found} | set(requests))
    by_source = {
        source: Counts(
            **{name: found.get(source, 0) for name, found in numbers.items()},
            enrollments_by_status=statuses.get(source, {}),
            results_by_kind=kinds.get(source, {}),
            open_requests=requests.get(source, 0),
        )
        for source in sources
    }
    server = str(session.scalar(text("select current_setting('server_version')")))
    state = worker_state(session, now=now)
    counted = [found for source, found in by_source.items() if source != CANARY]
    return Status(server, state.seen_at, state, _sum(counted), by_source)


def _dead_jobs(session: Session) -> list[DeadJob]:
    dead = select(WorkerJob).where(WorkerJob.state == "failed").order_by(WorkerJob.finished_at.desc()).limit(50)
    return [
        DeadJob(j.kind, j.key, j.attempts, j.error or "", j.finished_at or j.next_at) for j in session.scalars(dead)
    ]


def _kinds(session: Session) -> list[KindOfJob]:
    last = select(WorkerJob.result).where(WorkerJob.state == "done").order_by(WorkerJob.finished_at.desc()).limit(1)
    own = aliased(WorkerJob)
    done_at = func.max(own.finished_at).filter(own.state == "done")
    waiting, failed = (func.count().filter(own.state.in_(states)) for states in (("waiting", "running"), ("failed",)))
    result = last.where(WorkerJob.kind == own.kind).correlate(own).scalar_subquery()
    grouped = select(own.kind, done_at, result, waiting, failed).group_by(own.kind).order_by(own.kind)
    return [KindOfJob(row[0], row[1], row[2] or {}, row[3], row[4]) for row in session.execute(grouped)]


def _by_source(session: Session, source: InstrumentedAttribute[str]) -> dict[str, int]:
    return {row[0]: row[1] for row in session.execute(select(source, func.count()).group_by(source))}


def _by_source_and(
    session: Session, source: InstrumentedAttribute[str], what: InstrumentedAttribute[str]
) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, kind, number in session.execute(select(source, what, func.count()).group_by(source, what).order_by(what)):
        found.setdefault(name, {})[kind] = number
    return found


def _sum(parts: Any) -> Counts:
    parts = list(parts)
    return Counts(
        **{name: sum(getattr(part, name) for part in parts) for name in COUNTED},
        enrollments_by_status=_merged(part.enrollments_by_status for part in parts),
        results_by_kind=_merged(part.results_by_kind for part in parts),
        open_requests=sum(part.open_requests for part in parts),
    )


def _merged(parts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, number in part.items():
            total[name] = total.get(name, 0) + number
    return total
