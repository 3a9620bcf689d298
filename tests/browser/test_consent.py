"""Consent in a real browser: from the age to verified, by two people, with a picture that leaves through the one-time route."""

import io
import re

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser.conftest import Dashboard, sign_in

STUDENT = "student011@example.org"  # has not declared an age


def picture() -> bytes:
    """A form as somebody would photograph it, with the place in it."""
    exif = Image.Exif()
    exif[0x010E] = "52.5200N"
    out = io.BytesIO()
    Image.effect_noise((400, 300), 60).convert("RGB").save(out, "JPEG", exif=exif)
    return out.getvalue()


def find(page: Page) -> None:
    """Open the case by the student's address."""
    page.get_by_role("textbox", name="E-mail of the student, or of their guardian").fill(STUDENT)
    page.get_by_role("button", name="Find the case").click()
    page.get_by_role("heading", name=re.compile("^Case C-")).wait_for()


def choose(page: Page, label: str, option: str) -> None:
    field = page.get_by_role("combobox", name=label)
    expect(field).to_have_count(1)  # the form of the picture before is gone
    field.click()
    page.get_by_role("option", name=option).click()


def test_from_the_age_to_verified_by_two_people(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "omar", "/consent")
    find(page)
    expect(page.get_by_text("age not declared").first).to_be_visible()
    page.get_by_text("Below 18, born on").click()
    page.get_by_role("spinbutton", name="year, Date of birth").click()
    page.keyboard.type("20091224")
    choose(page, "How we know", "told by the student")
    page.get_by_role("button", name="Record the age").click()
    expect(page.get_by_text("account restricted")).to_be_visible()

    page.get_by_role("textbox", name="Guardian's name").first.fill("<b>Greta</b> Guardian")
    page.get_by_role("textbox", name="Guardian's e-mail").first.fill("greta@guardians.example")
    page.get_by_role("button", name="Ask for consent").click()
    expect(page.get_by_text("guardian asked").first).to_be_visible()

    choose(page, "How it came", "signed form")
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(
        {"name": "form.png", "mimeType": "image/png", "buffer": b"<svg onload='alert(1)'/>"}
    )
    expect(page.get_by_text("form.png")).to_be_visible()
    page.get_by_role("button", name="Enter it").click()
    expect(page.get_by_text("This is an SVG, which can hold a script.")).to_be_visible()
    choose(page, "How it came", "signed form")
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(
        {"name": "form.jpg", "mimeType": "image/jpeg", "buffer": picture()}
    )
    expect(page.get_by_text("form.jpg")).to_be_visible()
    page.get_by_role("button", name="Enter it").click()
    expect(page.get_by_text("You entered this consent.")).to_be_visible()
    expect(page.get_by_role("button", name="Verify the consent")).to_have_count(0)

    page.get_by_role("button", name="Privacy officer").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Sign in").wait_for()
    sign_in(page, dashboard, "olga", "/consent")
    find(page)
    page.get_by_role("button", name="Open the evidence").click()
    page.get_by_role("dialog").get_by_role("button", name="Make the link").click()
    link = page.get_by_role("link", name="See the picture")
    address = link.get_attribute("href")
    assert address
    whole = page.context.request.get(f"{dashboard.url}/{address.removeprefix('./').lstrip('/')}")
    assert whole.ok and whole.body().startswith(b"\xff\xd8\xff") and b"52.5200N" not in whole.body()
    page.get_by_role("button", name="Verify the consent").click()
    page.get_by_role("dialog").get_by_role("button", name="Verify the consent").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_text("verified").first).to_be_visible()
    expect(page.get_by_text("account restricted")).to_have_count(0)
    gone = page.context.request.get(f"{dashboard.url}/{address.removeprefix('./').lstrip('/')}")
    assert not gone.ok, "destroyed with the decision"
