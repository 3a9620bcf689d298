"""The one runner of actions: nothing else in the screens opens a transaction that changes something, or writes down that
somebody was refused.

It asks for the session again inside the same transaction as the effect, so that a right that ended a moment ago ends here
too. No ``st.rerun``, ``st.stop`` or ``st.switch_page`` happens inside: they would roll the change back.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from core import db, privacy_actions, replica
from core.errors import NotFresh, Refused
from ui import cached
from ui.clock import now

Answer = TypeVar("Answer")


# What somebody may do who has to set up one-time codes first.
WITHOUT_CODES = (privacy_actions.sign_out, privacy_actions.set_up_codes, privacy_actions.confirm_identity)


def act(
    verb: Callable[..., Answer], *, before_commit: Callable[[Answer], None] | None = None, **arguments: Any
) -> Answer:
    """Run a verb of core.privacy_actions as whoever is signed in, in one transaction; return its answer.

    ``before_commit`` gets the answer inside the transaction: what it writes into the tab's state stands exactly when the
    effect does, because an interrupted run rolls both back. Raises Refused when the session is over by now, and whatever
    the verb raises. A refusal is one line of the audit, by the verb's name; a proof of identity that is too old is none.
    """
    try:
        answer = _done(verb, before_commit, arguments)
        st.session_state["written"] = replica.position()
        return answer
    except NotFresh:
        raise
    except Refused:
        _record(verb.__name__)
        raise


def _done(
    verb: Callable[..., Answer], before_commit: Callable[[Answer], None] | None, arguments: dict[str, Any]
) -> Answer:
    cached.before_writing()
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=str(st.session_state.get("token", "")), now=now())
        if staff is None:
            raise Refused("Your session has ended. Sign in again.")
        if staff.must_set_up_codes and verb not in WITHOUT_CODES:
            raise Refused("Set up your one-time codes first. Nothing was changed.")
        db.identify(session, staff_id=staff.id, session_id=staff.session_id)
        answer = verb(session, by=staff, now=now(), **arguments)
        if before_commit:
            before_commit(answer)
        st.session_state["written"] = replica.UNKNOWN
        return answer


def _record(what: str) -> None:
    """Write the refusal after the transaction that it ended, as whoever was refused; nobody is known once the session is over."""
    with db.transaction() as session:
        staff = privacy_actions.live_session(session, secret=str(st.session_state.get("token", "")), now=now())
        if staff is not None:
            privacy_actions.record_refusal(session, what=what, by=staff, now=now())
