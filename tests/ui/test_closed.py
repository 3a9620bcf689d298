"""While the database is behind the erasure ledger, nothing is open: neither the page, nor the sign-in, nor a tab that is open."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from streamlit.testing.v1 import AppTest

from core import db
from core.privacy import ledger, restore
from core.settings import ROOT
from tests.cast import NOW
from tests.conftest import sign_in
from tests.core.privacy.house_of_requests import waiting
from ui import closed
from ui.gate import ROUTES, Gate

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture
def behind(house: str) -> Iterator[None]:
    """A database that would go on with a deletion that was canceled."""
    ledger.cancel(request_id=waiting().request_id, now=NOW)
    closed.forget()
    yield
    closed.forget()


def get(path: str) -> tuple[int, str, dict[str, str]]:
    """Ask the gate for an address, as the server does: status, text, headers."""
    page = Route("/{path:path}", lambda _request: PlainTextResponse("the page"))
    app = Starlette(routes=[*ROUTES, page], middleware=[Middleware(Gate)])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
             "http_version": "1.1", "scheme": "http", "server": ("x", 80), "client": ("x", 1), "root_path": ""}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:]).decode(), headers


@pytest.mark.usefixtures("behind")
def test_every_address_says_so_until_the_ledger_is_replayed() -> None:
    for path in ("/", "/requests", "/_stcore/health", "/files/x"):
        status, told, headers = get(path)
        assert (status, closed.HEADING in told, "Traceback" in told) == (503, True, False)
        assert headers["cache-control"] == "no-store"
    assert get("/healthz")[:2] == (503, "restore-check\n")
    with db.transaction("worker") as session:
        restore.replay(session, now=NOW)
    closed.forget()
    assert (get("/")[1], get("/healthz")[1]) == ("the page", "ok\n")


def test_a_tab_that_is_open_closes_with_its_next_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed, "SECONDS", 3600.0)  # a slow machine takes longer than ten seconds for a click
    made, _ = sign_in("omar")
    app = AppTest.from_file(str(ROOT / "ui" / "shell.py"), default_timeout=60)
    app.session_state["token"] = made.token
    closed.forget()
    assert app.run().title[0].value == "Today"
    ledger.cancel(request_id=waiting().request_id, now=NOW)
    assert app.run().title, "not asked at every click"
    closed.forget()
    app.run()
    assert not app.title and closed.HEADING in app.subheader[0].value
    closed.forget()
