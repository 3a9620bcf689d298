"""Letters: wordings with versions, filled in safely; the outbox, by hand and over a real SMTP server."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from core import db
from core.errors import BadInput, NotFound
from core.privacy import sending
from core.privacy.letters import PLACEHOLDERS, SHIPPED, fill
from tests.cast import NOW, id_of
from tests.core.privacy.house_of_requests import DAY, act, closed, file, lines, on, row, rows
from tests.mail_server import Server, server

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]


def test_every_wording_that_is_shipped_can_be_filled_in() -> None:
    filed = closed()
    for kind in SHIPPED:
        letter = act("draft_letter", "omar", request_id=filed.request_id, kind=kind, words="Own words {name}.")
        assert "{" not in letter.body.replace("{name}", "") + letter.subject, letter
        assert letter.address == "cleo@students.example"
        assert "\n" not in letter.subject
        if "{words}" in SHIPPED[kind][1]:
            assert "Own words {name}." in letter.body
    assert rows("select count(*) from privacy.outbox where kind = 'refusal'") == [(0,)], "a draft is only shown"


@given(
    st.dictionaries(st.sampled_from(sorted(PLACEHOLDERS)), st.text(max_size=40)),
    st.lists(st.sampled_from(sorted(PLACEHOLDERS))),
)
def test_what_is_filled_in_is_never_filled_in_again(values: dict[str, str], order: list[str]) -> None:
    template = "|".join(f"{{{name}}}" for name in order)
    expected = "|".join(values.get(name, f"{{{name}}}") for name in order)
    assert fill(template, values) == fill(expected, {})


def test_a_hostile_name_stays_a_name() -> None:
    name = "{words} {0.__class__} <b>\r\nBcc: all@example.org"
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set name = :name where id = :id"), {"name": name, "id": id_of("cleo")}
        )
    letter = act("draft_letter", "omar", request_id=file("access").request_id, kind="acknowledgement", words="mine")
    assert name in letter.body
    assert "\n" not in letter.subject


def test_a_wording_is_edited_by_version_and_letters_that_wait_keep_theirs() -> None:
    first = file("access")
    act("ask_identity", "omar", **on(first))
    changed = act("edit_wording", "omar", kind="identity", subject="Is it you, {name}?", body="Dear {name},\n\n{words}")
    again = act("edit_wording", "olga", kind="identity", subject="Is it you, {name}?", body="Dear {name},\n\n{words}")
    assert (changed.version, again.version) == (1, 1)
    assert lines().count("wording changed") == 1
    second = file("export")
    act("ask_identity", "omar", words="Hm.", **on(second))
    assert rows("select template_version, subject from privacy.outbox order by template_version") == [
        (0, f"Request {first.number}: please confirm that it is you"), (1, "Is it you, Cleo Example?"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("subject", "body", "sentence"),
    [("", "b", "subject and a text"), ("s", " ", "subject and a text"), ("s {nam}", "b", r"\{nam\} cannot be filled in"),
     ("s", "{name.__class__} {}", "cannot be filled in"), ("s\nBcc: x", "b", "cannot be used"), ("s", "a\x00", "cannot be used"),
     ("x" * 201, "b", "201"), ("s", "x" * 20_001, "Nothing was saved or cut")],
)  # fmt: skip
def test_a_wording_that_cannot_be_filled_in_is_refused(subject: str, body: str, sentence: str) -> None:
    if "." in body:
        sentence, body = "cannot be filled in", "{oops}"
    with pytest.raises(BadInput, match=sentence):
        act("edit_wording", "omar", kind="refusal", subject=subject, body=body)
    assert rows("select count(*) from privacy.letter_template") == [(0,)]


def test_a_letter_is_sent_by_hand_once_and_its_address_forgotten() -> None:
    filed, key = file("access"), uuid.uuid4()
    given = {
        "request_id": filed.request_id,
        "kind": "answer",
        "subject": "Hello",
        "body": "**Bold** stays text",
        "form_key": key,
    }
    assert [act("write_letter", "omar", **given).again for _ in range(2)] == [False, True]
    [(letter_id,)] = rows("select id from privacy.outbox")
    replies = [act("mark_sent_by_hand", "omar", letter_id=letter_id) for _ in range(2)]
    assert [each.again for each in replies] == [False, True]
    assert rows("select state, address, sent_by, sent_how from privacy.outbox") == [
        ("sent", None, id_of("omar"), "by hand")
    ]
    with pytest.raises(BadInput, match="cannot be called back"):
        act("cancel_letter", "omar", letter_id=letter_id)
    assert lines().count("letter sent") == 1
    for verb in ("mark_sent_by_hand", "cancel_letter"):
        with pytest.raises(NotFound):
            act(verb, "omar", letter_id=uuid.uuid4())


def test_a_reminder_is_not_sent_before_its_day() -> None:
    closed()
    [(letter_id,)] = rows("select id from privacy.outbox where not_before = :at", at=NOW + 23 * DAY)
    with pytest.raises(BadInput, match="not before"):
        act("mark_sent_by_hand", "omar", letter_id=letter_id)
    act("mark_sent_by_hand", "omar", now=NOW + 23 * DAY, letter_id=letter_id)


def send(now: Any = NOW) -> list[str]:
    """Send what is due, as the worker's job does; what became of each letter."""
    with db.transaction("worker") as session:
        due = sending.lanes_due(session, now)
    return [word for lane in due for word in sending.send_lane(lane=int(lane), now=now).elements()]


