"""Subscriptions that ended: told, closed after the notice's time, erased after grace; a renewal stops it at every step."""

import threading
import uuid
from datetime import UTC, date, datetime, time, timedelta

import pytest
from sqlalchemy import Connection, text

from core import db, jobs, queries
from core.privacy import brakes
from core.worker import Worker
from tests import cast
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_erasures import Clock, send_letters
from tests.core.privacy.house_of_requests import DAY, act, lines, rows

pytestmark = pytest.mark.usefixtures("house")
JOBS = tuple(
    job for job in jobs.JOBS if job.kind in ("retention", "accounts closed by students", "signs of life in grace")
)
RULE = "lapsed subscriptions"


@pytest.fixture(autouse=True)
def only_cleo_had_a_subscription(house: str) -> None:
    """One subscription that ended five days ago; nothing is open about her; Ben's runs."""
    with db.transaction("worker") as session:
        session.execute(text("delete from platform.subscription"))
        session.execute(text("delete from platform.usage_event"))
    subscribe("cleo", NOW.date() - 370 * DAY, NOW.date() - 5 * DAY)
    subscribe("ben", NOW.date() - 370 * DAY, None)


def subscribe(name: str, begins: date, ends: date | None) -> None:
    with db.transaction("worker") as session:
        session.execute(text("insert into platform.subscription (id, student_id, starts_on, ends_on, source)"
                             " values (gen_random_uuid(), :who, :begins, :ends, 'test')"),
                        {"who": id_of(name), "begins": begins, "ends": ends})  # fmt: skip


def work(now: datetime) -> dict[str, int]:
    """Let the worker do what is due; what came of the rule."""
    done = Worker(Clock(now), JOBS).catch_up()
    assert {each.became for each in done} <= {"done"}
    return dict(next((each.counts for each in done if each.key == RULE), {}))


def letters() -> list[tuple[str, str]]:
    return [tuple(each) for each in rows("select kind, state from privacy.outbox order by written_at, kind")]


def account(name: str = "cleo") -> str:
    return rows("select account_status from platform.student where id = :id", id=id_of(name))[0][0]


def closed() -> uuid.UUID:
    """Told, sent, and closed after its time; the request."""
    work(NOW)
    send_letters(NOW)
    assert work(NOW + 31 * DAY)["closed"] == 1
    return rows("select id from privacy.request where source = 'retention'")[0][0]


def test_who_lapsed_is_told_once_with_the_offer_of_an_export(owner: Connection) -> None:
    bystander = cast.snapshot(owner, "ben")
    assert work(NOW) == {"told": 1}
    assert work(NOW + DAY) == {}
    assert letters() == [("subscription ended", "waiting")]
    [(whose, subject, body)] = rows("select student_id, subject, body from privacy.outbox")
    assert whose == id_of("cleo") and "19 November 2026" in subject
    assert "copy of everything" in body and "30 days after this letter" in body and "{" not in body + subject
    owner.rollback()
    assert {**cast.snapshot(owner, "ben"), "email_log": []} == {**bystander, "email_log": []}


def test_the_letter_names_the_periods_of_the_policy_in_force(owner: Connection) -> None:
    owner.execute(text("set session_replication_role = replica"))  # a published version does not change
    shorter = '{"parameters": {"grace_days": 11, "lapse_notice_days": 17}}'
    owner.execute(
        text("update privacy.policy_version set document = document || jsonb_build_object('parameters',"
             " (document -> 'parameters') || (cast(:new as jsonb) -> 'parameters'))"), {"new": shorter})  # fmt: skip
    owner.commit()
    work(NOW)
    [(body,)] = rows("select body from privacy.outbox")
    assert "17 days after this letter. 11 days later everything is erased" in body and "30" not in body


def test_the_time_runs_from_the_day_the_notice_was_sent_and_not_before() -> None:
    work(NOW)
    work(NOW + 60 * DAY)
    assert account() == "open", "nobody sent the notice"
    send_letters(NOW + 60 * DAY)
    work(NOW + 90 * DAY - timedelta(hours=13))
    assert account() == "open"
    assert work(NOW + 91 * DAY) == {"closed": 1}
    assert account() == "closed"


