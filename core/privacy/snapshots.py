"""The weekly group figures (design, section 5): all that staff without an assignment learn of outcomes.

Danger: a figure about a small group, or two figures whose difference is one, tells about a person. Principle: groups of at
least ten, rates rounded to five points, one figure a week, programs only; the figure "all" covers exactly the programs
that are published, so that no difference stands for a hidden one. Not called anonymous: erased with the week after.
"""

import uuid
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.base import uuid7
from core.models.platform import Cohort, Enrollment, GroupFigure, Result
from core.policy import in_force

COMPLETED = ("pass", "distinction")


def take_group_figures(session: Session, *, now: datetime) -> int:
    """Write this week's figures as the worker unless they are there; return how many were written."""
    rules = in_force(session, now)
    groups = _ended(session, now.astimezone(UTC).date())
    published = {p: g for p, g in groups.items() if g[0] >= rules.group_minimum}
    figures: list[tuple[uuid.UUID | None, tuple[int, int]]] = [*groups.items(), (None, _together(published))]
    rows = [
        {
            "id": uuid7(),
            "week": monday(now),
            "program_id": program,
            "members": members,
            "completed_percent": _rounded(completed, members, rules.group_rounding)
            if members >= rules.group_minimum
            else None,
            "taken_at": now,
        }
        for program, (members, completed) in figures
    ]
    written = insert(GroupFigure).values(rows).on_conflict_do_nothing().returning(GroupFigure.id)
    return len(session.execute(written).all())


def figures_taken(session: Session, *, now: datetime) -> bool:
    """Return whether this week's figures are there."""
    return bool(session.scalar(select(exists().where(GroupFigure.week == monday(now)))))


def monday(now: datetime) -> date:
    """Return the first day of the week (UTC) of an instant."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=today.weekday())


def _ended(session: Session, today: date) -> dict[uuid.UUID, tuple[int, int]]:
    """By program: students whose cohort has ended and who did not withdraw, and those of them who completed."""
    completed = func.count().filter(Result.kind.in_(COMPLETED))
    counted = (
        select(Enrollment.program_id, func.count(), completed)
        .join(Cohort, Cohort.id == Enrollment.cohort_id)
        .outerjoin(Result, Result.enrollment_id == Enrollment.id)
        .where(Enrollment.status == "ended", Cohort.ends_on < today)
        .group_by(Enrollment.program_id)
    )
    return {program: (members, done) for program, members, done in session.execute(counted)}


def _together(groups: dict[uuid.UUID, tuple[int, int]]) -> tuple[int, int]:
    return sum(g[0] for g in groups.values()), sum(g[1] for g in groups.values())


def _rounded(part: int, whole: int, step: int) -> int:
    return step * round(100 * part / whole / step)
