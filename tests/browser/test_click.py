"""What a click costs on the real server, in counts: no collection, no Nagle, few statements, plotly only where charts are.

Times are for bench/; here stands what makes them. The server has somebody inside who answers questions (bench.probe), and the
tabs are real websockets with the real cookie (bench.tab).
"""

import asyncio
import shutil
import socket
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from playwright.sync_api import Page, expect

from bench.probe import ask, connections
from bench.tab import Tab
from tests.browser.conftest import PEOPLE, Dashboard, open_folder, serving, sign_in

pytestmark = pytest.mark.browser
Answer = TypeVar("Answer")
RERUNS = 20
# Statements of one rerun on the synthetic records, by who is signed in and page. The guard's and its search box's are one.
MOST_STATEMENTS = {
    ("paula", ""): 14,
    ("paula", "enrollments"): 13,
    ("paula", "visitors"): 16,
    ("paula", "programs"): 5,
    ("paula", "analytics"): 4,
    ("paula", "policy"): 5,
    ("paula", "hand_on"): 5,
}


@pytest.fixture(scope="module")
def served() -> Iterator[Dashboard]:
    """A dashboard that answers questions; no worker beside it, whose statements are in another process anyway."""
    folder = open_folder()
    with serving(folder / "home", "--demo", "--seed", "auto", "--no-worker", "--probe") as running:
        yield running
    shutil.rmtree(folder, ignore_errors=True)


def in_tab(served: Dashboard, name: str, act: Callable[[Tab], Awaitable[Answer]]) -> Answer:
    """Do something in a tab in which a demo account is signed in."""

    async def done() -> Answer:
        tab = Tab(served.url)
        first = await tab.sign_in(f"{name}@demo.example", served.password)
        assert not first.trouble
        try:
            return await act(tab)
        finally:
            await tab.close()

    with ThreadPoolExecutor(1) as elsewhere:  # Playwright keeps an event loop in this thread
        return elsewhere.submit(lambda: asyncio.run(done())).result()


def test_nagle_is_off(served: Dashboard) -> None:
    async def look(_tab: Tab) -> list[bool]:
        return [each["no_delay"] for each in ask(served.probe)["connections"]]

    options = in_tab(served, "paula", look)
    assert options and all(options)


def test_the_look_at_nagle_can_see_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()) as other:
        accepted, _ = door.accept()
        with accepted:
            port = other.getsockname()[1]
            assert dict(connections())[port] is False
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            assert dict(connections())[port] is True


def test_no_run_ends_with_a_full_collection(served: Dashboard) -> None:
    async def click(tab: Tab) -> None:
        for _ in range(RERUNS):
            await tab.rerun()

    before = ask(served.probe)
    assert before["frozen"] > 100_000, "what lives as long as the process is not looked at again"
    in_tab(served, "paula", click)
    after = ask(served.probe)
    assert after["full_collections"] - before["full_collections"] <= RERUNS // 5


def test_a_rerun_asks_little_of_the_database(served: Dashboard) -> None:
    """One transaction says who it is, one reads."""

    async def count(tab: Tab) -> dict[str, tuple[int, int]]:
        found = {}
        for path in (page for who, page in MOST_STATEMENTS if who == "paula"):
            await tab.go(path)
            await tab.rerun()
            before = ask(served.probe)
            assert not (await tab.rerun()).trouble
            after = ask(served.probe)
            found[path] = (
                after["transactions"] - before["transactions"],
                after["statements"] - before["statements"],
            )
        return found

    found = in_tab(served, "paula", count)
    slack = 1  # whether the database is behind the erasure ledger is asked every ten seconds
    too_many = {
        path: counted
        for path, counted in found.items()
        if counted[0] > 2 + slack or counted[1] > MOST_STATEMENTS["paula", path] + slack
    }
    assert not too_many


def test_plotly_comes_with_the_first_chart(page: Page, served: Dashboard) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, served, "omar")
    expect(page.get_by_role("heading", name="Today", level=1)).to_be_visible()
    page.get_by_role("link", name="Requests").click()
    expect(page.get_by_role("heading", name="Requests", level=1)).to_be_visible()
    assert not [url for url in asked if "plotly" in url.lower()]
    page.get_by_role("link", name="Analytics").click()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    assert [url for url in asked if "plotly" in url.lower()]


@pytest.mark.parametrize("name", ["omar", "ada"])
def test_the_search_is_seen_without_scrolling_however_long_the_menu_is(
    page: Page, served: Dashboard, name: str
) -> None:
    sign_in(page, served, name)
    expect(page.get_by_label("Search", exact=True)).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name=PEOPLE[name])).to_be_in_viewport(ratio=1)


def test_touching_the_list_draws_the_list_alone_and_nothing_after_a_sign_out_elsewhere(served: Dashboard) -> None:
    async def touch(tab: Tab) -> None:
        await tab.go("enrollments")
        whole = await tab.rerun()
        before = ask(served.probe)
        part = await tab.choose("Status", "active")
        after = ask(served.probe)
        assert part.messages < whole.messages / 2
        assert after["statements"] - before["statements"] < MOST_STATEMENTS["paula", "enrollments"]
        assert "dataframe" in tab.kinds() or "arrow_data_frame" in tab.kinds()
        assert "plotly_chart" in tab.kinds(), "the figures above stay"
        other = Tab(served.url, cookie=tab.cookie)
        await other.open()
        await other.press("Sign out")
        await other.close()
        await tab.choose("Status", "active", "ended")
        assert "Sign in to Resocode Admin" in tab.texts()
        assert not {"dataframe", "arrow_data_frame", "plotly_chart"} & set(tab.kinds())

    in_tab(served, "paula", touch)
