"""Closed requests with all that hangs on them, certificates and released holds go three years after their end, and nothing else."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, text
from sqlalchemy.exc import DBAPIError

from core import db, jobs, queries
from core.models.base import Base
from core.models.ways import references
from core.privacy import retention_proof
from core.worker import Worker
from tests.cast import NOW, id_of, snapshot
from tests.core.privacy.house_of_erasures import Clock
from tests.core.privacy.house_of_requests import DAY, lines, rows, staff
from tests.core.privacy.test_retention import held

pytestmark = pytest.mark.usefixtures("house")
OLD, YOUNG = NOW - timedelta(days=3 * 366 + 5), NOW - timedelta(days=3 * 365 - 5)
JOBS = tuple(job for job in jobs.JOBS if job.kind == "retention")
NAMES = (retention_proof.REQUESTS, retention_proof.CERTIFICATES, retention_proof.HOLDS)


def work(now: datetime = NOW) -> dict[str, dict[str, int]]:
    """Let a worker do all of retention that is due; what it did about proof."""
    done = Worker(Clock(now), JOBS).catch_up()
    return {each.key: dict(each.counts) for each in done if each.key in NAMES and each.counts}


def do(statement: str, **given: Any) -> None:
    with db.transaction("worker") as session:
        session.execute(text(statement), given)


def closed(at: datetime, kind: str = "access", **whose: uuid.UUID) -> uuid.UUID:
    """A request that was closed at some time, with its moves, its words and a letter, as an import brings them."""
    made = uuid.uuid4()
    state = "erased" if kind == "delete" else "answered"
    do("insert into privacy.request (id, kind, student_id, visitor_id, state, received_at, filed_at, due_at, closed_at, source)"
       " values (:id, :kind, :student, :visitor, :state, :at, :at, :at, :at, 'test')",
       id=made, kind=kind, state=state, at=at, student=whose.get("student"), visitor=whose.get("visitor"))  # fmt: skip
    do("insert into privacy.request_move (request_id, version, from_state, to_state, moved_at) values (:id, 2, 'verified', :state, :at)",
       id=made, state=state, at=at)  # fmt: skip
    do("insert into privacy.request_text (id, request_id, student_id, what, body, written_at) values (:new, :id, :student, 'words', 'please', :at)",
       new=uuid.uuid4(), id=made, student=whose.get("student"), at=at)  # fmt: skip
    letter(made, at, "sent")
    return made


def letter(request: uuid.UUID, at: datetime, state: str) -> None:
    do("insert into privacy.outbox (id, dedupe_key, request_id, kind, template_version, subject, body, not_before, written_at, state, sent_at)"
       " values (:new, :key, :id, 'answer', 0, 's', 'b', :at, :at, :state, :sent)",
       new=uuid.uuid4(), key=f"t {uuid.uuid4()}", id=request, at=at, state=state, sent=at if state == "sent" else None)  # fmt: skip


def erased(at: datetime) -> tuple[uuid.UUID, uuid.UUID]:
    """A deletion that ended in an erasure, with a step, evidence, a finding and a certificate; nobody in it."""
    request, erasure, step = closed(at, "delete"), uuid.uuid4(), uuid.uuid4()
    given = {"request": request, "erasure": erasure, "step": step, "at": at, "n": uuid.uuid4().int % 10**9}
    do("insert into privacy.erasure (id, request_id, kind, next_at, made_at, begun_at) values (:erasure, :request, 'student', :at, :at, :at)", **given)  # fmt: skip
    do("insert into privacy.erasure_step (id, erasure_id, phase, what, place, key, state, next_at, erased_at, proven_at)"
       " values (:step, :erasure, 3, 'database', 'here', cast(:step as text), 'proven', :at, :at, :at)", **given)  # fmt: skip
    do("insert into privacy.erasure_evidence (id, erasure_id, step_id, at, what) values (gen_random_uuid(), :erasure, :step, :at, 'looked')", **given)  # fmt: skip
    do("insert into privacy.erasure_finding (id, erasure_id, place_table, place_column, place_row, trace, sure, found_at, verdict, judged_at)"
       " values (gen_random_uuid(), :erasure, 't', 'c', 'r', 'name', false, :at, 'gone', :at)", **given)  # fmt: skip
    columns = Base.metadata.tables["privacy.erasure_certificate"].c
    known = {"id": uuid.uuid4(), "number": given["n"], "erasure_id": erasure, "issued_at": at}
    more = {c.name: filler(c) for c in columns if c.name not in known and not c.nullable and c.server_default is None}
    with db.transaction("worker") as session:
        session.execute(Base.metadata.tables["privacy.erasure_certificate"].insert().values(known | more))
    do("update privacy.erasure set finished_at = :at where id = :erasure", **given)
    return request, erasure


def filler(column: Any) -> Any:
    """A value of the column's kind."""
    kind = column.type.python_type
    return {str: "x", bytes: b"x", dict: {}, int: 1}[kind]


