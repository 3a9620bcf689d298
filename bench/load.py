"""Thirty people click through the screens at once, over real websockets, with real cookies.

    RESOCODE_HOME=… python -m bench.load                       the database of a demo home, as it is; thirty tabs, one minute
    python -m bench.load --tabs 30 --seconds 300 --think 1     a soak: everybody waits a second between clicks
    python -m bench.load --dashboards 2 --workers 2            tabs spread over two dashboards, and two workers, on one database

Each tab signs in through the form as a demo account of some role, opens the pages of its menu one after another, and on each of them
uses what stands there: segments, pills, select boxes, the search, the next page, a rerun. Told are runs in a second, p50 and p95 by
page, errors (a script that failed, a page that could not be loaded, a connection that broke), statements and memory of the server,
and what memory grew by for each run once it was warm.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from bench.probe import ask
from bench.tab import Run, Tab
from core import db
from core.settings import ROOT, settings

PEOPLE = ("paula", "pia", "ines", "ivo", "marek", "omar", "olga", "ada", "arne", "aiko")
SEARCHES = ("ann", "maria", "garcia", "lee")


@dataclass(frozen=True)
class Served:
    """A running dashboard that answers questions."""

    url: str
    probe: Path
    pid: int


@dataclass
class Found:
    """What happened: milliseconds by page, and troubles in words."""

    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    troubles: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[float]:
        """Every click."""
        return [each for times in self.times.values() for each in times]


def main() -> None:
    """Serve, let them click, print what it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("--tabs", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=0.0, help="seconds between two clicks of a tab")
    parser.add_argument("--dashboards", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="resocode-load-"))
    try:
        db.prepare()
        with ExitStack() as stack:
            served = [stack.enter_context(dashboard(folder / f"dashboard-{n}")) for n in range(given.dashboards)]
            for _ in range(given.workers):
                stack.enter_context(_worker())
            asyncio.run(_clicked(served, given.tabs, given.seconds, given.think))
    finally:
        db.release()
        shutil.rmtree(folder, ignore_errors=True)


async def _clicked(served: Sequence[Served], tabs: int, seconds: float, think: float) -> None:
    alone = [ask(each.probe)["memory_mb"] for each in served]
    people = [(Tab(served[n % len(served)].url), PEOPLE[n % len(PEOPLE)]) for n in range(tabs)]
    password = str(json.loads((settings().home / "demo.json").read_text()))
    for tab, name in people:
        first = await tab.sign_in(f"{name}@demo.example", password)
        if first.trouble:
            raise SystemExit(f"{name}: {first.trouble}")
    before, found = [ask(each.probe) for each in served], Found()
    start = time.perf_counter()
    grown: list[tuple[int, float]] = []
    watching = asyncio.create_task(_watch(served, found, grown, start, seconds))
    await asyncio.gather(*(_work(tab, number, found, start + seconds, think) for number, (tab, _) in enumerate(people)))
    took = time.perf_counter() - start
    watching.cancel()
    after = [ask(each.probe) for each in served]
    for tab, _ in people:
        await tab.close()
    _tell(found, took, before, after, alone, tabs, grown)


async def _watch(
    served: Sequence[Served], found: Found, grown: list[tuple[int, float]], start: float, seconds: float
) -> None:
    """Runs so far and memory, every few seconds."""
    while True:
        await asyncio.sleep(max(seconds / 30, 2))
        grown.append((len(found.all), sum(ask(each.probe)["memory_mb"] for each in served)))


async def _work(tab: Tab, number: int, found: Found, until: float, think: float) -> None:
    """Click until the time is over; what breaks is written down, and the tab opened again."""
    dice = random.Random(number)
    while time.perf_counter() < until:
        for page in dice.sample(list(tab.pages), len(tab.pages)):
            try:
                await _visit(tab, page, dice, found, until, think)
            except Exception as error:  # noqa: BLE001 - a trouble to be told
                found.troubles.append(f"{page or 'today'}: {type(error).__name__} {error}"[:120])
                await tab.open()
            if time.perf_counter() >= until:
                return


async def _visit(tab: Tab, page: str, dice: random.Random, found: Found, until: float, think: float) -> None:
    _note(found, page, await tab.go(page))
    for _ in range(4):
        if time.perf_counter() >= until:
            return
        await asyncio.sleep(think)
        _note(found, page, await _something(tab, dice))


