"""The worker: everything due is done once, whatever dies, sleeps or poisons; and what it does first."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from core import cli, companion, db, jobs, leases, queries, worker
from core.jobs import JOBS, Job
from core.privacy import audit
from core.settings import ROOT
from core.worker import Worker
from tests.cast import NOW, id_of
from tests.conftest import sign_in

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def own_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints of this test alone: the home is shared by all of them."""
    monkeypatch.setattr(audit, "_folder", lambda: tmp_path)


class Clock:
    """A clock that the test turns."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def counting(session: Session, key: str, now: datetime) -> dict[str, int]:
    """A job whose effect adds one, so that a second time would show."""
    session.execute(
        text(
            "insert into staff.throttle values (convert_to(:key, 'UTF8'), 1, :now) on conflict (name_hash)"
            " do update set failures = throttle.failures + 1"
        ),
        {"key": key, "now": now},
    )
    return {"rows": 1}


def missing(keys: Sequence[str]) -> Callable[[Session, datetime], list[str]]:
    """Due is what the data do not hold yet."""

    def due(session: Session, _now: datetime) -> list[str]:
        there = set(session.scalars(text("select convert_from(name_hash, 'UTF8') from staff.throttle")))
        return [key for key in keys if key not in there]

    return due


def effects() -> dict[str, int]:
    with db.transaction("worker") as session:
        rows = session.execute(text("select convert_from(name_hash, 'UTF8'), failures from staff.throttle"))
        return {row[0]: row[1] for row in rows}


def test_it_does_what_is_due_and_then_nothing(database: str) -> None:
    made = Worker(Clock(), [Job("count", missing(["a", "b"]), counting)], name="w")
    assert [(o.key, o.became, dict(o.counts)) for o in made.catch_up()] == [
        ("a", "done", {"rows": 1}),
        ("b", "done", {"rows": 1}),
    ]
    assert made.catch_up() == []
    assert effects() == {"a": 1, "b": 1}


@pytest.mark.parametrize("workers", [2, 8])
def test_many_workers_never_do_one_job_twice(database: str, workers: int) -> None:
    keys = [f"{number:03}" for number in range(40)]
    made = [Worker(Clock(), [Job("count", missing(keys), counting)], name=f"w{n}") for n in range(workers)]
    threads = [threading.Thread(target=each.catch_up) for each in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Worker(Clock(), made[0].jobs).catch_up()
    assert effects() == dict.fromkeys(keys, 1)
    with db.transaction("worker") as session:
        assert session.scalar(text("select count(*) from staff.job where state = 'done' and attempts = 1")) == len(keys)


def test_a_poisonous_job_among_a_hundred_is_put_aside(database: str) -> None:
    keys = [f"{number:03}" for number in range(100)]

    def run(session: Session, key: str, now: datetime) -> Mapping[str, int]:
        counts = counting(session, key, now)
        if key == "041":
            raise ValueError("asha@students.example must not get into the log")
        return counts

    clock = Clock()
    made = Worker(clock, [Job("count", missing(keys), run)])
    for _ in range(12):
        made.catch_up()
        clock.now += timedelta(minutes=20)
    assert effects() == dict.fromkeys((key for key in keys if key != "041"), 1)
    with db.transaction("worker") as session:
        state = queries.worker_state(session, now=clock.now)
    assert [(dead.kind, dead.key, dead.attempts) for dead in state.dead] == [("count", "041", leases.ATTEMPTS)]
    assert state.dead[0].error.endswith(" ValueError")


def test_what_is_raised_goes_to_the_log_without_its_values(database: str, caplog: pytest.LogCaptureFixture) -> None:
    def run(_session: Session, _key: str, _now: datetime) -> Mapping[str, int]:
        raise ValueError("asha@students.example")

    [outcome] = Worker(Clock(), [Job("count", missing(["a"]), run)]).catch_up()
    assert outcome.became == "failed"
    assert outcome.error in caplog.text and "test_worker.py:" in caplog.text
    assert "asha" not in caplog.text


def test_a_kind_that_cannot_be_asked_stops_no_other_and_shows(database: str) -> None:
    broken = [True]

    def due(_session: Session, _now: datetime) -> list[str]:
        if broken[0]:
            raise LookupError
        return []

    clock = Clock()
    made = Worker(clock, [Job("broken", due, counting), Job("count", missing(["a"]), counting)])
    made.catch_up()
    assert effects() == {"a": 1}
    with db.transaction("worker") as session:
        assert [dead.key for dead in queries.worker_state(session, now=NOW).dead] == [leases.PLANNING]
    broken[0], clock.now = False, NOW + MINUTE
    made.catch_up()
    with db.transaction("worker") as session:
        assert queries.worker_state(session, now=NOW).dead == ()


def test_a_thousand_of_one_kind_hold_up_no_other(database: str) -> None:
    many = Job("many", missing([f"m{number}" for number in range(30)]), counting)
    few = Job("few", missing(["f0", "f1"]), counting)
    order = [outcome.key for outcome in Worker(Clock(), [many, few]).catch_up()]
    assert {"f0", "f1"} <= set(order[:4])


def test_what_a_job_leaves_due_is_done_in_parts(database: str) -> None:
    """A part per transaction: progress is what stands in the data."""

    def due(session: Session, _now: datetime) -> list[str]:
        done = session.scalar(text("select coalesce(sum(failures), 0) from staff.throttle"))
        return ["all"] if done < 5 else []

    made = Worker(Clock(), [Job("parts", due, counting, again=jobs.NOW)])
    assert [outcome.became for outcome in made.catch_up()] == ["done"] * 5
    assert effects() == {"all": 5}


def test_a_job_that_moves_nothing_is_not_asked_for_again_at_once(database: str) -> None:
    made = Worker(Clock(), [Job("idle", lambda *_: ["x"], lambda *_: {"rows": 0}, again=jobs.NOW)])
    assert len(made.catch_up()) == 1


def test_a_job_finished_by_another_meanwhile_leaves_nothing(database: str) -> None:
    """The lease runs out in the middle of the work; a second worker does it; the first one's work is rolled back."""
    clock = Clock()
    second = Worker(clock, [Job("count", missing(["a"]), counting)], name="second")

    def sleepy(session: Session, key: str, now: datetime) -> Mapping[str, int]:
        clock.now += 2 * MINUTE
        assert [outcome.became for outcome in second.catch_up()] == ["done"]
        return counting(session, "late", now)

    first = Worker(clock, [Job("count", missing(["a"]), sleepy)], name="first")
    assert [outcome.became for outcome in first.catch_up()] == ["lost"]
    assert effects() == {"a": 1}


