"""One account: sign-in, role, sessions, assignments, and the two ways to take rights away."""

import uuid
from datetime import date, datetime, timedelta

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError, NotFound
from core.models.staff import ROLES, TEACHING_ROLES
from core.queries import Account
from core.settings import ROOT
from core.words import isolated
from ui import assigning, confirm, export, guards, handover, proposals, states
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day, literal

STAFF = guards.require("admin", what="Staff member")
LIST = ROOT / "pages" / "staff.py"
MINE = ROOT / "pages" / "account.py"
STATE_BADGES = {
    "active": ("blue", "check_circle"), "invited": ("orange", "mail"), "waits for approval": ("violet", "group"),
    "no code": ("red", "schedule"), "ended": ("gray", "event_busy"), "disabled": ("gray", "block"),
}  # fmt: skip


def wanted() -> uuid.UUID | None:
    """The id in the address, if it is one."""
    try:
        return uuid.UUID(st.query_params.get("id", ""))
    except ValueError:
        return None


def head(found: Account) -> None:
    """Draw who this is and in which state."""
    row = found.row
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Staff member", anchor=False, width="content")
        color, icon = STATE_BADGES[row.state]
        st.badge(row.state, icon=f":material/{icon}:", color=color)  # type: ignore[arg-type]
        if row.demo:
            st.badge("demo", icon=":material/science:", color="gray")
    st.text(f"{isolated(row.name)} · {row.email}")
    closed = f" · disabled on {day(found.disabled_at)}" if found.disabled_at else ""
    st.caption(f"{guards.ROLE_NAMES[row.role]} · account since {day(found.created_at)}{closed}")


def sign_in(found: Account) -> None:
    """Draw how this person signs in, without any secret, and the reset."""
    row = found.row
    coded = privacy_actions.needs_second_admin(row.role)
    with st.container(border=True, height="stretch"):
        st.subheader("Sign-in", anchor=False)
        st.markdown(f"Password: **{f'since {day(found.password_since)}' if found.password_since else 'none yet'}**")
        codes = f"on since {day(found.codes_since)}" if found.codes_since else "to be set up" if coded else "off"
        st.markdown(f"One-time codes: **{'exempt (demo)' if coded and row.demo and not found.codes_since else codes}**")
        if found.password_since is None and not found.disabled_at:
            st.caption(code_line(found))
            st.button("Make a new one-time code", key="renew", on_click=confirm.open_danger, args=("renew code",))
        elif not found.disabled_at:
            st.caption("Forgotten or known to others? Start a reset; you never learn the new password.")
            with st.container(horizontal=True):
                st.button(
                    "Reset password", key="reset_password", on_click=confirm.open_danger, args=("reset password",)
                )
                if found.codes_since:
                    st.button("Reset password and codes", key="reset_all", on_click=confirm.open_danger, args=("reset all",))  # fmt: skip


def code_line(found: Account) -> str:
    """What became of the last one-time code."""
    code = found.code
    if code is None or code.revoked_at:
        return "There is no one-time code."
    if code.expires_at <= now():
        return f"The one-time code of {day(code.made_at)} has expired."
    return f"A one-time code waits until {day(code.expires_at)}, {code.expires_at:%H:%M} UTC."


def resets(found: Account) -> None:
    """Draw the dialogs of the sign-in card."""
    row, name = found.row, literal(found.row.name)
    confirm.danger_dialog(
        "renew code", title="Make a new one-time code", word=None, button="Make the code", reasons=None,
        consequence=f"The earlier code of **{name}** stops working.", verb=privacy_actions.renew_code,
        arguments={"staff_id": row.id}, then=handover.keep, icon="key",
    )  # fmt: skip
    confirm.danger_dialog(
        "reset password", title="Reset a password", word=row.email, button="Reset the password",
        consequence=f"The password of **{name}** stops working and **all their sessions end**. You get a one-time code to hand over; "
        "with it they choose a new password. Their one-time codes stay.",
        verb=privacy_actions.reset_sign_in, arguments={"staff_id": row.id, "full": False},
        reasons=privacy_actions.RESET_REASONS, keep="Leave it", then=handover.keep, icon="lock_reset",
    )  # fmt: skip
    if privacy_actions.needs_second_admin(row.role):
        confirm.danger_dialog(
            "reset all", title="Propose a full reset", word=row.email, button="Propose the reset",
            consequence=f"Once another admin approves, password and one-time codes of **{name}** stop working and all their sessions end. The "
            "approver hands a one-time code over. Two persons, because whoever holds that code could act as them.",
            verb=privacy_actions.propose_reset, arguments={"staff_id": row.id}, keep="Leave it", then=proposed, icon="lock_reset",
        )  # fmt: skip
    else:
        confirm.danger_dialog(
            "reset all", title="Reset password and one-time codes", word=row.email, button="Reset both",
            consequence=f"Password and one-time codes of **{name}** stop working and **all their sessions end**. You get a one-time code to hand over.",
            verb=privacy_actions.reset_sign_in, arguments={"staff_id": row.id, "full": True},
            reasons=privacy_actions.RESET_REASONS, keep="Leave it", then=handover.keep, icon="lock_reset",
        )  # fmt: skip


