"""The register of processors: written by admins in their own name, version by version; what is missing is said."""

from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core import db, queries
from core.errors import BadInput, Refused, Stale
from core.models.labels import Processor as Named
from core.processors import remote
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_erasures import Store, erased, every_store, stores
from tests.core.privacy.house_of_requests import act, lines, rows, waiting

__all__ = ["every_store", "stores"]
pytestmark = pytest.mark.usefixtures("house")
FILLED: dict[str, Any] = {
    "purpose": "Pictures and files", "legal_basis": "contract", "contract_on": date(2026, 1, 1), "review_by": date(2027, 1, 1),
    "sub_processors": ["Amazon Web Services", " Amazon Web Services ", ""], "transfer_basis": "standard contractual clauses",
    "region": "EU (Dublin)", "contact": "privacy@cloudinary.example",
}  # fmt: skip
EMPTY: dict[str, Any] = {"purpose": "", "legal_basis": "", "contract_on": None, "review_by": None, "sub_processors": [],
                         "transfer_basis": "", "region": "", "contact": ""}  # fmt: skip


def write(by: str = "ada", name: str = "Cloudinary", version: int = 0, **changed: Any) -> Any:
    return act("write_processor_record", by, name=name, version=version, **(FILLED | changed))


def entry(name: str = "Cloudinary", by: str = "ada") -> queries.ProcessorEntry:
    with db.transaction(staff_id=id_of(by)) as session:
        return {each.name: each for each in queries.processor_register(session, now=NOW)}[name]


def test_everybody_whom_policy_or_labels_name_is_there_and_what_is_missing_is_said() -> None:
    with db.transaction(staff_id=id_of("aiko")) as session:
        found = queries.processor_register(session, now=NOW)
    assert [each.name for each in found] == sorted(map(str, Named), key=str.casefold)
    assert all(each.overdue(NOW.date()) and not each.connected and len(each.missing) == 7 for each in found)
    assert {"picture", "certificate link"} <= set(entry().receives) and entry().sent == ()


def test_an_admin_writes_versions_and_only_what_changed_is_told() -> None:
    assert write() == 1
    assert write(version=1) == 1, "nothing new is nothing"
    assert write(version=1, region="EU (Frankfurt)") == 2
    found = entry()
    assert (found.version, found.region, found.missing, found.written_by) == (2, "EU (Frankfurt)", (), "Ada")
    assert found.sub_processors == ("Amazon Web Services",)
    assert not found.overdue(NOW.date()) and found.overdue(date(2027, 1, 2))
    with db.transaction(staff_id=id_of("omar")) as session:
        history = queries.processor_history(session, "Cloudinary")
    assert (history[0].version, history[0].changed) == (2, ("region",))
    assert set(history[1].changed) == {
        "purpose",
        "legal basis",
        "contract",
        "next review",
        "sub-processors",
        "transfer basis",
        "region",
        "contact",
    }
    assert lines().count("processor register changed") == 2


def test_two_admins_do_not_write_over_each_other() -> None:
    write()
    with pytest.raises(Stale):
        write(version=0, purpose="Other")


@pytest.mark.parametrize(
    "wrong",
    [{"name": "Nobody Ltd"}, {"legal_basis": "because"}, {"transfer_basis": "x"}, {"review_by": date(2025, 1, 1)},
     {"purpose": "x" * 501}, {"sub_processors": [str(n) for n in range(101)]}],
    ids=lambda each: next(iter(each)),
)  # fmt: skip
def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        write(**wrong)
    assert rows("select count(*) from privacy.processor_record") == [(0,)]


@pytest.mark.parametrize("who", ["omar", "paula", "aiko", "ines"])
def test_nobody_else_writes_by_verb_or_by_sql(who: str) -> None:
    with pytest.raises(Refused):
        write(who)
    add = ("insert into privacy.processor_record (id, name, version, written_at, written_by) values (gen_random_uuid(), 'x', 1,"
           " now(), :me)")  # fmt: skip
    with pytest.raises(DBAPIError, match="row-level security"), db.transaction(staff_id=id_of(who)) as session:
        session.execute(text(add), {"me": id_of(who)})
    with pytest.raises(DBAPIError, match="row-level security"), db.transaction(staff_id=id_of("ada")) as session:
        session.execute(text(add), {"me": id_of("omar")})


def test_a_version_never_changes_not_even_for_the_worker() -> None:
    write()
    for role, more in (("app", {"staff_id": id_of("ada")}), ("worker", {})):
        for verb in ("update privacy.processor_record set region = 'Mars'", "delete from privacy.processor_record"):
            with pytest.raises(DBAPIError, match="permission denied"), db.transaction(role, **more) as session:
                session.execute(text(verb))


def test_what_was_done_there_is_counted_and_names_nobody(every_store: dict[str, Store]) -> None:
    filed = waiting()
    assert erased(filed.request_id)
    found = entry()
    assert found.verified_at is not None and found.verified_at >= NOW + timedelta(days=30)
    assert (found.connected, found.sent, found.open, found.troubled) == (True, ("id",), 0, False)
    assert entry("MongoDB Atlas").open == 2, "closing the account has to follow there"


def test_a_circuit_that_opened_shows(every_store: dict[str, Store]) -> None:
    def down() -> None:
        raise ConnectionRefusedError

    for _ in range(5):
        with pytest.raises(remote.Trouble), db.transaction("worker") as session:
            remote.guarded_call(session, "Cloudinary", down, now=NOW)
    found = entry(by="omar")
    assert (found.circuit, found.failures, found.error, found.troubled) == ("open", 5, "no connection", True)


@pytest.mark.parametrize("who", ["paula", "ines"])
def test_the_activity_of_processors_is_not_everybodys(who: str) -> None:
    waiting()
    with db.transaction(staff_id=id_of(who)) as session:
        assert session.execute(text("select * from privacy.processor_activity()")).all() == []
