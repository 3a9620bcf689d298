"""Analytics: anonymized figures of closed periods, the same for everybody, never changed. See docs/analytics.md."""

from collections.abc import Sequence
from contextlib import nullcontext

import streamlit as st

from core import queries
from core.queries import AnalyticsState, Answer, Comparison, Question, ReleasedFigure, Share
from ui import charts, export, guards, release_charts, states
from ui.cached import are_kept, drawn, published
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require(*guards.ROLE_NAMES, what="Analytics")
FAMILIES = {"Enrollments": "enrollments", "Progress milestones": "milestones", "Active learners": "activity"}
MILESTONES = {"Half of the program": "50", "The whole program": "100"}
TIMES = {"Month": "month", "Quarter": "quarter", "Year": "year"}
ALL_PROGRAMS = "All programs"
MOST_SERIES = 5
MOST_PERIODS = 8
MEANING = {
    "enrollments": "Learners who enrolled in a program for the first time. Nobody is counted twice in a program.",
    "milestones": "Learners who reached half, or all, of a program's modules for the first time; a certificate counts as all.",
    "activity": "Learners who opened a lesson, began or finished a module or handed work in; each in the program joined last.",
}
SOURCE = " Source: the published releases. Whiskers and ± hold the true number in 9 of 10 cases."


def known() -> AnalyticsState:
    """What is published, and by which method."""
    return published(STAFF, queries.analytics_state)


def title_row() -> None:
    """Draw the title, what these figures are, and the method one click away."""
    state = known()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container():
            st.title("Analytics", anchor=False)
            newest = state.newest
            st.caption(
                f"Anonymized releases only · to {newest.period}, published {day(newest.published)} · never changes"
                if newest
                else "Anonymized releases only"
            )
        if state.releases:
            with st.popover("Method", icon=":material/science:"):
                method(state)


def method(state: AnalyticsState) -> None:
    """Say what stands behind the figures: notice, version, budget, noise, hashes."""
    st.markdown(
        "Estimates for closed periods. Random noise protects each person; the numbers do not change when accounts are deleted. "
        "Somebody who holds every release *and* the records of everybody else can tell in at most **69 of 100** cases whether "
        "a certain deleted person was in them (a coin: 50).",
        width=520,
    )
    st.table(
        {
            "": ["Version", "Budget of an account", "Used by all releases so far", "Reserved, never used", "Noise", "Mechanism"],
            " ": [
                f"{state.version} (mu = {state.mu:g})",
                f"{state.budget:g} squared mu",
                f"at most {100 * state.releases[-1].total / state.budget:.0f}%",
                f"{state.left:.0f}%",
                ", ".join(f"{family.name} ± {family.sigma:g}" for family in state.families) + " (one standard deviation)",
                state.releases[-1].mechanism,
            ],
        },
        border="horizontal",
        hide_index=True,
    )  # fmt: skip
    st.caption(
        "SHA-256 of each release; `python -m core analytics verify` recomputes them and compares with the audit."
    )
    st.code(
        "\n".join(f"{r.period:<8} {r.family:<12} {r.content_sha256}" for r in reversed(state.releases)),
        language=None,
        height=160,
    )


def choice(state: AnalyticsState) -> tuple[str, str | None, str | None, str]:
    """Draw the filters and return family, milestone, program (code) and time; what cannot be chosen is gray and says why."""
    with st.container(horizontal=True, vertical_alignment="center"):
        family = FAMILIES[_select("Figure", list(FAMILIES), "figure", 190)]
        milestone = None
        if family == "milestones":
            milestone = MILESTONES[_select("Milestone", list(MILESTONES), "milestone", 190)]
        codes = {title: code for code, title in state.programs.items()}
        program = codes.get(_select("Program", [ALL_PROGRAMS, *codes], "program", 190))
        time = _time(family, milestone, yearly_only=state.yearly_only)
    _unavailable(_question(family, milestone, program, ("program", time)))
    return family, milestone, program, time


def _select(label: str, options: list[str], key: str, width: int) -> str:
    return str(st.selectbox(label, options, key=key, bind="query-params", width=width, label_visibility="collapsed"))


