"""Cohort × module, who needs help and why, certificates due, the year before: against what each student was given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, text
from sqlalchemy.orm import Session

from core import db, queries
from core.errors import NotFound
from core.models import platform as p
from core.privacy import snapshots
from core.queries import HelpLimits, HelpList, TaughtCohort
from tests.cast import NOW, ROLES, id_of
from tests.classroom import Classroom, ago

pytestmark = pytest.mark.usefixtures("house")


@contextmanager
def classroom(**chosen: Any) -> Iterator[Classroom]:
    """A cohort that a test fills; committed at the end of the block."""
    with db.transaction("worker") as session:
        yield Classroom(session, **chosen).open()


def ask(read: Callable[..., Any], *arguments: Any, who: str = "ines", **named: Any) -> Any:
    """The answer of a read as a member of the cast gets it."""
    with db.transaction(staff_id=id_of(who)) as session:
        return read(session, *arguments, **named)


def cohort(code: str = "RUST", who: str = "ines", now: datetime = NOW) -> TaughtCohort:
    return ask(queries.taught_cohort, code=code, now=now, who=who)


def needing(now: datetime = NOW, **more: Any) -> HelpList:
    return ask(queries.who_needs_help, (cohort(now=now),), now=now, **more)


def reasons(found: HelpList) -> dict[str, dict[str, int]]:
    """By first name: each reason with its amount."""
    return {row.name.split()[0].lower(): {r.kind: r.amount for r in row.reasons} for row in found.rows}


def limit(**changed: int) -> None:
    """Other limits for the cohort than the usual ones; 0 switches a reason off."""
    off = dict.fromkeys(("quiet_days", "behind_modules", "failed_times", "waiting_days", "clicks_percent"), 0)
    with db.transaction("worker") as session:
        session.execute(p.HelpLimit.__table__.delete().where(p.HelpLimit.cohort_id == id_of("rust")))
        session.execute(
            insert(p.HelpLimit).values(
                cohort_id=id_of("rust"), changed_by=id_of("ines"), changed_at=NOW, **off | changed
            )
        )


@pytest.fixture
def filled(house: str) -> None:
    """Twelve students in every state that the matrix tells apart."""
    with classroom() as room:
        for name in ("anna", "bela", "carl", "dina", "emil", "fay"):
            room.student(name)
        for name, many in (("anna", 4), ("bela", 3), ("carl", 3), ("dina", 2), ("emil", 1)):
            for number in range(1, many + 1):
                room.progress(name, number, at=30 - 6 * number, score=70 + number)
        room.progress("dina", 3, "in progress", at=1)
        room.progress("emil", 2, "failed", at=2, score=20)
        room.progress("fay", 1, "done", at=-3)  # foretold: it has not happened yet
        room.submission("dina", 3, "waiting for review", at=1)
        room.student("gone", withdrawn=5)
        room.progress("gone", 1)
        room.student("later", enrolled=-2)


def by_hand(sql: str, **values: Any) -> list[tuple[Any, ...]]:
    """What the worker, who sees everything, counts."""
    with db.transaction("worker") as session:
        return [tuple(row) for row in session.execute(text(sql), values)]


@pytest.mark.usefixtures("filled")
def test_the_matrix_is_what_the_rows_say_as_of_today() -> None:
    found = ask(queries.cohort_matrix, cohort())
    expected = by_hand(
        """select s.name, count(p.id) filter (where p.status = 'done' and p.done_at <= :now) from platform.enrollment e
           join platform.student s on s.id = e.student_id left join platform.module_progress p on p.enrollment_id = e.id
           where e.cohort_id = :c and e.status <> 'withdrawn' and e.enrolled_at <= :now group by s.name order by 2, 1""",
        c=id_of("rust"), now=NOW,
    )  # fmt: skip
    assert sorted(((r.name, r.done) for r in found.rows), key=lambda each: (each[1], each[0])) == expected
    assert [r.done for r in found.rows] == sorted(r.done for r in found.rows), "furthest behind first"
    cells = {
        (r.name.split()[0].lower(), n): r.cells.get(id_of(f"rust module {n}")) for r in found.rows for n in range(1, 5)
    }
    assert [c.state if (c := cells["dina", n]) else None for n in range(1, 5)] == [
        "done",
        "done",
        "waiting for review",
        None,
    ]
    assert (cells["emil", 2].state, cells["emil", 2].score, cells["anna", 1].days) == ("failed", 20, 2)
    assert cells["fay", 1] is None, "what is foretold has not happened"
    assert found.students == 6


@pytest.mark.usefixtures("filled")
def test_where_the_cohort_stands() -> None:
    found = ask(queries.cohort_stand, cohort())
    assert [m.done for m in found.modules] == [5, 4, 3, 1]
    assert (found.students, found.withdrawn, found.median, cohort().due) == (6, 1, 2, 4)
    assert found.on_plan == 1, "only Anna has done the four modules that were due"
    assert found.modules[0].due_on == cohort().starts_on + timedelta(days=10)


@pytest.mark.usefixtures("filled")
def test_by_name_and_by_page() -> None:
    names = [r.name for r in ask(queries.cohort_matrix, cohort(), sort="name").rows]
    assert names == sorted(names)
    assert ask(queries.cohort_matrix, cohort(), page=2).rows == ()


@pytest.mark.parametrize(
    ("kind", "limits", "below"),
    [
        ("quiet", {"quiet_days": 9}, {"quiet_days": 10}),
        ("behind", {"behind_modules": 2}, {"behind_modules": 3}),
        ("failed", {"failed_times": 2}, {"failed_times": 3}),
        ("waiting", {"waiting_days": 4}, {"waiting_days": 5}),
        ("clicks", {"clicks_percent": 30}, {"clicks_percent": 20}),
    ],
)
def test_each_reason_begins_exactly_at_its_limit(kind: str, limits: dict[str, int], below: dict[str, int]) -> None:
    with classroom() as room:
        for name in ("anna", "bela", "carl"):
            room.student(name)
            for number in (1, 2):
                room.progress(name, number, at=9 if (kind, name) == ("quiet", "carl") else 1)
            room.clicks(name, 50, at=8)
        room.student("zoe")
        if kind == "quiet":
            room.progress("zoe", 1, at=9)
        if kind in ("failed", "waiting", "clicks"):
            room.progress("zoe", 1, "failed" if kind == "failed" else "in progress", at=1)
        if kind == "failed":
            for attempt in (1, 2):
                room.submission("zoe", 1, "failed", at=8 - attempt, attempt=attempt)
        if kind == "waiting":
            room.submission("zoe", 1, "waiting for review", at=4)
        if kind != "quiet":
            room.clicks("zoe", 12, at=8)
        if kind == "quiet":
            room.session.execute(text("delete from platform.usage_event where cohort_id = :c"), {"c": room.id})
    limit(**limits)
    amount = {"quiet": 9, "behind": 2, "failed": 2, "waiting": 4, "clicks": 12}[kind]
    expected = {"zoe": {kind: amount}} | ({"carl": {"quiet": 9}} if kind == "quiet" else {})
    assert reasons(needing()) == expected
    assert needing().by_kind[kind] == len(expected)
    limit(**below)
    assert needing().rows == ()
    limit()
    assert needing().rows == (), "0 switches every reason off"


def test_no_click_no_click_reason_and_points_are_amount_by_limit() -> None:
    with classroom() as room:
        for name in ("anna", "bela", "carl"):
            room.student(name)
            for number in (1, 2, 3):
                room.progress(name, number, at=1)
        room.student("zoe")
        room.progress("zoe", 1, "in progress", at=28)
        room.submission("zoe", 1, "waiting for review", at=28)
    (row,) = needing().rows
    assert reasons(needing()) == {"zoe": {"quiet": 28, "behind": 3, "waiting": 28}}
    assert row.points == 28 / 14 + 3 / 2 + 3, "at most three times a limit counts"
    assert (row.done, row.modules, row.last_active) == (0, 4, ago(28))
    assert row.reasons[0].since == ago(28).date()


def test_failed_twice_ends_when_the_module_is_done_or_passed() -> None:
    with classroom() as room:
        for name in ("done", "passed", "open"):
            room.student(name)
            for attempt in (1, 2):
                room.submission(name, 1, "failed", at=6 - attempt, attempt=attempt)
        room.progress("done", 1, at=1)
        room.submission("passed", 1, "passed", at=1, attempt=3)
        room.submission("open", 2, "failed", at=1)
    limit(failed_times=2)
    assert reasons(needing()) == {"open": {"failed": 2}}


def test_who_has_done_everything_or_passed_or_closed_the_account_needs_no_help() -> None:
    with classroom(modules=1) as room:
        room.student("done")
        room.progress("done", 1, at=40)
        room.student("passed")
        room.add(p.Result, **room.of("passed"), kind="pass", decided_at=ago(1), source="t")
        room.student("foretold")
        room.add(p.Result, **room.of("foretold"), kind="pass", decided_at=ago(-1), source="t")
        room.student("closed", closed=True)
    assert reasons(needing()) == {"foretold": {"quiet": 45}}


def test_a_closed_account_is_on_no_list_of_those_who_teach_until_it_is_opened_again() -> None:
    with classroom() as room:
        for name in ("stays", "gone"):
            room.student(name, closed=name == "gone")
            room.progress(name, 1)
            room.submission(name, 2, "waiting for review", at=9)
            room.add(p.Result, **room.of(name), kind="pass", decided_at=ago(1), source="t")
    for names in (["Stays Example"], ["Gone Example", "Stays Example"]):
        taught, room_ = cohort(), cohort()
        assert (taught.students, taught.waiting) == (len(names), len(names))
        assert ask(queries.cohort_stand, room_).students == len(names)
        assert [row.name for row in ask(queries.cohort_matrix, room_, sort="name").rows] == names
        assert {row.name for row in ask(queries.certificates_due, (room_,), now=NOW)} == set(names)
        assert {row.student for row in ask(queries.review_page, now=NOW, cohort_id=room_.id).rows} == set(names)
        with db.transaction("worker") as session:
            session.execute(text("update platform.student set account_status = 'open', closed_at = null"))


def test_handled_until_a_day_takes_off_the_list_and_brings_back_after_it() -> None:
    with classroom() as room:
        room.student("zoe")
        for days, until in ((3, NOW.date() + timedelta(days=30)), (2, NOW.date() + timedelta(days=2))):
            room.add(p.HelpNote, id=id_of(f"note {days}"), **room.of("zoe"), handled_until=until, note=f"Called {days}.",
                     written_by=id_of("ines"), written_at=ago(days))  # fmt: skip
    for days, total in ((0, 0), (2, 0), (3, 1)):
        found = needing(now=NOW + timedelta(days=days))
        assert (found.total, found.handled, [r.is_handled for r in found.rows]) == (total, 1 - total, [not total])
    assert needing().rows[0].handled.note == "Called 2.", "the newest note holds"
    with db.transaction("worker") as session:
        Classroom(session).add(p.HelpNote, id=id_of("back"), enrollment_id=id_of("rust zoe enrollment"), cohort_id=id_of("rust"),
                               handled_until=None, note="", written_by=id_of("ines"), written_at=NOW)  # fmt: skip
    assert needing().total == 1, "put back"


def test_an_ended_cohort_is_looked_at_as_of_its_last_day() -> None:
    with classroom(began=100, lasts=60) as room:
        for name in ("anna", "bela", "carl"):
            room.student(name)
            for number in (1, 2):
                room.progress(name, number, at=42)
        room.progress("carl", 3, at=1)
        room.student("zoe")
        room.student("left", withdrawn=10)
    found = cohort()
    assert (found.ended, found.running, found.as_of.date()) == (True, False, found.ends_on)
    assert reasons(needing()) == {"zoe": {"quiet": 60, "behind": 2}, "left": {"quiet": 60, "behind": 2}}
    assert needing(now=NOW + timedelta(days=300)).total == 2, "time stands still for it"
    assert [m.done for m in ask(queries.cohort_stand, found).modules] == [3, 3, 0, 0]


def test_who_withdrew_or_is_still_to_come_is_not_among_those_who_are_there() -> None:
    with classroom() as room:
        for name, told in {"una": {}, "vera": {"withdrawn": 3}, "wim": {"enrolled": -2}}.items():
            room.submission(room.student(name, **told), 1, "waiting for review", at=4)
    found = cohort()
    assert (found.students, found.waiting) == (1, 2), (
        "Wim hands in what nobody has handed in yet; Vera waits for nothing"
    )


def test_a_cohort_without_modules_without_students_and_one_to_come() -> None:
    with classroom(modules=0) as room:
        room.student("zoe", enrolled=20)
    assert ask(queries.cohort_stand, cohort()).modules == ()
    assert reasons(needing()) == {"zoe": {"quiet": 20}}
    with db.transaction("worker") as session:
        Classroom(session, name="empty").open()
        later = Classroom(session, name="later", began=-10).open()
        later.student("una")
    stand = ask(queries.cohort_stand, cohort("EMPTY"))
    assert (stand.students, stand.on_plan, stand.median, len(stand.modules)) == (0, 0, None, 4)
    assert ask(queries.cohort_matrix, cohort("EMPTY")).rows == ()
    assert ask(queries.who_needs_help, (cohort("EMPTY"),), now=NOW).rows == ()
    assert not cohort("LATER").started
    assert ask(queries.who_needs_help, (cohort("LATER"),), now=NOW).rows == ()


def test_certificates_due_are_passed_and_not_issued() -> None:
    with classroom() as room:
        for name, kind, at in (
            ("due", "pass", 9),
            ("honors", "distinction", 3),
            ("failed", "fail", 9),
            ("to come", "pass", -1),
        ):
            room.student(name)
            room.add(p.Result, **room.of(name), kind=kind, decided_at=ago(at), source="t")
        room.student("has")
        room.add(p.Result, **room.of("has"), kind="pass", decided_at=ago(9), source="t")
        room.add(p.Certificate, id=id_of("cert"), **room.of("has"), number="C-1", issued_at=ago(1), source="t")
    found = ask(queries.certificates_due, (cohort(), cohort("PYTHON-26")), now=NOW)
    assert [row.name.split()[0] for row in found] == ["Due", "Honors"]


def year_ago(room: Classroom, *, students: int, done: int) -> None:
    for number in range(students):
        room.student(f"old {number}")
        if number < done:
            room.progress(f"old {number}", 1, at=room.began - 12)
            room.progress(f"old {number}", 2, at=room.began - 60)


@pytest.mark.parametrize(
    ("students", "done", "assigned", "told"),
    [(30, 17, False, 10), (30, 29, False, 20), (9, 9, False, None), (9, 8, True, 8), (30, 17, True, 17)],
)
def test_the_year_before_is_told_in_tens_unless_it_is_assigned_too(
    students: int, done: int, assigned: bool, told: int | None
) -> None:
    with classroom() as room:
        before = Classroom(
            room.session, name="before", program="rust", began=45 + 365, teacher="ines" if assigned else None
        ).open()
        year_ago(before, students=students, done=done)
    found = ask(queries.year_before, cohort(), now=NOW)
    if told is None:
        assert found is None
        return
    assert (found.title, found.exact, found.members) == ("Before 1", assigned, students)
    assert found.done == {1: told, 2: 0, 3: 0, 4: 0}, "module 2 was done later in the run than today's day"


@pytest.mark.parametrize(
    ("began", "lasts", "told"),
    [
        (45 + 365, 100, True),
        (45 + 365, 500, False),
        (45 + 500, 100, False),
        (45 + 230, 100, False),
        (45 + 250, 100, True),
    ],
)
def test_the_year_before_is_an_ended_cohort_of_about_a_year_ago_and_those_who_stayed(
    began: int, lasts: int, told: bool
) -> None:
    with classroom() as room:
        before = Classroom(room.session, name="before", program="rust", began=began, lasts=lasts).open()
        for name, left in (("stayed", None), ("left", began - 30)):
            before.student(name, withdrawn=left)
            before.progress(name, 1, at=began - 10)
    found = ask(queries.year_before, cohort(), now=NOW)
    assert (found is not None) == told
    assert not told or (found.members, found.done[1]) == (1, 1), "who left counts no more"


def test_an_ended_cohort_is_compared_by_its_last_day() -> None:
    with classroom(began=120, lasts=30) as room:
        before = Classroom(room.session, name="before", program="rust", began=120 + 365, lasts=90).open()
        before.student("early")
        before.student("late")
        before.progress("early", 1, at=before.began - 20)
        before.progress("late", 1, at=before.began - 60)
    assert ask(queries.year_before, cohort(), now=NOW).done[1] == 1, (
        "what was done after the thirtieth day does not count"
    )


def test_no_two_days_of_the_year_before_differ_by_fewer_than_ten() -> None:
    with classroom() as room:
        before = Classroom(room.session, name="before", program="rust", began=45 + 365, teacher=None).open()
        for number in range(35):
            before.student(f"old {number}")
            before.progress(f"old {number}", 1, at=before.began - number)
    told = [ask(queries.year_before, cohort(), now=NOW - timedelta(days=back)).done[1] for back in range(44, -1, -1)]
    assert sorted(set(told)) == [0, 10, 20, 30]
    assert told == sorted(told)


def test_a_student_in_two_cohorts_shows_in_each_with_its_own_work() -> None:
    with classroom() as room:
        room.student("zoe")
        room.progress("zoe", 1, at=1)
        other = Classroom(room.session, name="golang").open()
        other.enroll("zoe")
    assert [r.done for r in ask(queries.cohort_matrix, cohort()).rows] == [1]
    assert [r.done for r in ask(queries.cohort_matrix, cohort("GOLANG")).rows] == [0]
    both = ask(queries.who_needs_help, (cohort(), cohort("GOLANG")), now=NOW)
    assert [(r.cohort_id, r.is_handled) for r in both.rows] == [(id_of("golang"), False)]


COHORTS = {"own": "PYTHON-26", "other": "CLOUD-26", "former": "JAVA-26"}
READS: dict[str, Callable[[Session, TaughtCohort], object]] = {
    "stand": lambda s, c: queries.cohort_stand(s, c).students,
    "matrix": lambda s, c: queries.cohort_matrix(s, c).rows,
    "help": lambda s, c: queries.who_needs_help(s, (c,), now=NOW).rows,
    "certificates": lambda s, c: queries.certificates_due(s, (c,), now=NOW),
    "year before": lambda s, c: queries.year_before(s, c, now=NOW),
    "reviews": lambda s, c: queries.review_page(s, now=NOW, cohort_id=c.id).rows,
    "review counts": lambda s, c: queries.review_counts(s, now=NOW, cohort_id=c.id).all,
}


@pytest.fixture
def handles(owner: Any) -> dict[str, TaughtCohort]:
    """The cohorts as somebody would hold them who forged them: the reads get them whatever the role. In each of them somebody
    passed and has no certificate, somebody has done nothing for long, and a year before there was another cohort."""
    owner.execute(text("delete from platform.certificate"))
    owner.commit()
    made = {}
    with db.transaction("worker") as session:
        for kind, code in COHORTS.items():
            name = code[:-3].lower()
            Classroom(session, name=name, program=name).student(f"extra {name}", enrolled=50)
            before = Classroom(
                session, name=f"{name} before", program=name, began=60 + 365, lasts=60, teacher=None
            ).open()
            for number in range(12):
                before.student(f"{name} {number}")
            c = session.get(p.Cohort, id_of(name))
            assert c is not None
            made[kind] = TaughtCohort(
                c.id, code, c.title, "", c.starts_on, c.ends_on, NOW, 1, 1, HelpLimits(quiet_days=1), 1, 0, None
            )
    return made


@pytest.mark.parametrize("who", [*ROLES, "dora", None])
def test_every_read_by_role_and_cohort(who: str | None, handles: dict[str, TaughtCohort]) -> None:
    """No guard plays a part: the database answers for Ines in Python and for Marek in Cloud, and for nobody else."""
    allowed = {("ines", "own"), ("marek", "other")}
    for kind, held in handles.items():
        for name, read in READS.items():
            with db.transaction(staff_id=id_of(who) if who else None) as session:
                found = read(session, held)
            assert bool(found) == ((who, kind) in allowed), f"{who} {name} {kind}: {found}"


@pytest.mark.parametrize("who", [*ROLES, "dora"])
def test_cohorts_by_role(who: str) -> None:
    expected = {"ines": ["PYTHON-26"], "marek": ["CLOUD-26"]}.get(who, [])
    assert [c.code for c in ask(queries.taught_cohorts, now=NOW, who=who)] == expected
    for code in ("PYTHON-26", "CLOUD-26", "JAVA-26", "NONE"):
        if code not in expected:
            with pytest.raises(NotFound, match="not assigned to you"):
                cohort(code, who=who)


@contextmanager
def counted() -> Iterator[list[str]]:
    """The statements that the app sends in the block."""
    sent: list[str] = []
    listener = lambda *arguments: sent.append(arguments[2])  # noqa: E731
    event.listen(db.engine("app"), "before_cursor_execute", listener)
    yield sent
    event.remove(db.engine("app"), "before_cursor_execute", listener)


def test_the_number_of_statements_does_not_follow_the_number_of_students() -> None:
    with classroom() as room:
        for number in range(60):
            room.student(f"s{number}")
            room.progress(f"s{number}", 1, at=20)
            room.submission(f"s{number}", 1, "waiting for review", at=20)
    big, small = cohort(), cohort("PYTHON-26")
    pinned = {"stand": 1, "matrix": 2, "help": 1, "certificates": 1, "year before": 1, "reviews": 1, "review counts": 1}
    for held in (big, small):
        with db.transaction(staff_id=id_of("ines")) as session:
            for name, read in READS.items():
                with counted() as sent:
                    read(session, held)
                assert len(sent) == pinned[name], name
            with counted() as sent:
                queries.taught_cohorts(session, now=NOW)
            assert len(sent) == 1
    assert len(ask(queries.cohort_matrix, big).rows) == queries.PAGE_STUDENTS
    assert len(ask(queries.cohort_matrix, big, page=2).rows) == 10


def test_the_weekly_figure_and_the_screen_mean_the_same_by_on_plan() -> None:
    with classroom() as room:
        for number in range(12):
            room.student(f"s{number}")
            for module in range(1, 5 if number < 7 else 3):
                room.progress(f"s{number}", module, at=2)
    assert ask(queries.cohort_stand, cohort()).on_plan == needing().on_plan == 7
    with db.transaction("worker") as session:
        session.execute(p.GroupFigure.__table__.delete())
        snapshots.take_group_figures(session, now=NOW)
        told = session.execute(text("select part, members from platform.group_figure where kind = 'on plan' and program_id = :p"),
                               {"p": id_of("rust program")}).one()  # fmt: skip
    assert tuple(told) == (7, 12)
