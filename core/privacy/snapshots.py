"""The weekly group figures (design, section 5): all that staff without an assignment learn of how students do.

Danger: a figure about a small group, or two figures whose difference is one, tells about a person. Principle: groups of at
least ten, rates rounded to five points and never 0% or 100% (which would tell about everybody in the group), one figure a
week, programs only. Mechanism, against differences:

- From week to week: a figure moves only when at least ten people stand between it and the last one that was told (in the
  group, or in the part of it). Until then the old one is repeated, with its age. Coming back after weeks untold changes
  nothing of that.
- Between programs and "all": "all" is the sum of exactly the counts behind the programs that are told this week, held ones
  included, so that no difference stands for a hidden program or a person.

Not called anonymous. The counts behind a figure stay in the table for the next week's comparison; the dashboard's role
cannot read these columns.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import exists, select, text
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.orm import Session

from core.models.base import uuid7
from core.models.platform import GroupFigure
from core.policy import Parameters, in_force

ACTIVE_DAYS = 14
LOWEST, HIGHEST = 5, 95


@dataclass(frozen=True)
class Group:
    """``part`` of ``members`` people, counted at an instant."""

    members: int
    part: int
    counted_at: datetime


def take_group_figures(session: Session, *, now: datetime) -> int:
    """Write this week's figures as the worker unless they are there; return how many were written.

    A program that comes later in the week (an import) is added, and with it the figure of all together: by a group of at
    least ten that is told itself.
    """
    rules = in_force(session, now)
    before = _last_told(session, monday(now))
    written = 0
    for kind in _COUNTS:
        if rows := _rows(kind, _counted(session, kind, now), before, rules, now):
            added = insert(GroupFigure).values(rows).on_conflict_do_nothing().returning(GroupFigure.id)
            written += len(session.execute(added).all())
        written += _tell_all(session, kind, rules, now)
    return written


def _tell_all(session: Session, kind: str, rules: Parameters, now: datetime) -> int:
    """Write the figure of all together: the sum of what is told of the programs this week."""
    told = select(GroupFigure).where(
        GroupFigure.week == monday(now),
        GroupFigure.kind == kind,
        GroupFigure.program_id.is_not(None),
        GroupFigure.percent.is_not(None),
    )
    groups = [Group(each.members, each.part, each.counted_at) for each in session.scalars(told)]
    row = _row(kind, None, _together(groups, now), rules, now)
    changes = {name: row[name] for name in ("percent", "members_told", "members", "part", "counted_at", "taken_at")}
    written = insert(GroupFigure).values(row)
    written = written.on_conflict_do_update(
        index_elements=[GroupFigure.week, GroupFigure.kind, GroupFigure.program_id],
        set_=changes,
        where=GroupFigure.members != row["members"],
    )
    return len(session.execute(written.returning(GroupFigure.id)).all())


def figures_taken(session: Session, *, now: datetime) -> bool:
    """Return whether this week's figures are there."""
    return bool(session.scalar(select(exists().where(GroupFigure.week == monday(now)))))


