"""The alarm of retention: on its page and on Today, in the same words."""

import streamlit as st

from core.queries import RetentionAlarm
from ui.tables import day, literal

RULE_STATES = ("nothing due", "due", "late", "waits")
Need = tuple[str, str, str, tuple[str, dict[str, str]] | None]


def needs(alarm: RetentionAlarm) -> list[Need]:
    """Return the alarm as items of Today; none when retention runs."""
    found: list[Need] = []
    if alarm.silent_since:
        found.append(
            (":red[:material/alarm:]", "Retention has not run for 26 hours", _silent(alarm), ("retention", {}))
        )
    for rule, waits_for in alarm.waiting:
        found.append((":red[:material/alarm:]", f"Retention of {literal(rule)} does not go on", f"It waits for {waits_for}.", ("retention", {})))  # fmt: skip
    return found


def banner(alarm: RetentionAlarm) -> None:
    """Draw the alarm above the page; nothing when retention runs."""
    if alarm.silent_since:
        st.error(f"**Retention has not run for 26 hours.** {_silent(alarm)}", icon=":material/alarm:")
    for rule, waits_for in alarm.waiting:
        st.error(f"**Retention of {literal(rule)} does not go on.** It waits for {waits_for}.", icon=":material/alarm:")


def _silent(alarm: RetentionAlarm) -> str:
    last = f"The last run ended on {day(alarm.ran_at)}, {alarm.ran_at:%H:%M} UTC" if alarm.ran_at else "It never ran"
    return f"{last}. Data stays longer than promised until a worker runs: python -m core worker"
