"""Quarters, years, and when they close."""

from datetime import date

import pytest

from core.anon.periods import Period, closed_periods, period_named, quarter_of, quarters_before
from core.errors import BadInput


def test_a_quarter_knows_its_days() -> None:
    third = period_named("2026-Q3")
    assert (third.first_day, third.last_day) == (date(2026, 7, 1), date(2026, 9, 30))
    assert third.months == ("2026-07", "2026-08", "2026-09")
    assert (third.next.name, Period(2026, 4).next.name, Period(2026).next.name) == ("2026-Q4", "2027-Q1", "2027")
    assert (quarter_of(date(2026, 12, 31)).name, quarters_before(Period(2026, 4), 7).name) == ("2026-Q4", "2025-Q1")


def test_a_period_closes_fourteen_days_after_its_end() -> None:
    assert Period(2026, 3).closes_on == date(2026, 10, 15)
    assert closed_periods(date(2026, 7, 1), date(2026, 10, 14)) == []
    assert [p.name for p in closed_periods(date(2026, 7, 1), date(2026, 10, 15))] == ["2026-Q3"]


def test_a_year_follows_its_last_quarter_and_needs_all_four() -> None:
    names = [p.name for p in closed_periods(date(2025, 4, 1), date(2027, 1, 15))]
    assert names == ["2025-Q2", "2025-Q3", "2025-Q4", "2026-Q1", "2026-Q2", "2026-Q3", "2026-Q4", "2026"]


@pytest.mark.parametrize("name", ["2026-Q5", "2026-07", "last year", "2026-Q3; drop", ""])
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(BadInput):
        period_named(name)
