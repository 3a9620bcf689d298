"""Clocks that cannot be right are found; those that merely drift, or rest over a long weekend, are not."""

from datetime import timedelta

import pytest

from core import db, timekeeping
from core.timekeeping import BACK, DIFFER, JUMPED, SILENT, Readings, trouble
from tests.cast import NOW

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FOUND: dict[str, tuple[Readings, str]] = {
    "all agree": (Readings(NOW, NOW, NOW - MINUTE, NOW - MINUTE, MINUTE), ""),
    "first start ever": (Readings(NOW, NOW), ""),
    "a leap second smeared": (Readings(NOW, NOW + timedelta(seconds=1), NOW - MINUTE, NOW - MINUTE, MINUTE), ""),
    "machine an hour behind": (Readings(NOW - HOUR, NOW, NOW), DIFFER),
    "machine an hour ahead": (Readings(NOW + HOUR, NOW, NOW), DIFFER),
    "just within": (Readings(NOW + 5 * MINUTE, NOW, NOW), ""),
    "just without": (Readings(NOW + 5 * MINUTE + timedelta(microseconds=1), NOW, NOW), DIFFER),
    "both on one machine, forty days ahead while it runs": (
        Readings(NOW + 40 * DAY, NOW + 40 * DAY, NOW, NOW, MINUTE),
        JUMPED,
    ),
    "both an hour back while it runs": (Readings(NOW - HOUR, NOW - HOUR, NOW, NOW, MINUTE), JUMPED),
    "both an hour back, after a restart": (Readings(NOW - HOUR, NOW - HOUR, NOW), BACK),
    "both forty days ahead, after a restart": (Readings(NOW + 40 * DAY, NOW + 40 * DAY, NOW), SILENT),
    "five days off": (Readings(NOW + 5 * DAY, NOW + 5 * DAY, NOW), ""),
    "asleep for an hour": (Readings(NOW + HOUR, NOW + HOUR, NOW, NOW, HOUR), ""),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_is_wrong_with_clocks(name: str) -> None:
    found, expected = FOUND[name]
    assert trouble(found) == expected


def test_the_real_clocks_of_this_machine_agree(database: str) -> None:
    for _ in range(2):
        with db.transaction("worker") as session:
            found = timekeeping.read(session)
    assert trouble(found) == ""
    assert found.passed is not None and found.before is not None
