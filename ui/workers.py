"""How the workers fare, for those who look after the machinery: what needs somebody, a line, a table."""

from datetime import datetime

import streamlit as st

from core.queries import DeadJob, WorkerState
from core.replica import Following
from ui import export
from ui.tables import day, literal

SHOWN = 3
REPLICA_HELP = (
    "Lists and figures are read from a copy of the database that follows it (READ_DATABASE_URL). What you have just changed is "
    "read from the database itself until the copy has it."
)
HEALTH = {"alive": "Alive", "late": "Late", "never": "Never ran"}
HELP = (
    "A worker takes weekly figures, follows the calendar, tidies up and signs the audit. It says every 15 seconds that it "
    "lives, and is late after one minute."
)


def replica_needs(state: Following | None) -> list[tuple[str, str, str, None]]:
    """Return what needs somebody about the replica: it answers nobody while it does not follow."""
    if state is None or not state.trouble:
        return []
    return [
        (
            ":orange[:material/sync_problem:]",
            "The replica is not used",
            f"{state.trouble} The primary answers instead.",
            None,
        )
    ]


def replica_line(state: Following | None) -> None:
    """Draw how far the replica is behind, when there is one."""
    if state is not None and not state.trouble:
        st.caption(f"Replica: {state.lag:.1f} s behind", help=REPLICA_HELP)


def needs(state: WorkerState) -> list[tuple[str, str, str, None]]:
    """Return what needs somebody, as items of Today."""
    found: list[tuple[str, str, str, None]] = []
    if state.seen_at is None:
        reason = "Weekly figures and clean-up wait for it. Start one: python -m core worker"
        found.append((":orange[:material/engineering:]", "No worker has run yet", reason, None))
    elif state.health == "late":
        reason = f"Last seen {stamp(state.seen_at)}. What is due waits until one is started: python -m core worker"
        found.append((":red[:material/engineering:]", "No worker is running", reason, None))
    elif state.behind_since:
        reason = f"The oldest job became due {stamp(state.behind_since)}."
        found.append((":orange[:material/hourglass_top:]", "The worker is behind", reason, None))
    if state.dead:
        many = len(state.dead)
        lines = [told(each) for each in state.dead[:SHOWN]] + (["…"] if many > SHOWN else [])
        thing = f"{many} {'job has' if many == 1 else 'jobs have'} failed for good"
        found.append((":red[:material/error:]", thing, " · ".join(lines), None))
    return found


def told(dead: DeadJob) -> str:
    """Return a dead letter in one line, safe for markdown."""
    return literal(f"{dead.kind} {dead.key}: {dead.attempts} attempts, last {stamp(dead.failed_at)}, code {dead.error}")


def figure(state: WorkerState) -> None:
    """Draw the state as a key figure."""
    seen = f" Last seen {stamp(state.seen_at)}; {state.alive} alive." if state.seen_at else ""
    st.metric("Worker", HEALTH[state.health], border=True, help=HELP + seen)


def line(state: WorkerState) -> None:
    """Draw the state as a caption."""
    seen = f" · last seen {stamp(state.seen_at)}" if state.seen_at else ""
    st.caption(f"Worker: {HEALTH[state.health].lower()}{seen}", help=HELP)


def table(state: WorkerState) -> None:
    """Draw what became of each kind of job."""
    if not state.kinds:
        return
    st.subheader("What the worker does", anchor=False, help=HELP)
    shown_columns = {
        "Job": [kind.kind.capitalize() for kind in state.kinds],
        "Last done": [stamp(kind.done_at) for kind in state.kinds],
        "Result": [", ".join(f"{name} {number:,}" for name, number in kind.result.items()) for kind in state.kinds],
        "Waiting": [kind.waiting for kind in state.kinds],
        "Failed": [kind.failed for kind in state.kinds],
    }
    st.dataframe(
        shown_columns,
        hide_index=True, row_height=36, height="content", alt=f"Table of the worker's {len(state.kinds)} kinds of jobs.",
    )  # fmt: skip
    export.columns("worker", shown_columns)


def stamp(moment: datetime | None) -> str:
    """Return an instant as people read it: ``24 Nov 2026, 12:01 UTC``."""
    return f"{day(moment)}, {moment:%H:%M} UTC" if moment else "–"
