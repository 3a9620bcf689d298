"""A harness that kills workers, cuts connections and loses answers at every boundary of an erasure, and says what went wrong.

One game covers every boundary of one kind: each is hit the first time it is reached, and passes the second time. Two workers
take turns, the second one after the first one's lease. Who plays is given: the eraser, or a naive one that must be caught.
"""

import dataclasses
import os
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from psycopg.errors import OperationalError as Lost
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core import db, embedded
from core.jobs import MORE, Job
from core.privacy import audit, erasure
from core.processors.local import Local
from core.processors.protocol import Became, Order, Outcome, Person, Proof
from core.worker import Worker
from tests.cast import id_of
from tests.core.privacy.house_of_erasures import DUE, ERASURES, Clock, Store, fingerprint, send_letters, steps
from tests.core.privacy.house_of_requests import row, rows, waiting

BOUNDARIES = ("killed before a commit", "killed after a commit", "cut before a commit", "answer of a commit lost",
              "killed before a call", "killed after a call")  # fmt: skip
WIRES = ("quiet", "executed, then dropped", "dropped before")
Together = Callable[[Session, Sequence[str], datetime], Mapping[str, Mapping[str, int]]]


class Killed(BaseException):
    """The process is gone: nothing below may catch it."""


@dataclass
class Fate:
    """What happens where. ``hits`` are the boundaries that were hit, by what the part had come to."""

    boundary: str
    cluster: embedded.Cluster
    database: str
    next: str = ""
    hits: list[str] = field(default_factory=list)
    states: str = ""
    most: int = 1000

    def __post_init__(self) -> None:
        self.states = self.states or STATES

    def at(self, boundary: str, label: str, then: Callable[[], None] | None = None) -> None:
        """Pass a boundary: the first time at one of the kind that is played, it happens."""
        if boundary != self.boundary or label in self.hits or len(self.hits) >= self.most:
            return
        self.hits.append(label)
        if then:
            then()
        else:
            raise Killed

    def before_commit(self, session: Session) -> None:
        if session.info.get("erasure"):
            self.next = str(session.scalar(text(self.states)))
            self.at("killed before a commit", self.next)
            self.at("cut before a commit", self.next, lambda: self.cut(session))

    def after_commit(self, session: Session) -> None:
        if session.info.pop("erasure", None):
            self.at("killed after a commit", self.next)
            self.at("answer of a commit lost", self.next, lose)

    def cut(self, session: Session) -> None:
        """The server ends the connection in the middle of the transaction, as at a restart."""
        pid = session.scalar(text("select pg_backend_pid()"))
        with psycopg.connect(self.cluster.conninfo(self.database), autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s)", [pid])


STATES = """
    select string_agg(r.state || coalesce(s.place || s.state, ''), ' ' order by s.phase, s.place) from privacy.request r
    left join privacy.erasure e on e.request_id = r.id left join privacy.erasure_step s on s.erasure_id = e.id
    where r.kind = 'delete'"""


def lose() -> None:
    raise OperationalError("commit", None, Lost("server closed the connection unexpectedly"))


class Wire(Store):
    """A third party behind a wire that fails once: after it did what was asked, or before."""

    wire: str = "quiet"
    fate: Fate | None = None
    failed: bool = False

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        assert self.fate
        self.fate.at("killed before a call", self.name)
        first, self.failed = not self.failed, True
        if self.wire == "dropped before" and first:
            raise ConnectionError("reset")
        done = super().erase(session, order, now=now)
        self.fate.at("killed after a call", self.name)
        if self.wire == "executed, then dropped" and first:
            raise ConnectionError("reset")
        return done


def eraser(session: Session, keys: Sequence[str], now: datetime) -> Mapping[str, Mapping[str, int]]:
    """The real one."""
    came = erasure.go_on_together(session, request_ids=[uuid.UUID(key) for key in keys], now=now)
    return {str(request_id): counts for request_id, counts in came.items()}


def erasures(run: Together) -> Job:
    """The job of the eraser, done by somebody else, who is watched."""
    return dataclasses.replace(ERASURES[0], together=marked(run))


@contextmanager
def watched(fate: Fate) -> Iterator[None]:
    """Let the fate see every commit of the eraser."""
    event.listen(Session, "before_commit", fate.before_commit)
    event.listen(Session, "after_commit", fate.after_commit)
    try:
        yield
    finally:
        event.remove(Session, "before_commit", fate.before_commit)
        event.remove(Session, "after_commit", fate.after_commit)


def play(fate: Fate, run: Together = eraser, *, turns: int = 120) -> list[str]:
    """One person, two workers that take turns and meet their fate; return what is wrong in the end."""
    filed, ben = waiting(), fingerprint("ben")
    job, now = erasures(run), DUE
    with watched(fate):
        for turn in range(turns):
            now += timedelta(minutes=3)  # past the lease of whoever died
            try:
                Worker(Clock(now), (job,), name="AB"[turn % 2]).catch_up()
            except Killed:
                db.engine("worker").dispose()
            send_letters(now)
            if row(filed.request_id)["state"] == "erased":
                break
            now += timedelta(minutes=57) if turn > 40 else timedelta()
    return problems(filed.request_id, ben)


