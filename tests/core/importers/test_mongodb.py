"""The sync with the platform's database: nothing lost, nothing doubled, nobody brought back, no decision undone."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text

from core import db, keys
from core.importers import mongodb
from core.importers.mongodb import Done
from core.jobs import JOBS
from core.models.base import Base
from core.privacy import grace, propagating, retention, retention_elsewhere, standing, suppression
from core.processors import local
from core.settings import ROOT
from core.worker import Worker
from tests import cast
from tests.cast import id_of, snapshot
from tests.core.privacy import house_of_requests as requests
from tests.doubles.mongo_server import CURSOR_LOST, DROP_BEFORE, PRETEND, UNAUTHORIZED, MongoServer
from tests.doubles.platform import HASH, NOW, ago, of, oid, school, user
from tests.doubles.syncing import SERVERS, Platform, later, on_server, sync

pytestmark = pytest.mark.usefixtures("house")


@pytest.fixture(params=SERVERS)
def platform(request: pytest.FixtureRequest, house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """Mia and Noah are students of the platform."""
    for found in on_server(request.param, monkeypatch):
        school(found.db, "mia", "noah")
        yield found


@pytest.fixture
def server(house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[MongoServer]:
    """The same on the double, where things can go wrong."""
    for found in on_server("double", monkeypatch):
        school(found.db, "mia", "noah")
        assert found.server
        yield found.server


def rows(statement: str, **values: Any) -> list[Any]:
    with db.transaction("worker") as session:
        return [tuple(row) for row in session.execute(text(statement), values)]


def one(statement: str, **values: Any) -> Any:
    found = rows(statement, **values)
    assert len(found) == 1, found
    return found[0][0] if len(found[0]) == 1 else found[0]


def misfits() -> set[tuple[str, str, str]]:
    return {tuple(row) for row in rows("select collection, code, field from privacy.sync_misfit")}


def change(platform: Platform, collection: str, document: str, /, minutes: float = 5, **values: Any) -> None:
    """What the platform does to a document: it changes it and dates the change."""
    new = {path.replace("__", "."): value for path, value in values.items()}
    platform.db[collection].update_one({"_id": oid(document)}, {"$set": {**new, "updatedAt": later(minutes)}})


def student(name: str, columns: str = "id") -> Any:
    return one(f"select {columns} from platform.student where source_key = :k", k=str(oid(name)))


# -- bringing in ------------------------------------------------------------------------------------------------------------------


def test_everything_comes_in_once_and_a_change_changes_its_row_only(platform: Platform, owner: Connection) -> None:
    ben = snapshot(owner, "ben")
    done = sync()
    assert (done.documents, done.misfits, done.changed) == (23, 0, 0)
    assert student("mia", "name, email, experience_level, account_status") == (
        "Mia Platform",
        "mia@platform.example",
        "beginner",
        "open",
    )
    assert (
        one(
            "select score from platform.module_progress p join platform.enrollment e on e.id = p.enrollment_id where e.student_id = :s",
            s=student("mia"),
        )
        == 81
    )
    assert one("select status, enrolled_at from platform.enrollment where student_id = :s", s=student("mia")) == (
        "active",
        ago(70),
    )
    assert one(
        "select birth_date::text, adult, state from privacy.consent where student_id = :s", s=student("mia")
    ) == (None, True, "not needed")
    assert one("select count(*) from platform.usage_event where source = 'mongodb'") == 2
    again = sync(later(1))
    assert (again.added, again.changed) == (0, 0)
    change(platform, "users", "mia", name="Mia Neu")
    change(platform, "submissions", "noah submission", status="failed")
    third = sync(later(10))
    assert (third.added, third.changed) == (0, 2)
    assert student("mia", "name") == "Mia Neu"
    owner.rollback()
    assert snapshot(owner, "ben") == ben


def test_a_document_dated_a_little_late_is_seen_all_the_same(platform: Platform) -> None:
    change(platform, "users", "noah", minutes=30, name="Noah Late")
    sync(later(31))
    change(
        platform, "users", "mia", minutes=27, name="Mia Behind"
    )  # another machine, whose clock is three minutes behind
    sync(later(40))
    assert student("mia", "name") == "Mia Behind"


def test_documents_of_one_instant_all_come_also_when_each_batch_is_anothers(platform: Platform) -> None:
    """A bulk change over there dates many alike. Every batch is read by a worker that has no cursor open."""
    names = [f"same{number}" for number in range(7)]
    platform.db["users"].insert_many([user(name) | {"updatedAt": later(1)} for name in names])
    done = Done(more=True)
    while done.more:
        with db.transaction("worker") as session:
            done = mongodb.step(session, replace(mongodb.source(), batch=2), since=later(5), now=later(5))
        if done.collection == "enrollments":
            break  # before all ids are compared, which would bring them, too
    assert one("select count(*) from platform.student where email like 'same%'") == 7


def test_a_date_in_the_future_does_not_hide_what_comes_after(platform: Platform) -> None:
    change(platform, "users", "noah", minutes=60 * 24 * 400, name="Noah 2027")
    sync(later(1))
    change(platform, "users", "mia", minutes=2, name="Mia Now")
    sync(later(10))
    assert student("mia", "name") == "Mia Now"


def test_documents_without_a_date_come_by_the_comparison_and_are_a_gap(platform: Platform) -> None:
    platform.db["users"].insert_one({k: v for k, v in user("olga").items() if k != "updatedAt"})
    sync()
    assert student("olga", "name") == "Olga Platform"
    assert one("select kind, documents from privacy.sync_gap where collection = 'users'") == ("undated", 1)


def test_a_student_of_another_import_is_the_same_student(platform: Platform) -> None:
    platform.db["users"].insert_one(user("asha", email="Asha@students.example"))
    sync()
    assert one("select id, source, source_key from platform.student where lower(email) = 'asha@students.example'") == (
        id_of("asha"), "mongodb", str(oid("asha")),
    )  # fmt: skip
    platform.db["users"].insert_one(user("usurper", email="mia@platform.example"))
    sync(later(10), sweep=True)
    assert misfits() == {("users", "address taken", "email")}


def test_a_new_mapping_reads_everything_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    sync()
    change(platform, "users", "noah", minutes=60 * 24, name="Noah Next")
    sync(later(60 * 24 + 1))  # what is older than this is behind us
    shipped = (ROOT / "data" / "mappings" / "platform.yaml").read_text()
    file = tmp_path / "own.yaml"
    file.write_text(shipped.replace("headline: profile.headline", "headline: profile.motto"))
    monkeypatch.setenv("RESOCODE_MONGODB_MAPPING", str(file))
    platform.db["users"].update_one({"_id": oid("mia")}, {"$set": {"profile.motto": "Onwards"}})
    sync(later(60 * 24 + 2))
    assert one("select headline from platform.student_profile where student_id = :s", s=student("mia")) == "Onwards"
    assert ("users", "profile.headline", "text") in rows("select collection, path, looks_like from privacy.sync_gap")


# -- what does not fit --------------------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("users", "mia", {"email": "nobody"}, "no e-mail address", "email"),
    ("users", "mia", {"email": None}, "missing", "email"),
    ("users", "mia", {"name": ["Mia"]}, "wrong kind", "name"),
    ("users", "mia", {"name": "M" * 201}, "too long", "name"),
    ("users", "mia", {"name": "Mia\x00"}, "characters that cannot be kept", "name"),
    ("users", "mia", {"name": HASH}, "looks like a secret", "name"),
    ("users", "mia", {"profile.headline": "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub"}, "looks like a secret", "profile.headline"),
    ("users", "mia", {"profile.experienceLevel": "wizard"}, "unknown word", "profile.experienceLevel"),
    ("users", "mia", {"createdAt": "yesterday"}, "no date", "createdAt"),
    ("users", "mia", {"isAdult": "maybe"}, "neither yes nor no", "isAdult"),
    ("enrollments", "mia enrollment", {"cohort": oid("nowhere")}, "parent missing", "cohort"),
    ("enrollments", "mia enrollment", {"student": "not an id!"}, "no id of a document", "student"),
    ("enrollments", "mia enrollment", {"withdrawnAt": ago(80)}, "days in the wrong order", "withdrawnAt"),
    ("progress", "mia progress", {"score": 101}, "out of range", "score"),
    ("progress", "mia progress", {"score": float("nan")}, "no number", "score"),
    ("submissions", "mia submission", {"attempt": 1.5}, "no whole number", "attempt"),
    ("certificates", "mia certificate", {"number": "C-ben"}, "there already", "number"),
    ("payments", "mia payment", {"reference": "pay-ben"}, "there already", "reference"),
    ("subscriptions", "mia subscription", {"endsOn": ago(100)}, "days in the wrong order", "endsOn"),
    ("users", "mia", {"createdAt": ago(1), "status": "closed", "closedAt": ago(2), "email": "a b@c.example"}, "no e-mail address", "email"),
]  # fmt: skip


def test_what_does_not_fit_is_set_aside_with_its_reason_and_the_rest_goes_on(
    platform: Platform, owner: Connection
) -> None:
    """All of them by turns, each in a pass of its own."""
    sync()
    before = len(rows("select 1 from platform.student"))
    for turn, (collection, name, values, code, field) in enumerate(WRONG, start=1):
        kept = platform.db[collection].find_one({"_id": oid(name)})
        change(
            platform,
            collection,
            name,
            minutes=turn * 20,
            **{path.replace(".", "__"): value for path, value in values.items()},
        )
        change(platform, "users", "noah", minutes=turn * 20, name=f"Noah {turn}")
        done = sync(later(turn * 20 + 1))
        assert misfits() == {(collection, code, field)}, (values, done)
        assert student("noah", "name") == f"Noah {turn}"
        told = "\n".join(
            map(
                str,
                rows(
                    "select m::text from privacy.sync_misfit m union all select c::text from privacy.sync_collection c"
                ),
            )
        )
        for value in values.values():
            assert str(value) not in told or not isinstance(value, str)
        platform.db[collection].replace_one({"_id": oid(name)}, {**kept, "updatedAt": later(turn * 20 + 2)})
        sync(later(turn * 20 + 10))
        assert misfits() == set(), values
    assert student("mia", "name") == "Mia Platform"
    assert len(rows("select 1 from platform.student")) == before


def test_what_the_database_alone_refuses_is_one_document_of_a_batch(platform: Platform) -> None:
    """A rule that nobody foresaw: the batch is halved until the one is named."""
    with db.engine("owner").begin() as connection:
        connection.execute(text("alter table platform.student add constraint no_zoe check (name <> 'Zoe Platform')"))
    for number in range(9):
        platform.db["users"].insert_one(user(f"more{number}"))
    platform.db["users"].insert_one(user("zoe"))
    done = sync()
    assert misfits() == {("users", "rule no_zoe", "")}
    assert done.misfits == 1
    assert one("select count(*) from platform.student where source = 'mongodb'") == 11


def test_what_waits_for_another_document_comes_when_that_comes(platform: Platform) -> None:
    cohort = platform.db["cohorts"].find_one({"_id": oid("data-1")})
    platform.db["cohorts"].delete_one({"_id": oid("data-1")})
    sync()
    assert ("enrollments", "parent missing", "cohort") in misfits() and (
        "progress",
        "parent missing",
        "enrollment",
    ) in misfits()
    platform.db["cohorts"].insert_one(cohort | {"updatedAt": later(5)})
    sync(later(10))
    assert misfits() == set()
    assert (
        one(
            "select count(*) from platform.code_review r join platform.submission s on s.id = r.submission_id where s.source = 'mongodb'"
        )
        == 2
    )


def test_no_password_is_asked_for_and_none_is_kept(server: MongoServer, house: str) -> None:
    server.db["users"].update_many(
        {}, {"$set": {"sessions": ["eyJhbGciOiJI.eyJzdWIiOiIx.x"], "hash": HASH, "pwdDigest": HASH}}
    )
    sync()
    reads = [each for each in server.of("find") if each["find"] == "users" and each.get("projection") != {"_id": 1}]
    assert reads and all(
        {"password", "hash", "sessions"} <= set(each["projection"]) and not any(each["projection"].values())
        for each in reads
    )
    assert rows("select path, looks_like from privacy.sync_gap where collection = 'users'") == [("pwdDigest", "secret")]
    with db.transaction("worker") as session:
        for table in Base.metadata.sorted_tables:
            if table.schema in ("platform", "privacy"):
                found = session.scalar(
                    text(
                        f"select count(*) from {table.fullname} t where t::text like '%$2b$12$%' or t::text like '%eyJhbGci%'"
                    )
                )
                assert not found, table.fullname


def test_gaps_name_fields_and_collections_and_never_a_value(platform: Platform) -> None:
    platform.db["users"].update_one({"_id": oid("mia")}, {"$set": {
        "nickname": "Kanarienvogel", "address": {"street": "Kanarienweg 1"}, "friends": [{"mail": "kanarien@vogel.example"}],
        "seen": {str(oid("noah")): True, "mia.k@example": 1}}})  # fmt: skip
    platform.db["newsletter"].insert_one({"email": "mia@platform.example"})
    sync()
    gaps = rows("select collection, path, kind, looks_like from privacy.sync_gap order by 1, 2")
    assert gaps == [
        ("newsletter", "", "collection", ""), ("users", "address.street", "field", "text"), ("users", "friends.mail", "field", "e-mail address"),
        ("users", "nickname", "field", "text"), ("users", "seen.*", "field", "number" if gaps[-1][3] == "number" else "yes or no"),
    ] or [g[1] for g in gaps][:4] == ["", "address.street", "friends.mail", "nickname"]  # fmt: skip
    assert "anarien" not in str(gaps) and str(oid("noah")) not in str(gaps)


# -- people who are not to come in --------------------------------------------------------------------------------------------------


def suppress(email: str, *, provider: str = "", days: float = 1) -> None:
    """An erasure, so many days ago, of somebody with this address (and account)."""
    with db.transaction("worker") as session:
        by_mail, by_id = keys.person_hashes()(email, f"mongodb:{provider}")
        hashes = [(suppression.MAIL, by_mail), *([(suppression.PROVIDER, by_id)] if provider else [])]
        suppression.suppress(session, erasure_id=id_of(f"erasure {email}"), hashes=hashes, basis="test", until=NOW + timedelta(days=900),
                             now=ago(days))  # fmt: skip


def test_an_erased_person_is_refused_and_somebody_new_with_the_address_comes_in(platform: Platform) -> None:
    suppress("mia@platform.example", provider=str(oid("mia")))
    suppress("noah@platform.example", days=200)  # before he registered: somebody new
    done = sync()
    assert done.refused >= 1
    assert rows("select 1 from platform.student where source_key = :k", k=str(oid("mia"))) == []
    assert rows("select 1 from platform.visitor where lower(email) = 'mia@platform.example'") == []
    assert student("noah", "name") == "Noah Platform"
    assert ("enrollments", "parent missing", "student") in misfits()
    assert not [row for row in rows("select m::text from privacy.sync_misfit m") if "platform.example" in str(row)]


def test_an_address_of_an_erased_person_is_taken_by_nobody(platform: Platform) -> None:
    sync()
    suppress("gone@platform.example")
    change(platform, "users", "mia", email="gone@platform.example")
    change(platform, "users", "noah", name="Noah Neu")
    sync(later(10))
    assert misfits() == {("users", "address of an erased person", "")}
    assert (student("mia", "email"), student("noah", "name")) == ("mia@platform.example", "Noah Neu")


# -- closings and deletions ---------------------------------------------------------------------------------------------------------


def closed(name: str) -> tuple[str, Any]:
    found: tuple[str, Any] = student(name, "account_status, closed_at")
    return found


@pytest.mark.parametrize("how", ["closed", "marked", "deleted"])
def test_a_student_who_left_there_becomes_a_deletion_with_its_grace_period(platform: Platform, how: str) -> None:
    sync()
    if how == "closed":
        change(platform, "users", "mia", status="closed", closedAt=later(4))
    elif how == "marked":
        change(platform, "users", "mia", deletedAt=later(4))
    else:
        platform.db["users"].delete_one({"_id": oid("mia")})
    sync(later(10), sweep=how == "deleted")
    assert closed("mia") == ("closed", later(10) if how == "deleted" else later(4))
    assert closed("noah")[0] == "open"
    with db.transaction("worker") as session:
        assert grace.closings_due(session, later(20)) == [str(student("mia"))]
        assert grace.adopt_closing(session, student_id=student("mia"), now=later(20)) == 1
    assert one("select state, source from privacy.request where student_id = :s", s=student("mia")) == (
        "waiting",
        "platform",
    )


def test_an_account_closed_here_is_not_opened_by_a_document_that_does_not_know_it(platform: Platform) -> None:
    sync()
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set account_status = 'closed', closed_at = :at where source_key = :k"),
            {"at": later(1), "k": str(oid("mia"))},
        )
        request = session.scalar(text(
            "insert into privacy.request (id, kind, student_id, state, identity, policy_version, received_at, filed_at, due_at, moved_at,"
            " account_closed_at, grace_ends_at, source) select gen_random_uuid(), 'delete', s.id, 'to approve', 'confirmed',"
            " (select version from privacy.policy_version limit 1), :at, :at, :at, :at, :at, cast(:at as timestamptz) + interval '30 days', 'dashboard'"
            " from platform.student s where s.source_key = :k returning id"), {"at": later(1), "k": str(oid("mia"))})  # fmt: skip
    change(platform, "users", "mia", minutes=5, name="Mia Active")  # the platform goes on, it was not told yet
    sync(later(10))
    assert closed("mia")[0] == "closed"
    assert student("mia", "name") == "Mia Active"
    with db.transaction("worker") as session:  # now it is told, really
        step = session.scalar(text("insert into privacy.propagation (id, request_id, what, processor, planned_at)"
                                   " values (gen_random_uuid(), :r, 'sign-in off', 'MongoDB Atlas', :at) returning id"), {"r": request, "at": later(1)})  # fmt: skip
    for _ in range(2):
        with db.transaction("worker") as session:
            done = propagating.pass_on(session, propagation_id=step, now=later(11))
    assert done == {"done": 1}
    assert platform.db["users"].find_one({"_id": oid("mia")})["signInDisabled"] is True
    sync(later(14))
    assert closed("mia")[0] == "closed"  # our own change is no sign of life
    change(platform, "users", "mia", minutes=15.5, status="active")
    sync(later(20))
    assert closed("mia") == ("open", None)


def test_a_closing_that_was_taken_back_here_does_not_close_again(platform: Platform) -> None:
    change(platform, "users", "mia", minutes=-60, status="closed", closedAt=ago(minutes=60))
    sync()
    assert closed("mia")[0] == "closed"
    with db.transaction("worker") as session:
        grace.adopt_closing(session, student_id=student("mia"), now=NOW)
    request = one("select id from privacy.request where student_id = :s", s=student("mia"))
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set account_status = 'open', closed_at = null where source_key = :k"),
            {"k": str(oid("mia"))},
        )
        grace.heed_sign_of_life(session, request_id=request, now=later(1))
    change(platform, "users", "mia", minutes=5, name="Mia Back")
    sync(later(10))
    assert (closed("mia"), student("mia", "name")) == (("open", None), "Mia Back")


def test_a_deleted_document_takes_its_row_and_what_hangs_on_it_but_nothing_that_is_held(
    platform: Platform, owner: Connection
) -> None:
    ben = snapshot(owner, "ben")
    for collection, document in of("olga").items():
        platform.db[collection].insert_one(document)
    sync()
    with db.transaction("worker") as session:
        session.execute(text("insert into privacy.legal_hold (id, form_key, student_id, basis, owner_id, review_on, placed_at, placed_by)"
                             " values (gen_random_uuid(), gen_random_uuid(), :s, 'claim of ours', :o, :d, :n, :o)"),
                        {"s": student("noah"), "o": id_of("omar"), "d": NOW.date(), "n": NOW})  # fmt: skip
    for name in ("mia", "noah"):
        platform.db["enrollments"].delete_one({"_id": oid(f"{name} enrollment")})
    done = sync(later(10), sweep=True)
    assert done.removed == 1
    assert rows("select 1 from platform.enrollment where student_id = :s", s=student("mia")) == []
    assert (
        len(
            rows(
                "select 1 from platform.module_progress p join platform.enrollment e on e.id = p.enrollment_id where e.student_id = :s",
                s=student("noah"),
            )
        )
        == 1
    )
    owner.rollback()
    assert snapshot(owner, "ben") == ben


def test_an_empty_collection_takes_nobody_away_until_somebody_says_so(platform: Platform) -> None:
    sync()
    platform.db["users"].delete_many({})
    sync(later(10), sweep=True)
    assert (closed("mia")[0], closed("noah")[0]) == ("open", "open")
    assert one("select sweep_stopped from privacy.sync_collection where collection = 'users'") == 2
    with db.transaction("worker") as session:
        assert any("2 rows are gone there" in line for line in mongodb.upshot(session, mongodb.Done()))
    sync(later(20), sweep=True, accept=True)
    assert (closed("mia")[0], closed("noah")[0]) == ("closed", "closed")
    assert one("select sweep_stopped from privacy.sync_collection where collection = 'users'") is None


def test_a_student_who_becomes_staff_there_is_not_deleted(platform: Platform) -> None:
    sync()
    change(platform, "users", "mia", role="mentor")
    sync(later(10), sweep=True)
    assert closed("mia")[0] == "open"


# -- decisions made here ------------------------------------------------------------------------------------------------------------


def test_a_stale_document_undoes_no_opt_out_and_no_restriction(platform: Platform) -> None:
    sync()
    who = student("mia")
    with db.transaction("worker") as session:
        standing.restrict(session, student_id=who, basis="consent missing", by=None, now=NOW)
        session.execute(text("insert into privacy.opt_out (id, student_id, email_hash, basis, since)"
                             " select gen_random_uuid(), s.id, s.email_hash, 'asked', :n from platform.student s where s.id = :s"), {"s": who, "n": NOW})  # fmt: skip
        session.execute(
            text("update platform.student_profile set opted_out_at = now() where student_id = :s"), {"s": who}
        )
    change(platform, "users", "mia", minutes=5, lastLoginAt=later(5))
    sync(later(10))
    assert one("select opted_out_at is not null from platform.student_profile where student_id = :s", s=who)
    assert one("select privacy.is_restricted(:s), privacy.has_opted_out(:s)", s=who) == (True, True)
    change(platform, "users", "mia", minutes=20, name="Mia Married")
    sync(later(30))
    assert one("select privacy.is_restricted(:s), privacy.has_opted_out(:s)", s=who) == (True, True)


def corrected(who: uuid.UUID, **values: str) -> uuid.UUID:
    """Two officers correct somebody's record at NOW; the platform is to be told. The request's id."""
    filed = requests.verified("correct", student_id=who)
    requests.act("enter_correction", "omar", values=values, reason="changed", **requests.on(filed))
    requests.act("confirm_correction", "olga", **requests.on(filed))
    return filed.request_id


def test_a_document_undoes_no_correction_until_the_platform_has_it(platform: Platform) -> None:
    sync()
    who = student("mia")
    request = corrected(who, name="Mia Corrected", phone="+49 new")

    def stands() -> tuple[object, ...]:
        return one("select s.name, p.phone, p.headline from platform.student s join platform.student_profile p on p.student_id = s.id"
                   " where s.id = :s", s=who)  # fmt: skip

    # the platform's record is newer than the correction, and still says what was wrong; something else in it is news
    change(platform, "users", "mia", minutes=5, **{"profile.headline": "Writes"})
    sync(later(10))
    assert stands() == ("Mia Corrected", "+49 new", "Writes")
    assert sync(later(11)).changed == 0
    # news about a corrected field, newer than the correction, is news
    change(platform, "users", "mia", minutes=12, **{"profile.phone": "+49 newest"})
    sync(later(13))
    assert stands() == ("Mia Corrected", "+49 newest", "Writes")
    # a record that is older than the platform's having it is read late: it does not count
    with db.transaction("worker") as session:
        done = "update privacy.propagation set state = 'done', done_at = :n, proof = 'answered' where request_id = :r and processor = 'MongoDB Atlas'"
        session.execute(text(done), {"r": request, "n": later(20)})
    change(platform, "users", "mia", minutes=15, **{"profile.headline": "Reads"})
    sync(later(21))
    assert stands() == ("Mia Corrected", "+49 newest", "Reads")
    # the platform has it, and the person changes it later
    change(platform, "users", "mia", minutes=25, name="Mia Married")
    sync(later(30))
    assert stands() == ("Mia Married", "+49 newest", "Reads")


def test_a_slow_step_elsewhere_keeps_nothing_from_the_platform_that_has_the_correction(platform: Platform) -> None:
    """The person takes their old values back, there, while somebody still has to change the mail provider's record by hand."""
    sync()
    who = student("mia")
    old = one("select s.name, p.phone from platform.student s join platform.student_profile p on p.student_id = s.id where s.id = :s", s=who)  # fmt: skip
    request = corrected(who, name="Mia Corrected", phone="+49 new")
    change(platform, "users", "mia", minutes=2, **{"profile.headline": "Writes"})
    sync(later(3))
    assert student("mia", "name") == "Mia Corrected", "until the platform has it, what was wrong does not come back"
    with db.transaction("worker") as session:
        done = "update privacy.propagation set state = 'done', done_at = :n, proof = 'answered' where request_id = :r and processor = 'MongoDB Atlas'"
        session.execute(text(done), {"r": request, "n": later(5)})
        waiting = "select array_agg(processor) from privacy.propagation where request_id = :r and what = 'correct' and state <> 'done'"
        assert "SMTP" in session.scalar(text(waiting), {"r": request})
    change(platform, "users", "mia", minutes=10, **{"name": old[0], "profile.phone": old[1]})
    sync(later(11))
    assert one("select s.name, p.phone from platform.student s join platform.student_profile p on p.student_id = s.id where s.id = :s", s=who) == old  # fmt: skip


