"""All benchmarks, one after the other: `make bench`.

    make bench                              on the database of this checkout, as it is
    make bench SIZES=100000,1000000         on made-up records of these sizes, in homes that are thrown away
    make bench HOMES=100000=FOLDER          on homes that are there already, by their sizes
    make bench ONLY=clicks,load             some of them

What core's reads cost (bench.reads) goes into the table of docs/performance.md when there are sizes; what every benchmark printed, how long it
took and the load of the machine into docs/bench.md. One that fails is told, the others run all the same. Only ratios taken in one run count.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.__main__ import Figures, around, in_home, table, write_docs
from core.settings import ROOT

PRINTED = ROOT / "docs" / "bench.md"
# What is asked of a home with records, and what makes a home of its own; as ``python -m`` takes it.
OF_A_HOME = ("bench.policy", "bench.releases --quarter", "bench.clicks", "bench.clicks --page analytics", "bench.load")
OF_ITS_OWN = ("bench.starts", "bench.exports", "bench.erasures", "bench.retention", "bench.sync", "bench.notices")


@dataclass(frozen=True)
class Printed:
    """One benchmark that ran: ``home`` is where ("100,000 students"), ``failed`` whether it ended otherwise than it should."""

    bench: str
    home: str
    seconds: float
    load: float
    text: str
    failed: bool


def main() -> None:
    """Run what is asked for; exit with 1 when one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.chain", description=__doc__)
    parser.add_argument("--sizes", default="", help="numbers of students, with commas between")
    parser.add_argument("--homes", default="", help="homes that are there already, as 100000=FOLDER,1000000=FOLDER")
    parser.add_argument("--only", default="", help="names of benchmarks, with commas between: reads,clicks,…")
    given = parser.parse_args()
    homes = {
        int(size): Path(folder) for size, folder in (each.split("=", 1) for each in given.homes.split(",") if each)
    }
    sizes = [int(size) for size in given.sizes.split(",") if size] or list(homes)
    printed = run_all(sizes, [name for name in given.only.split(",") if name], homes)
    if sizes and not given.only:
        PRINTED.write_text(told(printed), encoding="utf-8")
    sys.exit(any(each.failed for each in printed))


def run_all(sizes: Sequence[int], only: Sequence[str] = (), homes: Mapping[int, Path] | None = None) -> list[Printed]:
    """Run the benchmarks of each size (none: of this checkout), then those with a home of their own. A size that ``homes`` has is not made up."""
    printed: list[Printed] = []
    figures: dict[int, Figures] = {}
    for size in sizes or (0,):
        folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
        folder.chmod(0o755)
        try:
            environment, name = _found(folder, size, homes or {})
            if not only or "reads" in only:
                figures[size] = in_home(environment)
            printed += [_run(bench, name, environment) for bench in _wanted(OF_A_HOME, only)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if sizes and figures:
        write_docs(figures)
    elif figures:
        print("\n".join(table(figures)))
    return printed + [_run(bench, "its own", dict(os.environ)) for bench in _wanted(OF_ITS_OWN, only)]


def told(printed: Sequence[Printed]) -> str:
    """The page: a table of what ran, and what each printed."""
    minutes = sum(each.seconds for each in printed) / 60
    lines = [
        "# What the benchmarks printed", "",
        f"Written by `make bench` on {datetime.now(UTC):%d %b %Y}; {minutes:.0f} minutes on {os.cpu_count()} cores, without making up the records."
        " What it means stands in [docs/performance.md](performance.md).", "",
        "| Benchmark | Home | Seconds | Load |", "|---|---|---:|---:|",
        *(f"| {each.bench}{' (**failed**)' if each.failed else ''} | {each.home} | {each.seconds:.0f} | {each.load:.1f} |" for each in printed),
    ]  # fmt: skip
    for each in printed:
        lines += ["", f"## {each.bench}, {each.home}", "", "```", each.text.strip(), "```"]
    return "\n".join(lines) + "\n"


def _wanted(benches: Sequence[str], only: Sequence[str]) -> list[str]:
    return [bench for bench in benches if not only or bench.split()[0].removeprefix("bench.") in only]


def _found(folder: Path, size: int, homes: Mapping[int, Path]) -> tuple[dict[str, str], str]:
    """What a program needs to find the home of a size (0: of this checkout), and what it is called."""
    if size in homes:
        return around(homes[size]), f"{size:,} students"
    return _home(folder, size) if size else (dict(os.environ), "this home")


def _home(folder: Path, students: int) -> tuple[dict[str, str], str]:
    """Make up records in a home; what a program needs to find it, and what it is called."""
    environment = around(folder / "home")
    command = [sys.executable, "-m", "core", "generate", "--students", str(students)]
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    print(f"{students:,} students made up in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return environment, f"{students:,} students"


def _run(bench: str, home: str, environment: dict[str, str]) -> Printed:
    print(f"\n== {bench}, {home}", flush=True)
    start, load = time.perf_counter(), os.getloadavg()[0]
    ended = subprocess.run(
        [sys.executable, "-m", *bench.split()], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    print(ended.stdout, flush=True)
    return Printed(bench, home, time.perf_counter() - start, load, ended.stdout, ended.returncode != 0)


if __name__ == "__main__":
    main()
