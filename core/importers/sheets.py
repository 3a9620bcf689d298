"""A spreadsheet saved as text, as offices send it: which encoding and separator, which column is which, what a cell says.

Nothing is guessed silently: the encoding and the separator that were found are told, columns that nobody knows are listed,
and a value that can be read in two ways is refused.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path

from core.errors import BadInput
from core.importers.loading import ImportRefused
from core.words import clean

SEPARATORS = {";": "semicolons", ",": "commas", "\t": "tabs"}
BLOCK = 1 << 20
MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan january januar", "feb february februar", "mar march märz mär", "apr april", "may mai", "jun june juni", "jul july juli",
         "aug august", "sep sept september", "oct october okt oktober", "nov november", "dec december dez dezember"), start=1)
    for name in names.split()
}  # fmt: skip
YES, NO = {"yes", "y", "true", "1", "x", "ja"}, {"no", "n", "false", "0", "nein"}
_NUMERIC_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})|(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})")
_WORDED_DATE = re.compile(r"(\d{1,2})\.?[ -]([^\W\d]+)\.?,?[ -](\d{4})|([^\W\d]+)\.? (\d{1,2}),? (\d{4})")
_TIME = re.compile(r"(.+?)(?:T| +)(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?(?: ?(Z|UTC|\+00:?00))?")


@dataclass(frozen=True)
class Sheet:
    """How a file is read: ``columns`` are the fields we know with their place, ``titles`` what the header calls them, and
    ``ignored`` the titles that nobody knows."""

    file: Path
    encoding: str
    separator: str
    columns: Mapping[str, int]
    titles: Mapping[str, str]
    ignored: tuple[str, ...]
    width: int
    skipped: int


@dataclass(frozen=True)
class Row:
    """One row; an empty cell is "". ``misfit`` says what is wrong with the row as a whole."""

    line: int
    cells: Mapping[str, str]
    misfit: str = ""


def opened(file: Path, synonyms: Mapping[str, Sequence[str]], *, encoding: str = "") -> Sheet:
    """Find out how a file is to be read. Raises ImportRefused when it is no text with a header of ours."""
    encoding = _given(file, encoding) if encoding else _encoding(file)
    with _lines(file, encoding) as handle:
        first = handle.readline()
        skipped = int(first.lower().strip().strip('"').startswith("sep="))
        header = _header(handle, handle.readline() if skipped else first)
    separator = max(SEPARATORS, key=lambda each: (_understood(header, each, synonyms), header.count(each)))
    titles = [title.strip() for title in next(csv.reader([header], delimiter=separator), [])]
    places = _places(file, titles, synonyms)
    ignored = tuple(title for place, title in enumerate(titles) if title and place not in places.values())
    return Sheet(
        file, encoding, separator, places, {k: titles[p] for k, p in places.items()}, ignored, len(titles), skipped
    )


def rows(sheet: Sheet) -> Iterator[Row]:
    """Yield the rows behind the header that hold anything, with the line on which each begins."""
    with _lines(sheet.file, sheet.encoding) as handle:
        for _ in range(sheet.skipped):
            handle.readline()
        reader = csv.reader(handle, delimiter=sheet.separator, strict=True)
        line = 1 + sheet.skipped
        try:
            next(reader, None)
            line = sheet.skipped + reader.line_num + 1
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield _row(sheet, line, cells)
                line = sheet.skipped + reader.line_num + 1
        except csv.Error as error:
            raise ImportRefused(sheet.file.name, line, f"it is not a CSV from here on ({error}).") from error


def text_of(value: str, *, what: str, longest: int = 200) -> str:
    """Return the cell in NFC. Raises BadInput when it holds control characters or is too long."""
    return clean(value, what=what, longest=longest)


def day_of(value: str) -> date:
    """Return a day: 2026-11-24, 24.11.2026, 24 Nov 2026, November 24, 2026, or one with slashes that has one reading only.

    Raises BadInput for anything else, above all for what can be read in two ways.
    """
    if numeric := _NUMERIC_DATE.fullmatch(value):
        year, month, day = (numeric[1], numeric[2], numeric[3]) if numeric[1] else (numeric[6], numeric[5], numeric[4])
        return _date(value, int(year), int(month), int(day))
    if worded := _WORDED_DATE.fullmatch(value):
        day, name, year = (worded[1], worded[2], worded[3]) if worded[1] else (worded[5], worded[4], worded[6])
        return _date(value, int(year), MONTHS.get(name.casefold(), 0), int(day))
    if re.fullmatch(r"\d{1,2}[/.-]\d{1,2}[/.-]\d{2,4}", value):
        return _with_slashes(value)
    if re.fullmatch(r"\d{5}", value):
        raise BadInput(f"{value} is a spreadsheet's inner number of a day; format the column as a date like 2026-11-24")
    raise BadInput(f"{_quoted(value)} is not a date; write it like 2026-11-24")


def moment_of(value: str) -> datetime:
    """Return an instant: a day, with or without a time (UTC). Raises BadInput like :func:`day_of`."""
    found = _TIME.fullmatch(value)
    if not found:
        return datetime.combine(day_of(value), time.min, UTC)
    hour, minute, second = int(found[2]), int(found[3]), int(found[4] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise BadInput(f"{_quoted(value)} holds no time of day")
    return datetime.combine(day_of(found[1]), time(hour, minute, second), UTC)


def yes_of(value: str) -> bool:
    """Return yes or no. Raises BadInput for anything else."""
    if (word := value.casefold()) not in YES | NO:
        raise BadInput(f"{_quoted(value)} is neither yes nor no")
    return word in YES


def email_of(value: str) -> str:
    """Return an e-mail address as it is written. Raises BadInput when it cannot be one."""
    address = clean(value, what="The e-mail", longest=254)
    local, _, domain = address.rpartition("@")
    if not re.fullmatch(r"[^\s@<>\"(),;:\\]{1,64}", local) or not re.fullmatch(
        r"[^\s@<>\"(),;:\\/.]+(\.[^\s@<>\"(),;:\\/.]+)+", domain
    ):
        raise BadInput(f"{_quoted(value)} is not an e-mail address")
    return address


def _quoted(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:39] + "…")


def _date(value: str, year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError as error:
        raise BadInput(f"{_quoted(value)} is not a day of the calendar") from error


def _with_slashes(value: str) -> date:
    """Days with slashes, dashes or a short year: accepted when only one reading is a day."""
    one, other, year = (int(part) for part in re.split(r"[/.-]", value))
    if year < 1000:
        raise BadInput(f"{value} has no whole year; write it like 2026-11-24")
    if one <= 12 and other <= 12 and one != other:
        raise BadInput(f"{value} can be read as {date(year, other, one):%-d %B} and as {date(year, one, other):%-d %B}; write it like 2026-11-24")  # fmt: skip
    return _date(value, year, min(one, other), max(one, other))


def _given(file: Path, encoding: str) -> str:
    try:
        known = codecs.lookup(encoding).name
        "".encode(known)
    except LookupError as error:
        raise BadInput(f"--encoding takes a name like utf-8 or windows-1252, not {encoding!r}.") from error
    known = "utf-8-sig" if known == "utf-8" else known
    if not _fits(file, known):
        raise ImportRefused(file.name, None, f"it is not {encoding}. Leave --encoding away to have it found out.")
    return known


def _encoding(file: Path) -> str:
    """UTF-8 if every byte fits, UTF-16 if it says so, else Windows-1252, else Latin-1."""
    try:
        with file.open("rb") as handle:
            start = handle.read(4)
    except OSError as error:
        raise ImportRefused(file.name, None, "it cannot be read.") from error
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ImportRefused(file.name, None, "it is a workbook. Save it as “CSV UTF-8” and import that file.")
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for encoding in ("utf-8-sig", "cp1252"):
        if _fits(file, encoding):
            return encoding
    return "latin-1"


def _fits(file: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with file.open("rb") as handle:
        try:
            for block in iter(lambda: handle.read(BLOCK), b""):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


@contextmanager
def _lines(file: Path, encoding: str) -> Iterator[io.TextIOBase]:
    with file.open("r", encoding=encoding, newline="") as handle:
        yield handle


def _header(handle: io.TextIOBase, first: str) -> str:
    """The first line, and the next ones while a quoted title goes on."""
    while first.count('"') % 2 and len(first) < BLOCK and (more := handle.readline()):
        first += more
    return first


def _plain(title: str) -> str:
    return "".join(char for char in title.casefold() if char.isalnum())


def _understood(header: str, separator: str, synonyms: Mapping[str, Sequence[str]]) -> int:
    known = {name for names in synonyms.values() for name in names}
    return sum(_plain(title) in known for title in next(csv.reader([header], delimiter=separator), []))


def _places(file: Path, titles: Sequence[str], synonyms: Mapping[str, Sequence[str]]) -> dict[str, int]:
    places: dict[str, int] = {}
    for field, names in synonyms.items():
        found = [place for place, title in enumerate(titles) if _plain(title) in names]
        if len(found) > 1:
            both = " and ".join(f"“{titles[place][:40]}”" for place in found)
            raise ImportRefused(file.name, 1, f"the columns {both} mean the same.")
        if found:
            places[field] = found[0]
    return places


def _row(sheet: Sheet, line: int, cells: list[str]) -> Row:
    if any(cell.strip() for cell in cells[sheet.width :]):
        return Row(line, {}, f"it has {len(cells)} cells, the header has {sheet.width}")
    if len(cells) < sheet.width and len(cells) <= max(sheet.columns.values()):
        return Row(line, {}, f"it has {len(cells)} cells, the header has {sheet.width}")
    return Row(line, {field: cells[place].strip() for field, place in sheet.columns.items()})
