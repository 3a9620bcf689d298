"""Fifty clicks, two tabs, two officers at once: threads on a real database, exactly one effect and one audit line."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from core.errors import AdminError
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import act, closed, file, lines, on, row, rows, staff, verified

pytestmark = pytest.mark.usefixtures("house")


def at_once(*clicks: Callable[[], Any]) -> list[Any]:
    """The answers of clicks that begin together; a refusal is its sentence."""
    gate = Barrier(len(clicks))

    def click(do: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return do()
        except AdminError as error:
            return error.sentence

    with ThreadPoolExecutor(len(clicks)) as pool:
        return list(pool.map(click, clicks))


def fifty(do: Callable[[], Any]) -> list[Any]:
    return [answer for _ in range(5) for answer in at_once(*[do] * 10)]


def test_fifty_clicks_on_one_form_file_one_request() -> None:
    given = {
        "kind": "delete",
        "student_id": id_of("cleo"),
        "received_at": NOW,
        "form_key": uuid.uuid4(),
        "words": "Please.",
    }
    by = staff("paula")
    answers = fifty(lambda: act("file_request", by, **given))
    assert {(each.number, each.request_id) for each in answers} == {(answers[0].number, answers[0].request_id)}
    assert sorted(each.made for each in answers) == ["filed", *["same form"] * 49]
    assert lines() == ["request filed"]
    assert rows("select count(*) from privacy.request_text") == [(1,)]


@pytest.mark.parametrize(
    ("begin", "verb", "more", "line"),
    [
        (file, "take_request", {}, "request taken"),
        (file, "ask_identity", {}, "identity asked for"),
        (verified, "close_account", {}, "account closed"),
        (closed, "reactivate_account", {"reason": "closed by mistake"}, "account reactivated"),
        (closed, "ask_early", {"words": "now"}, "early deletion asked for"),
    ],
)
def test_fifty_clicks_have_one_effect_and_one_answer(
    begin: Callable[[], Any], verb: str, more: dict[str, Any], line: str
) -> None:
    where, by = on(begin()), staff("omar")
    answers = fifty(lambda: act(verb, by, **where, **more))
    assert len({(each.number, each.state, each.version) for each in answers}) == 1
    assert sorted(each.again for each in answers) == [False, *[True] * 49]
    assert row(where["request_id"])["version"] == where["version"] + 1
    assert lines(where["request_id"]).count(line) == 1


def test_two_members_of_staff_who_file_the_same_thing_make_one_request() -> None:
    people = [staff(name) for name in ("paula", "ines", "marek", "omar", "olga", "ada")]
    answers = at_once(*[lambda by=by: file("access", by=by, email="cleo@students.example") for by in people])
    assert len({each.number for each in answers}) == 1
    assert sorted(each.made for each in answers) == [*["already open"] * 5, "filed"]
    assert lines().count("request filed") == 1


def test_two_officers_at_once_have_one_effect_and_the_other_is_told() -> None:
    filed = closed()
    olga, oskar = staff("olga"), staff("oskar")
    shown = [act("open_plan", by, request_id=filed.request_id) for by in (olga, oskar)]
    given = {"fingerprint": shown[0].fingerprint, "confirmation": filed.number, "reason": "plan is right", **on(filed)}
    answers = at_once(lambda: act("approve_deletion", olga, **given), lambda: act("approve_deletion", oskar, **given))
    assert sorted(isinstance(each, str) for each in answers) == [False, True]
    assert "was changed since you opened it" in next(each for each in answers if isinstance(each, str))
    assert rows("select count(*) from privacy.approval") == [(1,)]
    assert lines(filed.request_id).count("deletion approved") == 1


def test_an_approval_and_a_reactivation_at_once_leave_one_of_them() -> None:
    filed = closed()
    olga, omar = staff("olga"), staff("omar")
    shown = act("open_plan", olga, request_id=filed.request_id)
    given = {"fingerprint": shown.fingerprint, "confirmation": filed.number, "reason": "plan is right", **on(filed)}
    answers = at_once(
        lambda: act("approve_deletion", olga, **given),
        lambda: act(
            "reactivate_account", omar, reason="closed by mistake", **on(filed) | {"version": given["version"]}
        ),
    )
    assert sorted(isinstance(each, str) for each in answers) == [False, True]
    [(open_account,)] = rows("select account_status = 'open' from platform.student where id = :id", id=id_of("cleo"))
    assert open_account == (row(filed.request_id)["state"] == "reactivated")


def test_two_officers_who_close_different_accounts_do_not_wait_for_each_other() -> None:
    one, other = verified(student_id=id_of("cleo")), verified(email="vera@visitors.example")
    answers = at_once(
        lambda: act("close_account", "omar", **on(one)), lambda: act("close_account", "olga", **on(other))
    )
    assert [each.state for each in answers] == ["to approve", "to approve"]
