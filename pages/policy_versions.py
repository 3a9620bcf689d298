"""Versions of the policy: which one is in force, and what a proposed one changes, for whom, and who says yes to it."""

from datetime import datetime, timedelta

import streamlit as st

from core import privacy_actions, queries
from core.queries import PolicyProposalRow, VersionRow
from core.settings import ROOT
from ui import confirm, desk, export, guards, states
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("privacy_officer", "admin", "auditor", what="Policy versions")
NOTICES = ROOT / "pages" / "notices.py"
DECIDES = ("privacy_officer", "admin")
SOON = timedelta(days=14)
STATES = {
    "new": ("new", "blue"),
    "put up": ("waits for a second person", "violet"),
    "approved": ("published", "green"),
    "declined": ("declined", "gray"),
    "withdrawn": ("withdrawn", "gray"),
    "in force": ("in force", "green"),
    "coming": ("coming", "blue"),
    "past": ("past", "gray"),
}
KINDS = {"parameter": "Number", "processor": "Third party", "promise": "Promise", "text": "Wording"}


def proposal(row: PolicyProposalRow, moment: datetime) -> None:
    """Draw one proposed version: what changes, whom that affects, and the buttons."""
    with st.container(border=True):
        word, color = STATES[row.state]
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"Version {literal(row.version)}", anchor=False, width="stretch")
            st.badge(word, color=color)  # type: ignore[arg-type]
            if row.significant:
                st.badge("significant", color="orange", icon=":material/campaign:")
        st.caption(f"Holds from {day(row.effective_at)} · after version {literal(row.follows)} · came as a file on {desk.instant(row.filed_at)}"
                   f" · fingerprint {row.sha256[:8]}")  # fmt: skip
        differences(row)
        effects(row)
        said = ("Everybody with an open account is told once it is published, and before it holds." if row.significant
                else "By the rules nobody has to be told.")  # fmt: skip
        st.caption(f":material/campaign: {said}")
        if row.significant and row.state in ("new", "put up") and row.effective_at < moment + SOON:
            st.warning(
                f"It holds in less than {SOON.days} days: that is little time for everybody to read it.",
                icon=":material/schedule:",
            )
        history(row)
        if STAFF.role in DECIDES and row.state in ("new", "put up"):
            buttons(row)
    dialogs(row)


def differences(row: PolicyProposalRow) -> None:
    """Draw what changes, in words."""
    with st.container(gap="xsmall"):
        for change in row.changes:
            mark = ":orange[:material/campaign:]" if change.significant else ":gray[:material/edit:]"
            st.markdown(f"{mark} {literal(change.words)}")
    shown = {
        "What": [KINDS[change.what] for change in row.changes],
        "Name": [change.name for change in row.changes],
        "Before": [change.before or "–" for change in row.changes],
        "After": [change.after or "–" for change in row.changes],
        "Told to everybody": ["yes" if change.significant else "no" for change in row.changes],
    }
    with st.expander("Before and after", on_change="rerun", key=f"before_{row.id}") as opened:
        if opened.open:
            st.dataframe(
                shown, hide_index=True, row_height=36, height="content", alt=f"Table of {len(row.changes)} changes."
            )
            export.columns(f"policy_changes_{row.version}", shown, caption=f"{len(row.changes)} changes")


def effects(row: PolicyProposalRow) -> None:
    """Draw whom the changes would affect."""
    if row.simulated_at is None:
        st.caption(":material/hourglass_top: The worker works out whom this affects …")
        return
    if row.effects:
        shown = {
            "Change": [literal(effect.name.replace("_", " ")) for effect in row.effects],
            "People": [f"{effect.people:,}" for effect in row.effects],
            "Rows": [f"{effect.rows:,}" for effect in row.effects],
            "What was counted": [literal(effect.counted) for effect in row.effects],
        }
        st.markdown(
            "**Whom it would affect**", help="Counted by the worker from the records as they are; nothing was changed."
        )
        st.table(shown, border="horizontal", hide_index=True, alt=f"Table of {len(row.effects)} effects.")
        export.columns(
            f"policy_effects_{row.version}",
            shown,
            caption=f"Counted {desk.instant(row.simulated_at)}",
        )
    st.caption(f":material/push_pin: {row.pinned_requests:,} open requests stay with the version they were filed under"
               f" ({row.pinned_deletions:,} deletions with their grace period) · {row.accounts:,} open accounts")  # fmt: skip


def history(row: PolicyProposalRow) -> None:
    """Say who did what."""
    if row.put_up_at:
        st.caption(
            f":material/person: Put up by {literal(row.put_up_by or 'somebody')} on {desk.instant(row.put_up_at)}"
        )
    if row.decided_at:
        why = f": {row.reason}" if row.reason else ""
        st.caption(
            f":material/group: {row.state.capitalize()} by {literal(row.decided_by or 'somebody')} on {desk.instant(row.decided_at)}{why}"
        )


