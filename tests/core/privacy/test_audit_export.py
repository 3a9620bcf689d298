"""An exported audit proves itself from the file alone, and a changed one does not."""

import json
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from core.errors import AdminError
from core.privacy.audit_export import COLUMNS, verify_file
from tests.cast import email_of, id_of
from tests.core.privacy.test_audit import write
from tests.core.test_cli import run

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An export of ten lines, the first six of them signed."""
    write(6)
    run("audit", "checkpoint")
    write(4)
    made = tmp_path / "audit.jsonl"
    assert "10 lines" in run("audit", "export", str(made))
    return made


@pytest.fixture
def as_csv(file: Path) -> Path:
    """The same as CSV."""
    made = file.with_suffix(".csv")
    run("audit", "export", str(made))
    return made


def test_it_proves_itself_without_database_and_keys(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("RESOCODE_HOME", str(file.parent))
    told = run("audit", "verify", "--file", str(file))
    assert "10 lines, no gaps, 1 signed checkpoints" in told and "Signed by the key" in told
    assert file.stat().st_mode & 0o077 == 0


def test_a_filtered_export_proves_its_lines_and_tells_its_gaps(file: Path, owner: Connection) -> None:
    assert "1 lines" in run("audit", "export", str(file), "--action", "list exported", "--actor", "system")
    head = json.loads(file.read_text().splitlines()[0])
    assert head["filters"] == {"action": "list exported", "actor": "system"}
    run("audit", "export", str(file), "--actor", email_of("paula"), "--since", "2026-11-24", "--until", "2026-11-24")
    assert verify_file(file).lines == 10
    run("audit", "export", str(file), "--subject", str(id_of("asha")))
    assert verify_file(file).lines == 0


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("kind", ["file", "as_csv"])
def test_a_changed_cell_is_found(kind: str, column: str, request: pytest.FixtureRequest) -> None:
    made: Path = request.getfixturevalue(kind)
    lines = made.read_text().splitlines()
    value = json.loads(request.getfixturevalue("file").read_text().splitlines()[4])[column]
    changed = value[:-1] + ("2" if value[-1:] != "2" else "3") if column == "seq" else "0" + value
    whole = f'"{value}"' if column != "details" or kind == "file" else '"' + value.replace('"', '""') + '"'
    place = 4
    if kind == "file":
        row = json.loads(lines[place])
        row[column] = changed
        lines[place] = json.dumps(row, separators=(",", ":"))
    else:
        cells = whole.replace(value, changed, 1) if value else '"0"'
        parts = lines[place].split(",")
        index = COLUMNS.index(column)
        if column == "details":
            lines[place] = lines[place].replace('"{', '"0{', 1)
        else:
            index = index if index < 9 else index - len(COLUMNS) + len(parts)
            parts[index] = cells
            lines[place] = ",".join(parts)
    made.write_text("\n".join(lines) + "\n")
    assert verify_file(made).problem


def test_a_line_taken_out_is_a_gap_and_two_swapped_are_found(file: Path) -> None:
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:4], *lines[5:]]) + "\n")
    with pytest.raises(AdminError, match="cut short"):
        verify_file(file)
    file.write_text("\n".join([*lines[:4], lines[5], lines[4], *lines[6:]]) + "\n")
    assert "does not follow" in verify_file(file).problem


def test_a_forged_checkpoint_and_a_cut_file_are_found(file: Path) -> None:
    whole = file.read_text()
    file.write_text(whole.replace('"size":6', '"size":7'))
    assert "line 7 is not the one that was signed" in verify_file(file).problem
    file.write_text("\n".join(whole.splitlines()[:-1]) + "\n")
    with pytest.raises(AdminError, match="cut short"):
        verify_file(file)
    file.write_text("something else\n")
    with pytest.raises(AdminError, match="not an export"):
        verify_file(file)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("audit.txt",), "must end in"),
        (("a.csv", "--action", "drop table"), "no kind of line"),
        (("a.csv", "--subject", "asha"), "is no id"),
        (("a.csv", "--actor", "paula"), "e-mail address"),
        (("a.csv", "--actor", "nobody@staff.example"), "no account"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(words: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(AdminError, match=sentence):
        run("audit", "export", str(tmp_path / words[0]), *words[1:])


def test_it_is_recorded(file: Path, owner: Connection) -> None:
    written = owner.execute(text("select actor, details from privacy.audit_event where action = 'list exported'")).one()
    assert tuple(written) == ("system", '{"rows":10,"what":"audit"}')
