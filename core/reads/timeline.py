"""One student as those who teach see them: name, e-mail, and the timeline of each enrollment in an assigned cohort.

A student in two cohorts shows only the assigned one. Learning data of one enrollment is read by its id, four statements in
all; what the records foretell has not happened yet.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.links import platform_link, web_link
from core.reads.progress import HelpLimits, TaughtCohort, taught_cohorts

NO_STUDENT = "There is no such student, or the record is not open to you."
MOST_EVENTS = 400
WEEKS_BACK = 8


@dataclass(frozen=True)
class TimelineEntry:
    """Something that happened. ``kind``: "enrolled", "module begun", "module done", "module failed", "submitted",
    "reviewed", "result", "certificate", "noted", "withdrew" or "gap". ``what`` is the module's title, or the word of the
    result; ``state`` the status of a submission; ``days`` the length of a gap; ``until`` the day of a note."""

    kind: str
    at: datetime
    what: str = ""
    state: str = ""
    score: Decimal | None = None
    attempt: int | None = None
    words: str = ""
    by: uuid.UUID | None = None
    until: date | None = None
    days: int | None = None
    link: str | None = None
    module_id: uuid.UUID | None = None


@dataclass(frozen=True)
class LearningRecord:
    """One enrollment in an assigned cohort. ``events`` newest first, up to ``MOST_EVENTS`` (``more``: there are older ones);
    ``weeks`` counts what the student did in each of the last eight weeks until the cohort's day, the last one last."""

    enrollment_id: uuid.UUID
    cohort: TaughtCohort
    status: str
    withdrawn_at: datetime | None
    done: int
    last_active: datetime | None
    events: tuple[TimelineEntry, ...]
    more: bool
    weeks: tuple[int, ...]


@dataclass(frozen=True)
class StudentRecord:
    """A student with their enrollments in assigned cohorts, running ones first."""

    id: uuid.UUID
    name: str
    email: str
    link: str | None
    records: tuple[LearningRecord, ...]


def student_record(session: Session, student_id: uuid.UUID, *, now: datetime) -> StudentRecord:
    """Return one student of the cohorts assigned to whoever asks. Raises NotFound for anybody else: one answer."""
    cohorts = {cohort.id: cohort for cohort in taught_cohorts(session, now=now)}
    rows = session.execute(_STUDENT, {"student": student_id}).all()
    if not rows:
        raise NotFound(NO_STUDENT, student_id=student_id)
    ids = [row.enrollment_id for row in rows]
    events = _by_enrollment(session.execute(_EVENTS, {"ids": ids, "now": now}).all())
    days = _by_enrollment(session.execute(_DAYS, {"ids": ids, "now": now, **_bounds(cohorts, now)}).all())
    records = [
        _record(row, cohorts[row.cohort_id], events.get(row.enrollment_id, []), days.get(row.enrollment_id, []), now)
        for row in rows
    ]
    records.sort(key=lambda record: list(cohorts).index(record.cohort.id))
    first = rows[0]
    link = platform_link("student", first.source, first.source_key)
    return StudentRecord(first.id, first.name, first.email, link, tuple(records))


def gaps(days: list[date], *, first: date, last: date, longest: int) -> list[tuple[date, date]]:
    """Return the stretches of more than ``longest`` days without activity between ``first`` and ``last``, oldest first."""
    known = sorted({day for day in days if first <= day <= last})
    edges = [first, *known, last]
    return [(one, other) for one, other in pairwise(edges) if (other - one).days > longest]


_STUDENT = text("""
    select s.id, s.name, s.email, s.source, s.source_key, e.id as enrollment_id, e.cohort_id, e.status,
        e.enrolled_at, e.withdrawn_at
    from platform.student s join platform.enrollment e on e.student_id = s.id
    where s.id = :student and e.cohort_id = any ((select staff.my_cohorts())::uuid[])""")

_EVENTS = text("""
    select x.*, m.title as module from (
        select p.enrollment_id, p.module_id, 'module begun' as kind, p.started_at as at, null as state, null::numeric as score,
            null::int as attempt, null as words, null::uuid as by, null::date as until, null as url, null as source
        from platform.module_progress p where p.enrollment_id = any (:ids) and p.status <> 'not started'
        union all
        select p.enrollment_id, p.module_id, 'module ' || p.status, coalesce(p.done_at, p.active_at, p.started_at), null, p.score,
            null, null, null, null, null, null
        from platform.module_progress p where p.enrollment_id = any (:ids) and p.status in ('done', 'failed')
        union all
        select s.enrollment_id, s.module_id, 'submitted', s.submitted_at, s.status, s.score, s.attempt, null, null, null, s.url, null
        from platform.submission s where s.enrollment_id = any (:ids)
        union all
        select v.enrollment_id, s.module_id, 'reviewed', v.reviewed_at, case when v.passed then 'passed' else 'failed' end, null,
            s.attempt, v.comment, v.reviewer_id, null, null, null
        from platform.code_review v join platform.submission s on s.id = v.submission_id where v.enrollment_id = any (:ids)
        union all
        select r.enrollment_id, null, 'result', r.decided_at, r.kind, null, null, null, null, null, null, null
        from platform.result r where r.enrollment_id = any (:ids)
        union all
        select t.enrollment_id, null, 'certificate', t.issued_at, case when t.honors then 'with distinction' end, null, null, t.number,
            null, null, t.url, t.source
        from platform.certificate t where t.enrollment_id = any (:ids)
        union all
        select h.enrollment_id, null, 'noted', h.written_at, null, null, null, h.note, h.written_by, h.handled_until, null, null
        from platform.help_note h where h.enrollment_id = any (:ids)
    ) x left join platform.module m on m.id = x.module_id
    where x.at <= :now order by x.at desc, x.kind""")

