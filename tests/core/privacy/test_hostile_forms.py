"""Two hundred hostile names through every form in which anybody types: kept as they were typed, or refused with a sentence.

``LINES`` are fields of one line (a name, a title, a reference): each of the two hundred is typed into each. Into a text of
several lines all of them go at once. A verb with a text that is in neither list, nor named as a code, fails the last test.
"""

import inspect
import re
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from core import db, privacy_actions
from core.errors import BadInput
from core.policy.promises import LEDGER
from core.privacy_actions import Staff
from core.processors.manual import Manual
from core.processors.protocol import Order, Person
from core.words import clean, clean_text
from tests.cast import NOW, id_of
from tests.core.privacy import house_of_consent as consent
from tests.core.privacy import house_of_requests as r
from tests.hostile import HUGE, NAMES, UNSTORABLE
from tests.pages.test_matrix import opened

pytestmark = pytest.mark.usefixtures("house")
Typed = tuple[list[str], list[str]]


def is_kept(name: str) -> bool:
    """Whether a line can be kept at all: no control characters, not empty, not too long."""
    try:
        return bool(clean(name, what="x"))
    except BadInput:
        return False


GOOD = [name for name in NAMES if is_kept(name)]
BAD = [name for name in NAMES if not is_kept(name)]
PACKED = clean_text("\n".join(
    name for name in NAMES if not any(unicodedata.category(char) == "Cc" and char not in "\n\t\r" for char in name)
), what="x", longest=20_000)  # fmt: skip


def packs(longest: int) -> Iterator[str]:
    """All names that a line can hold, in texts of at most so many characters."""
    held: list[str] = []
    for name in GOOD:
        if held and len("\n".join([*held, name])) > longest:
            yield "\n".join(held)
            held = []
        held.append(name)
    yield "\n".join(held)


def everyone(query: str) -> list[str]:
    return [each[0] for each in r.rows(query)]


# Fields of one line: each name in each of them, one after the other. What comes back is what was typed, in that order.

Line = Callable[[Staff, str, int], Any]


def act(verb: str, by: Staff, **given: Any) -> Any:
    return r.act(verb, by, **given)


def incident(by: Staff, **more: Any) -> uuid.UUID:
    given = {
        "title": "x",
        "nature": "confidentiality",
        "place": "the platform",
        "summary": "x",
        "aware_at": NOW,
        "form_key": uuid.uuid4(),
    }
    act("open_incident", by, **(given | more))
    return uuid.UUID(str(r.rows("select id from privacy.incident order by number desc limit 1")[0][0]))


def write_record(by: Staff, **more: Any) -> None:
    version = r.rows("select coalesce(max(version), 0) from privacy.processor_record where name = 'SMTP'")[0][0]
    given = {"purpose": "Mail", "legal_basis": "contract", "contract_on": None, "review_by": None, "sub_processors": [],
             "transfer_basis": "", "region": "", "contact": ""}  # fmt: skip
    act("write_processor_record", by, name="SMTP", version=version, **(given | more))


def correct_guardian(by: Staff, name: str, _number: int) -> None:
    consent.on("correct_guardian", by, guardian_name=name, guardian_email="greta@guardians.example")


LINES: dict[str, tuple[str, Line, str]] = {
    "file_request.name": (
        "paula",
        lambda by, name, _n: act("file_request", by, kind="access", received_at=NOW, form_key=uuid.uuid4(), name=name),
        "select t.body from privacy.request_text t join privacy.request q on q.id = t.request_id where t.what = 'contact' order by q.number",
    ),
    "invite_staff.name": (
        "ada",
        lambda by, name, n: act("invite_staff", by, email=f"n{n}@x.example", name=name, role="mentor", reason="grows"),
        "select name from staff.staff_member where email like 'n%@x.example' order by length(email), email",
    ),
    "open_incident.title": ("omar", lambda by, name, _n: incident(by, title=name), "select title from privacy.incident order by number"),
    "place_hold.reference": (
        "omar",
        lambda by, name, _n: act("place_hold", by, student_id=id_of("cleo"), basis="tax audit", reference=name, form_key=uuid.uuid4(),
                                 review_on=NOW.date() + timedelta(days=90)),
        "select reference from privacy.legal_hold order by number",
    ),
    "correct_guardian.guardian_name": ("omar", correct_guardian, "select name from privacy.guardian where email like 'greta%'"),
}  # fmt: skip


PAGES = {"file_request.name": ("omar", "requests"), "invite_staff.name": ("ada", "staff"), "open_incident.title": ("omar", "incidents"),
         "place_hold.reference": ("omar", "holds"), "correct_guardian.guardian_name": ("omar", "consent")}  # fmt: skip
