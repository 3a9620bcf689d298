"""Leases: claimed once, ended by themselves, and worthless to whoever slept past their end."""

import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core import db, leases, worker
from core.jobs import JOBS, Job
from core.leases import ATTEMPTS, Lease, LeaseLost
from core.worker import Worker
from tests.cast import NOW

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
TERMS = {"sweep": MINUTE}


def want(*keys: str, now=NOW, again=MINUTE) -> int:
    with db.transaction("worker") as session:
        return leases.want(session, "sweep", keys, again=again, now=now)


def claim(now=NOW, owner: str = "a") -> Lease | None:
    with db.transaction("worker") as session:
        return leases.claim(session, terms=TERMS, owner=owner, now=now)


def finish(lease: Lease, now=NOW) -> None:
    with db.transaction("worker") as session:
        leases.finish(session, lease, {"rows": 1}, now=now)


def fail(lease: Lease, now=NOW) -> None:
    with db.transaction("worker") as session:
        leases.fail(session, lease, error="F-0000 Boom", now=now)


def jobs() -> dict[str, tuple[str, int, int]]:
    with db.transaction("worker") as session:
        rows = session.execute(text("select key, state, attempts, fence from staff.job order by key"))
        return {row.key: (row.state, row.attempts, row.fence) for row in rows}


def test_what_is_wanted_twice_is_one_job(database: str) -> None:
    assert want("x", "y", "x") == 2
    assert want("x", "y") == 0
    assert set(jobs()) == {"x", "y"}


def test_a_claimed_job_is_nobody_elses_until_its_lease_ends(database: str) -> None:
    want("x")
    first = claim()
    assert first is not None and (first.key, first.fence, first.until) == ("x", 1, NOW + MINUTE)
    assert claim(NOW + MINUTE - timedelta(microseconds=1), "b") is None
    second = claim(NOW + MINUTE, "b")
    assert second is not None and (second.fence, second.attempt) == (2, 2)


def test_a_renewed_lease_lasts_longer_and_a_lost_one_cannot_be_renewed(database: str) -> None:
    want("x")
    lease = claim()
    assert lease is not None
    with db.transaction("worker") as session:
        assert leases.renew(session, lease, until=NOW + 3 * MINUTE)
    assert claim(NOW + 2 * MINUTE, "b") is None
    assert claim(NOW + 3 * MINUTE, "b") is not None
    with db.transaction("worker") as session:
        assert not leases.renew(session, lease, until=NOW + 9 * MINUTE)


def test_the_late_commit_of_a_stale_worker_writes_nothing(database: str) -> None:
    """A holds the lease, sleeps past it, B does the job; A wakes in the middle of its transaction."""
    want("x")
    stale = claim()
    assert stale is not None
    with pytest.raises(LeaseLost), db.transaction("worker") as sleeper:
        sleeper.execute(text("insert into staff.throttle values ('\\x01', 1, now())"))
        fresh = claim(NOW + MINUTE, "b")
        assert fresh is not None
        finish(fresh, NOW + MINUTE)
        leases.finish(sleeper, stale, {"rows": 9}, now=NOW + MINUTE)
    with db.transaction("worker") as session:
        assert session.scalar(text("select count(*) from staff.throttle")) == 0
        assert session.scalar(text("select result from staff.job")) == {"rows": 1}
    fail(stale)  # nor does its failure count
    assert jobs() == {"x": ("done", 2, 2)}


def test_a_stale_worker_loses_also_against_one_that_is_still_at_work(database: str) -> None:
    want("x")
    stale = claim()
    assert stale is not None
    assert claim(NOW + MINUTE, "b") is not None
    with pytest.raises(LeaseLost):
        finish(stale, NOW + MINUTE)
    assert jobs() == {"x": ("running", 2, 2)}


def test_a_failed_job_waits_longer_each_time_and_is_a_dead_letter_in_the_end(database: str) -> None:
    want("x")
    now, pauses = NOW, []
    for attempt in range(1, ATTEMPTS + 1):
        lease = claim(now)
        assert lease is not None and lease.attempt == attempt
        fail(lease, now)
        if attempt < ATTEMPTS:
            with db.transaction("worker") as session:
                next_at = session.scalar(text("select next_at from staff.job"))
            pauses.append(next_at - now)
            assert claim(next_at - timedelta(microseconds=1)) is None
            now = next_at
    assert jobs()["x"][:2] == ("failed", ATTEMPTS)
    assert claim(now + timedelta(hours=5)) is None
    for number, pause in enumerate(pauses):
        assert leases.FIRST_PAUSE * 2**number / 2 <= pause <= leases.FIRST_PAUSE * 2**number


