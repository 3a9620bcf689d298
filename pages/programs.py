"""Programs as groups: who is active, on plan, completed, withdrew. Weekly figures that tell nothing about one person."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from core import queries
from core.queries import Figure, GroupFigures
from ui import charts, export, filters, guards, links, states
from ui.cached import catalog, read
from ui.learning_charts import figures_chart
from ui.tables import day

STAFF = guards.require("program_staff", "privacy_officer", "admin", "auditor", what="Programs")
KINDS = {
    "active": (
        "Active in 14 days",
        "Of the students of running cohorts who did not withdraw: the share who did something on the platform in the 14 days before.",
    ),
    "on plan": ("On plan", "Of the same students: the share who have done as many modules as were due."),
    "completed": (
        "Completed",
        "Of all students whose cohort ended and who did not withdraw, in all years: the share who passed.",
    ),
    "withdrawn": ("Withdrew", "Of all who enrolled in a running cohort: the share who withdrew."),
}
RULES = (
    "Told once a week, for groups of at least 10 students, in steps of 5 points, never below 5% or above 95%. A figure moves only "
    "when at least 10 students stand between it and the last one; until then the old one stays, with its age."
)
ALL = "All programs"


def page() -> None:
    """Draw the figures of all programs, then their history by week."""
    with states.loading(height=400):
        groups = read(STAFF, queries.group_figures)
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Programs", anchor=False)
        st.caption(f"Groups of at least 10 students · {week_of(groups)}", help=RULES)
    if not groups:
        states.empty(
            "No figure is there yet",
            "The worker takes the first ones within a week. An admin sees on Today whether it runs.",
        )
        return
    with top:
        export.offer("programs", *exported(groups), note="All figures of this page, by week")
    metrics(groups[0])
    st.subheader("By program", anchor=False, help=RULES)
    table(groups)
    history(groups)


def week_of(groups: Sequence[GroupFigures]) -> str:
    """The week the newest figures were told in."""
    weeks = [figure.week for group in groups for figure in group.figures]
    return f"week of {day(max(weeks))}" if weeks else "no week yet"


def rate(figure: Figure | None) -> str:
    """A rate in words: the ends of the scale say that there may be more."""
    if figure is None or figure.percent is None:
        return "–"
    return {5: "5% or less", 95: "95% or more"}.get(figure.percent, f"{figure.percent}%")


def age(figure: Figure | None) -> str:
    """Of how many, and since when a figure stands."""
    if figure is None:
        return "not taken yet"
    if figure.percent is None or figure.members is None:
        return "fewer than 10"
    since = "" if figure.counted_at.date() >= figure.week else f", since {day(figure.counted_at)[:-5]}"
    return f"of {figure.members:,} or more{since}"


def metrics(whole: GroupFigures) -> None:
    """Draw the figures of all told programs together."""
    with st.grid(4, min_column_width=190):
        for kind, (name, meaning) in KINDS.items():
            figure = whole.newest(kind)
            rates = [each.percent for each in whole.history(kind) if each.percent is not None]
            st.metric(
                name, rate(figure), delta=age(figure), delta_color="off", delta_arrow="off", border=True, height="stretch",
                chart_data=rates if len(rates) > 1 else None, help=f"{meaning} {RULES}",
            )  # fmt: skip


def table(groups: Sequence[GroupFigures]) -> None:
    """Draw a row for each program and kind: rate, group, age."""
    rows = [group for group in groups if group.program_id]
    columns: dict[str, Any] = {"Program": [group.title for group in rows]}
    for kind, (name, _) in KINDS.items():
        columns[name] = [told(group.newest(kind)) for group in rows]
    known = catalog(STAFF).links
    columns |= links.column([known.get(group.program_id) for group in rows if group.program_id])
    st.dataframe(
        columns,
        hide_index=True, row_height=36, height="content",
        column_config={name: st.column_config.TextColumn(help=meaning) for name, meaning in KINDS.values()} | links.config(),
        alt=f"Table of {len(rows)} programs with four rates each.",
    )  # fmt: skip
    st.caption("–: fewer than 10 students. A date: since then fewer than 10 students changed, so the figure stands.")


def told(figure: Figure | None) -> str:
    """A rate with its group and age, for the table."""
    if figure is None or figure.percent is None:
        return "–"
    since = "" if figure.counted_at.date() >= figure.week else f" · {day(figure.counted_at)[:-5]}"
    return f"{rate(figure)} of {figure.members:,}+{since}"


def history(groups: Sequence[GroupFigures]) -> None:
    """Draw one kind of figure by week, for the programs that are chosen."""
    names = {group.title: group for group in groups}
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(
            "By week", anchor=False, help="Each point is a figure as it was told in that week. A gap: not told."
        )
        st.space("stretch")
        kind = filters.segments(
            "Figure", {code: name for code, (name, _) in KINDS.items()}, key="figure", first="active"
        )
    chosen = st.multiselect("Programs", list(names), default=[groups[0].title], key="programs", max_selections=5, label_visibility="collapsed",
                            placeholder="Choose up to five programs")  # fmt: skip
    shown = [names[name] for name in chosen if any(f.percent is not None for f in names[name].history(kind))]
    if not shown:
        states.empty(
            "Nothing is told of this choice", "A program needs at least 10 students for a figure. Choose another one."
        )
        return
    weeks = len({figure.week for group in shown for figure in group.history(kind)})
    charts.show(
        figures_chart(shown, kind),
        key="history",
        alt=f"Lines: {KINDS[kind][0].lower()} of {len(shown)} programs in {weeks} weeks; the newest are "
        + ", ".join(f"{group.title} {rate(group.newest(kind))}" for group in shown) + ".",
    )  # fmt: skip
    if weeks == 1:
        st.caption("This is the first week. The next figures are taken on Monday.")


def exported(groups: Sequence[GroupFigures]) -> tuple[tuple[str, ...], list[list[object]]]:
    """Header and rows of the file."""
    header = ("Week", "Program", "Figure", "Percent", "Of at least", "Counted on")
    return header, [
        [figure.week, group.title, KINDS[figure.kind][0], figure.percent, figure.members, figure.counted_at.date()]
        for group in groups for figure in group.figures
    ]  # fmt: skip


page()
