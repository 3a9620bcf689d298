"""What a click takes over the websocket, beside Django's admin over the same table and Streamlit as it comes.

    RESOCODE_HOME=… python -m bench.clicks                 the database of a demo home, as it is
    python -m bench.clicks --rounds 50 --sessions 10

By turns, in the same minutes, one process each, signed in over loopback: a rerun of our page of enrollments (guard, figures, two
charts, 50 rows), the same page under Streamlit's own settings, the same figures by a page written for Streamlit alone, and the list of
Django's admin (bench/requirements.txt). Milliseconds are from the click sent to the last message here; CPU is the server's for one click
and does not depend on what else the machine does. Then all tabs at once, by turns: reruns in a second.
"""

import argparse
import asyncio
import http.client
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

import psutil
from sqlalchemy.engine import URL

from bench.load import dashboard, free_port, waited_for
from bench.tab import Tab
from core import db
from core.settings import ROOT, settings

TURNS = 5
STOCK = ("stock", "streamlit", "run", str(ROOT / "dashboard.py"), "--server.headless", "true")


@dataclass
class Way:
    """One way to serve the page: how to click once (milliseconds), and whose CPU it takes."""

    name: str
    click: Callable[[], Awaitable[float]]
    process: psutil.Process
    times: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def measure(self) -> None:
        """Click once."""
        before = _cpu(self.process)
        self.times.append(await self.click())
        self.cpu.append((_cpu(self.process) - before) * 1000)


def main() -> None:
    """Serve all ways, click by turns, print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.clicks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5, help="how long a turn of all tabs at once lasts")
    parser.add_argument("--page", default="enrollments")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="resocode-clicks-"))
    try:
        db.prepare()
        with ExitStack() as stack:
            asyncio.run(_measured(stack, folder, given.rounds, given.sessions, given.seconds, given.page))
    finally:
        db.release()
        shutil.rmtree(folder, ignore_errors=True)


async def _measured(stack: ExitStack, folder: Path, rounds: int, sessions: int, seconds: float, page: str) -> None:
    ours = stack.enter_context(dashboard(folder / "ours"))
    stock = stack.enter_context(dashboard(folder / "stock", *STOCK))
    plain = stack.enter_context(_stock_page(folder))
    ways = [
        Way(f"our page {page}", await _tab(ours.url, page), psutil.Process(ours.pid)),
        Way("the same page, Streamlit as it comes", await _tab(stock.url, page), psutil.Process(stock.pid)),
    ]
    if page == "enrollments":
        ways.append(
            Way(
                "a page written for Streamlit alone",
                await _tab(plain[0], "", signed_in=False),
                psutil.Process(plain[1]),
            )
        )
    with django_admin(stack, folder) as django:
        if django and page == "enrollments":
            ways += [
                Way(f"Django's admin, {name}", django.page(query), django.process) for name, query in DJANGO.items()
            ]
        for _ in range(3):
            for way in ways:
                await way.click()
        for _ in range(rounds):
            for way in ways:
                await way.measure()
        print(f"load {os.getloadavg()[0]:.1f} to {os.getloadavg()[1]:.1f}, {rounds} clicks each by turns\n")
        print("| Page | median ms | p95 ms | CPU ms | of Django's plain list |\n|---|---:|---:|---:|---:|")
        peer = statistics.median(ways[-len(DJANGO)].times) if django and page == "enrollments" else None
        for way in ways:
            median, high = statistics.median(way.times), statistics.quantiles(way.times, n=20)[-1]
            ratio = f"{median / peer:.2f}" if peer else "–"
            print(f"| {way.name} | {median:.1f} | {high:.1f} | {statistics.median(way.cpu):.1f} | {ratio} |")
    served = {"ours": ours, "the same page, Streamlit as it comes": stock}
    crowds = {
        name: Crowd([await _tab(each.url, page) for _ in range(sessions)], psutil.Process(each.pid))
        for name, each in served.items()
    }
    for _ in range(TURNS):
        for crowd in crowds.values():
            await crowd.measure(seconds)
    print(f"\n{sessions} tabs at once, {TURNS} turns of {seconds:g} s each, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| Page | reruns in a second | p50 ms | p95 ms | CPU ms |\n|---|---:|---:|---:|---:|")
    for name, crowd in crowds.items():
        high = statistics.quantiles(crowd.times, n=20)[-1]
        print(f"| {name} | {crowd.rate:.1f} | {statistics.median(crowd.times):.0f} | {high:.0f} | {crowd.cpu:.1f} |")


@dataclass
class Crowd:
    """Tabs that never wait: how each clicks, and whose CPU it takes."""

    clicks: list[Callable[[], Awaitable[float]]]
    process: psutil.Process
    times: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Reruns in a second, the median of all turns."""
        return statistics.median(self.rates)

    @property
    def cpu(self) -> float:
        """Milliseconds of the server's CPU for a rerun, the median of all turns."""
        return statistics.median(self.used)

    async def measure(self, seconds: float) -> None:
        """Let all of them click once, and then for so long."""
        await asyncio.gather(*(click() for click in self.clicks))
        before, start, times = _cpu(self.process), time.perf_counter(), list[float]()

        async def one(click: Callable[[], Awaitable[float]]) -> None:
            while time.perf_counter() < start + seconds:
                times.append(await click())

        await asyncio.gather(*map(one, self.clicks))
        self.rates.append(len(times) / (time.perf_counter() - start))
        self.used.append((_cpu(self.process) - before) * 1000 / len(times))
        self.times += times


