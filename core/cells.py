"""Values on their way into a file: as a cell that no spreadsheet runs, and as a value of JSON that is exact.

Danger: a name like ``=HYPERLINK(…)`` runs on the machine of whoever opens the file. Principle: what could begin a formula is
marked as text, everywhere; the exact value stands in the JSON beside it. Mechanism: :func:`harmless` (OWASP ASVS 5.0,
1.2.10) for every cell, also those of headings.
"""

import csv
import io
import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

BOM = b"\xef\xbb\xbf"  # spreadsheets recognize UTF-8 by it
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\x00", "＝", "＋", "－", "＠")
SEPARATORS = (";", ",", "|")
_UNSEEN = " \u00a0\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\u00ad\u180e"  # some programs drop them before they look


def harmless(cell: object) -> str:
    """Return a cell that a spreadsheet shows and never runs.

    A leading apostrophe goes before whatever could begin a formula, also behind blanks, signs that nobody sees and
    separators, at which some programs split a cell again.
    """
    text = "" if cell is None else str(cell)
    if isinstance(cell, int | float | Decimal):
        return text
    first = text.lstrip(_UNSEEN + "".join(SEPARATORS))
    risky = first.startswith(FORMULA) or text.startswith(FORMULA)
    return "'" + text if risky else text


def csv_bytes(header: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """Return a CSV (RFC 4180, UTF-8 with BOM) in which no cell is a formula."""
    return BOM + csv_lines([header, *rows])


def csv_lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Return rows as lines of a CSV, every cell quoted and harmless."""
    return _lines([harmless(cell) for cell in row] for row in rows)


def plain_lines(rows: Iterable[Iterable[object]]) -> bytes:
    """Return rows of values that are plain already (see :func:`as_json`) as lines of a CSV: what :func:`csv_lines` of
    :func:`shown` would say."""
    return _lines([_plain(cell) for cell in row] for row in rows)


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode()


def _plain(value: object) -> object:
    if isinstance(value, str):  # what begins with a letter or a digit is no formula; most of it does
        return value if value[:1].isalnum() else harmless(value)
    return harmless(shown(value)) if isinstance(value, bool | list | dict) else value


def shown(value: object) -> object:
    """Return a value of the database as a CSV shows it: instants in ISO and UTC, lists and objects as JSON; numbers as they are,
    because what a number begins with is no formula."""
    plain = as_json(value)
    if isinstance(plain, list | dict):
        return json.dumps(plain, ensure_ascii=False)
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    return plain


def as_json(value: object) -> Any:
    """Return a value of the database as JSON keeps it: instants in ISO and UTC, exact decimals, bytes as base64."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes | memoryview):
        return b64encode(bytes(value)).decode()
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, dict):
        return {str(key): as_json(each) for key, each in value.items()}
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
