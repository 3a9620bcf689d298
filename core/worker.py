"""The worker: looks what is due, claims it, does it. Any number of them may run, on any number of machines.

Danger: what a dashboard promises to do by itself stops without anybody noticing. Principle: what is due is read from the
data (core.jobs), who does it is a lease (core.leases), and every worker says that it lives, so that silence shows.
Mechanism: rounds in which each kind of job gets its turn, so that a thousand jobs of one kind hold up no other; a second
thread that beats and renews the lease of the job at hand. A job that fails is put back, whatever it raised: the others go on.

Nothing here reads the clock: it is handed in.
"""

import logging
import os
import secrets
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import db, leases
from core.jobs import JOBS, MORE, Job
from core.leases import Lease
from core.models.staff import WorkerHeartbeat, WorkerJob
from core.privacy import brakes, restore

BEAT = timedelta(seconds=15)
REST = timedelta(seconds=5)
LONGEST_REST = timedelta(minutes=1)
MOST_PARTS = 50  # of one job in a row; then the other kinds have their turn

log = logging.getLogger("resocode")


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt: "done", "failed" (``error`` is a code that stands in the log) or "lost" to another."""

    kind: str
    key: str
    became: str
    counts: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Planned:
    """What a dry run found: ``would`` says whether a worker would take it up now, or what it waits for."""

    kind: str
    key: str
    would: str


@dataclass
class Worker:
    """One worker. ``clock`` tells the time; ``stopping`` is set by whoever wants it to end after the job at hand."""

    clock: Callable[[], datetime]
    jobs: Sequence[Job] = JOBS
    name: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    stopping: threading.Event = field(default_factory=threading.Event)
    _asked: dict[str, datetime] = field(default_factory=dict)
    _moved: set[str] = field(default_factory=set)
    _at_hand: tuple[Job, Lease] | None = None

    def run(self) -> None:
        """Work until ``stopping`` is set. A database that is gone is waited for, with growing pauses."""
        pause = REST
        while not self.stopping.is_set():
            try:
                self.catch_up()
                pause = REST
            except OperationalError as error:
                note(error)
                pause = min(pause * 2, LONGEST_REST)
            self.stopping.wait(pause.total_seconds())

    def catch_up(self) -> list[Outcome]:
        """Do everything that is due now, and return what became of it."""
        outcomes: list[Outcome] = []
        if self._rests():
            return outcomes
        while not self.stopping.is_set():
            self.beat()
            self.plan()
            turn = [found for job in self.jobs if (found := self.take_turn(job))]
            if not turn and not self._ask_again():
                break
            outcomes += turn
        return outcomes

    def _rests(self) -> bool:
        """Nothing is done with a database that is behind the erasure ledger: it was restored, and erased people are in it."""
        with db.transaction("worker") as session:
            behind = restore.compare(session, now=self.clock()).is_behind
        if behind:
            log.critical(
                "The database is behind the erasure ledger; nothing is done until `python -m core restore-check`."
            )
        return behind

    def plan(self) -> None:
        """Ask the data what is due, and write it down. What cannot be asked is shown as a dead letter."""
        for job in self.jobs:
            now = self.clock()
            if now - self._asked.get(job.kind, now - job.every) < job.every:
                continue
            self._plan_one(job, now)
            self._asked[job.kind] = now

    def take_turn(self, job: Job) -> Outcome | None:
        """Claim and do one job of a kind; None when there is none, or when somebody else has it."""
        if self.stopping.is_set():
            return None
        with db.transaction("worker") as session:
            lease = leases.claim(session, terms={job.kind: job.lease}, owner=self.name, now=self.clock())
        if lease is None:
            return None
        self._at_hand = (job, lease)
        try:
            outcome = self._do(job, lease)
        finally:
            self._at_hand = None
        if any(outcome.counts.values()):
            self._moved.add(job.kind)
        return outcome

    def beat(self) -> None:
        """Say that this worker lives, and hold the job at hand."""
        now, at_hand = self.clock(), self._at_hand
        with db.transaction("worker") as session:
            brakes.watch_clock(session, now=now)
            said = insert(WorkerHeartbeat).values(worker=self.name, beat_at=now)
            beat = {"beat_at": now, "seen_at": func.clock_timestamp()}
            session.execute(said.on_conflict_do_update(index_elements=["worker"], set_=beat))
            if at_hand and now < at_hand[1].started_at + at_hand[0].longest:
                leases.renew(session, at_hand[1], until=now + at_hand[0].lease)

    def beat_until_stopped(self, stopped: threading.Event) -> None:
        """The second thread: beat, also while a long job is at hand."""
        while not stopped.wait(BEAT.total_seconds()):
            try:
                self.beat()
            except OperationalError as error:
                note(error)

    def _ask_again(self) -> bool:
        """Whether something was moved since the data were asked: then there may be more to do, as the next part of it."""
        moved, self._moved = self._moved, set()
        for kind in moved:
            self._asked.pop(kind, None)
        return bool(moved)

    def _plan_one(self, job: Job, now: datetime) -> None:
        try:
            with db.transaction("worker") as session:
                keys = job.due(session, now)
                leases.want(session, job.kind, keys, again=job.again, now=now)
                leases.settle(session, job.kind, keys, now=now)
        except Exception as error:  # noqa: BLE001 - one kind that cannot be asked must not stop the others
            with db.transaction("worker") as session:
                leases.cannot_plan(session, job.kind, error=note(error), now=now)

    def _do(self, job: Job, lease: Lease) -> Outcome:
        done: Counter[str] = Counter()
        parts = MOST_PARTS
        try:
            while parts:
                parts -= 1
                with db.transaction("worker") as session:
                    counts = dict(job.run(session, lease.key, self.clock()))
                    parts = parts if counts.pop(MORE, 0) and not self.stopping.is_set() else 0
                    done.update(counts)
                    if parts:
                        lease = leases.keep(session, lease, until=self.clock() + job.lease)
                    else:
                        leases.finish(session, lease, done, now=self.clock())
                self._at_hand = (job, lease)
        except leases.LeaseLost:
            return self._lost(job, lease)
        except Exception as error:  # noqa: BLE001 - a poisonous job is put aside, the others go on
            return self._failed(job, lease, note(error))
        return Outcome(job.kind, lease.key, "done", done)

    def _failed(self, job: Job, lease: Lease, code: str) -> Outcome:
        try:
            with db.transaction("worker") as session:
                if job.failed:
                    job.failed(session, lease.key, code, self.clock())
                    leases.finish(session, lease, {"failed": 1}, now=self.clock())
                else:
                    leases.fail(session, lease, error=code, now=self.clock())
        except leases.LeaseLost:
            return self._lost(job, lease)
        return Outcome(job.kind, lease.key, "failed", error=code)

    def _lost(self, job: Job, lease: Lease) -> Outcome:
        log.warning("%s %s was taken over by another worker; nothing of this attempt stays.", job.kind, lease.key)
        return Outcome(job.kind, lease.key, "lost")


def dry_run(*, now: datetime, jobs: Sequence[Job] = JOBS) -> list[Planned]:
    """Return what a worker would do now, in transactions that cannot write."""
    found: list[Planned] = []
    for job in jobs:
        try:
            with db.transaction("worker") as session:
                session.execute(text("set transaction read only"))
                found += [Planned(job.kind, key, _would(row, job, now)) for key, row in _rows(session, job, now)]
        except Exception as error:  # noqa: BLE001 - said like the rest
            found.append(Planned(job.kind, leases.PLANNING, f"cannot be asked ({note(error)})"))
    return found


def _rows(session: Session, job: Job, now: datetime) -> list[tuple[str, WorkerJob | None]]:
    known = {row.key: row for row in session.scalars(select(WorkerJob).where(WorkerJob.kind == job.kind))}
    return [(key, known.get(key)) for key in job.due(session, now)]


def note(error: BaseException) -> str:
    """Write an error to the log without the values that its text may hold; return its code and kind."""
    code = f"F-{secrets.token_hex(2).upper()} {type(error).__name__}"
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s at %s", code, where)
    return code


def _would(row: WorkerJob | None, job: Job, now: datetime) -> str:
    if row is None:
        return "run"
    if row.state == "running" and row.lease_until is not None and row.lease_until > now:
        return f"wait: {row.lease_owner} is at it"
    if row.state == "waiting" and row.next_at > now:
        return f"wait until {row.next_at:%H:%M:%S} UTC after {row.attempts} attempts"
    if row.state in ("done", "over") and row.finished_at is not None and row.finished_at > now - job.again:
        return "wait: done a moment ago"
    if row.state == "failed" and row.finished_at is not None and row.finished_at > now - leases.REVIVED_AFTER:
        return f"wait: a dead letter ({row.error})"
    return "run"
