"""The charts of those who teach: cohort × module, where a cohort stands, one student's modules over time, group figures.

Names are typed by people, and plotly reads a few tags in labels: :func:`label` takes their meaning away.
"""

import html
import uuid
from collections.abc import Sequence
from datetime import timedelta

import plotly.graph_objects as go

from core.queries import (
    Cell,
    CohortStand,
    Figure,
    GroupFigures,
    LearningRecord,
    Matrix,
    MatrixRow,
    ModuleStand,
    YearBefore,
)
from core.words import isolated
from ui import theme
from ui.charts import DASHES, SYMBOLS, base, kept, kept_in_tab, series
from ui.tables import day

SHOWN = ("Status", "Score", "Days")
MARKS = {"done": "✓", "failed": "✗", "waiting for review": "R", "in progress": "…"}
LONGEST_LABEL = 20


def label(name: str, longest: int = LONGEST_LABEL) -> str:
    """Return a name as an axis or a hover box shows it: shortened, isolated in its writing direction, without tags."""
    short = name if len(name) <= longest else name[: longest - 1].rstrip() + "…"
    return html.escape(isolated(short), quote=False)


def module_label(module: ModuleStand) -> str:
    """Return a module's short name: its first word when it is short and a number ("M4"), else its number."""
    first = module.title if len(module.title) <= 6 else module.title.split()[0]
    return label(first) if len(first) <= 6 and any(char.isdigit() for char in first) else f"M{module.position}"


@kept_in_tab
def matrix_chart(found: Matrix, stand: CohortStand, *, due: set[uuid.UUID], shown: str) -> go.Figure:
    """Return the heat map of one page of students; ``due`` are the modules that were due before the cohort's day.

    Done is pale, begun is stronger, due and not done (or failed) is amber, what comes later is blank.
    """
    kind, modules = theme.theme(), stand.modules
    cells = [[row.cells.get(module.id) for module in modules] for row in found.rows]
    marks = [
        [_mark(cell, module.id in due, shown) for cell, module in zip(line, modules, strict=True)] for line in cells
    ]
    levels = [[_level(cell, module.id in due) for cell, module in zip(line, modules, strict=True)] for line in cells]
    hovers = [
        [_hover(row, module, cell) for cell, module in zip(line, modules, strict=True)]
        for row, line in zip(found.rows, cells, strict=True)
    ]
    colors = theme.CELLS[kind]
    heat = go.Heatmap(
        z=levels,
        text=marks,
        texttemplate="%{text}",
        textfont={"size": 11, "color": theme.INK[kind]},
        customdata=hovers,
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=False,
        colorscale=[[0, colors["done"]], [0.33, colors["done"]], [0.33, colors["begun"]], [0.67, colors["begun"]],
                    [0.67, colors["due"]], [1, colors["due"]]],
        zmin=0, zmax=3, xgap=2, ygap=2, showscale=False,
    )  # fmt: skip
    figure = base(go.Figure(heat), height=20 * len(found.rows) + 34)
    figure.update_xaxes(tickvals=list(range(len(modules))), ticktext=[module_label(m) for m in modules], side="top",
                        showgrid=False, ticks="", range=[-0.5, len(modules) - 0.5], fixedrange=True)  # fmt: skip
    figure.update_yaxes(tickvals=list(range(len(found.rows))), ticktext=[label(row.name) for row in found.rows], showgrid=False,
                        ticks="", range=[len(found.rows) - 0.5, -0.5], fixedrange=True, automargin=True,
                        tickfont={"color": theme.INK[kind], "size": 11})  # fmt: skip
    if due:
        last = max(place for place, module in enumerate(modules) if module.id in due)
        figure.add_vline(x=last + 0.5, line={"color": theme.PLAN[kind], "width": 2, "dash": "dash"})
    figure.update_layout(margin={"l": 0, "r": 4, "t": 30, "b": 0}, xaxis_zeroline=False, yaxis_zeroline=False)
    return figure


