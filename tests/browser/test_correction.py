"""A correction in a real browser: handed on, entered by one officer, compared and confirmed by another one."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Dashboard, sign_in
from tests.browser.test_requests import expect_next, hand_on, open_request

pytestmark = pytest.mark.browser
NEW = "Zoë <img src=x onerror=alert(1)> **Müller**"


def test_hand_on_enter_and_confirm_by_a_second_officer(page: Page, dashboard: Dashboard) -> None:
    number = hand_on(page, dashboard, "student061@example.org", kind="Correction")
    address = open_request(page, dashboard, number, "omar")
    expect_next(page, "yours", "Check the identity")
    page.get_by_role("button", name="Record the check").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("How was it checked?").click()
    page.get_by_role("option", name="known in person").click()
    dialog.get_by_text("It is them").click()
    dialog.get_by_role("button", name="Record the check").click()
    expect_next(page, "yours", "Enter the correction")
    page.get_by_role("button", name="Enter the correction").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill(NEW)
    dialog.get_by_label("Why is it wrong?").click()
    page.get_by_role("option", name="It was right once and has changed").click()
    dialog.get_by_role("button", name="Enter the correction").click()
    expect_next(page, "another officer's", "Compare and confirm the correction")
    expect(page.get_by_text("You entered this correction")).to_be_visible()
    page.get_by_role("button", name="Privacy officer").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").wait_for()
    sign_in(page, dashboard, "olga", address.removeprefix(dashboard.url))
    expect_next(page, "yours", "Compare and confirm the correction")
    page.get_by_role("button", name="Compare and confirm").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("the old one gets a letter, too")).to_be_visible()
    expect(dialog.get_by_test_id("stDataFrame")).to_be_visible()
    dialog.get_by_role("button", name="Confirm the correction").click()
    expect(dialog).to_have_count(0, timeout=60_000)
    expect_next(page, "nobody's", "Done")
    expect(page.get_by_text("Corrected and passed on")).to_be_visible()
    expect(page.get_by_text(re.compile("Elsewhere")).first).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
