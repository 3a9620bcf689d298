"""The eraser: what is due is begun once, goes step by step, and is over when it is proven; and what it waits for."""

import os
import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db, privacy_actions
from core.errors import BadInput, Refused
from core.privacy import erasure, proving
from core.processors.local import Local
from core.processors.protocol import Became, Order, Outcome
from tests.cast import NOW, email_of, id_of
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.house_of_erasures import (
    DUE,
    PROCESSORS,
    Store,
    bystander,
    erased,
    every_store,
    send_letters,
    steps,
    stores,
    waits,
    work,
)
from tests.core.privacy.house_of_requests import (
    DAY,
    HOUR,
    act,
    approve,
    closed,
    file,
    lines,
    no_file,
    on,
    row,
    rows,
    waiting,
)
from tests.core.privacy.test_grace import close_on_platform, use_platform
from tests.core.privacy.test_grace import work as watch

__all__ = ["bystander", "every_store", "stores"]
pytestmark = pytest.mark.usefixtures("house", "bystander", "stores")

MICRO = timedelta(microseconds=1)
FULL = os.environ.get("RESOCODE_TEST_FULL") == "1"
ALL = dict.fromkeys((*PROCESSORS, "last letter", "this database", *proving.STEPS.values()), "proven")


def there(name: str = "cleo") -> int:
    """How many rows of platform and privacy still lead to somebody: their own, their enrollments, their e-mail log."""
    return int(rows("select (select count(*) from platform.student where id = :id) + (select count(*) from platform.enrollment"
                    " where student_id = :id) + (select count(*) from platform.email_log where student_id = :id)"
                    " + (select count(*) from platform.visitor where id = :id)", id=id_of(name))[0][0])  # fmt: skip


def hold(table: str | None = None, *, now: datetime = DUE, name: str = "cleo") -> tuple[uuid.UUID, str]:
    key = uuid.uuid4()
    number = act("place_hold", "oskar", now=now, student_id=id_of(name), table=table, basis="court proceedings", reference="C 1/26",
                 review_on=(now + 60 * DAY).date(), form_key=key)  # fmt: skip
    return rows("select id from privacy.legal_hold where form_key = :key", key=key)[0][0], number


def let_go(held: tuple[uuid.UUID, str], *, now: datetime) -> None:
    act("release_hold", "oskar", now=now, hold_id=held[0], confirmation=held[1], reason="proceedings ended")


def begin(now: datetime = DUE, **more: object) -> requests.Filed:
    """A deletion that has begun: one part."""
    filed = waiting(**more)
    go(filed, now)
    assert row(filed.request_id)["state"] == "erasing"
    return filed


def go(filed: requests.Filed, now: datetime = DUE) -> dict[str, int]:
    """One part, as a worker does it."""
    with db.transaction("worker") as session:
        return erasure.go_on(session, request_id=filed.request_id, now=now)


def test_a_student_past_grace_is_erased_and_proven(every_store: dict[str, Store]) -> None:
    filed = waiting()
    assert erased(filed.request_id)
    assert steps(filed.request_id) == ALL
    assert there() == 0
    assert all(id_of("cleo") not in store.holds and id_of("ben") in store.holds for store in every_store.values())
    found = row(filed.request_id)
    assert (found["state"], found["outcome"], found["student_id"]) == ("erased", "erased", None)
    assert rows("select person_id, email_hash, forms, traces, waits_for, finished_at is not null from privacy.erasure") == [
        (None, None, None, None, None, True)]  # fmt: skip
    assert lines(filed.request_id)[-10:] == [
        "erasure begun",
        *["erasure step proven"] * 7,
        "erasure certified",
        "erasure ended",
    ]
    what = [each[0] for each in rows("select what from privacy.erasure_evidence order by at, id")]
    assert (what.count("asked"), what.count("answered"), what.count("looked")) == (6, 7, 10)
    assert {store.calls[-1] for store in every_store.values()} == {"verify"}, "reading back is the last word"


@pytest.mark.parametrize("late", [-MICRO, timedelta(), MICRO], ids=str)
def test_not_a_microsecond_before_thirty_days(late: timedelta) -> None:
    filed = waiting()
    assert work(DUE + late) == ([] if late < timedelta() else ["done"])
    assert row(filed.request_id)["state"] == ("waiting" if late < timedelta() else "erasing")
    assert there() == 3


