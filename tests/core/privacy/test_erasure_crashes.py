"""The crash matrix: whatever dies, is cut or is lost at whatever boundary, every erasure ends without a human, and rightly.

``make test-full`` plays every boundary with every wire; here each boundary has one wire, so that all of both occur.
"""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db, embedded, leases
from core.privacy import brakes, erasure
from core.processors import registry
from core.processors.local import Local
from core.processors.protocol import Order, Outcome
from core.settings import ROOT
from core.worker import Worker
from tests.cast import id_of
from tests.conftest import FAST, fill, point_at
from tests.core.privacy.crashes import BOUNDARIES, WIRES, Fate, FileStore, Wire, eraser, naive, play, problems
from tests.core.privacy.house_of_erasures import (
    DUE,
    ERASURES,
    TWO,
    Clock,
    Store,
    crowd,
    erased,
    fingerprint,
    send_letters,
    steps,
    stores,
    work,
)
from tests.core.privacy.house_of_requests import DAY, HOUR, lines, rows, waiting

__all__ = ["stores"]
pytestmark = pytest.mark.usefixtures("stores")
MINUTE = timedelta(minutes=1)
FULL = os.environ.get("RESOCODE_TEST_FULL") == "1"
SMALL = [(boundary, WIRES[number % len(WIRES)]) for number, boundary in enumerate(BOUNDARIES)]
GAMES = [(boundary, wire) for boundary in BOUNDARIES for wire in WIRES] if FULL else SMALL
LEAST = {"killed before a call": 2, "killed after a call": 2}


def wired(monkeypatch: pytest.MonkeyPatch, boundary: str, wire: str, cluster: embedded.Cluster, house: str) -> Fate:
    fate = Fate(boundary, cluster, house)
    for name in TWO:
        made = Wire(name, {id_of("ben"), id_of("cleo")})
        made.wire, made.fate = wire, fate
        monkeypatch.setitem(registry._makers, name, lambda made=made: made)
    return fate