def test_pauses_never_exceed_the_longest() -> None:
    assert max(leases._pause(attempt) for attempt in range(1, 60)) <= leases.LONGEST_PAUSE


def test_a_job_that_kills_its_workers_is_a_dead_letter_too(database: str) -> None:
    want("x", "y")
    now = NOW
    for _ in range(ATTEMPTS):
        taken = [claim(now, "a"), claim(now, "b")]
        for lease in taken:
            if lease is not None and lease.key == "y":
                finish(lease, now)
        now += MINUTE
    assert claim(now) is None
    assert jobs() == {"x": ("failed", ATTEMPTS, ATTEMPTS), "y": ("done", 1, 1)}


def test_a_dead_letter_is_tried_once_a_day_or_on_demand_and_closed_when_nobody_needs_it(database: str) -> None:
    want("x")
    with db.transaction("worker") as session:
        session.execute(text("update staff.job set state = 'failed', attempts = 5, finished_at = :now"), {"now": NOW})
    assert want("x", now=NOW + timedelta(hours=23)) == 0
    assert want("x", now=NOW + timedelta(hours=24)) == 1
    lease = claim(NOW + timedelta(hours=24))
    assert lease is not None and lease.attempt == ATTEMPTS, "one attempt, not five"
    fail(lease, NOW + timedelta(hours=24))
    with db.transaction("worker") as session:
        assert leases.retry(session, now=NOW) == 1
    assert jobs()["x"][:2] == ("waiting", 0)
    with db.transaction("worker") as session:
        session.execute(text("update staff.job set state = 'failed'"))
        leases.settle(session, "sweep", ["other"], now=NOW)
    assert jobs()["x"][0] == "over"


def test_a_dead_letter_about_people_who_wait_to_be_told_comes_back_within_the_hour(database: str) -> None:
    soon = {job.kind for job in JOBS if job.revived == HOUR}
    assert soon == {"notices", "letters by mail", "mail by rule", "alerts"}
    told: list[str] = []
    job = Job("notices", lambda *_: ["x"], lambda _session, key, _now: told.append(key) or {}, every=timedelta(), revived=HOUR)  # fmt: skip
    with db.transaction("worker") as session:
        leases.want(session, "notices", ["x"], again=MINUTE, now=NOW)
        session.execute(text("update staff.job set state = 'failed', attempts = 5, finished_at = :now"), {"now": NOW})
    almost = NOW + HOUR - timedelta(seconds=1)
    assert [each.would for each in worker.dry_run(now=almost, jobs=[job])] == ["wait: a dead letter (None)"]
    Worker(lambda: almost, [job]).catch_up()
    assert told == []
    Worker(lambda: NOW + HOUR, [job]).catch_up()
    assert told == ["x"]


def test_what_is_done_is_wanted_again_when_the_data_ask_but_not_at_once(database: str) -> None:
    want("x")
    lease = claim()
    assert lease is not None
    finish(lease)
    assert want("x", now=NOW + MINUTE - timedelta(microseconds=1)) == 0
    assert want("x", now=NOW + MINUTE) == 1


@pytest.mark.parametrize("workers", [2, 8])
def test_no_job_is_done_twice(database: str, workers: int) -> None:
    """Each worker claims and finishes as fast as it can; the effect adds one, so a second one would show."""
    keys = [f"{number:03}" for number in range(60)]
    want(*keys)
    done: Counter[str] = Counter()
    errors: list[BaseException] = []
    begin = threading.Barrier(workers)

    def work(name: str) -> None:
        try:
            begin.wait()
            while lease := claim(NOW, name):
                with db.transaction("worker") as session:
                    _effect(session)
                    leases.finish(session, lease, {}, now=NOW)
                done[lease.key] += 1
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=[f"w{number}"]) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert done == dict.fromkeys(keys, 1)
    with db.transaction("worker") as session:
        assert session.scalar(text("select sum(failures) from staff.throttle")) == len(keys)
        assert session.scalar(text("select count(distinct lease_owner) from staff.job")) == 0
    assert {state for state, _, _ in jobs().values()} == {"done"}


def _effect(session: Session) -> None:
    session.execute(
        text(
            "insert into staff.throttle values ('\\x01', 1, now()) on conflict (name_hash) do update"
            " set failures = throttle.failures + 1"
        )
    )
