"""Third parties as the contract suite meets them: a real processor, what stands behind its wire, and a reader of its own.

A new processor gets a rig here, and with it every test of test_contract.py. ``holds`` looks into the store itself, and shares
no code with the processor.
"""

import atexit
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import pymongo
import pymongo.common
import pytest
from sqlalchemy import text

from core import db
from core.processors import cloudinary, mongodb, mongodb_client, payments
from core.processors.mongodb_mapping import mapping
from core.processors.protocol import Processor
from core.processors.registry import configured
from tests.cast import email_of, id_of
from tests.doubles import stripe_gateway
from tests.doubles.cloudinary_server import CLOUD, KEY, SECRET, Library
from tests.doubles.mongo_server import (
    BUSY,
    CUT,
    DROP_AFTER,
    DROP_BEFORE,
    FIRST_BATCH,
    GARBAGE,
    HANG,
    PRETEND,
    UNAUTHORIZED,
    WRITE_ERROR,
    Behavior,
    Error,
    MongoServer,
)
from tests.doubles.syncing import REAL
from tests.doubles.wire import FAULTS, Wire, listening

KNOWN = {"cleo": "p-12", "ben": "p-123", "asha": "p-1"}  # platform ids: each begins another one


MONGO_FAULTS: dict[str, Error | Behavior] = {
    "hanging": HANG, "429": BUSY, "500": Error(8, "UnknownError"), "200 with an error body": WRITE_ERROR, "200 and still there": PRETEND,
    "401": UNAUTHORIZED, "executed, then dropped": DROP_AFTER, "dropped before": DROP_BEFORE, "cut in the middle": CUT,
    "200 that is no JSON": GARBAGE,
}  # fmt: skip


class Rig(Protocol):
    """One third party."""

    name: str
    faults: tuple[str, ...]
    sent: frozenset[str]
    secret: str

    def processor(self) -> Processor:
        """The processor, as the settings make it."""

    def put(self, who: str) -> None:
        """Give the third party what it keeps about one of the cast."""

    def holds(self, who: str) -> bool:
        """Whether it keeps anything about them, read without the processor."""

    def put_more(self, who: str) -> None:
        """Give it so much of them that it has to be listed in pages."""

    def take_away(self, who: str) -> None:
        """Let everything of theirs be gone there already."""

    def breaks(self, *faults: str, reading: bool = False) -> None:
        """Let the next calls that change something meet faults; with ``reading`` any."""

    def met(self) -> bool:
        """Whether a fault was met since it was asked for; "refused" leaves no trace here."""

    def mend(self) -> None:
        """Let everything work again."""

    def left(self) -> tuple[set[str], str]:
        """The names of all parameters that left for it, and everything that left, as text."""


def on_the_platform(*names: str) -> None:
    """Let the platform know some of the cast, with a picture and a certificate image."""
    with db.transaction("worker") as session:
        for name in names:
            known = {"id": id_of(name), "key": KNOWN[name], "certificate": id_of(f"{name} enrollment"),
                     "url": f"https://res.cloudinary.com/{CLOUD}/image/upload/v1/students/{KNOWN[name]}"}  # fmt: skip
            session.execute(
                text("update platform.student set source = 'mongodb', source_key = :key where id = :id"), known
            )
            session.execute(text("update platform.student_profile set avatar_url = :url || '/portrait.jpg' where student_id = :id"), known)  # fmt: skip
            session.execute(text("update platform.certificate set url = :url || '/certificate.jpg' where enrollment_id = :certificate"), known)  # fmt: skip


@dataclass
class CloudinaryRig:
    """Cloudinary's library, a wire, and a media library that keeps state."""

    wire: Wire
    library: Library
    name: str = "Cloudinary"
    faults: tuple[str, ...] = FAULTS
    sent: frozenset[str] = cloudinary.SENT
    secret: str = SECRET
    asked: int = 0

    def processor(self) -> Processor:
        made = cloudinary.made()
        assert made
        return made

    def put(self, who: str) -> None:
        folder = f"students/{KNOWN[who]}"
        for file, kind, type_ in (("portrait", "image", "upload"), ("certificate", "image", "upload"), ("talk", "video", "upload"),
                                  ("work.zip", "raw", "upload"), ("passport", "image", "private"), ("letter", "raw", "authenticated")):  # fmt: skip
            self.library.put(
                f"{folder}/{file}", kind=kind, type_=type_, backups=2 if file in ("portrait", "passport") else 0
            )

    def put_more(self, who: str) -> None:
        """Six files are pages enough."""

    def take_away(self, who: str) -> None:
        folder = f"students/{KNOWN[who]}/"
        self.library.files = {
            each: derived for each, derived in self.library.files.items() if not each[2].startswith(folder)
        }
        self.library.backups = {
            each: kept for each, kept in self.library.backups.items() if not each[2].startswith(folder)
        }
        self.library.copies = {path: left for path, left in self.library.copies.items() if folder not in path}

    def holds(self, who: str) -> bool:
        folder = f"students/{KNOWN[who]}/"
        kept = (*self.library.names(), *(public_id for _, _, public_id in self.library.backups))
        return any(name.startswith(folder) for name in kept) or self.library.delivered(folder)

    def breaks(self, *faults: str, reading: bool = False) -> None:
        self.wire.seen.clear()
        self.asked = 0
        if "refused" in faults:
            self.wire.down()
        elif "partial page" in faults:
            self.library.page, self.library.most = 1, 1
        else:
            self.wire.faults, self.wire.changes_only = list(faults), not reading
            self.asked = len(faults)

    def met(self) -> bool:
        return len(self.wire.faults) < self.asked or "next_cursor" in self.wire.sent() or self.wire.repeated("DELETE")

    def mend(self) -> None:
        self.wire.faults = []
        self.library.page, self.library.most = 500, 1000
        if self.wire._server is None:
            self.wire.up()

    def left(self) -> tuple[set[str], str]:
        return self.wire.sent(), self.wire.everything()


