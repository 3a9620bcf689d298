"""Asked "18 or over?" by a notice to many: the time to answer begins when it arrived, and nobody is restricted for one that did not."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from core import db
from core.errors import BadInput, NotFresh
from core.privacy import bounces, campaigns
from core.worker import Worker
from tests.cast import NOW, email_of, id_of
from tests.core.privacy import house_of_consent as c
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.sender_process import SENDERS
from tests.core.privacy.test_campaigns import recipients
from tests.core.privacy.test_consent_watch import MOMENT, as_replica, undeclared, work
from tests.mail_server import Server, server

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]
DAY = timedelta(days=1)
ANSWER_BY = NOW.date() + timedelta(days=21)
UNTIL = datetime(2026, 12, 16, tzinfo=NOW.tzinfo)  # the whole day is theirs


@pytest.fixture(autouse=True)
def silent(owner: Connection, house: str) -> None:
    """Cleo and Ben have not said whether they are of age; Asha has."""
    as_replica(owner)
    undeclared(owner, "cleo", "ben")


def ask(by: str = "omar", now: datetime = NOW, **more: Any) -> int:
    return int(requests.act("ask_ages", by, now=now, **({"answer_by": ANSWER_BY, "confirmation": "2"} | more)))


def tell(now: datetime) -> None:
    """Let the workers tell people, and settle what follows from the records."""
    Worker(lambda: now, SENDERS).catch_up()
    work(now)


def asked(name: str) -> tuple[datetime | None, datetime | None]:
    case = c.case(name)
    return case.asked_at, case.answer_by


def test_it_is_begun_with_a_fresh_proof_a_number_and_time_to_answer_and_once() -> None:
    assert ANSWER_BY.isoformat() == "2026-12-15"
    for more, sentence in (({"answer_by": NOW.date() + timedelta(days=13)}, "between 14 and 90"), ({"confirmation": "3"}, "Type the number of people, 2")):  # fmt: skip
        with pytest.raises(BadInput, match=sentence):
            ask(**more)
    with pytest.raises(NotFresh):
        requests.act("ask_ages", requests.staff("omar", now=NOW - timedelta(minutes=6)), answer_by=ANSWER_BY, confirmation="2")  # fmt: skip
    assert ask() == 2
    with pytest.raises(BadInput, match="being asked just now"):
        ask("olga")
    assert asked("cleo") == asked("ben") == (None, None), "nobody was told yet"


def test_only_whoever_was_told_and_is_silent_is_restricted_and_only_after_the_day(server: Server) -> None:
    ask()
    told_at = NOW + 2 * DAY
    tell(told_at)
    assert set(recipients_of_the_question()) == {email_of("cleo"), email_of("ben")}, "Asha has said it"
    [subject, _] = [str(message["Subject"]) for message in server.got]
    body = server.got[0].get_content()
    assert "15 December 2026" in subject and "Dear " in body and "{" not in subject + body
    assert asked("cleo") == asked("ben") == (told_at, UNTIL)
    assert c.needs()["asked"] == 2
    c.on("declare_age", name="ben", now=UNTIL - MOMENT, adult=True, how="answered our letter")
    work(UNTIL - MOMENT)
    assert c.restricted() == c.restricted("ben") == []
    work(UNTIL + 5 * DAY)
    assert c.restricted() == ["age not declared"] and c.restricted("ben") == []
    c.on("declare_age", now=UNTIL + 6 * DAY, adult=True, how="answered our letter")
    assert c.restricted() == []
    with pytest.raises(BadInput, match="nobody to write to"):
        ask(now=UNTIL + 6 * DAY, answer_by=UNTIL.date() + timedelta(days=30), confirmation="0")


@pytest.mark.parametrize("answer", ["550 5.1.1 no such user", "451 4.2.0 later"])
def test_whoever_it_did_not_reach_a_week_before_is_not_restricted_and_is_asked_again(server: Server, answer: str) -> None:  # fmt: skip
    server.answers = {email_of("cleo"): answer}
    ask()
    tell(NOW)
    tell(UNTIL - 7 * DAY - MOMENT)
    tell(UNTIL - 7 * DAY)
    assert recipients_of_the_question()[email_of("cleo")][0] in ("bounced", "not reached")
    assert requests.rows("select state from privacy.campaign") == [("done",)]
    work(UNTIL + DAY)
    assert asked("cleo") == (None, None) and c.restricted() == []
    assert c.restricted("ben") == ["age not declared"], "it reached him"
    server.answers = {}
    later = UNTIL + DAY
    assert ask(now=later, answer_by=later.date() + timedelta(days=14), confirmation="1") == 1
    tell(later)
    assert asked("cleo")[0] == later and [str(each["To"]) for each in server.got].count(email_of("ben")) == 1


def test_those_whom_mail_did_not_reach_are_asked_on_the_platform_by_the_same_day(server: Server) -> None:
    server.answers = {email_of("cleo"): "550 5.1.1 no such user"}
    ask()
    tell(NOW)
    [(first,)] = requests.rows("select id from privacy.campaign")
    with pytest.raises(BadInput, match="too late to ask the others"):
        requests.act("follow_up_campaign", "omar", now=UNTIL - 7 * DAY, campaign_id=first)
    follow = requests.act("follow_up_campaign", "omar", now=NOW + DAY, campaign_id=first).campaign_id
    requests.act("attest_shown", "omar", now=NOW + DAY, campaign_id=follow, where="banner after sign-in")
    tell(NOW + 2 * DAY)
    assert asked("cleo") == (NOW + DAY, UNTIL) and asked("ben") == (NOW, UNTIL)


def test_a_question_that_comes_back_ends_the_restriction_that_followed(server: Server) -> None:
    ask()
    tell(NOW)
    work(UNTIL)
    assert c.restricted() == c.restricted("ben") == ["age not declared"]
    [(mine,)] = requests.rows("select id from privacy.campaign_recipient where student_id = :id", id=id_of("cleo"))
    with db.transaction("worker") as session:
        bounces.record_bounces(session, iter([bounces.Report(mine, True, "5.1.1")]), now=UNTIL + DAY)
    work(UNTIL + DAY)
    assert c.restricted() == [] and c.restricted("ben") == ["age not declared"]
    assert asked("cleo") == (None, None) and c.history()[-1][0] == "age question came back"


def test_on_the_platform_the_time_begins_when_it_stands_there() -> None:
    ask(channel="platform")
    tell(NOW)
    assert asked("cleo") == (None, None)
    [(campaign,)] = requests.rows("select id from privacy.campaign")
    requests.act("attest_shown", "omar", now=NOW + DAY, campaign_id=campaign, where="banner after sign-in")
    tell(NOW + DAY)
    assert set(recipients_of_the_question().values()) == {("sent", campaigns.SHOWN)}
    assert asked("cleo") == asked("ben") == (NOW + DAY, UNTIL)


def test_whoever_answered_before_the_letter_left_owes_nothing(server: Server) -> None:
    ask()
    c.on("declare_age", name="ben", adult=False, how="told by the student", birth_date=c.BORN)
    tell(NOW + DAY)
    assert asked("ben") == (None, None) and asked("cleo")[1] == UNTIL


def test_a_notice_of_another_kind_asks_nobody(server: Server) -> None:
    from tests.core.privacy.test_campaigns import begin

    begin()
    tell(NOW)
    assert len(server.got) == 3 and asked("cleo") == asked("ben") == (None, None)


def recipients_of_the_question() -> dict[str, tuple[str, str]]:
    [(campaign,)] = requests.rows("select id from privacy.campaign where kind = 'age question' order by begun_at desc limit 1")  # fmt: skip
    return recipients(campaign)
