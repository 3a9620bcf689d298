"""Somebody below the minimum age: closed at once, erased without a waiting period, and in doubt not at all."""

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from core import db
from core.privacy import below_age, brakes, erasure
from tests.cast import NOW, email_of, id_of
from tests.core.privacy import house_of_consent as c
from tests.core.privacy import house_of_erasures as erasures
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.house_of_erasures import Store
from tests.core.privacy.test_consent_watch import work

stores, bystander = erasures.stores, erasures.bystander
pytestmark = pytest.mark.usefixtures("house", "stores", "bystander")
SIXTEEN = datetime(2027, 2, 28, 10, tzinfo=UTC)  # TOO_YOUNG's 16th birthday begins on Kiritimati


def deletion(name: str = "cleo") -> dict[str, object]:
    [(request_id,)] = requests.rows(
        "select id from privacy.request where student_id = :id and kind = 'delete'", id=id_of(name)
    )
    return requests.row(request_id)


def test_closed_at_once_and_erased_without_grace(stores: dict[str, Store]) -> None:
    receipt = c.minor(born=c.TOO_YOUNG)
    assert "closed and erased" in receipt.sentence and c.restricted() == ["consent missing"]
    assert work()["below the minimum age"] == 1
    found = deletion()
    assert (found["state"], found["early"], found["grace_ends_at"], found["source"]) == (
        "waiting",
        True,
        NOW,
        "age rule",
    )
    assert requests.rows("select account_status, closed_at from platform.student where id = :id", id=id_of("cleo")) == [
        ("closed", NOW)
    ]
    assert requests.rows("select rule, staff_id from privacy.approval") == [("below the minimum age (clause 9)", None)]
    assert c.letters() == [("below age", email_of("cleo"))]
    assert work() == {}, "found once"
    assert erasures.erased(found["id"], NOW, days=1)  # type: ignore[arg-type]
    assert id_of("cleo") not in stores["Cloudinary"].holds
    with db.transaction("worker") as session:
        left = session.scalar(
            text("select count(*) from privacy.consent where student_id = :id"), {"id": id_of("cleo")}
        )
        told = session.scalar(text("select document from privacy.erasure_certificate"))
    assert left == 0 and "below the minimum age" in str(told)
    assert requests.rows("select kind from privacy.outbox") == [], (
        "its one letter was the last one, and went with the person"
    )
    assert "below the minimum age" in requests.lines(found["id"])  # type: ignore[arg-type]


def test_a_guardian_who_is_known_is_told_too() -> None:
    c.requested()
    c.on("declare_age", adult=False, birth_date=c.TOO_YOUNG, how="told by the guardian")
    work()
    assert {to for kind, to in c.letters() if kind == "below age"} == {email_of("cleo"), "greta@guardians.example"}


@pytest.mark.parametrize(("now", "is_found"), [(SIXTEEN - timedelta(microseconds=1), True), (SIXTEEN, False)])
def test_in_doubt_nobody_is_too_young(now: datetime, is_found: bool) -> None:
    c.minor(born=c.TOO_YOUNG, now=now)
    assert ("below the minimum age" in work(now)) is is_found


@pytest.mark.parametrize("mended", ["the date was wrong", "the birthday came first", "of age after all"])
def test_what_was_wrong_opens_the_account_again(mended: str) -> None:
    """Also when the eraser comes before the job that looks for it."""
    c.minor(born=c.TOO_YOUNG)
    work()
    found, now = deletion(), NOW + timedelta(minutes=1)
    if mended == "the date was wrong":
        c.on("declare_age", now=now, adult=False, birth_date=c.BORN, how="told by the guardian")
    elif mended == "of age after all":
        c.on("declare_age", now=now, adult=True, how="document shown, not kept")
    else:
        now = SIXTEEN
    with db.transaction("worker") as session:
        did = erasure.go_on(session, request_id=found["id"], now=now)  # type: ignore[arg-type]
    assert did == {"sent back": 1}
    assert (deletion()["state"], deletion()["outcome"]) == ("reactivated", "not below the minimum age")
    assert requests.rows("select account_status from platform.student where id = :id", id=id_of("cleo")) == [("open",)]
    assert ("below age", email_of("cleo")) not in c.letters() and ("reactivated", email_of("cleo")) in c.letters()
    assert "below the minimum age" not in work(now)


