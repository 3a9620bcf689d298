"""Ages at both ends of the world's time zones, around 29 February, and the same answer by the days that SQL compares."""

import calendar
from datetime import UTC, date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from core.policy.age import AgeStanding, birthday, days, latest_birth, of_age_at, standing
from core.policy.versions import Parameters

RULES = Parameters("test", 16, 18, 30, 90, 1, 2, 10, 5)
BORN = date(2008, 6, 15)
MOMENT = timedelta(microseconds=1)


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "is_now"),
    [
        (at(2026, 6, 14, 9), "minor"),  # 17 years and 364 days, everywhere
        (at(2026, 6, 14, 10), "minor"),  # the birthday begins on Kiritimati (UTC+14)
        (at(2026, 6, 15, 0), "minor"),  # in Greenwich
        (at(2026, 6, 15, 12) - MOMENT, "minor"),  # on Baker Island (UTC-12) it is still the 14th
        (at(2026, 6, 15, 12), "adult"),  # now it is the birthday everywhere
        (at(2024, 6, 14, 10) - MOMENT, "below the minimum age"),  # 15 years and 364 days everywhere
        (at(2024, 6, 14, 10), "minor"),  # 16 on Kiritimati: a doubt, and nobody is erased in doubt
    ],
)
def test_a_birthday_counts_in_the_students_favor(now: datetime, is_now: str) -> None:
    assert standing(BORN, None, now, RULES) == is_now
    zoned = now.astimezone(ZoneInfo("Pacific/Kiritimati"))
    assert standing(BORN, None, zoned, RULES) == is_now, "the zone of the clock that asks plays no part"


@pytest.mark.parametrize(
    ("now", "is_now"),
    [
        (at(2026, 2, 28, 12), "minor"),  # no 29 February in 2026: of age on 1 March
        (at(2026, 3, 1, 12) - MOMENT, "minor"),
        (at(2026, 3, 1, 12), "adult"),
        (at(2024, 2, 28, 10) - MOMENT, "below the minimum age"),  # 2024 has a 29th
        (at(2024, 2, 28, 10), "minor"),
    ],
)
def test_born_on_29_february(now: datetime, is_now: str) -> None:
    assert standing(date(2008, 2, 29), None, now, RULES) == is_now


def test_declarations() -> None:
    now = at(2026, 6, 15)
    assert standing(None, None, now, RULES) is AgeStanding.NOT_DECLARED
    assert standing(None, True, now, RULES) is AgeStanding.ADULT
    assert standing(None, False, now, RULES) is AgeStanding.MINOR
    assert standing(date(2020, 1, 1), True, now, RULES) is AgeStanding.ADULT, "what was declared stands"


@pytest.mark.parametrize(("years", "leap_waits"), list(product((13, 14, 16, 18, 21, 100), (True, False))))
def test_the_day_that_sql_compares_gives_the_same_answer_as_the_birthday(years: int, leap_waits: bool) -> None:
    """Every day of birth around every 28 February to 1 March of a century, and some others."""
    for year in range(2015, 2105):
        for today in (date(year, 1, 1), date(year, 2, 27), date(year, 2, 28), date(year, 3, 1), date(year, 3, 2), date(year, 12, 31),
                      *([date(year, 2, 29)] if calendar.isleap(year) else [])):  # fmt: skip
            limit = latest_birth(today, years, leap_waits=leap_waits)
            for born in (limit - timedelta(days=1), limit, limit + timedelta(days=1), limit + timedelta(days=2)):
                old_enough = birthday(born, years, leap_waits=leap_waits) <= today
                assert old_enough == (born <= limit), (today, born, limit)


def test_of_age_at_is_the_first_instant_as_an_adult() -> None:
    for born in (BORN, date(2008, 2, 29), date(2008, 12, 31)):
        first = of_age_at(born, RULES)
        assert standing(born, None, first, RULES) is AgeStanding.ADULT
        assert standing(born, None, first - MOMENT, RULES) is AgeStanding.MINOR
        assert (born <= days(first, RULES).adult, born <= days(first - MOMENT, RULES).adult) == (True, False)
