"""``staff``: accounts, roles, assignments, and the way back in."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy.orm import Session

from core import privacy_actions
from core.cli.base import now, out, owned, typed_password, worker
from core.errors import BadInput

staff_app = typer.Typer(help="Staff accounts, roles and assignments.", no_args_is_help=True)


@staff_app.command("add")
def staff_add(
    email: str,
    role: Annotated[str, typer.Option(help="program_staff, instructor, mentor, privacy_officer, admin or auditor.")],
    name: Annotated[str, typer.Option()],
) -> None:
    """Make an account; the password is read from standard input."""
    password = typed_password()
    with owned() as session:
        privacy_actions.add_staff(session, email=email, name=name, role=role, password=password, now=now())
    out.print(f"{email} can sign in as {role}.")


@staff_app.command("disable")
def staff_disable(email: str) -> None:
    """Close an account; its sessions end at once."""
    with worker() as session:
        privacy_actions.disable_staff(session, email=email, now=now())
    out.print(f"{email} is disabled and signed out.")


@staff_app.command("enable")
def staff_enable(email: str) -> None:
    """Open a disabled account again."""
    with owned() as session:
        privacy_actions.enable_staff(session, email=email, now=now())
    out.print(f"{email} can sign in again.")


@staff_app.command("role")
def staff_role(email: str, role: str) -> None:
    """Give an account another role; its sessions end at once."""
    with owned() as session:
        privacy_actions.change_role(session, email=email, role=role, now=now())
    out.print(f"{email} is {role} now and has to sign in again.")


@staff_app.command("assign")
def staff_assign(
    email: str,
    cohort: Annotated[str, typer.Argument(help="The cohort's code.")],
    start: Annotated[datetime | None, typer.Option(help="First day (today).", formats=["%Y-%m-%d"])] = None,
    end: Annotated[datetime | None, typer.Option(help="Last day (open).", formats=["%Y-%m-%d"])] = None,
) -> None:
    """Open the learning data of a cohort to an instructor or mentor."""
    first, last = (start or now()).date(), end.date() if end else None
    with owned() as session:
        privacy_actions.assign(session, email=email, cohort=cohort, starts_on=first, ends_on=last, now=now())
    out.print(f"{email} sees {cohort} from {first}" + (f" to {last}." if last else "."))


@staff_app.command("single-officer")
def staff_single_officer(state: Annotated[str, typer.Argument(help="on or off.")]) -> None:
    """Declare that one privacy officer decides alone: no second person approves deletions. Shown as a risk."""
    if state not in ("on", "off"):
        raise BadInput("Say on or off.")
    with owned() as session:
        changed = privacy_actions.declare_single_officer(session, on=state == "on", now=now())
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
        made = privacy_actions.rescue_invite(session, email=email, name=name, role=role, reason=reason, now=now())
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
        made = privacy_actions.rescue_reset(session, email=email, full=not password_only, reason=reason, now=now())
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
        privacy_actions.rescue_single_admin(session, on=state == "on", reason=reason, now=now())
    out.print(f"The single-admin mode is {state}.")


@staff_app.command("list")
def staff_list() -> None:
    """List all accounts."""
    table = Table("E-mail", "Name", "Role", "State", "Cohorts", box=None)
    with worker() as session:
        for row in privacy_actions.staff_list(session, today=now().date()):
            table.add_row(row.email, row.name, row.role, "enabled" if row.enabled else "disabled", str(row.cohorts))
    out.print(table)


@contextmanager
def _rescue(yes: bool, consequence: str) -> Iterator[Session]:
    """The worker's transaction, for whoever says --yes and holds the database owner's secret."""
    if not yes:
        raise BadInput(f"{consequence} It is recorded in the audit. Nothing was done: add --yes.")
    with owned() as session:
        yield session


def _print_code(made: privacy_actions.OneTimeCode) -> None:
    """Tell the one secret that this machine ever prints: a code that works once, for 24 hours, with its owner's address."""
    out.print(f"One-time code for {made.email}, until {made.expires_at:%F %H:%M} UTC:", markup=False)
    out.print(f"\n    {made.code}\n", markup=False)
    out.print("Hand it over on a way by which you know the person. They open the dashboard, choose")
    out.print("“I have an invitation or a reset code”, and pick a password of their own.")
