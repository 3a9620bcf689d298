"""E-mail logs past their period: whole months are dropped, the edge goes in parts, what a hold keeps is moved aside.

Danger: a drop takes what a hold keeps, stops everybody who reads, or waits for one who never ends. Principle: nobody can place a
hold while a part runs, and nobody writes into a month between its count and its drop; reading waits for the moment of the drop, or
the drop is tried again. Mechanism: holds are locked against new ones, ``platform.close_months`` against writing, held rows go to
``platform.held_mail`` (with their ids, so that holds, exports and erasures still find them: copied out of months that are dropped,
moved at the edge), then ``platform.drop_month``, which asks the policy again. All months that are due go in one transaction.

What has to be counted is counted once. Whether it is more than usual is first asked of the pages of the files, which bound the rows
from above: only when that does not settle it are the old rows counted for it.
"""

from collections.abc import Mapping
from datetime import date, datetime

from sqlalchemy import CursorResult, func, literal, select, text
from sqlalchemy.orm import Session

from core.models.platform import EmailLog
from core.policy import Parameters
from core.policy.keeping import day_begins, mail_before

PART, MONTHS = 250_000, 24  # at once: rows of the edge (half a second), months
PAGE, LEAST_ROW = 8192, 72  # bytes: no row of the log is smaller, even with every text empty
WHOSE = ("student_id", "visitor_id")
UNUSUAL_ROWS, UNUSUAL_SHARE = 1000, 0.75


def is_due(session: Session, rules: Parameters, now: datetime) -> bool:
    """Whether a whole day of mails is past its period, or a hold let go of some that were kept."""
    before = mail_before(rules, day_begins(now))
    old = session.scalar(select(EmailLog.sent_at).where(EmailLog.sent_at < before).limit(1))
    return old is not None or session.scalar(text(f"select exists ({RELEASED})"), {"before": before}) is True


def unusual(session: Session, rules: Parameters, now: datetime) -> tuple[int, int] | None:
    """More than three quarters of the whole log, and more than 1,000 rows: a clock or a parameter may be wrong.

    Rows that may stay are counted only until there are enough of them. The same as an exact count of all would say.
    """
    before = mail_before(rules, now)
    bound = _at_most(session, before)
    if bound <= UNUSUAL_ROWS or _young(session, before, _enough(bound)) >= _enough(bound):
        return None
    due = session.scalar(select(func.count()).select_from(EmailLog).where(EmailLog.sent_at < before)) or 0
    if due <= UNUSUAL_ROWS:
        return None
    young = _young(session, before, _enough(due))
    return (due, due + young) if young < _enough(due) else None


def _enough(due: int) -> int:
    """So many young rows that ``due`` old ones are not more than usual."""
    return int(due / UNUSUAL_SHARE) - due + 1


