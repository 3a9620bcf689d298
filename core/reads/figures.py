"""The weekly group figures, for staff without an assignment: programs as groups, never anybody in them.

What is told and how it is kept from telling about one person: core.privacy.snapshots. Nothing here is computed; a filter
looks stored figures up.
"""

import uuid
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.models.platform import GroupFigure, Program

WEEKS = 26


@dataclass(frozen=True)
class Figure:
    """One rate: ``percent`` and ``members`` (rounded down to 5) are None for a group below 10.

    ``week`` is the Monday it was told; ``counted_at`` when it was counted: earlier, when fewer than ten people changed since.
    """

    kind: str
    week: date
    percent: int | None
    members: int | None
    counted_at: datetime


@dataclass(frozen=True)
class GroupFigures:
    """All figures of one program (``program_id`` None: of all told programs together), oldest week first."""

    program_id: uuid.UUID | None
    title: str
    figures: tuple[Figure, ...]

    def newest(self, kind: str) -> Figure | None:
        """The last figure of a kind, or None before the first one."""
        return next((each for each in reversed(self.figures) if each.kind == kind), None)

    def history(self, kind: str) -> tuple[Figure, ...]:
        """The figures of a kind by week, oldest first."""
        return tuple(each for each in self.figures if each.kind == kind)


def group_figures(session: Session, *, weeks: int = WEEKS) -> tuple[GroupFigures, ...]:
    """Return the figures of the last ``weeks`` that were told: all programs together first, then each by title."""
    newest = select(func.max(GroupFigure.week)).scalar_subquery()
    listed = (
        select(
            GroupFigure.program_id,
            Program.title,
            GroupFigure.kind,
            GroupFigure.week,
            GroupFigure.percent,
            GroupFigure.members_told,
            GroupFigure.counted_at,
        )
        .outerjoin(Program, Program.id == GroupFigure.program_id)
        .where(GroupFigure.week > newest - 7 * weeks)
        .order_by(Program.title.nulls_first(), GroupFigure.program_id, GroupFigure.week)
    )
    groups: dict[uuid.UUID | None, tuple[str, list[Figure]]] = {}
    for program_id, title, kind, week, percent, members, counted_at in session.execute(listed):
        known = groups.setdefault(program_id, (title or "All programs", []))
        known[1].append(Figure(kind, week, percent, members, counted_at))
    return tuple(GroupFigures(program, title, tuple(figures)) for program, (title, figures) in groups.items())
