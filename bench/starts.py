"""How long a start and a sign-in take.

    python -m bench.starts          in a home that is thrown away: the first start with its records, three later ones, eleven sign-ins

A start is over when /healthz says 200 and the page is served. Beside it: when a tab has drawn the sign-in form, and when somebody who
signs in at once has Today, which waits for what is still being imported. A sign-in stands beside bcrypt alone on the same password,
by turns.
"""

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

import bcrypt

from bench.__main__ import around
from bench.tab import Tab
from core.settings import ROOT

ROUNDS, LATER = 11, 3


@dataclass(frozen=True)
class Start:
    """Seconds from the command to: health and page answer, the sign-in form is drawn, Today is drawn."""

    answers: float
    form: float
    today: float

    def __str__(self) -> str:
        return f"{self.answers:.1f} s; sign-in drawn {self.form:.1f}, signed in and Today drawn {self.today:.1f}"


def main() -> None:
    """Measure, print lines for docs/performance.md, throw the home away."""
    folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
    folder.chmod(0o755)
    home = folder / "home"
    try:
        print(f"first start with records: {started(home)} (load {os.getloadavg()[0]:.0f})")
        print(f"start, database there: {_median(started(home) for _ in range(LATER))} (load {os.getloadavg()[0]:.0f})")
        os.environ.update(around(home))
        ours, alone = sign_ins()
        print(f"sign-in: {ours:.0f} ms, bcrypt alone {alone:.0f} ms, beside it {ours - alone:.0f} ms (load {os.getloadavg()[0]:.0f})")  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _median(starts: Iterable[Start]) -> Start:
    return Start(*map(statistics.median, zip(*map(astuple, starts), strict=True)))


def started(home: Path) -> Start:
    """Start the dashboard, wait until it answers, sign in, stop it and its database."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, begin = f"http://127.0.0.1:{port}", time.perf_counter()
    command = [sys.executable, "-m", "core", "serve", "--demo", "--seed", "auto", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=around(home), stdout=subprocess.DEVNULL)
    try:
        while not (_answers(f"{url}/healthz") and _answers(url)):
            if server.poll() is not None:
                raise SystemExit("The dashboard did not start.")
            time.sleep(0.02)
        answers = time.perf_counter() - begin
        form, today = asyncio.run(_drawn(url, json.loads((home / "demo.json").read_text()), begin))
        return Start(answers, form, today)
    finally:
        server.terminate()
        server.wait(60)
        time.sleep(2)  # the guardian stops the database when the last client is gone


async def _drawn(url: str, password: str, begin: float) -> tuple[float, float]:
    tab = Tab(url)
    await tab.open()
    form = time.perf_counter() - begin
    await tab.close()
    tab = Tab(url)
    ran = await tab.sign_in("paula@demo.example", password)
    if ran.trouble:
        raise SystemExit(ran.trouble)
    await tab.close()
    return form, time.perf_counter() - begin


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def sign_ins() -> tuple[float, float]:
    """Medians in ms of a whole sign-in of a demo account, and of bcrypt alone at the same cost."""
    from core import db, demo, privacy_actions
    from core.privacy.passwords import COST

    db.prepare()
    known = next(each for each in demo.sign_ins() if each.role == "program_staff")
    digest = bcrypt.hashpw(known.password.encode(), bcrypt.gensalt(COST))
    ours, alone = [], []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        bcrypt.checkpw(known.password.encode(), digest)
        alone.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        with db.transaction() as session:
            made = privacy_actions.sign_in(session, email=known.email, password=known.password, code=None, now=datetime.now(UTC))  # fmt: skip
        ours.append(time.perf_counter() - begin)
        if made is None:
            raise SystemExit("The demo account was not let in.")
    db.release()
    return statistics.median(ours) * 1000, statistics.median(alone) * 1000


if __name__ == "__main__":
    main()
