"""What the worker tidies away: sessions, sign-in failures, heartbeats and jobs whose time is over.

Each pair says first whether there is anything to do, so that it is the data that ask and never a clock that ticked.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from core.models.staff import FileLink, StaffSession, Throttle, WorkerHeartbeat, WorkerJob

SESSIONS_KEPT = timedelta(days=30)
FAILURES_KEPT = timedelta(days=30)
HEARTBEATS_KEPT = timedelta(days=7)
JOBS_KEPT = timedelta(days=90)


def leftovers(session: Session, *, now: datetime) -> list[str]:
    """Return the names of what there is to tidy away: "files", "sessions", "failures", "heartbeats", "jobs"."""
    return [name for name, over in _over(now).items() if session.scalar(select(exists().where(over)))]


def drop_ended_sessions(session: Session, *, now: datetime) -> int:
    """Delete, as the worker, sessions that ended 30 days ago; the audit keeps who was signed in when."""
    return _drop(session, StaffSession, _over(now)["sessions"])


def drop_old_failures(session: Session, *, now: datetime) -> int:
    """Forget failed sign-ins, 30 days after the last one of a name."""
    return _drop(session, Throttle, _over(now)["failures"])


def drop_old_heartbeats(session: Session, *, now: datetime) -> int:
    """Delete the heartbeats of workers that have been silent for a week; the newest one stays."""
    return _drop(session, WorkerHeartbeat, _over(now)["heartbeats"])


def drop_old_jobs(session: Session, *, now: datetime) -> int:
    """Delete jobs that were done, or needed no more, 90 days ago. Dead letters stay until somebody has seen to them."""
    return _drop(session, WorkerJob, _over(now)["jobs"])


def forget_jobs(session: Session, *, keys: Collection[str]) -> int:
    """Delete jobs that are over and whose key is an opaque id of somebody who was erased."""
    over = WorkerJob.key.in_(keys) & WorkerJob.state.in_(("done", "over"))
    return _drop(session, WorkerJob, over)


def _over(now: datetime) -> dict[str, ColumnElement[bool]]:
    ended = func.least(StaffSession.ended_at, StaffSession.expires_at) <= now - SESSIONS_KEPT
    newest = select(func.max(WorkerHeartbeat.beat_at)).scalar_subquery()
    return {
        "files": FileLink.expires_at <= now,
        "sessions": and_(ended, ~exists().where(FileLink.session_id == StaffSession.id)),
        "failures": and_(
            Throttle.failed_at <= now - FAILURES_KEPT,
            or_(Throttle.locked_until.is_(None), Throttle.locked_until <= now),
        ),
        "heartbeats": and_(WorkerHeartbeat.beat_at <= now - HEARTBEATS_KEPT, WorkerHeartbeat.beat_at < newest),
        "jobs": and_(WorkerJob.state.in_(("done", "over")), WorkerJob.finished_at <= now - JOBS_KEPT),
    }


def _drop(
    session: Session, table: type[StaffSession | Throttle | WorkerHeartbeat | WorkerJob], over: ColumnElement[bool]
) -> int:
    gone = delete(table).where(over).returning(*table.__mapper__.primary_key)
    return len(session.execute(gone).all())
