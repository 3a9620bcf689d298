"""The Enrollments page through AppTest: filters, search, reveal, export, bad input."""

import csv
import io
import json
import re

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core import db, privacy_actions
from tests.cast import email_of, id_of
from tests.conftest import sign_in
from tests.pages.test_matrix import opened, words

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture
def page() -> AppTest:
    """The page as Paula opens it."""
    return opened("paula", "enrollments")


def students(app: AppTest) -> list[str]:
    return list(app.dataframe[0].value["Student"]) if app.dataframe else []


def views(owner: Connection) -> list[tuple[object, object]]:
    rows = owner.execute(
        text("select subject_id, details from privacy.audit_event where action = 'person viewed' order by seq")
    )
    return [(subject, json.loads(details)["purpose"]) for subject, details in rows]


def test_it_lists_everybody_with_masked_contacts(page: AppTest) -> None:
    assert students(page) == ["Cleo Example", "Ben Example", "Asha Example"] or len(students(page)) == 3
    assert set(page.dataframe[0].value["Contact"]) == {
        "a•••••ha@students.example",
        "•••••@students.example",
        "c•••••eo@students.example",
    }


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("q", "ASHA", {"Asha Example"}),
        ("q", "sha exam", {"Asha Example"}),
        ("q", "ben@students", {"Ben Example"}),
        ("q", "%", {"Asha Example", "Ben Example", "Cleo Example"}),
        ("program", "Cloud", {"Ben Example"}),
        ("cohort", "Java 26", {"Cleo Example"}),
        ("level", "beginner", {"Asha Example", "Ben Example", "Cleo Example"}),
    ],
)  # fmt: skip
def test_filters(page: AppTest, key: str, value: str, expected: set[str]) -> None:
    widget = page.text_input(key=key) if key == "q" else page.selectbox(key=key)
    widget.set_value(value).run()
    assert not page.exception
    assert set(students(page)) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [("q", "%%%"), ("q", "___"), ("q", "nobody here"), ("level", "advanced"), ("mail", "Not confirmed")],
)
def test_a_filter_that_matches_nothing_says_so_and_can_be_cleared(page: AppTest, key: str, value: str) -> None:
    widget = page.text_input(key=key) if key == "q" else page.selectbox(key=key)
    widget.set_value(value).run()
    assert "No enrollment matches" in words(page)
    page.button(key="clear_filters").click().run()
    assert len(students(page)) == 3


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [("a\x00b", "cannot be used"), ("x" * 5000, "5,000 characters long")],
)
def test_input_that_cannot_be_used_gets_a_sentence(page: AppTest, typed: str, sentence: str) -> None:
    page.text_input(key="q").set_value(typed).run()
    assert not page.exception
    assert sentence in words(page)
    page.text_input(key="q").set_value("").run()
    assert len(students(page)) == 3, "nothing is lost"


def test_revealing_shows_whole_addresses_and_records_each_person_once(page: AppTest, owner: Connection) -> None:
    page.toggle(key="reveal_contacts").set_value(True).run()
    assert set(page.dataframe[0].value["Contact"]) == {email_of(name) for name in ("asha", "ben", "cleo")}
    page.run()
    assert sorted(views(owner), key=str) == sorted(
        [(id_of(name), "enrollment list") for name in ("asha", "ben", "cleo")], key=str
    )


def test_the_export_is_what_is_shown_masked_and_recorded(page: AppTest, owner: Connection) -> None:
    page.text_input(key="q").set_value("asha").run()
    page.button(key="make_file_enrollments").click().run()
    assert not page.exception
    stored = owner.execute(text("select name, session_id from staff.file_link")).one()
    assert stored.name == "enrollments.csv"
    line = owner.execute(text("select details from privacy.audit_event where action = 'list exported'")).scalar_one()
    assert json.loads(line) == {"rows": 1, "what": "enrollments"}


def test_the_exported_file_holds_no_formula_and_no_whole_address(page: AppTest) -> None:
    from ui.tables import csv_bytes

    content = csv_bytes(("Student", "Contact"), [("=cmd|' /C calc'!A0", "a•••••ha@students.example")]).decode(
        "utf-8-sig"
    )
    assert list(csv.reader(io.StringIO(content))) == [
        ["Student", "Contact"],
        ["'=cmd|' /C calc'!A0", "a•••••ha@students.example"],
    ]


def test_an_admin_gets_counts_and_neither_list_nor_search() -> None:
    page = opened("ada", "enrollments")
    assert not page.dataframe
    assert [box.key for box in page.text_input] == ["find"], "the box of the sidebar, which finds them no person"
    assert "no person" in words(page)


def test_a_right_that_ended_a_moment_ago_ends_here_too(page: AppTest, owner: Connection) -> None:
    with db.transaction("worker") as session:
        privacy_actions.disable_staff(session, email=email_of("paula"), now=__import__("ui.clock").clock.now())
    page.toggle(key="reveal_contacts").set_value(True).run()
    assert "Sign in to Resocode Admin" in words(page)
    assert views(owner) == []


