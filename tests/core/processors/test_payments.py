"""The payment gateway beyond the contract: who pays, what stays, what is exported of a card, and what redaction waits for."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from core import db
from core.errors import SettingsError
from core.processors.protocol import Became, Change, Order, Person, Proof
from core.settings import settings
from tests.cast import NOW, email_of, id_of
from tests.core.privacy.house_of_requests import act, rows
from tests.core.processors.rigs import StripeRig, stripe_rig

CLEO = Order(Person("student", id_of("cleo"), id_of("asha request")), "erasure cleo")


@pytest.fixture
def rig(house: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[StripeRig]:
    with stripe_rig(monkeypatch) as made:
        made.put("cleo")
        made.put("ben")
        yield made


def ask(rig: StripeRig, verb: str, *arguments: Any) -> Any:
    with db.transaction("worker") as session:
        return getattr(rig.processor(), verb)(session, *arguments, now=NOW)


def test_charges_stay_and_are_counted(rig: StripeRig) -> None:
    outcome = ask(rig, "erase", CLEO)
    assert outcome.counts == {"customers": 1, "charges, kept by law": 1}
    paid = rows("select gateway_ref from platform.payment where student_id = :id", id=id_of("cleo"))[0][0]
    kept = rig.gateway.answer("GET", f"/v1/payment_intents/{paid}", {"authorization": "Bearer " + rig.secret}, b"")
    assert b'"amount": 900' in kept[2]


def test_a_customer_with_another_spelling_of_the_address_is_found(rig: StripeRig) -> None:
    rig.pays("cleo", email_of("cleo").upper())
    assert ask(rig, "verify", CLEO).found == {"customers": 2}
    assert ask(rig, "erase", CLEO).counts["customers"] == 2
    assert ask(rig, "verify", CLEO) == Proof(True)


def test_who_pays_for_somebody_is_left_alone_until_a_person_has_looked(rig: StripeRig) -> None:
    parent = rig.pays("cleo", "parent@example.org")
    outcome = ask(rig, "erase", CLEO)
    assert (outcome.became, outcome.error) == (Became.WAITING, "manual")
    assert parent in {each["id"] for each in rig.gateway.customers()} and not rig.holds("cleo")
    assert ask(rig, "verify", CLEO).absent is None
    step = rows("select id from privacy.manual_step")[0][0]
    act("attest_manual_step", "omar", step_id=step, evidence="The mother's own record; nothing of the student in it.")
    act("confirm_manual_step", "olga", step_id=step)
    assert ask(rig, "erase", CLEO).became is Became.DONE
    assert ask(rig, "verify", CLEO).absent is True
    assert parent in {each["id"] for each in rig.gateway.customers()}


def test_an_export_knows_a_card_by_its_end_only(rig: StripeRig) -> None:
    found = ask(rig, "export", CLEO.person).records
    assert found["customer"][0]["e-mail"] == email_of("cleo")
    assert found["cards"] == ({"kind": "visa", "ends with": "4242", "valid until": "12/2030"},)
    assert found["charges"][0]["cents"] == 900
    assert "cus_" not in str(found) and "4242424242424242" not in str(found)


def test_a_correction_is_made_there_and_another_change_by_a_person(rig: StripeRig) -> None:
    change = Change(
        "correct",
        {"name": "Cleo New", "e-mail": email_of("cleo"), "phone": "1"},
        "propagation 1 payment gateway correct",
    )
    assert ask(rig, "propagate", CLEO.person, change).became is Became.DONE
    assert [each["name"] for each in rig.gateway.customers() if each["email"] == email_of("cleo")] == ["Cleo New"]
    assert ask(rig, "propagate", CLEO.person, Change("restrict", key="propagation 2")).error == "manual"


def test_after_a_new_address_a_person_looks_whose_the_old_record_is(rig: StripeRig) -> None:
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set email = 'new@example.org' where id = :id"), {"id": id_of("cleo")}
        )
    change = Change("correct", {"e-mail": "new@example.org"}, "propagation 1 payment gateway correct")
    assert ask(rig, "propagate", CLEO.person, change).error == "manual"


def test_redaction_is_waited_for_until_it_has_succeeded(rig: StripeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_STRIPE_REDACTION", "1")
    assert ask(rig, "erase", CLEO).became is Became.DONE
    looks = [ask(rig, "verify", CLEO)]
    while looks[-1] != Proof(True) and len(looks) < 9:
        looks.append(ask(rig, "verify", CLEO))
    assert rig.gateway.told == ("succeeded",), "not before Stripe says so"
    assert looks[0].again_at == NOW + timedelta(hours=6) and looks[0].found == {"to be redacted": 1}
    assert looks[-1] == Proof(True)
    assert [job["status"] for job in rig.gateway.jobs.values()] == ["succeeded"], "asked for once"


def test_a_redaction_job_is_found_again_behind_the_first_page(rig: StripeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_STRIPE_REDACTION", "1")
    for number in range(3):
        other = {"id": f"prj_other{number}", "status": "succeeded", "objects": {"customers": ["cus_other"]}}
        rig.gateway.jobs[str(other["id"])] = other
    rig.gateway.page = 1
    ask(rig, "erase", CLEO)
    while ask(rig, "verify", CLEO) != Proof(True):
        assert len(rig.gateway.jobs) == 4, "asked for once"


def test_a_redaction_that_stripe_refuses_is_never_called_done(rig: StripeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_STRIPE_REDACTION", "1")
    rig.gateway.refuses = "failed"
    ask(rig, "erase", CLEO)
    looks = [ask(rig, "verify", CLEO) for _ in range(4)]
    assert (looks[-1].absent, looks[-1].error) == (None, "redaction refused"), "a person has to look"
    assert len(rig.gateway.jobs) == 1


def test_a_customer_who_went_between_the_listing_and_the_deletion_is_gone(rig: StripeRig) -> None:
    rig.breaks("404")
    assert ask(rig, "erase", CLEO).became is Became.DONE
    assert ask(rig, "verify", CLEO).absent is False, "404 is believed when it is read back, not before"


def test_an_answer_that_does_not_say_deleted_says_nothing(rig: StripeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    told = (200, {"content-type": "application/json"}, b'{"id": "cus_1", "object": "customer"}')
    monkeypatch.setattr(rig.wire, "pretend", lambda _method, _path, _body: told)
    rig.breaks("200 and still there")
    assert ask(rig, "erase", CLEO).became is Became.UNCLEAR


def test_a_correction_that_was_not_taken_is_not_done(rig: StripeRig) -> None:
    rig.breaks("200 and still there")
    told = ask(rig, "propagate", CLEO.person, Change("correct", {"name": "Cleo New"}, "propagation 1"))
    assert (told.became, told.error) == (Became.FAILED, "not taken")


@pytest.mark.parametrize(
    "page", [{"data": []}, {"data": [], "has_more": True}, {"data": [], "has_more": "no"}, {"has_more": False}, {"data": {}, "has_more": False}]
)  # fmt: skip
def test_a_listing_that_does_not_say_whether_there_is_more_proves_nothing(rig: StripeRig, page: dict[str, Any]) -> None:
    real = rig.wire.backend

    def unclear(method: str, path: str, headers: Any, body: bytes) -> Any:
        if method == "GET" and path.startswith("/v1/customers?"):
            return (
                200,
                {"content-type": "application/json"},
                json.dumps({"object": "list", "url": "/v1/customers", **page}).encode(),
            )
        return real(method, path, headers, body)

    rig.wire.backend = unclear
    assert ask(rig, "verify", CLEO) == Proof(None, error="not understood")
    assert ask(rig, "erase", CLEO).became is Became.FAILED
    assert not ask(rig, "preview", CLEO.person).complete and not ask(rig, "export", CLEO.person).complete
    rig.wire.backend = real
    assert ask(rig, "verify", CLEO).found == {"customers": 1}


def test_a_visitor_has_paid_nothing(rig: StripeRig) -> None:
    assert ask(rig, "erase", Order(Person("visitor", id_of("vera")), "k")).became is Became.GONE
    assert rig.wire.seen == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("RESOCODE_STRIPE_KEY", "pk_live_public"), ("RESOCODE_STRIPE_KEY", "nonsense s3cret"), ("RESOCODE_STRIPE_API", "http://pay.example")],
)  # fmt: skip
def test_settings_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("RESOCODE_STRIPE_KEY", "rk_live_s3cret")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        settings()
    assert "s3cret" not in error.value.sentence
