"""The Visitors page through AppTest: filters, figures, the drawer, follow-up, reveal, export, two people at once."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text
from streamlit.testing.v1 import AppTest

from core import db, keys, privacy_actions
from core.models import platform as p
from core.models import staff as s
from tests.cast import NOW, email_of, id_of
from tests.conftest import sign_in
from tests.pages.test_matrix import opened, words
from tests.ui.test_export import downloaded
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture
def more(house: str) -> None:
    """Beside Vera and Viktor: Asha, who asked before she enrolled, and Vera once more, lost and due."""
    for name, email, values in (
        ("Asha E.", "ASHA@students.example", {"asked_at": NOW - timedelta(days=110), "status": "answered", "answered_at": NOW - timedelta(days=109),
                                              "experience_level": "advanced", "program_id": id_of("java program"), "message": "**When**?\nTomorrow?"}),
        ("=Vera too", "vera@VISITORS.example", {"asked_at": NOW - timedelta(days=35), "status": "in contact", "answered_at": NOW, "phone": "+49 1",
                                                "next_contact_on": now().date() - timedelta(days=2), "owner_id": id_of("paula")}),
    ):  # fmt: skip
        email_hash, provider_hash = keys.person_hashes()(email, name)
        row = {"id": id_of(name), "name": name, "email": email, "source": "cast", "email_hash": email_hash,
               "provider_hash": provider_hash, **values}  # fmt: skip
        with db.transaction("worker") as session:
            session.execute(insert(p.Visitor).values(row))


def names(app: AppTest) -> set[str]:
    return set(app.dataframe[0].value["Visitor"]) if app.dataframe else set()


def page(**query: str) -> AppTest:
    app = opened("paula", "visitors", **query)
    assert not app.exception
    return app


def audit(owner: Connection, action: str) -> list[tuple[Any, ...]]:
    owner.rollback()
    rows = owner.execute(
        text("select subject_kind, subject_id, details from privacy.audit_event where action = :a order by seq"),
        {"a": action},
    )
    return [(kind, subject, json.loads(details)) for kind, subject, details in rows]


def vera(owner: Connection) -> Any:
    owner.rollback()
    return owner.execute(text("select * from platform.visitor where id = :id"), {"id": id_of("vera")}).one()


EVERYBODY = {"Vera", "Viktor", "Asha E.", "=Vera too"}


@pytest.mark.usefixtures("more")
def test_the_list_shows_masked_contacts_marks_and_what_is_overdue() -> None:
    shown = page().dataframe[0].value.set_index("Visitor")
    assert set(shown.index) == EVERYBODY
    assert shown.loc["Asha E.", "Contact"] == "A•••••HA@students.example"
    assert list(shown.loc["Asha E.", "Known as"]) == ["converted"]
    assert list(shown.loc["Vera", "Known as"]) == list(shown.loc["=Vera too", "Known as"]) == ["asked again"]
    assert shown.loc["=Vera too", "Owner"] == "Paula"
    assert shown.loc["=Vera too", "Next contact"].endswith("· overdue")
    assert shown.loc["Viktor", "Next contact"] == "–"


@pytest.mark.usefixtures("more")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"program": "Python"}, {"Vera", "Viktor"}),
        ({"program": "No program named"}, {"=Vera too"}),
        ({"level": "advanced"}, {"Asha E."}),
        ({"age": "31 to 90 days"}, {"=Vera too"}),
        ({"age": "Older than 90 days"}, {"Asha E."}),
        ({"became": "Converted"}, {"Asha E."}),
        ({"became": "Not converted"}, EVERYBODY - {"Asha E."}),
        ({"due": "Waiting too long"}, {"Vera", "Viktor"}),
        ({"due": "Contact due"}, {"=Vera too"}),
        ({"owner": "Mine"}, {"=Vera too"}),
        ({"owner": "Nobody"}, EVERYBODY - {"=Vera too"}),
        ({"status": "in contact"}, {"=Vera too"}),
        ({"owner": "no such", "due": "x", "sort": "y", "age": "z"}, EVERYBODY),
    ],
)
def test_filters_stand_in_the_address(query: dict[str, str], expected: set[str]) -> None:
    assert names(page(**query)) == expected


@pytest.mark.usefixtures("more")
def test_every_figure_leads_to_what_it_counts() -> None:
    app = page(level="advanced")
    assert names(app) == {"Asha E."}
    for label, expected in (("Waiting too long", {"Vera", "Viktor"}), ("Without an owner", {"Vera", "Viktor"}),
                            ("Contact due", {"=Vera too"}), ("Converted, 90 days", {"Asha E."})):  # fmt: skip
        value = next(metric.value for metric in app.metric if metric.label == label)
        app.button(key=f"show_{label}").click().run()
        assert not app.exception
        assert names(app) == expected, label
        if label != "Converted, 90 days":  # which counts those who asked within 90 days
            assert value == str(len(expected)), label


@pytest.mark.usefixtures("more")
def test_the_search_finds_by_part_of_name_or_address_and_stays_out_of_the_address() -> None:
    app = page()
    for typed, expected in (("ERA TOO", {"=Vera too"}), ("@students", {"Asha E."}), ("%%%", set()), ("ve", EVERYBODY)):
        app.text_input(key="q").set_value(typed).run()
        assert not app.exception
        assert names(app) == expected, typed
        assert typed not in str(app.query_params)
    app.text_input(key="q").set_value("nobody like that").run()
    assert "No visitor matches" in words(app)
    app.button(key="clear_filters").click().run()
    assert names(app) == EVERYBODY
    app.text_input(key="q").set_value("a\x00b").run()
    assert "cannot be used" in words(app)


def test_without_any_visitor_the_page_says_what_will_come(owner: Connection) -> None:
    for table in ("follow_up", "visitor_device", "visitor"):
        owner.execute(text(f"delete from platform.{table}"))
    owner.commit()
    app = page()
    assert "No visitor yet" in words(app) and "nobody waits" in str([m.delta for m in app.metric])
    assert not [b for b in app.button if b.key == "clear_filters"]


def test_today_leads_to_those_who_wait_with_the_filters_in_the_address() -> None:
    app = opened("paula", "overview")
    assert "2 visitors wait longer than 2 working days" in words(app)
    app.button(key="need_0").click().run()
    assert app.query_params == {"due": "Waiting too long", "sort": "Oldest first"}
    app.switch_page("../pages/visitors.py").run()
    assert app.selectbox(key="due").value == "Waiting too long"
    assert names(app) == {"Vera", "Viktor"}


@pytest.mark.usefixtures("more")
def test_revealing_shows_whole_addresses_records_each_visitor_and_the_file_stays_masked(owner: Connection) -> None:
    app = page(program="Python")
    app.toggle(key="reveal_visitors").set_value(True).run()
    assert set(app.dataframe[0].value["Contact"]) == {"vera@visitors.example", "viktor@visitors.example"}
    app.run()
    seen = audit(owner, "person viewed")
    assert sorted(seen, key=str) == sorted(
        [("visitor", id_of(n), {"purpose": "visitor list"}) for n in ("vera", "viktor")], key=str
    )
    app.button(key="make_file_visitors").click().run()
    _, *lines = downloaded(app, owner)
    assert {line[1] for line in lines} == {"v•••••ra@visitors.example", "v•••••or@visitors.example"}


@pytest.mark.usefixtures("more")
def test_the_file_is_the_list_and_holds_no_formula(owner: Connection) -> None:
    app = page(owner="Mine")
    app.button(key="make_file_visitors").click().run()
    header, line = downloaded(app, owner)
    told = dict(zip(header, line, strict=True))
    assert told["Visitor"] == "'=Vera too"
    assert (told["Status"], told["Owner"], told["Known as"]) == ("in contact", "Paula", "asked again")
    assert told["Asked"] == "2026-10-20"


def test_opening_a_visitor_is_recorded_and_the_contact_masked_until_revealed(owner: Connection) -> None:
    app = page(id=str(id_of("vera")))
    assert "Vera" in words(app) and "vera@visitors.example" not in words(app)
    assert audit(owner, "person viewed") == [("visitor", id_of("vera"), {"purpose": "visitor"})]
    app.button(key="reveal_visitor").click().run()
    assert "vera@visitors.example" in words(app)
    assert len(audit(owner, "person viewed")) == 1, "one line for one person and purpose in a quarter of an hour"


@pytest.mark.usefixtures("more")
def test_a_converted_visitor_leads_to_the_student_and_tells_no_outcome(owner: Connection) -> None:
    app = page(id=str(id_of("Asha E.")))
    shown = words(app)
    assert "Became a student" in shown and "Python, Python 26: active" in shown
    assert "**When**?\nTomorrow?" in [t.value for t in app.text], "typed text is text"
    owner.execute(text("update platform.result set kind = 'fail'"))
    owner.execute(text("delete from platform.certificate"))
    owner.commit()
    again = words(page(id=str(id_of("Asha E."))))
    assert again.split("as of")[0] == shown.split("as of")[0]
    for word in ("77", "fail", "certificate", "192.0.2.1", "Browser"):
        assert word not in again
    app.button(key="open_student").click().run()
    assert app.query_params == {"id": str(id_of("asha"))}


@pytest.mark.usefixtures("more")
def test_other_forms_of_one_person_lead_to_each_other() -> None:
    app = page(id=str(id_of("vera")))
    assert "The same e-mail asked 2 times" in words(app)
    app.button(key=f"form_{id_of('=Vera too')}").click().run()
    assert app.query_params["id"] == str(id_of("=Vera too"))
    assert "=Vera too" in [t.value for t in app.text]


@pytest.mark.parametrize("wanted", ["no-uuid", str(uuid.UUID(int=0)), str(id_of("asha"))])
def test_an_unknown_visitor_and_a_wrong_address_give_an_answer(wanted: str) -> None:
    app = page(id=wanted)
    assert "no visitor" in words(app).lower() or "no such visitor" in words(app).lower()
    assert names(app) == {"Vera", "Viktor"}


def test_take_plan_contact_and_status_shrink_the_lists(owner: Connection) -> None:
    app = page(due="Waiting too long", id=str(id_of("vera")))
    app.button(key="take").click().run()
    assert vera(owner).owner_id == id_of("paula") and "took this visitor" in words(app)
    assert not [b for b in app.button if b.key == "take"]
    app.segmented_control(key="follow_up_kind").set_value("Next contact").run()
    app.date_input(key="plan_1").set_value(now().date() + timedelta(days=3))
    submit(app, "Set the next contact")
    assert vera(owner).next_contact_on == now().date() + timedelta(days=3)
    assert names(app) == {"Vera", "Viktor"}, "a plan is no answer"
    app.segmented_control(key="follow_up_kind").set_value("Contact made").run()
    app.text_area(key="contact_note").set_value("Called: *wants* Python")
    submit(app, "Note the contact")
    assert not app.exception
    assert (vera(owner).status, vera(owner).next_contact_on) == ("in contact", None)
    assert names(app) == {"Viktor"}, "the list shrinks"
    assert "Called: *wants* Python" in [t.value for t in app.text]
    assert app.text_area(key="contact_note").value == ""
    app.segmented_control(key="follow_up_kind").set_value("Status").run()
    app.selectbox(key="status_3").set_value("lost")
    submit(app, "Set the status")
    app.segmented_control(key="follow_up_kind").set_value("Owner").run()
    app.selectbox(key="owner_4").select_index(0)
    submit(app, "Set the owner")
    assert (vera(owner).status, vera(owner).owner_id) == ("lost", None)
    assert [row[1] for row in audit(owner, "visitor owner set")] == [id_of("vera")] * 2


def submit(app: AppTest, label: str) -> None:
    next(b for b in app.button if b.label == label).click().run()


def test_the_second_of_two_is_told_who_was_first_and_keeps_what_was_typed(owner: Connection) -> None:
    with db.transaction("worker") as session:
        session.execute(insert(s.StaffMember).values(id=id_of("otto"), email="otto@staff.example", name="O*tt*o", role="program_staff",
                                                     created_at=NOW))  # fmt: skip
    app = page(id=str(id_of("vera")))
    app.text_area(key="contact_note").set_value("My long note")
    _, paula = sign_in("paula")
    from dataclasses import replace

    with db.transaction() as session:
        privacy_actions.assign_visitor(session, visitor_id=id_of("vera"), owner_id=id_of("otto"), seen=0,
                                       by=replace(paula, id=id_of("otto")), now=now())  # fmt: skip
    submit(app, "Note the contact")
    assert not app.exception
    assert r"O\*tt\*o was first\: gave the visitor to O\*tt\*o" in app.error[0].value
    assert app.text_area(key="contact_note").value == "My long note"
    assert (vera(owner).status, vera(owner).owner_id) == ("new", id_of("otto"))
    submit(app, "Note the contact")
    assert (vera(owner).status, vera(owner).owner_id) == ("in contact", id_of("otto"))


def test_a_right_that_ended_a_moment_ago_ends_here_too(owner: Connection) -> None:
    app = page(id=str(id_of("vera")))
    with db.transaction("worker") as session:
        privacy_actions.disable_staff(session, email=email_of("paula"), now=now())
    app.button(key="take").click().run()
    assert "Sign in to Resocode Admin" in words(app)
    assert vera(owner).owner_id is None


def test_hostile_names_and_messages_stay_text(owner: Connection) -> None:
    nasty = "**x** [a](javascript:alert(1)) <img src=x onerror=alert(1)> :red[y] $z$ \u202eevil"
    owner.execute(
        text("update platform.visitor set name = :n, message = :n where id = :id"), {"n": nasty, "id": id_of("vera")}
    )
    owner.execute(
        text("update platform.program set title = :n where id = :id"), {"n": nasty, "id": id_of("python program")}
    )
    owner.commit()
    app = page(id=str(id_of("vera")))
    assert nasty in [t.value for t in app.text], "the message, to the letter"
    assert f"\u2068{nasty}\u2069" in [t.value for t in app.text], "the name, its direction kept to itself"
    shown = [e.value for kind in (app.markdown, app.caption, app.subheader, app.title) for e in kind]
    assert not [each for each in shown if " <img" in each or "**x**" in each or "](javascript" in each]
