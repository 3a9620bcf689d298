"""What the screens of requests share: their words and colors, and how a click becomes a decision.

A button remembers the version of the request that was *drawn*, not the one that is read when it is clicked: so whoever
decides on an older picture than the database's is told, instead of deciding unknowingly (core.privacy.acting). What came of
it is said in the next run, at the top of the page.
"""

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import streamlit as st

from core.errors import AdminError
from core.queries import QueueRow
from ui import confirm
from ui.actions import act
from ui.tables import day, literal

KINDS = {
    "access": "access",
    "export": "export",
    "correct": "correct",
    "delete": "delete",
    "restrict": "restrict",
    "opt_out": "opt out",
    "object": "object",
}
TITLES = {
    "access": "Access",
    "export": "Export",
    "correct": "Correction",
    "delete": "Deletion",
    "restrict": "Restriction",
    "opt_out": "Opt-out",
    "object": "Objection",
}
# state → (word, color of chip and badge, icon)
STATES = {
    "received": ("new", "blue", "bolt"),
    "checking": ("identity open", "orange", "badge"),
    "verified": ("in progress", "blue", "bolt"),
    "to approve": ("needs approval", "violet", "group"),
    "waiting": ("grace period", "gray", "hourglass_top"),
    "erasing": ("erasing", "orange", "delete"),
    "answered": ("answered", "green", "check_circle"),
    "refused": ("refused", "gray", "block"),
    "withdrawn": ("withdrawn", "gray", "undo"),
    "reactivated": ("reactivated", "green", "check_circle"),
    "erased": ("erased", "green", "check_circle"),
}
WAITS_FOR_PERSON = ("waits for the person", "gray", "hourglass_top")
SAID = "desk_said"
OPEN = "desk_dialog"


def state_of(row: QueueRow) -> tuple[str, str, str]:
    """The state of a request as a person reads it: word, color, icon."""
    return WAITS_FOR_PERSON if row.paused else STATES[row.state]


def time_left(row: QueueRow, now: datetime) -> tuple[str, str]:
    """The time left in words, and the color that it deserves: red when overdue, orange within a week."""
    if row.deadline is None or row.left is None:
        return "–", "gray"
    if row.paused:
        return "clock rests", "gray"
    if row.overdue:
        return f"overdue {span(-row.left)}", "red"
    if row.what_is_due == "erasure":
        return span(row.left) if row.left > timedelta() else "now", "gray"
    days = (row.deadline.date() - now.date()).days
    words = {0: "today", 1: "tomorrow"}.get(days, f"{days} days")
    return words, "orange" if row.due_soon else "gray"


def span(left: timedelta) -> str:
    """A length of time in its largest unit: ``2 days``, ``5 hours``, ``1 minute``."""
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if left >= timedelta(seconds=seconds):
            many = int(left.total_seconds() // seconds)
            return f"{many} {unit}{'' if many == 1 else 's'}"
    return "less than a minute"


def in_words(left: timedelta) -> str:
    """A length of time in two units, as a clock says it: ``13 days, 19 hours``."""
    days, rest = divmod(max(left, timedelta()), timedelta(days=1))
    hours, minutes = divmod(int(rest.total_seconds()) // 60, 60)
    parts = [f"{days} day{'' if days == 1 else 's'}"] if days else []
    parts += [f"{hours} hour{'' if hours == 1 else 's'}"] if hours else []
    if not days and (minutes or not hours):
        parts.append(f"{minutes} minute{'' if minutes == 1 else 's'}")
    return ", ".join(parts)


def instant(at: datetime | None) -> str:
    """``24 Nov 2026, 23:59 UTC``."""
    return f"{day(at)}, {at:%H:%M} UTC" if at else "–"


def chips(label: str, found: Iterable[tuple[str, str]], *, width: int) -> Any:
    """A column of chips; ``found`` are the words that occur, with their colors."""
    colors = dict(found)
    return st.column_config.MultiselectColumn(
        label, options=list(colors) or ["–"], color=list(colors.values()) or ["gray"], width=width
    )


def decide(verb: Callable[..., Any], *, done: str = "", **arguments: Any) -> Any:
    """Run a verb and keep what came of it for the next run: its receipt, or the sentence why not (then return None)."""
    try:
        receipt = act(verb, **arguments)
    except AdminError as error:
        st.session_state[SAID] = ("problem", error.sentence)
    else:
        st.session_state[SAID] = ("done", done or getattr(receipt, "sentence", "Done."))
        return receipt
    return None


def say() -> None:
    """Say what came of the click before."""
    kind, sentence = st.session_state.pop(SAID, ("", ""))
    if kind == "done":
        st.toast(literal(sentence), icon=":material/check_circle:")
    elif kind == "problem":
        st.warning(f"Nothing was changed. {literal(sentence)}", icon=":material/info:")


def open_dialog(name: str, version: int) -> None:
    """Open a dialog on the request as it is drawn now (its version)."""
    confirm.close_danger()
    st.session_state[OPEN] = (name, version, uuid.uuid4())
    st.session_state.pop(SAID, None)


def close_dialog() -> None:
    """Close whichever dialog is open; nothing was changed."""
    st.session_state.pop(OPEN, None)


def opened(name: str) -> tuple[int, uuid.UUID] | None:
    """The version on which a dialog was opened and its form's key, or None when it is not open."""
    found = st.session_state.get(OPEN)
    return (found[1], found[2]) if found and found[0] == name else None


def answer_in_dialog(verb: Callable[..., Any], **arguments: Any) -> None:
    """Run a verb from a dialog: it closes when that was done, and stays open with the reason when it was not."""
    if decide(verb, **arguments) is not None:
        close_dialog()
    st.rerun()


def problem_in_dialog() -> None:
    """Say inside the dialog why nothing was changed."""
    kind, sentence = st.session_state.get(SAID, ("", ""))
    if kind == "problem":
        st.session_state.pop(SAID)
        st.error(f"Nothing was changed. {literal(sentence)}")