SURE = ("**bold**", "[x](javascript:alert(1))", "![x](http://evil.example/p.png)", ":red[alarm]", "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>", ":material/delete:")  # fmt: skip


def shows_text(who: str, page: str) -> None:
    """The page that lists what was typed: it opens, and none of it is markdown or HTML."""
    app = opened(who, page)
    assert not app.exception, app.exception
    drawn = [str(each.value) for kind in ("markdown", "caption", "title", "header", "subheader", "info", "warning", "error", "success")
             for each in getattr(app, kind)] + [str(each.label) for kind in ("button", "metric", "checkbox", "expander")
                                                for each in getattr(app, kind)]  # fmt: skip
    for name in SURE:
        assert not [body for body in drawn if name in body], (page, name)


@pytest.mark.parametrize("form", LINES)
def test_each_of_two_hundred_names_is_kept_as_it_was_typed_or_refused(form: str) -> None:
    who, run, stored = LINES[form]
    if form.startswith("correct_guardian"):
        consent.requested()
    by = r.staff(who)
    seen: list[str] = []
    for number, name in enumerate(GOOD):
        run(by, name, number)
        if form.startswith("correct_guardian"):
            seen += everyone(stored)
    assert (seen or everyone(stored)) == [clean(name, what="x") for name in GOOD]
    shows_text(*PAGES[form])
    before = r.rows(f"select count(*) from ({stored}) found")
    for name in (*BAD, *UNSTORABLE, HUGE):
        if name.strip() or form in ("invite_staff.name", "correct_guardian.guardian_name"):
            with pytest.raises(BadInput):
                run(by, name, 999)
    assert r.rows(f"select count(*) from ({stored}) found") == before, "nothing of what was refused is kept"


# Texts: all names at once, along the ways of the work. COVERED is what test_no_form_is_forgotten compares.


def refused() -> None:
    filed = r.file("access", words=PACKED, student_id=id_of("cleo"))
    r.act("add_note", "omar", request_id=filed.request_id, form_key=uuid.uuid4(), note=PACKED)
    r.act("extend_answer", "omar", months=1, reason="complex", words=PACKED, **r.on(filed))
    r.act("ask_identity", "omar", words=PACKED, **r.on(filed))
    r.act("record_identity", "omar", method="known in person", confirmed=False, note=PACKED, **r.on(filed))
    r.act("refuse_request", "omar", reason="manifestly unfounded", words=PACKED, **r.on(filed))
    key = uuid.uuid4()
    again = r.file("export", student_id=id_of("cleo"))
    r.act(
        "write_letter",
        "omar",
        request_id=again.request_id,
        kind="acknowledgement",
        subject="x",
        body=PACKED,
        form_key=key,
    )
    r.act("withdraw_request", "omar", reason="by the person", note=PACKED, **r.on(again))
    assert (
        r.rows(
            "select count(*) from privacy.request_text where body = :b and what in ('words', 'note', 'reason')",
            b=PACKED,
        )[0][0]
        >= 4
    )
    letters = everyone("select body from privacy.outbox")
    assert sum(PACKED in body for body in letters) == 4, "a brace is a brace, and nothing is filled in twice"


def answered() -> None:
    r.act(
        "answer_request",
        "omar",
        outcome="sent by hand",
        evidence=PACKED,
        **r.on(r.no_file(r.verified("access", student_id=id_of("asha")))),
    )
    right = r.verified("restrict", student_id=id_of("ben"))
    r.act("answer_right", "omar", words=PACKED, note=PACKED, **r.on(right))
    made = r.rows("select id from privacy.restriction where request_id = :id", id=right.request_id)[0][0]
    r.act("announce_lifting", "omar", restriction_id=made, reason="the person asks for it", words=PACKED)
    assert (
        r.rows("select count(*) from privacy.request_text where body = :b and what in ('note', 'evidence')", b=PACKED)[
            0
        ][0]
        == 2
    )
    assert any(PACKED in body for body in everyone("select body from privacy.outbox where kind = 'restricted'"))
    plain = PACKED.replace("{name}", "name")
    assert any(plain in body for body in everyone("select body from privacy.outbox where kind = 'restriction ends'"))


def deleted() -> None:
    early = r.verified(student_id=id_of("cleo"))
    r.act("close_account", "omar", words=PACKED, **r.on(early))
    r.act("ask_early", "omar", words=PACKED, **r.on(early))
    r.act("return_plan", "olga", reason="the plan is not right", note=PACKED, **r.on(early))
    back = r.closed(student_id=id_of("ben"))
    r.approve(back, note=PACKED)
    r.act("send_back", "omar", reason="approved by mistake", note=PACKED, **r.on(back))
    open_again = r.closed(student_id=id_of("asha"))
    r.act("reactivate_account", "omar", reason="closed by mistake", words=PACKED, **r.on(open_again))
    assert r.rows("select count(*) from privacy.request_text where body = :b", b=PACKED)[0][0] >= 4
    assert any(PACKED in body for body in everyone("select body from privacy.outbox"))


