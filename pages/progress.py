"""Progress: one assigned cohort by module, who of it needs help and why, where it stands, certificates that are due."""

from datetime import datetime

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core import privacy_actions, queries
from core.queries import MATRIX_SORTS, PAGE_STUDENTS, CohortStand, HelpList, Matrix, TaughtCohort, YearBefore
from ui import charts, export, guards, learning, links, standing, states
from ui.actions import act
from ui.cached import catalog, read
from ui.clock import now
from ui.learning import many
from ui.learning_charts import SHOWN, matrix_chart, module_label, stand_chart
from ui.tables import day

STAFF = guards.require("instructor", "mentor", what="Progress")
NO_REASON = "No reason reached its limit. Limits are set above."
SHOW = (*SHOWN, "List")
ORDERS = {label: name for name, label in MATRIX_SORTS.items()}
MATRIX_HELP = (
    "One row a student, one column a module. ✓ done, ✗ failed, … begun, R waits for its review, – not begun. Amber: due and not "
    "done, or failed. The dashed line is the plan: modules left of it were due. Students who withdrew are left out."
)


def page(moment: datetime) -> None:
    """Draw the cohort that is chosen."""
    learning.say()
    cohorts = read(STAFF, queries.taught_cohorts, now=moment)
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Progress", anchor=False)
        cohort = learning.wanted_cohort(STAFF, cohorts)
        if cohort is None:
            return
        stand = read(STAFF, queries.cohort_stand, cohort)
        st.caption(headline(cohort, stand, moment))
    with top:
        links.button(catalog(STAFF).links.get(cohort.id))
        learning.limits_form(cohort)
    with st.container(horizontal=True, vertical_alignment="center"):
        learning.cohort_box(cohorts)
        shown = st.segmented_control(
            "Show", SHOW, key="show", bind="query-params", default=SHOW[0], required=True, label_visibility="collapsed"
        )
        order = st.segmented_control("Order", list(ORDERS), key="order", bind="query-params", default=next(iter(ORDERS)), required=True,
                                     label_visibility="collapsed")  # fmt: skip
    if not stand.students:
        nobody(cohort, stand)
        standing.left_out(read(STAFF, queries.left_out, cohort_id=cohort.id).students, "student")
        return
    act(privacy_actions.record_cohort_view, cohort_id=cohort.id, purpose="progress")
    with states.loading(height=500):
        found = read(STAFF, queries.who_needs_help, (cohort,), now=moment)
    grid = st.grid(5, min_column_width=180)
    with grid.cell(column_span=2):  # first: in a narrow window the other one stands below it
        needs_help(cohort, found, moment)
        standing.objecting(found.objecting)
        certificates(cohort, moment)
        where_it_stands(cohort, stand, moment)
    with grid.cell(column_span=3):
        matrix(cohort, stand, top, shown=str(shown), sort=ORDERS[str(order)])


def headline(cohort: TaughtCohort, stand: CohortStand, moment: datetime) -> str:
    """The scope in words: who, which plan, as of when."""
    parts = [many(stand.students, "student")]
    if stand.withdrawn:
        parts.append(f"{stand.withdrawn:,} withdrew")
    if not cohort.started:
        return " · ".join([*parts, f"starts on {day(cohort.starts_on)}"])
    if cohort.due:
        last = max((m.due_on for m in stand.modules if m.due_on and m.due_on < cohort.as_of.date()), default=None)
        parts.append(f"plan: {many(cohort.due, 'module')} by {day(last)}; {stand.on_plan:,} on plan")
    return " · ".join([*parts, learning.as_of(cohort, moment)])


def nobody(cohort: TaughtCohort, stand: CohortStand) -> None:
    """Say that there is nobody to see."""
    if stand.withdrawn:
        states.empty("Everybody withdrew", f"{many(stand.withdrawn, 'student')} enrolled in this cohort and withdrew.")
    elif not cohort.started:
        states.empty(
            "Nobody is enrolled yet",
            f"The cohort starts on {day(cohort.starts_on)}. Students appear here as they enroll.",
        )
    else:
        states.empty("Nobody is enrolled", "This cohort has no students. Choose another cohort above.")


