"""Mail that belongs to an enrollment, queued by rule: confirmations, certificates, programs that begin.

What is due is read from the data and queued once for each enrollment or certificate, however often this runs; the text is
written when the mail leaves (core.privacy.sending), with the name and address of that moment, and stands nowhere else.
Only what happened in the last month is told: an import of old records writes to nobody.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.processors import mail

RECENT = timedelta(days=30)
AHEAD = timedelta(days=7)
PART = 500
MORE = "more"


def mail_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the kinds of mail of which something is due; none while no mail server is set."""
    if not mail.configured():
        return []
    return [kind for kind, due in DUE.items() if session.execute(text(f"{due} limit 1"), _asked(kind, now)).first()]


def queue_mail(session: Session, *, kind: str, now: datetime) -> dict[str, int]:
    """Put mail of one kind into the outbox, 500 at a time; return how many, and whether there is more."""
    asked = _asked(kind, now) | {"now": now, "part": PART}
    new = session.execute(text(QUEUE.format(due=DUE[kind])), asked).all()
    return {"queued": len(new), MORE: int(len(new) == PART)}


def _asked(kind: str, now: datetime) -> dict[str, object]:
    today = now.astimezone(UTC).date()
    return {"kind": kind, "since": now - RECENT, "until": now, "today": today, "soon": today + AHEAD}


# The rule behind each kind: what it is about, and whom.
DUE: dict[str, str] = {
    "enrollment confirmation": """
        select e.id as about, s.id as student from platform.enrollment e
        join platform.student s on s.id = e.student_id and s.account_status = 'open'
        where e.confirmed_at is null and e.withdrawn_at is null and e.enrolled_at > :since and e.enrolled_at <= :until
          and not exists (select from privacy.outbox o where o.dedupe_key = cast(:kind as text) || ':' || e.id)""",
    "certificate notice": """
        select k.id as about, s.id as student from platform.certificate k
        join platform.enrollment e on e.id = k.enrollment_id
        join platform.student s on s.id = e.student_id and s.account_status = 'open'
        where k.issued_at > :since and k.issued_at <= :until
          and not exists (select from privacy.outbox o where o.dedupe_key = cast(:kind as text) || ':' || k.id)""",
    "program start": """
        select e.id as about, s.id as student from platform.cohort c
        join platform.enrollment e on e.cohort_id = c.id and e.withdrawn_at is null
        join platform.student s on s.id = e.student_id and s.account_status = 'open'
        where c.starts_on > :today and c.starts_on <= :soon
          and not exists (select from privacy.outbox o where o.dedupe_key = cast(:kind as text) || ':' || e.id)""",
}
QUEUE = """
    insert into privacy.outbox (id, dedupe_key, student_id, kind, template_version, priority, about_id, not_before, written_at)
    select gen_random_uuid(), cast(:kind as text) || ':' || d.about, d.student, :kind, 0, 1, d.about, :now, :now
    from ({due} limit :part) d
    on conflict (dedupe_key) do nothing returning id
"""