@contextmanager
def cloudinary_rig(patch: pytest.MonkeyPatch) -> Iterator[CloudinaryRig]:
    library = Library()
    with listening(library.wire()) as wire:
        patch.setenv("RESOCODE_CLOUDINARY_URL", f"cloudinary://{KEY}:{SECRET}@{CLOUD}?upload_prefix={wire.address}")
        patch.setenv("RESOCODE_CLOUDINARY_DELIVERY", f"{wire.address}/{CLOUD}")
        delivered_from(f"{wire.address}/{CLOUD}")
        yield CloudinaryRig(wire, library)


def delivered_from(address: str) -> None:
    """Let the addresses in our records be those of the double."""
    with db.transaction("worker") as session:
        for table, column in (("student_profile", "avatar_url"), ("certificate", "url")):
            moved = (
                f"update platform.{table} set {column} = replace({column}, :old, :new) where {column} like :old || '%'"
            )
            session.execute(text(moved), {"old": f"https://res.cloudinary.com/{CLOUD}", "new": address})


@dataclass
class StripeRig:
    """Stripe's library, a wire, and localstripe."""

    wire: Wire
    gateway: stripe_gateway.Gateway
    name: str = "payment gateway"
    faults: tuple[str, ...] = FAULTS
    sent: frozenset[str] = payments.SENT
    secret: str = stripe_gateway.KEY
    asked: int = 0

    def processor(self) -> Processor:
        made = payments.made()
        assert made
        return made

    def put(self, who: str) -> None:
        self.pays(who, email_of(who))

    def pays(self, who: str, email: str) -> str:
        """A customer of this address, whose payment is in our records. Its id."""
        customer = self.gateway.post("/v1/customers", email=email, name=who.title())["id"]
        card = {"type": "card", "card[number]": "4242424242424242", "card[exp_month]": "12", "card[exp_year]": "2030", "card[cvc]": "123"}  # fmt: skip
        method = self.gateway.post("/v1/payment_methods", **card)["id"]
        self.gateway.post(f"/v1/payment_methods/{method}/attach", customer=customer)
        paid = self.gateway.post("/v1/payment_intents", amount=900, currency="eur", customer=customer, payment_method=method, confirm="true")  # fmt: skip
        with db.transaction("worker") as session:
            session.execute(text("update platform.payment set gateway_ref = :ref where student_id = :id"),
                            {"ref": paid["id"], "id": id_of(who)})  # fmt: skip
        return str(customer)

    def put_more(self, who: str) -> None:
        self.pays(who, email_of(who))
        self.pays(who, email_of(who))

    def take_away(self, who: str) -> None:
        for each in self.gateway.customers():
            if each["email"] == email_of(who):
                self.gateway.answer(
                    "DELETE", f"/v1/customers/{each['id']}", {"authorization": f"Bearer {self.secret}"}, b""
                )

    def holds(self, who: str) -> bool:
        return any(each["email"] == email_of(who) for each in self.gateway.customers())

    def breaks(self, *faults: str, reading: bool = False) -> None:
        self.wire.seen.clear()
        self.asked = 0
        if "refused" in faults:
            self.wire.down()
        elif "partial page" in faults:
            self.gateway.page = 1
        else:
            self.wire.faults, self.wire.changes_only = list(faults), not reading
            self.asked = len(faults)

    def met(self) -> bool:
        return len(self.wire.faults) < self.asked or "starting_after" in self.wire.sent()

    def mend(self) -> None:
        self.wire.faults = []
        self.gateway.page = None
        if self.wire._server is None:
            self.wire.up()

    def left(self) -> tuple[set[str], str]:
        return self.wire.sent(), self.wire.everything()


@cache
def gateway_address() -> str:
    """One localstripe for all tests of this process; emptied before each."""
    return exits.enter_context(stripe_gateway.localstripe())


exits = ExitStack()
atexit.register(exits.close)