def matrix(cohort: TaughtCohort, stand: CohortStand, top: DeltaGenerator, *, shown: str, sort: str) -> None:
    """Draw one page of students, as a heat map or as a list."""
    number = page_of(cohort, sort)
    with states.loading(height=400):
        found = read(STAFF, queries.cohort_matrix, cohort, sort=sort, page=number)
    st.subheader("Cohort by module", anchor=False, help=MATRIX_HELP)
    standing.left_out(read(STAFF, queries.left_out, cohort_id=cohort.id).students, "student")
    with top:
        export.offer("progress", *exported(found, stand), note="The students of this page")
    if not stand.modules:
        states.empty(
            "No modules",
            "The program of this cohort has no modules, so there is no progress to see. The list shows its students.",
        )
        listing(found, stand, cohort)
    elif shown == "List" or not cohort.started:
        listing(found, stand, cohort)
    else:
        due = {m.id for m in stand.modules if m.due_on and m.due_on < cohort.as_of.date()}
        behind = sum(row.done < len(due) for row in found.rows)
        charts.show(
            matrix_chart(found, stand, due=due, shown=shown),
            key=f"matrix_{number}",
            alt=f"Heat map of {many(len(found.rows), 'student')} by {many(len(stand.modules), 'module')}: {behind} behind the plan.",
        )
        legend(shown, planned=bool(due))
    footer(found, number)


def legend(shown: str, *, planned: bool) -> None:
    """Draw what the signs mean."""
    number = {"Score": "number: score of 100 · ", "Days": "number: days from its beginning · "}.get(shown, "")
    plan = (
        " · :orange-background[amber] due and not done, or failed · dashed: plan"
        if planned
        else " · :orange-background[amber] failed"
    )
    st.caption(f"{number}✓ done · … begun · R waits for review · ✗ failed · – not begun{plan}")


def listing(found: Matrix, stand: CohortStand, cohort: TaughtCohort) -> None:
    """Draw the same page as a table; a selected row opens the student."""
    chosen = st.dataframe(
        {
            "Student": [row.name for row in found.rows],
            "Done": [round(100 * row.done / len(stand.modules)) if stand.modules else None for row in found.rows],
            "Modules": [f"{row.done} of {len(stand.modules)}" for row in found.rows],
            "Last active": [day(row.last_active) for row in found.rows],
        },
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"list_{hash(tuple(row.enrollment_id for row in found.rows)) % 10**8}",
        column_config={
            "Done": st.column_config.ProgressColumn(format="%d%%", min_value=0, max_value=100, color="blue", width=110),
        },
        alt=f"Table of {many(len(found.rows), 'student')} with modules done and last activity.",
    )  # fmt: skip
    st.caption("Select a row to open the student; opening is logged.")
    if chosen["selection"]["rows"]:
        learning.open_student(found.rows[chosen["selection"]["rows"][0]].student_id, cohort)


def page_of(cohort: TaughtCohort, sort: str) -> int:
    """The page that is open; another cohort or order begins at the first."""
    if st.session_state.get("matrix_view") != (cohort.id, sort):
        st.session_state["matrix_view"], st.session_state["matrix_page"] = (cohort.id, sort), 1
    return int(st.session_state["matrix_page"])


def turn(step: int) -> None:
    """Go a page on or back."""
    st.session_state["matrix_page"] += step


def footer(found: Matrix, number: int) -> None:
    """Draw where we are, and the way on and back; nothing for a single page."""
    if found.students <= PAGE_STUDENTS:
        return
    first = (number - 1) * PAGE_STUDENTS + 1
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{first:,} to {first + len(found.rows) - 1:,} of {found.students:,}", width="stretch")
        st.button("Previous", icon=":material/chevron_left:", disabled=number == 1, on_click=turn, args=(-1,))
        st.button("Next", icon=":material/chevron_right:", icon_position="right", disabled=number * PAGE_STUDENTS >= found.students,
                  on_click=turn, args=(1,))  # fmt: skip


