"""Setting up one-time codes: the QR code, the secret for those who cannot scan, the first code.

The secret lives in the tab's server-side state until its first code is typed right; the picture is drawn here (segno) and
inlined, so that no other host and no address of ours ever carries it.
"""

import segno
import streamlit as st

from core import privacy_actions
from core.errors import AdminError
from core.privacy_actions import Staff
from ui import confirm, guards, signin
from ui.actions import act

NEW, PROBLEM = "new_codes_secret", "new_codes_problem"
QR_WIDTH = 190


def page(staff: Staff) -> None:
    """Draw the one page that is open to a privacy officer or admin without one-time codes."""
    with st.container(horizontal_alignment="center"), st.container(width=440):
        signin.mark()
        st.title("Set up one-time codes", anchor=False)
        st.caption(
            f"{guards.ROLE_NAMES[staff.role]}s prove who they are with a password and a code. It takes a minute; nothing else opens before."
        )
        if set_up(staff):
            st.rerun()
        signin.sign_out_button("leave_codes")


def set_up(staff: Staff) -> bool:
    """Draw the set-up; return whether codes were turned on just now."""
    signin.finish(staff)
    secret = st.session_state.setdefault(NEW, privacy_actions.new_secret())
    address = privacy_actions.address(secret, email=staff.email)
    with st.container(border=True):
        st.markdown("**1.** Open an authenticator app on your phone (any that knows TOTP), and scan this:")
        st.image(
            _drawn(address), width=QR_WIDTH, alt="QR code for your authenticator app; the key stands below as text"
        )
        with st.expander("Type it instead"):
            st.caption("Key (time-based, 6 digits, 30 seconds)")
            st.code(
                " ".join(secret[start : start + 4] for start in range(0, len(secret), 4)),
                language=None,
                wrap_lines=True,
            )
        st.markdown("**2.** Type the code that it shows:")
        with st.form("set_up_codes", border=False):
            code = st.text_input("New code", placeholder="6 digits", autocomplete="one-time-code", max_chars=20)
            password, old = confirm.proof_fields(staff)
            pressed = st.form_submit_button("Turn on one-time codes", type="primary", width="stretch")
    problem = _turned_on(staff, secret, code, password, old) if pressed else ""
    if problem:
        st.error(problem)
    return pressed and not problem


def _turned_on(staff: Staff, secret: str, code: str, password: str, old: str) -> str:
    """Turn the codes on; return why not."""
    try:
        if problem := confirm.prove(staff, password, old):
            return problem
        if not act(privacy_actions.set_up_codes, secret=secret, code=code):
            return "This code does not fit. Wait for the next one; the clock of the phone must be right."
    except AdminError as error:
        return error.sentence
    st.session_state.pop(NEW, None)
    return ""


def _drawn(address: str) -> str:
    """The QR code as an SVG string, dark on white in both themes: that is what cameras read."""
    return segno.make(address, error="m", micro=False).svg_inline(scale=4, border=4, light="#ffffff", dark="#0a1318")
