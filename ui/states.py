"""The four states in which a screen has nothing to show: empty, nothing found, refused, failed. One shape for all."""

import logging
import secrets
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import streamlit as st

from core import db
from core.errors import AdminError
from core.queries import AuditState, RollupAge
from core.settings import ROOT
from ui.tables import day

LOOK_AGAIN = 3.0  # seconds
TODAY = ROOT / "pages" / "overview.py"
log = logging.getLogger("resocode")


def state(
    heading: str, sentence: str, *, icon: str, button: str = "", act: Callable[[], None] | None = None, key: str
) -> None:
    """Draw one state: what happened, what to do next, one button."""
    with st.container(border=True, horizontal_alignment="center", gap="small"):
        st.space("small")
        st.subheader(f":material/{icon}: {heading}", anchor=False, width="content")
        st.markdown(sentence, width=520, text_alignment="center")
        if button:
            st.button(button, key=key, on_click=act)
        st.space("small")


def loading(*, height: int) -> AbstractContextManager[object]:
    """Hold the place of what is being read, once that takes longer than a moment."""
    return st.skeleton(height=height)


def nothing_found(heading: str, sentence: str, *, clear: Callable[[], None]) -> None:
    """Say that the filters leave nothing, and offer to clear them."""
    state(heading, sentence, icon="inbox", button="Clear filters", act=clear, key="clear_filters")


def empty(heading: str, sentence: str) -> None:
    """Say that there is nothing yet."""
    state(heading, sentence, icon="inbox", key="empty")


def refused(page: str, sentence: str) -> None:
    """Say that a page is not open to whoever asks, and that the attempt was recorded."""
    st.title(page, anchor=False)
    heading, text = f"{page} is not open to you", f"{sentence} This attempt was logged."
    state(heading, text, icon="lock", button="Back to Today", act=_go_home, key="go_home")


def counted(age: RollupAge) -> None:
    """Say that figures are older than they should be; when they are not, their captions are enough."""
    if age.stale:
        st.warning(
            f"These figures know every change until {day(age.as_of)}, {age.as_of:%H:%M} UTC. What changed since waits for the worker: "
            "an admin sees on Today whether it runs.",
            icon=":material/history:",
        )


def audit_banner(state: AuditState) -> None:
    """Say on every screen that the audit does not verify, as long as it does not."""
    if state.broken:
        st.error(
            "**The audit does not verify.** Guarded actions are closed until it does; looking things up is possible. An admin"
            " finds the way on in the runbook.",
            icon=":material/gpp_bad:",
        )


def failed(error: BaseException) -> None:
    """Say that something could not be loaded; the details go to the log under the code that is shown."""
    code = incident(error)
    if db.gone(error):
        sentence = f"The database did not answer. Nothing was changed. This page comes back by itself; or give this code to an admin: `{code}`."
        state("The page could not be loaded", sentence, icon="cloud_off", button="Try again", key="try_again")
        _come_back(time.monotonic())
    elif db.too_slow(error):
        sentence = f"The database took too long over it, so it was stopped. Nothing was changed. Try again in a while, or give this code to an admin: `{code}`."
        state("The page could not be loaded", sentence, icon="hourglass_disabled", button="Try again", key="try_again")
    elif isinstance(error, AdminError):
        state("That did not work", error.sentence, icon="error", button="Try again", key="try_again")
    else:
        sentence = f"Something went wrong on our side. Nothing was changed. Try again, or give this code to an admin: `{code}`."
        state("The page could not be loaded", sentence, icon="cloud_off", button="Try again", key="try_again")


def incident(error: BaseException) -> str:
    """Write an error to the log under a new code, without the values that its text may hold; return the code."""
    code = f"F-{secrets.token_hex(2).upper()}"
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s %s at %s", code, type(error).__name__, where)
    return code


def script_error(error: Exception) -> bool:
    """What Streamlit calls for an error outside a page (a callback): our state instead of a traceback."""
    failed(error)
    return True


def _go_home() -> None:
    st.switch_page(TODAY)


@st.fragment(run_every=LOOK_AGAIN)
def _come_back(since: float) -> None:
    """Look every three seconds whether the database is back, and load the page again when it is. Never in the run that failed: a database
    that answers and yet fails would be asked again at once, by everybody, for ever."""
    if time.monotonic() >= since + LOOK_AGAIN / 2 and db.reachable():
        st.rerun()
