"""The clock of a request: when the answer is due, as what its events add up to.

Rule (GDPR article 12(3), clause 7): one calendar month from receipt, that is the same day and time of the next month, or its
last day where that day is missing; once longer by up to two more months, decided within the first month and with a reason.
The clock rests only while the person's identity is being checked. All in UTC, so that no change of daylight saving time
moves a due instant. A due day that is a weekend or holiday stays: article 3(4) of Regulation 1182/71 would give until the
next working day, which differs by country; being early is always allowed.

Overdue is never stored. It is asked for with an instant: a stopped worker makes nothing look on time.
"""

import calendar
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from core.policy.versions import Parameters

ORDER = ("start", "pause", "resume", "extend", "stop", "restart")


@dataclass(frozen=True)
class Tick:
    """One event of a clock. ``version`` is the request's version that it belongs to; ``months`` is for "extend"."""

    version: int
    what: str
    at: datetime
    months: int = 0


@dataclass(frozen=True)
class Clock:
    """What the events add up to. While paused, ``due_at`` is what it was when the pause began."""

    started_at: datetime
    due_at: datetime
    first_due_at: datetime
    extended_months: int
    paused: timedelta
    paused_at: datetime | None
    stopped_at: datetime | None

    def due(self, now: datetime) -> datetime:
        """When the answer is due, as seen at ``now``: a pause that runs moves it."""
        return self.due_at + self._running_pause(now)

    def overdue(self, now: datetime) -> bool:
        """Whether the answer came, or would come, after it was due. The due instant itself is on time."""
        return (self.stopped_at or now) > self.due(self.stopped_at or now)

    def left(self, now: datetime) -> timedelta:
        """Time left; negative when overdue."""
        return self.due(now) - (self.stopped_at or now)

    def used(self, now: datetime) -> float:
        """The share of the time that is used up, pauses left out; above 1 when overdue."""
        paused = self.paused + self._running_pause(now)
        whole = self.due(now) - self.started_at - paused
        return max(0.0, ((self.stopped_at or now) - self.started_at - paused) / whole)

    def extendable(self, now: datetime) -> bool:
        """Whether an extension may still be decided: once, within the first month, before the answer."""
        first = self.first_due_at + self._running_pause(now)
        return not self.extended_months and self.stopped_at is None and now <= first

    def _running_pause(self, now: datetime) -> timedelta:
        return max(now - self.paused_at, timedelta()) if self.paused_at else timedelta()


def fold(ticks: Iterable[Tick], parameters: Parameters) -> Clock:
    """Return the clock that the events of one request make. Raises ValueError when none of them is a start."""
    ordered = sorted(ticks, key=lambda tick: (tick.version, ORDER.index(tick.what)))
    started_at = next((tick.at for tick in ordered if tick.what == "start"), None)
    if started_at is None:
        raise ValueError("a clock begins with a start")
    months, paused, paused_at, stopped_at = 0, timedelta(), None, None
    for tick in ordered:
        if tick.what == "pause" and paused_at is None:
            paused_at = tick.at
        elif tick.what in ("resume", "stop") and paused_at is not None:
            paused, paused_at = paused + max(tick.at - paused_at, timedelta()), None
        if tick.what == "extend":
            months = min(tick.months, parameters.extension_months)
        elif tick.what == "stop" and stopped_at is None:
            stopped_at = tick.at
        elif tick.what == "restart":  # what the person was told was taken back: the time in between counts
            stopped_at = None
    first = add_months(started_at, parameters.answer_months) + paused
    due_at = add_months(started_at, parameters.answer_months + months) + paused
    return Clock(started_at, due_at, first, months, paused, paused_at, stopped_at)


def add_months(at: datetime, months: int) -> datetime:
    """Return the same day and time of a later month (UTC), or the last day of that month when it has no such day."""
    start = at.astimezone(UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return start.replace(year=year, month=month + 1, day=day)


def grace_end(closed_at: datetime, parameters: Parameters) -> datetime:
    """Return the earliest instant of an erasure: the days of the grace period times 24 hours after the closing."""
    return closed_at.astimezone(UTC) + parameters.grace_days * timedelta(
        hours=24
    )  # in a zone Python adds days, not hours
