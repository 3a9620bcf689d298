"""The moves of a request are those of ``privacy.transition``, for whoever tries and however: also with bare SQL."""

import itertools
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError

from core import db, embedded
from core.models.requests import FINAL_STATES, OPEN_STATES, REQUEST_KINDS
from tests.cast import NOW, id_of
from tests.core.privacy import house_of_requests as requests

STATES = OPEN_STATES + FINAL_STATES
ACTORS = {"omar": "privacy_officer", "paula": "program_staff", "ada": "admin", "aiko": "auditor", None: "system"}
NO_WAY = ("does not go from", "does not change requests", "is closed; it does not change")

pytestmark = pytest.mark.usefixtures("house")


@contextmanager
def acting_as(name: str | None) -> Iterator[Connection]:
    """A connection that tries things and keeps none: as the dashboard for staff, as the worker for None."""
    with db.engine("app" if name else "worker").connect() as connection, connection.begin() as transaction:
        who = requests.staff(name) if name else None
        connection.execute(text("select set_config('app.staff_id', :id, true), set_config('app.session_id', :session, true)"),
                           {"id": str(who.id) if who else "", "session": str(who.session_id) if who else ""})  # fmt: skip
        yield connection
        transaction.rollback()


def imported(kind: str, state: str) -> uuid.UUID:
    """A request about Vera in any state, as an import brings it."""
    request = uuid.uuid4()
    values = {"id": request, "kind": kind, "state": state, "visitor": id_of("vera"), "now": NOW,
              "closed": NOW if state in FINAL_STATES else None}  # fmt: skip
    with db.transaction("worker") as session:
        session.execute(text(
            "insert into privacy.request (id, kind, visitor_id, state, policy_version, received_at, due_at, moved_at, closed_at, source)"
            " values (:id, :kind, :visitor, :state, '2026-04-20', :now, :now, :now, :closed, 'test')"), values)  # fmt: skip
    return request


def moves_that_exist() -> set[tuple[str, str, str, str]]:
    return {tuple(row) for row in requests.rows("select kind, from_state, to_state, role from privacy.transition")}


def tried(connection: Connection, request: uuid.UUID, state: str) -> str:
    """Why a bare UPDATE is refused; "" when it went through."""
    values = {"id": request, "state": state, "now": NOW, "closed": NOW if state in FINAL_STATES else None}
    move = "update privacy.request set state = :state, moved_at = :now, closed_at = :closed, paused_at = null where id = :id"
    attempt = connection.begin_nested()
    try:
        changed = connection.execute(text(move), values)
    except DBAPIError as error:
        return str(error.orig)
    finally:
        attempt.rollback()
    return "" if changed.rowcount else NO_WAY[1]  # row-level security shows this role no request


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_the_database_knows_exactly_the_moves_of_the_table(kind: str) -> None:
    """Every pair of states, by every kind of actor: up to 550 moves a kind."""
    known = moves_that_exist()
    for state in STATES:
        if state not in {to for of, _, to, _ in known if of == kind}:
            with pytest.raises(DBAPIError, match="does not begin"):
                imported(kind, state)
            continue
        request = imported(kind, state)
        for name, role in ACTORS.items():
            with acting_as(name) as connection:
                for to in STATES:
                    if to == state:
                        continue
                    answer = tried(connection, request, to)
                    refused = any(words in answer for words in NO_WAY)
                    assert refused == ((kind, state, to, role) not in known), (kind, state, to, role, answer)
        if state in OPEN_STATES:
            _put_away(request)


def _put_away(request: uuid.UUID) -> None:
    """Take an open request out of the way of the next one: one is open per kind and person."""
    with db.engine("worker").begin() as connection:
        connection.execute(text("update privacy.request set visitor_id = null where id = :id"), {"id": request})


@contextmanager
def superuser(cluster: embedded.Cluster, name: str) -> Iterator[Connection]:
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(cluster.conninfo(name)))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


