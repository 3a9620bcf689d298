"""Files for spreadsheets: nothing in them becomes a formula."""

import csv
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cells import FORMULA
from ui.tables import csv_bytes, harmless, literal


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@x", "\tx", "\r=1", "＝1", "＋", "－1", "＠", " =1", ";=1", ", =1", "\u00a0=1", "|@x"]
)
def test_a_formula_is_defused(text: str) -> None:
    assert harmless(text) == "'" + text


@pytest.mark.parametrize("text", ["Ana", "O'Brien", "a=b", "", "12", "x@example.org", "Zoë"])
def test_ordinary_text_stays(text: str) -> None:
    assert harmless(text) == text


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), max_size=5))
def test_no_cell_begins_like_a_formula_and_all_come_back(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(csv_bytes(("a", "b"), rows).decode("utf-8-sig"), newline="")))
    assert len(read) == len(rows) + 1
    for row, original in zip(read[1:], rows, strict=True):
        assert not any(cell.lstrip(" \u00a0;,|").startswith(FORMULA) for cell in row)
        assert [
            cell.removeprefix("'") if cell != text else cell for cell, text in zip(row, original, strict=True)
        ] == original


def test_a_title_in_markdown_stays_as_it_is() -> None:
    assert literal("Web **26** :red[x] $a$") == r"Web \*\*26\*\* \:red\[x\] \$a\$"
    assert literal("Python 14") == "Python 14"


@pytest.mark.parametrize("typed", ["http://evil.example", "HTTPS://evil.example/x", "www.evil.example"])
def test_an_address_that_somebody_typed_is_no_link(typed: str) -> None:
    shown = literal(f"Ana {typed}").replace("\\", "")
    assert not re.search(r"https?://|www\.", shown, re.IGNORECASE)
    assert shown.replace("\N{WORD JOINER}", "") == f"Ana {typed}", "and reads as it was typed"
