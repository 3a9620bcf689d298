"""Filters of a list, put back together.

A widget that stands in the address cannot be reset through the address (Streamlit refuses), and one that is forgotten reads its
old value from there again. So each gets the value with which it leaves nothing out.
"""

from collections.abc import Mapping

import streamlit as st


def put_back(values: Mapping[str, object]) -> None:
    """Give each filter, by its key, its value. For a callback: before the widgets of the run are drawn."""
    for name, value in values.items():
        st.session_state[name] = value


def segments(label: str, words: Mapping[str, str], *, key: str, first: str) -> str:
    """Draw segments whose choice stands in the address by its code. Streamlit's own way puts the words there, with any count in
    them, and then takes no other; words are understood here, too, so that old addresses lead where they did.
    """
    asked = st.query_params.get(key, "")
    asked = {word: code for code, word in words.items()}.get(asked, asked)
    chosen = st.segmented_control(
        label, list(words), format_func=words.__getitem__, key=key, default=asked if asked in words else first, required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    st.query_params[key] = chosen or first
    return chosen or first


def choice(label: str, words: Mapping[str, str], *, key: str, first: str, width: int) -> str:
    """Draw a select box whose choice stands in the address by its code, and return the code. ``first`` leaves nothing out and does
    not stand there. Words are understood, too, as Streamlit's own way writes them.
    """
    if key not in st.session_state:
        asked = st.query_params.get(key, first)
        asked = {word: code for code, word in words.items()}.get(asked, asked)
        st.session_state[key] = asked if asked in words else first
    chosen = st.selectbox(
        label, list(words), format_func=words.__getitem__, key=key, width=width, label_visibility="collapsed"
    )
    if chosen == first:
        st.query_params.pop(key, None)
    else:
        st.query_params[key] = chosen
    return chosen
