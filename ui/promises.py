"""What the screens about promises share: states as badges, one row of the board, the evidence of one promise."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal

import streamlit as st

from core.policy.evidence import Evidence, State
from core.policy.promises import CLAUSES
from core.queries import PromiseRow
from core.settings import ROOT
from ui.desk import instant
from ui.tables import day, literal

# state → color, icon
LOOKS: dict[State, tuple[Literal["red", "orange", "gray", "green"], str]] = {
    State.BROKEN: ("red", "cancel"),
    State.AT_RISK: ("orange", "error"),
    State.NOT_PROVEN: ("gray", "help"),
    State.HOLDS: ("green", "check_circle"),
}
# Which roles may follow a link from evidence to a list; the others read the figures.
OPEN_TO = {
    "requests": ("privacy_officer",),
    "quarantine": ("privacy_officer",),
    "manual_steps": ("privacy_officer",),
    "consent": ("privacy_officer",),
    "retention": ("privacy_officer", "admin"),
    "enrollments": ("admin", "program_staff"),
    "access_review": ("admin", "privacy_officer"),
    "processors": ("admin", "privacy_officer", "auditor"),
    "notices": ("privacy_officer", "admin"),
}
STATE_HELP = (
    "holds: looked at, and as promised. at risk: it will be broken unless somebody acts. broken: not as promised. not proven: there is no "
    "evidence, or it is too old; that is never told as holds. A promise kept in several places stands as the worst of them."
)


def badge(state: State) -> None:
    """Draw a state: icon, word and color."""
    color, icon = LOOKS[state]
    st.badge(str(state), icon=f":material/{icon}:", color=color)


def mark(state: State) -> str:
    """A state as markdown."""
    color, icon = LOOKS[state]
    return f":{color}-badge[:material/{icon}: {state}]"


def ago(at: datetime | None, now: datetime) -> str:
    """How long ago, short: ``just now``, ``12 min ago``, ``2 h ago``, ``3 days ago``, ``never``."""
    if at is None:
        return "never"
    minutes = int(max((now - at).total_seconds(), 0)) // 60
    if minutes < 2:
        return "just now"
    if minutes < 60:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"


def clause(number: str) -> str:
    """The heading of a clause: ``3 · Security``."""
    return CLAUSES.get(number, number) if number == "contact" else f"{number} · {CLAUSES.get(number, '')}"


def line(row: PromiseRow, *, now: datetime, open_it: Callable[[str], None]) -> None:
    """Draw one promise of the board."""
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", gap="small"):
        with st.container(width=98):
            badge(row.state)
        with st.container(width="stretch", gap=None):
            st.markdown(f"{literal(row.promise.text)} :gray[:small[{literal(row.promise.id)}]]")
            st.caption(f"{literal(short(in_short(row)))} · {ago(row.checked_at, now)}")
        st.button("Proof", key=f"proof_{row.promise.id}", type="tertiary", help=f"Evidence of {row.promise.id}", on_click=open_it,
                  args=(row.promise.id,))  # fmt: skip


def in_short(row: PromiseRow) -> str:
    """What makes the state, in one line: where it holds here and waits for somebody's word elsewhere, both."""
    waiting = [
        each.place for each in row.evidence[1:] if each.state is State.NOT_PROVEN and each.place in row.promise.attested
    ]
    if row.state is State.NOT_PROVEN and row.evidence[0].state is State.HOLDS and waiting:
        return f"Holds here; not attested: {', '.join(waiting)}. {row.evidence[0].sentence}"
    return row.told.sentence


def short(sentence: str, most: int = 150) -> str:
    """A sentence that fits its place: cut at a word."""
    return sentence if len(sentence) <= most else sentence[:most].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def evidence(found: Evidence, *, role: str, key: str, live: bool) -> None:
    """Draw what was found in one place: the sentence, figures, the way to the list, and the query."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(literal(found.place[:1].upper() + found.place[1:]), anchor=False, width="content")
        badge(found.state)
    st.markdown(literal(found.sentence))
    if found.figures:
        st.container(width=640).table(
            {"Figure": [literal(name) for name in found.figures], "Found": [literal(figure(value)) for value in found.figures.values()]},
            border="horizontal", hide_index=True, alt=f"Table of {len(found.figures)} figures about {found.place}.",
        )  # fmt: skip
    ways = [
        link
        for link in found.links
        if live and role in OPEN_TO.get(link.page, ()) and (ROOT / "pages" / f"{link.page}.py").exists()
    ]
    for place, link in enumerate(ways):
        if st.button(link.words, key=f"{key}_{place}", icon=":material/arrow_forward:", icon_position="right"):
            st.switch_page(ROOT / "pages" / f"{link.page}.py", query_params=dict(link.filters))
    if found.query:
        with st.expander("Query", icon=":material/database:"):
            st.code(found.query, language="sql")


def figure(value: int | str) -> str:
    """A figure as people read it."""
    return f"{value:,}" if isinstance(value, int) else value


def since(row: PromiseRow) -> str:
    """Since when it stands so, in words."""
    return f"since {instant(row.since)}" if row.since else "not checked yet"


def printed_rows(rows: Sequence[PromiseRow]) -> list[tuple[str, ...]]:
    """The rows of the report: clause, id, promise, state, evidence of every place, checked."""
    return [
        (row.promise.clause, row.promise.id, row.promise.text, str(row.state),
         " ".join(f"{each.place}: {each.state}. {each.sentence}" for each in row.evidence), day(row.checked_at))
        for row in rows
    ]  # fmt: skip
