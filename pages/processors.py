"""The register of processors: what each is for, on which basis, what it gets, and whether its part was done and proven."""

from datetime import date, datetime
from typing import Any

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError
from core.models.labels import Processor as Named
from core.models.processors import LEGAL_BASES, TRANSFER_BASES
from core.queries import ProcessorEntry
from ui import confirm, desk, export, guards
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("admin", "privacy_officer", "auditor", what="Processors")
HEADER = ("Processor", "Purpose", "Legal basis", "Contract of", "Next review", "Sub-processors", "Transfer basis", "Region", "Receives",
          "Sent from here", "Done by", "Last passed on", "Last proven gone", "Open", "Health")  # fmt: skip
HELP = (
    "Clause 5 of the policy: each third party does just its job, under contract, with the minimum of data. Whoever the policy or the data "
    "map names is here, whether or not somebody filled its entry in."
)
EDITING, PROBLEM = "processor_editing", "processor_problem"
ABILITIES = {"preview": "preview", "export": "export", "erase": "erasure", "verify": "proof", "propagate": "changes"}


def state_of(entry: ProcessorEntry) -> tuple[str, str, str]:
    """How the connection does: word, color, icon."""
    if not entry.connected:
        return "by hand", "gray", "person"
    if entry.circuit != "closed":
        return "stopped", "red", "power_off"
    if entry.troubled:
        return "in trouble", "orange", "sync_problem"
    if entry.worked_at is None:
        return "not used yet", "gray", "help"
    return "works", "green", "check_circle"


def figures(entries: tuple[ProcessorEntry, ...], today: date) -> None:
    """Draw the key figures."""
    late = sum(entry.overdue(today) for entry in entries)
    gaps = sum(len(entry.missing) for entry in entries)
    trouble = sum(entry.troubled for entry in entries)
    with st.grid(4, min_column_width=190):
        st.metric("Processors", len(entries), f"{sum(entry.connected for entry in entries)} connected", delta_arrow="off",
                  delta_color="off", border=True, height="stretch",
                  help="Third parties that the policy in force or the data map names. The others are worked by hand, and confirmed by a second person. Live.")  # fmt: skip
        st.metric(f"{':red[:material/warning:] ' if late else ''}Contracts to see to", late, border=True, height="stretch",
                  help="No contract under Art. 28 GDPR on record, or the day of its next review is past. Live.")  # fmt: skip
        st.metric(f"{':orange[:material/edit_off:] ' if gaps else ''}Not filled in", gaps, border=True, height="stretch",
                  help="Fields of the register that nobody has filled in, over all processors. Live.")  # fmt: skip
        st.metric(f"{':red[:material/sync_problem:] ' if trouble else ''}In trouble", trouble, border=True, height="stretch",
                  help="Connections whose last call failed, that are stopped after failures in a row, or where something waits because it did not go through. Live.")  # fmt: skip


def listing(entries: tuple[ProcessorEntry, ...], today: date) -> ProcessorEntry:
    """Draw the register as a table; return the entry that is selected, or the first that needs somebody."""
    shown = [state_of(entry)[:2] for entry in entries]
    contracts = [("missing", "red") if entry.contract_on is None else ("overdue", "orange") if entry.overdue(today) else ("in order", "green")
                 for entry in entries]  # fmt: skip
    chosen = st.dataframe(
        {
            "Processor": [entry.name for entry in entries],
            "Connection": [[word] for word, _ in shown],
            "Contract": [[word] for word, _ in contracts],
            "Of": [day(entry.contract_on) if entry.contract_on else "–" for entry in entries],
            "Review by": [day(entry.review_by) if entry.review_by else "–" for entry in entries],
            "Not filled in": [len(entry.missing) for entry in entries],
            "Last passed on": [day(entry.propagated_at) if entry.propagated_at else "never" for entry in entries],
            "Last proven gone": [day(entry.verified_at) if entry.verified_at else "never" for entry in entries],
            "Open there": [entry.open for entry in entries],
        },
        hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row",
        key=f"processors_{hash(tuple(entry.version for entry in entries)) % 10**8}",
        column_config={"Connection": desk.chips("Connection", shown, width=130), "Contract": desk.chips("Contract", contracts, width=100)},
        alt=f"Table of {len(entries)} processors with the state of their connection, contract, review, and what was last done there.",
    )  # fmt: skip
    st.caption("Select a row to see the whole entry. Every time is UTC.")
    picked = chosen["selection"]["rows"]
    if picked:
        return entries[picked[0]]
    return next((entry for entry in entries if entry.troubled or entry.overdue(today)), entries[0])


