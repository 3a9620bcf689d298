"""The residue scan finds what no key leads to, in every table there is, and says how sure it is."""

import json
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Uuid, text

from core import db, keys
from core.errors import DatabaseError
from core.models.base import Base
from core.privacy import campaigns, residue, sieve
from core.privacy.residue import Finding
from core.processors.local import Local
from core.processors.protocol import Became, Order, Person
from tests import cast
from tests.cast import NOW, email_of, id_of
from tests.core.privacy import house_of_consent as consent
from tests.core.privacy import house_of_erasures as erasures
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.house_of_erasures import stores
from tests.core.privacy.test_campaigns import begin

__all__ = ["stores"]

ASHA, BEN = Person("student", id_of("asha")), Person("student", id_of("ben"))
ERASURE, OTHER = uuid.uuid4(), uuid.uuid4()


def collected(person: Person = ASHA) -> bytes:
    with db.transaction("worker") as session:
        return residue.traces(session, person)


def erased(person: Person = ASHA) -> None:
    became = Became.MORE
    while became is Became.MORE:
        with db.transaction("worker") as session:
            became = Local().erase(session, Order(person, "key"), now=NOW).became


def scanned(batch: dict[uuid.UUID, bytes], *, spared: frozenset[uuid.UUID] = frozenset()) -> residue.Scan:
    with db.transaction("worker") as session:
        return residue.scan(session, batch=batch, began=dict.fromkeys(batch, NOW), now=NOW, spared=spared)


def found(kept: bytes, **more: frozenset[uuid.UUID]) -> set[tuple[str, str, str, bool]]:
    findings = scanned({ERASURE: kept}, **more).findings[ERASURE]
    return {(each.table.split(".")[1], each.column, each.trace, each.sure) for each in findings}


def write(owner: Connection, statement: str, **values: object) -> None:
    owner.execute(text(statement), values)
    owner.commit()


@pytest.fixture
def asha(house: str, owner: Connection) -> bytes:
    """Asha's traces; she herself is erased."""
    write(owner, "update platform.student_profile set phone = '+49 (171) 234 56-78' where student_id = :id", id=ASHA.id)
    kept = collected()
    erased()
    return kept


def test_nothing_is_left_of_somebody_who_was_erased_and_the_bystander_is_there_whole(
    house: str, owner: Connection
) -> None:
    before = cast.snapshot(owner, "ben")
    kept, bens = collected(), collected(BEN)
    assert {"student", "email_log"} <= {place[0] for place in found(kept)}, "before, she is everywhere"
    erased()
    told = scanned({ERASURE: kept, OTHER: bens})
    assert told.findings[ERASURE] == ()
    assert {each.table for each in told.findings[OTHER]} >= {"platform.student", "platform.email_log"}
    assert cast.snapshot(owner, "ben") == before


