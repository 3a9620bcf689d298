"""Enrollments: one page of them, how many there are, the funnel and the trend.

Funnel and trend of all cohorts are sums of roll-ups (core.rollups), as old as :func:`rollup_age` says.

Status and dates only: a row of this module never tells how somebody is doing. Contacts come masked; the whole address is
an action (core.privacy.contacts), because somebody is seen then.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.links import platform_link, platform_links
from core.models.platform import ENROLLMENT_STATUS, EXPERIENCE_LEVELS, Cohort, GroupFigure, Program
from core.reads.listing import PAGE_SIZE, Cursor, Total, pattern
from core.words import masked_email

COUNT_CAP = 10_000
SEARCHED_COUNT_CAP = 1_000  # each enrollment looked at costs a look-up of its student
MOST_COHORTS = 500
TREND_SERIES, OTHER = 5, "other"
STALE_AFTER = timedelta(minutes=5)
SORTS = {"newest": "Newest first", "oldest": "Oldest first", "name": "By name"}


@dataclass(frozen=True)
class EnrollmentFilter:
    """What to look for; an empty one finds all. Days are in UTC, both included."""

    search: str = ""
    program_id: uuid.UUID | None = None
    cohort_id: uuid.UUID | None = None
    statuses: tuple[str, ...] = ()
    level: str | None = None
    unconfirmed: bool = False
    first_day: date | None = None
    last_day: date | None = None

    @property
    def empty(self) -> bool:
        """True when it leaves nothing out."""
        return self == EnrollmentFilter()


@dataclass(frozen=True)
class EnrollmentRow:
    """One line of the table. ``contact`` is masked; ``link`` leads to the student on the platform, if it knows them."""

    id: uuid.UUID
    student_id: uuid.UUID
    student: str
    contact: str
    program: str
    cohort: str
    status: str
    level: str
    enrolled_at: datetime
    starts_on: date
    link: str | None


@dataclass(frozen=True)
class EnrollmentPage:
    """Up to ``PAGE_SIZE`` rows; ``next`` is None on the last page."""

    rows: tuple[EnrollmentRow, ...]
    next: Cursor | None


@dataclass(frozen=True)
class CohortChoice:
    """A cohort as filters offer it."""

    id: uuid.UUID
    code: str
    title: str
    program_id: uuid.UUID
    starts_on: date
    ends_on: date


@dataclass(frozen=True)
class Catalog:
    """All programs (id → title, by title) and the latest cohorts (latest start first); ``links`` to their own pages on the platform."""

    programs: dict[uuid.UUID, str]
    cohorts: tuple[CohortChoice, ...]
    links: dict[uuid.UUID, str | None]


@dataclass(frozen=True)
class Funnel:
    """Exact counts of people who asked and enrollments that began in a period, by what became of them (:func:`rollup_age`)."""

    visitors: int
    registered: int
    active: int
    ended: int
    withdrawn: int


@dataclass(frozen=True)
class Trend:
    """New enrollments by month (first days, ascending, no gaps) and program title."""

    months: tuple[date, ...] = ()
    series: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RollupAge:
    """The figures know every change until ``as_of``; ``stale`` when a change waits to be counted longer than it should."""

    as_of: datetime
    stale: bool


@dataclass(frozen=True)
class EnrollmentFigures:
    """Funnel and trend of one moment, and how old they are."""

    funnel: Funnel
    trend: Trend
    counted: RollupAge


@dataclass(frozen=True)
class CompletedFigure:
    """The weekly group figure: of those whose cohort ended, the share that completed, rounded; None below 10 persons."""

    week: date
    percent: int | None


def enrollment_page(
    session: Session,
    wanted: EnrollmentFilter,
    *,
    sort: str = "newest",
    after: Cursor | None = None,
    limit: int = PAGE_SIZE,
) -> EnrollmentPage:
    """Return one page within the rights of whoever asks. Raises BadInput for a search that cannot be used."""
    asked = {
        **_arguments(wanted),
        "sort": sort,
        "after_value": after.value if after else None,
        "after_id": after.id if after else None,
        "limit": limit + 1,
    }
    found = session.execute(_PAGE, asked).all()
    more = Cursor(found[limit - 1].sort_value, found[limit - 1].proposed) if len(found) > limit else None
    return EnrollmentPage(tuple(_row(*row[2:]) for row in found[:limit] if row.id is not None), more)


def enrollment_total(session: Session, wanted: EnrollmentFilter, *, cap: int | None = None) -> Total:
    """Return how many enrollments match, counted up to ``cap`` (less far when their students have to be looked at)."""
    most = cap or (SEARCHED_COUNT_CAP if wanted.search or wanted.level else COUNT_CAP)
    count = int(session.execute(_COUNT, {**_arguments(wanted), "cap": most + 1}).scalar_one())
    return Total(min(count, most), count > most)


def catalog(session: Session, *, most: int = MOST_COHORTS) -> Catalog:
    """Return every program, and the ``most`` cohorts that start last. No person in it."""
    programs = select(Program.id, Program.source, Program.source_key)
    cohorts = session.execute(_COHORTS.limit(most)).all()
    links = platform_links("cohort", ((c.id, c.source, c.source_key) for c in cohorts))
    links |= platform_links("program", ((p.id, p.source, p.source_key) for p in session.execute(programs)))
    return Catalog(_titles(session), tuple(_choice(c) for c in cohorts), links)


def cohorts_offered(
    session: Session, *, program_id: uuid.UUID | None = None, title: str | None = None, most: int = MOST_COHORTS
) -> tuple[CohortChoice, ...]:
    """Return the ``most`` cohorts of a program that start last; and those with this ``title``, however old they are."""
    listed = _COHORTS if program_id is None else _COHORTS.where(Cohort.program_id == program_id)
    found = {c.id: c for c in session.execute(listed.limit(most))}
    if title:
        found |= {c.id: c for c in session.execute(listed.where(Cohort.title == title).limit(most))}
    return tuple(_choice(c) for c in found.values())


def cohort_of_code(session: Session, code: str) -> uuid.UUID | None:
    """Return the cohort with this code; None where there is none."""
    return session.scalars(select(Cohort.id).where(Cohort.code == code)).first()


def _choice(c: Any) -> CohortChoice:
    return CohortChoice(c.id, c.code, c.title, c.program_id, c.starts_on, c.ends_on)


_COHORTS = select(
    Cohort.id, Cohort.code, Cohort.title, Cohort.program_id, Cohort.starts_on, Cohort.ends_on, Cohort.source, Cohort.source_key,
).order_by(Cohort.starts_on.desc(), Cohort.title)  # fmt: skip


def funnel(
    session: Session,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    program_id: uuid.UUID | None = None,
    cohort_id: uuid.UUID | None = None,
) -> Funnel:
    """Return the funnel of a period. With a cohort there are no visitors: they ask for a program."""
    period = _period(first_day, last_day)
    counts: Counter[str] = Counter()
    for row in session.execute(_ENROLLMENT_COUNTS, period | {"program": program_id, "cohort": cohort_id}):
        counts["all"] += row.enrollments
        counts["started"] += row.enrollments * row.started
        counts[row.status] += row.enrollments
    visitors = session.scalar(_VISITOR_COUNT, period | {"program": program_id}) or 0
    return Funnel(int(visitors), counts["all"], counts["started"], counts["ended"], counts["withdrawn"])


def monthly_trend(
    session: Session,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
    program_id: uuid.UUID | None = None,
    cohort_id: uuid.UUID | None = None,
) -> Trend:
    """Return new enrollments by month and program; beyond five programs the smallest are summed as "other"."""
    titles = _titles(session)
    asked = _period(first_day, last_day) | {"program": program_id, "cohort": cohort_id, "series": TREND_SERIES}
    counts: dict[str, Counter[date]] = {}
    for row in session.execute(_ENROLLMENT_TREND, asked):
        counts.setdefault(titles.get(row.program_id, OTHER), Counter()).update(
            dict(zip(row.months, row.enrollments, strict=True))
        )
    months = _months(sorted({month for by_month in counts.values() for month in by_month}))
    named = sorted(counts, key=lambda name: (name == OTHER, name))
    return Trend(months, {name: tuple(counts[name][m] for m in months) for name in named})


def enrollment_figures(
    session: Session,
    *,
    now: datetime,
    first_day: date | None = None,
    last_day: date | None = None,
    program_id: uuid.UUID | None = None,
    cohort_id: uuid.UUID | None = None,
) -> EnrollmentFigures:
    """Return what the page shows of a period, program or cohort. One cohort is counted as it is, and is never old."""
    age = rollup_age(session, now=now) if cohort_id is None else RollupAge(now, stale=False)
    return EnrollmentFigures(
        funnel(session, first_day=first_day, last_day=last_day, program_id=program_id, cohort_id=cohort_id),
        monthly_trend(session, first_day=first_day, last_day=last_day, program_id=program_id, cohort_id=cohort_id),
        age,
    )


def rollup_age(session: Session, *, now: datetime) -> RollupAge:
    """Return how old the figures are that come from roll-ups: funnel, trend, weeks, and how many are active or registered."""
    since = session.scalar(text("select platform.rollup_waits_since()"))
    return RollupAge(since or now, since is not None and since < now - STALE_AFTER)


def completed_figure(session: Session, *, program_id: uuid.UUID | None = None) -> CompletedFigure | None:
    """Return the newest group figure of a program, or of all together; None before the first weekly run."""
    newest = (
        select(GroupFigure.week, GroupFigure.percent)
        .where(GroupFigure.kind == "completed", GroupFigure.program_id.is_not_distinct_from(program_id))
        .order_by(GroupFigure.week.desc())
        .limit(1)
    )
    row = session.execute(newest).first()
    return CompletedFigure(row.week, row.percent) if row else None


# One round trip: the function proposes ids in their order, row-level security decides by the tables what is seen of them.
_PAGE = text("""
    select f.id as proposed, f.sort_value, e.id, e.student_id, s.name, s.email, p.title, c.title, e.status, s.experience_level, e.enrolled_at,
        c.starts_on, s.source, s.source_key
    from platform.find_enrollments(:search, :program, :cohort, cast(:statuses as text[]), :level, :unconfirmed, :since, :until, :sort,
        :after_value, :after_id, :limit) with ordinality as f(id, sort_value, place)
    left join (platform.enrollment e join platform.student s on s.id = e.student_id join platform.program p on p.id = e.program_id
        join platform.cohort c on c.id = e.cohort_id) on e.id = f.id
    order by f.place""")
_COUNT = text(
    "select platform.count_enrollments(:search, :program, :cohort, cast(:statuses as text[]), :level, :unconfirmed, :since, :until, :cap)"
)
_ENROLLMENT_COUNTS = text("select * from platform.enrollment_counts(:since, :until, :program, :cohort)")
# A row for each program, not for each month of it: hundreds of small rows cost more than the sums.
_ENROLLMENT_TREND = text("""select program_id, array_agg(month) as months, array_agg(enrollments) as enrollments
    from platform.enrollment_trend(:since, :until, :program, :cohort, :series) group by program_id""")
_VISITOR_COUNT = text("select platform.visitor_count(:since, :until, :program)")


def _arguments(wanted: EnrollmentFilter) -> dict[str, object]:
    return {
        "search": pattern(wanted.search),
        "program": wanted.program_id,
        "cohort": wanted.cohort_id,
        "statuses": [s for s in wanted.statuses if s in ENROLLMENT_STATUS] or None,
        "level": wanted.level if wanted.level in EXPERIENCE_LEVELS else None,
        "unconfirmed": wanted.unconfirmed,
        **_period(wanted.first_day, wanted.last_day),
    }


def _period(first_day: date | None, last_day: date | None) -> dict[str, object]:
    return {
        "since": datetime.combine(first_day, time.min, UTC) if first_day else None,
        "until": datetime.combine(last_day, time.min, UTC) + timedelta(days=1) if last_day else None,
    }


def _row(
    id: uuid.UUID,
    student_id: uuid.UUID,
    name: str,
    email: str,
    program: str,
    cohort: str,
    status: str,
    level: str,
    enrolled_at: datetime,
    starts_on: date,
    source: str,
    source_key: str | None,
) -> EnrollmentRow:
    link = platform_link("student", source, source_key)
    return EnrollmentRow(
        id, student_id, name, masked_email(email), program, cohort, status, level, enrolled_at, starts_on, link
    )  # fmt: skip


def _titles(session: Session) -> dict[uuid.UUID, str]:
    return {row.id: row.title for row in session.execute(select(Program.id, Program.title).order_by(Program.title))}


def _months(found: list[date]) -> tuple[date, ...]:
    if not found:
        return ()
    months = [found[0]]
    while months[-1] < found[-1]:
        months.append((months[-1] + timedelta(days=32)).replace(day=1))
    return tuple(months)
