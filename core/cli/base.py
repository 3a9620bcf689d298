"""What every command shares: the console, the clock, and the transactions it works in."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import typer
from rich.console import Console
from rich.progress import Progress, TaskID, TimeElapsedColumn
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import db, privacy_actions, rollups
from core.privacy import restore

out = Console(highlight=False, soft_wrap=True)


@contextmanager
def worker() -> Iterator[Session]:
    """A prepared database and one transaction as the worker role; version one of the policy is there."""
    if db.prepare_once():
        with db.transaction("worker") as session:
            privacy_actions.publish_first_version(session, now=now())
    with db.transaction("worker") as session:
        yield session


@contextmanager
def importing() -> Iterator[Session]:
    """The same for whoever brings people in: refused while the database is behind the erasure ledger."""
    with worker() as session:
        if restore.compare(session, now=now()).is_behind:
            raise restore.Behind("The database is behind the erasure ledger. Run `python -m core restore-check` first.")
        yield session
        rollups.refresh_rollups(session)


@contextmanager
def owned() -> Iterator[Session]:
    """The worker's transaction, for whoever holds the database owner's secret: without it no right is given from here."""
    with worker() as session, db.engine("owner").connect() as owner:
        owner.execute(select(1))
        yield session


def now() -> datetime:
    """The clock: commands are the edge at which it is read."""
    return datetime.now(UTC)


def typed_password() -> str:
    """From standard input only: an argument would stay in the shell's history and in the list of processes."""
    typed = str(typer.prompt("Password", hide_input=True)) if sys.stdin.isatty() else sys.stdin.readline()
    return typed.rstrip("\n")


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that an import counts."""
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=out, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, whole: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=whole)
            bar.update(tasks[what], completed=done)

        yield advance


def print_rows(written: dict[str, int]) -> None:
    """A line for each table, with how many rows were written."""
    for table, rows in written.items():
        out.print(f"  {table:<18}{rows:>12,}")
