"""Processing record (GDPR article 30): made from the labels of every column, the policy in force and the register of processors."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.policy import in_force
from core.policy.processing_record import Entry, processing_record
from core.queries import ProcessorEntry
from ui import desk, export, guards, printing
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("privacy_officer", "admin", "auditor", what="Processing record")
KEPT = ("Data", "What for", "Of whom, where", "Goes to", "Kept for")
THIRD = ("Processor", "Purpose", "Legal basis", "Contract", "Region, transfer", "Sub-processors", "Receives")
OPEN = (
    "The policy names no controller and no contact: write name, seat and representative of the company here before you hand this out.",
    "Technical and organizational measures (article 30(1)(g)): page Policy, clauses 3 and 4; docs/security.md.",
)


def kept(each: Entry) -> tuple[str, ...]:
    """One kind of data as a row."""
    title = f"{each.title}: {each.reason}" if each.reason else each.title
    fields = ", ".join(each.fields)
    return (
        f"{title}. {fields}",
        "; ".join(each.purposes),
        ", ".join(each.places),
        ", ".join(each.recipients) or "nobody",
        "; ".join(each.periods),
    )


def third(each: ProcessorEntry) -> tuple[str, ...]:
    """One processor as a row."""
    missing = "–"
    return (
        each.name, each.purpose or missing, each.legal_basis or missing, day(each.contract_on),
        ", ".join(filter(None, (each.region, each.transfer_basis))) or missing, ", ".join(each.sub_processors) or missing,
        ", ".join(each.receives) or "nothing from here",
    )  # fmt: skip


def table(header: Sequence[str], rows: Sequence[Sequence[str]], alt: str) -> None:
    """Draw a table to be read."""
    st.table(
        {name: [literal(row[place]) for row in rows] for place, name in enumerate(header)},
        border="horizontal",
        hide_index=True,
        alt=alt,
    )


def page(moment: datetime) -> None:
    """Draw the record."""
    rules = read(STAFF, in_force, moment)
    data = [kept(each) for each in processing_record(rules)]
    processors = [third(each) for each in read(STAFF, queries.processor_register, now=moment)]
    said = f"Policy of {rules.version}, as of {desk.instant(moment)}: made from the labels of every column and the register of processors."
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container(width="stretch"):
        st.title(
            "Processing record",
            anchor=False,
            help="GDPR article 30. A new labeled column is in it without anybody writing it down.",
        )
        st.caption(
            f"Policy of {literal(rules.version)} · {len(data)} kinds of data · {len(processors)} processors · as of {moment:%H:%M} UTC"
        )
    st.subheader("What is kept, of whom, what for and how long", anchor=False)
    table(KEPT, data, f"Table of {len(data)} kinds of personal data.")
    export.columns("processing-record", {name: [row[place] for row in data] for place, name in enumerate(KEPT)})
    st.subheader("Who receives it", anchor=False, help="From the page Processors; a dash was not filled in yet.")
    table(THIRD, processors, f"Table of {len(processors)} processors.")
    for note in OPEN:
        st.caption(note)
    with top, st.popover("Print", icon=":material/print:"):
        st.markdown(
            "The record as one page that any browser prints. It is recorded; the link works once, for you, within 15 minutes.",
            width=320,
        )
        if st.button("Make the page", key="make_page"):
            content = printing.document("Record of processing activities", said, [("Data", KEPT, data), ("Processors", THIRD, processors)], notes=OPEN,
                                        made=moment)  # fmt: skip
            st.session_state["record_link"] = act(privacy_actions.export_policy, name=f"processing-record-{moment:%Y-%m-%d}.html", content=content,
                                                  rows=len(data) + len(processors))  # fmt: skip
        if link := st.session_state.pop("record_link", None):
            st.link_button("Open the page", f"files/{link}", type="primary", icon=":material/open_in_new:")


page(now())
