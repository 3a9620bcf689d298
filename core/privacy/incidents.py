"""Breaches of personal data: written down when we know, decided with reasons, told to whom they concern, closed by two people.

Danger: 72 hours pass unseen; the wrong people are told, or nobody. Principle: the clock runs from when we knew, which is written
once; whom it concerns is a query over the data map, counted by the worker and kept, so that exactly these are told; both
decisions have a person and a reason, also when they say no. Mechanism: a trigger holds the register (migration); the notice is
an ordinary one (core.privacy.campaigns), about the incident's number.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, text
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound
from core.models.base import uuid7
from core.models.incidents import AUTHORITY, NATURES, NOTE_KINDS, PEOPLE, Incident, IncidentNote, IncidentPerson
from core.models.labels import Category
from core.models.labels import Processor as Named
from core.models.requests import LONGEST_TEXT
from core.models.ways import Way, fates, ways_to
from core.privacy.acting import hold_officer
from core.privacy.audit import Action, append, guarded
from core.privacy.campaigns import CampaignReceipt, begin_campaign
from core.privacy.sessions import Staff, demand_fresh
from core.processors import mail
from core.words import clean, clean_text

HOURS_72 = timedelta(hours=72)
TOLD_WITHIN = timedelta(days=14)
HERE = "this dashboard"
PLACES = (HERE, "the platform", *map(str, Named))
CATEGORIES = tuple(str(each) for each in (Category.ACCOUNT, Category.PROFILE, Category.LEARNING, Category.USAGE))
MISSING = "There is no such incident, or it is not open to you."


def open_incident(
    session: Session,
    *,
    title: str,
    nature: str,
    place: str,
    summary: str,
    aware_at: datetime,
    form_key: uuid.UUID,
    by: Staff,
    now: datetime,
) -> uuid.UUID:
    """Write down a breach; the 72 hours run from ``aware_at``. The same form twice writes it once; return its id.

    Raises BadInput for what is missing or lies ahead.
    """
    hold_officer(session, by)
    if found := session.scalar(select(Incident.id).where(Incident.form_key == form_key)):
        return found
    title = clean(title, what="The title")
    summary = clean_text(summary, what="What happened", longest=LONGEST_TEXT)
    if not title or not summary or nature not in NATURES or place not in PLACES:
        raise BadInput("An incident has a title, what happened, where, and what was lost.")
    if aware_at > now:
        raise BadInput("We cannot have known of it later than now.")
    made = uuid7()
    row = {"id": made, "form_key": form_key, "title": title, "nature": nature, "place": place, "summary": summary,
           "aware_at": aware_at, "opened_at": now, "opened_by": by.id}  # fmt: skip
    session.execute(insert(Incident).values(row))
    append(
        session, Action.INCIDENT_OPENED, now=now, subject_kind="incident", subject_id=made, nature=nature, place=place
    )
    return made


def set_scope(
    session: Session,
    *,
    incident_id: uuid.UUID,
    categories: Sequence[str],
    processors: Sequence[str],
    cohorts: Sequence[uuid.UUID],
    by: Staff,
    now: datetime,
) -> None:
    """Say whom an incident concerns: those with data of these categories or at these processors, of these cohorts (none: all).

    The worker counts anew. Raises BadInput once people were told.
    """
    incident = _open(session, incident_id, by)
    if not set(categories) <= set(CATEGORIES) or not set(processors) <= set(map(str, Named)):
        raise BadInput("There is no such category or processor.")
    if incident.campaign_id is not None:
        raise BadInput("People were told already: the scope stays as it was.")
    scope = {"categories": sorted(categories), "processors": sorted(processors), "cohorts": sorted(map(str, cohorts))}
    if scope == incident.scope:
        return
    incident.scope, incident.counted, incident.affected, incident.counted_at = scope, None, None, None
    incident.close_asked_at = incident.close_asked_by = None
    session.flush()
    append(session, Action.INCIDENT_SCOPED, now=now, subject_kind="incident", subject_id=incident_id,
           categories=scope["categories"], processors=scope["processors"], cohorts=len(scope["cohorts"]))  # fmt: skip


@guarded
def decide_authority(
    session: Session, *, incident_id: uuid.UUID, decision: str, reason: str, by: Staff, now: datetime
) -> None:
    """Decide whether the data protection authority is notified ("notify", "not needed"), with the reason. Needs a fresh proof."""
    incident = _open(session, incident_id, by)
    demand_fresh(by, now)
    if incident.notified_at is not None:
        raise BadInput("The authority was notified already.")
    incident.authority, incident.authority_reason = _decision(decision, reason, AUTHORITY)
    incident.authority_at, incident.authority_by = now, by.id
    session.flush()
    _decided(session, incident, "authority", decision, now)


@guarded
def decide_people(
    session: Session, *, incident_id: uuid.UUID, decision: str, reason: str, by: Staff, now: datetime
) -> None:
    """Decide whether the people concerned are told ("tell", "not needed"), with the reason. Needs a fresh proof."""
    incident = _open(session, incident_id, by)
    demand_fresh(by, now)
    if incident.campaign_id is not None:
        raise BadInput("The people were told already.")
    incident.people, incident.people_reason = _decision(decision, reason, PEOPLE)
    incident.people_at, incident.people_by = now, by.id
    session.flush()
    _decided(session, incident, "people", decision, now)


def record_notification(
    session: Session, *, incident_id: uuid.UUID, told_at: datetime, reference: str, by: Staff, now: datetime
) -> None:
    """Record that the authority was notified: when, and under which reference of theirs."""
    incident = _open(session, incident_id, by)
    reference = clean(reference, what="The reference")
    if incident.notified_at is not None:
        return
    if incident.authority != "notify" or not reference or not incident.aware_at <= told_at <= now:
        raise BadInput("A notification was decided on, has a reference, and lies between our knowing and now.")
    incident.notified_at, incident.notified_reference = told_at, reference
    session.flush()
    late = told_at > incident.aware_at + HOURS_72
    append(session, Action.INCIDENT_NOTIFIED, now=now, subject_kind="incident", subject_id=incident_id, late=late)


@guarded
def tell_people(session: Session, *, incident_id: uuid.UUID, words: str, by: Staff, now: datetime) -> CampaignReceipt:
    """Begin the notice to everybody whom the incident concerns. Needs a fresh proof; again: the same notice."""
    incident = _open(session, incident_id, by)
    demand_fresh(by, now)
    if incident.people != "tell" or incident.counted_at is None or not incident.affected:
        raise BadInput("People are told when that was decided, and the worker has found whom it concerns.")
    words = clean_text(words, what="The text", longest=LONGEST_TEXT)
    if not words:
        raise BadInput("Say what happened, what it may mean, what was done, and what people can do.")
    begun = begin_campaign(
        session, kind="security notice", template="security notice", audience="concerned by an incident", by=by, now=now,
        audience_values={"incident": str(incident_id)}, deadline=now + TOLD_WITHIN, values={"words": words},
        about=number(incident.number), channel="mail" if mail.configured() else "platform", form_key=incident_id,
    )  # fmt: skip
    if incident.campaign_id is None:
        incident.campaign_id = begun.campaign_id
        session.flush()
    return begun


def file_note(
    session: Session,
    *,
    incident_id: uuid.UUID,
    kind: str,
    body: str,
    form_key: uuid.UUID,
    sender: str = "",
    reference: str = "",
    by: Staff,
    now: datetime,
) -> None:
    """File a note, the report of a processor, or correspondence. The same form twice files it once."""
    _open(session, incident_id, by)
    if session.scalar(select(IncidentNote.id).where(IncidentNote.form_key == form_key)):
        return
    body = clean_text(body, what="The text", longest=LONGEST_TEXT)
    sender, reference = clean(sender, what="The sender"), clean(reference, what="The reference")
    if not body or kind not in NOTE_KINDS or (kind == "report of a processor" and sender not in map(str, Named)):
        raise BadInput("Say what it is, and who reported it.")
    row = {"id": uuid7(), "form_key": form_key, "incident_id": incident_id, "kind": kind, "sender": sender, "reference": reference,
           "body": body, "filed_at": now, "filed_by": by.id}  # fmt: skip
    session.execute(insert(IncidentNote).values(row))
    append(
        session,
        Action.INCIDENT_NOTED,
        now=now,
        subject_kind="incident",
        subject_id=incident_id,
        kind=kind,
        sender=sender,
    )


@guarded
def close_incident(session: Session, *, incident_id: uuid.UUID, by: Staff, now: datetime) -> str:
    """Ask to close an incident; another officer who does the same closes it. Return "asked" or "closed". Needs a fresh proof.

    Raises BadInput while something is left to do.
    """
    incident = _open(session, incident_id, by, closed=True)
    if incident.closed_at is not None:
        return "closed"
    demand_fresh(by, now)
    if missing := left_to_do(incident):
        raise BadInput(f"Before it is closed: {', '.join(missing)}.")
    if incident.close_asked_by is None:
        incident.close_asked_at, incident.close_asked_by = now, by.id
        session.flush()
        append(session, Action.INCIDENT_CLOSING, now=now, subject_kind="incident", subject_id=incident_id)
        return "asked"
    if incident.close_asked_by == by.id:
        return "asked"
    incident.closed_at, incident.closed_by = now, by.id
    session.flush()
    append(session, Action.INCIDENT_CLOSED, now=now, subject_kind="incident", subject_id=incident_id)
    return "closed"


def left_to_do(incident: Incident) -> list[str]:
    """Return what is left to do before an incident is closed, in words."""
    steps = (
        (incident.counted_at is None, "say whom it concerns"),
        (incident.authority == "undecided", "decide about the authority"),
        (incident.authority == "notify" and incident.notified_at is None, "notify the authority"),
        (incident.people == "undecided", "decide about the people"),
        (incident.people == "tell" and incident.campaign_id is None, "tell the people"),
    )
    return [words for needed, words in steps if needed]


def counts_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the incidents whose scope was not counted yet."""
    open_ones = select(Incident.id).where(
        Incident.scope.is_not(None), Incident.counted_at.is_(None), Incident.closed_at.is_(None)
    )
    return [str(each) for each in session.scalars(open_ones.order_by(Incident.opened_at))]


