"""How long core's reads take beside hand-written SQL on the same database, in the same minute.

    python -m bench                              the database of this checkout, as it is
    python -m bench --sizes 100000,1000000       made-up records of these sizes in homes that are thrown away;
                                                 writes the table of docs/performance.md
    make bench                                   this and all other benchmarks (bench.chain)

Figures depend on the machine; the ratios are what counts.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from bench.reads import JOBS, World, by_hand
from core import db
from core.queries import Cursor
from core.settings import ROOT

ROUNDS, FEWEST, LONGEST = 41, 7, 4.0
DOCS = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
Figures = dict[str, tuple[float, float]]


def main() -> None:
    """Measure the present home, or homes made for it."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--sizes", default="", help="numbers of students, with commas between")
    parser.add_argument("--homes", default="", help="homes that are there already, as 100000=FOLDER,1000000=FOLDER")
    parser.add_argument("--json", action="store_true", help="print figures for another program")
    given = parser.parse_args()
    if given.sizes:
        write_docs({int(size): at_size(int(size)) for size in given.sizes.split(",")})
    elif given.homes:
        homes = dict(each.split("=", 1) for each in given.homes.split(","))
        write_docs({int(size): in_home(around(Path(folder))) for size, folder in homes.items()})
    elif given.json:
        print(json.dumps(measured()))
    else:
        print("\n".join(table({0: measured()})))
    db.release()


def at_size(students: int) -> Figures:
    """Make a home with so many students, measure it in a process of its own, and throw it away."""
    folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
    folder.chmod(0o755)
    try:
        start = time.perf_counter()
        _run(["-m", "core", "generate", "--students", str(students)], around(folder / "home"))
        print(f"{students:,} students made up in {time.perf_counter() - start:.0f} s", file=sys.stderr)
        return in_home(around(folder / "home"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def in_home(environment: dict[str, str]) -> Figures:
    """Measure the home that an environment leads to, in a process of its own."""
    found = json.loads(_run(["-m", "bench", "--json"], environment))
    return {name: tuple(pair) for name, pair in found.items()}


def around(home: Path) -> dict[str, str]:
    """What a program needs to find a home, whatever database this one uses."""
    dropped = ("DATABASE_URL", "OWNER_DATABASE_URL", "WORKER_DATABASE_URL", "READ_DATABASE_URL")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "RESOCODE_HOME": str(home), "RESOCODE_DEMO": "1"}


def _run(words: list[str], environment: dict[str, str]) -> str:
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout  # fmt: skip


def measured() -> Figures:
    """The quickest round in ms of every job, product and floor by turns: what other work on the machine adds to single rounds stays out."""
    world = _world()
    found: Figures = {}
    for job in JOBS:
        who = getattr(world, job.who) if job.who else None
        role = "read" if job.who else "worker"
        found[f"{job.screen}: {job.name}"] = _by_turns(
            lambda j=job, w=who, r=role: _timed(r, w, lambda s: j.read(s, world)),
            lambda j=job: _timed("worker", None, lambda s: by_hand(s, j, world)),
        )
    return found


def _world() -> World:
    """Pick who asks and about what; in a demo home the demo accounts are made first."""
    from core import demo
    from core.settings import settings

    db.prepare()
    now = datetime.now(UTC)
    with db.transaction("worker") as session:
        if settings().demo:
            demo.ensure_demo_staff(session, now=now)
        of_role = "select m.id from staff.staff_member m where m.role = :role and m.disabled_at is null"
        busiest = """ and m.id in (select staff_id from staff.assignment) order by (select count(*) from platform.module_progress p
            join staff.assignment a on a.cohort_id = p.cohort_id where a.staff_id = m.id) desc limit 1"""
        teacher = session.scalar(text(of_role + busiest), {"role": "instructor"})
        if teacher is None:
            raise SystemExit("Nobody teaches here. Run `make run` once, or `python -m core staff assign`.")
        cohorts = session.scalars(text("select distinct a.cohort_id from staff.assignment a where a.staff_id = :id and current_date between"
                                       " a.starts_on and coalesce(a.ends_on, 'infinity')"), {"id": teacher}).all()  # fmt: skip
        fullest = text(
            "select cohort_id from platform.enrollment where cohort_id = any (:ids) group by 1 order by count(*) desc"
        )
        cohorts = session.scalars(fullest, {"ids": list(cohorts)}).all()
        student = session.scalar(text("select student_id from platform.enrollment where cohort_id = :id and status = 'active' limit 1"), {"id": cohorts[0]})  # fmt: skip
        half = "select enrolled_at::text as value, id from platform.enrollment order by enrolled_at desc, id desc offset (select count(*) / 2 from platform.enrollment) limit 1"  # fmt: skip
        middle = session.execute(text(half)).one()
        first = {
            role: session.scalar(text(of_role + " limit 1"), {"role": role})
            for role in ("program_staff", "admin", "privacy_officer")
        }
    return World(now, first["program_staff"], teacher, first["admin"], first["privacy_officer"], Cursor(middle.value, middle.id), student, tuple(cohorts))  # fmt: skip


def _by_turns(one: Callable[[], float], other: Callable[[], float]) -> tuple[float, float]:
    for warm in (one, other, one, other):
        warm()
    pairs, until = [], time.perf_counter() + LONGEST
    while len(pairs) < ROUNDS and (len(pairs) < FEWEST or time.perf_counter() < until):
        pairs.append((one(), other()))
    return min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)


def _timed(role: str, who: object, act: Callable[..., object]) -> float:
    with db.transaction(role, staff_id=who) as session:  # type: ignore[arg-type]
        start = time.perf_counter()
        act(session)
        return (time.perf_counter() - start) * 1000


def table(sizes: dict[int, Figures]) -> list[str]:
    """The table as Markdown: for each size core, SQL and their ratio; and how core grew from the first size to the last."""
    names = [f"{size:,} students" if size else "this home" for size in sizes]
    head = "| Read | " + " | ".join(f"{name}: core | SQL | ratio" for name in names) + (" | growth |" if len(sizes) > 1 else " |")  # fmt: skip
    lines = [head, "|---|" + "---:|" * (head.count("|") - 2)]
    for job in next(iter(sizes.values())):
        cells = [
            f"{ours:.1f} | {floor:.1f} | {ours / floor:.1f}" for ours, floor in (found[job] for found in sizes.values())
        ]
        first, last = next(iter(sizes.values()))[job][0], list(sizes.values())[-1][job][0]
        growth = f" | {last / first:.1f}" if len(sizes) > 1 else ""
        lines.append(f"| {job} | " + " | ".join(cells) + growth + " |")
    return lines


def write_docs(sizes: dict[int, Figures]) -> None:
    """Put the table into docs/performance.md."""
    known = DOCS.read_text(encoding="utf-8")
    before, rest = known.split(BEGIN)
    after = rest.split(END)[1]
    load = os.getloadavg()[0]
    told = [
        f"The quickest of {ROUNDS} rounds by turns, in ms, {datetime.now(UTC):%d %b %Y}, load {load:.0f} on {os.cpu_count()} cores.",
        "",
        *table(sizes),
    ]
    DOCS.write_text(before + BEGIN + "\n" + "\n".join(told) + "\n" + END + after, encoding="utf-8")
    print("\n".join(told))


if __name__ == "__main__":
    main()