def test_the_database_does_not_believe_the_eraser_either() -> None:
    filed = waiting()
    move = text("update privacy.request set state = 'erasing', moved_at = :at where id = :id")
    with pytest.raises(DBAPIError, match="grace period has not ended"), db.transaction("worker") as session:
        session.execute(move, {"at": DUE - MICRO, "id": filed.request_id})
    with db.transaction("worker") as session:
        session.execute(text("update staff.staff_member set role = 'mentor' where name = 'Olga'"))
    with pytest.raises(DBAPIError, match="not approved"), db.transaction("worker") as session:
        session.execute(move, {"at": DUE, "id": filed.request_id})


def test_an_early_deletion_runs_at_once_with_two_approvals() -> None:
    filed = closed()
    act("ask_early", "omar", words="At once, please.", **on(filed))
    approve(filed, "olga")
    assert work(NOW + HOUR) == []
    approve(filed, "oskar", now=NOW + HOUR)
    assert erased(filed.request_id, NOW + HOUR)


def test_an_account_closed_on_the_platform_is_erased_by_rule() -> None:
    close_on_platform("cleo", NOW - 40 * DAY)
    watch()
    [(request_id,)] = rows("select id from privacy.request where kind = 'delete'")
    assert erased(request_id, NOW)


def test_a_visitor_is_erased_with_every_form_of_theirs() -> None:
    filed = waiting(email="vera@visitors.example")
    assert erased(filed.request_id, NOW)
    assert (there("vera"), there("viktor")) == (0, 1)


def test_nothing_begins_without_the_approval_of_this_round() -> None:
    filed = waiting()
    with db.transaction("worker") as session:
        privacy_actions.disable_staff(session, email=email_of("olga"), now=NOW)
    assert work() == ["done"]
    assert (row(filed.request_id)["state"], lines(filed.request_id)[-1]) == ("to approve", "approval fell away")
    approve(filed, "oskar", now=DUE)
    assert erased(filed.request_id)


def test_a_sign_of_life_in_the_last_minute_goes_back_to_people() -> None:
    filed = waiting()
    use_platform("cleo", NOW + 29 * DAY)
    work()
    assert (row(filed.request_id)["state"], there()) == ("to approve", 3)


def test_another_request_is_answered_first() -> None:
    other, filed = file("access"), waiting()
    work()
    assert (row(filed.request_id)["state"], waits(filed.request_id)) == ("waiting", ("request", other.number))
    act("record_identity", "omar", now=DUE, method="known in person", confirmed=True, **on(other))
    act("answer_request", "omar", now=DUE, outcome="sent by hand", evidence="x", **on(no_file(other)))
    assert erased(filed.request_id, DUE + HOUR)


def test_two_deletions_of_one_person_do_not_wait_for_each_other(owner: Connection) -> None:
    owner.execute(text("update platform.visitor set email_hash = (select email_hash from platform.student where id = :cleo)"
                       " where id = :vera"), {"cleo": id_of("cleo"), "vera": id_of("vera")})  # fmt: skip
    owner.commit()
    student, form = waiting(), waiting(visitor_id=id_of("vera"))
    work()
    assert waits(student.request_id) == ("request", form.number)
    assert erased(form.request_id) and erased(student.request_id, DUE + DAY)


def test_an_audit_that_does_not_verify_stops_it(owner: Connection) -> None:
    filed = waiting()
    owner.execute(text("update privacy.audit_check set problem = 'cut'"))
    owner.commit()
    work()
    assert (row(filed.request_id)["state"], waits(filed.request_id)) == ("waiting", ("audit", ""))


def test_everything_held_does_not_begin_and_goes_on_by_itself() -> None:
    held = hold(now=NOW)
    filed = waiting()
    work()
    assert (row(filed.request_id)["state"], waits(filed.request_id)) == ("waiting", ("hold", held[1]))
    let_go(held, now=DUE)
    work(DUE + HOUR)
    assert row(filed.request_id)["state"] == "to approve", "the plan without the hold is another one"
    approve(filed, now=DUE + HOUR)
    assert erased(filed.request_id, DUE + HOUR)


def test_a_hold_in_the_middle_stops_it_and_its_release_resumes_it(stores: dict[str, Store]) -> None:
    filed = begin()
    for _ in range(2):
        go(filed)
    held = hold()
    work()
    work(DUE + HOUR)
    assert waits(filed.request_id) == ("hold", held[1])
    assert {state for place, state in steps(filed.request_id).items() if place not in proving.STEPS.values()} == {
        "held"
    }
    assert there() == 3
    let_go(held, now=DUE + DAY)
    assert erased(filed.request_id, DUE + DAY)


