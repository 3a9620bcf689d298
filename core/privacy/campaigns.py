"""Notices to many people: a change of the policy, an incident. Each recipient once, however often the work is interrupted.

Danger: half of the people are told, some twice, and nobody can say who. Principle: text and audience are fixed when it begins;
who belongs to it is written down before anything leaves, one row per person; what became of each stands in that row until it is
reduced to counts. Mechanism: the audience is gathered in parts by a rule of :data:`AUDIENCES`; the outbox is fed two thousand
at a time, behind all letters to single people; core.privacy.sending writes the answer of the mail server into the row. A notice
shown on the platform instead is attested by a person.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, NotFound, Refused
from core.models.base import uuid7
from core.models.campaigns import CHANNELS, QUESTION, Campaign, CampaignRecipient
from core.policy import in_force
from core.privacy import ages_asked
from core.privacy.ages_asked import NEVER_ASKED
from core.privacy.audit import Action, append
from core.privacy.letters import fill, fillable, wording
from core.privacy.mail_kinds import NOTICES
from core.privacy.sessions import Staff
from core.words import clean

TELLERS = ("privacy_officer", "admin")
TOLD = frozenset({*NOTICES, QUESTION})
GATHERED = 5000
FED = 2000
LOW = 1000
FOLLOWED = timedelta(days=30)
MORE = "more"
BEHIND_ALL = uuid.UUID(int=2**128 - 1)
LATE, CANCELED, SHOWN, CLOSED = "deadline passed", "canceled", "shown on the platform", "account closed"

# Who is told: the condition on a student ``s``, in which :values may be used; of open account, but for kinds that say otherwise. Names nobody.
AUDIENCES: dict[str, tuple[str, str]] = {
    "open accounts": ("everybody with an open account", "true"),
    "students of cohorts": (
        "everybody enrolled in the chosen cohorts",
        """exists (select from platform.enrollment e where e.student_id = s.id
            and e.cohort_id in (select v::uuid from jsonb_array_elements_text(cast(:values as jsonb) -> 'cohorts') v))""",
    ),
    "not reached before": (
        "those whom an earlier notice did not reach",
        """exists (select from privacy.campaign_recipient x where x.student_id = s.id and x.state in ('bounced', 'not reached')
            and x.campaign_id = cast(cast(:values as jsonb) ->> 'campaign' as uuid))""",
    ),
    "concerned by an incident": (
        "everybody whom the incident concerns",
        """exists (select from privacy.incident_person x where x.student_id = s.id
            and x.incident_id = cast(cast(:values as jsonb) ->> 'incident' as uuid))""",
    ),
    NEVER_ASKED: (
        "everybody who has not said whether they are of age, and was never asked",
        """exists (select from privacy.consent c where c.student_id = s.id and c.state = 'not needed' and c.adult is null
            and c.birth_date is null and c.asked_at is null)""",
    ),
}


@dataclass(frozen=True)
class CampaignReceipt:
    """What a verb did to a campaign; ``again`` is True when a click was repeated."""

    campaign_id: uuid.UUID
    state: str
    sentence: str
    again: bool = False


def begin_campaign(
    session: Session,
    *,
    kind: str,
    audience: str,
    template: str,
    deadline: datetime,
    by: Staff,
    now: datetime,
    values: Mapping[str, str] | None = None,
    audience_values: Mapping[str, Any] | None = None,
    channel: str = "mail",
    about: str = "",
    form_key: uuid.UUID | None = None,
) -> CampaignReceipt:
    """Begin a notice to an audience; the worker gathers and tells them. The same ``form_key`` twice begins it once.

    ``kind`` is a kind of TOLD and stands in the mail log, ``template`` the one whose wording is used; ``values`` fill its
    placeholders but {name}, which each mail fills for itself. Raises BadInput for what is not known or not whole,
    Refused for roles that tell nobody.
    """
    _teller(session, by)
    if form_key is not None and (found := session.scalar(select(Campaign).where(Campaign.form_key == form_key))):
        return CampaignReceipt(found.id, found.state, "This notice was begun already.", again=True)
    if kind not in TOLD or template not in TOLD or audience not in AUDIENCES or channel not in CHANNELS:
        raise BadInput("There is no such notice, audience or way to tell people.", kind=kind, audience=audience)
    if deadline <= now:
        raise BadInput("The day by which people have to be told lies ahead. Choose a later one.")
    kept, given = wording(session, template), {"name": "{name}", **(values or {})}
    missing = sorted(set(fillable(template)) - set(given))
    if missing:
        raise BadInput(f"This notice cannot be written: {', '.join(missing)} is missing.", missing=missing)
    copied = {
        "kind": kind,
        "about": about,
        "subject": " ".join(fill(kept.subject, given).split()),
        "body": fill(kept.body, given),
    }
    return _begun(session, form_key, copied, channel, audience, audience_values or {}, deadline, by, now)


def follow_up_campaign(session: Session, *, campaign_id: uuid.UUID, by: Staff, now: datetime) -> CampaignReceipt:
    """Begin the same notice on the platform, for those whom a notice by mail did not reach. Again: the same one."""
    before = _campaign(session, campaign_id, by)
    if before.finished_at is None or before.reduced_at is not None:
        raise BadInput(
            "Those whom a notice did not reach are told once it is over, and while it is known who they are."
        )
    key = uuid.uuid5(campaign_id, "on the platform")
    found = session.scalar(select(Campaign).where(Campaign.form_key == key))
    if found is not None:
        return CampaignReceipt(found.id, found.state, "That was begun already.", again=True)
    copied = {"kind": before.kind, "about": before.about, "subject": before.subject, "body": before.body}
    values, deadline = {"campaign": str(campaign_id)}, max(before.deadline, now + FOLLOWED)
    if before.kind == QUESTION:  # its text names the day by which to answer, and that needs time
        values, deadline = values | {"answer_by": before.audience_values["answer_by"]}, before.deadline
        if deadline <= now:
            raise BadInput("It is too late to ask the others by the same day. Ask them anew on the page Consent.")
    return _begun(session, key, copied, "platform", "not reached before", values, deadline, by, now)


def pause_campaign(session: Session, *, campaign_id: uuid.UUID, by: Staff, now: datetime) -> CampaignReceipt:
    """Stop telling people for now; nobody who was told is told again when it goes on."""
    return _move(session, campaign_id, "paused", ("gathering", "running"), "Paused. Nothing more leaves.", by, now)


def resume_campaign(session: Session, *, campaign_id: uuid.UUID, by: Staff, now: datetime) -> CampaignReceipt:
    """Go on with a paused notice."""
    return _move(session, campaign_id, "gathering", ("paused",), "It goes on.", by, now, already=("running",))


def cancel_campaign(session: Session, *, campaign_id: uuid.UUID, by: Staff, now: datetime) -> CampaignReceipt:
    """End a notice before everybody is told. What left cannot be called back."""
    said = "Canceled. Those who were told stay told."
    return _move(session, campaign_id, "canceled", ("gathering", "running", "paused"), said, by, now)


def attest_shown(session: Session, *, campaign_id: uuid.UUID, where: str, by: Staff, now: datetime) -> CampaignReceipt:
    """Record that a notice stands on the platform, where its recipients see it after signing in."""
    campaign = _campaign(session, campaign_id, by)
    where = clean(where, what="The place")
    if campaign.channel != "platform":
        raise BadInput("This notice goes by mail; nothing has to be shown on the platform.")
    if campaign.shown_at is not None:
        return CampaignReceipt(campaign.id, campaign.state, "That is recorded already.", again=True)
    if not where or campaign.state not in ("gathering", "running"):
        raise BadInput("Say where on the platform the notice stands, while it has not ended.")
    campaign.shown_at, campaign.shown_by, campaign.shown_where = now, by.id, where
    session.flush()
    append(session, Action.CAMPAIGN_SHOWN, now=now, subject_kind="campaign", subject_id=campaign.id,
           people=campaign.recipients)  # fmt: skip
    return CampaignReceipt(campaign.id, campaign.state, "Recorded.")


def campaigns_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the campaigns for which something is to be done now."""
    return list(map(str, session.scalars(text(DUE), {"now": now, "low": LOW})))


