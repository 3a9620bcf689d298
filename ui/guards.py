"""Who is signed in, and whether this page is open to them. Every page begins with :func:`require`.

Danger: a Streamlit session id alone resumes another person's tab. Principle: nothing is believed from the run before; the
database is asked at every run, and a tab belongs to the browser that holds its cookie. Mechanism: the token stands in the
tab's server-side state; the cookie of the websocket handshake must belong to the same session, except on the very
connection on which the sign-in happened (its cookie comes after the handshake).
"""

import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import ParamSpec

import streamlit as st

from core import db, privacy_actions
from core.privacy.sessions import digest
from core.privacy_actions import Staff
from ui import cached, closed, states
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


Asked = ParamSpec("Asked")
# Whom the database named for which token, in one run of the script; None outside of one.
_asked: ContextVar[dict[object, Staff] | None] = ContextVar("who is signed in, in this run", default=None)


@contextmanager
def one_run() -> Iterator[None]:
    """Ask the database once until the end of the block, which is one run: the shell, its search box and the page ask the same
    within milliseconds. Nothing is kept for the next run, and nothing for another token."""
    before = _asked.set({})
    try:
        yield
    finally:
        _asked.reset(before)


def signed_in(*, quietly: bool = False) -> Staff | None:
    """Return who is signed in, asking the database; None (and an emptied tab) when nobody is, or not any more. ``quietly`` is no
    sign of life."""
    asked = _asked.get()
    if asked and (known := asked.get(st.session_state.get("token"))):
        return known
    staff = _of_tab(quietly) or _of_cookie()
    if staff is None and "token" in st.session_state:
        forget("Your session has ended. Sign in again to go on where you were.")
    if staff is not None and asked is not None:
        asked[st.session_state["token"]] = staff
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
        cached.before_writing()
        with db.transaction() as session:
            privacy_actions.record_refusal(session, what=what, by=staff, now=now())
        states.refused(
            what,
            f"It is open to {_listed(roles)}; you are signed in as {ROLE_NAMES[staff.role].lower()}.",
        )
        st.stop()
    return staff


def part(staff: Staff, *, every: str | None = None) -> Callable[[Callable[Asked, object]], Callable[Asked, None]]:
    """Make a function of a page a part that runs alone when somebody touches what is inside it, and by itself ``every`` so often
    (``"3s"``), which is no sign of life.

    Such a run begins in the middle of a page that was drawn before: neither the shell nor the page's first statement runs. So a
    part asks again who is there, and whether the dashboard is open; when that is not to the letter whoever the page was drawn for
    (``staff``), it draws nothing, and the whole page runs.
    """

    def made(draw: Callable[Asked, object]) -> Callable[Asked, None]:
        @st.fragment(run_every=every)
        @wraps(draw)
        def drawn(*shown: Asked.args, **named: Asked.kwargs) -> None:
            try:
                if _asked.get() is not None:  # in a run of the whole page, which has asked
                    draw(*shown, **named)
                    return
                with one_run(), cached.one_transaction():
                    if closed.is_closed() or not _is_still(staff, quietly=every is not None):
                        st.rerun()
                    draw(*shown, **named)
            except Exception as error:  # noqa: BLE001 - the last line before a person's screen; Streamlit would show its own
                states.failed(error)

        return drawn

    return made


def _is_still(staff: Staff, *, quietly: bool) -> bool:
    """Whether the tab is still signed in as ``staff`` was: the same session, in the same role, in nobody else's browser."""
    found = signed_in(quietly=quietly)
    return found is not None and (found.id, found.session_id, found.role, found.must_set_up_codes) == (
        staff.id, staff.session_id, staff.role, staff.must_set_up_codes,
    )  # fmt: skip


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


def _of_tab(quietly: bool) -> Staff | None:
    token = st.session_state.get("token")
    if not isinstance(token, str):
        return None
    with db.single() as session:
        staff = privacy_actions.live_session(session, secret=token, now=now(), quietly=quietly)
    if staff and not _same_browser(staff):
        with db.transaction() as session:
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
