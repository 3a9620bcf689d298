"""A matrix of erasures with every processor on: kill points × faults, dealt out to people as hands of cards.

A card says what the wire does to one call about one person at one place (or nothing), and who dies when: before the call, after
it, at the commit of that part or of the next one. Everybody gets cards of each place, in an order that a seed fixes, so that a
thousand people play every card several times, and it is known which were played. Many are erased at once by two workers.

Cloudinary, Stripe, MongoDB and SMTP are the real libraries over a real wire. What SMTP's provider and Vercel keep is seen to by
two people; what they see to is a set of names, so that "done by hand" can be false, too.
"""

import itertools
import json
import logging
import random
import re
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pymongo.common
import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import db, embedded, leases
from core.privacy import brakes
from core.processors import mail, mongodb_client, registry, remote
from core.processors.protocol import Capability, Change, Exported, Order, Outcome, Person, Preview, Processor, Proof
from core.worker import Worker
from tests.cast import id_of
from tests.core.privacy.crashes import Killed, Together, eraser, lose
from tests.core.privacy.house_of_erasures import DUE, ERASURES, Clock, crowd
from tests.core.privacy.house_of_requests import rows
from tests.core.processors.rigs import MONGO_FAULTS, CloudinaryRig, StripeRig, cloudinary_rig, stripe_rig
from tests.doubles.mongo_server import MongoServer
from tests.doubles.platform import oid, user
from tests.doubles.wire import CHANGING, FAULTS
from tests.mail_server import FROM, Server, free_port

COMMITS = ("killed before the commit", "killed after the commit", "cut before the commit", "answer of the commit lost")
BEFORE, AFTER = "killed before the call", "killed after the call"
DEATHS = (BEFORE, AFTER, *COMMITS, *(f"next part: {each}" for each in COMMITS))
HTTP = (*(f"changing: {each}" for each in FAULTS),
        *(f"reading: {each}" for each in FAULTS if each not in ("200 and still there", "executed, then dropped")))  # fmt: skip
WIRE = ("changing: refused", "reading: refused", *(f"delete: {each}" for each in MONGO_FAULTS), *(f"update: {each}" for each in MONGO_FAULTS),
        *(f"aggregate: {each}" for each in MONGO_FAULTS if each not in ("200 and still there", "200 with an error body", "executed, then dropped")))  # fmt: skip
MAIL = (
    "450 at the recipient",
    "421 at the recipient",
    "550 at the recipient",
    "451 after the text",
    "dropped after the text",
)
REMOTE = {"Cloudinary": HTTP, "payment gateway": HTTP, "MongoDB Atlas": WIRE}
HAPPENS = ("executed, then dropped", "cut in the middle", "200 that is no JSON")
BY_HAND = ("SMTP", "Vercel")
PARTS = {"begin": 1, "erasure ledger": 1, "SMTP": 3, "Vercel": 3, "last letter": 2, "this database": 2, "residue scan": 1,
         "certificate of erasure": 2, "end": 1}  # fmt: skip


@dataclass(frozen=True)
class Card:
    """What happens once to one person at one place: a fault of the wire ("": none), and a death."""

    place: str
    fault: str
    death: str
    part: int = 1

    @property
    def kind(self) -> str:
        """Which calls it is about: "reading", "changing", or a command of MongoDB."""
        return self.fault.partition(": ")[0]


def deck(place: str) -> list[Card]:
    """Every card of a place, shuffled as a seed says."""
    if place in REMOTE:
        cards = [Card(place, fault, death) for fault, death in itertools.product(REMOTE[place], DEATHS)]
    elif place == "mail":
        cards = [Card(place, fault, death) for fault, death in itertools.product(MAIL, DEATHS[:6])]
    else:
        cards = [
            Card(name, "", death, part)
            for name, many in PARTS.items()
            for part in range(1, many + 1)
            for death in COMMITS
        ]
    random.Random(place).shuffle(cards)
    return cards


DECKS = {place: deck(place) for place in (*REMOTE, "mail", "us")}


