"""A figure is drawn once for what it shows, in either theme; one that tells of single people stays in its tab."""

import plotly.graph_objects as go
import pytest
import streamlit as st

from core.queries import Funnel
from ui import charts, theme

drawn: list[object] = []


def draw(found: Funnel) -> go.Figure:
    drawn.append(found)
    return go.Figure(go.Bar(x=[found.visitors], y=["x"]))


@pytest.fixture(autouse=True)
def tab(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    drawn.clear()
    charts._drawn.cache_clear()
    state: dict[str, object] = {}
    monkeypatch.setattr(st, "session_state", state)
    monkeypatch.setattr(theme, "theme", lambda: state.get("theme", "light"))
    return state


@pytest.mark.parametrize("keep", [charts.kept, charts.kept_in_tab])
def test_a_figure_is_drawn_once_for_what_it_shows(keep, tab: dict[str, object]) -> None:
    shown = keep(draw)
    assert shown(Funnel(1, 2, 3, 4, 5)) is shown(Funnel(1, 2, 3, 4, 5))
    assert shown(Funnel(2, 2, 3, 4, 5)).data[0].x == (2,)
    tab["theme"] = "dark"
    shown(Funnel(2, 2, 3, 4, 5))
    assert len(drawn) == 3


def test_what_one_tab_shows_of_people_is_in_no_other(tab: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    shown = charts.kept_in_tab(draw)
    shown(Funnel(1, 2, 3, 4, 5))
    assert charts._drawn.cache_info().currsize == 0
    monkeypatch.setattr(st, "session_state", {})
    shown(Funnel(1, 2, 3, 4, 5))
    assert len(drawn) == 2


def test_showing_a_figure_does_not_change_it() -> None:
    """Kept figures are shared by threads: Streamlit reads them only."""
    from streamlit.testing.v1 import AppTest

    def page() -> None:
        from core.queries import Funnel
        from ui import charts

        figure = charts.funnel_chart(Funnel(1, 2, 3, 4, 5))
        before = figure.to_json()
        charts.show(figure, key="one", alt="Bars.")
        assert figure.to_json() == before

    assert not AppTest.from_function(page, default_timeout=60).run().exception
