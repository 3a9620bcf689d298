"""Every processor on: whatever breaks at the wire and whoever dies, nobody is called erased who is still somewhere.

Many people are erased at once by two workers that are killed, cut off and lose answers by chance, while every third party
refuses, hangs, asks to wait, answers nonsense, pretends, and does what it was asked and drops the line. After each turn, readers
that share no code with the eraser look for everybody who is called erased. ``make test-full`` does it for a thousand.

Cloudinary and Stripe are the real libraries over a real wire; MongoDB too; the mail provider and Vercel are places in memory.
"""

import json
import os
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from core import db, embedded
from core.privacy import brakes
from core.processors import registry
from core.processors.protocol import Order, Outcome
from core.worker import Worker
from tests.core.privacy.crashes import Killed, Together, eraser, erasures, lose, naive
from tests.core.privacy.house_of_erasures import DUE, Clock, Store, crowd, fingerprint, send_letters
from tests.core.privacy.house_of_requests import rows
from tests.core.processors.rigs import CloudinaryRig, StripeRig, cloudinary_rig, stripe_rig
from tests.doubles.mongo_server import BUSY, DROP_AFTER, DROP_BEFORE, PRETEND, UNAUTHORIZED, WRITE_ERROR, MongoServer
from tests.doubles.platform import oid, user

FULL = os.environ.get("RESOCODE_TEST_FULL") == "1"
MANY, AT_ONCE = (1000, 50) if FULL else (5, 5)
HTTP = ("429", "500", "503 with Retry-After", "200 with an error body", "200 that is no JSON", "200 and still there", "cut in the middle",
        "401", "executed, then dropped", "dropped before")  # fmt: skip
WIRE = (DROP_BEFORE, DROP_AFTER, PRETEND, WRITE_ERROR, UNAUTHORIZED, BUSY)
DEATHS = ("killed before a commit", "killed after a commit", "cut before a commit", "answer of a commit lost")


@dataclass
class Chance:
    """What goes wrong, by a seed; ``happened`` counts it."""

    random: random.Random
    cluster: embedded.Cluster
    database: str
    often: float = 0.2
    happened: Counter[str] = field(default_factory=Counter)

    def http(self, method: str) -> str:
        """A fault for a request, or "": reading goes wrong less often, there is more of it."""
        if method in ("POST", "DELETE"):
            return self._maybe(HTTP, self.often)
        return self._maybe(tuple(each for each in HTTP if each not in ("200 and still there", "executed, then dropped")), self.often / 8)  # fmt: skip

    def place(self) -> str:
        """A fault of a place in memory."""
        return self._maybe(("raises before", "raises after"), self.often)

    def before_commit(self, session: Session) -> None:
        if not session.info.get("erasure"):
            return
        death = self._maybe(DEATHS[::2], self.often / 6)
        if death == DEATHS[0]:
            raise Killed
        if death:
            pid = session.scalar(text("select pg_backend_pid()"))
            with psycopg.connect(self.cluster.conninfo(self.database), autocommit=True) as admin:
                admin.execute("select pg_terminate_backend(%s)", [pid])

    def after_commit(self, session: Session) -> None:
        if session.info.pop("erasure", None):
            death = self._maybe(DEATHS[1::2], self.often / 6)
            if death == DEATHS[1]:
                raise Killed
            if death:
                lose()

    def _maybe(self, what: tuple[str, ...], often: float) -> str:
        if self.random.random() >= often:
            return ""
        chosen = self.random.choice(what)
        self.happened[chosen] += 1
        return chosen


class Place(Store):
    """A third party in memory, behind a line that breaks."""

    chance: Chance | None = None

    def erase(self, session: Session, order: Order, *, now: Any) -> Outcome:
        assert self.chance
        fault = self.chance.place()
        if fault == "raises before":
            raise ConnectionError("reset")
        done = super().erase(session, order, now=now)
        if fault:
            raise ConnectionError("reset")
        return done


