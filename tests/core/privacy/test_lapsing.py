"""Subscriptions that ended: told, closed after the notice's time, erased after grace; a renewal stops it at every step."""

import uuid
from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import Connection, text

from core import db, jobs
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
