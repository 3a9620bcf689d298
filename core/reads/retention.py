"""What is due when, what went, and whether anything is late: the rules of core.policy.keeping with what the database counts.

For privacy officers, admins and auditors; counts and instants, nobody's rows. A dry run counts exactly what would go now, by the
functions that a run asks, and changes nothing.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.orm import Session

from core.models.base import Base
from core.models.labels import Erasure, TableLabel
from core.models.privacy import PolicyVersion
from core.models.retention import RetentionRun
from core.policy import Parameters, in_force
from core.policy.keeping import (
    BY_RETENTION,
    DAY,
    RULES,
    SILENT_AFTER,
    Rule,
    proof_before,
    visitors_before,
)
from core.reads.listing import Total, total

PAGE_SIZE = 50
MOST_COUNTED = 1_000
WAITS = {
    "readers": "a reader in the way; it tries again every minute",
    "brake": "a question that an officer has to answer",
    "audit": "the audit to verify",
}


@dataclass(frozen=True)
class RuleState:
    """A rule and how it stands. ``oldest``: the age of the oldest record that is kept; ``due_at``: when that one is due (None: no
    record, or its end is not an age alone). ``due``: how many would go now (None: not counted), up to 1,000 unless it is a dry run; ``held``: kept by a legal hold.

    ``state``: "nothing due", "due" (goes with the next run), "late" (due for more than 26 hours), "waits".
    """

    rule: Rule
    period: str
    oldest: datetime | None
    due_at: datetime | None
    due: Total | None
    held: int
    state: str
    waits_for: str
    waits_since: datetime | None
    ran_at: datetime | None
    went: int


@dataclass(frozen=True)
class RetentionRow:
    """One run. ``ended_at`` None: it is open; ``waits_for`` in words, "" when it goes on."""

    id: uuid.UUID
    rule: str
    begun_at: datetime
    ended_at: datetime | None
    before: datetime | None
    counts: dict[str, int]
    waits_for: str
    oldest_left: datetime | None


@dataclass(frozen=True)
class RetentionPage:
    """One page of runs, newest first; ``after`` leads to the next."""

    rows: tuple[RetentionRow, ...]
    after: Any


@dataclass(frozen=True)
class RetentionAlarm:
    """What is wrong with retention. ``silent_since``: nothing ended for 26 hours since then; ``waiting``: rules whose run has been
    open for that long, with what they wait for. Empty: all is well."""

    ran_at: datetime | None
    silent_since: datetime | None
    waiting: tuple[tuple[str, str], ...]

    @property
    def rings(self) -> bool:
        """Whether somebody has to look."""
        return self.silent_since is not None or bool(self.waiting)


@dataclass(frozen=True)
class Lapses:
    """Subscriptions that ended, in counts: to be told, told and waiting for their day, told but not sent yet, to be closed now."""

    to_tell: Total
    told: int
    not_sent: int
    to_close: int


@dataclass(frozen=True)
class Retention:
    """Everything on the page. ``counted``: the numbers are those of a dry run, ``due`` is exact."""

    rules: tuple[RuleState, ...]
    lapses: Lapses
    alarm: RetentionAlarm
    counted: bool


@dataclass(frozen=True)
class Kept:
    """Tables that stay after an erasure, by the labels: why, until when."""

    reason: str
    until: str
    tables: tuple[str, ...]


def retention(session: Session, *, now: datetime, exact: bool = False) -> Retention:
    """Return every rule with how it stands; with ``exact`` everything that would go now is counted (a dry run)."""
    rules = in_force(session, now)
    asked = {"now": now, "days": rules.email_log_days, "before": visitors_before(rules, now), "notice": rules.lapse_notice_days,
             "grace": rules.grace_days, "exact": exact}  # fmt: skip
    found = {row.rule: row for row in session.execute(text(STATE), asked)}
    found |= {row.rule: row for row in session.execute(text(PROOF), {"before": proof_before(rules, now)})}
    newest = _newest(session)
    told, close = found.get("lapses told"), found.get("lapses to close")
    lapses = Lapses(
        to_tell=_counted(_number(found.get("lapsed subscriptions"), "due"), exact=exact),
        told=_number(told, "due"),
        not_sent=_number(told, "held"),
        to_close=_number(close, "due"),
    )
    states = tuple(_state(rule, rules, found, lapses, newest.get(rule.name), now, exact=exact) for rule in RULES)
    return Retention(states, lapses, retention_alarm(session, now=now), exact)


def retention_alarm(session: Session, *, now: datetime) -> RetentionAlarm:
    """Return whether retention runs: something ended within 26 hours, and no run has been open for longer."""
    ran_at = session.scalar(select(func.max(RetentionRun.ended_at)))
    since = ran_at or session.scalar(select(func.min(PolicyVersion.published_at)))
    long_open = select(RetentionRun.rule, RetentionRun.waits_for).where(
        RetentionRun.ended_at.is_(None), RetentionRun.begun_at <= now - SILENT_AFTER
    )
    waiting = tuple((row.rule, WAITS.get(row.waits_for or "", "its next part")) for row in session.execute(long_open))
    silent = since is not None and since <= now - SILENT_AFTER
    return RetentionAlarm(ran_at, since if silent else None, waiting)


def retention_runs(
    session: Session, *, rule: str | None = None, after: Any = None, size: int = PAGE_SIZE
) -> RetentionPage:
    """Return one page of runs, newest first."""
    listed = select(RetentionRun).order_by(RetentionRun.begun_at.desc(), RetentionRun.id.desc()).limit(size + 1)
    if rule:
        listed = listed.where(RetentionRun.rule == rule)
    if after:
        listed = listed.where(tuple_(RetentionRun.begun_at, RetentionRun.id) < after)
    rows = list(session.scalars(listed))
    more = rows[:size]
    return RetentionPage(tuple(map(_row, more)), (more[-1].begun_at, more[-1].id) if len(rows) > size else None)


def kept_by_label() -> tuple[Kept, ...]:
    """Return what stays after an erasure, by the privacy labels: reason, end, tables."""
    found: dict[tuple[str, str], list[str]] = {}
    for table in Base.metadata.sorted_tables:
        label = table.info.get("privacy")
        if isinstance(label, TableLabel) and label.erasure is Erasure.KEEP:
            found.setdefault((label.reason, label.until), []).append(table.name.replace("_", " "))
    return tuple(Kept(reason, until, tuple(sorted(tables))) for (reason, until), tables in sorted(found.items()))


def _newest(session: Session) -> dict[str, RetentionRun]:
    """The open run of each rule, or else its last one."""
    last = select(RetentionRun.rule, func.max(RetentionRun.begun_at)).group_by(RetentionRun.rule)
    rows = session.scalars(select(RetentionRun).where(tuple_(RetentionRun.rule, RetentionRun.begun_at).in_(last)))
    return {row.rule: row for row in rows}


def _state(
    rule: Rule,
    rules: Parameters,
    found: dict[str, Any],
    lapses: Lapses,
    run: RetentionRun | None,
    now: datetime,
    *,
    exact: bool,
) -> RuleState:
    row, counted = found.get(rule.name), found.get(f"{rule.name}, counted")
    oldest = row.oldest if row else None
    number = counted.due if counted else row.due if row else None
    due = None if number is None else _counted(number, exact=exact)
    if rule.name == "lapsed subscriptions":
        due = Total(lapses.to_tell.count + lapses.to_close, lapses.to_tell.capped)
    due_at = _due_at(rule, rules, oldest, now)
    waits = run.waits_for if run and run.ended_at is None else None
    return RuleState(
        rule=rule,
        period=rule.period(rules),
        oldest=oldest,
        due_at=due_at,
        due=due,
        held=_number(row, "held"),
        state=_word(rule, due_at, due, waits, now),
        waits_for=WAITS.get(waits or "", ""),
        waits_since=run.begun_at if run and waits else None,
        ran_at=run.ended_at if run else None,
        went=sum(run.counts.values()) - int(run.counts.get("months", 0)) if run else 0,
    )


def _due_at(rule: Rule, rules: Parameters, oldest: datetime | None, now: datetime) -> datetime | None:
    if oldest is None or rule.before is None:
        return None
    return rule.ends(oldest) if rule.ends else oldest + (now - rule.before(rules, now))


def _word(rule: Rule, due_at: datetime | None, due: Total | None, waits: str | None, now: datetime) -> str:
    if waits:
        return "waits"
    if not rule.by:
        return "nothing due" if due_at is None or due_at > now else "due"
    allowed = SILENT_AFTER + (DAY if rule.by == BY_RETENTION else timedelta())  # it runs once a day
    if due_at is not None and due_at <= now - allowed:
        return "late"
    return "due" if due or (due is None and due_at is not None and due_at <= now) else "nothing due"


def _row(run: RetentionRun) -> RetentionRow:
    waits = WAITS.get(run.waits_for or "", "")
    return RetentionRow(
        run.id, run.rule, run.begun_at, run.ended_at, run.before, dict(run.counts), waits, run.oldest_left
    )


def _counted(number: int, *, exact: bool) -> Total:
    return Total(number, capped=False) if exact else total(number, MOST_COUNTED)


def _number(row: Any, name: str) -> int:
    return int(getattr(row, name) or 0) if row is not None else 0


PROOF = "select * from privacy.proof_state(:before)"
STATE = "select * from privacy.retention_state(:now, :days, :before, :notice, :grace, :exact)"
