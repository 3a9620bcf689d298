"""The desk's reads: the queue in its order, what comes next for whom, one page, counts and the year."""

import uuid
from typing import Any

import pytest

from core import db, queries
from core.errors import NotFound
from core.queries import QueueFilter
from tests.cast import NOW, ROLES, id_of
from tests.core.privacy.house_of_requests import (
    DAY,
    act,
    approve,
    closed,
    file,
    no_file,
    on,
    row,
    staff,
    verified,
    waiting,
)

pytestmark = pytest.mark.usefixtures("house")


def read(name: str, function: Any, *arguments: Any, **named: Any) -> Any:
    with db.transaction(staff_id=id_of(name)) as session:
        return function(session, *arguments, **named)


def queue(name: str = "omar", view: str = "open", *, now: Any = NOW, **more: Any) -> list[Any]:
    return list(read(name, queries.request_queue, QueueFilter(view, **more), now=now).rows)


def test_overdue_comes_first_then_due_soonest_and_what_rests_last() -> None:
    resting = file("export", now=NOW - 20 * DAY)
    act("ask_identity", "omar", now=NOW - 19 * DAY, **on(resting))
    late, soon = file("restrict", now=NOW - 28 * DAY), file("object", now=NOW)
    found = queue()
    assert [each.number for each in found] == ["R-2041", late.number, soon.number, resting.number]
    assert [(each.overdue, each.due_soon, each.paused) for each in found] == [
        (True, False, False), (False, True, False), (False, False, False), (False, False, True),
    ]  # fmt: skip
    assert found[0].left == -9 * DAY
    assert 0.9 < found[1].used < 1
    assert {each.number for each in queue(view="waiting for the person")} == {resting.number}
    assert {each.number for each in queue(kinds=("object",))} == {soon.number}


def test_pages_go_on_where_the_last_one_ended() -> None:
    for kind in ("export", "correct", "restrict", "object"):
        file(kind, now=NOW - 3 * DAY)
    act("ask_identity", "omar", **on(file("delete")))
    for view in ("open", "closed"):
        whole, after, found = queue(view=view), None, []
        while True:
            page = read("omar", queries.request_queue, QueueFilter(view), now=NOW, after=after, size=2)
            found += page.rows
            if (after := page.after) is None:
                break
        assert [each.id for each in found] == [each.id for each in whole]


@pytest.mark.parametrize("name", [name for name in ROLES if name != "omar"])
def test_nobody_but_officers_sees_the_desk(name: str) -> None:
    filed = closed()
    assert queue(name) == []
    assert set(vars(read(name, queries.desk_counts, now=NOW)).values()) == {0}
    for unknown in (filed.request_id, uuid.uuid4()):
        with pytest.raises(NotFound, match="no such request, or it is not open to you"):
            read(name, queries.request_page, unknown, now=NOW)


def next_of(filed: Any, name: str = "omar") -> tuple[str, bool]:
    action = next(each.next for each in queue(name) if each.id == filed.request_id)
    return action.code, action.mine


def test_what_comes_next_is_told_for_whoever_looks() -> None:
    unknown = file("access", name="Somebody")
    assert next_of(unknown) == ("link_subject", True)
    filed = file("delete")
    assert next_of(filed) == ("record_identity", True)
    act("ask_identity", "omar", **on(filed))
    assert next_of(filed) == ("wait for the person", False)
    act("record_identity", "omar", method="known in person", confirmed=True, **on(filed))
    assert next_of(filed) == ("close_account", True)
    act("close_account", "omar", **on(filed))
    assert (next_of(filed), next_of(filed, "olga")) == (("open_plan", False), ("open_plan", True))
    act("open_plan", "olga", request_id=filed.request_id)
    assert next_of(filed, "olga") == ("approve_deletion", True)
    page = read("omar", queries.request_page, filed.request_id, now=NOW)
    assert "a second person approves" in page.row.next.why_not
    assert (
        read("omar", queries.desk_counts, now=NOW).mine_to_approve,
        read("olga", queries.desk_counts, now=NOW).mine_to_approve,
    ) == (0, 1)
    approve(filed, "olga")
    assert next_of(filed) == ("wait for the grace period", False)
    assert (page.row.what_is_due, page.row.deadline) == ("approval", NOW + 30 * DAY)


