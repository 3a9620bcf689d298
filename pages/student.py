"""One student, as program staff see them: contact (masked until revealed) and enrollments. Opening it is recorded."""

import uuid

import streamlit as st

from core import privacy_actions, queries
from core.errors import NotFound
from core.models.platform import ENROLLMENT_STATUS
from core.settings import ROOT
from core.words import isolated
from ui import guards, links, states
from ui.actions import act
from ui.cached import read
from ui.tables import day, status_column

STAFF = guards.require("program_staff", what="Student")
ENROLLMENTS = ROOT / "pages" / "enrollments.py"


def wanted() -> uuid.UUID | None:
    """The id in the address, if it is one."""
    try:
        return uuid.UUID(st.query_params.get("id", ""))
    except ValueError:
        return None


def back() -> None:
    """Draw the way back to the list, with the filters it had."""
    if st.button("Enrollments", type="tertiary", icon=":material/arrow_back:"):
        st.switch_page(ENROLLMENTS, query_params=st.session_state.get("enrollments_view", {}))


def contact(card: queries.StudentCard) -> None:
    """Draw the address: masked until somebody asks for it, which is recorded."""
    with st.container(horizontal=True, vertical_alignment="center"):
        shown = st.session_state.get("revealed_student") == card.id
        if not shown and st.button("Reveal contact", icon=":material/visibility:", key="reveal"):
            st.session_state["revealed_student"] = card.id
            shown = True
        address = card.contact
        if shown:
            found = act(privacy_actions.reveal_contacts, student_ids=[card.id], purpose="student page")
            address = found.get(card.id, card.contact)
        st.text(address)
        links.button(card.link)


def enrollments(card: queries.StudentCard) -> None:
    """Draw the enrollments: status and dates, never how it went."""
    st.subheader("Enrollments", anchor=False)
    if not card.enrollments:
        states.empty("No enrollment", "This student has an account and is not enrolled.")
        return
    rows = card.enrollments
    st.dataframe(
        {
            "Program": [e.program for e in rows],
            "Cohort": [e.cohort for e in rows],
            "Status": [[e.status] for e in rows],
            "Enrolled": [day(e.enrolled_at) for e in rows],
            "Cohort starts": [day(e.starts_on) for e in rows],
            "Cohort ends": [day(e.ends_on) for e in rows],
            "Withdrawn": [day(e.withdrawn_at) for e in rows],
            "Confirmation": [day(e.confirmed_at) for e in rows],
        },
        hide_index=True,
        row_height=36,
        height="content",
        column_config={"Status": status_column(ENROLLMENT_STATUS)},
        alt=f"Table of {len(rows)} enrollments of this student.",
    )


def page() -> None:
    """Draw the student, or say that there is none."""
    back()
    student_id = wanted()
    try:
        if student_id is None:
            raise NotFound("The address names no student.")
        card = read(STAFF, queries.student_card, student_id)
    except NotFound as error:
        states.state("No such student", error.sentence, icon="search_off", key="no_student")
        return
    act(privacy_actions.record_view, student_id=card.id, purpose="student page")
    st.title("Student", anchor=False)
    st.text(isolated(card.name))  # the one element that reads no markdown: st.metric and headings do
    st.caption(
        f"Account {card.account_status} · since {day(card.registered_at)} · experience: {card.level} · this view is logged"
    )
    contact(card)
    enrollments(card)


page()
