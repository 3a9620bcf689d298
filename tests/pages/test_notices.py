"""Letters' delivery and notices to many through AppTest: how mail goes, how far a notice is, pause and follow-up."""

import uuid

import pytest
from sqlalchemy import text

from core import db
from core.privacy import campaigns, sending
from tests.cast import id_of
from tests.core.privacy import house_of_requests as requests
from tests.core.privacy.scenes_of_mail import POLICY_NOTICE
from tests.core.privacy.test_letters import send
from tests.mail_server import Server, server
from tests.pages.test_matrix import opened, words
from ui.clock import now

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]


def begun(**more: object) -> uuid.UUID:
    """A notice that began now."""
    given = POLICY_NOTICE | {"deadline": now() + requests.DAY} | more
    return uuid.UUID(str(requests.act("begin_campaign", "omar", now=now(), **given).campaign_id))


def go_on(campaign: uuid.UUID, parts: int) -> None:
    """Let the worker do some parts."""
    for _ in range(parts):
        with db.transaction("worker") as session:
            campaigns.go_on(session, campaign_id=campaign, now=now())


def test_the_way_of_a_notice_stands_on_its_page(server: Server) -> None:
    server.answers = {"asha@students.example": "550 5.1.1 no"}
    campaign = begun()
    page = opened("omar", "notices", id=str(campaign))
    assert "writing down whom" in page.markdown[0].value + words(page)
    go_on(campaign, 2)
    page.run()
    assert "3 people settled" not in words(page) and "Told" in words(page)
    page.button(key="pause_notice").click().run()
    assert not page.exception and page.button(key="resume_notice")
    go_on(campaign, 1)
    page.button(key="resume_notice").click().run()
    go_on(campaign, 2)
    assert sorted(send(now())) == ["refused", "taken", "taken"]
    go_on(campaign, 1)
    page.run()
    figures = {metric.label: metric.value for metric in page.metric}
    assert figures == {"People": "3", "Told": "2", "Came back": "1", "Not reached": "0"}
    assert "1 refused for good" in words(page) and "students.example" not in words(page)
    page.button(key="follow_notice").click().run()
    assert not page.exception
    assert requests.rows("select channel, audience from privacy.campaign order by begun_at desc limit 1") == [
        ("platform", "not reached before")
    ]


def test_an_auditor_sees_counts_and_no_buttons(server: Server) -> None:
    campaign = begun()
    go_on(campaign, 2)
    page = opened("aiko", "notices", id=str(campaign))
    assert "People" in words(page)
    assert {str(button.key) for button in page.button} & {"pause_notice", "end_notice"} == set()


def test_delivery_says_how_the_server_stands(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    requests.closed(now=now())
    page = opened("omar", "letters", show="Delivery")
    assert "has taken no letter yet" in words(page)
    server.answer = "550 5.1.1 no"
    assert send(now()) == ["refused"]
    with db.transaction("worker") as session:
        session.execute(
            text("update platform.email_log set outcome = 'bounced' where student_id = :id"), {"id": id_of("ben")}
        )
    page.run()
    assert "closing" in words(page)
    page = opened("omar", "letters")
    [table] = page.dataframe
    assert ["not taken"] in table.value["State"].tolist()
    monkeypatch.setenv("RESOCODE_SMTP_URL", "smtp://127.0.0.1:1")
    requests.act(
        "retry_letter",
        "omar",
        now=now(),
        letter_id=requests.rows("select id from privacy.outbox where state = 'failed'")[0][0],
    )
    assert sending.send_lane(lane=1, now=now())["later"] == 1
    with db.transaction("worker") as session:
        session.execute(text("update privacy.outbox set state = 'failed', error = 'address reserved', attempts = 0"))
    assert ["not sent"] in opened("omar", "letters").dataframe[0].value["State"].tolist()
    page = opened("omar", "letters", show="Delivery")
    assert "left alone until" in words(page) and "did not answer" in words(page)
