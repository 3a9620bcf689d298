"""localstripe behind a wire: a payment gateway that speaks Stripe's API, completed where it falls short of the real one.

Completed here: asking for a deleted customer gives ``deleted: true`` (localstripe: 404), and redaction jobs, which localstripe
does not have and which are written from Stripe's documentation: they become ready, run, and succeed, one look at a time.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from tests.doubles.wire import Answer, Wire

KEY = "sk_test_s3cret0of0stripe"
WEB = httpx.Client(verify=False, trust_env=False)
NEXT = {"created": "validating", "validating": "ready", "redacting": "succeeded"}


@dataclass
class Gateway:
    """``deleted`` customers, and redaction jobs by their id."""

    address: str
    deleted: set[str] = field(default_factory=set)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def post(self, path: str, **values: Any) -> dict[str, Any]:
        """Make something there, past the wire."""
        answer = WEB.post(self.address + path, data=values, auth=(KEY, ""))
        answer.raise_for_status()
        return dict(answer.json())

    def customers(self) -> list[dict[str, Any]]:
        """Every customer there is, read past the wire."""
        found = WEB.get(f"{self.address}/v1/customers?limit=100000", auth=(KEY, "")).json()["data"]
        return [dict(each) for each in found]

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Pass a request on, or answer what localstripe cannot."""
        parts = urlsplit(path).path.strip("/").split("/")
        if parts[:2] == ["v1", "privacy"]:
            return self._redaction(method, parts[3:], dict(parse_qsl(body.decode())))
        if method == "GET" and parts[:2] == ["v1", "customers"] and len(parts) == 3 and parts[2] in self.deleted:
            return _json({"id": parts[2], "object": "customer", "deleted": True})
        kept = {name: value for name, value in headers.items() if name.lower() in ("authorization", "content-type", "idempotency-key")}  # fmt: skip
        passed = WEB.request(method, self.address + path, headers=kept, content=body)
        if method == "DELETE" and parts[:2] == ["v1", "customers"] and passed.status_code == 200:
            self.deleted.add(parts[2])
        return passed.status_code, {"content-type": "application/json"}, passed.content

    def pretend(self, method: str, path: str, body: bytes) -> Answer:
        """Answer as if it were done, and do nothing."""
        return _json({"id": urlsplit(path).path.rpartition("/")[2], "object": "customer", "deleted": True})

    def wire(self) -> Wire:
        """The wire to it."""
        return Wire(self.answer, self.pretend)

    def _redaction(self, method: str, rest: list[str], given: Mapping[str, str]) -> Answer:
        if method == "POST" and not rest:
            job = {"id": f"prj_{len(self.jobs)}", "object": "privacy.redaction_job", "status": "created",
                   "objects": {"customers": [given["objects[customers][0]"]]}}  # fmt: skip
            self.jobs[str(job["id"])] = job
            return _json(job)
        if method == "POST":
            self.jobs[rest[0]]["status"] = "redacting"
            return _json(self.jobs[rest[0]])
        told = [dict(job) for job in self.jobs.values()]
        for job in self.jobs.values():
            job["status"] = NEXT.get(job["status"], job["status"])
        return _json({"object": "list", "data": told, "has_more": False})


def _json(told: object) -> Answer:
    return 200, {"content-type": "application/json"}, json.dumps(told).encode()


@contextmanager
def localstripe() -> Iterator[str]:
    """A server of its own, from scratch; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "localstripe", "--port", str(port), "--from-scratch"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                WEB.get(address + "/v1/customers", auth=(KEY, ""))
                break
            except httpx.HTTPError:
                assert server.poll() is None, "localstripe ended"
                time.sleep(0.05)
        yield address
    finally:
        server.terminate()
        server.wait(10)


def empty(address: str) -> None:
    """Forget everything."""
    WEB.delete(f"{address}/_config/data")
