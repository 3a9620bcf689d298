"""Retention on the screen: what is due when, the dry run, the alarm, the question, the runs."""

from datetime import UTC, datetime, timedelta

import pytest
from streamlit.testing.v1 import AppTest

from core import db, jobs
from core.privacy import retention_mail
from core.worker import Worker
from tests.core.privacy.house_of_erasures import Clock
from tests.core.privacy.house_of_requests import rows
from tests.pages.test_matrix import opened, words

pytestmark = pytest.mark.usefixtures("house")
JOBS = tuple(job for job in jobs.JOBS if job.kind == "retention")


def work() -> None:
    """Let the worker run every rule now, by the real clock that the pages read."""
    Worker(Clock(datetime.now(UTC)), JOBS).catch_up()


def table(app: AppTest, column: str, place: int = 0) -> list[object]:
    return list(app.dataframe[place].value[column])


def metrics(app: AppTest) -> dict[str, str]:
    return {each.label.split("] ")[-1]: each.value for each in app.metric}


@pytest.mark.parametrize("name", ["omar", "ada", "aiko"])
def test_every_rule_stands_there_with_its_period_and_when_it_is_due(name: str) -> None:
    work()
    app = opened(name, "retention")
    assert not app.exception
    shown = dict(zip(table(app, "Data"), table(app, "Period"), strict=True))
    assert shown["E-mail logs"] == "90 days"
    assert shown["Visitors"] == "12 months after the last contact *", "the policy leaves it open, and it is said"
    assert "notice at once" in shown["Lapsed subscriptions"]
    assert metrics(app)["Last run"] == "just now" and metrics(app)["Late, or waiting"] == "0"
    assert not app.error


def test_a_dry_run_counts_what_would_go_and_changes_nothing() -> None:
    app = opened("omar", "retention")
    before = rows("select count(*) from platform.email_log")[0][0]
    assert table(app, "Would go now")[0] == "–"
    app.button(key="dry").click().run()
    assert table(app, "Would go now")[0] == "3", "the three mails of the cast, 100 days old"
    assert "A run would take now" in words(app)
    assert rows("select count(*) from platform.email_log")[0][0] == before
    assert rows("select count(*) from privacy.retention_run") == [(0,)]
    work()
    assert rows("select (counts ->> 'rows')::int from privacy.retention_run where rule = 'e-mail logs'") == [(3,)]


def test_silence_for_26_hours_rings_on_the_page_and_on_today() -> None:
    with db.transaction("worker") as session:
        from sqlalchemy import text

        session.execute(text("insert into privacy.retention_run (id, rule, begun_at, tried_at, ended_at) values"
                             " (gen_random_uuid(), 'visitors', :at, :at, :at)"), {"at": datetime.now(UTC) - timedelta(hours=26, seconds=5)})  # fmt: skip
    for name in ("omar", "ada", "aiko"):
        assert "Retention has not run for 26 hours" in words(opened(name, "overview")), name
    assert any("has not run for 26 hours" in each.value for each in opened("aiko", "retention").error)
    work()
    assert not opened("omar", "retention").error
    assert "26 hours" not in words(opened("omar", "overview"))


def test_the_question_is_asked_and_answered_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention_mail, "UNUSUAL_ROWS", 1)
    work()
    app = opened("omar", "retention")
    assert "3 of 3 e-mail logs are past their period" in words(app)
    assert "Retention asks" in words(opened("omar", "overview"))
    assert "Erasures are stopped" not in words(opened("omar", "overview"))
    assert "are past their period. Is that right" not in words(opened("omar", "requests")), "it is not about erasures"
    app.button(key="answer_mail").click().run()
    assert not app.exception and "the others do not come back" in words(app)
    assert "waits" in [state[0] for state in table(opened("aiko", "retention"), "State")]


def test_runs_are_filtered_by_the_address_and_say_what_went() -> None:
    work()
    app = opened("aiko", "retention", view="runs", rule="e-mail logs")
    assert not app.exception
    assert set(table(app, "Rule")) == {"E-mail logs"}
    assert "3 rows" in table(app, "Went")[0]
    assert opened("aiko", "retention", view="runs", rule="nonsense").selectbox(key="rule_filter").value == "All rules"


def test_what_stays_comes_from_the_labels() -> None:
    app = opened("aiko", "retention", view="kept")
    assert any("payment" in str(each) for each in table(app, "Tables"))
    assert not app.exception


def test_nothing_ran_yet_says_what_to_do() -> None:
    app = opened("ada", "retention", view="runs")
    assert "python -m core worker" in words(app)
