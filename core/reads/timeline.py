"""One student as those who teach see them: name, e-mail, and the timeline of each enrollment in an assigned cohort.

A student in two cohorts shows only the assigned one. Learning data is one statement for each enrollment; what the records foretell has not happened yet.
"""

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.links import platform_link, web_link
from core.reads import progress_sql as sql
from core.reads.progress import HelpLimits, PlannedCohort, planned, running_first

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
    cohort: PlannedCohort
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
    today = now.astimezone(UTC).date()
    rows = session.execute(sql.STUDENT, {"student": student_id, "today": today}).all()
    if not rows:
        raise NotFound(NO_STUDENT, student_id=student_id)
    records = [_record(row, planned(row, now), _found(session, row, now), now) for row in rows]
    records.sort(key=lambda record: running_first(record.cohort))
    first = rows[0]
    link = platform_link("student", first.source, first.source_key)
    return StudentRecord(first.student_id, first.name, first.email, link, tuple(records))


def gaps(days: list[date], *, first: date, last: date, longest: int) -> list[tuple[date, date]]:
    """Return the stretches of more than ``longest`` days without activity between ``first`` and ``last``, oldest first."""
    known = sorted({day for day in days if first <= day <= last})
    edges = [first, *known, last]
    return [(one, other) for one, other in pairwise(edges) if (other - one).days > longest]


# Everything there is of one enrollment, every table asked once; of usage only the days. For a list of them the planner would plan anew each time, which
# takes as long as the answer. ``at``, ``until`` and ``ended`` are a module's beginning, last
# activity and end. A review brings its submission: the attempt and the module stand there.
_FOUND = text("""
    select x.*, m.title as module from (
        select p.enrollment_id, 'module' as kind, p.module_id, p.status as state, p.score, p.started_at as at, p.active_at as until, p.done_at as ended,
            null::int as attempt, null as words, null::uuid as by, null::date as day, null as url, null as source, null::uuid as submission_id
        from platform.module_progress p where p.enrollment_id = :id
        union all
        select s.enrollment_id, 'submitted', s.module_id, s.status, s.score, s.submitted_at, null, null, s.attempt, null, null, null, s.url, null, s.id
        from platform.submission s where s.enrollment_id = :id
        union all
        select v.enrollment_id, 'reviewed', null, case when v.passed then 'passed' else 'failed' end, null, v.reviewed_at, null, null,
            null, v.comment, v.reviewer_id, null, null, null, v.submission_id
        from platform.code_review v where v.enrollment_id = :id
        union all
        select r.enrollment_id, 'result', null, r.kind, null, r.decided_at, null, null, null, null, null, null, null, null, null
        from platform.result r where r.enrollment_id = :id
        union all
        select t.enrollment_id, 'certificate', null, case when t.honors then 'with distinction' end, null, t.issued_at, null, null, null, t.number,
            null, null, t.url, t.source, null
        from platform.certificate t where t.enrollment_id = :id
        union all
        select h.enrollment_id, 'noted', null, null, null, h.written_at, null, null, null, h.note, h.written_by, h.handled_until, null, null, null
        from platform.help_note h where h.enrollment_id = :id
        union all
        select u.enrollment_id, 'used', null, null, null, null, null, null, count(*)::int, null, null, (u.at at time zone 'UTC')::date, null, null, null
        from platform.usage_event u
        where u.enrollment_id = :id and u.at >= cast(:first as timestamptz) and u.at <= cast(:now as timestamptz) group by 1, 12
    ) x left join platform.module m on m.id = x.module_id""")


def _found(session: Session, row: Row[Any], now: datetime) -> Sequence[Row[Any]]:
    """What there is of an enrollment; of usage from a month before the cohort's first day on."""
    first = datetime.combine(row.starts_on, time.min, UTC) - timedelta(days=30)
    return session.execute(_FOUND, {"id": row.enrollment_id, "now": now, "first": first}).all()


