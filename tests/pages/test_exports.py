"""The file on a request's page: what is next at each stage, judging sentences, handing out, and only then the answer."""

import pytest
from sqlalchemy import text
from streamlit.testing.v1 import AppTest

from core import db, privacy_actions
from core.privacy import exports
from tests.cast import id_of
from tests.core.privacy import house_of_requests as desk
from tests.core.privacy.house_of_exports import export, work
from tests.pages.test_matrix import opened
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


def page_of(filed: object) -> AppTest:
    """The request, as Omar opens it."""
    return opened("omar", "request", id=str(filed.request_id))  # type: ignore[attr-defined]


def words(page: AppTest) -> str:
    return "\n".join(
        str(each.value)
        for kind in (page.markdown, page.caption, page.subheader, page.text, page.error)
        for each in kind
    )


def test_judged_handed_out_and_answered_on_the_page() -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.code_review set comment = 'As **Jonas** said <b>, it runs.' where id = :id"), {"id": id_of("asha review")})  # fmt: skip
    filed = desk.verified("access", now=now(), student_id=id_of("asha"))
    assert "The worker makes it" in words(page_of(filed))
    work(now=now())
    page = page_of(filed)
    assert "1 text may name somebody else" in words(page)
    assert "Jonas" not in words(page), "not before it is asked for"
    page.button(key="show_texts").click().run()
    assert "As **Jonas** said <b>, it runs." in [each.value for each in page.text], "as text, never as markdown"
    page.button(key=next(b.key for b in page.button if b.key and b.key.startswith("redact_"))).click().run()
    assert export(filed)["state"] == "to judge"
    work(now=now())
    page = page_of(filed)
    assert "Ready" in words(page)
    assert "not connected" in str(page.dataframe[1].value)
    page.button(key="do_hand out export").click().run()
    page.radio(key="hand_how").set_value("sent encrypted")
    next(b for b in page.button if b.label == "Make the link").click().run()
    [link] = [each for each in page.get("link_button") if each.url.startswith("files/")]
    [password] = [each.value for each in page.code if len(each.value) == 29]
    assert export(filed)["state"] == "ready"
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=page.session_state["token"], now=now())
        assert staff is not None
        db.identify(session, staff_id=staff.id, session_id=staff.session_id)
        found = privacy_actions.open_file(session, token=link.url.removeprefix("files/"), now=now())
    assert found is not None
    assert found.password == password
    page.button(key="handed_done").click().run()
    assert password not in words(page) + str([each.value for each in page.code]), "shown once"
    page.button(key="do_answer export").click().run()
    next(b for b in page.button if b.label == "The person has it" and b.key != "do_answer export").click().run()
    assert desk.row(filed.request_id)["state"] == "answered"


def test_a_file_that_could_not_be_made_says_why_and_is_tried_again() -> None:
    filed = desk.verified("export", now=now())
    with db.transaction("worker") as session:
        exports.note_failure(session, str(filed.request_id), "F-1234 NoSpace", now())
    page = page_of(filed)
    assert "The disk of the database is full" in words(page)
    page.button(key="do_remake export").click().run()
    assert export(filed)["state"] == "to build"
