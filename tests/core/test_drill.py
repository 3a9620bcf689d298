"""The drill on a real database: every step told, only proof remains, nobody else is touched, and a fault ends it."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, text
from typer.testing import CliRunner

from core import db, drill
from core.cli import app
from core.errors import AdminError
from core.privacy import export_build, ledger, residue
from core.privacy.residue import Scan
from tests.core.privacy.house_of_erasures import bystander
from tests.core.privacy.house_of_requests import rows, waiting

__all__ = ["bystander"]
pytestmark = pytest.mark.usefixtures("house", "bystander")
STEPS = [
    "enrolled",
    "came of age",
    "exported",
    "closed",
    "waited",
    "erased",
    "verified",
    "certified",
    "kept out",
    "remains",
]


def people() -> list[tuple[object, ...]]:
    return rows("select id::text from platform.student union all select id::text from platform.visitor order by 1")


def test_the_command_tells_every_step_and_leaves_proof_only() -> None:
    mine = waiting()  # somebody whose deletion waits: the drill goes on with its own only
    before = people()
    done = CliRunner().invoke(app, ["drill"])
    assert done.exit_code == 0, done.output
    told = [line.split()[0] for line in done.output.splitlines()]
    assert [word for word in told if word != "The"][:4] == ["enrolled", "came", "exported", "closed"]
    assert "The drill went well." in done.output
    assert "drill-" not in done.output
    assert people() == before
    assert rows("select count(*) from privacy.erasure_certificate") == [(1,)]
    assert rows("select state from privacy.request where id = :id", id=mine.request_id) == [("waiting",)]
    assert rows("select max(at) <= now() + interval '5 minutes' from privacy.audit_event") == [(True,)], (
        "nothing lies in the future"
    )
    assert len(ledger.read(thoroughly=True).erased) == 1


def test_a_step_that_fails_ends_it(monkeypatch: pytest.MonkeyPatch, owner: Connection) -> None:
    found = residue.Finding("platform.program", "title", "x", "e-mail", True)
    monkeypatch.setattr(residue, "scan", lambda *a, **k: Scan(dict.fromkeys(k["batch"], (found,)), 1, 1, k["now"]))
    told = []
    with pytest.raises(drill.Failed, match="residue scan"):
        for step in drill.drill(clock=lambda: datetime.now(UTC)):
            told.append(step.what)
    assert told == STEPS[:5]
    assert owner.scalar(text("select count(*) from privacy.erasure_certificate")) == 0


def test_an_export_that_is_not_whole_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_build.Source, "_read", lambda *_: iter(()))
    with pytest.raises(AdminError, match="counted"):
        list(drill.drill(clock=lambda: datetime.now(UTC)))


def test_a_list_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch, owner: Connection) -> None:
    owner.execute(text("alter table platform.student disable trigger refuse_old_records"))
    owner.commit()
    with pytest.raises(drill.Failed, match="came in"):
        list(drill.drill(clock=lambda: datetime.now(UTC)))
    with db.transaction("worker") as session:
        assert session.scalar(text("select count(*) from platform.student where source = 'drill'")) == 0
