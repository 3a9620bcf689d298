"""The file of a table is what the table shows, with contacts masked, for the session that asked for it."""

import csv
import io
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core import db, privacy_actions
from tests.pages.test_matrix import opened
from ui import clock
from ui.export import plain


def downloaded(app: AppTest, owner: Connection) -> list[list[str]]:
    """What the newest file of this tab holds, opened by its own session as the browser would."""
    link = next(e.url for e in app.get("link_button") if e.url.startswith("files/"))
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=app.session_state["token"], now=clock.now())
        assert staff is not None
        db.identify(session, staff_id=staff.id, session_id=staff.session_id)
        found = privacy_actions.open_file(session, token=link.removeprefix("files/"), now=clock.now())
    assert found is not None
    return list(csv.reader(io.StringIO(found.content.decode("utf-8-sig"), newline="")))


@pytest.mark.usefixtures("house")
def test_the_file_is_the_table_and_stays_masked_while_contacts_are_revealed(owner: Connection) -> None:
    page = opened("paula", "enrollments")
    page.toggle(key="reveal_contacts").set_value(True).run()
    shown = page.dataframe[0].value
    page.button(key="make_file_enrollments").click().run()
    header, *lines = downloaded(page, owner)
    assert header[:2] == ["Student", "Contact (masked)"]
    assert [line[0] for line in lines] == list(shown["Student"])
    assert all("@students.example" in contact for contact in shown["Contact"])
    assert all("•••••" in line[1] for line in lines)
    page.run()
    assert not [e for e in page.get("link_button") if e.url.startswith("files/")], "the link is shown once"
    recorded = owner.scalar(text("select count(*) from privacy.audit_event where action = 'list exported'"))
    assert recorded == 1


@pytest.mark.usefixtures("house")
def test_an_empty_table_offers_no_file() -> None:
    page = opened("paula", "enrollments")
    page.text_input(key="q").set_value("nobody at all").run()
    assert not [b for b in page.button if b.key.startswith("make_file")]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (None, ""),
        (date(2026, 11, 24), "2026-11-24"),
        (datetime(2026, 11, 24, 9, 5, tzinfo=UTC), "2026-11-24 09:05"),
        (["new", "converted"], "new, converted"),
        (0, 0),
        ("x", "x"),
    ],
)
def test_cells_are_written_for_machines(cell: object, written: object) -> None:
    assert plain(cell) == written


@pytest.mark.usefixtures("house")
def test_a_small_table_has_its_file_too(owner: Connection) -> None:
    page = opened("ines", "overview")
    shown = page.dataframe[-1].value
    page.button(key="make_file_my-cohorts").click().run()
    header, *lines = downloaded(page, owner)
    assert header == list(shown.columns)
    assert [(line[0], line[2], line[5]) for line in lines] == [
        (title, ", ".join(state), str(students))
        for title, state, students in zip(shown["Cohort"], shown["State"], shown["Students"], strict=True)
    ]
