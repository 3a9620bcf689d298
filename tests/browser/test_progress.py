"""Progress on real records, in a real browser: what the screen shows agrees with queries written by hand.

The Open University dataset is moved to today, so that its last presentations run; what it foretells must not be counted.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from core import embedded
from core.db import DATABASE
from tests.browser.conftest import Dashboard, serving, sign_in
from tests.conftest import open_folder
from tests.core.importers.test_oulad import WHOLE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(
        not (WHOLE / "studentInfo.csv").exists(), reason="the dataset is not here: name its folder in RESOCODE_OULAD"
    ),
]
CODE = "OU-EEE-2014B"

MEMBERS = """
    create temporary view members as
    select e.id, s.name, c.starts_on, e.enrolled_at,
        (select count(*) from platform.module_progress p where p.enrollment_id = e.id and p.status = 'done' and p.done_at <= now()) as done,
        (select max(w.submitted_at) from platform.submission w where w.enrollment_id = e.id and w.submitted_at <= now()) as last,
        (select min(w.submitted_at) from platform.submission w where w.enrollment_id = e.id and w.submitted_at <= now()
            and w.status = 'waiting for review') as waits,
        (select count(*) from platform.module m where m.cohort_id = c.id) as modules
    from platform.enrollment e join platform.student s on s.id = e.student_id join platform.cohort c on c.id = e.cohort_id
    where c.code = 'OU-EEE-2014B' and e.status <> 'withdrawn' and e.enrolled_at <= now()"""
FURTHEST_BEHIND = "select name, done from members order by done, last nulls first, id limit 50"
NEED_HELP = """
    with median as (select percentile_disc(0.5) within group (order by done) as done from members)
    select count(*) filter (where quiet), count(*) filter (where behind), count(*) filter (where waiting),
        count(*) filter (where quiet or behind or waiting) from (
        select done < modules and current_date - coalesce(last, greatest(starts_on, enrolled_at))::date >= 14 as quiet,
            (select m.done from median m) - done >= 2 as behind, coalesce(current_date - waits::date >= 3, false) as waiting
        from members
    ) reasons"""
BY_MODULE = """
    select m.title, count(i.id) from platform.module m join platform.cohort c on c.id = m.cohort_id
    left join platform.module_progress p on p.module_id = m.id and p.status = 'done' and p.done_at <= now()
    left join members i on i.id = p.enrollment_id where c.code = 'OU-EEE-2014B' group by m.id order by m.position"""


@pytest.fixture(scope="module")
def oulad() -> Iterator[Dashboard]:
    """A dashboard with the whole dataset, moved to today, and Ines assigned to one cohort of it."""
    folder = open_folder()
    with serving(folder / "home", "--demo") as running:
        running.core("import", "oulad", str(WHOLE), "--shift-to", "today")
        running.core("staff", "assign", "ines@demo.example", CODE)
        yield running


def by_hand(home: Path, *queries: str) -> list[list[tuple[Any, ...]]]:
    """What the superuser counts, whom no policy binds."""
    with embedded.attach(home) as client, psycopg.connect(client.cluster.conninfo(DATABASE)) as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(MEMBERS)
        return [connection.execute(query).fetchall() for query in queries]


def test_the_matrix_and_who_needs_help_agree_with_queries_by_hand(oulad: Dashboard, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 1440, "height": 1400})
    page = context.new_page()
    sign_in(page, oulad, "ines", f"/progress?cohort={CODE}")
    expect(page.get_by_role("heading", name="Cohort by module")).to_be_visible(timeout=60_000)
    expect(page.locator(".ytick text").first).to_be_attached(timeout=60_000)
    behind, ((quiet, far, waiting, total),), modules = by_hand(oulad.home, FURTHEST_BEHIND, NEED_HELP, BY_MODULE)
    assert total > 100 and len(behind) == 50, "a cohort of several hundred"
    plots = page.get_by_test_id("stPlotlyChart").filter(has=page.locator(".heatmap-label"))
    names = [text.strip() for text in plots.nth(0).locator(".ytick text").all_text_contents()]
    assert names == [name if len(name) <= 20 else name[:19].rstrip() + "…" for name, _ in behind]
    cells = plots.nth(0).locator(".heatmap-label").all_text_contents()
    assert sum(cell.strip() == "✓" for cell in cells) == sum(done for _, done in behind)
    expect(page.get_by_role("heading", name=f"Need help: {total:,}")).to_be_visible()
    for label in (
        f"All {total:,}",
        f"No activity {quiet:,}",
        f"Behind {far:,}",
        *([f"Review waits {waiting:,}"] if waiting else []),
    ):
        expect(page.get_by_role("radio", name=label)).to_be_visible()
    bars = [
        text.strip()
        for text in page.get_by_test_id("stPlotlyChart")
        .filter(has=page.locator(".bartext"))
        .last.locator(".bartext")
        .all_text_contents()
    ]
    assert bars == [str(number) for _, number in modules]
    # The next page goes on where the first ended.
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("51 to 100 of")).to_be_visible(timeout=60_000)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    context.close()


def test_another_cohort_of_the_dataset_stays_closed(oulad: Dashboard, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, oulad, "ines", "/progress?cohort=OU-AAA-2013J")
    expect(page.get_by_role("heading", name="This cohort is not assigned to you")).to_be_visible(timeout=60_000)
    expect(page.get_by_test_id("stPlotlyChart")).to_have_count(0)
    context.close()