@kept_in_tab
def stand_chart(stand: CohortStand, before: YearBefore | None) -> go.Figure:
    """Return columns: how many have done each module; diamonds: the same share a year ago."""
    names = [module_label(module) for module in stand.modules]
    done = [module.done for module in stand.modules]
    places = list(range(len(names)))
    bars = go.Bar(x=places, y=done, text=done, textposition="outside", cliponaxis=False, name="now", marker={"color": series(0)},
                  textfont={"color": theme.INK[theme.theme()]}, hoverinfo="skip")  # fmt: skip
    figure = base(go.Figure(bars), height=220, legend=before is not None)
    if before and before.members:
        shares = [stand.students * before.done.get(m.position, 0) / before.members for m in stand.modules]
        figure.add_scatter(x=places, y=shares, mode="lines+markers", name="a year ago, to scale", line={"color": series(1), "dash": "dash", "width": 1.5},
                           marker={"symbol": "diamond", "size": 7, "color": series(1)}, hoverinfo="skip")  # fmt: skip
    figure.update_xaxes(tickvals=places, ticktext=names, showgrid=False, ticks="", fixedrange=True, tickangle=0)
    figure.update_yaxes(visible=False, range=[0, max([stand.students, *done, 1]) * 1.18], fixedrange=True)
    return figure


@kept_in_tab
def timeline_chart(record: LearningRecord, modules: Sequence[ModuleStand]) -> go.Figure:
    """Return one student's modules over time: bars from begun to done, marks for what was handed in, shade where nothing was."""
    kind, places = theme.theme(), {module.id: place for place, module in enumerate(modules)}
    figure = base(go.Figure(), height=24 * max(len(modules), 2) + 56, legend=True)
    _gaps(figure, record)
    _bars(figure, record, places)
    for number, (state, name, symbol) in enumerate(
        (
            ("passed", "passed", "circle"),
            ("failed", "failed", "x"),
            ("waiting for review", "waits for review", "diamond-open"),
        )
    ):
        handed = [e for e in record.events if e.kind == "submitted" and e.state == state and e.module_id in places]
        if handed:
            color = (series(0), theme.PLAN[kind], series(3))[number]
            figure.add_scatter(x=[e.at for e in handed], y=[places[e.module_id] for e in handed if e.module_id], mode="markers", name=name,
                               marker={"symbol": symbol, "size": 9, "color": color, "line": {"width": 1.5, "color": color}},
                               hovertemplate=f"handed in, {name}<br>%{{x|%-d %b %Y}}<extra></extra>")  # fmt: skip
    due = [(m, place) for m, place in ((m, places[m.id]) for m in modules) if m.due_on]
    figure.add_scatter(x=[m.due_on for m, _ in due], y=[place for _, place in due], mode="markers", name="due",
                       marker={"symbol": "line-ns-open", "size": 12, "color": theme.PLAN[kind]},
                       hovertemplate="due %{x|%-d %b %Y}<extra></extra>")  # fmt: skip
    figure.add_vline(
        x=record.cohort.as_of.timestamp() * 1000, line={"color": theme.MUTED_INK[kind], "width": 1, "dash": "dot"}
    )
    ticks = [label(m.title, 18) for m in modules]
    figure.update_yaxes(tickvals=list(range(len(modules))), ticktext=ticks, range=[len(modules) - 0.4, -0.6], fixedrange=True,
                        automargin=True, showgrid=False)  # fmt: skip
    last = max(record.cohort.ends_on, record.cohort.as_of.date())
    figure.update_xaxes(
        range=[record.cohort.starts_on - timedelta(days=5), last + timedelta(days=3)],
        tickformat="%-d %b",
        fixedrange=True,
        type="date",
    )
    return figure


