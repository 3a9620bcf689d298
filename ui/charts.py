"""Charts: pre-aggregated figures only, one base layout, told apart by pattern and not by color alone.

pandas is imported here, whole and first: plotly looks it up among the loaded modules, and fails on one that another
thread is still importing (seen: the second click of the first session of a process).

Drawing a figure costs plotly 10 ms, more than most reads; showing one that is drawn costs 1 ms. So figures are kept by what they
show: those of groups for all tabs (:func:`kept`), those that tell of single people in the tab alone (:func:`kept_in_tab`).
"""

import pickle
from collections.abc import Callable, Sequence
from functools import lru_cache, wraps
from hashlib import sha256
from typing import ParamSpec

import pandas  # noqa: F401 - see above; ui/boot.py imports this module before the first session
import plotly.graph_objects as go
import streamlit as st

from core.queries import Funnel, Trend, Week
from ui import theme

Asked = ParamSpec("Asked")
Draw = Callable[..., go.Figure]
DASHES = ("solid", "dash", "dot")
SYMBOLS = ("circle", "diamond", "square")
PATTERNS = ("", "/", ".", "x", "-", "\\")


def show(figure: go.Figure, *, alt: str, key: str) -> None:
    """Draw a figure; ``alt`` says its kind and finding."""
    st.plotly_chart(figure, theme="streamlit", config={"displayModeBar": False}, alt=alt, key=key)


def draw_something() -> None:
    """Let plotly load what it loads with its first figures."""
    go.Figure([go.Bar(x=[1], y=[1]), go.Scatter(x=[1], y=[1]), go.Heatmap(z=[[1]])]).to_json()


def kept(draw: Callable[Asked, go.Figure]) -> Callable[Asked, go.Figure]:
    """Keep the last figures that ``draw`` made, by what it was asked to show and by the theme, for all tabs of this process.
    For figures of groups only. Whoever gets one shows it, and does not change it."""

    @wraps(draw)
    def drawn(*shown: Asked.args, **named: Asked.kwargs) -> go.Figure:
        return _drawn(draw, theme.theme(), pickle.dumps((shown, named)))

    return drawn


def kept_in_tab(draw: Callable[Asked, go.Figure]) -> Callable[Asked, go.Figure]:
    """Keep the last figure that ``draw`` made in this tab, as long as it shows the same; it goes with the tab or the sign-in."""

    @wraps(draw)
    def drawn(*shown: Asked.args, **named: Asked.kwargs) -> go.Figure:
        asked = sha256(pickle.dumps((theme.theme(), shown, named))).digest()
        known: tuple[bytes, go.Figure] | None = st.session_state.get(f"drawn_{draw.__name__}")
        if known is None or known[0] != asked:
            known = st.session_state[f"drawn_{draw.__name__}"] = (asked, draw(*shown, **named))
        return known[1]

    return drawn


@lru_cache(maxsize=128)
def _drawn(draw: Draw, _theme: str, asked: bytes) -> go.Figure:
    """What was asked for is read back from the key: nothing else can make a difference."""
    shown, named = pickle.loads(asked)  # noqa: S301 - written by kept() a moment ago, in this process
    return draw(*shown, **named)


@kept
def funnel_chart(found: Funnel) -> go.Figure:
    """Return horizontal bars from visitors to what became of enrollments; shares are of the registered."""
    names = ["Visitors", "Registered", "Became active", "Ended", "Withdrawn"]
    values = [found.visitors, found.registered, found.active, found.ended, found.withdrawn]
    shares = ["", ""] + [f" · {_percent(value, found.registered)}" for value in values[2:]]
    colors = [series(0)] * 3 + [series(5), series(2)]
    bars = go.Bar(
        x=values,
        y=names,
        orientation="h",
        text=[f"{value:,}{share}" for value, share in zip(values, shares, strict=True)],
        textposition="outside",
        textfont={"color": theme.INK[theme.theme()]},
        cliponaxis=False,
        marker={"color": colors},
        hoverinfo="skip",
    )
    figure = base(go.Figure(bars), height=200)
    figure.update_xaxes(visible=False, range=[0, max(values, default=1) * 1.3 or 1])
    figure.update_yaxes(autorange="reversed", showgrid=False, tickfont={"color": theme.INK[theme.theme()]})
    return figure


@kept
def trend_chart(found: Trend) -> go.Figure:
    """Return stacked columns: new enrollments by month and program."""
    figure = base(go.Figure(), height=200, legend=len(found.series) > 1)
    for place, (name, counts) in enumerate(found.series.items()):
        figure.add_bar(
            x=list(found.months), y=list(counts), name=shortened(name), marker=marker(place, len(found.series))
        )
    figure.update_layout(barmode="stack", hovermode="x unified", legend_traceorder="normal")
    figure.update_xaxes(tickformat="%b %Y", showgrid=False, ticks="", nticks=7)
    return figure


@kept
def weekly_chart(weeks: Sequence[Week]) -> go.Figure:
    """Return lines: new enrollments, withdrawals and new visitors by week."""
    figure = base(go.Figure(), height=230, legend=True)
    mondays = [week.week for week in weeks]
    for place, (name, values) in enumerate(
        {
            "new enrollments": [week.enrolled for week in weeks],
            "new visitors": [week.visitors for week in weeks],
            "withdrawn": [week.withdrawn for week in weeks],
        }.items()
    ):
        line, marker = (
            {"dash": DASHES[place], "width": 2, "color": series(place)},
            {"symbol": SYMBOLS[place], "size": 6},
        )
        figure.add_scatter(x=mondays, y=values, name=name, mode="lines+markers", line=line, marker=marker)
    figure.update_layout(hovermode="x unified")
    figure.update_xaxes(tickvals=mondays[::2], tickformat="%-d %b", showgrid=False)
    return figure


def base(figure: go.Figure, *, height: int, legend: bool = False) -> go.Figure:
    """Give a figure the layout that all charts share."""
    kind = theme.theme()
    figure.update_layout(
        height=height,
        margin={"l": 0, "r": 8, "t": 26 if legend else 6, "b": 0},
        font={"size": 12},
        hovermode="closest",
        bargap=0.3,
        showlegend=legend,
        legend={"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom", "title": {"text": ""}},
    )
    figure.update_yaxes(gridcolor=theme.GRID[kind], rangemode="tozero", tickfont={"color": theme.MUTED_INK[kind]})
    figure.update_xaxes(tickfont={"color": theme.MUTED_INK[kind]})
    return figure


def marker(place: int, many: int) -> dict[str, object]:
    """Return color and pattern of one of ``many`` series."""
    if many == 1:
        return {"color": series(0)}
    pattern = {"shape": PATTERNS[place % len(PATTERNS)], "fillmode": "overlay", "solidity": 0.25}
    return {"color": series(place), "pattern": {**pattern, "fgcolor": theme.GROUND[theme.theme()]}}


def series(place: int) -> str:
    """Return the color of the n-th series."""
    colors: Sequence[str] = theme.SERIES[theme.theme()]
    return colors[place % len(colors)]


def _percent(part: int, whole: int) -> str:
    return f"{round(100 * part / whole)}%" if whole else "–"


def shortened(name: str) -> str:
    """Return a name that fits beside an axis."""
    return name if len(name) <= 24 else name[:23] + "…"
