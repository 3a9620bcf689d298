"""What needs somebody today, by role. Every figure is counted within the rights of whoever asks."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.platform import Cohort, Enrollment
from core.models.staff import Assignment, StaffMember, StaffSession
from core.policy import Parameters
from core.reads.enrollments import EnrollmentFilter, RollupAge, enrollment_total, rollup_age
from core.reads.listing import Total, total
from core.reads.visitors import visitor_figures

CONFIRMATION_DAYS = 30
MOST_COUNTED = 1_000
STARTING_MOST = 50
UNCONFIRMED_CAP = 1_000
UNDER_FILLED_PERCENT = 60
WEEKS = 12


@dataclass(frozen=True)
class CohortStart:
    """A cohort that starts soon. ``taken`` counts places not withdrawn; ``seats`` None: no limit."""

    id: uuid.UUID
    title: str
    starts_on: date
    taken: int
    seats: int | None

    @property
    def filled_percent(self) -> int | None:
        """Taken places in percent of the seats, or None without a limit."""
        return round(100 * self.taken / self.seats) if self.seats else None


@dataclass(frozen=True)
class Week:
    """What happened in the seven days from Monday ``week`` on."""

    week: date
    enrolled: int
    withdrawn: int
    visitors: int


@dataclass(frozen=True)
class ProgramDay:
    """For program staff. ``oldest_visitor`` is when the visitor who waits longest asked; ``due_visitors`` are to be contacted
    today or should have been. ``active``, ``registered`` and ``weeks`` are as old as ``counted`` says."""

    waiting_visitors: Total
    oldest_visitor: datetime | None
    due_visitors: Total
    unconfirmed: Total
    starting: tuple[CohortStart, ...]
    active: int
    registered: int
    weeks: tuple[Week, ...]
    counted: RollupAge

    @property
    def under_filled(self) -> tuple[CohortStart, ...]:
        """The cohorts that start soon with too few places taken."""
        return tuple(c for c in self.starting if (c.filled_percent or 100) < UNDER_FILLED_PERCENT)


@dataclass(frozen=True)
class PromiseCounts:
    """Counts behind the promises; nobody's rows. ``minors_without_consent`` are students below the consent age. What may be many is counted
    up to ``MOST_COUNTED``; the exact figures come with the proof of each promise, once an hour."""

    open_requests: int
    overdue_requests: int
    due_soon_requests: int
    minors_without_consent: Total
    ages_not_declared: Total
    old_mail_logs: Total
    oldest_mail_log: datetime | None
    closed_in_grace: Total
    closed_past_grace: Total


@dataclass(frozen=True)
class House:
    """For admins: accounts and machinery."""

    enabled: int
    disabled: int
    sessions: int
    demo_accounts: int
    running_without_teacher: tuple[str, ...]


def program_day(session: Session, *, now: datetime) -> ProgramDay:
    """Return what program staff have to see today."""
    visitors = visitor_figures(session, now=now)
    counts = {row.status: int(row.enrollments) for row in session.execute(_BY_STATUS)}
    since = now.astimezone(UTC).date() - timedelta(days=CONFIRMATION_DAYS)
    unconfirmed = EnrollmentFilter(unconfirmed=True, statuses=("registered", "active"), first_day=since)
    return ProgramDay(
        visitors.waiting,
        visitors.oldest,
        visitors.due,
        enrollment_total(session, unconfirmed, cap=UNCONFIRMED_CAP),
        tuple(cohorts_starting(session, now=now)),
        counts.get("active", 0),
        counts.get("registered", 0),
        weeks(session, now=now),
        rollup_age(session, now=now),
    )


_BY_STATUS = text(
    "select status, sum(enrollments) as enrollments from platform.enrollment_counts(null, null, null, null) group by 1"
)


def cohorts_starting(
    session: Session, *, now: datetime, days: int = 60, most: int = STARTING_MOST
) -> list[CohortStart]:
    """Return the cohorts that start within ``days``, soonest first, ``most`` of them."""
    today = now.astimezone(UTC).date()
    soonest = (
        select(Cohort.id, Cohort.title, Cohort.starts_on, Cohort.seats)
        .where(Cohort.starts_on > today, Cohort.starts_on <= today + timedelta(days=days))
        .order_by(Cohort.starts_on, Cohort.title)
        .limit(most)
        .subquery()
    )
    taken = (
        select(func.count())
        .where(Enrollment.cohort_id == soonest.c.id, Enrollment.status != "withdrawn")
        .correlate(soonest)
        .scalar_subquery()
    )
    columns = soonest.c
    listed = select(columns.id, columns.title, columns.starts_on, taken, columns.seats)
    listed = listed.order_by(columns.starts_on, columns.title)
    return [CohortStart(*row) for row in session.execute(listed)]


def weeks(session: Session, *, now: datetime, many: int = WEEKS) -> tuple[Week, ...]:
    """Return the last weeks from Monday to Sunday (UTC), the current one last and not complete."""
    today = now.astimezone(UTC).date()
    first = today - timedelta(days=today.weekday() + 7 * (many - 1))
    rows = session.execute(
        text("select * from platform.weekly_counts(:monday, :weeks)"), {"monday": first, "weeks": many}
    )
    return tuple(Week(row.week, row.enrolled, row.withdrawn, row.visitors) for row in rows)


def promise_counts(session: Session, *, now: datetime, parameters: Parameters) -> PromiseCounts:
    """Return the counts behind the promises for privacy officers, admins and auditors; zeros for everyone else."""
    log_days = parameters.email_log_days + 1  # retention runs once a day
    asked = {"now": now, "log_days": log_days, "grace_days": parameters.grace_days}
    row = session.execute(text("select * from privacy.promise_counts(:now, :log_days, :grace_days)"), asked).first()
    opened, overdue, soon, minors, ages, old, oldest, grace, past = row or (0, 0, 0, 0, 0, 0, None, 0, 0)
    capped = {name: total(count, MOST_COUNTED) for name, count in (
        ("minors_without_consent", minors), ("ages_not_declared", ages), ("old_mail_logs", old),
        ("closed_in_grace", grace), ("closed_past_grace", past))}  # fmt: skip
    return PromiseCounts(
        open_requests=opened, overdue_requests=overdue, due_soon_requests=soon, oldest_mail_log=oldest, **capped
    )


def house(session: Session, *, now: datetime) -> House:
    """Return accounts and machinery, as far as whoever asks may see them."""
    enabled = StaffMember.disabled_at.is_(None)
    live = StaffSession.ended_at.is_(None) & (StaffSession.expires_at > now)
    today = now.astimezone(UTC).date()
    open_end = func.coalesce(Assignment.ends_on, date.max)
    taught = select(Assignment.cohort_id).where(Assignment.starts_on <= today, open_end >= today)
    running = (Cohort.starts_on <= today) & (Cohort.ends_on >= today) & Cohort.id.not_in(taught)
    return House(
        session.scalar(select(func.count(StaffMember.id)).where(enabled)) or 0,
        session.scalar(select(func.count(StaffMember.id)).where(~enabled)) or 0,
        session.scalar(select(func.count(StaffSession.id)).where(live)) or 0,
        session.scalar(select(func.count(StaffMember.id)).where(StaffMember.demo, enabled)) or 0,
        tuple(session.scalars(select(Cohort.title).where(running).order_by(Cohort.title))),
    )
