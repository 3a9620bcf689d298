"""Versions of the policy as a list, and proposed ones with what changes and whom that affects."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.campaigns import Campaign
from core.models.privacy import PolicyVersion
from core.models.proposals import PolicyProposal
from core.models.requests import Request


@dataclass(frozen=True)
class VersionRow:
    """A published version: "in force", "coming" or "past"; ``pinned``: open requests that were filed under it."""

    version: str
    effective_at: datetime
    published_at: datetime
    state: str
    pinned: int
    document: dict[str, Any]
    campaign_id: uuid.UUID | None


@dataclass(frozen=True)
class ChangeRow:
    """One change in words."""

    what: str
    name: str
    before: str | None
    after: str | None
    words: str
    significant: bool


@dataclass(frozen=True)
class EffectRow:
    """Whom one change would affect; ``counted`` says what was counted."""

    name: str
    people: int
    rows: int
    counted: str


@dataclass(frozen=True)
class PolicyProposalRow:
    """A proposed version. ``state``: "new", "put up", "approved", "declined" or "withdrawn"; ``mine``: put up by whoever asks."""

    id: uuid.UUID
    version: str
    follows: str
    effective_at: datetime
    sha256: str
    significant: bool
    filed_at: datetime
    state: str
    changes: tuple[ChangeRow, ...]
    simulated_at: datetime | None
    effects: tuple[EffectRow, ...]
    pinned_requests: int
    pinned_deletions: int
    accounts: int
    put_up_at: datetime | None
    put_up_by: str | None
    mine: bool
    decided_at: datetime | None
    decided_by: str | None
    reason: str


def policy_versions(session: Session, *, now: datetime) -> list[VersionRow]:
    """Return every published version, newest first."""
    rows = session.scalars(select(PolicyVersion).order_by(PolicyVersion.effective_at.desc())).all()
    in_force = next((row.version for row in rows if row.effective_at <= now), None)
    told = select(Campaign.about, func.max(Campaign.begun_at), Campaign.id).where(Campaign.kind == "policy notice")
    notices = {row[0]: row[2] for row in session.execute(told.group_by(Campaign.about, Campaign.id))}
    pinned = select(Request.policy_version, func.count()).where(Request.closed_at.is_(None))
    open_ones = {row[0]: row[1] for row in session.execute(pinned.group_by(Request.policy_version))}
    return [
        VersionRow(row.version, row.effective_at, row.published_at,
                   "in force" if row.version == in_force else "coming" if row.effective_at > now else "past",
                   open_ones.get(row.version, 0), row.document, notices.get(row.version))
        for row in rows
    ]  # fmt: skip


def policy_proposals(session: Session, *, staff_id: uuid.UUID) -> list[PolicyProposalRow]:
    """Return proposed versions, newest first: open ones and those that were decided."""
    rows = session.scalars(select(PolicyProposal).order_by(PolicyProposal.filed_at.desc()).limit(50)).all()
    people = {each for row in rows for each in (row.put_up_by, row.decided_by) if each}
    named = session.execute(text("select * from staff.names_of(:ids)"), {"ids": list(people)})
    names = {row.id: row.name for row in named}
    return [_row(row, names, staff_id) for row in rows]


def _row(row: PolicyProposal, names: dict[uuid.UUID, str], staff_id: uuid.UUID) -> PolicyProposalRow:
    told = row.simulation or {}
    return PolicyProposalRow(
        row.id, row.version, row.follows, row.effective_at, row.sha256, row.significant, row.filed_at,
        row.decision or ("put up" if row.put_up_at else "new"), tuple(ChangeRow(**each) for each in row.changes), row.simulated_at,
        tuple(EffectRow(**each) for each in told.get("affected", ())), told.get("pinned_requests", 0), told.get("pinned_deletions", 0),
        told.get("accounts", 0), row.put_up_at, names.get(row.put_up_by) if row.put_up_by else None, row.put_up_by == staff_id,
        row.decided_at, names.get(row.decided_by) if row.decided_by else None, row.reason,
    )  # fmt: skip