def test_the_job_opens_it_without_the_eraser() -> None:
    c.minor(born=c.TOO_YOUNG)
    work()
    c.on("declare_age", now=NOW + timedelta(minutes=1), adult=False, birth_date=c.BORN, how="told by the guardian")
    assert work(NOW + timedelta(minutes=1))["not below the minimum age"] == 1
    assert deletion()["state"] == "reactivated"


def test_the_rule_waives_the_grace_of_nobody_else() -> None:
    """With Python out of the way: a rule's approval of an early deletion counts for a birth date of record only."""
    filed = requests.closed()
    requests.act("ask_early", "olga", words="now, please", **requests.on(filed))
    with db.transaction("worker") as session:
        session.execute(text("""insert into privacy.approval (id, request_id, fingerprint, rule, round, reason, approved_at)
            select gen_random_uuid(), id, plan_fingerprint, :rule, privacy.approval_round(id), 'rule', :now from privacy.request
            where id = :id"""), {"rule": below_age.RULE, "now": NOW, "id": filed.request_id})  # fmt: skip
        assert not session.scalar(text("select privacy.is_approved(:id)"), {"id": filed.request_id})
    with db.transaction("worker") as session, pytest.raises(DBAPIError):
        session.execute(text("update privacy.request set source = 'age rule' where id = :id"), {"id": filed.request_id})


def test_the_database_itself_looks_at_the_birth_date(owner: Connection) -> None:
    c.minor(born=c.TOO_YOUNG)
    work()
    found = deletion()
    ask = text("select privacy.is_approved(:id)")
    with db.transaction("worker") as session:
        assert session.scalar(ask, {"id": found["id"]})
        session.execute(text("update privacy.consent set birth_date = :born where student_id = :id"),
                        {"born": date(2010, 11, 25), "id": id_of("cleo")})  # fmt: skip
        assert not session.scalar(ask, {"id": found["id"]}), "16 tomorrow, which has begun on Kiritimati"
        session.execute(text("update privacy.consent set birth_date = :born where student_id = :id"),
                        {"born": date(2010, 11, 26), "id": id_of("cleo")})  # fmt: skip
        assert session.scalar(ask, {"id": found["id"]})


def test_a_hold_still_applies_and_its_release_brings_the_plan_before_people() -> None:
    hold = {
        "student_id": id_of("cleo"),
        "basis": "court proceedings",
        "reference": "4 C 1",
        "review_on": date(2027, 6, 1),
    }
    requests.act("place_hold", "omar", form_key=id_of("a form"), **hold)
    c.minor(born=c.TOO_YOUNG)
    work()
    request_id = deletion()["id"]
    assert isinstance(request_id, uuid.UUID)
    erasures.work(NOW)
    assert (deletion()["state"], erasures.waits(request_id)) == ("waiting", ("hold", "H-1"))
    hold_id = requests.rows("select id from privacy.legal_hold")[0][0]
    requests.act("release_hold", "omar", hold_id=hold_id, confirmation="H-1", reason="proceedings ended")
    erasures.work(NOW + timedelta(hours=1))
    assert deletion()["state"] == "to approve", "another plan than the rule said yes to"


def test_the_brakes_still_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    c.minor(born=c.TOO_YOUNG)
    work()
    request_id = deletion()["id"]
    assert isinstance(request_id, uuid.UUID)
    later = NOW + timedelta(hours=1)
    monkeypatch.setattr(brakes, "FEW", 0)
    monkeypatch.setattr(brakes, "SHARE", 0)
    erasures.work(later)
    assert (deletion()["state"], erasures.waits(request_id)) == ("waiting", ("many", ""))
    [(brake,)] = requests.rows("select id from privacy.brake")
    requests.act(
        "answer_brake", "omar", now=later, brake_id=brake, confirmation="1", reason="expected, all of them are right"
    )
    erasures.work(later + timedelta(hours=1))
    assert deletion()["state"] == "erasing"


def test_somebody_in_a_deletion_already_keeps_it_and_is_closed() -> None:
    filed = requests.verified()
    c.minor(born=c.TOO_YOUNG)
    assert work()["below the minimum age"] == 1
    assert requests.row(filed.request_id)["state"] == "verified", "people go on with it, and may waive its grace period"
    assert requests.rows("select account_status from platform.student where id = :id", id=id_of("cleo")) == [
        ("closed",)
    ]
    assert work() == {}
