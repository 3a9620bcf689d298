"""How many documents of the platform come in in a second, beside plain COPY of the same rows.

    python -m bench.sync                     100,000 documents, in a home that is thrown away
    python -m bench.sync --documents 20000

The platform is the double of the tests, in a process of its own; what it needs to hand documents out (reading alone) is told, because
a real server is faster. Plain COPY puts the same rows, as values that are made already, by COPY into a temporary table and by one
INSERT … SELECT into the same empty tables with the same indexes, constraints and triggers: what any import has to pay. The sync is
everything: reading, judging each value, joining, the suppression list, upsert, checkpoints, a transaction for each batch. "Again" is a
whole second pass in which nothing has changed; the killed one is killed with SIGKILL in the middle and run again.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from psycopg import sql
from sqlalchemy import text

from bench.__main__ import _run
from core import db, keys
from core.settings import ROOT

SHARES = {"users": 0.2, "enrollments": 0.25, "progress": 0.45, "submissions": 0.1}
TABLES = {
    "users": ("student", "student_profile"),
    "enrollments": ("enrollment",),
    "progress": ("module_progress",),
    "submissions": ("submission",),
}
START = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.sync", description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--pull", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.pull:
        pull(forget=given.pull == "all")
        return
    folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
    folder.chmod(0o755)
    os.environ |= {"RESOCODE_HOME": str(folder / "home"), "RESOCODE_DEMO": "1"}
    try:
        _run(["-m", "core", "policy", "load"], dict(os.environ))
        db.prepare()
        measure(given.documents)
    finally:
        db.release()
        shutil.rmtree(folder, ignore_errors=True)


def measure(documents: int) -> None:
    """Fill the double, and read it in each way."""
    server = subprocess.Popen([sys.executable, "-m", "bench.sync_platform", str(documents)], cwd=ROOT, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)  # fmt: skip
    try:
        assert server.stdout
        os.environ["RESOCODE_MONGODB_URI"] = server.stdout.readline().strip()
        alone = timed(read_alone)
        catalog()
        floor = copied()
        print("| Way | Seconds | Documents a second | Of plain COPY |\n|---|---:|---:|---:|")
        line("plain COPY", documents, floor, floor)
        line("reading alone, from the double", documents, alone, floor)
        first, memory = pulled("all")
        line("the sync", documents, first, floor)
        again, _ = pulled("all")
        line("again, nothing changed", documents, again, floor)
        print(
            f"\nPeak memory of the process: {memory['early']} MB after a tenth of the documents, {memory['late']} MB after all."
        )
        killed(documents)
    finally:
        assert server.stdin
        server.stdin.close()
        server.wait()


def line(name: str, documents: int, seconds: float, floor: float) -> None:
    """One line of the table."""
    print(f"| {name} | {seconds:,.1f} | {documents / seconds:,.0f} | {floor / seconds:.2f} |")


def read_alone() -> None:
    """Every document, decoded and dropped."""
    from core.importers import mongodb

    source = mongodb.source()
    for collection in source.mapping.collections:
        at, key = None, ""
        while found := source.batch_of(collection, at, key):
            at, key = mongodb._position(collection, found, (at, key))


def catalog() -> None:
    """Programs, cohorts and modules first, for both ways."""
    from core.importers import mongodb

    known, now = mongodb.source(), datetime.now(UTC)
    for _ in range(3):
        with db.transaction("worker") as session:
            mongodb.step(session, known, since=now, now=now)


def copied() -> float:
    """The same rows, made before, by COPY and INSERT … SELECT; then everything is emptied again."""
    from core.importers import mongodb
    from core.importers.mongodb_rows import columns_of, read

    source, hashes, now = mongodb.source(), keys.person_hashes(), datetime.now(UTC)
    made: dict[str, tuple[list[str], list[Any]]] = {}
    for name, tables in TABLES.items():
        collection = source.mapping[name]
        reads = [read(collection, each, hashes, now) for each in source._find(collection, None, "")]
        for table in collection.tables:
            if table.name in tables:
                made[table.name] = (columns_of(table), [one.rows[table.name] for one in reads])
    started = time.perf_counter()
    with db.transaction("worker") as session:
        for name, (columns, rows) in made.items():
            _copy(session, source, name, columns, rows)
    took = time.perf_counter() - started
    with db.transaction("worker") as session:
        for name in ("submission", "module_progress", "enrollment", "student_profile", "student"):
            session.execute(
                text(
                    f"delete from platform.{name} where {'true' if name != 'student' else 'source = ' + chr(39) + 'mongodb' + chr(39)}"
                )
            )
    db.vacuum(
        [f"platform.{name}" for name in ("student", "student_profile", "enrollment", "module_progress", "submission")]
    )
    return took


def _copy(session: Any, source: Any, name: str, columns: list[str], rows: list[Any]) -> None:
    from core.importers import mongodb_sql

    table = next(t for c in source.mapping.collections for t in c.tables if t.name == name)
    session.execute(text(mongodb_sql.stage(table)))
    cursor = session.connection().connection.driver_connection.cursor()
    with cursor.copy(
        sql.SQL("copy pg_temp.{} ({}) from stdin").format(
            sql.Identifier(f"doc_{name}"), sql.SQL(", ").join(map(sql.Identifier, columns))
        )
    ) as copy:
        for row in rows:
            copy.write_row(row)
    s, e = (
        "(select id from platform.student where source_key = s.ref_student)",
        "platform.enrollment e on e.source_key = s.ref_enrollment",
    )
    into = {
        "student": "insert into platform.student (id, name, email, registered_at, experience_level, account_status, email_hash, provider_hash, source, source_key)"
        " select id, name, email, registered_at, experience_level, account_status, email_hash, provider_hash, 'mongodb', document from pg_temp.doc_student",
        "student_profile": f"insert into platform.student_profile (student_id, phone, headline) select {s}, phone, headline from pg_temp.doc_student_profile s",
        "enrollment": "insert into platform.enrollment (id, student_id, cohort_id, program_id, status, enrolled_at, source, source_key) select s.id, st.id, c.id,"
        " c.program_id, 'active', enrolled_at, 'mongodb', document from pg_temp.doc_enrollment s join platform.student st on st.source_key = s.ref_student"
        " join platform.cohort c on c.source_key = s.ref_cohort",
        "module_progress": f"insert into platform.module_progress (id, enrollment_id, cohort_id, module_id, status, score, active_at) select s.id, e.id, e.cohort_id, m.id,"
        f" s.status, s.score, s.active_at from pg_temp.doc_module_progress s join {e} join platform.module m on m.source_key = s.ref_module",
        "submission": f"insert into platform.submission (id, enrollment_id, cohort_id, module_id, submitted_at, status, score, source, source_key) select s.id, e.id,"
        f" e.cohort_id, m.id, s.submitted_at, s.status, s.score, 'mongodb', document from pg_temp.doc_submission s join {e} join platform.module m on m.source_key = s.ref_module",
    }
    session.execute(text(into[name]))


def pulled(how: str) -> tuple[float, dict[str, int]]:
    """A sync in a process of its own: seconds, and its memory early and late."""
    told = subprocess.run(
        [sys.executable, "-m", "bench.sync", "--pull", how], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return float(told[0]), {"early": int(told[1]), "late": int(told[2])}


def pull(*, forget: bool) -> None:
    """Everything, from the beginning; prints seconds and megabytes."""
    from core.importers import mongodb

    with db.transaction("worker") as session:
        if forget:
            session.execute(text("delete from privacy.sync_collection"))
        whole = None
    known, now = mongodb.source(), datetime.now(UTC)
    started, more, read, early = time.perf_counter(), True, 0, 0
    while more:
        with db.transaction("worker") as session:
            session.execute(
                text("update privacy.sync_collection set swept_at = :n"), {"n": now}
            )  # the comparison is not measured
            done = mongodb.step(session, known, since=now, now=now)
        more, read = done.more, read + done.documents
        early = early or (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 if read >= 10_000 else 0)
    print(time.perf_counter() - started, early, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, whole or "")
    db.release()


def killed(documents: int) -> None:
    """Empty everything, kill a sync in the middle, run it again, and compare what is here with what is there."""
    with db.transaction("worker") as session:
        for name in ("privacy.sync_collection", "platform.submission", "platform.module_progress"):
            session.execute(text(f"delete from {name}"))
    running = subprocess.Popen(
        [sys.executable, "-m", "bench.sync", "--pull", "rest"], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    while count("platform.module_progress") < documents * SHARES["progress"] / 2:
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = count("platform.module_progress")
    pulled("rest")
    print(f"Killed after {before:,} rows of module progress and run again: {count('platform.module_progress'):,} rows, {count('platform.submission'):,} of submissions;"
          f" there are {int(documents * SHARES['progress']):,} and {int(documents * SHARES['submissions']):,} documents.")  # fmt: skip


def count(table: str) -> int:
    """How many rows there are."""
    with db.transaction("worker") as session:
        return int(session.scalar(text(f"select count(*) from {table}")) or 0)


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def since(number: int) -> datetime:
    """An instant for each document."""
    return START + timedelta(seconds=number)


if __name__ == "__main__":
    main()
