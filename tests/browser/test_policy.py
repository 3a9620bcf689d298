"""The page Policy in a real browser: from a state to its evidence, back, to an older day, and to the printed report."""

import re
from html import escape

import pytest
from playwright.sync_api import Page, expect

from core.policy.promises import LEDGER, OPEN_POINTS
from tests.browser.conftest import Dashboard, sign_in

pytestmark = pytest.mark.browser


def test_from_a_state_to_its_evidence_and_to_the_printed_report(page: Page, dashboard: Dashboard) -> None:
    dashboard.core("canary", "plant")
    dashboard.core("worker", "--once")  # every check has run
    sign_in(page, dashboard, "aiko", "/policy")
    heading = page.get_by_role("heading", name="Policy", exact=True)
    expect(heading).to_be_visible(timeout=60_000)
    expect(page.get_by_text(re.compile(r"39 promises .* last check"))).to_be_visible()
    expect(page.get_by_role("heading", name="What the text leaves open")).to_be_visible()
    expect(page.get_by_role("heading", name="Canaries")).to_be_visible()
    expect(page.get_by_text(re.compile("on their way, none was due to be erased yet"))).to_be_visible()

    page.get_by_role("radio", name=re.compile("^(holds|not proven) ")).first.click()
    expect(page).to_have_url(re.compile(r"state=(holds|not\+proven|not%20proven)"))
    page.get_by_role("button", name="Proof").first.click()
    expect(page).to_have_url(re.compile("promise=[A-Z]+-"))
    expect(page.get_by_text("Query").first).to_be_visible()
    page.get_by_text("Query").first.click()
    expect(page.get_by_text(re.compile("select", re.IGNORECASE)).first).to_be_visible()
    page.reload()
    expect(page.get_by_text("Query").first).to_be_visible(timeout=60_000)
    page.get_by_role("button", name="Policy", exact=True).click()
    expect(heading).to_be_visible()

    page.get_by_role("button", name="Print").click()
    page.get_by_role("button", name="Make the page").click()
    link = page.get_by_role("link", name="Open the page")
    link.wait_for()
    there = dashboard.url + "/" + str(link.get_attribute("href")).lstrip("/")
    answer = page.context.request.get(there)
    report = answer.body().decode()
    assert answer.ok and all(f"<td>{promise.id}</td>" in report for promise in LEDGER)
    assert all(escape(point[1]) in report for point in OPEN_POINTS) and "Canaries" in report
    assert "<script" not in report and " src=" not in report, "a page that asks nobody for anything"
    stranger = page.context.browser
    assert stranger is not None
    other = stranger.new_context()
    assert not other.request.get(there).ok, "for whoever made it, and nobody else"
    other.close()
