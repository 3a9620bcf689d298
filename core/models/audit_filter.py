"""Which lines of the audit somebody wants: shared by the page that shows them and the command that exports them."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import ColumnElement

from core.models.privacy import AuditEvent

SYSTEM = "system"
NOBODY = "nobody"


@dataclass(frozen=True)
class AuditFilter:
    """An empty one finds all. Days are in UTC, both included. ``actor`` is "system" (worker, command line), "nobody" (before
    a sign-in) or "" ; ``actor_id`` is a member of staff."""

    action: str = ""
    actor: str = ""
    actor_id: uuid.UUID | None = None
    subject_id: uuid.UUID | None = None
    first_day: date | None = None
    last_day: date | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what a line has to fulfill."""
        rules = {
            "action": AuditEvent.action == self.action,
            "actor": AuditEvent.actor == self.actor,
            "actor_id": AuditEvent.actor_id == self.actor_id,
            "subject_id": AuditEvent.subject_id == self.subject_id,
            "first_day": AuditEvent.at >= _midnight(self.first_day),
            "last_day": AuditEvent.at < _midnight(self.last_day) + timedelta(days=1),
        }
        return [rule for name, rule in rules.items() if getattr(self, name)]


def _midnight(day: date | None) -> datetime:
    return datetime.combine(day or date(2000, 1, 1), time.min, UTC)
