"""Roll-ups beside the rows themselves: after changes, deletions, crashes, with two workers; what waits is known and told."""

from datetime import date, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db, jobs, queries
from core.models.base import uuid7
from core.rollups import refresh_rollup, refresh_rollups, rollups_due
from core.worker import Worker
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_erasures import erased, stores
from tests.core.privacy.house_of_requests import waiting
from tests.pages.test_matrix import opened, words

__all__ = ["stores"]
pytestmark = pytest.mark.usefixtures("house")

LIVE = """
    select 'enrolled' as what, (enrolled_at at time zone 'UTC')::date as day, program_id, status, started_at is not null as started, count(*)::int
        from platform.enrollment group by 1, 2, 3, 4, 5
    union all select 'withdrawn', (withdrawn_at at time zone 'UTC')::date, program_id, null, null, count(*)::int
        from platform.enrollment where withdrawn_at is not null group by 1, 2, 3
    union all select 'asked', (asked_at at time zone 'UTC')::date, program_id, null, null, count(*)::int from platform.visitor group by 1, 2, 3"""
BY = """select what, date_trunc('{grain}', day)::date, program_id, status, started, sum(count)::int from ({live}) l group by 1, 2, 3, 4, 5"""
BEGAN = """select 'began', date_trunc('month', enrolled_at at time zone 'UTC')::date, program_id, null, null, count(*)::int
    from platform.enrollment group by 1, 2, 3"""
KEPT = "select what, begins, program_id, status, started, number from platform.rollup where grain = :grain"


def agree(owner: Connection) -> bool:
    """Whether every day, month and year of the roll-ups is what the rows are, and every day of all programs together."""
    owner.rollback()
    live = {grain: BY.format(grain=grain, live=LIVE) for grain in ("day", "month", "year")}
    live["month"] += f" union all {BEGAN}"
    live["date"] = f"select what, day, null::uuid, null, null, sum(count)::int from ({LIVE}) l group by 1, 2"
    for grain, sql in live.items():
        rows, kept = owner.execute(text(sql)).all(), owner.execute(text(KEPT), {"grain": grain}).all()
        if sorted(map(str, rows)) != sorted(map(str, kept)) or len(kept) < (2 if grain == "date" else 3):
            return False
    return True


def act(statement: str, **values: object) -> list[str]:
    """Change something as the worker role; return what waits to be counted then."""
    with db.transaction("worker") as session:
        session.execute(text(statement), values)
    with db.transaction("worker") as session:
        return rollups_due(session)


def enroll(session: Session, moment: str) -> None:
    """Enroll Ben once more, in Java."""
    session.execute(text("""insert into platform.enrollment (id, student_id, cohort_id, program_id, status, enrolled_at, source)
        values (:id, :ben, :java, :program, 'registered', cast(:at as timestamptz), 'test')"""),
        {"id": uuid7(), "ben": id_of("ben"), "java": id_of("java"), "program": id_of("java program"), "at": moment})  # fmt: skip


def months(owner: Connection, sql: str) -> set[str]:
    owner.rollback()
    return set(owner.execute(text(sql)).scalars())


CHANGES: list[tuple[str, set[str]]] = [
    ("update platform.enrollment set enrolled_at = '2026-02-11 09:00+00' where id = :asha", {"enrolled then", "enrolled 2026-02-01"}),
    ("update platform.enrollment set status = 'ended' where id = :asha", {"enrolled then"}),
    ("update platform.enrollment set started_at = null where id = :asha", {"enrolled then"}),
    ("update platform.enrollment set status = 'withdrawn', withdrawn_at = '2026-01-31 23:59:59.999+00' where id = :asha",
        {"enrolled then", "withdrawn 2026-01-01"}),
    ("update platform.enrollment set confirmed_at = '2026-03-01' where id = :asha", set()),
    ("update platform.visitor set asked_at = '2025-12-31 23:30+00' where id = :vera", {"asked then", "asked 2025-12-01"}),
    ("update platform.visitor set program_id = null where id = :vera", {"asked then"}),
    ("update platform.visitor set status = 'lost' where id = :vera", set()),
    ("delete from platform.visitor_device where visitor_id = :vera; ", set()),
]  # fmt: skip


