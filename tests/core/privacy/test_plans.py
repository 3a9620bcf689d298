"""Plans: generic over labels, the same for everybody, and moved by what matters only."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Column, Connection, Text, text

from core import db
from core.errors import BadInput, NotFound, Refused
from core.models.base import Base
from core.models.labels import Category, label
from core.privacy.plans import Plan, demand_whole, plan_for
from core.processors import registry
from core.processors.local import Local
from tests.cast import NOW, id_of
from tests.core.privacy import house_of_requests as requests

pytestmark = pytest.mark.usefixtures("house")


def plan(name: str = "asha", *, by: str | None = None, now: datetime = NOW, **more: object) -> Plan:
    role = {"staff_id": id_of(by)} if by else {}
    with db.transaction("app" if by else "worker", **role) as session:  # type: ignore[arg-type]
        whose = {"visitor_id" if name in ("vera", "viktor") else "student_id": id_of(name)}
        return plan_for(session, now=now, **whose, **more)  # type: ignore[arg-type]


def hold(**scope: object) -> str:
    given = {"student_id": id_of("asha"), "basis": "court proceedings", "reference": "4 C 12/26", "form_key": uuid.uuid4(),
             "review_on": NOW.date() + timedelta(days=90)}  # fmt: skip
    return str(requests.act("place_hold", "omar", **(given | scope)))


def test_it_says_of_every_table_what_becomes_of_it_why_and_until_when() -> None:
    rows = {row.table: row for row in plan().rows if row.table}
    assert (rows["platform.student"].action, rows["platform.student"].rows) == ("erase row", 1)
    kept = rows["platform.payment"]
    assert (kept.action, kept.columns, kept.reason) == ("keep", ("student_id",), "commercial and tax law")
    assert kept.until.startswith("10 years")
    assert rows["platform.certificate"].processors == ("Cloudinary", "MongoDB Atlas")


def test_it_names_every_processor_and_what_remains_outside() -> None:
    found = plan()
    assert {row.place: row.action for row in found.rows if not row.table} == dict.fromkeys(
        ("Cloudinary", "MongoDB Atlas", "SMTP", "Vercel", "payment gateway"), "by hand"
    )
    told = " ".join(each.what for each in found.remains)
    assert all(word in told for word in ("backups", "mail", "hash", "audit", "ledger"))
    assert all(each.why and each.until for each in found.remains)


def test_it_is_the_same_for_everybody_and_for_everyone() -> None:
    """Nothing in it is about one person: the officer who sees it and the worker who does it compare the same document."""
    assert plan().document == plan(by="omar").document == plan("ben").document
    assert str(id_of("asha")) not in str(plan().document)
    assert plan("vera").document != plan().document


def test_its_fingerprint_is_that_of_its_document() -> None:
    import hashlib
    import json

    found = plan()
    plain = json.dumps(json.loads(json.dumps(found.document)), sort_keys=True, separators=(",", ":"))
    assert found.fingerprint == hashlib.sha256(plain.encode()).hexdigest()
    assert found.short == f"{found.fingerprint[:4]}·{found.fingerprint[4:8]}"


def test_rows_that_come_and_go_do_not_move_it(owner: Connection) -> None:
    before = plan()
    owner.execute(text("delete from platform.certificate"))
    owner.execute(text("insert into platform.subscription (id, student_id, starts_on, source) values (gen_random_uuid(), :a, now(), 'x')"),
                  {"a": id_of("asha")})  # fmt: skip
    owner.commit()
    after = plan(now=NOW + timedelta(days=29))
    assert {row.table: row.rows for row in after.rows} != {row.table: row.rows for row in before.rows}
    assert after.fingerprint == before.fingerprint


def relabel(monkeypatch: pytest.MonkeyPatch, _owner: Connection) -> None:
    column = Base.metadata.tables["platform.student_profile"].c["headline"]
    monkeypatch.setitem(column.info, "privacy", label(Category.CONTACT, "headline")["privacy"])


def configure(monkeypatch: pytest.MonkeyPatch, _owner: Connection) -> None:
    monkeypatch.setattr(registry, "_makers", {"Vercel": Local})


def publish(_patch: pytest.MonkeyPatch, owner: Connection) -> None:
    owner.execute(text("set session_replication_role = replica"))  # otherwise two people publish
    owner.execute(
        text(
            "insert into privacy.policy_version select 'next', :at, :now, document from privacy.policy_version order by effective_at desc limit 1"
        ),
        {"at": NOW - timedelta(days=1), "now": NOW},
    )
    owner.commit()


def list_another(_patch: pytest.MonkeyPatch, owner: Connection) -> None:
    owner.execute(text("set session_replication_role = replica"))  # a published version does not change
    owner.execute(
        text(
            "update privacy.policy_version set document = jsonb_set(document, '{processors,5}', '{\"name\": \"Newsletter Ltd\"}')"
        )
    )
    owner.commit()


def add_by_hand(_patch: pytest.MonkeyPatch, owner: Connection) -> None:
    owner.execute(text("alter table platform.student add nickname text"))
    owner.commit()


def hold_one(_patch: pytest.MonkeyPatch, _owner: Connection) -> None:
    hold(table="platform.code_review", record_id=id_of("asha review"))


@pytest.mark.parametrize("change", [relabel, configure, publish, list_another, add_by_hand, hold_one])
def test_whatever_matters_moves_it(
    change: Callable[[pytest.MonkeyPatch, Connection], None], monkeypatch: pytest.MonkeyPatch, owner: Connection
) -> None:
    before = plan()
    change(monkeypatch, owner)
    assert plan().fingerprint != before.fingerprint


def test_a_pinned_policy_and_a_waived_grace_are_part_of_it(monkeypatch: pytest.MonkeyPatch, owner: Connection) -> None:
    before = plan()
    publish(monkeypatch, owner)
    assert plan(policy_version=before.policy_version).fingerprint == before.fingerprint
    assert plan(policy_version=before.policy_version, early=True).fingerprint != before.fingerprint


def test_a_new_labeled_column_is_in_the_plan_at_once(monkeypatch: pytest.MonkeyPatch, owner: Connection) -> None:
    table = Base.metadata.tables["platform.subscription"]
    owner.execute(text("alter table platform.subscription add coupon text"))
    owner.commit()
    column = Column("coupon", Text, info=label(Category.INTEREST, "coupon"))
    table.append_column(column)
    try:
        found = plan()
        assert found.problems == ()
        assert "visitor interest" in next(row for row in found.rows if row.table == "platform.subscription").categories
    finally:
        table._columns.remove(column)  # type: ignore[attr-defined]


def test_a_column_without_a_label_blocks(owner: Connection) -> None:
    demand_whole(plan())
    owner.execute(text("alter table platform.student add nickname text"))
    owner.commit()
    found = plan()
    assert found.problems == ("platform.student.nickname is not in the data map",)
    with pytest.raises(Refused, match="nickname"):
        demand_whole(found)


def test_a_plan_with_a_problem_is_not_put_up_for_approval(owner: Connection) -> None:
    filed = requests.verified()
    owner.execute(text("alter table platform.student add nickname text"))
    owner.commit()
    with pytest.raises(Refused, match="data map is not complete"):
        requests.act("close_account", "omar", **requests.on(filed))
    assert requests.row(filed.request_id)["state"] == "verified"


def test_a_hold_on_one_record_shows_with_what_it_points_to() -> None:
    number = hold(table="platform.code_review", record_id=id_of("asha review"))
    found = plan()
    held = {row.title: (row.action, row.below) for row in found.rows if row.held and row.table}
    assert held == {
        "code review": ("erase row", False),
        "submission": ("erase row", True),
        "enrollment": ("erase row", True),
        "student": ("erase row", True),
        "legal hold": ("keep", False),
    }
    assert {row.place: (row.action, row.held) for row in found.rows if not row.table and row.held} == {
        "MongoDB Atlas": ("hold", (number,))
    }
    assert not found.held_whole
    assert found.document["holds"] == [
        {"number": number, "table": "platform.code_review", "record": str(id_of("asha review"))}
    ]


def test_a_hold_on_a_table_and_on_everything() -> None:
    hold(table="platform.payment")
    found = {row.title: row.action for row in plan().rows}
    assert found["payment"] == found["payment gateway"] == "hold"
    assert found["certificate"] == "erase row"
    hold()
    assert plan().held_whole
    assert {row.action for row in plan().rows} == {"hold"}


def test_nobody_and_what_is_not_open_get_one_answer() -> None:
    with pytest.raises(NotFound) as hidden:
        plan("cleo", by="omar")
    with pytest.raises(NotFound) as unknown, db.transaction(staff_id=id_of("omar")) as session:
        plan_for(session, student_id=uuid.uuid4(), now=NOW)
    assert hidden.value.sentence == unknown.value.sentence
    with pytest.raises(BadInput), db.transaction("worker") as session:
        plan_for(session, now=datetime.now(UTC))
