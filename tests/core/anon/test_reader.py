"""The reader on figures of the cast, known by heart: what is offered, added up, shown, hidden and compared."""

import math
from datetime import date

import pytest
from sqlalchemy import text

from core import db, queries
from core.anon.reader import Cell, Sum, compare, share, shown, unavailable
from core.errors import BadInput
from core.queries import Question
from tests.cast import id_of

pytestmark = pytest.mark.usefixtures("house")


def ask(question: Question) -> dict[tuple[str, ...], int | None]:
    with db.transaction(staff_id=id_of("aiko")) as session:
        answer = queries.released_figures(session, question)
    assert answer.refused == ""
    return {row.keys: row.value for row in answer.rows}


def test_a_published_table_is_looked_up() -> None:
    assert ask(Question("enrollments", ("program", "quarter"))) == {
        ("PYTHON", "2026-Q2"): 60, ("PYTHON", "2026-Q3"): 92, ("CLOUD", "2026-Q2"): 33, ("CLOUD", "2026-Q3"): 30,
        ("JAVA", "2026-Q2"): None, ("JAVA", "2026-Q3"): None,
    }  # fmt: skip


def test_sums_are_of_noisy_numbers_hidden_ones_too() -> None:
    assert ask(Question("enrollments", ("quarter",))) == {("2026-Q2",): 98, ("2026-Q3",): 126}
    assert ask(Question("enrollments")) == {(): round(60.3 + 33.0 + 4.2 + 92.4 + 30.1 + 3.1)}
    assert ask(Question("milestones", ("quarter",), (("milestone", ("50",)),))) == {("2026-Q2",): 90, ("2026-Q3",): 97}


def test_months_levels_and_cohorts() -> None:
    months = ask(Question("enrollments", ("program", "month"), (("program", ("PYTHON",)),)))
    assert list(months.values()) == [20, 25, 15, 30, 32, 30]
    levels = ask(Question("enrollments", ("program", "experience"), (("year", ("2025",)), ("program", ("CLOUD",)))))
    assert levels == {("CLOUD", "beginner"): 30, ("CLOUD", "intermediate"): 26, ("CLOUD", "advanced"): None, ("CLOUD", "not stated"): None}  # fmt: skip
    assert ask(Question("enrollments", ("cohort",))) == {("PYTHON-25",): 41}


def test_a_year_is_told_when_all_of_it_is_published() -> None:
    assert ask(Question("enrollments", ("program", "year"))) == {}


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (Question("enrollments", ("experience", "month")), "by year only"),
        (Question("enrollments", ("experience", "quarter")), "by year only"),
        (Question("enrollments", ("cohort", "quarter")), "counted once"),
        (Question("enrollments", ("cohort", "experience")), "too detailed"),
        (Question("milestones", ("program", "experience", "milestone")), "too detailed"),
        (Question("milestones", ("program", "quarter")), "Half or all"),
        (Question("milestones", ("program", "month", "milestone")), "Only enrollments"),
        (Question("activity", ("experience", "quarter")), "program and quarter only"),
        (Question("enrollments", ("program",), (("milestone", ("50",)),)), "belong to progress"),
        (Question("enrollments", ("age",)), "Age is in no release"),
        (Question("enrollments", ("student_id",)), "is in no release"),
        (Question("people"), "no such family"),
    ],
)
def test_what_is_not_published_is_not_offered(question: Question, reason: str) -> None:
    with db.transaction(staff_id=id_of("paula")) as session:
        answer = queries.released_figures(session, question)
    assert answer.rows == () and reason in answer.refused


def test_every_filter_says_whether_it_can_be_added() -> None:
    found = unavailable(Question("enrollments", ("program", "quarter")), ("experience", "cohort", "month", "age"))
    assert set(found) == {"experience", "cohort", "age"}
    assert set(unavailable(Question("enrollments", ("program", "year")), ("experience", "month"))) == set()
    small = unavailable(Question("enrollments", ("program",)), ("quarter", "year", "cohort"), yearly_only=True)
    assert set(small) == {"quarter", "cohort"} and "300 places" in small["quarter"]


def cell(value: float, se: float, sigma: float = 4, **more: str) -> Cell:
    return Cell(more.get("period", "2026-Q1"), sigma, more.get("marginal", "program"), more.get("k1", "A"), more.get("k2", ""), value, se)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "se", "said"),
    [(14.0, 4, "14 ± 7"), (13.9, 4, "fewer than about 14"), (10.0, 1, "10 ± 2"), (9.9, 1, "fewer than about 10"), (-3, 4, "fewer than about 14"), (42, 13, "fewer than about 43")],
)  # fmt: skip
def test_small_or_uncertain_figures_are_not_shown(value: float, se: float, said: str) -> None:
    figure = shown(Sum((), (cell(value, se),)))
    assert (figure.why if figure.value is None else f"{figure.value} ± {figure.margin}") == said


