"""The guardian: the server's parent, a process of its own (``python -m core.embedded.guardian``)."""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from core.embedded.binaries import server_environment
from core.embedded.cluster import ANOTHER_GUARDIAN, Plan, log_end, make_socket_directory, running
from core.embedded.locks import lock_soon, locked, open_private, try_exclusive
from core.errors import DatabaseError

STOP_SECONDS = 120
LEFTOVER_SECONDS = 30
SETTLED_SECONDS = 5
QUICK_FAILURES = 5
FIRST_FAILURES = (
    3  # of a server that never answered: it is the data or the settings, and somebody waits for the sentence
)
log = logging.getLogger("resocode")


class Guardian:
    """The server's parent: starts it or takes over a running one, restarts it, stops it when nobody holds it any more."""

    def __init__(self, plan: Plan) -> None:
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
        mine = open_private(self.home / "guardian.lock")
        if not lock_soon(mine):
            return ANOTHER_GUARDIAN
        clients = open_private(self.home / "clients.lock")
        if self._lives():
            log.warning("took over a server whose guardian is gone")
        else:
            self._start()
        while not self.told_to_stop and not self._gives_up() and not try_exclusive(clients):
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
        log.warning("the server is gone (failure %s): %s", self.failures, log_end(self.home))
        if not self._gives_up():
            time.sleep(0.1 * 2**self.failures)
            self._start()

    def _own_child_lives(self) -> bool:
        return self.server is not None and self.server.poll() is None

    def _lives(self) -> bool:
        """Whether our child lives, or any process of a server of ours, or one that somebody else started on this data."""
        return self._own_child_lives() or locked(self.home / "server.lock") or self._answers()

    def _answers(self) -> bool:
        with suppress(DatabaseError):
            return running(self.plan) is not None
        return False

    def _start(self) -> None:
        self.started = time.monotonic()
        try:
            make_socket_directory(self.plan)  # a guardian that left may have removed it
            hold = self._server_lock()
            try:
                remove_stale_pid(self.plan)
                self.server = self._popen(hold)
            finally:
                os.close(hold)
            log.info("started the server, process %s", self.server.pid)
        except (OSError, DatabaseError):
            log.exception("the server cannot be started")

    def _server_lock(self) -> int:
        """Take the lock that a server and its children hold; those of a killed server need a moment to go."""
        handle = open_private(self.home / "server.lock")
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while not try_exclusive(handle):
            if time.monotonic() > deadline:
                os.close(handle)
                raise DatabaseError("Processes of the former server are still there.")
            time.sleep(0.05)
        return handle

    def _popen(self, hold: int) -> subprocess.Popen[bytes]:
        output = open_private(self.home / "postgres.log", os.O_APPEND)
        try:
            return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
                [str(Path(self.plan.binaries) / "postgres"), "-D", self.plan.data],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=server_environment(),
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
                command,
                check=False,
                stdout=subprocess.DEVNULL,
                cwd="/",
                env=server_environment(),
                **self.plan.as_user(),
            )

    def _on_sigterm(self, _signal: int, _frame: object) -> None:
        self.told_to_stop = True


def remove_stale_pid(plan: Plan) -> None:
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
    parser.add_argument("plan", type=Path)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s guardian: %(message)s")
    os.umask(0o077)
    return Guardian(Plan(**json.loads(parser.parse_args().plan.read_text()))).watch()


if __name__ == "__main__":
    sys.exit(_main())
