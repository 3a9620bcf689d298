"""Leases: which worker does which job, so that a job is done once although workers die, sleep and wake at any moment.

Danger: a worker that was killed leaves its job undone for ever; one that slept past its time does it a second time.
Principle: a job is held by a lease that ends by itself, and the fence that came with it is asked for in the very transaction
of the effect. Mechanism: rows of ``staff.job``, claimed with ``FOR UPDATE SKIP LOCKED``; every claim raises the row's
``fence``; :func:`finish` changes the row only while fence and claim are the same, and raises :class:`LeaseLost` otherwise,
which rolls the effect back. A failed job waits longer each time and is a dead letter after ``ATTEMPTS``: visible, and tried
again once a day while the data still ask for it.

A key names what the job is about in the words of the data ("2026-11-23", a month, an opaque id), never a person.
"""

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, and_, case, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import AdminError
from core.models.base import uuid7
from core.models.staff import WorkerJob

ATTEMPTS = 5
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
REVIVED_AFTER = timedelta(days=1)
AT_ONCE = 1000
LOST = "worker lost"
PLANNING = "what is due"


class LeaseLost(AdminError):
    """Another worker has taken this job over; nothing of this attempt may stay."""


@dataclass(frozen=True)
class Lease:
    """A job in the hands of one worker until ``until``; ``fence`` is this claim's number."""

    id: uuid.UUID
    kind: str
    key: str
    fence: int
    attempt: int
    owner: str
    started_at: datetime
    until: datetime


def want(session: Session, kind: str, keys: Sequence[str], *, again: timedelta, now: datetime) -> int:
    """Write a waiting job for each key unless there is one; return how many are new or wanted once more.

    A job that is done is wanted again when its data ask for it, not sooner than ``again`` after its end.
    """
    rows = [{"id": uuid7(), "kind": kind, "key": key, "next_at": now, "created_at": now} for key in sorted(set(keys))]
    done = (WorkerJob.state.in_(("done", "over"))) & (WorkerJob.finished_at <= now - again)
    dead = (WorkerJob.state == "failed") & (WorkerJob.finished_at <= now - REVIVED_AFTER)
    attempts = case((WorkerJob.state == "failed", ATTEMPTS - 1), else_=0)
    wanted = 0
    for first in range(0, len(rows), AT_ONCE):
        written = insert(WorkerJob).values(rows[first : first + AT_ONCE])
        written = written.on_conflict_do_update(
            index_elements=[WorkerJob.kind, WorkerJob.key],
            set_={"state": "waiting", "attempts": attempts, "next_at": now},
            where=or_(done, dead),
        )
        wanted += len(session.execute(written.returning(WorkerJob.id)).all())
    return wanted


def settle(session: Session, kind: str, keys: Sequence[str], *, now: datetime) -> None:
    """Close the dead letters of a kind that the data do not ask for any more."""
    dead = (WorkerJob.kind == kind) & (WorkerJob.state == "failed") & WorkerJob.key.not_in(keys)
    session.execute(update(WorkerJob).where(dead).values(state="over", finished_at=now))


def claim(session: Session, *, terms: Mapping[str, timedelta], owner: str, now: datetime) -> Lease | None:
    """Take the job that waits longest among the kinds of ``terms`` (kind → length of a lease), or return None.

    A job whose lease ran out is taken over, unless it has cost ``ATTEMPTS`` workers already: then it is a dead letter.
    """
    waiting = and_(WorkerJob.state == "waiting", WorkerJob.next_at <= now)
    left = and_(WorkerJob.state == "running", WorkerJob.lease_until <= now)
    ready = select(WorkerJob).where(WorkerJob.kind.in_(terms), or_(waiting, left)).limit(1)
    ready = ready.order_by(WorkerJob.next_at, WorkerJob.key).with_for_update(skip_locked=True)
    while job := session.scalars(ready.execution_options(populate_existing=True)).first():
        if job.state == "running" and job.attempts >= ATTEMPTS:
            job.state, job.error, job.finished_at, job.lease_owner, job.lease_until = "failed", LOST, now, None, None
            session.flush()
            continue
        job.state, job.lease_owner, job.lease_until = "running", owner, now + terms[job.kind]
        job.attempts, job.fence = job.attempts + 1, job.fence + 1
        session.flush()
        return Lease(job.id, job.kind, job.key, job.fence, job.attempts, owner, now, job.lease_until)
    return None


def renew(session: Session, lease: Lease, *, until: datetime) -> bool:
    """Hold a job longer; return False when it is no longer ours."""
    return _change(session, lease, lease_until=until)


def keep(session: Session, lease: Lease, *, until: datetime) -> Lease:
    """Hold a job whose part is done for its next part, in the transaction of the part; attempts count anew from here.

    Raises LeaseLost when another worker has it by now: then nothing of the part may stay.
    """
    if not _change(session, lease, lease_until=until, attempts=1):
        raise LeaseLost("Another worker has taken this job over.", kind=lease.kind, key=lease.key)
    return replace(lease, attempt=1, until=until)


def finish(session: Session, lease: Lease, counts: Mapping[str, int], *, now: datetime) -> None:
    """Mark a job as done, in the transaction of its effect. Raises LeaseLost when another worker has it by now."""
    done = _change(session, lease, state="done", result=dict(counts), finished_at=now, error=None)
    if not done:
        raise LeaseLost("Another worker has taken this job over.", kind=lease.kind, key=lease.key)


def fail(session: Session, lease: Lease, *, error: str, now: datetime) -> None:
    """Put a job back for a later attempt, or among the dead letters. ``error`` is a code, never a message with values."""
    if lease.attempt >= ATTEMPTS:
        _change(session, lease, state="failed", error=error, finished_at=now)
    else:
        _change(session, lease, state="waiting", error=error, next_at=now + _pause(lease.attempt))


def cannot_plan(session: Session, kind: str, *, error: str, now: datetime) -> None:
    """Show, as a dead letter, that it cannot even be said what of a kind is due."""
    row = {"id": uuid7(), "kind": kind, "key": PLANNING, "next_at": now, "created_at": now}
    told = {"state": "failed", "error": error, "finished_at": now}
    written = insert(WorkerJob).values(row | told | {"attempts": 1})
    written = written.on_conflict_do_update(
        index_elements=[WorkerJob.kind, WorkerJob.key], set_=told | {"attempts": WorkerJob.attempts + 1}
    )
    session.execute(written)


def retry(session: Session, *, now: datetime) -> int:
    """Give every dead letter all its attempts again, at once; return how many."""
    dead = update(WorkerJob).where(WorkerJob.state == "failed", WorkerJob.key != PLANNING)
    return _rows(session.execute(dead.values(state="waiting", attempts=0, next_at=now)))


def _change(session: Session, lease: Lease, **values: object) -> bool:
    mine = (WorkerJob.id == lease.id) & (WorkerJob.fence == lease.fence) & (WorkerJob.state == "running")
    over = {} if "lease_until" in values else {"lease_owner": None, "lease_until": None}
    return _rows(session.execute(update(WorkerJob).where(mine).values(**over, **values))) == 1


def _rows(result: object) -> int:
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


def _pause(attempt: int) -> timedelta:
    """Twice as long after each attempt, of which the second half is chance: what failed together does not return together."""
    whole = min(FIRST_PAUSE * (1 << min(attempt - 1, 20)), LONGEST_PAUSE)
    return whole * (500 + secrets.randbelow(501)) / 1000
