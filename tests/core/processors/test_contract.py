"""What every processor promises, whichever it is: done is proven, gone is gone, unclear is never done, and nobody else is touched.

A processor enters by a rig (tests/core/processors/rigs.py). MongoDB's runs against a real server when MONGODB_TEST_URI is set.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from core import db
from core.processors import remote
from core.processors.protocol import Became, Capability, Order, Outcome, Person, Processor, Proof
from tests.cast import NOW, email_of, id_of
from tests.core.privacy.house_of_requests import rows
from tests.core.processors.rigs import RIGS, Rig, on_the_platform

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SETTLED = (Became.DONE, Became.GONE)


@pytest.fixture(params=RIGS, ids=str)
def rig(
    request: pytest.FixtureRequest, house: str, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    on_the_platform("cleo", "ben")
    with RIGS[request.param](monkeypatch) as made:
        made.put("cleo")
        made.put("ben")
        yield made
        assert made.holds("ben"), "a bystander's records are gone"


@contextmanager
def hasty(fault: str) -> Iterator[None]:
    """Short of time where something hangs, so that a test does not hang as long."""
    with pytest.MonkeyPatch.context() as patch:
        if fault == "hanging":
            patch.setattr(remote, "SECONDS", 0.3)
        yield


def order(who: str = "cleo") -> Order:
    return Order(Person("student", id_of(who), id_of("asha request")), f"erasure {who}")


def erase(rig: Rig, now: datetime = NOW) -> Outcome:
    """Once, as the eraser does: in parts, until there are none."""
    while True:
        with db.transaction("worker") as session:
            outcome = rig.processor().erase(session, order(), now=now)
        if outcome.became is not Became.MORE:
            return outcome


def verify(rig: Rig, now: datetime = NOW) -> Proof:
    with db.transaction("worker") as session:
        return rig.processor().verify(session, order(), now=now)


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
    person = order().person
    with db.transaction("worker") as session:
        preview = rig.processor().preview(session, person, now=NOW)
        export = rig.processor().export(session, person, now=NOW)
    assert preview.complete and sum(line.rows or 0 for line in preview.lines) > 0
    assert export.complete and export.records
    told = str(export.records)
    for word in (email_of("ben"), "p-123", str(id_of("ben"))):
        assert word not in told


def faults() -> list[Any]:
    return [pytest.param(fault, id=fault) for fault in dict.fromkeys(
        ("refused", "hanging", "429", "500", "503 with Retry-After", "200 with an error body", "200 that is no JSON",
         "200 and still there", "cut in the middle", "401", "executed, then dropped", "dropped before"))]  # fmt: skip


@pytest.mark.parametrize("fault", faults())
def test_whatever_breaks_nothing_false_is_said_and_it_ends_once_it_works(
    rig: Rig, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    if fault not in rig.faults:
        return
    with hasty(fault):
        rig.breaks(fault)
        outcome = erase(rig)
    if fault != "200 and still there":
        assert outcome.became in (Became.FAILED, Became.UNCLEAR, Became.WAITING) and outcome.error
    if fault in ("executed, then dropped", "hanging", "cut in the middle"):
        assert outcome.became is Became.UNCLEAR, "it may have happened"
    if fault in ("429", "503 with Retry-After"):
        assert outcome.became is Became.WAITING and outcome.until and outcome.until >= NOW + 2 * MINUTE
    rig.mend()
    assert verify(rig, NOW + HOUR).absent is not True or not rig.holds("cleo")
    ends(rig, NOW + HOUR)
    _tells_nobody(rig, caplog.text, repr(outcome))


@pytest.mark.parametrize(
    "fault", [fault for fault in faults() if fault.id not in ("200 and still there", "executed, then dropped")]
)
def test_a_proof_that_cannot_be_read_is_none(rig: Rig, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    if fault not in rig.faults:
        return
    rig.breaks(*[fault] * 3, reading=True)
    with hasty(fault):
        proof = verify(rig)
    assert proof.absent is None and proof.error, "no answer is not a proof"
    with hasty(fault), db.transaction("worker") as session:
        if Capability.EXPORT in rig.processor().capabilities:
            assert not rig.processor().export(session, order().person, now=NOW).complete
        assert not rig.processor().preview(session, order().person, now=NOW).complete
    rig.mend()
    assert verify(rig, NOW + HOUR).absent is False
    _tells_nobody(rig, caplog.text, repr(proof))


def test_three_days_down_nothing_is_claimed_little_is_sent_and_then_it_ends(rig: Rig) -> None:
    rig.breaks("refused")
    for hour in range(72):
        at = NOW + hour * HOUR
        assert verify(rig, at).absent is None
        assert erase(rig, at).became not in SETTLED
    assert rows("select circuit from privacy.processor_health where name = :n", n=rig.name) == [("open",)]
    rig.mend()
    ends(rig, NOW + 73 * HOUR)
    assert rows("select circuit, failures from privacy.processor_health where name = :n", n=rig.name) == [("closed", 0)]


def test_what_leaves_is_what_is_declared(rig: Rig) -> None:
    """The values of the person that pass the wire are of the declared fields, and so is the name of every parameter."""
    with db.transaction("worker") as session:
        rig.processor().preview(session, order().person, now=NOW)
        rig.processor().export(session, order().person, now=NOW)
    erase(rig)
    verify(rig)
    names, everything = rig.left()
    assert names - rig.sent == set(), "a new parameter leaves: declare it, or do not send it"
    words = {"e-mail": email_of("cleo"), "name": "Cleo Example", "platform id": "p-12", "student id": str(id_of("cleo")),
             "phone": "+49 000", "reference": "pay-cleo", "certificate number": "C-cleo", "headline": "Learns"}  # fmt: skip
    seen = {
        word
        for word, value in words.items()
        if value in everything.replace("%40", "@").replace("+", " ").replace("%2B", "+")
    }
    assert seen and seen <= set(rig.processor().payload)


def _tells_nobody(rig: Rig, *texts: str) -> None:
    kept = rows("select coalesce(error, '') from privacy.processor_health")
    for told in (*texts, str(kept)):
        for word in (email_of("cleo"), "cleo@", "sk_test_secret", rig.secret, "p-12", "authorization"):
            assert word not in told.lower() if word.islower() else word not in told