def test_a_beat_holds_the_job_at_hand_but_not_for_ever(database: str) -> None:
    clock = Clock()
    until = text("select lease_until from staff.job where key = 'a'")

    def long(session: Session, key: str, now: datetime) -> Mapping[str, int]:
        for hours in (0, 2):
            clock.now = NOW + timedelta(seconds=50, hours=hours)
            made.beat()
            with db.transaction("worker") as other:
                seen.append(other.scalar(until))
        return counting(session, key, now)

    seen: list[datetime] = []
    made = Worker(clock, [Job("count", missing(["a"]), long, longest=timedelta(hours=1))])
    made.catch_up()
    assert seen == [NOW + timedelta(seconds=110)] * 2


@pytest.mark.parametrize("moment", ["before the effect", "after the effect"])
def test_a_worker_killed_in_mid_job_is_replaced(database: str, moment: str) -> None:
    script = f"""
import os, signal
from core.jobs import Job
from core.worker import Worker
from tests.core.test_worker import Clock, counting, missing
def run(session, key, now):
    if {moment!r} == "after the effect": counting(session, key, now)
    os.kill(os.getpid(), signal.SIGKILL)
Worker(Clock(), [Job("count", missing(["a", "b"]), run)], name="victim").catch_up()
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert effects() == {}
    other = Worker(Clock(), [Job("count", missing(["a", "b"]), counting)], name="heir")
    assert [outcome.key for outcome in other.catch_up()] == ["b"], "a is the victim's until its lease ends"
    other.clock = Clock(NOW + MINUTE)
    assert [outcome.key for outcome in other.catch_up()] == ["a"]
    assert effects() == {"a": 1, "b": 1}


def test_stopping_ends_after_the_job_at_hand(database: str) -> None:
    def run(session: Session, key: str, now: datetime) -> Mapping[str, int]:
        made.stopping.set()
        return counting(session, key, now)

    made = Worker(Clock(), [Job("count", missing(["a", "b"]), run)])
    made.run()
    assert effects() == {"a": 1}


# The first jobs


def outcomes(now: datetime) -> dict[tuple[str, str], Mapping[str, int]]:
    found = Worker(Clock(now)).catch_up()
    assert [outcome for outcome in found if outcome.became != "done"] == []
    return {(outcome.kind, outcome.key): outcome.counts for outcome in found}


def test_the_kinds_are_named_once_and_leases_outlast_a_few_beats() -> None:
    assert len({job.kind for job in JOBS}) == len(JOBS)
    assert [job.kind for job in JOBS if job.lease < 3 * worker.BEAT] == []


def test_after_five_days_off_everything_is_caught_up(house: str, owner: Connection) -> None:
    """Nobody worked for five days: a Monday, a month's end and a withdrawal went by."""
    owner.execute(text("update platform.cohort set ends_on = :day"), {"day": (NOW + timedelta(days=3)).date()})
    owner.execute(text("update platform.result set kind = 'withdrawn', decided_at = :at where enrollment_id = :ben"),
                  {"at": NOW + timedelta(days=2), "ben": id_of("ben enrollment")})  # fmt: skip
    owner.commit()
    outcomes(NOW)
    back = NOW + timedelta(days=7)
    done = outcomes(back)
    assert done["enrollment statuses", "2026-12-01"] == {"moved": 3}
    assert done["weekly group figures", "2026-11-30"]["figures"] > 0
    assert done["months ahead", "email_log 2027-03"] == {"made": 1}
    for minutes in (10, 20, 30, 40):  # signs what the last jobs wrote into the audit; a canary closes its account
        outcomes(back + timedelta(minutes=minutes))
    assert outcomes(back + timedelta(minutes=50)) == {}
    told = "select student_id, status from platform.enrollment where source <> 'canary'"
    statuses = {row[0]: row[1] for row in owner.execute(text(told))}
    assert statuses == {id_of("asha"): "ended", id_of("ben"): "withdrawn", id_of("cleo"): "ended"}


