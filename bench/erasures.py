"""How many people are erased in a second: by SQL written by hand, by Django's ORM cascade, and by the eraser.

    python -m bench.erasures                 a home that is thrown away, 20,000 students, 1,000 erased each way
    python -m bench.erasures --people 50 --students 2000

Each way erases people of its own, chosen evenly from the same made-up records (without payments, which stay), in rounds by turns.
The first three delete rows and nothing else. "rows, read back" is what the eraser does with them: in parts, from labels and
foreign keys, around holds, and counted again afterwards. "whole erasure" is everything from the point of no return to "erased", as
the worker does it: guards, evidence, leases, audit, ledger, suppression, letter, certificate; no processor is connected. The residue
scan over every text of the database is told apart. Last, one person alone, with the commits of each part. Django comes from
bench/requirements.txt, or is left out.
"""

import argparse
import os
import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from bench.__main__ import _run
from core import db
from core.privacy import erasure, proving, residue
from core.privacy.deletion import put_up_plans
from core.processors.local import Local, known_together
from core.processors.protocol import Became, Order, Person

TOGETHER, ROUND = 100, 250
BY_ENROLLMENT = (
    "help_note",
    "review_claim",
    "code_review",
    "submission",
    "module_progress",
    "result",
    "certificate",
    "usage_event",
)
BY_STUDENT = ("privacy.consent", "privacy.guardian", "platform.student_profile", "platform.email_log", "platform.subscription",
              "platform.analytics_contribution", "platform.enrollment")  # fmt: skip