def buttons(row: PolicyProposalRow) -> None:
    """Draw what whoever looks can do."""
    with st.container(horizontal=True, horizontal_alignment="right"):
        st.button("Withdraw", key=f"withdraw_{row.id}", type="tertiary", on_click=desk.decide, args=(privacy_actions.withdraw_policy,),
                  kwargs={"proposal_id": row.id})  # fmt: skip
        if row.state == "new":
            if st.button(
                "Put it up for approval", key=f"put_up_{row.id}", type="primary", disabled=row.simulated_at is None
            ):
                confirm.open_danger(f"put up {row.id}")
        elif row.mine:
            st.caption("You put it up: another person approves it.", width="content")
        else:
            if st.button("Decline", key=f"decline_{row.id}"):
                confirm.open_danger(f"decline {row.id}")
            if st.button("Approve and publish", key=f"approve_{row.id}", type="primary"):
                confirm.open_danger(f"approve {row.id}")


def dialogs(row: PolicyProposalRow) -> None:
    """The dialogs in front of the three verbs."""
    facts = f"{len(row.changes)} changes · holds from {day(row.effective_at)} · fingerprint `{row.sha256[:8]}`"
    confirm.danger_dialog(
        f"put up {row.id}", title=f"Put up version {row.version}", button="Put it up", word=None, reasons=None, facts=facts,
        consequence="Another person approves it. Nothing changes until then.", verb=privacy_actions.put_up_policy,
        arguments={"proposal_id": row.id}, done="Put up. Another person approves it.",
    )  # fmt: skip
    told = " Everybody with an open account is told from then on." if row.significant else ""
    confirm.danger_dialog(
        f"approve {row.id}", title=f"Publish version {row.version}", button="Publish the version", word=row.version, reasons=None, facts=facts,
        consequence=f"A published version never changes.{told} Requests that are open stay with theirs.", verb=privacy_actions.approve_policy,
        before=f"Put up by {literal(row.put_up_by or 'somebody')}.", arguments={"proposal_id": row.id, "sha256": row.sha256},
        done=f"Version {row.version} is published.",
    )  # fmt: skip
    confirm.danger_dialog(
        f"decline {row.id}", title=f"Decline version {row.version}", button="Decline the version", word=None, facts=facts,
        reasons=privacy_actions.DECLINES, consequence="It can be proposed anew.", verb=privacy_actions.decline_policy,
        arguments={"proposal_id": row.id}, done="Declined.",
    )  # fmt: skip


def published(rows: list[VersionRow]) -> None:
    """Draw the published versions."""
    st.subheader(
        "Published versions", anchor=False, help="None of them ever changes; the newest whose day has come is in force."
    )
    shown = {
        "Version": [row.version for row in rows],
        "State": [[row.state] for row in rows],
        "Holds from": [day(row.effective_at) for row in rows],
        "Published": [day(row.published_at) for row in rows],
        "Open requests under it": [row.pinned for row in rows],
        "Told": ["see the notice" if row.campaign_id else "–" for row in rows],
    }
    chosen = st.dataframe(
        shown, hide_index=True, row_height=36, height="content", on_select="rerun", selection_mode="single-row", key="versions",
        column_config={"State": desk.chips("State", [STATES[row.state] for row in rows], width=110)},
        alt=f"Table of {len(rows)} published versions.",
    )  # fmt: skip
    export.columns("policy_versions", shown, caption="Select one to read it")
    if chosen["selection"]["rows"]:
        one(rows[chosen["selection"]["rows"][0]])


def one(row: VersionRow) -> None:
    """Draw a published version as data."""
    with st.container(border=True):
        st.subheader(f"Version {literal(row.version)}", anchor=False)
        if row.campaign_id and st.button("Whom the notice reached", key="open_notice", icon=":material/campaign:"):
            st.switch_page(NOTICES, query_params={"id": str(row.campaign_id)})
        st.table({"Number": [name.replace("_", " ") for name in row.document["parameters"]],
                  "Value": list(row.document["parameters"].values())}, border="horizontal", hide_index=True, alt="Table of the parameters.")  # fmt: skip
        st.table({"Third party": [str(each["name"]) for each in row.document.get("processors", ())],
                  "Gets data for": [str(each.get("purpose", "")) for each in row.document.get("processors", ())]},
                 border="horizontal", hide_index=True, alt="Table of the third parties.")  # fmt: skip


def page(moment: datetime) -> None:
    """Draw the page."""
    st.title("Policy versions", anchor=False)
    st.caption(
        f"Clause 10 · as of {moment:%H:%M} UTC · a new version comes as a file: `python -m core policy propose FILE`"
    )
    desk.say()
    proposals = read(STAFF, queries.policy_proposals, staff_id=STAFF.id)
    waiting = [row for row in proposals if row.state in ("new", "put up")]
    for row in waiting:
        proposal(row, moment)
    if not waiting:
        states.empty(
            "No version is proposed",
            "The policy in force stays as it is until a new version comes as a file and two people say yes.",
        )
    published(read(STAFF, queries.policy_versions, now=moment))
    decided = [row for row in proposals if row not in waiting]
    if decided:
        with st.expander("Decided proposals", on_change="rerun", key="decided") as shown:
            if shown.open:
                for row in decided:
                    proposal(row, moment)


page(now())
