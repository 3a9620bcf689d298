"""Who may touch the rows of requests with bare SQL as the dashboard, with no guard in Python between."""

import uuid
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core import db
from tests.cast import NOW, ROLES, id_of
from tests.core.privacy.house_of_requests import act, closed, file, on, row, rows, staff, verified, waiting

pytestmark = pytest.mark.usefixtures("house")

OTHERS = [name for name in ROLES if name != "omar"]
TABLES = (
    "request",
    "request_move",
    "request_clock",
    "request_text",
    "deletion_plan",
    "plan_view",
    "approval",
    "propagation",
    "outbox",
)
# What an officer may add: columns and values besides id; :me is whoever asks.
ADDED = {
    "request_clock": ("request_id, version, what, at, set_by", ":request, 99, 'stop', :now, :me"),
    "request_text": ("request_id, what, body, written_by, written_at", ":request, 'note', 'x', :me, :now"),
    "deletion_plan": ("request_id, fingerprint, policy_version, document, made_at, made_by", ":request, 'x', 'x', '{}', :now, :me"),
    "plan_view": ("request_id, fingerprint, staff_id, viewed_at", ":request, 'x', :me, :now"),
    "approval": ("request_id, fingerprint, staff_id, reason, approved_at", ":request, 'x', :me, 'x', :now"),
    "propagation": ("request_id, what, processor, planned_at", ":request, 'x', 'x', :now"),
    "outbox": ("dedupe_key, request_id, kind, template_version, subject, body, not_before, written_at, written_by",
               "'x', :request, 'x', 0, 'x', 'x', :now, :now, :me"),
}  # fmt: skip


def tried(name: str, statement: str, **values: Any) -> str:
    """Why a statement of a member of staff is refused ("0 rows": nothing was there for them); "" when it went through."""
    try:
        with db.transaction(staff_id=id_of(name)) as session:
            done = session.execute(text(statement), {"now": NOW, "me": id_of(name), "id": uuid.uuid4()} | values)
            return "" if done.rowcount else "0 rows"  # type: ignore[attr-defined]
    except DBAPIError as error:
        return str(error.orig)


def added(table: str) -> str:
    columns, values = ADDED[table]
    return f"insert into privacy.{table} (id, {columns}) values (:id, {values})"


@pytest.mark.parametrize("name", ROLES)
def test_only_officers_see_and_add_rows_of_requests(name: str) -> None:
    filed = waiting()
    for table in TABLES:
        with db.transaction(staff_id=id_of(name)) as session:
            seen = session.scalar(text(f"select count(*) > 0 from privacy.{table}"))
        assert seen == (name == "omar" and table != "request_text"), f"{name} in {table}"
    for table in ADDED:
        answer = tried(name, added(table), request=filed.request_id)
        assert (answer == "") == (name == "omar"), (name, table, answer)
        assert name == "omar" or "row-level security" in answer


def test_an_officer_writes_in_their_own_name_only() -> None:
    filed = file()
    for table, (columns, _) in ADDED.items():
        if table != "propagation":
            assert "row-level security" in tried("omar", added(table), request=filed.request_id, me=id_of("olga")), (
                columns
            )


@pytest.mark.parametrize("name", OTHERS)
def test_nobody_else_changes_a_request_or_an_account(name: str) -> None:
    filed = verified()
    for statement in (
        "update privacy.request set owner_id = :me where id = :request",
        "update privacy.request set state = 'withdrawn', closed_at = :now, moved_at = :now where id = :request",
        "update privacy.outbox set state = 'canceled'",
        "update privacy.propagation set state = 'canceled'",
        "update platform.student set account_status = 'closed', closed_at = :now where id = :cleo",
        "delete from privacy.request where id = :request",
    ):
        assert tried(name, statement, request=filed.request_id, cleo=id_of("cleo")), statement
    assert row(filed.request_id)["state"] == "verified"
    assert rows("select account_status from platform.student where id = :id", id=id_of("cleo")) == [("open",)]


def test_an_officer_touches_the_account_of_an_open_deletion_only_and_nothing_but_its_closing() -> None:
    shut = "update platform.student set account_status = 'closed', closed_at = :now where id = :who"
    filed = file()
    for name in ("asha", "ben", "cleo"):
        assert tried("omar", shut, who=id_of(name)) == "0 rows", name
    act("record_identity", "omar", method="known in person", confirmed=True, **on(filed))
    assert tried("omar", shut, who=id_of("ben")) == "0 rows"
    for column in ("name = 'x'", "email = 'x@example.org'", "email_hash = 'x'"):
        assert "permission denied" in tried(
            "omar", f"update platform.student set {column} where id = :who", who=id_of("cleo")
        )
    assert tried("omar", shut, who=id_of("cleo")) == ""


def test_the_identity_opens_with_the_case_and_closes_with_it() -> None:
    def seen(name: str = "omar") -> set[str]:
        with db.transaction(staff_id=id_of(name)) as session:
            return set(session.scalars(text("select name from platform.student")))

    assert seen() == {"Asha Example"}
    filed = closed(by="olga")
    assert seen() == {"Asha Example", "Cleo Example"}
    act("reactivate_account", staff("olga"), reason="closed by mistake", **on(filed))
    assert seen() == {"Asha Example"}


def test_whoever_handed_a_request_on_reads_it_through_one_function_without_its_state() -> None:
    act(
        "withdraw_request",
        "omar",
        reason="by the person",
        **on(file("access", by="ines", email="cleo@students.example")),
    )
    with db.transaction(staff_id=id_of("ines")) as session:
        assert len(session.execute(text("select * from privacy.handed_on()")).all()) == 1
    with db.transaction(staff_id=id_of("marek")) as session:
        assert session.execute(text("select * from privacy.handed_on()")).all() == []
        assert session.execute(text("select * from privacy.person_of('x')")).all() == []
        assert (
            session.execute(
                text("select * from privacy.request_figures(now() - interval '9 years', now(), now())")
            ).all()
            == []
        )
