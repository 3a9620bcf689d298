"""Whatever officers, students and the worker do in whatever order, the promises about a deletion hold.

Hypothesis plays: file, verify, pause, extend, close, open and approve plans, early deletion, reactivate, refuse, holds, roles, time,
the worker, the eraser, its sudden death, a processor that puts a backup back. After every step a model that knows nothing of the
code is compared with the database: nothing erased before its day without two approvals (I1), "erased" only what every place has
forgotten (I2), an effect exactly when a line (I3), no request lost (I4), nothing left of a canceled deletion (I7), other people
untouched (I8). Small in ``make test``; ``RESOCODE_TEST_FULL=1`` plays 300 games of 50 steps.
"""

import dataclasses
import os
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import db, privacy_actions
from core.errors import AdminError
from core.jobs import Job
from core.policy.clock import add_months
from core.privacy import brakes, erasure_steps, grace, proving
from core.worker import Worker
from tests import cast
from tests.cast import NOW, id_of
from tests.core.privacy import crashes
from tests.core.privacy import house_of_erasures as erasures
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.crashes import BOUNDARIES
from tests.core.privacy.house_of_erasures import stores
from tests.core.privacy.house_of_requests import DAY, act, lines, row, rows

__all__ = ["stores"]
OFFICERS = ("omar", "olga", "oskar")
FULL = os.environ.get("RESOCODE_TEST_FULL") == "1"
officers = st.sampled_from(OFFICERS)


STORES: dict[str, erasures.Store] = {}


class Dies:
    """A process that dies at a boundary, after some others."""

    def __init__(self, boundary: str, after: int) -> None:
        self.boundary, self.left = boundary, after

    def before_commit(self, session: Session) -> None:
        self.passes(session, BOUNDARIES[0])

    def after_commit(self, session: Session) -> None:
        self.passes(session, BOUNDARIES[1])

    def passes(self, session: Session, boundary: str) -> None:
        if session.info.get("erasure") and boundary == self.boundary:
            self.left -= 1
            if self.left < 0:
                raise crashes.Killed


# What the games must have come to, or they prove nothing.
REACHED = ("account closed", "plan opened", "deletion approved", "account reactivated", "request refused", "answer extended",
           "early deletion asked for", "approval taken back", "plan sent back", "plan changed", "hold placed", "hold released",
           "erasure begun", "erasure ended")  # fmt: skip


# How far a game has come when it begins, so that the short ones get everywhere too.
BEGINNINGS: dict[str, Callable[["Desk"], object]] = {
    "filed": lambda desk: desk.file("paula"),
    "asked": lambda desk: desk.ask("omar"),
    "closed": lambda desk: desk.hurry("omar"),
    "sent back": lambda desk: desk.send_back("olga"),
    "approved": lambda desk: desk.decide("olga"),
    "held": lambda desk: desk.hold("oskar"),
    "let go": lambda desk: desk.release("oskar"),
    "due": lambda desk: desk.time_passes(24 * 31),
    "died": lambda desk: desk.crash(BOUNDARIES[1], 2),
    "ticked": lambda desk: desk.tick(),
}
TO_APPROVE, APPROVED = ("filed", "closed"), ("filed", "closed", "approved")
WAYS: tuple[tuple[str, ...], ...] = (
    (), ("filed",), ("filed", "asked"), TO_APPROVE, (*TO_APPROVE, "sent back"), APPROVED, (*APPROVED, "sent back"),
    (*APPROVED, "held", "let go"), (*APPROVED, "due"), (*APPROVED, "due", "ticked"), (*APPROVED, "due", "died"),
)  # fmt: skip


