"""The platform's database for tests, and the sync with it, as the worker and the command line do it."""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pymongo
import pytest

from core import db
from core.importers import mongodb
from core.importers.mongodb import Done, Source
from tests.doubles.mongo_server import MongoServer
from tests.doubles.platform import NOW

REAL = "MONGODB_TEST_URI"
SERVERS = ["double", *(["real"] if os.environ.get(REAL) else [])]


@dataclass
class Platform:
    """The platform's database: ``db`` to look into it and write, ``server`` to let things go wrong (the double only)."""

    db: Any
    server: MongoServer | None


def on_server(kind: str, patch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """Start the double, or make a database of one's own on the real server, and point the product at it."""
    if kind == "double":
        with MongoServer() as server:
            patch.setenv("RESOCODE_MONGODB_URI", server.uri)
            yield Platform(server.db, server)
        return
    name, client = f"resocode_test_{secrets.token_hex(4)}", pymongo.MongoClient(os.environ[REAL], tz_aware=True)
    patch.setenv("RESOCODE_MONGODB_URI", os.environ[REAL])
    patch.setenv("RESOCODE_MONGODB_DATABASE", name)
    yield Platform(client[name], None)
    client.drop_database(name)


def sync(now: datetime = NOW, *, source: Source | None = None, **how: bool) -> Done:
    """Everything that is due, part by part, each in a transaction."""
    known, total = source or mongodb.source(), Done(more=True)
    while total.more:
        with db.transaction("worker") as session:
            total += mongodb.step(session, known, since=now, now=now, **how)
    return total


def later(minutes: float = 10) -> datetime:
    """Some minutes after everything began."""
    return NOW + timedelta(minutes=minutes)
