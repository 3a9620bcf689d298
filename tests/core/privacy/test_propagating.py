"""What has to follow elsewhere: carried out once it left, done with a proof only, canceled with what it followed from."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db, jobs
from core.privacy import erasure_steps, propagating
from core.processors import registry
from core.processors.manual import by_hand
from core.processors.protocol import Became, Change, Outcome, Person
from core.worker import Worker
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_erasures import Clock, Store
from tests.core.privacy.house_of_requests import DAY, HOUR, act, closed, lines, on, rows

pytestmark = pytest.mark.usefixtures("house")
PASSING = tuple(job for job in jobs.JOBS if job.kind == "propagations")
MINUTE = timedelta(minutes=1)


class Place(Store):
    """A processor that writes down what it is asked to change, and answers as the test says first."""

    def propagate(self, session: Session, person: Person, change: Change, *, now: Any) -> Outcome:
        self.changes = [*getattr(self, "changes", []), (person.id, change.what, dict(change.fields))]
        if self.faults:
            fault = self.faults.pop(0)
            if isinstance(fault, Exception):
                raise fault
            return fault
        return Outcome(Became.DONE, reference="op-7")


@pytest.fixture
def mongo(monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place("MongoDB Atlas", payload=("e-mail", "phone"))
    monkeypatch.setitem(registry._makers, "MongoDB Atlas", lambda: made)
    monkeypatch.setitem(registry._makers, "SMTP", lambda: None)
    return made


def work(now: Any = NOW) -> list[str]:
    return [outcome.became for outcome in Worker(Clock(now), PASSING, name="w").catch_up()]


def states(*columns: str) -> dict[str, Any]:
    names = ", ".join(columns or ("state",))
    found = rows(f"select what, {names} from privacy.propagation where state <> 'canceled' order by planned_at, what")
    return {each[0]: each[1] if len(each) == 2 else each[1:] for each in found}


def hands(state: str = "open") -> list[str]:
    return [each[0] for each in rows("select processor || ': ' || split_part(key, processor || ' ', 2) from privacy.manual_step"
                                     " where state = :s order by 1", s=state)]  # fmt: skip


def test_what_a_processor_can_is_done_by_it_and_the_rest_by_two_persons(mongo: Place) -> None:
    filed = closed()
    work()
    assert states("state", "proof") == {
        "marketing off": ("waiting", ""), "sign-in off": ("done", "answered"), "tokens revoked": ("done", "answered"),
    }  # fmt: skip
    asked = {(who, what): fields for who, what, fields in mongo.changes}
    assert set(asked) == {(id_of("cleo"), "sign-in off"), (id_of("cleo"), "tokens revoked")}
    assert set(asked[id_of("cleo"), "sign-in off"]) <= {"e-mail", "phone"}, "nothing that is not declared"
    assert hands() == ["SMTP: marketing off"]
    step = rows("select id from privacy.manual_step")[0][0]
    act("attest_manual_step", "omar", step_id=step, evidence="Taken off the list, ticket 7.")
    work(NOW + HOUR)
    assert states()["marketing off"] == "waiting", "one person's word is not a proof"
    act("confirm_manual_step", "olga", step_id=step)
    work(NOW + HOUR)
    assert states("state", "proof", "done_by")["marketing off"] == ("done", "by hand", id_of("olga"))
    assert lines(filed.request_id).count("step elsewhere confirmed") == 3


def test_a_call_leaves_only_after_a_commit_that_says_so(mongo: Place) -> None:
    closed()
    step = rows("select id from privacy.propagation where what = 'sign-in off'")[0][0]
    with db.transaction("worker") as session:
        assert propagating.pass_on(session, propagation_id=step, now=NOW) == {"called": 1, "more": 1}
    assert not hasattr(mongo, "changes") and states()["sign-in off"] == "called"
    work()
    assert states()["sign-in off"] == "done"


def test_what_does_not_go_through_waits_longer_each_time_and_is_asked_of_a_person_after_five_days(mongo: Place) -> None:
    closed()
    mongo.faults = [Outcome(Became.FAILED, error="no connection")] * 400
    now = NOW
    for _ in range(12):
        work(now)
        now += DAY / 2
        if now < NOW + 5 * DAY:
            assert not [each for each in hands() if "sign-in" in each], "too early"
    assert "MongoDB Atlas: sign-in off" in hands()
    state, attempts, error, next_at = states("state", "attempts", "error", "next_at")["sign-in off"]
    assert (state, error) == ("called", "no connection") and attempts >= 10
    assert next_at <= now, "it is still tried"
    mongo.faults = []
    work(now + HOUR)
    assert states("state", "proof")["sign-in off"] == ("done", "answered")
    assert "MongoDB Atlas: sign-in off" in hands("canceled"), "nobody needs to do it any more"


def test_pauses_double_up_to_an_hour_and_half_of_each_is_chance() -> None:
    for attempts, whole in ((1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (500, 60)):
        pauses = [erasure_steps.pause_after(attempts) / MINUTE for _ in range(80)]
        assert whole / 2 <= min(pauses) and max(pauses) <= whole
        assert max(pauses) - min(pauses) > whole / 8 and len(set(pauses)) > 10, "nobody comes back at the same moment"


def test_after_five_days_a_person_may_end_it_by_hand(mongo: Place) -> None:
    closed()
    mongo.faults = [Outcome(Became.WAITING, until=NOW + 6 * DAY, error="too many requests")] * 400
    work(NOW)
    assert states("next_at")["sign-in off"] == NOW + 6 * DAY, "as long as it asks for"
    work(NOW + 6 * DAY)
    key = "select id from privacy.manual_step where key like '%sign-in off'"
    act(
        "attest_manual_step",
        "omar",
        now=NOW + 6 * DAY,
        step_id=rows(key)[0][0],
        evidence="Switched off in the console.",
    )
    act("confirm_manual_step", "olga", now=NOW + 6 * DAY, step_id=rows(key)[0][0])
    work(NOW + 6 * DAY)
    assert states("state", "proof")["sign-in off"] == ("done", "by hand")


def test_an_unexpected_error_is_a_code_and_a_pause(mongo: Place) -> None:
    closed()
    mongo.faults = [ValueError("cleo@example.org is not known")] * 2
    work()
    state, error = states("state", "error")["sign-in off"]
    assert (state, error.startswith("F-"), "cleo" in error) == ("called", True, False)
    work(NOW + HOUR)
    assert states()["sign-in off"] == "done"


def test_a_configured_processor_that_cannot_asks_a_person(mongo: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    closed()
    monkeypatch.setattr(Place, "propagate", lambda self, session, person, change, *, now: by_hand(self.name, session, person, change, now=now))  # fmt: skip
    work()
    assert "MongoDB Atlas: sign-in off" in hands()


def test_reactivation_cancels_what_was_not_done_and_its_manual_steps(mongo: Place) -> None:
    filed = closed()
    work()
    act("reactivate_account", "omar", reason="closed by mistake", **on(filed))
    assert rows("select state from privacy.propagation where what = 'marketing off'") == [("canceled",)]
    assert hands("canceled") == ["SMTP: marketing off"] and hands() == []
    work(NOW + MINUTE)
    assert states() == {"marketing as before": "waiting", "sign-in off": "done", "sign-in on": "done", "tokens revoked": "done"}  # fmt: skip
    assert hands() == ["SMTP: marketing as before"], "a step of its own, whatever was confirmed before"


def test_what_concerns_somebody_who_was_erased_meanwhile_is_taken_back(
    mongo: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their erasure has asked every processor itself; nobody is left to be told about."""
    closed()
    work()
    assert hands() == ["SMTP: marketing off"]
    monkeypatch.setattr(propagating, "_person", lambda _session, _step: None)
    work(NOW + DAY + MINUTE)
    assert "marketing off" not in states() and hands() == [] and hands("canceled") == ["SMTP: marketing off"]


