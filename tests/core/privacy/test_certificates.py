"""A whole erasure, proven: ledger before, residue, certificate; findings hold it up; the certificate stands by itself."""

import contextlib
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError

from core import db, signing
from core.certified import Certificate, is_genuine, told_of
from core.models.proof import ErasureCertificate
from core.privacy import ledger, residue
from core.settings import ROOT
from tests.cast import email_of, id_of
from tests.core.privacy.house_of_erasures import DUE, Store, bystander, erased, every_store, steps, stores, waits, work
from tests.core.privacy.house_of_requests import act, row, rows, waiting

__all__ = ["bystander", "every_store", "stores"]
pytestmark = pytest.mark.usefixtures("house", "bystander")


def certificate(request_id: object) -> Certificate:
    with db.transaction("worker") as session:
        found = session.scalars(select(ErasureCertificate).order_by(ErasureCertificate.number.desc())).first()
        assert found is not None
        return told_of(found)


def script(*arguments: object) -> tuple[int, str]:
    """Run the stand-alone script, without this program's modules and settings."""
    done = subprocess.run([sys.executable, "-I", str(ROOT / "bin" / "verify-certificate"), *map(str, arguments)],
                          capture_output=True, text=True, env={"PATH": "/usr/bin"}, cwd="/")  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture
def made(every_store: dict[str, Store]) -> Certificate:
    filed = waiting()
    assert erased(filed.request_id)
    return certificate(filed.request_id)


def test_what_is_certified_follows_from_the_steps_and_names_nobody(
    made: Certificate, owner: Connection, tmp_path: Path
) -> None:
    told = made.document
    assert [(each["place"], each["state"]) for each in told["places"]] == [
        *((name, "proven") for name in ("Cloudinary", "MongoDB Atlas", "SMTP", "Vercel", "payment gateway")),
        ("last letter", "proven"), ("this database", "proven")]  # fmt: skip
    assert {each["table"] for each in told["kept"]} >= {"platform.payment"}
    assert told["kept_elsewhere"] == [{"place": "payment gateway", "why": "commercial and tax law",
                                       "until": "10 years after the end of the year of payment"}]  # fmt: skip
    assert told["residue"]["columns"] > 150
    until = {each["what"]: each["until"] for each in told["remains"]}
    assert until["copies in backups"] == (made.issued_at + timedelta(days=35)).date().isoformat()
    assert until["a keyed hash of the e-mail address"] == "2029-12-24"
    for secret in (email_of("cleo"), "Cleo", str(id_of("cleo")), "omar", "olga", str(id_of("omar"))):
        assert secret.lower() not in made.file.lower()
    assert rows("select traces, person_id, email_hash, forms from privacy.erasure") == [(None, None, None, None)]
    assert rows("select count(*) from privacy.suppression")[0][0] >= 2
    known = ledger.read(thoroughly=True)
    assert known.problems == ()
    assert (set(known.begun), known.erased[made.erasure_id].certificate) == ({made.erasure_id}, made.sha256)


def test_it_never_changes_and_the_stand_alone_script_knows_the_genuine_from_the_changed(
    made: Certificate, tmp_path: Path
) -> None:
    for role in ("worker", "owner", "app"):
        for statement in (
            "update privacy.erasure_certificate set document = '{}' returning id",
            "delete from privacy.erasure_certificate returning id",
        ):
            with contextlib.suppress(DBAPIError), db.transaction(role, staff_id=id_of("omar")) as session:
                assert not session.execute(text(statement)).all(), "the owner sees no row"
    assert is_genuine(certificate(None)) and certificate(None) == made
    file = tmp_path / "certificate.json"
    file.write_text(made.file)
    (key,) = signing.our_keys()
    status, told = script(file, "--key", key)
    assert (status, "Genuine" in told, "copies in backups" in told) == (0, True, True)
    assert script(file)[0] == 0
    assert script(file, "--key", "00" * 32)[0] == 1
    for change in ({"document": made.document | {"number": "E-99"}}, {"signature": "00" * 64}, {"public_key": "11" * 32},
                   {"sha256": "0" * 64}, {"document": {}}):  # fmt: skip
        file.write_text(json.dumps(json.loads(made.file) | change))
        status, told = script(file)
        assert (status, told.startswith("NOT GENUINE")) == (1, True)
    for content in ("", "[]", "{", "\x00"):
        file.write_text(content)
        assert script(file)[0] == 1
    assert script(tmp_path / "none")[0] == 1


def test_a_finding_holds_an_erasure_up_until_somebody_has_judged_it(
    stores: dict[str, Store], owner: Connection
) -> None:
    owner.execute(
        text("update platform.program set title = :t where code = 'JAVA'"),
        {"t": f"With {email_of('cleo')} and Cleo Example"},
    )
    owner.commit()
    filed = waiting()
    assert not erased(filed.request_id, days=1)
    assert waits(filed.request_id) == ("finding", "1 place")
    assert (steps(filed.request_id)["residue scan"], steps(filed.request_id)["certificate of erasure"]) == (
        "waiting",
        "to do",
    )
    [(finding, table, column, trace, sure)] = rows(
        "select id, place_table, place_column, trace, sure from privacy.erasure_finding"
    )
    assert (table, column, trace, sure) == ("platform.program", "title", "e-mail", True)
    act("judge_finding", "omar", finding_id=finding, verdict="removed", now=DUE + timedelta(days=1))
    work(DUE + timedelta(days=1, hours=1))
    assert waits(filed.request_id) == ("finding", "1 place"), "it is still there: saying so is not enough"
    owner.execute(text("update platform.program set title = 'Cleo Example' where code = 'JAVA'"))
    owner.commit()
    work(DUE + timedelta(days=3))
    assert waits(filed.request_id) == ("finding", "1 place"), "a bare name is for a person to judge"
    [(name,)] = rows("select id from privacy.erasure_finding where verdict is null")
    for _ in range(2):
        act("judge_finding", "omar", finding_id=name, verdict="somebody else", now=DUE + timedelta(days=3, hours=1))
    work(DUE + timedelta(days=3, hours=2))
    assert row(filed.request_id)["state"] == "erased"
    assert certificate(filed.request_id).document["residue"]["judged"] == {"gone": 1, "somebody else": 1}


def test_one_scan_serves_all_who_have_come_as_far(stores: dict[str, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    scan = residue.scan
    monkeypatch.setattr(residue, "scan", lambda *a, **k: batches.append(len(k["batch"])) or scan(*a, **k))
    filed = [waiting(), waiting(visitor_id=id_of("viktor"))]
    for each in filed:
        assert erased(each.request_id)
    assert batches == [2]
    assert len(rows("select 1 from privacy.erasure_certificate")) == 2
