"""Visitors whom nobody has been in contact with for the period that the company chose: erased, all their forms together.

Danger: somebody who writes again today is erased as forgotten, or what a hold keeps goes. Principle: who is due is asked twice,
and the second time nobody can add a contact any more. Mechanism: the forms of a batch are locked, ``privacy.old_visitors`` is asked
again, and only who is in both answers goes; the rows follow from the labels, as in every erasure.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.platform import Visitor
from core.policy import Parameters
from core.policy.keeping import day_begins, visitors_before
from core.privacy import brakes, retention_elsewhere
from core.processors import local

PART, ROWS = 200, 20_000


def is_due(session: Session, rules: Parameters, now: datetime) -> bool:
    """Whether somebody's last contact is a whole day past the period."""
    return bool(_due(session, visitors_before(rules, day_begins(now)), 1))


def unusual(session: Session, rules: Parameters, now: datetime) -> tuple[int, int] | None:
    """More people than may go in a day without a question (core.privacy.brakes): how many of how many."""
    due = session.scalar(text(f"select count(*) {DUE}"), {"before": visitors_before(rules, now)}) or 0
    people = session.scalar(select(func.count(func.distinct(Visitor.email_hash)))) or 0
    return (due, people) if due > brakes.limit(people) else None


def part(session: Session, rules: Parameters, now: datetime) -> tuple[dict[str, int], bool]:
    """Erase a batch of visitors who are due; whether there may be more."""
    before = visitors_before(rules, now)
    session.execute(text("lock table privacy.legal_hold in share mode"))
    asked = _due(session, before, PART)
    if not asked:
        return {}, False
    _lock(session, asked)
    sure = set(_due(session, before, None)) & set(asked)
    forms = _lock(session, sorted(sure))
    if not forms:
        return {}, False
    retention_elsewhere.note(session, forms, now=now)
    went = local.erase_visitors(session, forms, at_most=ROWS, now=now)
    counts = {"visitors": went.pop("platform.visitor", 0), "other rows": sum(went.values())}
    return {name: number for name, number in counts.items() if number}, any(counts.values())


def oldest(session: Session, _now: datetime) -> datetime | None:
    """Return the last contact of the visitor who was longest not in contact."""
    found: datetime | None = session.scalar(
        text("select min(last_contact) from privacy.old_visitors('infinity') where not held")
    )
    return found


def _due(session: Session, before: datetime, most: int | None) -> list[uuid.UUID]:
    limit = "" if most is None else f" order by last_contact, person limit {most}"
    return list(session.scalars(text(f"select person {DUE}{limit}"), {"before": before}))


def _lock(session: Session, people: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Lock every form of these people: a follow-up or a request of theirs waits, or was there before."""
    hashes = select(Visitor.email_hash).where(Visitor.id.in_(people))
    forms = select(Visitor.id).where(Visitor.email_hash.in_(hashes)).order_by(Visitor.id)
    return list(session.scalars(forms.with_for_update()))


DUE = "from privacy.old_visitors(:before) where not held"
