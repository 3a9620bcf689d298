"""The file that a person gets: a ZIP with a page to read, JSON with its schema, a CSV for each kind of record, and a manifest.

Danger: an export that is not whole and does not say so; one that fills the memory or the disk of the machine; a half one that
leaves. Principle: what stands in it follows from the labels, is counted before and compared after, and what could not be had is
named. Nothing touches a disk: rows stream from the database through the ZIP into the encrypted parts of an artifact. Mechanism:
one snapshot of the database for everything (core.db.snapshot); one statement for all that is small (core.privacy.export_rows),
server-side cursors for large tables, read once for the CSV and once for the JSON; each file's SHA-256 in the manifest, which comes last.
"""

import hashlib
import json
import uuid
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Protocol

from sqlalchemy.orm import Session

from core import cells
from core.errors import AdminError
from core.models.base import Base
from core.models.shown import Kind, ShownTable, shown_tables
from core.privacy import export_page, export_pictures
from core.privacy.export_rows import AT_ONCE, Gathered, Values, instants, plain
from core.privacy.export_texts import LEFT_OUT, digest, without
from core.processors.local import Roots, rows_of
from core.processors.protocol import Person

FORMAT = "resocode-export/1"
ON_PAGE = 200
LEVEL = 3  # of 9: a tenth larger than at 6, in six tenths of the time
ENOUGH = 64 * 1024  # bytes of the ZIP that are handed on at once
NOT_IN_IT = (
    "Internal keys, checksums and marks of where a record came from: they say nothing about you.",
    "Names of people who work here: it says what they are instead.",
    "Who looked at your records and when (the audit): it holds numbers instead of names and does not lead back to you.",
)


@dataclass(frozen=True)
class Decision:
    """What an officer decided about one text."""

    what: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a processor answered: its records, or why there are none. ``complete`` is False when something is missing."""

    name: str
    asked: bool
    complete: bool
    problem: str
    records: Mapping[str, tuple[Values, ...]] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many records it gave."""
        return sum(len(rows) for rows in self.records.values())


@dataclass(frozen=True)
class Order:
    """What is to be built: for whom, under which request, with which decisions about texts. ``context`` is what access adds."""

    person: Person
    roots: Roots
    name: str
    number: str
    kind: str
    policy_version: str
    made_at: datetime
    kept_until: datetime
    decisions: Mapping[str, Decision]
    answers: tuple[Answer, ...]
    context: tuple[export_page.Line, ...] = ()


class CountsDiffer(AdminError):
    """What was written is not what was counted; nothing of it is kept."""


class Sink(Protocol):
    """Where the ZIP writes to."""

    def write(self, data: bytes, /) -> int:
        """Take bytes."""


