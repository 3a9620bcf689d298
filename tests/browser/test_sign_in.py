"""Sign-in, sessions and the gate, in a real browser against a real server."""

import re
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import Dashboard, select_row, serving, sign_in

pytestmark = pytest.mark.browser


def open_path(browser: Browser, dashboard: Dashboard, path: str = "/", *, cookies: list | None = None) -> Page:
    context = browser.new_context()
    if cookies:
        context.add_cookies(cookies)
    page = context.new_page()
    page.goto(dashboard.url + path)
    return page


def shows_only_the_sign_in(page: Page) -> None:
    expect(page.get_by_role("heading", name="Sign in to Resocode Admin")).to_be_visible(timeout=60_000)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    expect(page.get_by_test_id("stDataFrame")).to_have_count(0)
    expect(page.get_by_test_id("stSidebarNav")).to_have_count(0)


@pytest.mark.parametrize("path", ["/enrollments", "/student?id=00000000-0000-0000-0000-000000000000", "/overview", "/"])
def test_a_cold_start_shows_only_the_sign_in(browser: Browser, folder: Path, path: str) -> None:
    with serving(folder / "home", "--demo") as cold:
        page = open_path(browser, cold, path)
        shows_only_the_sign_in(page)
        page.context.close()


def test_the_cookie_is_out_of_reach_of_scripts(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula")
    cookie = next(c for c in page.context.cookies() if c["name"] == "resocode")
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["expires"] == -1
    assert "resocode" not in page.evaluate("document.cookie")


def test_a_reload_keeps_the_session(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula")
    page.reload()
    expect(page.get_by_role("heading", name="Today", exact=True)).to_be_visible()


def test_a_cookie_replayed_after_sign_out_is_refused(page: Page, browser: Browser, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula")
    stolen = page.context.cookies()
    sign_out(page)
    wait_until_cookie_is_gone(page)
    thief = open_path(browser, dashboard, "/enrollments", cookies=stolen)
    shows_only_the_sign_in(thief)
    thief.context.close()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Program staff").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()


def wait_until_cookie_is_gone(page: Page) -> None:
    from tests.browser.conftest import wait_for

    page.reload()
    page.get_by_role("button", name="Sign in").wait_for()
    wait_for(lambda: not any(cookie["name"] == "resocode" for cookie in page.context.cookies()))


def test_a_second_tab_ends_with_the_first(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula")
    second = page.context.new_page()
    second.goto(dashboard.url + "/enrollments")
    expect(second.get_by_role("heading", name="Enrollments", exact=True)).to_be_visible(timeout=60_000)
    sign_out(page)
    second.get_by_role("radio", name="30 days").click()
    shows_only_the_sign_in(second)


def test_disabled_staff_are_out_at_the_next_click(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/enrollments")
    dashboard.core("staff", "disable", "paula@demo.example")
    try:
        page.get_by_role("radio", name="30 days").click()
        shows_only_the_sign_in(page)
    finally:
        dashboard.core("staff", "enable", "paula@demo.example")


def test_a_change_of_role_ends_the_session(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/enrollments")
    dashboard.core("staff", "role", "paula@demo.example", "auditor")
    try:
        page.get_by_role("radio", name="30 days").click()
        shows_only_the_sign_in(page)
    finally:
        dashboard.core("staff", "role", "paula@demo.example", "program_staff")


def test_a_wrong_password_gets_the_one_sentence(page: Page, dashboard: Dashboard) -> None:
    page.goto(dashboard.url)
    page.get_by_label("E-mail").fill("nobody@demo.example")
    page.get_by_label("Password").first.fill("not the password at all")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("That did not work. Check e-mail, password and code")).to_be_visible()


def test_a_forbidden_page_by_address_is_refused_in_words(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "ines", "/enrollments")
    expect(page.get_by_text("Enrollments is not open to you")).to_be_visible()
    expect(page.get_by_text("This attempt was logged.")).to_be_visible()
    page.get_by_role("button", name="Back to Today").click()
    expect(page.get_by_role("heading", name="Your cohorts today")).to_be_visible()


def test_a_deep_link_with_filters_survives_sign_in_and_reload(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/enrollments?program=Cloud&status=active&period=All+time&sort=By+name")
    for _ in range(2):
        expect(page.get_by_role("heading", name=re.compile(r"^2[56] enrollments$"))).to_be_visible(timeout=60_000)
        assert "program=Cloud" in page.url and "status=active" in page.url and "sort=By+name" in page.url
        expect(page.get_by_label("Order")).to_have_value("By name")
        page.reload()


def test_no_request_leaves_for_any_other_host(page: Page, dashboard: Dashboard) -> None:
    strangers: list[str] = []
    page.on(
        "request",
        lambda request: (
            strangers.append(request.url) if not request.url.startswith((dashboard.url, "data:", "blob:")) else None
        ),
    )
    page.on(
        "websocket",
        lambda socket: (
            strangers.append(socket.url) if not socket.url.startswith(dashboard.url.replace("http", "ws")) else None
        ),
    )
    sign_in(page, dashboard, "paula")
    for path in ("/enrollments", "/"):
        page.goto(dashboard.url + path)
        page.get_by_role("heading", level=1).wait_for()
        page.wait_for_load_state("networkidle")
    assert strangers == []


def test_nobody_needs_a_script_that_the_policy_forbids(page: Page, dashboard: Dashboard) -> None:
    complaints: list[str] = []
    page.on(
        "console",
        lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None,
    )
    sign_in(page, dashboard, "paula", "/enrollments")
    page.locator(".js-plotly-plot").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert complaints == []


CLOSED = ("/media/x.csv", "/_stcore/metrics", "/_stcore/upload_file/a/b", "/component/a/b.js", "/_stcore/component/x", "/files/x", "/app/static/x",
          "/_stcore/bidi-components/x/y.js", "/%5Fstcore/metrics")  # fmt: skip


@pytest.mark.parametrize("path", CLOSED)
def test_streamlits_own_paths_are_closed_without_a_session(dashboard: Dashboard, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(dashboard.url + path)
    assert refused.value.code == 403


def test_the_gate_adds_its_headers_everywhere(dashboard: Dashboard) -> None:
    for path in ("/", "/enrollments", "/healthz", "/_stcore/health"):
        with urllib.request.urlopen(dashboard.url + path) as answer:
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"], path
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"


def test_a_csv_link_works_once_and_for_its_session_only(page: Page, browser: Browser, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/enrollments")
    page.get_by_role("button", name="Export CSV").click()
    page.get_by_role("button", name="Make the file").click()
    link = page.get_by_role("link", name="Download enrollments.csv")
    link.wait_for()
    address = urljoin(page.url, link.get_attribute("href"))
    request = page.context.request
    assert request.head(address).status == 200, "looking does not open it"
    other = browser.new_context()
    other_page = other.new_page()
    sign_in(other_page, dashboard, "ada")
    assert other.request.get(address).status == 410, "another session"
    assert browser.new_context().request.get(address).status == 403, "nobody"
    first = request.get(address)
    assert first.status == 200
    assert first.headers["content-disposition"] == 'attachment; filename="enrollments.csv"'
    assert first.body().startswith(b"\xef\xbb\xbf") and b"example.org" in first.body()
    assert request.get(address).status == 200, "a retry within a minute"
    other.close()


def search(page: Page, typed: str) -> None:
    box = page.get_by_label("Search by part of a name or e-mail")
    box.fill(typed)
    box.press("Enter")


def test_what_is_searched_for_stays_out_of_address_and_log(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/enrollments?period=All+time")
    search(page, "student001")
    expect(page.get_by_role("heading", name="2 enrollments")).to_be_visible(timeout=60_000)
    assert "student001" not in page.url
    select_row(page)
    expect(page.get_by_role("heading", name="Student", exact=True)).to_be_visible()
    page.get_by_test_id("stMain").get_by_role("button").filter(has_text="Enrollments").first.click()
    expect(page.get_by_label("Search by part of a name or e-mail")).to_have_value("student001")
    assert "period=All+time" in page.url
    log = (dashboard.home / "serve.log").read_text()
    assert "student001" not in log and "GET /" not in log


def test_hostile_names_stay_text(page: Page, dashboard: Dashboard) -> None:
    alerts: list[str] = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    sign_in(page, dashboard, "paula", "/enrollments?period=All+time")
    search(page, "<img")
    expect(page.get_by_role("heading", name="enrollment", exact=False).first).to_be_visible(timeout=60_000)
    page.wait_for_load_state("networkidle")
    assert alerts == []
    assert page.locator("img[src='x']").count() == 0


def test_a_hostile_name_is_shown_to_the_letter(page: Page, dashboard: Dashboard) -> None:
    sign_in(page, dashboard, "paula", "/enrollments?period=All+time")
    search(page, "**Bold**")
    expect(page.get_by_role("heading", name="2 enrollments")).to_be_visible(timeout=60_000)
    select_row(page)
    expect(page.get_by_role("heading", name="Student", exact=True)).to_be_visible()
    expect(page.get_by_text("**Bold** _and_ `code` $x^2$", exact=True)).to_be_visible()
