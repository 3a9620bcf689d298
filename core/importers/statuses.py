"""Enrollment status follows the calendar: registered until the cohort starts, active while it runs, ended after it.

Ended means that the cohort is over, the same day for everyone: it tells nothing of an outcome. A withdrawal that was
recorded for a day to come (records moved to another time) takes effect on that day.
"""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

_WITHDRAWN = text("""
    update platform.enrollment e set status = 'withdrawn', withdrawn_at = r.decided_at,
        started_at = coalesce(e.started_at, case when c.starts_on::timestamp at time zone 'UTC' <= r.decided_at
            then greatest(c.starts_on::timestamp at time zone 'UTC', e.enrolled_at) end)
    from platform.result r join platform.cohort c on c.id = r.cohort_id
    where r.enrollment_id = e.id and r.kind = 'withdrawn' and e.status <> 'withdrawn' and r.decided_at <= :now""")
_WITHDRAWN_DUE = """
    select from platform.result r join platform.enrollment e on e.id = r.enrollment_id
    where r.kind = 'withdrawn' and e.status <> 'withdrawn' and r.decided_at <= :now"""
_MOVED_DUE = """
    select from platform.cohort c join platform.enrollment e on e.cohort_id = c.id
    where (e.status = 'registered' and c.starts_on <= :today) or (e.status = 'active' and c.ends_on < :today)"""
_DUE = text(f"select exists ({_MOVED_DUE}) or exists ({_WITHDRAWN_DUE})")
_MOVED = text("""
    update platform.enrollment e
    set status = case when c.ends_on < :today then 'ended' else 'active' end,
        started_at = coalesce(e.started_at, greatest(c.starts_on::timestamp at time zone 'UTC', e.enrolled_at))
    from platform.cohort c
    where c.id = e.cohort_id and c.starts_on <= :today
      and (e.status = 'registered' or (e.status = 'active' and c.ends_on < :today))""")


def statuses_are_due(session: Session, now: datetime) -> bool:
    """Return whether :func:`refresh_statuses` would move anything."""
    return bool(session.scalar(_DUE, {"now": now, "today": now.astimezone(UTC).date()}))


def refresh_statuses(session: Session, now: datetime) -> int:
    """Move every enrollment whose day has come, as the worker; return how many moved."""
    withdrawn = session.connection().execute(_WITHDRAWN, {"now": now}).rowcount
    moved = session.connection().execute(_MOVED, {"today": now.astimezone(UTC).date()}).rowcount
    return withdrawn + moved
