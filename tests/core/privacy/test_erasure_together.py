"""Erasures that go together: every guard is each one's own, whoever is in trouble falls out, and nobody is done half or twice."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.orm import Session

from core import db, embedded, leases
from core.privacy import audit, brakes, erasure, erasure_steps, ledger
from core.privacy.erasure_rows import Step
from core.privacy.erasure_steps import Run
from core.processors import registry
from core.processors.local import Local
from core.processors.protocol import Order, Outcome
from core.worker import Worker
from tests.cast import NOW, id_of
from tests.core.privacy.crashes import BOUNDARIES, WIRES, Fate, Killed, Wire, eraser, erasures, watched
from tests.core.privacy.house_of_erasures import (
    DUE,
    ERASURES,
    TWO,
    Clock,
    bystander,
    crowd,
    erased,
    fingerprint,
    send_letters,
    steps,
    stores,
    waits,
    work,
)
from tests.core.privacy.house_of_requests import DAY, HOUR, Filed, file, lines, row, rows, waiting
from tests.core.privacy.test_erasure import hold, let_go
from tests.core.privacy.test_grace import use_platform

__all__ = ["bystander", "stores"]
pytestmark = pytest.mark.usefixtures("house", "bystander", "stores")
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def nothing_else_is_asked(house: str, owner: Connection) -> None:
    """Asha has asked for something else in the cast, which would have to be answered first."""
    owner.execute(text("set session_replication_role = replica"))
    owner.execute(text("update privacy.request set closed_at = :now, state = 'withdrawn' where student_id = :id"), {"now": DUE - 40 * DAY, "id": id_of("asha")})  # fmt: skip
    owner.execute(text("set session_replication_role = origin"))
    owner.commit()


def three() -> list[Filed]:
    """Two students with records of every kind, and a visitor, all approved by people and due."""
    return [waiting(student_id=id_of("asha")), waiting(), waiting(visitor_id=id_of("vera"))]


@pytest.fixture
def commits() -> Iterator[list[int]]:
    """How many of the people of a batch each commit of the eraser carried."""
    carried: list[int] = []
    real = erasure.go_on_together

    def counted(session: Session, *, request_ids: Sequence[uuid.UUID], **more: Any) -> Any:
        session.info["people"] = len(request_ids)
        return real(session, request_ids=request_ids, **more)

    def after(session: Session) -> None:
        if people := session.info.pop("people", None):
            carried.append(people)

    patch = pytest.MonkeyPatch()
    patch.setattr(erasure, "go_on_together", counted)
    event.listen(Session, "after_commit", after)
    yield carried
    event.remove(Session, "after_commit", after)
    patch.undo()


def told(request_id: uuid.UUID) -> tuple[list[Any], list[str], list[Any], int]:
    """What is on record of one erasure: evidence, lines of audit, steps; and the lines of the ledger."""
    seen = rows("select coalesce(s.place, ''), v.what, v.became, v.error from privacy.erasure_evidence v join privacy.erasure e on e.id = v.erasure_id"
                " left join privacy.erasure_step s on s.id = v.step_id where e.request_id = :id order by v.at, 1, v.id", id=request_id)  # fmt: skip
    began = lines(request_id).index("erasure begun")
    found = rows("select id from privacy.erasure where request_id = :id", id=request_id)[0][0]
    known = ledger.read(thoroughly=True)
    assert known.problems == ()
    return sorted(seen), lines(request_id)[began:], list(steps(request_id).items()), (found in known.begun) + (found in known.erased)  # fmt: skip


def test_many_leave_the_same_record_as_one_and_share_its_commits(
    owner: Connection, monkeypatch: pytest.MonkeyPatch, commits: list[int]
) -> None:
    monkeypatch.setattr(erasure, "third_parties", lambda _kind, _listed: ())
    alone = waiting(student_id=id_of("asha"))
    assert erased(alone.request_id)
    of_one = list(commits)
    monkeypatch.setattr(brakes, "FEW", 1000)
    crowd(owner, 12)
    commits.clear()
    for hour in range(5):
        work(DUE + HOUR * (hour + 1))
        send_letters(DUE + HOUR * (hour + 1))
    everybody = [each for (each,) in rows("select id from privacy.request where source = 'crowd' and state = 'erased'")]
    assert len(everybody) == 12
    assert of_one == [1] * 5, "see docs/performance.md: what the commits of one erasure are for"
    assert commits == [12] * 5
    one, *others = [told(each) for each in everybody]
    assert len(one[0]) == 10, (
        "two of the whole, two each of letter, database and certificate, one each of ledger and scan"
    )
    assert all(other == one for other in others) and one[1:] == told(alone.request_id)[1:]
    assert one[0] == told(alone.request_id)[0] and one[3] == 2
    assert rows(
        "select count(*), count(distinct number), count(distinct erasure_id) from privacy.erasure_certificate"
    ) == [(13, 13, 13)]
    with db.transaction("worker") as session:
        assert audit.verify(session).sound


def test_what_went_is_counted_for_each_by_itself(owner: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts of seven rows for all of them together."""
    monkeypatch.setattr(erasure_steps, "AT_MOST_TOGETHER", 7)
    owner.execute(text("insert into platform.usage_event (at, id, enrollment_id, cohort_id, kind, item, clicks, source)"
                       " select :at, gen_random_uuid(), :e, :c, 'page', 'x', 1, 'cast' from generate_series(1, 9)"),
                  {"at": NOW - 2 * DAY, "e": id_of("cleo enrollment"), "c": id_of("java")})  # fmt: skip
    owner.commit()
    counted = "select count(*) from platform.usage_event u join platform.enrollment e on e.id = u.enrollment_id where e.student_id = :id"
    had = {name: rows(counted, id=id_of(name))[0][0] for name in ("asha", "cleo")}
    assert had["cleo"] >= 9 and had["asha"] != had["cleo"]
    people = three()
    assert all(erased(each.request_id) for each in people)
    for name, filed in zip(("asha", "cleo"), people, strict=False):
        [(counts,)] = rows("select s.counts from privacy.erasure_step s join privacy.erasure e on e.id = s.erasure_id"
                           " where s.what = 'database' and e.request_id = :id", id=filed.request_id)  # fmt: skip
        assert (counts.get("platform.usage_event", 0), counts["platform.student"]) == (had[name], 1)
    [(counts,)] = rows("select s.counts from privacy.erasure_step s join privacy.erasure e on e.id = s.erasure_id"
                       " where s.what = 'database' and e.request_id = :id", id=people[2].request_id)  # fmt: skip
    assert counts["platform.visitor"] == 1 and "platform.student" not in counts