def test_a_document_without_a_date_that_says_what_was_wrong_undoes_no_correction(platform: Platform) -> None:
    """Also when the platform was told by hand: nobody knows whether such a document is older."""
    sync()
    who = student("mia")
    request = corrected(who, name="Mia Corrected")
    with db.transaction("worker") as session:
        done = "update privacy.propagation set state = 'done', done_at = :n, proof = 'answered' where request_id = :r and processor = 'MongoDB Atlas'"
        session.execute(text(done), {"r": request, "n": later(1)})
    platform.db["users"].update_one({"_id": oid("mia")}, {"$unset": {"updatedAt": ""}})
    sync(later(10), sweep=True)
    assert student("mia", "name") == "Mia Corrected"


def test_a_visitors_correction_holds_too(platform: Platform) -> None:
    sync()
    who = one("select id from platform.visitor where email = 'mia@platform.example'")
    filed = requests.verified("correct", visitor_id=who)
    requests.act("enter_correction", "omar", values={"name": "Mia Right"}, reason="changed", **requests.on(filed))
    requests.act("confirm_correction", "olga", **requests.on(filed))
    change(platform, "leads", "mia lead", minutes=5, message="Hello again")
    sync(later(10))
    assert one("select name, message from platform.visitor where id = :v", v=who) == ("Mia Right", "Hello again")


