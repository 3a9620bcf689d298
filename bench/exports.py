"""What the file of one person costs: beside one hand-written statement, and with a million rows.

    python -m bench.exports                       a home that is thrown away, 2,000 students, 20 exported each way
    python -m bench.exports --rows 1000000        and one of them with so many usage events, for the memory

"one statement": ``json_agg`` over the same tables in one round trip, as JSON, and nothing else. "by hand": the same rows by that
statement, written by hand as the same ZIP (a page, JSON, a CSV for each table, a manifest with checksums) in memory: the floor.
"by hand, kept": that, sealed and written into the same two tables in the same transaction, with its commit: a file that is still there tomorrow.
"the file": everything that the worker does for it, namely a snapshot, screening of texts, page with pictures, JSON, schema, CSV,
manifest, ZIP, encryption, storing, audit, commit. Memory is the most that a process of its own held (ru_maxrss) while it made the file, and before.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import text

from bench.__main__ import _run
from core import db
from core.models.platform import Student
from core.models.requests import Request
from core.privacy import artifacts, exports

NOW = datetime.now(UTC).replace(microsecond=0)
WARM = 6  # people of whom nothing is told: statements become prepared
BY_ENROLLMENT = (
    "module_progress",
    "submission",
    "code_review",
    "result",
    "certificate",
    "usage_event",
    "help_note",
    "review_claim",
)
BY_STUDENT = ("privacy.consent", "privacy.guardian", "platform.student_profile", "platform.email_log", "platform.subscription",
              "platform.payment", "platform.analytics_contribution", "platform.enrollment")  # fmt: skip


def main() -> None:
    """Make records, export people each way, print what it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.exports", description=__doc__)
    parser.add_argument("--students", type=int, default=2000)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--one", default="", help="make the file of this request and print the memory; used by itself")
    given = parser.parse_args()
    if given.one:
        one(uuid.UUID(given.one))
        return
    folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
    folder.chmod(0o755)
    os.environ |= {"RESOCODE_HOME": str(folder / "home"), "RESOCODE_DEMO": "1"}
    try:
        _run(["-m", "core", "generate", "--students", str(given.students)], dict(os.environ))
        db.prepare()
        measure(given.people)
        if given.rows:
            large(given.rows)
    finally:
        db.release()
        shutil.rmtree(folder, ignore_errors=True)


def measure(people: int) -> None:
    """Export people each way, by turns."""
    with db.transaction("worker") as session:
        every = text(
            "select id from platform.student where not exists (select from privacy.request r where r.student_id = student.id) order by md5(id::text) limit :n"
        )
        chosen = list(session.scalars(every, {"n": people + WARM}))
    took: dict[str, list[float]] = {"one statement": [], "by hand": [], "by hand, kept": [], "the file": []}
    for number, student in enumerate(chosen):
        request = asked(student)
        ways: list[tuple[str, Callable[[], object]]] = [
            ("one statement", partial(fetched, student)),
            ("by hand", partial(by_hand, student)),
            ("by hand, kept", partial(kept_by_hand, student)),
            ("the file", partial(made, request)),
        ]
        for name, way in ways[number % 4 :] + ways[: number % 4]:
            start = time.perf_counter()
            way()
            took[name].append((time.perf_counter() - start) * 1000)
    middle = {name: statistics.median(each[WARM:]) for name, each in took.items()}
    told = " · ".join(f"{name} {each:.1f} ms" for name, each in middle.items())
    ratios = [middle["the file"] / middle[name] for name in ("by hand", "by hand, kept", "one statement")]
    print(f"{told} · ratio {ratios[0]:.1f} to the floor, {ratios[1]:.1f} to the floor kept, {ratios[2]:.1f} to the bare statement"
          f" (medians of {people} by turns, {WARM} before them; load {os.getloadavg()[0]:.1f})")  # fmt: skip
    print(" · ".join(f"{name} {min(each[WARM:]):.1f} ms" for name, each in took.items()), "at best")


def fetched(student: uuid.UUID) -> str:
    """Everything about a student by one statement, as the worker."""
    with db.transaction("worker") as session:
        return str(session.execute(text(statement()), {"id": student}).scalar_one())


def by_hand(student: uuid.UUID) -> bytes:
    """The same rows, written by hand."""
    return written(fetched(student))


def kept_by_hand(student: uuid.UUID) -> None:
    """The same, kept: sealed, written, committed."""
    with db.transaction("worker") as session:
        content = written(str(session.execute(text(statement()), {"id": student}).scalar_one()))
        key, name = AESGCM.generate_key(256), uuid.uuid4()
        row = {"id": name, "kind": "export", "owner_id": uuid.uuid4(), "student_id": student, "visitor_id": None, "name": "by hand",
               "media_type": exports.ZIP, "size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "parts": 1,
               "wrapped_key": key, "key_id": "none", "kept_at": NOW, "expires_at": NOW + exports.KEPT,
               "content": AESGCM(key).encrypt(bytes(12), content, name.bytes)}  # fmt: skip
        session.execute(text(artifacts.LAST), row)


