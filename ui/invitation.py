"""The way in with a one-time code: an invitation or a reset, redeemed by somebody who is not signed in.

The code is typed, never part of an address: addresses stand in histories and logs. It stays in the tab's server-side state
between the two steps; a code that does not work changes nothing and says why.
"""

import streamlit as st

from core import db, privacy_actions
from core.errors import AdminError
from core.privacy_actions import Invited
from ui import guards
from ui.clock import now

OPEN, HELD = "invitation_open", "invitation_held"
WHAT = {
    "invitation": "Welcome to Resocode Admin",
    "password reset": "Choose a new password",
    "full reset": "Choose a new password",
}
RULES = "15 to 128 characters. A sentence is easy to remember; your name, the product's name and common passwords are refused."


def is_open() -> bool:
    """Return whether this tab shows the way in with a code."""
    return bool(st.session_state.get(OPEN))


def open_page() -> None:
    """Show the way in with a code instead of the sign-in."""
    st.session_state[OPEN] = True


def page() -> None:
    """Draw the step at hand: the code, then the password."""
    held: tuple[str, str, Invited] | None = st.session_state.get(HELD)
    if held is None:
        _ask_for_code()
    else:
        _ask_for_password(*held)
    st.button("Back to sign-in", type="tertiary", icon=":material/arrow_back:", key="leave_invitation", on_click=_leave)


def _ask_for_code() -> None:
    st.title("Use an invitation or a reset code", anchor=False)
    st.caption("An admin gave you the code. It works once, within 24 hours, with your e-mail address.")
    with st.form("invitation", border=True):
        email = st.text_input("E-mail", placeholder="you@example.org", autocomplete="username", max_chars=200)
        code = st.text_input("Code", placeholder="5 groups of 5 letters and digits", autocomplete="off", max_chars=60)
        pressed = st.form_submit_button("Go on", type="primary", width="stretch")
    if not pressed:
        return
    with db.transaction() as session:
        found = privacy_actions.check_invitation(session, email=email, code=code, now=now())
    if isinstance(found, str):
        st.error(found)
        return
    st.session_state[HELD] = (email, code, found)
    st.rerun()


def _ask_for_password(email: str, code: str, invited: Invited) -> None:
    st.title(WHAT[invited.kind], anchor=False)
    st.text(f"{invited.name} · {guards.ROLE_NAMES[invited.role].lower()}")
    with st.form("new_password", border=True):
        st.text_input("E-mail", value=invited.email, autocomplete="username", disabled=True)
        first, second = new_password_fields()
        pressed = st.form_submit_button("Set password", type="primary", width="stretch")
    if pressed:
        problem = "The two passwords differ." if first != second else _redeemed(email, code, first, invited)
        if problem:
            st.error(problem)
        else:
            st.rerun()
    if invited.needs_codes:
        st.caption(
            "After your first sign-in you set up one-time codes: have a phone with an authenticator app at hand."
        )


def new_password_fields() -> tuple[str, str]:
    """Ask for a new password twice; return what was typed."""
    first = st.text_input("New password", type="password", autocomplete="new-password", max_chars=200, help=RULES)
    second = st.text_input("New password again", type="password", autocomplete="new-password", max_chars=200)
    return first, second


def _redeemed(email: str, code: str, password: str, invited: Invited) -> str:
    """Use the code up; return why not. The tab is emptied afterwards: the code is worth nothing any more."""
    try:
        with db.transaction() as session:
            done = privacy_actions.redeem_invitation(session, email=email, code=code, password=password, now=now())
    except AdminError as error:
        return error.sentence
    if isinstance(done, str):
        return done
    more = " One-time codes come next." if invited.needs_codes else ""
    guards.forget(f"Your password is set. Sign in with it.{more}")
    return ""


def _leave() -> None:
    for name in (OPEN, HELD):
        st.session_state.pop(name, None)
