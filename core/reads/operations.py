"""What the command line tells of the installation: ``python -m core status``."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.models.platform import Cohort, Enrollment, Program, Result, Student, Submission
from core.models.privacy import Request
from core.models.staff import WorkerHeartbeat

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
class Status:
    """Database version, worker and counts, in all and by source. ``worker_seen`` is None when no worker ever ran."""

    server: str
    worker_seen: datetime | None
    total: Counts
    by_source: dict[str, Counts]


def status(session: Session) -> Status:
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
    return Status(
        server, session.scalar(select(func.max(WorkerHeartbeat.beat_at))), _sum(by_source.values()), by_source
    )


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
