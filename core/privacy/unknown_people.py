"""What people wrote whom nobody found: erased some time after their request was closed, because no erasure ever reaches them.

Danger: words, names and addresses stay for ever because they belong to nobody here. Principle: what is kept for a person goes
with the person; what belongs to no person goes by the calendar, as e-mail logs do (clause 8). Mechanism: the worker deletes
texts and letters of requests without a subject once their closing is that many days ago; codes and instants stay as proof.
"""

import uuid
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, delete, exists, select
from sqlalchemy.orm import Session

from core.models.requests import Outbox, Request, RequestText
from core.policy import in_force
from core.privacy.audit import Action, append

OVER = ("sent", "canceled")


def words_due(session: Session, now: datetime) -> list[str]:
    """Return whether there is anything to erase: the one key of the job, or nothing."""
    over = _closed_long_ago(session, now)
    texts = select(exists().where(RequestText.request_id.in_(over), *_nobody(RequestText)))
    letters = select(exists().where(Outbox.request_id.in_(over), Outbox.state.in_(OVER), *_nobody(Outbox)))
    return ["words of people nobody found"] if session.scalar(texts) or session.scalar(letters) else []


def erase_words(session: Session, *, now: datetime) -> int:
    """Erase, as the worker, what was written for closed requests without a subject; return how many rows went.

    A letter that was never sent stays: somebody still has to send or cancel it.
    """
    over = _closed_long_ago(session, now)
    texts = delete(RequestText).where(RequestText.request_id.in_(over), *_nobody(RequestText)).returning(RequestText.id)
    letters = (
        delete(Outbox).where(Outbox.request_id.in_(over), Outbox.state.in_(OVER), *_nobody(Outbox)).returning(Outbox.id)
    )
    gone = len(session.execute(texts).all()) + len(session.execute(letters).all())
    if gone:
        append(session, Action.WORDS_ERASED, now=now, rows=gone)
    return gone


def _closed_long_ago(session: Session, now: datetime) -> Select[uuid.UUID]:
    kept = timedelta(days=in_force(session, now).email_log_days)
    nobody = and_(Request.student_id.is_(None), Request.visitor_id.is_(None))
    return select(Request.id).where(nobody, Request.closed_at <= now - kept)


def _nobody(table: type[RequestText | Outbox]) -> tuple[ColumnElement[bool], ...]:
    return (table.student_id.is_(None), table.visitor_id.is_(None))