def one(entry: ProcessorEntry, moment: datetime) -> None:
    """Draw one processor."""
    word, color, icon = state_of(entry)
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(literal(entry.name), anchor=False, width="content")
            st.badge(word, color=color, icon=f":material/{icon}:")  # type: ignore[arg-type]
            if entry.overdue(moment.date()):
                why = (
                    "no contract on record"
                    if entry.contract_on is None
                    else f"review overdue since {day(entry.review_by)}"
                )
                st.badge(why, color="red", icon=":material/contract_delete:")
            if not entry.listed:
                st.badge("not in the policy", color="red", icon=":material/policy:")
            st.space("stretch")
            if STAFF.role == "admin":
                st.button("Edit", key=f"edit_{entry.name}", icon=":material/edit:", type="tertiary", on_click=begin, args=(entry.name,))  # fmt: skip
        grid = st.grid(3, min_column_width=295)
        with grid.cell():
            record(entry, moment)
        with grid.cell():
            data(entry)
        with grid.cell():
            health(entry)
        written(entry)


def record(entry: ProcessorEntry, moment: datetime) -> None:
    """Draw what people wrote, and what nobody has filled in."""
    late = entry.review_by is not None and entry.review_by < moment.date()
    review = f":red[:material/warning: was due {day(entry.review_by)}]" if late else f"by {day(entry.review_by)}"
    lines = (
        ("Purpose", literal(entry.purpose)), ("Legal basis", entry.legal_basis),
        ("Contract", f"of {day(entry.contract_on)}" if entry.contract_on else ""), ("Next review", review if entry.review_by else ""),
        ("Sub-processors", literal(", ".join(entry.sub_processors))), ("Transfer basis", entry.transfer_basis),
        ("Region", literal(entry.region)), ("Contact", literal(entry.contact)),
    )  # fmt: skip
    told = [f":gray[{label}]  \n{value}" for label, value in lines if value]
    if entry.missing:
        told.append(f":orange[:material/edit_off: Not filled in]  \n{', '.join(entry.missing)}")
    st.markdown("\n\n".join(told))


def data(entry: ProcessorEntry) -> None:
    """Draw what it gets of people."""
    receives = ", ".join(entry.receives) or "nothing that the data map knows"
    if not entry.connected:
        sent = "nothing: people work there by hand"
    else:
        sent = ", ".join(entry.sent) or "nothing about people"
    st.markdown(
        f":gray[Receives from the platform]  \n{receives}",
        help="By the labels of the data map: every field that lies there.",
    )
    st.markdown(f":gray[Sent from this dashboard]  \n{sent}",
                help="Every field that ever leaves from here. A test compares it with what passes the wire.")  # fmt: skip


def done_by(entry: ProcessorEntry) -> str:
    """What it does by itself, and what is left to people."""
    if not entry.connected:
        return "by a person, confirmed by a second one"
    does = [ABILITIES[each] for each in entry.abilities] + (["letters"] if entry.name == Named.SMTP else [])
    left = [words for each, words in ABILITIES.items() if each not in entry.abilities]
    return f"by itself: {', '.join(does)}" + (
        f"; by a person, confirmed by a second one: {', '.join(left)}" if left else ""
    )


def health(entry: ProcessorEntry) -> None:
    """Draw whether its part is done, and how the connection does."""
    st.markdown(f":gray[Its part is done]  \n{done_by(entry)}")
    st.markdown(
        f":gray[Last passed on]  \n{desk.instant(entry.propagated_at) if entry.propagated_at else 'never'}\n\n"
        f":gray[Last proven gone]  \n{desk.instant(entry.verified_at) if entry.verified_at else 'never'}\n\n"
        f":gray[Open there]  \n{entry.open or 'nothing'}",
        help="A change such as “sign-in off” that was passed on; a person's data that was erased there and looked for again; and what"
        " still has to be done there.",
    )
    if entry.circuit != "closed":
        again = f"one call may try from {desk.instant(entry.opens_at)}" if entry.opens_at else "one call may try now"
        again = "one call tries just now" if entry.circuit == "half-open" else again
        st.error(f"Stopped after {entry.failures} failures in a row; {again}.", icon=":material/power_off:")
    if entry.connected and entry.error and entry.failed_at:
        st.caption(f":material/error: last error: {literal(entry.error)}, {desk.instant(entry.failed_at)}")
    if entry.stuck_since:
        st.caption(f":material/sync_problem: something does not go through since {desk.instant(entry.stuck_since)}")
    if entry.connected and entry.worked_at:
        st.caption(f"last call that worked: {desk.instant(entry.worked_at)}")


