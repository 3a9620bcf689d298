"""A grant that waits: what it is, who asked for it, and the buttons of whoever looks at it."""

import streamlit as st

from core import privacy_actions
from core.errors import AdminError
from core.queries import ProposalRow
from ui import confirm, guards, handover
from ui.actions import act
from ui.tables import day, literal


def told(row: ProposalRow) -> str:
    """What is granted, in words."""
    after = guards.ROLE_NAMES[row.after].lower()
    return {
        "account": f"new account as {after}",
        "role": f"{guards.ROLE_NAMES[row.before or row.after].lower()} becomes {after}",
        "enable": f"account opened again as {after}",
        "full reset": f"new password and new one-time codes ({after})",
    }[row.kind]


def line(row: ProposalRow, *, alone: bool) -> None:
    """Draw one waiting grant with its buttons. ``alone``: the single-admin mode lets the proposer approve."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f":violet[:material/group:] **{literal(row.name)}**: {told(row)}  \n:gray[:small[{literal(row.proposed_by)} asked on"
            f" {day(row.proposed_at)}, {row.proposed_at:%H:%M} UTC: {literal(row.reason)}]]",
            width="stretch",
        )
        if row.about_me:
            st.caption("This is about you: another admin decides.", width="content")
        elif row.mine and not alone:
            st.caption("You asked: another admin decides.", width="content")
        elif st.button("Review", key=f"review_{row.id}", type="secondary"):
            confirm.open_danger(f"approve grant:{row.id}")
        if row.mine:
            st.button("Withdraw", key=f"withdraw_{row.id}", type="tertiary", on_click=_decide, args=(row, "withdrawn"))
        elif not row.about_me:
            st.button("Decline", key=f"decline_{row.id}", type="tertiary", on_click=_decide, args=(row, "declined"))
    _approval(row)


def _approval(row: ProposalRow) -> None:
    confirm.danger_dialog(
        f"approve grant:{row.id}",
        title="Approve a grant",
        consequence=f"**{literal(row.name)}**: {told(row)}. {_effect(row)}",
        facts=f"Reason given: {literal(row.reason)}",
        word=row.name,
        button="Approve",
        verb=privacy_actions.decide_proposal,
        arguments={"proposal_id": row.id, "decision": "approved"},
        reasons=None,
        before=f"Asked for by {literal(row.proposed_by)} on {day(row.proposed_at)}.",
        keep="Do not approve",
        nothing="Nothing was approved.",
        done="Approved.",
        then=handover.keep,
        icon="group",
    )


def _effect(row: ProposalRow) -> str:
    return {
        "account": "Their one-time code works from now on.",
        "role": "Their sessions end, and the new role counts at their next sign-in.",
        "enable": "They can sign in again.",
        "full reset": "Password and one-time codes are gone at once, their sessions end, and you get a one-time code to hand over.",
    }[row.kind]


def _decide(row: ProposalRow, decision: str) -> None:
    """Decline or withdraw: takes nothing away that anybody had, so one click is enough."""
    try:
        act(privacy_actions.decide_proposal, proposal_id=row.id, decision=decision)
    except AdminError as error:
        st.session_state[confirm.DONE] = error.sentence
    else:
        st.session_state[confirm.DONE] = "Withdrawn." if decision == "withdrawn" else "Declined."