def hand(number: int, each: int) -> list[Card]:
    """The cards of the person with this number: so many of each place; the next person goes on where this one ends.

    What lets a call happen is played last: after it there is nothing to call for.
    """
    cards = [
        DECKS[place][(number * each + at) % len(DECKS[place])]
        for place in DECKS
        for at in range(each if place in REMOTE else 1)
    ]
    return sorted(
        cards, key=lambda card: (card.kind not in ("reading", "aggregate"), card.fault.partition(": ")[2] in HAPPENS)
    )


@dataclass
class Game:
    """Who holds which cards, whose turn it is, and what was played."""

    cluster: embedded.Cluster
    database: str
    hands: dict[str, deque[Card]] = field(default_factory=dict)
    played: Counter[Card] = field(default_factory=Counter)
    deaths: Counter[str] = field(default_factory=Counter)
    marks: dict[uuid.UUID, str] = field(default_factory=dict)
    group: tuple[str, ...] = ()  # whose parts are done in one transaction
    now: str = ""  # whose part it is, when it is nobody else's, or whose letter
    place: str = ""  # which third party is called
    mailed: list[str] = field(
        default_factory=list
    )  # whose letters were handed over, and what became of them is not written down
    armed: dict[tuple[str, Card], int] = field(
        default_factory=dict
    )  # what has happened, and kills after so many commits
    struck: set[tuple[str, Card]] = field(default_factory=set)
    parts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def card(self, mark: str, place: str) -> Card | None:
        """The card of somebody that is next at a place."""
        return next((each for each in self.hands.get(mark, ()) if each.place == place), None)

    def ready(self, place: str) -> Card | None:
        """The card of whoever's turn it is, for a wire: one that kills before the call has done so first."""
        card = self.card(self.now, place) if self.place == place else None
        return None if card and card.death == BEFORE and (self.now, card) not in self.struck else card

    def play(self, mark: str, card: Card) -> None:
        """The fault has happened; the death comes later, unless it was before."""
        self.hands[mark].remove(card)
        self.played[card] += 1
        if card.death != BEFORE:
            self.armed[mark, card] = 1 if card.death.startswith("next part") else 0

    def http(self, place: str, method: str) -> str:
        """What the wire does to a request, or "": whose it is, is known because one is at hand at a time."""
        card = self.ready(place)
        kind = "changing" if method in CHANGING else "reading"
        if card is None or card.kind != kind or card.fault.endswith("refused"):
            return ""
        self.play(self.now, card)
        return card.fault.partition(": ")[2]

    def before_call(self, card: Card | None) -> None:
        """Die before the call, the first time."""
        if card and card.death == BEFORE and (self.now, card) not in self.struck:
            self.struck.add((self.now, card))
            self._die(card)

    def after_call(self, place: str) -> None:
        """Die after a call that met its fault."""
        for mark, card in self.armed:
            if mark == self.now and card.place == place and card.death == AFTER:
                del self.armed[mark, card]
                self._die(card)

    def before_commit(self, session: Session) -> None:
        if session.info.get("erasure"):
            self._arm_ours(session)
            self._at_commit_of(self.group, session, COMMITS[::2])
        elif self.mailed:
            self._at_commit_of(self.mailed, session, COMMITS[::2])

    def after_commit(self, session: Session) -> None:
        if session.info.pop("erasure", None):
            self._at_commit_of(self.group, session, COMMITS[1::2])
            for key in [each for each in self.armed if each[0] in self.group]:
                self.armed[key] = max(self.armed[key] - 1, 0)
        elif self.mailed:
            marks, self.mailed = self.mailed, []
            self._at_commit_of(marks, session, COMMITS[1::2])

    def _at_commit_of(self, marks: Sequence[str], session: Session, deaths: tuple[str, ...]) -> None:
        """What is written down of several at once: the first card among theirs that kills, does; the others wait for what follows."""
        for key in [each for each in self.armed if each[0] in marks]:
            if self._at_commit(key, session, deaths):
                return

    def _at_commit(self, key: tuple[str, Card], session: Session, deaths: tuple[str, ...]) -> bool:
        card = key[1]
        if self.armed[key] or (death := card.death.removeprefix("next part: ")) not in deaths:
            return False
        del self.armed[key]
        if death.startswith("killed"):
            self._die(card)
        self.deaths[card.death] += 1
        if death == "answer of the commit lost":
            lose()
        pid = session.scalar(text("select pg_backend_pid()"))
        with psycopg.connect(self.cluster.conninfo(self.database), autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s)", [pid])
        return True

    def _die(self, card: Card) -> None:
        self.deaths[card.death] += 1
        raise Killed

    def _arm_ours(self, session: Session) -> None:
        """A card without a wire is played when its place has come to that part."""
        for request, place in session.execute(text(CHANGED)).all():
            mark = self.marks.get(request, "")
            self.parts[mark, place] += 1
            mine = (each for each in self.hands.get(mark, ()) if not each.fault and each.place == place)
            card = next((each for each in mine if each.part <= self.parts[mark, place]), None)
            if card:
                self.play(mark, card)