@dataclass
class World:
    """All stores, and who is in them: person id by the number that is in every value of theirs."""

    pictures: CloudinaryRig
    payments: StripeRig
    platform: MongoServer
    places: tuple[Place, ...]
    chance: Chance
    people: dict[str, uuid.UUID] = field(default_factory=dict)
    requests: dict[uuid.UUID, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def add(self, owner: Connection, many: int, source: str) -> None:
        """So many students, known to every store, whose deletions are due."""
        crowd(owner, many, source=source)
        found = rows("select s.id, s.email, r.id from platform.student s join privacy.request r on r.student_id = s.id"
                     " where s.source = :s order by s.email", s=source)  # fmt: skip
        for person, email, request in found:
            mark = email.partition("@")[0]
            self.people[mark], self.requests[request] = person, mark
            self.platform.db["users"].insert_one(user(mark) | {"email": email})
            for kind in ("image", "raw"):
                self.pictures.library.put(f"students/{oid(mark)}/{mark}", kind=kind)
            self.payments.gateway.post("/v1/customers", email=email)
            for place in self.places:
                place.holds.add(person)
        with db.transaction("worker") as session:
            for mark in (each[1].partition("@")[0] for each in found):
                session.execute(text("update platform.student set source = 'mongodb', source_key = :key where id = :id"),
                                {"key": str(oid(mark)), "id": self.people[mark]})  # fmt: skip

    def where(self, mark: str) -> list[str]:
        """In which stores something of a person is left, by readers of their own."""
        person = self.people[mark]
        found = [place.name for place in self.places if person in place.holds]
        documents = (row for name in self.platform.db.list_collection_names() for row in self.platform.db[name].find())
        if any(mark in told or str(oid(mark)) in told for told in (json.dumps(row, default=str) for row in documents)):
            found.append("MongoDB Atlas")
        if any(mark in name for name in self.pictures.library.names()) or self.pictures.library.delivered(mark):
            found.append("Cloudinary")
        if mark in json.dumps(self.payments.gateway.customers()):
            found.append("payment gateway")
        if rows("select 1 from platform.student where id = :id or email like :m || '%'", id=person, m=mark):
            found.append("this database")
        return found

    def newly_false(self) -> list[tuple[str, list[str]]]:
        """Who has been called erased since the last look, and is somewhere."""
        done = {
            self.requests[each]
            for (each,) in rows("select id from privacy.request where state = 'erased'")
            if each in self.requests
        }
        new, self.seen = done - self.seen, done
        return [(mark, left) for mark in sorted(new) if (left := self.where(mark))]

    def told(self) -> list[str]:
        """Values of people, and secrets, that stand in a queue's rows, in evidence or in an error."""
        tables = (
            "privacy.erasure_step",
            "privacy.erasure_evidence",
            "privacy.propagation",
            "privacy.processor_health",
            "staff.job",
        )
        kept = "\n".join(str(rows(f"select string_agg(t::text, ' ') from {table} t")[0][0]) for table in tables)
        secrets = (self.pictures.secret, self.payments.secret, "sk_test", "@crowd.example")
        return [value for value in (*secrets, *self.people, *map(str, map(oid, self.people))) if value in kept]


@pytest.fixture
def world(house: str, owner: Connection, cluster: embedded.Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(brakes, "FEW", 10_000)
    chance = Chance(random.Random(7), cluster, house)
    places = tuple(Place(name) for name in ("SMTP", "Vercel"))
    for place in places:
        place.chance = chance
        monkeypatch.setitem(registry._makers, place.name, lambda place=place: place)
    with cloudinary_rig(monkeypatch) as pictures, stripe_rig(monkeypatch) as payments, MongoServer() as platform:
        monkeypatch.setenv("RESOCODE_MONGODB_URI", platform.uri)
        for rig in (pictures, payments):
            rig.wire.chance, rig.wire.retry_after = chance.http, "60"
        yield World(pictures, payments, platform, places, chance)


def play(
    world: World, run: Together, owner: Connection, *, many: int, source: str, turns: int = 400
) -> list[tuple[str, list[str]]]:
    """Erase so many by two workers that take turns; who was called erased and was not. Things go wrong for a while, then no more."""
    world.add(owner, many, source)
    job, false, now = erasures(run), [], DUE
    often = world.chance.often
    event.listen(Session, "before_commit", world.chance.before_commit)
    event.listen(Session, "after_commit", world.chance.after_commit)
    try:
        for turn in range(turns):
            world.chance.often = often if turn < 25 else 0
            now += timedelta(minutes=3 if turn < 25 else 20)
            if world.chance.often:
                world.platform.fail(
                    world.chance.random.choice(("delete", "update", "aggregate")), world.chance.random.choice(WIRE)
                )
            else:
                world.platform.heal()
            try:
                Worker(Clock(now), (job,), name="AB"[turn % 2]).catch_up()
            except Killed:
                db.engine("worker").dispose()
            send_letters(now)
            false += world.newly_false()
            assert world.told() == [], "a row of a queue names somebody, or holds a secret"
            if len(world.seen) == len(world.requests):
                break
    finally:
        world.chance.often = often
        event.remove(Session, "before_commit", world.chance.before_commit)
        event.remove(Session, "after_commit", world.chance.after_commit)
    return false


def test_nobody_is_called_erased_who_is_still_somewhere(
    world: World, owner: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    ben = fingerprint("ben")
    world.pictures.library.put("students/bystander/portrait")
    world.payments.gateway.post("/v1/customers", email="bystander@example.org")
    world.platform.db["users"].insert_one(user("bystander"))
    for batch in range(max(1, MANY // AT_ONCE)):
        assert play(world, eraser, owner, many=AT_ONCE, source=f"crowd {batch}") == []
        stuck = rows("select r.state, e.waits_for, e.waits_about from privacy.request r left join privacy.erasure e on e.request_id = r.id"
                     " where r.state <> 'erased' and r.source like 'crowd%'")  # fmt: skip
        assert stuck == [], "every erasure ends without a human once things work again"
    assert len(world.seen) == max(MANY, AT_ONCE)
    assert all(not world.where(mark) for mark in world.people)
    assert fingerprint("ben") == ben and world.platform.db["users"].count_documents({}) == 1
    assert (
        "students/bystander/portrait" in world.pictures.library.names() and len(world.payments.gateway.customers()) == 1
    )
    told = "\n".join(
        each.getMessage() for each in caplog.records if not each.name.startswith(("httpx", "httpcore", "asyncio"))
    )
    for value in (world.pictures.secret, world.payments.secret, "@crowd.example", *world.people):
        assert value not in told, "a log names somebody, or holds a secret"
    happened = world.chance.happened
    assert len(set(happened) & set(HTTP)) >= (10 if FULL else 5), "much has to go wrong, or it proves nothing"
    assert sum(happened[death] for death in DEATHS) >= (40 if FULL else 4)


def test_the_same_harness_catches_a_naive_eraser(world: World, owner: Connection) -> None:
    false = play(world, naive, owner, many=6, source="crowd n")
    assert false, "it says of somebody that they are erased, and they are not"
    assert {place for _, left in false for place in left} & {"Cloudinary", "payment gateway", "MongoDB Atlas"}
