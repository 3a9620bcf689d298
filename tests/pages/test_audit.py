"""The Audit page through AppTest: filters, paging, a whole line, export, the proof, and the banner while it fails."""

import json
from datetime import timedelta

import pytest
import streamlit as st
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core import db, privacy_actions
from core.privacy import audit
from core.privacy.audit import Action
from tests.cast import email_of, id_of
from tests.core.privacy.test_audit_checks import tamper
from tests.pages.test_matrix import opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


def write(name: str, action: Action, many: int = 1, *, days_ago: int = 0, about: str | None = None) -> None:
    with db.transaction(staff_id=id_of(name), session_id=id_of(f"{name} session")) as session:
        for _ in range(many):
            details = {"purpose": "page"} if action is Action.PERSON_VIEWED else {}
            subject = {"subject_kind": "student", "subject_id": id_of(about)} if about else {}
            audit.append(session, action, now=now() - timedelta(days=days_ago), **subject, **details)  # type: ignore[arg-type]


def check() -> audit.Verification:
    with db.transaction("worker") as session:
        return privacy_actions.check_audit(session, now=now())


def column(app: AppTest, name: str) -> list[object]:
    return list(app.dataframe[0].value[name]) if app.dataframe else []


@pytest.fixture
def page() -> AppTest:
    """A log of some weeks, as Aiko opens it."""
    write("paula", Action.PERSON_VIEWED, days_ago=40, about="asha")
    write("paula", Action.PERSON_VIEWED, 2, days_ago=3, about="ben")
    write("ada", Action.SIGNED_OUT, days_ago=2)
    return opened("aiko", "audit")


def test_it_says_who_did_what_newest_first(page: AppTest) -> None:
    assert column(page, "Who") == ["Aiko", "Ada", "Paula", "Paula"]
    assert column(page, "What") == [["signed in"], ["signed out"], ["person viewed"], ["person viewed"]]
    assert column(page, "About")[2] == f"student {str(id_of('ben'))[:8]}…{str(id_of('ben'))[-4:]}"
    assert column(page, "Details")[2] == "purpose: page"
    assert "1 to 4 of 4" in words(page)


@pytest.mark.parametrize(
    ("key", "value", "lines"),
    [
        ("action", "person viewed", 2),
        ("actor", "Ada · admin", 1),
        ("actor", "nobody (before a sign-in)", 0),
        ("subject", str(id_of("ben")), 2),
        ("subject", str(id_of("asha")), 0),
        ("period", "All time", 5),
        ("period", "Today", 1),
    ],
)
def test_filters(page: AppTest, key: str, value: str, lines: int) -> None:
    kind = {"subject": page.text_input, "period": page.segmented_control}.get(key, page.selectbox)
    kind(key=key).set_value(value).run()
    assert not page.exception
    assert len(column(page, "Line")) == lines
    if not lines:
        assert "No line matches" in words(page)
        page.button(key="clear_filters").click().run()
        assert len(column(page, "Line")) == 5


def test_a_view_can_be_shared_by_its_address(page: AppTest) -> None:
    again = opened("omar", "audit", subject=str(id_of("asha")), period="All time", action="person viewed")
    assert column(again, "Who") == ["Paula"]


@pytest.mark.parametrize("typed", ["asha", "'; drop table", "0199"])
def test_what_is_no_id_gets_a_sentence(page: AppTest, typed: str) -> None:
    page.text_input(key="subject").set_value(typed).run()
    assert not page.exception
    assert "That is no id" in words(page)


def test_pages_of_fifty_lines_on_and_back() -> None:
    write("paula", Action.SIGNED_OUT, 120)
    page = opened("aiko", "audit")
    assert column(page, "Line") == list(range(121, 71, -1))
    page.button(key="next").click().run()
    assert column(page, "Line") == list(range(71, 21, -1))
    page.button(key="next").click().run()
    assert column(page, "Line") == list(range(21, 0, -1))
    assert "101 to 121 of 121" in words(page)
    page.button(key="previous").click().run()
    assert column(page, "Line")[0] == 71
    page.selectbox(key="action").set_value("signed in").run()
    assert column(page, "Line") == [121], "another filter begins at the end of the log"


def test_an_admin_sees_the_proof_and_no_line(owner: Connection) -> None:
    write("paula", Action.PERSON_VIEWED, about="asha")
    check()
    page = opened("ada", "audit")
    assert not page.dataframe and not page.selectbox
    assert "Sound" in words(page) and "admins see the proof" in words(page)


