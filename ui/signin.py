"""Sign-in and sign-out, drawn through streamlit-authenticator; every decision is ours.

The library gives the controller, the state of the form and the log-out button. Nothing about trust is left to it: its cookie
replays after log-out, its lock-out forgets, its form forbids password managers (docs/adr/0003-sign-in.md). So the cookie
controller does nothing, the model asks the database, and the form is drawn with the autocomplete words browsers know.
"""

from collections.abc import Callable
from typing import Any

import streamlit as st
import streamlit_authenticator as stauth
from streamlit_authenticator.controllers import AuthenticationController

from core import db, privacy_actions
from core.settings import ROOT
from ui import guards, invitation, theme
from ui.actions import act
from ui.clock import now

ACCOUNT = ROOT / "pages" / "account.py"
FAILED = "That did not work. Check e-mail, password and code, or wait 5 minutes after several tries."
CODE_HELP = "If you have set one-time codes up, as privacy officers and admins must. Otherwise leave it empty."

# The only script of ours. It hands the single-use ticket to POST /auth/cookie, which answers with an HttpOnly cookie that
# no script can read; with an empty ticket it has a dead cookie taken away. When the browser holds a newer, live one by now
# (another tab signed in, or confirmed a password), the answer is 205, and the page loads again with it. Reviewed: constant
# but for the ticket, which is URL-safe base64.
EXCHANGE = """<script>
fetch("./auth/cookie", {method: "POST", credentials: "same-origin",
  headers: {"Content-Type": "application/json"}, body: JSON.stringify({ticket: "%s"})})
  .then(answer => { if (answer.status === 205) location.reload(); });
</script>"""


class NoCookies:
    """In the place of the library's cookie controller: its cookie is readable by scripts and replays after log-out."""

    def get_cookie(self) -> None:
        """There is none."""

    def set_cookie(self) -> None:
        """There is none."""

    def delete_cookie(self) -> None:
        """There is none."""


class OurModel:
    """In the place of the library's model: the database decides."""

    def login(self, username: str, password: str, *_ignored: Any, code: str = "", **_also: Any) -> bool:
        """Try to sign in; keep the secrets of the new session in the tab."""
        with db.transaction() as session:
            made = privacy_actions.sign_in(session, email=username, password=password, code=code or None, now=now())
        st.session_state["authentication_status"] = made is not None
        if made is None:
            return False
        guards.remember(made.token, made.ticket)
        return True

    def logout(self, callback: Callable[..., None] | None = None) -> None:
        """End the session in the database, then empty the tab."""
        act(privacy_actions.sign_out)
        guards.forget("You are signed out.")


class StaffAuthenticate(stauth.Authenticate):  # type: ignore[misc]
    """The library's form and button over our model."""

    def __init__(self) -> None:
        self.path = None
        self.attrs = {"login_sleep_time": 0}
        self.cookie_controller = NoCookies()
        self.authentication_controller = AuthenticationController.__new__(AuthenticationController)
        self.authentication_controller.authentication_model = OurModel()

    def login(self, *_ignored: Any, **_also: Any) -> None:
        """Draw the form and try what was typed, to the letter: the library would trim passwords."""
        with st.form("Login", border=True):
            email = st.text_input("E-mail", placeholder="you@example.org", autocomplete="username", max_chars=200)
            password = st.text_input("Password", type="password", autocomplete="current-password", max_chars=200)
            code = st.text_input("Code from your authenticator app", placeholder="6 digits", autocomplete="one-time-code",
                                 max_chars=20, help=CODE_HELP)  # fmt: skip
            pressed = st.form_submit_button("Sign in", type="primary", width="stretch")
        if pressed and self.authentication_controller.authentication_model.login(email, password, code=code):
            st.rerun()


def sign_in_page() -> None:
    """Draw the sign-in, or the way in with an invitation. The address stays, so that a deep link works after it."""
    with st.container(horizontal_alignment="center"), st.container(width=400):
        mark()
        if invitation.is_open():
            invitation.page()
        else:
            _form()
    if guards.handshake_cookie() is not None:
        _exchange("")


def mark() -> None:
    """Draw the mark above a page without navigation."""
    st.space("large")
    st.image(theme.mark(), width=44)


def _form() -> None:
    st.title("Sign in to Resocode Admin", anchor=False)
    st.caption("For staff of Resocode. Students and visitors do not sign in here.")
    notice = st.session_state.pop("notice", "")
    StaffAuthenticate().login()
    if st.session_state.get("authentication_status") is False:
        st.error(FAILED)
    elif notice:
        st.info(notice)
    st.button("I have an invitation or a reset code", type="tertiary", icon=":material/mail:", key="have_invitation",
              on_click=invitation.open_page)  # fmt: skip
    st.caption("Signed out after 15 minutes without activity. Every view of a person's record is logged.")


def sign_out_button(key: str) -> None:
    """Draw the button that ends the session."""
    st.session_state["authentication_status"] = True
    StaffAuthenticate().logout("Sign out", key=key)
    if "token" not in st.session_state:
        st.rerun()


def account_menu(staff: privacy_actions.Staff) -> None:
    """Draw who is signed in, until when, and the button that ends it."""
    with st.sidebar, st.popover(guards.ROLE_NAMES[staff.role], type="tertiary", icon=":material/account_circle:"):
        st.text(staff.name)
        st.caption(f"Session ends at {staff.expires_at:%H:%M} UTC, or after 15 minutes without activity.")
        if st.button("My account", icon=":material/manage_accounts:", type="tertiary", key="my_account"):
            st.switch_page(ACCOUNT)
        sign_out_button("sign_out")


def finish(staff: privacy_actions.Staff) -> None:
    """Exchange the ticket for the cookie, as long as the database says that it is still to be done."""
    ticket = st.session_state.get("ticket")
    if ticket and staff.cookie_hash is None:
        _exchange(ticket)


def _exchange(ticket: str) -> None:
    st.html(EXCHANGE % ticket, unsafe_allow_javascript=True)
