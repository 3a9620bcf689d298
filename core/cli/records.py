"""Records: synthetic, made up, imported, brought in from the platform, and counted."""

from datetime import date
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from core import db, privacy_actions, rollups
from core.cli.base import importing, now, out, print_rows, progress, worker
from core.errors import AdminError, BadInput, SettingsError
from core.importers.oulad import import_oulad
from core.importers.seed import seed as load_seed
from core.importers.sizes import Sizes
from core.importers.spreadsheets import import_sheet
from core.importers.statuses import refresh_statuses

import_app = typer.Typer(help="Bring records in.", no_args_is_help=True)
sync_app = typer.Typer(help="Bring in what changed on the platform.", no_args_is_help=True)


def seed() -> None:
    """Write the synthetic records of data/seed (again: nothing changes)."""
    with importing() as session:
        write_synthetic(session)


def generate(
    students: Annotated[int, typer.Option(help="How many students.")],
    seed: Annotated[int, typer.Option(help="The same number makes the same records again.")] = 1,
    visitors: Annotated[float, typer.Option(help="Visitors per student.")] = Sizes.visitors,
    projects: Annotated[int, typer.Option(help="Modules of a program whose work is handed in.")] = Sizes.projects,
    usage: Annotated[float, typer.Option(help="Usage events per enrollment in four months.")] = Sizes.usage,
    mails: Annotated[float, typer.Option(help="Notices per student in four months.")] = Sizes.mails,
    beside_real_records: Annotated[
        bool, typer.Option(help="Allow it where real records are: nobody can take them out again.")
    ] = False,
) -> None:
    """Make up realistic records of any size (a million students take some minutes). Again with the same numbers: nothing."""
    from core.importers import generate as made_up  # names in many languages: half a second that no other command needs

    sizes = Sizes(students, seed, visitors, projects, usage, mails)
    with importing() as session:
        new = made_up.prepare(session, sizes, now=now(), beside_real_records=beside_real_records)
    if not new:
        out.print("These records are there already: nothing was added.")
        return
    with worker() as session, progress() as advance:
        written = made_up.generate(session, sizes, now=now(), progress=advance)
        rollups.refresh_rollups(session)
        privacy_actions.take_group_figures(session, now=now())
    print_rows(written)
    try:
        db.vacuum((*made_up.TABLES, "platform.rollup"))
    except SettingsError:
        out.print("Statistics follow by autovacuum; with OWNER_DATABASE_URL they are there at once.")


def snapshot() -> None:
    """Write this week's group figures, unless they are there (the worker does this every Monday)."""
    with worker() as session:
        refresh_statuses(session, now())
        out.print(f"{privacy_actions.take_group_figures(session, now=now())} figures written.")


def write_synthetic(session: Session) -> None:
    """Write the synthetic records, say how many, and count them."""
    print_rows(load_seed(session, now=now()))
    rollups.refresh_rollups(session)


@import_app.command("oulad")
def import_oulad_command(
    folder: Annotated[
        Path, typer.Argument(help="The folder with studentInfo.csv and its sisters.", exists=True, file_okay=False)
    ],
    shift_to: Annotated[
        str, typer.Option(help="today, or a day: move all dates so that the last presentation runs then.")
    ] = "",
) -> None:
    """Load the Open University Learning Analytics Dataset (CC BY 4.0). Twice in a row changes nothing."""
    day = _day(shift_to)
    with importing() as session, progress() as advance:
        report = import_oulad(session, folder, now=now(), shift_to=day, progress=advance)
        privacy_actions.take_group_figures(session, now=now())
    for line in report.lines():
        out.print(line)


@import_app.command("csv")
def import_csv_command(
    file: Annotated[
        Path,
        typer.Argument(help="A spreadsheet of students or enrollments, saved as CSV.", exists=True, dir_okay=False),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and write nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write every problem row into this CSV.")] = None,
    encoding: Annotated[str, typer.Option(help="Read the file as this (found out by itself).")] = "",
) -> None:
    """Import students or enrollments: all rows or none, each problem row with its line and reason. Twice changes nothing."""
    with importing() as session, progress() as advance:
        found = import_sheet(
            session, file, now=now(), dry_run=dry_run, encoding=encoding, report=report, progress=advance
        )
    *told, upshot = found.lines()
    for line in told:
        out.print(line, markup=False)
    if found.problems:
        raise BadInput(upshot)
    out.print(upshot)


def _day(given: str) -> date | None:
    if given in ("", "today"):
        return now().date() if given else None
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise BadInput(f"--shift-to takes 'today' or a day like 2026-11-24, not {given!r}.") from error


@sync_app.command("mongodb")
def sync_mongodb(
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Compare all ids, too: what was deleted there, what never came.")
    ] = False,
    accept_deletions: Annotated[
        bool, typer.Option("--accept-deletions", help="With --sweep: let it take away many at once.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Judge the mapping and the connection; read and write nothing.")
    ] = False,
) -> None:
    """Bring in what changed in the platform's database since the last time; goes on where it was stopped. See docs/mongodb.md.

    Exit status 1 when the database could not be read. What does not fit is set aside, and told.
    """
    from core.importers import mongodb  # its library is loaded by whoever needs it

    known = mongodb.source()
    if check:
        for line in mongodb.checked(known):
            out.print(line, markup=False)
        return
    began, total = now(), mongodb.Done(more=True)
    while total.more:
        with importing() as session:
            done = mongodb.step(session, known, since=began, now=now(), sweep=sweep, accept=accept_deletions)
        total += done
        if done.error:
            out.print(f"{done.collection}: {done.error}", markup=False)
    with importing() as session:
        for line in mongodb.upshot(session, total):
            out.print(line, markup=False)
    if total.error:
        raise AdminError(
            f"The platform's database could not be read: {total.error}. What was read is kept; run it again."
        )