def test_a_visitor_whose_period_is_over_goes_there_too_and_does_not_come_back(server: MongoServer) -> None:
    old = {"createdAt": ago(800), "updatedAt": ago(800)}
    for name in ("mia", "noah"):
        server.db["leads"].update_one({"_id": oid(f"{name} lead")}, {"$set": old})
    sync()
    who = one("select id from platform.visitor where email = 'mia@platform.example'")
    with db.transaction("worker") as session:
        retention_elsewhere.note(session, [who], now=NOW)
        local.erase_visitors(session, [who], at_most=1000, now=NOW)
    server.db["leads"].insert_one(
        of("mia")["leads"] | {"_id": oid("mia again"), "createdAt": later(1), "updatedAt": later(1)}
    )
    rule = "visitors, on the platform"

    def run(minutes: float) -> Any:
        with db.transaction("worker") as session:
            assert rule in retention.rules_due(session, later(minutes))
            return retention.go_on(session, rule=rule, now=later(minutes))

    sync(later(2), sweep=True)
    mine = "select source_key from platform.visitor where email = 'mia@platform.example'"
    assert one(mine) == str(oid("mia again")), "the new one came in, the old one did not come back"
    server.fail("delete", PRETEND)
    assert run(3) == {} and one("select attempts, error from privacy.sync_erasure") == (1, "still there")
    server.heal()
    assert run(10) == {"other rows": 1} and rows("select * from privacy.sync_erasure") == []
    left = {each["_id"] for each in server.db["leads"].find()}
    assert left == {oid("mia again"), oid("noah lead")}
    sync(later(2000), sweep=True)
    assert one(mine) == str(oid("mia again"))


