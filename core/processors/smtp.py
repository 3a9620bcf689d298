"""The mail provider as a processor: it gets letters (core.processors.mail), and its own log is seen to by a person.

SMTP hands letters over and can take nothing back: what the provider kept about somebody is an attested step, as at a processor
that nobody connected. Nothing here sends marketing, so an opt-out has nothing to stop here; where the provider's account is
used for more than our letters, a person sets it there, and another one confirms.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.labels import Processor as Named
from core.processors import mail
from core.processors.manual import MANUAL, Manual
from core.processors.protocol import Capability, Line, Person, Preview

LOGGED = {
    "student": text("select count(*) from platform.email_log where student_id = :id"),
    "visitor": text("select count(*) from platform.email_log where visitor_id = :id"),
}


@dataclass(frozen=True)
class Smtp(Manual):
    """The configured mail server. ``payload``: all that a letter carries."""

    name: str = Named.SMTP
    payload: tuple[str, ...] = mail.PAYLOAD
    capabilities: frozenset[Capability] = frozenset({Capability.PREVIEW})

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        """Tell how many letters it was handed, by our log; what it kept of them, a person has to look up."""
        handed = session.scalar(LOGGED[person.kind], {"id": person.id})
        return Preview((Line("letters handed over, by our log", handed),), complete=False, problem=MANUAL)


def made() -> Smtp | None:
    """Return the mail provider, or None while no server is configured."""
    return Smtp() if mail.configured() else None