def test_the_export_holds_the_lines_that_match_and_is_recorded(page: AppTest, owner: Connection) -> None:
    page.selectbox(key="action").set_value("person viewed").run()
    page.button(key="make_file").click().run()
    assert not page.exception
    assert owner.execute(text("select name from staff.file_link")).scalar_one() == "audit.csv"
    line = owner.execute(text("select details from privacy.audit_event where action = 'list exported'")).scalar_one()
    assert json.loads(line) == {"rows": 2, "what": "audit"}


def test_the_proof_says_when_and_is_overdue_without_a_check(page: AppTest, owner: Connection) -> None:
    assert "Sound" not in words(page) or "0 min ago" not in words(page)
    check()
    page.run()
    assert "Sound" in words(page) and "0 min ago" in words(page)
    with db.transaction("worker") as session:
        audit.check(session, now=now() - timedelta(hours=27))
    page.run()
    assert "Not proved" in words(page) and "overdue" in words(page)


@pytest.mark.parametrize("name", ["paula", "ines", "omar", "ada", "aiko"])
def test_while_the_audit_is_broken_every_screen_says_so_and_views_stay_possible(name: str, owner: Connection) -> None:
    write("paula", Action.SIGNED_OUT, 3)
    tamper(owner, "update privacy.audit_event set action = 'signed in' where seq = 2")
    assert check().broken_at == 2
    for page in ("overview", "audit", "enrollments"):
        shown = words(opened(name, page))
        assert "The audit does not verify" in shown, page
    if name == "paula":
        assert "Asha Example" in words(opened(name, "student", id=str(id_of("asha"))))
    if name == "aiko":
        app = opened(name, "audit")
        assert "line 2 was changed" in words(app)
        app.button(key="make_file").click().run()
        assert not app.exception
        assert owner.scalar(text("select count(*) from staff.file_link")) == 1, "the evidence can be taken out"


def test_while_the_audit_is_broken_the_button_of_a_guarded_verb_answers_with_a_sentence(owner: Connection) -> None:
    write("paula", Action.SIGNED_OUT, 3)
    tamper(owner, "update privacy.audit_event set action = 'signed in' where seq = 2")
    check()
    page = opened("paula", "enrollments")
    page.button(key=next(b.key for b in page.button if b.label == "Make the file")).click().run()
    assert "guarded actions are closed" in words(page)
    assert owner.scalar(text("select count(*) from staff.file_link")) == 0
    assert email_of("asha") not in words(page)


def test_a_tampered_line_is_shown_as_it_is_now(owner: Connection) -> None:
    write("paula", Action.SIGNED_OUT, 2)
    tamper(owner, "update privacy.audit_event set details = 'no json', action = '**made up**' where seq = 2")
    page = opened("aiko", "audit")
    assert not page.exception
    assert "unreadable: no json" in column(page, "Details")


def test_the_banner_goes_when_the_log_is_mended(owner: Connection) -> None:
    write("paula", Action.SIGNED_OUT, 2)
    tamper(owner, "update privacy.audit_event set action = 'signed in' where seq = 2")
    check()
    tamper(owner, "update privacy.audit_event set action = 'signed out' where seq = 2")
    check()
    st.cache_data.clear()
    assert "does not verify" not in words(opened("paula", "overview"))


def test_a_break_is_put_up_by_one_and_acknowledged_by_another_and_named_from_then_on(owner: Connection) -> None:
    from tests.core.privacy.test_audit import write
    from tests.core.privacy.test_audit_checks import checked, tamper

    write(5)
    tamper(owner, "update privacy.audit_event set action = 'signed out' where seq = 3")
    checked()

    def last_step(page: AppTest, key: str, label: str, reason: str | None) -> AppTest:
        page.button(key=key).click().run()
        if reason:
            next(box for box in page.selectbox if box.label == "Reason").set_value(reason)
        next(field for field in page.text_input if field.label.startswith("Type")).set_value("not proved")
        next(button for button in page.button if label in button.label and button.proto.is_form_submitter).click()
        page.run()
        assert not page.exception
        return page

    page = opened("omar", "audit")
    assert "Line 3 cannot be proved" in words(page)
    last_step(page, "propose_seal", "Put it up", "changed, cause unknown")
    assert "You put this break up" in words(page)
    assert "confirm_seal" not in [button.key for button in page.button]
    assert "propose_seal" not in [button.key for button in opened("aiko", "audit").button]
    last_step(opened("ada", "audit"), "confirm_seal", "Acknowledge the break", None)
    checked(minutes=3)
    for name in ("omar", "aiko", "ada"):
        shown = words(opened(name, "audit"))
        assert "Not proved: line 3" in shown and "Omar and Ada" in shown and "Broken" not in shown, name