@contextmanager
def stripe_rig(patch: pytest.MonkeyPatch) -> Iterator[StripeRig]:
    gateway = stripe_gateway.Gateway(gateway_address())
    stripe_gateway.empty(gateway.address)
    with listening(gateway.wire()) as wire:
        patch.setenv("RESOCODE_STRIPE_KEY", stripe_gateway.KEY)
        patch.setenv("RESOCODE_STRIPE_API", wire.address)
        yield StripeRig(wire, gateway)


@dataclass
class MongoRig:
    """pymongo, its wire, and a server that keeps documents."""

    server: MongoServer
    name: str = "MongoDB Atlas"
    faults: tuple[str, ...] = ("refused", *MONGO_FAULTS)
    secret: str = "no password on this server"
    asked: int = 0

    @property
    def sent(self) -> frozenset[str]:
        return mongodb.declared(mapping())

    def processor(self) -> Processor:
        return configured(self.name)

    def put(self, who: str) -> None:
        key, enrollment = KNOWN[who], f"e-{KNOWN[who]}"
        insert = {
            "users": {"_id": key, "email": email_of(who), "name": f"{who.title()} Example", "role": "student"},
            "enrollments": {"_id": enrollment, "student": key},
            "progress": {"_id": f"x-{who}", "enrollment": enrollment, "score": 3},
            "leads": {"_id": f"l-{who}", "email": email_of(who).upper(), "name": who},
            "payments": {"_id": f"y-{who}", "student": key, "amount": 100},
        }
        for collection, document in insert.items():
            self.server.db[collection].insert_one(document)

    def holds(self, who: str) -> bool:
        return any(
            self._names(each, who)
            for name in self.server.db.list_collection_names()
            for each in self.server.db[name].find()
        )

    def _names(self, document: object, who: str) -> bool:
        told = json.dumps(document, default=str)
        ids = (KNOWN[who], *(f"e{each}-{KNOWN[who]}" for each in ("", 1, 2)), email_of(who), email_of(who).upper())
        return any(f'"{each}"' in told for each in ids)

    def put_more(self, who: str) -> None:
        for number in (1, 2):
            self.server.db["enrollments"].insert_one({"_id": f"e{number}-{KNOWN[who]}", "student": KNOWN[who]})
            self.server.db["progress"].insert_one({"_id": f"x{number}-{who}", "enrollment": f"e{number}-{KNOWN[who]}"})

    def take_away(self, who: str) -> None:
        for name in ("users", "enrollments", "progress", "leads", "payments"):
            ours = [each["_id"] for each in self.server.db[name].find() if self._names(each, who)]
            self.server.db[name].delete_many({"_id": {"$in": ours}})

    def breaks(self, *faults: str, reading: bool = False) -> None:
        self.server.commands.clear()
        self.asked = 0
        if "refused" in faults:
            self.server.down()
        elif "partial page" in faults:
            self.server.page = 1
        elif fault := MONGO_FAULTS.get(faults[0]):
            for command in ("aggregate", "find") if reading else ("delete", "update"):
                self.server.fail(command, fault, times=99 if reading else 1)
            self.asked = sum(each.times for each in self.server.faults)

    def met(self) -> bool:
        return sum(each.times for each in self.server.faults) < self.asked or bool(self.server.of("getMore"))

    def mend(self) -> None:
        self.server.heal()
        self.server.page = FIRST_BATCH
        self.server.up()

    def left(self) -> tuple[set[str], str]:
        return self.server.names_sent(), str(self.server.commands)


@contextmanager
def mongo_rig(patch: pytest.MonkeyPatch) -> Iterator[MongoRig]:
    patch.setattr(mongodb_client, "SECONDS", 0.06)
    patch.setattr(
        pymongo.common, "MIN_HEARTBEAT_INTERVAL", 0.02
    )  # how long its library waits for a server that is down
    with MongoServer() as server:
        patch.setenv("RESOCODE_MONGODB_URI", server.uri)
        yield MongoRig(server)


@contextmanager
def real_mongo_rig(patch: pytest.MonkeyPatch) -> Iterator[MongoRig]:
    """The same wire, where it breaks as the tests say, before the server of ``MONGODB_TEST_URI``: it keeps and searches the documents,
    in a database of its own that goes in the end."""
    patch.setattr(mongodb_client, "SECONDS", 0.25)
    patch.setattr(pymongo.common, "MIN_HEARTBEAT_INTERVAL", 0.02)
    client, name = pymongo.MongoClient[Any](os.environ[REAL]), f"resocode_test_{secrets.token_hex(4)}"
    try:
        with MongoServer(database=name, client=client) as server:
            patch.setenv("RESOCODE_MONGODB_URI", server.uri)
            yield MongoRig(server)
    finally:
        client.drop_database(name)
        client.close()


RIGS: dict[str, Callable[[pytest.MonkeyPatch], AbstractContextManager[Rig]]] = {
    "Cloudinary": cloudinary_rig,
    "payment gateway": stripe_rig,
    "MongoDB Atlas": mongo_rig,
}
REAL_RIGS: dict[str, Callable[[pytest.MonkeyPatch], AbstractContextManager[Rig]]] = (
    {"MongoDB, a real server": real_mongo_rig} if os.environ.get(REAL) else {}
)
