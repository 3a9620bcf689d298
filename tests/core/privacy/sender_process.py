"""A worker in a process of its own that tells people and sends mail: python -m … <minutes after the cast's instant>."""

import sys
import time
from datetime import timedelta

from core import db
from core.jobs import JOBS
from core.worker import Worker
from tests.cast import NOW

SENDERS = tuple(job for job in JOBS if job.kind in ("notices", "letters by mail"))


def main(minutes: float) -> None:
    """Do what is due until nothing is."""
    begun, first = time.monotonic(), NOW + timedelta(minutes=minutes)
    try:
        Worker(
            lambda: first + timedelta(seconds=time.monotonic() - begun), SENDERS, name=f"sender {minutes}"
        ).catch_up()
    finally:
        db.release()


if __name__ == "__main__":
    main(float(sys.argv[1]))
