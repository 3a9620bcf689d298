"""Every verb about mail and notices, done twice: what tests/core/privacy/test_audit_events.py looks at."""

import tempfile
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from core import db
from core.privacy import bounces, campaigns, incidents, proposals, sending
from core.privacy.audit import Action
from tests.cast import NOW
from tests.core.privacy import house_of_requests as requests
from tests.mail_server import Script

POLICY_NOTICE: dict[str, Any] = {
    "kind": "policy notice",
    "audience": "open accounts",
    "template": "policy notice",
    "deadline": NOW + timedelta(days=30),
    "values": {"version": "2027-01-01", "effective_on": "1 January 2027", "changes": "- nothing much"},
    "about": "2027-01-01",
}


def refuse_a_letter(_scene: object) -> None:
    """The server refuses a letter for good."""
    requests.closed()
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(2):
            Script(patch, "220 hi", "250 ok", "250 ok", "550 5.1.1 no", "250 reset", "221 bye")
            sending.send_lane(lane=1, now=NOW)


def try_again(scene: object) -> None:
    """An officer lets the server try again."""
    refuse_a_letter(scene)
    [(letter_id,)] = requests.rows("select id from privacy.outbox where state = 'failed'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESOCODE_SMTP_URL", "smtp://127.0.0.1:1")
        patch.setenv("RESOCODE_MAIL_CATCHER", "1")
        for _ in range(2):
            requests.act("retry_letter", "omar", letter_id=letter_id)


def begun(**more: Any) -> uuid.UUID:
    """A notice to everybody, begun twice by one form."""
    key = uuid.uuid4()
    for _ in range(2):
        made = requests.act("begin_campaign", "omar", form_key=key, **(POLICY_NOTICE | more))
    return uuid.UUID(str(made.campaign_id))


def changed(_scene: object) -> None:
    """A notice is paused, by two clicks."""
    campaign = begun()
    for _ in range(2):
        requests.act("pause_campaign", "omar", campaign_id=campaign)


def shown(_scene: object = None) -> uuid.UUID:
    """A notice stands on the platform, attested by two clicks."""
    campaign = begun(channel="platform")
    for _ in range(2):
        requests.act("attest_shown", "omar", campaign_id=campaign, where="banner after sign-in")
    return campaign


def ended(_scene: object = None) -> uuid.UUID:
    """A notice is shown to everybody and over."""
    campaign = shown()
    for _ in range(4):
        with db.transaction("worker") as session:
            campaigns.go_on(session, campaign_id=campaign, now=NOW)
    return campaign


def reduced(_scene: object) -> None:
    """Its recipients become counts."""
    campaign = ended()
    for _ in range(2):
        with db.transaction("worker") as session:
            campaigns.reduce(session, campaign_id=campaign, now=NOW + timedelta(days=90))


def come_back(_scene: object) -> None:
    """A letter that was sent comes back; the same report is read twice."""
    from tests.core.privacy.test_campaigns import bounce

    requests.closed()
    with db.transaction("worker") as session:
        sent = text(
            "update privacy.outbox set state = 'sent', sent_at = :now, address = null where kind = 'closing' returning id"
        )
        letter_id = session.execute(sent, {"now": NOW}).scalar_one()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.eml"
        file.write_bytes(bounce(str(letter_id)))
        for _ in range(2):
            with db.transaction("worker") as session:
                bounces.record_bounces(session, bounces.reports_in(file), now=NOW)


def policy_proposed(_scene: object = None) -> uuid.UUID:
    """A version is proposed twice by one file, and simulated."""
    from tests.core.privacy.test_proposals import SHORTER, document

    with db.transaction("worker") as session:
        for _ in range(2):
            made = proposals.propose_policy(session, content=document(**SHORTER), now=NOW)
        proposals.run_simulation(session, proposal_id=made.proposal_id, now=NOW)
    return made.proposal_id


def policy_put_up(_scene: object = None) -> uuid.UUID:
    """Two clicks put it up."""
    proposal = policy_proposed()
    for _ in range(2):
        requests.act("put_up_policy", "omar", proposal_id=proposal)
    return proposal


def policy_declined(_scene: object) -> None:
    """Two clicks decline it."""
    proposal = policy_put_up()
    for _ in range(2):
        requests.act("decline_policy", "olga", proposal_id=proposal, reason="not needed")


def incident(*, authority: str = "", closing: tuple[str, ...] = ()) -> uuid.UUID:
    """An incident on its way; every verb is done twice."""
    given = {
        "title": "Lost",
        "nature": "availability",
        "place": "the platform",
        "summary": "Gone.",
        "aware_at": NOW,
        "form_key": uuid.uuid4(),
    }
    for _ in range(2):
        made = uuid.UUID(str(requests.act("open_incident", "omar", **given)))
        requests.act("set_scope", "omar", incident_id=made, categories=["account"], processors=[], cohorts=[])
        with db.transaction("worker") as session:
            incidents.count_people(session, incident_id=made, now=NOW)
    if authority or closing:
        requests.act("decide_authority", "omar", incident_id=made, decision=authority or "not needed", reason="So.")
    if closing:
        requests.act("decide_people", "omar", incident_id=made, decision="not needed", reason="So.")
    for who in closing:
        for _ in range(2):
            requests.act("close_incident", who, incident_id=made)
    return made


def notified(_scene: object) -> None:
    """Two clicks record one notification."""
    made = incident(authority="notify")
    for _ in range(2):
        requests.act("record_notification", "omar", incident_id=made, told_at=NOW, reference="AZ 1")


def noted(_scene: object) -> None:
    """Two clicks file one note."""
    made, key = incident(), uuid.uuid4()
    for _ in range(2):
        requests.act("file_note", "omar", incident_id=made, kind="note", body="Seen.", form_key=key)


NOTICE_VERBS: dict[Action, Callable[[Any], object]] = {
    Action.LETTER_FAILED: refuse_a_letter,
    Action.LETTER_RETRIED: try_again,
    Action.BOUNCES_READ: come_back,
    Action.CAMPAIGN_BEGUN: lambda _scene: begun(),
    Action.CAMPAIGN_CHANGED: changed,
    Action.CAMPAIGN_SHOWN: shown,
    Action.CAMPAIGN_ENDED: ended,
    Action.CAMPAIGN_REDUCED: reduced,
    Action.INCIDENT_OPENED: lambda _scene: incident(),
    Action.INCIDENT_SCOPED: lambda _scene: incident(),
    Action.INCIDENT_COUNTED: lambda _scene: incident(),
    Action.INCIDENT_DECIDED: lambda _scene: incident(authority="notify"),
    Action.INCIDENT_NOTIFIED: notified,
    Action.INCIDENT_NOTED: noted,
    Action.INCIDENT_CLOSING: lambda _scene: incident(closing=("omar",)),
    Action.INCIDENT_CLOSED: lambda _scene: incident(closing=("omar", "olga")),
    Action.POLICY_PROPOSED: policy_proposed,
    Action.POLICY_PUT_UP: policy_put_up,
    Action.POLICY_DECIDED: policy_declined,
}
