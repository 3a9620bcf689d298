"""Legal holds, for privacy officers."""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.models.erasure import LegalHold
from core.models.ways import fates

PAGE_SIZE = 50


@dataclass(frozen=True)
class Hold:
    """A hold, without its person: who they are is revealed one by one (privacy_actions.reveal_held). ``table`` None: everything."""

    id: uuid.UUID
    number: str
    kind: str
    table: str | None
    record: uuid.UUID | None
    basis: str
    reference: str | None
    note: str | None
    owner: str
    review_on: date
    placed_at: datetime
    placed_by: str
    reviewed_at: datetime | None
    released_at: datetime | None
    released_by: str | None
    release_reason: str | None

    @property
    def scope(self) -> str:
        """What it keeps, in words."""
        if self.table is None:
            return "everything"
        return f"{'one record of ' if self.record else 'all of '}{table_words(self.table)}"

    def overdue(self, today: date) -> bool:
        """True when its day of review is past and it still stands."""
        return self.released_at is None and self.review_on < today


@dataclass(frozen=True)
class HoldPage:
    """A page of holds; ``after`` leads to the next one, None: there is none."""

    rows: tuple[Hold, ...]
    after: tuple[str, uuid.UUID] | None


@dataclass(frozen=True)
class HoldCounts:
    """How many stand, how many of them are past their review, how many were released."""

    standing: int
    overdue: int
    released: int


def hold_counts(session: Session, *, now: datetime) -> HoldCounts:
    """Return how many holds there are, as far as whoever asks may see them."""
    standing = LegalHold.released_at.is_(None)
    late = standing & (LegalHold.review_on < now.astimezone(UTC).date())
    columns = (func.count().filter(standing), func.count().filter(late), func.count().filter(~standing))
    return HoldCounts(*session.execute(select(*columns).select_from(LegalHold)).one())


def hold_page(session: Session, *, standing: bool, after: tuple[str, uuid.UUID] | None = None) -> HoldPage:
    """Return 50 holds: those that stand, next review first; or the released ones, newest first."""
    when: InstrumentedAttribute[Any] = LegalHold.review_on if standing else LegalHold.released_at
    order = tuple_(when, LegalHold.id)
    listed = select(LegalHold).where(
        LegalHold.released_at.is_(None) if standing else LegalHold.released_at.is_not(None)
    )
    if after is not None:
        value = date.fromisoformat(after[0]) if standing else datetime.fromisoformat(after[0])
        listed = listed.where(order > (value, after[1]) if standing else order < (value, after[1]))
    listed = listed.order_by(when if standing else when.desc(), LegalHold.id if standing else LegalHold.id.desc())
    listed = listed.limit(PAGE_SIZE + 1)
    found = session.scalars(listed).all()
    names = _names(session)
    rows = tuple(_hold(each, names) for each in found[:PAGE_SIZE])
    if len(found) <= PAGE_SIZE:
        return HoldPage(rows, None)
    last = rows[-1].review_on if standing else rows[-1].released_at
    return HoldPage(rows, (last.isoformat() if last else "", rows[-1].id))


def holds_of(
    session: Session, *, student_id: uuid.UUID | None = None, visitor_id: uuid.UUID | None = None
) -> tuple[Hold, ...]:
    """Return the holds on one person, for privacy officers: those that stand (by whichever of their records), then the released."""
    asked = {"student": student_id, "visitor": visitor_id}
    standing = set(session.scalars(text("select id from privacy.standing_holds(:student, :visitor)"), asked))
    mine = LegalHold.student_id == student_id if student_id else LegalHold.visitor_id == visitor_id
    listed = select(LegalHold).where(LegalHold.id.in_(standing) | (mine & LegalHold.released_at.is_not(None)))
    order = (LegalHold.released_at.desc().nulls_first(), LegalHold.placed_at.desc(), LegalHold.id)
    names = _names(session)
    return tuple(_hold(each, names) for each in session.scalars(listed.order_by(*order).limit(50)))


def holdable_tables(kind: str) -> dict[str, str]:
    """Return the tables that a hold on a "student" or "visitor" can name, and what they are called."""
    found = {
        fate.table: table_words(fate.table) for fate in fates(kind) if not fate.table.startswith("privacy.legal_hold")
    }
    return dict(sorted(found.items(), key=lambda pair: pair[1]))


def table_words(table: str) -> str:
    """Return what people call a table: ``code reviews``."""
    words = table.partition(".")[2].replace("_", " ")
    return (
        words if words.endswith(("log", "progress")) else f"{words}s" if not words.endswith("y") else f"{words[:-1]}ies"
    )


def _names(session: Session) -> dict[uuid.UUID, str]:
    return {row.id: row.name for row in session.execute(text("select id, name from staff.directory()"))}


def _hold(hold: LegalHold, names: dict[uuid.UUID, str]) -> Hold:
    return Hold(
        id=hold.id,
        number=f"H-{hold.number}",
        kind="student" if hold.student_id else "visitor",
        table=hold.scope_table,
        record=hold.scope_record,
        basis=hold.basis,
        reference=hold.reference,
        note=hold.note,
        owner=names.get(hold.owner_id, "–"),
        review_on=hold.review_on,
        placed_at=hold.placed_at,
        placed_by=names.get(hold.placed_by, "–"),
        reviewed_at=hold.reviewed_at,
        released_at=hold.released_at,
        released_by=names.get(hold.released_by, "–") if hold.released_by else None,
        release_reason=hold.release_reason,
    )
