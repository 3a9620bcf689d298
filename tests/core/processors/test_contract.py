"""What every processor promises, whichever it is: done is proven, gone is gone, unclear is never done, and nobody else is touched.

The matrix processor × verb × fault stands in contract.py, with what does not apply and why: that is tried as well. A processor enters by
a rig (rigs.py, rigs_by_hand.py). When MONGODB_TEST_URI is set, all of it runs against a real MongoDB, too, behind a wire that breaks.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from core import db
from core.privacy import sending
from core.processors import remote
from core.processors.protocol import (
    Became,
    Capability,
    Change,
    Exported,
    Order,
    Outcome,
    Person,
    Preview,
    Processor,
    Proof,
)
from tests.cast import NOW, email_of, id_of
from tests.core.privacy.house_of_requests import closed, rows
from tests.core.processors.contract import ATTESTED, FAULTS, PAGE, PROCESSORS, READING, VERBS, cells, table
from tests.core.processors.rigs import REAL_RIGS, RIGS, Rig, on_the_platform, real_mongo_rig
from tests.core.processors.rigs_by_hand import MEANS, ByHand, Post, by_hand
from tests.doubles.mongo_server import MongoServer
from tests.doubles.syncing import REAL, on_server

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SETTLED = (Became.DONE, Became.GONE)
NEW = {"name": "Cleo New", "e-mail": email_of("cleo")}
LOST = ("executed, then dropped", "hanging", "cut in the middle", "200 that is no JSON")
MATRIX_FAULTS = [fault for fault in FAULTS if fault != "three days down"]


@pytest.fixture(params=[*RIGS, *REAL_RIGS], ids=str)
def rig(
    request: pytest.FixtureRequest, house: str, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    on_the_platform("cleo", "ben")
    with (RIGS | REAL_RIGS)[request.param](monkeypatch) as made:
        made.put("cleo")
        made.put("ben")
        yield made
        assert made.holds("ben"), "a bystander's records are gone"


@pytest.fixture(params=("SMTP", "Vercel"))
def attested(request: pytest.FixtureRequest, house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ByHand]:
    with by_hand(request.param, monkeypatch) as made:
        yield made
        assert "ben" in made.kept


@contextmanager
def hasty(fault: str) -> Iterator[None]:
    """Short of time where something hangs, so that a test does not hang as long."""
    with pytest.MonkeyPatch.context() as patch:
        if fault == "hanging":
            patch.setattr(remote, "SECONDS", 0.3)
        yield


def order(who: str = "cleo") -> Order:
    return Order(Person("student", id_of(who), id_of("asha request")), f"erasure {who}")


def do(rig: Rig | ByHand, verb: str, now: datetime) -> Any:
    """One call of a verb, as the product makes it."""
    with db.transaction("worker") as session:
        processor, person = rig.processor(), order().person
        if verb in ("preview", "export"):
            return getattr(processor, verb)(session, person, now=now)
        if verb == "correct":
            return processor.propagate(session, person, Change("correct", NEW, "propagation 1 correct"), now=now)
        if verb == "verify":
            return processor.verify(session, order(), now=now)
    if verb == "erase":
        return erase(rig, now)
    return rig.send() if isinstance(rig, Post) else None


def erase(rig: Rig | ByHand, now: datetime = NOW) -> Outcome:
    """Once, as the eraser does: in parts, until there are none."""
    while True:
        with db.transaction("worker") as session:
            outcome = rig.processor().erase(session, order(), now=now)
        if outcome.became is not Became.MORE:
            return outcome


def verify(rig: Rig | ByHand, now: datetime = NOW) -> Proof:
    found: Proof = do(rig, "verify", now)
    return found


def ends(rig: Rig, now: datetime) -> None:
    """The way of the eraser, read first, then do, then read: until it is proven."""
    for turn in range(8):
        at = now + turn * HOUR
        if not verify(rig, at).absent:
            erase(rig, at)
        if verify(rig, at).absent:
            break
    assert verify(rig, now + 9 * HOUR).absent is True
    assert not rig.holds("cleo")


# -- without a fault ----------------------------------------------------------------------------------------------------------------


def test_it_is_a_processor_that_says_what_it_can_and_sends(rig: Rig) -> None:
    made = rig.processor()
    assert isinstance(made, Processor) and made.name == rig.name and made.remote
    assert made.capabilities >= {Capability.ERASE, Capability.VERIFY} and made.payload


def test_what_is_there_is_found_erased_and_gone(rig: Rig) -> None:
    assert rig.holds("cleo")
    before = verify(rig)
    assert before.absent is False and sum(before.found.values()) > 0
    assert erase(rig).became in SETTLED
    assert not rig.holds("cleo")
    assert verify(rig) == Proof(True)
    assert erase(rig).became in SETTLED, "again does no harm"


def test_its_preview_and_export_are_of_this_person_only(rig: Rig) -> None:
    preview, export = do(rig, "preview", NOW), do(rig, "export", NOW)
    assert preview.complete and sum(line.rows or 0 for line in preview.lines) > 0
    assert export.complete and export.records
    told = str(export.records)
    for word in (email_of("ben"), "p-123", str(id_of("ben"))):
        assert word not in told


def test_what_is_done_by_hand_is_done_when_two_people_say_so(attested: ByHand) -> None:
    made = attested.processor()
    assert isinstance(made, Processor) and made.name == attested.name and not made.remote
    assert not made.capabilities & {Capability.ERASE, Capability.VERIFY, Capability.PROPAGATE}
    for _ in range(2):
        assert erase(attested).error == "manual" and verify(attested).absent is None
    assert "cleo" in attested.kept
    attested.people_do_it()
    assert erase(attested).became is Became.DONE and verify(attested) == Proof(True)
    assert "cleo" not in attested.kept
    assert not do(attested, "preview", NOW).complete and not do(attested, "export", NOW).complete


def test_the_way_to_a_real_server_is_walked_without_one(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MONGODB_TEST_URI switches on, with the double in the place of the real one: found, erased, and nothing left behind."""
    on_the_platform("cleo", "ben")
    with MongoServer() as behind:
        monkeypatch.setenv(REAL, behind.uri)
        with real_mongo_rig(monkeypatch) as made:
            made.put("cleo")
            made.put("ben")
            [name] = {each for each in behind.client.list_database_names() if each.startswith("resocode_test_")}
            assert behind.client[name]["users"].count_documents({}) == 2 and verify(made).absent is False
            made.breaks("executed, then dropped")
            assert erase(made).became is Became.UNCLEAR
            made.mend()
            ends(made, NOW + HOUR)
            assert {each["email"] for each in behind.client[name]["users"].find()} == {email_of("ben")}
        for found in on_server("real", monkeypatch):
            found.db["users"].insert_one({"name": "x"})
        assert not [each for each in behind.client.list_database_names() if each.startswith("resocode_test_")]


