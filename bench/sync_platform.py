"""The double with a crowd of documents that are encoded already, sorted by date of change: as an index would hand them out.

python -m bench.sync_platform 100000     prints its address, and serves until its standard input ends
"""

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from tests.doubles.mongo_server import MongoServer
from tests.doubles.platform import HASH, oid, school

SHARES = {"users": 0.2, "enrollments": 0.25, "progress": 0.45, "submissions": 0.1}
START = datetime(2026, 1, 1, tzinfo=UTC)


class Crowd(MongoServer):
    """Documents by collection, as (date of change, id) and bytes."""

    def fill(self, many: int) -> None:
        """Make so many."""
        school(self.db)
        self.keys: dict[str, list[tuple[datetime, ObjectId]]] = {}
        self.bodies: dict[str, list[RawBSONDocument]] = {}
        sizes = {name: int(many * share) for name, share in SHARES.items()}
        for name, size in sizes.items():
            self.keys[name], self.bodies[name] = [], []
            for number in range(size):
                document = {
                    "_id": ident(name, number),
                    **MAKERS[name](number, sizes),
                    "updatedAt": START + timedelta(seconds=number),
                }
                self.keys[name].append((document["updatedAt"].replace(tzinfo=None), document["_id"]))
                self.bodies[name].append(RawBSONDocument(bson.encode(document)))

    def _do_find(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["find"]
        if name not in self.keys:
            return super()._do_find(body)
        return self._first(f"{body['$db']}.{name}", self._behind(name, body["filter"]), body.get("batchSize", 101))

    def _behind(self, name: str, wanted: dict[str, Any]) -> Iterator[RawBSONDocument]:
        if "$or" in wanted:
            last = wanted["$or"][1]
            first = bisect_right(self.keys[name], (last["updatedAt"], last["_id"]["$gt"]))
        elif "updatedAt" in wanted and "$gte" in wanted["updatedAt"]:
            first = bisect_left(self.keys[name], (wanted["updatedAt"]["$gte"], ObjectId(b"\0" * 12)))
        else:
            return
        for place in range(first, len(self.keys[name])):
            yield self.bodies[name][place]


def ident(name: str, number: int) -> ObjectId:
    """The id of a document; in the order in which they were made, as ids of MongoDB are."""
    return ObjectId((list(SHARES).index(name) + 1).to_bytes(1) + number.to_bytes(11))


def user(number: int, _sizes: dict[str, int]) -> dict[str, Any]:
    """An account."""
    return {"name": f"Person Number {number}", "email": f"person{number}@crowd.example", "password": HASH, "role": "student", "status": "active",
            "profile": {"experienceLevel": "junior", "phone": f"+49 30 {number}", "headline": "Learns every day"}, "createdAt": START}  # fmt: skip


def enrollment(number: int, sizes: dict[str, int]) -> dict[str, Any]:
    """A place in one of two cohorts."""
    users = sizes["users"]
    return {
        "student": ident("users", number % users),
        "cohort": oid("data-1") if number < users else oid("data-2"),
        "enrolledAt": START,
    }


def progress(number: int, sizes: dict[str, int]) -> dict[str, Any]:
    """How far somebody is in one of two modules."""
    enrollments = sizes["enrollments"]
    return {"student": ident("users", number % sizes["users"]), "enrollment": ident("enrollments", number % enrollments),
            "module": oid("sql") if number < enrollments else oid("sql-2"), "status": "completed", "score": number % 100, "lastActiveAt": START}  # fmt: skip


def submission(number: int, sizes: dict[str, int]) -> dict[str, Any]:
    """Some work."""
    return {"student": ident("users", number % sizes["users"]), "enrollment": ident("enrollments", number % sizes["enrollments"]), "module": oid("sql"),
            "submittedAt": START, "status": "passed", "score": 81.5}  # fmt: skip


MAKERS = {"users": user, "enrollments": enrollment, "progress": progress, "submissions": submission}


if __name__ == "__main__":
    with Crowd() as server:
        server.fill(int(sys.argv[1]))
        server.db["cohorts"].insert_one({**server.db["cohorts"].find_one({}), "_id": oid("data-2"), "code": "DATA-2"})
        server.db["modules"].insert_one({**server.db["modules"].find_one({}), "_id": oid("sql-2"), "position": 2})
        print(server.uri, flush=True)
        sys.stdin.read()