CHANGED = """
    with this as (select mod(pg_current_xact_id()::text::numeric, 4294967296)::text as now),
        mine as (select r.id, r.state, r.xmin, e.id as erasure from privacy.request r left join privacy.erasure e on e.request_id = r.id
                 where r.id = any(cast(string_to_array(current_setting('test.requests'), ' ') as uuid[])))
    select mine.id, s.place from privacy.erasure_step s join mine on mine.erasure = s.erasure_id, this
    where s.xmin::text = this.now and mine.state = 'erasing' and mine.xmin::text <> this.now
    union all select id, case state when 'erasing' then 'begin' else 'end' end from mine, this
    where xmin::text = now and state in ('erasing', 'erased')"""


@dataclass(frozen=True)
class Watched:
    """A processor in the game: dies before or after it is called, and is refused by a machine that does not listen."""

    inner: Processor
    game: Game
    down: Callable[[], None]
    up: Callable[[], None]

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self.inner.capabilities

    @property
    def payload(self) -> tuple[str, ...]:
        return self.inner.payload

    @property
    def remote(self) -> bool:
        return self.inner.remote

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        return self.inner.preview(session, person, now=now)

    def export(self, session: Session, person: Person, *, now: datetime) -> Exported:
        return self.inner.export(session, person, now=now)

    def propagate(self, session: Session, person: Person, change: Change, *, now: datetime) -> Outcome:
        return self.inner.propagate(session, person, change, now=now)

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        with self._around("changing"):
            return self.inner.erase(session, order, now=now)

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        with self._around("reading"):
            return self.inner.verify(session, order, now=now)

    @contextmanager
    def _around(self, kind: str) -> Iterator[None]:
        game = self.game
        card = game.card(game.now, self.name)
        mine = card if card and (kind == "changing") == (card.kind in ("changing", "delete", "update")) else None
        refused = mine if mine and mine.fault.endswith("refused") else None
        game.before_call(mine)
        game.place = self.name
        if refused:
            self.down()
        try:
            with pytest.MonkeyPatch.context() as patch:
                if mine and mine.fault.endswith("hanging"):
                    patch.setattr(remote, "SECONDS", 0.3)
                yield
        finally:
            game.place = ""
            if refused:
                self.up()
        if refused:
            game.play(game.now, refused)
        game.after_call(self.name)


class Platform(MongoServer):
    """The platform's database; what goes wrong with a command, the game says."""

    game: Game

    def up(self) -> None:
        super().up()
        self._released = threading.Event()

    def _fault(self, name: str, body: dict[str, Any]) -> Any:
        card = self.game.ready("MongoDB Atlas")
        if card is None or card.kind != name:
            return None
        self.game.play(self.game.now, card)
        return MONGO_FAULTS[card.fault.partition(": ")[2]]