def main() -> None:
    """Make records, erase people each way, print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.erasures", description=__doc__)
    parser.add_argument("--students", type=int, default=20_000)
    parser.add_argument("--people", type=int, default=1000)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
    folder.chmod(0o755)
    os.environ |= {"RESOCODE_HOME": str(folder / "home"), "RESOCODE_DEMO": "1"}
    try:
        _run(["-m", "core", "generate", "--students", str(given.students)], dict(os.environ))
        db.prepare()
        measure(given.people)
    finally:
        db.release()
        shutil.rmtree(folder, ignore_errors=True)


def measure(people: int) -> None:
    """Erase so many people each way, in rounds by turns, and print what it took."""
    ways: dict[str, Callable[[Sequence[uuid.UUID]], None]] = {
        "SQL by hand, one by one": by_hand,
        "SQL by hand, a hundred at a time": by_hand_together,
        "rows, read back, a hundred at a time": rows_read_back,
    }
    try:
        configure_django()
        ways["Django's cascade, one by one"] = by_django
    except ImportError:
        print("Django is not installed: pip install -r bench/requirements.txt")
    groups = chosen(people, len(ways) + 1)
    took: Counter[str] = Counter()
    whole(chosen(1, 1)[0])  # what a process does once is not a matter of a thousand people
    scans, passes = 0.0, 0
    for first in range(0, people, ROUND):
        for (name, way), group in zip(ways.items(), groups, strict=False):
            took[name] += timed(partial(way, group[first : first + ROUND]))
        figures = whole(groups[-1][first : first + ROUND])
        took["a whole erasure, without the scan"] += figures["all"] - figures["scan"]
        scans, passes = scans + figures["scan"], passes + int(figures["scans"])
    one, many = took["SQL by hand, one by one"], took["SQL by hand, a hundred at a time"]
    print("| Way | People in a second | Time, of one by one by hand | Of a hundred by hand |\n|---|---:|---:|---:|")
    for name, seconds in took.items():
        print(f"| {name} | {people / seconds:,.1f} | {seconds / one:.2f} | {seconds / many:.1f} |")
    print(f"\nResidue scan: {scans:.2f} s in {passes} passes.\n")
    print("\n".join(commits_of_one()))


def commits_of_one() -> list[str]:
    """What one erasure commits, part by part, as the worker does it alone."""
    told: list[str] = []
    real, parts = erasure.go_on_together, list[str]()

    def named(session: Session, *, request_ids: Sequence[uuid.UUID], now: datetime) -> dict[uuid.UUID, dict[str, int]]:
        came = real(session, request_ids=request_ids, now=now)
        states = text("select string_agg(s.place || ' ' || s.state, ', ' order by s.phase) from privacy.erasure e"
                      " join privacy.erasure_step s on s.erasure_id = e.id where e.request_id = any(:ids) and s.state <> 'to do'")  # fmt: skip
        parts.append(f"{dict(came[request_ids[0]])}: {session.scalar(states, {'ids': list(request_ids)}) or 'begun'}")
        return came

    def committed(_connection: object) -> None:
        told.append(parts.pop() if parts else "worker: lease, heartbeat, what is due")

    erasure.go_on_together = named
    event.listen(Engine, "commit", committed)
    try:
        whole(chosen(1, 1)[0])
    finally:
        erasure.go_on_together = real
        event.remove(Engine, "commit", committed)
    own = [each for each in told if not each.startswith("worker")]
    return [f"One erasure alone: {len(own)} commits of its own, {len(told) - len(own)} of the worker around it.", *own]


def chosen(people: int, groups: int) -> list[list[uuid.UUID]]:
    """Groups of people, dealt out like cards in the order of their names."""
    query = text("select s.id from platform.student s where not exists (select from platform.payment p where p.student_id = s.id)"
                 " and not exists (select from privacy.request r where r.student_id = s.id)"
                 " and not exists (select from platform.visitor v where v.email_hash = s.email_hash)"
                 " and exists (select from platform.enrollment e where e.student_id = s.id) order by s.name, s.id limit :most")  # fmt: skip
    with db.transaction("worker") as session:
        found = list(session.scalars(query, {"most": groups * people}))
    assert len(found) == groups * people, "make up more students"
    return [found[number::groups] for number in range(groups)]


def by_hand(people: Sequence[uuid.UUID]) -> None:
    """One transaction for each person, one statement for each table."""
    mine = "enrollment_id in (select id from platform.enrollment where student_id = :id)"
    for person in people:
        with db.transaction("worker") as session:
            for table in BY_ENROLLMENT:
                session.execute(text(f"delete from platform.{table} where {mine}"), {"id": person})
            for table in BY_STUDENT:
                session.execute(text(f"delete from {table} where student_id = :id"), {"id": person})
            session.execute(text("delete from platform.student where id = :id"), {"id": person})


def by_hand_together(people: Sequence[uuid.UUID]) -> None:
    """A hundred at a time: one transaction, one statement for each table."""
    mine = "enrollment_id in (select id from platform.enrollment where student_id = any(:ids))"
    for first in range(0, len(people), TOGETHER):
        with db.transaction("worker") as session:
            asked = {"ids": list(people[first : first + TOGETHER])}
            for table in BY_ENROLLMENT:
                session.execute(text(f"delete from platform.{table} where {mine}"), asked)
            for table in BY_STUDENT:
                session.execute(text(f"delete from {table} where student_id = any(:ids)"), asked)
            session.execute(text("delete from platform.student where id = any(:ids)"), asked)


def configure_django() -> None:
    """Let Django use the same database as the same role."""
    import django
    from django.conf import settings

    address = db.url("worker")
    where = {"HOST": address.host or address.query.get("host"), "PORT": address.port or address.query.get("port")}
    settings.configure(
        INSTALLED_APPS=["bench"], DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": address.database, "USER": address.username,
                               "PASSWORD": address.password, **where}},
    )  # fmt: skip
    django.setup()


def by_django(people: Sequence[uuid.UUID]) -> None:
    """The cascade of unmanaged models: collected in Python, table by table."""
    from django.db import connection, transaction

    from bench.django_models import Student

    for person in people:
        with transaction.atomic():
            with connection.cursor() as cursor:  # what no model stands for
                for table in ("review_claim", "analytics_contribution"):
                    where = "student_id = %s" if table != "review_claim" else "enrollment_id in (select id from platform.enrollment where student_id = %s)"  # fmt: skip
                    cursor.execute(f"delete from platform.{table} where {where}", [person])
            Student.objects.get(pk=person).delete()


def rows_read_back(people: Sequence[uuid.UUID]) -> None:
    """What the eraser does with the rows of this database."""
    for first in range(0, len(people), TOGETHER):
        _read_back(people[first : first + TOGETHER])


def _read_back(people: Sequence[uuid.UUID]) -> None:
    local, now = Local(), datetime.now(UTC)
    with db.transaction("worker") as session:
        known = known_together(session, [Person("student", each) for each in people])
    left = [Order(each, str(each.id)) for each in known]
    while left:
        with db.transaction("worker") as session:
            outcomes = local.erase_together(session, left, at_most=20_000, now=now)
        left = [
            replace(order, begun=True) for order, each in zip(left, outcomes, strict=True) if each.became is Became.MORE
        ]
    with db.transaction("worker") as session:
        orders = [Order(each, str(each.id)) for each in known]
        assert all(proof.absent for proof in local.verify_together(session, orders, now=now))


def whole(people: Sequence[uuid.UUID]) -> dict[str, float]:
    """Everything from the point of no return to "erased", by one worker; the residue scans are timed apart."""
    from core.jobs import JOBS
    from core.privacy import brakes
    from core.worker import Worker

    now = datetime.now(UTC)
    due(people, now)
    figures = {"scan": 0.0, "scans": 0.0}
    real = residue.scan

    def scan(*arguments: object, **named: object) -> object:
        start = time.perf_counter()
        found = real(*arguments, **named)  # type: ignore[arg-type]
        figures["scan"] += time.perf_counter() - start
        figures["scans"] += 1
        return found

    proving.residue.scan = scan  # type: ignore[assignment]
    erasure.third_parties, brakes.FEW = lambda _kind, _listed: (), 10**6  # type: ignore[assignment]
    jobs = tuple(job for job in JOBS if job.kind == "erasures")
    figures["all"] = timed(lambda: catch_up(Worker, jobs, now))
    proving.residue.scan = real
    with db.transaction("worker") as session:
        asked = text("select count(*) from privacy.request where source = 'bench' and state <> 'erased'")
        waiting = session.scalar(asked)
    if waiting:
        print(f"{waiting} wait for an officer to judge a name that is somewhere else, too.")
    return figures


def catch_up(worker: type, jobs: tuple[object, ...], now: datetime) -> None:
    """Work and send letters until nothing moves."""
    for minutes in range(0, 12, 2):
        worker(lambda at=now + timedelta(minutes=minutes): at, jobs, name="bench").catch_up()
        with db.transaction("worker") as session:
            session.execute(text("update privacy.outbox set state = 'sent', address = null, sent_at = :now, sent_how = 'by hand'"
                                 " where state = 'waiting'"), {"now": now})  # fmt: skip


def due(people: Sequence[uuid.UUID], now: datetime) -> None:
    """Close the accounts, and let a rule approve their deletions, which are due."""
    then = now - timedelta(days=31)
    with db.transaction("worker") as session:
        asked = {"ids": list(people), "then": then, "due": then + timedelta(days=30)}
        session.execute(text("delete from platform.usage_event u using platform.enrollment e where e.id = u.enrollment_id"
                             " and e.student_id = any(:ids) and u.at > :then"), asked)  # fmt: skip
        session.execute(
            text("update platform.student set account_status = 'closed', closed_at = :then where id = any(:ids)"), asked
        )
        session.execute(text(
            "insert into privacy.request (id, kind, student_id, state, identity, policy_version, received_at, filed_at, due_at, moved_at,"
            " answered_at, account_closed_at, grace_ends_at, source) select gen_random_uuid(), 'delete', id, 'waiting', 'confirmed',"
            " (select version from privacy.policy_version limit 1), :then, :then, :then, :then, :then, :then, :due, 'bench'"
            " from unnest(cast(:ids as uuid[])) id"), asked)  # fmt: skip
        put_up_plans(session, source="bench", now=then)


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
