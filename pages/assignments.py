"""Assignments: which cohort's learning data opens to whom, from when to when; and the running cohorts without anybody."""

from datetime import datetime

import streamlit as st

from core import queries
from core.errors import BadInput
from core.queries import AssignmentCursor, AssignmentPage, AssignmentRow
from ui import assigning, export, filters, guards, states
from ui.cached import catalog, read
from ui.clock import now
from ui.tables import chips, day, literal

STAFF = guards.require("admin", what="Assignments")
ALL_PROGRAMS, ALL_STATES = "All programs", "All states"
HEADER = ("Person", "Cohort", "Program", "From", "To", "State")


def unassigned(titles: tuple[str, ...]) -> None:
    """Say which running cohorts nobody teaches."""
    if titles:
        shown = ", ".join(map(literal, titles[:6])) + (f" and {len(titles) - 6} more" if len(titles) > 6 else "")
        st.warning(
            f"**{len(titles)} running cohort{' has' if len(titles) == 1 else 's have'} nobody assigned**: {shown}. Nobody sees who needs help there.",
            icon=":material/school:",
        )


def filter_row() -> dict[str, object]:
    """Draw the filters; what is typed may name persons, so it stays out of the address."""
    programs = {title: id_ for id_, title in catalog(STAFF).programs.items()}
    with st.container(horizontal=True, vertical_alignment="center"):
        search = st.text_input(
            "Search by part of a person's name or a cohort", key="assignment_q", placeholder="Person or cohort",
            icon=":material/search:", width=240, label_visibility="collapsed", type="search",
        )  # fmt: skip
        program = st.selectbox("Program", [ALL_PROGRAMS, *programs], key="program", bind="query-params", width=200, label_visibility="collapsed")  # fmt: skip
        state = st.selectbox(
            "State", [ALL_STATES, *queries.ASSIGNMENT_STATES], key="state", bind="query-params", width=150,
            label_visibility="collapsed",
        )  # fmt: skip
    return {
        "search": search or "",
        "program_id": programs.get(program or ""),
        "state": None if state in (None, ALL_STATES) else state,
    }


def clear_filters() -> None:
    """Put every filter back."""
    filters.put_back({"program": ALL_PROGRAMS, "state": ALL_STATES, "assignment_q": ""})


def listing(wanted: dict[str, object], moment: datetime) -> AssignmentPage:
    """Draw one page of assignments; a selected row can be ended."""
    cursors = cursors_of(wanted)
    found = read(STAFF, queries.assignment_page, now=moment, after=cursors[-1], **wanted)
    st.subheader(f"{found.total:,} assignment{'' if found.total == 1 else 's'}", anchor=False)
    if not found.rows:
        if any(wanted.values()):
            states.nothing_found("No assignment matches", "No assignment matches these filters.", clear=clear_filters)
        else:
            states.empty("No cohort is assigned", "Learning data opens to nobody until you assign a cohort.")
        return found
    row = table(found.rows, page=len(cursors))
    footer(found, cursors)
    if row is not None:
        with st.container(border=True):
            assigning.line(STAFF, row, moment, with_name=True)
    return found


def table(rows: tuple[AssignmentRow, ...], *, page: int) -> AssignmentRow | None:
    """Draw the rows; return the selected one."""
    chosen = st.dataframe(
        {
            "Person": [row.name for row in rows],
            "Cohort": [row.cohort for row in rows],
            "Program": [row.program for row in rows],
            "From": [day(row.starts_on) for row in rows],
            "To": [day(row.ends_on) if row.ends_on else "no end yet" for row in rows],
            "State": [[row.state] for row in rows],
        },
        hide_index=True,
        row_height=36,
        height="content",
        on_select="rerun",
        selection_mode="single-row",
        key=f"assignments_{page}_{hash(tuple(row.id for row in rows)) % 10**8}",
        column_config={"State": chips("State", queries.ASSIGNMENT_STATES, width=110)},
        alt=f"Table of {len(rows)} assignments with person, cohort, program and days.",
    )
    picked = chosen["selection"]["rows"]
    return rows[picked[0]] if picked else None


def footer(found: AssignmentPage, cursors: list[AssignmentCursor | None]) -> None:
    """Draw where we are, and the way on and back."""
    first = (len(cursors) - 1) * 50 + 1
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{first:,} to {first + len(found.rows) - 1:,} of {found.total:,} · select a row to end it", width="stretch"
        )
        if len(cursors) > 1 or found.next is not None:
            st.button("Previous", icon=":material/chevron_left:", disabled=len(cursors) == 1, on_click=turn_back)
            st.button("Next", icon=":material/chevron_right:", icon_position="right", disabled=found.next is None,
                      on_click=cursors.append, args=(found.next,))  # fmt: skip


def cursors_of(wanted: dict[str, object]) -> list[AssignmentCursor | None]:
    """The cursors of the pages seen so far; other filters begin at their first page."""
    if st.session_state.get("assignments_view") != wanted:
        st.session_state["assignments_view"] = wanted
        st.session_state["assignments_cursors"] = [None]
    cursors: list[AssignmentCursor | None] = st.session_state["assignments_cursors"]
    return cursors


def turn_back() -> None:
    """Go to the page before."""
    st.session_state["assignments_cursors"].pop()


def export_row(row: AssignmentRow) -> tuple[object, ...]:
    """One line of the file."""
    return (row.name, row.cohort, row.program, row.starts_on, row.ends_on, row.state)


def page(moment: datetime) -> None:
    """Draw the page."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top:
        with st.container():
            st.title("Assignments", anchor=False)
            st.caption(f"Learning data opens by assignment, never by role · days in UTC · as of {moment:%H:%M} UTC")
        if st.button("Assign a cohort", type="primary", icon=":material/add:", key="assign"):
            assigning.open_form()
    assigning.form(STAFF, moment)
    unassigned(read(STAFF, queries.house, now=moment).running_without_teacher)
    try:
        shown = listing(filter_row(), moment)
    except BadInput as error:
        st.warning(literal(error.sentence))
        return
    with top:
        export.offer("assignments", HEADER, map(export_row, shown.rows), note="The assignments of this page")


page(now())
