"""Staff: every account, what waits for a second admin, and the invitation of a new one. No students here."""

from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError, BadInput
from core.models.staff import ROLES, TEACHING_ROLES
from core.queries import AccountCursor, AccountFilter, AccountPage, AccountRow, Oversight, ProposalRow
from core.settings import ROOT
from ui import confirm, export, filters, guards, handover, proposals, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import chips, day, literal

STAFF = guards.require("admin", what="Staff")
MEMBER = ROOT / "pages" / "staff_member.py"
ALL_ROLES, ALL_STATES = "All roles", "All states"
HEADER = ("Name", "E-mail", "Role", "State", "One-time codes", "Cohorts today", "Last seen (UTC)")
STATE_HELP = (
    "active: can sign in. invited: has a one-time code and no password yet. waits for approval: another admin has to approve it. "
    "no code: the code ran out, make a new one. disabled: cannot sign in."
)


def invite_fields() -> dict[str, object]:
    """Draw the fields of an invitation."""
    name = st.text_input("Name", max_chars=200, autocomplete="off")
    email = st.text_input("E-mail", max_chars=200, autocomplete="off", placeholder="you@example.org")
    role = st.selectbox(
        "Role", ROLES, format_func=guards.ROLE_NAMES.__getitem__, index=None, placeholder="Choose a role"
    )
    return {"name": name, "email": email, "role": role or ""}


def invitation(found: Oversight) -> None:
    """Draw the dialog that invites somebody."""
    alone = "You act alone: the single-admin mode is declared."
    confirm.danger_dialog(
        "invite staff",
        title="Invite a staff member",
        consequence="You get a one-time code to hand over. With it the person chooses a password of their own within 24 hours; nobody else ever "
        "knows it. Privacy officers and admins then set up one-time codes.",
        word=None,
        button="Make the invitation",
        verb=privacy_actions.invite_staff,
        fields=invite_fields,
        before=alone if found.single_admin else "Another admin has to approve the account before the code works.",
        nothing="Nobody was invited.",
        then=handover.keep,
        icon="person_add",
    )


def mode(found: Oversight) -> None:
    """Say how far two persons stand behind grants."""
    if found.single_admin and found.declared_at:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(
                f":orange[:material/error:] **Single-admin mode since {day(found.declared_at)}**  \n:gray[:small[Nobody checks the grants you make. "
                "It ends by itself when a second admin signs up. Auditors and privacy officers see this too.]]",
                width="stretch",
            )
            st.button("End it", key="end_mode", on_click=end_mode)
    elif found.admins == 1:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(
                ":violet[:material/group:] **You are the only admin**  \n:gray[:small[New accounts and roles wait for a second one. Invite one, "
                "or declare that there is none.]]",
                width="stretch",
            )
            if st.button("Declare single-admin mode", key="declare_mode"):
                confirm.open_danger("single admin")
    confirm.danger_dialog(
        "single admin",
        title="Declare single-admin mode",
        consequence="Your grants take effect **without a second person**. Everybody who oversees sees this declaration, and every such grant "
        "is marked in the audit.",
        word="single admin",
        button="Declare it",
        verb=privacy_actions.declare_single_admin,
        keep="Keep two persons",
        nothing="Nothing was declared.",
        done="Declared. It ends by itself when a second admin signs up.",
        icon="person",
    )


def end_mode() -> None:
    """Take the declaration back."""
    try:
        act(privacy_actions.end_single_admin)
    except AdminError as error:
        st.session_state[confirm.DONE] = error.sentence
    else:
        st.session_state[confirm.DONE] = "From now on grants wait for a second admin."


def waiting(rows: list[ProposalRow], found: Oversight) -> None:
    """Draw what waits for a second admin."""
    if not rows:
        return
    st.subheader("Waits for a second admin", anchor=False, help="Grants that one admin proposed. Another one approves or declines them.")  # fmt: skip
    with st.container(border=True):
        for row in rows:
            proposals.line(row, alone=found.single_admin)


def filter_row() -> AccountFilter:
    """Draw the filters; what is typed names persons, so it stays out of the address."""
    with st.container(horizontal=True, vertical_alignment="center"):
        search = st.text_input(
            "Search by part of a name or e-mail", key="staff_q", placeholder="Part of a name or e-mail",
            icon=":material/search:", width=260, label_visibility="collapsed", type="search",
        )  # fmt: skip
        roles = {ALL_ROLES: ALL_ROLES, **{role: guards.ROLE_NAMES[role] for role in ROLES}}
        role = filters.choice("Role", roles, key="role", first=ALL_ROLES, width=170)
        state = st.selectbox(
            "State", [ALL_STATES, *queries.ACCOUNT_STATES], key="state", bind="query-params", width=180,
            label_visibility="collapsed",
        )  # fmt: skip
    return AccountFilter(
        search or "", None if role == ALL_ROLES else role, None if state in (None, ALL_STATES) else state
    )


