"""Prepare a server, bring it up to date, and try it: ``init``, ``migrate``, ``keys``, ``drill``, ``export-schema``."""

import json
import os
from typing import Annotated

import typer

from core import backup as backups
from core import db, drill, keys, privacy_actions, roles
from core.cli.base import now, out, typed_password, worker
from core.privacy import export_build
from core.settings import settings

keys_app = typer.Typer(help="Secret keys.", no_args_is_help=True)


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
        version = privacy_actions.publish_first_version(session, now=now())
        if admin_email:
            name, password = admin_name or admin_email.partition("@")[0], typed_password()
            privacy_actions.add_staff(session, email=admin_email, name=name, role="admin", password=password, now=now())
    out.print(f"Ready. Policy {version}; new keys: {', '.join(made) or 'none'}.")


def migrate() -> None:
    """Bring the database to the newest migration, as the owner (OWNER_DATABASE_URL); make keys for new purposes."""
    made = keys.create_missing()
    state = db.prepare(migrate_if_behind=True)
    out.print(f"The database is at migration {state.current}.")
    if made:
        out.print(f"New keys: {', '.join(made)}. Keep copies of them (docs/runbook.md).")


@keys_app.command("create")
def keys_create() -> None:
    """Make a key file for each purpose that has none."""
    made = [*keys.create_missing(), *(["backups"] if backups.create_identity() else [])]
    out.print(f"New keys: {', '.join(made) or 'none'}.")


def drill_command() -> None:
    """Enroll, close, erase, verify and certify a synthetic person on this database. Exit status 1 at the first fault."""
    db.prepare()
    for told in drill.drill(clock=now):
        out.print(f"{told.what:<10}{told.seen}", markup=False)
    out.print("The drill went well.")


def export_schema() -> None:
    """Print the JSON schema of ``data.json`` in exports, made from the labels. It needs no database."""
    typer.echo(json.dumps(export_build.schema(), ensure_ascii=False, indent=1))