@pytest.mark.parametrize(("change", "waiting"), CHANGES)
def test_a_change_makes_its_months_due_and_no_other(change: str, waiting: set[str], owner: Connection) -> None:
    assert agree(owner)
    asked = {"asha": id_of("asha enrollment"), "vera": id_of("vera")}
    known = {name: value for name, value in asked.items() if f":{name}" in change}
    then = {
        "enrolled": months(owner, f"select to_char(enrolled_at at time zone 'UTC', 'YYYY-MM-01') from platform.enrollment where id = '{asked['asha']}'"),
        "asked": months(owner, f"select to_char(asked_at at time zone 'UTC', 'YYYY-MM-01') from platform.visitor where id = '{asked['vera']}'"),
    }  # fmt: skip
    expected = {
        each if "then" not in each else f"{each.split()[0]} {then[each.split()[0]].copy().pop()}" for each in waiting
    }
    assert set(act(change.rstrip("; "), **known)) == expected
    assert agree(owner) is (not waiting), "nothing is counted before the worker comes"
    with db.transaction("worker") as session:
        assert refresh_rollups(session) == len(waiting)
    assert agree(owner)


def test_the_first_instant_of_a_month_belongs_to_no_other(owner: Connection) -> None:
    """Nor does that of a year, which its neighbors count again, too."""
    asha, vera = id_of("asha enrollment"), id_of("vera")
    act("update platform.enrollment set enrolled_at = '2026-01-01 00:00+00' where id = :asha", asha=asha)
    act(
        "update platform.enrollment set status = 'withdrawn', withdrawn_at = '2026-02-01 00:00+00' where id = :asha",
        asha=asha,
    )
    act("update platform.visitor set asked_at = '2026-01-01 00:00+00' where id = :vera", vera=vera)
    with db.transaction("worker") as session:
        refresh_rollups(session)
        for what in ("enrolled", "withdrawn", "asked"):
            for month in ("2025-12-01", "2026-01-01", "2026-02-01", "2026-01-01", "2025-12-01"):
                refresh_rollup(session, f"{what} {month}")
    assert agree(owner)


@pytest.mark.usefixtures("stores")
def test_who_is_erased_is_in_no_figure(owner: Connection) -> None:
    numbers = text(
        "select program_id, sum(number) from platform.rollup where what = 'enrolled' and grain = 'month' group by 1"
    )
    before = dict(owner.execute(numbers).all())
    assert before[id_of("java program")] == 1, "only Cleo is in Java"
    assert erased(waiting().request_id)
    Worker(lambda: NOW, tuple(job for job in jobs.JOBS if job.kind == "roll-ups")).catch_up()
    assert agree(owner)
    after = dict(owner.execute(numbers).all())
    assert after == {program: number for program, number in before.items() if program != id_of("java program")}, (
        "the others stay"
    )
    everything = str(owner.execute(text("select * from platform.rollup")).all())
    assert not any(str(id_of(name)) in everything for name in ("cleo", "cleo enrollment"))


def test_a_change_while_a_worker_counts_is_counted_by_the_next(owner: Connection) -> None:
    with db.transaction("worker") as session:
        enroll(session, "2026-11-03 10:00+00")
    with Session(db.engine("worker")) as first, first.begin():
        refresh_rollup(first, "enrolled 2026-11-01")
        with db.transaction("worker") as other:  # commits while the first still counts
            other.execute(text("update platform.enrollment set enrolled_at = '2026-11-04' where student_id = :ben and cohort_id = :java"),
                          {"ben": id_of("ben"), "java": id_of("java")})  # fmt: skip
        with pytest.raises(DBAPIError, match="lock timeout"), db.transaction("worker") as second:
            second.execute(text("set local lock_timeout = '100ms'"))
            refresh_rollup(second, "enrolled 2026-11-01")
    with db.transaction("worker") as session:
        assert rollups_due(session) == ["enrolled 2026-11-01"]
        refresh_rollups(session)
    assert agree(owner)