class Post(Server):
    """A mail server that says what the game says, once for each recipient, and takes the letter the next time."""

    game: Game
    fault = ""

    def __init__(self) -> None:
        super().__init__()
        self.silent: list[str] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: list[str]) -> str:  # noqa: N802
        mark = address.partition("@")[0]
        card, self.fault = self.game.card(mark, "mail"), ""
        if card:
            self.game.play(mark, card)
            if card.fault.endswith("at the recipient"):
                return f"{card.fault[:3]} 4.2.0 not now"
            self.fault = card.fault
        return await super().handle_RCPT(server, session, envelope, address, options)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.fault == "451 after the text":
            return "451 4.3.0 not now"
        self.drop_after_data = self.fault == "dropped after the text"
        before = len(self.ids)
        said = await super().handle_DATA(server, session, envelope)
        for letter_id in self.ids[before:]:  # none when the line was dropped
            if self.ids.count(letter_id) > 1:
                self._came_twice(letter_id)
        return said

    def _came_twice(self, letter_id: str) -> None:
        """A letter that leaves a second time has said before that the first time was unclear; its row goes with the person."""
        with psycopg.connect(self.game.cluster.conninfo(self.game.database), autocommit=True) as admin:
            row = admin.execute("select unclear from privacy.outbox where id = %s", [letter_id]).fetchone()
        if not row or not row[0]:
            self.silent.append(letter_id)


@dataclass
class World:
    """All stores, and who is in them: person id by the mark that is in every value of theirs."""

    pictures: CloudinaryRig
    payments: StripeRig
    platform: Platform
    post: Post
    game: Game
    owner: Connection
    logged: dict[str, set[str]] = field(default_factory=lambda: {place: set() for place in BY_HAND})
    people: dict[str, uuid.UUID] = field(default_factory=dict)
    turns: int = 0
    requests: dict[uuid.UUID, str] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def add(self, many: int, source: str, *, first: int = 0, cards: int = 1) -> None:
        """So many students, known to every store, whose deletions are due; with their cards."""
        crowd(self.owner, many, source=source)
        found = rows("select s.id, s.email, r.id from platform.student s join privacy.request r on r.student_id = s.id"
                     " where s.source = :s order by s.email", s=source)  # fmt: skip
        for number, (person, email, request) in enumerate(found):
            mark = email.partition("@")[0]
            self.people[mark], self.requests[request] = person, mark
            self.game.marks[request] = mark
            self.platform.db["users"].insert_one(user(mark) | {"email": email})
            self.platform.db["payments"].insert_one(
                {"_id": oid(f"{mark} payment"), "student": oid(mark), "billing": {"email": email}}
            )
            for kind in ("image", "raw"):
                self.pictures.library.put(f"students/{oid(mark)}/{mark}", kind=kind, backups=1 if kind == "raw" else 0)
            self.payments.gateway.post("/v1/customers", email=email)
            for kept in self.logged.values():
                kept.add(mark)
            self.game.hands[mark] = deque(hand(first + number, cards))
        with db.transaction("worker") as session:
            session.execute(
                text("update platform.student set source = 'mongodb', source_key = :key where id = :id"),
                [
                    {"key": str(oid(mark)), "id": self.people[mark]}
                    for mark in (each[1].partition("@")[0] for each in found)
                ],
            )

    def by_hand(self, now: datetime) -> None:
        """Two people see to what was asked of them: there first, and then they say so. A letter that
        was refused is sent again, and so is what died with five workers."""
        asked = self.owner.execute(
            text("select id, processor, student_id from privacy.manual_step where state = 'open'")
        ).all()
        marks = {person: mark for mark, person in self.people.items()}
        for step in asked:
            if step.processor in self.logged and step.student_id in marks:
                self.logged[step.processor].discard(marks[step.student_id])
        self.owner.execute(text("set session_replication_role = replica"))
        done = text("""
            update privacy.manual_step set state = 'confirmed', attested_at = made_at, attested_by = :omar, confirmed_at = made_at,
                confirmed_by = :olga, evidence = 'Seen.', evidence_sha256 = sha256('Seen.') where id = any(:ids)""")
        self.owner.execute(done, {"ids": [step.id for step in asked], "omar": id_of("omar"), "olga": id_of("olga")})
        again = "update privacy.outbox set state = 'waiting', attempts = 0, not_before = now() - interval '9 years' where state = 'failed'"
        self.owner.execute(text(again))
        self.owner.execute(text("set session_replication_role = origin"))
        self.owner.commit()
        with db.transaction("worker") as session:
            leases.retry(session, now=now)

    def left(self, marks: set[str]) -> list[tuple[str, list[str]]]:
        """Who of these is somewhere, and where, by readers that share nothing with the eraser."""
        if not marks:
            return []
        documents = json.dumps(
            [row for name in self.platform.db.list_collection_names() for row in self.platform.db[name].find()],
            default=str,
        )
        library = self.pictures.library
        pictures = " ".join((*library.names(), *library.copies, *(each[2] for each in library.backups)))
        customers = json.dumps(self.payments.gateway.customers())
        ours = {row[0] for row in self.owner.execute(text("select id from platform.student"))}
        mails = " ".join(row[0] for row in self.owner.execute(text("select email from platform.student")))
        self.owner.rollback()
        found = []
        for mark in sorted(marks):
            places = [place for place, kept in self.logged.items() if mark in kept]
            places += ["MongoDB Atlas"] if mark in documents or str(oid(mark)) in documents else []
            places += ["Cloudinary"] if mark in pictures else []
            places += ["payment gateway"] if mark in customers else []
            places += ["this database"] if self.people[mark] in ours or mark in mails else []
            if places:
                found.append((mark, places))
        return found

    def newly_false(self) -> list[tuple[str, list[str]]]:
        """Who has been called erased since the last look, and is somewhere."""
        erased = self.owner.execute(text("select id from privacy.request where state = 'erased'")).scalars().all()
        done = {self.requests[each] for each in erased if each in self.requests}
        new, self.seen = done - self.seen, done
        return self.left(new)

    def told(self) -> set[str]:
        """Values of people, and secrets, that stand in a queue's rows, in evidence or in an error."""
        tables = (
            "privacy.erasure_step",
            "privacy.erasure_evidence",
            "privacy.propagation",
            "privacy.processor_health",
            "staff.job",
        )
        return self.named(
            "\n".join(str(self.owner.scalar(text(f"select string_agg(t::text, ' ') from {each} t"))) for each in tables)
        )

    def named(self, words: str) -> set[str]:
        """The secrets, addresses and ids of people in some words."""
        ids = {str(oid(mark)) for mark in self.people}
        tokens = set(re.findall(r"(?<![0-9a-f])(?:[0-9a-f]{24}|[0-9a-f]{32})(?![0-9a-f])", words))
        secrets = (self.pictures.secret, self.payments.secret, "sk_test", "@crowd.example")
        return {each for each in secrets if each in words} | tokens & (set(self.people) | ids)