def test_traces_tell_nothing_without_their_key(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = collected()
    assert email_of("asha").encode() not in kept
    for changed in (kept[:-1] + bytes([kept[-1] ^ 1]), b"9:" + kept[2:], b""):
        with pytest.raises(DatabaseError):
            residue.unsealed(changed)
    monkeypatch.setenv("RESOCODE_KEY_TRACES", "1:" + "A" * 43 + "=")
    with pytest.raises(DatabaseError):
        residue.unsealed(kept)


SPELLINGS = {
    "as it is": ("asha@students.example", "e-mail", True),
    "in capitals": ("Write to ASHA@Students.Example!", "e-mail", True),
    "in a link": ("https://x.example/?who=asha%40students.example&a=1", "e-mail", True),
    "phone": ("call 0171 2345678", "phone", True),
    "phone with its country": ("+49-171-234.5678", "phone", True),
    "phone in one": ("00491712345678", "phone", True),
    "id": (f"see /student/{ASHA.id}", "id", True),
    "name": ("Asha Example sends her regards", "name", False),
}  # fmt: skip
OTHERS = (
    "nasha@students.examples",
    "asha at students",
    "call 0171 2345679",
    "17123456789",
    "Natasha Example",
    "Asha Examples",
    "asha",
)


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_trace_in_somebody_elses_note_is_found_in_every_spelling(name: str, asha: bytes, owner: Connection) -> None:
    body, kind, sure = SPELLINGS[name]
    write(owner, "update platform.code_review set comment = :body where id = :id", body=body, id=id_of("ben review"))
    assert found(asha) == {("code_review", "comment", kind, sure)}
    (finding,) = scanned({ERASURE: asha}).findings[ERASURE]
    assert finding == Finding("platform.code_review", "comment", str(id_of("ben review")), kind, sure)


@pytest.mark.parametrize("body", OTHERS)
def test_what_only_looks_alike_is_no_finding(body: str, asha: bytes, owner: Connection) -> None:
    write(owner, "update platform.code_review set comment = :body where id = :id", body=body, id=id_of("ben review"))
    assert found(asha) == set()


def test_every_text_and_json_column_of_every_table_is_searched(house: str, owner: Connection) -> None:
    """Asked of the database itself, partitions and audit included: whatever column somebody adds is searched."""
    named = set(owner.execute(text("""
        select table_schema || '.' || table_name || '.' || column_name from information_schema.columns c
        where table_schema in ('platform', 'privacy', 'staff', 'anon') and data_type in ('text', 'character varying', 'json', 'jsonb')
          and table_name <> 'alembic_version' and not (table_schema || '.' || table_name)::regclass in (select inhrelid from pg_inherits)
    """)).scalars())  # fmt: skip
    searched = {
        f"{table.fullname}.{column.name}" for table in Base.metadata.sorted_tables for column in residue.searched(table)
    }
    assert searched == named
    kept = collected()
    told = scanned({ERASURE: kept})
    assert told.columns == len(named)


@pytest.mark.parametrize(
    ("statement", "place"),
    [
        ("update platform.email_log set address = :mail where student_id = :ben", ("email_log", "address", "e-mail", True)),
        ("update platform.usage_event set item = :mail where enrollment_id = :bens", ("usage_event", "item", "e-mail", True)),
        ("update privacy.policy_version set document = document || jsonb_build_object('x', cast(:mail as text))",
         ("policy_version", "document", "e-mail", True)),
        ("update privacy.policy_version set document = document || jsonb_build_object('x', E'Write to\n' || cast(:mail as text))",
         ("policy_version", "document", "e-mail", True)),
        ("update staff.staff_member set email = :mail where id = :paula", ("staff_member", "email", "e-mail", False)),
        ("insert into privacy.audit_event (seq, at, actor, action, details, previous, hash) values (1, now(), 'x', 'x', :mail, '', '')",
         ("audit_event", "details", "e-mail", True)),
    ],
)  # fmt: skip
def test_partitions_json_and_the_audit_are_searched(
    statement: str, place: tuple[object, ...], asha: bytes, owner: Connection
) -> None:
    for table in ("privacy.policy_version", "privacy.audit_event"):
        owner.execute(text(f"alter table {table} disable trigger all"))
    values = {"mail": email_of("asha"), "ben": BEN.id, "bens": id_of("ben enrollment"), "paula": id_of("paula")}
    owner.execute(text(statement), {name: value for name, value in values.items() if f":{name}" in statement})
    owner.commit()
    assert found(asha) == {place}


@pytest.mark.parametrize(
    "cell",
    [
        "C:\\Nora Berg",
        "a\tNora Berg",
        "a\nNora Berg",
        "\\\nNora Berg",
        json.dumps({"a": "a\nNora Berg"}),
        "a\vNora Berg",
    ],
)
def test_a_name_is_seen_behind_whatever_comes_escaped(cell: str, owner: Connection) -> None:
    """As it comes from the database, where a backslash is two and a line break is a backslash and a letter."""
    trace = residue.Trace("name", False, "Nora Berg", residue._word("Nora Berg"))
    cursor = owner.connection.cursor()
    with cursor.copy("copy (select %s::text) to stdout", [cell]) as copy:
        rows = [bytes(row) for row in copy]
    assert sieve.Sieve({trace}).seen(sieve._lowered(rows)) == {trace}
    assert any(trace.compiled.search(each) for each in (cell.lower(), sieve.plain(cell.lower())))


def test_opaque_ids_may_stand_in_what_is_kept_as_proof_and_nowhere_else(asha: bytes, owner: Connection) -> None:
    owner.execute(text("alter table privacy.audit_event disable trigger all"))
    write(owner, "insert into privacy.audit_event (seq, at, actor, action, details, previous, hash)"
                 " values (1, now(), 'x', 'x', :id, '', '')", id=str(ASHA.id))  # fmt: skip
    assert found(asha) == set()
    write(owner, "update platform.program set title = :id where code = 'JAVA'", id=str(ASHA.id))
    assert found(asha) == {("program", "title", "id", True)}


def test_a_namesake_in_their_own_row_is_no_finding(asha: bytes, owner: Connection) -> None:
    write(owner, "update platform.student set name = 'Asha Example' where id = :id", id=BEN.id)
    assert found(asha) == set()


def test_a_name_of_one_word_is_no_finding_among_codes_and_one_in_a_text(house: str, owner: Connection) -> None:
    write(owner, "update platform.student set name = 'Zephyr' where id = :id", id=ASHA.id)
    write(owner, "update platform.program set title = 'Zephyr' where code = :code", code="JAVA")
    kept = collected()
    erased()
    assert found(kept) == set(), "a program is called like her"
    write(owner, "update platform.code_review set comment = 'Zephyr is away' where id = :id", id=id_of("ben review"))
    assert found(kept) == {("code_review", "comment", "name", False)}


def test_whoever_signs_up_with_the_same_address_afterwards_is_somebody_new(asha: bytes, house: str) -> None:
    digest, provider = keys.person_hashes()(email_of("asha"), "new")
    add = text("""insert into platform.student (id, name, email, registered_at, email_hash, provider_hash, source)
        values (:id, 'Asha Example', :mail, :at, :digest, :provider, 'cast')""")
    newcomer = {"id": uuid.uuid4(), "mail": email_of("asha"), "digest": digest, "provider": provider}
    with db.transaction("worker") as session:
        session.execute(add, newcomer | {"at": NOW + timedelta(seconds=1)})
    assert found(asha) == set()
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set registered_at = :at where id = :id"), {"at": NOW, "id": newcomer["id"]}
        )
    assert found(asha) == {("student", "email", "e-mail", True)}


