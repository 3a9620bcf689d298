"""A real streaming replica beside the tests' cluster: asked while it follows, never below what its reader has written."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InternalError, ProgrammingError
from sqlalchemy.orm import Session

from core import db, embedded, replica
from core.errors import SettingsError
from tests.cast import id_of
from tests.conftest import PASSWORD, open_folder

pytestmark = pytest.mark.usefixtures("house")
PAULA = id_of("paula")
SLOT = "replica"


@dataclass
class Replica:
    """A server that follows the cluster of the tests, and what happens to it."""

    data: Path
    program: Path
    uid: int
    primary: embedded.Cluster

    @property
    def conninfo(self) -> str:
        return make_conninfo(self.primary.conninfo(), host=str(self.data), port=5433)

    def start(self) -> None:
        command = [self.program, "-D", self.data, "-c", "port=5433", "-c", f"unix_socket_directories={self.data}",
                   "-c", "listen_addresses=", "-c", "hot_standby=on", "-c", "logging_collector=off"]  # fmt: skip
        log = (self.data / "log").open("a")
        self.server = subprocess.Popen(command, user=self.uid, stdout=log, stderr=log)
        wait_for(lambda: self.asks("select pg_is_in_recovery()"))

    def kill(self) -> None:
        self.server.kill()
        self.server.wait()
        wait_for(
            lambda: (
                not [p for p in psutil.process_iter(["cmdline"]) if str(self.data) in " ".join(p.info["cmdline"] or [])]
            )
        )

    def asks(self, query: str) -> object:
        try:
            with psycopg.connect(self.conninfo, autocommit=True) as connection:
                cursor = connection.execute(query)  # type: ignore[arg-type]
                row = cursor.fetchone() if cursor.description else None
                return row and row[0]
        except psycopg.OperationalError:
            return None

    def caught_up(self) -> None:
        """As far as the primary is now: all tests' databases are made and dropped there, and the replica follows them all."""
        with psycopg.connect(self.primary.conninfo(), autocommit=True) as admin:
            row = admin.execute("select pg_current_wal_insert_lsn()::text").fetchone()
        assert row
        try:
            wait_for(lambda: self.asks(f"select pg_last_wal_replay_lsn() >= '{row[0]}'"))
        except AssertionError as error:
            error.add_note("\n".join((self.data / "log").read_text().splitlines()[-20:]))
            raise


