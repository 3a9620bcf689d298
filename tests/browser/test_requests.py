"""The privacy desk in a real browser: from the first word to the decision, each page saying what is next and who does it."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Dashboard, open_row, sign_in

pytestmark = pytest.mark.browser


def hand_on(page: Page, dashboard: Dashboard, email: str, kind: str = "Deletion") -> str:
    """File a request as program staff, in somebody's own words; the number on the receipt."""
    sign_in(page, dashboard, "paula", "/hand_on")
    page.get_by_label("Kind", exact=True).click()
    page.get_by_role("option", name=kind).click()
    page.get_by_role("radio", name="What was said").click()
    page.get_by_label("Their e-mail, if you know it").fill(email)
    page.get_by_label("In their own words").fill("Please delete **everything** <img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Hand it on").click()
    expect(page.get_by_text("A privacy officer takes it from here")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("the answer is due on")).to_be_visible()
    found = re.search(rf"{kind} (R-\d+)", page.get_by_test_id("stMain").inner_text())
    assert found
    page.get_by_role("button", name="Program staff").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").wait_for()
    return found[1]


def open_request(page: Page, dashboard: Dashboard, number: str, name: str) -> str:
    """Sign in as an officer and open the request from the desk; its address."""
    sign_in(page, dashboard, name, "/requests")
    page.get_by_test_id("stDataFrame").wait_for()
    for place in range(40):
        open_row(page, place, page.get_by_test_id("stMain").get_by_role("button", name="More"))
        if page.get_by_role("heading", name=number).count():
            return page.url
        page.get_by_test_id("stMain").get_by_role("button", name="Requests").click()
        page.get_by_role("heading", name="Requests", exact=True).wait_for()
        page.get_by_test_id("stDataFrame").wait_for()
    raise AssertionError(f"{number} is not on the desk")


def expect_next(page: Page, whose: str, what: str) -> None:
    """What the card of the next action says."""
    expect(page.get_by_text(f"Next action: {whose}")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("heading", name=what)).to_be_visible()


def verify_and_close(page: Page, number: str) -> None:
    """Record the identity, then close the account, each as the page says."""
    expect_next(page, "yours", "Check the identity")
    page.get_by_role("button", name="Record the check").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("How was it checked?").click()
    page.get_by_role("option", name="known in person").click()
    dialog.get_by_text("It is them").click()
    dialog.get_by_role("button", name="Record the check").click()
    expect_next(page, "yours", "Close the account")
    page.get_by_role("button", name="Close the account").click()
    confirm(page, number, "Close the account")


def confirm(page: Page, number: str, button: str, *, reason: str = "") -> None:
    """Fill in the dialog that is open; whoever has just signed in is asked for no password."""
    dialog = page.get_by_role("dialog")
    if reason:
        dialog.get_by_label("Reason").click()
        page.get_by_role("option", name=reason).click()
    dialog.get_by_label(re.compile("^Type")).fill(number)
    dialog.get_by_role("button", name=button).click()
    expect(dialog).to_have_count(0, timeout=60_000)


def test_file_verify_close_reactivate(page: Page, dashboard: Dashboard) -> None:
    number = hand_on(page, dashboard, "student053@example.org")
    open_request(page, dashboard, number, "omar")
    verify_and_close(page, number)
    expect_next(page, "another officer's", "A second person approves the plan")
    expect(page.get_by_text("a second person approves.").first).to_be_visible()
    page.get_by_role("button", name="Reactivate").click()
    confirm(page, number, "Reactivate the account", reason="the student changed their mind")
    expect_next(page, "nobody's", "Done")
    expect(page.get_by_text("does not change any more")).to_be_visible()


def test_file_verify_close_approve_by_a_second_person_wait(page: Page, dashboard: Dashboard) -> None:
    number = hand_on(page, dashboard, "student058@example.org")
    address = open_request(page, dashboard, number, "omar")
    verify_and_close(page, number)
    expect_next(page, "another officer's", "A second person approves the plan")
    page.get_by_role("button", name="Privacy officer").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").wait_for()
    sign_in(page, dashboard, "olga", address.removeprefix(dashboard.url))
    expect_next(page, "yours", "Open the plan, then approve it")
    expect(page.get_by_text("You have not opened this plan yet")).to_be_visible()
    page.get_by_role("button", name="Open the plan").first.click()
    expect(page.get_by_text("stays").first).to_be_visible(timeout=60_000)
    expect_next(page, "yours", "Approve the deletion")
    page.get_by_role("button", name="Review and approve").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Nobody can bring it back")).to_be_visible()
    dialog.get_by_label("Reason").click()
    page.get_by_role("option", name="plan is right").click()
    dialog.get_by_label(re.compile("^Type")).fill("R-1")
    dialog.get_by_role("button", name="Approve permanent deletion").click()
    expect(dialog.get_by_text("Nothing was approved.")).to_be_visible(timeout=60_000)
    dialog.get_by_label(re.compile("^Type")).fill(number)
    dialog.get_by_role("button", name="Approve permanent deletion").click()
    expect_next(page, "the worker's", "Nothing to do until the grace period ends")
    expect(page.get_by_text("Until then the student can reactivate.")).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
