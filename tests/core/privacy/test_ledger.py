"""The erasure ledger: names nobody, survives power failures and forgers, and is one for several machines."""

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core import keys
from core.errors import AdminError
from core.privacy import ledger
from tests.cast import NOW

ERASURE, REQUEST, PERSON = uuid.uuid4(), uuid.uuid4(), uuid.uuid4()
UNTIL = NOW + timedelta(days=1096)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("RESOCODE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RESOCODE_LEDGER", str(tmp_path / "ledger"))
    keys.create_missing()
    yield tmp_path / "ledger"


def begin(erasure: uuid.UUID = ERASURE) -> None:
    ledger.begin(erasure_id=erasure, request_id=REQUEST, person="student", person_id=PERSON, forms=[PERSON],
                 hashes=[b"\x01" * 32, b"\x02" * 32], until=UNTIL, now=NOW)  # fmt: skip


def only_file(place: Path) -> Path:
    (file,) = place.glob("*.jsonl")
    return file


def test_an_erasure_begins_and_ends_once_however_often_it_is_said(place: Path) -> None:
    for _ in range(2):
        begin()
        ledger.end(erasure_id=ERASURE, certificate_sha256="ab", now=NOW)
        ledger.cancel(request_id=REQUEST, now=NOW)
    found = ledger.read(thoroughly=True)
    assert (found.files, found.lines, found.problems) == (1, 3, ())
    known = found.begun[ERASURE]
    assert (known.request, known.person, known.person_id, known.forms, known.until) == (
        REQUEST,
        "student",
        PERSON,
        (PERSON,),
        UNTIL,
    )
    assert known.hashes == ("01" * 32, "02" * 32)
    assert (found.erased[ERASURE].certificate, set(found.canceled)) == ("ab", {REQUEST})
    assert only_file(place).stat().st_mode & 0o077 == 0


def test_what_may_be_forgotten_is_not_asked_of_a_database() -> None:
    begin()
    found = ledger.read()
    assert set(found.standing(UNTIL - timedelta(seconds=1))) == {ERASURE}
    assert found.standing(UNTIL) == {}


def test_a_line_that_was_torn_counts_as_never_written(place: Path) -> None:
    begin(uuid.uuid4())
    begin()
    file = only_file(place)
    first, second, _ = file.read_bytes().split(b"\n")
    for torn in (second[:-1], second + b"\x00\n", second):
        file.write_bytes(first + b"\n" + torn)
        assert set(ledger.read().begun) != {ERASURE} and ERASURE not in ledger.read().begun
        begin()
        found = ledger.read(thoroughly=True)
        assert (ERASURE in found.begun, found.lines, found.problems) == (True, 2, ())


@pytest.mark.parametrize("thoroughly", [True, False])
@pytest.mark.parametrize("name", ["change", "cut the middle", "swap", "forge the last", "another key"])
def test_whoever_changes_a_line_is_found(
    name: str, thoroughly: bool, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        begin(uuid.uuid4())
    file = only_file(place)
    lines = file.read_text().splitlines()
    if name == "change":
        lines[0] = lines[0].replace('"student"', '"visitor"')
    elif name == "cut the middle":
        del lines[1]
    elif name == "swap":
        lines[0], lines[1] = lines[1], lines[0]
    elif name == "forge the last":
        lines[2] = json.dumps(json.loads(lines[2]) | {"person": "visitor"})
    else:
        monkeypatch.setenv("RESOCODE_KEY_AUDIT", "1:" + "A" * 43 + "=")
    file.write_text("\n".join(lines) + "\n")
    (problem,) = ledger.read(thoroughly=thoroughly).problems
    assert file.name in problem


def test_machines_write_files_of_their_own_and_read_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin()
    monkeypatch.setattr(ledger.socket, "gethostname", lambda: "../second.example")
    ledger.end(erasure_id=ERASURE, certificate_sha256="ab", now=NOW)
    begin()  # known from the other machine
    found = ledger.read(thoroughly=True)
    assert (found.files, found.lines, found.problems) == (2, 2, ())
    assert {file.parent for file in place.rglob("*.jsonl")} == {place}


def test_a_place_that_cannot_be_written_is_said_before_anything_is_erased(place: Path) -> None:
    place.parent.joinpath("ledger").write_text("not a folder")
    with pytest.raises(AdminError, match="cannot be written"):
        begin()


def test_a_line_names_nobody(place: Path) -> None:
    begin()
    told = json.loads(only_file(place).read_text())
    assert set(told) == {"phase", "about", "at", "until", "request", "person", "person_id", "forms", "hashes", "key",
                         "number", "previous", "public_key", "signature"}  # fmt: skip


def test_a_second_reading_is_cheap(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin()
    ledger.read()
    monkeypatch.setattr(ledger, "_entries", lambda *_a, **_k: pytest.fail("read again although nothing changed"))
    assert set(ledger.read().begun) == {ERASURE}