def test_months_are_made_three_ahead(database: str) -> None:
    assert {key for kind, key in outcomes(NOW) if kind == "months ahead"} == {
        f"{table} {month}"
        for table in ("email_log", "usage_event")
        for month in ("2026-11", "2026-12", "2027-01", "2027-02")
    }


def test_a_new_month_gives_way_to_whoever_reads_the_table(database: str, owner: Connection) -> None:
    owner.execute(text("select count(*) from platform.email_log"))  # and the transaction stays open
    months = [job for job in JOBS if job.kind == "months ahead"]
    became = {one.key: one.became for one in Worker(Clock(NOW), months).catch_up()}
    assert became == {
        f"{table} {month}": "failed" if table == "email_log" else "done"
        for table in ("email_log", "usage_event")
        for month in ("2026-12", "2027-01", "2027-02")
    }, "until the next try"
    owner.commit()
    later = Worker(Clock(NOW + timedelta(hours=1)), months).catch_up()
    assert {one.key for one in later if one.became == "done"} == {
        f"email_log {m}" for m in ("2026-12", "2027-01", "2027-02")
    }


def test_old_sessions_failures_files_heartbeats_and_jobs_are_tidied_away(house: str, owner: Connection) -> None:
    sign_in("paula")
    _, staff = sign_in("ines")
    old = {
        "old": NOW - timedelta(days=31),
        "id": staff.session_id,
        "soon": NOW + MINUTE,
        "very": NOW - timedelta(days=91),
    }
    owner.execute(text("update staff.session set ended_at = :old where id = :id"), old)
    owner.execute(text("update staff.session set expires_at = :soon, seen_at = :soon where id <> :id"), old)
    owner.execute(text("insert into staff.throttle values ('\\x01', 3, :old), ('\\x02', 3, :soon)"), old)
    owner.execute(text("insert into staff.throttle values ('\\x03', 100, :old, :soon)"), old)
    owner.execute(
        text(
            "insert into staff.file_link (token_hash, session_id, name, media_type, content, created_at, expires_at)"
            " select '\\x01', id, 'f', 'text/csv', '', :old, :old from staff.session where id = :id"
        ),
        old,
    )
    owner.execute(text("insert into staff.worker_heartbeat values ('gone', :old)"), old)
    owner.execute(
        text(
            "insert into staff.job (id, kind, key, state, next_at, created_at, finished_at) values"
            " (gen_random_uuid(), 'k', 'done', 'done', :very, :very, :very),"
            " (gen_random_uuid(), 'k', 'dead', 'failed', :very, :very, :very)"
        ),
        old,
    )
    owner.commit()
    done = outcomes(NOW)
    assert {key: counts["dropped"] for (kind, key), counts in done.items() if kind == "tidying"} == dict.fromkeys(
        jobs.TIDY, 1
    )
    assert owner.scalar(text("select count(*) from staff.session where id = :id"), old) == 0
    left = {name: owner.scalar(text(f"select count(*) from staff.{name}"))
            for name in ("session", "throttle", "file_link", "worker_heartbeat")}  # fmt: skip
    assert left == {"session": 1, "throttle": 2, "file_link": 0, "worker_heartbeat": 1}
    assert owner.scalars(text("select key from staff.job where kind = 'k'")).all() == ["dead"]


