"""New versions of the policy: a file, its difference and whom it affects, put up by one person, approved by another, then told.

Danger: the rules change unseen, by one person, or after the fact. Principle: everything follows from the file that was proposed;
two people who have just proved who they are publish it, and it begins on a day that lies ahead; requests stay pinned to the
version they were filed under. Mechanism: ``privacy.policy_proposal`` with its fingerprint, definer functions, triggers. A
significant change begins the notice to everybody (core.privacy.campaigns) in the transaction of the approval.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, time
from typing import Any

import yaml
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, NotFound
from core.models.base import uuid7
from core.models.privacy import PolicyVersion
from core.models.proposals import PolicyProposal
from core.policy import Parameters
from core.policy.difference import KNOWN, changes
from core.policy.versions import check_document
from core.privacy.audit import Action, append, guarded
from core.privacy.campaigns import begin_campaign
from core.privacy.rules import ask
from core.privacy.sessions import Staff, demand_fresh
from core.privacy.simulation import simulate
from core.processors import mail
from core.words import clean_text

DECLINES = ("not needed", "not right yet", "legal review open")
LONGEST_FILE = 500_000
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z.-]{0,39}")
_DEFAULTS = {field.name: field.default for field in fields(Parameters) if isinstance(field.default, int)}


@dataclass(frozen=True)
class ProposalReceipt:
    """What became of a proposal; ``again`` is True when a click was repeated, ``campaign_id`` the notice that was begun."""

    proposal_id: uuid.UUID
    version: str
    sentence: str
    again: bool = False
    campaign_id: uuid.UUID | None = None


def propose_policy(session: Session, *, content: str, now: datetime) -> ProposalReceipt:
    """File a new version from the text of a YAML file, as the worker. The same file again gives the same proposal back.

    Raises BadInput, saying which part, for a file that is not a version of the policy, or not a later one.
    """
    document, effective_at = _read(content)
    version, digest = str(document["version"]), _fingerprint(document)
    newest = session.scalars(select(PolicyVersion).order_by(PolicyVersion.effective_at.desc()).limit(1)).first()
    if newest is None:
        raise NotFound("No version of the policy is there yet. Run `python -m core policy load`.")
    open_one = select(PolicyProposal).where(PolicyProposal.version == version, PolicyProposal.decision.is_(None))
    if found := session.scalars(open_one).first():
        if found.sha256 == digest:
            return ProposalReceipt(found.id, version, f"Version {version} is proposed already.", again=True)
        raise BadInput(f"Another file is proposed as version {version}. Decide about that one, or choose another name.")
    if session.get(PolicyVersion, version) is not None:
        raise BadInput(f"Version {version} is published, and never changes. Choose another name.")
    if effective_at <= max(now, newest.effective_at):
        raise BadInput("A version begins on a day that lies ahead, after the newest one. Change effective_at.")
    found_changes = changes(newest.document, document, _DEFAULTS)
    if not found_changes:
        raise BadInput(f"This file says the same as version {newest.version}.")
    made, significant = uuid7(), bool(document.get("significant")) or any(each.significant for each in found_changes)
    filed = insert(PolicyProposal).values(
        id=made, version=version, follows=newest.version, effective_at=effective_at, document=document, sha256=digest,
        changes=[asdict(each) for each in found_changes], filed_at=now, significant=significant,
    )  # fmt: skip
    session.execute(filed)
    append(session, Action.POLICY_PROPOSED, now=now, subject_kind="policy", subject_id=made, version=version,
           changes=len(found_changes), significant=significant, sha256=digest)  # fmt: skip
    return ProposalReceipt(made, version, f"Version {version} is proposed: {len(found_changes)} changes.")


@guarded
def put_up_policy(session: Session, *, proposal_id: uuid.UUID, by: Staff, now: datetime) -> ProposalReceipt:
    """Put a proposed version up for approval, in one's own name. Raises NotFresh, and what the database refuses with."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    demand_fresh(by, now)
    new = ask(session, "privacy.put_up_policy(:id, :now)", id=proposal_id, now=now)
    row = _proposal(session, proposal_id)
    if new:
        append(session, Action.POLICY_PUT_UP, now=now, subject_kind="policy", subject_id=row.id, version=row.version)
    return ProposalReceipt(row.id, row.version, "Put up. Another person approves it.", again=not new)


@guarded
def approve_policy(
    session: Session, *, proposal_id: uuid.UUID, sha256: str, by: Staff, now: datetime
) -> ProposalReceipt:
    """Approve and publish a version that another person put up; a significant one is told to everybody from now on.

    ``sha256`` is the fingerprint that the screen showed. Raises NotFresh, and what the database refuses with.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    demand_fresh(by, now)
    call = "privacy.decide_policy(:id, 'approved', '', :sha256, :now)"
    new = ask(session, call, id=proposal_id, sha256=sha256, now=now)
    session.expire_all()
    row = _proposal(session, proposal_id)
    if not new:
        return ProposalReceipt(row.id, row.version, "That is approved already.", again=True)
    campaign_id = _tell(session, row, by=by, now=now) if row.significant else None
    _decided(session, row, "approved", "", now)
    append(session, Action.POLICY_PUBLISHED, now=now, version=row.version)
    said = " Everybody with an open account is told now." if campaign_id else ""
    return ProposalReceipt(row.id, row.version, f"Version {row.version} is published.{said}", campaign_id=campaign_id)


def decline_policy(
    session: Session, *, proposal_id: uuid.UUID, reason: str, by: Staff, now: datetime
) -> ProposalReceipt:
    """Decline a proposed version; ``reason`` is one of DECLINES."""
    if reason not in DECLINES:
        raise BadInput(f"Choose a reason: {', '.join(DECLINES)}.")
    return _end(session, proposal_id, "declined", reason, by, now)


def withdraw_policy(session: Session, *, proposal_id: uuid.UUID, by: Staff, now: datetime) -> ProposalReceipt:
    """Take a proposed version back."""
    return _end(session, proposal_id, "withdrawn", "", by, now)


def simulations_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the proposals of which nobody knows yet whom they affect."""
    open_ones = select(PolicyProposal.id).where(
        PolicyProposal.simulated_at.is_(None), PolicyProposal.decision.is_(None)
    )
    return [str(each) for each in session.scalars(open_ones.order_by(PolicyProposal.filed_at))]