# The days on which a student did something, with how much.
_DAYS = text("""
    select d.enrollment_id, (d.at at time zone 'UTC')::date as day, sum(d.things)::int as things from (
        select p.enrollment_id, a.at, 1 as things from platform.module_progress p
        cross join lateral (select distinct * from unnest(array[p.started_at, p.active_at, p.done_at]) as at where at is not null) a
        where p.enrollment_id = any (:ids)
        union all
        select s.enrollment_id, s.submitted_at, 1 from platform.submission s where s.enrollment_id = any (:ids)
        union all
        select u.enrollment_id, u.at, 1 from platform.usage_event u
        where u.enrollment_id = any (:ids) and u.at >= cast(:first as timestamptz) and u.at <= cast(:last as timestamptz)
    ) d where d.at <= :now group by 1, 2 order by 2""")


def _bounds(cohorts: dict[uuid.UUID, TaughtCohort], now: datetime) -> dict[str, datetime]:
    """From the first day of the oldest assigned cohort until now: the months of usage that can matter."""
    first = min((cohort.starts_on for cohort in cohorts.values()), default=now.date())
    return {"first": datetime.combine(first, time.min, UTC) - timedelta(days=30), "last": now}


def _by_enrollment(rows: Any) -> dict[uuid.UUID, list[Row[Any]]]:
    found: dict[uuid.UUID, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(row.enrollment_id, []).append(row)
    return found


def _record(
    row: Row[Any], cohort: TaughtCohort, events: list[Row[Any]], days: list[Row[Any]], now: datetime
) -> LearningRecord:
    told = [_event(each) for each in events] + _edges(row, now) + _gaps(row, cohort, [each.day for each in days])
    told.sort(key=lambda event: event.at, reverse=True)
    done = sum(each.kind == "module done" for each in events)
    withdrawn = row.withdrawn_at if row.withdrawn_at and row.withdrawn_at <= now else None
    last = max((each.day for each in days), default=None)
    return LearningRecord(
        row.enrollment_id,
        cohort,
        row.status,
        withdrawn,
        done,
        datetime.combine(last, time.min, UTC) if last else None,
        tuple(told[:MOST_EVENTS]),
        len(told) > MOST_EVENTS,
        _weeks(days, cohort.as_of.date()),
    )


def _event(row: Row[Any]) -> TimelineEntry:
    return TimelineEntry(
        row.kind,
        row.at,
        row.module or "",
        row.state or "",
        row.score,
        row.attempt,
        row.words or "",
        row.by,
        row.until,
        link=web_link(row.url) or (platform_link("certificate", row.source, row.words) if row.source else None),
        module_id=row.module_id,
    )


def _edges(row: Row[Any], now: datetime) -> list[TimelineEntry]:
    made = [TimelineEntry("enrolled", row.enrolled_at)] if row.enrolled_at <= now else []
    if row.withdrawn_at and row.withdrawn_at <= now:
        made.append(TimelineEntry("withdrew", row.withdrawn_at))
    return made


def _gaps(row: Row[Any], cohort: TaughtCohort, days: list[date]) -> list[TimelineEntry]:
    """Gaps longer than the cohort's limit, from the beginning to the cohort's day or the day of withdrawal."""
    first = max(cohort.starts_on, row.enrolled_at.date())
    last = min(cohort.as_of.date(), row.withdrawn_at.date() if row.withdrawn_at else date.max)
    longest = cohort.limits.quiet_days or HelpLimits().quiet_days
    return [
        TimelineEntry("gap", datetime.combine(other, time.min, UTC), days=(other - one).days)
        for one, other in gaps(days, first=first, last=last, longest=longest)
    ]


def _weeks(days: list[Row[Any]], last: date) -> tuple[int, ...]:
    counts = [0] * WEEKS_BACK
    for each in days:
        back = (last - each.day).days // 7
        if 0 <= back < WEEKS_BACK:
            counts[WEEKS_BACK - 1 - back] += each.things
    return tuple(counts)
