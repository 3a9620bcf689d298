"""How fast a notice reaches a hundred thousand people, while its workers are killed three times: nobody missed, who may have got it twice is known.

    python -m bench.notices                       100,000 people, in a home that is thrown away; some minutes
    python -m bench.notices --people 5000

The mail server is aiosmtpd (a real one, of `requirements-dev.txt`) on loopback, a process of its own. "plain loop": smtplib, an
EmailMessage and ``send_message`` for each letter over one connection to the same server, nothing read or written anywhere: the
floor. "notice": the product's worker from the audience to the counts: who is told is written down, the outbox fed, each letter
claimed, filled, handed over and settled with its line in the mail log. Both by turns.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from sqlalchemy import text

from core import db, policy
from core.jobs import JOBS
from core.models.base import uuid7
from core.models.campaigns import Campaign
from core.worker import Worker

SENDERS = tuple(job for job in JOBS if job.kind in ("notices", "letters by mail"))
BODY = "Dear {name},\n\nfrom 1 January 2027 on, version 2027-01-01 of our privacy policy holds. What changes:\n\n- Mail logs are kept 60 days\n  instead of 90.\n\nYou find the whole text on the platform. If you do not agree, you can close your account or object at any\ntime.\n"  # fmt: skip
PEOPLE = """
    insert into platform.student (id, name, email, registered_at, email_hash, provider_hash, source)
    select gen_random_uuid(), 'Person ' || n, 'person' || n || '@students.example', now() - interval '9 days',
        sha256(('mail ' || n)::bytea), sha256(('id ' || n)::bytea), 'bench' from generate_series(1, :many) n
"""


def main() -> None:
    """Make people, tell them all, kill the worker three times, print what it took."""
    parser = argparse.ArgumentParser(prog="python -m bench.notices", description=__doc__)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--work", action="store_true", help="be the worker; used by itself")
    given = parser.parse_args()
    if given.work:
        work()
        return
    folder = Path(tempfile.mkdtemp(prefix="resocode-bench-"))
    folder.chmod(0o755)
    port = free_port()
    os.environ |= {"RESOCODE_HOME": str(folder / "home"), "RESOCODE_DEMO": "1", "RESOCODE_MAIL_RATE": "600000", "RESOCODE_MAIL_CATCHER": "1",
                   "RESOCODE_SMTP_URL": f"smtp://127.0.0.1:{port}", "RESOCODE_MAIL_FROM": "privacy@resocode.example"}  # fmt: skip
    try:
        db.prepare()
        measure(given.people, port, folder / "arrived")
    finally:
        db.release()
        shutil.rmtree(folder, ignore_errors=True)


def measure(people: int, port: int, arrived: Path) -> None:
    """The floor, the notice with three kills, the floor again; then what arrived."""
    now = datetime.now(UTC)
    with db.transaction("worker") as session:
        policy.publish_first_version(session, now=now)
        session.execute(text(PEOPLE), {"many": people})
    db.vacuum(["platform.student"])
    victim = multiprocessing.Value("i", 0)
    deaths = [people // 5, people // 2, people * 4 // 5]
    server = multiprocessing.Process(target=serve, args=(port, str(arrived), victim, deaths), daemon=True)
    server.start()
    wait_for(port)
    sample = max(people // 20, 100)
    first = plain_loop(port, sample)
    begin(now)
    took, kills = tell(victim)
    second = plain_loop(port, sample)
    server.terminate()
    server.join()
    floor, rate = 2 * sample / (first + second), people / took
    print(f"plain loop {floor:,.0f} letters a second · notice {rate:,.0f} · {rate / floor:.2f} of it · {took:,.0f} s for {people:,}, {kills} kills")  # fmt: skip
    print(judged(people, arrived))


def tell(victim: "Synchronized[int]") -> tuple[float, int]:
    """Let workers tell everybody, one after the other, each until it dies; seconds, and how many died."""
    started, kills = time.perf_counter(), 0
    while True:
        worker = subprocess.Popen([sys.executable, "-m", "bench.notices", "--work"])
        victim.value = worker.pid
        ended = worker.wait()
        if ended == 0:
            return time.perf_counter() - started, kills
        assert ended == -signal.SIGKILL, ended
        kills += 1


def work() -> None:
    """Be a worker until the notice is over: also what a dead one held, once its lease has ended."""
    worker = Worker(lambda: datetime.now(UTC), SENDERS)
    while True:
        worker.catch_up()
        with db.transaction("worker") as session:
            if not session.scalar(text("select count(*) from privacy.campaign where finished_at is null")):
                break
        time.sleep(0.5)
    db.release()


def judged(people: int, arrived: Path) -> str:
    """What the server got, beside what the product says."""
    got = Counter(line for line in arrived.read_text().split() if not line.startswith("floor"))
    twice = {each for each, times in got.items() if times > 1}
    with db.transaction("worker") as session:
        unclear = {
            str(each) for each in session.scalars(text("select id from privacy.campaign_recipient where unclear"))
        }
        counts = session.scalar(text("select counts from privacy.campaign"))
    said = f"{people - len(got):,} missed, {len(twice)} arrived twice, {len(twice - unclear)} of them not marked as unclear"
    return f"{said}; the notice says {counts}."


def begin(now: datetime) -> None:
    """A notice to everybody."""
    row: dict[str, Any] = {"kind": "policy notice", "channel": "mail", "audience": "open accounts", "about": "2027-01-01", "body": BODY,
                           "subject": "Our privacy policy changes on 1 January 2027", "begun_at": now, "deadline": now + timedelta(days=9)}  # fmt: skip
    with db.transaction("worker") as session:
        session.add(Campaign(id=uuid7(), **row))


def plain_loop(port: int, many: int) -> float:
    """Seconds that smtplib takes for so many letters."""
    started = time.perf_counter()
    with smtplib.SMTP("127.0.0.1", port) as line:
        for number in range(many):
            message = EmailMessage()
            message["From"], message["To"] = "privacy@resocode.example", f"person{number}@students.example"
            message["Subject"] = "Our privacy policy changes on 1 January 2027"
            message["Message-ID"] = f"<floor-{uuid.uuid4()}@resocode.example>"
            message.set_content(BODY.format(name=f"Person {number}"))
            line.send_message(message)
    return time.perf_counter() - started


class Taking:
    """The server's side: writes down each Message-ID, then kills whom it has to kill before it answers."""

    def __init__(self, arrived: str, victim: "Synchronized[int]", deaths: list[int]) -> None:
        self.file, self.victim, self.deaths, self.seen = Path(arrived).open("w", buffering=1), victim, deaths, 0  # noqa: SIM115

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        letter = envelope.content.partition(b"Message-ID: <")[2].partition(b"@")[0].decode()
        self.file.write(letter + "\n")
        if not letter.startswith("floor"):
            self.seen += 1
        if self.deaths and self.seen == self.deaths[0]:
            self.deaths.pop(0)
            os.kill(self.victim.value, signal.SIGKILL)
        return "250 OK"


def serve(port: int, arrived: str, victim: "Synchronized[int]", deaths: list[int]) -> None:
    """Be the mail server until terminated."""
    from aiosmtpd.controller import Controller

    Controller(Taking(arrived, victim, deaths), hostname="127.0.0.1", port=port).start()
    signal.pause()


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    """Return when the server answers."""
    for _ in range(200):
        try:
            smtplib.SMTP("127.0.0.1", port).quit()
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the mail server did not start")


if __name__ == "__main__":
    main()
