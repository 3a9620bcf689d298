"""A streaming replica for reads that may be a second old: asked while it follows, left alone when it does not.

Danger: somebody changes a record, the next screen is read from a copy that has not heard of it, and they change it again; or a
replica that was promoted, or fell behind, shows an old world as if it were now. Principle: a copy answers only while it is known to
follow, never below what its reader has written, and its age is shown; whatever else happens, the primary answers. Mechanism:
``READ_DATABASE_URL`` names the replica; its position is compared with the primary's at most once a second, in each process. A
commit's position in the log travels with whoever committed (:func:`position`), and :func:`reads` compares. What decides about rights
(sessions, guards) and everything that changes something asks the primary always.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from core import db
from core.errors import SettingsError
from core.settings import settings

Answer = TypeVar("Answer")
GONE = (OperationalError, InterfaceError, PoolTimeout)
MOST_LAG = 10.0
LOOK_EVERY, REST = 1.0, 10.0
UNKNOWN = 2**63
log = logging.getLogger("resocode")


@dataclass(frozen=True)
class Following:
    """How the replica fares. ``replayed`` is its position in the primary's log, ``lag`` in seconds; ``trouble`` is "" while it
    may be asked, else a sentence."""

    replayed: int = 0
    lag: float = 0.0
    trouble: str = ""


@dataclass(frozen=True)
class _Look:
    at: float
    seen: Following


_lock = threading.Lock()
_looks: dict[str, _Look] = {}


def configured() -> bool:
    """Return whether there is a replica: the embedded database has none."""
    return not settings().embedded and settings().read_url is not None


def read(
    function: Callable[[Session], Answer], *, staff_id: uuid.UUID | None, session_id: uuid.UUID | None, written: int = 0
) -> Answer:
    """Return what ``function`` reads, asked as a member of staff: from the replica if it has what its reader has ``written``
    (a :func:`position`), from the primary otherwise, and when the replica goes away in the middle."""
    if not configured():
        with _transaction("read", staff_id, session_id) as session:
            return function(session)
    if _may_answer(written):
        try:
            with _transaction("read", staff_id, session_id) as session:
                return function(session)
        except (DBAPIError, PoolTimeout) as error:
            if not _left(error):
                raise
    with _transaction("app", staff_id, session_id) as session:
        return function(session)


class Reading:
    """Reads that belong together (one run of a page), in one transaction instead of one each: what it takes to open and close a
    transaction is most of what a small read takes.

    Each statement sees what is committed by then, as in transactions of their own (read committed). It holds one connection until
    :meth:`close`; whoever writes in between closes first, so that no thread waits for a second connection with one in its hand,
    and the next read asks anew who may answer. A read that fails ends the transaction.
    """

    def __init__(self) -> None:
        self._session: Session | None = None
        self._asked: tuple[object, ...] = ()

    def read(
        self,
        function: Callable[[Session], Answer],
        *,
        staff_id: uuid.UUID | None,
        session_id: uuid.UUID | None,
        written: int = 0,
    ) -> Answer:
        """Return what ``function`` reads, as :func:`read` does."""
        role = "read" if not configured() or _may_answer(written) else "app"
        try:
            session = self._begun(role, staff_id, session_id)
            answer = function(session)
            session.expunge_all()  # a later read looks again
            return answer
        except BaseException as error:
            self.close()
            if not (configured() and role == "read" and _left(error)):
                raise
        return read(function, staff_id=staff_id, session_id=session_id, written=UNKNOWN)

    def close(self) -> None:
        """End the transaction, if one is open, and give its connection back. A connection that is dead by now is let go: there was
        nothing to write, and whoever reads next hears of it."""
        session, self._session = self._session, None
        if session is not None:
            try:
                session.close()
            except GONE:
                session.invalidate()

    def _begun(self, role: str, staff_id: uuid.UUID | None, session_id: uuid.UUID | None) -> Session:
        asked = (role, staff_id, session_id)
        if self._session is None or self._asked != asked:
            self.close()
            self._session, self._asked = Session(db.engine(role)), asked
            db.identify(self._session, staff_id=staff_id, session_id=session_id)
        return self._session


def position() -> int:
    """Return the position in the log that whoever has just committed wants to read from; 0 without a replica.

    Asked after the commit, because the commit itself is what has to arrive; the position is that of what is on the disk, so
    the server must not run with ``synchronous_commit = off`` (docs/runbook.md says so for more reasons than this). Until it is known, :data:`UNKNOWN` stands for it:
    whoever is interrupted in between reads from the primary.
    """
    if not configured():
        return 0
    with _transaction("app", None, None) as session:
        return int(
            session.scalars(
                text("select pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')")
            ).one()
        )


def following() -> Following | None:
    """Return how the replica fares, as of the last second; None without one."""
    return _following() if configured() else None


def check() -> None:
    """Raise SettingsError when READ_DATABASE_URL names a role that row-level security does not bind. A replica that does not
    answer at the start is no fault: it is asked again."""
    if not configured():
        return
    try:
        with db.engine("read").connect() as connection:
            unbound = connection.execute(
                text("select rolsuper or rolbypassrls from pg_roles where rolname = current_user")
            ).scalar_one()
    except GONE:
        return
    if unbound:
        raise SettingsError("READ_DATABASE_URL names a role that row-level security does not bind. Use resocode_app.")


def _may_answer(written: int) -> bool:
    seen = _following()
    return not seen.trouble and (not written or seen.replayed >= written)


def _following() -> Following:
    """What was seen in the last second, or a new look; one thread looks, the others take the last answer."""
    key = str(settings().read_url)
    last = _looks.get(key)
    if last is not None and time.monotonic() < last.at + (REST if last.seen.trouble else LOOK_EVERY):
        return last.seen
    if not _lock.acquire(blocking=last is None):
        return last.seen if last else Following(trouble="The replica was not asked yet.")
    try:
        seen = _look()
        _looks[key] = _Look(time.monotonic(), seen)
    finally:
        _lock.release()
    if seen.trouble and (last is None or not last.seen.trouble):
        log.warning("%s Reads are answered by the primary.", seen.trouble)
    return seen


def _look() -> Following:
    with _transaction("app", None, None) as session:
        ours = int(
            session.scalars(
                text("select pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_flush_lsn(), '0/0')")
            ).one()
        )
    try:
        with _transaction("read", None, None) as session:
            row = session.execute(
                text("""select pg_catalog.pg_is_in_recovery() as follows,
                pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_last_wal_replay_lsn(), '0/0') as replayed,
                extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp()) as age""")
            ).one()
    except GONE:
        return Following(trouble="The replica does not answer.")
    if not row.follows:
        return Following(
            trouble="READ_DATABASE_URL names a server that follows nobody (it was promoted, or never was a replica)."
        )
    replayed = int(row.replayed or 0)
    lag = 0.0 if replayed >= ours else max(0.0, float(row.age or 0))
    if lag > MOST_LAG:
        return Following(replayed, lag, f"The replica is {lag:.0f} seconds behind.")
    return Following(replayed, lag)


def _left(error: BaseException) -> bool:
    """Whether the primary should answer instead: the replica is gone (and left alone for a while), or what it replays got in the
    way of the question, which is fine elsewhere."""
    if db.gone(error):
        _leave(error)
        return True
    return isinstance(error, DBAPIError) and _is_conflict(error)


def _leave(error: BaseException) -> None:
    """Leave the replica alone for a while."""
    trouble = Following(trouble="The replica does not answer.")
    _looks[str(settings().read_url)] = _Look(time.monotonic(), trouble)
    log.warning("The replica did not answer (%s). Reads are answered by the primary.", type(error).__name__)


def _is_conflict(error: DBAPIError) -> bool:
    """Whether the replica canceled the question because of what it had to replay (SQLSTATE 40001)."""
    return getattr(error.orig, "sqlstate", "") == "40001"


def _transaction(
    role: str, staff_id: uuid.UUID | None, session_id: uuid.UUID | None
) -> AbstractContextManager[Session]:
    return db.transaction(role, staff_id=staff_id, session_id=session_id)
