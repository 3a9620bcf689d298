"""How the assigned cohorts stand: who teaches what, cohort × module, who needs help and why, certificates due.

Row-level security leaves only assigned learning data to read; a cohort of somebody else is not found. Every figure is as of
a day: today, or the cohort's last day once it has ended; what the records foretell (records moved to another time) has
not happened yet.

Each read is one statement over the cohorts asked for, whatever the number of students.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.links import platform_link
from core.reads import progress_sql as sql

PAGE_STUDENTS = 50
MATRIX_SORTS = {"behind": "Furthest behind", "name": "By name"}
NOT_ASSIGNED = "There is no such cohort, or it is not assigned to you. Learning data opens by assignment."


@dataclass(frozen=True)
class HelpLimits:
    """From when on a student needs help; 0 switches a reason off. Days, modules, times, and percent of the median."""

    quiet_days: int = 14
    behind_modules: int = 2
    failed_times: int = 2
    waiting_days: int = 3
    clicks_percent: int = 25


@dataclass(frozen=True)
class PlannedCohort:
    """An assigned cohort and its plan. ``as_of`` is now, or the end of its last day; ``modules`` how many there are, ``due`` how
    many of them were due before that day."""

    id: uuid.UUID
    code: str
    title: str
    program: str
    starts_on: date
    ends_on: date
    as_of: datetime
    modules: int
    due: int
    limits: HelpLimits

    @property
    def started(self) -> bool:
        """Whether its first day has come."""
        return self.as_of.date() >= self.starts_on

    @property
    def ended(self) -> bool:
        """Whether its last day is over."""
        return self.as_of == _last_instant(self.ends_on)

    @property
    def running(self) -> bool:
        """Whether today lies between its first and its last day."""
        return self.started and not self.ended


@dataclass(frozen=True)
class TaughtCohort(PlannedCohort):
    """And who is there. ``students`` those who did not withdraw; ``oldest_waiting`` when the oldest open submission came in."""

    students: int
    waiting: int
    oldest_waiting: datetime | None


@dataclass(frozen=True)
class ModuleStand:
    """One module of a cohort, and how many of its students have done it. ``due_on`` None: no plan."""

    id: uuid.UUID
    position: int
    title: str
    kind: str
    due_on: date | None
    done: int


@dataclass(frozen=True)
class CohortStand:
    """Where a cohort stands as of its day: its modules in order; its students, how many of them are on plan (have done as
    many modules as were due), and the median of modules done; how many withdrew."""

    modules: tuple[ModuleStand, ...]
    students: int
    withdrawn: int
    on_plan: int
    median: int | None


@dataclass(frozen=True)
class Cell:
    """One student in one module as of the day. ``state`` is "done", "failed", "waiting for review" or "in progress"; ``days``
    from its beginning to its end, or until the day."""

    state: str
    score: Decimal | None
    days: int | None


@dataclass(frozen=True)
class MatrixRow:
    """One student of the matrix; ``cells`` by module, only where something happened."""

    enrollment_id: uuid.UUID
    student_id: uuid.UUID
    name: str
    done: int
    last_active: datetime | None
    cells: dict[uuid.UUID, Cell]


@dataclass(frozen=True)
class Matrix:
    """One page of students. ``students`` is how many there are in all."""

    rows: tuple[MatrixRow, ...]
    students: int


@dataclass(frozen=True)
class Reason:
    """Why somebody needs help: "quiet", "behind", "failed", "waiting" or "clicks". ``amount`` is days, modules, times or
    clicks; ``limit`` what it is measured against; ``since`` the day it began, where there is one."""

    kind: str
    amount: int
    limit: int
    since: date | None = None
    median: int | None = None


@dataclass(frozen=True)
class Handled:
    """The newest note about a student. ``until`` None: put back on the list."""

    until: date | None
    note: str
    by: uuid.UUID
    at: datetime


@dataclass(frozen=True)
class NeedsHelp:
    """A student who needs help. ``points``: each reason counts its amount divided by its limit (at most 3), summed."""

    enrollment_id: uuid.UUID
    student_id: uuid.UUID
    name: str
    cohort_id: uuid.UUID
    done: int
    modules: int
    last_active: datetime | None
    reasons: tuple[Reason, ...]
    points: float
    handled: Handled | None
    is_handled: bool


@dataclass(frozen=True)
class HelpList:
    """Those who need help, most points first, up to a limit; counts are of all of them. ``handled`` are not in the others.

    ``objecting`` is how many of the students object to being ordered like this: they are in none of the other counts but
    ``students`` and ``on_plan``.
    """

    rows: tuple[NeedsHelp, ...]
    total: int
    by_kind: dict[str, int]
    handled: int
    students: int
    on_plan: int
    objecting: int = 0


@dataclass(frozen=True)
class CertificateDue:
    """Somebody who passed and has no certificate yet; ``link`` leads to the student on the platform, where it is issued."""

    student_id: uuid.UUID
    enrollment_id: uuid.UUID
    name: str
    cohort_id: uuid.UUID
    cohort: str
    kind: str
    decided_at: datetime
    link: str | None


@dataclass(frozen=True)
class YearBefore:
    """The same program's cohort of a year ago on the same day: who had done each module (by position), of ``members`` who
    stayed. Not ``exact``: whole tens only, because it is not assigned to whoever asks."""

    title: str
    starts_on: date
    exact: bool
    members: int
    done: dict[int, int]


def taught_cohorts(session: Session, *, now: datetime) -> tuple[TaughtCohort, ...]:
    """Return the cohorts that are assigned to whoever asks: running ones first, then those to come, then the ended."""
    today = now.astimezone(UTC).date()
    found = session.execute(sql.TAUGHT, {"now": now, "today": today})
    return tuple(sorted((_taught(row, now) for row in found), key=running_first))


def taught_cohort(session: Session, *, code: str, now: datetime) -> TaughtCohort:
    """Return one assigned cohort by its code. Raises NotFound for any other: one answer."""
    known = {cohort.code: cohort for cohort in taught_cohorts(session, now=now)}
    if code not in known:
        raise NotFound(NOT_ASSIGNED, cohort=code)
    return known[code]


def cohort_stand(session: Session, cohort: PlannedCohort) -> CohortStand:
    """Return where a cohort stands: by module, and in all."""
    rows = session.execute(sql.STAND, _asked([cohort])).all()
    modules = tuple(
        ModuleStand(r.id, r.position, r.title, r.kind, _due_on(cohort, r.due_day), r.done) for r in rows if r.id
    )
    first = rows[0]
    return CohortStand(modules, first.students, first.withdrawn, first.on_plan, first.median)


def cohort_matrix(session: Session, cohort: TaughtCohort, *, sort: str = "behind", page: int = 1) -> Matrix:
    """Return one page of up to ``PAGE_STUDENTS`` students with their modules.

    "behind": fewest modules done first, then who was active longest ago, and last who objects to being ordered by need of help;
    "name": by name. A page past the last is empty.
    """
    asked = {**_asked([cohort]), "limit": PAGE_STUDENTS, "offset": (page - 1) * PAGE_STUDENTS}
    found = session.execute(sql.MATRIX[sort], asked).all()
    cells: dict[uuid.UUID, dict[uuid.UUID, Cell]] = {}
    asked = {"ids": [row.enrollment_id for row in found], "as_of": cohort.as_of}
    for row in session.execute(sql.CELLS, asked) if found else ():
        if cell := _cell(row, cohort.as_of):
            cells.setdefault(row.enrollment_id, {})[row.module_id] = cell
    rows = tuple(
        MatrixRow(r.enrollment_id, r.student_id, r.name, r.done, r.last_active, cells.get(r.enrollment_id, {}))
        for r in found
    )
    return Matrix(rows, found[0].students if found else cohort.students)


def who_needs_help(
    session: Session,
    cohorts: tuple[PlannedCohort, ...],
    *,
    now: datetime,
    kind: str | None = None,
    enrollment_id: uuid.UUID | None = None,
    limit: int = 50,
) -> HelpList:
    """Return who needs help in these cohorts as of their day, and why.

    ``kind`` keeps those with one reason, ``enrollment_id`` one student; the counts stay those of all.

    Those who are handled until today or later come last, marked; an ended cohort is looked at as of its last day, whoever
    asks; a cohort that has not started needs nothing yet.
    """
    begun = [cohort for cohort in cohorts if cohort.started]
    if not begun:
        return HelpList((), 0, {}, 0, 0, 0)
    today = now.astimezone(UTC).date()
    asked = {**_asked(begun), "today": today, "kind": kind, "only": enrollment_id, "limit": limit}
    found = session.execute(sql.HELP, asked).all()
    known = {cohort.id: cohort for cohort in begun}
    first = found[0]
    return HelpList(
        tuple(_needs_help(row, known[row.cohort_id]) for row in found if row.enrollment_id),
        first.total,
        {name: getattr(first, f"n_{name}") for name in ("quiet", "behind", "failed", "waiting", "clicks")},
        first.handled,
        first.students,
        first.on_plan,
        first.objecting,
    )


def certificates_due(
    session: Session, cohorts: tuple[PlannedCohort, ...], *, now: datetime
) -> tuple[CertificateDue, ...]:
    """Return who passed (a pass or distinction decided until now) and has no certificate, longest waiting first."""
    rows = session.execute(sql.CERTIFICATES, {"ids": [cohort.id for cohort in cohorts], "now": now})
    return tuple(
        CertificateDue(
            r.student_id, r.enrollment_id, r.name, r.cohort_id, r.title, r.kind, r.decided_at,
            platform_link("student", r.source, r.source_key),
        )
        for r in rows
    )  # fmt: skip


def year_before(session: Session, cohort: PlannedCohort, *, now: datetime) -> YearBefore | None:
    """Return the same program's cohort of a year ago on the same day of its run; None when there is none to be told."""
    rows = session.execute(sql.YEAR_BEFORE, {"id": cohort.id, "now": now}).all()
    if not rows:
        return None
    first = rows[0]
    return YearBefore(
        first.title, first.starts_on, first.exact, first.members, {row.position: row.done for row in rows}
    )