def requests_left() -> set[uuid.UUID]:
    return {each for (each,) in rows("select id from privacy.request where source = 'test'")}


def state_of(name: str, now: datetime = NOW) -> Any:
    omar = staff("omar")
    with db.transaction(staff_id=omar.id, session_id=omar.session_id) as session:
        return next(each for each in queries.retention(session, now=now, exact=True).rules if each.rule.name == name)


def hanging(table: Table) -> set[str]:
    """Every table whose rows hang on a row of this one, however far."""
    found = set[str]()
    for key in references(table):
        if key.table.fullname not in found:
            found |= {key.table.fullname, *hanging(key.table)}
    return found


def test_of_every_table_that_hangs_on_a_request_it_is_known_whether_it_goes_or_keeps() -> None:
    known = {*retention_proof.WITH_A_REQUEST, *retention_proof.KEEP_A_REQUEST} - {"privacy.artifact"}
    assert hanging(Base.metadata.tables["privacy.request"]) == known
    order = list(retention_proof.WITH_A_REQUEST)
    for table in order:
        for key in references(Base.metadata.tables[table]):
            other = key.table.fullname
            assert other in retention_proof.KEEP_A_REQUEST or other not in order or order.index(other) < order.index(table), (
                f"{other} before {table}"
            )  # fmt: skip


def test_what_ended_three_years_ago_goes_whole_and_what_is_younger_stays_whole(owner: Connection) -> None:
    old, young = closed(OLD, student=id_of("cleo")), closed(YOUNG, student=id_of("cleo"))
    of_nobody, erasure = erased(OLD)
    kept, kept_erasure = erased(YOUNG)
    before = snapshot(owner, "ben")
    owner.rollback()
    assert (state_of(NAMES[0]).due, state_of(NAMES[0]).oldest, state_of(NAMES[0]).state) == (1, OLD, "late"), (
        "the other one waits for its certificate"
    )
    assert (state_of(NAMES[1]).due, state_of(NAMES[1]).oldest) == (1, OLD)
    assert state_of("audit").rule.by == "", "lines of the audit are a chain"
    went = work()
    assert went[NAMES[1]] == {"certificates": 1}
    assert went[NAMES[0]]["requests"] == 2, "the certificate of one of them had to go before"
    assert requests_left() == {young, kept} and not {old, of_nobody} & requests_left()
    for table in ("request_move", "request_text", "outbox"):
        theirs = {each for (each,) in rows(f"select request_id from privacy.{table} where request_id is not null")}
        assert theirs == {young, kept}, table
    for table in ("erasure_step", "erasure_evidence", "erasure_finding", "erasure_certificate"):
        assert rows(f"select erasure_id from privacy.{table}") == [(kept_erasure,)], table
    assert rows("select id from privacy.past_erasure") == [(erasure,)]
    assert rows("select unknown from privacy.compared(array[cast(:a as uuid), cast(:b as uuid)], '{}')", a=erasure, b=kept_erasure) == [([],)], (
        "the ledger outside still finds both: this database is no restored one"
    )  # fmt: skip
    stranger = uuid.uuid4()
    assert rows("select unknown from privacy.compared(array[cast(:a as uuid)], '{}')", a=stranger) == [([stranger],)]
    assert (
        sum(
            counts.get("requests", 0)
            for (counts,) in rows("select counts from privacy.retention_run where rule = :r", r=NAMES[0])
        )
        == 2
    )
    assert lines().count("retention run") >= 3
    assert (state_of(NAMES[0], NOW).due, state_of(NAMES[0]).state) == (0, "nothing due")
    after = snapshot(owner, "ben")
    assert after | {"email_log": before["email_log"]} == before, "mail goes by a rule of its own"


