"""Roll-ups: enrollments and visitors counted by day and month, so that no figure reads every row (migration 0045 says how).

What waits to be counted again is a row in the database, written by whatever changed something; a worker that was off finds it.
"""

from datetime import date

from sqlalchemy import text
from sqlalchemy.orm import Session


def rollups_due(session: Session) -> list[str]:
    """Return what has to be counted again, as "enrolled 2026-11-01"; the longest waiting first."""
    waiting = text("select what || ' ' || month from platform.rollup_change group by what, month order by min(at)")
    return list(session.scalars(waiting))


def refresh_rollup(session: Session, key: str) -> int:
    """Count one month again; return how many days' rows changed. Doing it once more changes nothing."""
    what, month = key.split()
    counted = text("select platform.refresh_rollup(:what, :month)")
    return int(session.scalars(counted, {"what": what, "month": date.fromisoformat(month)}).one())


def refresh_rollups(session: Session) -> int:
    """Count everything again that has to be; return how many months that were. For commands that bring in many records."""
    waiting = rollups_due(session)
    for key in waiting:
        refresh_rollup(session, key)
    return len(waiting)