def test_opening_a_student_is_recorded_and_shows_no_outcome(owner: Connection) -> None:
    page = opened("paula", "student", id=str(id_of("asha")))
    assert "Asha Example" in words(page)
    assert email_of("asha") not in words(page)
    assert views(owner) == [(id_of("asha"), "student page")]
    page.button(key="reveal").click().run()
    assert email_of("asha") in words(page)


@pytest.mark.parametrize("wanted", ["", "no-uuid", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_student_and_a_wrong_address_give_one_answer(wanted: str) -> None:
    page = opened("paula", "student", id=wanted)
    assert not page.exception
    assert "No such student" in words(page)


def test_a_session_in_two_tabs_ends_in_both() -> None:
    made, _ = sign_in("paula")
    first, second = opened("paula", "overview"), opened("paula", "overview")
    del first.session_state["token"]
    first.session_state["token"] = made.token
    second.session_state["token"] = made.token
    first.run()
    second.run()
    first.button(key="sign_out").click().run()
    assert "You are signed out" in words(first)
    second.run()
    assert "Sign in to Resocode Admin" in words(second)
    assert "Your session has ended" in words(second)


def test_a_choice_of_days_has_a_first_and_a_last(page: AppTest) -> None:
    from datetime import timedelta

    from tests.cast import NOW

    page.segmented_control(key="period").set_value("Dates").run()
    assert len(students(page)) == 3
    page.date_input(key="dates").set_value((NOW.date() - timedelta(days=79), NOW.date())).run()
    assert "No enrollment matches" in words(page)
    page.date_input(key="dates").set_value((NOW.date() - timedelta(days=80), NOW.date() - timedelta(days=80))).run()
    assert len(students(page)) == 3


def test_a_session_that_was_idle_ends_with_a_sentence(page: AppTest, owner: Connection) -> None:
    owner.execute(text("update staff.session set seen_at = seen_at - interval '16 minutes'"))
    owner.commit()
    page.run()
    assert "Your session has ended. Sign in again" in words(page)
    assert not page.dataframe


def test_no_outcome_can_be_learned_from_anything_that_program_staff_see(owner: Connection) -> None:
    """Every outcome, score and progress is turned around: what Paula sees must not change by a letter."""

    views = [
        {},
        {"sort": "Oldest first"},
        {"sort": "By name"},
        {"status": "active"},
        {"status": "ended"},
        {"status": "withdrawn"},
        {"cohort": "Python 26"},
        {"level": "beginner", "mail": "Not confirmed"},
    ]

    def everything() -> list[str]:
        shown = [words(opened("paula", "overview"))]
        shown += [words(opened("paula", "enrollments", period="All time", **view)) for view in views]
        shown += [words(opened("paula", "student", id=str(id_of(name)))) for name in ("asha", "ben", "cleo")]
        return [re.sub(r"\d\d:\d\d UTC", "", each) for each in shown]

    before = everything()
    for statement in (
        "update platform.result set kind = 'fail', decided_at = decided_at - interval '9 days'",
        "update platform.module_progress set status = 'failed', score = 3, active_at = null",
        "update platform.submission set status = 'failed', score = 3, submitted_at = submitted_at - interval '9 days'",
        "delete from platform.certificate",
        "delete from platform.usage_event",
        "delete from platform.code_review",
    ):
        owner.execute(text(statement))
    owner.commit()
    assert everything() == before
    owner.execute(text("update platform.enrollment set status = 'ended' where student_id = :id"), {"id": id_of("asha")})
    owner.commit()
    assert everything() != before, "the comparison notices what program staff may see"


def test_rows_of_the_platform_link_to_its_pages(owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    owner.execute(
        text("update platform.student set source = 'mongodb', source_key = 'a/1' where id = :id"), {"id": id_of("asha")}
    )
    owner.commit()
    assert "Platform" not in opened("paula", "enrollments").dataframe[0].value
    monkeypatch.setenv("RESOCODE_PLATFORM_URL", "https://platform.example/{kind}/{id}")
    shown = opened("paula", "enrollments").dataframe[0].value
    links = {
        name: link for name, link in zip(shown["Student"], shown["Platform"], strict=True) if isinstance(link, str)
    }
    assert links == {"Asha Example": "https://platform.example/student/a%2F1"}
    for name, count in (("asha", 1), ("ben", 0)):
        page = opened("paula", "student", id=str(id_of(name)))
        assert len([e for e in page.get("link_button") if e.url.startswith("https://platform.example/")]) == count


def test_filters_of_the_address_can_be_cleared() -> None:
    page = opened("paula", "enrollments", level="advanced", status="withdrawn", period="30 days")
    assert "No enrollment matches" in words(page)
    page.button(key="clear_filters").click().run()
    assert not page.exception
    assert len(students(page)) == 3