def _record(row: Row[Any], cohort: PlannedCohort, found: Sequence[Row[Any]], now: datetime) -> LearningRecord:
    days = _days(found, now)
    told = sorted((each for each in _events(found) if each.at <= now), key=lambda event: event.kind)
    told += _edges(row, now) + _gaps(row, cohort, list(days))
    told.sort(key=lambda event: event.at, reverse=True)
    withdrawn = row.withdrawn_at if row.withdrawn_at and row.withdrawn_at <= now else None
    last = max(days, default=None)
    return LearningRecord(
        row.enrollment_id,
        cohort,
        row.status,
        withdrawn,
        sum(each.kind == "module done" for each in told),
        datetime.combine(last, time.min, UTC) if last else None,
        tuple(told[:MOST_EVENTS]),
        len(told) > MOST_EVENTS,
        _weeks(days, cohort.as_of.date()),
    )


def _days(found: Sequence[Row[Any]], now: datetime) -> Counter[date]:
    """The days on which a student did something, with how much."""
    counts: Counter[date] = Counter()
    for row in found:
        if row.kind == "used":
            counts[row.day] += row.attempt
        elif row.kind in ("module", "submitted"):
            counts.update(at.astimezone(UTC).date() for at in {row.at, row.until, row.ended} if at and at <= now)
    return counts


def _events(found: Sequence[Row[Any]]) -> Iterator[TimelineEntry]:
    """What happened, and what is foretold."""
    works = {row.submission_id: row for row in found if row.kind == "submitted"}
    for row in found:
        if row.kind == "module":
            yield from _of_module(row)
        elif row.kind == "reviewed":
            if work := works.get(row.submission_id):
                yield _event(row, work)
        elif row.kind != "used":
            yield _event(row, row)


def _of_module(row: Row[Any]) -> Iterator[TimelineEntry]:
    """The beginning of a module, and its end."""
    title, ended = row.module or "", row.ended or row.until or row.at
    if row.state != "not started" and row.at:
        yield TimelineEntry("module begun", row.at, title, module_id=row.module_id)
    if row.state in ("done", "failed") and ended:
        yield TimelineEntry(f"module {row.state}", ended, title, score=row.score, module_id=row.module_id)


def _event(row: Row[Any], work: Row[Any]) -> TimelineEntry:
    return TimelineEntry(
        row.kind,
        row.at,
        work.module or "",
        row.state or "",
        row.score,
        work.attempt,
        row.words or "",
        row.by,
        row.day,
        link=web_link(row.url) or (platform_link("certificate", row.source, row.words) if row.source else None),
        module_id=work.module_id,
    )


def _edges(row: Row[Any], now: datetime) -> list[TimelineEntry]:
    made = [TimelineEntry("enrolled", row.enrolled_at)] if row.enrolled_at <= now else []
    if row.withdrawn_at and row.withdrawn_at <= now:
        made.append(TimelineEntry("withdrew", row.withdrawn_at))
    return made


def _gaps(row: Row[Any], cohort: PlannedCohort, days: list[date]) -> list[TimelineEntry]:
    """Gaps longer than the cohort's limit, from the beginning to the cohort's day or the day of withdrawal."""
    first = max(cohort.starts_on, row.enrolled_at.date())
    last = min(cohort.as_of.date(), row.withdrawn_at.date() if row.withdrawn_at else date.max)
    longest = cohort.limits.quiet_days or HelpLimits().quiet_days
    return [
        TimelineEntry("gap", datetime.combine(other, time.min, UTC), days=(other - one).days)
        for one, other in gaps(days, first=first, last=last, longest=longest)
    ]


def _weeks(days: Counter[date], last: date) -> tuple[int, ...]:
    counts = [0] * WEEKS_BACK
    for day, things in days.items():
        back = (last - day).days // 7
        if 0 <= back < WEEKS_BACK:
            counts[WEEKS_BACK - 1 - back] += things
    return tuple(counts)
