"""``analytics``: anonymized releases."""

from pathlib import Path
from typing import Annotated

import typer

from core import privacy_actions
from core.anon.method import draft
from core.cli.base import now, out, worker
from core.errors import AdminError, BadInput

analytics_app = typer.Typer(help="Anonymized releases: publish, check, configure.", no_args_is_help=True)


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
        due = privacy_actions.releases_due(session, now=now(), file=file)
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
                session, family=each.family, period=each.period.name, now=now(), file=file
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
