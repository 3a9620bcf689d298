"""The Analytics page on the figures of the cast: shown, hidden, compared, closed filters, file, empty; the same for everybody."""

import json

import pytest
from sqlalchemy import Connection, text
from streamlit.testing.v1 import AppTest

from core import db
from tests import cast
from tests.pages.test_matrix import opened, words


def tables(app: AppTest) -> str:
    return "\n".join(table.value.to_csv() for table in app.table)


@pytest.mark.usefixtures("house")
def test_figures_come_with_margins_and_small_ones_do_not_come() -> None:
    app = opened("paula", "analytics")
    assert not app.exception
    assert "to 2026-Q3, published 15 Oct 2026 · never changes" in words(app)
    shown = tables(app)
    assert "92 ± 6" in shown and "fewer than ~12" in shown and "too few to compare" in shown
    assert "no clear change (± 9)" in shown  # Cloud: 30 after 33
    assert ",3 ± 6" not in shown  # Java: 3.1


@pytest.mark.usefixtures("house")
def test_everybody_sees_the_same_figures() -> None:
    seen = {name: tables(opened(name, "analytics")) for name in ("ines", "omar", "aiko")}
    assert len(set(seen.values())) == 1


@pytest.mark.usefixtures("house")
def test_filters_that_are_not_published_are_gray_and_say_why() -> None:
    app = opened("marek", "analytics", figure="Active learners")
    closed = {button.label: button for button in app.button if button.disabled}
    assert {"By experience", "By cohort", "By month", "By age"} <= set(closed)
    assert all(button.help for button in closed.values())
    assert "too detailed to be anonymous" in words(app)


@pytest.mark.usefixtures("house")
def test_no_more_points_reach_the_browser_than_cells_are_published() -> None:
    """A figure holds what it shows: no rows behind it, and nothing of a figure that is not shown."""
    for figure in ("Enrollments", "Progress milestones", "Active learners"):
        app = opened("ada", "analytics", figure=figure)
        assert not app.exception
        points = 0
        for chart in app.get("plotly_chart"):
            spec = chart.proto.spec
            points += sum(len(trace.get("y", [])) for trace in json.loads(spec)["data"])
            assert "3.1" not in spec and "4.2" not in spec  # Java's figures as they are stored
        assert 0 < points <= sum(len(cells) for told in cast.RELEASES.values() for cells in told.values())


@pytest.mark.usefixtures("house")
def test_the_method_is_one_click_away() -> None:
    app = opened("aiko", "analytics")
    with db.transaction("worker") as session:
        hashes = session.scalars(text("select content_sha256 from anon.release")).all()
    assert all(each in "".join(code.value for code in app.code) for each in hashes)
    assert "69 of 100" in words(app)
    assert {metric.label: metric.value for metric in app.metric}["Budget left"] == "9%"


def test_the_file_holds_the_margins_and_is_recorded(owner: Connection) -> None:
    app = opened("paula", "analytics")
    app.button(key="make_file_analytics").click().run()
    assert not app.exception
    lines = (
        owner.execute(text("select details from privacy.audit_event where action = 'list exported'")).scalars().all()
    )
    assert [json.loads(line) for line in lines] == [{"rows": 6, "what": "analytics"}]


@pytest.mark.usefixtures("house")
def test_the_largest_programs_are_compared_at_first() -> None:
    app = opened("paula", "analytics")
    assert [app.selectbox(key=key).value for key in ("one", "other")] == ["Python", "Cloud"]
    assert app.selectbox(key="one").options[-1] == "Java", "too small to be shown"


@pytest.mark.usefixtures("house")
def test_two_programs_of_ones_choice_are_compared() -> None:
    app = opened("paula", "analytics", one="Python", other="Cloud")
    assert "62 ± 9 more" in tables(app).replace("**", "")


def test_before_the_first_release_the_page_says_when_it_comes(house: str, cluster: object) -> None:
    import psycopg

    with psycopg.connect(cluster.conninfo(house)) as admin:  # type: ignore[attr-defined]
        admin.execute("set session_replication_role = replica")
        for table in ("ledger", "cell", "release", "method"):
            admin.execute(f"delete from anon.{table}")
    app = opened("omar", "analytics")
    assert not app.exception
    assert "Nothing is published yet" in words(app) and "14 days after its end" in words(app)
