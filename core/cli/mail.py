"""``mail``: what became of mail that was sent."""

from pathlib import Path
from typing import Annotated

import typer

from core import db
from core.cli.base import now, out, worker
from core.privacy import bounces

mail_app = typer.Typer(help="Mail that was sent.", no_args_is_help=True)


@mail_app.command("bounces")
def mail_bounces(
    path: Annotated[
        Path, typer.Argument(help="A file, an mbox or a maildir with what came back to the sender's address.")
    ],
) -> None:
    """Read reports of the mail system (RFC 3464): which letters came back. Again: nothing changes."""
    db.prepare()
    with worker() as session:
        found = bounces.record_bounces(session, bounces.reports_in(path), now=now())
    out.print(
        f"{found.bounced} letters came back; {found.known} were known; {found.unknown} reports name no letter of ours;"
        f" {found.delayed} tell of delays; {found.other} are other mail."
    )