def test_parts_of_one_whole_share_their_correction() -> None:
    """Three months of a quarter: 12 each, and 12 together, because the quarter was measured too."""
    months = tuple(cell(10, math.sqrt(12), marginal="month", k2=f"2026-0{n}") for n in (1, 2, 3))
    assert Sum((), months[:1]).variance == pytest.approx(12)
    assert Sum((), months).variance == pytest.approx(12)
    assert Sum((), months[:2]).variance == pytest.approx(16)
    elsewhere = cell(10, math.sqrt(12), marginal="month", k1="B", k2="2026-01")
    assert Sum((), (months[0], elsewhere)).variance == pytest.approx(24)


def test_shares_are_of_enough_people_and_never_all_or_none() -> None:
    def told(part: float, whole: float, se: float = 1.0) -> tuple[str, int | None, str]:
        found = share(Sum((), (cell(part, se, se),)), Sum((), (cell(whole, se, se),)))
        return found.bound, found.percent, found.why

    assert told(50, 100) == ("", 50, "")
    assert told(99, 100) == ("≥", 95, "")
    assert told(100, 100) == ("≥", 95, "")
    assert told(-3, 100) == ("≤", 5, "")
    assert told(12, 24)[2] == "too few people for a share"
    assert told(60, 100, 21)[2] == "too few people for a share"
    assert told(60, 100, 19)[2] == "the margin is too wide for a share"
    assert share(Sum((), ()), Sum((), (cell(100, 1),))).why == "not published"


def test_a_difference_within_its_margin_is_no_clear_difference() -> None:
    def verdict(one: float, other: float) -> tuple[str, int | None, int]:
        found = compare(Sum((), (cell(one, 3),)), Sum((), (cell(other, 3, k1="B"),)), period="2026-Q1")
        return found.verdict, found.difference, found.margin

    assert verdict(50, 44) == ("no clear difference", None, 7)
    assert verdict(50, 42) == ("more", 8, 7)
    assert verdict(42, 50) == ("fewer", -8, 7)
    assert verdict(50, 2) == ("more", None, 7)  # the other is not shown, so its number cannot be worked out
    assert verdict(9, -4) == ("too few to compare", None, 7)
    assert compare(Sum((), ()), Sum((), (cell(9, 3),)), period="").verdict == "not published"


def test_two_programs_side_by_side() -> None:
    with db.transaction(staff_id=id_of("marek")) as session:
        found = queries.compare_programs(session, family="enrollments", one="PYTHON", other="CLOUD")
        assert [(c.period, c.difference, c.verdict) for c in found] == [
            ("2026-Q2", 27, "more"),
            ("2026-Q3", 62, "more"),
        ]
        changes = queries.latest_changes(session, family="enrollments")
        assert {code: change.verdict for code, change in changes.items()} == {
            "PYTHON": "more", "CLOUD": "no clear difference", "JAVA": "too few to compare",
        }  # fmt: skip
        with pytest.raises(BadInput):
            queries.compare_programs(session, family="enrollments", one="PYTHON", other="COBOL")


def test_cohorts_with_their_shares() -> None:
    with db.transaction(staff_id=id_of("ada")) as session:
        (line,) = queries.cohort_figures(session)
    assert (line.cohort, line.program, line.learners.value, line.half.value, line.whole.value) == ("Python 25", "Python", 41, 39, 31)  # fmt: skip
    assert line.half_share.why == "the margin is too wide for a share"


def test_what_stands_behind_the_figures() -> None:
    with db.transaction(staff_id=id_of("aiko")) as session:
        state = queries.analytics_state(session)
    assert (state.version, state.budget, round(state.left)) == ("cast", 1.0, 9)
    assert state.newest and state.newest.period == "2026-Q3"
    assert queries.next_closing(date(2026, 11, 24)).name == "2026-Q4"
    assert queries.next_closing(date(2026, 10, 14)).name == "2026-Q3"


def test_before_the_first_release_there_is_nothing_and_no_error(database: str) -> None:
    with db.transaction("worker") as session:
        assert queries.analytics_state(session).releases == ()
        assert queries.released_figures(session, Question("enrollments", ("program", "quarter"))).rows == ()
        assert queries.cohort_figures(session) == ()
        assert queries.latest_changes(session, family="activity") == {}


def test_nothing_is_shown_to_nobody() -> None:
    with db.transaction() as session:
        assert session.scalar(text("select count(*) from anon.cell")) == 0
