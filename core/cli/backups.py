"""``backup``, ``restore`` and ``restore-check``."""

from pathlib import Path
from typing import Annotated

import typer

from core import backup as backups
from core import db, privacy_actions
from core.cli.base import now, out, print_rows
from core.errors import AdminError
from core.privacy import ledger, restore
from core.settings import settings


def backup_command() -> None:
    """Write an encrypted backup of the whole database into RESOCODE_BACKUPS, and remove those whose days are over.

    On a server it needs ADMIN_DATABASE_URL (a role that reads every row) and pg_dump of the server's version.
    """
    db.prepare()
    if settings().embedded and backups.create_identity():
        out.print(f"A key for backups was made: keep a copy of {settings().backup_identity} elsewhere.", markup=False)
    made = backups.make(now=now())
    with db.transaction("worker") as session:
        removed = backups.remove_expired(session, now=now())
        backups.record(session, now=now())
    out.print(f"{backups.folder() / made.name}", markup=False)
    out.print(f"{made.size / 2**20:,.1f} MB, encrypted. It may be kept until {made.expires_at:%Y-%m-%d}.")
    if removed:
        out.print(f"{removed} older backups were removed.")


def restore_command(
    file: Annotated[Path, typer.Argument(help="The backup; its note (.json) lies beside it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Really put it in the place of the database.")] = False,
    drop_before: Annotated[
        bool, typer.Option("--drop-before", help="Drop the database that stood there, once the backup is in its place.")
    ] = False,
) -> None:
    """Put a backup in the place of the database. The dashboard stays closed until `restore-check` has run.

    Stop the dashboard and the workers first. Without --yes the backup is only checked.
    """
    known = backups.check(file, now=now())
    out.print(
        f"A backup of {known.made_at:%Y-%m-%d %H:%M} UTC, to be gone by {known.expires_at:%Y-%m-%d}; it is whole."
    )
    if not yes:
        raise AdminError("Nothing was changed. Give --yes to put it in the place of the database.")
    before = backups.restore(file, now=now())
    out.print("The backup stands in the place of the database.")
    if drop_before:
        backups.drop_before(before)
    else:
        out.print(
            f"The database before is still there, with everybody in it: drop {before} when you do not need it any more."
        )
    db.prepare(migrate_if_behind=True)
    out.print("Run `python -m core restore-check` now: the dashboard opens once erasure ledger and database agree.")


def restore_check(
    only_say: Annotated[bool, typer.Option("--dry-run", help="Say what differs; change nothing.")] = False,
    rebuild_ledger: Annotated[
        bool, typer.Option("--rebuild-ledger", help="The ledger is lost for good: write what this database knows anew.")
    ] = False,
) -> None:
    """After a restore: compare the erasure ledger with the database, erase again who came back, and open the dashboard.

    Exit status 1 while the dashboard has to stay closed.
    """
    db.prepare()
    with db.transaction("worker") as session:
        if rebuild_ledger and not only_say:
            out.print(f"{restore.rebuild(session, now=now())} erasures were written into {ledger.folder()} anew.")
        found = restore.compare(session, now=now())
    for line in found.lines:
        out.print(line, markup=False)
    if not found.is_behind:
        out.print(f"Ledger and database agree ({ledger.read().lines:,} lines in {ledger.folder()}).")
        return
    if only_say:
        raise AdminError("The dashboard stays closed until `python -m core restore-check` has replayed the ledger.")
    with db.transaction("worker") as session:
        done = restore.replay(session, now=now())
    _print_replayed(done)
    with db.transaction("worker") as session:
        sound = privacy_actions.check_audit(session, now=now()).sound
    if sound:
        with db.transaction("worker") as session:
            privacy_actions.sign_audit(session, now=now())
    out.print(
        "The dashboard is open again."
        if sound
        else "The dashboard is open; the audit does not verify: docs/runbook.md."
    )


def _print_replayed(done: restore.Replayed) -> None:
    out.print(
        f"{done.erased} of {done.known} people had come back and were erased again; their old records are kept out."
    )
    print_rows(done.rows)
    out.print(f"{done.canceled} deletions were canceled again; {done.sent_back} approved ones wait for approval anew.")
    if done.lost_lines:
        out.print(f"{done.lost_lines:,} lines of the audit are lost; the log says so.")
    for each in done.open:
        out.print(f"The erasure {each} had begun and was not proven: look at the processors by hand.")
