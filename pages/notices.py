"""Notices to many: how far each is, whom it reached, and the buttons to pause it, go on, or end it."""

from datetime import datetime

import streamlit as st

from core import queries
from core.queries import CampaignRow
from ui import desk, export, guards, notices, states
from ui.cached import read
from ui.clock import now
from ui.tables import day

STAFF = guards.require("privacy_officer", "admin", "auditor", what="Notices")
HELP = (
    "Text and audience are fixed when a notice begins. Everybody is told once; what became of each is kept for the period of"
    " the mail log, then only the counts."
)


def listing(rows: list[CampaignRow]) -> CampaignRow:
    """Draw the notices; return the one that is chosen or named in the address, else the newest."""
    shown = {
        "Notice": [row.kind.capitalize() for row in rows],
        "About": [notices.about(row) for row in rows],
        "State": [[notices.state_of(row)[0]] for row in rows],
        "Begun": [day(row.begun_at) for row in rows],
        "People": [notices.people(row) for row in rows],
        "Told": [row.counts.get("sent", 0) for row in rows],
        "Came back": [row.counts.get("bounced", 0) for row in rows],
        "Not reached": [row.counts.get("not reached", 0) for row in rows],
    }
    chosen = st.dataframe(
        shown, hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"notices_{hash(tuple((row.id, row.state) for row in rows)) % 10**8}",
        column_config={"State": desk.chips("State", [notices.state_of(row) for row in rows], width=110)},
        alt=f"Table of {len(rows)} notices to many, with state and counts.",
    )  # fmt: skip
    export.columns("notices", shown, caption="Newest first · select one to see how it goes")
    if chosen["selection"]["rows"]:
        return rows[chosen["selection"]["rows"][0]]
    named = st.query_params.get("id", "")
    return next((row for row in rows if str(row.id) == named), rows[0])


def page(moment: datetime) -> None:
    """Draw the page."""
    st.title("Notices", anchor=False, help=HELP)
    st.caption(f"Proof that people were told (clause 10) · as of {moment:%H:%M} UTC")
    desk.say()
    rows = read(STAFF, queries.campaign_list)
    if not rows:
        states.empty("Nobody was told anything yet", "A notice begins when a significant change of the policy is approved, or when"
                     " people have to be told about an incident.")  # fmt: skip
        return
    place = st.container()
    chosen = listing(rows)
    st.query_params["id"] = str(chosen.id)
    with place:
        notices.one(STAFF, chosen.id, moment)


page(now())