def clear_filters() -> None:
    """Put every filter back."""
    filters.put_back({"role": ALL_ROLES, "state": ALL_STATES, "staff_q": ""})


def listing(wanted: AccountFilter, moment: datetime) -> AccountPage:
    """Draw one page of accounts; a selected row leads to the person."""
    cursors = cursors_of(wanted)
    found = read(STAFF, queries.account_page, wanted, now=moment, after=cursors[-1])
    st.subheader(f"{found.total:,} account{'' if found.total == 1 else 's'}", anchor=False, help=STATE_HELP)
    if not found.rows:
        states.nothing_found("No account matches", "No account matches these filters.", clear=clear_filters)
        return found
    table(found.rows, moment, page=len(cursors))
    first = (len(cursors) - 1) * 50 + 1
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(
            f"{first:,} to {first + len(found.rows) - 1:,} of {found.total:,} · select a row to open the account",
            width="stretch",
        )
        if len(cursors) > 1 or found.next is not None:
            st.button("Previous", icon=":material/chevron_left:", disabled=len(cursors) == 1, on_click=turn_back)
            st.button("Next", icon=":material/chevron_right:", icon_position="right", disabled=found.next is None,
                      on_click=cursors.append, args=(found.next,))  # fmt: skip
    return found


def cursors_of(wanted: AccountFilter) -> list[AccountCursor | None]:
    """The cursors of the pages seen so far; another filter begins at its first page."""
    if st.session_state.get("staff_view") != wanted:
        st.session_state["staff_view"] = wanted
        st.session_state["staff_cursors"] = [None]
    cursors: list[AccountCursor | None] = st.session_state["staff_cursors"]
    return cursors


def turn_back() -> None:
    """Go to the page before."""
    st.session_state["staff_cursors"].pop()


def table(rows: tuple[AccountRow, ...], moment: datetime, *, page: int) -> None:
    """Draw the rows."""
    chosen = st.dataframe(
        {
            "Name": [row.name for row in rows],
            "E-mail": [row.email for row in rows],
            "Role": [guards.ROLE_NAMES[row.role] for row in rows],
            "State": [[row.state] for row in rows],
            "One-time codes": [codes(row) for row in rows],
            "Cohorts today": [str(row.cohorts) if row.role in TEACHING_ROLES else "–" for row in rows],
            "Last seen": [seen(row.seen_at, moment) for row in rows],
        },
        hide_index=True,
        row_height=36,
        height="content",
        on_select="rerun",
        selection_mode="single-row",
        key=f"staff_{page}_{hash(tuple(row.id for row in rows)) % 10**8}",  # not what changes at every run, like "last seen"
        column_config={"State": chips("State", queries.ACCOUNT_STATES, width=150)},
        alt=f"Table of {len(rows)} accounts with role, state, one-time codes, cohorts of today and last sign of life.",
    )
    if chosen["selection"]["rows"]:
        st.switch_page(MEMBER, query_params={"id": str(rows[chosen["selection"]["rows"][0]].id)})


def codes(row: AccountRow) -> str:
    """Whether one-time codes protect the account."""
    if row.codes:
        return "on"
    if privacy_actions.needs_second_admin(row.role):
        return "exempt (demo)" if row.demo else "to be set up"
    return "off"


def seen(at: datetime | None, moment: datetime) -> str:
    """When somebody was last seen, as near as it matters."""
    if at is None:
        return "–"
    return f"today, {at:%H:%M}" if at.date() == moment.date() else day(at)


def export_row(row: AccountRow) -> tuple[object, ...]:
    """One line of the file."""
    return (row.name, row.email, row.role, row.state, codes(row), row.cohorts, row.seen_at)


def page(moment: datetime) -> None:
    """Draw the page."""
    found = read(STAFF, queries.oversight, now=moment)
    top = st.container(horizontal=True, vertical_alignment="bottom")
    with top:
        with st.container():
            st.title("Staff", anchor=False)
            st.caption(f"Accounts and roles · as of {moment:%H:%M} UTC")
        if st.button("Invite a staff member", type="primary", icon=":material/person_add:", key="invite"):
            confirm.open_danger("invite staff")
    invitation(found)
    mode(found)
    waiting(read(STAFF, queries.open_proposals), found)
    try:
        shown = listing(filter_row(), moment)
    except BadInput as error:
        st.warning(literal(error.sentence))
        return
    with top:
        export.offer("staff", HEADER, map(export_row, shown.rows), note="The accounts of this page")
    handover.show()


page(now())
