"""The check behind "significant changes are announced", beside campaigns that really ran: from the file to what the server took."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from core import db
from core.policy.checks import CHECKS
from core.policy.evidence import Evidence, State
from core.privacy import campaigns, proposals
from tests.cast import NOW
from tests.core.privacy.house_of_requests import act, rows
from tests.core.privacy.test_campaigns import work
from tests.core.privacy.test_proposals import SHORTER, document, publish
from tests.mail_server import Server, server

pytestmark = pytest.mark.usefixtures("house")
__all__ = ["server"]
IN_FORCE = datetime(2027, 1, 1, tzinfo=UTC)


def looked(now: datetime = IN_FORCE + timedelta(hours=2)) -> Evidence:
    """What the check says, as the worker asks it."""
    with db.transaction("worker") as session:
        session.execute(text("set transaction read only"))
        return CHECKS["CHG-NOTICE"](session, now)


def published(**more: object) -> uuid.UUID | None:
    """A version goes from its file through two people; the notice that began, if any."""
    with db.transaction("worker") as session:
        made = proposals.propose_policy(session, content=document(**(more or SHORTER)), now=NOW)
        proposals.run_simulation(session, proposal_id=made.proposal_id, now=NOW)
    receipt = publish(made.proposal_id)
    assert receipt.campaign_id is None or isinstance(receipt.campaign_id, uuid.UUID)
    return receipt.campaign_id  # type: ignore[no-any-return]


def test_red_until_the_notice_is_over_and_green_when_everybody_was_told(server: Server) -> None:
    assert looked().state is State.HOLDS, "nothing has changed yet"
    campaign = published()
    assert looked(IN_FORCE - timedelta(minutes=1)).state is State.HOLDS, "it does not hold yet"
    told = looked()
    assert told.state is State.BROKEN and "is not over: 0 told, 0 waiting" in told.sentence, (
        "begun, and no worker did anything"
    )
    with db.transaction("worker") as session:
        campaigns.go_on(session, campaign_id=campaign, now=NOW)
    assert looked(IN_FORCE).state is State.AT_RISK, "a worker has a moment to end it"
    assert "3 waiting" in looked().sentence and looked().state is State.BROKEN
    work()
    told = looked()
    assert (told.state, told.sentence) == (State.HOLDS, "3 students told of 2027-01-01; 0 came back, 0 not reached.")


def test_paused_or_canceled_is_not_told(server: Server) -> None:
    campaign = published()
    act("pause_campaign", "omar", campaign_id=campaign)
    assert looked().state is State.BROKEN
    act("cancel_campaign", "omar", campaign_id=campaign)
    work()
    assert looked().sentence == "2027-01-01 is in force, and no notice of it is on record."


def test_who_was_not_reached_is_at_risk_until_they_are_told_otherwise_also_when_only_counts_are_left(
    server: Server,
) -> None:
    server.answers = {"asha@students.example": "550 5.1.1 no"}
    campaign = published()
    assert campaign
    work()
    told = looked()
    assert (told.state, told.figures["came back"]) == (State.AT_RISK, 1)
    second = act("follow_up_campaign", "omar", campaign_id=campaign).campaign_id
    assert looked().state is State.BROKEN or looked().state is State.AT_RISK
    work()
    act("attest_shown", "omar", campaign_id=second, where="banner after sign-in")
    work()
    assert looked().state is State.HOLDS
    later = NOW + timedelta(days=200)
    with db.transaction("worker") as session:
        for key in campaigns.reductions_due(session, later):
            campaigns.reduce(session, campaign_id=uuid.UUID(key), now=later)
    assert rows("select count(*) from privacy.campaign_recipient") == [(0,)]
    told = looked(later)
    assert (told.state, told.figures["told"], told.figures["came back"]) == (State.HOLDS, 3, 1)


def test_reduced_counts_of_people_who_were_not_reached_stay_at_risk(server: Server) -> None:
    server.answer = "451 4.2.0 later"
    campaign = published()
    work()
    work(IN_FORCE)
    later = IN_FORCE + timedelta(days=100)
    with db.transaction("worker") as session:
        campaigns.reduce(session, campaign_id=campaign, now=later)
    told = looked(later)
    assert (told.state, told.figures["not reached"]) == (State.AT_RISK, 3)


def test_a_version_that_is_not_significant_needs_no_notice() -> None:
    assert published(parameters={"email_log_days": 60}) is None
    told = looked()
    assert (told.state, told.figures["of them to be announced"]) == (State.HOLDS, 0)