@pytest.mark.parametrize(
    "why",
    ["hold", "restriction", "objection", "opt_out", "lapse", "letter", "step", "propagation"],
)
def test_a_request_stays_while_something_keeps_it(why: str) -> None:
    mine, goes = closed(OLD, student=id_of("cleo")), closed(OLD, student=id_of("asha"))
    given = {"id": mine, "cleo": id_of("cleo"), "new": uuid.uuid4(), "omar": id_of("omar"), "at": OLD}
    if why == "hold":
        with held(student_id=id_of("cleo")):
            assert work()[NAMES[0]]["requests"] == 1 and requests_left() == {mine}
            assert (state_of(NAMES[0]).held, state_of(NAMES[0]).due) == (1, 0)
        assert work(NOW + DAY)[NAMES[0]]["requests"] == 1 and requests_left() == set()
        return
    if why in ("restriction", "objection", "opt_out", "lapse"):
        table = Base.metadata.tables[f"privacy.{why}"]
        known = {"id": given["new"], "request_id": mine, "student_id": given["cleo"]}
        picked = {"basis": "asked", "since": OLD, "ended_on": OLD.date(), "found_at": OLD, "notice_key": "k"}
        more = {name: value for name, value in picked.items() if name in table.c}
        with db.transaction("worker") as session:
            session.execute(table.insert().values(known | more))
    elif why == "letter":
        letter(mine, OLD, "failed")
    elif why == "step":
        do("insert into privacy.manual_step (id, key, request_id, processor, what, due_on, made_at)"
           " values (:new, 'k', :id, 'Vercel', 'erase', cast(:at as date), :at)", **given)  # fmt: skip
    else:
        do("insert into privacy.propagation (id, request_id, what, processor, planned_at) values (:new, :id, 'marketing off', 'SMTP', :at)", **given)  # fmt: skip
    assert work()[NAMES[0]]["requests"] == 1
    assert requests_left() == {mine} and goes not in requests_left()
    assert rows("select count(*) from privacy.request_text where request_id = :id", id=mine) == [(1,)], (
        "whole, or not at all"
    )


def test_a_released_hold_goes_three_years_after_its_release_and_one_that_stands_never() -> None:
    for at in (OLD, YOUNG, None):
        do("insert into privacy.legal_hold (id, form_key, student_id, basis, owner_id, review_on, placed_at, placed_by, released_at, released_by, release_reason)"
           " values (gen_random_uuid(), gen_random_uuid(), :cleo, 'claim of ours', :omar, cast(:placed as date), :placed, :omar, :at, :by, :why)",
           cleo=id_of("cleo"), omar=id_of("omar"), placed=OLD - DAY, at=at, by=at and id_of("omar"), why=at and "claim settled")  # fmt: skip
    assert (state_of(NAMES[2]).due, state_of(NAMES[2]).oldest) == (1, OLD)
    assert work()[NAMES[2]] == {"holds": 1}
    assert rows("select released_at from privacy.legal_hold order by 1 nulls last") == [(YOUNG,), (None,)]


def test_the_database_keeps_what_is_younger_whoever_asks() -> None:
    request, erasure = erased(YOUNG)
    for table, where in (
        ("request", f"id = '{request}'"),
        ("request_move", f"request_id = '{request}'"),
        ("erasure_evidence", f"erasure_id = '{erasure}'"),
        ("erasure_step", f"erasure_id = '{erasure}'"),
        ("erasure", f"id = '{erasure}'"),
        ("erasure_certificate", f"erasure_id = '{erasure}'"),
    ):
        with pytest.raises(DBAPIError, match=r"three years|does not change"):
            do(f"delete from privacy.{table} where {where}")
