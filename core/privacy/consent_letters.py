"""Letters about ages and consent: to a student about themselves, to a guardian about the student.

They use the wordings, the outbox and the keys of core.privacy.letters, without a request. A letter to a guardian names the student,
because nobody can consent for somebody they do not know.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.models.base import uuid7
from core.models.consent import Guardian
from core.models.platform import Student
from core.models.requests import LONGEST_TEXT
from core.privacy.letters import PUT, fill, wording
from core.privacy.sessions import Staff
from core.words import clean_text, isolated

MOMENT = timedelta(microseconds=1)
GONE = "There is no such student, or the case is not open to you."


@dataclass(frozen=True)
class Pupil:
    """The student of a case, as far as letters need to know them."""

    id: uuid.UUID
    name: str
    email: str


def pupil(session: Session, student_id: uuid.UUID, *, by: Staff | None) -> Pupil:
    """Return the student of a case, for a privacy officer or the worker. Raises NotFound."""
    if by is None:
        listed = select(Student.name, Student.email).where(Student.id == student_id)
        row = session.execute(listed).first()
    else:
        row = session.execute(text("select * from privacy.consent_person(:id)"), {"id": student_id}).first()
    if row is None:
        raise NotFound(GONE, student_id=student_id)
    return Pupil(student_id, row.name, row.email)


def write(
    session: Session,
    about: Pupil,
    kind: str,
    *,
    key: str,
    by: Staff | None,
    now: datetime,
    to: Guardian | None = None,
    until: datetime | None = None,
    reason: str = "",
    words: str = "",
    request_id: uuid.UUID | None = None,
) -> bool:
    """Put a letter to the student, or ``to`` their guardian, into the outbox, once for each ``key``; return whether it is new."""
    found = wording(session, kind)
    values = {
        "name": to.name if to else about.name,
        "student": isolated(about.name),
        "until": f"{until - MOMENT:%-d %B %Y}" if until else "–",  # midnight is the end of the day before
        "reason": reason,
        "words": clean_text(words, what="The text", longest=LONGEST_TEXT),
    }
    row = {
        "id": uuid7(), "key": key, "request": request_id, "student": about.id, "visitor": None, "kind": kind, "version": found.version,
        "address": to.email if to else about.email, "subject": " ".join(fill(found.subject, values).split()),
        "body": fill(found.body, values), "before": now, "now": now, "by": by.id if by else None,
    }  # fmt: skip
    return bool(session.execute(text(PUT), row).first())
