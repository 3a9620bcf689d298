"""A new colleague's way in, from the invitation to the first sign-in, in a real browser against a real server."""

import re
import shutil
import time
from collections.abc import Iterator

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Dashboard, select_row, serving, sign_in
from tests.conftest import open_folder

pytestmark = pytest.mark.browser

PHRASE = "juniper-lagoon-meadow-77"
NINA = "nina@staff.example"


@pytest.fixture(scope="module")
def house() -> Iterator[Dashboard]:
    """A dashboard of one's own: these tests change who works here."""
    folder = open_folder()
    with serving(folder / "home", "--demo") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def tab(browser: Browser, dashboard: Dashboard, path: str = "/") -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(dashboard.url + path)
    return page


def enter(page: Page, password: str, code: str = "") -> None:
    page.get_by_label("E-mail").fill(NINA)
    page.get_by_label("Password").first.fill(password)
    page.get_by_role("textbox", name="Code from your authenticator app").fill(code)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_invite_approve_redeem_set_up_codes_and_sign_in(browser: Browser, page: Page, house: Dashboard) -> None:
    sign_in(page, house, "ada", "/staff")
    page.get_by_role("button", name="Invite a staff member").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("Nina New")
    dialog.get_by_label("E-mail").fill(NINA)
    dialog.get_by_label("Role").click()
    page.get_by_role("option", name="Privacy officer").click()
    dialog.get_by_label("Reason").fill("We grow.")
    dialog.get_by_role("button", name="Make the invitation").click()
    shown = dialog.get_by_test_id("stCode")
    expect(shown).to_have_text(re.compile(r"^(\w{5}-){4}\w{5}$"))
    code = shown.inner_text().strip()
    dialog.get_by_role("button", name="I have handed it over").click()
    expect(page.get_by_text("You asked: another admin decides.")).to_be_visible()

    other = tab(browser, house)
    sign_in(other, house, "arne", "/staff")
    other.get_by_role("button", name="Review").click()
    other.get_by_role("dialog").get_by_role("textbox").fill("Nina New")
    other.get_by_role("dialog").get_by_role(
        "button", name=re.compile("Approve$")
    ).last.click()  # behind "Do not approve"
    expect(other.get_by_role("heading", name="Waits for a second admin")).to_have_count(0)

    new = tab(browser, house)
    strangers: list[str] = []
    new.on(
        "request", lambda r: strangers.append(r.url) if not r.url.startswith((house.url, "data:", "blob:")) else None
    )
    new.get_by_role("button", name="I have an invitation").click()
    new.get_by_role("button", name="Go on").wait_for()  # the sign-in has an e-mail and a code, too
    new.get_by_label("E-mail").fill(NINA)
    new.get_by_label("Code").fill(code.lower())
    new.get_by_role("button", name="Go on").click()
    new.get_by_label("New password", exact=True).fill(PHRASE)
    new.get_by_label("New password again").fill(PHRASE)
    new.get_by_role("button", name="Set password").click()
    expect(new.get_by_text("Your password is set.")).to_be_visible()
    assert code not in new.url

    enter(new, PHRASE)
    expect(new.get_by_role("heading", name="Set up one-time codes")).to_be_visible()
    expect(new.get_by_test_id("stSidebarNav")).to_have_count(0)
    picture = new.get_by_role("img", name="QR code").get_attribute("src") or ""
    assert picture.startswith("data:image/svg+xml")
    new.get_by_text("Type it instead").click()
    totp = pyotp.TOTP(new.get_by_test_id("stCode").inner_text().replace(" ", "").strip())
    new.get_by_label("New code").fill(totp.now())
    new.get_by_role("button", name="Turn on one-time codes").click()
    expect(new.get_by_role("heading", name="Today", exact=True)).to_be_visible()

    again = tab(browser, house)
    enter(again, PHRASE)
    expect(again.get_by_text("That did not work.")).to_be_visible()
    enter(again, PHRASE, totp.at(int(time.time()) + 30))
    expect(again.get_by_role("heading", name="Today", exact=True)).to_be_visible()
    assert strangers == []
    log = (house.home / "serve.log").read_text()
    assert code not in log and NINA not in log
    for each in (other, new, again):
        each.context.close()


def test_a_row_opens_the_account_though_last_seen_moves(page: Page, house: Dashboard) -> None:
    sign_in(page, house, "ada", "/staff?role=Mentor")
    select_row(page)
    expect(page.get_by_role("heading", name="Staff member")).to_be_visible()
    expect(page.get_by_text("marek@demo.example")).to_be_visible()