def marked(run: Together) -> Together:
    def seen(session: Session, keys: Sequence[str], now: datetime) -> Mapping[str, Mapping[str, int]]:
        session.info["erasure"] = True
        return run(session, keys, now)

    return seen


def problems(request_id: uuid.UUID, ben: str) -> list[str]:
    """Everything that is not as promised, of a deletion that should be over and of a bystander."""
    from core.processors import registry

    found = []
    if row(request_id)["state"] != "erased":
        stuck = rows("select r.state, e.waits_for, e.waits_about, e.next_at from privacy.request r left join privacy.erasure e"
                     " on e.request_id = r.id where r.id = :id", id=request_id)  # fmt: skip
        jobs = rows("select state, attempts, next_at, error from staff.job where key = :key", key=str(request_id))
        found.append(f"it does not end without a human: {stuck} {jobs} {steps(request_id)}")
    left = rows("select count(*) from platform.student where id = :id", id=id_of("cleo"))[0][0]
    left += rows("select count(*) from platform.enrollment where student_id = :id", id=id_of("cleo"))[0][0]
    if left:
        found.append(f"{left} rows are left")
    for make in registry._makers.values():
        store = make()
        if isinstance(store, Wire) and id_of("cleo") in store.holds:
            found.append(f"{store.name} still has them")
        if isinstance(store, Wire) and id_of("ben") not in store.holds:
            found.append(f"{store.name} lost a bystander")
    if fingerprint("ben") != ben:
        found.append("a bystander's rows changed")
    if rows("select count(*) from privacy.erasure_step where state not in ('proven', 'exempt')")[0][0]:
        found.append("a step is not proven")
    for line in ("erasure begun", "erasure ended"):
        if rows(
            "select count(*) from privacy.audit_event where action = :line and subject_id = :id",
            line=line,
            id=request_id,
        ) != [(1,)]:
            found.append(f"not one line “{line}”")
    with db.transaction("worker") as session:
        if not audit.verify(session).sound:
            found.append("the audit does not verify")
    return found


def naive(session: Session, keys: Sequence[str], now: datetime) -> Mapping[str, Mapping[str, int]]:
    """An eraser as one writes it on the first try: says that it is done, then does it, and swallows what goes wrong."""
    return {key: _naive(session, key, now) for key in keys}


def _naive(session: Session, key: str, now: datetime) -> Mapping[str, int]:
    from core.processors import registry

    step = session.execute(text("""
        select s.id, s.what, s.place, s.key, e.person_id, e.email_hash, e.forms from privacy.erasure_step s
        join privacy.erasure e on e.id = s.erasure_id
        where e.request_id = :id and s.state not in ('proven', 'exempt') order by s.phase, s.place limit 1"""), {"id": key}).first()  # fmt: skip
    if step is None or step.what == "ledger":  # a worker rests while the ledger lacks a line
        return erasure.go_on(session, request_id=uuid.UUID(key), now=now)
    done = "update privacy.erasure_step set state = 'proven', erased_at = :now, proven_at = :now where id = :id"
    person = Person("student", step.person_id, uuid.UUID(key), step.email_hash, tuple(step.forms or ()))
    if step.what == "processor":
        with db.transaction("worker") as other:
            other.execute(text(done), {"now": now, "id": step.id})
        try:
            registry.configured(step.place).erase(session, Order(person, step.key), now=now)
        except ConnectionError:
            return {MORE: 1}
    elif step.what == "database":
        Local().erase(session, Order(person, step.key), now=now)
        session.execute(text(done), {"now": now, "id": step.id})
    else:
        session.execute(text(done), {"now": now, "id": step.id})
    return {MORE: 1}


class FileStore(Store):
    """A third party whose records are files, so that it outlives the process that calls it."""

    folder: Path = Path()

    def at(self, folder: Path) -> "FileStore":
        """Keep the records in a folder; made with those of the first who opens it."""
        self.folder = folder / self.name
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            for person in self.holds:
                (self.folder / str(person)).touch()
        return self

    def there(self) -> set[uuid.UUID]:
        """Whose records there are."""
        return {uuid.UUID(file.name) for file in self.folder.iterdir()}

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        point("before call")
        (self.folder / str(order.person.id)).unlink(missing_ok=True)
        point("after call")
        return Outcome(Became.DONE, {"records": 1})

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        there = order.person.id in self.there()
        return Proof(absent=not there, found={"records": 1} if there else {})


_deadly: list[str] = []
_passed: dict[str, int] = {}


def die_at(deadly: str) -> None:
    """Kill this process, by SIGKILL, when it passes a point for the n-th time: "after commit 7"."""
    _deadly.append(deadly)
    event.listen(Session, "before_commit", lambda session: session.info.get("erasure") and point("before commit"))
    event.listen(Session, "after_commit", lambda session: session.info.pop("erasure", None) and point("after commit"))


def point(name: str) -> None:
    """Pass a point."""
    _passed[name] = _passed.get(name, 0) + 1
    if f"{name} {_passed[name]}" in _deadly:
        os.kill(os.getpid(), signal.SIGKILL)
