"""Requests of every kind up to the answer: each verb's refusals with the set-up of its success."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from core import db
from core.errors import AdminError, BadInput, NotFound, Refused, Stale
from core.models.requests import REQUEST_KINDS
from core.policy.clock import add_months
from tests import cast
from tests.cast import NOW, ROLES, email_of, id_of
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.house_of_requests import DAY, act, file, lines, no_file, on, row, rows, staff, verified

pytestmark = pytest.mark.usefixtures("house")


def refused(error: type[AdminError], sentence: str, verb: str, by: Any = "omar", /, **arguments: Any) -> None:
    """A verb is refused with a sentence, and nothing at all is different afterwards."""
    before = (rows("select * from privacy.request order by id"), lines(), rows("select count(*) from privacy.request_text"),
              rows("select count(*) from privacy.outbox"), rows("select count(*) from privacy.request_clock"))  # fmt: skip
    with pytest.raises(error, match=sentence):
        act(verb, by, **arguments)
    after = (rows("select * from privacy.request order by id"), lines(), rows("select count(*) from privacy.request_text"),
             rows("select count(*) from privacy.outbox"), rows("select count(*) from privacy.request_clock"))  # fmt: skip
    assert before == after


# Filing


@pytest.mark.parametrize("name", ROLES)
def test_everybody_who_works_here_can_hand_a_request_on(name: str) -> None:
    filed = file("access", by=name, email=email_of("cleo").upper(), words="Please.")
    assert filed.made == "filed"
    assert row(filed.request_id)["student_id"] == id_of("cleo")
    with db.transaction(staff_id=id_of(name)) as session:
        seen = session.execute(
            text("select number from privacy.request where id = :id"), {"id": filed.request_id}
        ).all()
        told = session.execute(text("select * from privacy.handed_on()")).all()
    assert len(seen) == (name == "omar"), "whoever handed it on learns that it was received, and no more"
    assert [set(each._mapping) for each in told] == [{"number", "kind", "received_at", "filed_at"}]


@pytest.mark.parametrize("kind", REQUEST_KINDS)
def test_every_kind_can_be_filed_and_is_due_in_a_month(kind: str) -> None:
    received = NOW - 3 * DAY
    filed = file(kind, received_at=received, student_id=id_of("cleo"), channel="phone", requester="parent")
    found = row(filed.request_id)
    assert (found["state"], found["version"], found["policy_version"]) == ("received", 1, "2026-04-20")
    assert (found["channel"], found["requester"], found["filed_by"]) == ("phone", "parent", id_of("paula"))
    assert found["due_at"] == filed.due_at == add_months(received, 1)
    assert rows("select what, at, set_by from privacy.request_clock where request_id = :id", id=filed.request_id) == [
        ("start", received, id_of("paula"))
    ]
    assert lines(filed.request_id) == ["request filed"]


def test_one_request_of_a_kind_is_open_for_a_person_and_the_second_is_told_the_first() -> None:
    first = file("export", student_id=id_of("cleo"), words="My data, please.")
    again = file("export", by="omar", email=email_of("cleo"), words="Where is my data?")
    assert (again.made, again.number, again.request_id) == ("already open", first.number, first.request_id)
    assert first.number in again.sentence
    assert [body for (body,) in rows("select body from privacy.request_text order by written_at, body")] == [
        "My data, please.", "Where is my data?",
    ]  # fmt: skip
    assert lines(first.request_id) == ["request filed", "request filed again"]
    other = file("delete", student_id=id_of("cleo"))
    assert other.made == "filed", "an open export does not block a deletion"
    act("withdraw_request", "omar", reason="by the person", **on(first))
    assert file("export", student_id=id_of("cleo")).made == "filed", "a closed one does not block the next"
    insert = "insert into privacy.request (id, kind, student_id, state, received_at, due_at, source) values (:id, 'delete', :who, 'received', :now, :now, 'x')"
    with pytest.raises(DBAPIError, match="uq_request_open_student"), db.transaction("worker") as session:
        session.execute(text(insert), {"id": uuid.uuid4(), "who": id_of("cleo"), "now": NOW})


def test_the_same_form_files_once_whatever_was_clicked() -> None:
    given = {"form_key": uuid.uuid4(), "student_id": id_of("cleo"), "words": "Please."}
    by = staff("paula")
    replies = [file("access", by=by, **given) for _ in range(3)]
    assert len({(each.number, each.request_id) for each in replies}) == 1
    assert [each.made for each in replies] == ["filed", "same form", "same form"]
    assert lines() == ["request filed"]
    assert rows("select count(*) from privacy.request_text") == [(1,)]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"student_id": uuid.uuid4()}, NotFound, "no such student, or the record is not open"),
        ({"student_id": id_of("ben"), "by": "ines"}, NotFound, "no such student, or the record is not open"),
        ({"visitor_id": id_of("vera"), "by": "ines"}, NotFound, "no such visitor, or the record is not open"),
        ({"student_id": id_of("ben"), "visitor_id": id_of("vera")}, BadInput, "about one person"),
        ({"kind": "everything", "student_id": id_of("ben")}, BadInput, "not a kind"),
        ({"channel": "pigeon", "student_id": id_of("ben")}, BadInput, "not a channel"),
        ({"requester": "neighbor", "student_id": id_of("ben")}, BadInput, "not a requester"),
        ({"received_at": NOW + timedelta(seconds=1), "student_id": id_of("ben")}, BadInput, "day of receipt"),
        ({"received_at": NOW - timedelta(days=367), "student_id": id_of("ben")}, BadInput, "day of receipt"),
        ({"words": " \n "}, BadInput, "Say who asked"),
        ({"email": "nobody"}, BadInput, "not an e-mail"),
        ({"words": "a\x00b"}, BadInput, "character that cannot be used"),
        ({"words": "\ud800"}, BadInput, "character that cannot be used"),
        ({"words": "x" * 100_000}, BadInput, "100,000 characters long; 20,000 are possible. Nothing was saved or cut"),
        ({"name": "x" * 201}, BadInput, "201 characters"),
        ({"email": "a@b\x00.example"}, BadInput, "character that cannot be used"),
    ],
)
def test_what_cannot_be_filed_gets_a_sentence_and_leaves_nothing(
    given: dict[str, Any], error: type[AdminError], words: str
) -> None:
    whole = {"kind": "access", "received_at": NOW, "form_key": uuid.uuid4(), "by": "paula"} | given
    refused(error, words, "file_request", whole.pop("by"), **whole)


@pytest.mark.parametrize(
    "words",
    ["<img src=x onerror=alert(1)>", "[x](javascript:alert(1)) **b** :red[c]", "a\r\nb\tc", "x" * 20_000, "\u202eright\u2069",
     "'; drop table privacy.request; --", "E\u0301"],
)  # fmt: skip
def test_what_people_wrote_is_kept_as_they_wrote_it(words: str) -> None:
    import unicodedata

    filed = file("access", student_id=id_of("cleo"), words=words)
    [(kept,)] = rows("select body from privacy.request_text where request_id = :id", id=filed.request_id)
    assert kept == unicodedata.normalize("NFC", words.replace("\r\n", "\n"))
    written = "".join(each[0] for each in rows("select details from privacy.audit_event"))
    assert words not in written, "text never goes into the audit"


def test_somebody_unknown_is_filed_found_out_and_linked_once() -> None:
    filed = file("access", by="ines", name="Cleo?", email="other@example.org", words="It is me.")
    assert (row(filed.request_id)["student_id"], row(filed.request_id)["visitor_id"]) == (None, None)
    assert ("contact", "Cleo?\nother@example.org") in rows("select what, body from privacy.request_text")
    for verb, more in (("ask_identity", {}), ("record_identity", {"method": "known in person", "confirmed": True})):
        refused(BadInput, "who this is", verb, **on(filed), **more)
    refused(BadInput, "No student, visitor or guardian", "link_subject", email="nobody@example.org", **on(filed))
    refused(Refused, "Privacy officers", "link_subject", "paula", email=email_of("cleo"), **on(filed))
    act("link_subject", "omar", email="CLEO@students.example ", **on(filed))
    assert row(filed.request_id)["student_id"] == id_of("cleo")
    assert {each for (each,) in rows("select student_id from privacy.request_text")} == {id_of("cleo")}
    refused(BadInput, "has its person", "link_subject", email=email_of("ben"), **on(filed))


def test_linking_somebody_who_has_such_a_request_names_that_one() -> None:
    first = file("access", student_id=id_of("cleo"))
    unknown = file("access", name="Somebody")
    refused(BadInput, first.number, "link_subject", email=email_of("cleo"), **on(unknown))


def test_a_visitor_is_a_subject_too() -> None:
    filed = file("access", email="vera@visitors.example")
    assert row(filed.request_id)["visitor_id"] == id_of("vera")
    act("record_identity", "omar", method="answered from the known address", confirmed=True, **on(filed))
    refused(BadInput, "hand it out", "answer_request", outcome="sent by hand", evidence="Mail of today", **on(filed))
    no_file(filed)
    done = act("answer_request", "omar", outcome="sent by hand", evidence="Mail of today", **on(filed))
    assert done.state == "answered"


# Who may


@pytest.mark.parametrize("name", [name for name in ROLES if name != "omar"])
def test_nobody_but_an_officer_works_on_a_request(name: str) -> None:
    filed, by = file("access", by=name, email=email_of("cleo")), staff(name)
    with db.transaction("worker") as session:
        number = session.scalar(text("select count(*) from privacy.audit_event"))
    for verb, more in EVERY_VERB.items():
        with pytest.raises(Refused, match="Privacy officers"):
            act(verb, by, **on(filed), **more)
    for verb, more in OTHER_VERBS.items():
        with pytest.raises(Refused, match="Privacy officers"):
            act(
                verb,
                by,
                **({"request_id": filed.request_id} if "request_id" in more else {}),
                **{k: v for k, v in more.items() if k != "request_id"},
            )
    assert rows("select count(*) from privacy.audit_event") == [(number,)]


EVERY_VERB: dict[str, dict[str, Any]] = {
    "take_request": {},
    "link_subject": {"email": "x@example.org"},
    "ask_identity": {},
    "record_identity": {"method": "known in person", "confirmed": True},
    "pause_clock": {"reason": "proof was not enough"},
    "resume_clock": {"reason": "the person answered"},
    "extend_answer": {"months": 1, "reason": "complex"},
    "refuse_request": {"reason": "manifestly unfounded", "words": "No."},
    "withdraw_request": {"reason": "by the person"},
    "answer_request": {"outcome": "sent by hand", "evidence": "x"},
    "answer_export": {},
    "answer_guardian": {},
    "close_account": {},
    "approve_deletion": {"fingerprint": "x", "confirmation": "x", "reason": "plan is right"},
    "ask_early": {"words": "now"},
    "reactivate_account": {"reason": "closed by mistake"},
    "send_back": {"reason": "approved by mistake"},
    "return_plan": {"reason": "not the right person", "note": "x"},
}
OTHER_VERBS: dict[str, dict[str, Any]] = {
    "add_note": {"request_id": True, "form_key": uuid.uuid4(), "note": "x"},
    "open_plan": {"request_id": True},
    "record_request_view": {"request_id": True},
    "draft_letter": {"request_id": True, "kind": "refusal"},
    "write_letter": {"request_id": True, "kind": "refusal", "subject": "s", "body": "b", "form_key": uuid.uuid4()},
    "edit_wording": {"kind": "refusal", "subject": "s", "body": "b"},
    "mark_sent_by_hand": {"letter_id": uuid.uuid4()},
    "cancel_letter": {"letter_id": uuid.uuid4()},
    "retry_letter": {"letter_id": uuid.uuid4()},
    "approve_deletions": {"items": [], "confirmation": "0", "reason": "plan is right"},
}


def test_the_lists_above_hold_every_verb_of_an_officer() -> None:
    from core import privacy_actions

    told = re.findall(r"^(\w+) +((?:.+\n)(?: +.+\n)*)", privacy_actions.__doc__ or "", re.M)
    listed = " ".join(verbs for topic, verbs in told if topic in ("Requests", "Deletion", "Letters"))
    verbs = {word.strip(",") for word in listed.split() if word.strip(",").islower() and "_" in word}
    others = {"file_request", "edit_wording", "declare_single_officer", "preview_deletion"}
    assert verbs - others <= set(EVERY_VERB) | set(OTHER_VERBS)


def test_an_unknown_request_and_a_stale_screen() -> None:
    filed = file("access", student_id=id_of("cleo"))
    version = row(filed.request_id)["version"]
    for verb, more in EVERY_VERB.items():
        refused(NotFound, "no such request, or it is not open", verb, request_id=uuid.uuid4(), version=1, **more)
    act("take_request", "omar", **on(filed))
    for verb, more in EVERY_VERB.items():
        refused(
            Stale, f"{filed.number} was changed", verb, "olga", request_id=filed.request_id, version=version, **more
        )
        refused(
            Stale, f"{filed.number} was changed", verb, "olga", request_id=filed.request_id, version=version + 9, **more
        )


def test_an_officer_never_works_on_their_own_record() -> None:
    """Omar is a student too: by the e-mail of his account, in another spelling."""
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set email = 'OMAR@staff.example' where id = :id"), {"id": id_of("cleo")}
        )
    filed = file("delete", by="omar", student_id=None, visitor_id=None, name="Omar himself")
    with db.transaction("worker") as session:
        session.execute(
            text("update privacy.request set student_id = :who where id = :id"),
            {"who": id_of("cleo"), "id": filed.request_id},
        )
    for verb, more in EVERY_VERB.items():
        if verb in (
            "take_request",
            "record_identity",
            "ask_identity",
            "extend_answer",
            "refuse_request",
            "withdraw_request",
        ):
            refused(Refused, "your own record", verb, **on(filed), **more)
    with pytest.raises(DBAPIError, match="own record"), db.transaction(staff_id=id_of("omar")) as session:
        session.execute(
            text("update privacy.request set owner_id = :me where id = :id"),
            {"me": id_of("omar"), "id": filed.request_id},
        )
    act("record_identity", "olga", method="known in person", confirmed=True, **on(filed))
    refused(Refused, "your own record", "close_account", **on(filed))
    act("close_account", "olga", **on(filed))
    shown = act("open_plan", "omar", request_id=filed.request_id)
    given = {"fingerprint": shown.fingerprint, "confirmation": filed.number, "reason": "plan is right"}
    refused(Refused, "your own record", "approve_deletion", **on(filed), **given)
    requests.approve(filed, "oskar")


# Identity and the clock


def test_identity_is_asked_for_and_the_clock_rests_until_the_person_answers() -> None:
    filed = file("access")
    asked = act("ask_identity", "omar", now=NOW + DAY, words="By mail, please.", **on(filed))
    found = row(filed.request_id)
    assert (asked.state, found["identity"], found["paused_at"]) == ("checking", "asked", NOW + DAY)
    [(kind, body)] = rows("select kind, body from privacy.outbox")
    assert kind == "identity"
    assert "By mail, please." in body
    act("resume_clock", "omar", now=NOW + 5 * DAY, reason="the person answered", **on(filed))
    assert row(filed.request_id)["due_at"] == add_months(NOW, 1) + 4 * DAY
    refused(BadInput, "clock of this request runs", "resume_clock", reason="the person answered", **on(filed))
    act("record_identity", "omar", now=NOW + 6 * DAY, method="known in person", confirmed=False, **on(filed))
    assert (row(filed.request_id)["state"], row(filed.request_id)["identity"]) == ("checking", "failed")
    act("pause_clock", "omar", now=NOW + 6 * DAY, reason="proof was not enough", **on(filed))
    refused(BadInput, "rests already", "pause_clock", reason="proof was not enough", **on(filed))
    act("record_identity", "omar", now=NOW + 8 * DAY, method="known in person", confirmed=True, **on(filed))
    found = row(filed.request_id)
    assert (found["state"], found["paused_at"]) == ("verified", None)
    assert found["due_at"] == add_months(NOW, 1) + 6 * DAY
    assert (found["identity_by"], found["identity_at"], found["owner_id"]) == (
        id_of("omar"),
        NOW + 8 * DAY,
        id_of("omar"),
    )


def test_the_clock_rests_only_while_identity_is_checked() -> None:
    filed = verified("access")
    refused(BadInput, "only while the person's identity", "pause_clock", reason="proof was not enough", **on(filed))
    with (
        pytest.raises(DBAPIError, match=r"pause_while_checking|clock moves"),
        db.transaction(staff_id=id_of("omar")) as session,
    ):
        session.execute(text("update privacy.request set paused_at = now() where id = :id"), {"id": filed.request_id})


def test_an_answer_is_extended_once_within_the_first_month_and_the_person_is_told() -> None:
    filed = file("access")
    last = add_months(NOW, 1)
    given = {"reason": "complex", "words": "Three systems."}
    for months in (0, 3, -1):
        refused(BadInput, "1 to 2 months", "extend_answer", months=months, **given, **on(filed))
    refused(BadInput, "not a reason", "extend_answer", months=1, reason="no time", **on(filed))
    with pytest.raises(BadInput, match="first month only"):
        act("extend_answer", "omar", now=last + timedelta(microseconds=1), months=2, **given, **on(filed))
    act("extend_answer", "omar", now=last, months=2, **given, **on(filed))
    assert row(filed.request_id)["due_at"] == add_months(NOW, 3)
    refused(BadInput, "extended already", "extend_answer", months=1, **given, **on(filed))
    [(body,)] = rows("select body from privacy.outbox where kind = 'extension'")
    assert "Three systems." in body
    assert f"{add_months(NOW, 3):%-d %B %Y}" in body, "the new day, not the old one"


# Ends


def test_a_refusal_needs_a_reason_in_words_which_the_letter_gives() -> None:
    filed = file("export")
    refused(BadInput, "Say in words", "refuse_request", reason="manifestly unfounded", words="  ", **on(filed))
    refused(BadInput, "not a reason", "refuse_request", reason="no time", words="x", **on(filed))
    done = act("refuse_request", "omar", reason="rights of others", words="It names {name} others.", **on(filed))
    found = row(filed.request_id)
    assert (done.state, found["outcome"], found["closed_at"], found["answered_at"]) == (
        "refused",
        "rights of others",
        NOW,
        NOW,
    )
    [(body,)] = rows("select body from privacy.outbox where kind = 'refusal'")
    assert "rights of others" in body
    assert "It names {name} others." in body, "what was typed is not filled in again"
    assert "complain" in body
    assert "court" in body


def test_an_answer_needs_a_confirmed_identity_and_evidence() -> None:
    filed = file("access")
    given = {"outcome": "sent by hand", "evidence": "Tracking number 5"}
    refused(BadInput, "Confirm the identity first", "answer_request", **given, **on(filed))
    act("record_identity", "omar", method="known in person", confirmed=True, **on(filed))
    no_file(filed)
    refused(BadInput, "what was done", "answer_request", outcome="sent by hand", evidence=" ", **on(filed))
    refused(BadInput, "not a outcome", "answer_request", outcome="magic", evidence="x", **on(filed))
    assert act("answer_request", "omar", **given, **on(filed)).state == "answered"
    assert ("evidence", "Tracking number 5") in rows("select what, body from privacy.request_text")
    for verb, more in EVERY_VERB.items():
        with pytest.raises((BadInput, Refused)):
            act(verb, "olga", **on(filed), **more)


def test_an_opt_out_needs_no_proof_of_identity_and_a_deletion_is_never_answered() -> None:
    given = {"outcome": "done by hand", "evidence": "Switched off in the mail tool."}
    assert act("answer_request", "omar", **given, **on(file("opt_out"))).state == "answered"
    refused(BadInput, "deletion is not answered", "answer_request", **given, **on(verified("delete")))


def test_nothing_held_is_an_answer_to_somebody_unknown() -> None:
    filed = file("delete", email="stranger@example.org", by="ines")
    refused(BadInput, "Nobody is known", "answer_request", outcome="done by hand", evidence="x", **on(filed))
    done = act("answer_request", "omar", outcome="nothing is held", evidence="Searched by e-mail.", **on(filed))
    assert done.state == "answered"


def test_a_note_is_kept_once_and_changes_no_version() -> None:
    filed, key = file("access"), uuid.uuid4()
    for note in ("", "x" * 20_001, "a\x00b"):
        refused(BadInput, "note", "add_note", request_id=filed.request_id, form_key=uuid.uuid4(), note=note)
    replies = [act("add_note", "omar", request_id=filed.request_id, form_key=key, note="Called.") for _ in range(2)]
    assert [each.again for each in replies] == [False, True]
    assert row(filed.request_id)["version"] == 1
    act("withdraw_request", "omar", reason="filed by mistake", **on(filed))
    refused(BadInput, "is closed", "add_note", request_id=filed.request_id, form_key=uuid.uuid4(), note="Later.")


def test_a_repeated_click_gets_the_receipt_again_and_only_its_own() -> None:
    filed = file("access")
    where, by = on(filed), staff("omar")
    first = act("take_request", by, **where)
    again = act("take_request", by, **where)
    assert (again.again, again.version, again.state) == (True, first.version, first.state)
    refused(Stale, "was changed", "take_request", "olga", **where)
    refused(Stale, "was changed", "ask_identity", by, **where)
    assert lines(filed.request_id) == ["request filed", "request taken"]


def test_seeing_a_request_is_recorded_for_its_person() -> None:
    filed, by = file("access"), staff("omar")
    for _ in range(2):
        act("record_request_view", by, request_id=filed.request_id)
    assert rows("select subject_kind, subject_id, details from privacy.audit_event where action = 'person viewed'") == [
        ("student", id_of("cleo"), '{"purpose":"request"}')
    ]


def test_a_bystander_is_untouched_by_all_of_it(owner: Any) -> None:
    before = cast.snapshot(owner, "ben")
    filed = requests.closed()
    act("reactivate_account", "omar", reason="closed by mistake", **on(filed))
    act("refuse_request", "omar", reason="manifestly unfounded", words="No.", **on(file("access")))
    owner.rollback()
    assert cast.snapshot(owner, "ben") == before