def test_the_closing_is_a_deletion_by_rule_with_its_whole_grace() -> None:
    request = closed()
    at = NOW + 31 * DAY
    [row] = rows(
        "select state, student_id, account_closed_at, grace_ends_at, closed_at, identity from privacy.request where id = :r",
        r=request,
    )
    assert tuple(row) == ("waiting", id_of("cleo"), at, at + 30 * DAY, None, "not checked")
    assert rows("select rule from privacy.approval where request_id = :r", r=request)[0][0].startswith(
        "subscription ended"
    )
    assert rows("select privacy.is_approved(:r), privacy.closed_by_student(:r)", r=request) == [(True, False)]
    kinds = [kind for kind, _ in letters()]
    assert kinds == ["subscription ended", "reminder", "reminder", "subscription closing"]
    assert not any("as you asked" in body for (body,) in rows("select body from privacy.outbox"))
    assert lines().count("lapsed account closed") == 1
    work(at + DAY)
    assert len(rows("select id from privacy.request where source in ('retention', 'platform')")) == 1


def test_a_renewal_before_the_notice_leaves_takes_it_back() -> None:
    work(NOW)
    subscribe("cleo", NOW.date(), None)
    assert work(NOW + DAY) == {"renewed": 1}
    assert letters() == [("subscription ended", "canceled")]
    assert work(NOW + 90 * DAY) == {} and account() == "open"


def test_a_renewal_after_the_notice_is_answered_and_stops_the_closing() -> None:
    work(NOW)
    send_letters(NOW)
    subscribe("cleo", NOW.date() + DAY, NOW.date() + 400 * DAY)
    assert work(NOW + 31 * DAY) == {"renewed": 1}
    assert letters() == [("subscription ended", "sent"), ("subscription renewed", "waiting")]
    assert account() == "open"
    assert rows("select ended_as from privacy.lapse") == [("renewed",)]


def test_a_renewal_in_grace_opens_the_account_again() -> None:
    request = closed()
    subscribe("cleo", NOW.date() + 40 * DAY, NOW.date() + 400 * DAY)
    assert work(NOW + 41 * DAY)["renewed"] == 1
    assert account() == "open"
    assert rows("select state, outcome from privacy.request where id = :r", r=request) == [
        ("reactivated", "subscription renewed")
    ]
    assert {state for kind, state in letters() if kind in ("reminder", "subscription closing")} == {"canceled"}
    assert work(NOW + 42 * DAY) == {}


def test_an_open_request_is_answered_before_the_account_is_closed() -> None:
    work(NOW)
    send_letters(NOW)
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.request (id, kind, student_id, state, received_at, due_at, source)"
                             " values (gen_random_uuid(), 'export', :who, 'received', :now, :now, 'test')"),
                        {"who": id_of("cleo"), "now": NOW + DAY})  # fmt: skip
    assert work(NOW + 40 * DAY) == {} and account() == "open"


def test_who_never_had_a_subscription_or_closed_the_account_is_left_alone() -> None:
    with db.transaction("worker") as session:
        session.execute(text("delete from platform.subscription where student_id = :who"), {"who": id_of("cleo")})
    assert work(NOW) == {}
    subscribe("cleo", NOW.date() - 100 * DAY, NOW.date() - DAY)
    assert work(NOW + DAY) == {"told": 1}
    with db.transaction("worker") as session:
        session.execute(text("update platform.student set account_status = 'closed', closed_at = :now where id = :who"),
                        {"who": id_of("cleo"), "now": NOW + DAY})  # fmt: skip
    work(NOW + 2 * DAY)
    assert rows("select ended_as from privacy.lapse") == [("closed otherwise",)]


def test_many_at_once_are_a_question(owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brakes, "FEW", 0)
    assert work(NOW) == {} and letters() == []
    [(brake, kind, due, people)] = rows("select id, kind, due, people from privacy.brake")
    assert (kind, due, people) == ("lapses", 1, 3)
    act("answer_brake", "omar", brake_id=brake, confirmation="1", reason=brakes.REASONS[0])
    assert work(NOW + timedelta(minutes=2)) == {"told": 1}


def last_ones() -> list[tuple[date | None, bool]]:
    """Cleo's subscriptions by their end, and which are superseded."""
    return [tuple(each) for each in rows("select ends_on, superseded from platform.subscription where student_id = :id"
                                         " order by coalesce(ends_on, 'infinity'), superseded desc", id=id_of("cleo"))]  # fmt: skip


