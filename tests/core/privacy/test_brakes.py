"""Brakes: many people at once and impossible clocks stop the eraser until an officer answers; the injected ``now`` never does."""

import uuid
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, timekeeping
from core.errors import BadInput, NotFresh, Refused
from core.privacy import brakes, erasure
from core.privacy_actions import Filed
from core.timekeeping import BACK, DIFFER, JUMPED, SILENT, Readings
from core.worker import Worker
from tests.cast import NOW
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.house_of_erasures import DUE, Clock, bystander, crowd, stores, waits, work
from tests.core.privacy.house_of_requests import DAY, HOUR, act, lines, row, rows, waiting

__all__ = ["bystander", "stores"]
pytestmark = pytest.mark.usefixtures("house", "bystander", "stores")


def go(filed: Filed, now: datetime = DUE) -> None:
    with db.transaction("worker") as session:
        erasure.go_on(session, request_id=filed.request_id, now=now)


def brake() -> tuple[uuid.UUID, str, int | None]:
    [found] = rows("select id, why, due from privacy.brake where answered_at is null")
    return found


def test_the_limit_is_twenty_or_two_percent() -> None:
    assert [brakes.limit(people) for people in (3, 1000, 1049, 1050, 5000)] == [20, 20, 20, 21, 100]


def test_twenty_go_and_the_twenty_first_asks(owner: Connection) -> None:
    filed = waiting()
    crowd(owner, 20)
    go(filed)
    assert (row(filed.request_id)["state"], waits(filed.request_id)) == ("waiting", ("many", ""))
    found = brake()
    assert found[1:] == ("many at once", 21)
    owner.execute(text("set session_replication_role = replica"))
    owner.execute(text("update privacy.request set grace_ends_at = :later where id = (select id from privacy.request"
                       " where source = 'crowd' limit 1)"), {"later": DUE + DAY})  # fmt: skip
    owner.commit()
    act("answer_brake", "olga", brake_id=found[0], confirmation="21", reason=brakes.REASONS[0], now=DUE)
    go(filed)
    assert row(filed.request_id)["state"] == "erasing"


def test_those_of_the_last_day_count_and_an_answer_is_for_as_many_as_were_asked(owner: Connection) -> None:
    filed = waiting()
    crowd(owner, 12)
    owner.execute(text("insert into privacy.erasure (id, request_id, kind, next_at, made_at, begun_at)"
                       " select gen_random_uuid(), id, 'student', :now, :now, :now from privacy.request where source = 'crowd'"
                       " order by id limit 10"), {"now": DUE - HOUR})  # fmt: skip
    owner.commit()
    go(filed)
    found = brake()
    assert found[2] == 23, "thirteen are due, ten went an hour ago"
    crowd(owner, 1, source="late")
    go(filed)
    assert brake() == (found[0], "many at once", 24), "the question counts on"
    given = {"brake_id": found[0], "reason": brakes.REASONS[0], "now": DUE}
    with pytest.raises(BadInput, match="Type 24"):
        act("answer_brake", "olga", confirmation="23", **given)
    act("answer_brake", "olga", confirmation="24", **given)
    crowd(owner, 1, source="later")
    go(filed)
    assert brake()[2] == 25, "one more than was let go on"
    go(filed, DUE + DAY)
    assert row(filed.request_id)["state"] == "waiting", "a question stands until it is answered"


def test_only_an_officer_who_just_proved_it_lets_it_go_on(owner: Connection) -> None:
    with db.transaction("worker") as session:
        brakes._raise(session, "clock", BACK, DUE)
        brakes._raise(session, "clock", BACK, DUE)
    found = brake()
    given = {"brake_id": found[0], "confirmation": "go on", "reason": brakes.REASONS[1]}
    for who in ("ada", "paula", "aiko"):
        with pytest.raises(Refused):
            act("answer_brake", who, now=DUE, **given)
    with pytest.raises(NotFresh):
        act("answer_brake", requests.staff("olga", now=DUE - HOUR), now=DUE, **given)
    with pytest.raises(BadInput, match="reason"):
        act("answer_brake", "olga", now=DUE, **(given | {"reason": "because"}))
    late, paula = requests.staff("olga", now=DUE - HOUR), requests.staff("paula", now=DUE)
    call = text("select privacy.answer_brake(:brake, 'x', :now, :now)")
    for who in (late, paula):
        with pytest.raises(DBAPIError), db.transaction(staff_id=who.id, session_id=who.session_id) as session:
            session.execute(call, {"brake": found[0], "now": DUE})
    act("answer_brake", "olga", now=DUE, **given)
    act("answer_brake", "olga", now=DUE, **given)
    assert lines().count("erasures let go on") == 1


@pytest.mark.parametrize("wrong", [DIFFER, BACK, JUMPED, SILENT])
def test_a_clock_that_cannot_be_right_stops_what_runs_too(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filed = waiting()
    go(filed)
    monkeypatch.setattr(timekeeping, "trouble", lambda _found: wrong)
    before = rows("select count(*) from privacy.erasure_evidence")
    work(DUE + HOUR)
    assert waits(filed.request_id) == ("clock", "") and rows("select count(*) from privacy.erasure_evidence") == before
    monkeypatch.setattr(timekeeping, "trouble", lambda _found: "")
    work(DUE + 2 * HOUR)
    if wrong == DIFFER:
        assert rows("select answer from privacy.brake") == [("passed",)], "two that agree again need nobody"
    else:
        act(
            "answer_brake",
            "olga",
            brake_id=brake()[0],
            confirmation="go on",
            reason=brakes.REASONS[1],
            now=DUE + 2 * HOUR,
        )
    work(DUE + 3 * HOUR)
    assert rows("select count(*) from privacy.erasure_evidence") > before


def test_a_heartbeat_from_the_future_asks_once(owner: Connection) -> None:
    owner.execute(
        text("insert into staff.worker_heartbeat values ('ahead', :now, clock_timestamp() + interval '40 days')"),
        {"now": NOW},
    )
    owner.commit()
    made = Worker(Clock(NOW), (), name="w")
    made.beat()
    found = brake()
    assert found[1] == BACK
    act("answer_brake", "olga", brake_id=found[0], confirmation="go on", reason=brakes.REASONS[1])
    for _ in range(2):
        made.beat()
    made.clock = Clock(NOW + 2 * DAY)
    made.beat()
    assert rows("select count(*) from privacy.brake where answered_at is null") == [(0,)]


def test_the_time_that_is_handed_in_is_never_judged() -> None:
    made = Worker(Clock(NOW), (), name="w")
    for day in (0, 40, -300, 4000):
        made.clock = Clock(NOW + timedelta(days=day))
        made.beat()
    assert rows("select count(*) from privacy.brake") == [(0,)]


def test_a_machine_that_is_an_hour_off_is_found_by_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    real = timekeeping.read

    def behind(session: object) -> Readings:
        found = real(session)  # type: ignore[arg-type]
        return Readings(found.machine - HOUR, found.database)

    monkeypatch.setattr(timekeeping, "read", behind)
    Worker(Clock(NOW), (), name="w").beat()
    assert brake()[1] == DIFFER
    assert lines().count("erasures stopped") == 1