def wait_for(condition: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def copied(cluster: embedded.Cluster) -> Replica:
    folder = open_folder() / "replica"
    owner = cluster.data_directory.stat()
    folder.mkdir(mode=0o700)
    os.chown(folder, owner.st_uid, owner.st_gid)
    # A slot keeps what the replica has not read yet: other tests' checkpoints would take it away while it is killed.
    postmaster = int((cluster.data_directory / "postmaster.pid").read_text().split()[0])
    program = Path(f"/proc/{postmaster}/exe").resolve()
    command = [
        program.with_name("pg_basebackup"),
        "-D",
        folder,
        "-R",
        "-X",
        "stream",
        "-C",
        "-S",
        SLOT,
        "-c",
        "fast",
        "-d",
        cluster.conninfo(),
    ]
    subprocess.run(command, user=owner.st_uid, check=True, capture_output=True)
    return Replica(folder, program, owner.st_uid, cluster)


@pytest.fixture(scope="module")
def following(cluster: embedded.Cluster, templates: dict[str, str]) -> Iterator[Replica]:
    made = copied(cluster)
    made.start()
    yield made
    made.kill()
    with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
        admin.execute("select pg_drop_replication_slot(%s)", [SLOT])


@pytest.fixture
def pair(following: Replica, house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replica]:
    """The house's database on both, the replica as far as the primary, looked at anew at every question."""
    following.caught_up()
    where = urlencode({"host": str(following.data), "port": 5433})
    monkeypatch.setenv("READ_DATABASE_URL", f"postgresql://resocode_app:{PASSWORD}@/{house}?{where}")
    monkeypatch.setattr(replica, "LOOK_EVERY", 0.0)
    monkeypatch.setattr(replica, "REST", 0.0)
    replica._looks.clear()
    yield following
    following.asks("select pg_wal_replay_resume()")


def where(session: Session) -> str:
    return "replica" if session.scalar(text("select pg_is_in_recovery()")) else "primary"


def asked(written: int = 0) -> str:
    return replica.read(where, staff_id=PAULA, session_id=None, written=written)


def change(name: str) -> int:
    with db.transaction("worker") as session:
        session.execute(text("set local synchronous_commit = on"))  # as on a server that is not one of tests
        session.execute(text("update platform.program set title = :name"), {"name": name})
    return replica.position()


def title(written: int = 0) -> str:
    return replica.read(lambda s: str(s.scalar(text("select min(title) from platform.program"))), staff_id=PAULA,
                        session_id=None, written=written)  # fmt: skip


def test_the_replica_answers_with_the_same_rules(pair: Replica) -> None:
    assert asked() == "replica"
    count = text("select count(*) from platform.student")
    seen = replica.read(lambda s: s.scalar(count), staff_id=PAULA, session_id=None)
    assert seen
    assert replica.read(lambda s: s.scalar(count), staff_id=None, session_id=None) == 0, "nobody is signed in"


def test_what_one_has_written_is_never_read_from_before(pair: Replica) -> None:
    pair.asks("select pg_wal_replay_pause()")
    written = change("After")
    assert asked() == "replica", "somebody else may be a second behind"
    assert title() != "After"
    assert (asked(written), title(written)) == ("primary", "After")
    pair.asks("select pg_wal_replay_resume()")
    pair.caught_up()
    assert (asked(written), title(written)) == ("replica", "After")
    assert asked(replica.UNKNOWN) == "primary", "interrupted between commit and position"


def test_its_age_shows_and_too_old_is_not_asked(pair: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for(lambda: replica.following() and replica.following().lag == 0.0)  # type: ignore[union-attr]
    pair.asks("select pg_wal_replay_pause()")
    change("Later")
    seen = replica.following()
    assert seen
    assert seen.lag > 0
    assert not seen.trouble
    monkeypatch.setattr(replica, "MOST_LAG", 0.0)
    seen = replica.following()
    assert seen
    assert "seconds behind" in seen.trouble
    assert asked() == "primary"


def test_it_is_killed_and_comes_back(pair: Replica) -> None:
    assert asked() == "replica"
    with psycopg.connect(pair.primary.conninfo(), autocommit=True) as admin:
        admin.execute("checkpoint")
    pair.caught_up()
    pair.asks("checkpoint")  # so that it has little to replay when it starts again
    pair.kill()
    assert asked() == "primary", "nobody saw an error"
    told = replica.following()
    assert told
    assert told.trouble == "The replica does not answer."
    with psycopg.connect(pair.primary.conninfo(), autocommit=True) as admin:
        for _ in range(2):  # what the others do meanwhile
            admin.execute("select pg_switch_wal()")
            admin.execute("checkpoint")
    pair.start()
    pair.caught_up()
    assert asked() == "replica"


def test_it_goes_away_in_the_middle_of_a_question(pair: Replica) -> None:
    places = []

    def question(session: Session) -> str:
        places.append(where(session))
        if places == ["replica"]:
            pair.kill()
        session.execute(text("select 1"))
        return places[-1]

    assert replica.read(question, staff_id=PAULA, session_id=None) == "primary"
    assert places == ["replica", "primary"]
    pair.start()


def test_a_question_that_takes_too_long_is_not_asked_of_the_primary_too(pair: Replica) -> None:
    seen: list[str] = []

    def question(session: Session) -> None:
        seen.append(where(session))
        session.execute(text("set local statement_timeout = '20ms'"))
        session.execute(text("select pg_sleep(5)"))

    with pytest.raises(DBAPIError) as raised:
        replica.read(question, staff_id=PAULA, session_id=None)
    assert db.too_slow(raised.value) and not db.gone(raised.value)
    assert seen == ["replica"] and asked() == "replica", "it answers, and is left in peace for nothing"


CONFLICT = (
    "do $$ begin if pg_is_in_recovery() then raise 'conflict with recovery' using errcode = '40001'; end if; end $$"
)


@pytest.mark.parametrize("together", [True, False], ids=["one run", "alone"])
def test_what_it_has_to_replay_gets_in_the_way_of_a_question(pair: Replica, together: bool) -> None:
    pair.caught_up()
    wait_for(lambda: asked() == "replica")
    run = replica.Reading()
    places = []

    def question(session: Session) -> str:
        places.append(where(session))
        session.execute(text(CONFLICT))
        return places[-1]

    read = run.read if together else replica.read
    assert read(question, staff_id=PAULA, session_id=None) == "primary"
    assert places == ["replica", "primary"]
    assert asked() == "replica", "the next question is none of it"
    run.close()


def test_it_goes_away_between_the_reads_of_a_run(pair: Replica) -> None:
    pair.caught_up()
    with_each_other = replica.Reading()

    def ask() -> str:
        return with_each_other.read(where, staff_id=PAULA, session_id=None)

    wait_for(lambda: ask() == "replica")
    pair.kill()
    assert [ask(), ask()] == ["primary", "primary"], "nobody saw an error"
    pair.start()
    with_each_other.close()


def test_a_role_that_sees_everything_is_refused(pair: Replica, monkeypatch: pytest.MonkeyPatch, house: str) -> None:
    replica.check()
    everything = urlencode(
        {"host": str(pair.data), "port": 5433, "user": pair.primary.superuser, "password": pair.primary.password}
    )
    monkeypatch.setenv("READ_DATABASE_URL", f"postgresql:///{house}?{everything}")
    with pytest.raises(SettingsError, match="does not bind"):
        replica.check()


def test_reads_change_nothing_even_without_a_replica() -> None:
    assert replica.following() is None
    assert replica.position() == 0
    assert asked() == "primary"
    with pytest.raises(InternalError, match="read-only"):
        replica.read(
            lambda s: s.execute(text("update platform.program set title = 'x'")), staff_id=PAULA, session_id=None
        )


def test_the_reads_of_a_run_are_one_transaction_and_see_what_is_committed_meanwhile() -> None:
    run = replica.Reading()

    def seen(session: Session) -> tuple[object, str]:
        began, who = session.execute(text("select pg_catalog.now(), current_setting('app.staff_id')")).one()
        assert who == str(PAULA)
        return began, str(session.scalar(text("select min(title) from platform.program")))

    first, before = run.read(seen, staff_id=PAULA, session_id=None)
    with db.transaction("worker") as session:
        session.execute(text("update platform.program set title = '!' || title"))
    second, after = run.read(seen, staff_id=PAULA, session_id=None)
    assert first == second
    assert after == f"!{before}"
    run.close()
    assert db.engine("read").pool.checkedout() == 0  # type: ignore[attr-defined]
    assert run.read(seen, staff_id=PAULA, session_id=None)[0] > first
    run.close()


def test_the_reads_of_a_run_are_told_apart_by_who_asks_and_go_on_after_a_fault() -> None:
    run, count = replica.Reading(), text("select count(*) from platform.student")
    assert run.read(lambda s: s.scalar(count), staff_id=PAULA, session_id=None)
    assert run.read(lambda s: s.scalar(count), staff_id=None, session_id=None) == 0
    with pytest.raises(ProgrammingError):
        run.read(lambda s: s.execute(text("select nothing_of_this_name")), staff_id=PAULA, session_id=None)
    assert run.read(lambda s: s.scalar(count), staff_id=PAULA, session_id=None)
    with pytest.raises(InternalError, match="read-only"):
        run.read(lambda s: s.execute(text("update platform.program set title = 'x'")), staff_id=PAULA, session_id=None)
    run.close()


def test_a_connection_that_lay_idle_is_asked_first_and_one_just_used_is_not(
    cluster: embedded.Cluster, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pings = []
    dialect = db.engine("app").dialect
    real = dialect.do_ping
    monkeypatch.setattr(dialect, "do_ping", lambda connection: (pings.append(1), real(connection))[1])

    def backend() -> int:
        with db.transaction() as session:
            return int(session.scalar(text("select pg_backend_pid()")) or 0)

    first = backend()
    pings.clear()
    assert backend() == first
    assert not pings, "a click asks once"
    monkeypatch.setattr(db, "IDLE", 0.0)
    assert backend() == first
    assert pings
    with psycopg.connect(cluster.conninfo(house), autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s, 5000)", [first])
    assert backend() != first, "nobody saw an error"


def test_once_it_was_promoted_it_is_not_asked(pair: Replica) -> None:
    """The last one of this file: there is no way back."""
    assert asked() == "replica"
    pair.asks("select pg_promote()")
    assert asked() == "primary"
    told = replica.following()
    assert told
    assert "follows nobody" in told.trouble