# -- what goes wrong on the way -------------------------------------------------------------------------------------------------------


def many(server: MongoServer, number: int) -> None:
    server.db["users"].insert_many([user(f"p{n}", updatedAt=ago(minutes=number - n)) for n in range(number)])


def test_a_lost_cursor_and_a_cut_line_lose_nothing(server: MongoServer) -> None:
    many(server, 60)
    source = mongodb.source()
    source.batch = 20
    server.fail("getMore", CURSOR_LOST)
    server.fail("find", DROP_BEFORE, collection="users", after=1)
    first = sync(source=source)
    assert first.error == ""  # read again from the same place; the cut was tried again by the library
    server.fail("find", DROP_BEFORE, times=30)
    cut = sync(later(10), source=source)
    assert cut.error == "connection lost"
    server.heal()
    last = sync(later(20), source=source)
    assert last.error == "" and one("select count(*) from platform.student where source = 'mongodb'") == 62


def test_a_collection_that_must_not_be_read_holds_up_no_other(server: MongoServer) -> None:
    server.fail("find", UNAUTHORIZED, collection="enrollments", times=9)
    done = sync()
    assert done.error == "not allowed"
    assert one("select error, error_at from privacy.sync_collection where collection = 'enrollments'") == (
        "not allowed",
        NOW,
    )
    assert one("select count(*) from platform.visitor where source = 'mongodb'") == 2
    server.heal()
    sync(later(10))
    assert one("select error from privacy.sync_collection where collection = 'enrollments'") == ""
    assert misfits() == set()


