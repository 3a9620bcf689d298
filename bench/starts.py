"""How long a start and a sign-in take.

    python -m bench.starts          in a home that is thrown away: the first start with its records, three later ones, eleven sign-ins

A start is over when /healthz says 200. A sign-in stands beside bcrypt alone on the same password, by turns.
"""

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
from datetime import UTC, datetime
from pathlib import Path

import bcrypt

from bench.__main__ import _around
from core.settings import ROOT

ROUNDS, LATER = 11, 3


def main() -> None:
    """Measure, print lines for docs/performance.md, throw the home away."""
    folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
    folder.chmod(0o755)
    home = folder / "home"
    try:
        print(f"first start with records: {started(home):.1f} s (load {os.getloadavg()[0]:.0f})")
        later = [started(home) for _ in range(LATER)]
        print(f"start, database there: {statistics.median(later):.1f} s (load {os.getloadavg()[0]:.0f})")
        os.environ.update(_around(home))
        ours, alone = sign_ins()
        print(f"sign-in: {ours:.0f} ms, bcrypt alone {alone:.0f} ms, beside it {ours - alone:.0f} ms (load {os.getloadavg()[0]:.0f})")  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def started(home: Path) -> float:
    """Start the dashboard, wait until it answers, stop it and its database; return the seconds until it answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    begin = time.perf_counter()
    command = [sys.executable, "-m", "core", "serve", "--demo", "--seed", "auto", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=_around(home), stdout=subprocess.DEVNULL)
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise SystemExit("The dashboard did not start.")
            time.sleep(0.02)
        return time.perf_counter() - begin
    finally:
        server.terminate()
        server.wait(60)
        time.sleep(2)  # the guardian stops the database when the last client is gone


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
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
