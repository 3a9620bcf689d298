"""What retention erased here, erased at the platform, too: visitors' documents in its database.

Danger: somebody goes here by the calendar, stays there, and the next sync brings them back. Principle: what goes here is written
down for there in the same transaction, by the document's own id; until it was read back that the document is gone, the sync keeps
it out. Mechanism: rows of ``privacy.sync_erasure``, taken some at a time; one call deletes them and counts what is left, and what
did not go through waits longer each time. Doing it twice is harmless.

Other third parties keep nothing of a visitor by name but letters in the mail provider's log, whose period stands in the register.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.platform import Visitor
from core.models.syncing import SyncErasure
from core.policy import Parameters
from core.privacy.erasure_steps import pause_after
from core.processors import remote
from core.settings import settings

AT_ONCE = 200
FROM_THERE = "mongodb"


def note(session: Session, forms: Sequence[uuid.UUID], *, now: datetime) -> None:
    """Write down which documents of the platform have to go with these forms, before the forms go."""
    keys = session.scalars(
        select(Visitor.source_key).where(
            Visitor.id.in_(forms), Visitor.source == FROM_THERE, Visitor.source_key.is_not(None)
        )
    ).all()
    if keys:
        rows = [{"document": key, "purged_at": now, "next_at": now} for key in keys]
        session.execute(insert(SyncErasure).values(rows).on_conflict_do_nothing(index_elements=[SyncErasure.document]))


def is_due(session: Session, _rules: Parameters, now: datetime) -> bool:
    """Whether a document waits to be deleted; not where no database of the platform is connected."""
    if settings().mongodb_uri is None:
        return False
    return session.scalar(select(SyncErasure.document).where(SyncErasure.next_at <= now).limit(1)) is not None


def part(session: Session, rules: Parameters, now: datetime) -> tuple[dict[str, int], bool]:
    """Delete some of them there, and forget those that are gone; whether there may be more."""
    if not is_due(session, rules, now):
        return {}, False
    from core.processors.mongodb import MongoDB  # its library is loaded by whoever has such a database

    due = select(SyncErasure).where(SyncErasure.next_at <= now).order_by(SyncErasure.next_at, SyncErasure.document)
    rows = session.scalars(due.limit(AT_ONCE).with_for_update(skip_locked=True)).all()
    keys = [row.document for row in rows]
    try:
        MongoDB().forget_visitors(session, keys, now=now)
    except remote.Trouble as trouble:
        for row in rows:
            row.attempts += 1
            row.error, row.next_at = trouble.code, max(trouble.until or now, now + pause_after(row.attempts))
        session.flush()
        return {}, False
    session.execute(delete(SyncErasure).where(SyncErasure.document.in_(keys)))
    return {"other rows": len(keys)}, len(keys) == AT_ONCE


def oldest(session: Session, _now: datetime) -> datetime | None:
    """Return since when a document waits, None: none does."""
    return session.scalar(select(func.min(SyncErasure.purged_at)))
