"""The page Consent through AppTest: empty, a case from the age to the second officer, letters to many, what stays hidden."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from tests.cast import email_of, id_of
from tests.core.privacy import house_of_consent as c
from tests.core.privacy import house_of_requests as requests
from tests.pages.test_matrix import at, opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if label in button.label).click().run()


def field(app: AppTest, label: str) -> int:
    return next(place for place, each in enumerate(app.text_input) if each.label == label)


def case_of(name: str = "omar") -> AppTest:
    return opened(name, "consent", id=str(id_of("cleo")))


def test_nothing_is_to_be_done() -> None:
    shown = words(opened("omar", "consent"))
    assert "Nothing is to be done" in shown and "Cleo" not in shown
    for view in ("waiting", "lapsing", "not asked", "verified"):
        app = opened("omar", "consent", view=view)
        assert not app.exception and len(app.dataframe) == 0


def test_an_age_is_recorded_and_a_guardian_asked() -> None:
    app = opened("omar", "consent")
    app.text_input(key="consent_email").set_value("nobody@students.example")
    assert "No student has exactly this address" in words(press(app, "Find the case"))
    app.text_input(key="consent_email").set_value(email_of("cleo"))
    app = press(app, "Find the case")
    assert "Cleo Example" in words(app)
    app = press(app, "Record the age")
    assert "Choose what the student is" in words(app)
    next(each for each in app.radio if each.label == "The student is").set_value("Below 18, born on")
    assert "Give the date of birth" in words(press(app, "Record the age"))
    next(each for each in app.radio if each.label == "The student is").set_value("Below 18, born on")
    app.date_input[0].set_value(c.BORN)
    assert "Say how we know" in words(press(app, "Record the age")).replace("\\", "")
    next(each for each in app.radio if each.label == "The student is").set_value("Below 18, born on")
    app.date_input[0].set_value(c.BORN)
    next(each for each in app.selectbox if each.label == "How we know").set_value("told by the student")
    app = press(app, "Record the age")
    assert not app.exception and c.case().state == "missing" and c.restricted() == ["consent missing"]
    app.text_input[field(app, "Guardian's name")].set_value("**Greta** <b>Guardian</b>")
    app.text_input[field(app, "Guardian's e-mail")].set_value(email_of("cleo"))
    assert "student\\'s own address" in words(press(app, "Ask for consent")), "names and sentences are literal"
    app.text_input[field(app, "Guardian's name")].set_value("**Greta** <b>Guardian</b>")
    app.text_input[field(app, "Guardian's e-mail")].set_value("greta@guardians.example")
    app = press(app, "Ask for consent")
    assert not app.exception and c.case().state == "requested"
    assert "**Greta** <b>Guardian</b>" in [each.value for each in app.text], "as text, never as markdown"


def test_whoever_looks_sees_no_name_before_they_ask() -> None:
    c.requested()
    app = case_of()
    shown = words(app)
    assert "Case C-" in shown and "Cleo" not in shown and "Greta" not in shown and "greta@" not in shown
    before = requests.lines(id_of("cleo"))
    shown = words(press(app, "Show the student"))
    assert "Cleo Example" in shown and "Greta Guardian" in shown
    assert requests.lines(id_of("cleo"))[len(before) :] == ["person viewed"]


def test_the_second_officer_verifies_and_the_first_does_not() -> None:
    c.given()
    app = case_of("omar")
    assert "You entered this consent" in words(app)
    assert not [button for button in app.button if "Verify the consent" in button.label]
    app = press(case_of("olga"), "Verify the consent")
    assert "The account opens at once" in words(app)
    app = [b for b in app.button if "Verify the consent" in b.label][-1].click().run()
    assert not app.exception
    assert c.case().state == "verified" and c.restricted() == []
    assert "account restricted" not in words(at(app, "consent", id=str(id_of("cleo"))))


def test_the_second_officer_refuses_with_a_reason() -> None:
    c.given()
    app = press(case_of("olga"), "Refuse")
    app = [b for b in app.button if "Refuse the consent" in b.label][-1].click().run()
    assert "A reason is needed" in words(app) and c.case().state == "given"
    next(box for box in app.selectbox if box.label == "Reason").set_value("the evidence cannot be read")
    [b for b in app.button if "Refuse the consent" in b.label][-1].click().run()
    assert c.case().state == "refused"


def test_an_older_picture_decides_nothing() -> None:
    c.requested()
    app = case_of()
    c.on("withdraw_consent", "olga", who="guardian")
    next(box for box in app.selectbox if box.label == "How it came").set_value("in person")
    assert "was changed since you opened it" in words(press(app, "Enter it"))
    assert c.case().state == "withdrawn"


def test_letters_to_many_are_confirmed_with_their_number(owner: Connection) -> None:
    owner.execute(text("set session_replication_role = replica"))
    owner.execute(text("update privacy.consent set adult = null, declared_at = null"))
    owner.commit()
    app = press(opened("omar", "consent", view="not asked"), "Ask 3 for their age")
    assert "restricted" in words(app)
    next(each for each in app.text_input if "to confirm" in each.label).set_value("2")
    app = [b for b in app.button if "Ask them" in b.label][-1].click().run()
    assert requests.rows("select 1 from privacy.campaign") == []
    next(each for each in app.text_input if "to confirm" in each.label).set_value("3")
    app = [b for b in app.button if "Ask them" in b.label][-1].click().run()
    assert not app.exception
    assert requests.rows("select kind, channel, audience from privacy.campaign") == [
        ("age question", "mail", "age never asked")]  # fmt: skip
    assert "to be answered by" in words(at(app, "consent")) and "on its way" in words(at(app, "consent"))


def test_today_says_what_is_to_be_done() -> None:
    c.given()
    assert "1 consent to verify as the second person" in words(opened("olga", "overview"))
    assert "to verify as the second person" not in words(opened("omar", "overview"))
    c.on("refuse_consent", "olga", reason="the evidence cannot be read")
    assert "1 minor whose guardian is to be asked" in words(opened("omar", "overview"))
    c.on("request_consent", now=now() - timedelta(days=8))
    assert "1 guardian silent for a week" in words(opened("omar", "overview"))


def test_a_letter_about_consent_is_seen_by_name_and_recorded() -> None:
    c.requested()
    app = opened("omar", "letters")
    [(letter,)] = requests.rows("select id from privacy.outbox")
    assert isinstance(letter, uuid.UUID) and not app.exception and "Cleo" not in words(app)


def test_a_guardian_is_corrected_and_erased_on_the_page() -> None:
    c.verified()
    app = press(case_of(), "Show the student")
    next(each for each in app.text_input if each.label == "Name, corrected").set_value("Greta **Grün**")
    app = press(app, "Correct")
    assert not app.exception and "Greta **Grün**" in [each.value for each in app.text]
    app = press(app, "Erase the guardian")
    next(each for each in app.text_input if "to confirm" in each.label).set_value(f"C-{c.case().number}")
    app = [b for b in app.button if "Erase the guardian" in b.label][-1].click().run()
    assert not app.exception and c.case().state == "withdrawn" and c.restricted() == ["consent missing"]
