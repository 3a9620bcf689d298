"""MongoDB as a processor: whom it finds, what it erases, proves, exports and changes, and what goes wrong on the way.

What needs no fault runs against a real server, too, when ``MONGODB_TEST_URI`` is set.
"""

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core import db
from core.models.labels import Processor as Named
from core.processors.mongodb import MongoDB, declared
from core.processors.mongodb_mapping import mapping
from core.processors.protocol import Became, Change, Order, Outcome, Person, Processor, Proof
from core.processors.registry import configured
from tests.cast import NOW, id_of
from tests.core.processors.test_mongodb_mapping import with_change
from tests.doubles.mongo_server import (
    BUSY,
    CONCERN_ERROR,
    DROP_AFTER,
    DROP_BEFORE,
    HANG,
    NOT_PRIMARY,
    PRETEND,
    UNAUTHORIZED,
    WRITE_ERROR,
    Behavior,
    Error,
)
from tests.doubles.platform import HASH, oid, school
from tests.doubles.syncing import SERVERS, Platform, on_server, sync

pytestmark = pytest.mark.usefixtures("house")
CANARY = "kanarienvogel"


@pytest.fixture(params=SERVERS)
def platform(request: pytest.FixtureRequest, house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """Mia and Noah are students of the platform, and synced."""
    for found in on_server(request.param, monkeypatch):
        school(found.db, "mia", "noah")
        assert sync().misfits == 0
        yield found


@pytest.fixture
def double(house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """The same on the double, where things can go wrong."""
    for found in on_server("double", monkeypatch):
        school(found.db, "mia", "noah")
        assert sync().misfits == 0
        yield found


def person(name: str) -> Person:
    """A student of the platform, as this database knows them."""
    with db.transaction("worker") as session:
        found = session.scalar(
            text("select id from platform.student where email = :e"), {"e": f"{name}@platform.example"}
        )
    assert found is not None
    return Person("student", found)


def ask(what: str, *arguments: Any, now: datetime = NOW) -> Any:
    """One call of the processor, in a transaction of the worker."""
    with db.transaction("worker") as session:
        return getattr(MongoDB(), what)(session, *arguments, now=now)


def erase(name: str) -> Outcome:
    found: Outcome = ask("erase", Order(person(name), "key"))
    return found


def verify(name: str) -> Proof:
    found: Proof = ask("verify", Order(person(name), "key"))
    return found


def documents(platform: Platform, name: str) -> dict[str, list[Any]]:
    """Everything in the platform's database that names somebody by id or address, found by a reader of its own: every collection,
    whatever a mapping says."""
    wanted = [str(oid(name)), f"{name}@platform.example", f"P-{name}", f"pay-{name}"]
    found = {}
    for collection in platform.db.list_collection_names():
        rows = [
            row
            for row in platform.db[collection].find()
            if any(each in json.dumps(row, default=str) for each in wanted)
        ]
        if rows:
            found[collection] = rows
    return found


def test_it_is_made_from_the_settings(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured(Named.MONGODB).capabilities == frozenset()  # by hand
    monkeypatch.setenv("RESOCODE_MONGODB_URI", "mongodb://127.0.0.1:1/platform")
    made: Processor = configured(Named.MONGODB)
    assert isinstance(made, MongoDB) and made.remote and isinstance(made, Processor)
    assert {"platform id", "e-mail", "name", "phone"} <= set(made.payload)


def test_an_erasure_reaches_every_mapped_collection_and_nobody_else(platform: Platform) -> None:
    before = documents(platform, "noah")
    assert {name for name, many in verify("mia").found.items() if many} == {
        each.name for each in mapping().personal
    } | {"cohorts"}
    done = erase("mia")
    assert done.became is Became.DONE
    assert done.counts == {each.name: 1 for each in mapping().personal} | {"cohorts": 1}
    proof = verify("mia")
    assert proof.absent is True and proof.found == {}
    left = documents(platform, "mia")
    assert set(left) == {"payments"}  # the law keeps the payment; it names nobody
    assert "student" not in left["payments"][0] and "billing" not in left["payments"][0]
    assert erase("mia").became is Became.GONE
    # a cohort that listed both lists Noah only
    cohort = platform.db["cohorts"].find_one({"_id": oid("data-1")})
    assert cohort["students"] == [oid("noah")]
    after = documents(platform, "noah")
    assert {name: rows for name, rows in after.items() if name != "cohorts"} == {
        n: r for n, r in before.items() if n != "cohorts"
    }


def test_a_document_that_came_after_the_sync_goes_too(platform: Platform) -> None:
    platform.db["enrollments"].insert_one({"_id": oid("second"), "student": oid("mia"), "cohort": oid("other")})
    platform.db["progress"].insert_one(
        {"_id": oid("below"), "enrollment": oid("second")}
    )  # led to by the enrollment only
    assert erase("mia").counts["progress"] == 2
    assert platform.db["progress"].find_one({"_id": oid("below")}) is None
    assert platform.db["progress"].count_documents({"student": oid("noah")}) == 1


def test_what_hangs_on_others_goes_first_so_that_it_is_found_again_after_a_failure(double: Platform) -> None:
    assert double.server
    double.db["enrollments"].insert_one({"_id": oid("second"), "student": oid("mia"), "cohort": oid("other")})
    double.db["progress"].insert_one({"_id": oid("below"), "enrollment": oid("second")})
    double.server.fail("delete", UNAUTHORIZED, collection="progress")
    assert erase("mia").became is Became.FAILED
    double.server.heal()
    later = datetime(2026, 11, 24, 13, tzinfo=NOW.tzinfo)
    assert ask("erase", Order(person("mia"), "key"), now=later).became is Became.DONE
    assert double.db["progress"].find_one({"_id": oid("below")}) is None, "it is led to by the enrollment only"


def test_a_person_whom_another_import_brought_is_found_by_address(platform: Platform) -> None:
    platform.db["users"].insert_one(
        {"_id": oid("asha there"), "email": "ASHA@students.example", "role": "student", "name": "Asha"}
    )
    platform.db["users"].insert_one(
        {"_id": oid("staff"), "email": "asha@students.example", "role": "admin", "name": "Asha, staff"}
    )
    platform.db["users"].insert_one({"_id": oid("xasha"), "email": "xasha@students.example", "role": "student"})
    platform.db["users"].insert_one({"_id": oid("no dot"), "email": "asha@studentsxexample", "role": "student"})
    order = Order(Person("student", id_of("asha")), "key")
    assert ask("verify", order).found == {"users": 1}
    assert ask("erase", order).counts == {"users": 1}
    assert {row["_id"] for row in platform.db["users"].find()} == {
        oid(each) for each in ("staff", "xasha", "no dot", "mia", "noah")
    }


def test_where_one_of_several_values_makes_a_document_ours_it_is_found_and_no_other(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``only`` with a list: read by the sync and searched by the eraser alike."""
    file = with_change(tmp_path / "m.yaml", "collections", "users", "only", value={"role": ["student", "trainee"]})
    monkeypatch.setenv("RESOCODE_MONGODB_MAPPING", str(file))
    for role in ("trainee", "admin"):
        platform.db["users"].insert_one(
            {"_id": oid(role), "email": "asha@students.example", "role": role, "name": "Asha"}
        )
    order = Order(Person("student", id_of("asha")), "key")
    assert ask("verify", order).found == {"users": 1}
    assert ask("erase", order).counts == {"users": 1} and ask("verify", order) == Proof(True)
    assert {row["_id"] for row in platform.db["users"].find()} == {oid(each) for each in ("admin", "mia", "noah")}


def test_a_database_in_which_no_mapped_collection_is_proves_nothing(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name was mistyped, or its address leads to another cluster: nobody is in it, and nothing is proven."""
    monkeypatch.setenv("RESOCODE_MONGODB_DATABASE", "resocode_test_elsewhere")
    assert verify("mia") == Proof(None, error="no mapped collection is there")
    monkeypatch.delenv("RESOCODE_MONGODB_DATABASE")
    if platform.server is None:
        monkeypatch.setenv("RESOCODE_MONGODB_DATABASE", platform.db.name)
    assert verify("mia").absent is False
    erase("mia")
    assert verify("mia") == Proof(True)


def test_ids_of_documents_that_were_set_aside_go_with_the_documents(platform: Platform) -> None:
    for name in ("mia", "noah"):
        platform.db["enrollments"].update_one(
            {"student": oid(name)}, {"$set": {"enrolledAt": "no day", "updatedAt": NOW}}
        )
    later = datetime(2026, 11, 25, tzinfo=NOW.tzinfo)
    assert sync(later).misfits == 2
    assert erase("mia").became is Became.DONE
    with db.transaction("worker") as session:
        left = session.scalars(text("select document from privacy.sync_misfit")).all()
    assert left == [f"o:{platform.db['enrollments'].find_one({'student': oid('noah')})['_id']}"]


def test_nobody_known_here_is_nobody_there(platform: Platform) -> None:
    order = Order(Person("student", id_of("nobody")), "key")
    assert ask("verify", order).absent is None
    assert ask("erase", order).became is Became.FAILED
    assert len(documents(platform, "mia")) > 10


def test_an_export_says_everything_but_secrets_in_the_words_of_the_data_map(platform: Platform) -> None:
    platform.db["users"].update_one({"_id": oid("mia")}, {"$set": {"shoeSize": 38, "sessions": ["abc"]}})
    found = ask("export", person("mia"))
    assert found.complete
    told = found.records["users"][0]
    assert told["e-mail"] == "mia@platform.example" and told["phone"] == "+49 30 1234" and told["shoeSize"] == 38
    assert {"submissions", "payments", "leads", "reviews"} <= set(found.records)
    whole = json.dumps({k: [dict(r) for r in v] for k, v in found.records.items()}, default=str)
    assert HASH not in whole and "abc" not in whole and "noah" not in whole


def test_what_nobody_mapped_makes_it_incomplete(platform: Platform) -> None:
    platform.db["newsletter"].insert_one({"email": "mia@platform.example"})
    sync(datetime(2026, 11, 25, tzinfo=NOW.tzinfo))
    assert not ask("export", person("mia")).complete
    assert not ask("preview", person("mia")).complete


@pytest.mark.parametrize(
    ("what", "path", "value"),
    [("sign-in off", "signInDisabled", True), ("sign-in on", "signInDisabled", False), ("marketing off", "marketing.enabled", False),
     ("restrict", "processingRestricted", True), ("close", "status", "closed")],
)  # fmt: skip
def test_changes_arrive_and_are_counted(platform: Platform, what: str, path: str, value: Any) -> None:
    for _ in range(2):  # twice does no harm
        done = ask("propagate", person("mia"), Change(what, {}, "key"))
        assert (done.became, done.counts["users"]) == (Became.DONE, 1)
    one = platform.db["users"].find_one({"_id": oid("mia"), path: value})
    assert one is not None and one["updatedAt"].replace(tzinfo=NOW.tzinfo) == NOW
    assert platform.db["users"].find_one({"_id": oid("noah"), path: value}) is None


def test_tokens_are_revoked_and_a_correction_changes_what_it_names(platform: Platform) -> None:
    platform.db["users"].update_one({"_id": oid("mia")}, {"$set": {"sessions": ["a"]}})
    assert ask("propagate", person("mia"), Change("tokens revoked", {}, "key")).became is Became.DONE
    done = ask(
        "propagate",
        person("mia"),
        Change("correct", {"name": "Mia Neu", "phone": "+49 1", "e-mail": "neu@platform.example"}, "key"),
    )
    assert done.became is Became.DONE
    one = platform.db["users"].find_one({"_id": oid("mia")})
    assert (one["name"], one["email"], one["profile"]["phone"]) == ("Mia Neu", "neu@platform.example", "+49 1")
    assert "sessions" not in one and one["profile"]["headline"] == "Learns"
    assert platform.db["users"].find_one({"_id": oid("noah")})["name"] == "Noah Platform"


def test_a_change_that_no_line_of_the_mapping_knows_is_made_by_hand(platform: Platform) -> None:
    done = ask("propagate", person("mia"), Change("shoe size", {}, "key"))
    assert (done.became, done.error) == (Became.WAITING, "manual")


FAULTS: list[tuple[Error | Behavior, Became, str]] = [
    (DROP_AFTER, Became.UNCLEAR, "connection lost"),
    (DROP_BEFORE, Became.UNCLEAR, "connection lost"),
    (CONCERN_ERROR, Became.UNCLEAR, "not confirmed by a majority"),
    (NOT_PRIMARY, Became.FAILED, "not primary"),
    (UNAUTHORIZED, Became.FAILED, "not allowed"),
    (BUSY, Became.WAITING, "too many requests"),
    (WRITE_ERROR, Became.FAILED, "document refused"),
    (PRETEND, Became.FAILED, "still there"),
]


@pytest.mark.parametrize(("fault", "became", "code"), FAULTS, ids=lambda it: getattr(it, "name", None))
def test_a_fault_is_never_taken_for_done(
    double: Platform, caplog: pytest.LogCaptureFixture, fault: Error | Behavior, became: Became, code: str
) -> None:
    assert double.server
    caplog.set_level(logging.DEBUG)
    double.server.fail("delete", fault, times=3 if fault is NOT_PRIMARY else 1)
    done = erase("mia")
    assert (done.became, done.error) == (became, code)
    later = datetime(2026, 11, 24, 13, tzinfo=NOW.tzinfo)
    proof = ask("verify", Order(person("mia"), "key"), now=later)
    assert proof.absent is False and sum(proof.found.values()) >= 10
    double.server.heal()
    assert ask("erase", Order(person("mia"), "key"), now=later).became is Became.DONE
    assert ask("verify", Order(person("mia"), "key"), now=later).absent is True
    assert set(documents(double, "noah")) >= {"users", "progress"}
    with db.transaction("worker") as session:
        health = session.execute(text("select h::text from privacy.processor_health h")).scalars().all()
    for trace in ("mia", "platform.example", str(oid("mia")), f":{double.server.port}"):
        assert trace not in str(done) + str(health) + "".join(
            r.getMessage() for r in caplog.records if r.name != "asyncio"
        )


def test_what_does_not_answer_proves_nothing_and_is_given_up(double: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    assert double.server
    monkeypatch.setenv("RESOCODE_MONGODB_URI", double.server.uri + "&socketTimeoutMS=300&timeoutMS=700")
    double.server.fail("aggregate", HANG, times=9)
    proof = verify("mia")
    assert (proof.absent, proof.error) == (None, "timed out")
    double.server.heal()
    double.server.fail("delete", HANG)
    done = erase("mia")
    assert (done.became, done.error) == (Became.UNCLEAR, "timed out")
    double.server.heal()


def test_only_what_is_declared_leaves(double: Platform) -> None:
    """Every field that stands in a command to the server, and every value about the person."""
    assert double.server
    double.server.commands.clear()
    erase("noah")
    ask("propagate", person("mia"), Change("correct", {"name": CANARY, "phone": "+49 1"}, "key"))
    ask("propagate", person("mia"), Change("close", {}, "key"))
    verify("mia")
    ask("export", person("mia"))
    seen = double.server.names_sent()
    assert {name for name in seen if not name.startswith("$")} <= declared(mapping())
    assert {"profile.phone", "name", "signInDisabled"} <= seen
    assert "birthDate" not in seen


def test_reads_and_writes_ask_for_a_majority_on_the_primary(double: Platform) -> None:
    assert double.server
    double.server.commands.clear()
    erase("mia")
    verify("noah")
    writes, counts = double.server.of("delete", "update"), double.server.of("aggregate")
    assert writes and all(each["writeConcern"]["w"] == "majority" for each in writes)
    assert counts and all(each["readConcern"]["level"] == "majority" for each in counts)
    assert all(
        each.get("$readPreference", {"mode": "primary"})["mode"].startswith("primary") for each in [*writes, *counts]
    )