def _time(family: str, milestone: str | None, *, yearly_only: bool) -> str:
    """Draw the kinds of period that a family is published by."""
    question = _question(family, milestone, None, ("program",))
    closed = published(STAFF, queries.unavailable_filters, question, tuple(TIMES.values()))
    offered = [label for label, time in TIMES.items() if time not in closed]
    first = "Year" if yearly_only else "Quarter"
    chosen = st.segmented_control(
        "Period",
        offered,
        key=f"time_{family}",
        default=first,
        required=True,
        bind="query-params",
        label_visibility="collapsed",
    )
    return TIMES[chosen or first]


def _unavailable(question: Question) -> None:
    """Draw what cannot be combined with the choice, gray, with the reason."""
    names = {"month": "Month", "experience": "Experience", "cohort": "Cohort", "age": "Age"}
    reasons = published(STAFF, queries.unavailable_filters, question, tuple(names))
    if not reasons:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        for dimension, reason in reasons.items():
            st.button(f"By {names[dimension].lower()}", key=f"closed_{dimension}", disabled=True, help=reason)
        st.caption(" ".join(dict.fromkeys(reasons.values())))


def _question(family: str, milestone: str | None, program: str | None, by: tuple[str, ...]) -> Question:
    where = ((("milestone", (milestone,)),) if milestone else ()) + ((("program", (program,)),) if program else ())
    return Question(family, by, where)


def over_time(family: str, milestone: str | None, program: str | None, time: str) -> None:
    """Draw the figures of each period by program."""
    state = known()
    answer = published(STAFF, queries.released_figures, _question(family, milestone, program, ("program", time)))
    periods = sorted({row.keys[1] for row in answer.rows})[-(12 if time == "month" else MOST_PERIODS) :]
    with st.container(border=True, height="stretch"):
        st.subheader(_heading(family, milestone, time), anchor=False, help=MEANING[family] + SOURCE)
        if not periods:
            st.caption("A year is told once all its quarters are published.")
            return
        series = _series(answer, periods, state)
        margin = next((row.margin for row in answer.rows), 0)
        st.caption(f"Whisker: 90% margin, ± {margin} · hatched: too few to tell apart from noise")
        figure = release_charts.bars(series, [_shown(period) for period in periods])
        hidden = sum(each.value is None for figures in series.values() for each in figures)
        charts.show(
            figure,
            key=f"time_{family}_{time}_{milestone}_{program}",
            alt=f"Columns with margins: {len(series)} programs in {len(periods)} periods; {hidden} figures are hatched because they are not shown.",
        )
        if program is None and len(state.programs) > MOST_SERIES:
            st.caption(f"The {MOST_SERIES} largest of {len(state.programs)} programs; the file has all.")


def _heading(family: str, milestone: str | None, time: str) -> str:
    """What the chart tells."""
    what = {"enrollments": "New learners", "milestones": "Reached " + ("half" if milestone == "50" else "all") + " of a program", "activity": "Active learners"}[family]  # fmt: skip
    return f"{what} per {time}"


def _series(answer: Answer, periods: Sequence[str], state: AnalyticsState) -> dict[str, list[ReleasedFigure]]:
    """The figures by program, of the largest programs."""
    known = {row.keys: row for row in answer.rows}
    codes = list(dict.fromkeys(row.keys[0] for row in answer.rows))
    largest = sorted(codes, key=lambda code: -sum(known[code, period].value or 0 for period in periods))[:MOST_SERIES]
    return {state.programs[code]: [known[code, period] for period in periods] for code in codes if code in largest}


def _shown(period: str) -> str:
    """A period as an axis shows it: 26-Q3, 2026, 2026-07."""
    return period[2:] if "-Q" in period else period


