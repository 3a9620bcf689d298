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
