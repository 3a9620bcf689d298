"""Turning the pages of a list that pages in SQL: the cursors of the pages seen so far, and the row below the table."""

from typing import Any

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


def afters_of(name: str, view: object = None) -> list[Any]:
    """Return after what the pages seen so far of a short list begin (None: the first); another view begins at its first page."""
    kept: dict[str, tuple[object, list[Any]]] = st.session_state.setdefault("pages_seen", {})
    if name not in kept or kept[name][0] != view:
        kept[name] = (view, [None])
    return kept[name][1]


def turn(caption: str, afters: list[Any], following: Any, *, prefix: str = "") -> None:
    """Draw what the list shows and, if there is more than one page, the way on and back. ``following``: after what the next begins."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(caption, width="stretch")
        if following is None and len(afters) == 1:
            return
        st.button(
            "Previous",
            key=f"{prefix}previous",
            icon=":material/chevron_left:",
            disabled=len(afters) == 1,
            on_click=afters.pop,
        )
        st.button("Next", key=f"{prefix}next", icon=":material/chevron_right:", icon_position="right", disabled=following is None,
                  on_click=afters.append, args=(following,))  # fmt: skip
