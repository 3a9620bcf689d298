"""Every promise has a check, every check a world in which it holds and one in which it turns red."""

from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from sqlalchemy import Connection, text

from core import db
from core.policy.checks import CHECKS
from core.policy.evidence import Evidence, State
from core.policy.promises import BY_ID, CLAUSES, LEDGER
from core.settings import settings
from tests.cast import NOW
from tests.core.policy.worlds import WORLDS, web_server


def test_the_ledger_is_complete() -> None:
    ids = [promise.id for promise in LEDGER]
    assert len(ids) == len(set(ids)) == 39
    assert set(CHECKS) == set(ids), "a promise without a check, or a check without a promise"
    assert set(WORLDS) == set(ids), "a check that nobody saw red"
    assert [promise.clause for promise in LEDGER] == sorted((p.clause for p in LEDGER), key=list(CLAUSES).index)
    assert {promise.clause for promise in LEDGER} == set(CLAUSES)


@pytest.fixture(autouse=True)
def surroundings(house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RESOCODE_MAIL_FROM", raising=False)
    monkeypatch.setenv("RESOCODE_ALERT_WEBHOOK", "http://127.0.0.1:9/alerts")
    yield
    (settings().home / "keys" / "weak.1.key").unlink(missing_ok=True)


def looked(promise: str) -> Evidence:
    with db.transaction("worker") as session:
        session.execute(text("set transaction read only"))
        return CHECKS[promise](session, NOW)


def make(world: object, owner: Connection, patch: pytest.MonkeyPatch) -> None:
    if callable(world):
        world(patch)
    elif world:
        owner.exec_driver_sql(f"set session_replication_role = replica; {world}")  # no trigger has a say
        owner.commit()


@pytest.mark.parametrize("promise", list(BY_ID))
def test_it_holds_and_turns_red(promise: str, owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    world = WORLDS[promise]
    with web_server(monkeypatch) if promise == "COO-ESSENTIAL" else nullcontext():
        make(world.holds, owner, monkeypatch)
        before = looked(promise)
        assert before.state is State.HOLDS, before
        make(world.breaks, owner, monkeypatch)
        after = looked(promise)
        assert after.state is State.BROKEN, after
        assert after.sentence.endswith(".")
        for name in ("Asha", "Ben ", "Cleo", "Vera", "example.org"):
            assert name not in f"{after.sentence}{dict(after.figures)}".replace("privacy@example.org", "")
