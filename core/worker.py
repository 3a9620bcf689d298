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
from core.jobs import ALONE, JOBS, MORE, Job
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
    _at_hand: tuple[Job, list[Lease]] | None = None

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
            turn = [outcome for job in self.jobs for outcome in self.take_turn(job)]
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

    def take_turn(self, job: Job) -> list[Outcome]:
        """Claim and do one job of a kind, or several that go together; none when there is none, or when somebody else has it."""
        if self.stopping.is_set():
            return []
        with db.transaction("worker") as session:
            held = leases.claim_together(
                session, kind=job.kind, term=job.lease, owner=self.name, now=self.clock(), at_most=job.at_once
            )
        if not held:
            return []
        try:
            outcomes = self._do(job, held)
        finally:
            self._at_hand = None
        if any(any(outcome.counts.values()) for outcome in outcomes):
            self._moved.add(job.kind)
        return outcomes

    def beat(self) -> None:
        """Say that this worker lives, and hold the job at hand."""
        now, at_hand = self.clock(), self._at_hand
        with db.transaction("worker") as session:
            brakes.watch_clock(session, now=now)
            said = insert(WorkerHeartbeat).values(worker=self.name, beat_at=now)
            beat = {"beat_at": now, "seen_at": func.clock_timestamp()}
            session.execute(said.on_conflict_do_update(index_elements=["worker"], set_=beat))
            if at_hand and now < at_hand[1][0].started_at + at_hand[0].longest:
                leases.renew(session, *at_hand[1], until=now + at_hand[0].lease)

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
                leases.want(session, job.kind, keys, again=job.again, now=now, revived=job.revived)
                leases.settle(session, job.kind, keys, now=now)
        except Exception as error:  # noqa: BLE001 - one kind that cannot be asked must not stop the others
            with db.transaction("worker") as session:
                leases.cannot_plan(session, job.kind, error=note(error), now=now)

    def _do(self, job: Job, held: list[Lease]) -> list[Outcome]:
        """Do the parts of jobs, in rounds: all that have a next part go on together, and alone who has to."""
        work = _Work(job, {lease.key: Counter() for lease in held})
        while held and work.parts:
            held = self._round(work, held)
        return [*work.outcomes, *self._let_go(work, held)]

    def _round(self, work: "_Work", held: list[Lease]) -> list[Lease]:
        """One part of each; return whose next one follows. A group that fails is halved until it is clear who it is."""
        groups, onward = [held], list[Lease]()
        while groups:
            group = groups.pop(0)
            if not work.parts:
                onward += group
                continue
            work.parts -= 1
            self._at_hand = (work.job, [*group, *onward, *(lease for other in groups for lease in other)])
            try:
                more, alone = self._part(work, group)
            except Exception as error:  # noqa: BLE001 - a poisonous job is put aside, the others go on
                if len(group) > 1:
                    half = len(group) // 2
                    groups[:0] = [group[:half], group[half:]]
                else:
                    work.outcomes.append(self._ended(work.job, group[0], error))
                continue
            onward += more
            groups += [[lease] for lease in alone]
        return onward

    def _part(self, work: "_Work", group: list[Lease]) -> tuple[list[Lease], list[Lease]]:
        """One transaction: the effect, and the fence of every lease. Return whose next part follows with others, and alone."""
        job, now = work.job, self.clock()
        with db.transaction("worker") as session:
            came = {key: dict(counts) for key, counts in job.part(session, [lease.key for lease in group], now).items()}
            wants = {key: (bool(counts.pop(MORE, 0)), bool(counts.pop(ALONE, 0))) for key, counts in came.items()}
            going = [lease for lease in group if wants[lease.key][0]]
            over = [lease for lease in group if not wants[lease.key][0]]
            totals = {key: Counter(work.done[key]) for key in came}
            for key, counts in came.items():
                totals[key].update(counts)
            kept = leases.keep(session, going, until=self.clock() + job.lease)
            leases.finish_together(session, over, [totals[lease.key] for lease in over], now=self.clock())
        work.done |= totals
        work.parts = 0 if self.stopping.is_set() else work.parts
        work.outcomes += [Outcome(job.kind, lease.key, "done", work.done[lease.key]) for lease in over]
        alone = [lease for lease in kept if wants[lease.key][1] and len(group) > 1]
        return [lease for lease in kept if lease not in alone], alone

    def _let_go(self, work: "_Work", held: list[Lease]) -> list[Outcome]:
        """Give back what has another part when its turn is over: the data ask for it again."""
        try:
            with db.transaction("worker") as session:
                leases.finish_together(session, held, [work.done[lease.key] for lease in held], now=self.clock())
        except leases.LeaseLost:
            if len(held) > 1:
                return [outcome for lease in held for outcome in self._let_go(work, [lease])]
            return [self._lost(work.job, held[0])]
        return [Outcome(work.job.kind, lease.key, "done", work.done[lease.key]) for lease in held]

    def _ended(self, job: Job, lease: Lease, error: Exception) -> Outcome:
        return self._lost(job, lease) if isinstance(error, leases.LeaseLost) else self._failed(job, lease, note(error))

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


@dataclass
class _Work:
    """Jobs in the hands of one turn: what was done of each, and how many parts are left of the turn."""

    job: Job
    done: dict[str, Counter[str]]
    parts: int = MOST_PARTS
    outcomes: list[Outcome] = field(default_factory=list)


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
    if row.state == "failed" and row.finished_at is not None and row.finished_at > now - job.revived:
        return f"wait: a dead letter ({row.error})"
    return "run"