# -- the matrix ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", MATRIX_FAULTS)
def test_whatever_breaks_nothing_false_is_said_and_it_ends_once_it_works(
    rig: Rig, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    rig.put_more("cleo")
    at, everything = NOW, ""
    if fault == "404: already gone":
        rig.take_away("cleo")
    for verb, why in cells(rig.name, fault):
        if verb == "send":
            continue  # no processor but the mail provider has it
        at += 12 * HOUR
        plain = do(rig, verb, at - HOUR) if verb in READING else None
        reading = verb in READING and fault != "200 and still there"  # which is an answer to a change
        rig.breaks(fault.removesuffix(" with Retry-After") if fault.startswith("429") else fault, reading=reading)
        with hasty(fault):
            told = do(rig, verb, at)
        met = _met(rig, fault, told, at)
        rig.mend()
        if why:
            assert not met, f"{verb} meets it after all: take it off the list of what does not apply"
            continue
        assert met, f"{verb} does not meet it: say why on the list of what does not apply"
        _judge(verb, fault, told, plain, at)
        everything += repr(told) if fault not in ("partial page", "200 and still there") else ""
        if verb in ("erase", "correct"):
            assert verify(rig, at + HOUR).absent is not True or not rig.holds("cleo")
    if fault == "404: already gone":
        assert not rig.holds("cleo")
    ends(rig, at + 2 * HOUR)
    _tells_nobody(rig, ours(caplog), everything)


def _met(rig: Rig, fault: str, told: Any, at: datetime) -> bool:
    if fault == "404: already gone":
        return _says_nothing_is_there(told)
    if fault == "refused":
        return rows("select failed_at from privacy.processor_health where name = :n", n=rig.name) == [(at,)]
    return rig.met()


def _judge(verb: str, fault: str, told: Any, plain: Any, at: datetime) -> None:
    """What may be said after a fault: never that something is done, gone or whole when nobody has seen it."""
    if fault == "404: already gone":
        assert _says_nothing_is_there(told), told
    elif fault == "partial page":
        assert told == plain if verb in READING else told.became is Became.DONE, f"{verb}: not read to the last page"
    elif fault == "200 and still there":
        assert verb == "erase" or told.became is Became.FAILED, "a correction is read back"
    elif isinstance(told, Proof):
        assert told.absent is None and told.error, "no answer is not a proof"
    elif isinstance(told, Preview | Exported):
        assert not told.complete and told.problem
    else:
        assert told.became in (Became.FAILED, Became.UNCLEAR, Became.WAITING) and told.error
        if fault in LOST:
            assert told.became is Became.UNCLEAR, "it may have happened"
        if fault in ("429 with Retry-After", "503 with Retry-After"):
            assert told.became is Became.WAITING and told.until and told.until >= at + 2 * MINUTE


def _says_nothing_is_there(told: Any) -> bool:
    if isinstance(told, Proof):
        return told == Proof(True)
    if isinstance(told, Preview):
        return told.complete and not any(line.rows for line in told.lines if "kept by law" not in line.what)
    if isinstance(told, Exported):
        return told.complete and not told.records
    return isinstance(told, Outcome) and told.became in SETTLED


@pytest.mark.parametrize("fault", MEANS)
def test_a_letter_is_taken_refused_later_or_unclear(
    house: str, fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with by_hand("SMTP", monkeypatch) as post:
        assert isinstance(post, Post)
        post.breaks(fault)
        told = post.send()
        assert (told.outcome, told.code) == MEANS[fault]
        post.mend()
        assert post.send().outcome == "taken"
        assert set(post.server.ids) == {str(post.letter.id)}, "a second copy is known as one"
        assert len(post.server.ids) == (2 if fault == "executed, then dropped" else 1)
    for word in (email_of("cleo"), "Dear Cleo"):
        assert word not in ours(caplog)


def test_what_does_not_apply_by_hand_is_not_met(attested: ByHand) -> None:
    """Every fault at once would not matter: nothing is called, and the answer is the same."""
    for verb in VERBS:
        tried = {fault for fault in FAULTS if not dict(cells(attested.name, fault))[verb]}
        if verb == "send":
            assert tried - {"three days down"} == (set(MEANS) if attested.name == "SMTP" else set())
            continue
        assert tried == set() and {dict(cells(attested.name, fault))[verb] for fault in FAULTS} <= {
            ATTESTED,
            *READING_REASONS,
        }
        plain = do(attested, verb, NOW)
        for fault in FAULTS:
            attested.breaks(fault)
            assert do(attested, verb, NOW) == plain and attested.calls() == 0
            attested.mend()


READING_REASONS = {dict(cells("Vercel", "200 and still there"))[verb] for verb in READING}


def test_three_days_down_nothing_is_claimed_little_is_sent_and_then_it_ends(rig: Rig) -> None:
    rig.breaks("refused")
    for hour in range(72):
        at = NOW + hour * HOUR
        assert verify(rig, at).absent is None
        assert erase(rig, at).became not in SETTLED
        if hour % 24 == 0:
            assert not do(rig, "preview", at).complete and not do(rig, "export", at).complete
            assert do(rig, "correct", at).became is not Became.DONE
    assert rows("select circuit from privacy.processor_health where name = :n", n=rig.name) == [("open",)]
    rig.mend()
    ends(rig, NOW + 73 * HOUR)
    assert rows("select circuit, failures from privacy.processor_health where name = :n", n=rig.name) == [("closed", 0)]


def test_three_days_without_a_mail_server_cost_no_letter(house: str, monkeypatch: pytest.MonkeyPatch) -> None:
    closed()
    with by_hand("SMTP", monkeypatch) as post:
        post.breaks("refused")
        for hour in range(72):
            sending.send_lane(lane=1, now=NOW + hour * HOUR)
        assert {row[:2] for row in rows("select state, attempts from privacy.outbox")} == {("waiting", 0)}
        post.mend()
        for turn in range(12):
            sending.send_lane(lane=1, now=NOW + 73 * HOUR + turn * 10 * MINUTE)
        assert isinstance(post, Post)
        due = "select state, address is null from privacy.outbox where not_before <= :at"
        assert rows(due, at=NOW + 73 * HOUR) == [("sent", True)]
        assert len(post.server.ids) == 1, "once"


def test_what_leaves_is_what_is_declared(rig: Rig) -> None:
    """The values of the person that pass the wire are of the declared fields, and so is the name of every parameter."""
    for verb in ("preview", "export", "correct", "erase", "verify"):
        do(rig, verb, NOW)
    names, everything = rig.left()
    assert names - rig.sent == set(), "a new parameter leaves: declare it, or do not send it"
    words = {"e-mail": email_of("cleo"), "name": "Cleo New", "platform id": "p-12", "student id": str(id_of("cleo")),
             "phone": "+49 000", "reference": "pay-cleo", "certificate number": "C-cleo", "headline": "Learns"}  # fmt: skip
    seen = {
        word
        for word, value in words.items()
        if value in everything.replace("%40", "@").replace("+", " ").replace("%2B", "+")
    }
    assert seen and seen <= set(rig.processor().payload)


def test_the_docs_show_the_matrix() -> None:
    assert table() in PAGE.read_text(), "run: python -m tests.core.processors.contract"
    assert set(PROCESSORS) == {*RIGS, "SMTP", "Vercel"}


def ours(caplog: pytest.LogCaptureFixture) -> str:
    """What was logged on this side of the wire: the tests' own clients and servers tell everything."""
    theirs = ("asyncio", "httpx", "httpcore", "mail.log")
    return "\n".join(each.getMessage() for each in caplog.records if not each.name.startswith(theirs))


def _tells_nobody(rig: Rig, *texts: str) -> None:
    kept = rows("select coalesce(error, '') from privacy.processor_health")
    for told in (*texts, str(kept)):
        for word in (email_of("cleo"), "cleo@", "sk_test_secret", rig.secret, "authorization"):
            assert word not in told.lower() if word.islower() else word not in told