def written(entry: ProcessorEntry) -> None:
    """Draw who wrote the entry, and what changed before."""
    if entry.written_at is None:
        st.caption("Nobody has written this entry yet." + ("" if STAFF.role == "admin" else " An admin fills it in."))
        return
    with st.expander(f"Version {entry.version} · {desk.instant(entry.written_at)} · {literal(entry.written_by or '–')}", icon=":material/history:"):  # fmt: skip
        for version in read(STAFF, queries.processor_history, entry.name):
            changed = ", ".join(version.changed) or "nothing"
            st.markdown(
                f"**{version.version}** · {desk.instant(version.written_at)} · {literal(version.written_by)}  \n:gray[{changed}]"
            )


def begin(name: str) -> None:
    """Open the form of one processor."""
    st.session_state[EDITING] = name
    st.session_state.pop(PROBLEM, None)


def close() -> None:
    """Close the form; nothing is changed."""
    st.session_state.pop(EDITING, None)
    st.session_state.pop(PROBLEM, None)


def edit(entry: ProcessorEntry) -> None:
    """Draw the form of one entry."""

    @st.dialog(f"Register: {entry.name}", width="large", icon=":material/edit:", on_dismiss=close)
    def dialog() -> None:
        with st.form("processor", border=False, enter_to_submit=False):
            purpose = st.text_input(
                "Purpose", value=entry.purpose, max_chars=500, help="What it does for the platform, in one sentence."
            )
            left, right = st.columns(2)
            basis = left.selectbox(
                "Legal basis", LEGAL_BASES, index=place(LEGAL_BASES, entry.legal_basis), placeholder="Not decided"
            )
            transfer = right.selectbox("Transfer basis", TRANSFER_BASES, index=place(TRANSFER_BASES, entry.transfer_basis),
                                       placeholder="Not decided", help="What allows data outside the European Economic Area.")  # fmt: skip
            contract = left.date_input("Contract of", value=entry.contract_on, format="YYYY-MM-DD", min_value=date(2000, 1, 1),
                                       help="The day of the contract under Art. 28 GDPR.")  # fmt: skip
            review = right.date_input(
                "Next review by", value=entry.review_by, format="YYYY-MM-DD", min_value=date(2000, 1, 1)
            )
            region = left.text_input("Region", value=entry.region, max_chars=500, help="Where the data lies.")
            contact = right.text_input("Contact", value=entry.contact, max_chars=500, help="Whom to write to there.")
            others = st.text_area("Sub-processors, one a line", value="\n".join(entry.sub_processors), height=96)
            if problem := st.session_state.get(PROBLEM):
                st.error(literal(problem))
            with st.container(horizontal=True, horizontal_alignment="right"):
                kept = st.form_submit_button("Cancel")
                pressed = st.form_submit_button("Write version " + str(entry.version + 1), type="primary")
        if kept:
            close()
            st.rerun()
        if pressed:
            save(entry, purpose=purpose, legal_basis=basis or "", transfer_basis=transfer or "", contract_on=contract, review_by=review,
                 region=region, contact=contact, sub_processors=others.splitlines())  # fmt: skip

    dialog()


def place(options: tuple[str, ...], value: str) -> int | None:
    """Where a value stands in a list, None when it is not filled in."""
    return options.index(value) if value in options else None


def save(entry: ProcessorEntry, **values: Any) -> None:
    """Write the entry, or leave the form open with what was typed."""
    try:
        version = act(privacy_actions.write_processor_record, name=entry.name, version=entry.version, **values)
    except AdminError as error:
        st.session_state[PROBLEM] = error.sentence
    else:
        close()
        same = version == entry.version
        st.session_state[confirm.DONE] = (
            "Nothing was changed." if same else f"{entry.name}: version {version} is written."
        )
    st.rerun()


def page(moment: datetime) -> None:
    """Draw the register."""
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top, st.container():
        st.title("Processors", anchor=False, help=HELP)
        st.caption(
            f"Third parties of clause 5: contracts, data, and whether their part was done · as of {moment:%H:%M} UTC"
        )
    entries = read(STAFF, queries.processor_register, now=moment)
    figures(entries, moment.date())
    if entries:
        one(listing(entries, moment.date()), moment)
    editing = next((entry for entry in entries if entry.name == st.session_state.get(EDITING)), None)
    if editing and STAFF.role == "admin":
        edit(editing)
    with top:
        export.offer("processors", HEADER, [
            (entry.name, entry.purpose, entry.legal_basis, entry.contract_on, entry.review_by, ", ".join(entry.sub_processors),
             entry.transfer_basis, entry.region, ", ".join(entry.receives), ", ".join(entry.sent), state_of(entry)[0] if not entry.connected else "by itself",
             entry.propagated_at, entry.verified_at, entry.open, state_of(entry)[0]) for entry in entries
        ], note="The register as it stands; nobody's data")  # fmt: skip


page(now())
