"""One search over everything within the rights of whoever asks: students, visitors, cohorts, programs, staff accounts.

The database function proposes ids by role; the rows are read under row-level security, which disposes (adr/0004). A
contact that tells two people of one name apart is masked; those who teach see the cohort instead.
"""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.platform import Cohort, Enrollment, Program, Student, Visitor
from core.models.requests import Request
from core.models.staff import StaffMember
from core.reads.listing import pattern
from core.words import masked_email

HITS_A_KIND = 5
KINDS = ("student", "visitor", "cohort", "program", "staff")


@dataclass(frozen=True)
class Hit:
    """Something that was found. ``detail`` tells it apart from others of the same title: a masked contact, or a code.

    ``request_id`` is the open request that lets a privacy officer see this person; None for everybody else.
    """

    kind: str
    id: uuid.UUID
    title: str
    detail: str
    request_id: uuid.UUID | None = None


@dataclass(frozen=True)
class Found:
    """The hits by kind, best first; ``more`` names the kinds of which there are more than are shown."""

    hits: tuple[Hit, ...]
    more: frozenset[str]

    def of(self, kind: str) -> tuple[Hit, ...]:
        """The hits of one kind."""
        return tuple(hit for hit in self.hits if hit.kind == kind)


def search(session: Session, typed: str) -> Found | None:
    """Return what is found; None for a text that is too short. Raises BadInput for one that cannot be searched for."""
    inside = pattern(typed)
    if inside is None:
        return None
    proposed: dict[str, list[uuid.UUID]] = {}
    for row in session.execute(_SEARCH, {"text": inside, "limit": HITS_A_KIND + 1}):
        proposed.setdefault(row.kind, []).append(row.id)
    hits = [hit for kind in KINDS if kind in proposed for hit in _read(session, kind, proposed[kind][:HITS_A_KIND])]
    return Found(tuple(hits), frozenset(kind for kind, ids in proposed.items() if len(ids) > HITS_A_KIND))


_SEARCH = text("select kind, id from platform.search(:text, :limit)")


def _read(session: Session, kind: str, ids: list[uuid.UUID]) -> list[Hit]:
    """The rows behind proposed ids, in their order, as far as row-level security shows them."""
    cases = _cases(session, ids) if kind in ("student", "visitor") else {}
    seen = {each: Hit(kind, each, title, detail, cases.get(each)) for each, title, detail in _ROWS[kind](session, ids)}
    return [seen[each] for each in ids if each in seen]


def _cases(session: Session, ids: list[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """The newest open request of each person; row-level security shows requests to privacy officers only."""
    person = func.coalesce(Request.student_id, Request.visitor_id)
    listed = select(person, Request.id).where(
        Request.closed_at.is_(None), Request.student_id.in_(ids) | Request.visitor_id.in_(ids)
    )
    return {row[0]: row[1] for row in session.execute(listed.order_by(Request.received_at, Request.id))}


def _students(session: Session, ids: list[uuid.UUID]) -> Iterator[tuple[uuid.UUID, str, str]]:
    teaches = session.scalar(text("select cardinality(staff.my_cohorts()) > 0"))
    cohorts = (
        select(Enrollment.student_id, Cohort.title)
        .join(Cohort, Cohort.id == Enrollment.cohort_id)
        .where(Enrollment.student_id.in_(ids), text("enrollment.cohort_id = any ((select staff.my_cohorts())::uuid[])"))
        .order_by(Cohort.starts_on)
    )
    of_student = {row.student_id: row.title for row in session.execute(cohorts)} if teaches else {}
    for row in session.execute(select(Student.id, Student.name, Student.email).where(Student.id.in_(ids))):
        yield row.id, row.name, of_student.get(row.id) or masked_email(row.email)


def _visitors(session: Session, ids: list[uuid.UUID]) -> Iterator[tuple[uuid.UUID, str, str]]:
    for row in session.execute(select(Visitor.id, Visitor.name, Visitor.email).where(Visitor.id.in_(ids))):
        yield row.id, row.name, masked_email(row.email)


def _cohorts(session: Session, ids: list[uuid.UUID]) -> Iterator[tuple[uuid.UUID, str, str]]:
    for row in session.execute(select(Cohort.id, Cohort.title, Cohort.code).where(Cohort.id.in_(ids))):
        yield row.id, row.title, row.code


def _programs(session: Session, ids: list[uuid.UUID]) -> Iterator[tuple[uuid.UUID, str, str]]:
    for row in session.execute(select(Program.id, Program.title, Program.code).where(Program.id.in_(ids))):
        yield row.id, row.title, row.code


def _staff(session: Session, ids: list[uuid.UUID]) -> Iterator[tuple[uuid.UUID, str, str]]:
    listed = select(StaffMember.id, StaffMember.name, StaffMember.email).where(StaffMember.id.in_(ids))
    for row in session.execute(listed):
        yield row.id, row.name, row.email


_ROWS: dict[str, Callable[[Session, list[uuid.UUID]], Iterator[tuple[uuid.UUID, str, str]]]] = {
    "student": _students,
    "visitor": _visitors,
    "cohort": _cohorts,
    "program": _programs,
    "staff": _staff,
}
