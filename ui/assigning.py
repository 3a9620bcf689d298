"""Assigning cohorts: the form that opens one, the line of one, and the two ways to end it."""

import uuid
from datetime import date, datetime

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError
from core.privacy_actions import Staff
from core.queries import AssignmentRow
from ui import confirm
from ui.actions import act
from ui.cached import catalog, read
from ui.tables import day, literal

OPEN = "assigning_open"
CHIP = {"running": ":blue-badge[running]", "starts later": ":orange-badge[starts later]", "ended": ":gray-badge[ended]"}


def open_form() -> None:
    """Open the form at the next run."""
    st.session_state[OPEN] = True


def _close() -> None:
    st.session_state.pop(OPEN, None)


def form(staff: Staff, moment: datetime, *, person: tuple[uuid.UUID, str] | None = None) -> None:
    """Draw the dialog that assigns a cohort, if it is open; ``person`` (id, name) when it is clear to whom."""
    if not st.session_state.get(OPEN):
        return

    @st.dialog("Assign a cohort", width="medium", icon=":material/school:", on_dismiss=_close)
    def dialog() -> None:
        st.markdown(
            "Progress, submissions, reviews and results of the cohort open to this person, from the first to the last day (UTC)."
        )
        with st.form("assign_cohort", border=False, enter_to_submit=False):
            to = person[0] if person else _person(staff)
            cohort = _cohort(staff, moment.date())
            first = st.date_input("First day", value=moment.date(), format="YYYY-MM-DD", key="assign_from")
            last = st.date_input("Last day (empty: no end yet)", value=None, format="YYYY-MM-DD", key="assign_to")
            with st.container(horizontal=True, horizontal_alignment="right"):
                kept = st.form_submit_button("Cancel")
                pressed = st.form_submit_button("Assign", type="primary")
        if kept:
            _close()
            st.rerun()
        if pressed:
            problem = _assigned(to, cohort, first, last)
            if problem:
                st.error(literal(problem))
            else:
                st.rerun()

    dialog()


def line(staff: Staff, row: AssignmentRow, moment: datetime, *, with_name: bool = False) -> None:
    """Draw one assignment, with the button that ends it while it is not over."""
    with st.container(horizontal=True, vertical_alignment="center"):
        until = f"to {day(row.ends_on)}" if row.ends_on else "no end yet"
        who = f"{literal(row.name)} · " if with_name else ""
        st.markdown(
            f"{who}**{literal(row.cohort)}** {CHIP[row.state]}  \n:gray[:small[{literal(row.program)} · from {day(row.starts_on)} · {until}]]",
            width="stretch",
        )
        if row.state != "ended":
            with st.popover("End", type="tertiary", icon=":material/event_busy:", key=f"ending_{row.id}"):
                ending(row, moment.date())


def ending(row: AssignmentRow, today: date) -> None:
    """Draw the two ways to end an assignment."""
    st.markdown("Learning data closes to this person after the last day, or at their next click.", width=300)
    soonest = max(today, row.starts_on)
    last = st.date_input(
        "Last day", value=soonest, min_value=soonest, max_value=row.ends_on, format="YYYY-MM-DD", key=f"last_{row.id}"
    )
    with st.container(horizontal=True):
        st.button("Set the last day", key=f"set_last_{row.id}", on_click=_end, args=(row, last))
        st.button(":red[:material/event_busy: End at once]", key=f"end_now_{row.id}", on_click=_end, args=(row, None))


def _person(staff: Staff) -> uuid.UUID | None:
    known = read(staff, queries.assignable)
    return st.selectbox("Person", list(known), index=None, format_func=known.__getitem__, placeholder="Choose an instructor or mentor")  # fmt: skip


def _cohort(staff: Staff, today: date) -> uuid.UUID | None:
    """Running and coming cohorts first; one that is over can still be opened."""
    listed = sorted(catalog(staff).cohorts, key=lambda c: (c.ends_on < today, c.starts_on > today, c.title))
    words = {c.id: f"{c.title} · {day(c.starts_on)} to {day(c.ends_on)}" for c in listed}
    return st.selectbox("Cohort", list(words), index=None, format_func=words.__getitem__, placeholder="Choose a cohort")


def _assigned(to: uuid.UUID | None, cohort: uuid.UUID | None, first: date | None, last: date | None) -> str:
    """Assign; return why not. The form closes in the same transaction."""
    if to is None or cohort is None or first is None:
        return "Nothing was assigned. Choose a person, a cohort and a first day."

    def closed(_made: object) -> None:
        _close()
        st.session_state[confirm.DONE] = "Assigned. It counts from the first day on."

    try:
        act(
            privacy_actions.add_assignment,
            before_commit=closed,
            staff_id=to,
            cohort_id=cohort,
            starts_on=first,
            ends_on=last,
        )
    except AdminError as error:
        return f"Nothing was assigned. {error.sentence}"
    return ""


def _end(row: AssignmentRow, last: date | None) -> None:
    try:
        act(privacy_actions.end_assignment, assignment_id=row.id, last_day=last)
    except AdminError as error:
        st.session_state[confirm.DONE] = error.sentence
    else:
        st.session_state[confirm.DONE] = (
            f"It ends after {day(last)}." if last else "Ended. It closes at their next click."
        )
