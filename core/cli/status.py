"""``status``: how everything stands, for a person and for whatever watches over it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from core import backup as backups
from core import db, queries, replica
from core.cli.base import now, out, worker
from core.settings import settings


def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Tell database, migrations, worker, retention and counts, in all and by source.

    Exit status 1 when no rule of retention has run for 26 hours, or one waits for that long: for whatever watches over this.
    """
    state = db.prepare()
    with worker() as session:
        found = queries.status(session, now=now())
        alarm = queries.retention_alarm(session, now=now())
        platform = queries.sync_state(session).told(now())
    if as_json:
        facts = {
            "database": found.server,
            "embedded": settings().embedded,
            "migration": asdict(state),
            "platform": platform,
            "retention": asdict(alarm),
            **asdict(found),
        }
        typer.echo(json.dumps(facts, default=str, indent=2))
    else:
        newest = "up to date" if state.up_to_date else f"newest is {state.newest}"
        out.print(f"Database    PostgreSQL {found.server}, {'embedded' if settings().embedded else 'server'}")
        out.print(f"Migrations  {state.current} ({newest})")
        _print_parts(found, platform, alarm)
        out.print(_counts_table(found))
    raise typer.Exit(int(alarm.rings))


def _print_parts(found: queries.Status, platform: str, alarm: queries.RetentionAlarm) -> None:
    """A line for each part of the house that does something by itself."""
    out.print(f"Worker      {_worker_line(found.worker)}")
    out.print(f"Backups     {_backup_line()}", markup=False)
    if (copy := replica.following()) is not None:
        out.print(f"Replica     {copy.trouble or f'{copy.lag:.1f} s behind'}", markup=False)
    out.print(f"Platform    {platform}", markup=False)
    for dead in found.worker.dead:
        out.print(
            f"  failed    {dead.kind} {dead.key}: {dead.attempts} attempts, {dead.error} at {dead.failed_at:%F %H:%M} UTC"
        )
    out.print(f"Retention   {_retention_line(alarm)}")


def _backup_line() -> str:
    found = backups.found()
    newest = found.newest()
    told = f"newest of {newest.made_at:%Y-%m-%d %H:%M} UTC, {len(found.backups)} kept" if newest else "none"
    told += ", older than 26 hours" if newest and found.is_stale(now()) else ""
    return told + (f", {len(found.unreadable)} without a note of ours" if found.unreadable else "")


def _retention_line(alarm: queries.RetentionAlarm) -> str:
    ran = f"last run {alarm.ran_at:%F %H:%M} UTC" if alarm.ran_at else "never ran"
    waits = "; ".join(f"{rule} waits for {what}" for rule, what in alarm.waiting)
    return f"{'ALARM: ' if alarm.rings else ''}{ran}{'; ' + waits if waits else ''}"


def _worker_line(state: queries.WorkerState) -> str:
    if state.seen_at is None:
        return "has never run"
    running = f"{state.alive} alive" if state.alive else "none alive"
    behind = f"; behind since {state.behind_since:%F %H:%M} UTC" if state.behind_since else ""
    return f"{running}; last seen {state.seen_at:%F %H:%M:%S} UTC{behind}"


def _counts_table(found: queries.Status) -> Table:
    table = Table("", "all", *found.by_source, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    parts = [found.total, *found.by_source.values()]
    for name in ("programs", "cohorts", "students", "enrollments"):
        table.add_row(name, *(f"{getattr(part, name):,}" for part in parts))
    for state in sorted(found.total.enrollments_by_status):
        table.add_row(f"  {state}", *(f"{part.enrollments_by_status.get(state, 0):,}" for part in parts))
    table.add_row("results", *(f"{sum(part.results_by_kind.values()):,}" for part in parts))
    for kind in sorted(found.total.results_by_kind):
        table.add_row(f"  {kind}", *(f"{part.results_by_kind.get(kind, 0):,}" for part in parts))
    table.add_row("submissions", *(f"{part.submissions:,}" for part in parts))
    table.add_row("open requests", *(f"{part.open_requests:,}" for part in parts))
    return table
