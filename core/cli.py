"""The command line. Each command opens one transaction, calls one front door and prints what happened.

Every command migrates an empty database and none of them seeds, but ``serve --seed auto`` and ``seed``.
"""

import gc
import importlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, TaskID, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import backup as backups
from core import (
    canary,
    companion,
    db,
    demo,
    demo_cases,
    drill,
    keys,
    leases,
    privacy_actions,
    queries,
    replica,
    roles,
    rollups,
)
from core.anon.method import draft
from core.errors import AdminError, BadInput, Refused, SettingsError
from core.importers.oulad import import_oulad
from core.importers.seed import seed as load_seed
from core.importers.sizes import Sizes
from core.importers.spreadsheets import import_sheet
from core.importers.statuses import refresh_statuses
from core.models.platform import Program
from core.models.proposals import PolicyProposal
from core.policy.evidence import State
from core.policy.judging import judge
from core.policy.promises import ledger_table
from core.privacy import audit, audit_export, bounces, consent_watch, export_build, ledger, restore
from core.settings import ROOT, settings
from core.worker import Outcome, Worker, dry_run

app = typer.Typer(
    help="Resocode Admin: the command line.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
staff_app = typer.Typer(help="Staff accounts, roles and assignments.", no_args_is_help=True)
import_app = typer.Typer(help="Bring records in.", no_args_is_help=True)
sync_app = typer.Typer(help="Bring in what changed on the platform.", no_args_is_help=True)
audit_app = typer.Typer(help="The audit: verify it, export it, sign its present end.", no_args_is_help=True)
keys_app = typer.Typer(help="Secret keys.", no_args_is_help=True)
canary_app = typer.Typer(help="Synthetic people in every store, erased and looked for.", no_args_is_help=True)
policy_app = typer.Typer(help="The privacy policy as data.", no_args_is_help=True)
mail_app = typer.Typer(help="Mail that was sent.", no_args_is_help=True)
analytics_app = typer.Typer(help="Anonymized releases: publish, check, configure.", no_args_is_help=True)
for name, sub in (
    ("staff", staff_app),
    ("import", import_app),
    ("sync", sync_app),
    ("audit", audit_app),
    ("keys", keys_app),
    ("policy", policy_app),
    ("canary", canary_app),
    ("mail", mail_app),
    ("analytics", analytics_app),
):
    app.add_typer(sub, name=name)

COLORS = {State.BROKEN: "bold red", State.AT_RISK: "yellow", State.NOT_PROVEN: "dim", State.HOLDS: "green"}
out = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command line; what a person can mend is one sentence and exit status 1."""
    try:
        app()
    except Refused as error:
        _record_refusal()
        sys.exit(f"{error.sentence}")
    except AdminError as error:
        sys.exit(f"{error.sentence}")
    except OperationalError:
        sys.exit("The database did not answer. Check DATABASE_URL and that the server is running.")
    finally:
        db.release()


def _record_refusal() -> None:
    """Write that a command was refused, by its name: words of the command line may name people."""
    words = [word for word in sys.argv[1:3] if word.replace("-", "").isalpha() and not word.startswith("-")]
    with worker() as session:
        privacy_actions.record_command_refusal(session, what=" ".join(["command line:", *words]), now=_now())


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 0,
    demo_mode: Annotated[
        bool, typer.Option("--demo", help="Make demo accounts and print them (embedded database only).")
    ] = False,
    seed: Annotated[str, typer.Option(help="auto: synthetic records into an empty database; none: nothing.")] = "none",
    with_worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Run a worker beside the dashboard.")
    ] = True,
) -> None:
    """Run the database, the dashboard and a worker until Ctrl-C."""
    if demo_mode:
        os.environ["RESOCODE_DEMO"] = "1"
    known = settings()
    host, port = host or known.host, port or known.port
    os.environ["RESOCODE_HOST"], os.environ["RESOCODE_PORT"] = host, str(port)  # the worker beside looks at our answers
    os.environ["RESOCODE_HOME"] = str(known.home)  # a relative one was meant from here
    _check_port(host, port)
    _import_dashboard()  # while the database starts
    with worker() as session:
        first_start = seed == "auto" and not session.scalar(select(func.count(Program.id)))
        if first_start:
            out.print("First start: writing synthetic records …")
            _seed(session)
            refresh_statuses(session, _now())
            consent_watch.settle_all(session, now=_now())
            demo.take_weekly_figures(session, now=_now())
    if known.demo or demo_mode:
        _publish_for_demo()
    with worker() as session:
        sound = privacy_actions.check_audit(session, now=_now()).sound
    if not sound:
        out.print("[bold red]The audit does not verify: guarded actions are closed.[/bold red] See docs/runbook.md.")
    with worker() as session:
        behind = restore.compare(session, now=_now()).is_behind
    if behind:
        out.print(
            "[bold red]The database is behind the erasure ledger: the dashboard stays closed.[/bold red] Run: python -m core restore-check"
        )
    sign_ins = _demo_sign_ins(sound) if known.demo or demo_mode else []
    if first_start and sign_ins and sound and not behind:
        demo_cases.begin_cases(now=_now())
    if sound and not behind:
        with worker() as session:
            privacy_actions.sign_audit(session, now=_now())
    _announce(host, port, sign_ins)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again once it has closed
    opened = threading.Event()
    with companion.beside(after=opened) if with_worker else nullcontext():
        _run_server(host, port, opened)


@app.command("worker")
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
        for planned in dry_run(now=_now()):
            out.print(f"{planned.kind:<22}{planned.key:<22}{planned.would}")
        return
    made = Worker(clock=_now)
    _stop_on_signals(made.stopping)
    if with_parent:
        companion.leave_with_parent(made.stopping)
    with worker() as session:
        if retry:
            out.print(f"{leases.retry(session, now=_now())} dead letters are tried again.")
    with _beating(made):
        if not once:
            made.run()
        elif failed := _report(made.catch_up()):
            raise AdminError(f"{failed} jobs failed. See `python -m core status`.")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Tell database, migrations, worker, retention and counts, in all and by source.

    Exit status 1 when no rule of retention has run for 26 hours, or one waits for that long: for whatever watches over this.
    """
    state = db.prepare()
    with worker() as session:
        found = queries.status(session, now=_now())
        alarm = queries.retention_alarm(session, now=_now())
        platform = queries.sync_state(session).told(_now())
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
        raise typer.Exit(int(alarm.rings))
    out.print(f"Database    PostgreSQL {found.server}, {'embedded' if settings().embedded else 'server'}")
    out.print(f"Migrations  {state.current} ({'up to date' if state.up_to_date else f'newest is {state.newest}'})")
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
    out.print(_counts_table(found))
    raise typer.Exit(int(alarm.rings))


def _backup_line() -> str:
    found = backups.found()
    newest = found.newest()
    told = f"newest of {newest.made_at:%Y-%m-%d %H:%M} UTC, {len(found.backups)} kept" if newest else "none"
    told += ", older than 26 hours" if newest and found.is_stale(_now()) else ""
    return told + (f", {len(found.unreadable)} without a note of ours" if found.unreadable else "")


@app.command()
def seed() -> None:
    """Write the synthetic records of data/seed (again: nothing changes)."""
    with importing() as session:
        _seed(session)


@app.command()
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
        new = made_up.prepare(session, sizes, now=_now(), beside_real_records=beside_real_records)
    if not new:
        out.print("These records are there already: nothing was added.")
        return
    with worker() as session, _progress() as advance:
        written = made_up.generate(session, sizes, now=_now(), progress=advance)
        rollups.refresh_rollups(session)
        privacy_actions.take_group_figures(session, now=_now())
    _print_rows(written)
    try:
        db.vacuum((*made_up.TABLES, "platform.rollup"))
    except SettingsError:
        out.print("Statistics follow by autovacuum; with OWNER_DATABASE_URL they are there at once.")


@app.command()
def migrate() -> None:
    """Bring the database to the newest migration, as the owner (OWNER_DATABASE_URL); make keys for new purposes."""
    made = keys.create_missing()
    state = db.prepare(migrate_if_behind=True)
    out.print(f"The database is at migration {state.current}.")
    if made:
        out.print(f"New keys: {', '.join(made)}. Keep copies of them (docs/runbook.md).")


@app.command()
def init(
    admin_email: Annotated[
        str, typer.Option(help="E-mail of the first admin; the password comes from standard input.")
    ] = "",
    admin_name: Annotated[str, typer.Option(help="Name of the first admin.")] = "",
) -> None:
    """Prepare a server: roles, schemas, keys, migrations, policy, first admin. Run it again at any time.

    Needs ADMIN_DATABASE_URL (a superuser, or a CREATEROLE owner of the database) besides DATABASE_URL,
    OWNER_DATABASE_URL and WORKER_DATABASE_URL, whose passwords the roles get.
    """
    made = keys.create_missing()
    if not settings().embedded:
        roles.create_on_server(os.environ.get("ADMIN_DATABASE_URL"))
    db.prepare(migrate_if_behind=True)
    db.check_role()
    with worker() as session:
        version = privacy_actions.publish_first_version(session, now=_now())
        if admin_email:
            name, password = admin_name or admin_email.partition("@")[0], _password()
            privacy_actions.add_staff(
                session, email=admin_email, name=name, role="admin", password=password, now=_now()
            )
    out.print(f"Ready. Policy {version}; new keys: {', '.join(made) or 'none'}.")


@app.command("drill")
def drill_command() -> None:
    """Enroll, close, erase, verify and certify a synthetic person on this database. Exit status 1 at the first fault."""
    db.prepare()
    for told in drill.drill(clock=_now):
        out.print(f"{told.what:<10}{told.seen}", markup=False)
    out.print("The drill went well.")


@app.command("export-schema")
def export_schema() -> None:
    """Print the JSON schema of ``data.json`` in exports, made from the labels. It needs no database."""
    typer.echo(json.dumps(export_build.schema(), ensure_ascii=False, indent=1))


@app.command("restore-check")
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
            out.print(f"{restore.rebuild(session, now=_now())} erasures were written into {ledger.folder()} anew.")
        found = restore.compare(session, now=_now())
    for line in found.lines:
        out.print(line, markup=False)
    if not found.is_behind:
        out.print(f"Ledger and database agree ({ledger.read().lines:,} lines in {ledger.folder()}).")
        return
    if only_say:
        raise AdminError("The dashboard stays closed until `python -m core restore-check` has replayed the ledger.")
    with db.transaction("worker") as session:
        done = restore.replay(session, now=_now())
    _print_replayed(done)
    with db.transaction("worker") as session:
        sound = privacy_actions.check_audit(session, now=_now()).sound
    if sound:
        with db.transaction("worker") as session:
            privacy_actions.sign_audit(session, now=_now())
    out.print(
        "The dashboard is open again."
        if sound
        else "The dashboard is open; the audit does not verify: docs/runbook.md."
    )


@app.command("backup")
def backup_command() -> None:
    """Write an encrypted backup of the whole database into RESOCODE_BACKUPS, and remove those whose days are over.

    On a server it needs ADMIN_DATABASE_URL (a role that reads every row) and pg_dump of the server's version.
    """
    db.prepare()
    if settings().embedded and backups.create_identity():
        out.print(f"A key for backups was made: keep a copy of {settings().backup_identity} elsewhere.", markup=False)
    made = backups.make(now=_now())
    with db.transaction("worker") as session:
        removed = backups.remove_expired(session, now=_now())
        backups.record(session, now=_now())
    out.print(f"{backups.folder() / made.name}", markup=False)
    out.print(f"{made.size / 2**20:,.1f} MB, encrypted. It may be kept until {made.expires_at:%Y-%m-%d}.")
    if removed:
        out.print(f"{removed} older backups were removed.")


@app.command("restore")
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
    known = backups.check(file, now=_now())
    out.print(
        f"A backup of {known.made_at:%Y-%m-%d %H:%M} UTC, to be gone by {known.expires_at:%Y-%m-%d}; it is whole."
    )
    if not yes:
        raise AdminError("Nothing was changed. Give --yes to put it in the place of the database.")
    before = backups.restore(file, now=_now())
    out.print("The backup stands in the place of the database.")
    if drop_before:
        backups.drop_before(before)
    else:
        out.print(
            f"The database before is still there, with everybody in it: drop {before} when you do not need it any more."
        )
    db.prepare(migrate_if_behind=True)
    out.print("Run `python -m core restore-check` now: the dashboard opens once erasure ledger and database agree.")


def _print_replayed(done: restore.Replayed) -> None:
    out.print(
        f"{done.erased} of {done.known} people had come back and were erased again; their old records are kept out."
    )
    _print_rows(done.rows)
    out.print(f"{done.canceled} deletions were canceled again; {done.sent_back} approved ones wait for approval anew.")
    if done.lost_lines:
        out.print(f"{done.lost_lines:,} lines of the audit are lost; the log says so.")
    for each in done.open:
        out.print(f"The erasure {each} had begun and was not proven: look at the processors by hand.")


@app.command()
def snapshot() -> None:
    """Write this week's group figures, unless they are there (the worker does this every Monday)."""
    with worker() as session:
        refresh_statuses(session, _now())
        out.print(f"{privacy_actions.take_group_figures(session, now=_now())} figures written.")


@mail_app.command("bounces")
def mail_bounces(
    path: Annotated[
        Path, typer.Argument(help="A file, an mbox or a maildir with what came back to the sender's address.")
    ],
) -> None:
    """Read reports of the mail system (RFC 3464): which letters came back. Again: nothing changes."""
    db.prepare()
    with worker() as session:
        found = bounces.record_bounces(session, bounces.reports_in(path), now=_now())
    out.print(
        f"{found.bounced} letters came back; {found.known} were known; {found.unknown} reports name no letter of ours;"
        f" {found.delayed} tell of delays; {found.other} are other mail."
    )


@staff_app.command("add")
def staff_add(
    email: str,
    role: Annotated[str, typer.Option(help="program_staff, instructor, mentor, privacy_officer, admin or auditor.")],
    name: Annotated[str, typer.Option()],
) -> None:
    """Make an account; the password is read from standard input."""
    password = _password()
    with owned() as session:
        privacy_actions.add_staff(session, email=email, name=name, role=role, password=password, now=_now())
    out.print(f"{email} can sign in as {role}.")


@staff_app.command("disable")
def staff_disable(email: str) -> None:
    """Close an account; its sessions end at once."""
    with worker() as session:
        privacy_actions.disable_staff(session, email=email, now=_now())
    out.print(f"{email} is disabled and signed out.")


@staff_app.command("enable")
def staff_enable(email: str) -> None:
    """Open a disabled account again."""
    with owned() as session:
        privacy_actions.enable_staff(session, email=email, now=_now())
    out.print(f"{email} can sign in again.")


@staff_app.command("role")
def staff_role(email: str, role: str) -> None:
    """Give an account another role; its sessions end at once."""
    with owned() as session:
        privacy_actions.change_role(session, email=email, role=role, now=_now())
    out.print(f"{email} is {role} now and has to sign in again.")


@staff_app.command("assign")
def staff_assign(
    email: str,
    cohort: Annotated[str, typer.Argument(help="The cohort's code.")],
    start: Annotated[datetime | None, typer.Option(help="First day (today).", formats=["%Y-%m-%d"])] = None,
    end: Annotated[datetime | None, typer.Option(help="Last day (open).", formats=["%Y-%m-%d"])] = None,
) -> None:
    """Open the learning data of a cohort to an instructor or mentor."""
    first, last = (start or _now()).date(), end.date() if end else None
    with owned() as session:
        privacy_actions.assign(session, email=email, cohort=cohort, starts_on=first, ends_on=last, now=_now())
    out.print(f"{email} sees {cohort} from {first}" + (f" to {last}." if last else "."))


@staff_app.command("single-officer")
def staff_single_officer(state: Annotated[str, typer.Argument(help="on or off.")]) -> None:
    """Declare that one privacy officer decides alone: no second person approves deletions. Shown as a risk."""
    if state not in ("on", "off"):
        raise BadInput("Say on or off.")
    with owned() as session:
        changed = privacy_actions.declare_single_officer(session, on=state == "on", now=_now())
    what = "decides alone while one account of that role is enabled" if state == "on" else "never decides alone"
    out.print(f"A privacy officer {what}." if changed else "That was so already.")


Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this it is only said.")]
Reason = Annotated[str, typer.Option(help="Why, in a few words; for the audit and for those who oversee.")]


@staff_app.command("invite")
def staff_invite(
    email: str,
    role: Annotated[str, typer.Option(help="program_staff, instructor, mentor, privacy_officer, admin or auditor.")],
    name: Annotated[str, typer.Option()],
    reason: Reason,
    yes: Yes = False,
) -> None:
    """Rescue: make an account without a second admin; prints a one-time code with which its owner chooses a password."""
    with _rescue(yes, f"{email} would become {role} without a second admin.") as session:
        made = privacy_actions.rescue_invite(session, email=email, name=name, role=role, reason=reason, now=_now())
    _print_code(made)


@staff_app.command("reset")
def staff_reset(
    email: str,
    reason: Annotated[str, typer.Option(help=f"One of: {', '.join(privacy_actions.RESET_REASONS)}.")],
    password_only: Annotated[bool, typer.Option("--password-only", help="Keep the one-time codes (TOTP).")] = False,
    yes: Yes = False,
) -> None:
    """Rescue: take password and one-time codes (TOTP) away; prints a one-time code with which the owner sets new ones."""
    what = "password" if password_only else "password and one-time codes"
    with _rescue(yes, f"{email} would be signed out everywhere and need a new {what}.") as session:
        made = privacy_actions.rescue_reset(session, email=email, full=not password_only, reason=reason, now=_now())
    _print_code(made)


@staff_app.command("single-admin")
def staff_single_admin(
    state: Annotated[str, typer.Argument(help="on or off.")], reason: Reason = "", yes: Yes = False
) -> None:
    """Rescue: declare that there is one admin, whose grants nobody checks (shown to all who oversee), or end it."""
    if state not in ("on", "off"):
        raise BadInput("Say on or off.")
    said = "would take effect without a second admin" if state == "on" else "would wait for a second admin again"
    with _rescue(yes, f"Grants {said}.") as session:
        privacy_actions.rescue_single_admin(session, on=state == "on", reason=reason, now=_now())
    out.print(f"The single-admin mode is {state}.")


@contextmanager
def _rescue(yes: bool, consequence: str) -> Iterator[Session]:
    """The worker's transaction, for whoever says --yes and holds the database owner's secret."""
    if not yes:
        raise BadInput(f"{consequence} It is recorded in the audit. Nothing was done: add --yes.")
    with owned() as session:
        yield session


@contextmanager
def owned() -> Iterator[Session]:
    """The worker's transaction, for whoever holds the database owner's secret: without it no right is given from here."""
    with worker() as session, db.engine("owner").connect() as owner:
        owner.execute(select(1))
        yield session


def _print_code(made: privacy_actions.OneTimeCode) -> None:
    """Tell the one secret that this machine ever prints: a code that works once, for 24 hours, with its owner's address."""
    out.print(f"One-time code for {made.email}, until {made.expires_at:%F %H:%M} UTC:", markup=False)
    out.print(f"\n    {made.code}\n", markup=False)
    out.print("Hand it over on a way by which you know the person. They open the dashboard, choose")
    out.print("“I have an invitation or a reset code”, and pick a password of their own.")


@staff_app.command("list")
def staff_list() -> None:
    """List all accounts."""
    table = Table("E-mail", "Name", "Role", "State", "Cohorts", box=None)
    with worker() as session:
        for row in privacy_actions.staff_list(session, today=_now().date()):
            table.add_row(row.email, row.name, row.role, "enabled" if row.enabled else "disabled", str(row.cohorts))
    out.print(table)


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
    with importing() as session, _progress() as advance:
        report = import_oulad(session, folder, now=_now(), shift_to=day, progress=advance)
        privacy_actions.take_group_figures(session, now=_now())
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
    with importing() as session, _progress() as advance:
        found = import_sheet(
            session, file, now=_now(), dry_run=dry_run, encoding=encoding, report=report, progress=advance
        )
    *told, upshot = found.lines()
    for line in told:
        out.print(line, markup=False)
    if found.problems:
        raise BadInput(upshot)
    out.print(upshot)


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
    began, total = _now(), mongodb.Done(more=True)
    while total.more:
        with importing() as session:
            done = mongodb.step(session, known, since=began, now=_now(), sweep=sweep, accept=accept_deletions)
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


@audit_app.command("verify")
def audit_verify(
    file: Annotated[
        Path | None, typer.Option(help="An exported file instead: needs neither database nor keys.", exists=True)
    ] = None,
) -> None:
    """Recompute the whole chain and compare it with the signed checkpoints. Exit status 1 when something is wrong.

    What is found decides whether guarded actions are open.
    """
    if file is not None:
        return _verify_file(file)
    with worker() as session:
        found = privacy_actions.check_audit(session, now=_now())
    if not found.sound:
        raise AdminError(
            f"The audit is broken: {found.problem}. Guarded actions are closed. Do not change anything; see docs/runbook.md."
        )
    out.print(f"The audit is sound: {found.lines:,} lines, {found.checkpoints} signed checkpoints.")
    for gap in found.gaps:
        out.print(
            f"But for {gap.words}: {gap.problem}; acknowledged by two people on {gap.confirmed_at:%Y-%m-%d}, not proved."
        )


def _verify_file(file: Path) -> None:
    found = audit_export.verify_file(file)
    if found.problem:
        raise AdminError(f"{file.name} is not as it was written: {found.problem}.")
    gaps = f"{found.gaps} gaps left by its filter" if found.gaps else "no gaps"
    out.print(f"{file.name} proves itself: {found.lines:,} lines, {gaps}, {found.checkpoints} signed checkpoints.")
    for words in found.broken:
        out.print(f"Not proved: {words}; two people acknowledged that.")
    for key in found.keys:
        out.print(f"Signed by the key {key}")


@audit_app.command("export")
def audit_export_command(
    file: Annotated[Path, typer.Argument(help="Where to write: .jsonl (with signed checkpoints) or .csv.")],
    action: Annotated[str, typer.Option(help="Only lines of this kind, like 'person viewed'.")] = "",
    actor: Annotated[str, typer.Option(help="Only lines of one staff member (e-mail), 'system' or 'nobody'.")] = "",
    subject: Annotated[str, typer.Option(help="Only lines about this id.")] = "",
    since: Annotated[datetime | None, typer.Option(help="First day (UTC).", formats=["%Y-%m-%d"])] = None,
    until: Annotated[datetime | None, typer.Option(help="Last day (UTC).", formats=["%Y-%m-%d"])] = None,
) -> None:
    """Write lines of the audit into a file that proves itself (`audit verify --file`)."""
    if file.suffix not in (".jsonl", ".csv"):
        raise BadInput("The file's name must end in .jsonl or .csv.")
    with worker() as session:
        wanted = _audit_filter(session, action, actor, subject, since, until)
        lines = (
            audit_export.export_csv(session, wanted)
            if file.suffix == ".csv"
            else audit_export.export_jsonl(session, wanted, now=_now())
        )
        _write_private(file, lines)
        found = audit_export.verify_file(file)
        privacy_actions.record_audit_export(session, rows=found.lines, now=_now())
    out.print(f"{found.lines:,} lines in {file}.")


def _write_private(file: Path, lines: Iterator[str]) -> None:
    """Write line by line into a file that only its owner can read."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
        opened.writelines(line + "\n" for line in lines)


def _audit_filter(
    session: Session, action: str, actor: str, subject: str, since: datetime | None, until: datetime | None
) -> queries.AuditFilter:
    kinds = [str(each) for each in audit.Action]
    if action and action not in kinds:
        raise BadInput(f"{action!r} is no kind of line. Choose one of: {', '.join(kinds)}.")
    try:
        subject_id = uuid.UUID(subject) if subject else None
    except ValueError as error:
        raise BadInput(f"{subject!r} is no id.") from error
    named = privacy_actions.staff_id(session, email=actor) if "@" in actor else None
    if actor and named is None and actor not in ("system", "nobody"):
        raise BadInput("--actor takes an e-mail address of staff, 'system' or 'nobody'.")
    days = (since.date() if since else None, until.date() if until else None)
    return queries.AuditFilter(action, "" if named else actor, named, subject_id, *days)


@audit_app.command("events")
def audit_events() -> None:
    """Print the table of docs/audit.md: every kind of line, when it is written, with which details."""
    typer.echo(audit_export.table_of_events(), nl=False)


@audit_app.command("checkpoint")
def audit_checkpoint() -> None:
    """Sign the present end of the audit into <home>/audit/checkpoints.jsonl; copy that file elsewhere."""
    with worker() as session:
        made = privacy_actions.sign_audit(session, now=_now())
    out.print(f"Signed: {made.size:,} lines." if made else "Nothing was added since the last checkpoint.")


@keys_app.command("create")
def keys_create() -> None:
    """Make a key file for each purpose that has none."""
    made = [*keys.create_missing(), *(["backups"] if backups.create_identity() else [])]
    out.print(f"New keys: {', '.join(made) or 'none'}.")


@policy_app.command("load")
def policy_load() -> None:
    """Publish version one of the policy unless it is there."""
    with worker() as session:
        out.print(f"Policy {privacy_actions.publish_first_version(session, now=_now())} is in the database.")


@policy_app.command("ledger")
def policy_ledger() -> None:
    """Print the ledger of promises as the table of docs/privacy.md."""
    typer.echo(ledger_table(), nl=False)


@policy_app.command("check")
def policy_check(
    as_json: Annotated[bool, typer.Option("--json", help="Print every promise with its evidence as JSON.")] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the result in the history, as the worker does.")
    ] = False,
) -> None:
    """Run the check behind every promise now. Exit status 1 when one is broken. Writes nothing without --record."""
    db.prepare()
    with db.transaction("worker") as session:
        if record:
            privacy_actions.check_promises(session, now=_now())
        else:
            session.execute(text("set transaction read only"))
        found = judge(session, now=_now())
    if as_json:
        rows = [
            {"promise": each.promise.id, "clause": each.promise.clause, "text": each.promise.text, "state": str(each.state),
             "evidence": [place.stored() for place in each.evidence]}
            for each in found
        ]  # fmt: skip
        typer.echo(json.dumps({"at": _now().isoformat(), "promises": rows}, indent=2, ensure_ascii=False))
    else:
        for each in found:
            out.print(f"[{COLORS[each.state]}]{each.state:<11}[/] {each.promise.id:<15} {escape(each.told.sentence)}")
    counts = Counter(each.state for each in found)
    if counts[State.BROKEN]:
        raise AdminError(f"{counts[State.BROKEN]} of {len(found)} promises are broken.")


@canary_app.command("status")
def canary_status(as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """Tell where each canary is, and what was seen of it. Exit status 1 when one that was erased is found."""
    db.prepare()
    with db.transaction("worker") as session:
        found = queries.canaries(session, at=_now())
    if as_json:
        typer.echo(json.dumps([{**asdict(each), "verdict": each.verdict} for each in found], default=str, indent=2))
    else:
        for each in found:
            looked = f", looked for on {each.looked_at:%F}" if each.looked_at else ""
            out.print(f"{each.week:%G-W%V}  {each.stage:<9} {each.verdict}{looked}", markup=False)
        if not found:
            out.print("There is no canary yet: a worker plants one a week.")
    if left := sum(each.stage == "found" for each in found):
        raise AdminError(f"{left} of {len(found)} canaries were erased and are still found.")


@canary_app.command("plant")
def canary_plant() -> None:
    """Plant the canary of this week now, as a worker would; again: nothing happens."""
    with worker() as session:
        done = canary.plant(session, week=canary.monday(_now()), now=_now())
    out.print(f"Planted, in {done['records']} records." if done else "This week's canary is there already.")


@policy_app.command("propose")
def policy_propose(
    file: Annotated[Path, typer.Argument(help="A version of the policy as data, like data/policy/2026-04-20.yaml.")],
) -> None:
    """Propose a new version: prints what changes. Two people publish it on the page Policy versions."""
    db.prepare()
    if not file.is_file():
        raise BadInput(f"There is no file {file}.")
    try:
        content = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not text in UTF-8.") from error
    with worker() as session:
        made = privacy_actions.propose_policy(session, content=content, now=_now())
        found = session.get_one(PolicyProposal, made.proposal_id)
        lines = [(each["significant"], each["words"]) for each in found.changes]
        told = (
            "significant: everybody is told before it holds"
            if found.significant
            else "not significant: nobody has to be told"
        )
    out.print(made.sentence)
    for significant, words in lines:
        out.print(f"{'! ' if significant else '  '}{words}", markup=False)
    out.print(f"It is {told}. Two people publish it on the page Policy versions.")


@analytics_app.command("publish")
def analytics_publish(
    period: Annotated[str, typer.Option(help="Only this closed quarter or year, like 2026-Q3 or 2026.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be published; count and draw nothing.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option(help="Another configuration than this home's.", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """Publish every closed period that waits, each once and for ever, with noise. See docs/analytics.md."""
    with worker() as session:
        due = privacy_actions.releases_due(session, now=_now(), file=file)
    if period:
        due = [each for each in due if each.period.name == period]
    if period and not due:
        raise BadInput(f"Nothing of {period} waits: it is published, not closed yet, or no period. See --dry-run.")
    for each in due:
        if dry_run:
            out.print(
                f"{each.period.name:<9}{each.family:<13}{each.cells:>6,} cells   at most {each.cost:.3f} of an account's budget"
            )
            continue
        with worker() as session:
            made = privacy_actions.publish_release(
                session, family=each.family, period=each.period.name, now=_now(), file=file
            )
        out.print(
            f"{made.period:<9}{made.family:<13}{made.cells:>6,} cells   {made.total:.3f} of the budget   {made.content_sha256[:12]}"
        )
    out.print(f"{len(due)} releases {'would be' if dry_run else 'were'} published." if due else "No period waits.")


@analytics_app.command("domain")
def analytics_domain() -> None:
    """Print a draft of analytics.yaml from the catalog, to be checked by a person. No record of a student is looked at."""
    with worker() as session:
        typer.echo(draft(session), nl=False)


@analytics_app.command("verify")
def analytics_verify() -> None:
    """Recompute every release's hash and the ledger, and compare with the audit. Exit status 1 when something changed."""
    with worker() as session:
        found = privacy_actions.verify_releases(session)
    if not found.sound:
        raise AdminError(f"The releases are not as they were published: {found.problem}. See docs/runbook.md.")
    out.print(f"All {found.releases:,} releases ({found.cells:,} cells) are as they were published.")


@contextmanager
def importing() -> Iterator[Session]:
    """The same for whoever brings people in: refused while the database is behind the erasure ledger."""
    with worker() as session:
        if restore.compare(session, now=_now()).is_behind:
            raise restore.Behind("The database is behind the erasure ledger. Run `python -m core restore-check` first.")
        yield session
        rollups.refresh_rollups(session)


@contextmanager
def worker() -> Iterator[Session]:
    """A prepared database and one transaction as the worker role; version one of the policy is there."""
    if db.prepare_once():
        with db.transaction("worker") as session:
            privacy_actions.publish_first_version(session, now=_now())
    with db.transaction("worker") as session:
        yield session


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that an import counts."""
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=out, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def advance(what: str, done: int, whole: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=whole)
            bar.update(tasks[what], completed=done)

        yield advance


def _now() -> datetime:
    return datetime.now(UTC)


def _day(given: str) -> date | None:
    if given in ("", "today"):
        return _now().date() if given else None
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise BadInput(f"--shift-to takes 'today' or a day like 2026-11-24, not {given!r}.") from error


def _seed(session: Session) -> None:
    _print_rows(load_seed(session, now=_now()))
    rollups.refresh_rollups(session)


def _print_rows(written: dict[str, int]) -> None:
    for table, rows in written.items():
        out.print(f"  {table:<18}{rows:>12,}")


def _publish_for_demo() -> None:
    """Every closed period at the first start, so that Analytics has something to show; later ones are the worker's."""
    try:
        with worker() as session:
            due = privacy_actions.releases_due(session, now=_now())
            for each in due:
                privacy_actions.publish_release(session, family=each.family, period=each.period.name, now=_now())
    except AdminError as error:  # a demo without releases is a demo still
        out.print(f"No anonymized releases: {error.sentence}")
        return
    if due:
        out.print(f"Published {len(due)} anonymized releases.")


def _password() -> str:
    """From standard input only: an argument would stay in the shell's history and in the list of processes."""
    typed = str(typer.prompt("Password", hide_input=True)) if sys.stdin.isatty() else sys.stdin.readline()
    return typed.rstrip("\n")


def _demo_sign_ins(sound: bool) -> list[demo.DemoSignIn]:
    """Make what is missing; while the audit is broken nobody new is let in, and those who are there still are."""
    with worker() as session:
        return demo.ensure_demo_staff(session, now=_now()) if sound else demo.sign_ins()


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"Port {port} on {host} is in use or not allowed. Choose another one: make run PORT={port + 1}"
            ) from error


