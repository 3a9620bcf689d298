"""Columns of numbers as blocks of PostgreSQL's binary COPY: what makes a million made-up students affordable.

A text row costs Python about a microsecond a cell; here whole columns are laid into the block at once. Times are
microseconds and dates days since 2000-01-01 (UTC), as PostgreSQL itself counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
NUMERIC = (1, 0, 0, 0)  # one digit of base 10,000, weight, sign, scale


@dataclass(frozen=True)
class Cells:
    """One column: the length of each cell in bytes (-1: null) and the bytes of all cells, one after another."""

    lengths: Array
    content: Array


def ids(values: Array, present: Array | None = None) -> Cells:
    """UUIDs or other values of one width, given as rows of bytes."""
    rows = values if present is None else values[present]
    return Cells(_lengths(len(values), values.shape[1], present), rows.reshape(-1))


def numbers(values: Array, kind: str, present: Array | None = None) -> Cells:
    """``kind``: i2, i4 (also dates), i8 (also times), b1 (booleans)."""
    raw = values.astype(f">{kind}" if kind != "b1" else np.uint8)
    return ids(raw.view(np.uint8).reshape(len(values), raw.itemsize), present)


def numerics(values: Array, present: Array | None = None) -> Cells:
    """Whole numbers from 1 to 9,999 for a column of type ``numeric``."""
    parts = np.empty((len(values), 5), ">i2")
    parts[:, :4], parts[:, 4] = NUMERIC, values
    return ids(parts.view(np.uint8).reshape(len(values), 10), present)


def words(codes: Array, vocabulary: Sequence[str], present: Array | None = None) -> Cells:
    """Texts of a small vocabulary, by their places in it."""
    raw = [word.encode() for word in vocabulary]
    sizes = np.array([len(word) for word in raw], np.int64)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    chosen = codes if present is None else codes[present]
    places = _runs(starts[chosen], sizes[chosen])
    lengths = sizes[codes] if present is None else np.where(present, sizes[codes], -1)
    return Cells(lengths, np.frombuffer(b"".join(raw), np.uint8)[places])


def texts(values: Sequence[str | bytes | None]) -> Cells:
    """Any texts, or bytes."""
    raw = [value.encode() if isinstance(value, str) else value for value in values]
    lengths = np.fromiter((-1 if value is None else len(value) for value in raw), np.int64, len(raw))
    return Cells(lengths, np.frombuffer(b"".join(value for value in raw if value), np.uint8))


def block(columns: Sequence[Cells]) -> bytes:
    """Return the rows of these columns, without the header and the trailer of the whole COPY."""
    sizes = [np.maximum(column.lengths, 0) for column in columns]
    ends = np.cumsum(2 + sum(size + 4 for size in sizes))
    place = np.concatenate(([0], ends[:-1])) if len(ends) else ends
    buffer = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    _lay(buffer, place, np.full(len(place), len(columns), ">i2"))
    place = place + 2
    for column, size in zip(columns, sizes, strict=True):
        _lay(buffer, place, column.lengths.astype(">i4"))
        buffer[_runs(place + 4, size)] = column.content
        place = place + 4 + size
    return buffer.tobytes()


def _lay(buffer: Array, places: Array, values: Array) -> None:
    """Put one number of fixed width at each place."""
    raw = values.view(np.uint8).reshape(len(values), values.itemsize)
    for offset in range(raw.shape[1]):
        buffer[places + offset] = raw[:, offset]


def _runs(starts: Array, sizes: Array) -> Array:
    """The places start, start + 1, … of each run, one run after another."""
    behind = np.cumsum(sizes) - sizes
    return np.repeat(starts - behind, sizes) + np.arange(int(sizes.sum()))


def _lengths(many: int, width: int, present: Array | None) -> Array:
    return np.full(many, width) if present is None else np.where(present, width, -1)