ILLEGAL = {
    "approve without anybody": "update privacy.request set state = 'waiting', moved_at = now()",
    "erase at once": "update privacy.request set state = 'erasing', moved_at = now()",
    "call it done": "update privacy.request set state = 'erased', closed_at = now(), moved_at = now()",
    "shorten the grace period": "update privacy.request set grace_ends_at = grace_ends_at - interval '1 day'",
    "close the account earlier": "update privacy.request set account_closed_at = account_closed_at - interval '1 day'",
    "another person": "update privacy.request set student_id = '{ben}'",
    "another kind": "update privacy.request set kind = 'access'",
    "another filer": "update privacy.request set filed_by = null",
    "received later": "update privacy.request set received_at = received_at + interval '9 days'",
    "due later": "update privacy.request set due_at = due_at + interval '9 days'",
    "a waiver that nobody asked for": "update privacy.request set early = true",
    "remove it": "delete from privacy.request",
    "remove all": "truncate privacy.request cascade",
}


@pytest.mark.parametrize("what", ILLEGAL)
def test_what_nobody_may_do_raises_for_every_database_role(what: str, cluster: embedded.Cluster, house: str) -> None:
    filed = requests.closed()
    before = requests.row(filed.request_id)
    where = "" if "truncate" in ILLEGAL[what] else f" where id = '{filed.request_id}'"
    statement = text(ILLEGAL[what].replace("{ben}", str(id_of("ben"))) + where)
    for role in ("app", "worker", "owner", "superuser"):
        opened = superuser(cluster, house) if role == "superuser" else db.engine(role).connect()
        with opened as connection, connection.begin():
            connection.execute(text("select set_config('app.staff_id', :id, true)"),
                               {"id": str(id_of("omar")) if role == "app" else ""})  # fmt: skip
            with pytest.raises(DBAPIError):
                connection.execute(statement)
    assert requests.row(filed.request_id) == before


@pytest.mark.parametrize("table", ["request_move", "request_clock", "deletion_plan", "plan_view", "approval"])
def test_what_happened_is_neither_changed_nor_removed(table: str, cluster: embedded.Cluster, house: str) -> None:
    requests.waiting()
    column = {"request_move": "moved_at", "request_clock": "at", "deletion_plan": "made_at", "plan_view": "viewed_at",
              "approval": "approved_at"}[table]  # fmt: skip
    for statement in (f"update privacy.{table} set {column} = now()", f"delete from privacy.{table}"):
        for opened in (db.engine("worker").connect(), superuser(cluster, house)):
            with opened as connection, pytest.raises(DBAPIError, match=r"append-only|three years"):
                connection.execute(text(statement))


def test_the_transitions_are_changed_by_a_migration_only() -> None:
    for role in ("app", "worker", "owner"):
        for statement in ("update privacy.transition set role = 'anyone'", "delete from privacy.transition",
                          "insert into privacy.transition values ('delete', 'received', 'erased', 'anyone')"):  # fmt: skip
            with db.engine(role).connect() as connection:
                try:
                    changed = connection.execute(text(statement)).rowcount
                except DBAPIError:
                    changed = 0
                assert changed == 0, (role, statement)


