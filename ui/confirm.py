"""The dialog in front of every dangerous verb: consequence, reason, typed word, and who acts proves it again.

Danger: one wrong click, or a tab left open, does what nobody can undo. Principle: three different things are needed (a fresh
proof of identity, a typed word, a reason), and the harmless button stands first. Mechanism: the dialog opens from a flag
in the tab's state; what was typed is checked when the red button is pressed, never before, and a mistake leaves it open
with everything that was typed. A right password renews the session's secrets; the flag falls in the verb's own
transaction, so that a second press finds the dialog closed.

    if st.button(":red[:material/delete_forever: Erase early]"):
        confirm.open_danger("erase early")
    confirm.danger_dialog("erase early", title="Erase R-2041 early", consequence="…", word="R-2041", button="Erase early",
                          verb=privacy_actions.erase_early, arguments={"request_id": …}, done="…")
"""

import dataclasses
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from core import privacy_actions
from core.errors import AdminError
from core.privacy_actions import SignedIn, Staff
from ui import guards, signin
from ui.actions import act
from ui.clock import now
from ui.tables import literal

OPEN, PROBLEM, DONE = "danger_open", "danger_problem", "danger_done"


def open_danger(key: str) -> None:
    """Open the dialog with this key at the next call of :func:`danger_dialog`."""
    st.session_state[OPEN] = key
    st.session_state.pop(PROBLEM, None)


def is_open(key: str) -> bool:
    """Whether the dialog with this key is open in this run."""
    return bool(st.session_state.get(OPEN) == key)


def close_danger() -> None:
    """Close whichever dialog is open; nothing was changed."""
    st.session_state.pop(OPEN, None)
    st.session_state.pop(PROBLEM, None)


def danger_dialog(
    key: str,
    *,
    title: str,
    consequence: str,
    word: str | None,
    button: str,
    verb: Callable[..., Any],
    arguments: Mapping[str, Any] | None = None,
    fields: Callable[[], Mapping[str, Any]] | None = None,
    reasons: Sequence[str] | None = (),
    facts: str = "",
    before: str = "",
    keep: str = "Cancel",
    nothing: str = "Nothing was changed.",
    done: str = "",
    then: Callable[[Any], None] | None = None,
    icon: str = "warning",
    red: bool = True,
) -> None:
    """Draw the dialog if it is open, and run ``verb(session, by=…, now=…, reason=…, **arguments)`` once it is confirmed.

    ``title`` and ``button`` are verb and object. ``consequence``, ``facts`` (a bordered box: plan, policy version) and
    ``before`` (who acted before) are markdown: names go through ui.tables.literal. ``word`` must be typed to the letter; None
    for a verb that can be taken back, whose button is not red then.
    ``reasons``: codes to choose from; empty: a free text is asked for; None: the verb takes no reason. ``fields`` draws
    more widgets in the form and returns further arguments. ``keep`` names the harmless button. ``done`` is told after
    success; ``then`` gets what the verb returned, before the commit: it may write to the tab's state and nothing else.
    ``red`` is False for what harms nobody and yet needs a fresh proof.
    """
    if not is_open(key):
        return

    @st.dialog(title, width="medium", icon=f":material/{icon}:", on_dismiss=close_danger)
    def dialog() -> None:
        staff = guards.signed_in()
        if staff is None:
            st.rerun()
        signin.finish(staff)
        st.markdown(consequence)
        if facts:
            with st.container(border=True):
                st.markdown(facts)
        with st.form(f"danger_{key}", border=False, enter_to_submit=False):
            more = dict(fields()) if fields else {}
            reason = _reason(reasons)
            typed = _typed(word) if word else ""
            password, code = proof_fields(staff)
            if before:
                st.caption(f":material/group: {before}")
            problem = st.session_state.get(PROBLEM)
            if problem:
                st.error(literal(problem))
            with st.container(horizontal=True, horizontal_alignment="right"):
                kept = st.form_submit_button(keep)
                pressed = _last_button(button, icon, red=red, primary=word is None)
        if kept:
            close_danger()
            st.rerun()
        if pressed:
            if reasons is not None:
                more["reason"] = (reason or "").strip()
            mistake = _mistake(reasons is not None, reason, typed, word) or prove(staff, password, code)
            mistake = mistake or _run(key, verb, {**(arguments or {}), **more}, done, then)
            st.session_state[PROBLEM] = f"{nothing} {mistake}" if mistake else ""
            st.rerun()

    dialog()


