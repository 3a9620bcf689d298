"""Calls that leave the machine: one guard around every one of them, whichever library makes it.

Danger: a provider that hangs holds a transaction and its locks; one that is down is hammered; the text of its error carries an
address or a secret into a log; a call whose answer was lost counts as done, or as not done. Principle: one attempt, with a time
limit, and no sleeping; what comes back is a value or a :class:`Trouble`, which is a code, whether it may have happened
all the same, and when to ask again. The pauses between attempts belong to whoever keeps the step. Mechanism: :func:`guarded_call`
asks the circuit of that processor (pybreaker; kept in ``privacy.processor_health``, so that all workers share it), calls, and
reads what went wrong from types and numbers only. The circuit opens after five failures in a row. After two minutes it is half
open: one call of one worker may try, while all others wait for how it goes; if it works, the circuit is closed, if it fails, open
again. A worker that dies while it tries leaves it half open for two minutes, then somebody else may.

A trap that was measured: urllib3, below both libraries that we use, sleeps as long as ``Retry-After`` says, and tries three
times more, unless it is told not to. A processor hands its library a client that does neither.
"""

import logging
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NoReturn, TypeVar

import pybreaker
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.models.processors import ProcessorHealth
from core.processors.protocol import Became, Outcome, Proof

SECONDS = 5.0
"""How long one call may take to connect, and again to answer."""
FAILURES, CLOSED_FOR = 5, timedelta(minutes=2)
LONGEST_WAIT = timedelta(days=1)
BUSY, BUSY_CODE = (420, 429), "too many requests"
T = TypeVar("T")

# Libraries that would write addresses, ids or bodies into the log at their chattier levels.
for chatty in ("urllib3", "stripe", "cloudinary", "pymongo", "requests", "Cloudinary"):
    logging.getLogger(chatty).setLevel(logging.WARNING)


class Trouble(Exception):
    """A call that did not go through. ``code`` names nobody; ``unclear``: it may have happened; ``until``: asked to wait so long.

    ``ours``: the provider works, and refuses what we asked for; its circuit stays closed.
    """

    def __init__(self, code: str, *, unclear: bool = False, until: datetime | None = None, ours: bool = False) -> None:
        super().__init__(code)
        self.code, self.unclear, self.until, self.ours = code, unclear, until, ours

    def outcome(self) -> Outcome:
        """What it means for an erasure or a propagation: to wait, to look before doing it again, or to try again."""
        if self.until is not None:
            return Outcome(Became.WAITING, until=self.until, error=self.code)
        return Outcome(Became.UNCLEAR if self.unclear else Became.FAILED, error=self.code)

    def proof(self) -> Proof:
        """What it means for a proof: nothing is proven."""
        return Proof(None, again_at=self.until, error=self.code)


class Answered(Exception):
    """A provider answered with a status that is no success; ``wait`` is its Retry-After as it came."""

    def __init__(self, status: int, wait: str | None = None) -> None:
        super().__init__(status)
        self.status, self.wait = status, wait


def guarded_call(
    session: Session, name: str, function: Callable[[], T], *, now: datetime, changes: bool = False,
    read: Callable[[BaseException], Trouble | None] | None = None,
) -> T:  # fmt: skip
    """Call a provider once, through its circuit, and return what came back. Raises Trouble, and nothing else.

    ``changes``: the call does something there, so that a lost answer is unclear. ``read`` turns a library's own errors into a
    Trouble (None: not one of them), before the common reading of :func:`trouble_of`.
    """
    health = _health(session, name)
    if health.state != pybreaker.STATE_CLOSED:
        _demand_turn(session, name, health, now)
    breaker = pybreaker.CircuitBreaker(
        fail_max=FAILURES, state_storage=health.storage(), throw_new_error_on_trip=False,
        exclude=[lambda error: isinstance(error, Trouble) and error.ours],
    )  # fmt: skip

    def attempt() -> T:
        try:
            return function()
        except Trouble as trouble:
            trouble.unclear = trouble.unclear and changes  # nothing can have happened that nobody asked for
            raise
        except Exception as error:  # noqa: BLE001 - every library has errors of its own; they all become codes here
            _raise(error, now, changes, read)

    try:
        value = breaker.call(attempt)
    except Trouble as trouble:
        if trouble.code == BUSY_CODE:
            breaker.open()  # for everybody, as long as it asked for
        _note(session, name, health, breaker, now, trouble)
        raise
    _note(session, name, health, breaker, now, None)
    return value


