"""A MongoDB server for tests: a double. It speaks the wire protocol (OP_MSG, and OP_QUERY for the first hello) to a real
pymongo over a real socket, and keeps its documents in mongomock.

Behind the same wire can stand a real server: ``client`` is then a pymongo client of it, and the faults stay what they are.

The double is not MongoDB: no authentication, no TLS, no transactions, no change streams, one "replica set member" that is always primary,
and the operators that mongomock knows. What the product needs to be true of a real server is in
tests/core/processors/test_mongodb.py and tests/core/importers/test_mongodb.py, which run against one when ``MONGODB_TEST_URI`` is set.

Faults are asked for by command and are used up as they happen::

    server.fail("delete", DROP_AFTER)           # done, and then the line is cut: the caller cannot know
    server.fail("getMore", CURSOR_LOST)
    server.fail("find", HANG, times=2)          # no answer until the caller gives up
    server.fail("update", Error(13, "Unauthorized"))

``commands`` is the log of everything that came in, as it came: what leaves the product can be compared with what it declares.
``python -m tests.doubles.mongo_server`` serves until its standard input ends, and prints its address first.
"""

import copy
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import bson
import mongomock
from bson import Int64
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
MORE_TO_COME, CHECKSUM = 2, 1
FIRST_BATCH, LARGEST_BATCH = 101, 8 << 20
COUNTED = {"$group": {"_id": 1, "n": {"$sum": 1}}}
CODECS: CodecOptions[dict[str, Any]] = CodecOptions()


@dataclass(frozen=True)
class Error:
    """A command that the server refuses: ``ok: 0`` with a code."""

    code: int
    name: str
    message: str = "refused by the double"


@dataclass(frozen=True)
class Behavior:
    """Something else than an answer."""

    name: str


DROP_BEFORE = Behavior("the line is cut before it is done")
DROP_AFTER = Behavior("done, then the line is cut")
HANG = Behavior("no answer")
PRETEND = Behavior("says it is done, and does nothing")
WRITE_ERROR = Behavior("ok: 1 with an error in the body")
CONCERN_ERROR = Behavior("done on this member only: ok: 1 with an error of the write concern")
CUT = Behavior("done, and half of the answer")
GARBAGE = Behavior("done, and an answer that is no document")
NOT_PRIMARY = Error(10107, "NotWritablePrimary", "not primary")
CURSOR_LOST = Error(43, "CursorNotFound", "cursor not found")
UNAUTHORIZED = Error(13, "Unauthorized")
BUSY = Error(16500, "TooManyRequests")


@dataclass
class Fault:
    """What happens to the next ``times`` commands of a name (on one collection, if it is given), after ``after`` good ones."""

    command: str
    what: Error | Behavior
    collection: str | None = None
    times: int = 1
    after: int = 0


class Dropped(Exception):
    """The line is cut."""


class Broken(Exception):
    """Bytes leave that are no answer; ``cut``: and then the line is cut."""

    def __init__(self, message: bytes, *, cut: bool) -> None:
        super().__init__()
        self.message, self.cut = message, cut