def corrected() -> None:
    filed = r.verified("correct", student_id=id_of("asha"))
    r.act("enter_correction", "omar", values={"name": GOOD[0]}, reason="changed", note=PACKED, **r.on(filed))
    r.act("return_correction", "olga", reason="mistyped here", note=PACKED, **r.on(filed))
    r.act("enter_correction", "omar", values={"name": GOOD[1]}, reason="changed", **r.on(filed))
    r.act("confirm_correction", "olga", words=PACKED, **r.on(filed))
    assert r.rows("select count(*) from privacy.request_text where body = :b and what = 'note'", b=PACKED)[0][0] == 2
    assert any(PACKED in body for body in everyone("select body from privacy.outbox"))


def consented() -> None:
    consent.minor()
    consent.on("request_consent", words=PACKED, **consent.GUARDIAN)
    consent.on(
        "enter_consent", given=True, method="in person", guardian_name=GOOD[3], guardian_email="other@guardians.example"
    )
    consent.on("refuse_consent", "olga", reason="the guardian did not confirm it", words=PACKED)
    consent.verified("ben")
    consent.on("withdraw_consent", name="ben", who="student", words=PACKED)
    found = everyone("select body from privacy.outbox")
    assert sum(PACKED in body for body in found) == 4, "one for each of them, two after a withdrawal"
    assert clean(GOOD[3], what="x") in everyone("select name from privacy.guardian")


def happened() -> None:
    ada, omar = r.staff("ada"), r.staff("omar")
    made = incident(omar, summary=PACKED)
    for verb, known in (("decide_authority", "notify"), ("decide_people", "tell")):
        with pytest.raises(BadInput):
            act(verb, omar, incident_id=made, decision=known, reason=UNSTORABLE[0])
    act(
        "file_note",
        omar,
        incident_id=made,
        kind="note",
        body=PACKED,
        form_key=uuid.uuid4(),
        sender=GOOD[5],
        reference=GOOD[6],
    )
    assert PACKED in everyone("select summary from privacy.incident")
    assert r.rows("select sender, reference from privacy.incident_note where body = :b", b=PACKED) == [
        (clean(GOOD[5], what="x"), clean(GOOD[6], what="x"))
    ]
    for pack in packs(500):
        write_record(
            ada,
            purpose=pack,
            region=pack,
            contact=pack,
            sub_processors=[each for each in pack.split("\n") if len(each) < 200][:20],
        )
        kept = r.rows("select purpose, region, contact from privacy.processor_record order by version desc limit 1")[0]
        assert kept == (clean_text(pack, what="x", longest=500),) * 3
    for pack in packs(2000):
        act("place_hold", omar, student_id=id_of("cleo"), basis="tax audit", reference="1", note=pack, form_key=uuid.uuid4(),
            review_on=NOW.date() + timedelta(days=90))  # fmt: skip
    assert len(everyone("select note from privacy.legal_hold")) == len(list(packs(2000)))
    with db.transaction("worker") as session:
        Manual("Vercel").erase(session, Order(Person("student", id_of("asha")), "k"), now=NOW)
    act("attest_manual_step", omar, step_id=r.rows("select id from privacy.manual_step")[0][0], evidence=PACKED)
    assert everyone("select evidence from privacy.manual_step") == [PACKED]


def followed() -> None:
    for number, pack in enumerate(packs(1000)):
        r.act(
            "note_contact",
            "paula",
            visitor_id=id_of("vera"),
            seen=number,
            note=pack,
            status="in contact",
            next_contact_on=None,
        )
    kept = everyone(
        "select note from platform.follow_up where visitor_id = '"
        + str(id_of("vera"))
        + "' and note is not null order by step"
    )
    assert "\n".join(kept).split("\n") == [clean(each, what="x") for each in GOOD]
    for pack in packs(500):
        r.act("mark_handled", "ines", enrollment_id=id_of("asha enrollment"), until=NOW.date(), note=pack)
    noted = everyone(
        "select note from platform.help_note where enrollment_id = '" + str(id_of("asha enrollment")) + "'"
    )
    typed = {clean(" ".join(pack.split()), what="x", longest=500) for pack in packs(500)}
    assert typed <= set(noted), "blanks become one, nothing else changes"
    promise = next(each for each in LEDGER if each.attested)
    r.act("attest", "omar", places=[(promise.id, next(iter(promise.attested)))], owner_id=id_of("omar"), statement=next(packs(1500)),
          expires_on=NOW.date() + timedelta(days=100))  # fmt: skip
    assert next(packs(1500)) in everyone("select statement from privacy.attestation")