def test_without_a_mail_server_letters_wait_for_a_hand() -> None:
    closed()
    assert send() == []


def test_letters_go_out_by_mail_on_their_day_once(server: Server) -> None:
    closed()
    assert send() == ["taken"]
    assert send() == []
    [(letter_id,)] = rows("select id from privacy.outbox where state = 'sent'")
    [message] = server.got
    assert (message["To"], message["From"]) == ("cleo@students.example", "privacy@resocode.example")
    assert message["Message-ID"] == f"<{letter_id}@resocode.example>"
    assert "Until 24 December 2026" in message.get_content()
    assert rows("select state, address, sent_how, attempts from privacy.outbox where kind = 'closing'") == [
        ("sent", None, "mail", 1)
    ]
    assert rows("select count(*) from privacy.outbox where address is null") == [(1,)]
    assert send(NOW + 23 * DAY) == ["taken"]
    assert lines().count("letter sent") == 2


def test_a_server_that_is_busy_is_asked_again_later_and_in_the_end_a_person(server: Server) -> None:
    closed()
    server.answer = "451 4.7.1 later"
    now, waits = NOW, []
    for _ in range(5):
        assert send(now) == ["later"]
        [(state, before)] = rows("select state, not_before from privacy.outbox where kind = 'closing'")
        waits.append(before - now)
        now = max(before, now)
    assert waits[:4] == [timedelta(minutes=5 * 4**n) for n in range(4)]
    assert state == "failed"
    assert lines().count("letter failed") == 1
    [(letter_id, error, address)] = rows("select id, error, address from privacy.outbox where kind = 'closing'")
    assert (error, address) == ("451", "cleo@students.example")
    act("mark_sent_by_hand", "omar", now=now, letter_id=letter_id)
    assert rows("select state, address from privacy.outbox where id = :id", id=letter_id) == [("sent", None)]


def test_an_address_that_is_refused_is_not_tried_again(server: Server) -> None:
    closed()
    server.answer = "550 5.1.1 no such user"
    assert send() == ["refused"]
    assert rows("select state, error from privacy.outbox where kind = 'closing'") == [("failed", "550")]
    assert send() == []


def test_a_server_that_is_gone_delays_and_loses_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    closed()
    monkeypatch.setenv("RESOCODE_SMTP_URL", "smtp://127.0.0.1:1")
    assert send() == ["later"]
    assert rows("select state, error from privacy.outbox where kind = 'closing'") == [("waiting", "no connection")]


def test_a_letter_stays_text_on_its_way(server: Server) -> None:
    filed = file("access")
    body = "Ärger & <b>mehr</b>\n.\nÉlodie 李"
    act(
        "write_letter",
        "omar",
        request_id=filed.request_id,
        kind="answer",
        subject="Größe 李",
        body=body,
        form_key=uuid.uuid4(),
    )
    assert send() == ["taken"]
    assert server.got[0]["Subject"] == "Größe 李"
    assert server.got[0].get_content().replace("\r\n", "\n").strip() == body
    assert row(filed.request_id)["version"] == 1