@pytest.mark.parametrize(("boundary", "wire"), GAMES)
def test_it_ends_rightly_whatever_happens(
    boundary: str, wire: str, cluster: embedded.Cluster, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fate = wired(monkeypatch, boundary, wire, cluster, house)
    assert play(fate, eraser) == []
    assert len(fate.hits) >= LEAST.get(boundary, 12), "the game has to hit every boundary, or it proves nothing"


@pytest.mark.parametrize("game", [("killed before a call", "quiet"), ("none", "dropped before")], ids=str)
def test_the_same_harness_catches_a_naive_eraser(
    game: tuple[str, str], cluster: embedded.Cluster, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = play(wired(monkeypatch, *game, cluster, house), naive)
    assert f"{TWO[0]} still has them" in found, "it says that it is erased, and it is not"


def test_a_server_that_restarts_in_mid_transaction_loses_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGQUIT, as by `pg_ctl -m immediate`, in the middle of three parts: what had not committed is done again, once."""
    parts: list[str] = []
    with embedded.attach(folder / "pg", settings=FAST | {"synchronous_commit": "on"}) as client:
        house_of_ones_own(client.cluster, folder, monkeypatch)
        filed, ben = waiting(), fingerprint("ben")

        def falling(session: Session, keys: Sequence[str], now: datetime) -> Mapping[str, Mapping[str, int]]:
            done = eraser(session, keys, now)
            parts.append(keys[0])
            if len(parts) in (1, 4, 9):
                fall_down(client.cluster)
            return done

        job = dataclasses.replace(ERASURES[0], together=falling)
        for turn in range(1, 40):
            Worker(Clock(DUE + 3 * turn * MINUTE), (job,), name="AB"[turn % 2]).catch_up()
            send_letters(DUE + 3 * turn * MINUTE)
        assert len(parts) > 9, "it has to fall three times"
        assert problems(filed.request_id, ben) == []
        db.release()


def test_a_worker_that_is_stopped_in_the_middle_is_let_go_of_by_the_server(
    house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP for longer than its lease: its locks end with its transaction, another one does the work, it comes too late."""
    monkeypatch.setattr(erasure, "LONGEST_IDLE", "1s")
    filed, ben = waiting(), fingerprint("ben")
    held = claim(DUE)
    with pytest.raises(DBAPIError), db.transaction("worker") as session:
        erasure.go_on(session, request_id=filed.request_id, now=DUE)
        assert erased(filed.request_id, DUE + 2 * MINUTE)
        leases.finish(session, held, {}, now=DUE + DAY)
    assert problems(filed.request_id, ben) == []


def test_a_worker_that_wakes_after_its_lease_changes_nothing(house: str) -> None:
    filed = waiting()
    held = claim(DUE)
    assert work(DUE + 2 * MINUTE) == ["done"]
    before = (
        rows("select * from privacy.erasure_step order by id"),
        rows("select * from privacy.erasure_evidence order by id"),
    )
    send_letters()
    with pytest.raises(leases.LeaseLost), db.transaction("worker") as session:
        for _ in range(3):
            erasure.go_on(session, request_id=filed.request_id, now=DUE + DAY)
        leases.finish(session, held, {}, now=DUE + DAY)
    assert (
        rows("select * from privacy.erasure_step order by id"),
        rows("select * from privacy.erasure_evidence order by id"),
    ) == before


def house_of_ones_own(cluster: embedded.Cluster, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The cast in a cluster that nobody else uses."""
    with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
        admin.execute("create database tpl_cast")
    fill(cluster, "tpl_cast", folder / "home")
    point_at(patch, cluster, "tpl_cast", folder / "home")


def fall_down(cluster: embedded.Cluster) -> None:
    """End the server at once, and wait until its guardian has started it anew."""
    pid = int((cluster.data_directory / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGQUIT)
    deadline = time.monotonic() + 60
    while True:
        try:
            with psycopg.connect(cluster.conninfo()) as connection:
                started = connection.execute("select pg_postmaster_start_time()").fetchone()
            if started and int((cluster.data_directory / "postmaster.pid").read_text().split()[0]) != pid:
                break
        except (psycopg.OperationalError, FileNotFoundError, IndexError):
            assert time.monotonic() < deadline, "the guardian does not start it again"
        time.sleep(0.05)
    for role in ("worker", "app"):
        db.engine(role).dispose()


def claim(now: datetime) -> leases.Lease:
    """A worker takes the erasure that is due, and says nothing more."""
    job = ERASURES[0]
    with db.transaction("worker") as session:
        leases.want(session, job.kind, job.due(session, now), again=job.again, now=now)
        found = leases.claim(session, terms={job.kind: job.lease}, owner="asleep", now=now)
    assert found
    return found


@pytest.mark.parametrize("many", [2, 8] if FULL else [8])
def test_workers_at_once_do_everything_once(many: int, house: str, stores: dict[str, Store]) -> None:
    people = [waiting(), waiting(visitor_id=id_of("vera")), waiting(visitor_id=id_of("viktor"))]
    failures: list[BaseException] = []

    def strive(name: str) -> None:
        try:
            for minute in range(4):
                work(DUE + minute * MINUTE, name=name)
                send_letters(DUE + minute * MINUTE)
        except BaseException as error:  # noqa: BLE001 - told below, not lost with the thread
            failures.append(error)

    threads = [threading.Thread(target=strive, args=(f"w{number}",)) for number in range(many)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert all(erased(filed.request_id, DUE + DAY) for filed in people)
    assert {store.calls.count("erase") for store in stores.values()} == {3}, "each person once at each processor"
    assert lines().count("erasure ended") == 3


def test_one_poisonous_person_holds_up_nobody_else(
    house: str, owner: Connection, stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among many, one person's erasure raises every time: the others go, theirs is a dead letter."""
    many = 999 if FULL else 5
    poison, real = waiting(), Local.erase_together
    crowd(owner, many)
    monkeypatch.setattr(brakes, "FEW", 2000)

    def poisonous(self: Local, session: Session, orders: Sequence[Order], **how: Any) -> list[Outcome]:
        if any(order.person.id == id_of("cleo") for order in orders):
            raise ValueError("bad row")
        return real(self, session, orders, **how)

    monkeypatch.setattr(Local, "erase_together", poisonous)
    for minute in (0, 2, 5, 10, 20, 40, 80, 160):
        work(DUE + minute * MINUTE)
        send_letters(DUE + minute * MINUTE)
    states = dict(rows("select state, count(*) from privacy.request where kind = 'delete' group by 1"))
    assert states == {"erased": many, "erasing": 1}
    assert steps(poison.request_id)["this database"] == "failed"
    assert rows("select error like 'F-%ValueError' from privacy.erasure_step where state = 'failed'") == [(True,)]


# Real processes, really killed


@pytest.mark.parametrize(
    "point",
    ["before commit 9", "after call 2"]
    if not FULL
    else [f"{when} {n}" for when in ("before commit", "after commit") for n in range(1, 14)]
    + ["before call 1", "after call 1", "before call 2", "after call 2"],
)
def test_a_process_that_is_killed_by_sigkill_is_taken_over(
    point: str, house: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filed, ben = waiting(), fingerprint("ben")
    send_letters()
    for name in TWO:
        made = FileStore(name, {id_of("ben"), id_of("cleo")}).at(tmp_path)
        monkeypatch.setitem(registry._makers, name, lambda made=made: made)
    died = subprocess.run(
        [sys.executable, "-m", "tests.core.privacy.eraser_process", point, str(tmp_path)], cwd=ROOT, timeout=120
    )
    assert died.returncode == -signal.SIGKILL
    assert erased(filed.request_id, DUE + HOUR)
    assert problems(filed.request_id, ben) == []
    assert all(id_of("cleo") not in FileStore(name).at(tmp_path).there() for name in TWO)