@contextmanager
def world_of(house: str, owner: Connection, cluster: embedded.Cluster, patch: pytest.MonkeyPatch) -> Iterator[World]:
    """Every processor configured, each behind a wire that the game watches."""
    patch.setattr(brakes, "FEW", 10_000)
    patch.setattr(mongodb_client, "SECONDS", 0.25)
    patch.setattr(mongodb_client, "ANSWER", 1)
    patch.setattr(pymongo.common, "MIN_HEARTBEAT_INTERVAL", 0.02)
    patch.setenv("RESOCODE_MAIL_RATE", "100000")
    game, post, port = Game(cluster, house), Post(), free_port()
    post.game, post.keep = game, False
    controller = Controller(post, hostname="127.0.0.1", port=port, enable_SMTPUTF8=False)
    controller.start()
    patch.setenv("RESOCODE_SMTP_URL", f"smtp://127.0.0.1:{port}")
    patch.setenv("RESOCODE_MAIL_FROM", FROM)
    patch.setenv("RESOCODE_MAIL_CATCHER", "1")
    patch.setattr(mail.Line, "send", _watched_send(game, mail.Line.send))
    try:
        with cloudinary_rig(patch) as pictures, stripe_rig(patch) as payments, Platform() as platform:
            platform.game = game
            patch.setenv("RESOCODE_MONGODB_URI", platform.uri)
            wires: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
                "Cloudinary": (pictures.wire.down, pictures.wire.up), "payment gateway": (payments.wire.down, payments.wire.up),
                "MongoDB Atlas": (platform.down, platform.up)}  # fmt: skip
            for name, (down, up) in wires.items():
                patch.setitem(
                    registry._makers,
                    name,
                    lambda make=registry._makers[name], down=down, up=up: Watched(make(), game, down, up),
                )
            pictures.wire.chance = lambda method: game.http("Cloudinary", method)
            payments.wire.chance = lambda method: game.http("payment gateway", method)
            pictures.wire.retry_after = payments.wire.retry_after = "60"
            yield World(pictures, payments, platform, post, game, owner)
    finally:
        controller.stop()


