"""Two hundred hostile names through an export: exact in the JSON, harmless in every cell, text on the page; and no cell is a formula."""

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from core import db
from core.cells import FORMULA, csv_bytes, csv_lines, harmless, plain_lines, shown
from tests.cast import id_of
from tests.core.privacy.house_of_exports import content, data, ready, table, unzipped
from tests.hostile import NAMES

ADDED = """
    insert into platform.visitor (id, name, email, message, status, asked_at, email_hash, provider_hash, source)
    select gen_random_uuid(), n, 'asha@students.example', n, 'new', v.asked_at, s.email_hash, decode(md5(n), 'hex'), 'test'
    from unnest(cast(:names as text[])) n, platform.student s, (select min(asked_at) as asked_at from platform.visitor) v where s.id = :asha
"""
TAGS = {"html", "head", "meta", "title", "style", "body", "main", "header", "section", "nav", "figure", "figcaption", "div", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "h1", "h2", "h3", "p", "strong", "br", "a", "bdi", "span", "code", "ul", "li", "svg", "g", "rect", "text", "line"}  # fmt: skip


class Page(HTMLParser):
    """The tags, attributes and texts of a page, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        assert not any(
            "javascript:" in (value or "") or ((value or "").startswith("http") and name != "xmlns")
            for name, value in attrs
        )

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def formulas(content: bytes, folder: Path) -> int:
    """How many cells LibreOffice takes for formulas."""
    (folder / "cells.csv").write_bytes(content)
    office = [shutil.which("soffice") or "soffice", "--headless", f"-env:UserInstallation=file://{folder}/profile", "--convert-to", "fods",
              "--outdir", str(folder), str(folder / "cells.csv")]  # fmt: skip
    subprocess.run(office, check=True, capture_output=True, timeout=180)
    return len(re.findall(r"table:formula=", (folder / "cells.fods").read_text(encoding="utf-8")))


def test_two_hundred_names_through_every_part_of_the_file(house: str, tmp_path: Path) -> None:
    with db.transaction("worker") as session:
        session.execute(text(ADDED), {"names": list(NAMES), "asha": id_of("asha")})
        session.execute(
            text("update platform.student set name = :n where id = :asha"), {"n": NAMES[40], "asha": id_of("asha")}
        )
    files = unzipped(content(ready("access", student_id=id_of("asha"))))
    exact = data(files)["data"]["visitor"]
    assert sorted(each["name"] for each in exact) == sorted(NAMES)
    assert all(each["name"] == each["message"] for each in exact)
    cells = table(files["csv/visitor.csv"])
    assert sorted(each["name"] for each in cells) == sorted(map(harmless, NAMES))
    page = Page()
    page.feed(files["index.html"].decode())
    assert page.tags <= TAGS
    assert not {name for name in page.attributes if name.startswith("on") or name in ("src", "srcdoc", "action")}
    assert "<script>alert(1)</script>" in page.texts, "shown, as text"
    assert json.loads(files["manifest.json"])["request"].startswith("R-")
    for name, part in files.items():
        if name.endswith(".csv"):
            cells_of = list(csv.reader(io.StringIO(part.decode("utf-8-sig"), newline="")))
            assert not [cell for row in cells_of for cell in row if cell.startswith(FORMULA)], name
    if shutil.which("soffice"):
        assert formulas(b"=1+1\r\nx\r\n", tmp_path) == 1, "what is planted is found"
        assert formulas(files["csv/visitor.csv"], tmp_path) == 0


@given(st.text(max_size=40))
def test_no_cell_ever_begins_a_formula(value: str) -> None:
    [[cell]] = csv.reader(io.StringIO(csv_bytes([value], []).decode("utf-8-sig"), newline=""))
    assert not cell.startswith(FORMULA)
    assert cell in (value, "'" + value)


@pytest.mark.parametrize(
    ("value", "cell"), [(-5, "-5"), (1.5, "1.5"), (True, "yes"), (None, ""), ({"a": 1}, '{"a": 1}'), ("-5", "'-5")]
)
def test_numbers_stay_numbers(value: object, cell: str) -> None:
    assert harmless(shown(value)) == cell


PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.lists(st.text(max_size=5), max_size=2)  # fmt: skip


@given(st.lists(st.lists(PLAIN, min_size=1, max_size=4), max_size=4))
def test_plain_values_are_written_as_any_others(rows: list[list[object]]) -> None:
    assert plain_lines(rows) == csv_lines([shown(cell) for cell in row] for row in rows)