def run_simulation(session: Session, *, proposal_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Work out whom a proposal would affect, as the worker."""
    row = session.get(PolicyProposal, proposal_id, with_for_update=True, populate_existing=True)
    if row is None or row.simulated_at is not None:
        return {}
    before = session.get_one(PolicyVersion, row.follows).document
    row.simulation, row.simulated_at = simulate(session, before, row.document, row.changes, now=now), now
    session.flush()
    return {"simulated": 1}


def _end(
    session: Session, proposal_id: uuid.UUID, decision: str, reason: str, by: Staff, now: datetime
) -> ProposalReceipt:
    identify(session, staff_id=by.id, session_id=by.session_id)
    call = "privacy.decide_policy(:id, :decision, :reason, '', :now)"
    new = ask(session, call, id=proposal_id, decision=decision, reason=reason, now=now)
    session.expire_all()
    row = _proposal(session, proposal_id)
    if new:
        _decided(session, row, decision, reason, now)
    return ProposalReceipt(row.id, row.version, f"Version {row.version} is {decision}.", again=not new)


def _tell(session: Session, row: PolicyProposal, *, by: Staff, now: datetime) -> uuid.UUID:
    told = [f"- {each['words']}" for each in row.changes if each["significant"]] or [
        f"- {each['words']}" for each in row.changes
    ]
    values = {"version": row.version, "effective_on": f"{row.effective_at:%-d %B %Y}", "changes": "\n".join(told)}
    begun = begin_campaign(
        session, kind="policy notice", audience="open accounts", template="policy notice", deadline=row.effective_at, by=by, now=now,
        values=values, about=row.version, channel="mail" if mail.configured() else "platform", form_key=row.id,
    )  # fmt: skip
    return begun.campaign_id


def _decided(session: Session, row: PolicyProposal, decision: str, reason: str, now: datetime) -> None:
    append(session, Action.POLICY_DECIDED, now=now, subject_kind="policy", subject_id=row.id, version=row.version,
           decision=decision, reason=reason)  # fmt: skip


def _proposal(session: Session, proposal_id: uuid.UUID) -> PolicyProposal:
    row = session.get(PolicyProposal, proposal_id, populate_existing=True)
    if row is None:
        raise NotFound("There is no such proposal, or it is not open to you.", proposal_id=proposal_id)
    return row


def _read(content: str) -> tuple[dict[str, Any], datetime]:
    """Read a file; what cannot be a version of the policy is refused with the part that is wrong."""
    try:
        document = yaml.safe_load(clean_text(content, what="The file", longest=LONGEST_FILE))
    except yaml.YAMLError as error:
        at = getattr(error, "problem_mark", None)
        raise BadInput(f"This file is no YAML{f' (line {at.line + 1})' if at else ''}.") from None
    if not isinstance(document, dict) or not {"version", "effective_at", "parameters", "processors"} <= set(document):
        raise BadInput("A version of the policy has version, effective_at, parameters and processors.")
    if unknown := sorted(set(map(str, document)) - set(KNOWN)):
        raise BadInput(f"A version of the policy does not have {', '.join(unknown)}. Possible are {', '.join(KNOWN)}.")
    document["version"] = str(document["version"])
    if not _NAME.fullmatch(document["version"]):
        raise BadInput("The name of a version is like 2027-01-01: letters, figures, points and hyphens.")
    check_document(document["version"], document)
    _shapes(document)
    effective_at = _instant(document["effective_at"])
    return {**document, "effective_at": effective_at.isoformat()}, effective_at


def _shapes(document: dict[str, Any]) -> None:
    for part, needed in (("processors", "name"), ("promises", "id")):
        rows = document.get(part) or []
        if not isinstance(rows, list) or not all(isinstance(each, dict) and each.get(needed) for each in rows):
            raise BadInput(f"{part} is a list; each entry has a {needed}.")
        named = [str(each[needed]) for each in rows]
        if len(named) != len(set(named)):
            raise BadInput(f"{part} names one twice.")
        if not all(isinstance(value, str | int | float | bool | list) for each in rows for value in each.values()):
            raise BadInput(f"{part} holds something that is no text.")
    texts = document.get("texts") or {}
    if not isinstance(texts, dict) or not all(isinstance(value, str) for value in texts.values()):
        raise BadInput("texts has a text for each clause.")
    if not isinstance(document.get("significant", False), bool):
        raise BadInput("significant is true or false.")


def _instant(value: object) -> datetime:
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time.min, UTC)
    raise BadInput("effective_at is a day, like 2027-01-01.")


def _fingerprint(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
