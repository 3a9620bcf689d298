"""Tables, and the file that shows the same: names are text, never markdown; nothing becomes a formula."""

import re
from collections.abc import Sequence
from datetime import date, datetime

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from core.cells import csv_bytes, harmless
from ui import theme

__all__ = ["capitalized", "chips", "csv_bytes", "day", "harmless", "literal", "status_column"]


def status_column(options: Sequence[str]) -> ColumnConfig:
    """Return the column of a status: a chip with word and color."""
    return chips("Status", options, width=110)


def chips(title: str, options: Sequence[str], *, width: int, help: str | None = None) -> ColumnConfig:
    """Return a column of chips, each with word and color; a cell is a list of some of the options."""
    colors = [theme.STATUS_COLORS[option] for option in options]
    return st.column_config.MultiselectColumn(title, options=list(options), color=colors, width=width, help=help)


def capitalized(words: str) -> str:
    """Return words with a capital at their beginning, the rest as it is."""
    return words[:1].upper() + words[1:]


def day(moment: date | datetime | None) -> str:
    """Return a day as people read it: ``24 Nov 2026``; a dash when there is none."""
    return f"{moment.day} {moment:%b %Y}" if moment else "–"


def literal(text: str) -> str:
    """Return a title with every sign that markdown might read escaped, for places that know markdown only.

    An address that somebody typed stays a word: markdown makes links of them after escapes are undone, so a word joiner (no width)
    stands in it.
    """
    text = re.sub(r"(https?(?=://)|www(?=\.))", "\\1\N{WORD JOINER}", text, flags=re.IGNORECASE)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)
