"""The steps of an erasure that prove it: the ledger before, the residue scan and the certificate after.

Danger: "erased" is said while something is left, or nothing outside the database knows of it. Principle: the ledger has its line
before the first row goes; a scan that found something ends nothing until the place is clean or a person has judged it; the
certificate is committed before the ledger says so. Mechanism: three kinds of steps beside those of
core.privacy.erasure_steps; one scan serves every erasure that has come as far.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.base import among, uuid7
from core.models.erasures import ErasureStep, PersonErasure
from core.models.proof import ErasureFinding, Suppression
from core.policy.clock import add_months
from core.privacy import certificates, housekeeping, ledger, residue, suppression
from core.privacy.acting import parameters
from core.privacy.audit import Action
from core.privacy.erasure_rows import Found, Step
from core.privacy.erasure_steps import Batch, Run, Taken, note, prove

STEPS = {"ledger": "erasure ledger", "residue": "residue scan", "certificate": "certificate of erasure"}
BASIS = "legitimate interest: what was erased stays erased"
JUDGED_AGAIN = timedelta(days=1)
TOGETHER = timedelta(minutes=1)
AT_ONCE, WITH_OTHERS = 200, "with others"


def prepare(runs: Sequence[Run]) -> list[bytes]:
    """At the point of no return: keep the persons' old records out from now on; return what the scan will look for of each (encrypted)."""
    session, now = runs[0].session, runs[0].now
    people = [run.person for run in runs]
    traces = residue.traces_together(session, people)
    listed = [
        (run.found.id, hashes, add_months(now, 12 * parameters(session, run.case.request).suppression_years))
        for run, hashes in zip(runs, suppression.hashes_together(session, people), strict=True)
    ]
    suppression.suppress_together(session, listed, basis=BASIS, now=now)
    return traces


def take(taken: Taken) -> None:
    """Do one part of one of these steps for each."""
    {"ledger": _ledger, "residue": _residue, "certificate": _certificate}[taken[0][1].what](taken)


def _ledger(taken: Taken) -> None:
    """The lines outside the database, on the disk before anything goes."""
    mine = select(Suppression.erasure_id, Suppression.hash, Suppression.until).where(
        among(Suppression.erasure_id, [run.found.id for run, _ in taken]))  # fmt: skip
    listed: dict[uuid.UUID, list[tuple[bytes, datetime]]] = {}
    for row in taken[0][0].session.execute(mine):
        listed.setdefault(row.erasure_id, []).append((row.hash, row.until))
    ledger.begin_together([_beginning(run, listed[run.found.id]) for run, _ in taken])
    for run, step in taken:
        prove(run, step)


def _beginning(run: Run, listed: Sequence[tuple[bytes, datetime]]) -> ledger.Beginning:
    found = run.found
    assert found.person_id is not None
    return ledger.Beginning(
        found.id, found.request_id, found.kind, found.person_id, [hash_ for hash_, _ in listed], max(until for _, until in listed),
        found.begun_at or run.now, found.forms or (),
    )  # fmt: skip


def _residue(taken: Taken) -> None:
    """Scan, together with everybody who has come as far; or settle what another one's scan has found."""
    session, now = taken[0][0].session, taken[0][0].now
    settling = [(run, step) for run, step in taken if step.state == "erased"]
    looking = [(run, step) for run, step in taken if step.state != "erased"]
    mine = [run.found.id for run, _ in looking]
    fresh = looking and not any(step.reference for _, step in looking)
    if fresh and session.scalar(text(OTHERS_COME), {"mine": mine, "now": now}):
        for _, step in looking:
            step.reference, step.next_at = WITH_OTHERS, now + TOGETHER
    elif looking:
        batch = looking[0][0].batch
        _scan(batch, [*((run.found, step) for run, step in looking), *_others(batch, mine)])
        settling += looking
    _settle(settling)


def _scan(batch: Batch, together: Sequence[tuple[Found, Step]]) -> None:
    """One pass for all of them; what was found is written down."""
    session, now = batch.session, batch.now
    ids = [str(each) for found, _ in together for each in (found.person_id, *(found.forms or ()))]
    housekeeping.forget_jobs(session, keys=ids)
    kept = select(PersonErasure.id, PersonErasure.traces).where(
        among(PersonErasure.id, [found.id for found, _ in together]), PersonErasure.traces.is_not(None))  # fmt: skip
    scan = residue.scan(
        session, now=now, batch={row.id: row.traces for row in session.execute(kept) if row.traces is not None},
        began={found.id: found.begun_at or now for found, _ in together},
    )  # fmt: skip
    _keep(session, scan.findings, now)
    for found, each in together:
        each.state, each.erased_at, each.next_at = "erased", now, now
        each.counts = {"tables": scan.tables, "columns": scan.columns, "found": len(scan.findings[found.id])}
        found.next_at = now


