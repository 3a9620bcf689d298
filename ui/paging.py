"""Turning the pages of a list that pages in SQL: the cursors of the pages seen so far, and the row below the table."""

import streamlit as st

from core.queries import PAGE_SIZE, Cursor, Total

Cursors = list[Cursor | None]


def cursors_of(view: object) -> Cursors:
    """Return the cursors of the pages seen so far; a new view (filters and order) begins at its first page."""
    if st.session_state.get("cursors_view") != view:
        st.session_state["cursors_view"] = view
        st.session_state["cursors"] = [None]
    cursors: Cursors = st.session_state["cursors"]
    return cursors


def footer(shown: int, following: Cursor | None, cursors: Cursors, total: Total, *, hint: str) -> None:
    """Draw where we are, and the way on and back if there is more than one page. ``shown`` rows are on this page."""
    first = (len(cursors) - 1) * PAGE_SIZE + 1
    of = f"more than {total.count:,}" if total.capped else f"{total.count:,}"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{first:,} to {first + shown - 1:,} of {of} · {hint}", width="stretch")
        if following is None and len(cursors) == 1:
            return
        st.button("Previous", icon=":material/chevron_left:", disabled=len(cursors) == 1, on_click=_turn_back)
        st.button(
            "Next",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=following is None,
            on_click=cursors.append,
            args=(following,),
        )


def _turn_back() -> None:
    st.session_state["cursors"].pop()
