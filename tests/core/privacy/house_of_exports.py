"""What the tests of exports share: a request whose file the worker made, and that file, opened and read."""

import csv
import io
import json
import zipfile
from datetime import datetime, timedelta
from typing import Any

from core import db
from core.jobs import JOBS
from core.privacy import artifacts
from core.privacy_actions import Filed
from core.worker import Outcome, Worker
from tests.cast import NOW
from tests.core.privacy import house_of_requests as requests

EXPORTS = tuple(job for job in JOBS if job.kind == "exports")


def work(*, now: datetime = NOW) -> list[Outcome]:
    """Let a worker do what is due of the exports."""
    return Worker(clock=lambda: now, jobs=EXPORTS, name="exports").catch_up()


def ready(kind: str = "export", *, now: datetime = NOW, **more: Any) -> Filed:
    """A request with a confirmed identity whose file is made; by default about Cleo."""
    filed = requests.verified(kind, **more)
    work(now=now)
    assert export(filed)["state"] == "ready", export(filed)
    return filed


def export(filed: Filed) -> dict[str, Any]:
    """How far the file of a request is."""
    with db.transaction("worker") as session:
        from sqlalchemy import text

        found = session.execute(text("select * from privacy.export where request_id = :id"), {"id": filed.request_id})
        return dict(found.one()._mapping)


def content(filed: Filed, *, now: datetime = NOW) -> bytes:
    """The whole file."""
    with db.transaction("worker") as session:
        return b"".join(artifacts.read(session, export(filed)["artifact_id"], now=now))


def unzipped(content: bytes) -> dict[str, bytes]:
    """The files of a ZIP by name; it is whole."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def data(files: dict[str, bytes]) -> dict[str, Any]:
    """What ``data.json`` holds."""
    return dict(json.loads(files["data.json"]))


def table(content: bytes) -> list[dict[str, str]]:
    """A CSV as rows by column."""
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


__all__ = ["EXPORTS", "content", "data", "export", "ready", "table", "timedelta", "unzipped", "work"]
