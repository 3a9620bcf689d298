"""What breaks while a page is open, and how it comes back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import Page, expect

from core import embedded
from core.settings import ROOT
from tests.browser.conftest import Dashboard, environment, free_port, serving, sign_in, wait_for

pytestmark = pytest.mark.browser


def servers(home: Path) -> list[psutil.Process]:
    """The guardian and the PostgreSQL server of a home."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if str(home) in words and ("guard" in words or "postgres" in words):
            found.append(process)
    return found


def is_postgres(process: psutil.Process) -> bool:
    """Whether a process is of the database still; it may end while it is looked at."""
    try:
        return "postgres" in process.name()
    except psutil.NoSuchProcess:
        return False


def workers(dashboard: Dashboard) -> list[psutil.Process]:
    """The worker beside a dashboard."""
    return [child for child in psutil.Process(dashboard.process.pid).children() if "worker" in child.cmdline()]


def test_the_database_goes_and_comes_back(page: Page, folder: Path) -> None:
    home = folder / "home"
    with serving(home, "--demo", "--seed", "auto") as dashboard:
        sign_in(page, dashboard, "paula", "/enrollments")
        guardian = next(p for p in servers(home) if "core.embedded.guardian" in p.cmdline())
        guardian.send_signal(signal.SIGTERM)
        wait_for(lambda: not any(is_postgres(process) for process in servers(home)))
        page.get_by_role("radio", name="30 days").click()
        expect(page.get_by_text("The database did not answer.")).to_be_visible(timeout=60_000)
        assert "Traceback" not in page.inner_text("body")
        with embedded.attach(home):
            expect(page.get_by_role("heading", name="Enrollments", exact=True)).to_be_visible(timeout=60_000)
            expect(page.get_by_text("The database did not answer.")).to_have_count(0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_and_takes_the_database_with_it(folder: Path, how: signal.Signals) -> None:
    home = folder / "home"
    with serving(home) as dashboard:
        assert servers(home)
        wait_for(lambda: "alive" in dashboard.core("status"))
        [beside] = workers(dashboard)
        dashboard.process.send_signal(how)
        assert dashboard.process.wait(60) in (0, -how)
        assert not beside.is_running()
        wait_for(lambda: not servers(home))
    assert "Traceback" not in (home / "serve.log").read_text()


def test_after_a_kill_the_guardian_stops_the_database_and_the_worker_goes(folder: Path) -> None:
    home = folder / "home"
    with serving(home) as dashboard:
        [beside] = workers(dashboard)
        os.kill(dashboard.process.pid, signal.SIGKILL)
        dashboard.process.wait(10)
        wait_for(lambda: not servers(home))
        wait_for(
            lambda: not beside.is_running() or beside.status() == psutil.STATUS_ZOMBIE
        )  # nobody reaps it in a container


def test_without_a_worker_there_is_none(folder: Path) -> None:
    with serving(folder / "home", "--no-worker") as dashboard:
        assert workers(dashboard) == []


def test_a_port_in_use_is_a_sentence(folder: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "core", "serve", "--port", port],
            cwd=ROOT,
            env=environment(folder),
            capture_output=True,
            text=True,
        )
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_streamlit_run_serves_the_same_behind_the_gate(folder: Path, page: Page) -> None:
    import urllib.error
    import urllib.request

    from tests.browser.conftest import answers

    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", "dashboard.py", "--server.port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(folder / "home"), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        page.goto(f"http://127.0.0.1:{port}/enrollments")
        expect(page.get_by_role("heading", name="Sign in to Resocode Admin")).to_be_visible(timeout=60_000)
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/metrics")
    finally:
        process.terminate()
        process.wait(60)
    wait_for(lambda: not servers(folder / "home"))