def test_every_verb_that_the_queue_names_as_next_works_for_whoever_may() -> None:
    from core import privacy_actions

    for filed in (
        file("access", name="Somebody"),
        file("export"),
        verified("correct"),
        verified("delete"),
        file("opt_out"),
    ):
        code, mine = next_of(filed)
        assert mine
        assert hasattr(privacy_actions, code)


def test_the_page_tells_everything_in_order_and_no_identity_once_it_is_closed() -> None:
    filed = waiting(now=NOW)
    page = read("omar", queries.request_page, filed.request_id, now=NOW)
    assert (page.row.who, page.email, page.account_status) == ("Cleo Example", "cleo@students.example", "closed")
    assert [each.words for each in page.timeline if each.what == "moved"] == [
        "Received", "Identity confirmed", "Account closed, to approve", "Approved, grace period",
    ]  # fmt: skip
    assert page.plan is not None
    assert page.plan.approved_by == ("Olga",)
    assert [each.kind for each in page.letters] == ["closing", "reminder", "reminder"]
    assert {each.what for each in page.steps} == {"sign-in off", "tokens revoked", "marketing off"}
    act("reactivate_account", "omar", reason="closed by mistake", **on(filed))
    page = read("omar", queries.request_page, filed.request_id, now=NOW)
    assert (page.row.who, page.email) == (None, None)


def test_the_officers_own_record_and_a_subject_who_works_here_are_shown() -> None:
    from sqlalchemy import text

    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set email = 'Olga@Staff.example' where id = :id"), {"id": id_of("cleo")}
        )
    filed = file("delete")
    olga = read("olga", queries.request_page, filed.request_id, now=NOW)
    omar = read("omar", queries.request_page, filed.request_id, now=NOW)
    assert (olga.subject_is_staff, olga.own_record, omar.subject_is_staff, omar.own_record) == (True, True, True, False)
    assert "your own record" in olga.row.next.why_not
    assert omar.row.next.mine


def test_an_answer_that_was_extended_shows_its_new_day() -> None:
    filed = file("access")
    act("extend_answer", "omar", months=1, reason="complex", **on(filed))
    page = read("omar", queries.request_page, filed.request_id, now=NOW)
    assert (page.row.deadline, page.row.extended_months, page.can_extend) == (row(filed.request_id)["due_at"], 1, False)


def test_the_year_counts_by_kind_for_officers_admins_and_auditors() -> None:
    start = NOW - 10 * DAY
    for days, end in ((2, "answer"), (4, "answer"), (9, "refuse")):
        filed = verified("export", now=start)
        by, then = staff("omar", now=start + days * DAY), start + days * DAY
        if end == "answer":
            act("answer_request", by, now=then, outcome="sent by hand", evidence="x", **on(no_file(filed)))
        else:
            act("refuse_request", by, now=then, reason="repeated without change", words="Again.", **on(filed))
    for name in ("omar", "ada", "aiko"):
        report = read(name, queries.year_report, 2026, now=NOW)
        [export] = [each for each in report.kinds if each.kind == "export"]
        assert (export.received, export.answered, export.refused, export.median_days, export.longest_days) == (
            3,
            2,
            1,
            4.0,
            9.0,
        )
    assert read("paula", queries.year_report, 2026, now=NOW).kinds == ()
    assert read("omar", queries.year_report, 2025, now=NOW).received == 0


def test_a_page_of_the_queue_is_a_handful_of_statements() -> None:
    from sqlalchemy import event

    for kind in ("export", "correct", "restrict", "object", "delete"):
        file(kind)
    statements: list[str] = []
    listener = lambda *arguments: statements.append(arguments[2])  # noqa: E731
    event.listen(db.engine("app"), "before_cursor_execute", listener)
    queue()
    event.remove(db.engine("app"), "before_cursor_execute", listener)
    assert len(statements) <= 12
