"""Manual steps through AppTest: what is to do, attested with evidence, confirmed by another one; also on the request's page."""

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core import db, privacy_actions
from core.processors.manual import DAYS_TO_DO_IT, Manual
from core.processors.protocol import Change, Order, Person
from tests.cast import email_of, id_of
from tests.core.privacy import house_of_requests as requests
from tests.pages.test_matrix import opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


def asked(processor: str = "Vercel", *, days_ago: int = 0, student: str = "asha") -> uuid.UUID:
    """An open step about a student, for the request of Asha."""
    with db.transaction("worker") as session:
        about = Person("student", id_of(student), id_of("asha request"))
        order = Order(about, f"{processor} {days_ago} {student}")
        made = Manual(processor).erase(session, order, now=now() - timedelta(days=days_ago))
    return uuid.UUID(made.reference)


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception
    return app


def attested(app: AppTest, step: uuid.UUID, evidence: str = "Nothing is found now. Ticket 7.") -> AppTest:
    for box in app.checkbox:
        box.check()
    app.text_area(key=f"words_{step}").set_value(evidence)
    return press(app, f"attest_go_{step}")


def state(step: uuid.UUID) -> str:
    return str(requests.rows("select state from privacy.manual_step where id = :id", id=step)[0][0])


def confirmed(app: AppTest, step: uuid.UUID, word: str) -> AppTest:
    press(app, f"confirm_{step}")
    next(field for field in app.text_input if field.label.startswith("Type")).set_value(word)
    next(
        button for button in app.button if "Confirm the step" in button.label and button.proto.is_form_submitter
    ).click()
    app.run()
    assert not app.exception
    return app


def test_nothing_is_to_do() -> None:
    page = opened("omar", "manual_steps")
    assert "Nothing is to be done by hand" in words(page)
    assert "No step waits for a second person" in words(opened("omar", "manual_steps", view="to confirm"))
    assert "No step is confirmed yet" in words(opened("omar", "manual_steps", view="done"))


def test_the_overdue_ones_are_on_top_and_no_person_is_named() -> None:
    asked("Cloudinary", student="ben")
    asked("SMTP", days_ago=DAYS_TO_DO_IT + 2)
    page = opened("omar", "manual_steps")
    rows = page.dataframe[0].value
    assert list(rows["Step"]) == ["Erase at SMTP", "Erase at Cloudinary"]
    assert [each[0] for each in rows["State"]] == ["to do, overdue", "to do"]
    assert [metric.value for metric in page.metric] == ["1", "2", "0"]
    assert not any(word in words(page) for word in ("Asha", "Ben", "students.example"))
    assert "2 manual steps to do, 1 of them overdue" in words(opened("omar", "overview"))


def test_one_sees_whom_to_look_for_which_is_recorded_and_attests_and_another_confirms(owner: Connection) -> None:
    step = asked()
    page = opened("omar", "manual_steps", id=str(step))
    assert "Delete what is found, also in previews of the site." in [box.label for box in page.checkbox]
    press(page, f"show_{step}")
    assert "Asha Example" in [each.value for each in page.text] and email_of("asha") in [
        each.value for each in page.code
    ]
    views = "select count(*) from privacy.audit_event where action = 'person viewed' and subject_id = :id"
    assert owner.scalar(text(views), {"id": id_of("asha")}) == 1
    press(page, f"attest_go_{step}")
    assert "Tick every line" in words(page) and state(step) == "open"
    attested(page, step, " ")
    assert "Write what was done" in words(page) and state(step) == "open"
    attested(page, step)
    assert state(step) == "attested" and "Another privacy officer confirms it" in words(page)
    assert f"confirm_{step}" not in [button.key for button in page.button]

    page = opened("olga", "manual_steps", id=str(step))
    assert any("✓ Search again" in each.value and "Ticket 7." in each.value for each in page.code)
    confirmed(page, step, "vercel")
    assert state(step) == "attested" and "it should be" in words(page)
    confirmed(page, step, "Vercel")
    assert state(step) == "confirmed" and "Confirmed by **Olga**" in words(page)
    assert requests.lines(step) == ["manual step attested", "manual step confirmed"]


def test_weak_evidence_goes_back_and_says_why() -> None:
    step = asked()
    requests.act("attest_manual_step", "omar", now=now(), step_id=step, evidence="Done.")
    page = opened("olga", "manual_steps", id=str(step))
    page.selectbox(key=f"why_{step}").set_value("evidence missing").run()
    press(page, f"return_{step}")
    assert state(step) == "open" and "Returned by the second person: evidence missing" in words(page)


def test_the_request_shows_its_steps_and_what_is_passed_on() -> None:
    with db.transaction("worker") as session:
        person = Person("student", id_of("asha"), id_of("asha request"))
        Manual("SMTP").propagate(session, person, Change("marketing off"), now=now())
    step = asked()
    page = opened("omar", "request", id=str(id_of("asha request")))
    labels = [each.label for each in page.expander]
    assert any("Pass on “marketing off” at SMTP" in label for label in labels)
    attested(page, step)
    assert state(step) == "attested"


def test_ones_own_record_is_for_somebody_else(owner: Connection) -> None:
    step = asked()
    owner.execute(
        text("update platform.student set email = :mail where id = :id"),
        {"mail": email_of("omar"), "id": id_of("asha")},
    )
    owner.commit()
    page = opened("omar", "manual_steps", id=str(step))
    assert "This is about your own record" in words(page)
    assert not page.checkbox


def test_a_single_officer_confirms_what_they_attested_and_reads_that_it_is_a_risk() -> None:
    step = asked()
    requests.act("attest_manual_step", "omar", now=now(), step_id=step, evidence="Done.")
    with db.transaction("worker") as session:
        for name in ("olga", "oskar"):
            privacy_actions.disable_staff(session, email=email_of(name), now=now())
        privacy_actions.declare_single_officer(session, on=True, now=now())
    page = opened("omar", "manual_steps", view="to confirm", id=str(step))
    assert "shows it as at risk" in words(page)
    confirmed(page, step, "Vercel")
    assert state(step) == "confirmed"


@pytest.mark.parametrize("wanted", ["nonsense", "00000000-0000-7000-8000-000000000000"])
def test_an_unknown_step_is_not_there(wanted: str) -> None:
    page = opened("omar", "manual_steps", id=wanted)
    assert not page.exception and "Nothing is to be done by hand" in words(page)
