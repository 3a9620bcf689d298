"""The embedded PostgreSQL: clients that come, die and come back; innocent processes; strange paths."""

import fcntl
import json
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

import core.embedded.guardian  # noqa: F401 - a process of its own: nobody else imports it
from core import embedded
from core.errors import DatabaseError
from core.settings import ROOT
from tests.conftest import open_folder

FAST = {"fsync": "off"}
DEBIAN = Path("/usr/lib/postgresql/15/bin")
NOBODY = pwd.getpwnam("nobody")
STRANGE = Path("a b'c") / ("long" * 25)
CLIENT = """
import sys
from pathlib import Path
import core.embedded.guardian  # noqa: F401 - a process of its own: nobody else imports it
from core import embedded
client = embedded.attach(Path(sys.argv[1]), settings={"fsync": "off"})
print("ready", flush=True)
sys.stdin.readline()
client.close()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user or lock one out")


def servers(home: Path) -> list[psutil.Process]:
    """Every live guardian and postmaster of this home."""
    return guardians(home) + postmasters(home)


def guardians(home: Path) -> list[psutil.Process]:
    return [
        p
        for p in _all()
        if "core.embedded.guardian" in p.info["cmdline"] and str(home / "guardian.json") in p.info["cmdline"]
    ]


def kill_guardian(home: Path) -> None:
    """Kill the guardian, and wait until it is a zombie: a dying process loses its command line before it loses its locks."""
    [victim] = guardians(home)
    victim.kill()
    wait_for(lambda: not victim.is_running() or victim.status() == psutil.STATUS_ZOMBIE)


def postmasters(home: Path) -> list[psutil.Process]:
    """Those who were told a data folder of this home, and run: not the short life of `postgres --version`."""
    return [
        p for p in _all() if len(p.info["cmdline"]) == 3 and p.info["cmdline"][2] == str(home / "postgres" / "data")
    ]


def _all() -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"]]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def start_client(home: Path, program: str = CLIENT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(home)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def client_process(home: Path) -> subprocess.Popen[str]:
    process = start_client(home)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def ask(client: embedded.Client, query: str) -> object:
    with psycopg.connect(client.cluster.conninfo(), autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


def quietly(question: Callable[[], object]) -> object:
    try:
        return question()
    except psycopg.OperationalError:
        return None


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A home that is made once, in a path with a space, a quote and more characters than a socket's path may have."""
    folder = open_folder()
    with embedded.attach(folder / STRANGE, settings=FAST):
        pass
    wait_for(lambda: not servers(folder / STRANGE))
    yield folder / STRANGE
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(made: Path) -> Iterator[Path]:
    """That home, with nothing running before and after."""
    assert not servers(made)
    yield made
    wait_for(lambda: not servers(made))


@pytest.fixture
def new_home(folder: Path) -> Iterator[Path]:
    """A home that does not exist yet."""
    yield folder / STRANGE
    wait_for(lambda: not servers(folder / STRANGE))


def binaries() -> list[Path]:
    found = [embedded.binaries.find_binaries()]
    return [*found, DEBIAN] if (DEBIAN / "initdb").exists() and DEBIAN not in found else found