def test_what_a_hold_keeps_is_no_residue_but_a_trace_elsewhere_is(house: str, owner: Connection) -> None:
    kept = collected()
    write(
        owner,
        "update platform.code_review set comment = :mail where id = :id",
        mail=email_of("asha"),
        id=id_of("ben review"),
    )
    assert found(kept, spared=frozenset({ERASURE})) == {("code_review", "comment", "e-mail", True)}


# Where an id without a foreign key stays on purpose: opaque there, in a record that is kept as proof.
PROOF = {("privacy.audit_event", "subject_id")}


def test_no_column_of_ids_leads_to_an_erased_person_but_the_proof(
    stores: dict[str, erasures.Store], owner: Connection
) -> None:
    """Ids stand in columns of their own type, which the scan of texts does not read: all of them are asked here, with a file, a
    notice, a hold and a whole erasure behind the person. A new one that keeps an id has to be judged, and listed above."""
    filed = requests.file()
    consent.given(evidence=consent.picture())
    notice = begin()
    for _ in range(3):
        with db.transaction("worker") as session:
            campaigns.go_on(session, campaign_id=notice, now=NOW)
    requests.act("record_identity", "omar", method="known in person", confirmed=True, **requests.on(filed))
    requests.act("close_account", "omar", **requests.on(filed))
    requests.approve(filed)
    assert erasures.erased(filed.request_id)
    theirs = {"students": [id_of("cleo")]}
    kept = set()
    for table in Base.metadata.sorted_tables:
        for column in (each for each in table.columns if isinstance(each.type, Uuid)):
            asked = f"select count(*) from {table.fullname} where {column.name} = any (:students)"
            if owner.scalar(text(asked), theirs):
                kept.add((table.fullname, column.name))
    assert kept == PROOF
    told = owner.execute(text("select owner_id, student_id, wrapped_key, (select count(*) from privacy.artifact_part)"
                              " from privacy.artifact where kind = 'evidence'")).all()  # fmt: skip
    assert [tuple(each) for each in told] == [(None, None, None, 0)], (
        "there was evidence, nobody says whose, and it is gone"
    )
