"""Export in a real browser: from the request to the page that the person opens, without a network."""

import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Dashboard, open_row, sign_in
from tests.browser.test_requests import expect_next

pytestmark = pytest.mark.browser


def file_export(page: Page, dashboard: Dashboard, email: str) -> str:
    """File an export as program staff; its number."""
    sign_in(page, dashboard, "paula", "/hand_on")
    page.get_by_label("Kind", exact=True).click()
    page.get_by_role("option", name="Access").click()
    page.get_by_role("radio", name="What was said").click()
    page.get_by_label("Their e-mail, if you know it").fill(email)
    page.get_by_label("In their own words").fill("What do you know about me?")
    page.get_by_role("button", name="Hand it on").click()
    expect(page.get_by_text("A privacy officer takes it from here")).to_be_visible(timeout=60_000)
    found = re.search(r"Access (R-\d+)", page.get_by_test_id("stMain").inner_text())
    assert found
    page.get_by_role("button", name="Program staff").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_label("E-mail").wait_for()
    return found[1]


def open_of_kind(page: Page, dashboard: Dashboard, number: str) -> str:
    """Sign in as an officer and open the request from the short list of its kind; its address."""
    sign_in(page, dashboard, "omar", "/requests?kind=access")
    for place in range(12):
        open_row(page, place, page.get_by_test_id("stMain").get_by_role("button", name="More"))
        if page.get_by_role("heading", name=number).count():
            return page.url
        page.get_by_test_id("stMain").get_by_role("button", name="Requests").click()
        page.get_by_role("heading", name="Requests", exact=True).wait_for()
        page.get_by_test_id("stDataFrame").wait_for()
    raise AssertionError(f"{number} is not on the desk")


def looked_at_until(page: Page, address: str, words: str) -> None:
    for _ in range(60):
        page.goto(address)
        expect(page.get_by_text("Next action")).to_be_visible()
        if page.get_by_text(words).count():
            return
        page.wait_for_timeout(1500)
    raise AssertionError(f"{words!r} never came")


def test_from_request_to_the_opened_page(page: Page, browser: Browser, dashboard: Dashboard, tmp_path: Path) -> None:
    number = file_export(page, dashboard, "student091@example.org")
    address = open_of_kind(page, dashboard, number)
    expect_next(page, "yours", "Check the identity")
    page.get_by_role("button", name="Record the check").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("How was it checked?").click()
    page.get_by_role("option", name="known in person").click()
    dialog.get_by_text("It is them").click()
    dialog.get_by_role("button", name="Record the check").click()
    expect(page.get_by_role("heading", name="The file", exact=True)).to_be_visible(timeout=60_000)
    looked_at_until(page, address, "Next action: yours")  # the worker beside it makes it
    if page.get_by_role("button", name="Show the sentences").count():
        page.get_by_role("button", name="Show the sentences").click()
        page.get_by_role("button", name="Hand out as it is").first.click()
        looked_at_until(page, address, "Ready: hand the file out")
    expect_next(page, "yours", "Ready: hand the file out")
    page.get_by_role("button", name="Hand it out").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Make the link").click()
    link = page.get_by_role("link", name=re.compile("^Fetch r-"))
    expect(link).to_be_visible(timeout=60_000)
    with page.expect_download() as fetched:
        link.click()
    fetched.value.save_as(tmp_path / "data.zip")
    again = page.request.get(str(link.get_attribute("href")) if "://" in str(link.get_attribute("href")) else f"{dashboard.url}/{link.get_attribute('href')}")  # fmt: skip
    assert again.status in (200, 410), "within a minute a broken download may be repeated"
    with zipfile.ZipFile(tmp_path / "data.zip") as archive:
        archive.extractall(tmp_path)
    page.goto(address)
    expect_next(page, "yours", "Say that the person has it")
    read_offline(browser, tmp_path / "index.html", number)


def read_offline(browser: Browser, file: Path, number: str) -> None:
    """Open the page as the person does: no network, no request but the file itself, nothing refused by its own policy."""
    context = browser.new_context(offline=True)
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(file.as_uri())
    expect(page.get_by_role("heading", name="Your data", exact=True)).to_be_visible()
    expect(page.get_by_text(number).first).to_be_visible()
    expect(page.get_by_role("heading", name="Your progress in pictures")).to_be_visible()
    assert page.get_by_role("img").count() >= 1
    assert asked == [file.as_uri()]
    assert said == []
    context.close()
