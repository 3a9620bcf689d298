"""Files are read with care; rows go in through a temporary table and stay as they are when they come again."""

from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.importers.loading import ImportRefused, followed, line_count, load, records, stable_id
from core.models.platform import Program
from tests.cast import NOW

COLUMNS = ("id", "code", "title", "source", "source_key")
PYTHON = (stable_id("test", "python"), "PY", "Python", "test", "python")
JAVA = (stable_id("test", "java"), "JAVA", "Java\twith \\N and a tab", "test", "java")


def titles(session: Session) -> list[str]:
    return list(session.scalars(text("select title from platform.program order by code")))


def read(tmp_path: Path, content: bytes, *columns: str) -> list[tuple[int, dict[str, str | None]]]:
    file = tmp_path / "people.csv"
    file.write_bytes(content)
    return [(record.line, record.cells) for record in records(file, columns)]


def test_new_rows_are_written_and_counted(worker: Session) -> None:
    assert load(worker, Program, COLUMNS, [PYTHON, JAVA], now=NOW) == 2
    assert titles(worker) == ["Java\twith \\N and a tab", "Python"]


def test_rows_that_are_there_stay_as_they_are(worker: Session) -> None:
    load(worker, Program, COLUMNS, [PYTHON], now=NOW)
    changed = (*PYTHON[:2], "Snakes", *PYTHON[3:])
    assert load(worker, Program, COLUMNS, [changed, JAVA], now=NOW) == 1
    assert "Python" in titles(worker) and "Snakes" not in titles(worker)


def test_nothing_temporary_is_left(worker: Session) -> None:
    load(worker, Program, COLUMNS, [PYTHON], now=NOW)
    left = "select count(*) from pg_class where relpersistence = 't' and relkind = 'r'"
    assert worker.scalar(text(left)) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"name,age\nAsha,?\n,41\n",
        b"\xef\xbb\xbfname,age\r\nAsha,?\r\n,41\r\n",
        b'"age","more","name"\n"?","x","Asha"\n"41","y",""\n',
        b"name , age\n Asha,\n?, 41\n\n",
    ],
    ids=["plain", "byte order mark", "quoted, other order", "blanks"],
)
def test_a_file_is_read_however_it_is_written(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content, "name", "age") == [
        (2, {"name": "Asha", "age": None}),
        (3, {"name": None, "age": "41"}),
    ]


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"", 1, "name"),
        (b"age\n41\n", 1, "name"),
        (b"name,age\nAsha,41\nBen\n", 3, "cells"),
        (b"name,age\nAsha,41\nBe\x00n,7\n", 3, "NUL"),
        (b'name,age\nAsha,41\n"Ben"x,7\n', 3, "CSV"),
    ],
    ids=["empty", "no column", "too few cells", "NUL", "quote"],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    with pytest.raises(ImportRefused, match=reason) as caught:
        read(tmp_path, content, "name", "age")
    assert (caught.value.file, caught.value.line) == ("people.csv", line)
    assert f"people.csv, line {line}: " in caught.value.sentence
    assert "Nothing was imported." in caught.value.sentence


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("name\n" + "Asha\n" * 25_000)
    told: list[tuple[str, int, int]] = []
    rows = followed(
        records(file, ("name",)), name="people", whole=line_count(file), progress=lambda *each: told.append(each)
    )
    assert sum(1 for _ in rows) == 25_000
    assert told == [("people", 10_000, 25_000), ("people", 20_000, 25_000), ("people", 25_000, 25_000)]
