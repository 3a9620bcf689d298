"""The audit, read: a page of lines, how many there are, who acts in it, and when it was last proved.

Row-level security opens lines to privacy officers and auditors; the last check is told to everybody who is signed in.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.audit_filter import AuditFilter
from core.models.privacy import AuditCheck, AuditEvent, AuditSeal

PAGE_SIZE = 50
COUNT_CAP = 10_000
PROOF_LASTS = timedelta(hours=26)


@dataclass(frozen=True)
class AuditLine:
    """One line. ``who`` is the name behind ``actor_id``, else "system" or "nobody"."""

    seq: int
    at: datetime
    who: str
    actor_id: uuid.UUID | None
    session_id: uuid.UUID | None
    action: str
    subject_kind: str | None
    subject_id: uuid.UUID | None
    details: dict[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class AuditPage:
    """Up to ``PAGE_SIZE`` lines, newest first; ``next`` is the line behind which the next page begins, None on the last."""

    lines: tuple[AuditLine, ...]
    next: int | None


@dataclass(frozen=True)
class AuditTotal:
    """How many lines match; ``capped`` when counting stopped."""

    count: int
    capped: bool


@dataclass(frozen=True)
class AuditState:
    """What the newest check found; ``checked_at`` is None before the first one. ``signed_at``: the newest checkpoint then."""

    checked_at: datetime | None
    lines: int
    broken_at: int | None
    problem: str
    checkpoints: int
    signed_at: datetime | None
    check_number: int = 0
    last_line: int | None = None
    lost_until: int | None = None

    @property
    def broken(self) -> bool:
        """True while guarded actions are closed."""
        return bool(self.problem)

    def stale(self, now: datetime) -> bool:
        """True when the daily check is overdue."""
        return self.checked_at is None or self.checked_at < now - PROOF_LASTS


@dataclass(frozen=True)
class Break:
    """A break of the audit that somebody put up, and (``confirmed_at``) a second person acknowledged. ``mine``: by whoever looks."""

    id: uuid.UUID
    words: str
    problem: str
    reason: str
    proposed_at: datetime
    proposed_by: uuid.UUID
    confirmed_at: datetime | None
    confirmed_by: uuid.UUID | None
    mine: bool
    current: bool


@dataclass(frozen=True)
class Colleague:
    """A member of staff, as others may know them."""

    id: uuid.UUID
    name: str
    role: str
    disabled: bool


def audit_page(session: Session, wanted: AuditFilter, *, before: int | None = None, size: int = PAGE_SIZE) -> AuditPage:
    """Return the newest lines before a line (None: from the end)."""
    listed = select(AuditEvent).where(*wanted.conditions()).order_by(AuditEvent.seq.desc()).limit(size + 1)
    rows = session.scalars(listed if before is None else listed.where(AuditEvent.seq < before)).all()
    names = {each.id: each.name for each in colleagues(session)}
    lines = tuple(_line(row, names) for row in rows[:size])
    return AuditPage(lines, lines[-1].seq if len(rows) > size else None)


def audit_total(session: Session, wanted: AuditFilter) -> AuditTotal:
    """Count the lines that match, up to a cap; without a filter the last number is the count, because none is missing."""
    if wanted == AuditFilter():
        return AuditTotal(session.scalar(select(func.coalesce(func.max(AuditEvent.seq), 0))) or 0, capped=False)
    some = select(AuditEvent.seq).where(*wanted.conditions()).limit(COUNT_CAP + 1).subquery()
    count = session.scalar(select(func.count()).select_from(some)) or 0
    return AuditTotal(min(count, COUNT_CAP), count > COUNT_CAP)


def audit_state(session: Session) -> AuditState:
    """Return what the newest check of the whole audit found."""
    newest = select(AuditCheck).order_by(AuditCheck.number.desc()).limit(1)
    row = session.scalars(newest).first()
    if row is None:
        return AuditState(None, 0, None, "", 0, None)
    return AuditState(row.checked_at, row.lines, row.broken_at, row.problem, row.checkpoints, row.signed_at, row.number, row.last_line,
                      row.lost_until)  # fmt: skip


def audit_breaks(session: Session) -> tuple[Break, ...]:
    """Return the breaks that were acknowledged, and those put up for the break that stands now; for officers, admins, auditors."""
    newest = session.scalars(select(AuditCheck).order_by(AuditCheck.number.desc()).limit(1)).first()
    listed = select(AuditSeal, (AuditSeal.proposed_by == func.staff.my_id()).label("mine")).order_by(
        AuditSeal.proposed_at
    )
    found = [_break(row.AuditSeal, newest, bool(row.mine)) for row in session.execute(listed)]
    return tuple(each for each in found if each.confirmed_at or each.current)


def _break(seal: AuditSeal, newest: AuditCheck | None, mine: bool) -> Break:
    current = (
        newest is not None
        and bool(newest.problem)
        and (seal.first_line, seal.digest) == (newest.broken_at, newest.digest)
    )
    end = max(seal.last_line or 0, seal.lost_until or 0)
    words = "signed checkpoints" if seal.first_line is None else (
        f"line {seal.first_line:,}" if end == seal.first_line else f"lines {seal.first_line:,} to {end:,}")  # fmt: skip
    return Break(seal.id, words, seal.problem, seal.reason, seal.proposed_at, seal.proposed_by, seal.confirmed_at,
                 seal.confirmed_by, mine, current)  # fmt: skip


def colleagues(session: Session) -> Sequence[Colleague]:
    """Return everybody who works or worked here, by name, for privacy officers, auditors and admins; else nobody."""
    rows = session.execute(text("select id, name, role, disabled from staff.directory() order by lower(name), id"))
    return [Colleague(*row) for row in rows]


def _line(row: AuditEvent, names: dict[uuid.UUID, str]) -> AuditLine:
    who = names.get(row.actor_id, "unknown") if row.actor_id else row.actor
    return AuditLine(
        row.seq, row.at, who, row.actor_id, row.session_id, row.action, row.subject_kind, row.subject_id,
        _details(row.details), row.previous.hex(), row.hash.hex(),
    )  # fmt: skip


def _details(written: str) -> dict[str, Any]:
    """A line that somebody tampered with is shown as it is now."""
    try:
        found = json.loads(written)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"unreadable": written[:200]}
