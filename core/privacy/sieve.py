"""The sieve of the residue scan: all the text of a table streams by, and what may be in it is named.

Danger: a regular expression over millions of rows takes minutes for each person. Principle: the costs do not depend on how many
are looked for; what is named is judged row by row afterwards, so that one too many does no harm and one too few is a defect.
Mechanism: COPY in blocks of some megabytes; addresses are found by their "@", ids by their form, telephone numbers as runs of
digits, each looked up in a set; only names (and what is not plain ASCII) are searched for one by one, which a computer does fast.
"""

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

from psycopg import Connection, sql
from sqlalchemy import Column, Table
from sqlalchemy.orm import Session

EMAIL, PHONE, ID, NAME = "e-mail", "phone", "id", "name"
BLOCK = 1 << 22
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_DIGITS = re.compile(r"\d(?:[^0-9a-z\n\t]{0,3}\d){6,}")
_DOMAIN = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Trace:
    """One thing to look for: the ``value`` itself (of a telephone number its last digits), and the regular expression that
    judges a lowered text. ``sure``: it can be about this person only."""

    kind: str
    sure: bool
    value: str
    pattern: str

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern, ready to be used."""
        return re.compile(self.pattern)


class Sieve:
    """Everything that is looked for, sorted by how it is found."""

    def __init__(self, traces: Collection[Trace]) -> None:
        self.addresses: dict[str, dict[str, list[Trace]]] = {}
        self.ids: dict[str, list[Trace]] = {}
        self.numbers: dict[str, list[Trace]] = {}
        self.words: dict[str, list[Trace]] = {}
        for each in traces:
            self._sort(each)

    def suspects(self, session: Session, table: Table, columns: Collection[Column[object]]) -> set[Trace]:
        """Return what may be somewhere in these columns of a table."""
        found: set[Trace] = set()
        for block in _blocks(session, table, columns):
            found |= self.seen(block)
        return found

    def seen(self, block: str) -> set[Trace]:
        """Return what may be somewhere in a lowered text."""
        found = self._here(block)
        if "%" in block and (self.addresses or self.words):
            found |= self._here(unquote(block).lower())
        return found

    def _sort(self, trace: Trace) -> None:
        value = trace.value.lower()
        local, at, domain = value.rpartition("@")
        if trace.kind == PHONE:
            self.numbers.setdefault(value, []).append(trace)
        elif trace.kind == ID and _UUID.fullmatch(value):
            self.ids.setdefault(value, []).append(trace)
        elif trace.kind == EMAIL and at and value.isascii():
            self.addresses.setdefault(domain, {}).setdefault(local, []).append(trace)
        else:
            for each in spellings(trace.value):
                self.words.setdefault(each, []).append(trace)

    def _here(self, block: str) -> set[Trace]:
        found: set[Trace] = set()
        if self.addresses:
            found.update(*self._addresses(block))
        if self.ids:
            found.update(*(self.ids.get(each.group(), ()) for each in _UUID.finditer(block)))
        if self.numbers:
            found.update(*self._numbers(block))
        found.update(*(traces for word, traces in self.words.items() if word in block))
        return found

    def _addresses(self, block: str) -> Iterator[list[Trace]]:
        lengths = {domain: sorted({len(local) for local in known}) for domain, known in self.addresses.items()}
        place = block.find("@")
        while place >= 0:
            if domain := _DOMAIN.match(block, place + 1):
                name = domain.group().rstrip(".-")
                for length in lengths.get(name, ()):
                    if known := self.addresses[name].get(block[max(0, place - length) : place]):
                        yield known
            place = block.find("@", place + 1)

    def _numbers(self, block: str) -> Iterator[list[Trace]]:
        lengths = sorted({len(number) for number in self.numbers})
        for run in _DIGITS.finditer(block):
            digits = re.sub(r"\D", "", run.group())
            for length in lengths:
                for start in range(len(digits) - length + 1):
                    if known := self.numbers.get(digits[start : start + length]):
                        yield known


def spellings(value: str) -> list[str]:
    """Return a value as it may stand in a lowered text: by itself, in an address of the web, in JSON."""
    told = [value.lower(), value.casefold(), quote(value, safe="").lower(), quote(value, safe="@").lower()]
    return list(dict.fromkeys([*told, json.dumps(value)[1:-1].lower()]))


def _blocks(session: Session, table: Table, columns: Collection[Column[object]]) -> Iterator[str]:
    """The text of a table in blocks: a line for each row, lowered, with the line breaks within a cell taken out."""
    connection: Connection[Any] = session.connection().connection.driver_connection  # type: ignore[assignment]
    listed = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    query = sql.SQL("copy (select {} from {}) to stdout").format(listed, sql.Identifier(*table.fullname.split(".")))
    rows: list[bytes] = []
    size = 0
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        for row in copy:
            rows.append(bytes(row))
            size += len(row)
            if size >= BLOCK:
                yield _lowered(rows)
                rows, size = [], 0
    if rows:
        yield _lowered(rows)


def _lowered(rows: list[bytes]) -> str:
    """Read what COPY has escaped: a backslash in a text is two, so that in pairs they are told from a line break."""
    return plain(b"".join(rows).decode()).lower()


def plain(escaped: str) -> str:
    """Return a text without its escapes, of COPY or of json: a line break, a tab and their like are blanks, as between words."""
    if "\\" not in escaped:
        return escaped
    text = escaped.replace("\\\\", "\0")  # which PostgreSQL keeps in no text
    for escape in ("\\n", "\\t", "\\r", "\\b", "\\f", "\\v"):
        text = text.replace(escape, "  ")
    return text.replace("\0", "\\")