def go_on(session: Session, *, campaign_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Do one part of a campaign: gather people, feed the outbox, take back what a pause stops, or end it."""
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None:
        return {}
    if campaign.state == "gathering":
        return _gather(session, campaign)
    if campaign.state in ("paused", "canceled"):
        return _take_back(session, campaign)
    if campaign.state != "running":
        return {}
    if now >= campaign.deadline:
        _take_back(session, campaign)
        _give_up(session, campaign, LATE)
    elif campaign.channel == "platform" and campaign.shown_at is not None:
        shown = {"id": campaign.id, "at": campaign.shown_at, "code": SHOWN}
        session.execute(text(SHOW), shown)
        _give_up(session, campaign, CLOSED)  # whoever cannot sign in does not see it
        if campaign.kind == QUESTION:
            ages_asked.note_all_asked(session, campaign_id=campaign.id, now=now)
    elif campaign.channel == "mail":
        fed = session.execute(text(FEED), {"id": campaign.id, "kind": campaign.kind, "now": now, "part": FED}).all()
        if fed:
            return {"fed": len(fed)}
    counts = _counts(session, campaign)
    if counts["waiting"] or counts["queued"]:
        return {}
    _end(session, campaign, "done", now)
    return {"ended": 1}


def reductions_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the campaigns whose recipients have to go: over for longer than the mail log is kept."""
    kept = timedelta(days=in_force(session, now).email_log_days)
    over = select(Campaign.id).where(Campaign.finished_at <= now - kept, Campaign.reduced_at.is_(None))
    return [str(each) for each in session.scalars(over.order_by(Campaign.finished_at))]


def reduce(session: Session, *, campaign_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Erase a part of the recipients of a campaign that is over; the counts stay."""
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None or campaign.reduced_at is not None or str(campaign_id) not in reductions_due(session, now):
        return {}
    gone = len(session.execute(text(REDUCE), {"id": campaign_id, "part": GATHERED}).all())
    if gone < GATHERED:
        campaign.reduced_at = now
        session.flush()
        append(session, Action.CAMPAIGN_REDUCED, now=now, subject_kind="campaign", subject_id=campaign_id,
               people=campaign.recipients)  # fmt: skip
    return {"erased": gone, MORE: int(gone == GATHERED)}


def tally(session: Session, campaign: Campaign) -> dict[str, int]:
    """Return what became of the recipients of a campaign: sent, bounced, not reached, and how many of them unclear."""
    counts = _counts(session, campaign)
    unclear = select(func.count()).where(CampaignRecipient.campaign_id == campaign.id, CampaignRecipient.unclear)
    return {"people": sum(counts.values()), "sent": counts["sent"], "bounced": counts["bounced"],
            "not_reached": counts["not reached"], "unclear": session.scalar(unclear) or 0}  # fmt: skip


def _begun(
    session: Session,
    form_key: uuid.UUID | None,
    said: Mapping[str, str],
    channel: str,
    audience: str,
    values: Mapping[str, Any],
    deadline: datetime,
    by: Staff,
    now: datetime,
) -> CampaignReceipt:
    made = uuid7()
    row = {**said, "id": made, "form_key": form_key, "channel": channel, "audience": audience, "audience_values": dict(values),
           "deadline": deadline, "begun_at": now, "begun_by": by.id}  # fmt: skip
    session.execute(insert(Campaign).values(row))
    append(session, Action.CAMPAIGN_BEGUN, now=now, subject_kind="campaign", subject_id=made, kind=said["kind"],
           channel=channel, audience=audience, about=said["about"])  # fmt: skip
    return CampaignReceipt(made, "gathering", "Begun. The worker writes down who is told, then tells them.")


def _gather(session: Session, campaign: Campaign) -> dict[str, int]:
    asked = {"campaign": campaign.id, "after": campaign.gathered_to or uuid.UUID(int=0), "part": GATHERED,
             "values": json.dumps(campaign.audience_values), "until": campaign.begun_at, "closed": NOTICES[campaign.kind].closed}  # fmt: skip
    found = session.execute(text(GATHER.format(rule=AUDIENCES[campaign.audience][1])), asked).one()
    campaign.recipients += found.new
    if found.seen < GATHERED:
        campaign.state, campaign.gathered_to = "running", BEHIND_ALL  # and no student's id
    else:
        campaign.gathered_to = found.last
    session.flush()
    return {"gathered": found.new, MORE: 1}


def _take_back(session: Session, campaign: Campaign) -> dict[str, int]:
    """Take what waits in the outbox out of it again; what is on its way stays."""
    back = len(session.execute(text(TAKE_BACK), {"id": campaign.id}).all())
    if campaign.state == "canceled":
        _give_up(session, campaign, CANCELED)
        if not _counts(session, campaign)["queued"]:  # what is on its way is waited for
            campaign.counts = tally(session, campaign)
            session.flush()
    return {"taken back": back}


def _give_up(session: Session, campaign: Campaign, code: str) -> None:
    session.execute(text(GIVE_UP), {"id": campaign.id, "code": code})


def _end(session: Session, campaign: Campaign, state: str, now: datetime) -> None:
    counts = tally(session, campaign)
    campaign.state, campaign.finished_at, campaign.counts = state, now, counts
    session.flush()
    append(session, Action.CAMPAIGN_ENDED, now=now, subject_kind="campaign", subject_id=campaign.id, **counts)


def _counts(session: Session, campaign: Campaign) -> dict[str, int]:
    by_state = select(CampaignRecipient.state, func.count()).where(CampaignRecipient.campaign_id == campaign.id)
    found = {row[0]: row[1] for row in session.execute(by_state.group_by(CampaignRecipient.state))}
    return {state: found.get(state, 0) for state in ("waiting", "queued", "sent", "bounced", "not reached")}


def _move(
    session: Session,
    campaign_id: uuid.UUID,
    to: str,
    start: tuple[str, ...],
    sentence: str,
    by: Staff,
    now: datetime,
    *,
    already: tuple[str, ...] = (),
) -> CampaignReceipt:
    campaign = _campaign(session, campaign_id, by)
    if campaign.state in (to, *already):
        return CampaignReceipt(campaign.id, campaign.state, "That is done already.", again=True)
    if campaign.state not in start:
        raise BadInput("This notice is over." if campaign.finished_at else f"This notice is {campaign.state}.")
    campaign.state = to
    if to == "canceled":
        campaign.finished_at = now
    session.flush()
    what = {"paused": "paused", "gathering": "resumed", "canceled": "canceled"}[to]
    append(session, Action.CAMPAIGN_CHANGED, now=now, subject_kind="campaign", subject_id=campaign.id, what=what)
    return CampaignReceipt(campaign.id, to, sentence)


def _campaign(session: Session, campaign_id: uuid.UUID, by: Staff) -> Campaign:
    _teller(session, by)
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None:
        raise NotFound("There is no such notice, or it is not open to you.", campaign_id=campaign_id)
    return campaign


def _teller(session: Session, by: Staff) -> None:
    """Hold the role of whoever acts until the end of the transaction."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    role = session.scalar(text("select staff.hold_my_role()"))
    if role not in TELLERS:
        raise Refused("Privacy officers and admins send notices. Your role does not.", role=role)


# Something is to be done: people to gather, the outbox runs low, nothing is left, it is late, or a pause has to be obeyed.
DUE = """
    select c.id from privacy.campaign c where
        c.state = 'gathering'
        or c.state = 'canceled' and c.counts is null
        or c.state = 'paused' and exists (select from privacy.outbox o where o.campaign_id = c.id and o.state = 'waiting')
        or c.state = 'running' and (
            c.deadline <= :now
            or not exists (select from privacy.campaign_recipient r where r.campaign_id = c.id and r.state in ('waiting', 'queued'))
            or exists (select from privacy.campaign_recipient r where r.campaign_id = c.id and r.state = 'waiting')
               and (c.shown_at is not null
                    or c.channel = 'mail' and (select count(*) from privacy.outbox o where o.campaign_id = c.id) < :low))
    order by c.begun_at, c.id
"""
GATHER = """
    with part as materialized (
        select s.id from platform.student s
        where s.id > :after and (s.account_status = 'open' or :closed) and s.registered_at <= :until and {rule}
            and s.id <> all ((select privacy.living_canaries())::uuid[])
        order by s.id limit :part),
    written as (
        insert into privacy.campaign_recipient (id, campaign_id, student_id)
        select gen_random_uuid(), :campaign, p.id from part p on conflict (campaign_id, student_id) do nothing returning id)
    select (select count(*) from part) as seen, (select count(*) from written) as new,
        (select p.id from part p order by p.id desc limit 1) as last
"""
FEED = """
    with part as (
        select r.id, r.student_id from privacy.campaign_recipient r where r.campaign_id = :id and r.state = 'waiting'
        order by r.id limit :part for update),
    put as (
        insert into privacy.outbox (id, dedupe_key, student_id, kind, template_version, priority, campaign_id, not_before, written_at)
        select p.id, 'notice:' || p.id, p.student_id, :kind, 0, 2, :id, :now, :now from part p)
    update privacy.campaign_recipient r set state = 'queued' from part p where r.id = p.id returning r.id
"""
TAKE_BACK = """
    with back as (delete from privacy.outbox o where o.campaign_id = :id and o.state = 'waiting' returning o.id, o.unclear)
    update privacy.campaign_recipient r set state = 'waiting', unclear = r.unclear or b.unclear from back b where r.id = b.id returning r.id
"""
GIVE_UP = """
    update privacy.campaign_recipient r set state = 'not reached', code = :code where r.campaign_id = :id and r.state = 'waiting'
"""
SHOW = """
    update privacy.campaign_recipient r set state = 'sent', code = :code, told_at = :at where r.campaign_id = :id and r.state = 'waiting'
        and exists (select from platform.student s where s.id = r.student_id and s.account_status = 'open')
"""
REDUCE = """
    delete from privacy.campaign_recipient r
    where r.id in (select x.id from privacy.campaign_recipient x where x.campaign_id = :id limit :part) returning r.id
"""