def test_two_at_once_wait_for_each_other(server: MongoServer) -> None:
    many(server, 80)

    def work(_: int) -> None:
        source = mongodb.source()
        source.batch = 15
        sync(source=source)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert one("select count(*) from platform.student where source = 'mongodb'") == 82
    assert one("select added from privacy.sync_collection where collection = 'users'") == 82 * 2  # with their profiles


def test_the_worker_does_it_in_parts_and_waits_after_an_error(server: MongoServer) -> None:
    mongodb._source.clear()
    jobs = tuple(job for job in JOBS if job.kind == "sync of the platform")
    times = {"now": NOW}
    worker = Worker(clock=lambda: times["now"], jobs=jobs)
    server.fail("listCollections", DROP_BEFORE, times=5)
    assert [(each.became, dict(each.counts)) for each in worker.catch_up()] == [("done", {})]
    assert worker.catch_up() == []
    server.heal()
    times["now"] = later(6)
    outcomes = worker.catch_up()
    assert {each.became for each in outcomes} == {"done"} and sum(
        each.counts["documents"] for each in outcomes if each.counts
    ) == 23
    assert one("select count(*) from platform.student where source = 'mongodb'") == 2
    times["now"] = later(7)
    assert worker.catch_up() == []


def test_killed_in_the_middle_and_run_again_nothing_is_lost_or_doubled(server: MongoServer, house: str) -> None:
    """Killed so that nothing can be tidied up, three times, at places that nobody chose."""
    many(server, 3000)
    script = ("from core.importers import mongodb; mongodb.BATCH = 50; mongodb.Source.__dataclass_fields__['batch'].default = 50\n"
              "import sys; from core.cli import app; mongodb.Source.batch = 50; sys.argv = ['core', 'sync', 'mongodb']; app()")  # fmt: skip
    counted = "select count(*) from platform.student where source = 'mongodb'"
    seen = []
    for number in range(3):
        running = subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env=os.environ.copy(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        limit = time.monotonic() + 60
        while one(counted) < 600 * (number + 1) and running.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        assert running.poll() is None, "it was to be killed while it runs"
        running.send_signal(signal.SIGKILL)
        running.wait()
        seen.append(one(counted))
    assert seen == sorted(seen) and seen[0] >= 600 and seen[-1] < 3002
    finished = sync(later(60 * 24 * 3))
    assert finished.misfits == 0
    assert one("select count(*), count(distinct source_key) from platform.student where source = 'mongodb'") == (
        3002,
        3002,
    )
    there = {str(each["_id"]) for each in server.db["users"].find({}, {"_id": 1})}
    assert {row[0] for row in rows("select source_key from platform.student where source = 'mongodb'")} == there
    assert one("select added from privacy.sync_collection where collection = 'users'") == 2 * 3002


def test_nothing_of_it_names_anybody(server: MongoServer, caplog: pytest.LogCaptureFixture) -> None:
    """Tables of the sync, the worker's list and the log, after all that can go wrong."""
    caplog.set_level("DEBUG")
    change(Platform(server.db, server), "users", "mia", email="broken")
    change(Platform(server.db, server), "progress", "noah progress", score=1000)
    server.fail("find", UNAUTHORIZED, collection="leads", times=2)
    sync(later(10))
    told = str(rows("select t::text from privacy.sync_collection t union all select t::text from privacy.sync_misfit t union all select t::text from privacy.sync_gap t"
                    " union all select t::text from staff.job t union all select t::text from privacy.audit_event t"))  # fmt: skip
    log = "".join(record.getMessage() for record in caplog.records)
    for trace in ("mia@", "Mia Pl", "broken", "platform.example", "+49 30", f":{server.port}", "mongodb://"):
        assert trace not in told + log, trace
    assert cast.NOW == NOW and of("x")