async def _something(tab: Tab, dice: random.Random) -> Run:
    """Do one of the things that a page offers and that change nothing."""
    ways = ["rerun"]
    groups = [
        each
        for each, _ in tab.elements.values()
        if each.WhichOneof("type") == "button_group" and not each.button_group.disabled
    ]
    boxes = [
        each
        for each, _ in tab.elements.values()
        if each.WhichOneof("type") == "selectbox" and not each.selectbox.disabled and each.selectbox.label
    ]
    ways += (
        ["group"] * bool(groups)
        + ["box"] * bool(boxes)
        + ["search"] * ("Search" in tab.labels("text_input"))
        + ["next"] * ("Next" in tab.labels("button"))
    )
    way = dice.choice(ways)
    if way == "group":
        group = dice.choice(groups).button_group
        return await tab.choose(group.label, dice.choice(group.options).content)
    if way == "box":
        box = dice.choice(boxes).selectbox
        return await tab.choose(box.label, dice.choice(list(box.options)[:8]))
    if way == "search":
        return await tab.type("Search", dice.choice(SEARCHES))
    if way == "next":
        return await tab.press("Next")
    return await tab.rerun()


def _note(found: Found, page: str, run: Run) -> None:
    found.times[page or "today"].append(run.milliseconds)
    if run.trouble:
        found.troubles.append(f"{page or 'today'}: {run.trouble}")


def _tell(
    found: Found,
    took: float,
    before: list[dict],
    after: list[dict],
    alone: list[float],
    tabs: int,
    grown: list[tuple[int, float]],
) -> None:  # type: ignore[type-arg]
    runs = len(found.all)
    spent = {
        key: sum(a[key] - b[key] for a, b in zip(after, before, strict=True))
        for key in ("statements", "transactions", "cpu_s", "full_collections")
    }
    memory = sum(each["memory_mb"] for each in after)
    print(f"load {os.getloadavg()[0]:.1f}, {tabs} tabs at {len(before)} dashboard(s), {took:.0f} s")
    print(
        f"{runs:,} clicks, {runs / took:.1f} in a second, p50 {statistics.median(found.all):.0f} ms, p95 {_p95(found.all):.0f} ms, {len(found.troubles)} errors"
    )
    print(
        f"for a click: {spent['statements'] / runs:.1f} statements in {spent['transactions'] / runs:.1f} transactions, {spent['cpu_s'] / runs * 1000:.0f} ms of CPU, {spent['full_collections'] / runs:.3f} full collections"
    )
    print(f"memory: {sum(alone):.0f} MB alone, {memory:.0f} MB after, {(memory - sum(alone)) / tabs:.1f} MB for a tab")
    warm = grown[len(grown) // 3 :]
    if len(warm) > 2:
        (first, low), (last, high) = warm[0], warm[-1]
        print(
            f"memory once warm: {low:.0f} to {high:.0f} MB over {last - first:,} clicks, {(high - low) * 1024 / max(last - first, 1):.2f} KB for a click"
        )
    print("\n| Page | clicks | p50 ms | p95 ms |\n|---|---:|---:|---:|")
    for page, times in sorted(found.times.items(), key=lambda each: -statistics.median(each[1])):
        print(f"| {page} | {len(times)} | {statistics.median(times):.0f} | {_p95(times):.0f} |")
    for trouble in sorted(set(found.troubles)):
        print("error:", trouble, f"({found.troubles.count(trouble)} times)")


def _p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20)[-1] if len(times) > 1 else times[0]


@contextmanager
def dashboard(probe: Path, *words: str) -> Iterator[Served]:
    """A dashboard on the present home in a process of its own; ``words`` serve it in another way than ``serve``."""
    port = free_port()
    how = [*words, "--server.port", str(port)] if words else ["serve", "--demo", "--no-worker", "--port", str(port)]
    log = probe.with_suffix(".log")
    with log.open("w") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.probe", str(probe), *how],
            cwd=ROOT,
            env={**os.environ, "RESOCODE_DEMO": "1"},
            stdout=told,
            stderr=told,
        )
    try:
        waited_for(f"http://127.0.0.1:{port}/healthz", process, log)
        yield Served(f"http://127.0.0.1:{port}", probe, process.pid)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _worker() -> Iterator[None]:
    """A worker on the present home, as anybody starts it anywhere. Raises SystemExit when it did not live until the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "core", "worker"], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield
    if process.poll() is not None:
        raise SystemExit(f"A worker ended with {process.returncode}.")
    process.terminate()
    process.wait(60)


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def waited_for(url: str, process: subprocess.Popen, log: Path) -> None:  # type: ignore[type-arg]
    """Wait until something answers there. Raises SystemExit when the process ended instead."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            with urlopen(url, timeout=2):
                return
        except HTTPError:
            return
        except OSError:
            if process.poll() is not None:
                raise SystemExit(log.read_text()[-2000:]) from None
            time.sleep(0.1)
    raise SystemExit(f"{url} did not answer")


if __name__ == "__main__":
    main()