def count_people(session: Session, *, incident_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Find and keep whom an incident concerns, and count their rows table by table, as the worker."""
    incident = session.get(Incident, incident_id, with_for_update=True, populate_existing=True)
    if incident is None or incident.scope is None or incident.counted_at is not None:
        return {}
    scope = incident.scope
    session.execute(delete(IncidentPerson).where(IncidentPerson.incident_id == incident_id))
    tables = concerned_tables(scope)
    asked = {"incident": incident_id, "now": now} | ({"cohorts": scope["cohorts"]} if scope["cohorts"] else {})
    for ways in tables.values():
        for way in ways:
            cohort = COHORT.format(owner=_owner(way)) if scope["cohorts"] else "true"
            session.execute(text(FIND.format(owner=_owner(way), source=_joined(way), cohort=cohort)), asked)
    counted = {table: sum(_rows(session, way, incident_id) for way in ways) for table, ways in tables.items()}
    people = (
        session.scalar(
            text("select count(*) from privacy.incident_person where incident_id = :id"), {"id": incident_id}
        )
        or 0
    )
    incident.counted, incident.affected, incident.counted_at = (
        {table: many for table, many in counted.items() if many},
        people,
        now,
    )
    session.flush()
    append(session, Action.INCIDENT_COUNTED, now=now, subject_kind="incident", subject_id=incident_id, people=people)
    return {"people": people}


def concerned_tables(scope: dict[str, Any]) -> dict[str, tuple[Way, ...]]:
    """Return the tables with data of the categories or at the processors of a scope, by the labels; all when it names none."""
    chosen = set(scope["categories"]) | set(scope["processors"])
    ways = ways_to("student")
    return {
        fate.table: ways[fate.table] for fate in fates("student")
        if fate.table in ways and fate.table.startswith("platform.") and (not chosen or chosen & {*fate.categories, *fate.processors})
    }  # fmt: skip


def number(of: int) -> str:
    """How an incident is called: ``I-7``."""
    return f"I-{of}"


def _rows(session: Session, way: Way, incident_id: uuid.UUID) -> int:
    query = f"select count(*) from {_joined(way)} where {_owner(way)} in (select student_id from privacy.incident_person where incident_id = :id)"  # noqa: S608 - names of our own tables
    return session.scalar(text(query), {"id": incident_id}) or 0


def _joined(way: Way) -> str:
    """The tables of a way to a student, joined: names of our own labels, nobody's words."""
    found = f"{way.table} t0"
    for step, link in enumerate(way.links[:-1]):
        found += f" join {link.to_table} t{step + 1} on t{step}.{link.column} = t{step + 1}.{link.to_column}"
    return found


def _owner(way: Way) -> str:
    return f"t{len(way.links) - 1}.{way.links[-1].column}" if way.links else "t0.id"


def _decision(decision: str, reason: str, known: tuple[str, ...]) -> tuple[str, str]:
    reason = clean_text(reason, what="The reason", longest=LONGEST_TEXT)
    if decision not in known[1:] or not reason:
        raise BadInput("A decision is one of the two, and has a reason: also when nobody is told.")
    return decision, reason


def _decided(session: Session, incident: Incident, who: str, decision: str, now: datetime) -> None:
    append(
        session,
        Action.INCIDENT_DECIDED,
        now=now,
        subject_kind="incident",
        subject_id=incident.id,
        about=who,
        decision=decision,
    )


def _open(session: Session, incident_id: uuid.UUID, by: Staff, *, closed: bool = False) -> Incident:
    hold_officer(session, by)
    incident = session.get(Incident, incident_id, with_for_update=True, populate_existing=True)
    if incident is None:
        raise NotFound(MISSING, incident_id=incident_id)
    if incident.closed_at is not None and not closed:
        raise BadInput(f"{number(incident.number)} is closed; it does not change any more.")
    return incident


COHORT = """exists (select from platform.enrollment e where e.student_id = {owner}
    and e.cohort_id in (select v::uuid from unnest(cast(:cohorts as text[])) v))"""
FIND = """
    insert into privacy.incident_person (incident_id, student_id, found_at)
    select distinct cast(:incident as uuid), {owner}, cast(:now as timestamptz) from {source} where {owner} is not null and {cohort}
      and {owner} <> all ((select privacy.living_canaries())::uuid[])
    on conflict do nothing
"""
