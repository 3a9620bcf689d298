"""A wire to a third party over HTTP: everything that passes is written down, and it breaks as the test says.

Behind it stands a double that keeps state (cloudinary_server), or a real server (localstripe). A fault is used up by the request
that meets it. "refused" closes the port, so that it is refused by the system itself.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, Mapping[str, str], bytes]
Backend = Callable[[str, str, Mapping[str, str], bytes], Answer]
FAULTS = (
    "refused", "hanging", "429", "500", "503 with Retry-After", "200 with an error body", "200 that is no JSON", "200 and still there",
    "cut in the middle", "401", "executed, then dropped", "dropped before",
)  # fmt: skip
CHANGING = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Seen:
    """A request as it left: ``names`` are its parameters in query, form or JSON."""

    method: str
    path: str
    names: frozenset[str]
    raw: str


@dataclass
class Wire:
    """``faults`` meet requests in their order; with ``changes_only`` those that change something. ``chance`` says
    by a request's method what goes wrong, or "", once there are none."""

    backend: Backend
    pretend: Callable[[str, str, bytes], Answer]
    faults: list[str] = field(default_factory=list)
    changes_only: bool = True
    seen: list[Seen] = field(default_factory=list)
    retry_after: str = "120"
    chance: Callable[[str], str] | None = None
    port: int = 0
    _server: "ThreadingHTTPServer | None" = None
    _released: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> "Wire":
        """Listen, on the same port as before."""
        wire = self

        class Handler(_Handler):
            owner = wire

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._released.clear()
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def down(self) -> None:
        """Listen no more: whoever calls is refused."""
        self._released.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def sent(self) -> set[str]:
        """The names of all parameters that ever left."""
        return {name for each in self.seen for name in each.names}

    def repeated(self, method: str) -> bool:
        """Whether a request of this method was made twice with the same words."""
        made = [(each.path, each.raw) for each in self.seen if each.method == method]
        return len(set(made)) < len(made)

    def everything(self) -> str:
        """All that ever left, as text."""
        return "\n".join(f"{each.method} {each.path} {each.raw}" for each in self.seen)


class _Handler(BaseHTTPRequestHandler):
    owner: Wire

    def _do(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        wire = self.owner
        wire.seen.append(Seen(self.command, urlsplit(self.path).path, frozenset(_names(self.path, body)), self.path + " " + body.decode(errors="replace")))  # fmt: skip
        fault = ""
        if wire.faults and (not wire.changes_only or self.command in CHANGING):
            fault = wire.faults.pop(0)
        elif wire.chance:
            fault = wire.chance(self.command)
        if answer := self._broken(fault, body):
            self._send(*answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _do  # noqa: N815

    def _broken(self, fault: str, body: bytes) -> Answer | None:
        wire, json_header = self.owner, {"content-type": "application/json"}
        error = json.dumps({"error": {"message": "cleo@example.org sk_test_secret", "type": "api_error"}}).encode()
        if fault == "hanging":
            wire._released.wait(30)
            return None
        if fault == "dropped before":
            return self._drop()
        if fault in ("429", "503 with Retry-After"):
            return int(fault[:3]), json_header | {"retry-after": wire.retry_after}, error
        if fault in ("500", "401", "404"):
            return int(fault), json_header, error
        if fault == "200 with an error body":
            return 200, json_header, error
        if fault == "200 that is no JSON":
            return 200, {"content-type": "text/html"}, b"<html>cleo@example.org</html>"
        if fault == "200 and still there":
            return wire.pretend(self.command, self.path, body)
        answer = wire.backend(self.command, self.path, dict(self.headers.items()), body)
        if fault == "executed, then dropped":
            return self._drop()
        if fault == "cut in the middle":
            status, headers, whole = answer
            self._send(status, headers, whole[: max(1, len(whole) // 2)], length=len(whole) + 10)
            return self._drop()
        return answer

    def _send(self, status: int, headers: Mapping[str, str], body: bytes, length: int | None = None) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)

    def _drop(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


def _names(path: str, body: bytes) -> Iterator[str]:
    """The names of the parameters, in JSON with those of inner objects: ``metadata.student``."""
    yield from (name for name, _ in parse_qsl(urlsplit(path).query, keep_blank_values=True))
    if not body:
        return
    try:
        yield from _inner(json.loads(body))
    except ValueError:
        yield from (name for name, _ in parse_qsl(body.decode(errors="replace"), keep_blank_values=True))


def _inner(value: object, before: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield f"{before}{name}"
            yield from _inner(each, f"{before}{name}.")


@contextmanager
def listening(wire: Wire) -> Iterator[Wire]:
    """A wire that listens as long as it is used."""
    try:
        yield wire.up()
    finally:
        wire.down()