def by_experience(family: str, milestone: str | None) -> None:
    """Draw the newest year by experience: with programs for enrollments, alone for milestones."""
    state = known()
    dimensions = ("program", "experience", "year") if family == "enrollments" else ("experience", "year")
    answer = published(STAFF, queries.released_figures, _question(family, milestone, None, dimensions))
    year = max((row.keys[-1] for row in answer.rows), default="")
    with st.container(border=True, height="stretch"):
        st.subheader("By experience", anchor=False, help=MEANING[family] + " Experience as learners state it." + SOURCE)
        if not year:
            st.caption(
                answer.refused or "Experience is published by year: the first whole year comes 14 days after its end."
            )
            return
        rows = [row for row in answer.rows if row.keys[-1] == year]
        st.caption(f"{year} · ± holds in 9 of 10 cases · hatched: not shown, below the number in the cell")
        if family == "enrollments":
            cells = {(state.programs[row.keys[0]], row.keys[1]): row for row in rows}
            figure = release_charts.heat([state.programs[code] for code in state.programs], state.experience, cells)
        else:
            figure = release_charts.bars({year: rows}, [row.keys[0] for row in rows])
        hidden = sum(row.value is None for row in rows)
        alt = f"{len(rows)} figures of {year} by experience; {hidden} are hatched because they are not shown."
        charts.show(figure, key=f"experience_{family}_{milestone}", alt=alt)


def changes(family: str, milestone: str | None) -> None:
    """Tell each program's newest period beside the one before."""
    state = known()
    time = "year" if state.yearly_only else "quarter"
    found = published(STAFF, queries.latest_changes, family=family, milestone=milestone, time=time)
    with st.container(border=True, height="stretch"):
        st.subheader(
            "Newest change",
            anchor=False,
            help=f"The newest {time} less the one before, when that is more than its own margin.",
        )
        if not found:
            st.caption(f"There is one published {time} so far.")
            return
        st.caption(f"{_shown(next(iter(found.values())).period)} beside the {time} before")
        _table({"Program": [literal(state.programs[code]) for code in found], "Now": [_figure(c.one) for c in found.values()],
                "Before": [_figure(c.other) for c in found.values()], "Change": [_verdict(c) for c in found.values()]})  # fmt: skip


@guards.part(STAFF)
def comparison(state: AnalyticsState, family: str, milestone: str | None) -> None:
    """Draw two programs side by side, with a verdict that knows the margin."""
    time = "year" if state.yearly_only else "quarter"
    titles = {state.programs[code]: code for code in _largest_first(state, family, milestone, time)}
    with st.container(border=True, height="stretch"):
        st.subheader(
            "Two programs side by side",
            anchor=False,
            help="A difference is told when it is larger than its own 90% margin.",
        )
        if len(titles) < 2:
            st.caption("There is one program only.")
            return
        with st.container(horizontal=True, vertical_alignment="center"):
            one = titles[_select("One program", list(titles), "one", 170)]
            rest = [title for title, code in titles.items() if code != one]
            other = titles[_select("The other program", rest, "other", 170)]
        drawn(STAFF, differences, family, milestone, time, one, other)


def differences(family: str, milestone: str | None, time: str, one: str, other: str) -> None:
    """Draw the table of two programs, period by period."""
    titles = known().programs
    found = published(
        STAFF, queries.compare_programs, family=family, one=one, other=other, milestone=milestone, time=time
    )[-6:]
    _table({time.capitalize(): [_shown(c.period) for c in found], literal(titles[one]): [_figure(c.one) for c in found],
            literal(titles[other]): [_figure(c.other) for c in found], "Difference": [_verdict(c) for c in found]})  # fmt: skip


def _largest_first(state: AnalyticsState, family: str, milestone: str | None, time: str) -> list[str]:
    """Programs by their newest figure, those that are not shown last: what is offered first can be compared."""
    newest = published(STAFF, queries.latest_changes, family=family, milestone=milestone, time=time)
    shown = {code: each.one.value for code, each in newest.items()}
    return sorted(state.programs, key=lambda code: (-(shown.get(code) or 0), state.programs[code]))


def _table(columns: dict[str, list[str]]) -> None:
    st.table(
        release_charts.framed(tuple(columns), tuple(map(tuple, columns.values()))), border="horizontal", hide_index=True
    )


def _figure(figure: ReleasedFigure) -> str:
    return (
        f"{figure.value:,} ± {figure.margin}"
        if figure.value is not None
        else f":gray[fewer than ~{figure.below}]"
        if figure.below
        else "–"
    )