class Desk(RuleBasedStateMachine):
    """One student, one deletion at a time, three officers, and a model of what must be true."""

    @initialize(way=st.sampled_from(WAYS))
    def arrive(self, way: tuple[str, ...]) -> None:
        self.now = NOW
        self.newcomer()
        with db.transaction("worker") as session:
            session.execute(
                text("update staff.staff_member set role = 'privacy_officer' where name in ('Omar', 'Olga', 'Oskar')")
            )
        self.filed: list[uuid.UUID] = []
        self.request: uuid.UUID | None = None
        self.demoted: set[str] = set()
        self.holds: list[tuple[uuid.UUID, str]] = []
        self.forget()
        for step in way:
            BEGINNINGS[step](self)

    def newcomer(self) -> None:
        """Somebody whom the platform and every processor know."""
        self.student = uuid.uuid4()
        mail = f"{self.student}@students.example"
        with db.transaction("worker") as session:
            session.execute(text(
                "insert into platform.student (id, name, email, registered_at, email_hash, provider_hash, source)"
                " values (:id, 'Model ' || md5(:mail), :mail, :now, convert_to(:mail, 'UTF8'), convert_to(:mail, 'UTF8'), 'model')"),
                {"id": self.student, "mail": mail, "now": NOW - DAY})  # fmt: skip
        for store in STORES.values():
            store.holds.add(self.student)

    def forget(self) -> None:
        """A new request begins."""
        self.seen: dict[str, str] = {}
        self.approved: set[tuple[str, str]] = set()
        self.involved: set[str] = set()
        self.early = False
        self.paused_at: datetime | None = None
        self.rested, self.months, self.received = timedelta(), 0, self.now

    def attempt(self, verb: str, by: str, **more: Any) -> Any:
        """Do something; it either has one effect and one line, or none of either (I3). Return the receipt, None if refused."""
        self.now += timedelta(seconds=1)  # nobody does two things at one instant
        before, told = self.facts(), len(lines())
        where = {"request_id": self.request, "version": row(self.request)["version"]} if self.request else {}
        try:
            done = act(verb, by, now=self.now, **(where | more))
        except AdminError:
            done = None
        written = len(lines()) - told
        if done is None or getattr(done, "again", False):
            assert (written, self.facts()) == (0, before), verb
        else:
            assert written == 1, verb
            assert by not in self.demoted, "somebody without the role acted"
        return done

    def facts(self) -> Any:
        return (rows("select * from privacy.request where id = any(:ids) order by id", ids=self.filed),
                rows("select account_status, closed_at from platform.student where id = :id", id=self.student),
                rows("select id, state from privacy.outbox where student_id = :id order by id", id=self.student))  # fmt: skip

    def state(self) -> str:
        return str(row(self.request)["state"]) if self.request else ""

    # What people do

    @precondition(lambda self: self.request is None)
    @rule(by=st.sampled_from(("paula", "omar")))
    def file(self, by: str) -> None:
        if by in self.demoted:
            return
        self.forget()
        self.request = uuid.uuid4()
        told = len(lines())
        found = self.find(by)
        assert found.made == "filed"
        assert len(lines()) == told + 1
        self.request, self.involved = found.request_id, {by}
        self.filed.append(found.request_id)

    def find(self, by: str) -> Any:
        given = {"kind": "delete", "received_at": self.now, "form_key": uuid.uuid4()}
        found = act("file_request", "paula" if by == "paula" else by, now=self.now, name="Somebody", **given)
        with db.transaction("worker") as session:
            session.execute(
                text("update privacy.request set student_id = :who where id = :id"),
                {"who": self.student, "id": found.request_id},
            )
        return found

    @precondition(lambda self: self.request)
    @rule()
    def file_again(self) -> None:
        again = {"kind": "delete", "received_at": self.now, "form_key": uuid.uuid4(), "student_id": self.student}
        assert act("file_request", "paula", now=self.now, **again).made == "already open"

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def ask(self, by: str) -> None:
        if self.attempt("ask_identity", by):
            self.paused_at = self.now

    @precondition(lambda self: self.request)
    @rule(by=officers, confirmed=st.booleans())
    def verify(self, by: str, confirmed: bool) -> None:
        owned = row(self.request)["owner_id"] is not None
        if self.attempt("record_identity", by, method="known in person", confirmed=confirmed):
            self.rest_ends()
            self.involved |= set() if owned else {by}

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def pause(self, by: str) -> None:
        if self.attempt("pause_clock", by, reason="proof was not enough"):
            self.paused_at = self.now

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def resume(self, by: str) -> None:
        if self.attempt("resume_clock", by, reason="the person answered"):
            self.rest_ends()

    def rest_ends(self) -> None:
        if self.paused_at:
            self.rested, self.paused_at = self.rested + (self.now - self.paused_at), None

    @precondition(lambda self: self.request)
    @rule(by=officers, months=st.integers(0, 3))
    def extend(self, by: str, months: int) -> None:
        if self.attempt("extend_answer", by, months=months, reason="complex"):
            assert not self.months
            assert self.now <= add_months(self.received, 1) + self.rested + (self.now - (self.paused_at or self.now))
            self.months = months

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def close(self, by: str) -> None:
        if self.attempt("close_account", by):
            assert row(self.request)["identity"] == "confirmed"
            self.rest_ends()
            self.involved.add(by)

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def look_at_plan(self, by: str) -> None:
        told = len(lines())
        try:
            shown = act("open_plan", by, now=self.now, request_id=self.request)
        except AdminError:
            return
        assert len(lines()) - told == (self.seen.get(by) != shown.fingerprint) or len(lines()) == told
        self.seen[by] = shown.fingerprint

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def approve(self, by: str) -> None:
        found = row(self.request)
        done = self.attempt("approve_deletion", by, fingerprint=self.seen.get(by, "none"), confirmation=f"R-{found['number']}",
                            reason="plan is right")  # fmt: skip
        if done and done.what != "plan changed":
            assert by not in self.involved, "the same person closed or filed it"
            assert self.seen.get(by) == found["plan_fingerprint"]
            self.approved.add((by, str(found["plan_fingerprint"])))

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def ask_early(self, by: str) -> None:
        if self.attempt("ask_early", by, words="At once, please."):
            self.early = True

    @precondition(lambda self: self.request)
    @rule(by=officers, reason=st.sampled_from(tuple(privacy_actions.RETURNS)))
    def send_back(self, by: str, reason: str = "the plan is not right") -> None:
        if self.attempt("send_back", by, reason="approved by mistake"):
            self.approved.clear()
        elif self.attempt("return_plan", by, reason=reason, note="Look again."):
            found = row(self.request)
            assert found["state"] == privacy_actions.RETURNS[reason]
            assert (found["account_closed_at"], found["answered_at"], found["early"]) == (None, None, False)
            self.open_and_quiet()
            self.approved.clear()
            self.early = False

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def reactivate(self, by: str) -> None:
        if self.attempt("reactivate_account", by, reason="closed by mistake"):
            self.ended()

    @precondition(lambda self: self.request)
    @rule(by=officers)
    def refuse(self, by: str) -> None:
        if self.attempt("refuse_request", by, reason="manifestly unfounded", words="No."):
            self.ended()

    def ended(self) -> None:
        """A deletion that was canceled leaves nothing (I7)."""
        self.open_and_quiet()
        self.request = None

    def open_and_quiet(self) -> None:
        """The account is open, and no letter says otherwise."""
        assert rows("select account_status, closed_at from platform.student where id = :id", id=self.student) == [
            ("open", None)
        ]
        left = "select count(*) from privacy.outbox where request_id = :id and state = 'waiting' and kind in ('closing', 'reminder')"
        assert rows(left, id=self.request) == [(0,)]

    @rule(by=officers, back=st.sampled_from((True, True, False)))
    def change_role(self, by: str, back: bool) -> None:
        role = "privacy_officer" if back else "mentor"
        with db.transaction("worker") as session:
            session.execute(
                text("update staff.staff_member set role = :role where id = :id"), {"role": role, "id": id_of(by)}
            )
        (self.demoted.discard if back else self.demoted.add)(by)

    @precondition(lambda self: self.request and len(self.holds) < 2)
    @rule(by=officers)
    def hold(self, by: str) -> None:
        given = {"student_id": self.student, "table": "platform.enrollment", "basis": "court proceedings", "reference": "C 1/26",
                 "review_on": (self.now + 60 * DAY).date(), "form_key": uuid.uuid4()}  # fmt: skip
        try:
            number = act("place_hold", by, now=self.now, **given)
        except AdminError:
            return
        self.holds.append(
            (rows("select id from privacy.legal_hold where form_key = :key", key=given["form_key"])[0][0], number)
        )

    @precondition(lambda self: self.holds)
    @rule(by=officers)
    def release(self, by: str) -> None:
        hold, number = self.holds[-1]
        try:
            act("release_hold", by, now=self.now, hold_id=hold, confirmation=number, reason="proceedings ended")
        except AdminError:
            return
        self.holds.pop()

    # Short ways to where it becomes interesting

    @precondition(lambda self: self.request and self.state() in ("received", "checking", "verified"))
    @rule(by=officers)
    def hurry(self, by: str) -> None:
        self.verify(by, True)
        self.close(by)

    @precondition(lambda self: self.request and self.state() == "to approve")
    @rule(by=officers)
    def decide(self, by: str) -> None:
        self.look_at_plan(by)
        self.approve(by)

    @precondition(lambda self: self.request and self.state() == "waiting" and len(self.holds) < 2)
    @rule(by=officers)
    def hold_what_is_approved(self, by: str) -> None:
        self.hold(by)
        self.work()

    # What time and the worker do

    @rule(hours=st.sampled_from((1, 24, 24 * 7, 24 * 29, 24 * 31)))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @precondition(lambda self: self.request)
    @rule()
    def work(self) -> None:
        before = self.state()
        with db.transaction("worker") as session:
            for key in grace.plans_due(session, self.now):
                grace.recheck_plan(session, request_id=uuid.UUID(key), now=self.now)
        if before == "waiting":
            found = row(self.request)
            assert (found["state"] == "waiting") == (found["plan_fingerprint"] in {each for _, each in self.approved})
            if found["state"] == "to approve":
                self.approved.clear()

    @precondition(lambda self: self.request and self.state() in ("waiting", "erasing"))
    @rule()
    def tick(self) -> None:
        """The eraser does all that is due, and somebody sends the letters."""
        self.erase(self.catch_up)
        if self.request and self.state() == "erasing":
            self.now += timedelta(minutes=3)
            self.erase(self.catch_up)

    @precondition(lambda self: self.request and self.state() in ("waiting", "erasing"))
    @rule(boundary=st.sampled_from(BOUNDARIES[:2]), after=st.integers(0, 5))
    def crash(self, boundary: str, after: int) -> None:
        """The eraser dies suddenly; what it held is free again after its lease."""
        fate = Dies(boundary, after)
        job = dataclasses.replace(self.job(), run=crashes.marked(crashes.eraser))

        def die() -> None:
            with crashes.watched(fate):  # type: ignore[arg-type]
                try:
                    Worker(erasures.Clock(self.now), (job,), name="dies").catch_up()
                except crashes.Killed:
                    db.engine("worker").dispose()

        self.erase(die)
        self.now += timedelta(minutes=2)

    @precondition(lambda self: self.request and self.state() == "erasing")
    @rule(name=st.sampled_from(erasures.TWO))
    def restore(self, name: str) -> None:
        """A processor puts a backup back while the erasure runs; what was proven there before, stays so said."""
        found = "select s.state from privacy.erasure_step s join privacy.erasure e on e.id = s.erasure_id where e.request_id = :id and s.place = :place"
        if rows(found, id=self.request, place=name) not in ([("proven",)], [("exempt",)]):
            STORES[name].holds.add(self.student)

    def job(self) -> Job:
        """The eraser's job for this game's request: what earlier games have left does not play along."""
        job, mine = erasures.ERASURES[0], str(self.request)
        return dataclasses.replace(job, due=lambda session, now: [key for key in job.due(session, now) if key == mine])

    def catch_up(self) -> None:
        Worker(erasures.Clock(self.now), (self.job(),), name="w").catch_up()

    def erase(self, how: Callable[[], object]) -> None:
        before = row(self.request)
        right = {who for who, plan in self.approved if plan == before["plan_fingerprint"]}
        how()
        erasures.send_letters(self.now)
        after = row(self.request)
        if before["state"] == "waiting" and after["state"] in ("erasing", "erased"):
            assert len(right) >= (2 if self.early else 1) and self.now >= before["grace_ends_at"], "no way back (I1)"
        if after["state"] == "to approve":
            self.approved.clear()
        if after["state"] == "erased":
            gone = "select count(*) from platform.student where id = :id"
            assert rows(gone, id=self.student) == [(0,)]
            assert not any(self.student in store.holds for store in STORES.values()), "a place has not forgotten (I2)"
            self.request = None
            self.newcomer()

    # What must hold

    @invariant()
    def nothing_is_erasable_before_its_day_or_without_its_approvals(self) -> None:
        """I1, asked of the database itself."""
        if self.request is None or self.state() in ("", "erasing"):
            return
        found = row(self.request)
        may = False
        with db.engine("worker").connect() as connection, connection.begin() as transaction:
            try:
                move = text("update privacy.request set state = 'erasing', moved_at = :now where id = :id")
                connection.execute(move, {"now": self.now, "id": self.request})
                may = True
            except DBAPIError:
                pass
            transaction.rollback()
        right = {who for who, plan in self.approved if plan == found["plan_fingerprint"]}
        if may:
            assert found["state"] == "waiting"
            assert len(right) >= (2 if self.early else 1)
            assert self.now >= found["account_closed_at"] + timedelta(hours=720) or (self.early and len(right) >= 2)
        if found["state"] == "waiting" and not self.early:
            assert found["grace_ends_at"] == found["account_closed_at"] + timedelta(hours=720)

    @invariant()
    def the_clock_is_what_happened(self) -> None:
        if self.request is None or self.state() == "":
            return
        found = row(self.request)
        assert found["due_at"] == add_months(self.received, 1 + self.months) + self.rested
        assert found["paused_at"] == self.paused_at

    @invariant()
    def no_request_is_lost(self) -> None:
        """I4: what was acknowledged is there; one is open at most."""
        if getattr(self, "filed", None):
            states = rows("select state, closed_at from privacy.request where id = any(:ids)", ids=self.filed)
            assert len(states) == len(self.filed)
            assert sum(closed is None for _, closed in states) == (self.request is not None)


