"""What stands about people, as far as whoever asks may know: how many a list leaves out, why a record is closed, and the history.

Those who work with students and visitors learn that a record is restricted, never why. What was decided, when and by whom opens to
privacy officers with an open request of this person.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from core.models.requests import Outbox

WORDS = {
    ("restriction", "asked"): "Restricted, as the person asked",
    ("restriction", "consent missing"): "Restricted: a guardian's consent is missing",
    ("restriction", "age not declared"): "Restricted: no age was declared",
    ("objection", "asked"): "Objects to being ordered by need of help and counted in releases",
    ("opt_out", "asked"): "Wants no marketing mail",
    ("opt_out", "objection"): "Wants no marketing mail (came with an objection)",
}


@dataclass(frozen=True)
class LeftOut:
    """How many people lists leave out, because they are restricted: their records are kept and not used."""

    students: int
    visitors: int


@dataclass(frozen=True)
class Decision:
    """Something that stands or stood about a person. ``what`` is "restriction", "objection" or "opt_out"; ``words`` say it.

    ``until`` None: it stands. ``made_by`` None: by a rule, an import or with its request; ``request_number`` None: without one.
    """

    id: uuid.UUID
    what: str
    basis: str
    words: str
    since: datetime
    until: datetime | None
    end_reason: str | None
    made_by: str | None
    ended_by: str | None
    request_id: uuid.UUID | None
    request_number: int | None


@dataclass(frozen=True)
class Lifting:
    """The letter that announces the end of a restriction: its state, when it was sent, when it was written."""

    state: str
    sent_at: datetime | None
    written_at: datetime


def left_out(session: Session, *, cohort_id: uuid.UUID | None = None) -> LeftOut:
    """Return how many people are left out of an assigned cohort, or (for program staff, without one) of all lists."""
    row = session.execute(text("select * from privacy.restricted_here(:cohort)"), {"cohort": cohort_id}).one()
    return LeftOut(row.students, row.visitors)


def hidden_by_restriction(
    session: Session, *, student_id: uuid.UUID | None = None, visitor_id: uuid.UUID | None = None
) -> bool:
    """Return whether a record that would open to whoever asks is closed because it is restricted."""
    asked = {"student": student_id, "visitor": visitor_id}
    return bool(session.scalar(text("select privacy.hidden_by_restriction(:student, :visitor)"), asked))


def objects(session: Session, student_id: uuid.UUID) -> bool:
    """Return whether a student objects to being ordered by need of help."""
    return bool(session.scalar(text("select privacy.has_objected(:id)"), {"id": student_id}))


def standing_of(
    session: Session, *, student_id: uuid.UUID | None = None, visitor_id: uuid.UUID | None = None
) -> tuple[Decision, ...]:
    """Return everything that stands or stood about a person, newest first; what stands comes before what ended."""
    rows = session.execute(text(HISTORY), {"student": student_id, "visitor": visitor_id})
    return tuple(_decision(r) for r in rows)


def standing_of_request(session: Session, request_id: uuid.UUID) -> tuple[Decision, ...]:
    """Return what a request set going, and how it ended."""
    rows = session.execute(text(OF_REQUEST), {"request": request_id})
    return tuple(_decision(r) for r in rows)


def lifting_of(session: Session, restriction_id: uuid.UUID) -> Lifting | None:
    """Return how far the end of a restriction is announced; None: not at all."""
    letter = select(Outbox.state, Outbox.sent_at, Outbox.written_at).where(
        Outbox.dedupe_key == f"{restriction_id} restriction ends"
    )
    row = session.execute(letter).first()
    return Lifting(row.state, row.sent_at, row.written_at) if row else None


def _decision(r: Row[Any]) -> Decision:
    return Decision(r.id, r.what, r.basis, WORDS[r.what, r.basis], r.since, r.until, r.end_reason, r.made_by, r.ended_by,
                    r.request_id, r.number)  # fmt: skip


_ONE = """
    select d.id, '{0}' as what, d.basis, d.since, d.until, d.end_reason, d.made_by, d.ended_by, d.request_id from privacy.{0} d
    where {1}"""
_TOLD = """
    select d.id, d.what, d.basis, d.since, d.until, d.end_reason, d.request_id, r.number, m.name as made_by, e.name as ended_by
    from ({0}) d left join privacy.request r on r.id = d.request_id
    left join lateral staff.names_of(array[d.made_by]) m on true
    left join lateral staff.names_of(array[d.ended_by]) e on true
    order by d.until is not null, d.since desc, d.id"""
_TABLES = ("restriction", "objection", "opt_out")
HISTORY = _TOLD.format(
    " union all ".join(_ONE.format(each, "d.student_id = :student or d.visitor_id = :visitor") for each in _TABLES)
)
OF_REQUEST = _TOLD.format(" union all ".join(_ONE.format(each, "d.request_id = :request") for each in _TABLES))
