"""Damage that a lenient reader would let through: it must be refused, never guessed at."""

from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from core.importers.loading import ImportRefused, load, records, stable_id
from core.models.platform import Program
from tests.cast import NOW


def refusal(tmp_path: Path, content: bytes, *columns: str) -> ImportRefused:
    file = tmp_path / "people.csv"
    file.write_bytes(content)
    with pytest.raises(ImportRefused) as caught:
        list(records(file, columns))
    return caught.value


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b"name,age\nAsha,41\nBen,7,8\n", 3, "cells"),
        (b"name,age,more\nAsha,41,x\nBen,7\n", 3, "cells"),
        (b"name,age,more\nAsha,41,\x00\n", 2, "NUL"),
        (b"name,age\nAsha,41\n\xff\xfe,7\n", 3, "UTF-8"),
        (b'name,age\nAsha,41\n"Ben,7\nCleo,8\n', 3, "CSV"),
        (b"name,age,name\nAsha,41,Ben\n", 1, "twice"),
    ],
    ids=["too many cells", "too few behind", "NUL elsewhere", "not UTF-8", "open quote", "column twice"],
)
def test_damage_is_refused_with_its_line(tmp_path: Path, content: bytes, line: int, reason: str) -> None:
    refused = refusal(tmp_path, content, "name", "age")
    assert (refused.line, reason in refused.reason) == (line, True)


@pytest.mark.parametrize("value", ["1_000", "٤١", "1e3", "0x1f", "9" * 5000, "41.0.0", "--4"])
def test_a_number_is_written_in_plain_digits(tmp_path: Path, value: str) -> None:
    file = tmp_path / "people.csv"
    file.write_text(f"age\n{value}\n", encoding="utf-8")
    record = next(records(file, ("age",)))
    for convert in (record.number, record.decimal):
        with pytest.raises(ImportRefused, match=r"people\.csv, line 2: age must be"):
            convert("age")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "people.csv").mkdir()
    with pytest.raises(ImportRefused, match="cannot be read"):
        list(records(tmp_path / "people.csv", ("name",)))


def test_a_code_that_is_taken_elsewhere_is_said_not_swallowed(worker: Session) -> None:
    columns = ("id", "code", "title", "source", "source_key")
    load(worker, Program, columns, [(stable_id("test", "one"), "PY", "Python", "test", "one")], now=NOW)
    with pytest.raises(ImportRefused, match="uq_program_code"):
        load(worker, Program, columns, [(stable_id("test", "two"), "PY", "Other", "test", "two")], now=NOW)
