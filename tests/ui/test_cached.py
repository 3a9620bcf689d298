"""Answers about releases, and what is drawn of them, are kept until something is published; nothing else is, and not for who may not read."""

import pytest
import streamlit as st
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session
from streamlit.testing.v1 import AppTest

from core import db, queries
from tests.conftest import sign_in
from tests.core.privacy import house_of_requests as requests
from ui import cached, theme
from ui.actions import act

pytestmark = pytest.mark.usefixtures("house")
MORE = """insert into anon.method select (jsonb_populate_record(m, '{"version": "next", "content_sha256": "another"}')).* from anon.method m limit 1"""
read = []


def state(session: Session, *, program: str | None = None) -> object:
    read.append(program)
    return queries.analytics_state(session)


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    read.clear()
    monkeypatch.setattr(cached, "_published", {})


def asked(name: str = "paula", **named: str) -> object:
    with cached.one_transaction():
        return cached.published(requests.staff(name), state, **named)


def test_what_is_published_is_read_once_for_all_tabs() -> None:
    assert asked() is asked("aiko")
    assert asked(program="PYTHON") == asked()
    assert read == [None, "PYTHON"]


def test_a_new_release_or_version_is_read_anew(owner: Connection) -> None:
    asked()
    owner.execute(text(MORE))
    owner.commit()
    newest = asked()
    assert len(read) == 2 and newest.version == "next"  # type: ignore[attr-defined]


def test_who_reads_no_release_gets_nothing_from_the_others() -> None:
    asked()
    with cached.one_transaction():
        assert cached.read(requests.staff("dora"), queries.published_mark) is None
        empty = cached.published(requests.staff("dora"), state)
    assert empty.releases == ()  # type: ignore[attr-defined]


def test_no_more_is_kept_than_a_page_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached, "MOST_PUBLISHED", 2)
    for program in ("A", "B", "C"):
        asked(program=program)
    assert len(cached._published) == 2
    asked(program="A")
    assert read == ["A", "B", "C", "A"], "the oldest goes first"


def part(program: str) -> None:
    read.append(program)
    st.text(f"{program} in {theme.theme()}, by {queries.analytics_state.__name__}")


def seen(name: str = "paula", program: str = "PYTHON") -> list[str]:
    """The texts that a tab of this member of staff shows."""

    def page(name: str, program: str) -> None:
        from tests.core.privacy import house_of_requests as requests
        from tests.ui import test_cached
        from ui import cached

        with cached.one_transaction():
            cached.drawn(requests.staff(name), test_cached.part, program)

    app = AppTest.from_function(page, default_timeout=60, args=(name, program)).run()
    assert not app.exception
    return [text.value for text in app.text]


def test_what_shows_releases_is_drawn_once_for_all_tabs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seen() == seen("aiko") == ["PYTHON in light, by analytics_state"]
    assert read == ["PYTHON"]
    assert seen(program="JAVA")[0].startswith("JAVA")
    monkeypatch.setattr(theme, "theme", lambda: "dark")
    assert seen() == ["PYTHON in dark, by analytics_state"]


def test_a_new_release_is_drawn_anew(owner: Connection) -> None:
    seen()
    owner.execute(text(MORE))
    owner.commit()
    seen()
    assert read == ["PYTHON", "PYTHON"]


def test_who_reads_no_release_is_shown_nothing_that_others_were_drawn() -> None:
    seen()
    seen("dora")
    seen("dora")
    assert len(read) == 3, "drawn as whoever looks, each time"


def test_whoever_writes_gives_the_connection_of_the_reads_back_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run waits for a second connection with one in its hand."""
    made, staff = sign_in("paula")
    monkeypatch.setattr(st, "session_state", {"token": made.token})
    pool = db.engine("read").pool
    held = []

    def verb(session: Session, *, by: object, now: object) -> None:
        held.append(pool.checkedout())  # type: ignore[attr-defined]

    with cached.one_transaction():
        cached.read(staff, queries.audit_state)
        held.append(pool.checkedout())  # type: ignore[attr-defined]
        act(verb)
        assert held == [1, 0]
        cached.read(staff, queries.audit_state)
