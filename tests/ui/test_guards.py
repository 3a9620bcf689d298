"""A tab belongs to the browser that holds its cookie: the session id of a websocket alone opens nothing."""

from types import SimpleNamespace

import pytest
import streamlit as st

from core import db, privacy_actions
from tests.conftest import sign_in
from ui import guards
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture
def tab(monkeypatch: pytest.MonkeyPatch):
    """A tab whose server-side state and handshake the test can set: (state, connect)."""
    state: dict[str, object] = {}
    monkeypatch.setattr(st, "session_state", state)

    def connect(key: str, cookie: str | None = None) -> None:
        cookies = {guards.cookie_name(): cookie} if cookie else {}
        monkeypatch.setattr(st, "context", SimpleNamespace(cookies=cookies, headers={"sec-websocket-key": key}))

    return state, connect


def redeemed(ticket: str) -> str:
    with db.transaction() as session:
        cookie = privacy_actions.redeem_ticket(session, ticket=ticket, now=now())
    assert cookie
    return cookie


def test_the_connection_of_the_sign_in_is_trusted(tab) -> None:
    _, connect = tab
    made, _ = sign_in("paula")
    connect("first")
    guards.remember(made.token, made.ticket)
    assert guards.signed_in()


def test_a_reconnection_needs_the_cookie(tab) -> None:
    state, connect = tab
    made, _ = sign_in("paula")
    connect("first")
    guards.remember(made.token, made.ticket)
    cookie = redeemed(made.ticket)
    connect("second", cookie)
    assert guards.signed_in()
    connect("third")
    assert guards.signed_in() is None, "the id of the tab without its cookie"
    assert "token" not in state


def test_the_cookie_of_somebody_else_does_not_open_the_tab(tab) -> None:
    state, connect = tab
    made, _ = sign_in("paula")
    other, _ = sign_in("ines")
    connect("first")
    guards.remember(made.token)
    connect("second", redeemed(other.ticket))
    found = guards.signed_in()
    assert found is None or found.role == "instructor"
    assert state.get("token") != made.token


def test_a_cookie_alone_opens_a_new_tab_as_its_owner(tab) -> None:
    _, connect = tab
    made, staff = sign_in("paula")
    connect("new", redeemed(made.ticket))
    found = guards.signed_in()
    assert found is not None and found.id == staff.id


def test_losing_the_session_empties_the_tab(tab) -> None:
    state, connect = tab
    made, staff = sign_in("paula")
    connect("first")
    guards.remember(made.token)
    state["revealed_student"] = "somebody"
    with db.transaction() as session:
        privacy_actions.sign_out(session, by=staff, now=now())
    assert guards.signed_in() is None
    assert set(state) == {"notice"}