@dataclass
class MongoServer:
    """The double. ``with MongoServer() as server: pymongo.MongoClient(server.uri)``."""

    database: str = "platform"
    client: Any = field(default_factory=mongomock.MongoClient)
    commands: list[dict[str, Any]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    page: int = FIRST_BATCH
    _cursors: dict[int, tuple[str, Iterator[Any]]] = field(default_factory=dict)
    _done: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _released: threading.Event = field(default_factory=threading.Event)
    _server: Any = None
    _lines: set[Any] = field(default_factory=set)

    def __enter__(self) -> "MongoServer":
        self.port = 0
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self) -> None:
        """Listen; at the same address as before."""
        if self._server is not None:
            return
        double = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                double._lines.add(self.request)
                with suppress(Dropped, OSError, struct.error):
                    double._serve(self.request)
                double._lines.discard(self.request)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            block_on_close = False

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=[0.02], daemon=True).start()

    def down(self) -> None:
        """Hear nobody any more, and cut every line."""
        if self._server is None:
            return
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        for line in list(self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        self._server = None

    @property
    def uri(self) -> str:
        """The address, as a real one would be configured."""
        return f"mongodb://127.0.0.1:{self.port}/{self.database}?directConnection=true"

    @property
    def db(self) -> Any:
        """The documents themselves, around the wire."""
        return self.client[self.database]

    def fail(
        self, command: str, what: Error | Behavior, *, collection: str | None = None, times: int = 1, after: int = 0
    ) -> None:
        """Let something go wrong."""
        self.faults.append(Fault(command, what, collection, times, after))

    def heal(self) -> None:
        """Forget all faults, and let go whoever hangs."""
        self.faults.clear()
        self._released.set()
        self._released = threading.Event()

    def of(self, *names: str) -> list[dict[str, Any]]:
        """The commands of these names that came in."""
        return [each for each in self.commands if next(iter(each)) in names]

    def names_sent(self) -> set[str]:
        """The name of every field in every command that came in: in filters, projections, pipelines and changes."""
        parts: list[Any] = []
        for each in self.commands:
            parts += [
                each.get("filter"),
                each.get("query"),
                each.get("projection"),
                each.get("pipeline", [COUNTED])[0].get("$match"),
            ]
            parts += [
                part
                for change in (*each.get("updates", ()), *each.get("deletes", ()))
                for part in (change["q"], change.get("u"))
            ]
        return {name for part in parts for name in _names(part) if not name.startswith("$")}

    # -- the wire ---------------------------------------------------------------------------------------------------------

    def _serve(self, line: Any) -> None:
        while self._server is not None:
            length, request, _, code = struct.unpack("<iiii", _exactly(line, 16))
            payload = _exactly(line, length - 16)
            if code == OP_QUERY:
                end = payload.index(b"\0", 4)
                body = bson.decode(payload[end + 9 :], CODECS)
                answer = bson.encode(self._answer(body))
                message = struct.pack("<iqii", 8, 0, 0, 1) + answer
                line.sendall(struct.pack("<iiii", 16 + len(message), 0, request, OP_REPLY) + message)
                continue
            flags, body = _parsed(payload)
            try:
                answered = self._answer(body)
            except Broken as broken:
                whole = struct.pack("<iiii", 16 + len(broken.message), 0, request, OP_MSG) + broken.message
                line.sendall(whole[: len(whole) // 2] if broken.cut else whole)
                if broken.cut:
                    raise Dropped from None
                continue
            if not flags & MORE_TO_COME:
                message = struct.pack("<IB", 0, 0) + bson.encode(answered)
                line.sendall(struct.pack("<iiii", 16 + len(message), 0, request, OP_MSG) + message)

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(body))
        if name.lower() in ("hello", "ismaster"):
            return self._hello()
        with self._lock:
            self.commands.append(copy.deepcopy(body))  # mongomock takes things out of what it is given
            fault = self._fault(name, body)
        if isinstance(fault, Error):
            return {"ok": 0.0, "code": fault.code, "codeName": fault.name, "errmsg": fault.message}
        if fault is DROP_BEFORE:
            raise Dropped
        if fault is HANG:
            self._released.wait()
            raise Dropped
        if fault is PRETEND:
            return {"ok": 1.0, "n": 1, "nModified": 1}
        if fault is WRITE_ERROR:
            return {
                "ok": 1.0,
                "n": 0,
                "writeErrors": [{"index": 0, "code": 121, "errmsg": "Document failed validation"}],
            }
        with self._lock:
            answer = self._run_once(name, body)
        if fault is DROP_AFTER:
            raise Dropped
        if fault is CUT:
            raise Broken(struct.pack("<IB", 0, 0) + bson.encode(answer), cut=True)
        if fault is GARBAGE:
            raise Broken(struct.pack("<IB", 0, 0) + struct.pack("<i", 40) + b"\x7f" * 35 + b"\0", cut=False)
        if fault is CONCERN_ERROR:
            answer["writeConcernError"] = {
                "code": 64,
                "codeName": "WriteConcernTimeout",
                "errmsg": "waiting for replication timed out",
            }
        return answer

    def _fault(self, name: str, body: dict[str, Any]) -> Error | Behavior | None:
        collection = body.get("collection", body[name])
        for fault in self.faults:
            if fault.command == name and fault.collection in (None, collection):
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault.what
        return None

    def _hello(self) -> dict[str, Any]:
        me = f"127.0.0.1:{self.port}"
        return {
            "ok": 1.0, "helloOk": True, "isWritablePrimary": True, "ismaster": True, "setName": "double", "setVersion": 1,
            "hosts": [me], "primary": me, "me": me, "minWireVersion": 0, "maxWireVersion": 21, "maxBsonObjectSize": 16 << 20,
            "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "logicalSessionTimeoutMinutes": 30,
        }  # fmt: skip

    # -- commands -----------------------------------------------------------------------------------------------------------

    def _run_once(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """A retryable write that came before is answered again, not done again."""
        key = (name, str(body.get("lsid")), body["txnNumber"]) if "txnNumber" in body else None
        if key and key in self._done:
            return dict(self._done[key])
        run: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, f"_do_{name}", None)
        if run is None:
            return {"ok": 0.0, "code": 59, "codeName": "CommandNotFound", "errmsg": f"no such command: '{name}'"}
        try:
            answer = {**run(body), "ok": 1.0}
        except mongomock.OperationFailure as error:
            answer = {"ok": 0.0, "code": error.code or 2, "codeName": "BadValue", "errmsg": str(error)}
        except NotImplementedError as error:
            answer = {"ok": 0.0, "code": 238, "codeName": "NotImplemented", "errmsg": str(error)}
        if key:
            self._done[key] = dict(answer)
        return answer

    def _of(self, body: dict[str, Any], name: str) -> Any:
        return self.client[body["$db"]][body[name]]

    def _do_ping(self, _body: dict[str, Any]) -> dict[str, Any]:
        return {}

    _do_endSessions = _do_ping  # noqa: N815 - as the protocol calls it

    def _do_killCursors(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        for each in body["cursors"]:
            self._cursors.pop(each, None)
        return {"cursorsKilled": body["cursors"]}

    def _do_listCollections(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        names = [{"name": each, "type": "collection"} for each in self.client[body["$db"]].list_collection_names()]
        return self._first(f"{body['$db']}.$cmd.listCollections", iter(names), len(names) + 1)

    def _do_find(self, body: dict[str, Any]) -> dict[str, Any]:
        found = self._of(body, "find").find(body.get("filter") or {}, body.get("projection") or None)
        if order := body.get("sort"):
            found = found.sort(list(order.items()))
        found = found.skip(body.get("skip", 0))
        if limit := body.get("limit"):
            found = found.limit(abs(limit))
        size = (
            abs(limit)
            if limit and (limit < 0 or body.get("singleBatch"))
            else min(body.get("batchSize", FIRST_BATCH), self.page)
        )
        return self._first(f"{body['$db']}.{body['find']}", iter(found), size)

    def _do_aggregate(self, body: dict[str, Any]) -> dict[str, Any]:
        match = body["pipeline"][0].get("$match")
        if match is not None and body["pipeline"][1:] == [
            COUNTED
        ]:  # what count_documents asks; mongomock copies every row
            many = self._of(body, "aggregate").count_documents(match)
            return self._first(f"{body['$db']}.{body['aggregate']}", iter([{"_id": 1, "n": many}] if many else []), 2)
        found = self._of(body, "aggregate").aggregate(list(body["pipeline"]))
        return self._first(
            f"{body['$db']}.{body['aggregate']}", iter(found), body["cursor"].get("batchSize", FIRST_BATCH)
        )

    def _do_count(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"n": self._of(body, "count").count_documents(body.get("query") or {})}

    def _do_getMore(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if body["getMore"] not in self._cursors:
            raise mongomock.OperationFailure("cursor not found", 43)
        place, rest = self._cursors[body["getMore"]]
        batch, more = _some(rest, body.get("batchSize", 1 << 30))
        if not more:
            del self._cursors[body["getMore"]]
        return {"cursor": {"id": Int64(body["getMore"] if more else 0), "ns": place, "nextBatch": batch}}

    def _first(self, place: str, found: Iterator[Any], size: int) -> dict[str, Any]:
        batch, more = _some(found, size)
        number = 0
        if more:
            number = max(self._cursors, default=0) + 1
            self._cursors[number] = (place, found)
        return {"cursor": {"id": Int64(number), "ns": place, "firstBatch": batch}}

    def _do_insert(self, body: dict[str, Any]) -> dict[str, Any]:
        errors = []
        for place, document in enumerate(body["documents"]):
            try:
                self._of(body, "insert").insert_one(document)
            except mongomock.DuplicateKeyError as error:
                errors.append({"index": place, "code": 11000, "errmsg": str(error)})
        return {"n": len(body["documents"]) - len(errors)} | ({"writeErrors": errors} if errors else {})

    def _do_update(self, body: dict[str, Any]) -> dict[str, Any]:
        matched = modified = 0
        for each in body["updates"]:
            act = "update_many" if each.get("multi") else "update_one" if _is_update(each["u"]) else "replace_one"
            done = getattr(self._of(body, "update"), act)(each["q"], each["u"], upsert=each.get("upsert", False))
            matched, modified = matched + done.matched_count, modified + done.modified_count
        return {"n": matched, "nModified": modified}

    def _do_delete(self, body: dict[str, Any]) -> dict[str, Any]:
        gone = 0
        for each in body["deletes"]:
            act = "delete_one" if each.get("limit") else "delete_many"
            gone += getattr(self._of(body, "delete"), act)(each["q"]).deleted_count
        return {"n": gone}

    def _do_dropDatabase(self, body: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.client.drop_database(body["$db"])
        return {}

    def _do_drop(self, body: dict[str, Any]) -> dict[str, Any]:
        self.client[body["$db"]].drop_collection(body["drop"])
        return {}


def _some(found: Iterator[Any], size: int) -> tuple[list[Any], bool]:
    """The next documents, as bytes that need no second encoding; whether there may be more."""
    batch, weight = [], 0
    for document in found:
        raw = RawBSONDocument(bson.encode(document))
        batch.append(raw)
        weight += len(raw.raw)
        if len(batch) >= size or weight >= LARGEST_BATCH:
            return batch, True
    return batch, False


def _names(part: Any) -> set[str]:
    if isinstance(part, dict):
        return set(part) | {name for value in part.values() for name in _names(value)}
    return {name for each in part for name in _names(each)} if isinstance(part, list) else set()


def _is_update(change: Any) -> bool:
    return isinstance(change, dict) and next(iter(change), "").startswith("$")


def _exactly(line: Any, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = line.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise Dropped
        parts += part
    return bytes(parts)


def _parsed(payload: bytes) -> tuple[int, dict[str, Any]]:
    (flags,) = struct.unpack_from("<I", payload)
    end, place = len(payload) - (4 if flags & CHECKSUM else 0), 4
    body: dict[str, Any] = {}
    while place < end:
        kind, (size,) = payload[place], struct.unpack_from("<i", payload, place + 1)
        part, place = payload[place + 1 : place + 1 + size], place + 1 + size
        if kind == 0:
            body |= bson.decode(part, CODECS)
        else:
            name, _, rest = part[4:].partition(b"\0")
            body[name.decode()] = list(bson.decode_iter(rest, CODECS))
    return flags, body


if __name__ == "__main__":
    with MongoServer() as server:
        print(server.uri, flush=True)
        sys.stdin.read()
