"""The way to the certificate in a real browser: from the erased request to the signed file, and what a restored database shows."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Dashboard, sign_in
from tests.core.privacy.test_certificates import script

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]


def test_from_an_erased_request_to_a_certificate_that_stands_by_itself(
    page: Page, dashboard: Dashboard, tmp_path: Path
) -> None:
    told = dashboard.core("drill")
    number, request = (re.search(pattern, told) for pattern in (r"E-\d+", r"R-\d+"))
    assert number and request
    sign_in(page, dashboard, "omar", f"/certificates?number={request[0]}")
    expect(page.get_by_role("heading", name=f"Certificate of erasure {number[0]}")).to_be_visible(timeout=20_000)
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