def trouble_of(error: BaseException, now: datetime, *, changes: bool) -> Trouble:
    """Read from types and numbers, never from texts, what an error of any HTTP library means."""
    chain = list(_chain(error))
    for each in chain:
        status = each.status if isinstance(each, Answered) else getattr(each, "http_status", None)
        if isinstance(status, int) and not 200 <= status < 300:
            return _answered(status, each, now, changes)
    kinds = {kind.__name__ for each in chain for kind in type(each).__mro__}
    if kinds & {"SSLError", "SSLCertVerificationError"}:
        return Trouble("not secure")
    if kinds & {"NewConnectionError", "ConnectTimeoutError", "ConnectTimeout", "NameResolutionError", "gaierror",
                "ConnectionRefusedError"}:  # fmt: skip
        return Trouble("no connection")
    if kinds & {"ReadTimeoutError", "ReadTimeout", "TimeoutError"}:
        return Trouble("no answer", unclear=changes)
    if kinds & {"ProtocolError", "ChunkedEncodingError", "IncompleteRead", "ConnectionResetError", "RemoteDisconnected",
                "ConnectionError", "HTTPError", "OSError"}:  # fmt: skip
        return Trouble("answer lost", unclear=changes)
    if kinds & {"JSONDecodeError", "UnicodeDecodeError"}:
        return Trouble("not understood", unclear=changes)
    return Trouble(f"unexpected {type(error).__name__}"[:60], unclear=changes)


def wait_until(header: str | None, now: datetime) -> datetime | None:
    """Return until when a Retry-After (seconds, or a date) asks to wait: a day at most, and up to a tenth longer, by chance."""
    if not header:
        return None
    try:
        asked = (
            timedelta(seconds=int(header))
            if header.strip().isdigit()
            else (parsedate_to_datetime(header).astimezone(UTC) - now)
        )
    except (ValueError, TypeError, OverflowError):
        return None
    asked = min(max(asked, timedelta(seconds=1)), LONGEST_WAIT)
    return now + asked + asked * secrets.randbelow(100) / 1000


def _raise(
    error: Exception, now: datetime, changes: bool, read: Callable[[BaseException], Trouble | None] | None
) -> NoReturn:
    found = (read(error) if read else None) or trouble_of(error, now, changes=changes)
    found.unclear = found.unclear and changes
    raise found from None  # the library's own words may name somebody


def _answered(status: int, error: BaseException, now: datetime, changes: bool) -> Trouble:
    headers = getattr(error, "headers", None) or {}
    until = wait_until(error.wait if isinstance(error, Answered) else _header(headers, "retry-after"), now)
    if status in BUSY:
        return Trouble(BUSY_CODE, until=until or now + timedelta(minutes=1))
    if status >= 500:
        return Trouble(f"server error {status}", unclear=changes, until=until if status == 503 else None)
    if status in (401, 403):
        return Trouble("not allowed")
    return Trouble(f"refused {status}", ours=True)


