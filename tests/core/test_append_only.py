"""Files that only grow: whole lines only, whatever the power, the disk and the neighbors do."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core import append_only
from core.append_only import Unreadable, extend, last, lines
from core.errors import AdminError


def number(line: str | None) -> int:
    return int(json.loads(line)["n"]) if line else 0


def add(file: Path, *, padding: int = 0) -> str | None:
    return extend(file, lambda before: json.dumps({"n": number(before) + 1, "x": "x" * padding}))


def numbers(file: Path) -> list[int]:
    return [number(line) for line in lines(file)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "log.jsonl"


def test_lines_come_back_in_their_order_and_only_the_owner_reads_them(file: Path) -> None:
    assert (lines(file), last(file)) == ([], None)
    for _ in range(3):
        add(file)
    assert numbers(file) == [1, 2, 3]
    assert number(last(file)) == 3
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("stump", [b'{"n": 4', b"\x00\x00\x00\x00\n", b"{", b'{"n": 4}', b"[1]\n", "{“".encode()[:-1]])
def test_a_torn_last_line_is_set_aside_and_does_not_hold_up_the_next(file: Path, stump: bytes) -> None:
    for _ in range(3):
        add(file)
    with file.open("ab") as opened:
        opened.write(stump)
    assert numbers(file) == [1, 2, 3]
    assert number(last(file)) == 3
    add(file)
    assert numbers(file) == [1, 2, 3, 4]
    assert stump.rstrip(b"\n") in file.with_name("log.jsonl.torn").read_bytes()


def test_a_first_line_that_was_torn_leaves_an_empty_file(file: Path) -> None:
    file.parent.mkdir()
    file.write_bytes(b'{"n"')
    assert add(file) == '{"n": 1, "x": ""}'
    assert numbers(file) == [1]


@pytest.mark.parametrize("padding", [1, 30_000, 70_000, 200_000])
def test_long_lines_are_found_from_the_end(file: Path, padding: int) -> None:
    for _ in range(4):
        add(file, padding=padding)
    assert number(last(file)) == 4
    with file.open("ab") as opened:
        opened.write(b'{"torn' + b"x" * padding)
    assert number(last(file)) == 4
    add(file)
    assert numbers(file) == [1, 2, 3, 4, 5]


def test_damage_in_the_middle_is_told_and_nothing_is_added(file: Path) -> None:
    for _ in range(3):
        add(file)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'{"n": 2', b'\x00"n": 2'))
    with pytest.raises(Unreadable, match="Line 2"):
        lines(file)
    file.write_bytes(whole + b"bad\nworse\n")
    with pytest.raises(Unreadable):
        add(file)
    assert file.read_bytes() == whole + b"bad\nworse\n"


def test_a_full_disk_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(file)
    before, write = file.read_bytes(), os.write

    def half(descriptor: int, raw: bytes) -> int:
        write(descriptor, raw[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(AdminError, match="No space left"):
        add(file)
    assert file.read_bytes() == before


def test_a_line_is_on_the_disk_before_it_counts(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    monkeypatch.setattr(append_only.os, "fsync", lambda descriptor: written.append(os.fstat(descriptor).st_ino))
    add(file)
    assert {file.stat().st_ino, file.parent.stat().st_ino} <= set(written)


def test_writers_at_once_neither_lose_nor_glue_lines(file: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: add(file), range(80)))
    assert numbers(file) == list(range(1, 81))
