"""Weekly group figures: groups of ten, five points, and no difference that isolates anybody."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from core.models import platform as p
from core.privacy.snapshots import take_group_figures
from tests.cast import NOW, id_of


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


def figures(worker: Session) -> dict[str | None, tuple[int, int | None]]:
    names = {row.id: row.code for row in worker.execute(select(p.Program.id, p.Program.code))}
    return {names.get(f.program_id): (f.members, f.completed_percent) for f in worker.scalars(select(p.GroupFigure))}


@pytest.mark.parametrize(("completed", "told"), [(0, 0), (1, 10), (6, 60), (10, 100)])
def test_ten_are_told_rounded(worker: Session, groups, completed: int, told: int) -> None:
    groups("A", 10, completed)
    take_group_figures(worker, now=NOW)
    assert figures(worker)["A"] == (10, told)


def test_nine_are_not_told(worker: Session, groups) -> None:
    groups("A", 9, 5)
    take_group_figures(worker, now=NOW)
    assert figures(worker) == {"A": (9, None), None: (0, None)}


def test_all_together_covers_exactly_what_is_told(worker: Session, groups) -> None:
    """The difference between "all" and the programs must not be the figure of a hidden one."""
    groups("A", 20, 10)
    groups("B", 9, 9)
    take_group_figures(worker, now=NOW)
    assert figures(worker)[None] == figures(worker)["A"] == (20, 50)


def test_one_change_in_the_week_changes_no_figure(worker: Session, groups) -> None:
    groups("A", 20, 10)
    assert take_group_figures(worker, now=NOW) == 2
    worker.execute(p.Result.__table__.update().values(kind="pass"))
    assert take_group_figures(worker, now=NOW + timedelta(days=5)) == 0
    assert figures(worker)["A"] == (20, 50)
    assert take_group_figures(worker, now=NOW + timedelta(days=6)) == 2, "a new week begins on Monday"
