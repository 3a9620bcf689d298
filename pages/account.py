"""My account: password, one-time codes, sessions and assignments of whoever is signed in."""

from datetime import datetime

import streamlit as st

from core import privacy_actions, queries
from core.errors import AdminError
from ui import codes, confirm, export, guards, invitation
from ui.actions import act
from ui.cached import read
from ui.clock import now
from ui.tables import day

STAFF = guards.require(*guards.ROLE_NAMES, what="My account")
SETTING_UP, TURNING_OFF = "account_setting_up", "account_turning_off"


def password(mine: queries.MyAccount) -> None:
    """Draw the password: since when, and the form that changes it."""
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader("Password", anchor=False, width="content")
            st.badge("set", icon=":material/check_circle:", color="green")
        st.caption(f"Changed on {day(mine.password_since)}. It never expires; change it when somebody may know it.")
        with st.expander("Change password"), st.form("change_password", border=False, enter_to_submit=False):
            st.text_input("E-mail", value=mine.email, autocomplete="username", disabled=True)
            current = st.text_input("Current password", type="password", autocomplete="current-password", max_chars=200)
            code = confirm.code_field() if STAFF.second_factor else ""
            first, second = invitation.new_password_fields()
            st.caption("All your sessions end, this one too.")
            pressed = st.form_submit_button("Change password")
        if pressed:
            problem = "The two new passwords differ." if first != second else changed(current, code, first)
            if problem:
                st.error(f"{problem} Nothing was changed.")
            else:
                guards.forget("Your password is changed. Sign in with it.")
                st.rerun()


def changed(current: str, code: str, new: str) -> str:
    """Change the password; return why not."""
    if problem := confirm.prove_anyway(STAFF, current, code):
        return problem
    try:
        act(privacy_actions.change_password, password=new)
    except AdminError as error:
        return error.sentence
    return ""


def one_time_codes(mine: queries.MyAccount) -> None:
    """Draw the one-time codes: on or off, and the ways to set up, replace and turn off."""
    obliged = privacy_actions.needs_second_admin(STAFF.role)
    with st.container(border=True, height="stretch"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader("One-time codes", anchor=False, width="content")
            if mine.codes_since:
                st.badge("on", icon=":material/check_circle:", color="green")
            else:
                st.badge("off", icon=":material/help:", color="gray")
        st.caption(sentence(mine, obliged))
        if st.session_state.get(SETTING_UP):
            setting_up()
        elif st.session_state.get(TURNING_OFF):
            turning_off()
        else:
            with st.container(horizontal=True):
                st.button("Replace (new phone)" if mine.codes_since else "Set up one-time codes", key="set_up",
                          on_click=open_, args=(SETTING_UP,))  # fmt: skip
                if mine.codes_since and not obliged:
                    st.button("Turn off", key="turn_off", on_click=open_, args=(TURNING_OFF,))


def sentence(mine: queries.MyAccount, obliged: bool) -> str:
    """What the codes are for this person."""
    if mine.codes_since:
        return f"Asked for at every sign-in since {day(mine.codes_since)}." + (
            " Obligatory for your role." if obliged else ""
        )
    if STAFF.demo and obliged:
        return "Obligatory for your role. Demo accounts are exempt, so that they are easy to try."
    return "A code from your phone besides the password. Whoever learns your password still stays outside."


def open_(what: str) -> None:
    """Open one of the two forms."""
    st.session_state[what] = True


def close() -> None:
    """Close both forms; a secret that was shown is forgotten."""
    for name in (SETTING_UP, TURNING_OFF, codes.NEW):
        st.session_state.pop(name, None)


def setting_up() -> None:
    """Draw the set-up, in place."""
    done = codes.set_up(STAFF)
    st.button("Cancel", key="cancel_codes", on_click=close)
    if done:
        close()
        st.session_state[confirm.DONE] = "One-time codes are on. Your other sessions ended."
        st.rerun()


def turning_off() -> None:
    """Draw the form that turns codes off."""
    with st.form("turn_codes_off", border=False, enter_to_submit=False):
        st.markdown("Your password alone will open your account. Your other sessions end.")
        typed, code = confirm.proof_fields(STAFF)
        with st.container(horizontal=True, horizontal_alignment="right"):
            kept = st.form_submit_button("Keep them")
            pressed = st.form_submit_button(":red[:material/warning: Turn off]")
    if kept:
        close()
        st.rerun()
    if pressed:
        problem = confirm.prove(STAFF, typed, code) or tried_to_remove()
        if problem:
            st.error(problem)
        else:
            close()
            st.session_state[confirm.DONE] = "One-time codes are off."
            st.rerun()


def tried_to_remove() -> str:
    """Turn codes off; return why not."""
    try:
        act(privacy_actions.remove_codes)
    except AdminError as error:
        return error.sentence
    return ""


def sessions(mine: queries.MyAccount, moment: datetime) -> None:
    """Draw the live sessions, each with the button that ends it."""
    st.subheader("Where you are signed in", anchor=False, help="Sessions that are not over: seen within the last 15 minutes, begun within the last 8 hours.")  # fmt: skip
    with st.container(border=True):
        for each in mine.sessions:
            with st.container(horizontal=True, vertical_alignment="center"):
                here = each.id == STAFF.session_id
                seen = "now" if here else f"{max(int((moment - each.seen_at).total_seconds() // 60), 0)} min ago"
                st.markdown(
                    f"{':material/computer: **This one**' if here else ':material/devices: **Another browser**'}  \n"
                    f":gray[:small[since {each.started_at:%H:%M} UTC · seen {seen} · ends {each.expires_at:%H:%M} UTC at the latest]]",
                    width="stretch",
                )
                if not here:
                    st.button("End", key=f"end_{each.id}", type="tertiary", icon=":material/logout:", on_click=end, args=(each.id,))  # fmt: skip
    st.caption("You do not know one of them? End it, then change your password.")


def end(session_id: object) -> None:
    """End one of the other sessions."""
    ended = act(privacy_actions.end_session, session_id=session_id)
    st.session_state[confirm.DONE] = "The session is over." if ended else "That session was over already."


def assignments(mine: queries.MyAccount) -> None:
    """Draw which cohorts open to this person, and until when."""
    if not mine.assignments:
        return
    st.subheader("Your assignments", anchor=False, help="Learning data opens by assignment, from the first to the last day (UTC).")  # fmt: skip
    rows = mine.assignments
    shown_columns = {
        "Cohort": [row.cohort for row in rows],
        "Program": [row.program for row in rows],
        "From": [day(row.starts_on) for row in rows],
        "To": [day(row.ends_on) if row.ends_on else "no end yet" for row in rows],
        "State": [row.state for row in rows],
    }
    st.dataframe(
        shown_columns,
        hide_index=True, row_height=36, height="content", alt=f"Table of your {len(rows)} assignments.",
    )  # fmt: skip
    export.columns("my-assignments", shown_columns)


def page(moment: datetime) -> None:
    """Draw the page."""
    mine = read(STAFF, queries.my_account, STAFF.id, now=moment)
    st.title("My account", anchor=False)
    st.text(f"{mine.name} · {mine.email}")
    st.caption(f"{guards.ROLE_NAMES[mine.role]} · account since {day(mine.created_at)}")
    grid = st.grid(2, min_column_width=340)
    with grid.cell():
        password(mine)
    with grid.cell():
        one_time_codes(mine)
    sessions(mine, moment)
    assignments(mine)


page(now())