def proposed(in_force: object) -> None:
    """Tell what became of a grant."""
    st.session_state[confirm.DONE] = (
        "Done: the single-admin mode is declared." if in_force else "Proposed. Another admin has to approve it."
    )


def role(found: Account) -> None:
    """Draw the role, and the way to another one."""
    row = found.row
    with st.container(border=True, height="stretch"):
        st.subheader("Role", anchor=False)
        st.markdown(f"**{guards.ROLE_NAMES[row.role]}**  \n:gray[:small[{ROLE_WORDS[row.role]}]]")
        waiting = [each for each in found.proposals if each.decision is None]
        for each in waiting:
            proposals.line(each, alone=read(STAFF, queries.oversight, now=now()).single_admin)
        if not waiting and not found.disabled_at:
            st.button("Propose another role", key="propose_role", on_click=confirm.open_danger, args=("propose role",))
        account_end(found)
    confirm.danger_dialog(
        "propose role", title="Propose another role", word=row.email, button="Propose the role",
        consequence=f"Once another admin approves, **{literal(row.name)}** loses the present role, their sessions end, and the new role counts at their next "
        "sign-in. Assignments rest unless the new role teaches.",
        verb=privacy_actions.propose_role, arguments={"staff_id": row.id}, fields=lambda: role_field(row.role),
        keep="Leave it", nothing="Nothing was proposed.", then=proposed, icon="badge",
    )  # fmt: skip


def account_end(found: Account) -> None:
    """Draw until when the account counts, and the way to another day."""
    row, last = found.row, last_day(found)
    over = found.ends_at is not None and found.ends_at <= now()
    told = f"{'Ended after' if over else 'Ends after'} **{day(last)}**" if last else "No end"
    st.markdown(f"Account: {told}", help="After that day (UTC) it signs in no more and sees nothing. An auditor's account always has an end, a year ahead at most.")  # fmt: skip
    if found.disabled_at:
        return
    st.button("Set the end" if last is None else "Change the end", key="set_end", icon=":material/event:", on_click=confirm.open_danger,
              args=("set end",))  # fmt: skip
    confirm.danger_dialog(
        "set end", title="Set the end of an account", word=None, reasons=None, button="Set the end", red=False, icon="event",
        consequence=f"After that day (UTC) **{literal(row.name)}** is signed out, signs in no more and sees nothing, until somebody sets another day."
        " Everything they did stays on record.",
        verb=privacy_actions.set_account_end, arguments={"staff_id": row.id}, fields=lambda: end_field(found), keep="Leave it",
        nothing="The account ends as before.", done="The end is set.",
    )  # fmt: skip


def last_day(found: Account) -> date | None:
    """The last day on which the account counts: it ends with it."""
    return (found.ends_at - timedelta(microseconds=1)).date() if found.ends_at else None


def end_field(found: Account) -> dict[str, object]:
    """Draw the choice of a last day; nothing chosen: no end."""
    today = now().date()
    endless = found.row.role != "auditor"
    chosen = st.date_input(
        "Last day", value=max(last_day(found) or today + timedelta(days=90), today), min_value=today, max_value=today + timedelta(days=364),
        format="YYYY-MM-DD", help="Today to a year ahead.",
    )  # fmt: skip
    none = (
        endless
        and found.ends_at is not None
        and st.checkbox("No end", help="The account counts until somebody disables it.")
    )
    return {"last_day": None if none else chosen}


ROLE_WORDS = {
    "program_staff": "Contacts and enrollments of all students, visitors; no learning data.",
    "instructor": "Learning data of assigned cohorts.",
    "mentor": "Learning data of assigned cohorts.",
    "privacy_officer": "Identity for open requests, the audit.",
    "admin": "Accounts and machinery; no person.",
    "auditor": "Evidence only, nobody's data.",
}


def role_field(present: str) -> dict[str, object]:
    """Draw the choice of a role."""
    chosen = st.selectbox("New role", [each for each in ROLES if each != present], index=None, placeholder="Choose a role",
                          format_func=guards.ROLE_NAMES.__getitem__)  # fmt: skip
    return {"role": chosen or ""}


