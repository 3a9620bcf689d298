"""A tab belongs to the browser that holds its cookie: the session id of a websocket alone opens nothing."""

from types import SimpleNamespace

import pytest
import streamlit as st
from sqlalchemy import Connection, text

from core import db, privacy_actions
from tests.conftest import sign_in
from ui import closed, guards, states
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


def test_one_run_asks_once_for_each_token_and_the_next_one_asks_again(tab, monkeypatch: pytest.MonkeyPatch) -> None:
    state, connect = tab
    paula, staff = sign_in("paula")
    ines, _ = sign_in("ines")
    connect("first")
    asked = []
    real = privacy_actions.live_session
    monkeypatch.setattr(privacy_actions, "live_session", lambda s, **a: (asked.append(a["secret"]), real(s, **a))[1])
    with guards.one_run():
        guards.remember(paula.token)
        assert guards.signed_in() == guards.signed_in() == guards.require("program_staff", what="Enrollments")
        assert asked == [paula.token]
        guards.remember(ines.token)
        found = guards.signed_in()
        assert found is not None and found.role == "instructor"
        guards.forget()
        assert guards.signed_in() is None
        guards.remember(paula.token)
    with db.transaction() as session:
        privacy_actions.sign_out(session, by=staff, now=now())
    with guards.one_run():
        assert guards.signed_in() is None, "what a run knew is nothing to the next"
    assert "token" not in state


class Rerun(BaseException):
    """The whole page runs."""


@pytest.fixture(params=[None, "3s"], ids=["touched", "moving"])
def drawn(request: pytest.FixtureRequest, tab, monkeypatch: pytest.MonkeyPatch):
    """A part of a page that was drawn for Paula, and a way to touch it: what it drew."""
    return _part("paula", tab, monkeypatch, every=request.param)


def _part(name: str, tab, monkeypatch: pytest.MonkeyPatch, *, every: str | None = None):
    _, connect = tab
    made, staff = sign_in(name)
    connect("first")
    guards.remember(made.token)
    shown: list[str] = []

    def rerun() -> None:
        raise Rerun

    monkeypatch.setattr(st, "fragment", lambda **_often: lambda draw: draw)  # it draws nothing outside of a run
    monkeypatch.setattr(st, "rerun", rerun)
    part = guards.part(staff, every=every)(shown.append)

    def touch() -> list[str]:
        shown.clear()
        part("names")
        return shown

    assert touch() == ["names"]
    return touch


@pytest.mark.parametrize(
    "change",
    [
        "update staff.session set ended_at = now(), end_reason = 'signed out'",
        "update staff.session set seen_at = now() - interval '16 minutes'",
        "update staff.session set expires_at = now() - interval '1 second', seen_at = now()",
        "update staff.staff_member set role = 'auditor' where email like 'paula@%'",
        "update staff.staff_member set role = 'admin' where email like 'paula@%'",  # who has to set up codes first
        "update staff.staff_member set disabled_at = now() where email like 'paula@%'",
    ],
)
def test_a_part_shows_nothing_to_whom_it_was_not_drawn_for(drawn, owner: Connection, change: str) -> None:
    assert owner.execute(text(change)).rowcount
    owner.commit()
    with pytest.raises(Rerun):
        drawn()


def test_a_part_shows_nothing_to_whom_one_time_codes_were_taken_from(
    tab, monkeypatch: pytest.MonkeyPatch, owner: Connection
) -> None:
    touch = _part("ada", tab, monkeypatch)
    taken = "update staff.staff_member set totp_since = null, totp_secret = null where email like 'ada@%'"
    assert owner.execute(text(taken)).rowcount
    owner.commit()
    with pytest.raises(Rerun):
        touch()


@pytest.mark.parametrize("name", ["ines", "paula"])
def test_a_part_shows_nothing_when_somebody_has_signed_in_since(drawn, name: str) -> None:
    """Nor to the same person in another session: what the part would do is recorded under its own."""
    made, _ = sign_in(name)
    guards.remember(made.token)
    with pytest.raises(Rerun):
        drawn()


def test_a_part_shows_nothing_to_another_browser(drawn, tab) -> None:
    tab[1]("second")
    with pytest.raises(Rerun):
        drawn()


def test_a_part_shows_nothing_while_the_dashboard_is_closed(drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed, "is_closed", lambda: True)
    with pytest.raises(Rerun):
        drawn()


def test_what_fails_in_a_part_is_told_as_on_a_page(tab, monkeypatch: pytest.MonkeyPatch) -> None:
    _, connect = tab
    made, staff = sign_in("paula")
    connect("first")
    guards.remember(made.token)
    told: list[Exception] = []
    monkeypatch.setattr(st, "fragment", lambda **_often: lambda draw: draw)
    monkeypatch.setattr(states, "failed", told.append)

    @guards.part(staff)
    def broken() -> None:
        raise ZeroDivisionError

    broken()
    assert [type(error) for error in told] == [ZeroDivisionError]


def test_what_moves_by_itself_is_no_sign_of_life(tab, owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    _, connect = tab
    made, staff = sign_in("paula")
    connect("first")
    guards.remember(made.token)
    monkeypatch.setattr(st, "fragment", lambda **_often: lambda draw: draw)
    shown: list[str] = []
    owner.execute(text("update staff.session set seen_at = now() - interval '14 minutes'"))
    owner.commit()
    before = owner.scalar(text("select max(seen_at) from staff.session"))
    guards.part(staff, every="3s")(shown.append)("it moves")
    assert owner.scalar(text("select max(seen_at) from staff.session")) == before
    guards.part(staff)(shown.append)("it was touched")
    owner.commit()
    assert owner.scalar(text("select max(seen_at) from staff.session")) > before  # type: ignore[operator]
    assert shown == ["it moves", "it was touched"]
