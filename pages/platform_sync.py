"""Platform sync: what of the platform's database is here, what was set aside and why, and what nobody mapped."""

from datetime import datetime

import streamlit as st

from core import queries
from ui import guards, syncing
from ui.cached import read
from ui.clock import now

STAFF = guards.require("admin", "privacy_officer", "auditor", what="Platform sync")


def page(moment: datetime) -> None:
    """Draw the title, and how the sync fares."""
    state = read(STAFF, queries.sync_state)
    st.title("Platform sync", anchor=False, help=syncing.HELP)
    mapping = f" · mapping {state.mapping}" if state.mapping else ""
    st.caption(f"The platform's records in MongoDB, as they come in{mapping} · as of {moment:%H:%M} UTC")
    syncing.body(STAFF, state, moment)


page(now())
