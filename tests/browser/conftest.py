"""A real dashboard in a process of its own, and a real browser in front of it."""

import atexit
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from core.settings import ROOT
from tests.conftest import open_folder

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
expect.set_options(timeout=60_000)  # a busy machine is no failure
# No skeleton and no run is there, every table has its canvas and every chart its picture.
DRAWN = """() => !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSkeleton]')
    && [...document.querySelectorAll('[data-testid=stDataFrame]')].every(each => !each.offsetParent || each.querySelector('canvas')?.width > 0)
    && [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(each => each.querySelector('.main-svg'))"""
PEOPLE = {
    "paula": "Program staff",
    "ines": "Instructor",
    "omar": "Privacy officer",
    "olga": "Privacy officer",
    "ada": "Admin",
    "arne": "Admin",
    "pia": "Program staff",
    "aiko": "Auditor",
    "marek": "Mentor",
}


@dataclass(frozen=True)
class Dashboard:
    """A running ``python -m core serve``."""

    url: str
    home: Path
    process: subprocess.Popen[str]

    @property
    def password(self) -> str:
        """The password of all demo accounts of this home."""
        return str(json.loads((self.home / "demo.json").read_text()))

    @property
    def probe(self) -> Path:
        """Where a server that was started with ``--probe`` answers questions (bench.probe)."""
        return self.home / "probe"

    def core(self, *words: str) -> str:
        """Run the command line beside it; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "core", *words], cwd=ROOT, env=environment(self.home), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def environment(home: Path) -> dict[str, str]:
    """The environment of a fresh installation in ``home``."""
    dropped = ("DATABASE_URL", "OWNER_DATABASE_URL", "WORKER_DATABASE_URL", "READ_DATABASE_URL")
    return {
        **{k: v for k, v in os.environ.items() if k not in dropped},
        "RESOCODE_HOME": str(home),
        "PYTHONUNBUFFERED": "1",
    }


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


MADE: dict[tuple[str, ...], Path] = {}


@contextlib.contextmanager
def serving(home: Path, *words: str) -> Iterator[Dashboard]:
    """Serve from ``home``, as after a first start with these words, until the end of the block; log: ``home/serve.log``."""
    if not home.exists():
        subprocess.run(
            ["cp", "-a", str(first_started(tuple(w for w in words if w not in ("--no-worker", "--probe")))), str(home)],
            check=True,
        )
    with started(home, *words) as running:
        yield running


def first_started(words: tuple[str, ...]) -> Path:
    """A home that was started once and stopped: cluster, migrations and seed are made once a run, then copied."""
    if words not in MADE:
        home = open_folder() / "home"
        atexit.register(shutil.rmtree, home.parent, ignore_errors=True)
        with started(home, *words, "--no-worker"):
            pass
        wait_for(lambda: not (home / "postgres" / "data" / "postmaster.pid").exists())
        MADE[words] = home
    return MADE[words]


@contextlib.contextmanager
def started(home: Path, *words: str) -> Iterator[Dashboard]:
    """Run ``serve`` on this home."""
    port = free_port()
    inside = ["bench.probe", str(home / "probe")] if "--probe" in words else ["core"]
    command = [sys.executable, "-m", *inside, "serve", "--port", str(port), *(w for w in words if w != "--probe")]
    home.mkdir(parents=True, exist_ok=True)
    with (home / "serve.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(home), stdout=log, stderr=subprocess.STDOUT, text=True
        )
    try:
        wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/healthz"))
        assert process.poll() is None, (home / "serve.log").read_text()
        yield Dashboard(f"http://127.0.0.1:{port}", home, process)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    """Whether something answers 200 there."""
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 180) -> None:
    """Poll until a condition holds; fail after a deadline that no healthy machine reaches."""
    import time

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


# The package's, not the session's: Playwright keeps an event loop in this thread, and the servers take time from what comes after.
@pytest.fixture(scope="package")
def dashboard() -> Iterator[Dashboard]:
    """One dashboard with demo accounts and the seed, for all tests that leave it as it is."""
    folder = open_folder()
    with serving(folder / "home", "--demo", "--seed", "auto") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    path = (
        os.environ.get("RESOCODE_BROWSER")
        or subprocess.run([ROOT / "bin" / "browser"], capture_output=True, text=True, check=True).stdout.strip()
    )
    with sync_playwright() as play:
        made = play.chromium.launch(executable_path=path, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab in a browser of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def sign_in(page: Page, dashboard: Dashboard, name: str, path: str = "/") -> None:
    """Sign a demo account in through the form, and wait until its cookie is there."""
    page.goto(dashboard.url + path)
    page.get_by_label("E-mail").fill(f"{name}@demo.example")
    page.get_by_label("Password").first.fill(dashboard.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name=PEOPLE[name]).wait_for()
    wait_for(lambda: any(cookie["name"] == "resocode" for cookie in page.context.cookies()))


def select_row(page: Page, place: int = 0) -> None:
    """Select a row of the last table, once it has come to rest: it is a canvas, so by place."""
    page.get_by_test_id("stDataFrame").last.wait_for()
    page.wait_for_function(DRAWN)
    page.get_by_test_id("stDataFrame").last.click(position={"x": 17, "y": 55 + 36 * place})


def open_row(page: Page, place: int, opened: Locator) -> None:
    """Select a row until what it opens is there: a list that changes at that moment forgets the click, as of any person."""
    for _ in range(4):
        select_row(page, place)
        with contextlib.suppress(PlaywrightTimeout):
            return opened.wait_for(timeout=15_000)
    return opened.wait_for()