def planned(row: Row[Any], now: datetime) -> PlannedCohort:
    """Return the cohort of a row of ``progress_sql.COHORT``."""
    return PlannedCohort(**_plan(row, now))


def _plan(row: Row[Any], now: datetime) -> dict[str, Any]:
    names = [field.name for field in fields(HelpLimits)]
    limits = HelpLimits() if row.quiet_days is None else HelpLimits(*(getattr(row, name) for name in names))
    as_of = min(now, _last_instant(row.ends_on))
    told = ("id", "code", "title", "program", "starts_on", "ends_on", "modules", "due")
    return {name: getattr(row, name) for name in told} | {"as_of": as_of, "limits": limits}


def _taught(row: Row[Any], now: datetime) -> TaughtCohort:
    return TaughtCohort(
        **_plan(row, now), students=row.students, waiting=row.waiting, oldest_waiting=row.oldest_waiting
    )


def running_first(cohort: PlannedCohort) -> tuple[int, int, str]:
    """The order of cohorts: running ones, those to come, the ended; each the latest start first."""
    return 0 if cohort.running else 2 if cohort.ended else 1, -cohort.starts_on.toordinal(), cohort.title


def _last_instant(day: date) -> datetime:
    return datetime.combine(day, time.max, UTC)


def _due_on(cohort: PlannedCohort, due_day: int | None) -> date | None:
    return None if due_day is None else cohort.starts_on + timedelta(days=due_day)