def needs_help(cohort: TaughtCohort, found: HelpList, moment: datetime) -> None:
    """Draw who needs help; a selected student opens below."""
    st.subheader(f"Need help: {found.total:,}", anchor=False, help=learning.POINTS_HELP)
    if not cohort.started:
        states.empty("Not started", f"The cohort starts on {day(cohort.starts_on)}. Nobody can be behind yet.")
        return
    kind = learning.kinds_filter(found, key="reason") if found.total else None
    most = learning.most_shown((cohort.id, kind))
    if kind or most > len(found.rows):
        found = read(STAFF, queries.who_needs_help, (cohort,), now=moment, kind=kind, limit=most)
    rows = found.rows
    if found.handled and not st.toggle(f"Show {found.handled:,} handled", key="with_handled"):
        rows = tuple(row for row in rows if not row.is_handled)
    if not rows:
        told = f"{many(found.handled, 'student')} handled until a later day." if found.handled else NO_REASON
        st.markdown(f":green[:material/check_circle:] **Nobody needs help now**  \n:gray[:small[{told}]]")
        return
    whole = found.by_kind[kind] if kind else found.total
    chosen = learning.help_table(rows, key="help", caption=learning.help_caption(len(rows), whole))
    learning.more_button(len(rows), whole)
    if chosen is not None:
        learning.student_card(STAFF, chosen, cohort, purpose="progress")


def certificates(cohort: TaughtCohort, moment: datetime) -> None:
    """Draw who passed and has no certificate yet."""
    due = read(STAFF, queries.certificates_due, (cohort,), now=moment)
    if not due:
        return
    st.subheader(
        f"Certificates due: {len(due):,}",
        anchor=False,
        help="Passed (a result was decided), and no certificate is issued. Issue it on the platform.",
    )
    shown_columns = {
        "Student": [row.name for row in due],
        "Result": [row.kind for row in due],
        "Decided": [day(row.decided_at) for row in due],
        **links.column([row.link for row in due]),
    }
    st.dataframe(
        shown_columns,
        hide_index=True, row_height=36, height="content" if len(due) <= 8 else 36 * 8 + 38,
        column_config=links.config(),
        alt=f"Table of {many(len(due), 'student')} whose certificate is due.",
    )  # fmt: skip
    export.columns("certificates-due", shown_columns)


def where_it_stands(cohort: TaughtCohort, stand: CohortStand, moment: datetime) -> None:
    """Draw how many have done each module, beside the cohort of a year ago."""
    if not stand.modules or not cohort.started:
        return
    before = read(STAFF, queries.year_before, cohort, now=moment)
    st.subheader(
        "Where the cohort stands",
        anchor=False,
        help="Students who have done the module, of those who did not withdraw.",
    )
    most = max(stand.modules, key=lambda module: module.done)
    charts.show(
        stand_chart(stand, before),
        key="stand",
        alt=f"Columns of {many(len(stand.modules), 'module')}: the most done one by {most.done} of {stand.students} students.",
    )
    st.caption(f"Students who have done the module, of {stand.students:,}. {year_ago(before)}")


def year_ago(before: YearBefore | None) -> str:
    """The comparison in words."""
    if before is None:
        return "There is no cohort of a year ago to compare with."
    exact = (
        "exact, because it is assigned to you too"
        if before.exact
        else "in whole tens, because it is not assigned to you"
    )
    return f"Diamonds: {learning.plain(before.title)} on the same day of its run ({before.members} students who stayed; {exact})."


def exported(found: Matrix, stand: CohortStand) -> tuple[tuple[str, ...], list[list[object]]]:
    """Header and rows of the file: what the page shows, states in words."""
    header = ("Student", "Modules done", "Last active", *(f"{module_label(m)} {m.title}" for m in stand.modules))
    cells = [[row.cells.get(m.id) for m in stand.modules] for row in found.rows]
    return header, [
        [
            row.name,
            row.done,
            row.last_active.date() if row.last_active else None,
            *(cell.state if cell else "not begun" for cell in line),
        ]
        for row, line in zip(found.rows, cells, strict=True)
    ]


page(now())