def _announce(host: str, port: int, sign_ins: list[demo.DemoSignIn]) -> None:
    out.print(f"\nResocode Admin: [bold]http://{_shown(host)}:{port}[/bold]")
    if sign_ins:
        table = Table("Role", "E-mail", "Password", box=None)
        for each in sign_ins:
            table.add_row(each.role, each.email, each.password)
        out.print("Demo accounts on this machine only:", table)
    out.print("Stop with Ctrl-C.\n")


def _shown(host: str) -> str:
    return "localhost" if host == "127.0.0.1" else host


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


def _import_dashboard() -> None:
    """Import Streamlit and what the dashboard is made of; nothing of it is garbage, so the collector need not look at it."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    gc.disable()
    importlib.import_module("dashboard")
    gc.freeze()
    gc.enable()


def _run_server(host: str, port: int, opened: threading.Event) -> None:
    """Serve in this process; ``opened`` is set when the first page can be asked for.

    uvicorn binds by host and port, so that Nagle's delay is off (research: 40 ms a click).
    """
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            opened.set()

    server = Server(
        uvicorn.Config(
            "dashboard:app",
            host=host,
            port=port,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=2,
            server_header=False,
        )
    )
    with suppress(KeyboardInterrupt):  # raised again by uvicorn once it has closed
        server.run()
    if not server.started:
        sys.exit(3)


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