def _watched_send(
    game: Game, send: Callable[[mail.Line, mail.Letter], mail.Delivery]
) -> Callable[[mail.Line, mail.Letter], mail.Delivery]:
    """Handing over a letter, in the game: the process dies around it, or at the commit that writes down what became of it."""

    def sent(line: mail.Line, letter: mail.Letter) -> mail.Delivery:
        game.now = letter.address.partition("@")[0]
        game.before_call(game.card(game.now, "mail"))
        delivery = send(line, letter)
        game.after_call("mail")
        game.mailed.append(game.now)
        return delivery

    return sent


def _marking(world: World, run: Together) -> Together:
    """The eraser, in the game: whose parts they are is known; what leaves for a wire is one person's."""

    def seen(session: Session, keys: Sequence[str], now: datetime) -> Any:
        session.info["erasure"] = True
        game = world.game
        game.group = tuple(game.marks.get(uuid.UUID(key), "") for key in keys)
        game.now = game.group[0] if len(keys) == 1 else ""
        session.execute(text("select set_config('test.requests', :keys, true)"), {"keys": " ".join(keys)})
        return run(session, keys, now)

    return seen


def play(world: World, run: Together = eraser, *, at_once: int = 100) -> list[tuple[str, list[str]]]:
    """Two workers take turns until nobody is left to erase; who was called erased and was not. ``at_once``: in one transaction.

    A worker that was killed is followed by the other one at once; when nothing is due, the clock goes on to what is next.
    """
    game, now, false = world.game, DUE, []
    mine = {"together": _marking(world, run), "at_once": at_once}
    jobs = tuple(replace(job, **mine) if job.kind == "erasures" else job for job in ERASURES)
    event.listen(Session, "before_commit", game.before_commit)
    event.listen(Session, "after_commit", game.after_commit)
    try:
        for turn in range(60 * len(world.people)):
            now += timedelta(seconds=1)
            world.turns = turn + 1
            game.now = ""
            try:
                Worker(Clock(now), jobs, name="AB"[turn % 2]).catch_up()
            except (Killed, OperationalError):  # as Worker.run: the database is gone for a moment
                game.mailed.clear()
                db.engine("worker").dispose()
                continue
            world.by_hand(now)
            false += world.newly_false()
            if len(world.seen) == len(world.requests):
                break
            now = max(now, world.owner.scalar(text(NEXT)) or now)
            world.owner.rollback()
    finally:
        game.now = ""
        event.remove(Session, "before_commit", game.before_commit)
        event.remove(Session, "after_commit", game.after_commit)
    return false


NEXT = """
    select min(at) from (
        select e.next_at from privacy.erasure e where e.finished_at is null
        union all select j.next_at from staff.job j where j.state = 'waiting'
        union all select j.lease_until from staff.job j where j.state = 'running'
        union all select j.finished_at + interval '61 seconds' from staff.job j where j.state = 'done'
        union all select o.not_before from privacy.outbox o where o.state = 'waiting' and o.address is not null
        union all select p.closed_until from privacy.mail_pace p) t (at)
    where at > (select coalesce(max(beat_at), '-infinity') from staff.worker_heartbeat)"""


class Kept(logging.Handler):
    """What our own code and the libraries of processors write into a log, at any level."""

    NAMES = (
        "resocode",
        "core",
        "urllib3",
        "stripe",
        "cloudinary",
        "Cloudinary",
        "requests",
        "pymongo",
        "smtplib",
        "pybreaker",
    )

    def __init__(self) -> None:
        super().__init__(0)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.words.append(record.getMessage())

    def __enter__(self) -> "Kept":
        for name in self.NAMES:
            logging.getLogger(name).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.NAMES:
            logging.getLogger(name).removeHandler(self)
