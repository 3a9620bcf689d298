"""``audit``: verify it, export it, sign its present end."""

import os
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from core import privacy_actions, queries
from core.cli.base import now, out, worker
from core.errors import AdminError, BadInput
from core.privacy import audit, audit_export

audit_app = typer.Typer(help="The audit: verify it, export it, sign its present end.", no_args_is_help=True)


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
        found = privacy_actions.check_audit(session, now=now())
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
            else audit_export.export_jsonl(session, wanted, now=now())
        )
        _write_private(file, lines)
        found = audit_export.verify_file(file)
        privacy_actions.record_audit_export(session, rows=found.lines, now=now())
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
        made = privacy_actions.sign_audit(session, now=now())
    out.print(f"Signed: {made.size:,} lines." if made else "Nothing was added since the last checkpoint.")
