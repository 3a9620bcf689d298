"""What the worker watches: closings by students, signs of life, plans that changed, requests without an acknowledgement."""

import uuid
from datetime import datetime, timedelta

import pytest
from sqlalchemy import insert, text

from core import db, jobs, privacy_actions
from core.models.platform import UsageEvent
from core.privacy import grace
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import (
    DAY,
    act,
    approve,
    closed,
    file,
    lines,
    on,
    row,
    rows,
    verified,
    waiting,
)
from tests.core.privacy.test_deletion import add_to_plan

pytestmark = pytest.mark.usefixtures("house")

WATCHES = ("accounts closed by students", "signs of life in grace", "approved plans", "acknowledgements")


def work(now: datetime = NOW) -> dict[str, int]:
    """Do what is due, twice, as the workers would; return what was done by kind."""
    done: dict[str, int] = {}
    for _ in range(2):
        for job in jobs.JOBS:
            if job.kind in WATCHES:
                with db.transaction("worker") as session:
                    keys = list(job.due(session, now))
                for key in keys:
                    with db.transaction("worker") as session:
                        done[job.kind] = done.get(job.kind, 0) + sum(job.run(session, key, now).values())
    return {kind: many for kind, many in done.items() if many}


def close_on_platform(name: str, at: datetime) -> None:
    with db.transaction("worker") as session:
        shut = text("update platform.student set account_status = 'closed', closed_at = :at where id = :id")
        session.execute(shut, {"at": at, "id": id_of(name)})


def use_platform(name: str, at: datetime) -> None:
    with db.transaction("worker") as session:
        session.execute(
            text("select platform.make_months('usage_event', cast(:at as date), cast(:at as date))"), {"at": at}
        )
        session.execute(insert(UsageEvent).values(
            at=at, id=uuid.uuid4(), enrollment_id=id_of(f"{name} enrollment"), cohort_id=id_of("java"), kind="page", item="x",
            clicks=1, source="cast"))  # fmt: skip


def test_a_student_who_closes_the_account_is_a_deletion_approved_by_rule() -> None:
    close_on_platform("cleo", NOW - 2 * DAY)
    assert work()["accounts closed by students"] == 1
    [found] = [
        dict(zip(COLUMNS, each, strict=True))
        for each in rows(f"select {', '.join(COLUMNS)} from privacy.request where kind = 'delete'")
    ]
    assert found == {"state": "waiting", "channel": "platform", "requester": "subject", "student_id": id_of("cleo"),
                     "filed_by": None, "received_at": NOW - 2 * DAY, "account_closed_at": NOW - 2 * DAY,
                     "grace_ends_at": NOW + 28 * DAY, "answered_at": NOW, "identity": "confirmed"}  # fmt: skip
    assert rows("select staff_id, rule from privacy.approval") == [(None, grace.CLOSED_BY_STUDENT)]
    assert rows("select kind, not_before from privacy.outbox where state = 'waiting' and kind <> 'acknowledgement' order by 2") == [
        ("closing", NOW), ("reminder", NOW + 21 * DAY), ("reminder", NOW + 27 * DAY)]  # fmt: skip
    assert lines().count("closing found") == 1


COLUMNS = ("state", "channel", "requester", "student_id", "filed_by", "received_at", "account_closed_at", "grace_ends_at",
           "answered_at", "identity")  # fmt: skip


def test_a_closing_long_ago_is_found_without_letters_about_a_past_day() -> None:
    close_on_platform("cleo", NOW - 31 * DAY)
    assert work()["accounts closed by students"] == 1
    assert rows("select count(*) from privacy.outbox where kind <> 'acknowledgement'") == [(0,)]


def test_a_closing_that_was_asked_for_here_is_not_found_again() -> None:
    closed()
    filed = verified(email="vera@visitors.example")
    assert "accounts closed by students" not in work()
    assert row(filed.request_id)["state"] == "verified"


def test_a_student_who_reactivates_on_the_platform_ends_the_deletion() -> None:
    filed = waiting()
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set account_status = 'open', closed_at = null where id = :id"),
            {"id": id_of("cleo")},
        )
    assert work(NOW + 10 * DAY)["signs of life in grace"] == 1
    found = row(filed.request_id)
    assert (found["state"], found["outcome"], found["changed_by"]) == (
        "reactivated",
        "reactivated on the platform",
        None,
    )
    assert rows("select kind from privacy.outbox where state = 'waiting' and kind = 'reminder'") == []
    assert lines(filed.request_id)[-1] == "account reactivated"


