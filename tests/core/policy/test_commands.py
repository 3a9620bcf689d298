"""``python -m core policy …`` as monitoring calls it: exit codes, text and JSON, and what it writes."""

import json
from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from core import cli
from core.errors import AdminError
from core.policy import judging
from core.policy.checks import CHECKS
from core.policy.evidence import Evidence, Link, State
from core.policy.promises import LEDGER, ledger_table
from tests.core.privacy.house_of_requests import rows

pytestmark = pytest.mark.usefixtures("house")


def run(*words: str) -> Result:
    return CliRunner().invoke(cli.app, ["policy", *words])


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every check answer "holds", but some."""

    def answer(state: State) -> Callable[[Session, datetime], Evidence]:
        return lambda _session, _now: Evidence(
            state, f"It is {state}.", {"rows": 3}, "select 3", (Link("List", "requests"),)
        )

    def let(**others: State) -> None:
        for promise in CHECKS:
            monkeypatch.setitem(CHECKS, promise, answer(others.get(promise.replace("-", "_"), State.HOLDS)))

    return let


def test_nothing_broken_ends_with_0(answers: Callable[..., None]) -> None:
    answers(RET_GRACE=State.AT_RISK, SEC_TLS=State.NOT_PROVEN)
    done = run("check")
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.output.splitlines() if line.strip()]
    told = {words[-4 if words[0] != "not" else 2]: words for words in lines if len(words) > 3}
    assert "RET-GRACE" in done.output and "at risk" in done.output and "not proven" in done.output
    assert sum(each.id in done.output for each in LEDGER) == len(LEDGER) == 39, told


def test_one_broken_promise_ends_with_an_error_that_counts(answers: Callable[..., None]) -> None:
    answers(RET_MAIL90=State.BROKEN, AGE_16=State.BROKEN)
    for words in (("check",), ("check", "--json")):
        done = run(*words)
        assert done.exit_code == 1
        assert isinstance(done.exception, AdminError) and "2 of 39 promises are broken" in done.exception.sentence


def test_json_is_one_document_with_all_evidence(answers: Callable[..., None]) -> None:
    answers(AGE_16=State.BROKEN)
    told = json.loads(run("check", "--json").stdout)
    assert datetime.fromisoformat(told["at"]).tzinfo is not None
    assert [each["promise"] for each in told["promises"]] == [each.id for each in LEDGER]
    age = next(each for each in told["promises"] if each["promise"] == "AGE-16")
    assert age["state"] == "broken" and age["clause"] == "9" and age["text"]
    here = age["evidence"][0]
    assert (here["state"], here["sentence"], here["figures"], here["query"]) == (
        "broken",
        "It is broken.",
        {"rows": 3},
        "select 3",
    )
    assert here["links"] == [{"words": "List", "page": "requests", "filters": {}}]
    assert {each["place"] for each in age["evidence"]} == {"dashboard", "platform"}


def test_it_writes_nothing_unless_told_to(answers: Callable[..., None], owner: Connection) -> None:
    answers()
    counted = "select (select count(*) from privacy.promise_state), (select count(*) from privacy.check_run)"
    run("check")
    run("check", "--json")
    assert rows(counted) == [(0, 0)]
    run("check", "--record")
    assert rows(counted) == [(39, 1)]


def test_a_check_that_crashes_is_not_proven_and_breaks_no_other(
    answers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers()

    def crash(session: Session, _now: datetime) -> Evidence:
        session.execute(text("select 1 / 0"))
        raise AssertionError

    monkeypatch.setitem(CHECKS, "SEC-TLS", crash)
    told = json.loads(run("check", "--json").stdout)
    states = {each["promise"]: each["evidence"][0] for each in told["promises"]}
    assert states["SEC-TLS"]["state"] == "not proven" and "DivisionByZero" in states["SEC-TLS"]["sentence"]
    assert {each["state"] for promise, each in states.items() if promise != "SEC-TLS"} == {"holds"}


def test_a_check_that_hangs_is_stopped(answers: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    answers()
    monkeypatch.setattr(judging, "SECONDS", 0.1)

    def hang(session: Session, _now: datetime) -> Evidence:
        session.execute(text("select pg_sleep(30)"))
        raise AssertionError

    monkeypatch.setitem(CHECKS, "SEC-TLS", hang)
    told = json.loads(run("check", "--json").stdout)
    stopped = next(each for each in told["promises"] if each["promise"] == "SEC-TLS")["evidence"][0]
    assert stopped["state"] == "not proven" and "QueryCanceled" in stopped["sentence"]


def test_without_a_policy_it_says_so(database: str) -> None:
    with pytest.raises(AdminError):
        done = run("check")
        if isinstance(done.exception, AdminError):
            raise done.exception


def test_the_ledger_is_the_table_of_the_docs() -> None:
    done = run("ledger")
    assert done.exit_code == 0 and done.output == ledger_table()
    assert done.output.count("\n") == 2 + len(LEDGER)
