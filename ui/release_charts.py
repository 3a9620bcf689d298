"""Charts of anonymized figures: every bar with its margin; what is not shown is hatched and says so, never 0 and never blank."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import pandas
import plotly.graph_objects as go

from core.queries import ReleasedFigure
from ui import theme
from ui.charts import base, kept, marker, shortened

SEQUENTIAL = {
    "light": ("#ebf6f8", "#c8e1e8", "#a5cdd8", "#83b9c7", "#61a5b5", "#4390a2", "#287b8d", "#0c6677", "#005161", "#003d49"),
    "dark": ("#1b3138", "#1f4049", "#23545f", "#2c6a78", "#378192", "#4698ab", "#5eafc2", "#7ec5d7", "#a5dae8", "#cfeef7"),
}  # fmt: skip
MOST_BARS_WITH_TEXT = 21


@kept
def bars(series: Mapping[str, Sequence[ReleasedFigure]], labels: Sequence[str], *, height: int = 280) -> go.Figure:
    """Return grouped columns: one figure for each label in each series, whiskers for the margin."""
    figure = base(go.Figure(), height=height, legend=len(series) > 1)
    few = len(series) * len(labels) <= MOST_BARS_WITH_TEXT
    for place, (name, figures) in enumerate(series.items()):
        known = [(label, each) for label, each in zip(labels, figures, strict=True) if each.value is not None]
        figure.add_bar(
            x=[label for label, _ in known],
            y=[each.value for _, each in known],
            error_y={"type": "data", "array": [each.margin for _, each in known], "thickness": 1.5, "width": 4, "color": theme.INK[theme.theme()]},
            name=shortened(name),
            marker=marker(place, len(series)),
            offsetgroup=name,
            hovertemplate="%{y:,} ± %{error_y.array}",
        )  # fmt: skip
        _hatched(
            figure,
            name,
            [(label, each) for label, each in zip(labels, figures, strict=True) if each.value is None],
            few,
            str(marker(place, len(series))["color"]),
            not known,
        )
    figure.update_layout(barmode="group", hovermode="closest", legend_traceorder="normal")
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=list(labels), showgrid=False, ticks="")
    return figure


def _hatched(
    figure: go.Figure, name: str, hidden: list[tuple[str, ReleasedFigure]], few: bool, color: str, alone: bool
) -> None:
    """Stand-ins as high as what a hidden figure is below; ``alone`` when the series has nothing else to stand in the legend."""
    if hidden:
        figure.add_bar(
            x=[label for label, _ in hidden],
            y=[each.below for _, each in hidden],
            name=name,
            offsetgroup=name,
            showlegend=alone,
            marker=hatching(color=color),
            text=[f"<{each.below}" if few and each.below else "" for _, each in hidden],
            textposition="outside",
            textfont={"size": 10, "color": theme.MUTED_INK[theme.theme()]},
            customdata=[each.why for _, each in hidden],
            hovertemplate="%{customdata}",
        )


@kept
def heat(rows: Sequence[str], columns: Sequence[str], cells: Mapping[tuple[str, str], ReleasedFigure]) -> go.Figure:
    """Return a table of colored cells; those that are not shown are hatched, with what they are below."""
    figure = base(go.Figure(), height=46 * len(rows) + 34)
    most = max((each.value or 0 for each in cells.values()), default=1) or 1
    ground = SEQUENTIAL[theme.theme()]
    for column, name in enumerate(columns):
        told = [cells[row, name] for row in rows]
        colors = [
            "rgba(0,0,0,0)" if each.value is None else ground[min(int(9 * each.value / most), 9)] for each in told
        ]
        hidden = [each.value is None for each in told]
        figure.add_bar(
            x=[0.95] * len(rows),
            y=list(range(len(rows))),
            base=[column + 0.025] * len(rows),
            width=0.9,
            orientation="h",
            marker={**hatching(hidden), "color": colors},
            text=[f"{each.value:,} ± {each.margin}" if each.value is not None else f"<{each.below}" if each.below else "–" for each in told],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            textfont={"size": 12, "color": [_ink(color) if not gone else theme.MUTED_INK[theme.theme()] for color, gone in zip(colors, hidden, strict=True)]},
            customdata=[f"{row}, {name}: {each.why or f'{each.value:,} ± {each.margin}'}" for row, each in zip(rows, told, strict=True)],
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        )  # fmt: skip
    middle = [column + 0.5 for column in range(len(columns))]
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(
        tickvals=middle, ticktext=list(columns), side="top", range=[0, len(columns)], showgrid=False, zeroline=False
    )
    names = [shortened(row) for row in rows]
    figure.update_yaxes(
        tickvals=list(range(len(rows))), ticktext=names, autorange="reversed", showgrid=False, rangemode="normal"
    )
    return figure


@lru_cache(maxsize=128)
def framed(names: tuple[str, ...], columns: tuple[tuple[str, ...], ...]) -> pandas.DataFrame:
    """Return columns as a frame, kept like figures: making one takes pandas longer than sending it. Whoever gets one does not change it."""
    return pandas.DataFrame(dict(zip(names, columns, strict=True)))


def hatching(which: Sequence[bool] | None = None, color: str = "") -> dict[str, object]:
    """Return the marker of what is not shown; ``which`` says for each bar whether it is, ``color`` is the series'."""
    lines = color or theme.MUTED_INK[theme.theme()]
    shapes: object = "/" if which is None else ["/" if hidden else "" for hidden in which]
    pattern = {"shape": shapes, "fillmode": "overlay", "fgcolor": lines, "size": 7, "solidity": 0.14}
    return {"color": "rgba(0,0,0,0)", "pattern": pattern, "line": {"color": theme.GRID[theme.theme()], "width": 1}}


def _ink(color: str) -> str:
    """Black or white, whichever has more contrast with a color like ``#0c6677``."""
    red, green, blue = (int(color[place : place + 2], 16) / 255 for place in (1, 3, 5))

    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    light = 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    return "#000000" if light > 0.179 else "#ffffff"
