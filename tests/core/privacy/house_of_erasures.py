"""What the tests of erasures share: processors that remember, a worker that catches up, and everything that is somebody's."""

import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from core import db, jobs
from core.models.base import Base
from core.models.ways import fates
from core.privacy import erasure
from core.privacy.deletion import put_up_plans
from core.processors import registry
from core.processors.local import condition
from core.processors.protocol import Became, Capability, Change, Exported, Order, Outcome, Person, Preview, Proof
from core.worker import Worker
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import DAY, row, rows

DUE = NOW + 30 * DAY
PROCESSORS = ("Cloudinary", "MongoDB Atlas", "SMTP", "Vercel", "payment gateway")
TWO = ("Cloudinary", "SMTP")
ERASURES = tuple(job for job in jobs.JOBS if job.kind in ("erasures", "letters by mail"))


@dataclass
class Store:
    """A third party that holds one record per person, in memory. ``faults`` are answers that it gives first."""

    name: str
    holds: set[uuid.UUID] = field(default_factory=set)
    faults: list[Outcome | Exception] = field(default_factory=list)
    blind: int = 0
    calls: list[str] = field(default_factory=list)
    payload: tuple[str, ...] = ("id",)
    capabilities: frozenset[Capability] = frozenset(Capability)
    remote: bool = True

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        return Preview(())

    def export(self, session: Session, person: Person, *, now: datetime) -> Exported:
        return Exported({})

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        self.calls.append("erase")
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        self.holds.discard(order.person.id)
        return Outcome(Became.DONE, {"records": 1}, reference="op-1")

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        self.calls.append("verify")
        if self.blind:
            self.blind -= 1
            return Proof(None, error="no answer")
        there = order.person.id in self.holds
        return Proof(absent=not there, found={"records": 1} if there else {})

    def propagate(self, session: Session, person: Person, change: Change, *, now: datetime) -> Outcome:
        return Outcome(Became.DONE)


def configure(patch: pytest.MonkeyPatch) -> dict[str, Store]:
    """Every processor of the policy, configured, each with a record of everybody in the cast."""
    people = {id_of(name) for name in ("asha", "ben", "cleo", "vera", "viktor")}
    made = {name: Store(name, set(people)) for name in PROCESSORS}
    for name, store in made.items():
        patch.setitem(registry._makers, name, lambda store=store: store)
    return made


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> dict[str, Store]:
    """Configured processors, of which two concern a person: enough to see one wait for the other, and quicker."""
    monkeypatch.setattr(erasure, "third_parties", lambda _kind, _listed: TWO)
    made = configure(monkeypatch)
    return {name: made[name] for name in TWO}


@pytest.fixture
def every_store(monkeypatch: pytest.MonkeyPatch, stores: dict[str, Store]) -> dict[str, Store]:
    """All five of the policy."""
    monkeypatch.setattr(erasure, "third_parties", lambda _kind, _listed: PROCESSORS)
    return configure(monkeypatch)


class Clock:
    """A clock that the test turns."""

    def __init__(self, now: datetime = DUE) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def work(now: datetime = DUE, name: str = "w") -> list[str]:
    """Let a worker do all that is due; what became of each job of the eraser."""
    made = Worker(Clock(now), ERASURES, name=name)
    return [outcome.became for outcome in made.catch_up() if outcome.kind == "erasures"]


def send_letters(now: datetime = DUE) -> None:
    """Somebody sends what waits."""
    with db.transaction("worker") as session:
        sent = "update privacy.outbox set state = 'sent', address = null, sent_at = :now, sent_how = 'by hand' where state = 'waiting'"
        session.execute(text(sent), {"now": now})


def erased(request_id: uuid.UUID, now: datetime = DUE, days: int = 3) -> bool:
    """Work until the erasure is over, sending letters, for some days; whether it is."""
    for day in range(days * 24):
        work(now + timedelta(hours=day))
        send_letters(now + timedelta(hours=day))
        if row(request_id)["state"] == "erased":
            return True
    return False


def steps(request_id: uuid.UUID) -> dict[str, str]:
    """The state of each step by its place, in order."""
    found = rows("select s.place, s.state from privacy.erasure_step s join privacy.erasure e on e.id = s.erasure_id"
                 " where e.request_id = :id order by s.phase, s.place", id=request_id)  # fmt: skip
    return dict(found)


def waits(request_id: uuid.UUID) -> tuple[str, str] | None:
    """What an erasure waits for, and what that is about."""
    found = rows("select waits_for, waits_about from privacy.erasure where request_id = :id", id=request_id)
    return found[0] if found and found[0][0] else None


def fingerprint(name: str) -> str:
    """SHA-256 over every row that is about one of the cast, in every table, byte for byte as PostgreSQL writes it."""
    kind = "visitor" if name in ("vera", "viktor") else "student"
    digest = hashlib.sha256()
    with db.transaction("worker") as session:
        for line in _theirs(session, kind, id_of(name)):
            digest.update(line.encode())
    return digest.hexdigest()


def _theirs(session: Session, kind: str, person_id: uuid.UUID) -> Iterator[str]:
    roots = {"student": [person_id], "visitor": [person_id] if kind == "visitor" else []}
    for fate in fates(kind):
        table = Base.metadata.tables[fate.table]
        query = table.select().where(condition(fate, roots)).with_only_columns(*table.primary_key.columns)
        keys = [tuple(map(str, each)) for each in session.execute(query)]
        names = [column.name for column in table.primary_key.columns]
        for key in sorted(keys):
            where = " and ".join(f"t.{name}::text = :k{at}" for at, name in enumerate(names))
            asked = text(f"select '{fate.table}' || t::text from {fate.table} t where {where}")
            yield str(session.scalar(asked, {f"k{at}": value for at, value in enumerate(key)}))


@pytest.fixture
def bystander(house: str) -> Iterator[None]:
    """Ben, whose rows are byte-identical before and after, whatever the test does to others."""
    before = fingerprint("ben")
    yield
    assert fingerprint("ben") == before, "a bystander's rows were touched"


def crowd(owner: Connection, many: int, *, source: str = "crowd") -> None:
    """So many students more, whose deletions came approved by a rule from elsewhere and are due."""
    owner.execute(text("set session_replication_role = replica"))
    owner.execute(text("""
        with people as (insert into platform.student (id, name, email, registered_at, account_status, closed_at, email_hash,
                provider_hash, source)
            select gen_random_uuid(), 'C' || md5(:source || n), md5(:source || n) || '@crowd.example', :now, 'closed', :now, convert_to(:source || n, 'UTF8'),
                convert_to(:source || n, 'UTF8'), :source from generate_series(1, :many) n returning id)
        insert into privacy.request (id, kind, student_id, state, identity, policy_version, received_at, filed_at, due_at, moved_at,
            answered_at, account_closed_at, grace_ends_at, source)
        select gen_random_uuid(), 'delete', id, 'waiting', 'confirmed', (select version from privacy.policy_version), :now, :now,
            :now, :now, :now, :now, :due, :source from people"""), {"now": NOW, "many": many, "due": DUE, "source": source})  # fmt: skip
    owner.commit()
    owner.execute(text("set session_replication_role = origin"))
    owner.commit()
    with db.transaction("worker") as session:
        put_up_plans(session, source=source, now=NOW)
