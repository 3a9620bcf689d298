"""A worker in a process of its own that is killed by SIGKILL at a chosen point: python -m … "after commit 7" <folder>."""

import sys
from pathlib import Path

from core.privacy import erasure
from core.processors import registry
from core.worker import Worker
from tests.core.privacy.crashes import FileStore, die_at, eraser, erasures
from tests.core.privacy.house_of_erasures import DUE, PROCESSORS, TWO, Clock, Store, send_letters


def main(deadly: str, folder: Path) -> None:
    """Work until the point is reached; to come through alive is a failure."""
    erasure.third_parties = lambda _kind, _listed: TWO  # type: ignore[assignment]
    for name in PROCESSORS:
        made = FileStore(name).at(folder) if name in TWO else Store(name)
        registry.register(name, lambda made=made: made)  # type: ignore[misc]
    die_at(deadly)
    worker = Worker(Clock(DUE), (erasures(eraser),), name="killed")
    worker.catch_up()
    send_letters(DUE)
    worker.clock = Clock(DUE + 2 * erasure.LOOK_AGAIN)
    worker.catch_up()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