def _asked(cohorts: Sequence[PlannedCohort]) -> dict[str, object]:
    """The cohorts as arrays, one place each."""
    limits = [cohort.limits for cohort in cohorts]
    return {
        "ids": [cohort.id for cohort in cohorts],
        "as_of": [cohort.as_of for cohort in cohorts],
        "starts_on": [cohort.starts_on for cohort in cohorts],
        "modules": [cohort.modules for cohort in cohorts],
        "due": [cohort.due for cohort in cohorts],
        "quiet": [each.quiet_days for each in limits],
        "behind": [each.behind_modules for each in limits],
        "failed": [each.failed_times for each in limits],
        "waiting": [each.waiting_days for each in limits],
        "clicks": [each.clicks_percent for each in limits],
        "clicks_from": min(cohort.as_of for cohort in cohorts) - timedelta(days=sql.CLICK_WINDOW),
        "clicks_to": max(cohort.as_of for cohort in cohorts),
    }


def _cell(row: Row[Any], as_of: datetime) -> Cell | None:
    """The cell as of the day; None when nothing had happened by then."""
    ended = row.done_at or row.active_at or row.started_at
    if row.status in ("done", "failed") and (ended is None or ended <= as_of):
        return Cell(row.status, row.score, _days(row.started_at, ended))
    began = row.started_at or row.active_at
    if row.status == "not started" or began is None or began > as_of:
        return None
    return Cell("waiting for review" if row.waiting else "in progress", None, _days(began, as_of))


def _days(first: datetime | None, last: datetime | None) -> int | None:
    return None if first is None or last is None else (last - first).days


def _needs_help(row: Row[Any], cohort: PlannedCohort) -> NeedsHelp:
    handled = Handled(row.handled_until, row.note, row.written_by, row.written_at) if row.written_at else None
    return NeedsHelp(
        row.enrollment_id,
        row.student_id,
        row.name,
        row.cohort_id,
        row.done,
        row.modules,
        row.last_active,
        tuple(_reasons(row, cohort)),
        float(row.points),
        handled,
        row.is_handled,
    )


def _reasons(row: Row[Any], cohort: PlannedCohort) -> list[Reason]:
    """The reasons in the order of their weight in words: what is most urgent is said first."""
    limits = cohort.limits
    found = (
        ("failed", row.r_failed, limits.failed_times, _day(row.failed_since), None),
        ("quiet", row.r_quiet, limits.quiet_days, _day(row.last_active), None),
        ("behind", row.r_behind, limits.behind_modules, None, None),
        ("waiting", row.r_waiting, limits.waiting_days, _day(row.waiting_since), None),
        ("clicks", row.r_clicks, limits.clicks_percent, None, row.median_clicks),
    )
    return [
        Reason(kind, amount, limit, since, median) for kind, amount, limit, since, median in found if amount is not None
    ]


def _day(moment: datetime | None) -> date | None:
    return moment.astimezone(UTC).date() if moment else None