def test_the_end_of_the_audit_is_signed_within_five_minutes(house: str) -> None:
    signed = ("audit checkpoint", "end of the audit")
    made = Worker(Clock())
    assert signed not in [(o.kind, o.key) for o in made.catch_up()], "there is nothing to sign yet"
    for minutes in (2, 4, 7):
        with db.transaction("worker") as session:
            audit.append(session, audit.Action.SIGNED_OUT, now=NOW)
        made.clock = Clock(NOW + timedelta(minutes=minutes))
        made.catch_up()
    with db.transaction("worker") as session:
        assert audit.unsigned(session) == 0
        found = audit.verify(session)
    assert found.sound and found.checkpoints == 2, "minute 4 is too soon after minute 2"


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(house: str, owner: Connection) -> None:
    tables = "select json_agg(t) from (select * from staff.job) t", "select count(*) from staff.worker_heartbeat"
    before = [owner.scalar(text(query)) for query in tables]
    later = NOW + timedelta(days=7)
    planned = {(each.kind, each.key): each.would for each in worker.dry_run(now=later)}
    assert planned["weekly group figures", "2026-11-30"] == "run"
    assert planned["months ahead", "email_log 2027-01"] == "run"
    assert [owner.scalar(text(query)) for query in tables] == before == [None, 0]
    result = CliRunner().invoke(cli.app, ["worker", "--dry-run"])
    assert result.exit_code == 0 and "run" in result.output
    assert [owner.scalar(text(query)) for query in tables] == before


def test_a_dry_run_tells_what_keeps_a_worker_from_it(database: str) -> None:
    all_due = [Job("count", lambda *_: ["running", "resting", "dead", "done", "new"], counting)]
    with db.transaction("worker") as session:
        session.execute(
            text(
                "insert into staff.job (id, kind, key, state, attempts, next_at, lease_owner, lease_until, created_at, finished_at, error)"
                " select gen_random_uuid(), 'count', k, s, 2, :later, o, u, :now, f, 'F-1 Boom' from (values"
                " ('running', 'running', 'w9', cast(:later as timestamptz), cast(null as timestamptz)),"
                " ('resting', 'waiting', null, null, null), ('dead', 'failed', null, null, cast(:now as timestamptz)),"
                " ('done', 'done', null, null, cast(:now as timestamptz))) v(k, s, o, u, f)"
            ),
            {"now": NOW, "later": NOW + MINUTE},
        )
    would = {each.key: each.would for each in worker.dry_run(now=NOW, jobs=all_due)}
    assert would == {
        "running": "wait: w9 is at it",
        "resting": "wait until 12:01:00 UTC after 2 attempts",
        "dead": "wait: a dead letter (F-1 Boom)",
        "done": "wait: done a moment ago",
        "new": "run",
    }


def test_a_dry_run_cannot_write_even_when_a_job_would(database: str) -> None:
    def due(session: Session, now: datetime) -> list[str]:
        counting(session, "written", now)
        return ["x"]

    [planned] = worker.dry_run(now=NOW, jobs=[Job("rude", due, counting)])
    assert planned.key == leases.PLANNING and "cannot be asked" in planned.would
    assert effects() == {}


def test_no_due_writes_anything(house: str) -> None:
    for job in JOBS:
        with db.transaction("worker") as session:
            session.execute(text("set transaction read only"))
            job.due(session, NOW + timedelta(days=7))


def test_the_command_does_what_is_due_once(house: str) -> None:
    first = CliRunner().invoke(cli.app, ["worker", "--once"])
    assert first.exit_code == 0 and "months ahead" in first.output
    assert "alive" in CliRunner().invoke(cli.app, ["status"]).output


# Beside the dashboard


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = threading.Event()
    for _ in range(600):
        if condition():
            return
        deadline.wait(0.05)
    raise AssertionError("it did not happen")


def test_a_companion_starts_when_the_dashboard_is_open_and_not_before() -> None:
    opened = threading.Event()
    with companion.beside(("sleep", "60"), after=opened) as made:
        assert not opened.wait(0.1) and made.process is None
        opened.set()
        wait_for(lambda: made.process is not None)
    with companion.beside(("sleep", "60"), after=threading.Event()) as never:
        pass  # a dashboard that did not open takes it along
    assert never.process is None


def test_a_companion_is_started_again_and_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    command = (sys.executable, "-c", "import sys; sys.stdin.read()")
    with companion.beside(command) as made:
        wait_for(lambda: made.process is not None)
        first = made.process
        assert first is not None
        first.kill()
        wait_for(lambda: made.process is not first and made.process is not None and made.process.poll() is None)
        second = made.process
    assert second is not None and second.returncode is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_worker_goes_with_its_parent(house: str, number: int) -> None:
    """The parent keeps a real worker beside itself and dies, in the clean way or the other."""
    script = """
import signal, sys, time
from core import companion
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with companion.beside() as made:
    while made.process is None: time.sleep(0.01)
    print(made.process.pid, flush=True)
    time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    beats = text("select count(*) from staff.worker_heartbeat")

    def beating() -> bool:
        with db.transaction("worker") as session:
            return bool(session.scalar(beats))

    wait_for(beating)
    os.kill(parent.pid, number)
    parent.wait(20)
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