def tell() -> None:
    """Say what was done by the dialog of the run before."""
    done = st.session_state.pop(DONE, "")
    if done:
        st.toast(literal(done), icon=":material/check_circle:")


def _typed(word: str) -> str:
    return st.text_input(f"Type **{literal(word)}** to confirm", autocomplete="off", max_chars=200)


def _last_button(button: str, icon: str, *, red: bool, primary: bool) -> bool:
    if primary:
        return st.form_submit_button(button, type="primary")
    label = f":material/{icon}: {button}"
    return st.form_submit_button(f":red[{label}]" if red else label)


def _reason(reasons: Sequence[str] | None) -> str | None:
    if reasons is None:
        return ""
    if reasons:
        return st.selectbox("Reason", reasons, index=None, placeholder="Choose a reason")
    return st.text_area("Reason", max_chars=500, height=68)


def proof_fields(staff: Staff) -> tuple[str, str]:
    """Ask for password and code in a form, unless the last proof is fresh; return what was typed."""
    if privacy_actions.is_fresh(staff, now()):
        return "", ""
    password = st.text_input("Your password", type="password", autocomplete="current-password", max_chars=200,
                             help="You signed in, or confirmed, more than 5 minutes ago.")  # fmt: skip
    return password, code_field() if staff.second_factor else ""


def code_field() -> str:
    """Ask for a one-time code; return what was typed."""
    return st.text_input(
        "Code from your authenticator app", placeholder="6 digits", autocomplete="one-time-code", max_chars=20
    )


def prove(staff: Staff, password: str, code: str) -> str:
    """Prove again who acts, where the last proof is not fresh. Return why that failed, or "".

    The tab goes on with renewed secrets, which are kept before the commit.
    """
    if privacy_actions.is_fresh(staff, now()):
        return ""
    if not password:
        return "Your password is needed: the last time was more than 5 minutes ago."
    return prove_anyway(staff, password, code)


def prove_anyway(staff: Staff, password: str, code: str) -> str:
    """Prove again who acts, however fresh the last proof is. Return why that failed, or ""."""
    if act(privacy_actions.confirm_identity, before_commit=_keep, password=password, code=code or None):
        # At once: a reload must not come before the new cookie.
        signin.finish(dataclasses.replace(staff, cookie_hash=None))
        return ""
    return f"That did not work. Check the password{' and code' if staff.second_factor else ''}, or wait a little after several tries."


def _keep(made: SignedIn | None) -> None:
    if made:
        guards.remember(made.token, made.ticket)


def _mistake(needs_reason: bool, reason: str | None, typed: str, word: str | None) -> str:
    if needs_reason and not (reason or "").strip():
        return "A reason is needed; it is kept with the record."
    if word is not None and _plain(typed) != _plain(word):
        return f'You typed "{typed.strip()}"; it should be "{word}".'
    return ""


def _plain(typed: str) -> str:
    return unicodedata.normalize("NFC", typed).strip()


def _run(
    key: str, verb: Callable[..., Any], arguments: Mapping[str, Any], done: str, then: Callable[[Any], None] | None
) -> str:
    """Run the verb and let the flag fall in one transaction; return why it did not happen. What was refused is recorded."""

    def closed(answer: object) -> None:
        st.session_state.pop(OPEN, None)
        if done:
            st.session_state[DONE] = done
        if then:
            then(answer)

    try:
        act(verb, before_commit=closed, **arguments)
    except AdminError as error:
        return error.sentence
    return ""
