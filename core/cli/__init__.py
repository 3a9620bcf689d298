"""The command line. Each command opens one transaction, calls one front door and prints what happened.

Every command migrates an empty database and none of them seeds, but ``serve --seed auto`` and ``seed``. A file is a topic;
what stands at the top of the command line is listed here, the rest in ``staff``, ``audit`` … of its file.
"""

import sys

import typer
from sqlalchemy.exc import OperationalError

from core import db, privacy_actions
from core.cli import analytics, audit, backups, mail, policy, records, serving, setup, staff, status, working
from core.cli.base import now, worker
from core.errors import AdminError, Refused

app = typer.Typer(
    help="Resocode Admin: the command line.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
for name, command in (
    ("serve", serving.serve),
    ("worker", working.worker_command),
    ("status", status.status),
    ("seed", records.seed),
    ("generate", records.generate),
    ("migrate", setup.migrate),
    ("init", setup.init),
    ("drill", setup.drill_command),
    ("export-schema", setup.export_schema),
    ("restore-check", backups.restore_check),
    ("backup", backups.backup_command),
    ("restore", backups.restore_command),
    ("snapshot", records.snapshot),
):
    app.command(name)(command)
for name, group in (
    ("staff", staff.staff_app),
    ("import", records.import_app),
    ("sync", records.sync_app),
    ("audit", audit.audit_app),
    ("keys", setup.keys_app),
    ("policy", policy.policy_app),
    ("canary", policy.canary_app),
    ("mail", mail.mail_app),
    ("analytics", analytics.analytics_app),
):
    app.add_typer(group, name=name)


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
        privacy_actions.record_command_refusal(session, what=" ".join(["command line:", *words]), now=now())