def test_what_a_hold_does_not_keep_goes_and_the_rest_follows_its_release(stores: dict[str, Store]) -> None:
    filed = begin()
    held = hold("platform.certificate")
    for hour in range(3):
        work(DUE + hour * HOUR)
    assert rows("select count(*) from platform.certificate where enrollment_id = :id", id=id_of("cleo enrollment")) == [
        (1,)
    ]
    assert rows(
        "select count(*) from platform.module_progress where enrollment_id = :id", id=id_of("cleo enrollment")
    ) == [(0,)]
    assert steps(filed.request_id)["this database"] == steps(filed.request_id)["last letter"] == "held"
    assert rows("select count(*) from privacy.outbox where kind = 'completion'") == [(0,)], "not everything goes yet"
    assert row(filed.request_id)["state"] == "erasing"
    let_go(held, now=DUE + DAY)
    assert erased(filed.request_id, DUE + DAY)
    assert there() == 0


def test_a_hold_waits_for_the_part_at_hand_and_stops_the_next() -> None:
    """The person's row is locked by every part: a hold comes before it or after it, never in between."""
    filed = begin()
    with db.transaction("worker") as session:
        erasure.go_on(session, request_id=filed.request_id, now=DUE)
        with pytest.raises(DBAPIError, match="lock timeout"), db.transaction("worker") as other:
            other.execute(text("set local lock_timeout = '200ms'"))
            other.execute(text("insert into privacy.legal_hold (id, form_key, student_id, basis, owner_id, review_on, placed_at,"
                               " placed_by) values (gen_random_uuid(), gen_random_uuid(), :id, 'tax audit', :by, :day, :day, :by)"),
                          {"id": id_of("cleo"), "by": id_of("omar"), "day": DUE.date()})  # fmt: skip


def test_nobody_configured_is_work_for_people_and_they_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.processors import registry

    monkeypatch.delitem(registry._makers, "Cloudinary")
    filed = begin()
    work()
    assert waits(filed.request_id) == ("by hand", "Cloudinary") and there() == 3
    [(step,)] = rows("select id from privacy.manual_step where processor = 'Cloudinary' and what = 'erase'")
    act("attest_manual_step", "omar", step_id=step, evidence="Ticket 7.", now=DUE)
    work(DUE + HOUR)
    assert steps(filed.request_id)["Cloudinary"] == "waiting", "one person is not proof"
    act("confirm_manual_step", "olga", step_id=step, now=DUE + HOUR)
    work(DUE + 2 * HOUR)
    assert steps(filed.request_id)["Cloudinary"] == "proven", "found at once, not a day later"
    assert erased(filed.request_id, DUE + 2 * HOUR)


def test_the_last_letter_goes_before_the_address_and_is_waited_for_a_week() -> None:
    filed = begin()
    work()
    assert waits(filed.request_id) == ("letter", "last letter") and there() == 3
    assert rows("select address from privacy.outbox where kind = 'completion'") == [("cleo@students.example",)]
    work(DUE + 6 * DAY)
    assert there() == 3
    work(DUE + 8 * DAY)
    assert there() == 0
    assert steps(filed.request_id)["last letter"] == "exempt"
    assert rows("select error from privacy.erasure_step where what = 'letter'") == [("could not be sent",)]


def test_a_last_letter_that_an_officer_cancels_says_so_and_not_what_the_server_said_before() -> None:
    filed = begin()
    work()
    [(letter,)] = rows("select id from privacy.outbox where kind = 'completion'")
    with db.transaction("worker") as session:
        session.execute(text("update privacy.outbox set error = '421' where id = :id"), {"id": letter})
    act("cancel_letter", "omar", letter_id=letter, now=DUE)
    work(DUE + DAY)
    assert erased(filed.request_id, DUE + DAY)
    assert rows("select error from privacy.erasure_step where what = 'letter'") == [("canceled by an officer",)]


