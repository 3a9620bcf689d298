"""Subscriptions that ended: the student is told, offered an export, and the account is closed after its time; a renewal stops it.

Danger: an account is closed of which nobody was told, or of somebody who has paid again. Principle: the time runs from the day on
which the notice was *sent*, and every step asks the subscriptions again. Mechanism: one row of ``privacy.lapse`` per end of a
subscription; the closing becomes a deletion that a rule of the policy approves, with its whole grace period, like those that
students make themselves. A subscription that runs again opens the account as long as nothing is erased.
"""

import uuid
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.base import uuid7
from core.models.platform import Student
from core.models.retention import Lapse
from core.policy import Parameters
from core.policy.keeping import day_begins
from core.privacy import brakes, grace, letters
from core.privacy.acting import demand_move, of_system
from core.privacy.deletion import reactivate

PART = 50
RULE = "subscription ended, and its time after the notice is over"
RENEWED = "subscription renewed"


def is_due(session: Session, rules: Parameters, now: datetime) -> bool:
    """Whether somebody is to be told, an account to be closed, or a renewal stops something."""
    given = {"today": now.astimezone(UTC).date(), "now": day_begins(now), "days": rules.lapse_notice_days}
    return session.scalar(text(f"select exists ({TO_TELL}) or exists ({TO_CLOSE}) or exists ({OVER}) or exists ({TO_REVIVE})"), given) is True  # fmt: skip


def unusual(session: Session, rules: Parameters, now: datetime) -> tuple[int, int] | None:
    """More people than may be told, or closed, in a day without a question: how many of how many students."""
    given = {"today": now.astimezone(UTC).date(), "now": now, "days": rules.lapse_notice_days}
    due = max(len(session.execute(text(asked), given).all()) for asked in (TO_TELL, TO_CLOSE))
    people = session.scalar(select(func.count()).select_from(Student)) or 0
    return (due, people) if due > brakes.limit(people) else None


def part(session: Session, rules: Parameters, now: datetime) -> tuple[dict[str, int], bool]:
    """Stop what a renewal stops, tell the next ones, close the next accounts; whether there may be more."""
    given = {"today": now.astimezone(UTC).date(), "now": now, "days": rules.lapse_notice_days}
    counts = {
        "renewed": _revive(session, given, now) + _stop(session, given, now),
        "told": _tell(session, given, rules, now),
        "closed": _close(session, given, now),
    }
    return {name: number for name, number in counts.items() if number}, any(counts.values())


def oldest(session: Session, now: datetime) -> datetime | None:
    """Return the earliest end of a subscription whose student's account is still open."""
    asked = text("select min(ended_on)::timestamp at time zone 'UTC' from privacy.lapsed(:today)")
    found: datetime | None = session.scalar(asked, {"today": now.astimezone(UTC).date()})
    return found


def _tell(session: Session, given: dict[str, object], rules: Parameters, now: datetime) -> int:
    rows = session.execute(text(f"{TO_TELL} limit {PART}"), given).all()
    for row in rows:
        student = session.get(Student, row.student_id, with_for_update=True, populate_existing=True)
        assert student is not None
        key = f"lapse:{student.id}:{row.ended_on}"
        session.add(Lapse(id=uuid7(), student_id=student.id, ended_on=row.ended_on, found_at=now, notice_key=key))
        values = {
            "ended": f"{row.ended_on:%-d %B %Y}",
            "days": str(rules.lapse_notice_days),
            "grace": str(rules.grace_days),
        }
        letters.queue_to_student(session, student, "subscription ended", key=key, values=values, now=now)
    session.flush()
    return len(rows)


def _stop(session: Session, given: dict[str, object], now: datetime) -> int:
    """End the lapses whose subscription runs again, or whose account was closed otherwise; return how many were renewed."""
    renewed = 0
    for row in session.execute(text(f"{OVER} limit {PART}"), given).all():
        lapse = session.get_one(Lapse, row.id, with_for_update=True, populate_existing=True)
        lapse.ended_at, lapse.ended_as = now, "renewed" if row.renewed else "closed otherwise"
        told = letters.cancel_or_was_sent(session, lapse.notice_key)
        if row.renewed:
            renewed += 1
            student = session.get_one(Student, lapse.student_id)
            if told:
                letters.queue_to_student(session, student, "subscription renewed", key=f"{lapse.notice_key}:renewed", values={}, now=now)  # fmt: skip
    session.flush()
    return renewed


def _close(session: Session, given: dict[str, object], now: datetime) -> int:
    rows = session.execute(text(f"{TO_CLOSE} limit {PART}"), given).all()
    for row in rows:
        lapse = session.get_one(Lapse, row.id, with_for_update=True, populate_existing=True)
        request = grace.close_by_rule(session, student_id=lapse.student_id, rule=RULE, now=now)
        lapse.ended_at, lapse.ended_as, lapse.request_id = now, "closed", request
        session.flush()
    return len(rows)


def _revive(session: Session, given: dict[str, object], now: datetime) -> int:
    """Open the accounts again whose subscription runs again before anything was erased."""
    rows: list[uuid.UUID] = list(session.scalars(text(f"{TO_REVIVE} limit {PART}"), given))
    for request_id in rows:
        case = of_system(session, verb="heed_renewal", request_id=request_id)
        demand_move(session, case, "reactivated", now)
        reactivate(session, case, now=now, reason=RENEWED)
    return len(rows)


def notice_ends(sent_at: datetime, rules: Parameters) -> datetime:
    """Return the earliest closing after a notice that was sent then."""
    return sent_at + timedelta(days=rules.lapse_notice_days)


TO_TELL = """
    select l.student_id, l.ended_on from privacy.lapsed(:today) l
    where not exists (select from privacy.lapse x where x.student_id = l.student_id and x.ended_on = l.ended_on)
"""
TO_CLOSE = "select lapse as id from privacy.lapses_to_close(:now, :days)"
OVER = """
    select x.id, s.account_status = 'open' as renewed from privacy.lapse x join platform.student s on s.id = x.student_id
    where x.ended_at is null
      and not exists (select from privacy.lapsed(:today) l where l.student_id = x.student_id and l.ended_on = x.ended_on)
"""
TO_REVIVE = """
    select r.id from privacy.lapse x join privacy.request r on r.id = x.request_id
    where x.ended_as = 'closed' and r.state = 'waiting' and exists (
        select from platform.subscription b where b.student_id = x.student_id and (b.ends_on is null or b.ends_on >= :today))
"""
