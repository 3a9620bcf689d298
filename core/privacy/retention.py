"""Retention: what is past its period goes by itself, and every run can be looked at.

Danger: data stays because a clock did not tick, or a wrong clock, a wrong parameter or an unseen hold takes what should have
stayed. Principle: what is due follows from the age of the data and nothing else; before the first part of a run the audit has to
verify, no brake may be on, and more than usual is a question to an officer; a hold placed meanwhile waits until the part is over.
Mechanism: one job per rule (core.jobs), parts in transactions of their own under one lease; a row of ``privacy.retention_run`` is
open from the first part to the last and closes with the line of audit. A worker that was off for five days finds everything due.

The rules stand in core/policy/keeping.py. A rule is looked at once a day although nothing is due: that it was is proof, too.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.errors import NotFound, Refused
from core.models.artifacts import Artifact
from core.models.base import uuid7
from core.models.retention import RetentionRun
from core.policy import Parameters, in_force
from core.policy.keeping import DAY, mail_before, proof_before, visitors_before
from core.privacy import (
    artifacts,
    brakes,
    lapsing,
    retention_elsewhere,
    retention_mail,
    retention_proof,
    retention_visitors,
)
from core.privacy.audit import Action, append, demand_sound

MORE = "more"
LOCK_TIMEOUT = "500ms"  # shorter than deadlock_timeout: whoever reads is never the one who is stopped
NO_LOCK = ("55P03", "40P01")


@dataclass(frozen=True)
class Work:
    """How a rule is kept. ``is_due`` asks the data; ``usual`` says how many would go of how many when that is worth a question
    (None: it is not); ``part`` does at most a few thousand; ``oldest`` is the age of what is left."""

    is_due: Callable[[Session, Parameters, datetime], bool]
    part: Callable[[Session, Parameters, datetime], tuple[Mapping[str, int], bool]]
    oldest: Callable[[Session, datetime], datetime | None]
    unusual: Callable[[Session, Parameters, datetime], tuple[int, int] | None]
    before: Callable[[Parameters, datetime], datetime | None]
    brake: str


WORK: dict[str, Work] = {
    "e-mail logs": Work(
        retention_mail.is_due, retention_mail.part, retention_mail.oldest, retention_mail.unusual, mail_before, "mail"
    ),
    "visitors": Work(
        retention_visitors.is_due,
        retention_visitors.part,
        retention_visitors.oldest,
        retention_visitors.unusual,
        visitors_before,
        "visitors",
    ),
    "visitors, on the platform": Work(
        retention_elsewhere.is_due,
        retention_elsewhere.part,
        retention_elsewhere.oldest,
        lambda _session, _rules, _now: None,
        lambda _rules, now: now,
        "visitors",
    ),
    "lapsed subscriptions": Work(
        lapsing.is_due, lapsing.part, lapsing.oldest, lapsing.unusual, lambda _rules, now: now, "lapses"
    ),
}


FILES_AT_ONCE = 50


def _files_over(session: Session, _rules: Parameters, now: datetime) -> bool:
    return bool(artifacts.artifacts_due(session, now))


def _destroy_files(session: Session, _rules: Parameters, now: datetime) -> tuple[dict[str, int], bool]:
    over = artifacts.artifacts_due(session, now)[:FILES_AT_ONCE]
    gone = sum(artifacts.destroy(session, uuid.UUID(each), why="expired", now=now) for each in over)
    return ({"files": gone} if gone else {}), gone == FILES_AT_ONCE


def _oldest_file(session: Session, _now: datetime) -> datetime | None:
    return session.scalar(select(func.min(Artifact.kept_at)).where(Artifact.destroyed_at.is_(None)))


WORK["exports and evidence"] = Work(
    _files_over, _destroy_files, _oldest_file, lambda _session, _rules, _now: None, lambda _rules, now: now, "files"
)


WORK |= {
    name: Work(is_due, part, oldest, lambda _session, _rules, _now: None, proof_before, "proof")
    for name, is_due, part, oldest in (
        (retention_proof.CERTIFICATES, retention_proof.certificates_due, retention_proof.certificates_part, retention_proof.oldest_certificate),
        (retention_proof.HOLDS, retention_proof.holds_due, retention_proof.holds_part, retention_proof.oldest_hold),
        (retention_proof.REQUESTS, retention_proof.requests_due, retention_proof.requests_part, retention_proof.oldest_request),
    )
}  # fmt: skip


def rules_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the rules that have something to do by the age of the data, a run that is not over, or no look within a day."""
    try:
        rules = in_force(session, now)
    except NotFound:
        return []
    ended = select(RetentionRun.rule, func.max(RetentionRun.ended_at)).group_by(RetentionRun.rule)
    seen = {row[0]: row[1] for row in session.execute(ended)}
    opened = set(session.scalars(select(RetentionRun.rule).where(RetentionRun.ended_at.is_(None))))
    return [
        name
        for name, work in WORK.items()
        if name in opened or (seen.get(name) or now - DAY) <= now - DAY or work.is_due(session, rules, now)
    ]