async def _tab(url: str, page: str, *, signed_in: bool = True) -> Callable[[], Awaitable[float]]:
    tab = Tab(url)
    if signed_in:
        await tab.sign_in("paula@demo.example", _password())
        await tab.go(page)
    else:
        await tab.open()

    async def click() -> float:
        run = await tab.rerun()
        if run.trouble:
            raise SystemExit(f"{url}: {run.trouble}")
        return run.milliseconds

    return click


@contextmanager
def _stock_page(folder: Path) -> Iterator[tuple[str, int]]:
    """The page for Streamlit alone, where our settings are not found."""
    port, elsewhere = free_port(), folder / "elsewhere"
    elsewhere.mkdir()
    probe = folder / "plain"
    command = [sys.executable, "-m", "bench.probe", str(probe), "stock", "streamlit", "run", str(ROOT / "bench" / "stock_page.py"), "--server.port", str(port),
               "--server.headless", "true", "--browser.gatherUsageStats", "false"]  # fmt: skip
    with _running(command, f"http://127.0.0.1:{port}/_stcore/health", folder, elsewhere) as process:
        yield f"http://127.0.0.1:{port}", process.pid


@contextmanager
def _running(command: list[str], healthy: str, folder: Path, where: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    around = {**os.environ, "PYTHONPATH": str(ROOT), "BENCH_DSN": _dsn(), "BENCH_OWN": str(folder / "django.sqlite3")}
    log = (folder / "log").open("a")
    process = subprocess.Popen(command, cwd=where, env=around, stdout=log, stderr=subprocess.STDOUT, text=True)
    try:
        waited_for(healthy, process, folder / "log")
        yield process
    finally:
        process.terminate()
        process.wait(20)


# Our page's list is of a year by default; Django's is of everything unless one filters.
DJANGO = {"the list": "", "active ones": "?status__exact=active", "of this year": "?enrolled_at__year=2026"}


@dataclass
class Django:
    """The running admin and a connection in which somebody is signed in."""

    connection: http.client.HTTPConnection
    cookie: str
    process: psutil.Process

    def page(self, query: str) -> Callable[[], Awaitable[float]]:
        """How to load the list once."""

        async def load() -> float:
            start = time.perf_counter()
            self.connection.request("GET", f"/admin/django_records/enrollment/{query}", headers={"Cookie": self.cookie})
            answer = self.connection.getresponse()
            body = answer.read()
            if answer.status != 200 or body.count(b'class="action-select"') < 50:
                raise SystemExit(f"Django answered {answer.status} with {len(body)} bytes")
            return (time.perf_counter() - start) * 1000

        return load


@contextmanager
def django_admin(stack: ExitStack, folder: Path) -> Iterator[Django | None]:
    """Django's admin under gunicorn, signed in; None without Django."""
    try:
        import django  # noqa: F401
    except ImportError:
        yield None
        return
    password, port = secrets.token_urlsafe(12), free_port()
    os.environ["BENCH_PASSWORD"] = password
    around = {**os.environ, "BENCH_DSN": _dsn(), "BENCH_OWN": str(folder / "django.sqlite3")}
    subprocess.run(
        [sys.executable, "-c", "from bench.django_site import prepare; prepare()"], cwd=ROOT, env=around, check=True
    )
    command = [sys.executable, "-m", "gunicorn", "bench.django_site:application", "--bind", f"127.0.0.1:{port}", "--worker-class", "gthread",
               "--threads", "4", "--keep-alive", "600"]  # fmt: skip
    process = stack.enter_context(_running(command, f"http://127.0.0.1:{port}/admin/login/", folder))
    connection = http.client.HTTPConnection("127.0.0.1", port)
    cookie = _signed_in(connection, password)
    worker = psutil.Process(process.pid).children()[0]
    yield Django(connection, cookie, worker)


def _signed_in(connection: http.client.HTTPConnection, password: str) -> str:
    connection.request("GET", "/admin/login/")
    answer = connection.getresponse()
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.read().decode())
    first = str(answer.headers["set-cookie"]).split(";", 1)[0]
    assert token
    form = urlencode({"username": "bench", "password": password, "csrfmiddlewaretoken": token[1], "next": "/admin/"})
    headers = {"Cookie": first, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/admin/login/", form, headers)
    answer = connection.getresponse()
    answer.read()
    cookies = [value.split(";", 1)[0] for value in answer.headers.get_all("set-cookie") or []]
    assert any(cookie.startswith("sessionid=") for cookie in cookies), answer.status
    return "; ".join(cookies)


def _dsn() -> str:
    """The worker's address: no policy filters what the peers read. The server's folder may be its host, which an address holds apart."""
    known = db.url("worker")
    apart = {"host": str(known.host), "port": str(known.port or 5432)}
    address = URL.create(known.drivername, known.username, known.password, database=known.database, query=apart)
    return address.render_as_string(hide_password=False)


def _password() -> str:
    return str(json.loads((settings().home / "demo.json").read_text()))


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


if __name__ == "__main__":
    main()
