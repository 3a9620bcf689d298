"""The screens of those who teach, through AppTest: Progress, Reviews, Student, and what is recorded of them."""

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from core import db, privacy_actions
from core.models import platform as p
from tests.cast import NOW, email_of, id_of
from tests.classroom import Classroom, at_work
from tests.pages.test_matrix import opened, words
from ui import guards

pytestmark = pytest.mark.usefixtures("house")
UNTIL = timedelta(days=7)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages and what they do play at the instant of the cast; the guard keeps the real clock."""
    assert guards.now is not None, "imported before the clock is moved, whatever ran first"
    for module in ("ui.clock", "ui.learning", "ui.actions"):
        monkeypatch.setattr(f"{module}.now", lambda: NOW)


def lines(owner: Connection, action: str) -> list[tuple[Any, Any, str]]:
    rows = owner.execute(
        text("select actor_id, subject_id, details from privacy.audit_event where action = :a order by seq"),
        {"a": action},
    )
    return [
        (actor, subject, json.loads(details).get("purpose") or json.loads(details).get("what"))
        for actor, subject, details in rows
    ]


def end_assignment(owner: Connection) -> None:
    owner.execute(text("update staff.assignment set ends_on = current_date - 1 where staff_id = :i and cohort_id = :c"),
                  {"i": id_of("ines"), "c": id_of("python")})  # fmt: skip
    owner.commit()


def quiet(owner: Connection, name: str = "asha") -> None:
    """Somebody who has not begun and did nothing for weeks."""
    for table in ("module_progress", "usage_event", "result"):
        owner.execute(
            text(f"delete from platform.{table} where enrollment_id = :e"), {"e": id_of(f"{name} enrollment")}
        )
    owner.execute(text("update platform.help_note set handled_until = null"))
    owner.commit()


def test_the_cohort_is_drawn_and_its_view_recorded(owner: Connection) -> None:
    page = opened("ines", "progress")
    assert not page.exception
    assert "1 student" in words(page) and "Cohort by module" in words(page)
    assert page.query_params["cohort"] in ("PYTHON-26", ["PYTHON-26"])
    assert lines(owner, "cohort viewed") == [(id_of("ines"), id_of("python"), "progress")]


@pytest.mark.parametrize("code", ["CLOUD-26", "JAVA-26", "NONE", "x' or 1=1"])
@pytest.mark.parametrize("name", ["progress", "reviews"])
def test_another_or_former_cohort_in_the_address_is_refused_with_one_answer(
    name: str, code: str, owner: Connection
) -> None:
    page = opened("ines", name, cohort=code)
    page.run()
    assert not page.exception and not page.dataframe
    assert "This cohort is not assigned to you" in words(page)
    expected = {"CLOUD-26": id_of("cloud"), "JAVA-26": id_of("java")}.get(code)
    recorded = lines(owner, "refused")
    assert [(actor, what) for actor, _, what in recorded] == [(id_of("ines"), "cohort")], "once, not at every run"
    assert recorded[0][1] == expected or expected is None
    page.button(key="back_to_cohorts").click().run()
    assert "not assigned to you" not in words(page)


@pytest.mark.parametrize("name", ["progress", "reviews"])
def test_an_assignment_that_ends_while_the_page_is_open_ends_it_at_the_next_click(name: str, owner: Connection) -> None:
    page = opened("ines", name, cohort="PYTHON-26")
    assert "Asha" in words(page) or name == "progress"
    end_assignment(owner)
    page.run()
    assert "This cohort is not assigned to you" in words(page)
    assert "Asha" not in words(page) and not page.dataframe


def test_without_any_assignment_the_screens_say_whom_to_ask(owner: Connection) -> None:
    owner.execute(text("delete from staff.assignment"))
    owner.commit()
    for name in ("overview", "progress", "reviews"):
        assert "Ask an admin to assign a cohort" in words(opened("ines", name))


def test_who_needs_help_is_on_today_and_on_progress(owner: Connection) -> None:
    quiet(owner)
    for name in ("overview", "progress"):
        table = opened("ines", name).dataframe[0].value
        assert list(table["Student"]) == ["Asha Example"]
        assert table["Why"][0] == ["Review waits 4 d"]


def test_the_student_beside_the_list_can_be_handled_and_put_back(owner: Connection) -> None:
    with db.transaction() as session:
        quiet(owner)
        privacy_actions.mark_handled(session, enrollment_id=id_of("asha enrollment"), until=NOW.date() + UNTIL, note="Called <b>her</b>.",
                                     by=at_work("ines"), now=NOW)  # fmt: skip
    page = opened("ines", "progress")
    assert "Nobody needs help now" in words(page) and "1 student handled" in words(page)
    page.toggle(key="with_handled").set_value(True).run()
    assert list(page.dataframe[0].value["Student"]) == ["Asha Example"]
    student = opened("ines", "student", id=str(id_of("asha")))
    assert "Ines: Called <b>her</b>." in [element.value for element in student.text], "typed text is text"
    student.button(key="put_back").click().run()
    assert not student.exception
    assert "Need help: 1" in words(opened("ines", "progress"))


def test_the_form_takes_a_student_off_the_list(owner: Connection) -> None:
    quiet(owner)
    page = opened("ines", "student", id=str(id_of("asha")))
    page.text_input[0].set_value("Rang her up.")
    next(button for button in page.button if button.label == "Mark as handled").click().run()
    assert not page.exception
    stored = owner.execute(
        text("select note, written_by, handled_until from platform.help_note where note <> 'Called.'")
    ).one()
    assert (stored.note, stored.written_by, stored.handled_until) == ("Rang her up.", id_of("ines"), NOW.date() + UNTIL)


def test_limits_are_shown_and_set_for_the_cohort(owner: Connection) -> None:
    quiet(owner)
    page = opened("ines", "progress")
    assert [box.value for box in page.number_input] == [14, 2, 2, 3, 25]
    for box in page.number_input:
        box.set_value(0)
    next(button for button in page.button if button.label == "Set limits").click().run()
    assert "Need help: 0" in words(page)
    assert (
        owner.execute(
            text("select quiet_days from platform.help_limit where cohort_id = :c"), {"c": id_of("python")}
        ).scalar()
        == 0
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("delete from platform.enrollment where false", "Cohort by module"),
        ("update platform.enrollment set status = 'withdrawn', withdrawn_at = '2026-11-01'", "Everybody withdrew"),
        ("update platform.cohort set starts_on = '2099-01-01', ends_on = '2099-05-01'", "Not started"),
        ("update platform.cohort set ends_on = '2026-10-30'", "as of its last day, 30 Oct 2026"),
        (
            "update platform.module set cohort_id = (select id from platform.cohort where code = 'CLOUD-26')",
            "No modules",
        ),
    ],
)
def test_every_kind_of_cohort_has_its_screen(change: str, said: str, owner: Connection) -> None:
    owner.execute(text(change))
    owner.commit()
    page = opened("ines", "progress")
    assert not page.exception
    assert said in words(page)
    assert not opened("ines", "overview").exception


def test_the_list_view_pages_and_the_file_hold_what_is_shown(owner: Connection) -> None:
    with db.transaction("worker") as session:
        room = Classroom(session, name="python", program="python")
        for number in range(60):
            room.student(f"s{number:02}")
    page = opened("ines", "progress", show="List", order="By name")
    assert len(page.dataframe[-1].value) == 50, "below who needs help"
    next(button for button in page.button if button.label == "Next").click().run()
    assert list(page.dataframe[-1].value["Student"])[-1] == "S59 Example" and len(page.dataframe[-1].value) == 11
    page.button(key="make_file_progress").click().run()
    assert not page.exception
    details = owner.execute(text("select details from privacy.audit_event where action = 'list exported'")).scalar_one()
    assert json.loads(details) == {"rows": 11, "what": "progress"}


def test_the_review_queue_is_taken_and_given_back(owner: Connection) -> None:
    page = opened("ines", "reviews")
    table = page.dataframe[0].value
    assert list(table["Student"]) == ["Asha Example"] and list(table["Work"]) == ["https://example.org/work"]
    with db.transaction() as session:
        privacy_actions.take_review(session, submission_id=id_of("asha submission"), by=at_work("ines"), now=NOW)
    page.run()
    assert list(page.dataframe[0].value["Taken by"]) == ["you"]
    page.segmented_control(key="whose").set_value("free").run()
    assert "Everything is taken" in words(page)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "https://a@b.example/", "data:text/html,x", "http://x y/"]
)
def test_a_link_that_leads_elsewhere_than_the_web_is_not_shown(url: str, owner: Connection) -> None:
    owner.execute(text("update platform.submission set url = :u"), {"u": url})
    owner.commit()
    assert url not in words(opened("ines", "reviews"))
    assert url not in words(opened("ines", "student", id=str(id_of("asha"))))


def test_a_timeline_for_those_who_teach_and_its_view_recorded(owner: Connection) -> None:
    page = opened("ines", "student", id=str(id_of("asha")))
    shown = words(page)
    assert not page.exception
    assert "Asha Example" in shown and email_of("asha") in shown
    happened = page.dataframe[0].value
    assert {
        "Module done",
        "Handed in",
        "Code review",
        "Result",
        "Certificate",
        "Noted",
        "Enrolled",
        "No activity",
    } <= set(happened["What"])
    assert lines(owner, "person viewed") == [(id_of("ines"), id_of("asha"), "timeline")]


@pytest.mark.parametrize("who", ["ines", "marek", "omar", "paula"])
def test_a_student_who_is_not_open_and_one_who_is_not_there_give_one_answer(who: str, owner: Connection) -> None:
    closed = {"ines": "cleo", "marek": "asha", "omar": "ben"}.get(who)
    wanted = [str(id_of(closed))] if closed else []
    answers = {words(opened(who, "student", id=each)) for each in [*wanted, str(id_of("nobody")), "none"]}
    assert len(answers) == 1
    assert "There is no such student, or the record is not open to you" in answers.pop()
    recorded = lines(owner, "refused")
    assert len(recorded) == len(wanted) + 2
    assert {what for _, _, what in recorded} == {"student"}
    assert not lines(owner, "person viewed")


def test_a_student_in_two_cohorts_shows_only_the_assigned_one(owner: Connection) -> None:
    with db.transaction("worker") as session:
        other = Classroom(session, name="secret", teacher="marek").open()
        other.enroll("asha")
        other.progress("asha", 1, at=3)
        other.submission("asha", 1, "passed", at=3)
    shown = words(opened("ines", "student", id=str(id_of("asha")), cohort="SECRET"))
    assert "Asha Example" in shown and "Python 26" in shown
    assert "Secret" not in shown and "Part 1" not in shown


def test_two_assigned_cohorts_of_one_student_are_a_choice() -> None:
    with db.transaction("worker") as session:
        other = Classroom(session, name="second").open()
        other.enroll("asha")
    page = opened("ines", "student", id=str(id_of("asha")), cohort="SECOND")
    assert not page.exception
    assert "Second 1 · 0 of 4 modules done" in words(page).replace("\\", "")
    page.segmented_control(key="record").set_value("PYTHON-26").run()
    assert "Python 26" in words(page)


def test_an_officer_sees_who_looked_for_an_open_request_only(owner: Connection) -> None:
    opened("ines", "progress")
    opened("ines", "student", id=str(id_of("asha")))
    opened("paula", "student", id=str(id_of("asha")))
    opened("marek", "student", id=str(id_of("asha")))
    page = opened("omar", "student", id=str(id_of("asha")))
    assert "Who looked at this record" in words(page)
    seen = page.dataframe[0].value
    rows = list(zip(seen["Who"], seen["Role"], seen["What"], seen["Purpose"], strict=True))
    assert rows == [
        ("Omar", "privacy officer", "saw the record", "request"),
        ("Marek", "mentor", "was refused", "student"),
        ("Paula", "program staff", "saw the record", "student page"),
        ("Ines", "instructor", "saw the record", "timeline"),
        ("Ines", "instructor", "saw the whole cohort Python 26", "progress"),
    ]
    owner.execute(text("update privacy.request set closed_at = now(), state = 'withdrawn' where false"))
    owner.commit()
    for who in ("paula", "ines", "ada", "aiko"):
        with db.transaction(staff_id=id_of(who)) as session:
            assert not session.execute(
                text("select * from privacy.who_looked(:s, 1000000, 50)"), {"s": id_of("asha")}
            ).all(), who
    with db.transaction(staff_id=id_of("omar")) as session:
        assert not session.execute(
            text("select * from privacy.who_looked(:s, 1000000, 50)"), {"s": id_of("ben")}
        ).all(), "no open request"


def test_figures_of_programs_are_groups_and_never_persons(owner: Connection) -> None:
    page = opened("paula", "programs")
    assert not page.exception
    assert set(page.dataframe[0].value["On plan"]) == {"–"}, "three programs with one student each tell nothing"
    owner.execute(text("delete from platform.group_figure"))
    owner.commit()
    assert "No figure is there yet" in words(opened("aiko", "programs"))


def test_figures_of_programs_show_their_age() -> None:
    with db.transaction("worker") as session:
        session.execute(p.GroupFigure.__table__.delete())
        room = Classroom(session, teacher=None).open()
        for number in range(12):
            room.student(f"s{number}")
        for week in (-2, -1, 0):
            privacy_actions.take_group_figures(session, now=NOW + timedelta(weeks=week))
    page = opened("paula", "programs")
    table = page.dataframe[0].value
    row = dict(zip(table["Program"], table["Active in 14 days"], strict=True))
    assert row["rust"] == "5% or less of 10+ · 10 Nov"


def test_cohorts_programs_and_certificates_lead_to_their_own_pages(
    owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for table, key in (("program", "code"), ("cohort", "code"), ("student", "name")):
        owner.execute(text(f"update platform.{table} set source = 'mongodb', source_key = {key}"))
    owner.execute(text("update platform.certificate set source = 'mongodb', url = null"))
    owner.commit()
    monkeypatch.setenv("RESOCODE_PLATFORM_URL", "https://platform.example/{kind}/{id}")
    progress = opened("ines", "progress")
    assert "https://platform.example/cohort/PYTHON-26" in [button.url for button in progress.get("link_button")]
    assert list(opened("ines", "overview").dataframe[-1].value["Platform"]) == [
        "https://platform.example/cohort/PYTHON-26"
    ]
    programs = opened("paula", "programs").dataframe[0].value
    assert set(programs["Platform"]) == {
        f"https://platform.example/program/{name}" for name in ("PYTHON", "CLOUD", "JAVA")
    }
    happened = opened("ines", "student", id=str(id_of("asha"))).dataframe[0].value
    links = dict(zip(happened["What"], happened["Link"], strict=True))
    assert links["Certificate"] == "https://platform.example/certificate/C-asha"
    owner.execute(text("delete from platform.certificate"))
    owner.commit()
    due = opened("ines", "progress").dataframe[-1].value
    assert list(due["Platform"]) == ["https://platform.example/student/Asha%20Example"]


def test_the_address_names_the_figure_by_its_code_or_its_words() -> None:
    for asked, shown in (("on plan", "on plan"), ("On plan", "on plan"), ("nonsense", "active")):
        page = opened("paula", "programs", figure=asked)
        assert page.segmented_control(key="figure").value == shown
        assert page.query_params["figure"] in (shown, [shown])


def test_the_address_names_whose_reviews() -> None:
    """Today leads here with it."""
    assert opened("ines", "reviews", whose="mine").segmented_control(key="whose").value == "mine"
    assert opened("ines", "reviews", whose="Mine 3").segmented_control(key="whose").value == "all", (
        "a count of yesterday"
    )


def test_who_needs_help_comes_before_the_matrix() -> None:
    """In a narrow window the second of the two stands below the first."""
    headings = [each.value for each in opened("ines", "progress").subheader]
    assert [each.split(":")[0] for each in headings].index("Need help") < headings.index("Cohort by module")
