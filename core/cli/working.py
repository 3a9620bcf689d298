"""``worker``: does what is due."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from core import companion, db, leases
from core.cli.base import now, out, worker
from core.errors import AdminError
from core.worker import Outcome, Worker, dry_run


def worker_command(
    once: Annotated[bool, typer.Option("--once", help="Do what is due now, then end.")] = False,
    only_say: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Give dead letters all their attempts again first.")] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
) -> None:
    """Do what is due: weekly figures, statuses, months ahead, tidying, checkpoints. Several may run.

    Ends after the job at hand on Ctrl-C or SIGTERM. With --once, exit status 1 when a job failed.
    """
    _log_to_stderr()
    if only_say:
        db.prepare()
        for planned in dry_run(now=now()):
            out.print(f"{planned.kind:<22}{planned.key:<22}{planned.would}")
        return
    made = Worker(clock=now)
    _stop_on_signals(made.stopping)
    if with_parent:
        companion.leave_with_parent(made.stopping)
    with worker() as session:
        if retry:
            out.print(f"{leases.retry(session, now=now())} dead letters are tried again.")
    with _beating(made):
        if not once:
            made.run()
        elif failed := _report(made.catch_up()):
            raise AdminError(f"{failed} jobs failed. See `python -m core status`.")


def _log_to_stderr() -> None:
    ours = logging.getLogger("resocode")
    if not ours.handlers:
        ours.addHandler(logging.StreamHandler())
        ours.handlers[0].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        ours.setLevel(logging.INFO)


def _stop_on_signals(stopping: threading.Event) -> None:
    """The first signal ends a worker after the job at hand, or after ten seconds; its transaction is then rolled back."""

    def stop(_number: int, _frame: object) -> None:
        stopping.set()
        companion.leave_soon()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


@contextmanager
def _beating(made: Worker) -> Iterator[None]:
    stopped = threading.Event()
    threading.Thread(target=made.beat_until_stopped, args=[stopped], name="heartbeat", daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


def _report(outcomes: list[Outcome]) -> int:
    """Print what became of each job; return how many failed."""
    for each in outcomes:
        told = ", ".join(f"{name} {number:,}" for name, number in each.counts.items()) or each.error
        out.print(f"{each.kind:<22}{each.key:<22}{each.became:<8}{told}")
    if not outcomes:
        out.print("Nothing is due.")
    return sum(each.became == "failed" for each in outcomes)