def test_a_worker_that_dies_leaves_the_month_due(owner: Connection) -> None:
    with db.transaction("worker") as session:
        enroll(session, "2026-11-03 10:00+00")
    with pytest.raises(KeyboardInterrupt), db.transaction("worker") as session:
        refresh_rollups(session)
        raise KeyboardInterrupt
    assert not agree(owner)
    with db.transaction("worker") as session:
        assert rollups_due(session) == ["enrolled 2026-11-01"]
        assert [refresh_rollup(session, "enrolled 2026-11-01") for _ in range(2)] == [1, 0]
    assert agree(owner)


PERIODS = [
    (None, None), (date(2025, 12, 1), date(2026, 11, 30)), (date(2025, 12, 2), date(2026, 11, 29)), (date(2026, 11, 24), date(2026, 11, 24)),
    (date(2026, 11, 2), date(2026, 11, 20)), (None, date(2026, 10, 31)), (date(2026, 11, 1), None), (date(2026, 10, 31), date(2026, 11, 1)),
    (date(2026, 12, 1), date(2026, 1, 1)),
]  # fmt: skip


def test_any_period_is_the_sum_of_its_days(owner: Connection) -> None:
    with db.transaction("worker") as session:
        for n in range(400):
            session.execute(text("""insert into platform.visitor (id, name, email, email_hash, provider_hash, experience_level, status, asked_at, source)
                select :id, name, 'v' || :n || '@x.example', email_hash || cast(cast(:n as text) as bytea), provider_hash, experience_level, 'new',
                    cast('2025-11-10 23:59:59+00' as timestamptz) + :n * interval '1 day', 'test' from platform.visitor limit 1"""), {"id": uuid7(), "n": n})  # fmt: skip
        refresh_rollups(session)
    assert agree(owner)
    by_hand = text(
        "select count(*) from platform.visitor where (:a::date is null or asked_at >= :a) and (:b::date is null or asked_at < :b::date + 1)".replace(
            ":a::date", "cast(:a as date)"
        ).replace(":b::date", "cast(:b as date)")
    )
    for first, last in PERIODS:
        with db.transaction(staff_id=id_of("paula")) as session:
            found = queries.funnel(session, first_day=first, last_day=last)
        owner.execute(text("set timezone = 'UTC'"))
        assert found.visitors == owner.execute(by_hand, {"a": first, "b": last}).scalar_one(), (first, last)


def test_a_period_shorter_than_a_day_is_refused_rather_than_rounded() -> None:
    counts = text("select * from platform.enrollment_counts('2026-11-01 00:00:01+00', null, null, null)")
    with (
        db.transaction(staff_id=id_of("paula")) as session,
        pytest.raises(DBAPIError, match="not the beginning of a day"),
    ):
        session.execute(counts)


def test_old_figures_say_so_on_the_screens() -> None:
    with db.transaction(staff_id=id_of("paula")) as session:
        assert queries.rollup_age(session, now=NOW) == queries.RollupAge(NOW, stale=False)
    waiting = "insert into platform.rollup_change (id, what, month, at) values (:id, 'enrolled', '2026-11-01', :at)"
    act(waiting, id=uuid7(), at=NOW - timedelta(minutes=4))
    with db.transaction(staff_id=id_of("paula")) as session:
        assert queries.rollup_age(session, now=NOW) == queries.RollupAge(NOW - timedelta(minutes=4), stale=False)
        assert queries.rollup_age(session, now=NOW + timedelta(minutes=2)).stale
    for page in ("enrollments", "overview"):
        assert "waits for the worker" in words(opened("paula", page))
    with db.transaction("worker") as session:
        refresh_rollups(session)
    assert "waits for the worker" not in words(opened("paula", "enrollments"))


@pytest.mark.parametrize("name", ["omar", "aiko"])
def test_who_may_not_count_learns_nothing_from_a_roll_up(name: str) -> None:
    with db.transaction(staff_id=id_of(name)) as session:
        assert queries.funnel(session) == queries.Funnel(0, 0, 0, 0, 0)
        assert session.execute(text("select * from platform.weekly_counts('2026-11-02', 4)")).all() == []
        for refused in ("select * from platform.rollup",
                        "select platform.refresh_rollup('enrolled', '2026-11-01')"):  # fmt: skip
            with pytest.raises(DBAPIError, match="permission denied"), session.begin_nested():
                session.execute(text(refused))
