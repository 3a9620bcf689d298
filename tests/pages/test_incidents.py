"""Incidents through AppTest: recorded, scoped, decided, told and closed by two; the alarm on Today."""

import uuid
from datetime import timedelta

import pytest
from streamlit.testing.v1 import AppTest

from core import db
from core.privacy import incidents
from tests.core.privacy.house_of_requests import HOUR, act, rows
from tests.pages.test_matrix import opened, words
from tests.pages.test_policy_versions import confirmed
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")
HOSTILE = "**Evil** <script>alert(1)</script> :red[x]"


def recorded(hours: int = 1) -> uuid.UUID:
    """An incident of which we know since some hours."""
    given = {
        "title": HOSTILE,
        "nature": "confidentiality",
        "place": "Cloudinary",
        "summary": "A file went out.",
        "form_key": uuid.uuid4(),
    }
    return uuid.UUID(str(act("open_incident", "omar", now=now(), aware_at=now() - hours * HOUR, **given)))


def decide(page: AppTest, key: str, choice: str, button: str) -> None:
    """Press a button that opens a decision, choose, give a reason."""
    page.button(key=key).click().run()
    page.radio[0].set_value(choice)
    next(field for field in page.text_area if field.label == "Reason").set_value("Because of this.")
    confirmed(page, button)


def test_an_empty_register_says_what_to_do() -> None:
    page = opened("omar", "incidents")
    assert "No incident is recorded" in words(page)
    page.button(key="record").click().run()
    next(field for field in page.text_input if field.label == "Title").set_value("Lost laptop")
    next(field for field in page.text_area if field.label == "What happened").set_value("It was on the train.")
    confirmed(page, "Record it")
    assert "Lost laptop" in words(page)
    assert rows("select title, place from privacy.incident") == [("Lost laptop", "this dashboard")]


def test_an_incident_goes_its_way_over_two_screens() -> None:
    incident = recorded()
    page = opened("omar", "incidents", id=str(incident))
    assert HOSTILE not in [each.value for each in page.subheader], "a title is text, never markdown"
    page.multiselect(key=f"categories_{incident}").set_value(["learning"])
    page.button(key=f"count_{incident}").click().run()
    assert "looks whom it concerns" in words(page)
    with db.transaction("worker") as session:
        incidents.count_people(session, incident_id=incident, now=now())
    page.run()
    assert "### 3 people" in words(page)
    decide(page, f"authority_{incident}", "notify", "Keep the decision")
    page.text_input(key=f"reference_{incident}").set_value("AZ 7")
    page.button(key=f"notified_go_{incident}").click().run()
    assert "In time" in words(page)
    decide(page, f"people_{incident}", "tell", "Keep the decision")
    page.button(key=f"tell_{incident}").click().run()
    next(field for field in page.text_area if field.label.startswith("What happened, what")).set_value(
        "A file went out."
    )
    confirmed(page, "Tell them", "I-1")
    assert rows("select about from privacy.campaign") == [("I-1",)]
    for name, button in (("omar", "Ask to close it"), ("olga", "Close it")):
        page = opened(name, "incidents", id=str(incident))
        page.button(key=f"close_{incident}").click().run()
        confirmed(page, button)
    assert rows("select closed_at is not null from privacy.incident") == [(True,)]
    assert "Closed by Omar and Olga" in words(page)


def test_today_says_how_many_hours_are_left() -> None:
    recorded(hours=50)
    page = opened("omar", "overview")
    assert "Incident I-1: 22 hours left of 72" in words(page)
    recorded(hours=80)
    assert "Incident I-2: 8 hours past the 72" in words(opened("ada", "overview"))


def test_an_admin_reads_the_record_and_nothing_else() -> None:
    incident = recorded()
    act("file_note", "omar", now=now(), incident_id=incident, kind="note", body="Secret words.", form_key=uuid.uuid4())
    page = opened("ada", "incidents", id=str(incident))
    assert "A file went out." in words(page) and "Secret words." not in words(page)
    assert not [each for each in page.button if str(incident) in str(each.key)]
    assert timedelta(hours=72) == incidents.HOURS_72
