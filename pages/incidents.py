"""Incidents: breaches of personal data, with their 72 hours, whom they concern, what was decided and who was told."""

import uuid
from datetime import datetime

import streamlit as st

from core import queries
from core.queries import IncidentRow
from ui import desk, export, guards, incidents, states
from ui.cached import read
from ui.clock import now
from ui.tables import day

STAFF = guards.require("privacy_officer", "admin", "auditor", what="Incidents")
OFFICER = STAFF.role == "privacy_officer"


def figures(rows: list[IncidentRow]) -> None:
    """Draw the key figures."""
    open_ones = [row for row in rows if row.closed_at is None]
    late = [row for row in open_ones if row.clock == "overdue"]
    with st.grid(3, min_column_width=150):
        st.metric(f"{':red[:material/warning:] ' if late else ''}Past 72 hours", len(late), border=True, height="stretch",
                  help="Open incidents about which the authority was neither notified nor decided, 72 hours after we knew. Live.")  # fmt: skip
        running = [row for row in open_ones if row.clock in ("running", "48 hours")]
        st.metric("72 hours running", len(running), border=True, height="stretch",
                  help="Open incidents whose notification to the authority is not decided, or decided and not made. Live.")  # fmt: skip
        st.metric(
            "Open", len(open_ones), border=True, height="stretch", help="Recorded and not closed by two officers. Live."
        )


def listing(rows: list[IncidentRow], moment: datetime) -> IncidentRow | None:
    """Draw the register; return the one that is chosen or named in the address."""
    clocks = [incidents.clock(row, moment) for row in rows]
    shown = {
        "Incident": [row.number for row in rows],
        "72 hours": [[word] for word, _ in clocks],
        "Title": [row.title for row in rows],
        "Next": [incidents.next_step(row) for row in rows],
        "Known since": [day(row.aware_at) for row in rows],
        "Where": [row.place for row in rows],
        "People": ["–" if row.affected is None else f"{row.affected:,}" for row in rows],
        "Authority": [incidents.authority(row) for row in rows],
    }
    chosen = st.dataframe(
        shown, hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"incidents_{hash(tuple((row.id, row.closed_at) for row in rows)) % 10**8}",
        column_config={"72 hours": desk.chips("72 hours", clocks, width=130), "Title": st.column_config.TextColumn(width=245), "Next": st.column_config.TextColumn(width=165),
                       "Incident": st.column_config.TextColumn(width=70), "People": st.column_config.TextColumn(width=70, alignment="right")}, alt=f"Table of {len(rows)} incidents.",
    )  # fmt: skip
    export.columns("incidents", shown, caption="The most urgent first · select one to work on it")
    if chosen["selection"]["rows"]:
        return rows[chosen["selection"]["rows"][0]]
    named = st.query_params.get("id", "")
    return next((row for row in rows if str(row.id) == named), None)


def recorded(incident_id: uuid.UUID) -> None:
    """Go to an incident that was written down just now."""
    st.query_params["id"] = str(incident_id)


def page(moment: datetime) -> None:
    """Draw the page."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container():
            st.title("Incidents", anchor=False)
            st.caption(f"Breaches of personal data (GDPR articles 33 and 34) · as of {moment:%H:%M} UTC")
        if OFFICER and st.button("Record an incident", key="record", type="primary", icon=":material/add:"):
            desk.open_dialog("incident", 0)
    desk.say()
    rows = read(STAFF, queries.incident_list, staff_id=STAFF.id, now=moment)
    incidents.record_dialog(moment, recorded)
    if not rows:
        states.empty(
            "No incident is recorded",
            "Record a breach as soon as anybody here knows of it: the 72 hours run from then.",
        )
        return
    figures(rows)
    place = st.container()
    chosen = listing(rows, moment)
    if chosen is not None:
        st.query_params["id"] = str(chosen.id)
        with place:
            incidents.one(STAFF, chosen, moment)


page(now())
