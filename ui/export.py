"""The CSV of a table as it is shown: the rows of this page, contacts masked, no formulas, recorded, one link for one opening.

Every table offers it the same way: ``export.offer("enrollments", HEADER, rows)`` beside its title. ``what`` is a code: it
names the file and the line in the audit, so it never holds anything about a person.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

import streamlit as st

from core import privacy_actions
from ui.actions import act
from ui.tables import csv_bytes


def offer(
    what: str,
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    note: str = "The rows of this page, contacts masked",
    quiet: bool = False,
) -> None:
    """Draw the button that makes a file of ``rows``; nothing when there are none. ``note`` says which rows they are;
    ``quiet`` draws it without a border, as small tables have it."""
    lines = [[plain(cell) for cell in row] for row in rows]
    if not lines:
        return
    shape: Literal["tertiary", "secondary"] = "tertiary" if quiet else "secondary"
    with st.popover("Export CSV", icon=":material/download:", key=f"export_{what}", type=shape):
        st.markdown(
            f"{note}. The export is recorded; the link works once, for you, within 15 minutes.",
            width=320,
        )
        if st.button("Make the file", key=f"make_file_{what}"):
            st.session_state[f"file_link_{what}"] = made(what, header, lines)
        if link := st.session_state.pop(f"file_link_{what}", None):
            st.link_button(f"Download {what}.csv", link, type="primary", icon=":material/download:")


def columns(what: str, shown: Mapping[str, Any], *, caption: str = "", note: str = "The rows of this table") -> None:
    """Draw the same below a small table that is drawn from columns, beside its caption: the file holds what stands there."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if caption:
            st.caption(caption, width="stretch")
        offer(what, list(shown), zip(*shown.values(), strict=True), note=note, quiet=True)


def made(what: str, header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Make the file, recorded, and return its one-time address."""
    secret = act(
        privacy_actions.export_list,
        what=what,
        name=f"{what}.csv",
        content=csv_bytes(header, lines),
        rows=len(lines),
    )
    return f"files/{secret}"


def plain(cell: object) -> object:
    """Return a cell as a file holds it: days in ISO, several words as one, nothing for nothing."""
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M}"
    if isinstance(cell, date):
        return cell.isoformat()
    if isinstance(cell, list | tuple):
        return ", ".join(map(str, cell))
    return "" if cell is None else cell
