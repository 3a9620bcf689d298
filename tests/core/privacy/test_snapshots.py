"""Weekly group figures: groups of ten, five points, and no difference that isolates anybody."""

import uuid
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from core import db
from core.models import platform as p
from core.policy import Parameters
from core.privacy import snapshots
from core.privacy.snapshots import Group, take_group_figures
from tests.cast import NOW, id_of
from tests.classroom import Classroom


@pytest.fixture
def groups(worker: Session):
    """A function that makes a program whose cohort has ended, with so many members of whom so many completed."""

    def make(name: str, members: int, completed: int) -> None:
        program, cohort = id_of(f"{name} p"), id_of(f"{name} c")
        worker.execute(insert(p.Program).values(id=program, code=name, title=name, source="t"))
        worker.execute(insert(p.Cohort).values(id=cohort, program_id=program, code=name, title=name, starts_on=NOW.date() - timedelta(days=90),
                                               ends_on=NOW.date() - timedelta(days=1), source="t"))  # fmt: skip
        for number in range(members):
            student, enrollment = id_of(f"{name} s{number}"), id_of(f"{name} e{number}")
            worker.execute(insert(p.Student).values(id=student, name="N", email=f"{name}{number}@x.example", registered_at=NOW,
                                                    email_hash=b"e", provider_hash=b"p", source="t"))  # fmt: skip
            worker.execute(insert(p.Enrollment).values(id=enrollment, student_id=student, cohort_id=cohort, program_id=program, status="ended",
                                                       enrolled_at=NOW, source="t"))  # fmt: skip
            kind = "pass" if number < completed else "fail"
            worker.execute(
                insert(p.Result).values(
                    enrollment_id=enrollment, cohort_id=cohort, kind=kind, decided_at=NOW, source="t"
                )
            )

    return make


def figures(worker: Session, kind: str = "completed", week: int = 0) -> dict[str | None, tuple[int | None, int | None]]:
    """By program: how many people are told, and their rate in percent, in this week or a later one."""
    names = {row.id: row.code for row in worker.execute(select(p.Program.id, p.Program.code))}
    monday = snapshots.monday(NOW) + timedelta(weeks=week)
    told = worker.scalars(select(p.GroupFigure).where(p.GroupFigure.kind == kind, p.GroupFigure.week == monday))
    return {names.get(f.program_id): (f.members_told, f.percent) for f in told}


@pytest.mark.parametrize(("completed", "told"), [(0, 5), (1, 10), (6, 60), (10, 95)])
def test_ten_are_told_rounded_and_never_all_or_nobody(worker: Session, groups, completed: int, told: int) -> None:
    groups("A", 10, completed)
    take_group_figures(worker, now=NOW)
    assert figures(worker)["A"] == (10, told)


def test_nine_are_not_told(worker: Session, groups) -> None:
    groups("A", 9, 5)
    take_group_figures(worker, now=NOW)
    assert figures(worker) == {"A": (None, None), None: (None, None)}


def test_all_together_covers_exactly_what_is_told(worker: Session, groups) -> None:
    """The difference between "all" and the programs must not be the figure of a hidden one."""
    groups("A", 20, 10)
    groups("B", 9, 9)
    take_group_figures(worker, now=NOW)
    assert figures(worker)[None] == figures(worker)["A"] == (20, 50)


def test_a_program_that_comes_later_in_the_week_is_added_whole(worker: Session, groups) -> None:
    groups("A", 20, 10)
    take_group_figures(worker, now=NOW)
    groups("B", 30, 30)
    groups("C", 9, 9)
    assert take_group_figures(worker, now=NOW + timedelta(days=1)) == 3, "B, C (not told) and all together"
    assert figures(worker) == {"A": (20, 50), "B": (30, 95), "C": (None, None), None: (50, 80)}


def test_one_change_in_the_week_changes_no_figure(worker: Session, groups) -> None:
    groups("A", 20, 10)
    assert take_group_figures(worker, now=NOW) == 5, "two of the ended, and all together of three other kinds"
    worker.execute(p.Result.__table__.update().values(kind="pass"))
    assert take_group_figures(worker, now=NOW + timedelta(days=5)) == 0
    assert figures(worker)["A"] == (20, 50)
    assert take_group_figures(worker, now=NOW + timedelta(days=6)) == 5, "a new week begins on Monday"


@pytest.mark.parametrize(("changed", "told"), [(1, 50), (9, 50), (10, 95)])
def test_from_week_to_week_no_figure_moves_for_fewer_than_ten(worker: Session, groups, changed: int, told: int) -> None:
    groups("A", 20, 10)
    take_group_figures(worker, now=NOW)
    for number in range(10, 10 + changed):
        worker.execute(
            p.Result.__table__.update().where(p.Result.enrollment_id == id_of(f"A e{number}")).values(kind="pass")
        )
    later = NOW + timedelta(weeks=1)
    take_group_figures(worker, now=later)
    assert figures(worker, week=1)["A"] == figures(worker, week=1)[None] == (20, told)
    counted = worker.scalar(
        select(p.GroupFigure.counted_at).where(
            p.GroupFigure.week == snapshots.monday(later), p.GroupFigure.percent == told
        )
    )
    assert counted == (later if changed == 10 else NOW), "the age of what is told"