def test_the_newest_value_leaves_and_only_what_is_declared(mongo: Place, owner: Connection) -> None:
    filed = closed()
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.propagation (id, request_id, what, processor, planned_at)"
                             " values (gen_random_uuid(), :r, 'correct', 'MongoDB Atlas', :now)"), {"r": filed.request_id, "now": NOW})  # fmt: skip
        session.execute(text("update platform.student set email = 'new@example.org' where id = :id"), {"id": id_of("cleo")})  # fmt: skip
    work()
    assert (id_of("cleo"), "correct", {"e-mail": "new@example.org"}) in [
        (who, what, {"e-mail": fields["e-mail"]}) for who, what, fields in mongo.changes
    ]
    assert all(set(fields) <= {"e-mail", "phone"} for *_, fields in mongo.changes)


def test_the_database_takes_nobodys_word_for_it(mongo: Place) -> None:
    closed()
    step = rows("select id from privacy.propagation where what = 'sign-in off'")[0][0]
    done = "update privacy.propagation set state = 'done', done_at = now() {} where id = :id"
    for role, more, why in (
        ("app", "", "permission denied|only the worker|proof"),
        ("worker", ", proof = 'by hand'", "without a proof"),
        ("worker", ", proof = 'recorded'", "without a proof"),
        ("worker", "", "done_has_proof"),
    ):
        as_omar = {"staff_id": id_of("omar")} if role == "app" else {}
        with pytest.raises(DBAPIError, match=why), db.transaction(role, **as_omar) as session:
            session.execute(text(done.format(more)), {"id": step})
    work()
    with pytest.raises(DBAPIError, match="does not change"), db.transaction("worker") as session:
        session.execute(text("update privacy.propagation set state = 'planned', done_at = null, proof = '' where id = :id"), {"id": step})  # fmt: skip
    with pytest.raises(DBAPIError, match="still needs"), db.transaction("worker") as session:
        session.execute(text("update privacy.manual_step set state = 'canceled'"))
