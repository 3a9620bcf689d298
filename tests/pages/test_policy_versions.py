"""Versions of the policy through AppTest: what changes, whom it affects, put up by one, published by another."""

from datetime import date, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from core import db
from core.privacy import proposals
from tests.core.privacy.house_of_requests import rows
from tests.core.privacy.test_proposals import FIRST, document
from tests.pages.test_matrix import opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")
HOSTILE = {"name": "**Evil** <b>Ltd</b> :red[x]", "purpose": "[click](javascript:alert(1))"}


def proposed(*, simulated: bool = True) -> str:
    """A version that begins in 60 days; its id."""
    day = (now() + timedelta(days=60)).date()
    content = document(
        effective_at=date(day.year, day.month, day.day),
        parameters={"grace_days": 14},
        processors=[*FIRST["processors"], HOSTILE],
    )
    with db.transaction("worker") as session:
        made = proposals.propose_policy(session, content=content, now=now())
        if simulated:
            proposals.run_simulation(session, proposal_id=made.proposal_id, now=now())
    return str(made.proposal_id)


def confirmed(page: AppTest, button: str, word: str = "") -> None:
    """Fill the dialog in and press its last button."""
    if word:
        next(field for field in page.text_input if field.label.startswith("Type")).set_value(word)
    next(each for each in page.button if button in each.label and each.proto.is_form_submitter).click().run()
    assert not page.exception


def test_nothing_is_proposed() -> None:
    page = opened("omar", "policy_versions")
    assert "No version is proposed" in words(page)
    assert "2026-04-20" in words(page) and "in force" in words(page)


def test_a_version_goes_its_way_over_two_screens() -> None:
    proposal = proposed()
    page = opened("omar", "policy_versions")
    shown = words(page)
    assert "14 days instead of 30" in shown and "receives data" in shown
    assert HOSTILE["name"] not in [each.value for each in page.markdown], "names are text, never markdown"
    assert "open requests stay with the version" in shown
    page.button(key=f"put_up_{proposal}").click().run()
    confirmed(page, "Put it up")
    assert "You put it up" in words(page)
    assert not [each for each in page.button if str(each.key).startswith("approve_")]
    other = opened("olga", "policy_versions")
    other.button(key=f"approve_{proposal}").click().run()
    confirmed(other, "Publish the version", "wrong")
    assert rows("select count(*) from privacy.policy_version") == [(1,)]
    confirmed(other, "Publish the version", "2027-01-01")
    assert rows("select count(*) from privacy.policy_version") == [(2,)]
    other.run()
    assert "coming" in words(other) and rows("select about from privacy.campaign") == [("2027-01-01",)]


def test_an_auditor_reads_and_decides_nothing() -> None:
    proposal = proposed(simulated=False)
    page = opened("aiko", "policy_versions")
    assert "works out whom this affects" in words(page)
    assert not [each for each in page.button if proposal in str(each.key)]
