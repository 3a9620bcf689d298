"""From the outbox to the server: each letter once, what is unclear is said, and never faster than allowed."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from core import db, queries
from core.errors import BadInput
from core.privacy import mail_by_rule, sending, standing
from tests.cast import NOW, id_of, snapshot
from tests.core.privacy.house_of_requests import act, closed, lines, rows, staff
from tests.core.privacy.test_letters import send
from tests.mail_server import Server, server

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]
WRITE = """
    insert into privacy.outbox (id, dedupe_key, student_id, kind, template_version, address, subject, body, not_before, written_at)
    select gen_random_uuid(), 'test ' || n, :ben, 'answer', 0, 'person' || n || '@students.example', 'Subject', 'Body', :now, :now
    from generate_series(1, :many) n
"""


def write(many: int, now: Any = NOW) -> None:
    """Put letters into the outbox, as if they had been written."""
    with db.transaction("worker") as session:
        session.execute(text(WRITE), {"many": many, "now": now, "ben": id_of("ben")})


def states() -> dict[str, int]:
    """How many letters are in which state."""
    return dict(rows("select state, count(*) from privacy.outbox group by 1"))


def test_each_letter_once_over_few_connections(server: Server) -> None:
    write(60)
    told = [sending.send_lane(lane=lane, now=NOW) for lane in (1, 2)]
    assert sum(each["taken"] for each in told) == 60 == len(set(server.ids))
    assert server.connections == 1, "the second lane found nothing and opened no line"
    assert rows(
        "select count(*), count(distinct id) from platform.email_log where outcome = 'sent' and sent_at = :now", now=NOW
    ) == [(60, 60)]
    assert states() == {"sent": 60} and rows("select count(*) from privacy.outbox where address is not null") == [(0,)]


def test_a_server_in_trouble_costs_no_attempt_and_is_left_alone_longer_each_time(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(30)
    there = __import__("os").environ["RESOCODE_SMTP_URL"]
    monkeypatch.setenv("RESOCODE_SMTP_URL", "smtp://127.0.0.1:1")
    now, rests = NOW, []
    while now < NOW + timedelta(hours=3):
        assert set(send(now)) == {"later"}
        assert send(now) == [], "the line is closed"
        [(until, since, code)] = rows("select closed_until, closed_since, code from privacy.mail_pace")
        assert (since, code) == (NOW, "no connection")
        rests.append(until - now)
        now = until
    assert rests[:6] == [timedelta(minutes=m) for m in (1, 2, 4, 8, 16, 30)]
    assert rows("select distinct state, attempts, error from privacy.outbox where error is not null") == [
        ("waiting", 0, "no connection")
    ]
    monkeypatch.setenv("RESOCODE_SMTP_URL", there)
    assert len(send(now)) == 30 and states() == {"sent": 30}
    assert rows("select closed_until, failures, code from privacy.mail_pace") == [(None, 0, "")]


def die_at(letter: int, monkeypatch: pytest.MonkeyPatch, *, before: bool = False) -> None:
    """Send, and be gone when the server has the n-th letter (or ``before`` it gets it), of which nobody took note."""
    real, calls = sending.mail.Line.send, iter(range(1, 99))

    def dying(line: Any, given: Any) -> Any:
        dies = next(calls) == letter
        answer = None if dies and before else real(line, given)
        if dies:
            raise KeyboardInterrupt
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(sending.mail.Line, "send", dying)
        with pytest.raises(KeyboardInterrupt):
            sending.send_lane(lane=1, now=NOW)


@pytest.mark.parametrize("before", [False, True])
def test_of_a_batch_only_the_letter_under_way_when_a_worker_dies_can_arrive_twice(
    before: bool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(6)
    order = rows("select id::text, address from privacy.outbox order by not_before, id")
    server.answers = {order[1][1]: "550 5.1.1 no", order[2][1]: "451 4.7.1 later"}
    die_at(5, monkeypatch, before=before)
    assert states() == {"sending": 6}, "what became of a batch is written down at its end"
    assert send(NOW + timedelta(minutes=1)) == ["taken", "taken"], "the one under way, and the one that never began"
    assert rows("select state, unclear, attempts from privacy.outbox order by written_at, id") == [
        ("sent", False, 1), ("failed", False, 1), ("waiting", False, 1), ("sent", False, 1), ("sent", True, 2), ("sent", False, 1)
    ]  # fmt: skip
    assert Counter(server.ids)[order[4][0]] == (1 if before else 2)
    assert sorted(set(server.ids)) == sorted(order[each][0] for each in (0, 3, 4, 5)) and len(server.ids) == 5 - before
    assert rows("select outcome, count(*) from platform.email_log where sent_at = :now group by 1 order by 1", now=NOW) == [
        ("bounced", 1), ("sent", 2)
    ], "of those that were settled late, the log says when they left"  # fmt: skip


def test_a_letter_that_kills_every_worker_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    write(1)
    for _ in range(sending.ATTEMPTS):
        die_at(1, monkeypatch)
    assert send() == []
    assert rows("select state, unclear, attempts, error from privacy.outbox") == [
        ("failed", True, sending.ATTEMPTS, "worker died")
    ]


def test_after_a_crash_of_the_database_the_whole_batch_is_unclear(
    server: Server, monkeypatch: pytest.MonkeyPatch, owner: Connection
) -> None:
    """A table that is not logged is emptied by the crash, with notes that may be younger than what the disk knows."""
    assert owner.scalar(text("select relpersistence from pg_class where oid = 'privacy.mail_lane'::regclass")) == "u"
    write(3)
    die_at(2, monkeypatch)
    owner.execute(text("truncate privacy.mail_lane"))
    owner.commit()
    assert len(send()) == 3
    assert rows("select distinct state, unclear from privacy.outbox") == [("sent", True)]


def test_a_batch_that_was_claimed_and_never_began_is_not_unclear(server: Server) -> None:
    write(2)
    with db.transaction("worker") as session:
        assert sending._claim(session, 1, NOW, 9)
    assert states() == {"sending": 2}
    assert send() == ["taken", "taken"]
    assert rows("select distinct unclear, attempts from privacy.outbox") == [(False, 1)]


def test_a_worker_that_wakes_too_late_sends_and_writes_nothing(server: Server) -> None:
    write(2)
    with db.transaction("worker") as session:
        late = sending._claim(session, 1, NOW, 9)
    assert late is not None
    assert send() == ["taken", "taken"]
    looked_at = "select o.*::text, l.* from privacy.outbox o left join platform.email_log l on l.id = o.id and l.sent_at = :now order by o.id"
    before = rows(looked_at, now=NOW)
    with db.transaction("worker") as session:
        session.execute(text(WRITE.replace("'test '", "'more '")), {"many": 1, "now": NOW, "ben": id_of("ben")})
    with sending.mail.Line() as line, db.statements("worker") as marks:
        assert list(sending._handed(line, marks, 1, late)) == []
    with db.transaction("worker") as session:
        refused = [sending.mail.Delivery("refused", "550")] * 2
        assert sending._settle(session, late, refused, 1, NOW, more=9) is None
    more = rows("delete from privacy.outbox where state = 'waiting' and claim is null and lane is null returning 1")
    assert more == [(1,)], "and claims nothing"
    assert len(server.ids) == 2 and before == rows(looked_at, now=NOW)


def test_what_was_erased_after_it_was_claimed_does_not_leave(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    write(3)
    [second] = [row[0] for row in rows("select id from privacy.outbox order by not_before, id offset 1 limit 1")]
    real = sending.mail.Line.send

    def erasing(line: Any, letter: Any) -> Any:
        with db.transaction("worker") as session:
            session.execute(text("delete from privacy.outbox where id = :id"), {"id": second})
        return real(line, letter)

    monkeypatch.setattr(sending.mail.Line, "send", erasing)
    assert send() == ["taken", "taken"]
    assert str(second) not in server.ids and states() == {"sent": 2}


def test_a_server_that_ends_the_line_leaves_the_rest_of_the_batch_as_it_was(server: Server) -> None:
    write(4)
    order = [row[0] for row in rows("select address from privacy.outbox order by not_before, id")]
    server.answers = {order[1]: "421 4.3.2 going down"}
    assert send() == ["taken", "later"]
    assert rows("select state, attempts, unclear, error from privacy.outbox order by not_before, id") == [
        ("sent", 1, False, None), ("waiting", 0, False, "421"), ("waiting", 0, False, None), ("waiting", 0, False, None)
    ]  # fmt: skip
    assert send() == [], "the line is closed"


def test_a_server_that_falls_silent_after_the_text_is_unclear_and_not_asked_for_ever(server: Server) -> None:
    write(1)
    server.drop_after_data = True
    now = NOW
    for attempt in range(1, 6):
        assert send(now) == ["unclear"]
        [(state, unclear, attempts, before)] = rows("select state, unclear, attempts, not_before from privacy.outbox")
        assert (unclear, attempts) == (True, attempt)
        now = max(before, now) + timedelta(hours=1)
    assert state == "failed"
    assert len({envelope.content.partition(b"Message-ID")[2][:60] for envelope in server.envelopes}) == 1


def test_all_workers_together_keep_the_pace(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESOCODE_MAIL_RATE", "60")
    write(40)
    lanes = [threading.Thread(target=sending.send_lane, kwargs={"lane": lane, "now": NOW}) for lane in (1, 2, 3)]
    for each in lanes:
        each.start()
    for each in lanes:
        each.join()
    assert len(server.ids) == 10, "60 a minute are 10 in ten seconds, however many send"
    assert send(NOW + timedelta(seconds=9)) == []
    assert len(send(NOW + timedelta(seconds=10))) == 10
    assert len(set(server.ids)) == 20


def test_what_another_worker_took_meanwhile_is_not_sent_over_the_pace(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the first look at the pace and the claim: the second look is under a lock."""
    monkeypatch.setenv("RESOCODE_MAIL_RATE", "60")
    write(20)
    real = sending._written

    def overtaken(*given: Any) -> Any:
        monkeypatch.setattr(sending, "_written", real)
        with db.transaction("worker") as session:
            session.execute(text("update privacy.mail_pace set window_at = :now, taken = 8"), {"now": NOW})
        return real(*given)

    monkeypatch.setattr(sending, "_written", overtaken)
    assert sending.send_lane(lane=1, now=NOW)["taken"] == 2 == len(server.ids)
    assert rows("select taken from privacy.mail_pace") == [(10,)]


