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

Here is the client's side: attaching, which starts what does not run. ``guardian`` is the other side; ``cluster`` is known to both,
``places`` says where everything lies and makes the data, ``binaries`` finds the programs, ``locks`` asks the kernel.
"""

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from core.embedded.cluster import (
    ANOTHER_GUARDIAN,
    Plan,
    log_end,
    make_socket_directory,
    password_of,
    recorded_plan,
    running,
)
from core.embedded.cluster import Cluster as Cluster  # callers know it by this name
from core.embedded.locks import exclusive, locked, open_private, write_private
from core.embedded.places import make_data, new_plan, write_settings
from core.errors import DatabaseError

START_SECONDS = 300
DYING_SECONDS = 0.05


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
        with exclusive(home / "start.lock"):
            hold = open_private(home / "clients.lock")
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


def _started(home: Path, binaries: Path | None, settings: Mapping[str, str]) -> Cluster:
    guardian: subprocess.Popen[bytes] | None = None
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        # No guardian: none yet, or one that has just stopped its server.
        if guardian is None and not locked(home / "guardian.lock"):
            guardian = _spawn_guardian(_next_plan(home, binaries, settings))
        plan = recorded_plan(home)
        if plan is not None and (cluster := running(plan)) and _guarded(home, guardian):
            return cluster
        if guardian is not None and guardian.poll() is not None:
            if guardian.returncode != ANOTHER_GUARDIAN:
                raise DatabaseError(f"The embedded PostgreSQL did not start. Its log ends with: {log_end(home)}")
            guardian = None  # that of a starter who was killed was quicker, or is gone by now
        time.sleep(0.02)
    raise DatabaseError(f"The embedded PostgreSQL did not answer within {START_SECONDS} s. {log_end(home)}")


def _guarded(home: Path, guardian: subprocess.Popen[bytes] | None) -> bool:
    """Whether a running server has a guardian: the one that was made for it, or another one that is there to stay.

    One that is being killed still holds its lock for a moment, and its server runs on: whoever attaches just then has to look twice,
    or nobody restarts that server, and nobody stops it.
    """
    if guardian is not None:
        return guardian.poll() is None and locked(home / "guardian.lock")
    if not locked(home / "guardian.lock"):
        return False
    time.sleep(DYING_SECONDS)
    return locked(home / "guardian.lock")


def _next_plan(home: Path, binaries: Path | None, settings: Mapping[str, str]) -> Plan:
    """The plan for a new guardian: that of a server which outlived its guardian, or a new one with everything prepared."""
    old = recorded_plan(home)
    if old is not None and (locked(home / "server.lock") or running(old)):
        return old
    plan = new_plan(home, binaries)
    password_of(plan)
    make_data(plan)
    write_settings(plan, settings)
    make_socket_directory(plan)
    return plan


def _spawn_guardian(plan: Plan) -> subprocess.Popen[bytes]:
    plan_file = Path(plan.home) / "guardian.json"
    write_private(plan_file, json.dumps(asdict(plan)))
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    output = open_private(Path(plan.home) / "guardian.log", os.O_APPEND)
    try:
        guardian = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.embedded.guardian", str(plan_file)],
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
