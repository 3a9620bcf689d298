"""The way to the certificate in a real browser: from the erased request to the signed file, and what a restored database shows."""

import json
import re
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Page, expect

from core import embedded
from tests.browser.conftest import Dashboard, sign_in, wait_for
from tests.core.privacy.test_certificates import script

pytestmark = pytest.mark.browser


def waits_by_hand(home: Path) -> str:
    """The erasure of the seed that the worker has begun and people have to go on with; "" until it has."""
    asked = "select request_id from privacy.erasure where waits_for = 'by hand' limit 1"
    with embedded.attach(home) as client, psycopg.connect(client.cluster.conninfo("resocode")) as connection:
        row = connection.execute(asked).fetchone()
    return str(row[0]) if row else ""


def test_a_stuck_erasure_says_what_it_waits_for_and_leads_there(page: Page, dashboard: Dashboard) -> None:
    for _ in range(2):  # finds the closed account, then begins; the dashboard's own worker may be first
        dashboard.core("worker", "--once")
    wait_for(lambda: bool(waits_by_hand(dashboard.home)))
    sign_in(page, dashboard, "omar", f"/request?id={waits_by_hand(dashboard.home)}")
    expect(page.get_by_role("heading", name="Do the steps by hand")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("Waits for people who do it by hand at a processor").first).to_be_visible()
    page.get_by_role("button", name="Manual steps").click()
    expect(page.get_by_role("heading", name="Manual steps")).to_be_visible(timeout=60_000)


def test_from_an_erased_request_to_a_certificate_that_stands_by_itself(
    page: Page, dashboard: Dashboard, tmp_path: Path
) -> None:
    told = dashboard.core("drill")
    number, request = (re.search(pattern, told) for pattern in (r"E-\d+", r"R-\d+"))
    assert number and request
    sign_in(page, dashboard, "omar", f"/certificates?number={request[0]}")
    expect(page.get_by_role("heading", name=f"Certificate of erasure {number[0]}")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("genuine").first).to_be_visible()
    expect(page.get_by_text("Copies in backups")).to_be_visible()
    page.get_by_role("button", name="Signed file").click()
    page.get_by_role("button", name="Make the file").click()
    link = page.get_by_role("link", name=f"Open {number[0]}.json")
    link.wait_for()
    answer = page.context.request.get(dashboard.url + "/" + str(link.get_attribute("href")).lstrip("/"))
    file = tmp_path / "certificate.json"
    file.write_bytes(answer.body())
    assert json.loads(file.read_text())["document"]["number"] == number[0]
    assert script(file)[0] == 0