def _verdict(found: Comparison) -> str:
    """The difference in words, with its margin."""
    if found.verdict == "no clear difference":
        return f":gray[no clear change (± {found.margin})]"
    if found.difference is None:
        return f":gray[{found.verdict}]" if found.verdict.startswith("too few") else found.verdict
    return f"**{abs(found.difference):,} ± {found.margin} {found.verdict}**"


def cohorts(program: str | None) -> None:
    """Draw the cohorts that have ended: learners, and how many reached half and all."""
    found = published(STAFF, queries.cohort_figures, program=program)
    if not found:
        return
    with st.container(border=True):
        st.subheader(
            "Cohorts that have ended",
            anchor=False,
            help="Counted once, when the cohort ended. Shares need at least 25 learners and a margin of at most 25 points; they stop at 5% and 95%.",
        )
        shown = found[:12]
        _table({"Cohort": [literal(c.cohort) for c in shown], "Ended in": [_shown(c.quarter) for c in shown],
                "Learners": [_figure(c.learners) for c in shown], "Reached half": [_figure(c.half) + _share(c.half_share) for c in shown],
                "Reached all": [_figure(c.whole) + _share(c.whole_share) for c in shown]})  # fmt: skip
        if len(found) > len(shown):
            st.caption(f"The newest {len(shown)} of {len(found)}; choose a program to see its own.")


def _share(found: Share) -> str:
    return f" · {found.bound}{found.percent}% ± {found.margin}" if found.percent is not None else ""


def key_figures(family: str) -> None:
    """Draw what is published and what is left of the budget."""
    state = known()
    sigma = next(each.sigma for each in state.families if each.name == family)
    grid = st.grid(3, min_column_width=190)
    with grid.cell():
        st.metric(
            "Releases published",
            len(state.releases),
            border=True,
            height="stretch",
            help="Each is one family of figures of one closed period, published once and for ever.",
        )
    with grid.cell():
        st.metric(
            "Noise in one figure",
            f"± {sigma:g}",
            border=True,
            height="stretch",
            help="Standard deviation of the random number in each published figure of this family, before parts and wholes are made to add up.",
        )
    with grid.cell():
        st.metric(
            "Budget left",
            f"{state.left:.0f}%",
            border=True,
            height="stretch",
            help="The part of an account's lifetime budget (mu = 1) that no release of this method can ever use.",
        )


def export_button(state: AnalyticsState, family: str, milestone: str | None, program: str | None, time: str) -> None:
    """Offer the table behind the chart as a file, margins included."""
    answer = published(STAFF, queries.released_figures, _question(family, milestone, program, ("program", time)))
    header = ("Program", time.capitalize(), "Estimate", "Margin (90%)", "Not shown because")
    rows = [(state.programs[row.keys[0]], row.keys[1], row.value, row.margin or None, row.why) for row in answer.rows]
    export.offer("analytics", header, rows, note="The figures of this choice with their margins")


def page() -> None:
    """Draw the page."""
    with nullcontext() if are_kept() else states.loading(height=500):
        state = known()
    drawn(STAFF, title_row)
    if not state.releases:
        following = queries.next_closing(now().date())
        states.empty(
            "Nothing is published yet",
            f"A quarter is published once, 14 days after its end. {following.name} can be from {day(following.closes_on)} on; the worker does it, or an admin with `python -m core analytics publish`.",
        )
        return
    family, milestone, program, time = choice(state)
    grid = st.grid(2, min_column_width=340)
    with grid.cell():
        drawn(STAFF, over_time, family, milestone, program, time)
    with grid.cell():
        if family == "activity":
            drawn(STAFF, changes, family, milestone)
        else:
            drawn(STAFF, by_experience, family, milestone)
    with st.container(horizontal=True, horizontal_alignment="right"):
        export_button(state, family, milestone, program, time)
    drawn(STAFF, key_figures, family)
    grid = st.grid(2, min_column_width=340)
    with grid.cell():
        comparison(state, family, milestone)
    with grid.cell():
        if family != "activity":
            drawn(STAFF, changes, family, milestone)
    if not state.yearly_only and family != "activity":
        drawn(STAFF, cohorts, program)


page()
