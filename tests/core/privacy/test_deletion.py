"""Deletions up to the point of no return: closing, plan, approval, early deletion, reactivation."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db, privacy_actions, queries
from core.errors import BadInput, NotFound, NotFresh, Refused, Stale
from core.privacy import plans
from core.privacy_actions import Filed, Receipt, Staff
from tests import cast
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import (
    DAY,
    HOUR,
    act,
    approve,
    closed,
    file,
    lines,
    on,
    row,
    rows,
    staff,
    verified,
    waiting,
)
from tests.core.privacy.test_requests import refused

pytestmark = pytest.mark.usefixtures("house")

MICRO = timedelta(microseconds=1)


def account(name: str = "cleo") -> tuple[Any, ...]:
    query = "select account_status, closed_at, (select opted_out_at from platform.student_profile p where p.student_id = s.id)"
    return tuple(rows(f"{query} from platform.student s where id = :id", id=id_of(name))[0])


def letters(state: str = "waiting") -> list[tuple[Any, ...]]:
    return rows(
        "select kind, not_before from privacy.outbox where state = :state order by not_before, kind", state=state
    )


def approval(shown: Any, filed: Any, **more: Any) -> dict[str, Any]:
    given = {"fingerprint": shown.fingerprint, "confirmation": filed.number, "reason": "plan is right"}
    return {**given, **on(filed), **more}


# The whole way


def test_file_verify_close_reactivate_gives_everything_back(owner: Connection) -> None:
    with db.transaction("worker") as session:
        opted = text("update platform.student_profile set opted_out_at = :at where student_id = :id")
        session.execute(opted, {"at": NOW - DAY, "id": id_of("cleo")})
    before = cast.snapshot(owner, "cleo")
    owner.rollback()
    filed = closed()
    assert account() == ("closed", NOW, NOW - DAY), "an opt-out is not what closing is"
    done = act("reactivate_account", "olga", now=NOW + 29 * DAY, reason="the student changed their mind", **on(filed))
    assert (done.state, account()) == ("reactivated", ("open", None, NOW - DAY))
    assert cast.snapshot(owner, "cleo") == before
    found = row(filed.request_id)
    assert (found["account_closed_at"], found["opted_out_before"], found["closed_at"]) == (
        NOW,
        NOW - DAY,
        NOW + 29 * DAY,
    )
    assert letters() == [("reactivated", NOW + 29 * DAY)], "no reminder goes out any more"
    assert set(rows("select what, state from privacy.propagation")) == {
        ("sign-in off", "canceled"), ("tokens revoked", "canceled"), ("marketing off", "canceled"),
        ("sign-in on", "planned"), ("marketing as before", "planned"),
    }  # fmt: skip
    assert lines(filed.request_id) == ["request filed", "identity checked", "account closed", "account reactivated"]


def test_file_verify_close_approve_wait() -> None:
    filed = closed(by="omar")
    found = row(filed.request_id)
    assert (found["state"], found["grace_ends_at"], found["answered_at"]) == ("to approve", NOW + 30 * DAY, NOW)
    assert letters() == [("closing", NOW), ("reminder", NOW + 23 * DAY), ("reminder", NOW + 29 * DAY)]
    done = approve(filed, "olga", now=NOW + DAY)
    assert (done.state, done.what) == ("waiting", "approve_deletion")
    assert row(filed.request_id)["grace_ends_at"] == NOW + 30 * DAY
    assert rows("select from_state, to_state, moved_by from privacy.request_move order by version") == [
        ("", "received", id_of("paula")), ("received", "verified", id_of("omar")),
        ("verified", "to approve", id_of("omar")), ("to approve", "waiting", id_of("olga")),
    ]  # fmt: skip
    assert account()[0] == "closed"


# Closing


def test_an_account_is_closed_after_identity_and_a_fresh_proof_of_who_acts() -> None:
    filed = file()
    refused(BadInput, "does not become", "close_account", **on(filed))
    act("record_identity", "omar", method="known in person", confirmed=True, **on(filed))
    stale = staff("omar", now=NOW - timedelta(minutes=5) - MICRO)
    refused(NotFresh, "password", "close_account", stale, **on(filed))
    assert account()[0] == "open"
    act("close_account", staff("omar", now=NOW - timedelta(minutes=5)), **on(filed))
    assert account()[:2] == ("closed", NOW)


def test_an_account_that_is_closed_already_keeps_its_day() -> None:
    with db.transaction("worker") as session:
        shut = text("update platform.student set account_status = 'closed', closed_at = :at where id = :id")
        session.execute(shut, {"at": NOW - 25 * DAY, "id": id_of("cleo")})
    filed = closed()
    found = row(filed.request_id)
    assert (found["account_closed_at"], found["grace_ends_at"]) == (NOW - 25 * DAY, NOW + 5 * DAY)
    assert letters() == [("closing", NOW), ("reminder", NOW + 4 * DAY)], "the reminder of day 23 is past"
    assert rows("select * from privacy.propagation") == [], "nothing new happened elsewhere"


def test_a_visitor_has_no_account_and_no_grace_period() -> None:
    filed = verified(email="vera@visitors.example")
    done = act("close_account", "omar", **on(filed))
    found = row(filed.request_id)
    assert (done.state, found["account_closed_at"], found["grace_ends_at"]) == ("to approve", None, NOW)
    assert letters() == []
    refused(BadInput, "no grace period", "ask_early", words="now", **on(filed))
    refused(BadInput, "no account", "reactivate_account", reason="closed by mistake", **on(filed))
    approve(filed, "olga")
    assert act("withdraw_request", "omar", reason="by the person", **on(filed)).state == "withdrawn"


def test_a_closed_account_is_reactivated_and_not_withdrawn_and_a_refusal_opens_it() -> None:
    filed = closed()
    refused(BadInput, "reactivate it", "withdraw_request", reason="by the person", **on(filed))
    act("refuse_request", "omar", reason="not theirs to ask", words="Asked by a stranger.", **on(filed))
    assert account()[0] == "open"
    assert letters() == [("refusal", NOW)]


# The plan


def test_a_plan_tells_of_tables_and_processors_and_of_nobody() -> None:
    filed = closed()
    shown = act("open_plan", "olga", request_id=filed.request_id)
    told = str(shown.document)
    for word in ("Cleo", "cleo", str(id_of("cleo")), filed.number):
        assert word not in told
    tables = {each["table"] for each in shown.document["rows"]}
    assert {
        "platform.student",
        "platform.enrollment",
        "platform.payment",
        "privacy.request",
        "privacy.request_text",
    } <= tables
    assert {"MongoDB Atlas", "Cloudinary", "SMTP"} <= {each["place"] for each in shown.document["processors"]}
    assert lines(filed.request_id)[-1] == "plan opened"
    act("open_plan", "olga", request_id=filed.request_id)
    assert lines(filed.request_id).count("plan opened") == 1
    with pytest.raises(NotFound):
        act("open_plan", "olga", request_id=file("access").request_id)
    with pytest.raises(NotFound):
        act("open_plan", "olga", request_id=uuid.uuid4())


def test_a_plan_that_changed_since_it_was_shown_approves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    filed = closed()
    shown = act("open_plan", "olga", request_id=filed.request_id)
    add_to_plan(monkeypatch, "platform.new_table")
    done = act("approve_deletion", "olga", **approval(shown, filed))
    assert (done.what, done.state) == ("plan changed", "to approve")
    assert rows("select count(*) from privacy.approval") == [(0,)]
    refused(Stale, "not the plan", "approve_deletion", "olga", **approval(shown, filed))
    again = act("open_plan", "olga", request_id=filed.request_id)
    assert again.fingerprint != shown.fingerprint
    assert act("approve_deletion", "olga", **approval(again, filed)).state == "waiting"


def add_to_plan(patch: pytest.MonkeyPatch, table: str) -> None:
    """From now on an erasure would do something else."""
    real = plans.plan_under

    def other(*arguments: Any, **named: Any) -> plans.Plan:
        plan = real(*arguments, **named)
        return replace(plan, remains=(*plan.remains, plans.Remains(table, "it is new", "for ever")))

    for module in ("core.privacy.plans", "core.privacy.preview"):
        patch.setattr(f"{module}.plan_under", other)


# Approval


def test_an_approval_needs_a_second_person_who_saw_the_plan_and_typed_the_number() -> None:
    filed = verified(by="olga")  # filed by Paula, verified (and so owned) by Olga
    act("close_account", "omar", **on(filed))
    unseen = {
        "fingerprint": row(filed.request_id)["plan_fingerprint"],
        "confirmation": filed.number,
        "reason": "plan is right",
    }
    refused(BadInput, "Open the plan first", "approve_deletion", "oskar", **unseen, **on(filed))
    shown = act("open_plan", "oskar", request_id=filed.request_id)
    refused(BadInput, f"Type {filed.number}", "approve_deletion", "oskar", **approval(shown, filed, confirmation="yes"))
    refused(BadInput, "Choose a reason", "approve_deletion", "oskar", **approval(shown, filed, reason="because"))
    refused(Stale, "not the plan", "approve_deletion", "oskar", **approval(shown, filed, fingerprint="other"))
    stale = staff("oskar", now=NOW - timedelta(minutes=6))
    refused(NotFresh, "password", "approve_deletion", stale, **approval(shown, filed))
    for name in ("omar", "olga"):
        act("open_plan", name, request_id=filed.request_id)
        refused(Refused, "second person", "approve_deletion", name, **approval(shown, filed))
    assert (
        act("approve_deletion", "oskar", **approval(shown, filed, confirmation=filed.number.lower() + " ")).state
        == "waiting"
    )


def test_whoever_filed_it_does_not_approve_it() -> None:
    filed = closed(by="omar", student_id=None, email="cleo@students.example")
    mine = file("delete", by="olga", visitor_id=None, student_id=None, email="vera@visitors.example")
    act("record_identity", "omar", method="known in person", confirmed=True, **on(mine))
    act("close_account", "omar", **on(mine))
    shown = act("open_plan", "olga", request_id=mine.request_id)
    refused(Refused, "second person", "approve_deletion", "olga", **approval(shown, mine))
    assert approve(filed, "olga").state == "waiting"


@pytest.mark.parametrize("state", ["received", "verified", "waiting", "reactivated"])
def test_what_does_not_wait_for_approval_cannot_be_approved(state: str) -> None:
    filed = {"received": file, "verified": verified, "waiting": waiting, "reactivated": closed}[state]()
    if state == "reactivated":
        act("reactivate_account", "omar", reason="closed by mistake", **on(filed))
    given = {"fingerprint": row(filed.request_id)["plan_fingerprint"] or "x", "confirmation": filed.number}
    refused(
        BadInput,
        "does not wait for approval",
        "approve_deletion",
        "oskar",
        reason="plan is right",
        **given,
        **on(filed),
    )


def test_a_role_that_is_lost_in_between_approves_nothing() -> None:
    filed = closed()
    by = staff("olga")
    shown = act("open_plan", by, request_id=filed.request_id)
    with db.transaction("worker") as session:
        privacy_actions.change_role(session, email="olga@staff.example", role="admin", now=NOW)
    refused(Refused, "or no longer", "approve_deletion", by, **approval(shown, filed))
    with db.transaction("worker") as session:
        privacy_actions.change_role(session, email="olga@staff.example", role="privacy_officer", now=NOW)
        privacy_actions.disable_staff(session, email="olga@staff.example", now=NOW)
    refused(Refused, "or no longer", "approve_deletion", by, **approval(shown, filed))


def test_one_approval_of_somebody_who_left_does_not_count_for_an_early_deletion() -> None:
    filed = closed()
    act("ask_early", "omar", words="At once, please.", **on(filed))
    assert approve(filed, "olga").what == "approval missing"
    with db.transaction("worker") as session:
        privacy_actions.disable_staff(session, email="olga@staff.example", now=NOW)
    assert approve(filed, "oskar").what == "approval missing"


def test_a_single_officer_decides_alone_where_the_company_says_so_and_only_then() -> None:
    filed = closed(by="omar")
    shown = act("open_plan", "omar", request_id=filed.request_id)
    declare(on=True)
    refused(Refused, "second person", "approve_deletion", **approval(shown, filed))
    for name in ("olga", "oskar"):
        with db.transaction("worker") as session:
            privacy_actions.disable_staff(session, email=f"{name}@staff.example", now=NOW)
    declare(on=False)
    refused(Refused, "second person", "approve_deletion", **approval(shown, filed))
    declare(on=True)
    assert act("approve_deletion", "omar", **approval(shown, filed)).state == "waiting"
    assert lines().count("single officer declared") == 3


def declare(*, on: bool) -> None:
    with db.transaction("worker") as session:
        assert privacy_actions.declare_single_officer(session, on=on, now=NOW)
        assert not privacy_actions.declare_single_officer(session, on=on, now=NOW)


# Early deletion


def test_an_early_deletion_needs_the_students_words_and_two_persons() -> None:
    filed = closed(by="omar")
    first = act("open_plan", "olga", request_id=filed.request_id)
    refused(BadInput, "own words", "ask_early", words=" ", **on(filed))
    act("ask_early", "omar", words="I want it gone today.", **on(filed))
    refused(BadInput, "already", "ask_early", words="again", **on(filed))
    refused(Stale, "not the plan", "approve_deletion", "olga", **approval(first, filed))
    done = approve(filed, "olga", now=NOW + DAY)
    assert (done.what, done.state) == ("approval missing", "to approve")
    refused(BadInput, "approved this plan already", "approve_deletion", "olga",
            **approval(act("open_plan", "olga", request_id=filed.request_id), filed))  # fmt: skip
    assert row(filed.request_id)["grace_ends_at"] == NOW + 30 * DAY, "one approval shortens nothing"
    done = approve(filed, "oskar", now=NOW + 2 * DAY)
    assert (done.state, row(filed.request_id)["grace_ends_at"]) == ("waiting", NOW + 2 * DAY)
    assert letters() == [("closing", NOW)], "the reminders would not be true"
    assert ("words", "I want it gone today.") in rows("select what, body from privacy.request_text")


def test_an_approval_given_before_does_not_count_for_the_early_plan() -> None:
    filed = waiting(by="omar")
    refused(BadInput, "is “Approved", "ask_early", words="now", **on(filed))
    act("send_back", "oskar", reason="something new came up", **on(filed))
    act("ask_early", "omar", words="now", **on(filed))
    assert approve(filed, "oskar").what == "approval missing"
    assert approve(filed, "olga").state == "waiting"
    act("send_back", "omar", reason="something new came up", **on(filed))
    assert approve(filed, "oskar").what == "approval missing", "two new approvals, not one"


# Taking it back


def test_only_an_approved_deletion_is_sent_back() -> None:
    filed = verified()
    refused(BadInput, "not “Approved, grace period”", "send_back", reason="approved by mistake", **on(filed))
    closing = act("close_account", "omar", **on(filed))
    refused(BadInput, "not “Approved, grace period”", "send_back", reason="approved by mistake", **on(closing))


def test_an_approval_is_taken_back_and_does_not_count_again() -> None:
    filed = waiting(by="omar")
    done = act("send_back", "omar", reason="approved by mistake", note="Wrong person?", **on(filed))
    assert done.state == "to approve"
    refused(BadInput, "Choose a reason", "send_back", reason="so", **on(filed))
    move = text("update privacy.request set state = 'waiting', moved_at = :now where id = :id")
    olga = staff("olga")
    with (
        pytest.raises(DBAPIError, match="not approved"),
        db.transaction(staff_id=olga.id, session_id=olga.session_id) as session,
    ):
        session.execute(move, {"now": NOW, "id": filed.request_id})
    with db.transaction(staff_id=olga.id) as session:
        page = queries.request_page(session, filed.request_id, now=NOW)
        assert (page.plan.approved_by, page.row.next.mine, queries.desk_counts(session, now=NOW).mine_to_approve) == (
            (),
            True,
            1,
        )
    assert approve(filed, "olga").state == "waiting", "whoever gave it may give it again, after another look"


def test_reactivation_is_possible_until_the_erasure_begins() -> None:
    filed = waiting()
    ends = row(filed.request_id)["grace_ends_at"]
    done = act("reactivate_account", "omar", now=ends + DAY, reason="closed by mistake", **on(filed))
    assert done.state == "reactivated"
    again = closed(now=ends + 2 * DAY)
    approve(again, now=ends + 2 * DAY)
    with db.transaction("worker") as session:
        session.execute(
            text("update privacy.request set state = 'erasing', moved_at = :at where id = :id"),
            {"at": ends + 40 * DAY, "id": again.request_id},
        )
    with pytest.raises(BadInput, match="does not become"):
        act("reactivate_account", "omar", now=ends + 40 * DAY, reason="closed by mistake", **on(again))
    assert account()[0] == "closed"


# Many at once


def several(many: int) -> list[Any]:
    """Deletions of students made for it, closed by Omar, their plans seen by Olga."""
    with db.transaction("worker") as session:
        session.execute(text(
            "insert into platform.student (id, name, email, registered_at, email_hash, provider_hash, source)"
            " select gen_random_uuid(), 'Student ' || n, 'many' || n || '@students.example', :now, 'x', 'x', 'many'"
            " from generate_series(1, :many) n"), {"now": NOW - DAY, "many": many})  # fmt: skip
        people = session.scalars(text("select id from platform.student where source = 'many' order by email")).all()
    omar, paula = staff("omar"), staff("paula")
    return [closed_by(omar, paula, person) for person in people]


def closed_by(omar: Staff, paula: Staff, person: uuid.UUID) -> Any:
    filed = file(by=paula, student_id=person)
    act("record_identity", omar, method="known in person", confirmed=True, **on(filed))
    act("close_account", omar, **on(filed))
    return filed


def items(found: list[Any], by: Staff) -> list[tuple[uuid.UUID, int, str]]:
    shown = {each.request_id: act("open_plan", by, request_id=each.request_id).fingerprint for each in found}
    return [(each.request_id, on(each)["version"], shown[each.request_id]) for each in found]


def test_of_many_the_bad_ones_are_named_and_the_rest_goes_through() -> None:
    good, stale, mine, unseen, gone = several(5)
    olga = staff("olga")
    wanted = items([good, stale, mine, gone], olga)
    wanted.insert(3, (unseen.request_id, *list(on(unseen).values())[1:], row(unseen.request_id)["plan_fingerprint"]))
    act("reactivate_account", "omar", reason="closed by mistake", **on(gone))
    with db.transaction("worker") as session:
        session.execute(
            text("update privacy.request set owner_id = :me where id = :id"), {"me": olga.id, "id": mine.request_id}
        )
        session.execute(
            text("update privacy.request set opted_out_before = null where id = :id"), {"id": stale.request_id}
        )
    wanted[2] = (mine.request_id, row(mine.request_id)["version"], wanted[2][2])
    wanted[4] = (gone.request_id, row(gone.request_id)["version"], wanted[4][2])
    wanted.append((uuid.uuid4(), 1, "x"))
    with pytest.raises(BadInput, match="Type the number"):
        act("approve_deletions", olga, items=wanted, confirmation="2", reason="plan is right")
    done = act("approve_deletions", olga, items=wanted, confirmation="6", reason="plan is right")
    assert [each.number for each in done.done] == [good.number]
    named = dict(done.refused)
    assert set(named) == {
        stale.number,
        mine.number,
        unseen.number,
        gone.number,
        "There is no such request, or it is not open to you.",
    }
    assert "was changed" in named[stale.number]
    assert "second person" in named[mine.number]
    assert "Open the plan" in named[unseen.number]
    assert "does not wait for approval" in named[gone.number]
    assert lines().count("deletion approved") == 1
    assert row(good.request_id)["state"] == "waiting"


def test_more_than_twenty_at_once_need_one_more_person() -> None:
    found = several(21)
    olga, oskar = staff("olga"), staff("oskar")
    done = act("approve_deletions", olga, items=items(found, olga), confirmation="21", reason="plan is right")
    assert {each.what for each in done.done} == {"approval missing"}
    assert rows("select distinct state from privacy.request where kind = 'delete'") == [("to approve",)]
    done = act("approve_deletions", oskar, items=items(found, oskar), confirmation="21", reason="plan is right")
    assert {each.state for each in done.done} == {"waiting"}
    assert len(done.done) == 21


def test_a_bystander_is_untouched(owner: Connection) -> None:
    before = cast.snapshot(owner, "ben")
    owner.rollback()
    waiting()
    assert cast.snapshot(owner, "ben") == before


def alone() -> None:
    """Omar is the only officer, and the company has declared it."""
    for name in ("olga", "oskar"):
        with db.transaction("worker") as session:
            privacy_actions.disable_staff(session, email=f"{name}@staff.example", now=NOW)
    declare(on=True)


def test_a_declared_single_officer_may_waive_the_grace_period_with_the_students_words() -> None:
    alone()
    filed = closed(by="omar")
    act("ask_early", "omar", words="At once, please.", **on(filed))
    done = approve(filed, "omar")
    assert (done.what, done.state) == ("approve_deletion", "waiting")
    assert row(filed.request_id)["grace_ends_at"] == NOW
    declare(on=False)
    other = closed(by="omar", student_id=id_of("ben"))
    act("ask_early", "omar", words="At once, please.", **on(other))
    refused(
        Refused,
        "second person",
        "approve_deletion",
        **approval(act("open_plan", "omar", request_id=other.request_id), other),
    )


# Sent back before anybody approved


def returned(filed: Filed, reason: str = "the plan is not right", by: str = "olga", **more: object) -> Receipt:
    receipt: Receipt = act("return_plan", by, reason=reason, note="Cleo has a sister.", **(on(filed) | more))
    return receipt


@pytest.mark.parametrize(("reason", "state", "identity"), [(reason, to, "confirmed" if to == "verified" else "not checked")
                                                             for reason, to in privacy_actions.RETURNS.items()])  # fmt: skip
def test_a_plan_that_is_sent_back_gives_the_account_back_and_begins_again(
    reason: str, state: str, identity: str, owner: Connection
) -> None:
    bystander = cast.snapshot(owner, "ben")
    before = account()
    filed = closed()
    due = row(filed.request_id)["due_at"]
    act("ask_early", "omar", words="At once.", **on(filed))
    assert returned(filed, reason).state == state
    found = row(filed.request_id)
    assert (found["identity"], found["early"], found["approvals_needed"], found["answered_at"]) == (
        identity,
        False,
        1,
        None,
    )
    assert [found[name] for name in ("account_closed_at", "grace_ends_at", "plan_fingerprint")] == [None] * 3
    assert found["due_at"] == due, "whoever closed too soon gets no more time by it"
    assert account() == before
    assert all(state in ("canceled", "sent") for state in outbox_states(filed))
    assert "plan sent back" in lines(filed.request_id)
    if state == "received":
        refused(BadInput, "does not become", "close_account", **on(filed))
        act("record_identity", "omar", method="known in person", confirmed=True, **on(filed))
    act("close_account", "omar", now=NOW + HOUR, **on(filed))
    assert approve(filed, now=NOW + HOUR).state == "waiting", "the next plan needs an approval of its own"
    owner.rollback()
    assert cast.snapshot(owner, "ben") == bystander


def outbox_states(filed: Filed) -> list[str]:
    return [
        each
        for (each,) in rows(
            "select state from privacy.outbox where request_id = :id and kind in ('closing', 'reminder')",
            id=filed.request_id,
        )
    ]


def test_who_was_told_of_the_closing_is_told_that_it_is_taken_back() -> None:
    filed = closed()
    returned(filed)
    kinds = "select kind from privacy.outbox where request_id = :id and state = 'waiting'"
    assert rows(kinds, id=filed.request_id) == []
    act("close_account", "omar", now=NOW + HOUR, **on(filed))
    [(letter,)] = rows("select id from privacy.outbox where kind = 'closing' and state = 'waiting'")
    act("mark_sent_by_hand", "omar", now=NOW + HOUR, letter_id=letter)
    act("return_plan", "olga", now=NOW + HOUR, reason="not the right person", note="Another Cleo.", **on(filed))
    assert rows(kinds, id=filed.request_id) == [("reopened",)]


def test_what_is_not_waiting_or_was_closed_by_the_student_is_not_sent_back(owner: Connection) -> None:
    filed = waiting()
    refused(BadInput, "does not become", "return_plan", "olga", reason="the plan is not right", note="x", **on(filed))
    verified_one = verified(student_id=id_of("ben"))
    refused(
        BadInput, "does not become", "return_plan", "olga", reason="the plan is not right", note="x", **on(verified_one)
    )
    owner.execute(text("update platform.student set account_status = 'closed', closed_at = :at where id = :id"),
                  {"at": NOW - DAY, "id": id_of("ben")})  # fmt: skip
    owner.commit()
    act("close_account", "omar", **on(verified_one))
    refused(BadInput, "closed this account on the platform", "return_plan", "olga", reason="the plan is not right", note="x",
            **on(verified_one))  # fmt: skip
    refused(BadInput, "Choose a reason", "return_plan", "olga", reason="mood", note="x", **on(verified_one))
    other = closed(visitor_id=id_of("viktor"))
    refused(BadInput, "Say what is wrong", "return_plan", "olga", reason="the plan is not right", note=" ", **on(other))
    assert returned(other).state == "verified"


@pytest.mark.parametrize("left", ["account_closed_at = account_closed_at", "early = true, approvals_needed = 2"])
def test_bare_sql_sends_nothing_back_halfway(left: str) -> None:
    filed = closed()
    who = staff("olga")
    cleared = "account_closed_at = null, grace_ends_at = null, plan_fingerprint = null, answered_at = null"
    move = "update privacy.request set state = 'verified', moved_at = :now, {} where id = :id"
    for change in (left, cleared):
        with (
            pytest.raises(DBAPIError, match=r"begins again|opened again first|events only|become fewer"),
            db.transaction(staff_id=who.id, session_id=who.session_id) as session,
        ):
            session.execute(text(move.format(change)), {"now": NOW, "id": filed.request_id})
    assert row(filed.request_id)["state"] == "to approve"


@pytest.mark.parametrize("state", ["received", "verified", "to approve", "waiting"])
def test_each_verb_moves_from_its_own_states_only(state: str) -> None:
    """Two verbs can make a move to one state; neither makes the other's."""
    filed = {"received": file, "verified": verified, "to approve": closed, "waiting": waiting}[state]()
    verbs: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
        "send_back": (("waiting",), {"reason": "approved by mistake"}),
        "return_plan": (("to approve",), {"reason": "the plan is not right", "note": "x"}),
        "close_account": (("verified",), {}),
        "record_identity": (("received",), {"method": "known in person", "confirmed": True}),
    }
    for verb, (own, given) in verbs.items():
        if state not in own:
            refused(BadInput, "does not become|, not “", verb, "olga", **given, **on(filed))
