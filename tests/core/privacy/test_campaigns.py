"""Notices to many: everybody once, also when workers are killed; what became of each; counts in the end."""

import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DatabaseError, ProgrammingError

from core import db
from core.cli import app
from core.errors import BadInput, Refused
from core.privacy import bounces, campaigns
from core.settings import ROOT
from core.worker import Worker
from tests.cast import NOW, id_of, snapshot
from tests.core.privacy.house_of_requests import DAY, act, lines, rows
from tests.core.privacy.scenes_of_mail import POLICY_NOTICE
from tests.core.privacy.sender_process import SENDERS
from tests.core.privacy.test_letters import send
from tests.mail_server import Server, server

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]
FULL = bool(os.environ.get("RESOCODE_TEST_FULL"))
MANY = """
    insert into platform.student (id, name, email, registered_at, email_hash, provider_hash, source)
    select gen_random_uuid(), 'Person ' || n, 'person' || n || '@students.example', :before,
        sha256(('mail ' || n)::bytea), sha256(('id ' || n)::bytea), 'test' from generate_series(1, :many) n
"""


def begin(by: str = "omar", **more: Any) -> uuid.UUID:
    """Begin a notice to everybody."""
    made = act("begin_campaign", by, **(POLICY_NOTICE | more))
    return uuid.UUID(str(made.campaign_id))


def work(now: datetime = NOW) -> None:
    """Let the worker tell and send until nothing is due."""
    Worker(lambda: now, SENDERS).catch_up()


def recipients(campaign: uuid.UUID) -> dict[str, tuple[str, str]]:
    """State and code by address."""
    found = rows("select s.email, r.state, r.code from privacy.campaign_recipient r join platform.student s on s.id = r.student_id"
                 " where r.campaign_id = :id", id=campaign)  # fmt: skip
    return {email: (state, code) for email, state, code in found}


def people(many: int) -> None:
    """More students."""
    with db.transaction("worker") as session:
        session.execute(text(MANY), {"many": many, "before": NOW - timedelta(days=9)})


def test_everybody_is_told_once_and_what_became_of_each_is_known(server: Server, owner: Connection) -> None:
    before = snapshot(owner, "ben")
    with db.transaction("worker") as session:
        session.execute(text("update platform.student set account_status = 'closed', closed_at = :now where id = :id"),
                        {"now": NOW, "id": id_of("cleo")})  # fmt: skip
    server.answers = {"asha@students.example": "550 5.1.1 no such user"}
    campaign = begin()
    work()
    assert recipients(campaign) == {"asha@students.example": ("bounced", "550"), "ben@students.example": ("sent", "")}
    [message] = server.got
    assert message["Subject"] == "Our privacy policy changes on 1 January 2027"
    assert "Dear Ben Example" in message.get_content() and "- nothing much" in message.get_content()
    [(state, counts, people_told)] = rows("select state, counts, recipients from privacy.campaign")
    assert (state, people_told) == ("done", 2)
    assert counts == {"people": 2, "sent": 1, "bounced": 1, "not_reached": 0, "unclear": 0}
    assert rows("select count(*) from privacy.outbox") == [(0,)], "letters of campaigns go; the recipients' rows stay"
    assert rows("select kind, outcome from platform.email_log where sent_at = :now order by 2", now=NOW) == [
        ("policy notice", "bounced"), ("policy notice", "sent")]  # fmt: skip
    work(NOW + timedelta(hours=1))
    assert len(server.got) == 1
    assert [line for line in lines() if line.startswith("notices")] == ["notices begun", "notices ended"]
    owner.rollback()
    after = snapshot(owner, "ben")
    assert {name: found for name, found in after.items() if name != "email_log"} == {
        name: found for name, found in before.items() if name != "email_log"}  # fmt: skip


def test_who_lives_under_a_reserved_name_counts_as_not_reached(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.student set email = 'asha@resocode.io' where id = :id"), {"id": id_of("asha")}
        )
    monkeypatch.delenv("RESOCODE_MAIL_CATCHER")
    campaign = begin()
    work()
    assert recipients(campaign) == {
        "asha@resocode.io": ("sent", ""),
        "ben@students.example": ("not reached", "address reserved"),
        "cleo@students.example": ("not reached", "address reserved"),
    }
    assert len(server.ids) == 1 and rows("select count(*) from privacy.outbox") == [(0,)]
    [(state, counts)] = rows("select state, counts from privacy.campaign")
    assert (state, counts["sent"], counts["not_reached"]) == ("done", 1, 2)


