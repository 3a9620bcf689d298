"""A file that is wanted: the request, how far its file is, whom it is about and by which policy, in one round trip.

Danger: two workers make the same file; somebody's file is made from what was true before an officer's last decision. Principle: what
the file is made from is read behind the lock on it. Mechanism: :func:`begin` writes the row of the file or finds it, which locks it
until the end of the transaction, and reads the rest by the same statement.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from core import db
from core.errors import NotFound
from core.policy import Parameters
from core.policy.versions import read
from core.processors.protocol import Person


@dataclass(frozen=True)
class Wanted:
    """A request for access or export. ``stage`` of its file is None when none may be made now (it is closed, not verified, about
    nobody); ``rows`` are those that were counted, ``round`` how often it was made. ``person`` is known with all that finds their
    rows; None for a guardian."""

    request_id: uuid.UUID
    number: int
    kind: str
    state: str
    closed: bool
    student_id: uuid.UUID | None
    visitor_id: uuid.UUID | None
    guardian_id: uuid.UUID | None
    stage: str | None
    rows: Mapping[str, int]
    round: int
    person: Person | None
    rules: Parameters
    listed: tuple[str, ...]


def begin(session: Session, request_id: uuid.UUID, now: datetime) -> Wanted | None:
    """Return the file that a request is answered with, its row locked, as the worker; None when it is answered in another way."""
    [found] = db.together(session, db.asked(BEGIN, request=request_id, now=now))
    if not found:
        return None
    (number, kind, state, closed, student, visitor, guardian, stage, rows, made, version, document, digest, forms) = (
        found[0]
    )
    if document is None:
        raise NotFound(
            "No version of the policy is in force yet. Run `python -m core policy load`.", request_id=request_id
        )
    who = student or visitor
    person = (
        Person("student" if student else "visitor", who, request_id, email_hash=digest, forms=tuple(forms))
        if who
        else None
    )
    rules, listed = read(version, document)
    return Wanted(request_id, number, kind, state, closed, student, visitor, guardian, stage, rows or {}, made or 0, person, rules,
                  listed)  # fmt: skip


BEGIN = """
    with asked as (
        select id, number, kind, state, closed_at, student_id, visitor_id, guardian_id, policy_version,
            coalesce(filed_at, received_at) as filed_at
        from privacy.request where id = :request and kind in ('access', 'export')),
    begun as (
        insert into privacy.export as e (request_id, next_at)
        select id, :now from asked
        where closed_at is null and state = 'verified' and num_nonnulls(student_id, visitor_id, guardian_id) > 0
        on conflict (request_id) do update set next_at = e.next_at returning e.state, e.rows, e.round)
    select a.number, a.kind, a.state, a.closed_at is not null, a.student_id, a.visitor_id, a.guardian_id, b.state, b.rows, b.round,
        p.version, cast(p.document as text), w.email_hash, array(
            select id from platform.visitor where email_hash = w.email_hash union select a.visitor_id where a.visitor_id is not null
            order by 1)
    from asked a left join begun b on true
    left join privacy.policy_version p on p.version = coalesce(a.policy_version, (
        select v.version from privacy.policy_version v where v.effective_at <= a.filed_at order by v.effective_at desc limit 1))
    left join lateral (
        select email_hash from platform.student where id = a.student_id
        union all select email_hash from platform.visitor where id = a.visitor_id) w on true
"""
