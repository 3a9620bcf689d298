"""The worker beside the dashboard: a process of its own that ``serve`` starts, starts again when it dies, and takes along.

Danger: a worker that outlives its dashboard holds the embedded database open for ever. Principle: it lives as long as the
pipe to its parent. Mechanism: its standard input is a pipe that nobody writes to; the kernel closes it when the dashboard
ends in whatever way, SIGKILL too, and :func:`leave_with_parent` then ends the worker after the job at hand.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from core.settings import ROOT

COMMAND = (sys.executable, "-m", "core", "worker", "--with-parent")
STOP_SECONDS = 10.0
STEADY_SECONDS = 60.0
LONGEST_PAUSE = 60.0

log = logging.getLogger("resocode")


@contextmanager
def beside(command: tuple[str, ...] = COMMAND, *, after: threading.Event | None = None) -> Iterator["Companion"]:
    """Keep a worker running until the end of the block, from when ``after`` is set: not while the dashboard starts."""
    made = Companion(command, after)
    keeper = threading.Thread(target=made.keep, name="worker's keeper", daemon=True)
    keeper.start()
    try:
        yield made
    finally:
        made.stop()
        keeper.join()


class Companion:
    """One child process at a time, started again with growing pauses while it does not stay up for a minute."""

    def __init__(self, command: tuple[str, ...], after: threading.Event | None = None) -> None:
        self._command, self._after = command, after
        self._stopping = threading.Event()
        self._changing = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Start the child, and another one whenever it ends, until :meth:`stop`."""
        pause = 1.0
        if self._after is not None:
            self._after.wait()
        while (process := self._start()) is not None:
            begun = time.monotonic()
            status = process.wait()
            if self._stopping.is_set():
                return
            pause = 1.0 if time.monotonic() - begun > STEADY_SECONDS else min(pause * 2, LONGEST_PAUSE)
            log.warning("The worker ended (status %s); another one starts in %.0f s.", status, pause)
            self._stopping.wait(pause)

    def stop(self) -> None:
        """End the child: it may finish the job at hand, for ten seconds."""
        self._stopping.set()
        if self._after is not None:
            self._after.set()
        with self._changing:
            process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS + 1)
        except subprocess.TimeoutExpired:
            process.kill()

    def _start(self) -> subprocess.Popen[bytes] | None:
        with self._changing:
            if self._stopping.is_set():
                return None
            self.process = subprocess.Popen(self._command, stdin=subprocess.PIPE, cwd=ROOT)
            return self.process


def leave_with_parent(stopping: threading.Event) -> None:
    """In the child: set ``stopping`` when the parent is gone, and end for certain ten seconds later."""

    def watch() -> None:
        with suppress(OSError):
            while os.read(sys.stdin.fileno(), 1):
                pass
        stopping.set()
        leave_soon()

    threading.Thread(target=watch, name="parent's pipe", daemon=True).start()


def leave_soon() -> None:
    """End this process in ten seconds at the latest; what is not committed by then is rolled back and done by another."""

    def end() -> None:
        time.sleep(STOP_SECONDS)
        os._exit(1)

    threading.Thread(target=end, name="last call", daemon=True).start()
