"""Spreadsheets saved as text: encoding, separator, columns and what a cell says; what can be read in two ways is refused."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from core.errors import BadInput
from core.importers.loading import ImportRefused
from core.importers.sheets import day_of, email_of, moment_of, opened, rows, yes_of

SYNONYMS = {"email": ("email", "mail"), "name": ("name", "fullname")}


def written(folder: Path, content: bytes) -> Path:
    file = folder / "sheet.csv"
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("content", "encoding", "separator"),
    [
        ("Name,E-Mail\nZoë,z@example.org\n".encode(), "utf-8-sig", ","),
        ("\ufeffName;E-Mail\nZoë;z@example.org\n".encode(), "utf-8-sig", ";"),
        ("Name\tE-Mail\r\nZoë\tz@example.org\r\n".encode("utf-16"), "utf-16", "\t"),
        ("Name;E-Mail\nZoë;z@example.org\n".encode("cp1252"), "cp1252", ";"),
        (b"Name;E-Mail\nZo\xeb \x81;z@example.org\n", "latin-1", ";"),
        ("sep=;\r\nName;E-Mail\r\nZoë;z@example.org\r\n".encode(), "utf-8-sig", ";"),
        ("Name,E-Mail\rZoë,z@example.org\r".encode(), "utf-8-sig", ","),
        ("Note;E-Mail;Name, if any;Full  NAME\n1,5;z@example.org;;Zoë".encode(), "utf-8-sig", ";"),
        ('"Full\nname","e_mail"\n"Zoë","z@example.org"\n'.encode(), "utf-8-sig", ","),
    ],
)
def test_the_ways_offices_save_their_sheets(folder: Path, content: bytes, encoding: str, separator: str) -> None:
    sheet = opened(written(folder, content), SYNONYMS)
    assert (sheet.encoding, sheet.separator) == (encoding, separator)
    (row,) = rows(sheet)
    assert row.cells["email"] == "z@example.org" and row.cells["name"].startswith("Zoë")


def test_lines_are_counted_as_an_editor_counts_them(folder: Path) -> None:
    content = 'sep=,\nname,email\n"Two\nlines",a@example.org\n\n,\nLast,b@example.org\nshort\nlong,c@example.org,more\ntail,d@example.org,,\n'
    found = [(row.line, row.misfit) for row in rows(opened(written(folder, content.encode()), SYNONYMS))]
    assert found == [
        (3, ""),
        (7, ""),
        (8, "it has 1 cells, the header has 2"),
        (9, "it has 3 cells, the header has 2"),
        (10, ""),
    ]


def test_unknown_columns_are_told_and_two_of_a_kind_refused(folder: Path) -> None:
    assert opened(written(folder, b"Shoe size,MAIL,name,,Color\n"), SYNONYMS).ignored == ("Shoe size", "Color")
    with pytest.raises(ImportRefused, match="“Mail” and “E-Mail” mean the same"):
        opened(written(folder, b"Mail,name,E-Mail\n"), SYNONYMS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04 something", "CSV UTF-8"),
        (b'name,email\n"open,a@example.org\n' + b"x\n" * 90_000, "line 2.*not a CSV"),
        (b'name,email\nx,a@example.org\n"a"b,c\n', "line 3.*not a CSV"),
    ],
)
def test_what_is_no_csv_is_refused_with_its_line(folder: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ImportRefused, match=reason):
        list(rows(opened(written(folder, content), SYNONYMS)))


def test_a_named_encoding_that_does_not_fit_is_refused(folder: Path) -> None:
    file = written(folder, "name,email\nZoë,z@example.org\n".encode("cp1252"))
    with pytest.raises(ImportRefused, match="not utf8"):
        list(rows(opened(file, SYNONYMS, encoding="utf8")))
    for name in ("klingon", "hex"):
        with pytest.raises(BadInput, match="windows-1252"):
            opened(file, SYNONYMS, encoding=name)
    assert opened(file, SYNONYMS, encoding="latin1").encoding == "iso8859-1"


@pytest.mark.parametrize(
    "value",
    ["2026-11-24", "2026-11-24", "24.11.2026", "24. 11. 2026", "24 Nov 2026", "24. November 2026", "Nov 24, 2026", "24-Nov-2026", "24 NOVEMBER 2026",
     "24/11/2026", "11/24/2026", "24-11-2026"],
)  # fmt: skip
def test_days_in_forms_that_have_one_reading(value: str) -> None:
    assert day_of(value) == date(2026, 11, 24)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("03/04/2026", "3 April and as 4 March"),
        ("3-4-2026", "two|read as"),
        ("24.11.26", "no whole year"),
        ("03/04/26", "no whole year"),
        ("46350", "inner number"),
        ("2026-02-30", "not a day of the calendar"),
        ("31.02.2026", "not a day of the calendar"),
        ("24 Foo 2026", "not a day of the calendar"),
        ("13/14/2026", "not a day of the calendar"),
        ("tomorrow", "not a date"),
        ("٢٤.١١.٢٠٢٦ x", "not a date"),
    ],
)
def test_days_that_cannot_be_read_or_in_two_ways(value: str, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        day_of(value)


def test_moments_are_days_with_or_without_a_time() -> None:
    assert moment_of("24.11.2026") == datetime(2026, 11, 24, tzinfo=UTC)
    assert moment_of("2026-11-24T09:30:15.123Z") == datetime(2026, 11, 24, 9, 30, 15, tzinfo=UTC)
    assert moment_of("24 Nov 2026 9:30") == datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    with pytest.raises(BadInput, match="time of day"):
        moment_of("2026-11-24 25:00")


def test_yes_no_and_addresses() -> None:
    assert [yes_of(value) for value in ("Yes", "x", "NEIN", "0")] == [True, True, False, False]
    with pytest.raises(BadInput):
        yes_of("maybe")
    assert email_of("O'Brien+news@mail.example.org") == "O'Brien+news@mail.example.org"
    for wrong in (
        "nobody",
        "a@b",
        "a b@example.org",
        "a@@example.org",
        "a@example..org",
        "x@" + "d" * 260 + ".org",
        "a@exam\u0000ple.org",
        "=cmd|' /C calc'!A0",
    ):
        with pytest.raises(BadInput):
            email_of(wrong)