def test_the_last_subscription_of_each_is_known_however_they_come_and_go() -> None:
    today, cleo = NOW.date(), {"id": id_of("cleo")}
    first, second, third = today - 5 * DAY, today + 10 * DAY, None
    assert last_ones() == [(first, False)]
    subscribe("cleo", today - 30 * DAY, third)
    subscribe("cleo", today - 30 * DAY, second)
    assert last_ones() == [(first, True), (second, True), (third, False)]
    with db.transaction("worker") as session:
        session.execute(text("delete from platform.subscription where ends_on is null and student_id = :id"), cleo)
    assert last_ones() == [(first, True), (second, False)]
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.subscription set ends_on = ends_on - 20 where ends_on > :day and student_id = :id"),
            cleo | {"day": today},
        )
    assert last_ones() == [(second - 20 * DAY, True), (first, False)]
    subscribe("cleo", today - 370 * DAY, first)
    assert [superseded for _, superseded in last_ones()] == [True, True, False], "of two that end together, one"
    assert rows("select student_id, ended_on from privacy.lapsed(:today)", today=today) == [(cleo["id"], first)]
    with db.transaction("worker") as session:
        moved = text("update platform.subscription set student_id = :ben where student_id = :id and not superseded")
        session.execute(moved, cleo | {"ben": id_of("ben")})
    assert last_ones() == [(second - 20 * DAY, True), (first, False)], "what is left of hers has a last one again"
    assert rows(
        "select count(*) from platform.subscription where student_id = :ben and not superseded", ben=id_of("ben")
    ) == [(1,)]


def test_of_two_writers_at_once_the_second_one_sees_the_first() -> None:
    """One takes the last subscription away while another adds one before it: the new one is the last."""
    today, added = NOW.date(), threading.Event()
    subscribe("cleo", today, today + 90 * DAY)

    def add() -> None:
        subscribe("cleo", today, today + 30 * DAY)
        added.set()

    with db.transaction("worker") as session:
        session.execute(text("delete from platform.subscription where ends_on = :last"), {"last": today + 90 * DAY})
        writer = threading.Thread(target=add)
        writer.start()
        assert not added.wait(0.3), "it waits for the first one"
    writer.join()
    assert last_ones() == [(today - 5 * DAY, True), (today + 30 * DAY, False)]


def test_nobody_who_pays_is_taken_for_lapsed_although_the_mark_is_wrong(owner: Connection) -> None:
    subscribe("cleo", NOW.date(), None)
    owner.execute(text("set session_replication_role = replica"))
    owner.execute(text("update platform.subscription set superseded = false"))
    owner.commit()
    owner.execute(text("set session_replication_role = origin"))
    owner.commit()
    assert [each for _, each in last_ones()] == [False, False]
    assert work(NOW) == {} and letters() == []


def test_the_page_counts_to_a_limit_and_a_dry_run_to_the_end(owner: Connection) -> None:
    owner.execute(text("set session_replication_role = replica"))
    owner.execute(text("""
        with people as (insert into platform.student (id, name, email, registered_at, account_status, email_hash, provider_hash, source)
            select gen_random_uuid(), 'C' || n, n || '@crowd.example', :now, 'open', convert_to('c' || n, 'UTF8'), convert_to('c' || n, 'UTF8'),
                'crowd' from generate_series(1, 1010) n returning id)
        insert into platform.subscription (id, student_id, starts_on, ends_on, source)
        select gen_random_uuid(), id, :ended, :ended, 'crowd' from people"""), {"now": NOW, "ended": NOW.date() - 9 * DAY})  # fmt: skip
    owner.execute(text("set session_replication_role = origin"))
    owner.commit()
    with db.transaction("worker") as session:
        found, exact = (queries.retention(session, now=NOW, exact=each) for each in (False, True))
        asked = text("select due from privacy.retention_state(:now, 90, :now, 30, 30, false) where rule = :rule")
        assert session.scalar(asked, {"now": NOW, "rule": RULE}) == 1001
    assert (str(found.lapses.to_tell), str(exact.lapses.to_tell)) == ("1,000+", "1,011")
    ages = {each.oldest for told in (found, exact) for each in told.rules if each.rule.name == RULE}
    assert ages == {datetime.combine(NOW.date() - 9 * DAY, time(), UTC)}
