"""Leases: which worker does which job, so that a job is done once although workers die, sleep and wake at any moment.

Danger: a worker that was killed leaves its job undone for ever; one that slept past its time does it a second time.
Principle: a job is held by a lease that ends by itself, and the fence that came with it is asked for in the very transaction
of the effect. Mechanism: rows of ``staff.job``, claimed with ``FOR UPDATE SKIP LOCKED``; every claim raises the row's
``fence``; :func:`finish` changes the row only while fence and claim are the same, and raises :class:`LeaseLost` otherwise,
which rolls the effect back. A failed job waits longer each time and is a dead letter after ``ATTEMPTS``: visible, and tried
again once a day while the data still ask for it; sooner where a day would be too long, as for letters (core.jobs).

A key names what the job is about in the words of the data ("2026-11-23", a month, an opaque id), never a person.
"""

import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import CursorResult, and_, func, or_, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.errors import AdminError
from core.models.base import among, uuid7
from core.models.staff import WorkerHeartbeat, WorkerJob

ATTEMPTS = 5
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
REVIVED_AFTER = timedelta(days=1)  # a kind of work may say sooner
ALIVE, MOST_SHARES = timedelta(minutes=1), 16  # a worker that beat within it has a share of what waits
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


def want(
    session: Session,
    kind: str,
    keys: Sequence[str],
    *,
    again: timedelta,
    now: datetime,
    revived: timedelta = REVIVED_AFTER,
) -> int:
    """Write a waiting job for each key unless there is one; return how many are new or wanted once more.

    A job that is done is wanted again when its data ask for it, not sooner than ``again`` after its end, and one that
    is a dead letter ``revived`` after that, with one attempt.
    """
    if not keys:
        return 0
    told = sorted(set(keys))
    asked = {"ids": [uuid7() for _ in told], "keys": told, "kind": kind, "now": now, "done": now - again,
             "dead": now - revived}  # fmt: skip
    return len(session.execute(text(WANT), asked).all())


def settle(session: Session, kind: str, keys: Sequence[str], *, now: datetime) -> None:
    """Close the dead letters of a kind that the data do not ask for any more."""
    dead = (WorkerJob.kind == kind) & (WorkerJob.state == "failed") & ~among(WorkerJob.key, keys)
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


