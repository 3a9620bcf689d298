"""Where the database is, asked by every transaction."""

import json
from pathlib import Path

import pytest

from core import db


def test_passwords_of_the_home_are_made_once_and_read_anew_when_they_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESOCODE_HOME", str(folder))
    made = db._passwords()
    assert {"resocode_app", "resocode_worker", "resocode_owner"} <= set(made)
    assert db._passwords() == made == json.loads((folder / "roles.json").read_text())
    (folder / "roles.json").write_text(
        json.dumps({"resocode_app": "that of a backup"})
    )  # restored under a running process
    assert db._passwords() == {"resocode_app": "that of a backup"}
