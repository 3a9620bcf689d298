"""Certificates and Quarantine through AppTest: what is shown, how it is decided, what is empty."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from core import db, drill, keys
from core.privacy import suppression
from tests.core.privacy.house_of_requests import rows
from tests.pages.test_matrix import at, opened, words

pytestmark = pytest.mark.usefixtures("house")
NAME = "Ana <b>bold</b> **star**"


def quarantined() -> None:
    """A record without a date, under the address of somebody who was erased."""
    now = datetime.now(UTC)
    digest = keys.person_hashes()("ana@x.example", "x")
    with db.transaction("worker") as session:
        suppression.suppress(session, erasure_id=uuid.uuid4(), hashes=[("e-mail", digest[0])], basis="x",
                             until=now + timedelta(days=900), now=now)  # fmt: skip
        session.execute(text("create temporary table came on commit drop as select gen_random_uuid() as id, cast(:n as text) as name,"
                             " 'ana@x.example' as email, cast(:m as bytea) as email_hash, cast(:p as bytea) as provider_hash"),
                        {"n": NAME, "m": digest[0], "p": digest[1]})  # fmt: skip
        suppression.sift(session, "came", "student", source="csv", now=now)


def test_certificates_are_empty_then_there_and_found_by_number_or_request() -> None:
    app = opened("aiko", "certificates")
    assert "No certificate yet" in words(app)
    told = {each.what: each.seen for each in drill.drill(clock=lambda: datetime.now(UTC))}
    number, request = told["certified"].partition(",")[0], told["closed"].split()[0]
    for asked in (number, request):
        at(app, "certificates", number=asked)
        assert f"Certificate of erasure {number}" in words(app)
        assert "genuine" in words(app) and "Copies in backups" in str([table.value for table in app.table])
    for asked in ("E-999", "R-1", "x", "E-" + "9" * 40, "'; drop"):
        at(app, "certificates", number=asked)
        assert not app.exception and "no certificate with this number" in " ".join(each.value for each in app.info)


def test_an_officer_sees_what_waits_on_today_and_decides_there() -> None:
    app = opened("omar", "quarantine")
    assert "No record waits" in words(app)
    quarantined()
    at(app, "overview")
    assert "1 record in quarantine" in words(app)
    at(app, "quarantine")
    assert NAME not in words(app), "only who is selected is shown"
    assert rows("select count(*) from privacy.audit_event where action = 'person viewed'") == [(0,)]
    assert [metric.value for metric in app.metric] == ["1", "0", "1"]
