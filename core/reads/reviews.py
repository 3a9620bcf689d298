"""The queue of submissions that wait for a review, in the cohorts assigned to whoever asks: oldest first, and who takes it.

Reviews are written on the platform. Here is who waits, for how long, where the work is, and who has taken it.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from core.links import platform_link, web_link

PAGE_REVIEWS = 50
WHOSE = ("all", "mine", "free")


@dataclass(frozen=True)
class ReviewCursor:
    """The last row of a page: the next page begins behind it."""

    submitted_at: datetime
    id: uuid.UUID


@dataclass(frozen=True)
class WaitingReview:
    """A submission that waits. ``link`` is the student's own address of the work, only when it leads to the web;
    ``odd_link`` says that there is another one, which is not shown. ``taker_id`` None: nobody has taken it."""

    id: uuid.UUID
    enrollment_id: uuid.UUID
    student_id: uuid.UUID
    student: str
    cohort_id: uuid.UUID
    cohort: str
    module: str
    attempt: int
    submitted_at: datetime
    link: str | None
    odd_link: bool
    platform_link: str | None
    taker_id: uuid.UUID | None
    taken_at: datetime | None


@dataclass(frozen=True)
class ReviewPage:
    """Up to ``PAGE_REVIEWS`` rows; ``next`` is None on the last page."""

    rows: tuple[WaitingReview, ...]
    next: ReviewCursor | None


@dataclass(frozen=True)
class ReviewCounts:
    """How many wait in all, how many of them ``mine``, how many free; and reviews written in the last and the week before."""

    all: int
    mine: int
    free: int
    oldest: datetime | None
    reviewed: int
    reviewed_before: int


def review_page(
    session: Session,
    *,
    now: datetime,
    cohort_id: uuid.UUID | None = None,
    whose: str = "all",
    after: ReviewCursor | None = None,
    limit: int = PAGE_REVIEWS,
) -> ReviewPage:
    """Return one page of the queue within the rights of whoever asks. ``whose``: "all", "mine" or "free"."""
    asked = {
        "now": now,
        "cohort": cohort_id,
        "whose": whose,
        "after_at": after.submitted_at if after else None,
        "after_id": after.id if after else None,
        "limit": limit + 1,
    }
    rows = [_waiting(row) for row in session.execute(_PAGE, asked)]
    more = ReviewCursor(rows[limit - 1].submitted_at, rows[limit - 1].id) if len(rows) > limit else None
    return ReviewPage(tuple(rows[:limit]), more)


def review_counts(session: Session, *, now: datetime, cohort_id: uuid.UUID | None = None) -> ReviewCounts:
    """Return how many wait, and how many reviews were written in the last seven days and the seven before."""
    row = session.execute(_COUNTS, {"now": now, "cohort": cohort_id}).one()
    return ReviewCounts(*row)


def teachers(session: Session) -> dict[uuid.UUID, str]:
    """Return the names of those who teach, or taught, the cohorts of whoever asks."""
    return {row.id: row.name for row in session.execute(text("select id, name from staff.colleagues()"))}


# Those who withdrew wait for nothing; whoever closed their account is not there (row-level security).
_WAITING = """
    from platform.submission s join platform.enrollment e on e.id = s.enrollment_id
    join platform.student t on t.id = e.student_id
    left join platform.review_claim r on r.submission_id = s.id
    where s.cohort_id = any ((select staff.my_cohorts())::uuid[]) and s.status = 'waiting for review' and s.submitted_at <= :now
      and (e.withdrawn_at is null or e.withdrawn_at > :now)
      and (cast(:cohort as uuid) is null or s.cohort_id = cast(:cohort as uuid))"""

_PAGE = text(f"""
    select w.*, m.title as module, c.title as cohort from (
        select s.id, s.enrollment_id, s.cohort_id, s.module_id, s.attempt, s.submitted_at, s.url, s.source, s.source_key,
            e.student_id, t.name as student, r.staff_id as taker_id, r.taken_at
        {_WAITING}
          and (:whose <> 'mine' or r.staff_id = (select staff.my_id())) and (:whose <> 'free' or r.staff_id is null)
          and (cast(:after_id as uuid) is null or (s.submitted_at, s.id) > (cast(:after_at as timestamptz), cast(:after_id as uuid)))
        order by s.submitted_at, s.id limit :limit
    ) w join platform.module m on m.id = w.module_id join platform.cohort c on c.id = w.cohort_id
    order by w.submitted_at, w.id""")

_COUNTS = text(f"""
    select w.*, v.* from (
        select count(*)::int, (count(*) filter (where r.staff_id = (select staff.my_id())))::int,
            (count(*) filter (where r.staff_id is null))::int, min(s.submitted_at)
        {_WAITING}
    ) w cross join (
        select (count(*) filter (where v.reviewed_at > :now - interval '7 days'))::int, count(*) filter (where v.reviewed_at <= :now - interval '7 days')
        from platform.code_review v
        where v.cohort_id = any ((select staff.my_cohorts())::uuid[]) and (cast(:cohort as uuid) is null or v.cohort_id = cast(:cohort as uuid))
          and v.reviewed_at > :now - interval '14 days' and v.reviewed_at <= :now
    ) v""")


def _waiting(row: Row[Any]) -> WaitingReview:
    link = web_link(row.url)
    return WaitingReview(
        row.id,
        row.enrollment_id,
        row.student_id,
        row.student,
        row.cohort_id,
        row.cohort,
        row.module,
        row.attempt,
        row.submitted_at,
        link,
        bool(row.url) and link is None,
        platform_link("submission", row.source, row.source_key),
        row.taker_id,
        row.taken_at if row.taker_id else None,
    )
