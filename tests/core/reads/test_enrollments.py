"""Enrollments: every filter and order, the funnel and the trend beside SQL written by hand; and who gets which."""

import random
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text
from sqlalchemy.orm import Session

from core import db, keys, queries
from core.models import platform as p
from core.queries import Cursor, EnrollmentFilter, Total
from core.reads import enrollments
from core.rollups import refresh_rollups
from tests.cast import NOW, id_of

pytestmark = pytest.mark.usefixtures("house")
COHORTS = ("python", "java", "cloud")


def a_crowd(session: Session, many: int = 150) -> None:
    """Enrollments of every kind, the same every time; several begin in the same instant, none in some months."""
    dice, hashes = random.Random(11), keys.person_hashes()
    students, enrolled = [], []
    for number in range(many):
        name, then = (
            f"{dice.choice(['Ann', 'ann', 'Zoë', '_%x'])} {number % 9}",
            NOW - timedelta(days=dice.choice([1, 40, 41, 200, 400])),
        )
        email_hash, provider_hash = hashes(f"{number}@crowd.example", f"crowd {number}")
        student, cohort = uuid.uuid5(uuid.NAMESPACE_URL, f"student {number}"), dice.choice(COHORTS)
        status = dice.choice(p.ENROLLMENT_STATUS)
        students.append({
            "id": student, "name": name, "email": f"{number}@crowd.example", "registered_at": then, "source": "test",
            "experience_level": dice.choice(p.EXPERIENCE_LEVELS), "email_hash": email_hash, "provider_hash": provider_hash,
        })  # fmt: skip
        enrolled.append({
            "id": uuid.uuid5(uuid.NAMESPACE_URL, f"enrollment {number}"), "student_id": student, "cohort_id": id_of(cohort),
            "program_id": id_of(f"{cohort} program"), "status": status, "enrolled_at": then, "source": "test",
            "started_at": then if status != "registered" else None, "confirmed_at": dice.choice([None, then]),
            "withdrawn_at": then + timedelta(hours=1) if status == "withdrawn" else None,
        })  # fmt: skip
    session.execute(insert(p.Student), students)
    session.execute(insert(p.Enrollment), enrolled)


@pytest.fixture(autouse=True)
def crowd(house: str) -> None:
    with db.transaction("worker") as session:
        a_crowd(session)
        refresh_rollups(session)


def paula() -> Any:
    return db.transaction(staff_id=id_of("paula"))


def every_page(wanted: EnrollmentFilter, sort: str = "newest", limit: int = 17) -> list[uuid.UUID]:
    """All ids of a list, page by page."""
    found: list[uuid.UUID] = []
    after: Cursor | None = None
    while True:
        with paula() as session:
            page = queries.enrollment_page(session, wanted, sort=sort, after=after, limit=limit)
        found += [row.id for row in page.rows]
        after = page.next
        if after is None:
            return found


ROWS = "from platform.enrollment e join platform.student s on s.id = e.student_id"
WORDS = "lower(s.name || ' ' || s.email)"
CASES: list[tuple[EnrollmentFilter, str]] = [
    (EnrollmentFilter(), "true"),
    (EnrollmentFilter(search="ANN"), f"{WORDS} like '%ann%'"),
    (EnrollmentFilter(search="_%x"), f"strpos({WORDS}, '_%x') > 0"),
    (EnrollmentFilter(program_id=id_of("python program")), "e.program_id = :python"),
    (EnrollmentFilter(cohort_id=id_of("java")), "e.cohort_id = :java"),
    (EnrollmentFilter(statuses=("active",)), "e.status = 'active'"),
    (EnrollmentFilter(statuses=("active", "ended")), "e.status in ('active', 'ended')"),
    (EnrollmentFilter(statuses=("no such",)), "true"),
    (EnrollmentFilter(level="beginner"), "s.experience_level = 'beginner'"),
    (EnrollmentFilter(unconfirmed=True), "e.confirmed_at is null"),
    (
        EnrollmentFilter(first_day=NOW.date() - timedelta(days=41), last_day=NOW.date() - timedelta(days=40)),
        "(e.enrolled_at at time zone 'UTC')::date between date '2026-11-24' - 41 and date '2026-11-24' - 40",
    ),
    (
        EnrollmentFilter(search="ann", statuses=("ended",), unconfirmed=True),
        f"{WORDS} like '%ann%' and e.status = 'ended' and e.confirmed_at is null",
    ),
]
ORDERS = {"newest": "e.enrolled_at desc, e.id desc", "oldest": "e.enrolled_at, e.id", "name": "lower(s.name), e.id"}
TOLD = {"python": id_of("python program"), "java": id_of("java")}


def test_every_filter_finds_what_sql_written_by_hand_finds(owner: Connection) -> None:
    for wanted, condition in CASES:
        by_hand = owner.execute(text(f"select e.id {ROWS} where {condition}"), TOLD).scalars().all()
        found = every_page(wanted, limit=50)
        assert len(found) == len(set(found)), wanted
        assert set(found) == set(by_hand) != set(), wanted
        with paula() as session:
            assert queries.enrollment_total(session, wanted).count == len(by_hand), wanted