def test_a_letter_whose_own_address_is_the_trouble_waits_four_times_as_long_each_time(server: Server) -> None:
    write(2)
    server.answers = {"person1@students.example": "451 4.7.1 later"}
    assert sorted(send()) == ["later", "taken"]
    now, pauses = NOW, []
    for _ in range(4):
        [(before,)] = rows("select not_before from privacy.outbox where state = 'waiting'")
        pauses.append(before - now)
        assert send(before - timedelta(seconds=1)) == []
        now = before
        assert send(now) == ["later"]
    assert pauses == [timedelta(minutes=m) for m in (5, 20, 80, 320)]
    assert rows("select state, attempts, error, address from privacy.outbox where state <> 'sent'") == [
        ("failed", 5, "451", "person1@students.example")
    ], "a person may send it by hand"
    assert send(now + timedelta(days=1)) == [] and len(server.ids) == 1


def test_nothing_leaves_for_a_name_that_is_nobodys_and_staff_see_that(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made-up people live under reserved names: a letter to one is not sent and not tried again; others are not kept waiting."""
    write(2)
    with db.transaction("worker") as session:
        session.execute(text("update privacy.outbox set address = 'somebody@resocode.io' where dedupe_key = 'test 2'"))
        session.execute(text("update platform.enrollment set confirmed_at = null, enrolled_at = :at where student_id = :id"),
                        {"at": NOW - timedelta(days=1), "id": id_of("asha")})  # fmt: skip
        mail_by_rule.queue_mail(session, kind="enrollment confirmation", now=NOW)
        session.execute(text("update privacy.mail_pace set failures = 3, closed_since = :n"), {"n": NOW})
    monkeypatch.delenv("RESOCODE_MAIL_CATCHER")
    assert sorted(send()) == ["nobody", "taken"]
    assert [each.rcpt_tos for each in server.envelopes] == [["somebody@resocode.io"]]
    assert rows("select dedupe_key like 'test%', state, error, attempts, address from privacy.outbox where state <> 'sent' order by 1") == [
        (False, "failed", "address reserved", 0, None),
        (True, "failed", "address reserved", 0, "person1@students.example"),
    ]  # fmt: skip
    assert rows("select address, outcome from platform.email_log where sent_at = :now", now=NOW) == [
        ("somebody@resocode.io", "sent")
    ], "what never left is no mail"
    assert send(NOW + timedelta(days=2)) == [] and len(server.ids) == 1
    [letter] = outbox_page_of("omar")
    assert (letter.state, letter.error) == ("failed", "address reserved")
    with pytest.raises(BadInput, match="nobody would get it"):
        act("retry_letter", "omar", letter_id=letter.id)
    act("mark_sent_by_hand", "omar", letter_id=letter.id)
    assert states() == {"sent": 2, "failed": 1}


def test_a_server_that_nobody_spoke_to_is_not_known_to_be_well(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    write(1)
    with db.transaction("worker") as session:
        session.execute(text("update privacy.mail_pace set failures = 3, closed_since = :n, code = '421'"), {"n": NOW})
    monkeypatch.delenv("RESOCODE_MAIL_CATCHER")
    assert send() == ["nobody"]
    assert rows("select failures, closed_since, code, last_taken_at from privacy.mail_pace") == [(3, NOW, "421", None)]


def outbox_page_of(whom: str) -> list[Any]:
    """The letters that somebody sees."""
    who = staff(whom)
    with db.transaction(staff_id=who.id, session_id=who.session_id) as session:
        return list(queries.outbox_page(session, now=NOW))


def test_a_title_of_two_lines_is_one_line_in_a_subject(server: Server) -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.program set title = E'Python\r\nBcc: x@y.example'"))
        session.execute(text("update platform.enrollment set confirmed_at = null, enrolled_at = :at where student_id = :id"),
                        {"at": NOW - timedelta(days=1), "id": id_of("asha")})  # fmt: skip
        mail_by_rule.queue_mail(session, kind="enrollment confirmation", now=NOW)
    assert send() == ["taken"]
    [message], [envelope] = server.got, server.envelopes
    assert message["Subject"] == "You are enrolled: Python Bcc: x@y.example" and message["Bcc"] is None
    assert envelope.rcpt_tos == ["asha@students.example"]


def test_letters_of_people_go_before_mail_by_rule(server: Server) -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.enrollment set confirmed_at = null, enrolled_at = :at where id = :id"),
                        {"at": NOW - timedelta(days=1), "id": id_of("asha enrollment")})  # fmt: skip
        assert (
            mail_by_rule.queue_mail(session, kind="enrollment confirmation", now=NOW - timedelta(hours=1))["queued"]
            == 1
        )
    write(2)
    assert len(send()) == 3
    assert [str(message["Subject"]) for message in server.got] == ["Subject", "Subject", "You are enrolled: Python"]


def test_an_enrollment_is_confirmed_by_mail_once_and_nobody_else_is_touched(server: Server, owner: Connection) -> None:
    before = snapshot(owner, "ben")
    with db.transaction("worker") as session:
        session.execute(text("update platform.enrollment set confirmed_at = null, enrolled_at = :at where student_id = :id"),
                        {"at": NOW - timedelta(days=1), "id": id_of("asha")})  # fmt: skip
        assert mail_by_rule.mail_due(session, NOW) == ["enrollment confirmation", "certificate notice"]
        for _ in range(2):
            told = [mail_by_rule.queue_mail(session, kind="enrollment confirmation", now=NOW)["queued"]]
    assert told == [0]
    assert send() == ["taken"]
    [message] = server.got
    assert (message["To"], message["Subject"]) == ("asha@students.example", "You are enrolled: Python")
    assert "Dear Asha Example" in message.get_content() and "Python 26" in message.get_content()
    assert rows("select confirmed_at from platform.enrollment where id = :id", id=id_of("asha enrollment")) == [(NOW,)]
    assert rows("select kind, outcome, address from platform.email_log where sent_at = :now", now=NOW) == [
        ("enrollment confirmation", "sent", "asha@students.example")
    ]
    assert rows("select state, subject, body, address from privacy.outbox") == [("sent", "", "", None)]
    with db.transaction("worker") as session:
        assert mail_by_rule.mail_due(session, NOW) == ["certificate notice"]
    owner.rollback()
    assert snapshot(owner, "ben") == before
    assert "letter sent" not in lines(), "mail by rule stands in the mail log"


def test_certificates_are_told_and_old_records_are_not(server: Server) -> None:
    with db.transaction("worker") as session:
        session.execute(text("update platform.certificate set issued_at = :old where id = :id"),
                        {"old": NOW - timedelta(days=31), "id": id_of("ben certificate")})  # fmt: skip
        assert mail_by_rule.queue_mail(session, kind="certificate notice", now=NOW)["queued"] == 2
    assert send() == ["taken", "taken"]
    assert {str(message["To"]) for message in server.got} == {"asha@students.example", "cleo@students.example"}


def begins_soon() -> None:
    """Every cohort begins in five days; whoever is asked to be told about that waits in the outbox."""
    with db.transaction("worker") as session:
        session.execute(text("update platform.cohort set starts_on = :on"), {"on": NOW.date() + timedelta(days=5)})
        assert mail_by_rule.queue_mail(session, kind="program start", now=NOW)["queued"] == 3


def opt_out(session: Session) -> None:
    """Asha wants no mail, by the platform's own flag."""
    flag = text("update platform.student_profile set opted_out_at = :now where student_id = :id")
    session.execute(flag, {"now": NOW, "id": id_of("asha")})


def restrict(session: Session) -> None:
    """Asha's data is restricted."""
    standing.restrict(session, student_id=id_of("asha"), basis="asked", by=None, now=NOW)


@pytest.mark.parametrize("decide", [opt_out, restrict])
def test_who_opted_out_or_is_restricted_gets_what_is_important_and_no_more(
    decide: Callable[[Session], None], server: Server
) -> None:
    begins_soon()
    with db.transaction("worker") as session:
        decide(session)
        mail_by_rule.queue_mail(session, kind="certificate notice", now=NOW)
    send()
    got = [(str(message["To"]), str(message["Subject"]).split()[0]) for message in server.got]
    assert sorted(got) == [("asha@students.example", "Your"), ("ben@students.example", "Cloud"), ("ben@students.example", "Your"),
                           ("cleo@students.example", "Java"), ("cleo@students.example", "Your")]  # fmt: skip
    assert rows("select error from privacy.outbox where state = 'canceled'") == [(sending.DECLINED,)]


def test_a_reason_that_is_gone_by_then_sends_nothing(server: Server) -> None:
    begins_soon()
    with db.transaction("worker") as session:
        session.execute(text("update platform.student set account_status = 'closed', closed_at = :now where id = :id"),
                        {"now": NOW, "id": id_of("asha")})  # fmt: skip
    send()
    assert "asha@students.example" not in {str(message["To"]) for message in server.got}
    assert rows("select error from privacy.outbox where state = 'canceled'") == [(sending.CLOSED,)]


def test_an_officer_lets_the_server_try_again(server: Server) -> None:
    closed()
    server.answer = "550 5.1.1 no"
    assert send() == ["refused"]
    [(letter_id,)] = rows("select id from privacy.outbox where state = 'failed'")
    assert rows("select outcome from platform.email_log where id = :id", id=letter_id) == [("bounced",)]
    server.answer = "250 OK"
    replies = [act("retry_letter", "omar", letter_id=letter_id) for _ in range(2)]
    assert [each.again for each in replies] == [False, True]
    assert send() == ["taken"]
    assert lines().count("letter tried again") == 1
    assert rows("select outcome from platform.email_log where id = :id order by sent_at", id=letter_id) == [("sent",)]


def test_what_is_on_its_way_cannot_be_touched(server: Server) -> None:
    closed()
    with db.transaction("worker") as session:
        ready = sending._claim(session, 1, NOW, 9)
    assert ready is not None
    for verb in ("mark_sent_by_hand", "cancel_letter"):
        with pytest.raises(sending.mail.SettingsError.__mro__[1], match="on its way"):
            act(verb, "omar", letter_id=ready.letters[0].id)


def test_officers_do_not_read_mail_by_rule_and_nobody_makes_campaign_mail() -> None:
    begins_soon()
    with db.transaction(staff_id=id_of("omar")) as session:
        assert session.execute(text("select * from privacy.outbox")).all() == []
    for priority in (1, 2):
        with (
            pytest.raises(ProgrammingError, match="row-level security"),
            db.transaction(staff_id=id_of("omar")) as session,
        ):
            session.execute(text(
                "insert into privacy.outbox (id, dedupe_key, kind, template_version, priority, not_before, written_at, written_by)"
                " values (:id, 'x', 'newsletter', 0, :priority, now(), now(), :me)"),
                {"id": uuid.uuid4(), "priority": priority, "me": id_of("omar")})  # fmt: skip
