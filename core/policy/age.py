"""How old somebody is, where it matters: derived at an instant, in this one place, never stored.

Policy, clause 9: nobody below the minimum age, and a guardian's consent below the consent age. A birthday is a day, and a day
does not begin everywhere at once: it begins first where clocks are 14 hours ahead of UTC and last where they are 12 behind. We do
not know where a student is, so each limit is read in the student's favor:

- **of age** only when the birthday has begun *everywhere* (12:00 UTC on that day): until then a minor keeps the protection;
- **below the minimum age** only until the birthday has begun *anywhere* (10:00 UTC on the day before): from then on there is a
  doubt, and an erasure that nothing brings back is not done in doubt.

Born on 29 February: in a year without that day the consent age is reached on 1 March and the minimum age on 28 February, by the
same reason. Whoever gave no birth date is what they declared; whoever said nothing has not declared.

Who is what is asked of many people at once in SQL: compare ``birth_date`` with the two days of :func:`days`.
"""

import calendar
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from core.policy.versions import Parameters

LAPSING_DAYS, SILENT_DAYS = 30, 7
FIRST_PLACE, LAST_PLACE = timedelta(hours=14), timedelta(hours=-12)


class AgeStanding(StrEnum):
    """What a student is, at an instant."""

    NOT_DECLARED = "not declared"
    ADULT = "adult"
    MINOR = "minor"
    BELOW = "below the minimum age"


@dataclass(frozen=True)
class Days:
    """The two days that decide: born on ``adult`` or before: of age. Born after ``allowed``: below the minimum age."""

    adult: date
    allowed: date


def days(now: datetime, rules: Parameters) -> Days:
    """Return the days of birth that decide at an instant, under the policy in force then."""
    moment = now.astimezone(UTC)
    return Days(
        latest_birth((moment + LAST_PLACE).date(), rules.consent_age, leap_waits=True),
        latest_birth((moment + FIRST_PLACE).date(), rules.minimum_age, leap_waits=False),
    )


def standing(birth_date: date | None, adult: bool | None, now: datetime, rules: Parameters) -> AgeStanding:
    """Return what somebody is. A declaration to be an adult stands for a birth date, which is not kept then."""
    if adult:
        return AgeStanding.ADULT
    if birth_date is None:
        return AgeStanding.NOT_DECLARED if adult is None else AgeStanding.MINOR
    limit = days(now, rules)
    if birth_date <= limit.adult:
        return AgeStanding.ADULT
    return AgeStanding.BELOW if birth_date > limit.allowed else AgeStanding.MINOR


def case_days(now: datetime, rules: Parameters) -> dict[str, object]:
    """Return the days and instants by which ``privacy.consent_cases`` sorts: what it takes as arguments."""
    limit = days(now, rules)
    return {"adult": limit.adult, "allowed": limit.allowed, "soon": days(now + timedelta(days=LAPSING_DAYS), rules).adult,
            "silent": now - timedelta(days=SILENT_DAYS), "now": now}  # fmt: skip


def latest_birth(today: date, years: int, *, leap_waits: bool) -> date:
    """Return the last day on which somebody may be born who is that old ``today``.

    ``leap_waits``: whoever was born on 29 February has to wait for 1 March where there is no such day.
    """
    year, last_of_february = today.year - years, date(today.year - years, 3, 1) - timedelta(days=1)
    if (today.month, today.day) == (2, 29):
        return last_of_february
    if (today.month, today.day) == (2, 28) and not leap_waits and not calendar.isleap(today.year):
        return last_of_february
    return today.replace(year=year)


def birthday(birth_date: date, years: int, *, leap_waits: bool) -> date:
    """Return the day on which somebody becomes that old."""
    try:
        return birth_date.replace(year=birth_date.year + years)
    except ValueError:
        return date(birth_date.year + years, 3, 1) if leap_waits else date(birth_date.year + years, 2, 28)


def of_age_at(birth_date: date, rules: Parameters) -> datetime:
    """Return the instant at which somebody is of age everywhere (UTC)."""
    day = birthday(birth_date, rules.consent_age, leap_waits=True)
    return datetime(day.year, day.month, day.day, tzinfo=UTC) - LAST_PLACE
