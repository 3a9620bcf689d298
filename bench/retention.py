"""What it takes to purge e-mail logs that are past their period: dropped by hand, deleted, and by retention, without holds and with.

    python -m bench.retention                     a home that is thrown away, 3 million mails, half of them too old
    python -m bench.retention --mails 300000

The old half is written anew for each way; the young half stays. "By hand" (the floor) drops the months as the owner and deletes the
edge, and knows nothing of holds. "By hand, the same work" also says how many rows went and keeps those of people under a hold. "DELETE"
is one statement as the worker, then VACUUM. "Retention" is what the worker does: guards, a question if it were too many, holds looked at
and their mails moved aside, months closed, counted and dropped together, the edge, a row and a line of audit. Beside each: the log that
PostgreSQL wrote, and the longest that somebody waited who read the newest mails all the while.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from bench.__main__ import _run
from core import db, privacy_actions
from core.privacy import retention

DAYS, OLD_DAYS, HELD = 90, 180, 20


def main() -> None:
    """Make records, purge them each way, print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.retention", description=__doc__)
    parser.add_argument("--mails", type=int, default=3_000_000)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
    folder.chmod(0o755)
    os.environ |= {"RESOCODE_HOME": str(folder / "home"), "RESOCODE_DEMO": "1"}
    try:
        _run(["-m", "core", "generate", "--students", "1000", "--mails", "0"], dict(os.environ))
        db.prepare()
        measure(given.mails // 2)
    finally:
        db.release()
        shutil.rmtree(folder, ignore_errors=True)


def measure(half: int) -> None:
    """Purge ``half`` mails each way."""
    now = datetime.now(UTC)
    _fill(half, now - timedelta(days=DAYS - 1), now, now)
    print("| Way | Seconds | Of by hand | MB of log | Longest a reader waited |\n|---|---:|---:|---:|---:|")
    floor = 0.0
    for name, way, held in WAYS:
        if held and not _one("select count(*) from privacy.legal_hold"):
            _hold()
        with db.transaction("worker") as session:
            session.execute(text("delete from platform.held_mail"))
        _fill(half, now - timedelta(days=DAYS + OLD_DAYS), now - timedelta(days=DAYS), now)
        seconds, written, waited = _timed(lambda way=way: way(now))  # type: ignore[misc]
        floor = floor or seconds
        left = _one(
            "select count(*) from platform.email_log where sent_at < :before", before=now - timedelta(days=DAYS)
        )
        assert left == 0, f"{name} left {left}"
        aside = f", {_one('select count(*) from platform.held_mail'):,} mails of {HELD} people kept" if held else ""
        print(f"| {name}{aside} | {seconds:.2f} | {seconds / floor:.1f} | {written:.1f} | {waited * 1000:.0f} ms |")
    print(f"\n{half:,} old mails of {2 * half:,}; load {os.getloadavg()[0]:.0f} at the end.")


def by_hand(now: datetime) -> None:
    """The months as the owner of the tables, and the edge."""
    before = now - timedelta(days=DAYS)
    with db.engine("owner").begin() as owner:
        owner.execute(text("set role resocode_owner"))
        for part in owner.scalars(text(MONTHS), {"before": before.date()}).all():
            owner.execute(text(f"drop table {part}"))
    _delete(before)


def by_hand_too(now: datetime) -> None:
    """The same with what retention has to do anyway: exact counts, and the mails that holds keep."""
    before = now - timedelta(days=DAYS)
    with db.transaction("worker") as session:
        session.execute(text(KEEP), {"before": before})
    with db.engine("owner").begin() as owner:
        owner.execute(text("set role resocode_owner"))
        for part in owner.scalars(text(MONTHS), {"before": before.date()}).all():
            assert owner.execute(text(f"select count(*) from {part}")).scalar_one()
            owner.execute(text(f"drop table {part}"))
    _delete(before)


def by_delete(now: datetime) -> None:
    """Everything in one statement, and the room given back."""
    _delete(now - timedelta(days=DAYS))
    db.vacuum(("platform.email_log",))


def by_rule(now: datetime) -> None:
    """As the worker does it."""
    while True:
        with db.transaction("worker") as session:
            if not retention.go_on(session, rule="e-mail logs", now=now).get("more"):
                return


def _delete(before: datetime) -> None:
    with db.transaction("worker") as session:
        session.execute(text("delete from platform.email_log where sent_at < :before"), {"before": before})


def _fill(many: int, begins: datetime, ends: datetime, now: datetime) -> None:
    with db.transaction("worker") as session:
        session.execute(text("select platform.make_months('email_log', :a, :b)"), {"a": begins.date(), "b": now.date()})
        session.execute(text(FILL), {"many": many, "begins": begins, "span": ends - begins})
    db.vacuum(("platform.email_log",))


def _hold() -> None:
    with db.transaction("worker") as session:
        privacy_actions.add_staff(session, email="bench@staff.example", name="Bench", role="privacy_officer",
                                  password="bench-harbor-lantern-42", now=datetime.now(UTC))  # fmt: skip
        session.execute(text(HOLD), {"many": HELD, "now": datetime.now(UTC)})


def _timed(work: Callable[[], None]) -> tuple[float, float, float]:
    """Seconds, megabytes of write-ahead log, and the longest wait of somebody who reads meanwhile."""
    stop, waits = threading.Event(), [0.0]

    def read() -> None:
        since = datetime.now(UTC) - timedelta(days=1)
        while not stop.is_set():
            start = time.perf_counter()
            _one("select count(*) from platform.email_log where sent_at > :since", since=since)
            waits.append(time.perf_counter() - start)
            time.sleep(0.005)

    reader, before = threading.Thread(target=read), _one("select pg_current_wal_lsn()")
    reader.start()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    stop.set()
    reader.join()
    written = _one(
        "select pg_wal_lsn_diff(pg_current_wal_lsn(), cast(:before as pg_lsn)) / 1048576", before=str(before)
    )
    return seconds, float(written), max(waits)  # type: ignore[arg-type]


def _one(asked: str, **values: object) -> object:
    with db.transaction("worker") as session:
        return session.scalar(text(asked), values)


FILL = """
    insert into platform.email_log (sent_at, id, student_id, kind, address, outcome, source)
    select cast(:begins as timestamptz) + (n::float / :many) * cast(:span as interval), gen_random_uuid(), s.ids[1 + n % cardinality(s.ids)],
        'notice', 'student-' || n % 1000 || '@students.example', 'sent', 'bench'
    from generate_series(0, :many - 1) n, (select array_agg(id) as ids from platform.student) s
"""
HOLD = """
    insert into privacy.legal_hold (id, form_key, student_id, basis, reference, owner_id, review_on, placed_at, placed_by)
    select gen_random_uuid(), gen_random_uuid(), s.id, 'claim of ours', 'bench', m.id, date '2030-01-01', :now, m.id
    from (select id from platform.student order by id limit :many) s, (select id from staff.staff_member order by id limit 1) m
"""
KEEP = """
    insert into platform.held_mail (sent_at, id, student_id, visitor_id, kind, address, outcome, source)
    select l.sent_at, l.id, l.student_id, l.visitor_id, l.kind, l.address, l.outcome, l.source
    from platform.email_log l where l.sent_at < :before and l.student_id in (select student_id from privacy.legal_hold)
"""
MONTHS = """
    select c.oid::regclass::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'platform.email_log'::regclass and to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= :before
"""

WAYS: tuple[tuple[str, Callable[[datetime], None], bool], ...] = (
    ("months dropped by hand, the edge deleted", by_hand, False),
    ("retention, nobody under a hold", by_rule, False),
    ("by hand, the same work", by_hand_too, True),
    ("retention", by_rule, True),
    ("DELETE, VACUUM", by_delete, False),
)

if __name__ == "__main__":
    main()
