"""When an answer is due: calendar months, pauses, one extension, to the microsecond."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.policy import Parameters
from core.policy.clock import Tick, add_months, fold, grace_end

RULES = Parameters("test", 16, 18, 30, 90, 1, 2, 10, 5)
MICRO = timedelta(microseconds=1)
START = datetime(2026, 11, 3, 9, 15, tzinfo=UTC)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("received", "months", "due"),
    [
        ("2026-11-03T09:15", 1, "2026-12-03T09:15"),
        ("2026-12-15T23:59:59.999999", 1, "2027-01-15T23:59:59.999999"),
        ("2027-01-31", 1, "2027-02-28"),
        ("2028-01-31", 1, "2028-02-29"),  # a leap year
        ("2028-02-29", 1, "2028-03-29"),
        ("2027-01-31", 3, "2027-04-30"),  # not through the 28th of February
        ("2027-08-31", 1, "2027-09-30"),
        ("2026-11-30", 3, "2027-02-28"),
        ("2027-12-31", 2, "2028-02-29"),
    ],
)
def test_a_month_later_is_the_same_day_or_the_last_one(received: str, months: int, due: str) -> None:
    assert add_months(day(received), months) == day(due)


@pytest.mark.parametrize(
    ("zone", "received"),
    [("Europe/Berlin", "2026-10-10T08:00"), ("Europe/Berlin", "2026-03-10T08:00"), ("Europe/Berlin", "2026-09-25T02:30"),
     ("America/New_York", "2026-10-10T08:00"), ("America/New_York", "2026-02-20T08:00"), ("Asia/Kolkata", "2026-10-10T01:00")],
)  # fmt: skip
def test_no_change_of_daylight_saving_time_moves_a_due_instant(zone: str, received: str) -> None:
    there = datetime.fromisoformat(received).replace(tzinfo=ZoneInfo(zone))
    assert add_months(there, 1) == add_months(there.astimezone(UTC), 1)
    assert add_months(there, 1).timetz() == there.astimezone(UTC).timetz()
    assert grace_end(there, RULES) - there.astimezone(UTC) == timedelta(hours=720)


@given(instants, st.integers(0, 36))
def test_months_never_skip_one_and_keep_the_order(at: datetime, months: int) -> None:
    later = add_months(at, months)
    assert (later.year * 12 + later.month) - (at.year * 12 + at.month) == months
    assert later.day <= at.day
    assert later.timetz() == at.timetz()
    assert add_months(at, months + 1) > later


def test_the_due_instant_itself_is_on_time() -> None:
    clock = fold([Tick(1, "start", START)], RULES)
    due = add_months(START, 1)
    assert clock.due(START) == due
    assert [clock.overdue(due + step) for step in (-MICRO, timedelta(), MICRO)] == [False, False, True]
    assert clock.left(due - MICRO) == MICRO
    assert clock.used(due) == pytest.approx(1)


def test_a_pause_moves_the_due_instant_by_its_length_and_never_makes_late() -> None:
    pause, resume = START + timedelta(days=10), START + timedelta(days=14, microseconds=7)
    ticks = [Tick(1, "start", START), Tick(2, "pause", pause)]
    resting, after = fold(ticks, RULES), fold([*ticks, Tick(3, "resume", resume)], RULES)
    assert resting.due(resume) == after.due(resume) == add_months(START, 1) + (resume - pause)
    assert resting.due_at == add_months(START, 1), "as it was when the pause began"
    far = START + timedelta(days=3000)
    assert not resting.overdue(far)
    assert resting.used(far) == pytest.approx(resting.used(pause))
    assert after.overdue(after.due_at + MICRO)


def test_pauses_add_up_and_odd_events_change_nothing() -> None:
    at = lambda days: START + timedelta(days=days)  # noqa: E731
    ticks = [Tick(1, "start", START), Tick(2, "resume", at(1)), Tick(3, "pause", at(2)), Tick(4, "pause", at(3)),
             Tick(5, "resume", at(5)), Tick(6, "resume", at(9)), Tick(7, "pause", at(10)), Tick(8, "stop", at(12))]  # fmt: skip
    clock = fold(ticks, RULES)
    assert clock.paused == timedelta(days=5)
    assert (clock.paused_at, clock.stopped_at) == (None, at(12))
    assert fold(reversed(ticks), RULES) == clock, "the order is that of the versions"


@pytest.mark.parametrize(("months", "due"), [(1, 2), (2, 3), (9, 3)])
def test_an_extension_counts_from_the_receipt_and_has_its_limit(months: int, due: int) -> None:
    start = day("2027-01-31")
    clock = fold([Tick(1, "start", start), Tick(2, "extend", start + timedelta(days=3), months)], RULES)
    assert clock.due_at == add_months(start, due)
    assert not clock.extendable(start + timedelta(days=4)), "once"


def test_an_extension_is_decided_within_the_first_month() -> None:
    clock = fold([Tick(1, "start", START)], RULES)
    due = add_months(START, 1)
    assert [clock.extendable(due + step) for step in (-MICRO, timedelta(), MICRO)] == [True, True, False]
    stopped = fold([Tick(1, "start", START), Tick(2, "stop", START + timedelta(days=1))], RULES)
    assert not stopped.extendable(START + timedelta(days=2))
    resting = fold([Tick(1, "start", START), Tick(2, "pause", START + timedelta(days=1))], RULES)
    assert resting.extendable(due + timedelta(days=100)), "while the clock rests the month goes on"


def test_an_answer_fixes_whether_it_was_late() -> None:
    due = add_months(START, 1)
    for answered, late in ((due, False), (due + MICRO, True)):
        clock = fold([Tick(1, "start", START), Tick(2, "stop", answered)], RULES)
        assert clock.overdue(due + timedelta(days=900)) is late


def test_a_clock_begins_with_a_start() -> None:
    with pytest.raises(ValueError, match="start"):
        fold([Tick(1, "pause", START)], RULES)


@given(instants, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6), st.integers(0, 2))
def test_whatever_happens_the_time_to_answer_is_the_months_plus_the_pauses(
    start: datetime, pauses: list[tuple[int, int]], months: int
) -> None:
    ticks, at, version, rested = [Tick(1, "start", start)], start, 1, timedelta()
    for before, long in pauses:
        at += timedelta(days=before)
        ticks += [Tick(version + 1, "pause", at), Tick(version + 2, "resume", at + timedelta(days=long))]
        at, rested, version = at + timedelta(days=long), rested + timedelta(days=long), version + 2
    if months:
        ticks.append(Tick(version + 1, "extend", at, months))
    clock = fold(ticks, RULES)
    assert clock.due_at == add_months(start, 1 + months) + rested
    assert clock.overdue(clock.due_at + MICRO)
    assert not clock.overdue(clock.due_at)