@kept
def figures_chart(groups: Sequence[GroupFigures], kind: str) -> go.Figure:
    """Return the weekly rates of a kind, a line for each of up to five groups; weeks that were not told leave a gap."""
    figure = base(go.Figure(), height=260, legend=True)
    weeks = sorted({each.week for group in groups for each in group.history(kind)})
    for place, group in enumerate(groups[:5]):
        told: dict[object, Figure] = {each.week: each for each in group.history(kind)}
        rates = [told[week].percent if week in told else None for week in weeks]
        figure.add_scatter(x=weeks, y=rates, name=label(group.title, 28), mode="lines+markers", connectgaps=False,
                           line={"color": series(place), "width": 2, "dash": DASHES[place % len(DASHES)]},
                           marker={"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 7},
                           hovertemplate="%{y}%<extra>%{fullData.name}</extra>")  # fmt: skip
    step = max(1, len(weeks) // 7)
    figure.update_layout(hovermode="x unified")
    figure.update_xaxes(tickvals=weeks[::-1][::step], tickformat="%-d %b", showgrid=False)
    figure.update_yaxes(range=[0, 100], ticksuffix="%", dtick=25)
    return figure


def _mark(cell: Cell | None, due: bool, shown: str) -> str:
    if cell is None:
        return "–" if due else ""
    if shown == "Score" and cell.score is not None:
        return f"{cell.score:.0f}"
    if shown == "Days" and cell.days is not None:
        return str(cell.days)
    return MARKS[cell.state]


def _level(cell: Cell | None, due: bool) -> float | None:
    """The middle of the color's third; None leaves the cell blank."""
    if cell is None:
        return 2.5 if due else None
    if cell.state == "done":
        return 0.5
    return 2.5 if due or cell.state == "failed" else 1.5


def _hover(row: MatrixRow, module: ModuleStand, cell: Cell | None) -> str:
    facts = [f"<b>{label(row.name, 60)}</b>", label(module.title, 60)]
    facts.append(f"{cell.state}" if cell else "not begun")
    if cell and cell.score is not None:
        facts.append(f"score {cell.score:.0f} of 100")
    if cell and cell.days is not None:
        facts.append(f"{cell.days} days from its beginning")
    if module.due_on:
        facts.append(f"due {day(module.due_on)}")
    return "<br>".join(facts)


def _gaps(figure: go.Figure, record: LearningRecord) -> None:
    for gap in (e for e in record.events if e.kind == "gap"):
        figure.add_vrect(x0=gap.at - timedelta(days=gap.days or 0), x1=gap.at, line_width=0, layer="below",
                         fillcolor=theme.CELLS[theme.theme()]["due"], opacity=0.28)  # fmt: skip


def _bars(figure: go.Figure, record: LearningRecord, places: dict[uuid.UUID, int]) -> None:
    """One bar a module from begun to done, failed or the cohort's day."""
    begun = {e.module_id: e.at for e in reversed(record.events) if e.kind == "module begun"}
    ended = {e.module_id: e for e in record.events if e.kind in ("module done", "module failed")}
    colors = theme.CELLS[theme.theme()]
    for state, name, color in (
        ("module done", "done", colors["done"]),
        ("module failed", "failed module", colors["due"]),
        ("", "in progress", colors["begun"]),
    ):
        ids = [t for t in {**begun, **ended} if t in places and (ended[t].kind if t in ended else "") == state]
        if not ids:
            continue
        first = [begun[t] if t in begun else ended[t].at for t in ids]
        last = [ended[t].at if t in ended else record.cohort.as_of for t in ids]
        lengths = [max((b - a).total_seconds() * 1000, 36_000_000) for a, b in zip(first, last, strict=True)]
        figure.add_bar(orientation="h", base=first, x=lengths, y=[places[t] for t in ids], name=name, width=0.62,
                       marker={"color": color}, customdata=[f"{day(a)} to {day(b)}" for a, b in zip(first, last, strict=True)],
                       hovertemplate=f"{name}<br>%{{customdata}}<extra></extra>")  # fmt: skip
