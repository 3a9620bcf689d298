"""The embedded PostgreSQL: clients that come, die and come back; innocent processes; strange paths."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import psycopg
import pytest

from core import embedded
from core.errors import DatabaseError
from core.settings import ROOT

FAST = {"fsync": "off"}
CLIENT = """
import sys
from pathlib import Path
from core import embedded
client = embedded.attach(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
client.close()
"""


def servers(home: Path) -> list[psutil.Process]:
    """Every live process of this home's guardian and server."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(home) in word for word in process.info["cmdline"] or []) and process.pid != os.getpid():
            found.append(process)
    return [p for p in found if "guard" in p.info["cmdline"] or "postgres" in p.info["cmdline"][0]]


def postmaster(home: Path) -> psutil.Process:
    return next(p for p in servers(home) if "guard" not in p.info["cmdline"])


def guardian(home: Path) -> psutil.Process:
    return next(p for p in servers(home) if "guard" in p.info["cmdline"])


def wait_for(condition) -> None:
    import time

    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def client_process(home: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(home)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


def ask(client: embedded.Client, query: str) -> object:
    with psycopg.connect(client.cluster.conninfo(), autocommit=True) as connection:
        row = connection.execute(query).fetchone()
        return row[0] if row else None


@pytest.fixture
def home(folder: Path):
    """A home in a path with a space, a quote and more characters than a socket's path may have."""
    inside = folder / "a b'c" / ("long" * 25)
    yield inside
    wait_for(lambda: not servers(inside))


def test_a_cold_start_answers_and_the_last_client_stops_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    with embedded.attach(home, settings=FAST) as first:
        assert ask(first, "select lower('ÉÀ')") == "éà"
        assert ask(first, "select 'É' ilike 'é'") is True
        assert ask(first, "show listen_addresses") == ""
        assert ask(first, "show fsync") == "off"
        with embedded.attach(home) as second:
            assert second.cluster == first.cluster
        assert ask(first, "select 1") == 1, "it lives as long as one holds it"


def test_a_killed_client_is_not_counted(home: Path) -> None:
    process = client_process(home)
    assert servers(home)
    process.kill()
    process.wait()
    wait_for(lambda: not servers(home))


def test_a_killed_guardian_is_replaced_and_the_server_stopped_in_the_end(home: Path) -> None:
    process = client_process(home)
    guardian(home).kill()
    wait_for(lambda: len(servers(home)) == 1)
    before = postmaster(home).pid
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1
        assert postmaster(home).pid == before, "taken over, not started anew"
        process.communicate("\n")


def test_a_killed_server_comes_back_with_its_data(home: Path) -> None:
    with embedded.attach(home) as client:
        with psycopg.connect(client.cluster.conninfo(), autocommit=True) as connection:
            connection.execute("create table kept (n int)")
            connection.execute("insert into kept values (7)")
        postmaster(home).kill()
        wait_for(lambda: _quietly(lambda: ask(client, "select n from kept")) == 7)


def _quietly(question):
    try:
        return question()
    except psycopg.OperationalError:
        return None


def test_a_stale_pid_file_harms_nobody(home: Path) -> None:
    """The pid of a server that is gone belongs to an innocent process now, of the same user."""
    with embedded.attach(home):
        user = postmaster(home).username()
        data = Path(home) / "postgres" / "data"
        content = (data / "postmaster.pid").read_text()
    wait_for(lambda: not servers(home))
    as_user = {"user": user} if os.geteuid() == 0 else {}
    innocent = subprocess.Popen(["sleep", "60"], **as_user)
    (data / "postmaster.pid").write_text(content.replace(content.splitlines()[0], str(innocent.pid), 1))
    if as_user:
        os.chown(data / "postmaster.pid", innocent_uid(innocent), -1)
    try:
        with embedded.attach(home) as client:
            assert ask(client, "select 1") == 1
        wait_for(lambda: not servers(home))
        assert innocent.poll() is None, "the innocent process lives"
    finally:
        innocent.kill()
        innocent.wait()


def innocent_uid(process: subprocess.Popen) -> int:
    return psutil.Process(process.pid).uids().real


def test_four_cold_starts_at_once_make_one_database(home: Path) -> None:
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(home)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in clients:
        assert process.stdout and process.stdout.readline() == "ready\n"
    assert len([p for p in servers(home) if "guard" in p.info["cmdline"]]) == 1
    assert not list((home / "postgres").glob("draft-*"))
    for process in clients:
        process.communicate("\n")


def test_a_wrong_password_is_refused(home: Path) -> None:
    with embedded.attach(home) as client:
        wrong = client.cluster.conninfo().replace(client.cluster.password, "wrong")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(wrong)
        assert (home / "postgres.password").stat().st_mode & 0o077 == 0
        assert client.cluster.password not in repr(client.cluster)


def test_an_interrupted_initdb_leaves_nothing_half_made(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = embedded._initdb

    def interrupted(*arguments: object) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_initdb", interrupted)
    with pytest.raises(KeyboardInterrupt):
        embedded.attach(home)
    assert not (home / "postgres" / "data").exists()
    monkeypatch.undo()
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1
    assert not list((home / "postgres").glob("draft-*"))


def test_data_of_another_major_version_is_a_sentence(home: Path) -> None:
    (home / "postgres" / "data").mkdir(parents=True)
    (home / "postgres" / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(DatabaseError, match="made by PostgreSQL 12"):
        embedded.attach(home)


def test_a_server_that_cannot_start_is_a_sentence_with_its_log(home: Path) -> None:
    with pytest.raises(DatabaseError, match=r"did not start.*shared_buffers"):
        embedded.attach(home, settings={"shared_buffers": "nonsense"})


def test_no_binaries_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESOCODE_PG_BIN", str(tmp_path))
    with pytest.raises(DatabaseError, match="No PostgreSQL server was found"):
        embedded.find_binaries()


def test_a_socket_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    planted = embedded._socket_directory(tmp_path / "home", None, None)
    planted.chmod(0o777)
    try:
        with pytest.raises(DatabaseError, match="belongs to somebody else"):
            embedded._socket_directory(tmp_path / "home", None, None)
    finally:
        planted.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user or lock one out")
def test_as_root_with_a_home_that_the_servers_user_cannot_reach(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    home = closed / "home"
    with embedded.attach(home) as client:
        assert ask(client, "select 1") == 1
        assert str(client.cluster.data_directory).startswith("/var/lib/resocode-")
        assert postmaster_of(client.cluster.data_directory).username() != "root"
    wait_for(lambda: not postmasters(client.cluster.data_directory))
    assert "The data is in" in (home / "data-is-elsewhere.txt").read_text()
    assert closed.stat().st_mode & 0o777 == 0o700, "no parent was opened"
    import shutil

    shutil.rmtree(client.cluster.data_directory.parent)


def postmasters(data: Path) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if str(data) in (p.info["cmdline"] or [])]


def postmaster_of(data: Path) -> psutil.Process:
    return postmasters(data)[0]


def reachable_for_others() -> bool:
    try:
        return subprocess.run([sys.executable, "-c", "pass"], user=65534, capture_output=True, cwd="/").returncode == 0
    except PermissionError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_as_a_normal_user(folder: Path) -> None:
    if not reachable_for_others():
        pytest.skip("this Python lies where no other user can reach it")
    script = textwrap.dedent("""
        import os, sys
        os.setgid(65534); os.setuid(65534)
        from pathlib import Path
        import psycopg
        from core import embedded
        with embedded.attach(Path(sys.argv[1])) as client, psycopg.connect(client.cluster.conninfo()) as connection:
            print(connection.execute("select current_user").fetchone()[0])
    """)
    folder.chmod(0o777)
    home = folder / "home"
    done = subprocess.run([sys.executable, "-c", script, str(home)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "postgres\n", done.stderr
    wait_for(lambda: not servers(home))


def test_sigterm_to_the_guardian_stops_the_server(home: Path) -> None:
    process = client_process(home)
    guardian(home).send_signal(signal.SIGTERM)
    wait_for(lambda: not any("postgres" in p.name() for p in servers(home)))
    process.communicate("\n")