FAULTS: dict[str, list[Outcome | Exception]] = {
    "refused": [Outcome(Became.FAILED, error="503")],
    "no clear answer": [Outcome(Became.UNCLEAR, error="timeout")],
    "a lie": [Outcome(Became.DONE)] * 3,
    "an exception": [ValueError("bad JSON")] * 4,
    "later": [Outcome(Became.WAITING, until=DUE + HOUR)],
    "in parts": [Outcome(Became.MORE, {"records": 5})] * 3,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_a_processor_answers_nothing_counts_but_reading_back(fault: str, stores: dict[str, Store]) -> None:
    stores["SMTP"].faults = list(FAULTS[fault])
    stores["Cloudinary"].blind = 3
    filed = waiting()
    assert erased(filed.request_id)
    assert not any(id_of("cleo") in store.holds for store in stores.values())


def test_a_look_that_shows_nothing_is_no_proof_however_often(stores: dict[str, Store]) -> None:
    """It said that it was done, did nothing, and is then asked and does not answer: a read that is unclear proves nothing."""
    store = stores["SMTP"]
    store.faults, store.blind = [Outcome(Became.DONE)] * 1000, 1000
    filed = waiting()
    assert not erased(filed.request_id, days=1)
    assert id_of("cleo") in store.holds and steps(filed.request_id)["SMTP"] not in ("proven", "exempt")
    assert waits(filed.request_id) == ("error", "SMTP: no answer")
    store.faults, store.blind = [], 0
    assert erased(filed.request_id, DUE + 2 * DAY) and id_of("cleo") not in store.holds


def test_what_was_done_while_its_answer_was_lost_is_read_and_not_done_again(
    stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores["SMTP"]

    def lost(_session: Session, order: Order, *, now: datetime) -> Outcome:
        store.calls.append("erase")
        store.holds.discard(order.person.id)
        return Outcome(Became.UNCLEAR, error="answer lost")

    monkeypatch.setattr(store, "erase", lost)
    filed = waiting()
    assert erased(filed.request_id)
    assert store.calls.count("erase") == 1 and store.calls[0] == "verify", "every attempt reads first"
    told = "select e.what, e.became, e.error from privacy.erasure_evidence e join privacy.erasure_step s on s.id = e.step_id where s.place = 'SMTP' order by e.at, e.id"
    assert [tuple(each) for each in rows(told)] == [
        ("asked", "", ""), ("failed", "", "answer lost"), ("answered", "gone", ""), ("looked", "gone", "")
    ]  # fmt: skip


def test_a_processor_that_never_answers_is_somebodys_and_goes_on_when_it_does(stores: dict[str, Store]) -> None:
    stores["SMTP"].faults = [Outcome(Became.FAILED, error="503")] * 100
    filed = waiting()
    assert not erased(filed.request_id, days=1)
    assert steps(filed.request_id) | {"SMTP": "failed"} == steps(filed.request_id), (
        "the others are proven, this one is not"
    )
    assert waits(filed.request_id) == ("error", "SMTP: 503") and there() == 3
    assert rows("select m.name from privacy.erasure_step s join staff.staff_member m on m.id = s.owner_id") == [
        ("Omar",)
    ]
    assert lines(filed.request_id).count("erasure step failed") == 1
    assert len(stores["SMTP"].calls) < 70, "once an hour at most, each time read first"
    stores["SMTP"].faults.clear()
    assert erased(filed.request_id, DUE + 2 * DAY), "tried again once an hour, without anybody"


def test_an_officer_tries_a_failed_step_again_at_once(stores: dict[str, Store]) -> None:
    stores["SMTP"].faults = [Outcome(Became.FAILED, error="503")] * 5
    filed = waiting()
    for hour in range(5):
        work(DUE + hour * HOUR)
    [(step,)] = rows("select id from privacy.erasure_step where state = 'failed'")
    [(other,)] = rows("select id from privacy.erasure_step where what = 'letter'")
    with pytest.raises(BadInput):
        act("retry_erasure_step", "olga", step_id=other, now=DUE + 5 * HOUR)
    with pytest.raises(Refused):
        act("retry_erasure_step", "ada", step_id=step, now=DUE + 5 * HOUR)
    act("retry_erasure_step", "olga", step_id=step, now=DUE + 5 * HOUR)
    assert work(DUE + 5 * HOUR)
    assert steps(filed.request_id)["SMTP"] == "proven"


def test_a_column_without_a_label_stops_it_before_the_first_row(owner: Connection) -> None:
    filed = begin()
    owner.execute(text("alter table platform.visitor_device add nickname text"))
    owner.commit()
    for hour in range(3):
        work(DUE + hour * HOUR)
        send_letters(DUE + hour * HOUR)
    assert there() == 3
    assert rows("select error from privacy.erasure_step where what = 'database'") == [("labels",)]
    assert row(filed.request_id)["state"] == "erasing"


def test_a_person_with_many_rows_goes_in_parts(owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """RESOCODE_TEST_FULL=1: a million rows in at most two minutes, no part longer than two seconds."""
    many, took = 1_000_000 if FULL else 11_000, []
    owner.execute(text("insert into platform.usage_event (at, id, enrollment_id, cohort_id, kind, item, clicks, source)"
                       " select :at, gen_random_uuid(), :e, :c, 'page', 'x', 1, 'cast' from generate_series(1, :many)"),
                  {"at": NOW - timedelta(days=2), "e": id_of("cleo enrollment"), "c": id_of("java"), "many": many})  # fmt: skip
    owner.commit()
    real = Local.erase_together

    def timed(self: Local, session: Session, orders: Sequence[Order], *, at_most: int, now: datetime) -> list[Outcome]:
        began = time.perf_counter()
        [done] = real(self, session, orders, at_most=at_most, now=now)
        took.append((time.perf_counter() - began, sum(done.counts.values())))
        return [done]

    monkeypatch.setattr(Local, "erase_together", timed)
    filed = waiting()
    assert erased(filed.request_id)
    [(counts,)] = rows("select counts from privacy.erasure_step where what = 'database'")
    assert counts["platform.usage_event"] == many + 1
    assert len(took) >= many // 5000 and max(number for _, number in took) <= 5000
    if FULL:
        print(f"{many:,} rows in {sum(s for s, _ in took):.1f} s, longest part {max(took)[0]:.2f} s")
        assert sum(seconds for seconds, _ in took) <= 120 and max(took)[0] <= 2


def test_erased_is_what_follows_and_nobody_says_it() -> None:
    filed = begin()
    moves = ("update privacy.request set state = 'erased', moved_at = :at, closed_at = :at where id = :id",
             "update privacy.erasure set finished_at = :at, person_id = null, email_hash = null, forms = null, traces = null"
             " where request_id = :id",
             "update privacy.erasure_step set state = 'proven' where what = 'database'",
             "delete from privacy.erasure_step", "delete from privacy.erasure", "delete from privacy.erasure_evidence",
             "update privacy.erasure_evidence set what = 'looked'")  # fmt: skip
    for number, move in enumerate(moves):
        with (
            pytest.raises(DBAPIError, match=r"proven|kept for three years|only added to"),
            db.transaction("worker") as session,
        ):
            session.execute(text(move), {"at": DUE, "id": filed.request_id})
            if number == 1:
                session.execute(text(moves[0]), {"at": DUE, "id": filed.request_id})


def test_the_dashboard_changes_nothing_of_an_erasure() -> None:
    filed = begin()
    who = requests.staff("omar")
    for statement in ("update privacy.erasure_step set state = 'exempt', error = 'x'", "delete from privacy.erasure",
                      "update privacy.brake set answered_at = now(), answer = 'go on'", "select email_hash from privacy.erasure",
                      "select person_id from privacy.erasure"):  # fmt: skip
        with (
            pytest.raises(DBAPIError, match="permission denied"),
            db.transaction(staff_id=who.id, session_id=who.session_id) as session,
        ):
            session.execute(text(statement))
    assert row(filed.request_id)["state"] == "erasing"


def test_after_five_days_of_trouble_two_persons_may_end_it_by_hand(house: str, stores: dict[str, Store]) -> None:
    filed = waiting()
    stores["Cloudinary"].faults = [Outcome(Became.FAILED, error="no connection")] * 999
    for half in range(11):
        work(DUE + half * DAY / 2)
        send_letters(DUE + half * DAY / 2)
        assert bool(rows("select 1 from privacy.manual_step")) == (half >= 10), half
    now = DUE + 6 * DAY
    step = rows("select id from privacy.manual_step")[0][0]
    act("attest_manual_step", "omar", now=now, step_id=step, evidence="Deleted in their console, ticket 7.")
    act("confirm_manual_step", "olga", now=now, step_id=step)
    assert erased(filed.request_id, now), "and it ends, although the connection is still down"
    assert id_of("cleo") in stores["Cloudinary"].holds, "on the word of two persons, who are in the evidence"


def test_a_processor_that_works_again_takes_the_manual_step_back(house: str, stores: dict[str, Store]) -> None:
    filed = waiting()
    stores["Cloudinary"].faults = [Outcome(Became.FAILED, error="no connection")] * 3
    for days in (0, 2, 6):
        work(DUE + days * DAY)
    assert rows("select state from privacy.manual_step") == [("open",)]
    assert erased(filed.request_id, DUE + 7 * DAY)
    assert rows("select state from privacy.manual_step") == [("canceled",)]
    assert id_of("cleo") not in stores["Cloudinary"].holds
