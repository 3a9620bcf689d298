"""The calendar moves an enrollment, whatever it came from."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from core.importers.statuses import refresh_statuses
from core.models.platform import Result
from tests import cast
from tests.cast import NOW, id_of

START = NOW.date() - timedelta(days=60)
END = NOW.date() + timedelta(days=60)


@pytest.fixture
def registered(worker: Session) -> Session:
    """Asha's place in Python is registered; the cohort runs from START to END."""
    cast.play(worker)
    worker.execute(text("delete from platform.certificate"))
    worker.execute(text("delete from platform.result"))
    worker.execute(text("update platform.enrollment set status = 'registered', started_at = null"))
    return worker


def asha(session: Session) -> tuple[str, datetime | None]:
    query = text("select status, started_at from platform.enrollment where id = :id")
    status, started_at = session.execute(query, {"id": id_of("asha enrollment")}).one()
    return status, started_at


def noon(day: object, offset: int = 0) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC) + timedelta(days=offset)


def midnight(day: object) -> datetime:
    return datetime.fromisoformat(f"{day}T00:00:00").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "offset", "status"),
    [(START, -1, "registered"), (START, 0, "active"), (END, 0, "active"), (END, 1, "ended")],
    ids=["the day before", "first day", "last day", "the day after"],
)
def test_status_follows_the_calendar(registered: Session, day: object, offset: int, status: str) -> None:
    refresh_statuses(registered, noon(day, offset))
    started = None if status == "registered" else midnight(START)
    assert asha(registered) == (status, started)


def test_a_second_time_moves_nobody(registered: Session) -> None:
    assert refresh_statuses(registered, NOW) == 3
    assert refresh_statuses(registered, NOW) == 0


def test_nobody_starts_before_they_enrolled(registered: Session) -> None:
    late = NOW - timedelta(days=5)
    registered.execute(text("update platform.enrollment set enrolled_at = :late"), {"late": late})
    refresh_statuses(registered, NOW)
    assert asha(registered) == ("active", late)


def test_who_withdrew_stays_withdrawn(registered: Session) -> None:
    registered.execute(text("update platform.enrollment set status = 'withdrawn', withdrawn_at = now()"))
    assert refresh_statuses(registered, NOW + timedelta(days=365)) == 0


def test_a_withdrawal_takes_effect_on_its_day(registered: Session) -> None:
    decided = NOW + timedelta(days=10)
    registered.execute(
        insert(Result).values(
            enrollment_id=id_of("asha enrollment"), cohort_id=id_of("python"), kind="withdrawn", decided_at=decided,
            source="cast",
        )
    )  # fmt: skip
    refresh_statuses(registered, NOW)
    assert asha(registered)[0] == "active"
    refresh_statuses(registered, decided)
    assert asha(registered) == ("withdrawn", midnight(START))
