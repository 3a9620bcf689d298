"""One student's timeline: what happened, gaps, weeks, and whose it is."""

from datetime import date, timedelta

import pytest
from sqlalchemy import event, update

from core import db, queries
from core.errors import NotFound
from core.models import platform as p
from core.queries import StudentRecord
from core.reads.timeline import gaps
from tests.cast import NOW, ROLES, id_of
from tests.classroom import Classroom, ago

pytestmark = pytest.mark.usefixtures("house")


def record(name: str = "zoe", who: str = "ines") -> StudentRecord:
    with db.transaction(staff_id=id_of(who)) as session:
        return queries.student_record(session, id_of(name), now=NOW)


def told(found: StudentRecord) -> list[tuple[str, int]]:
    """Kind and days ago of everything, newest first."""
    return [(each.kind, (NOW - each.at).days) for each in found.records[0].events]


@pytest.fixture
def zoe(house: str) -> None:
    with db.transaction("worker") as session:
        room = Classroom(session).open()
        room.student("zoe", enrolled=60)
        room.progress("zoe", 1, at=40, score=80)
        room.progress("zoe", 2, "failed", at=30, score=20)
        room.progress("zoe", 3, "done", at=-2)  # begun today, done in two days: foretold
        work = room.submission("zoe", 2, "failed", at=30, url="https://example.org/work")
        room.submission("zoe", 2, "waiting for review", at=-1, attempt=2)
        room.add(p.CodeReview, id=id_of("zoe review"), submission_id=work, **room.of("zoe"), reviewer_id=id_of("ines"), reviewed_at=ago(29),
                 passed=False, comment="Handle <b>empty</b> input.")  # fmt: skip
        room.add(p.HelpNote, id=id_of("zoe note"), **room.of("zoe"), handled_until=NOW.date(), note="Called.", written_by=id_of("ines"),
                 written_at=ago(10))  # fmt: skip
        room.add(p.Result, **room.of("zoe"), kind="fail", decided_at=ago(1), source="t")


@pytest.mark.usefixtures("zoe")
def test_everything_that_happened_newest_first_and_nothing_foretold() -> None:
    found = record()
    assert told(found) == [
        ("module begun", 0), ("gap", 0), ("result", 1), ("noted", 10), ("reviewed", 29), ("module failed", 30), ("submitted", 30),
        ("module begun", 32), ("module done", 40), ("module begun", 42), ("enrolled", 60),
    ]  # fmt: skip
    by_kind = {each.kind: each for each in found.records[0].events}
    assert (by_kind["reviewed"].words, by_kind["reviewed"].by) == ("Handle <b>empty</b> input.", id_of("ines"))
    assert (by_kind["submitted"].link, by_kind["submitted"].score) == ("https://example.org/work", None)
    assert (by_kind["reviewed"].what, by_kind["reviewed"].attempt, by_kind["reviewed"].state) == ("Part 2", 1, "failed")
    assert by_kind["noted"].until == NOW.date()
    assert by_kind["gap"].days == 30
    assert (found.records[0].done, found.email) == (1, "zoe@students.example")
    last = found.records[0].last_active
    assert last and last.date() == NOW.date(), "begun today; what is done in two days is no activity yet"


def test_clicks_are_activity_from_the_first_day_on_and_not_before_they_happen(house: str) -> None:
    with db.transaction("worker") as session:
        room = Classroom(session).open()
        room.student("zoe", enrolled=60)
        for at in (44, 30, 16, 5, 5.25, -1):
            room.clicks("zoe", 3, at=at)
    found = record().records[0]
    assert found.last_active and (NOW - found.last_active).days == 5
    assert [each.kind for each in found.events] == ["enrolled"], "no gap of more than two weeks"
    assert found.weeks == (0, 1, 0, 1, 0, 1, 0, 2)


def test_what_happened_in_one_moment_keeps_its_order(house: str) -> None:
    with db.transaction("worker") as session:
        room = Classroom(session).open()
        room.student("zoe", enrolled=60)
        room.add(p.Result, **room.of("zoe"), kind="pass", decided_at=ago(1), source="t")
        room.add(
            p.Certificate,
            id=id_of("zoe certificate"),
            **room.of("zoe"),
            number="C-1",
            issued_at=ago(1),
            honors=True,
            source="t",
        )
        room.progress("zoe", 1, "not started", at=3)
    found = record().records[0]
    assert [(each.kind, each.state) for each in found.events if each.kind not in ("gap", "enrolled")] == [
        ("certificate", "with distinction"), ("result", "pass"),
    ], "and what is not started has not begun"  # fmt: skip


@pytest.mark.parametrize(("withdrawn", "told"), [(20, True), (-3, False)])
def test_whoever_withdrew_has_no_gap_after_it_and_a_withdrawal_to_come_is_not_told(withdrawn: int, told: bool) -> None:
    with db.transaction("worker") as session:
        room = Classroom(session).open()
        room.student("zoe", enrolled=60, withdrawn=withdrawn)
        room.progress("zoe", 1, at=22)
        session.execute(
            update(p.Enrollment)
            .where(p.Enrollment.id == room.enrollment("zoe"))
            .values(status="withdrawn", withdrawn_at=ago(withdrawn))
        )
    found = record().records[0]
    happened = {each.kind for each in found.events}
    assert ("withdrew" in happened, found.withdrawn_at is not None) == (told, told)
    gaps_after = [each for each in found.events if each.kind == "gap" and each.at > ago(22)]
    assert bool(gaps_after) is not told


@pytest.mark.usefixtures("zoe")
def test_weeks_count_until_the_cohorts_day() -> None:
    assert record().records[0].weeks == (0, 1, 1, 3, 0, 0, 0, 1)


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([], [(0, 30)]),
        ([0, 10, 20, 30], []),
        ([0, 11, 20, 30], [(0, 11)]),
        ([5, 15], [(15, 30)]),
        ([-3, 40], [(0, 30)]),
    ],
)
def test_gaps_are_longer_than_the_limit(days: list[int], expected: list[tuple[int, int]]) -> None:
    first = date(2026, 1, 1)
    found = gaps([first + timedelta(days=n) for n in days], first=first, last=first + timedelta(days=30), longest=10)
    assert [((a - first).days, (b - first).days) for a, b in found] == expected


def test_a_hundred_submissions_take_as_many_statements_as_one() -> None:
    with db.transaction("worker") as session:
        room = Classroom(session).open()
        room.student("zoe")
        for attempt in range(100):
            room.submission("zoe", 1, "failed", at=40 - attempt / 4, attempt=attempt + 1)
    for name in ("zoe", "asha"):
        sent: list[str] = []
        listener = lambda *arguments: sent.append(arguments[2])  # noqa: E731, B023
        with db.transaction(staff_id=id_of("ines")) as session:
            event.listen(db.engine("app"), "before_cursor_execute", listener)
            found = queries.student_record(session, id_of(name), now=NOW)
            event.remove(db.engine("app"), "before_cursor_execute", listener)
        assert len(sent) == 2
    assert sum(each.kind == "submitted" for each in record().records[0].events) == 100
    assert found.name == "Asha Example"


@pytest.mark.parametrize("who", [*ROLES, "dora"])
def test_whose_timelines_open(who: str) -> None:
    """Own, other and former cohort, without any guard."""
    for name in ("asha", "ben", "cleo", "nobody"):
        if (who, name) in {("ines", "asha"), ("marek", "ben")}:
            assert record(name, who).name == f"{name.title()} Example"
        else:
            with pytest.raises(NotFound, match="no such student, or the record is not open"):
                record(name, who)
