"""How long the checks of all promises take, each by itself, and whether the pages are slower while they run.

    RESOCODE_HOME=… python -m bench.policy            the table, and reads of pages by turns with and without checks beside them
    RESOCODE_HOME=… python -m bench.policy --json     figures for another program
    RESOCODE_HOME=… python -m bench.policy --canary   how long it takes to look for a canary in every column of every table

Checks run as the worker runs them, in a transaction that cannot write. The pages are read in this process, the checks run in
another one, as in the product.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import text

from core import canary_reader, db, queries
from core.models.base import uuid7
from core.policy.checks import CHECKS
from core.policy.judging import judge
from core.queries import EnrollmentFilter

ROUNDS, READS, TURNS = 2, 100, 3
AIM = 60.0  # seconds, for all checks on a million students


def main() -> None:
    """Measure this home."""
    parser = argparse.ArgumentParser(prog="python -m bench.policy", description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--canary", action="store_true")
    parser.add_argument("--loop", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    db.prepare()
    if given.loop:
        _loop()
    elif given.canary:
        print(f"one canary looked for in this database: {_looked():.1f} s")
    else:
        _staffed()
        found: dict[str, object] = {"students": _students(), "load": os.getloadavg()[0], "checks": _checks()}
        if not given.json:
            print(_told_checks(found), flush=True)
        found["pages"] = _pages()
        print(json.dumps(found) if given.json else _told_pages(found))
    db.release()


def _staffed() -> None:
    """In a demo home the demo accounts are made first: somebody has to read the pages, and to be asked by the probes."""
    from core import demo
    from core.settings import settings

    if settings().demo:
        with db.transaction("worker") as session:
            demo.ensure_demo_staff(session, now=datetime.now(UTC))


def _students() -> int:
    with db.transaction("worker") as session:
        return int(session.scalar(text("select count(*) from platform.student")) or 0)


def _checks() -> dict[str, float]:
    """Seconds of each check, the median of some rounds, dearest first."""
    now = datetime.now(UTC)
    times: dict[str, list[float]] = {promise: [] for promise in CHECKS}
    for _ in range(ROUNDS):
        for promise, check in CHECKS.items():
            with db.transaction("worker") as session:
                session.execute(text("set transaction read only"))
                start = time.perf_counter()
                check(session, now)
                times[promise].append(time.perf_counter() - start)
    return dict(sorted(((p, statistics.median(t)) for p, t in times.items()), key=lambda each: -each[1]))


def _pages() -> dict[str, list[float]]:
    """Milliseconds (median and 95th of a hundred) of page reads: alone, and while all checks run beside them, by turns."""
    with db.transaction("worker") as session:
        who = session.scalar(
            text("select id from staff.staff_member where role = 'program_staff' and disabled_at is null limit 1")
        )
    if who is None:
        raise SystemExit("Nobody of the program staff is here. Run `python -m core serve --demo` once, or `staff add`.")
    reads: dict[str, Callable[..., object]] = {
        "Enrollments, first page": lambda s: queries.enrollment_page(s, EnrollmentFilter()),
    }
    alone: dict[str, list[float]] = {name: [] for name in reads}
    beside: dict[str, list[float]] = {name: [] for name in reads}
    for _ in range(TURNS):
        for name, read in reads.items():
            alone[name] += _times(who, read)
        with subprocess.Popen(
            [sys.executable, "-m", "bench.policy", "--loop"], stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            other.stdout.readline()  # it checks now
            for name, read in reads.items():
                beside[name] += _times(who, read)
            other.terminate()
    return {name: [*_spread(alone[name]), *_spread(beside[name])] for name in reads}


def _times(who: object, read: Callable[..., object]) -> list[float]:
    found = []
    for _ in range(READS):
        with db.transaction(staff_id=who) as session:  # type: ignore[arg-type]
            start = time.perf_counter()
            read(session)
            found.append((time.perf_counter() - start) * 1000)
    return found


def _spread(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=20)[-1]


def _loop() -> None:
    """Run all checks over and over, until somebody ends this process."""
    print("checking", flush=True)
    while True:
        with db.transaction("worker") as session:
            session.execute(text("set transaction read only"))
            judge(session, now=datetime.now(UTC))


def _looked() -> float:
    with db.transaction("worker") as session:
        start = time.perf_counter()
        canary_reader.in_database(session, [uuid7()])
        return time.perf_counter() - start


def _told_checks(found: dict[str, object]) -> str:
    checks = found["checks"]
    assert isinstance(checks, dict)
    lines = [
        f"{found['students']:,} students, load {found['load']:.1f}: all checks {sum(checks.values()):.1f} s (aim: {AIM:.0f} s)"
    ]
    return "\n".join(
        [*lines, *(f"  {promise:<16}{seconds:8.2f} s" for promise, seconds in checks.items() if seconds >= 0.05)]
    )


def _told_pages(found: dict[str, object]) -> str:
    pages = found["pages"]
    assert isinstance(pages, dict)
    return "\n".join(
        f"{name}: {one:.1f} ms alone (95th: {late:.1f}), {other:.1f} ms while checks run (95th: {other_late:.1f}): {other / one:.2f} times"
        for name, (one, late, other, other_late) in pages.items()
    )


if __name__ == "__main__":
    main()