def written(rows: str) -> bytes:
    """The same kinds of file as an export has, by hand, in memory."""
    told: dict[str, list[dict[str, Any]]] = {}
    for name, each in json.loads(rows).items():
        if each:
            told[name] = each if isinstance(each, list) else [each]
    files = {"index.html": page(told).encode(), "data.json": json.dumps(told, ensure_ascii=False).encode()}
    for name, each in told.items():
        out = io.StringIO(newline="")
        writer = csv.DictWriter(out, list(each[0]), quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(each)
        files[f"csv/{name}.csv"] = out.getvalue().encode()
    sums = [
        {"name": name, "bytes": len(each), "sha256": hashlib.sha256(each).hexdigest()} for name, each in files.items()
    ]
    files["manifest.json"] = json.dumps(sums, indent=1).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def page(told: dict[str, list[dict[str, Any]]]) -> str:
    """Tables, and nothing else."""
    parts = ["<!doctype html><meta charset=utf-8><title>Your data</title>"]
    for name, rows in told.items():
        heads = "".join(f"<th>{escape(each)}" for each in rows[0])
        lines = "".join("<tr>" + "".join(f"<td>{escape(str(value))}" for value in row.values()) for row in rows[-200:])
        parts.append(f"<h2>{escape(name)}</h2><table><tr>{heads}{lines}</table>")
    return "".join(parts)


def large(rows: int) -> None:
    """Give one student so many usage events, and make their file in a process of its own."""
    with db.transaction("worker") as session:
        student = session.scalar(text("select student_id from platform.enrollment order by id limit 1"))
        spread = {"s": student, "n": rows, "day": NOW.date()}
        session.execute(
            text("select platform.make_months('usage_event', cast(:day as date) - 90, cast(:day as date))"), spread
        )
        session.execute(text(MANY), spread)
    request = asked(student)
    start = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-m", "bench.exports", "--one", str(request)], check=True, capture_output=True, text=True
    )
    with db.transaction("worker") as session:
        size = session.scalar(text("select size from privacy.export where request_id = :r"), {"r": request})
    print(f"{rows:,} rows: {time.perf_counter() - start:.0f} s, {size / 1e6:.0f} MB of ZIP; {told.stdout.strip()}")


def one(request: uuid.UUID) -> None:
    """Make one file, and tell how much memory the process held at most before and with it."""
    with db.transaction("worker") as session:
        session.get(Student, request)
    before = peak()
    made(request)
    print(f"memory {peak():.0f} MB at most, {before:.0f} MB before")
    db.release()


def peak() -> float:
    """The most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def asked(student: uuid.UUID) -> uuid.UUID:
    """A request whose identity is confirmed."""
    request = Request(id=uuid.uuid4(), kind="export", student_id=student, state="verified", identity="confirmed", received_at=NOW,
                      due_at=NOW, moved_at=NOW, source="bench")  # fmt: skip
    with db.transaction("worker") as session:
        session.add(request)
        session.flush()
        return request.id


def made(request: uuid.UUID) -> None:
    """Do what the worker does, part by part, until the file is ready."""
    more = 1
    while more:
        with db.transaction("worker") as session:
            more = exports.go_on(session, request_id=request, now=NOW).get(exports.MORE, 0)


def statement() -> str:
    """The floor: one statement, everything about a student."""
    mine = "(select id from platform.enrollment where student_id = :id)"
    parts = [f"'{t}', (select json_agg(x) from platform.{t} x where x.enrollment_id in {mine})" for t in BY_ENROLLMENT]
    parts += [f"'{t}', (select json_agg(x) from {t} x where x.student_id = :id)" for t in BY_STUDENT]
    return f"select cast(json_build_object('student', (select row_to_json(s) from platform.student s where s.id = :id), {', '.join(parts)}) as text)"


MANY = """
    insert into platform.usage_event (at, id, enrollment_id, cohort_id, kind, item, clicks, source)
    select :day - (n % 80) * interval '1 day' + n * interval '1 microsecond', gen_random_uuid(), e.id, e.cohort_id, 'page',
        'lesson ' || n % 500, 1 + n % 9, 'bench'
    from (select id, cohort_id from platform.enrollment where student_id = :s order by id limit 1) e, generate_series(1, :n) n
"""


if __name__ == "__main__":
    main()
