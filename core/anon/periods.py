"""Calendar quarters and years (UTC). Nothing finer than these is ever published, and no window that slides."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from core.errors import BadInput

CLOSES_AFTER = timedelta(days=14)


@dataclass(frozen=True)
class Period:
    """A calendar quarter ("2026-Q3") or year ("2026"). ``quarter`` is 0 for a year."""

    year: int
    quarter: int = 0

    @property
    def name(self) -> str:
        """Its name, as it is stored and shown."""
        return f"{self.year}-Q{self.quarter}" if self.quarter else str(self.year)

    @property
    def grain(self) -> str:
        """What kind of period it is."""
        return "quarter" if self.quarter else "year"

    @property
    def first_day(self) -> date:
        """The first day."""
        return date(self.year, 3 * self.quarter - 2 if self.quarter else 1, 1)

    @property
    def last_day(self) -> date:
        """The last day."""
        return self.next.first_day - timedelta(days=1)

    @property
    def next(self) -> "Period":
        """The period of the same kind that follows."""
        if self.quarter in (0, 4):
            return Period(self.year + 1, 1 if self.quarter else 0)
        return Period(self.year, self.quarter + 1)

    @property
    def start(self) -> datetime:
        """The instant at which it begins."""
        return datetime.combine(self.first_day, time.min, UTC)

    @property
    def end(self) -> datetime:
        """The instant at which the next one begins."""
        return self.next.start

    @property
    def months(self) -> tuple[str, ...]:
        """Its months, like "2026-07"."""
        first = self.first_day.month
        return tuple(f"{self.year}-{month:02}" for month in range(first, first + (3 if self.quarter else 12)))

    @property
    def quarters(self) -> tuple["Period", ...]:
        """The quarters of a year; a quarter itself."""
        return (self,) if self.quarter else tuple(Period(self.year, quarter) for quarter in (1, 2, 3, 4))

    @property
    def closes_on(self) -> date:
        """The first day on which it can be published: what happens late is in by then, who left is out."""
        return self.last_day + CLOSES_AFTER + timedelta(days=1)


def period_named(name: str) -> Period:
    """Return the period of a name. Raises BadInput for anything but a quarter or a year."""
    found = re.fullmatch(r"(20\d\d|19\d\d)(?:-Q([1-4]))?", name)
    if not found:
        raise BadInput(f"A period is a quarter like 2026-Q3 or a year like 2026, not {name[:20]!r}.", period=name)
    return Period(int(found[1]), int(found[2] or 0))


def quarter_of(day: date) -> Period:
    """Return the quarter in which a day lies."""
    return Period(day.year, (day.month + 2) // 3)


def quarters_before(quarter: Period, many: int) -> Period:
    """Return the quarter that lies ``many`` quarters before."""
    place = quarter.year * 4 + quarter.quarter - 1 - many
    return Period(place // 4, place % 4 + 1)


def closed_periods(first_day: date, today: date) -> list[Period]:
    """Return every quarter and year from ``first_day`` on that is closed by ``today``: a year behind its last quarter.

    A year counts only when all its quarters do.
    """
    found: list[Period] = []
    quarter = quarter_of(first_day)
    while quarter.closes_on <= today:
        found.append(quarter)
        if quarter.quarter == 4 and Period(quarter.year).first_day >= first_day:
            found.append(Period(quarter.year))
        quarter = quarter.next
    return found
