"""This database as a processor: counts, erasure child before parent, read-back; what a hold spares; what is not labeled."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Column, Connection, ForeignKey, Table, Text, Uuid, text
from sqlalchemy.exc import DBAPIError

from core import db
from core.models.base import Base
from core.models.labels import Category, Erasure, about, label, technical
from core.models.ways import fates
from core.processors import local
from core.processors.local import Local
from core.processors.protocol import Became, Order, Person, Processor, Proof, Spared
from tests import cast
from tests.cast import NOW, id_of

ASHA = Person("student", id_of("asha"))
KNOWN = {  # new tables may join them: nothing else here names one
    "code_review", "usage_event", "submission", "result", "module_progress", "certificate", "request", "consent", "enrollment",
    "email_log", "guardian", "subscription", "student_profile", "payment", "student",
}  # fmt: skip


def order(person: Person = ASHA, *, at_most: int = 5000, spared: tuple[Spared, ...] = ()) -> Order:
    return Order(person, "key", spared, at_most)


def erase(what: Order) -> list[Became]:
    """Erase until there is no more; what came of each call, each in its own transaction."""
    became = []
    while True:
        with db.transaction("worker") as session:
            became.append(Local().erase(session, what, now=NOW).became)
        if became[-1] is not Became.MORE:
            return became


def counted(person: Person = ASHA) -> dict[str, int]:
    """What there is about somebody, by the short names of tables."""
    with db.transaction("worker") as session:
        return {table.split(".")[1]: number for table, number in local.counts(session, person).items() if number}


def verified(what: Order):
    with db.transaction("worker") as session:
        return Local().verify(session, what, now=NOW)


@pytest.fixture
def hobby(house: str, owner: Connection) -> Iterator[Table]:
    """A new table with labels, in the models and in the database, and nowhere else."""
    table = Table(
        "hobby",
        Base.metadata,
        Column("id", Uuid, primary_key=True, info=technical()),
        Column("student_id", Uuid, ForeignKey("platform.student.id"), info=technical()),
        Column("name", Text, info=label(Category.PROFILE, "hobby")),
        schema="platform",
        info=about(reaches="student_id", erasure=Erasure.ROW),
    )
    owner.execute(
        text(
            "create table platform.hobby (id uuid primary key, student_id uuid references platform.student (id), name text)"
        )
    )
    owner.execute(text("grant select, delete on platform.hobby to resocode_worker, resocode_definer"))
    for name in ("asha", "ben"):
        owner.execute(
            text("insert into platform.hobby values (:id, :who, 'chess')"), {"id": uuid.uuid4(), "who": id_of(name)}
        )
    owner.commit()
    yield table
    Base.metadata.remove(table)


def test_it_keeps_the_protocol() -> None:
    assert isinstance(Local(), Processor)


def test_the_preview_counts_every_table(house: str) -> None:
    with db.transaction("worker") as session:
        found = Local().preview(session, ASHA, now=NOW)
    assert found.complete
    assert [line.what for line in found.lines] == [fate.table for fate in fates("student")]
    assert {line.what.split(".")[1] for line in found.lines if line.rows} >= KNOWN
    assert {line.rows for line in found.lines} >= {0, 1}


def test_a_privacy_officer_gets_the_counts_of_an_open_case_and_of_no_other(house: str) -> None:
    def seen(name: str, person: str) -> dict[str, int]:
        with db.transaction(staff_id=id_of(name)) as session:
            return local.counts(session, Person("student", id_of(person)))

    assert {table.split(".")[1]: number for table, number in seen("omar", "asha").items() if number} == counted()
    assert seen("omar", "cleo") == {}
    assert [seen(name, "asha") for name in ("paula", "ines", "ada", "aiko")] == [{}] * 4


@pytest.mark.parametrize(
    "links",
    [
        [["platform.certificate", "id", "platform.student", "id"]],
        [["platform.certificate", "enrollment_id", "platform.enrollment", "id"]],
        [["platform.certificate", "enrollment_id", "platform.enrollment", "id"], ["platform.student", "id", "platform.student", "id"]],
        [["platform.certificate", "enrollment_id = t.id or true --", "platform.student", "id"]],
    ],
)  # fmt: skip
def test_counts_follow_real_foreign_keys_only(house: str, links: list[list[str]]) -> None:
    import json

    ways = json.dumps([{"table": "platform.certificate", "person": "student", "links": links}])
    with pytest.raises(DBAPIError), db.transaction(staff_id=id_of("omar")) as session:
        session.execute(
            text("select * from privacy.person_rows(cast(:w as jsonb), :id, null)"), {"w": ways, "id": id_of("asha")}
        )


@pytest.mark.parametrize("at_most", [5000, 1, 3])
def test_a_person_is_erased_in_parts_and_the_bystander_stays(house: str, owner: Connection, at_most: int) -> None:
    ben = cast.snapshot(owner, "ben")
    owner.rollback()
    rows = sum(counted().values())
    with db.transaction("worker") as session:
        what = order(local.known(session, ASHA), at_most=at_most)
    assert not verified(what).absent
    became = erase(what)
    assert became[-1] in (Became.DONE, Became.GONE) and len(became) == rows // at_most + 1
    assert counted() == {}
    assert verified(what).absent
    assert erase(what) == [Became.GONE]
    assert cast.snapshot(owner, "ben") == ben
    payment = owner.execute(text("select student_id, tombstone_id, amount_cents from platform.payment where id = :id"),
                            {"id": id_of("asha payment")}).one()  # fmt: skip
    assert (payment.student_id, payment.amount_cents) == (None, 4900)
    assert (
        owner.scalar(text("select erased_at from platform.tombstone where id = :id"), {"id": payment.tombstone_id})
        == NOW
    )
    request = owner.execute(
        text("select student_id, kind from privacy.request where id = :id"), {"id": id_of("asha request")}
    )
    assert tuple(request.one()) == (None, "access")


def test_forms_left_with_the_same_address_go_too(house: str, owner: Connection) -> None:
    owner.execute(text("update platform.visitor set email_hash = (select email_hash from platform.student where id = :asha) where id = :vera"),
                  {"asha": id_of("asha"), "vera": id_of("vera")})  # fmt: skip
    owner.commit()
    assert counted()["visitor"] == counted()["visitor_device"] == 1
    erase(order())
    assert list(owner.scalars(text("select id from platform.visitor"))) == [id_of("viktor")]


def test_a_visitor_is_erased_without_the_student(house: str, owner: Connection) -> None:
    assert erase(order(Person("visitor", id_of("vera")))) == [Became.DONE]
    assert list(owner.scalars(text("select id from platform.visitor"))) == [id_of("viktor")]
    assert owner.scalar(text("select count(*) from platform.student")) == 3


def test_a_held_record_stays_with_all_that_it_points_to(house: str) -> None:
    held = order(spared=(Spared("platform.code_review", id_of("asha review")),))
    assert erase(held) == [Became.DONE]
    assert set(counted()) == {"code_review", "submission", "enrollment", "student"}
    assert verified(held).absent, "all but what is held is gone"
    assert set(verified(order()).found) == {f"platform.{name}" for name in counted()}
    assert erase(order())[-1] is Became.DONE, "the hold is released: the rest goes"
    assert counted() == {}


def test_a_held_table_stays_and_everything_held_waits(house: str) -> None:
    erase(order(spared=(Spared("platform.payment"),)))
    assert set(counted()) == {"payment", "student"}
    with db.transaction("worker") as session:
        found = Local().erase(session, order(spared=(Spared(),)), now=NOW)
    assert (found.became, found.error) == (Became.WAITING, "held")
    assert set(counted()) == {"payment", "student"}


def test_a_new_table_is_previewed_erased_and_verified_without_other_changes(hobby: Table, owner: Connection) -> None:
    assert counted()["hobby"] == 1
    what = order()
    assert verified(what).found["platform.hobby"] == 1
    erase(what)
    assert list(owner.scalars(text("select student_id from platform.hobby"))) == [id_of("ben")]


def test_a_column_without_a_label_stops_the_erasure(house: str, owner: Connection) -> None:
    owner.execute(text("alter table platform.student_profile add nickname text"))
    owner.commit()
    before = counted()
    with db.transaction("worker") as session:
        found = Local().erase(session, order(), now=NOW)
    assert (found.became, found.error) == (Became.FAILED, "labels")
    assert counted() == before


def test_the_export_tells_everything_by_its_name(house: str) -> None:
    with db.transaction("worker") as session:
        found = Local().export(session, ASHA, now=NOW)
    assert found.complete
    assert found.records["platform.student"][0]["e-mail"] == "asha@students.example"
    assert found.records["platform.module_progress"][0]["score"] == 77
    assert "ben@students.example" not in str(found.records)
    assert {table.split(".")[1] for table in found.records} >= KNOWN


def test_the_app_role_erases_nobody(house: str) -> None:
    with pytest.raises(DBAPIError), db.transaction(staff_id=id_of("omar")) as session:
        Local().erase(session, order(), now=NOW)
    assert set(counted()) >= KNOWN


def test_large_people_go_in_bounded_parts(house: str, owner: Connection) -> None:
    owner.execute(text("insert into platform.usage_event (at, id, enrollment_id, cohort_id, kind, item, clicks, source)"
                       " select :at, gen_random_uuid(), :e, :c, 'page', 'x', 1, 'cast' from generate_series(1, 2500)"),
                  {"at": NOW - timedelta(days=2), "e": id_of("asha enrollment"), "c": id_of("python")})  # fmt: skip
    owner.commit()
    with db.transaction("worker") as session:
        first = Local().erase(session, order(at_most=1000), now=NOW)
    assert first.became is Became.MORE and sum(first.counts.values()) == 1000
    assert erase(order(at_most=1000))[-1] is Became.DONE
    assert counted() == {}


@pytest.mark.usefixtures("house")
def test_the_live_columns_are_asked_for_before_the_first_part_and_before_the_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []
    monkeypatch.setattr(local, "unmapped", lambda session: asked.append(1) or [])
    with db.transaction("worker") as session:
        first = Order(Person("student", id_of("cleo")), "k", at_most=2)
        assert Local().erase(session, first, now=NOW).became is Became.MORE
        assert Local().erase(session, replace(first, begun=True), now=NOW).became is Became.MORE
        assert len(asked) == 1
        Local().verify(session, first, now=NOW)
        assert len(asked) == 2
        monkeypatch.setattr(local, "unmapped", lambda session: ["platform.student.nickname"])
        assert Local().erase(session, first, now=NOW).error == "labels"
        assert Local().verify(session, first, now=NOW) == Proof(None, error="labels"), (
            "a column added meanwhile is seen"
        )
        session.rollback()