class Buffer:
    """What a ZIP has written since somebody took it; it cannot be wound back, so that the ZIP streams."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes, /) -> int:
        """Take bytes."""
        self._held += data
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    @property
    def full(self) -> bool:
        """Whether it is worth taking."""
        return len(self._held) >= ENOUGH

    def taken(self) -> bytes:
        """Return what was written since the last time."""
        out = bytes(self._held)
        self._held.clear()
        return out


def chunks(reader: Session, order: Order, gathered: Gathered, told: Callable[[Values], None]) -> Iterator[bytes]:
    """Build the file and return it bit by bit. ``reader`` is a session of the worker on one snapshot; ``gathered`` is what
    core.privacy.export_rows.gather found in it; ``told`` gets the manifest once it is written.

    Raises CountsDiffer when what was written is not what was counted.
    """
    buffer = Buffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:  # type: ignore[call-overload]
        files = Files(archive, buffer, order.made_at)
        source = Source(reader, order, gathered)
        pictures = export_pictures.pictures(gathered.pictured)
        yield from files.add("index.html", [_page(order, source, pictures)])
        for shown in source.shown:
            yield from files.add(csv_name(shown.name), _csv(shown, source))
        for answer in order.answers:
            for what, rows in sorted(answer.records.items()):
                yield from files.add(csv_name(f"{answer.name} {what}"), [_rows_csv(rows)])
        yield from files.add("data.json", _json(order, source))
        yield from files.add("schema.json", [_schema_file(gathered.every)])
        source.demand_whole()
        manifest = _manifest(order, source, files)
        yield from files.add("manifest.json", [_pretty(manifest)])
        told(manifest)
    yield buffer.taken()


class Files:
    """The files of one ZIP, one after the other, with what the manifest says of each."""

    def __init__(self, archive: zipfile.ZipFile, buffer: Buffer, made_at: datetime) -> None:
        self.told: list[dict[str, Any]] = []
        self._archive, self._buffer, self._made_at = archive, buffer, made_at

    def add(self, name: str, content: Iterable[bytes]) -> Iterator[bytes]:
        """Write one file and return what the ZIP has become on the way."""
        info = zipfile.ZipInfo(name, self._made_at.timetuple()[:6])
        info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
        sha, size = hashlib.sha256(), 0
        with self._archive.open(info, "w", force_zip64=True) as file:
            for chunk in _thick(content):
                sha.update(chunk)
                size += len(chunk)
                file.write(chunk)
                if self._buffer.full:
                    yield self._buffer.taken()
        self.told.append({"name": name, "bytes": size, "sha256": sha.hexdigest()})


def _thick(content: Iterable[bytes]) -> Iterator[bytes]:
    """The same in larger pieces: each costs a checksum, a digest and a look at the ZIP."""
    held = bytearray()
    for chunk in content:
        held += chunk
        if len(held) >= ENOUGH:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


class Source:
    """The person's rows, table by table, as they leave: texts as an officer decided. Small tables are read once."""

    def __init__(self, reader: Session, order: Order, gathered: Gathered) -> None:
        self.counts = gathered.counts
        self.every = gathered.every
        self.shown = tuple(each for each in gathered.every if each.place in gathered.counts)
        self._reader, self._order, self._small = reader, order, gathered.small
        self._kept: dict[str, list[Values]] = {}
        self._written: dict[str, list[int]] = {}

    def rows(self, shown: ShownTable) -> Iterator[Values]:
        """Return every row of a table; counted, so that :func:`demand_whole` can compare."""
        number = 0
        for row in self._read(shown):
            number += 1
            yield row
        self._written.setdefault(shown.place, []).append(number)

    def newest(self, shown: ShownTable, at_most: int) -> list[Values]:
        """Return the newest rows of a table, the oldest of them first."""
        if shown.place in self._small:
            return list(self._read(shown))[-at_most:]
        keys = Base.metadata.tables[shown.place].primary_key.columns
        last = rows_of(self._order.person, shown, self._order.roots).order_by(None)
        found = self._reader.execute(last.order_by(*(key.desc() for key in keys)).limit(at_most)).all()
        return [self._leaves(shown, plain(row._mapping)) for row in reversed(found)]

    def demand_whole(self) -> None:
        """Raise CountsDiffer unless every table was written whole, each time."""
        wrong = {place: times for place, times in self._written.items() if set(times) != {self.counts[place]}}
        if wrong or set(self._written) != set(self.counts):
            raise CountsDiffer("The export does not hold what was counted; it is made again.", places=sorted(wrong))

    def _read(self, shown: ShownTable) -> Iterator[Values]:
        if shown.place in self._small:
            if shown.place not in self._kept:
                self._kept[shown.place] = [self._leaves(shown, row) for row in self._small[shown.place]]
            yield from self._kept[shown.place]
            return
        wanted = rows_of(self._order.person, shown, self._order.roots)
        for row in self._reader.execute(wanted, execution_options={"yield_per": AT_ONCE}):
            yield self._leaves(shown, plain(row._mapping))

    def _leaves(self, shown: ShownTable, row: Values) -> Values:
        if not self._order.decisions:
            return row
        free = [each.name for each in shown.fields if each.free_text and isinstance(row[each.name], str)]
        return {**row, **{name: self._judged(shown, name, row) for name in free}}

    def _judged(self, shown: ShownTable, name: str, values: Values) -> str:
        text = str(values[name])
        return decided(text, self._order.decisions.get(digest(shown.place, name, row_key(values), text)))


def decided(text: str, decision: Decision | None) -> str:
    """Return a text as it leaves after an officer's decision; one without a decision had nothing in it to decide about."""
    if decision is None or decision.what == "hand out":
        return text
    return LEFT_OUT if decision.what == "leave out" else without(text, decision.words)


def row_key(values: Values) -> str:
    """Return what tells rows of one table apart, in what a decision about a text is bound to."""
    return str(values.get("id", ""))


@lru_cache(maxsize=256)
def csv_name(name: str) -> str:
    """Return the name of a table's file: letters, digits and underscores."""
    return "csv/" + "".join(char if char.isascii() and char.isalnum() else "_" for char in name.lower()) + ".csv"


def schema() -> dict[str, Any]:
    """Return the JSON schema of ``data.json``, made from the labels: one schema for students and visitors."""
    tables = {shown.name: shown for person in ("student", "visitor") for shown in shown_tables(person)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": FORMAT,
        "description": "What Resocode holds about one person. Instants are ISO 8601 in UTC. Fields that end in 'id' lead from one record to another.",
        "type": "object",
        "required": ["format", "request", "kind", "made_at", "policy_version", "data", "processors"],
        "additionalProperties": False,
        "properties": {
            "format": {"const": FORMAT},
            "request": {"type": "string"},
            "kind": {"enum": ["access", "export"]},
            "made_at": {"type": "string", "format": "date-time"},
            "policy_version": {"type": "string"},
            "data": {
                "type": "object",
                "additionalProperties": False,
                "properties": {name: _table_schema(shown) for name, shown in sorted(tables.items())},
            },
            "processors": {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "object"}}},
            },
        },
    }  # fmt: skip


@lru_cache(maxsize=4)
def _schema_file(_shown: tuple[ShownTable, ...]) -> bytes:
    return (json.dumps(schema(), ensure_ascii=False, indent=1) + "\n").encode()