WAYS = (refused, answered, deleted, corrected, consented, happened, followed)
COVERED = frozenset(LINES) | {
    "file_request.words", "add_note.note", "ask_identity.words", "record_identity.note", "extend_answer.words", "refuse_request.words",
    "write_letter.body", "withdraw_request.note", "answer_request.evidence", "answer_right.words", "answer_right.note",
    "announce_lifting.words", "close_account.words", "ask_early.words", "return_plan.note", "approve_deletion.note", "send_back.note",
    "reactivate_account.words", "enter_correction.values", "enter_correction.note", "return_correction.note", "confirm_correction.words",
    "request_consent.words", "enter_consent.guardian_name", "refuse_consent.words", "withdraw_consent.words", "open_incident.summary",
    "file_note.body", "file_note.sender", "file_note.reference", "write_processor_record.purpose", "write_processor_record.region",
    "write_processor_record.contact", "write_processor_record.sub_processors", "place_hold.note", "attest_manual_step.evidence",
    "note_contact.note", "mark_handled.note", "attest.statement",
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_two_hundred_names_in_every_text_on_the_way(way: Callable[[], None]) -> None:
    way()


# Whatever else is text: a code of a list, an address, a secret, or what another form already showed.
CODES = {
    "reason": "one of a list, or checked like a line", "role": "a list", "kind": "a list", "decision": "a list", "method": "a list",
    "channel": "a list", "requester": "a list", "outcome": "a list", "purpose": "a code of the page", "basis": "a list", "table": "a list",
    "nature": "a list", "place": "a list", "status": "a list", "how": "a list", "who": "a list", "verdict": "a list", "legal_basis": "a list",
    "transfer_basis": "a list", "categories": "a list", "processors": "a list", "checks": "a list", "places": "a list", "what": "a code",
    "limits": "numbers", "items": "ids", "template": "a list", "audience": "a list", "audience_values": "ids", "values": "of a notice",
    "about": "a code", "email": "looked up by its hash, or held to be an address", "guardian_email": "held to be an address",
    "digest": "never typed", "password": "never kept", "code": "never kept", "secret": "never kept", "token": "never kept", "ticket": "never kept",
    "confirmation": "compared, never kept", "fingerprint": "compared, never kept", "sha256": "compared, never kept", "seed": "64 letters",
    "content": "a file of the policy, parsed", "family": "a list", "period": "a list", "policy_version": "a list", "person": "a kind",
    "cohort": "a code",
}  # fmt: skip
SAME = {
    "write_processor_record.name": "one of the processors that are known",
    "add_staff.name": "the command line; cleaned like invite_staff's", "rescue_invite.name": "the command line; the same verb",
    "export_list.name": "a file's name, made by the page", "export_certificate.name": "a file's name, made by the page",
    "export_policy.name": "a file's name, made by the page", "answer_export.note": "kept by write_text, as every note",
    "return_plan.words": "kept as close_account's", "correct_guardian.guardian_name": "a line above",
    "request_consent.guardian_name": "kept as correct_guardian's", "answer_guardian.guardian_name": "kept as correct_guardian's",
    "answer_guardian.words": "a letter's own words, as answer_right's", "judge_export_text.words": "compared with the text (test_export_texts)",
    "draft_letter.words": "nothing is kept: the preview of a letter", "edit_wording.subject": "test_letters", "edit_wording.body": "test_letters",
    "write_letter.subject": "test_letters", "tell_people.words": "a notice; test_campaigns and test_sending", "attest_shown.where": "a line",
    "record_notification.reference": "a line, cleaned as place_hold's",
}  # fmt: skip


def texts_of_verbs() -> Iterator[str]:
    """Every parameter of every verb that may hold text, as "verb.parameter"."""
    for name, verb in inspect.getmembers(privacy_actions, inspect.isfunction):
        for each in inspect.signature(inspect.unwrap(verb)).parameters.values():
            if re.search(r"\bstr\b", str(each.annotation)) and each.name != "session":
                yield f"{name}.{each.name}"


def test_no_form_is_forgotten() -> None:
    found = set(texts_of_verbs())
    new = {each for each in found - COVERED - set(SAME) if each.partition(".")[2] not in CODES}
    assert not new, "type two hundred names into it: see LINES and WAYS"
    assert not (COVERED | set(SAME)) - found, "a verb that is gone"
    source = inspect.getsource(inspect.getmodule(test_no_form_is_forgotten) or pytest)
    for each in COVERED - set(LINES):
        assert f'"{each.partition(".")[0]}"' in source.split("COVERED = ")[0] or each.startswith(
            ("file_request", "open_incident", "approve_deletion", "write_processor_record")
        ), each