def test_whatever_is_done_the_promises_hold(
    house: str, owner: Connection, stores: dict[str, erasures.Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    STORES.update(stores)
    monkeypatch.setattr(brakes, "FEW", 10**6)  # what depends on other games, or on chance, would make them differ
    monkeypatch.setattr(proving, "TOGETHER", timedelta())
    monkeypatch.setattr(erasure_steps, "pause_after", lambda _attempts: timedelta(minutes=1))
    ben = erasures.fingerprint("ben")
    before = cast.snapshot(owner, "ben"), cast.snapshot(owner, "cleo")
    owner.rollback()
    with db.transaction("worker") as session:
        session.execute(text("update staff.staff_member set totp_since = now() where role = 'privacy_officer'"))
    games, steps = (300, 50) if FULL else (33, 20)
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Desk,
        settings=settings(max_examples=games, stateful_step_count=steps, deadline=None, database=None, derandomize=not FULL,
                          suppress_health_check=list(HealthCheck)),
    )  # fmt: skip
    assert (cast.snapshot(owner, "ben"), cast.snapshot(owner, "cleo")) == before, "other people's rows (I8)"
    assert erasures.fingerprint("ben") == ben
    with db.transaction("worker") as session:
        from core.privacy import audit

        assert audit.verify(session).sound
    reached = dict(requests.rows("select action, count(*) from privacy.audit_event group by 1"))
    assert {action for action in REACHED if not reached.get(action)} == set(), reached