def claim_together(
    session: Session, *, kind: str, term: timedelta, owner: str, now: datetime, at_most: int = 1
) -> list[Lease]:
    """Take several jobs of a kind at once, this worker's share of what waits; none when there is none.

    What was taken over from a worker that died, or has failed before, is taken alone: whatever it is about takes no others along.
    """
    first = claim(session, terms={kind: term}, owner=owner, now=now)
    if first is None or at_most == 1 or first.attempt > 1:
        return [first] if first else []
    waiting = (WorkerJob.kind == kind) & (WorkerJob.state == "waiting") & (WorkerJob.next_at <= now)
    fresh = waiting & (WorkerJob.attempts == 0)
    alive = select(func.count()).where(WorkerHeartbeat.seen_at > func.clock_timestamp() - ALIVE).select_from(WorkerHeartbeat)  # fmt: skip
    some = select(WorkerJob.id).where(fresh).limit(at_most * MOST_SHARES).subquery()
    wait, workers = session.execute(select(select(func.count()).select_from(some).scalar_subquery(), alive.scalar_subquery())).one()  # fmt: skip
    share = min(at_most, -(-(wait + 1) // max(workers, 1))) - 1
    mine = select(WorkerJob.id).where(fresh).order_by(WorkerJob.next_at, WorkerJob.key).limit(share)
    taken = update(WorkerJob).where(WorkerJob.id.in_(mine.with_for_update(skip_locked=True).scalar_subquery()))
    values = {"state": "running", "lease_owner": owner, "lease_until": now + term, "attempts": 1, "fence": WorkerJob.fence + 1}  # fmt: skip
    rows = session.execute(taken.values(values).returning(WorkerJob.id, WorkerJob.key, WorkerJob.fence).execution_options(synchronize_session=False))  # fmt: skip
    more = [Lease(row.id, kind, row.key, row.fence, 1, owner, now, now + term) for row in rows]
    return [first, *sorted(more, key=lambda lease: lease.key)]


def renew(session: Session, *held: Lease, until: datetime) -> bool:
    """Hold jobs longer; return False when one of them is no longer ours."""
    return _change(session, held, lease_until=until) == len(held)


def keep(session: Session, held: Sequence[Lease], *, until: datetime) -> list[Lease]:
    """Hold jobs whose part is done for their next part, in the transaction of the part; attempts count anew from here.

    Raises LeaseLost when another worker has one of them by now: then nothing of the part may stay.
    """
    asked = {"ids": [each.id for each in held], "fences": [each.fence for each in held], "until": until}
    if held and _rows(session.execute(text(KEEP), asked)) != len(held):
        raise _lost(held)
    return [replace(lease, attempt=1, until=until) for lease in held]


def finish(session: Session, lease: Lease, counts: Mapping[str, int], *, now: datetime) -> None:
    """Mark a job as done, in the transaction of its effect. Raises LeaseLost when another worker has it by now."""
    finish_together(session, [lease], [counts], now=now)


def finish_together(
    session: Session, held: Sequence[Lease], counts: Sequence[Mapping[str, int]], *, now: datetime
) -> None:
    """Mark jobs as done, in the transaction of their effect. Raises LeaseLost when another worker has one of them by now."""
    asked = {"ids": [each.id for each in held], "fences": [each.fence for each in held], "now": now,
             "results": [json.dumps(dict(each)) for each in counts]}  # fmt: skip
    if held and _rows(session.execute(text(FINISH), asked)) != len(held):
        raise _lost(held)


def fail(session: Session, lease: Lease, *, error: str, now: datetime) -> None:
    """Put a job back for a later attempt, or among the dead letters. ``error`` is a code, never a message with values."""
    if lease.attempt >= ATTEMPTS:
        _change(session, [lease], state="failed", error=error, finished_at=now)
    else:
        _change(session, [lease], state="waiting", error=error, next_at=now + _pause(lease.attempt))


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


def _change(session: Session, held: Sequence[Lease], **values: object) -> int:
    """Change the jobs that are still held by the claim of their lease; return how many."""
    if not held:
        return 0
    claims = tuple_(WorkerJob.id, WorkerJob.fence).in_([(lease.id, lease.fence) for lease in held])
    over = {} if "lease_until" in values else {"lease_owner": None, "lease_until": None}
    mine = update(WorkerJob).where(claims, WorkerJob.state == "running").values(**over, **values)
    return _rows(session.execute(mine.execution_options(synchronize_session=False)))


def _lost(held: Sequence[Lease]) -> LeaseLost:
    one = len(held) == 1
    said = "Another worker has taken this job over." if one else "Another worker has taken one of these jobs over."
    return LeaseLost(said, kind=held[0].kind, keys=[lease.key for lease in held])


def _rows(result: object) -> int:
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


def _pause(attempt: int) -> timedelta:
    """Twice as long after each attempt, of which the second half is chance: what failed together does not return together."""
    whole = min(FIRST_PAUSE * (1 << min(attempt - 1, 20)), LONGEST_PAUSE)
    return whole * (500 + secrets.randbelow(501)) / 1000


# What is done or dead long enough is wanted once more; a dead letter has one attempt left.
WANT = f"""
    insert into staff.job as j (id, kind, key, next_at, created_at)
    select n.id, :kind, n.key, :now, :now from unnest(cast(:ids as uuid[]), cast(:keys as text[])) as n(id, key)
    on conflict (kind, key) do update set state = 'waiting', next_at = :now,
        attempts = case when j.state = 'failed' then {ATTEMPTS - 1} else 0 end
    where j.state in ('done', 'over') and j.finished_at <= :done or j.state = 'failed' and j.finished_at <= :dead
    returning j.id
"""  # noqa: S608 - a constant only
KEEP = """
    update staff.job j set lease_until = :until, attempts = 1 from unnest(cast(:ids as uuid[]), cast(:fences as bigint[])) as n(id, fence)
    where j.id = n.id and j.fence = n.fence and j.state = 'running'
"""
FINISH = """
    update staff.job j set state = 'done', result = cast(n.result as jsonb), finished_at = :now, error = null, lease_owner = null,
        lease_until = null
    from unnest(cast(:ids as uuid[]), cast(:fences as bigint[]), cast(:results as text[])) as n(id, fence, result)
    where j.id = n.id and j.fence = n.fence and j.state = 'running'
"""
