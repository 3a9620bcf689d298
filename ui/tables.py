"""Tables, and the file that shows the same: names are text, never markdown; nothing becomes a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime

import streamlit as st
from streamlit.elements.lib.column_types import ColumnConfig

from ui import theme

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00", "＝", "＋", "－", "＠")
SEPARATORS = (";", ",", "|")


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
    """Return a title with every sign that markdown might read escaped, for places that know markdown only."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return a CSV (RFC 4180, UTF-8 with BOM so that spreadsheets recognize it) in which no cell is a formula."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([harmless(cell) for cell in header])
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return b"\xef\xbb\xbf" + text.getvalue().encode()


def harmless(cell: object) -> str:
    """Return a cell that a spreadsheet shows and never runs (OWASP ASVS 5.0, 1.2.10).

    A leading apostrophe goes before whatever could begin a formula, also behind blanks and separators, at which some
    programs split a cell again.
    """
    text = "" if cell is None else str(cell)
    first = text.lstrip(" \u00a0" + "".join(SEPARATORS))
    risky = first.startswith(FORMULA) or text.startswith(FORMULA)
    return "'" + text if risky else text