def test_killed_three_times_nobody_is_missed_and_only_what_was_in_flight_arrives_twice(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With RESOCODE_TEST_FULL=1, 100,000 people are told."""
    whole = 100_000 if FULL else 1000
    deaths = [whole // 5, whole // 2, whole * 4 // 5]
    monkeypatch.setenv("RESOCODE_MAIL_RATE", "600000")
    people(whole - 3)
    begin()
    server.keep = False
    killed, working = list[str](), list[subprocess.Popen[bytes]]()
    real = server.handle_DATA

    async def deadly(*given: Any) -> str:
        said = await real(*given)
        if len(killed) < len(deaths) and len(server.ids) == deaths[len(killed)]:
            working[-1].send_signal(signal.SIGKILL)
            killed.append(server.ids[-1])
        return said

    monkeypatch.setattr(server, "handle_DATA", deadly)
    for turn in range(len(deaths) + 1):
        command = [sys.executable, "-m", "tests.core.privacy.sender_process", str(turn * 100)]
        working.append(subprocess.Popen(command, cwd=ROOT, env=dict(os.environ)))
        assert working[-1].wait(3600 if FULL else 120) == (-signal.SIGKILL if turn < len(deaths) else 0)
    arrived = Counter(server.ids)
    assert len(arrived) == whole, "nobody is missed"
    twice = {each for each, times in arrived.items() if times > 1}
    assert twice == set(killed) and len(server.ids) == whole + 3
    assert {str(each) for (each,) in rows("select id from privacy.campaign_recipient where unclear")} == twice
    [(state, counts)] = rows("select state, counts from privacy.campaign")
    assert state == "done" and counts == {"people": whole, "sent": whole, "bounced": 0, "not_reached": 0, "unclear": 3}


def test_a_pause_is_obeyed_and_nobody_is_told_twice_afterwards(server: Server) -> None:
    people(20)
    campaign = begin()
    with db.transaction("worker") as session:
        for _ in range(3):
            campaigns.go_on(session, campaign_id=campaign, now=NOW)
    assert rows("select count(*) from privacy.outbox") == [(23,)]
    act("pause_campaign", "omar", campaign_id=campaign)
    assert act("pause_campaign", "olga", campaign_id=campaign).again
    Worker(lambda: NOW, SENDERS[:1]).catch_up()
    assert send() == [] and rows("select distinct state from privacy.campaign_recipient") == [("waiting",)]
    act("resume_campaign", "omar", campaign_id=campaign)
    work()
    assert len(server.ids) == len(set(server.ids)) == 23
    with pytest.raises(BadInput, match="over"):
        act("cancel_campaign", "omar", campaign_id=campaign)


def test_what_is_canceled_or_late_says_who_was_not_reached(server: Server) -> None:
    first = begin()
    act("cancel_campaign", "omar", campaign_id=first)
    work()
    assert server.got == []
    assert rows("select state, counts ->> 'people' from privacy.campaign") == [("canceled", "0")]
    second = begin(deadline=NOW + DAY)
    server.answer = "451 4.2.0 later"
    work()
    work(NOW + DAY)
    assert {state for state, _ in recipients(second).values()} == {"not reached"}
    assert {code for _, code in recipients(second).values()} == {campaigns.LATE}
    follow = begin(audience="not reached before", audience_values={"campaign": str(second)}, channel="platform")
    work()
    assert {state for state, _ in recipients(follow).values()} == {"waiting"}
    assert act("attest_shown", "omar", campaign_id=follow, where="banner after sign-in").sentence == "Recorded."
    assert act("attest_shown", "omar", campaign_id=follow, where="banner after sign-in").again
    work()
    assert set(recipients(follow).values()) == {("sent", campaigns.SHOWN)}
    assert rows("select state from privacy.campaign where id = :id", id=follow) == [("done",)]


def test_the_same_form_twice_begins_it_once() -> None:
    key = uuid.uuid4()
    assert begin(form_key=key) == begin(form_key=key)
    assert rows("select count(*) from privacy.campaign") == [(1,)]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [({"kind": "newsletter"}, "no such notice"), ({"audience": "minors"}, "no such notice"), ({"deadline": NOW}, "lies ahead"),
     ({"values": {}}, "changes, effective_on, version is missing")],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        begin(**more)
    with pytest.raises(Refused):
        begin(by="paula")
    assert rows("select count(*) from privacy.campaign") == [(0,)]


def test_recipients_become_counts_after_the_period_of_the_log(server: Server) -> None:
    campaign = begin()
    work()
    for days, left in ((89, 3), (90, 0)):
        with db.transaction("worker") as session:
            for key in campaigns.reductions_due(session, NOW + timedelta(days=days)):
                campaigns.reduce(session, campaign_id=uuid.UUID(key), now=NOW + timedelta(days=days))
        assert rows("select count(*) from privacy.campaign_recipient") == [(left,)]
    assert rows(
        "select counts ->> 'sent', reduced_at is not null from privacy.campaign where id = :id", id=campaign
    ) == [("3", True)]
    with db.transaction("worker") as session:
        assert campaigns.reductions_due(session, NOW + timedelta(days=200)) == []


def test_text_and_audience_of_a_campaign_never_change(owner: Connection) -> None:
    campaign = begin()
    for change in ("subject = 'Buy now'", "audience = 'x'", "deadline = now()"):
        with pytest.raises(DatabaseError, match="does not change"), db.transaction("worker") as session:
            session.execute(text(f"update privacy.campaign set {change} where id = :id"), {"id": campaign})
    with pytest.raises(DatabaseError, match="is kept"), db.transaction("worker") as session:
        session.execute(text("delete from privacy.campaign"))
    for name, allowed in (("paula", False), ("ines", False), ("aiko", False), ("ada", True)):
        with db.transaction(staff_id=id_of(name)) as session:
            done = session.execute(text("update privacy.campaign set state = 'paused'")).rowcount  # type: ignore[attr-defined]
            assert bool(done) == allowed
            session.rollback()
    with pytest.raises(ProgrammingError, match="permission denied"), db.transaction(staff_id=id_of("omar")) as session:
        session.execute(text("select student_id from privacy.campaign_recipient"))


def bounce(
    letter_id: str, *, action: str = "failed", status: str = "5.1.1", headers: str = "text/rfc822-headers"
) -> bytes:
    """What a mail system sends back (RFC 3464)."""
    return (
        "From: MAILER-DAEMON@mx.example\r\nTo: privacy@resocode.example\r\nSubject: Undelivered\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n'
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n"
        f"Final-Recipient: rfc822; x@students.example\r\nAction: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; 550 x@students.example\r\n\r\n"
        f"--b\r\nContent-Type: {headers}\r\n\r\nMessage-ID: <{letter_id}@resocode.example>\r\nSubject: Hello\r\n\r\n--b--\r\n"
    ).encode()


def read(path: Path) -> bounces.BouncesRead:
    """Read a pile of mail, as the command does."""
    with db.transaction("worker") as session:
        return bounces.record_bounces(session, bounces.reports_in(path), now=NOW + DAY)


def test_letters_that_come_back_are_marked_once(server: Server, tmp_path: Path) -> None:
    campaign = begin()
    work()
    mine = server.ids[0]
    box = tmp_path / "Maildir"
    (box / "new").mkdir(parents=True), (box / "cur").mkdir(), (box / "tmp").mkdir()
    other = EmailMessage()
    other["Subject"] = "Out of office"
    other.set_content("Back soon.")
    pile = [bounce(mine), bounce(mine, headers="message/rfc822"), bounce(str(uuid.uuid4())), bounce(server.ids[1], action="delayed", status="4.4.1"),
            bounce("nonsense"), other.as_bytes(), b"\xff\x00 not a mail"]  # fmt: skip
    for number, each in enumerate(pile):
        (box / "new" / str(number)).write_bytes(each)
    assert read(box) == bounces.BouncesRead(bounced=1, known=1, unknown=2, other=2, delayed=1)
    assert read(box) == bounces.BouncesRead(bounced=0, known=2, unknown=2, other=2, delayed=1)
    [(email, told)] = [(email, told) for email, told in recipients(campaign).items() if told[0] == "bounced"]
    assert told == ("bounced", "5.1.1") and email in {str(message["To"]) for message in server.got}
    assert rows("select counts ->> 'bounced', counts ->> 'sent' from privacy.campaign") == [("1", "2")]
    assert rows("select count(*) from platform.email_log where outcome = 'bounced' and sent_at = :now", now=NOW) == [
        (1,)
    ]
    file = tmp_path / "one.eml"
    file.write_bytes(bounce(server.ids[1]))
    from typer.testing import CliRunner

    said = CliRunner().invoke(app, ["mail", "bounces", str(file)])
    assert "1 letters came back" in said.output, said.output
    with pytest.raises(BadInput, match="no maildir"):
        read(tmp_path)
