"""Whether the dashboard has to stay closed because its database is behind the erasure ledger (core.privacy.restore).

Asked at every request and every run, answered from memory for ten seconds: a restore under a running dashboard is noticed.
"""

import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from core import db, privacy_actions
from ui.clock import now

SECONDS = 10.0
HEADING = "The dashboard is closed"
SENTENCE = (
    "Its database was restored from a backup and lacks what happened since: people who were erased may be in it again. "
    "An admin runs `python -m core restore-check`; then it opens by itself."
)
PAGE = f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{HEADING}</title>
<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">
<meta http-equiv="refresh" content="15"></head>
<body style="font: 16px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 20vh auto; padding: 0 1.5rem">
<h1 style="font-size: 1.5rem">{HEADING}</h1><p>{SENTENCE.replace("`python -m core restore-check`", "<code>python -m core restore-check</code>")}</p>
</body></html>
"""
_lock = threading.Lock()
_answer: dict[str, tuple[float | None, bool]] = {}


def is_closed() -> bool:
    """Return whether nothing may be shown. While one asks, the others go by the last answer; the first one is waited for.

    A database that does not answer is told elsewhere: here the last answer holds, and is asked for again a second later.
    """
    address = str(db.url("app"))
    with _lock:
        asked, closed = _answer.get(address, (None, False))
        if asked is None:
            return _ask(address, before=False)
        if time.monotonic() - asked < SECONDS:
            return closed
        _answer[address] = (time.monotonic(), closed)
    return _ask(address, before=closed)


def _ask(address: str, *, before: bool) -> bool:
    try:
        with db.transaction() as session:
            closed = privacy_actions.compare_with_ledger(session, now=now()).is_behind
    except SQLAlchemyError:
        _answer[address] = (time.monotonic() - SECONDS + 1, before)
        return before
    _answer[address] = (time.monotonic(), closed)
    return closed


def forget() -> None:
    """Ask anew at the next request."""
    with _lock:
        _answer.clear()
