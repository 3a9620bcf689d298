"""Whether the clocks can be right: the machine's against the database's, the last heartbeat's, and the time that really went by.

Danger: a machine whose clock jumps forty days ahead erases everybody whose grace period has begun. Principle: time that destroys
is never taken from one clock alone. Mechanism: :func:`read` takes all readings, :func:`trouble` judges them, and a brake
(core.privacy.brakes) stops destruction until they agree or an officer says that the time is right.

This is the machine's clock as *evidence*: nothing here is ever used as ``now``, and an injected ``now`` is never judged.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

JUMP = timedelta(minutes=5)
SILENCE = timedelta(days=7)
DIFFER, BACK, JUMPED, SILENT = "clocks differ", "clock went back", "clock jumped", "silent too long"
_steady = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_before: tuple[datetime, float] | None = None


@dataclass(frozen=True)
class Readings:
    """What the clocks say. ``seen``: the newest heartbeat by the database's clock. ``before`` is the machine's clock at the
    last reading of this process, ``passed`` the time since then by a clock that nobody sets; None for the first one."""

    machine: datetime
    database: datetime
    seen: datetime | None = None
    before: datetime | None = None
    passed: timedelta | None = None


def trouble(found: Readings) -> str:
    """Return what is wrong with the clocks, as a code; "" when they agree."""
    if abs(found.machine - found.database) > JUMP:
        return DIFFER
    if found.before and found.passed and abs(found.machine - found.before - found.passed) > JUMP:
        return JUMPED
    if found.seen is not None:
        if found.database < found.seen - JUMP:
            return BACK
        if found.database > found.seen + SILENCE:
            return SILENT
    return ""


def read(session: Session) -> Readings:
    """Take all readings now, before a heartbeat is written."""
    global _before
    row = session.execute(
        text("select clock_timestamp() as at, max(seen_at) as seen from staff.worker_heartbeat")
    ).one()
    machine, steady = datetime.now(UTC), time.clock_gettime(_steady)
    before, since = _before or (None, steady)
    _before = (machine, steady)
    return Readings(machine, row.at, row.seen, before, timedelta(seconds=steady - since) if before else None)
