"""One student, as the person who asks may see them."""

import uuid
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.links import platform_link
from core.models.platform import Cohort, Enrollment, Program, Student
from core.words import masked_email

PAGE_LOOKS = 50


@dataclass(frozen=True)
class StudentEnrollment:
    """One enrollment of a student: status and dates, never how it went."""

    program: str
    cohort: str
    status: str
    enrolled_at: datetime
    starts_on: date
    ends_on: date
    withdrawn_at: datetime | None
    confirmed_at: datetime | None


@dataclass(frozen=True)
class StudentCard:
    """Identity (contact masked) and enrollments, newest first; ``link`` leads to the platform's own page, if it has one."""

    id: uuid.UUID
    name: str
    contact: str
    level: str
    account_status: str
    registered_at: datetime
    closed_at: datetime | None
    link: str | None
    enrollments: tuple[StudentEnrollment, ...]


@dataclass(frozen=True)
class Look:
    """Somebody saw a student's record, was refused it, or saw the progress of a whole ``cohort`` the student was in."""

    seq: int
    at: datetime
    name: str
    role: str | None
    action: str
    purpose: str | None
    cohort: str | None


def student_card(session: Session, student_id: uuid.UUID) -> StudentCard:
    """Return one student. Raises NotFound when there is none or when whoever asks may not see them: one answer."""
    found = session.get(Student, student_id)
    if found is None:
        raise NotFound("There is no such student, or the record is not open to you.", student_id=student_id)
    return StudentCard(
        found.id,
        found.name,
        masked_email(found.email),
        found.experience_level,
        found.account_status,
        found.registered_at,
        found.closed_at,
        platform_link("student", found.source, found.source_key),
        tuple(_enrollments(session, student_id)),
    )


def who_looked(
    session: Session, student_id: uuid.UUID, *, before: int | None = None, limit: int = PAGE_LOOKS
) -> list[Look]:
    """Return who saw a student's record, newest first; ``before`` is the ``seq`` of the last line seen.

    For a privacy officer with an open request of this student; nothing for anybody else.
    """
    asked = {"student": student_id, "before": before or 2**62, "limit": limit}
    rows = session.execute(text("select * from privacy.who_looked(:student, :before, :limit)"), asked)
    return [Look(*row) for row in rows]


def _enrollments(session: Session, student_id: uuid.UUID) -> list[StudentEnrollment]:
    listed = (
        select(Enrollment, Program.title, Cohort)
        .join(Program, Program.id == Enrollment.program_id)
        .join(Cohort, Cohort.id == Enrollment.cohort_id)
        .where(Enrollment.student_id == student_id)
        .order_by(Enrollment.enrolled_at.desc(), Enrollment.id.desc())
    )
    return [
        StudentEnrollment(
            program, c.title, e.status, e.enrolled_at, c.starts_on, c.ends_on, e.withdrawn_at, e.confirmed_at
        )
        for e, program, c in session.execute(listed)
    ]