def test_an_approval_is_counted_by_the_database_and_not_believed() -> None:
    """Everything that the verb checks, tried with bare SQL as the dashboard: only a second person's real approval counts."""
    filed = requests.closed(by="omar")
    shown = requests.act("open_plan", "olga", request_id=filed.request_id)
    move = text("update privacy.request set state = 'waiting', moved_at = :now where id = :id")
    yes = text("insert into privacy.approval (id, request_id, fingerprint, staff_id, round, reason, approved_at)"
               " values (gen_random_uuid(), :id, :print, :who, privacy.approval_round(:id) + :later, 'x', :now)")  # fmt: skip
    seen = text("insert into privacy.plan_view (id, request_id, fingerprint, staff_id, viewed_at)"
                " values (gen_random_uuid(), :id, :print, :who, :now)")  # fmt: skip

    def tries(
        name: str, *, view: bool, fingerprint: str = shown.fingerprint, fresh: bool = True, later: int = 0
    ) -> str:
        who = requests.staff(name, now=NOW if fresh else NOW - timedelta(minutes=6))
        values: dict[str, Any] = {
            "id": filed.request_id,
            "who": who.id,
            "print": fingerprint,
            "now": NOW,
            "later": later,
        }
        try:
            with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
                if view:
                    session.execute(seen, values)
                session.execute(yes, values)
                session.execute(move, values)
        except DBAPIError as error:
            return str(error.orig)
        return ""

    assert "not approved" in tries("omar", view=True), "closed the account"
    assert "not approved" in tries("oskar", view=False), "has not seen the plan"
    assert "not approved" in tries("oskar", view=True, fingerprint="another"), "another plan"
    assert "not approved" in tries("oskar", view=True, later=1), "another round"
    assert "five minutes" in tries("oskar", view=True, fresh=False), "did not prove who they are"
    assert "row-level security" in tries("paula", view=True), "another role"
    assert requests.row(filed.request_id)["state"] == "to approve"
    assert tries("oskar", view=True) == ""
    assert requests.row(filed.request_id)["state"] == "waiting"


def test_nobody_speaks_for_somebody_else() -> None:
    filed = requests.closed()
    for table, column in (("approval", "staff_id"), ("plan_view", "staff_id")):
        values = {"id": filed.request_id, "who": id_of("oskar"), "now": NOW}
        at = "approved_at, reason" if table == "approval" else "viewed_at"
        given = ":now, 'x'" if table == "approval" else ":now"
        insert = f"insert into privacy.{table} (id, request_id, fingerprint, {column}, {at}) values (gen_random_uuid(), :id, 'x', :who, {given})"
        with pytest.raises(DBAPIError, match="row-level security"), db.transaction(staff_id=id_of("olga")) as session:
            session.execute(text(insert), values)


def test_a_request_begins_as_received_whoever_files_it() -> None:
    columns = "id, kind, student_id, state, received_at, due_at, source"
    insert = f"insert into privacy.request ({columns}) values (gen_random_uuid(), 'delete', :who, 'waiting', :now, :now, 'x')"
    with pytest.raises(DBAPIError, match="permission denied"), db.transaction(staff_id=id_of("omar")) as session:
        session.execute(text(insert), {"who": id_of("ben"), "now": NOW})
    with pytest.raises(DBAPIError, match="does not begin"), db.engine("worker").begin() as connection:
        connection.execute(text("select set_config('app.staff_id', :id, true)"), {"id": str(id_of("omar"))})
        connection.execute(text(insert), {"who": id_of("ben"), "now": NOW})


def test_the_grace_period_is_its_whole_length_to_the_microsecond() -> None:
    filed = requests.waiting()
    ends = requests.row(filed.request_id)["grace_ends_at"]
    assert ends - NOW == timedelta(hours=720)
    move = text("update privacy.request set state = 'erasing', moved_at = :at where id = :id")
    for at, early in ((ends - timedelta(microseconds=1), True), (ends, False)):
        with db.engine("worker").connect() as connection, connection.begin() as transaction:
            if early:
                with pytest.raises(DBAPIError, match="grace period has not ended"):
                    connection.execute(move, {"at": at, "id": filed.request_id})
            else:
                assert connection.execute(move, {"at": at, "id": filed.request_id}).rowcount == 1
            transaction.rollback()


def test_there_is_no_way_back_from_the_point_of_no_return() -> None:
    known = moves_that_exist()
    assert {to for kind, start, to, _ in known if start == "erasing"} == {"erased"}
    assert [move for move in known if move[1] in FINAL_STATES] == []
    assert {role for _, _, to, role in known if to in ("erasing", "erased")} == {"system"}
    assert len(set(itertools.chain.from_iterable((start, to) for _, start, to, _ in known)) - {""}) == len(STATES)