@pytest.mark.parametrize("program", binaries(), ids=str)
def test_a_cold_start_answers(program: Path, new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LC_ALL": "C", "LANG": "C", "PGHOSTADDR": "127.0.0.9", "PGOPTIONS": "-c nonsense"}.items():
        monkeypatch.setenv(name, value)
    with embedded.attach(new_home, binaries=program, settings={**FAST, "cluster_name": r"it's a\tb"}) as client:
        assert ask(client, "select lower('ÉÀ') || upper('é')") == "éàÉ"
        assert ask(client, "select 'É' ilike 'é'") is True
        assert ask(client, "select current_setting('server_version_num')::int / 10000") == client.cluster.version
        assert ask(client, "show listen_addresses") == ""
        assert ask(client, "show fsync") == "off"
        assert ask(client, "show timezone") == "UTC"
        assert ask(client, "show cluster_name") == r"it's a\tb"
        assert ask(client, "show server_encoding") == "UTF8"
        assert ask(client, "select count(*) from pg_hba_file_rules where auth_method != 'scram-sha-256'") == 0
        assert not list((new_home / "postgres").glob("draft-*"))
        assert list((new_home / "postgres" / "log").glob("postgres-*.log")), "the log that overwrites itself"


def test_the_server_lives_until_the_last_client_is_gone(home: Path) -> None:
    first = client_process(home)
    second = embedded.attach(home)
    server, parent = postmasters(home)[0].pid, guardians(home)[0].pid
    first.communicate("\n")
    assert ask(second, "select 1") == 1
    with embedded.attach(home) as third:
        assert third.cluster == second.cluster
    second.close()
    second.close()
    wait_for(lambda: not servers(home))
    assert not psutil.pid_exists(server)
    assert not [p for p in psutil.process_iter(["ppid"]) if p.info["ppid"] == parent]
    assert not second.cluster.socket_directory.exists()


def test_a_start_ahead_is_taken_by_the_next_who_attaches_and_by_nobody_else(home: Path) -> None:
    embedded.attach_ahead(home)
    with embedded.attach(home) as taken, embedded.attach(home) as other:
        assert len(guardians(home)) == 1 and ask(taken, "select 1") == ask(other, "select 1") == 1
        assert taken is not other
    wait_for(lambda: not servers(home))


def test_a_start_ahead_that_fails_is_told_to_whoever_attaches(folder: Path) -> None:
    (folder / "a file").write_text("")
    embedded.attach_ahead(folder / "a file")
    with pytest.raises(DatabaseError, match="RESOCODE_HOME"):
        embedded.attach(folder / "a file")


def test_a_running_server_is_found_by_other_names_and_with_other_wishes(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a link to the home, nor other binaries, nor another user for the next start hide the server that runs."""
    (folder / "link").symlink_to(home.parent)
    with embedded.attach(home) as client:
        monkeypatch.setenv("RESOCODE_PG_USER", "daemon")
        monkeypatch.setenv("RESOCODE_PG_BIN", str(folder))
        with embedded.attach(folder / "link" / home.name) as other:
            assert other.cluster == client.cluster
            assert len(servers(home)) == 2


def test_a_server_of_other_data_is_not_ours(home: Path, folder: Path) -> None:
    with embedded.attach(home) as client:
        plan = embedded.cluster.recorded_plan(home)
        assert plan
        assert embedded.running(plan) == client.cluster
        assert embedded.running(replace(plan, data=str(folder))) is None


def test_secrets_are_for_their_owner_alone(home: Path) -> None:
    with embedded.attach(home) as client:
        wrong = client.cluster.conninfo().replace(client.cluster.password, "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
        assert client.cluster.password not in repr(client.cluster)
        assert client.cluster.socket_directory.stat().st_mode & 0o077 == 0
        files = [item for item in home.iterdir() if item.is_file()]
        assert home / "postgres.password" in files
        assert home / "postgres.log" in files
        assert [item for item in files if item.stat().st_mode & 0o077] == []


def test_a_killed_client_is_not_counted(home: Path) -> None:
    process = client_process(home)
    assert len(servers(home)) == 2
    process.kill()
    process.wait()
    wait_for(lambda: not servers(home))


def test_a_killed_guardian_is_replaced_and_the_server_stopped_in_the_end(home: Path) -> None:
    process = client_process(home)
    kill_guardian(home)
    before = postmasters(home)[0].pid
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1
        assert [p.pid for p in postmasters(home)] == [before], "taken over, not started anew"
        process.communicate("\n")
        assert ask(client, "select 1") == 1
    wait_for(lambda: not servers(home))


def test_a_server_that_was_taken_over_stays_when_it_is_too_busy_to_answer(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guardian that cannot connect must neither start a second server on the data, nor forget to stop the first."""
    process = client_process(home)
    kill_guardian(home)
    before = postmasters(home)[0].pid
    plan = embedded.cluster.recorded_plan(home)
    assert plan
    guardian = embedded.guardian.Guardian(plan)
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "running", lambda _plan: None)
        for _ in range(embedded.guardian.QUICK_FAILURES):
            guardian._keep_alive()
    assert guardian.failures == 0
    assert [p.pid for p in postmasters(home)] == [before]
    process.communicate("\n")
    guardian._stop()
    assert not postmasters(home)


def test_a_killed_server_comes_back_with_its_data(home: Path) -> None:
    with embedded.attach(home) as client:
        with psycopg.connect(client.cluster.conninfo(), autocommit=True) as connection:
            connection.execute("create table kept (n int)")
            connection.execute("insert into kept values (7)")
        for _ in range(2):
            before = postmasters(home)[0]
            before.kill()
            wait_for(lambda: quietly(lambda: ask(client, "select n from kept")) == 7)
            assert postmasters(home)[0].pid != before.pid


def test_killed_altogether_it_starts_again_with_its_data(home: Path) -> None:
    process = client_process(home)
    for victim in (*guardians(home), *postmasters(home)):
        victim.kill()
    process.kill()
    process.wait()
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1


def test_sigterm_to_the_guardian_stops_the_server_and_the_next_client_starts_it_again(home: Path) -> None:
    process = client_process(home)
    guardians(home)[0].send_signal(signal.SIGTERM)
    wait_for(lambda: not servers(home))
    assert process.poll() is None, "although a client holds it"
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1
        leaving = guardians(home)[0]
        leaving.send_signal(signal.SIGTERM)
        wait_for(lambda: quietly(lambda: ask(client, "select 1")) is None)
        with embedded.attach(home) as another:
            assert ask(another, "select 1") == 1
            assert guardians(home)[0].pid != leaving.pid
    process.communicate("\n")


def test_a_client_that_comes_while_the_server_stops_waits_for_a_new_one(home: Path) -> None:
    process = client_process(home)
    stopping = postmasters(home)[0]
    stopping.suspend()  # so that the stop takes as long as this test wants
    try:
        process.communicate("\n")
        wait_for(lambda: embedded.locked(home / "clients.lock"))
        late = start_client(home)
        wait_for(lambda: embedded.locked(home / "start.lock"))
        assert [p.pid for p in postmasters(home)] == [stopping.pid]
    finally:
        stopping.resume()
    assert late.stdout and late.stdout.readline() == "ready\n"
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1
        assert [p.pid for p in postmasters(home)] != [stopping.pid]
        late.communicate("\n")


def test_who_attaches_while_a_killed_guardian_still_holds_its_lock_gets_a_new_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look finds the lock of a guardian that is dying; the server it leaves behind answers all the while."""
    with embedded.attach(home, settings=FAST):
        kill_guardian(home)
        real, looks = embedded.locked, []

        def dying(path: Path) -> bool:
            looks.append(path.name)
            return looks.count("guardian.lock") <= 2 if path.name == "guardian.lock" and len(looks) <= 2 else real(path)

        monkeypatch.setattr(embedded, "locked", dying)
        with embedded.attach(home):
            assert looks.count("guardian.lock") > 2
            assert len(guardians(home)) == 1 and real(home / "guardian.lock")


def test_who_only_looks_at_the_lock_does_not_send_a_new_guardian_away(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    looking, wanting = (os.open(home / "guardian.lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    fcntl.flock(looking, fcntl.LOCK_SH)
    threading.Timer(0.05, os.close, (looking,)).start()
    assert embedded.locks.lock_soon(wanting)
    os.close(wanting)


def test_two_guardians_at_once_are_no_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The starter's own guardian gives way to that of a starter who was killed, and the server does not answer yet."""
    spawn, running, asked = embedded._spawn_guardian, embedded.running, []

    def spawn_second(plan: embedded.cluster.Plan) -> subprocess.Popen[bytes]:
        spawn(plan)
        wait_for(lambda: embedded.locked(home / "guardian.lock"))
        second = spawn(plan)
        assert second.wait() == embedded.cluster.ANOTHER_GUARDIAN
        asked.clear()
        return second

    def running_later(plan: embedded.cluster.Plan) -> embedded.Cluster | None:
        asked.append(plan)
        return running(plan) if len(asked) > 2 else None

    monkeypatch.setattr(embedded, "_spawn_guardian", spawn_second)
    monkeypatch.setattr(embedded, "running", running_later)
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1
        assert len(guardians(home)) == 1


def test_a_starter_that_is_killed_right_after_the_spawn_does_no_harm(home: Path) -> None:
    """Its guardian has no lock yet when the next starter looks: one of the two guardians gives way, nobody fails."""
    program = CLIENT.replace(
        "client =",
        "real = embedded._spawn_guardian\n"
        "embedded._spawn_guardian = lambda plan: (real(plan), print('spawned', flush=True), sys.stdin.readline())\n"
        "client =",
    )
    process = start_client(home, program)
    assert process.stdout and process.stdout.readline() == "spawned\n"
    process.kill()
    process.wait()
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1
        wait_for(lambda: len(guardians(home)) == 1)


def test_a_stale_pid_file_harms_nobody(home: Path) -> None:
    """The pid of a server that is gone belongs to an innocent process now, of the same user."""
    with embedded.attach(home):
        content = (home / "postgres" / "data" / "postmaster.pid").read_text()
    wait_for(lambda: not servers(home))
    stale = home / "postgres" / "data" / "postmaster.pid"
    as_server = {"user": NOBODY.pw_uid} if os.geteuid() == 0 else {}
    innocent = subprocess.Popen(["sleep", "60"], **as_server)
    stale.write_text(content.replace(content.splitlines()[0], str(innocent.pid), 1))
    if as_server:
        os.chown(stale, NOBODY.pw_uid, -1)
    try:
        with embedded.attach(home) as client:
            assert ask(client, "select 1") == 1
        wait_for(lambda: not servers(home))
        assert innocent.poll() is None, "the innocent process lives"
    finally:
        innocent.kill()
        innocent.wait()


def test_the_pid_file_of_a_server_started_by_hand_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded.attach(home):
        plan = embedded.cluster.recorded_plan(home)
        assert plan
        embedded.guardian.remove_stale_pid(plan)  # as if server.lock were free
        assert (home / "postgres" / "data" / "postmaster.pid").exists()

        def hidden(*_arguments: object) -> bool:
            raise PermissionError

        monkeypatch.setattr(Path, "samefile", hidden)  # root in a container without CAP_SYS_PTRACE
        embedded.guardian.remove_stale_pid(plan)
        assert (home / "postgres" / "data" / "postmaster.pid").exists()


def test_four_cold_starts_at_once_make_one_database(new_home: Path) -> None:
    clients = [start_client(new_home) for _ in range(4)]
    for process in clients:
        assert process.stdout and process.stdout.readline() == "ready\n"
    assert (len(guardians(new_home)), len(postmasters(new_home))) == (1, 1)
    assert not list((new_home / "postgres").glob("draft-*"))
    for process in clients:
        process.communicate("\n")


def test_an_initdb_whose_starter_was_killed_leaves_nothing_half_made(new_home: Path) -> None:
    process = start_client(new_home)
    wait_for(lambda: list((new_home / "postgres").glob("draft-*/base")))
    process.kill()
    process.wait()
    assert not (new_home / "postgres" / "data").exists()
    assert list((new_home / "postgres").glob("draft-*.password")), "it was killed in the middle"
    with embedded.attach(new_home, settings=FAST) as client:
        assert ask(client, "select 1") == 1
    assert not list((new_home / "postgres").glob("draft-*"))


@as_root
def test_root_follows_no_link_that_the_servers_user_planted(home: Path, folder: Path) -> None:
    with embedded.attach(home):
        pass
    wait_for(lambda: not servers(home))
    victim = folder / "victim"
    victim.write_text("root's own")
    victim.chmod(0o600)
    configuration = home / "postgres" / "data" / "resocode.conf"
    configuration.unlink()
    configuration.symlink_to(victim)
    try:
        with pytest.raises(DatabaseError, match="could not be written"):
            embedded.attach(home)
    finally:
        configuration.unlink()
    assert victim.read_text() == "root's own"
    assert victim.stat().st_uid == 0


# Sentences


def test_data_of_another_major_version_is_a_sentence(home: Path) -> None:
    version = home / "postgres" / "data" / "PG_VERSION"
    before = version.read_text()
    version.write_text("12\n")
    try:
        with pytest.raises(DatabaseError, match=r"made by PostgreSQL 12, the program found is \d\d"):
            embedded.attach(home)
        version.unlink()
        with pytest.raises(DatabaseError, match="not a PostgreSQL data folder"):
            embedded.attach(home)
    finally:
        version.write_text(before)
        os.chown(version, home.joinpath("postgres", "data").stat().st_uid, -1)


def test_a_password_that_is_lost_or_wrong_is_a_sentence_at_once(home: Path) -> None:
    file = home / "postgres.password"
    before = file.read_text()
    try:
        file.unlink()
        with pytest.raises(DatabaseError, match="is missing"):
            embedded.attach(home)
        file.write_text("wrong")
        with pytest.raises(DatabaseError, match="is not that of the data"):
            embedded.attach(home)
    finally:
        file.write_text(before)
        file.chmod(0o600)
    wait_for(lambda: not servers(home))


def test_settings_that_no_server_takes_are_a_sentence_with_the_log(home: Path) -> None:
    with pytest.raises(DatabaseError, match=r"did not start.*shared_buffers"):
        embedded.attach(home, settings={"shared_buffers": "nonsense"})
    with pytest.raises(DatabaseError, match="is not a setting"):
        embedded.attach(home, settings={"shared_buffers = 1\nport": "1"})
    assert not servers(home)


def test_corrupt_data_is_a_sentence_and_no_endless_loop(home: Path) -> None:
    control = home / "postgres" / "data" / "global" / "pg_control"
    before = control.read_bytes()
    control.write_bytes(b"\0" * len(before))
    try:
        with pytest.raises(DatabaseError, match=r"did not start.*(incompatible with server|control file)"):
            embedded.attach(home)
        assert not servers(home)
    finally:
        control.write_bytes(before)


def test_no_binaries_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESOCODE_PG_BIN", str(tmp_path))
    with pytest.raises(DatabaseError, match="RESOCODE_PG_BIN"):
        embedded.binaries.find_binaries()
    monkeypatch.delenv("RESOCODE_PG_BIN")
    monkeypatch.setattr(embedded.binaries, "candidates", lambda: iter([tmp_path]))
    with pytest.raises(DatabaseError, match="No PostgreSQL server was found"):
        embedded.binaries.find_binaries()


def test_the_newest_binaries_are_taken_when_there_is_no_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        for program in ("postgres", "initdb"):
            (tmp_path / version / "bin" / program).touch()
    monkeypatch.delenv("RESOCODE_PG_BIN", raising=False)
    monkeypatch.setattr(embedded.binaries.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr(embedded.binaries.shutil, "which", lambda _name: None)
    monkeypatch.setattr(embedded.binaries, "PLACES", (f"{tmp_path}/*/bin",))
    assert embedded.binaries.find_binaries() == tmp_path / "17" / "bin"


def test_a_socket_folder_of_somebody_else_is_refused(home: Path) -> None:
    planted = Path("/tmp") / f"resocode-{NOBODY.pw_uid if os.geteuid() == 0 else os.geteuid()}-{hash_of(home)}"
    planted.symlink_to("/tmp")
    try:
        with pytest.raises(DatabaseError, match="belongs to somebody else"):
            embedded.attach(home)
    finally:
        planted.unlink()


def hash_of(home: Path) -> str:
    return embedded.cluster.short_hash(str(home))


# Users


@as_root
def test_as_root_with_a_home_that_the_servers_user_cannot_reach(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The data goes elsewhere, and stays there when the home can be reached later or is moved; a copy starts empty."""
    elsewhere = folder / "var-lib"
    elsewhere.mkdir(mode=0o711)
    monkeypatch.setattr(embedded.places, "ELSEWHERE", elsewhere)
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with caplog.at_level(logging.WARNING), embedded.attach(closed / "home", settings=FAST) as client:
        data = client.cluster.data_directory
        assert data.is_relative_to(elsewhere)
        assert postmaster_user(data) == "nobody"
        assert str(data.parent) in caplog.text
    assert closed.stat().st_mode & 0o777 == 0o700, "no parent was opened"
    wait_for(lambda: not processes_of(data))

    shutil.copytree(closed / "home", closed / "copy")
    assert embedded.places.recorded_base(closed / "copy") is None
    (closed / "home").rename(closed / "moved")
    assert embedded.places.recorded_base(closed / "moved") == data.parent

    closed.chmod(0o711)
    with embedded.attach(closed / "moved") as client:
        assert client.cluster.data_directory == data
    wait_for(lambda: not processes_of(data))


@as_root
def test_data_that_the_servers_user_can_no_longer_reach_is_not_replaced_by_an_empty_database(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded.places, "ELSEWHERE", folder)
    (folder / "home" / "postgres" / "data").mkdir(parents=True)
    folder.chmod(0o700)
    with pytest.raises(DatabaseError, match="cannot reach any more"):
        embedded.attach(folder / "home")


@as_root
def test_data_of_another_user_is_a_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_PG_USER", "daemon")
    with pytest.raises(DatabaseError, match="RESOCODE_PG_USER=nobody"):
        embedded.attach(home)


@as_root
def test_as_root_with_binaries_that_the_servers_user_cannot_run(folder: Path) -> None:
    """They are copied, with the libraries beside the package; the copy belongs to root, and no parent is opened."""
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    package = embedded.binaries.find_binaries().parent.parent
    for part in (package, package.parent / f"{package.name}.libs"):
        if part.is_dir():
            shutil.copytree(part, closed / part.name, symlinks=True)
    program = closed / package.name / embedded.binaries.find_binaries().parent.name / "bin"
    home = folder / "home"
    with embedded.attach(home, binaries=program, settings=FAST) as client:
        assert ask(client, "select 1") == 1
    wait_for(lambda: not servers(home))
    assert closed.stat().st_mode & 0o777 == 0o700
    copies = list(home.glob("postgres-binaries-*"))
    assert len(copies) == 1
    assert {item.lstat().st_uid for item in [copies[0], *copies[0].rglob("*")]} == {0}
    (program / "postgres").touch()  # an update
    with embedded.attach(home, binaries=program, settings=FAST):
        assert list(home.glob("postgres-binaries-*")) != copies
        assert len(list(home.glob("postgres-binaries-*"))) == 1
    wait_for(lambda: not servers(home))


def processes_of(data: Path) -> list[psutil.Process]:
    return [p for p in _all() if str(data) in p.info["cmdline"]]


def postmaster_user(data: Path) -> str:
    return processes_of(data)[0].username()


def python_of_others() -> tuple[str, dict[str, str]]:
    """A Python of the same version, with our packages, that the user nobody can run."""
    packages = [path for path in sys.path if "site-packages" in path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *packages]), "HOME": "/nonexistent"}
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, shutil.which(name, path="/usr/local/bin:/usr/bin")):
        command = [
            python,
            "-c",
            "import psycopg, core.embedded.binaries as b; b.major_version(b.find_binaries(), None, None)",
        ]
        try:
            if python and not subprocess.run(command, user="nobody", capture_output=True, env=environment).returncode:
                return python, environment
        except PermissionError:
            continue
    pytest.skip("no Python of this version with our packages that another user can reach")


@as_root
def test_as_a_normal_user(folder: Path) -> None:
    python, environment = python_of_others()
    home = folder / "home"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    as_nobody = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []}
    process = subprocess.Popen(
        [python, "-c", CLIENT, str(home)],
        cwd="/",
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **as_nobody,
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    assert {p.username() for p in servers(home)} == {"nobody"}
    plan = json.loads((home / "guardian.json").read_text())
    assert (plan["uid"], plan["data"]) == (None, str(home / "postgres" / "data"))
    process.communicate("\n")
    wait_for(lambda: not servers(home))
    (home / "start.lock").chmod(0o000)
    os.chown(home / "start.lock", 0, 0)
    refused = subprocess.run(
        [python, "-c", CLIENT, str(home)], cwd="/", env=environment, capture_output=True, text=True, **as_nobody
    )
    assert "cannot be used (Permission denied)" in refused.stderr.splitlines()[-1]
