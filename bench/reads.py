"""What is measured: each screen's reads, and beside each the SQL somebody would write by hand for the same rows.

The floor runs as the worker role, which sees every row without a policy, and fetches through the same driver.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core import queries
from core.policy import in_force
from core.queries import Cursor, EnrollmentFilter, Question, VisitorFilter
from core.rollups import refresh_rollup

Read = Callable[[Session, "World"], object]


@dataclass(frozen=True)
class World:
    """Who asks, and about what: ids picked once from the database that is measured."""

    now: datetime
    program_staff: uuid.UUID
    teacher: uuid.UUID
    admin: uuid.UUID
    officer: uuid.UUID
    middle: Cursor
    student: uuid.UUID
    cohorts: tuple[uuid.UUID, ...]

    @property
    def year_ago(self) -> date:
        """The day a year before."""
        return self.now.date() - timedelta(days=365)

    @property
    def month(self) -> date:
        """The first day of the last whole month."""
        return (self.now.date().replace(day=1) - timedelta(days=1)).replace(day=1)

    @property
    def asked(self) -> Mapping[str, Any]:
        """The arguments of the SQL written by hand."""
        return {
            "now": self.now,
            "cohorts": list(self.cohorts),
            "cohort": self.cohorts[0],
            "student": self.student,
            "value": self.middle.value,
            "id": self.middle.id,
            "year_ago": self.year_ago,
            "month": self.month,
            "clicks_from": self.now - timedelta(days=14),
        }


@dataclass(frozen=True)
class Job:
    """One read as the product does it, and by hand. ``who`` is the attribute of World who asks; "" is a worker, who counts roll-ups."""

    screen: str
    name: str
    who: str
    read: Read
    sql: str
    also: tuple[str, ...] = field(default=())


ENROLLMENT = """select e.id, s.id as student_id, s.name, s.email, s.experience_level, e.status, e.enrolled_at, p.title, c.title, c.starts_on
    from (select * from platform.enrollment e {where} order by e.enrolled_at desc, e.id desc limit 51) e
    join platform.student s on s.id = e.student_id join platform.program p on p.id = e.program_id
    join platform.cohort c on c.id = e.cohort_id order by e.enrolled_at desc, e.id desc"""
ENROLLMENT_SEARCH = """select e.id, s.name, s.email, e.status, e.enrolled_at, p.title, c.title, c.starts_on
    from platform.enrollment e join platform.student s on s.id = e.student_id join platform.program p on p.id = e.program_id
    join platform.cohort c on c.id = e.cohort_id where lower(s.name) || ' ' || lower(s.email) like '%{text}%'
    order by e.enrolled_at desc, e.id desc limit 51"""
CONVERTED = """exists (select from platform.student s join platform.enrollment e on e.student_id = s.id
        where s.email_hash = v.email_hash and e.enrolled_at >= v.asked_at)"""
VISITOR = f"""select v.*, p.title, m.name, {CONVERTED} as converted,
        exists (select from platform.student s where s.email_hash = v.email_hash and s.registered_at < v.asked_at) as before,
        exists (select from platform.visitor o where o.email_hash = v.email_hash and o.id <> v.id) as again
    from (select * from platform.visitor v {{where}} order by v.asked_at desc, v.id desc limit 51) v
    left join platform.program p on p.id = v.program_id left join staff.staff_member m on m.id = v.owner_id
    order by v.asked_at desc, v.id desc"""
TAUGHT = """select c.*, p.title, (select count(*) from platform.module m where m.program_id = c.program_id),
        (select count(*) from platform.enrollment e where e.cohort_id = c.id and e.status <> 'withdrawn'),
        (select count(*) from platform.submission s where s.cohort_id = c.id and s.status = 'waiting for review'),
        (select min(s.submitted_at) from platform.submission s where s.cohort_id = c.id and s.status = 'waiting for review')
    from platform.cohort c join platform.program p on p.id = c.program_id where c.id = any (:cohorts)"""
MATRIX = """select e.id, s.id, s.name, s.account_status, m.module_id, m.status, m.score, m.started_at, m.done_at, m.active_at
    from platform.enrollment e join platform.student s on s.id = e.student_id
    left join platform.module_progress m on m.enrollment_id = e.id
    where e.cohort_id = :cohort and e.status <> 'withdrawn' order by lower(s.name), e.id"""
HELP = """with p as (
        select m.enrollment_id, m.cohort_id, count(*) filter (where m.status = 'done' and m.done_at <= :now) as done,
            max(m.active_at) filter (where m.active_at <= :now) as active
        from platform.module_progress m where m.cohort_id = any (:cohorts) group by 1, 2),
    f as (select s.enrollment_id, max(n) as failed from (select s.enrollment_id, s.module_id, count(*) as n from platform.submission s
        where s.cohort_id = any (:cohorts) and s.status = 'failed' group by 1, 2) s group by 1),
    w as (select s.enrollment_id, min(s.submitted_at) as waiting from platform.submission s
        where s.cohort_id = any (:cohorts) and s.status = 'waiting for review' group by 1),
    u as (select u.enrollment_id, max(u.at) as seen, sum(u.clicks) filter (where u.at > :clicks_from) as clicks
        from platform.usage_event u where u.cohort_id = any (:cohorts) and u.at > cast(:clicks_from as timestamptz) - interval '60 days' and u.at <= :now group by 1),
    median as (select cohort_id, percentile_disc(0.5) within group (order by done) as done from p group by 1)
    select e.id, s.name, p.done, p.active, median.done, f.failed, w.waiting, u.clicks
    from platform.enrollment e join platform.student s on s.id = e.student_id left join p on p.enrollment_id = e.id
    left join f on f.enrollment_id = e.id left join w on w.enrollment_id = e.id left join u on u.enrollment_id = e.id
    left join median on median.cohort_id = e.cohort_id
    where e.cohort_id = any (:cohorts) and e.status <> 'withdrawn'
      and (p.active < cast(:now as timestamptz) - interval '14 days' or median.done - p.done >= 2 or f.failed >= 2 or w.waiting < cast(:now as timestamptz) - interval '3 days')
    order by p.active limit 50"""
REVIEWS = """select s.id, s.submitted_at, s.url, s.attempt, st.id, st.name, m.title, c.title
    from platform.submission s join platform.enrollment e on e.id = s.enrollment_id join platform.student st on st.id = e.student_id
    join platform.module m on m.id = s.module_id join platform.cohort c on c.id = s.cohort_id
    where s.cohort_id = any (:cohorts) and s.status = 'waiting for review' and s.submitted_at <= :now
    order by s.submitted_at, s.id limit 51"""
RECORD = (
    """select s.*, e.*, c.title from platform.student s join platform.enrollment e on e.student_id = s.id
        join platform.cohort c on c.id = e.cohort_id where s.id = :student and e.cohort_id = any (:cohorts)""",
    """with mine as (select id from platform.enrollment where student_id = :student and cohort_id = any (:cohorts))
    select 'progress', m.module_id, m.status, m.score, m.started_at, m.done_at, null from platform.module_progress m where m.enrollment_id in (select id from mine)
    union all select 'submission', s.module_id, s.status, s.score, s.submitted_at, null, s.url from platform.submission s where s.enrollment_id in (select id from mine)
    union all select 'review', null, r.passed::text, null, r.reviewed_at, null, r.comment from platform.code_review r where r.enrollment_id in (select id from mine)
    union all select 'certificate', null, c.number, null, c.issued_at, null, c.url from platform.certificate c where c.enrollment_id in (select id from mine)""",
    """select u.enrollment_id, (u.at at time zone 'UTC')::date, sum(u.clicks) from platform.usage_event u
    join platform.enrollment e on e.id = u.enrollment_id where e.student_id = :student and u.at > cast(:now as timestamptz) - interval '1 year' group by 1, 2""",
)
SEARCHED = "lower(name) || ' ' || lower(email) like '%{text}%'"
SEARCH = """(select 'student', id, name, email from platform.student where {where} limit 200)
    union all (select 'visitor', id, name, email from platform.visitor where {where} limit 200)
    union all (select 'cohort', id, title, code from platform.cohort where lower(title || ' ' || code) like '%{text}%' limit 6)
    union all (select 'program', id, title, code from platform.program where lower(title || ' ' || code) like '%{text}%' limit 6)"""
TOTAL = "select count(*) from platform.enrollment"
TREND = "select program_id, date_trunc('month', enrolled_at)::date, count(*) from platform.enrollment"
FUNNEL = "select status, started_at is not null, count(*) from platform.enrollment where enrolled_at >= :year_ago group by 1, 2"
REFRESH = """select enrolled_at::date, program_id, status, started_at is not null, count(*) from platform.enrollment
    where enrolled_at >= :month and enrolled_at < cast(:month as timestamptz) + interval '1 month' group by 1, 2, 3, 4"""
BY_NAME = """select e.id, s.id as student_id, s.name, s.email, s.experience_level, e.status, e.enrolled_at, p.title, c.title, c.starts_on
    from (select * from platform.student order by lower(name), id limit 60) s join platform.enrollment e on s.id = e.student_id
    join platform.program p on p.id = e.program_id join platform.cohort c on c.id = e.cohort_id order by lower(s.name), e.id limit 51"""

RELEASED = """select r.period, c.k1, c.k2, c.value, c.se from anon.release r join anon.cell c on c.release_id = r.id
    where r.family = '{}' and c.marginal = '{}' order by r.first_day, c.k1, c.k2"""


PROMISES = """select (select count(*) from privacy.consent c join platform.student s on s.id = c.student_id
        where c.state in ('missing', 'requested', 'given', 'refused', 'withdrawn') and s.account_status = 'open'),
    (select count(*) from privacy.consent c join platform.student s on s.id = c.student_id
        where c.birth_date is null and c.adult is null and s.account_status = 'open'),
    (select count(*) from platform.email_log where sent_at < cast(:now as timestamptz) - interval '91 days'), (select min(sent_at) from platform.email_log),
    (select count(*) from platform.student where closed_at is not null)"""
NEEDS = """select c.state, c.asked_at is null, count(*) from privacy.consent c join platform.student s on s.id = c.student_id
    where c.adult is not true and s.account_status = 'open' group by 1, 2"""
CASES = """select c.student_id, c.number, c.state, coalesce(c.changed_at, c.declared_at) from privacy.consent c join platform.student s on s.id = c.student_id
    where {where} and s.account_status = 'open' order by 4, 1 limit 51"""


def _promises(session: Session, world: World) -> object:
    return queries.promise_counts(session, now=world.now, parameters=in_force(session, world.now))


def _two_programs(session: Session, _world: World) -> object:
    """The first two published programs, or nothing where there are none."""
    one, other, *_ = [*queries.analytics_state(session).programs, None, None]
    return queries.compare_programs(session, family="enrollments", one=one, other=other) if one and other else None


def _search_by_hand(typed: str) -> str:
    return SEARCH.format(where=SEARCHED.format(text=typed), text=typed)


def _taught(session: Session, world: World) -> tuple[Any, ...]:
    return queries.taught_cohorts(session, now=world.now)


def _matrix(session: Session, world: World) -> object:
    return queries.cohort_matrix(session, next(c for c in _cohorts(session, world) if c.id == world.cohorts[0]))


def _help(session: Session, world: World) -> object:
    return queries.who_needs_help(session, tuple(_cohorts(session, world)), now=world.now)


_KNOWN: dict[uuid.UUID, tuple[Any, ...]] = {}


def _cohorts(session: Session, world: World) -> tuple[Any, ...]:
    """The assigned cohorts, read once: they have a line of their own."""
    if world.teacher not in _KNOWN:
        _KNOWN[world.teacher] = _taught(session, world)
    return _KNOWN[world.teacher]


JOBS = (
    Job("Enrollments", "first page", "program_staff", lambda s, w: queries.enrollment_page(s, EnrollmentFilter()), ENROLLMENT.format(where="")),
    Job("Enrollments", "first page, active", "program_staff", lambda s, w: queries.enrollment_page(s, EnrollmentFilter(statuses=("active",))),
        ENROLLMENT.format(where="where e.status = 'active'")),
    Job("Enrollments", "page in the middle", "program_staff", lambda s, w: queries.enrollment_page(s, EnrollmentFilter(), after=w.middle),
        ENROLLMENT.format(where="where (e.enrolled_at, e.id) < (cast(:value as timestamptz), :id)")),
    Job("Enrollments", "search, 6 characters", "program_staff", lambda s, w: queries.enrollment_page(s, EnrollmentFilter(search="garcia")), ENROLLMENT_SEARCH.format(text="garcia")),
    Job("Enrollments", "search, 3 characters", "program_staff", lambda s, w: queries.enrollment_page(s, EnrollmentFilter(search="ann")), ENROLLMENT_SEARCH.format(text="ann")),
    Job("Enrollments", "total", "program_staff", lambda s, w: queries.enrollment_total(s, EnrollmentFilter()), TOTAL),
    Job("Enrollments", "by name", "program_staff", lambda s, w: queries.enrollment_page(s, EnrollmentFilter(), sort="name"), BY_NAME),
    Job("Enrollments", "trend of a year", "program_staff", lambda s, w: queries.monthly_trend(s, first_day=w.year_ago), TREND + " where enrolled_at >= :year_ago group by 1, 2"),
    Job("Enrollments", "trend of all time", "program_staff", lambda s, w: queries.monthly_trend(s), TREND + " group by 1, 2"),
    Job("Enrollments", "funnel of a year", "program_staff", lambda s, w: queries.funnel(s, first_day=w.year_ago), FUNNEL, ("select count(*) from platform.visitor where asked_at >= :year_ago",)),
    Job("Enrollments", "refresh of a month", "", lambda s, w: refresh_rollup(s, f"enrolled {w.month}"), REFRESH),
    Job("Today", "program staff", "program_staff", lambda s, w: queries.program_day(s, now=w.now), "select status, count(*) from platform.enrollment group by 1"),
    Job("Today", "counts of promises", "officer", _promises, PROMISES),
    Job("Today", "needs of consent", "officer", lambda s, w: queries.consent_counts(s, now=w.now), NEEDS),
    Job("Consent", "to do", "officer", lambda s, w: queries.consent_page(s, "to do", now=w.now), CASES.format(where="c.state in ('given', 'missing', 'refused', 'withdrawn')")),
    Job("Consent", "not asked", "officer", lambda s, w: queries.consent_page(s, "not asked", now=w.now),
        CASES.format(where="c.adult is null and c.birth_date is null and c.state = 'not needed' and c.asked_at is null")),
    Job("Consent", "verified", "officer", lambda s, w: queries.consent_page(s, "verified", now=w.now), CASES.format(where="c.state = 'verified'")),
    Job("Visitors", "first page", "program_staff", lambda s, w: queries.visitor_page(s, VisitorFilter(), now=w.now), VISITOR.format(where="")),
    Job("Visitors", "converted", "program_staff", lambda s, w: queries.visitor_page(s, VisitorFilter(converted=True), now=w.now), VISITOR.format(where="where " + CONVERTED)),
    Job("Visitors", "search, 3 characters", "program_staff", lambda s, w: queries.visitor_page(s, VisitorFilter(search="ann"), now=w.now),
        VISITOR.format(where="where lower(v.name) || ' ' || lower(v.email) like '%ann%'")),
    Job("Progress", "assigned cohorts", "teacher", _taught, TAUGHT),
    Job("Progress", "cohort × module", "teacher", _matrix, MATRIX),
    Job("Progress", "who needs help", "teacher", _help, HELP),
    Job("Reviews", "first page", "teacher", lambda s, w: queries.review_page(s, now=w.now), REVIEWS),
    Job("Student", "record and timeline", "teacher", lambda s, w: queries.student_record(s, w.student, now=w.now), RECORD[0], RECORD[1:]),
    Job("Sidebar", "search, 6 characters", "program_staff", lambda s, w: queries.search(s, "garcia"), _search_by_hand("garcia")),
    Job("Sidebar", "search, 3 characters", "program_staff", lambda s, w: queries.search(s, "ann"), _search_by_hand("ann")),
    Job("Programs", "group figures", "program_staff", lambda s, w: queries.group_figures(s),
        "select f.*, p.title from platform.group_figure f left join platform.program p on p.id = f.program_id"),
    Job("Analytics", "enrollments by quarter", "program_staff", lambda s, w: queries.released_figures(s, Question("enrollments", ("program", "quarter"))),
        RELEASED.format("enrollments", "program")),
    Job("Analytics", "enrollments by month", "program_staff", lambda s, w: queries.released_figures(s, Question("enrollments", ("program", "month"))),
        RELEASED.format("enrollments", "month")),
    Job("Analytics", "two programs", "program_staff", _two_programs, RELEASED.format("enrollments", "program")),
    Job("Analytics", "cohorts", "program_staff", lambda s, w: queries.cohort_figures(s), RELEASED.format("milestones", "cohort")),
    Job("Analytics", "state", "program_staff", lambda s, w: queries.analytics_state(s), "select * from anon.release r join anon.ledger l on l.release_id = r.id"),
)  # fmt: skip


def by_hand(session: Session, job: Job, world: World) -> None:
    """Run the floor of a job and fetch its rows."""
    for statement in (job.sql, *job.also):
        wanted = {name: value for name, value in world.asked.items() if f":{name}" in statement}
        session.execute(text(statement), wanted).all()
