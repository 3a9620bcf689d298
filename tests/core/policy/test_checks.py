"""Every promise has a check, every check a world in which it holds and one in which it turns red."""

from collections.abc import Iterator
from contextlib import nullcontext
from statistics import NormalDist

import pytest
from sqlalchemy import Connection, text

from core import db
from core.policy.checks import CHECKS, probing
from core.policy.evidence import Evidence, State
from core.policy.promises import BY_ID, CLAUSES, LEDGER
from core.privacy import letters, mail_kinds
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


def test_mail_that_is_allowed_is_all_that_can_be_sent_and_no_list_of_its_own() -> None:
    """Whatever the product itself writes is allowed, and no kind of mail that it does not know."""
    assert set(letters.KINDS) == mail_kinds.REQUEST_LETTERS
    assert set(letters.WORDINGS) <= mail_kinds.allowed()
    assert mail_kinds.allowed() == mail_kinds.OF_PLATFORM | set(letters.WORDINGS)
    assert not {kind for kind in mail_kinds.allowed() if "news" in kind or "market" in kind or "offer" in kind}


@pytest.mark.parametrize("kind", ["closing", "age question", "policy notice", "enrollment confirmation"])
def test_every_letter_of_ours_keeps_the_promise_about_mail(kind: str, owner: Connection) -> None:
    make(f"update platform.email_log set kind = '{kind}'", owner, pytest.MonkeyPatch())
    assert looked("USE-MAIL").state is State.HOLDS


def test_anonymized_figures_say_what_an_attack_gets_at_most(owner: Connection) -> None:
    """As the noise of the cast has it: what one account spent so far is mu² = the ledger's total."""
    told = looked("RET-ANON")
    spent = float(owner.scalar(text("select max(total) from anon.ledger")) or 0)
    best = NormalDist().cdf(spent**0.5 / 2)
    assert told.figures["best guess whether one account is in them (by chance 50 %)"] == f"{best:.0%}" and best > 0.5
    assert f"{best:.0%}" in told.sentence
    assert (
        told.figures["most that two ways to one figure differ"] == "0.0"
        and told.figures["ways to one figure that were compared"] != 0
    )
    make("update anon.ledger set total = 9", owner, pytest.MonkeyPatch())
    assert looked("RET-ANON").figures["members found at best, with 1 % false alarms"] == "75.0%"


def test_a_figure_without_noise_breaks_the_promise(owner: Connection) -> None:
    make("update anon.cell set se = 0 where ctid = (select min(ctid) from anon.cell)", owner, pytest.MonkeyPatch())
    told = looked("RET-ANON")
    assert told.state is State.BROKEN


def test_of_a_large_table_rows_are_drawn_and_a_loosened_policy_is_found(
    owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "SMALL", -1)
    make(WORLDS["SEC-ACCESS"].holds, owner, monkeypatch)
    before = looked("SEC-ACCESS")
    assert before.state is State.HOLDS and before.figures["tables of which rows were drawn"] != 0, before
    make(WORLDS["SEC-ACCESS"].breaks, owner, monkeypatch)
    after = looked("SEC-ACCESS")
    assert after.state is State.BROKEN and "platform.student" in after.sentence


def test_a_policy_that_asks_nobody_is_found_without_reading_a_row(owner: Connection) -> None:
    make(
        "create policy everybody on platform.payment for select to resocode_app using (amount_cents > 0)",
        owner,
        pytest.MonkeyPatch(),
    )
    after = looked("SEC-ACCESS")
    assert after.state is State.BROKEN and "everybody on platform.payment" in after.sentence