def go_on(session: Session, *, rule: str, now: datetime) -> dict[str, int]:
    """Do the next part of a rule's run; counts with "more" ask for the next. The last part closes the run and is audited.

    Without effect, and the run says why: while a reader is in the way ("readers"), a brake is on, or the audit does not verify.
    """
    rules, work, run = in_force(session, now), WORK[rule], _open_run(session, rule, now)
    run.tried_at = now
    if waits := _stopped(session, work, rules, run, now):
        run.waits_for = waits
        session.flush()
        return {}
    try:
        with session.begin_nested():
            counts, more = _with_short_locks(session, work, rules, now)
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) not in NO_LOCK:
            raise
        run.waits_for = "readers"
        session.flush()
        return {}
    run.waits_for, run.before = None, work.before(rules, now)
    run.counts = _added(run.counts, counts)
    session.flush()
    if more:
        return {**counts, MORE: 1}
    _end(session, run, work, now)
    return dict(counts)


def _with_short_locks(session: Session, work: Work, rules: Parameters, now: datetime) -> tuple[Mapping[str, int], bool]:
    """Do a part; wherever it has to wait for a lock, only for a moment."""
    before = session.scalar(text("select current_setting('lock_timeout')"))
    session.execute(text("select set_config('lock_timeout', :short, true)"), {"short": LOCK_TIMEOUT})
    done = work.part(session, rules, now)
    session.execute(text("select set_config('lock_timeout', :before, true)"), {"before": before})
    return done


def _stopped(session: Session, work: Work, rules: Parameters, run: RetentionRun, now: datetime) -> str | None:
    """Why nothing may go now. How many is asked once, before a run's first part."""
    try:
        demand_sound(session)
    except Refused:
        return "audit"
    brakes.watch_clock(session, now=now)
    if not run.counts and (many := work.unusual(session, rules, now)):
        brakes.hold_back(session, work.brake, due=many[0], of=many[1], now=now)
    on = {stop.kind for stop in brakes.standing(session)}
    return "brake" if on & {"clock", work.brake} else None


def _open_run(session: Session, rule: str, now: datetime) -> RetentionRun:
    mine = select(RetentionRun).where(RetentionRun.rule == rule, RetentionRun.ended_at.is_(None)).with_for_update()
    if found := session.scalars(mine.execution_options(populate_existing=True)).first():
        return found
    made = RetentionRun(id=uuid7(), rule=rule, begun_at=now, tried_at=now, counts={})
    session.add(made)
    session.flush()
    return made


def _end(session: Session, run: RetentionRun, work: Work, now: datetime) -> None:
    run.ended_at, run.oldest_left = max(now, run.begun_at), work.oldest(session, now)
    session.flush()
    counts = {name.replace(" ", "_"): number for name, number in run.counts.items()}
    append(session, Action.RETENTION_RUN, now=now, subject_kind="retention run", subject_id=run.id, rule=run.rule,
           **{name: counts.get(name, 0) for name in Action.RETENTION_RUN.details if name != "rule"})  # fmt: skip


def _added(before: Mapping[str, Any], more: Mapping[str, int]) -> dict[str, int]:
    names = {**before, **more}
    return {name: int(before.get(name, 0)) + more.get(name, 0) for name in names}
