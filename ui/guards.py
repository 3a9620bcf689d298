"""Who is signed in, and whether this page is open to them. Every page begins with :func:`require`.

Danger: a Streamlit session id alone resumes another person's tab. Principle: nothing is believed from the run before; the
database is asked at every run, and a tab belongs to the browser that holds its cookie. Mechanism: the token stands in the
tab's server-side state; the cookie of the websocket handshake must belong to the same session, except on the very
connection on which the sign-in happened (its cookie comes after the handshake).
"""

import hmac
from collections.abc import Mapping

import streamlit as st

from core import db, privacy_actions
from core.privacy.sessions import digest
from core.privacy_actions import Staff
from ui import states
from ui.clock import now
from ui.gate import cookie_name

ROLE_NAMES = {
    "program_staff": "Program staff",
    "instructor": "Instructor",
    "mentor": "Mentor",
    "privacy_officer": "Privacy officer",
    "admin": "Admin",
    "auditor": "Auditor",
}


def signed_in() -> Staff | None:
    """Return who is signed in, asking the database; None (and an emptied tab) when nobody is, or not any more."""
    staff = _of_tab() or _of_cookie()
    if staff is None and "token" in st.session_state:
        forget("Your session has ended. Sign in again to go on where you were.")
    return staff


def require(*roles: str, what: str) -> Staff:
    """Return who is signed in, or stop the page: with nothing for nobody (and for who must set up one-time codes
    first, which is all the shell offers then), with a recorded refusal for other roles.

    ``what`` is the name of the page, for the refusal and its line in the audit.
    """
    staff = signed_in()
    if staff is None or staff.must_set_up_codes:
        st.stop()
    if staff.role not in roles:
        with db.transaction() as session:
            privacy_actions.record_refusal(session, what=what, by=staff, now=now())
        states.refused(
            what,
            f"It is open to {_listed(roles)}; you are signed in as {ROLE_NAMES[staff.role].lower()}.",
        )
        st.stop()
    return staff


def remember(token: str, ticket: str | None = None) -> None:
    """Keep a new session in this tab, with the connection on which it began. The token last: a run that is interrupted
    before it keeps the session it had."""
    st.session_state["ticket"] = ticket
    st.session_state["connection"] = _header("sec-websocket-key")
    st.session_state["token"] = token


def forget(notice: str = "") -> None:
    """Empty the tab: nothing that was shown to one person stays for the next."""
    for name in list(st.session_state):
        del st.session_state[name]
    if notice:
        st.session_state["notice"] = notice


def handshake_cookie() -> str | None:
    """Return our cookie as the browser sent it when this tab connected."""
    value = _mapping(st.context.cookies).get(cookie_name())
    return value if isinstance(value, str) else None


def _of_tab() -> Staff | None:
    token = st.session_state.get("token")
    if not isinstance(token, str):
        return None
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=token, now=now())
        if staff and not _same_browser(staff):
            privacy_actions.refuse_session(session, by=staff, now=now())
            return None
    return staff


def _of_cookie() -> Staff | None:
    cookie = handshake_cookie()
    if cookie is None or "token" in st.session_state:
        return None
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=cookie, now=now())
    if staff is not None:
        remember(cookie)
    return staff


def _same_browser(staff: Staff) -> bool:
    cookie = handshake_cookie()
    if cookie is not None and staff.cookie_hash is not None and hmac.compare_digest(digest(cookie), staff.cookie_hash):
        return True
    return st.session_state.get("connection") == _header("sec-websocket-key")


def _header(name: str) -> str | None:
    value = _mapping(st.context.headers).get(name)
    return value if isinstance(value, str) else None


def _mapping(value: object) -> Mapping[str, object]:
    """What the handshake brought; without a browser (AppTest) there is none."""
    return value if isinstance(value, Mapping) else {}


def _listed(roles: tuple[str, ...]) -> str:
    names = [ROLE_NAMES[role].lower() for role in roles]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
