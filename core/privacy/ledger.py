"""The erasure ledger: who was erased, written where no backup of the database reaches.

Danger: a backup is restored, and with it come back the people who were erased since, and deletions that were canceled since.
Principle: what must outlive a restore is written outside the database, before the first row is destroyed, and the dashboard stays
closed until a restored database has learned it again (core.privacy.restore). Mechanism: a folder of files that only grow, one for
each machine that writes (``RESOCODE_LEDGER``; all machines share the folder); a line carries the hash of the one before and is
signed, so that the last signature of a file vouches for all its lines. A line names nobody: keyed hashes, opaque ids, instants.

A ledger that is shorter than it was proves nothing by itself: the database knows which erasures must be in it.
"""

import hashlib
import json
import re
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from core import append_only, signing
from core.settings import settings

DOMAIN = "resocode-ledger-1"
BEGINS, ERASED, CANCELED = "begins", "erased", "canceled"
_NAME = "erasures.{machine}.jsonl"
_KEY = re.compile(rb'"key":"([^"]+)"')
_cache: dict[Path, tuple[tuple[int, int], "tuple[list[Entry], str]"]] = {}


@dataclass(frozen=True)
class Entry:
    """One line. ``about`` is the erasure's id, of a cancellation the request's. ``hashes`` (hex) are those by which old records
    of the person are recognized, ``forms`` the ids of forms that went along; ``until`` is when the line may be forgotten."""

    phase: str
    about: uuid.UUID
    at: datetime
    until: datetime | None = None
    request: uuid.UUID | None = None
    person: str = ""
    person_id: uuid.UUID | None = None
    forms: tuple[uuid.UUID, ...] = ()
    hashes: tuple[str, ...] = ()
    certificate: str = ""


@dataclass(frozen=True)
class Ledger:
    """All files together, by what they are about. ``problems`` are sentences: a line that was changed, a forged signature."""

    begun: dict[uuid.UUID, Entry] = field(default_factory=dict)
    erased: dict[uuid.UUID, Entry] = field(default_factory=dict)
    canceled: dict[uuid.UUID, Entry] = field(default_factory=dict)
    files: int = 0
    lines: int = 0
    problems: tuple[str, ...] = ()

    def standing(self, now: datetime) -> dict[uuid.UUID, Entry]:
        """Return the erasures that a database has to know: begun, and not so long ago that they may be forgotten."""
        return {key: each for key, each in self.begun.items() if each.until is None or each.until > now}


@dataclass(frozen=True)
class Beginning:
    """An erasure that begins: who it is about, by opaque ids, and the hashes that keep them out until ``until``."""

    erasure_id: uuid.UUID
    request_id: uuid.UUID | None
    person: str
    person_id: uuid.UUID
    hashes: Sequence[bytes]
    until: datetime
    at: datetime
    forms: Sequence[uuid.UUID] = ()


def begin(
    *, erasure_id: uuid.UUID, request_id: uuid.UUID | None, person: str, person_id: uuid.UUID, hashes: Sequence[bytes],
    until: datetime, now: datetime, forms: Sequence[uuid.UUID] = (),
) -> None:  # fmt: skip
    """Write that one erasure begins: :func:`begin_together` for one."""
    begin_together([Beginning(erasure_id, request_id, person, person_id, hashes, until, now, forms)])


def begin_together(beginnings: Sequence[Beginning]) -> None:
    """Write, before the first row goes and after the decision is in the database, that erasures begin. Again: nothing.

    Raises AdminError when the disk does not take it: then nothing may be erased.
    """
    _add(*(
        Entry(BEGINS, each.erasure_id, each.at, each.until, each.request_id, each.person, each.person_id, tuple(sorted(each.forms)),
              tuple(sorted({one.hex() for one in each.hashes})))
        for each in beginnings))  # fmt: skip


def begin_again(*, erasure_id: uuid.UUID, hashes: Sequence[tuple[bytes, datetime]], now: datetime) -> None:
    """Write an erasure into a ledger that was lost: by its hashes and their end only, because nothing else is known any more."""
    told = tuple(sorted(each.hex() for each, _ in hashes))
    _add(Entry(BEGINS, erasure_id, now, max((until for _, until in hashes), default=None), hashes=told))


def end(*, erasure_id: uuid.UUID, certificate_sha256: str, now: datetime) -> None:
    """Write that an erasure is proven, with the SHA-256 (hex) of its certificate. Again: nothing."""
    end_together([(erasure_id, certificate_sha256, now)])


def end_together(ended: Sequence[tuple[uuid.UUID, str, datetime]]) -> None:
    """Write that erasures are proven: the id of each, the SHA-256 (hex) of its certificate, and when. Again: nothing."""
    _add(*(Entry(ERASED, erasure_id, at, certificate=sha256) for erasure_id, sha256, at in ended))


def cancel(*, request_id: uuid.UUID, now: datetime) -> None:
    """Write that a deletion is not wanted any more, so that no restored database goes on with it. Again: nothing."""
    _add(Entry(CANCELED, request_id, now))


