"""Files that only grow, one JSON object a line: the signed checkpoints of the audit, and the erasure ledger.

Danger: power fails in the middle of a line, and the next one is glued to its stump; or a line that was promised is still in the
memory of a machine that died. Principle: a line counts when it is whole and on the disk; a stump was promised to nobody and is
set aside, a line that cannot be read before others is damage and is told. Mechanism: an exclusive lock on the file, a look at its
end, one write, ``fsync`` of the file (and of its folder when it is new); a failed write is taken back. What was set aside stays
in ``<file>.torn``.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import AdminError

Compose = Callable[[str | None], str | None]
_BLOCK, _SEEN = 1 << 16, 3  # bytes read at once from the end, until this many lines end in them


class Unreadable(AdminError):
    """A file that only grows has a line that is not as it was written. ``line`` counts from 1."""


def lines(file: Path) -> list[str]:
    """Return the whole lines of a file, oldest first; none when it is not there. A stump at its end is left out.

    Raises Unreadable for a line in the middle that cannot be read.
    """
    if not file.exists():
        return []
    *whole, _stump = file.read_bytes().split(b"\n")
    if whole and not reads(whole[-1]):
        whole.pop()
    for number, line in enumerate(whole, start=1):
        if not reads(line):
            raise Unreadable(
                f"Line {number} of {file.name} cannot be read. Put a copy of the file back.",
                line=number,
                file=str(file),
            )
    return [line.decode() for line in whole]


def last(file: Path) -> str | None:
    """Return the last whole line of a file that grows for years: only its end is read."""
    if not file.exists():
        return None
    with file.open("rb") as opened:
        return _end(opened.fileno())[0]


def extend(file: Path, compose: Compose) -> str | None:
    """Add the line that ``compose`` makes of the last one (None: there is none), and return it once it is on the disk.

    Nobody else on this machine adds one meanwhile. When ``compose`` returns None nothing is added. Raises AdminError when
    the disk does not take it: then the file is as it was.
    """
    with _locked(file) as descriptor:
        before, whole = _end(descriptor)
        line = compose(before)
        _mend(file, descriptor, whole)
        if line is not None:
            _write(file, descriptor, whole, line)
        return line


def extend_together(file: Path, composers: Sequence[Compose]) -> list[str]:
    """Add a line for each of several, each made of the one before; they are on the disk together, with one ``fsync``, or not at all.

    Who returns None adds nothing. Raises AdminError when the disk does not take them: then the file is as it was.
    """
    with _locked(file) as descriptor:
        before, whole = _end(descriptor)
        added: list[str] = []
        for compose in composers:
            if (line := compose(added[-1] if added else before)) is not None:
                added.append(line)
        _mend(file, descriptor, whole)
        if added:
            _write(file, descriptor, whole, "\n".join(added))
        return added


@contextmanager
def _locked(file: Path) -> Iterator[int]:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = not file.exists()
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise AdminError(f"{file} cannot be written ({error.strerror}).", file=str(file)) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if new:
            _settle(file.parent)
        yield descriptor
    finally:
        os.close(descriptor)


def _settle(folder: Path) -> None:
    """A new name in a folder outlives a loss of power only when the folder was written too."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _end(descriptor: int) -> tuple[str | None, int]:
    """The last whole line, and where it ends: what follows is a stump."""
    start = size = os.fstat(descriptor).st_size
    tail = b""
    while start > 0 and tail.count(b"\n") < _SEEN:
        start = max(0, start - _BLOCK)
        tail = os.pread(descriptor, size - start, start)
    first, *known = tail.split(b"\n") if start else (b"", *tail.split(b"\n"))
    stump = len(known.pop()) if known else len(first)
    if known and not reads(known[-1]):
        stump += len(known.pop()) + 1
    if known and not reads(known[-1]):
        raise Unreadable("The end of the file cannot be read. Put a copy of it back.")
    return (known[-1].decode() if known else None), size - stump


def _mend(file: Path, descriptor: int, whole: int) -> None:
    """Set a stump aside and cut it off."""
    if stump := os.pread(descriptor, os.fstat(descriptor).st_size - whole, whole):
        with file.with_name(file.name + ".torn").open("ab") as aside:
            aside.write(stump.rstrip(b"\n") + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        os.ftruncate(descriptor, whole)


def _write(file: Path, descriptor: int, whole: int, line: str) -> None:
    raw = line.encode() + b"\n"
    try:
        if os.write(descriptor, raw) != len(raw):
            raise OSError("the disk is full")
        os.fsync(descriptor)
    except OSError as error:
        os.ftruncate(descriptor, whole)
        raise AdminError(
            f"{file} could not be written ({error.strerror or error}). Nothing was added; make room and try again.",
            file=str(file),
        ) from error


def parsed(line: str) -> dict[str, Any]:
    """Return a whole line as plain data."""
    return dict(json.loads(line))


def reads(raw: bytes) -> bool:
    """Return whether these bytes are one line as it was written: an object of JSON."""
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False