def test_payments_of_two_people_lead_to_two_tombstones() -> None:
    paid = "select count(distinct student_id) from platform.payment where student_id = any(:ids)"
    assert rows(paid, ids=[id_of("asha"), id_of("cleo")]) == [(2,)]
    people = three()
    assert all(erased(each.request_id) for each in people)
    of_each = rows(
        "select tombstone_id, count(*) from platform.payment where student_id is null and tombstone_id is not null group by 1"
    )
    assert len(of_each) == 2, "one for each: whose payments belong together is told of nobody else"


GUARDS: dict[str, tuple[Callable[[], object], tuple[str, tuple[str, str] | None]]] = {
    "a hold": (lambda: hold(), ("to approve", None)),
    "a hold on a part": (lambda: hold("platform.certificate"), ("to approve", None)),
    "a sign of life": (lambda: use_platform("cleo", DUE - DAY), ("to approve", None)),
    "another request": (lambda: file("access"), ("waiting", ("request", "R-"))),
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_stops_the_one_and_nobody_else(guard: str) -> None:
    asha, cleo, vera = three()
    stop, (state, waits_for) = GUARDS[guard]
    stop()
    for minute in range(6):
        work(DUE + minute * MINUTE)
        send_letters(DUE + minute * MINUTE)
    assert (row(asha.request_id)["state"], row(vera.request_id)["state"]) == ("erased", "erased")
    assert row(cleo.request_id)["state"] == state
    if waits_for:
        found = waits(cleo.request_id)
        assert found and found[0] == waits_for[0] and found[1].startswith(waits_for[1])
    assert rows("select count(*) from platform.student where id = :id", id=id_of("cleo")) == [(1,)]


def test_an_approval_that_fell_away_is_the_ones(monkeypatch: pytest.MonkeyPatch, owner: Connection) -> None:
    crowd(owner, 3)  # by a rule, not by Olga
    cleo = waiting()
    with db.transaction("worker") as session:
        session.execute(text("update staff.staff_member set role = 'mentor' where name = 'Olga'"))
    everybody = [each for (each,) in rows("select id from privacy.request where kind = 'delete'")]
    with db.transaction("worker") as session:
        came = erasure.go_on_together(session, request_ids=everybody, now=DUE)
    alone = [each for each, counts in came.items() if counts.get(erasure.ALONE)]
    assert alone == [cleo.request_id], "asked for each, before the trigger would stop all of them"
    work()
    assert row(cleo.request_id)["state"] == "to approve" and lines(cleo.request_id)[-1] == "approval fell away"
    assert rows("select count(*) from privacy.request where source = 'crowd' and state = 'erasing'") == [(3,)]


def test_a_hold_in_the_middle_stops_the_one_and_its_release_resumes_it() -> None:
    people = three()
    with db.transaction("worker") as session:
        erasure.go_on_together(session, request_ids=[each.request_id for each in people], now=DUE)
    held = hold()
    part = hold("platform.certificate", name="asha")
    for minute in range(6):
        work(DUE + minute * MINUTE)
        send_letters(DUE + minute * MINUTE)
    assert [row(each.request_id)["state"] for each in people] == ["erasing", "erasing", "erased"]
    assert waits(people[1].request_id) == ("hold", held[1])
    left = "select count(*) from platform.certificate c join platform.enrollment e on e.id = c.enrollment_id where e.student_id = :id"
    assert rows(left, id=id_of("asha"))[0][0] > 0 and rows(left, id=id_of("cleo"))[0][0] > 0
    assert steps(people[0].request_id)["this database"] == "held"
    for each in (held, part):
        let_go(each, now=DUE + DAY)
    assert all(erased(each.request_id, DUE + DAY) for each in people)


def test_a_brake_stops_all_of_them(owner: Connection) -> None:
    crowd(owner, brakes.FEW + 5)
    work()
    assert rows("select state, count(*) from privacy.request where kind = 'delete' group by 1") == [
        ("waiting", brakes.FEW + 5)
    ]
    assert rows("select distinct waits_for from privacy.erasure") == [("many",)]


def test_whoever_is_in_an_officers_hands_is_left_to_them() -> None:
    asha, cleo, vera = three()
    with db.transaction("worker") as officer:
        officer.execute(text("select 1 from privacy.request where id = :id for update"), {"id": cleo.request_id})
        with db.transaction("worker") as session:
            came = erasure.go_on_together(session, request_ids=[asha.request_id, cleo.request_id, vera.request_id], now=DUE)  # fmt: skip
    assert came == {asha.request_id: {"begun": 1, "more": 1}, vera.request_id: {"begun": 1, "more": 1},
                    cleo.request_id: {"more": 1, "alone": 1}}  # fmt: skip
    assert row(cleo.request_id)["state"] == "waiting"


def claimed(owner: str, now: Any = DUE, at_most: int = 100) -> list[leases.Lease]:
    """What one worker gets."""
    job = ERASURES[0]
    with db.transaction("worker") as session:
        leases.want(session, job.kind, job.due(session, now), again=job.again, now=now)
        return leases.claim_together(session, kind=job.kind, term=job.lease, owner=owner, now=now, at_most=at_most)


def test_each_worker_gets_its_share_and_what_was_left_behind_goes_alone(owner: Connection) -> None:
    crowd(owner, 9)
    for name in ("a", "b", "c"):
        Worker(Clock(DUE), (), name=name).beat()
    assert [len(claimed(name)) for name in ("a", "b")] == [3, 2]
    assert len(claimed("c", at_most=1)) == 1
    owner.execute(text("delete from staff.worker_heartbeat"))
    owner.commit()
    assert len(claimed("d")) == 3, "the rest"
    late = DUE + 2 * MINUTE
    crowd(owner, 2, source="more")
    assert [len(claimed("e", late)) for _ in range(9)] == [1] * 9, "one of these may have killed its worker"
    assert len(claimed("e", late)) == 2, "whoever came since was taken along with none of them"


def test_a_lease_that_was_lost_takes_only_its_own_part_along() -> None:
    """While a worker is at three, one of the leases is taken over: what it did for that one is undone, and for no other."""
    people = three()

    def stolen(session: Session, keys: Sequence[str], now: Any) -> Any:
        came = eraser(session, keys, now)
        with db.transaction("worker") as thief:
            mine = "update staff.job set fence = fence + 1 where key = :key and state = 'running' and attempts < 7"
            thief.execute(text(mine), {"key": str(people[1].request_id)})
        return came

    outcomes = Worker(Clock(DUE), (erasures(stolen),), name="slow").catch_up()
    assert sorted(outcome.became for outcome in outcomes) == ["done", "done", "lost"]
    assert row(people[1].request_id)["state"] == "waiting", "nothing of what the slow one did for it stays"
    assert {row(each.request_id)["state"] for each in (people[0], people[2])} == {"erasing"}
    assert all(erased(each.request_id, DUE + HOUR) for each in people)


def test_who_raises_is_found_by_halves(owner: Connection, monkeypatch: pytest.MonkeyPatch, commits: list[int]) -> None:
    monkeypatch.setattr(erasure, "third_parties", lambda _kind, _listed: ())
    monkeypatch.setattr(brakes, "FEW", 1000)
    crowd(owner, 15)
    poison, real = waiting(), Local.erase_together

    def poisonous(self: Local, session: Session, orders: Sequence[Order], **how: Any) -> list[Outcome]:
        if any(order.person.id == id_of("cleo") for order in orders):
            raise ValueError("bad row")
        return real(self, session, orders, **how)

    monkeypatch.setattr(Local, "erase_together", poisonous)
    for hour in range(4):
        work(DUE + hour * HOUR)
        send_letters(DUE + hour * HOUR)
    assert rows("select state, count(*) from privacy.request where kind = 'delete' group by 1 order by 1") == [
        ("erased", 15),
        ("erasing", 1),
    ]
    assert rows("select attempts from privacy.erasure_step s join privacy.erasure e on e.id = s.erasure_id where e.request_id = :id"
                " and s.what = 'database'", id=poison.request_id)[0][0] >= 1  # fmt: skip
    assert len(commits) < 40, "not one transaction for each"


def test_a_step_that_joined_another_and_raises_fails_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "third_parties", lambda _kind, _listed: ())
    asha, real = waiting(student_id=id_of("asha")), erasure_steps._became

    def poisonous(run: Run, step: Step, outcome: Outcome) -> None:
        real(run, step, outcome)
        raise ValueError("bad row")

    monkeypatch.setattr(erasure_steps, "_became", poisonous)
    work(DUE)
    send_letters(DUE)
    work(DUE + MINUTE)
    tried = (
        "select s.place, s.state, s.attempts from privacy.erasure_step s where s.phase between 2 and 3 order by s.phase"
    )
    assert rows(tried) == [("last letter", "proven", 0), ("this database", "to do", 1)]
    assert rows("select counts, erased_at from privacy.erasure_step where what = 'database'") == [({}, None)]
    assert rows("select s.place from privacy.erasure_evidence v join privacy.erasure_step s on s.id = v.step_id where v.what = 'failed'") == [("this database",)]  # fmt: skip
    assert lines(asha.request_id).count("erasure step proven") == 1, "of the letter; nothing of what was taken back"
    assert rows("select count(*) from platform.student where id = :id", id=id_of("asha")) == [(1,)]
    monkeypatch.setattr(erasure_steps, "_became", real)
    assert erased(asha.request_id, DUE + HOUR)