def monday(now: datetime) -> date:
    """Return the first day of the week (UTC) of an instant."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=today.weekday())


def held(new: Group, old: Group | None, least: int) -> Group:
    """Return what may be told: the new counts when at least ``least`` people stand between the two, else the old ones."""
    if old is None or max(abs(new.members - old.members), abs(new.part - old.part)) >= least:
        return new
    return old


def rounded(group: Group, step: int) -> int:
    """Return the rate in percent, rounded to ``step`` points and never telling about everybody in the group."""
    return min(max(step * round(100 * group.part / group.members / step), LOWEST), HIGHEST)


def _rows(
    kind: str,
    counted: dict[uuid.UUID, Group],
    before: dict[tuple[str, uuid.UUID], Group],
    rules: Parameters,
    now: datetime,
) -> list[dict[str, object]]:
    """The rows of every program for one kind."""
    least = rules.group_minimum
    shown = {
        program: held(group, before.get((kind, program)), least) if group.members >= least else group
        for program, group in counted.items()
    }
    return [_row(kind, program, group, rules, now) for program, group in shown.items()]


def _row(kind: str, program: uuid.UUID | None, group: Group, rules: Parameters, now: datetime) -> dict[str, object]:
    told = group.members >= rules.group_minimum
    return {
        "id": uuid7(),
        "week": monday(now),
        "kind": kind,
        "program_id": program,
        "percent": rounded(group, rules.group_rounding) if told else None,
        "members_told": group.members - group.members % rules.group_rounding if told else None,
        "members": group.members,
        "part": group.part,
        "counted_at": group.counted_at,
        "taken_at": now,
    }


def _together(groups: list[Group], now: datetime) -> Group:
    """All groups as one; as old as the oldest of them."""
    oldest = min((group.counted_at for group in groups), default=now)
    return Group(sum(g.members for g in groups), sum(g.part for g in groups), oldest)


def _last_told(session: Session, week: date) -> dict[tuple[str, uuid.UUID], Group]:
    """The counts behind the newest figure that was told of each kind and program before this week."""
    newest = (
        select(GroupFigure)
        .where(GroupFigure.percent.is_not(None), GroupFigure.program_id.is_not(None), GroupFigure.week < week)
        .ext(distinct_on(GroupFigure.kind, GroupFigure.program_id))
        .order_by(GroupFigure.kind, GroupFigure.program_id, GroupFigure.week.desc())
    )
    return {
        (f.kind, f.program_id): Group(f.members, f.part, f.counted_at) for f in session.scalars(newest) if f.program_id
    }


def _counted(session: Session, kind: str, now: datetime) -> dict[uuid.UUID, Group]:
    asked = {"now": now, "today": now.astimezone(UTC).date(), "since": now - timedelta(days=ACTIVE_DAYS)}
    found = session.execute(text(_COUNTS[kind]), asked)
    return {row.program_id: Group(row.members, row.part, now) for row in found}


# Whose data is restricted is kept and not used: not for these figures either.
_FREE = "e.student_id not in (select privacy.restricted_students())"
# Everybody who did not withdraw, of the cohorts that run today.
_RUNNING = f"""
    with running as (
        select c.id, c.program_id, c.starts_on from platform.cohort c where c.starts_on <= :today and c.ends_on >= :today
    ), members as (
        select e.id, e.cohort_id, e.program_id from running c join platform.enrollment e on e.cohort_id = c.id
        where e.enrolled_at <= :now and (e.withdrawn_at is null or e.withdrawn_at > :now) and {_FREE}
    )"""
# What happened in the last days, as of now: records moved to another time hold days to come.
_ACTIVE = f"""{_RUNNING}, busy as (
        select p.enrollment_id from running c join platform.module_progress p on p.cohort_id = c.id
        where p.started_at between :since and :now or p.active_at between :since and :now or p.done_at between :since and :now
        union
        select s.enrollment_id from members m join platform.submission s on s.enrollment_id = m.id
        where s.submitted_at between :since and :now
        union
        select u.enrollment_id from running c join platform.usage_event u on u.cohort_id = c.id
        where u.at between :since and :now
    )
    select m.program_id, count(*)::int as members, count(b.enrollment_id)::int as part
    from members m left join busy b on b.enrollment_id = m.id group by 1"""
# On plan: as many modules done as were due before today (the same as in core.reads.progress).
_ON_PLAN = f"""{_RUNNING}, due as (
        select c.id as cohort_id, count(m.id) as modules from running c
        left join platform.module m on (m.cohort_id = c.id or (m.cohort_id is null and m.program_id = c.program_id))
            and c.starts_on + m.due_day < :today
        group by 1
    ), done as (
        select p.enrollment_id, count(*) as modules from running c join platform.module_progress p on p.cohort_id = c.id
        where p.status = 'done' and coalesce(p.done_at, p.active_at, p.started_at, :now) <= :now group by 1
    )
    select m.program_id, count(*)::int as members,
        (count(*) filter (where coalesce(d.modules, 0) >= u.modules))::int as part
    from members m join due u on u.cohort_id = m.cohort_id left join done d on d.enrollment_id = m.id group by 1"""
_COMPLETED = f"""
    select e.program_id, count(*)::int as members,
        (count(*) filter (where r.kind in ('pass', 'distinction') and r.decided_at <= :now))::int as part
    from platform.enrollment e join platform.cohort c on c.id = e.cohort_id
    left join platform.result r on r.enrollment_id = e.id
    where e.status = 'ended' and c.ends_on < :today and {_FREE} group by 1"""
_WITHDRAWN = f"""{_RUNNING}
    select c.program_id, count(*)::int as members,
        (count(*) filter (where e.withdrawn_at <= :now))::int as part
    from running c join platform.enrollment e on e.cohort_id = c.id and e.enrolled_at <= :now where {_FREE} group by 1"""
_COUNTS = {"active": _ACTIVE, "on plan": _ON_PLAN, "completed": _COMPLETED, "withdrawn": _WITHDRAWN}