def _young(session: Session, before: datetime, enough: int) -> int:
    some = select(literal(1)).where(EmailLog.sent_at >= before).limit(enough).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _at_most(session: Session, before: datetime) -> int:
    """More rows than this cannot be due: what fits on the pages of the months that begin before."""
    pages = session.scalar(text(PAGES), {"before": before.date(), "page": PAGE}) or 0
    return int(pages) * (PAGE // LEAST_ROW)


def part(session: Session, rules: Parameters, now: datetime) -> tuple[dict[str, int], bool]:
    """Drop the months that are due, or else delete a part of the edge, around what is held; whether there may be more."""
    before = mail_before(rules, now)
    session.execute(text("lock table privacy.legal_hold in share mode"))  # no new hold until this part is over
    months = {row.month: row.mails for row in session.execute(text(CLOSED), {"now": now, "most": MONTHS})}
    if months:
        return _drop(session, months, now), True
    moved = _move_held(session, before)
    ends = session.scalar(text(END_OF_PART), {"before": before, "most": PART - 1})
    gone = _number(session.execute(text(EDGE if ends is None else SOME), {"before": before, "ends": ends}))
    last = ends is None
    released = _number(session.execute(text(LET_GO), {"before": before, "most": PART})) if last else 0
    counts = {"moved aside": moved, "rows": gone, "no longer held": released}
    return {name: number for name, number in counts.items() if number}, not last or released == PART


def oldest(session: Session, _now: datetime) -> datetime | None:
    """Return when the oldest mail that is left, and not held, was sent."""
    return session.scalar(select(func.min(EmailLog.sent_at)))


def _drop(session: Session, months: Mapping[date, int], now: datetime) -> dict[str, int]:
    """Drop months that are closed and counted. What is held is copied before they are locked: readers wait for the drop only."""
    last = max(months)
    held = _copy_held(session, _midnight(date(last.year + last.month // 12, last.month % 12 + 1, 1)))
    session.execute(text("lock table platform.email_log in access exclusive mode"))
    session.execute(text(DROP), {"months": sorted(months), "now": now})
    counts = {"moved aside": held, "rows": sum(months.values()) - held, "months": len(months)}
    return {name: number for name, number in counts.items() if number}


def _copy_held(session: Session, before: datetime) -> int:
    """Copy what is held of the months that go: nothing older is there. Return how many rows are new in the other table."""
    kept = (session.scalar(text(COPY.format(whose=whose)), {"before": before}) for whose in WHOSE)
    return sum(each or 0 for each in kept) if _anything_held(session) else 0


def _move_held(session: Session, before: datetime) -> int:
    """Move what is held. Return how many rows."""
    if not _anything_held(session):
        return 0
    return sum(_number(session.execute(text(MOVE.format(whose=whose)), {"before": before})) for whose in WHOSE)


def _anything_held(session: Session) -> bool:
    """Whether any hold keeps mails; none can come until the part is over."""
    return session.scalar(text("select exists (select from privacy.held_for_mail())")) is True


def _midnight(day: date) -> datetime:
    return datetime.fromisoformat(f"{day}T00:00:00+00:00")


def _number(result: object) -> int:
    assert isinstance(result, CursorResult)
    return int(result.rowcount)


MOVE = """
    with gone as (
        delete from platform.email_log l using privacy.held_for_mail() h
        where l.sent_at < :before and l.{whose} = h.{whose} and (h.record is null or h.record = l.id)
        returning l.sent_at, l.id, l.student_id, l.visitor_id, l.kind, l.address, l.outcome, l.source)
    insert into platform.held_mail (sent_at, id, student_id, visitor_id, kind, address, outcome, source)
    select sent_at, id, student_id, visitor_id, kind, address, outcome, source from gone
    on conflict (id) do nothing
"""
COPY = """
    with kept as (
        insert into platform.held_mail (sent_at, id, student_id, visitor_id, kind, address, outcome, source)
        select distinct on (l.id) l.sent_at, l.id, l.student_id, l.visitor_id, l.kind, l.address, l.outcome, l.source
        from privacy.held_for_mail() h join platform.email_log l on l.{whose} = h.{whose} and (h.record is null or h.record = l.id)
        where l.sent_at < :before and not exists (select from platform.held_mail k where k.id = l.id and k.outcome = l.outcome)
        on conflict (id) do update set outcome = excluded.outcome
        returning xmax = 0 as new)
    select count(*) filter (where new) from kept
"""
END_OF_PART = "select sent_at from platform.email_log where sent_at < :before order by sent_at offset :most limit 1"
EDGE = "delete from platform.email_log where sent_at < :before"
SOME = "delete from platform.email_log where sent_at <= :ends"
RELEASED = """
    select k.id from platform.held_mail k where k.sent_at < :before and not exists (
        select from privacy.held_for_mail() h
        where (h.student_id = k.student_id or h.visitor_id = k.visitor_id) and (h.record is null or h.record = k.id))
"""
LET_GO = f"delete from platform.held_mail where id in ({RELEASED} limit :most)"  # noqa: S608 - constants only
CLOSED = "select month, mails from platform.close_months(:now, :most)"
DROP = "select platform.drop_month(m, :now) from unnest(cast(:months as date[])) m"
PAGES = """
    select sum(ceil(pg_relation_size(c.oid)::numeric / :page)) from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'platform.email_log'::regclass and pg_catalog.to_date(right(c.relname, 7), 'YYYY_MM') <= :before
"""