# What a boundary is called: the states in which there is somebody. One game hits two dozen of them.
STATES = """
    select string_agg(distinct r.state || coalesce(s.place || s.state, ''), ' ') from privacy.request r
    left join privacy.erasure e on e.request_id = r.id left join privacy.erasure_step s on s.erasure_id = e.id
    where r.kind = 'delete'"""


@pytest.mark.parametrize(("boundary", "wire"), [(each, WIRES[at % len(WIRES)]) for at, each in enumerate(BOUNDARIES)])
def test_the_crash_matrix_over_a_batch_in_mixed_states(
    boundary: str, wire: str, cluster: embedded.Cluster, house: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has not begun, one has, one has had its letter; two are under the same third parties; whatever dies, all end rightly."""
    fate = Fate(boundary, cluster, house, states=STATES, most=24)
    for name in TWO:
        made = Wire(name, {id_of(each) for each in ("asha", "ben", "cleo", "vera", "viktor")})
        made.wire, made.fate = wire, fate
        monkeypatch.setitem(registry._makers, name, lambda made=made: made)
    ahead = waiting(visitor_id=id_of("viktor"))
    with db.transaction("worker") as session:
        for _ in range(2):
            erasure.go_on(session, request_id=ahead.request_id, now=DUE)
    people, ben = [ahead, *three()], fingerprint("ben")
    with db.transaction("worker") as session:
        erasure.go_on(session, request_id=people[1].request_id, now=DUE)
    now = DUE
    with watched(fate):
        for turn in range(90):
            now += 3 * MINUTE if turn < 40 else HOUR
            try:
                Worker(Clock(now), (erasures(eraser),), name="AB"[turn % 2]).catch_up()
            except Killed:
                db.engine("worker").dispose()
            send_letters(now)
            if all(row(each.request_id)["state"] == "erased" for each in people):
                break
    assert {row(each.request_id)["state"] for each in people} == {"erased"}, [steps(each.request_id) for each in people]
    assert len(fate.hits) >= (2 if "call" in boundary else 12), (
        "the game has to hit every boundary, or it proves nothing"
    )
    for each in people:
        seen, audited, _, ledgered = told(each.request_id)
        assert (
            audited.count("erasure begun") == audited.count("erasure ended") == audited.count("erasure certified") == 1
        )
        assert audited.count("erasure step proven") == len(TWO) + 2 and ledgered == 2
        assert [seen.count(("", what, "", "")) for what in ("begun", "ended")] == [1, 1]
        for place in steps(each.request_id):
            assert seen.count((place, "looked", "gone", "")) == 1, "proven once, by reading back"
    assert rows("select count(*), count(distinct erasure_id) from privacy.erasure_certificate") == [(4, 4)]
    assert rows("select count(*) from privacy.erasure_step where state <> 'proven'") == [(0,)]
    gone = [id_of(each) for each in ("asha", "cleo", "vera", "viktor")]
    assert rows("select (select count(*) from platform.student where id = any(:ids)) + (select count(*) from platform.visitor where id = any(:ids))"
                " + (select count(*) from platform.enrollment where student_id = any(:ids))", ids=gone) == [(0,)]  # fmt: skip
    assert fingerprint("ben") == ben
    with db.transaction("worker") as session:
        assert audit.verify(session).sound