def test_changes_of_several_weeks_add_up_until_ten_people_moved(worker: Session, groups) -> None:
    groups("A", 40, 0)
    rates = []
    for week in range(7):
        if week:
            for number in range(4 * week):
                worker.execute(
                    p.Result.__table__.update()
                    .where(p.Result.enrollment_id == id_of(f"A e{number}"))
                    .values(kind="pass")
                )
        take_group_figures(worker, now=NOW + timedelta(weeks=week))
        rates.append(figures(worker, week=week)["A"][1])
    assert rates == [5, 5, 5, 30, 30, 30, 60]


def test_coming_back_after_weeks_untold_moves_no_figure_by_one_person(worker: Session, groups) -> None:
    groups("A", 10, 5)
    take_group_figures(worker, now=NOW)
    withdraw = p.Enrollment.__table__.update().where(p.Enrollment.id == id_of("A e9"))
    worker.execute(withdraw.values(status="withdrawn", withdrawn_at=NOW))
    take_group_figures(worker, now=NOW + timedelta(weeks=1))
    assert figures(worker, week=1) == {"A": (None, None), None: (None, None)}
    worker.execute(withdraw.values(status="ended", withdrawn_at=None))
    worker.execute(p.Result.__table__.update().where(p.Result.enrollment_id == id_of("A e9")).values(kind="pass"))
    take_group_figures(worker, now=NOW + timedelta(weeks=2))
    assert figures(worker, week=2)["A"] == (10, 50), "not 60"


def test_the_dashboard_cannot_read_the_counts_behind_a_figure(house: str) -> None:
    with db.transaction(staff_id=id_of("paula")) as session:
        assert session.execute(text("select percent, members_told, counted_at from platform.group_figure")).all()
    for column in ("part", "members"):
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            db.transaction(staff_id=id_of("paula")) as session,
        ):
            session.execute(text(f"select {column} from platform.group_figure"))


def test_what_counts_as_active_on_plan_and_withdrawn(worker: Session) -> None:
    """Twelve people of one running cohort: each kind counts those it should, as of now."""
    room = Classroom(worker, teacher=None).open()
    for number in range(12):
        room.student(f"s{number}", withdrawn=5 if number == 11 else None)
    for number in range(4):
        room.progress(f"s{number}", 1, at=13)
    room.progress("s4", 1, at=15)
    room.progress("s5", 1, at=-3)
    room.submission("s6", 1, "waiting for review", at=2)
    worker.execute(text("select platform.make_months('usage_event', :d, :d)"), {"d": NOW.date()})
    room.clicks("s7", 3)
    for module in (2, 3, 4):
        room.progress("s0", module, at=20)
    take_group_figures(worker, now=NOW)
    counted = {
        f.kind: (f.members, f.part)
        for f in worker.scalars(select(p.GroupFigure).where(p.GroupFigure.program_id.is_not(None)))
    }
    assert counted == {"active": (11, 6), "on plan": (11, 1), "withdrawn": (12, 1)}


Weeks = st.lists(
    st.dictionaries(st.sampled_from("ABC"), st.integers(0, 40).flatmap(lambda m: st.tuples(st.just(m), st.integers(0, m)))),
    min_size=2, max_size=8,
)  # fmt: skip
RULES = Parameters("v", 16, 18, 30, 90, 1, 2, 10, 5)


@settings(max_examples=300, deadline=None)
@given(Weeks)
def test_no_filter_and_no_pair_of_filters_isolates_anybody(weeks: list[dict[str, tuple[int, int]]]) -> None:
    """Whatever happens in the weeks: program, all, and week to week never stand closer than ten people apart.

    Two groups that differ by d in their number, or in the part of it, differ in at least d people.
    """
    before: dict[tuple[str, uuid.UUID], Group] = {}
    told_before: dict[uuid.UUID | None, Group] = {}
    for number, week in enumerate(weeks):
        now = NOW + timedelta(weeks=number)
        counted = {id_of(name): Group(members, part, now) for name, (members, part) in week.items() if members}
        rows = snapshots._rows("active", counted, before, RULES, now)
        sums = [Group(row["members"], row["part"], row["counted_at"]) for row in rows if row["percent"] is not None]
        rows.append(snapshots._row("active", None, snapshots._together(sums, now), RULES, now))
        told = {row["program_id"]: row for row in rows if row["percent"] is not None}
        groups = {key: Group(row["members"], row["part"], row["counted_at"]) for key, row in told.items()}
        for row in told.values():
            assert (
                row["members"] >= 10
                and 5 <= row["percent"] <= 95
                and row["percent"] % 5 == 0 == row["members_told"] % 5
            )
        programs = {key: group for key, group in groups.items() if key}
        assert bool(programs) == (None in groups)
        if programs:
            assert (groups[None].members, groups[None].part) == (
                sum(g.members for g in programs.values()),
                sum(g.part for g in programs.values()),
            )
        for key, group in programs.items():
            last = before.get(("active", key))
            assert last is None or group == last or apart(group, last) >= 10, "week to week, also over weeks untold"
            rest = [g for other, g in programs.items() if other != key]
            assert not rest or groups[None].members - sum(g.members for g in rest) == group.members >= 10, (
                "all minus the others"
            )
        if None in groups and None in told_before:
            moved = {k for k in {*programs, *told_before} - {None} if programs.get(k) != told_before.get(k)}
            assert moved or same(groups[None], told_before[None]), "all moves only when a told program does"
        told_before = groups
        before |= {("active", key): group for key, group in programs.items()}


def apart(one: Group, other: Group) -> int:
    return max(abs(one.members - other.members), abs(one.part - other.part))


def same(one: Group, other: Group) -> bool:
    return (one.members, one.part) == (other.members, other.part)
