"""What a file is made from is read in one round trip, behind the lock on it, and is what the parts that it replaces would say."""

import uuid

import pytest
from sqlalchemy import Connection, text

from core import db
from core.policy import in_force, listed_processors
from core.privacy import export_wanted
from core.processors.local import known
from core.processors.protocol import Person
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import act, file, on, rows, verified
from tests.core.privacy.test_export_hostile import ADDED

pytestmark = pytest.mark.usefixtures("house")


@pytest.mark.parametrize(("whom", "kind"), [("asha", "student"), ("vera", "visitor")])
def test_everything_at_once_is_what_it_is_one_by_one(whom: str, kind: str) -> None:
    with db.transaction("worker") as session:
        session.execute(text(ADDED), {"names": ["Ann", "Bea"], "asha": id_of("asha")})
    filed = verified("access", **{f"{kind}_id": id_of(whom)})
    with db.transaction("worker") as session:
        wanted = export_wanted.begin(session, filed.request_id, NOW)
        assert wanted is not None
        assert wanted.person == known(session, Person(kind, id_of(whom), filed.request_id))
        assert len(wanted.person.forms) == (2 if kind == "student" else 1)
        assert wanted.rules == in_force(session, NOW)
        assert wanted.listed == listed_processors(session, wanted.rules.version)
        assert (wanted.stage, wanted.rows, wanted.round) == ("to build", {}, 0)
        assert (wanted.student_id or wanted.visitor_id, wanted.kind) == (id_of(whom), "access")


def test_its_row_is_locked_and_there_is_none_of_what_may_not_be_made() -> None:
    early, filed, deleted = file("access"), verified("export", student_id=id_of("asha")), uuid.uuid4()
    with db.transaction("worker") as session:
        assert export_wanted.begin(session, deleted, NOW) is None
        unproven = export_wanted.begin(session, early.request_id, NOW)
        assert unproven is not None
        assert unproven.stage is None, "the identity is not confirmed"
        export_wanted.begin(session, filed.request_id, NOW)
        with db.transaction("worker") as other:
            free = other.scalars(text("select request_id from privacy.export for update skip locked")).all()
    assert filed.request_id not in free
    assert [each[0] for each in rows("select request_id from privacy.export")] == [filed.request_id]
    act("withdraw_request", "omar", reason="by the person", **on(filed))
    with db.transaction("worker") as session:
        closed = export_wanted.begin(session, filed.request_id, NOW)
        assert closed is not None
        assert (closed.closed, closed.state, closed.stage) == (True, "withdrawn", None)


def test_somebody_who_is_not_there_any_more_is_still_whom_it_is_about(owner: Connection) -> None:
    filed = verified("access", visitor_id=id_of("viktor"))
    owner.execute(text("set session_replication_role = replica"))
    owner.execute(text("delete from platform.visitor where id = :id"), {"id": id_of("viktor")})
    owner.commit()
    with db.transaction("worker") as session:
        wanted = export_wanted.begin(session, filed.request_id, NOW)
    assert wanted is not None
    assert wanted.person is not None
    assert (wanted.person.email_hash, wanted.person.forms) == (None, (id_of("viktor"),))
