"""The Holds page through AppTest: empty, placed, selected, reviewed, released; and what it says when something is missing."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from tests.cast import email_of, id_of
from tests.core.privacy import house_of_requests as requests
from tests.pages.test_matrix import opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


def place(**more: object) -> str:
    given = {"student_id": id_of("cleo"), "basis": "tax audit", "reference": "TA *7*", "form_key": uuid.uuid4(),
             "review_on": now().date() + timedelta(days=90)}  # fmt: skip
    return str(requests.act("place_hold", "omar", now=now(), **(given | more)))


def holds() -> list[tuple[object, ...]]:
    return requests.rows(
        "select scope_table, scope_record, basis, reference, released_at is null from privacy.legal_hold"
    )


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if label in button.label).click().run()


def found() -> AppTest:
    app = opened("omar", "holds")
    app.text_input(key="hold_email").set_value(email_of("cleo"))
    return press(app, "Find the person")


def filled(app: AppTest, scope: str) -> AppTest:
    app.radio(key="hold_scope").set_value(scope).run()
    app.selectbox(key="hold_basis").set_value("court proceedings")
    return app.text_input(key="hold_reference").set_value("4 C 12/26").run()


def test_nothing_is_held() -> None:
    shown = words(opened("omar", "holds"))
    assert "Nothing is held" in shown
    assert "No hold was released" in words(opened("omar", "holds", which="Released"))


def test_nobody_has_this_address() -> None:
    app = opened("omar", "holds")
    app.text_input(key="hold_email").set_value("cleo@students")
    assert "Nobody has exactly this address" in words(press(app, "Find the person"))
    assert "Type the person" in words(press(opened("omar", "holds"), "Find the person"))


@pytest.mark.parametrize(
    ("scope", "sentence"), [("One record", "Choose the table"), ("All of a table", "Choose the table"), ("Everything about the person", "a basis and the case")]
)  # fmt: skip
def test_what_is_missing_is_said(scope: str, sentence: str) -> None:
    app = found()
    app.radio(key="hold_scope").set_value(scope).run()
    shown = words(press(app, "Place this hold"))
    assert sentence in shown
    assert holds() == []


def test_a_hold_is_placed_on_one_record() -> None:
    app = filled(found(), "One record")
    assert "Cleo Example" in words(app)
    app.selectbox(key="hold_table").set_value("platform.visitor").run()
    assert "no record there" in words(app)
    assert "Choose the record" in words(press(app, "Place this hold"))
    app.selectbox(key="hold_table").set_value("platform.submission").run()
    [choice] = app.selectbox(key="hold_record_platform.submission").options
    assert choice.endswith(str(id_of("cleo submission"))[-6:]), "one record: it is chosen, by its day"
    app = press(app, "Place this hold")
    next(field for field in app.text_input if "to confirm" in field.label).set_value("hold")
    app = press(app, "Place the hold")
    assert not app.exception
    assert holds() == [("platform.submission", id_of("cleo submission"), "court proceedings", "4 C 12/26", True)]
    assert "one record of submissions" in words(app) and "Cleo Example" not in words(app)


def selected(name: str = "omar") -> AppTest:
    """The page with its first hold selected, as far as AppTest can: by the table's state."""
    app = opened(name, "holds")
    row = requests.rows("select id from privacy.legal_hold order by review_on, id")
    app.session_state[f"holds_1_{row[0][0]}_{row[-1][0]}"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    return app.run()


def test_who_is_held_shows_on_demand() -> None:
    number = place()
    app = selected()
    assert number in words(app) and "Cleo Example" not in words(app)
    assert "Cleo Example" in words(press(app, "Show the student"))
    assert requests.lines(id_of("cleo")) == ["hold placed", "person viewed"]


def test_a_hold_is_kept_for_another_while() -> None:
    place()
    app = press(selected("olga"), "Keep it")
    assert not app.exception
    due = requests.rows("select review_on, owner_id from privacy.legal_hold")[0]
    assert due == (now().date() + timedelta(days=180), id_of("olga"))


def test_a_hold_is_released_with_number_and_reason() -> None:
    number = place()
    app = press(selected(), "Release the hold")
    next(box for box in app.selectbox if box.label == "Reason").set_value("claim settled")
    next(field for field in app.text_input if "to confirm" in field.label).set_value("H-0")
    assert "The hold stands" in words(
        next(
            b
            for b in app.button
            if b.label.startswith(":red") and "Release the hold" in b.label and b.key != "release_hold"
        )
        .click()
        .run()
    )
    next(box for box in app.selectbox if box.label == "Reason").set_value("claim settled")
    next(field for field in app.text_input if "to confirm" in field.label).set_value(number)
    app = (
        next(
            b
            for b in app.button
            if b.label.startswith(":red") and "Release the hold" in b.label and b.key != "release_hold"
        )
        .click()
        .run()
    )
    assert not app.exception
    assert holds()[0][-1] is False


def test_a_hold_past_its_review_shows_on_the_page_and_on_today() -> None:
    place()
    requests_now = now() - timedelta(days=400)
    with_past = requests_now.date() + timedelta(days=100)
    requests.act("place_hold", "omar", now=requests_now, student_id=id_of("cleo"), basis="tax audit", reference="old",
                 form_key=uuid.uuid4(), review_on=with_past)  # fmt: skip
    assert "1 hold is past the day of review" in words(opened("omar", "holds"))
    assert "1 legal hold past the day of review" in words(opened("omar", "overview"))


# From the page of a request


def on_request(name: str = "omar") -> AppTest:
    return opened(name, "request", id=str(id_of("asha request")))


def test_a_hold_is_placed_on_one_record_of_the_requests_person_picked_by_its_day() -> None:
    app = on_request()
    app.menu_button(key="more").click("Place a hold").run()
    assert "Asha Example" in words(app)
    app.selectbox(key="hold_table").set_value("platform.submission").run()
    assert len(app.selectbox(key="hold_record_platform.submission").options) == 1
    app.selectbox(key="hold_basis").set_value("claim of theirs")
    app.text_input(key="hold_reference").set_value("C *1*").run()
    app = press(app, "Place this hold")
    next(field for field in app.text_input if "to confirm" in field.label).set_value("hold")
    app = press(app, "Place the hold")
    assert not app.exception
    assert holds() == [("platform.submission", id_of("asha submission"), "claim of theirs", "C *1*", True)]
    shown = words(app).replace("\\", "")
    assert "keeps one record of submissions" in shown and "claim of theirs · C *1*" in shown


def test_releasing_from_the_request_says_that_what_was_held_goes_on() -> None:
    number = place(student_id=id_of("asha"))
    with_delete = requests.file("delete", now=now(), student_id=id_of("asha"))
    app = opened("omar", "request", id=str(with_delete.request_id))
    assert f"{number} keeps everything about this person" in words(app)
    app.button(key=f"release_{number}").click().run()
    next(box for box in app.selectbox if box.label == "Reason").set_value("claim settled")
    next(field for field in app.text_input if "to confirm" in field.label).set_value(number)
    app = next(b for b in app.button if b.label.startswith(":red") and "Release the hold" in b.label).click().run()
    assert not app.exception
    assert holds()[0][-1] is False
    shown = words(app)
    assert "what it held goes on" in shown and "keeps everything about this person" not in shown


def test_nobody_holds_or_releases_on_their_own_record(owner: Connection) -> None:
    number = place(student_id=id_of("asha"))
    owner.execute(
        text("update platform.student set email = :mail where id = :id"),
        {"mail": email_of("omar"), "id": id_of("asha")},
    )
    owner.commit()
    app = on_request()
    assert number in words(app)
    assert not {f"release_{number}", "hold_begin"} & {button.key for button in app.button}
