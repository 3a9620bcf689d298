"""The way to the platform's own pages: a button or a column, and nothing at all when no address is configured."""

from collections.abc import Sequence

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

PLATFORM = "Platform"


def button(link: str | None, *, key: str = "platform") -> None:
    """Draw the button that opens a page of the platform in a tab of its own."""
    if link:
        st.link_button("Open on the platform", link, icon=":material/open_in_new:", key=key)


def column(links: Sequence[str | None]) -> dict[str, list[str | None]]:
    """Return the column of links for a table, or none when no row has one."""
    return {PLATFORM: list(links)} if any(links) else {}


def config() -> dict[str, ColumnConfig]:
    """Return how that column is shown."""
    return {PLATFORM: st.column_config.LinkColumn(PLATFORM, display_text="Open", width=80)}