@pytest.mark.parametrize("sort", ORDERS)
def test_pages_follow_one_order_without_gap_or_repetition(sort: str, owner: Connection) -> None:
    expected = owner.execute(text(f"select e.id {ROWS} order by {ORDERS[sort]}")).scalars().all()
    assert every_page(EnrollmentFilter(), sort) == expected


def test_a_full_page_that_is_the_last_and_a_count_that_reaches_its_cap_say_so(
    owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = len(every_page(EnrollmentFilter()))
    novices = EnrollmentFilter(level="beginner")
    with paula() as session:
        assert queries.enrollment_page(session, EnrollmentFilter(), limit=many).next is None
        assert queries.enrollment_page(session, EnrollmentFilter(), limit=many - 1).next is not None
        assert queries.enrollment_total(session, EnrollmentFilter(), cap=many) == Total(many, capped=False)
        assert queries.enrollment_total(session, EnrollmentFilter(), cap=many - 1) == Total(many - 1, capped=True)
        monkeypatch.setattr(enrollments, "SEARCHED_COUNT_CAP", 1)
        for looked_at in (novices, EnrollmentFilter(search="ann")):
            assert queries.enrollment_total(session, looked_at).capped, "students are looked at less far"
        assert not queries.enrollment_total(session, EnrollmentFilter()).capped


SCOPES: list[tuple[dict[str, Any], str]] = [
    ({}, "true"),
    ({"program_id": id_of("python program")}, "program_id = :python"),
    ({"cohort_id": id_of("java")}, "cohort_id = :java"),
    ({"first_day": date(2026, 10, 15), "last_day": date(2026, 11, 23)}, "enrolled_at >= '2026-10-15 00:00+00' and enrolled_at < '2026-11-24 00:00+00'"),
    ({"program_id": id_of("python program"), "last_day": date(2026, 10, 1)}, "program_id = :python and enrolled_at < '2026-10-02 00:00+00'"),
]  # fmt: skip


@pytest.mark.parametrize(("scope", "condition"), SCOPES)
def test_funnel_and_trend_count_the_same_enrollments(scope: dict[str, Any], condition: str, owner: Connection) -> None:
    by_hand = owner.execute(text("select count(*), count(started_at), count(*) filter (where status = 'ended'),"
                                 " count(*) filter (where status = 'withdrawn')"
                                 f" from platform.enrollment where {condition}"), TOLD).one()  # fmt: skip
    with paula() as session:
        funnel, trend = queries.funnel(session, **scope), queries.monthly_trend(session, **scope)
    assert (funnel.registered, funnel.active, funnel.ended, funnel.withdrawn) == tuple(by_hand) != (0, 0, 0, 0)
    assert sum(sum(counts) for counts in trend.series.values()) == funnel.registered


def test_a_trend_has_every_month_between_the_first_and_the_last(owner: Connection) -> None:
    with paula() as session:
        trend = queries.monthly_trend(session, cohort_id=id_of("python"))
    assert list(trend.series) == ["Python"]
    assert trend.months[0] == date(2025, 10, 1)
    assert trend.months[-1] == date(2026, 11, 1)
    assert len(trend.months) == 14
    assert 0 in trend.series["Python"]
    by_hand = text(
        "select count(*) from platform.enrollment where cohort_id = :python and enrolled_at >= :first and enrolled_at < :next"
    )
    for month, count in zip(trend.months, trend.series["Python"], strict=True):
        first = datetime(month.year, month.month, 1, tzinfo=UTC)
        told = {"python": id_of("python"), "first": first, "next": (first + timedelta(days=32)).replace(day=1)}
        assert owner.execute(by_hand, told).scalar() == count, month


def test_beyond_the_series_of_a_trend_the_smallest_programs_are_one(
    owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_size = owner.execute(text("select p.title from platform.enrollment e join platform.program p on p.id = e.program_id"
                                 " group by 1 order by count(*) desc, 1")).scalars().all()  # fmt: skip
    monkeypatch.setattr("core.reads.enrollments.TREND_SERIES", 2)
    with paula() as session:
        trend, whole = queries.monthly_trend(session), queries.funnel(session).registered
    assert len(by_size) == 3
    assert list(trend.series) == [by_size[0], "other"], "the largest, and the sum of the two others"
    assert sum(sum(counts) for counts in trend.series.values()) == whole
    assert sum(trend.series["other"]) == whole - sum(trend.series[by_size[0]])


def test_an_instructor_counts_their_own_cohorts_only() -> None:
    with db.transaction(staff_id=id_of("marek")) as session:
        mine = queries.monthly_trend(session)
        assert list(mine.series) == ["Cloud"], "Marek teaches Cloud"
        assert queries.funnel(session, program_id=id_of("python program")).registered == 0
    with db.transaction(staff_id=id_of("omar")) as session:
        assert queries.monthly_trend(session).months == ()
