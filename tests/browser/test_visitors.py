"""The search box and the visitors' drawer, in a real browser against a real server.

These follow visitors up in the shared dashboard; no other test looks at visitors.
"""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Dashboard, select_row, sign_in

pytestmark = pytest.mark.browser


def find(page: Page, typed: str) -> None:
    box = page.get_by_test_id("stSidebar").get_by_label("Search", exact=True)
    box.fill(typed)
    box.press("Enter")


def test_search_leads_to_a_student_and_keeps_what_was_typed_to_itself(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/visitors?due=Waiting+too+long")
    find(page, "click")
    hit = page.get_by_test_id("stSidebar").get_by_role("button", name="[click](javascript:alert(1))").first
    expect(hit).to_be_visible(timeout=60_000)
    assert "click" not in page.url
    hit.click()
    expect(page.get_by_role("heading", name="Student", exact=True)).to_be_visible(timeout=60_000)
    expect(page.get_by_test_id("stSidebar").get_by_label("Search", exact=True)).to_have_value("")
    assert "click" not in page.url and "id=" in page.url
    assert "click" not in (dashboard.home / "serve.log").read_text()


def test_a_cohort_is_found_from_the_page_it_leads_to(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/enrollments?level=advanced&program=Java&period=30+days")
    find(page, "cloud 3")
    page.get_by_test_id("stSidebar").get_by_role("button", name="Cloud 3").click()
    expect(page).to_have_url(re.compile("cohort=Cloud"), timeout=60_000)
    # 27, less those whose minority the worker has seen to by now
    expect(page.get_by_role("heading", name=re.compile(r"^2[67] enrollments$"))).to_be_visible(timeout=60_000)


def test_filters_of_the_address_are_cleared(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/visitors?age=Up+to+7+days&status=lost&became=Converted&owner=Mine")
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_test_id("stDataFrame").last).to_be_visible(timeout=60_000)
    expect(page).not_to_have_url(re.compile("Converted"))


def test_take_plan_and_the_list_shrinks(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/visitors?due=Contact+due&sort=Next+contact+first")
    heading = page.get_by_role("heading", name=re.compile(r"^\d+ visitors?$"))
    heading.wait_for()
    before = int(heading.inner_text().split()[0])
    select_row(page)
    drawer = page.get_by_role("dialog")
    expect(drawer.get_by_text("this view is logged")).to_be_visible(timeout=60_000)
    take = drawer.get_by_role("button", name="Take this visitor")
    if take.count():
        take.click()
        expect(drawer.get_by_text("took this visitor")).to_be_visible(timeout=60_000)
    drawer.get_by_role("radio", name="Next contact").click()
    drawer.get_by_role("button", name="Set the next contact").click()
    expect(drawer.get_by_text("planned the next contact for")).to_be_visible(timeout=60_000)
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)
    left = "No visitor matches" if before == 1 else f"{before - 1} visitor{'' if before == 2 else 's'}"
    expect(page.get_by_role("heading", name=left)).to_be_visible(timeout=60_000)
    expect(page).not_to_have_url(re.compile("id="), timeout=60_000)  # closing leaves nobody's id in the address