def read(*, thoroughly: bool = False) -> Ledger:
    """Return what all files of the folder say. ``thoroughly``: check every signature, not only the last of each file."""
    found = [_file(file, thoroughly=thoroughly) for file in _files()]
    by_phase: dict[str, dict[uuid.UUID, Entry]] = {BEGINS: {}, ERASED: {}, CANCELED: {}}
    for entries, _ in found:
        for each in entries:
            by_phase[each.phase].setdefault(each.about, each)
    problems = tuple(problem for _, problem in found if problem)
    return Ledger(
        by_phase[BEGINS],
        by_phase[ERASED],
        by_phase[CANCELED],
        len(found),
        sum(len(entries) for entries, _ in found),
        problems,
    )


def folder() -> Path:
    """Return where the ledger lies."""
    return settings().ledger


def statement(line: dict[str, Any]) -> bytes:
    """Return the bytes that a line signs: all of it but key and signature."""
    told = {name: value for name, value in line.items() if name not in ("public_key", "signature")}
    return f"{DOMAIN}\n".encode() + _canonical(told)


def _add(*entries: Entry) -> None:
    """Add those that no file has yet; every file is read once for all of them."""
    told = [_told(entry) for entry in entries]
    known = [file.read_bytes() for file in _files()] if told else []
    named = {key.decode() for raw in known for key in _KEY.findall(raw)}
    new = [each for each in told if each["key"] not in named or not any(_holds(raw, each["key"]) for raw in known)]
    if new:
        file, sign = folder() / _NAME.format(machine=_machine()), signing.signer()
        append_only.extend_together(file, [partial(_line, each, sign) for each in new])


def _line(told: dict[str, Any], sign: Callable[[bytes], tuple[str, str]], last: str | None) -> str:
    before = append_only.parsed(last)["number"] if last else 0
    line = told | {"number": before + 1, "previous": _digest(last)}
    public_key, signature = sign(statement(line))
    return _canonical(line | {"public_key": public_key, "signature": signature}).decode()


def _told(entry: Entry) -> dict[str, Any]:
    """An entry as plain data, without what is empty; ``key`` finds it again."""
    values = {
        "phase": entry.phase, "about": str(entry.about), "at": entry.at.astimezone(UTC).isoformat(),
        "until": entry.until.astimezone(UTC).isoformat() if entry.until else "", "request": str(entry.request or ""),
        "person": entry.person, "person_id": str(entry.person_id or ""), "forms": [str(each) for each in entry.forms],
        "hashes": list(entry.hashes), "certificate": entry.certificate,
    }  # fmt: skip
    return {name: value for name, value in values.items() if value} | {"key": f"{entry.about} {entry.phase}"}


def _entry(line: dict[str, Any]) -> Entry:
    def optional(name: str, make: Any) -> Any:
        return make(line[name]) if line.get(name) else None

    return Entry(
        line["phase"], uuid.UUID(line["about"]), datetime.fromisoformat(line["at"]), optional("until", datetime.fromisoformat),
        optional("request", uuid.UUID), line.get("person", ""), optional("person_id", uuid.UUID),
        tuple(uuid.UUID(each) for each in line.get("forms", ())), tuple(line.get("hashes", ())), line.get("certificate", ""),
    )  # fmt: skip


def _file(file: Path, *, thoroughly: bool) -> tuple[list[Entry], str]:
    """The entries of one file and what is wrong with it. Read again only when it has changed."""
    try:
        stamp = (file.stat().st_mtime_ns, file.stat().st_size)
        if not thoroughly and file in _cache and _cache[file][0] == stamp:
            return _cache[file][1]
        entries, problem = _entries(append_only.lines(file), thoroughly=thoroughly)
    except append_only.Unreadable as error:
        entries, problem = [], error.sentence
    except OSError as error:
        return [], f"{file.name}: it cannot be read ({error.strerror})."
    found = (entries, f"{file.name}: {problem}" if problem else "")
    _cache[file] = (stamp, found)
    return found


def _entries(lines: list[str], *, thoroughly: bool) -> tuple[list[Entry], str]:
    entries: list[Entry] = []
    before: str | None = None
    for number, raw in enumerate(lines, start=1):
        line = append_only.parsed(raw)
        if line.get("number") != number or line.get("previous") != _digest(before):
            return entries, f"line {number} does not follow from the one before."
        if (thoroughly or number == len(lines)) and not signing.is_ours(str(line.get("signature")), statement(line)):
            return entries, f"line {number} is not signed by our key."
        try:
            entries.append(_entry(line))
        except (KeyError, ValueError):
            return entries, f"line {number} is no entry."
        before = raw
    return entries, ""


def _files() -> Iterator[Path]:
    yield from sorted(folder().glob("erasures.*.jsonl"))


def _holds(raw: bytes, key: str) -> bool:
    """Whether a whole line has this key; what a loss of power left of one does not count."""
    needle = f'"key":"{key}"'.encode()
    place = raw.find(needle)
    ends = raw.find(b"\n", place)
    return place >= 0 and ends >= 0 and append_only.reads(raw[raw.rfind(b"\n", 0, place) + 1 : ends])


def _machine() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())


def _digest(line: str | None) -> str:
    return hashlib.sha256(line.encode()).hexdigest() if line else ""


def _canonical(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()