def test_a_sign_in_during_grace_sends_the_deletion_back_to_people_once() -> None:
    filed = waiting()
    use_platform("cleo", NOW + timedelta(hours=3))
    assert "signs of life in grace" not in work(NOW + DAY), "the day of the closing itself tells nothing"
    use_platform("cleo", NOW + 2 * DAY)
    assert work(NOW + 3 * DAY)["signs of life in grace"] == 1
    assert row(filed.request_id)["state"] == "to approve"
    assert ("note", grace.SIGNED_IN) in rows("select what, body from privacy.request_text")
    approve(filed, "olga", now=NOW + 4 * DAY)
    assert "signs of life in grace" not in work(NOW + 5 * DAY), "somebody has looked at that"
    use_platform("cleo", NOW + 6 * DAY)
    assert work(NOW + 7 * DAY)["signs of life in grace"] == 1


def test_a_student_who_becomes_staff_during_grace_cannot_decide_about_it() -> None:
    filed = closed(by="omar")
    with db.transaction("worker") as session:
        cleo = uuid.uuid4()
        hire = text(
            "insert into staff.staff_member (id, email, name, role, created_at, totp_since) values (:id, 'Cleo@students.example', 'Cleo', 'privacy_officer', :now, :now)"
        )
        session.execute(hire, {"id": cleo, "now": NOW})
    from tests.core.privacy import house_of_requests as requests

    by = requests.staff("oskar")
    with db.transaction("worker") as session:
        session.execute(
            text("update staff.session set staff_id = :id where id = :session"), {"id": cleo, "session": by.session_id}
        )
    own = privacy_actions.Staff(**{**by.__dict__, "id": cleo})
    shown = act("open_plan", own, request_id=filed.request_id)
    given = {"fingerprint": shown.fingerprint, "confirmation": filed.number, "reason": "plan is right"}
    with pytest.raises(Exception, match="your own record"):
        act("approve_deletion", own, **given, **on(filed))
    with pytest.raises(Exception, match="your own record"):
        act("reactivate_account", own, reason="closed by mistake", **on(filed))
    approve(filed, "olga")


def test_an_approved_plan_that_changed_goes_back_to_approval(monkeypatch: pytest.MonkeyPatch) -> None:
    filed = waiting()
    assert "approved plans" not in work()
    add_to_plan(monkeypatch, "platform.new_table")
    assert work(NOW + DAY)["approved plans"] == 1
    found = row(filed.request_id)
    assert (found["state"], found["grace_ends_at"]) == ("to approve", NOW + 30 * DAY)
    assert lines(filed.request_id).count("plan changed") == 1
    assert approve(filed, "olga", now=NOW + 2 * DAY).state == "waiting"


def test_everybody_known_is_told_once_that_we_have_their_request() -> None:
    told, unknown = file("access"), file("export", name="Somebody")
    answered = verified("opt_out")
    act("answer_request", "omar", outcome="done by hand", evidence="x", **on(answered))
    assert work()["acknowledgements"] == 1
    assert rows("select request_id, address, kind from privacy.outbox where kind = 'acknowledgement'") == [
        (told.request_id, "cleo@students.example", "acknowledgement")
    ]
    act("link_subject", "omar", email="vera@visitors.example", **on(unknown))
    assert work()["acknowledgements"] == 1


def test_the_watches_are_jobs_of_the_worker() -> None:
    assert {job.kind for job in jobs.JOBS} >= {*WATCHES, "letters by mail"}


def hold_enrollments() -> tuple[uuid.UUID, str]:
    key = uuid.uuid4()
    number = act("place_hold", "oskar", student_id=id_of("cleo"), table="platform.enrollment", basis="court proceedings",
                 reference="C 1/26", review_on=(NOW + 60 * DAY).date(), form_key=key)  # fmt: skip
    return rows("select id from privacy.legal_hold where form_key = :key", key=key)[0][0], number


def test_a_hold_that_comes_or_goes_sends_an_approved_deletion_back_to_people() -> None:
    filed = waiting()
    before = row(filed.request_id)["plan_fingerprint"]
    hold, number = hold_enrollments()
    assert work(NOW + DAY)["approved plans"] == 1
    held = row(filed.request_id)
    assert (held["state"], held["plan_fingerprint"] != before) == ("to approve", True)
    assert approve(filed, "olga", now=NOW + 2 * DAY).state == "waiting", "what is not held can go"
    act("release_hold", "oskar", now=NOW + 2 * DAY, hold_id=hold, confirmation=number, reason="proceedings ended")
    assert work(NOW + 3 * DAY)["approved plans"] == 1
    assert row(filed.request_id)["plan_fingerprint"] == before, "the plan is what it was before the hold"
    assert approve(filed, "olga", now=NOW + 3 * DAY).state == "waiting"


def test_a_person_under_a_hold_can_ask_be_closed_and_be_reactivated() -> None:
    hold_enrollments()
    filed = closed()
    shown = act("open_plan", "olga", request_id=filed.request_id)
    assert [each["table"] for each in shown.document["rows"] if each["action"] == "hold"] == ["platform.enrollment"]
    assert act("reactivate_account", "omar", reason="closed by mistake", **on(filed)).state == "reactivated"