def _table_schema(shown: ShownTable) -> dict[str, Any]:
    columns = Base.metadata.tables[shown.place].c
    fields = {
        each.name: {"description": each.category, **_type(each.kind, columns[each.column])} for each in shown.fields
    }
    row = {"type": "object", "required": list(fields), "additionalProperties": False, "properties": fields}
    return {"type": "array", "items": row}


def _type(kind: Kind, column: Any) -> dict[str, Any]:
    if kind in (Kind.TITLE, Kind.SOMEBODY):
        return {"type": ["string", "null"]}
    try:
        python = column.type.python_type
    except NotImplementedError:
        return {}
    names: dict[type, list[str]] = {bool: ["boolean"], int: ["integer"], float: ["number"], dict: ["object", "array"], list: ["array"]}  # fmt: skip
    if python.__name__ == "Decimal":
        return {"type": ["number", "null"]}
    found: dict[str, Any] = {"type": [*names.get(python, ["string"]), "null"]}
    if python is datetime:
        found["format"] = "date-time"
    if python is uuid.UUID:
        found["format"] = "uuid"
    return found


def _page(order: Order, source: Source, pictures: Sequence[export_pictures.Picture]) -> bytes:
    tables = [
        export_page.Table(
            shown.name,
            shown.categories,
            [(each.name, each.name in instants(shown)) for each in shown.fields if each.kind is not Kind.KEY],
            source.newest(shown, ON_PAGE),
            source.counts[shown.place],
            csv_name(shown.name),
        )
        for shown in source.shown
    ]
    asked = [export_page.Asked(a.name, a.asked, a.complete, a.problem, a.rows) for a in order.answers]
    return export_page.page(
        name=order.name, number=order.number, kind=order.kind, made_at=order.made_at, kept_until=order.kept_until,
        policy_version=order.policy_version, tables=tables, pictures=pictures, asked=asked, context=order.context,
        not_in_it=NOT_IN_IT,
    )  # fmt: skip


def _csv(shown: ShownTable, source: Source) -> Iterator[bytes]:
    names = [each.name for each in shown.fields]
    yield cells.BOM
    lines: Iterator[Iterable[object]] = chain([names], (row.values() for row in source.rows(shown)))
    while batch := list(islice(lines, AT_ONCE)):
        yield cells.plain_lines(batch)


def _rows_csv(rows: Sequence[Values]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    return cells.csv_bytes(names, ([cells.shown(row.get(name)) for name in names] for row in rows))


def _json(order: Order, source: Source) -> Iterator[bytes]:
    """One object, written table by table and batch by batch."""
    head = {"format": FORMAT, "request": order.number, "kind": order.kind, "made_at": cells.as_json(order.made_at),
            "policy_version": order.policy_version}  # fmt: skip
    yield (_dumped(head)[:-1] + ', "data": {').encode()
    for number, shown in enumerate(source.shown):
        yield f"{',' if number else ''}\n{_dumped(shown.name)}: [".encode()
        first = True
        for rows in _batches(source.rows(shown)):
            lines = ",\n".join(map(_dumped, rows))
            yield f"{'' if first else ','}\n{lines}".encode()
            first = False
        yield b"\n]"
    given = {answer.name: cells.as_json(dict(answer.records)) for answer in order.answers if answer.records}
    yield f'\n}}, "processors": {_dumped(given)}}}\n'.encode()


def _manifest(order: Order, source: Source, files: Files) -> dict[str, Any]:
    decided = [each.what for each in order.decisions.values()]
    return {
        "format": FORMAT,
        "request": order.number,
        "kind": order.kind,
        "made_at": cells.as_json(order.made_at),
        "policy_version": order.policy_version,
        "records": [
            {"what": shown.name, "rows": source.counts[shown.place], "file": csv_name(shown.name), "categories": list(shown.categories)}
            for shown in source.shown
        ],
        "nothing_found_in": [each.name for each in source.every if each.place not in source.counts],
        "processors": [
            {"name": a.name, "asked": a.asked, "complete": a.complete, "records": a.rows, "problem": a.problem} for a in order.answers
        ],
        "texts_about_others": {what.replace(" ", "_"): decided.count(what) for what in ("hand out", "redact", "leave out")},
        "not_in_it": list(NOT_IN_IT),
        "files": files.told,
    }  # fmt: skip


def _batches(rows: Iterator[Values]) -> Iterator[list[Values]]:
    batch: list[Values] = []
    for row in rows:
        batch.append(row)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _pretty(value: Mapping[str, Any]) -> bytes:
    """An object of JSON: each of its fields on a line, of lists each entry."""
    fields = (
        f" {_dumped(name)}: {_entries(each) if isinstance(each, list) else _dumped(each)}"
        for name, each in value.items()
    )
    return ("{\n" + ",\n".join(fields) + "\n}\n").encode()


def _entries(value: list[Any]) -> str:
    return "[\n  " + ",\n  ".join(map(_dumped, value)) + "\n ]" if value else "[]"


_dumped = json.JSONEncoder(ensure_ascii=False).encode