def _others(batch: Batch, mine: Sequence[uuid.UUID]) -> list[tuple[Found, Step]]:
    """Other erasures whose residue scan is next, and which nobody is at."""
    most = max(AT_ONCE - len(mine), 0)
    rows = batch.session.execute(text(NEXT_TOO), {"mine": list(mine), "most": most}).all()
    steps = batch.rows.steps(among(ErasureStep.id, [row.id for row in rows]))
    found = {each.id: each for each in batch.rows.founds(among(PersonErasure.id, [step.erasure_id for step in steps]))}
    return [(found[step.erasure_id], step) for step in steps]


def _keep(session: Session, found: Mapping[uuid.UUID, tuple[residue.Finding, ...]], now: datetime) -> None:
    """Write down what was found; what was found before and is not there any more, is gone."""
    there = {
        (erasure, each.table, each.column, each.row, each.trace): each
        for erasure, findings in found.items()
        for each in findings
    }
    mine = select(ErasureFinding).where(among(ErasureFinding.erasure_id, found))
    known = {
        (each.erasure_id, each.place_table, each.place_column, each.place_row, each.trace): each
        for each in session.scalars(mine)
    }
    for key, row in known.items():
        if key not in there and row.verdict is None:
            row.verdict, row.judged_at = "gone", now
        elif key in there and row.verdict in ("gone", "removed"):
            row.verdict, row.judged_at, row.judged_by = None, None, None  # it is still there, or again
    for key, each in there.items():
        if key not in known:
            session.add(ErasureFinding(id=uuid7(), erasure_id=key[0], place_table=each.table, place_column=each.column,
                                       place_row=each.row, trace=each.trace, sure=each.sure, found_at=now))  # fmt: skip
    session.flush()


def _settle(taken: Taken) -> None:
    if not taken:
        return
    still = select(ErasureFinding.erasure_id, func.count()).where(
        among(ErasureFinding.erasure_id, [run.found.id for run, _ in taken]), ErasureFinding.verdict.is_(None))  # fmt: skip
    rows = taken[0][0].session.execute(still.group_by(ErasureFinding.erasure_id)).all()
    open_ = {row[0]: int(row[1]) for row in rows}
    for run, step in taken:
        if places := open_.get(run.found.id):
            step.state, step.waits_for, step.next_at = "waiting", "finding", run.now + JUDGED_AGAIN
            step.waits_about = f"{places} place{'s' if places > 1 else ''}"
            note(run, step, "waits", became="found", counts={"places": places})
        else:
            prove(run, step)


def _certificate(taken: Taken) -> None:
    """Issue it; in the next part, once that is committed, say so in the ledger: it never names one that was rolled back."""
    session, now = taken[0][0].session, taken[0][0].now
    made = certificates.issue_together(session, [run.found.id for run, _ in taken], now=now)
    ended = [(run, step) for run, step in taken if step.state == "erased"]
    for run, step in taken:
        one = made[run.found.id]
        if step.state != "erased":
            step.state, step.erased_at, step.reference, step.next_at = "erased", now, one.number, now
            note(run, step, "answered", reference=one.number)
            run.batch.tell(Action.ERASURE_CERTIFIED, run.case, certificate=one.number, sha256=one.sha256)
    ledger.end_together([(run.found.id, made[run.found.id].sha256, made[run.found.id].issued_at) for run, _ in ended])
    for run, step in ended:
        prove(run, step)


# Erasures that will be here within a minute: begun and held up by nothing, or about to begin.
OTHERS_COME = """
    select exists (
        select from privacy.erasure e join privacy.erasure_step s on s.erasure_id = e.id and s.what = 'residue' and s.state = 'to do'
        where e.id <> all(:mine) and e.finished_at is null and not exists (
            select from privacy.erasure_step b where b.erasure_id = e.id and b.phase < s.phase
              and b.state in ('waiting', 'held', 'failed') and b.next_at > :now and not exists (
                  select from privacy.outbox o where o.dedupe_key = b.key and o.state in ('sent', 'canceled')))
    ) or exists (
        select from privacy.request r left join privacy.erasure e on e.request_id = r.id
        where r.kind = 'delete' and r.state = 'waiting' and r.grace_ends_at <= :now and e.waits_for is null)
"""
NEXT_TOO = """
    select s.id from privacy.erasure e join privacy.erasure_step s on s.erasure_id = e.id and s.what = 'residue'
    where e.id <> all(:mine) and e.finished_at is null and e.traces is not null and s.state = 'to do'
      and not exists (select from privacy.erasure_step b where b.erasure_id = e.id and b.phase < s.phase
                      and b.state not in ('proven', 'exempt'))
    order by e.begun_at limit :most for update skip locked
"""
