"""What many are told, in a real browser: a policy version from its file to its notice, an incident from awareness to its own."""

import re
import shutil
from collections.abc import Iterator
from datetime import date

import pytest
import yaml
from playwright.sync_api import Page, expect

from core.policy.versions import FIRST_VERSION
from tests.browser.conftest import Dashboard, serving, sign_in
from tests.conftest import open_folder

pytestmark = pytest.mark.browser
HOSTILE = "Mail to a wrong address <img src=x onerror=alert(1)> **bold** https://evil.example"


@pytest.fixture(scope="module")
def own() -> Iterator[Dashboard]:
    """A dashboard of its own, with its worker and the demo's two incidents: what is published here never goes again."""
    folder = open_folder()
    with serving(folder / "home", "--demo", "--seed", "auto") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def sign_out(page: Page) -> None:
    """Leave, so that another officer can sit down."""
    page.get_by_role("button", name="Privacy officer").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").wait_for()


def until(page: Page, words: str | re.Pattern[str]) -> None:
    """Look again until the worker has done its part."""
    for _ in range(30):
        if page.get_by_test_id("stMain").get_by_text(words).count():
            break
        page.wait_for_timeout(1000)
        page.reload()
        page.get_by_role("heading", level=1).wait_for()
    expect(page.get_by_test_id("stMain").get_by_text(words).first).to_be_visible()


def press(page: Page, button: str, within: str = "") -> None:
    """Press the last button of the dialog that is open, and see it close."""
    dialog = page.get_by_role("dialog")
    if within:
        dialog.get_by_label(re.compile("^Type")).fill(within)
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_have_count(0)


def test_a_policy_version_from_its_file_through_two_people_to_its_notice(page: Page, own: Dashboard) -> None:
    document = yaml.safe_load(FIRST_VERSION.read_text(encoding="utf-8"))
    document["parameters"] |= {"grace_days": 14}
    file = own.home / "next.yaml"
    file.write_text(yaml.safe_dump(document | {"version": "2099-01-01", "effective_at": date(2099, 1, 1)}))
    sign_in(page, own, "omar", "/policy_versions")
    page.get_by_role("button", name="Withdraw").click()  # the one that the demo begins with
    expect(page.get_by_text("No version is proposed")).to_be_visible()
    own.core("policy", "propose", str(file))
    page.reload()
    until(page, "Whom it would affect")
    expect(page.get_by_text("14 days instead of 30")).to_be_visible()
    expect(page.get_by_text("Everybody with an open account is told once it is published")).to_be_visible()
    expect(page.get_by_text("open requests stay with the version they were filed under")).to_be_visible()
    page.get_by_role("button", name="Put it up for approval").click()
    press(page, "Put it up")
    expect(page.get_by_text("You put it up: another person approves it.")).to_be_visible()
    expect(page.get_by_role("button", name="Approve and publish")).to_have_count(0)
    sign_out(page)
    sign_in(page, own, "olga", "/policy_versions")
    page.get_by_role("button", name="Approve and publish").click()
    press(page, "Publish the version", "2099-01-01")
    expect(page.get_by_text("No version is proposed")).to_be_visible()
    page.goto(own.url + "/notices")
    expect(page.get_by_role("heading", name="Policy notice · version 2099-01-01")).to_be_visible()
    until(page, re.compile("Put the text on the platform"))
    page.get_by_label("Where it stands on the platform").fill("a banner after sign-in")
    page.get_by_role("button", name="It is shown").click()
    expect(page.get_by_text("Shown on the platform since")).to_be_visible()
    until(page, "done")
    page.get_by_text("Recipients", exact=True).click()
    expect(page.get_by_text(re.compile(r"^Told \d+"))).to_be_visible()
    expect(page.get_by_text("without names: the number is that of the mail")).to_be_visible()


def test_an_incident_from_awareness_to_the_notice(page: Page, own: Dashboard) -> None:
    sign_in(page, own, "omar", "/incidents")
    page.get_by_role("button", name="Record an incident").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Title").fill(HOSTILE)
    dialog.get_by_role("textbox", name="What happened").fill("A file with names went to a wrong address.")
    press(page, "Record it")
    expect(page.get_by_role("heading", name="I-3 · Mail to a wrong address")).to_be_visible()
    expect(page.get_by_text("Hour 1 of 72")).to_be_visible()
    page.get_by_role("button", name="Set the scope").click()
    page.get_by_role("button", name="Count whom it concerns").click()
    until(page, re.compile(r"^\d+ people$"))
    for heading, choice in (
        ("Decide about the authority", "It is notified"),
        ("Decide about the people", "They are told"),
    ):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
        page.get_by_role("button", name="Decide", exact=True).click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text(choice, exact=True).click()
        dialog.get_by_label("Reason").fill("Names are out.")
        press(page, "Keep the decision")
        if choice == "It is notified":
            page.get_by_role("button", name="It was notified").click()
            page.get_by_label("Their reference").fill("AZ 7")
            page.get_by_role("button", name="Record", exact=True).click()
            expect(page.get_by_text("In time: notified on").first).to_be_visible()
    page.get_by_role("button", name="Tell them").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("What happened, what it may mean").fill("A file with your name went to a wrong address.")
    press(page, "Tell them", "I-3")
    page.get_by_role("button", name="Whom the notice reached").click()
    expect(page.get_by_role("heading", name="Security notice · I-3")).to_be_visible()
    assert page.locator("img[src='x'], a[href*='evil.example']").count() == 0
