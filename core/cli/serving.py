"""``serve``: database, dashboard and a worker until Ctrl-C."""

import gc
import importlib
import os
import signal
import socket
import sys
import threading
from contextlib import nullcontext, suppress
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import func, select

from core import companion, demo, demo_cases, privacy_actions
from core.cli.base import now, out, worker
from core.cli.records import write_synthetic
from core.errors import AdminError, SettingsError
from core.importers.statuses import refresh_statuses
from core.models.platform import Program
from core.privacy import consent_watch, restore
from core.settings import ROOT, settings


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
    first_start = seed == "auto" and _wrote_first_records()
    if known.demo or demo_mode:
        _publish_for_demo()
    sound, behind = _is_sound(), _is_behind()
    sign_ins = _demo_sign_ins(sound) if known.demo or demo_mode else []
    if first_start and sign_ins and sound and not behind:
        demo_cases.begin_cases(now=now())
    if sound and not behind:
        with worker() as session:
            privacy_actions.sign_audit(session, now=now())
    _announce(host, port, sign_ins)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises the signal again once it has closed
    opened = threading.Event()
    with companion.beside(after=opened) if with_worker else nullcontext():
        _run_server(host, port, opened)


def _wrote_first_records() -> bool:
    """Write the synthetic records into a database without any; say whether it was one."""
    with worker() as session:
        if session.scalar(select(func.count(Program.id))):
            return False
        out.print("First start: writing synthetic records …")
        write_synthetic(session)
        refresh_statuses(session, now())
        consent_watch.settle_all(session, now=now())
        demo.take_weekly_figures(session, now=now())
        return True


def _is_sound() -> bool:
    """Check the audit from its last signed checkpoint on, and say so when it does not verify."""
    with worker() as session:
        sound = privacy_actions.check_audit_at_start(session, now=now())
    if not sound:
        out.print("[bold red]The audit does not verify: guarded actions are closed.[/bold red] See docs/runbook.md.")
    return sound


def _is_behind() -> bool:
    """Compare the database with the erasure ledger, and say so when it lacks what was erased."""
    with worker() as session:
        behind = restore.compare(session, now=now()).is_behind
    if behind:
        out.print(
            "[bold red]The database is behind the erasure ledger: the dashboard stays closed.[/bold red] Run: python -m core restore-check"
        )
    return behind


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"Port {port} on {host} is in use or not allowed. Choose another one: make run PORT={port + 1}"
            ) from error


def _import_dashboard() -> None:
    """Import Streamlit and what the dashboard is made of; nothing of it is garbage, so the collector need not look at it."""
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    gc.disable()
    importlib.import_module("dashboard")
    gc.freeze()
    gc.enable()


def _publish_for_demo() -> None:
    """Every closed period at the first start, so that Analytics has something to show; later ones are the worker's."""
    try:
        with worker() as session:
            due = privacy_actions.releases_due(session, now=now())
            for each in due:
                privacy_actions.publish_release(session, family=each.family, period=each.period.name, now=now())
    except AdminError as error:  # a demo without releases is a demo still
        out.print(f"No anonymized releases: {error.sentence}")
        return
    if due:
        out.print(f"Published {len(due)} anonymized releases.")


def _demo_sign_ins(sound: bool) -> list[demo.DemoSignIn]:
    """Make what is missing; while the audit is broken nobody new is let in, and those who are there still are."""
    with worker() as session:
        return demo.ensure_demo_staff(session, now=now()) if sound else demo.sign_ins()


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
