"""The register of processors on the screen."""

from datetime import date

import pytest
from sqlalchemy import text

from core import db, queries
from core.processors import remote
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import act, rows
from tests.hostile import NAMES
from tests.pages.test_matrix import opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")


def test_an_admin_fills_an_entry_in_and_sees_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_CLOUDINARY_URL", "cloudinary://key:s3cret@cloud")
    page = opened("ada", "processors")
    assert "Not filled in" in words(page) and [each.value for each in page.metric][:2] == ["5", "5"]
    assert "s3cret" not in words(page)
    page.button(key="edit_Cloudinary").click().run()
    next(each for each in page.text_input if each.label == "Purpose").set_value("Pictures")
    next(each for each in page.selectbox if each.label == "Legal basis").set_value("contract")
    next(each for each in page.button if each.label == "Write version 1").click().run()
    assert not page.exception
    assert rows("select name, version, purpose, legal_basis from privacy.processor_record") == [
        ("Cloudinary", 1, "Pictures", "contract")
    ]
    assert "Pictures" in words(page) and "picture, platform id" in words(page), "what is sent is told"


def test_a_mistake_leaves_the_form_open_with_what_was_typed() -> None:
    page = opened("ada", "processors")
    page.button(key="edit_Cloudinary").click().run()
    contract, review = page.date_input
    contract.set_value(date(2026, 5, 1))
    review.set_value(date(2026, 4, 1))
    next(each for each in page.button if each.label == "Write version 1").click().run()
    assert "comes after the day" in words(page)
    assert page.date_input[0].value == date(2026, 5, 1)
    assert rows("select count(*) from privacy.processor_record") == [(0,)]


def test_whoever_reads_cannot_write_and_sees_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_CLOUDINARY_URL", "cloudinary://key:s3cret@cloud")

    def down() -> None:
        raise ConnectionRefusedError

    for _ in range(5):
        with pytest.raises(remote.Trouble), db.transaction("worker") as session:
            remote.guarded_call(session, "Cloudinary", down, now=NOW)
    page = opened("omar", "processors")
    assert not [each for each in page.button if each.key and each.key.startswith("edit_")]
    assert "Stopped after 5 failures in a row" in words(page) and "last error: no connection" in words(page)


def test_the_mail_provider_is_told_by_its_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_SMTP_URL", "smtp://127.0.0.1:1")
    monkeypatch.setenv("RESOCODE_MAIL_FROM", "privacy@resocode.example")
    with db.transaction("worker") as session:
        resting = "update privacy.mail_pace set closed_since = :n, closed_until = :n + interval '9 minutes', failures = 3, code = '421'"
        session.execute(text(resting), {"n": now()})
    page = opened("omar", "processors")
    assert "1 connected" in str([each.delta for each in page.metric]) and "SMTP,['stopped']" in words(page)
    with db.transaction(staff_id=id_of("ada")) as session:
        entry = next(each for each in queries.processor_register(session, now=now()) if each.name == "SMTP")
    assert (entry.circuit, entry.failures, entry.error, entry.troubled) == ("open", 3, "421", True)
    assert entry.sent == ("letter", "mail address used", "subject"), "what leaves for it is told"


def test_what_people_typed_is_shown_as_it_is() -> None:
    hostile = next(name for name in NAMES if "*" in name or "[" in name or "<" in name)
    act("write_processor_record", "ada", now=now(), name="Cloudinary", version=0, purpose=hostile, legal_basis="", contract_on=None, review_by=None,
        sub_processors=[hostile], transfer_basis="", region=":red[x]", contact="")  # fmt: skip
    page = opened("aiko", "processors")
    assert not page.exception and ":red[x]" not in words(page), "typed text is text"