def sessions(found: Account, moment: datetime) -> None:
    """Draw the live sessions, each with the button that ends it."""
    with st.container(border=True, height="stretch"):
        st.subheader("Sessions", anchor=False, help="Seen within the last 15 minutes, begun within the last 8 hours.")
        if not found.sessions:
            st.caption("Not signed in.")
        for each in found.sessions:
            with st.container(horizontal=True, vertical_alignment="center"):
                minutes = max(int((moment - each.seen_at).total_seconds() // 60), 0)
                st.markdown(
                    f"Since {each.started_at:%H:%M} UTC  \n:gray[:small[seen {minutes} min ago]]", width="stretch"
                )
                st.button("End", key=f"end_{each.id}", type="tertiary", icon=":material/logout:", on_click=end, args=(each.id,))  # fmt: skip


def end(session_id: uuid.UUID) -> None:
    """End a session of this person."""
    ended = act(privacy_actions.end_session, session_id=session_id)
    st.session_state[confirm.DONE] = "The session is over." if ended else "That session was over already."


def assignments(found: Account, moment: datetime) -> None:
    """Draw which cohorts open to this person."""
    teaches = found.row.role in TEACHING_ROLES
    if not (teaches or found.assignments):
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader("Assignments", anchor=False, width="stretch", help="Learning data opens from the first to the last day (UTC).")  # fmt: skip
        if teaches and not found.disabled_at and st.button("Assign a cohort", icon=":material/add:", key="assign"):
            assigning.open_form()
    if not found.assignments:
        st.caption("No cohort is assigned.")
    assigning.form(STAFF, moment, person=(found.row.id, found.row.name))
    with st.container(border=bool(found.assignments)):
        for each in found.assignments:
            assigning.line(STAFF, each, moment)
    if not teaches and found.assignments:
        st.caption("They rest: learning data opens to instructors and mentors only.")


def history(found: Account) -> None:
    """Draw the decided grants, newest last."""
    decided = [each for each in found.proposals if each.decision]
    if not decided:
        return
    st.subheader("Grants", anchor=False, help="What was proposed for this person, by whom, and who decided.")
    shown_columns = {
        "Grant": [proposals.told(each) for each in decided],
        "Reason": [each.reason for each in decided],
        "Proposed by": [each.proposed_by for each in decided],
        "Proposed": [day(each.proposed_at) for each in decided],
        "Decision": [f"{each.decision}{', alone' if each.alone else ''}" for each in decided],
        "Decided by": [each.decided_by or "–" for each in decided],
        "Decided": [day(each.decided_at) for each in decided],
    }
    st.dataframe(
        shown_columns,
        hide_index=True, row_height=36, height="content", alt=f"Table of {len(decided)} decided grants.",
    )  # fmt: skip
    export.columns("grants", shown_columns)


def danger(found: Account) -> None:
    """Draw the danger zone: disable, or the way back."""
    row, name = found.row, literal(found.row.name)
    with st.container(border=True):
        st.badge("Danger zone", icon=":material/warning:", color="red")
        if found.disabled_at:
            st.markdown("**This account cannot sign in.** Opening it again is a grant: another admin approves it.")
            st.button("Propose to enable", key="enable", on_click=confirm.open_danger, args=("enable account",),
                      disabled=any(each.decision is None for each in found.proposals))  # fmt: skip
        else:
            st.markdown(
                "**Disable the account.** It is out at the next click, everywhere; waiting proposals and codes die."
            )
            st.button(":red[:material/block: Disable the account]", key="disable", on_click=confirm.open_danger, args=("disable account",))  # fmt: skip
    confirm.danger_dialog(
        "disable account", title="Disable an account", word=row.email, button="Disable the account",
        consequence=f"**{name}** is signed out everywhere at once and cannot sign in any more. Opening the account again needs two admins.",
        verb=privacy_actions.disable_account, arguments={"staff_id": row.id}, reasons=privacy_actions.DISABLE_REASONS,
        keep="Keep it open", done="The account is disabled.", icon="block",
    )  # fmt: skip
    confirm.danger_dialog(
        "enable account", title="Propose to enable an account", word=row.email, button="Propose it",
        consequence=f"Once another admin approves, **{name}** can sign in again, as {guards.ROLE_NAMES[row.role].lower()}.",
        verb=privacy_actions.propose_enabling, arguments={"staff_id": row.id}, keep="Leave it closed",
        nothing="Nothing was proposed.", then=proposed, icon="lock_open",
    )  # fmt: skip


def page(moment: datetime) -> None:
    """Draw the account, or say that there is none."""
    if st.button("Staff", type="tertiary", icon=":material/arrow_back:"):
        st.switch_page(LIST)
    staff_id = wanted()
    try:
        if staff_id is None:
            raise NotFound("The address names no account.")
        found = read(STAFF, queries.account, staff_id, now=moment)
    except AdminError as error:
        states.state("No such account", error.sentence, icon="search_off", key="no_account")
        return
    head(found)
    if found.row.id == STAFF.id:
        st.info("This is you. Nobody changes their own rights; your password and codes are on My account.")
        assignments(found, moment)
        history(found)
        return
    with st.container():
        grid = st.grid(3, min_column_width=250)
        with grid.cell():
            sign_in(found)
        with grid.cell():
            role(found)
        with grid.cell():
            sessions(found, moment)
    resets(found)
    assignments(found, moment)
    history(found)
    danger(found)
    handover.show()


page(now())
