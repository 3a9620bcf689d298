"""localstripe behind a wire: a payment gateway that speaks Stripe's API, completed where it falls short of the real one.

Completed here: asking for a deleted customer gives ``deleted: true`` (localstripe: 404), and redaction jobs, which localstripe
does not have and which are written from Stripe's reference of its API (a job is "validating" from the start; "objects" is null
unless it is asked for by "expand"; a preview version has to be named): they become ready, run, and succeed, one look at a time.
"""

import json
import re
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
NEXT = {"validating": "ready", "redacting": "succeeded"}


@dataclass
class Gateway:
    """``deleted`` customers, and redaction jobs by their id. ``page``: so many rows of a listing at once, whatever was asked for. ``refuses``: "failed", as what the
    check of a redaction job comes to."""

    address: str
    deleted: set[str] = field(default_factory=set)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    page: int | None = None
    refuses: str = ""

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
            given = dict(parse_qsl(body.decode() or urlsplit(path).query))
            version = next((value for name, value in headers.items() if name.lower() == "stripe-version"), "")
            return self._redaction(method, parts[3:], given, version)
        if method == "GET" and parts[:2] == ["v1", "customers"] and len(parts) == 3 and parts[2] in self.deleted:
            return _json({"id": parts[2], "object": "customer", "deleted": True})
        if method == "GET" and self.page and len(parts) == 2:
            path = re.sub(r"\blimit=\d+", f"limit={self.page}", path)
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

    def _redaction(self, method: str, rest: list[str], given: Mapping[str, str], version: str) -> Answer:
        if not version.endswith(".preview"):
            return _json({"error": {"type": "invalid_request_error", "message": "Unrecognized request URL"}}, 404)
        if method == "POST" and not rest:
            job = {"id": f"prj_{len(self.jobs)}", "object": "privacy.redaction_job", "status": "validating",
                   "validation_behavior": given.get("validation_behavior", "error"),
                   "objects": {"customers": [given["objects[customers][0]"]]}}  # fmt: skip
            self.jobs[str(job["id"])] = job
            return _json({**job, "objects": None})
        if method == "POST":
            if self.jobs[rest[0]]["status"] != "ready":
                return _json({"error": {"type": "invalid_request_error", "message": "not ready"}}, 400)
            self.jobs[rest[0]]["status"] = "redacting"
            return _json({**self.jobs[rest[0]], "objects": None})
        shown = "data.objects" in given.values()
        told = [{**job, "objects": job["objects"] if shown else None} for job in self.jobs.values()]
        first = next((at + 1 for at, job in enumerate(told) if job["id"] == given.get("starting_after")), 0)
        page = told[first : first + (self.page or int(given.get("limit", "10")))]
        for job in self.jobs.values():
            job["status"] = (
                self.refuses
                if job["status"] == "validating" and self.refuses
                else NEXT.get(job["status"], job["status"])
            )
        return _json(
            {
                "object": "list",
                "data": page,
                "has_more": first + len(page) < len(told),
                "url": "/v1/privacy/redaction_jobs",
            }
        )


def _json(told: object, status: int = 200) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(told).encode()


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
