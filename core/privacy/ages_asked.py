"""Who was asked "18 or over?", and until when they may answer: written down when the question left, never before.

Danger: an account is restricted for a question that never arrived. Principle: the time to answer begins when the mail server took
the letter, or the question stood on the platform; whoever was not reached is not restricted, and is asked again. Mechanism: the
question is a notice to many (core.privacy.campaigns); what becomes of each recipient is written into their consent record in the
same transaction. A letter that comes back takes the question back, and the worker ends the restriction.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.campaigns import QUESTION

NEVER_ASKED = "age never asked"


def note_asked(session: Session, *, recipients: Sequence[uuid.UUID], now: datetime) -> None:
    """Write down that these recipients of a notice were asked, as far as it is the question and they were told."""
    session.execute(
        text(ASKED.format(whose="r.id = any(:recipients)")),
        {"recipients": list(recipients), "now": now, "kind": QUESTION},
    )


def note_all_asked(session: Session, *, campaign_id: uuid.UUID, now: datetime) -> None:
    """The same for everybody who was told by one notice."""
    session.execute(
        text(ASKED.format(whose="r.campaign_id = :campaign")), {"campaign": campaign_id, "now": now, "kind": QUESTION}
    )


def note_came_back(session: Session, *, recipient: uuid.UUID, now: datetime) -> None:
    """The question came back: they were not asked, and owe no answer."""
    session.execute(text(CAME_BACK), {"recipient": recipient, "now": now, "kind": QUESTION})


_SILENT = "c.student_id = r.student_id and c.state = 'not needed' and c.adult is null and c.birth_date is null"
ASKED = f"""
    update privacy.consent c set asked_at = r.told_at, answer_by = cast(p.audience_values ->> 'answer_by' as timestamptz),
        version = c.version + 1, changed_at = :now, changed_what = 'age asked', changed_reason = ''
    from privacy.campaign_recipient r join privacy.campaign p on p.id = r.campaign_id
    where {{whose}} and r.state = 'sent' and p.kind = :kind and {_SILENT} and c.asked_at is null
"""  # noqa: S608 - of constants
CAME_BACK = f"""
    update privacy.consent c set asked_at = null, answer_by = null,
        version = c.version + 1, changed_at = :now, changed_what = 'age question came back', changed_reason = ''
    from privacy.campaign_recipient r join privacy.campaign p on p.id = r.campaign_id
    where r.id = :recipient and p.kind = :kind and {_SILENT} and c.asked_at = r.told_at
"""  # noqa: S608 - of constants