def _header(headers: object, name: str) -> str | None:
    items = dict(headers.items()) if hasattr(headers, "items") else {}
    return next((str(value) for key, value in items.items() if str(key).lower() == name), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and what libraries hide in ``reason`` or in their arguments."""
    seen: list[BaseException] = []
    queue: list[object] = [error]
    while queue:
        each = queue.pop(0)
        if isinstance(each, BaseException) and not any(each is other for other in seen):
            seen.append(each)
            queue += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    yield from seen


class _Health:
    """What is known of a processor's circuit."""

    def __init__(self, state: str, failures: int, opens_at: datetime | None) -> None:
        self.state, self.failures, self.opens_at = state, failures, opens_at

    def waits(self, now: datetime) -> bool:
        """Whether it is not time yet to try."""
        return self.opens_at is not None and self.opens_at > now

    def storage(self) -> pybreaker.CircuitMemoryStorage:
        """The circuit for one call. Where it is not closed, this call is the one that may try."""
        closed = self.state == pybreaker.STATE_CLOSED
        kept = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED if closed else pybreaker.STATE_HALF_OPEN)
        for _ in range(self.failures):
            kept.increment_counter()
        return kept


def _health(session: Session, name: str) -> _Health:
    row = session.execute(
        select(ProcessorHealth.circuit, ProcessorHealth.failures, ProcessorHealth.opens_at).where(
            ProcessorHealth.name == name
        )
    ).first()
    return _Health(row.circuit, row.failures, row.opens_at) if row else _Health(pybreaker.STATE_CLOSED, 0, None)


def _demand_turn(session: Session, name: str, health: _Health, now: datetime) -> None:
    """Take the one turn of a half-open circuit, for all workers. Raises Trouble before its time, and while somebody else has it."""
    ends = now + CLOSED_FOR
    if not health.waits(now):
        with Session(session.get_bind()) as own, own.begin():
            if own.scalar(text(TURN), {"name": name, "now": now, "ends": ends}):
                return
    raise Trouble("circuit open", until=health.opens_at if health.waits(now) else ends)


def _note(
    session: Session, name: str, before: _Health, breaker: pybreaker.CircuitBreaker, now: datetime, trouble: Trouble | None
) -> None:  # fmt: skip
    """Write down how it went, in a transaction of its own: it holds whatever becomes of the caller's, and locks nothing."""
    opened, worked = breaker.current_state == pybreaker.STATE_OPEN, trouble is None or trouble.ours
    opens_at = max(now + CLOSED_FOR, (trouble and trouble.until) or now) if opened else None
    row = {
        "name": name, "tried": before.state != pybreaker.STATE_CLOSED, "circuit": breaker.current_state, "failures": 0 if worked else breaker.fail_counter, "opens_at": opens_at,
        "worked_at": now if worked else None, "failed_at": now if trouble else None, "error": trouble.code if trouble else None,
    }  # fmt: skip
    with Session(session.get_bind()) as own, own.begin():
        own.execute(text(NOTE), row)


TURN = """
    update privacy.processor_health set circuit = 'half-open', opens_at = :ends
    where name = :name and circuit <> 'closed' and coalesce(opens_at <= :now, true) returning true
"""
# A call that began while the circuit was closed does not close one that is open meanwhile: only the call that has the turn does.
NOTE = """
    insert into privacy.processor_health as h (name, circuit, failures, opens_at, worked_at, failed_at, error)
    values (:name, :circuit, :failures, :opens_at, :worked_at, :failed_at, :error)
    on conflict (name) do update set circuit = excluded.circuit, failures = excluded.failures,
        opens_at = case when excluded.circuit = 'open' then greatest(h.opens_at, excluded.opens_at) end,
        worked_at = coalesce(excluded.worked_at, h.worked_at), failed_at = coalesce(excluded.failed_at, h.failed_at),
        error = coalesce(excluded.error, h.error)
    where (h.circuit = 'closed' or excluded.circuit = 'open' or :tried) and (
        (h.circuit, h.failures, h.opens_at) is distinct from (excluded.circuit, excluded.failures, excluded.opens_at)
        or excluded.failed_at is not null or h.worked_at is null or h.worked_at < excluded.worked_at - interval '1 minute')
"""
