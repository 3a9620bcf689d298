"""The steps of an erasure that prove it: the ledger before, the residue scan and the certificate after.

Danger: "erased" is said while something is left, or nothing outside the database knows of it. Principle: the ledger has its line
before the first row goes; a scan that found something ends nothing until the place is clean or a person has judged it; the
certificate is committed before the ledger says so. Mechanism: three kinds of steps beside those of
core.privacy.erasure_steps; one scan serves every erasure that has come as far.
"""

import uuid
from datetime import timedelta

from sqlalchemy import select, text

from core.models.base import uuid7
from core.models.erasures import ErasureStep, PersonErasure
from core.models.proof import ErasureFinding, Suppression
from core.policy.clock import add_months
from core.privacy import certificates, housekeeping, ledger, residue, suppression
from core.privacy.acting import parameters
from core.privacy.audit import Action, append
from core.privacy.erasure_steps import Run, note, prove

STEPS = {"ledger": "erasure ledger", "residue": "residue scan", "certificate": "certificate of erasure"}
BASIS = "legitimate interest: what was erased stays erased"
JUDGED_AGAIN = timedelta(days=1)
TOGETHER = timedelta(minutes=1)
AT_ONCE, WITH_OTHERS = 200, "with others"


def prepare(run: Run) -> None:
    """At the point of no return: keep what the scan will look for, and keep the person's old records out from now on."""
    found, session = run.found, run.session
    until = add_months(run.now, 12 * parameters(session, run.case.request).suppression_years)
    found.traces = residue.traces(session, run.person)
    hashes = suppression.hashes_of(session, run.person)
    suppression.suppress(session, erasure_id=found.id, hashes=hashes, basis=BASIS, until=until, now=run.now)
    session.flush()


def take(run: Run, step: ErasureStep) -> None:
    """Do one part of one of these steps."""
    {"ledger": _ledger, "residue": _residue, "certificate": _certificate}[step.what](run, step)
    run.session.flush()


def _ledger(run: Run, step: ErasureStep) -> None:
    """The line outside the database, on the disk before anything goes."""
    mine = select(Suppression.hash, Suppression.until).where(Suppression.erasure_id == run.found.id)
    listed = run.session.execute(mine).all()
    assert run.found.person_id is not None
    ledger.begin(
        erasure_id=run.found.id, request_id=run.found.request_id, person=run.found.kind, person_id=run.found.person_id,
        forms=run.found.forms or (), hashes=[row.hash for row in listed], until=max(row.until for row in listed),
        now=run.found.begun_at or run.now,
    )  # fmt: skip
    prove(run, step)


def _residue(run: Run, step: ErasureStep) -> None:
    """Scan, together with everybody who has come as far; or settle what another one's scan has found."""
    if step.state == "erased":
        _settle(run, step)
        return
    if not step.reference and run.session.scalar(text(OTHERS_COME), {"mine": run.found.id, "now": run.now}):
        step.reference, step.next_at = WITH_OTHERS, run.now + TOGETHER
        return
    batch = [(run.found, step), *_others(run)]
    ids = [str(each) for found, _ in batch for each in (found.person_id, *(found.forms or ()))]
    housekeeping.forget_jobs(run.session, keys=ids)
    scan = residue.scan(
        run.session, now=run.now,
        batch={found.id: found.traces for found, _ in batch if found.traces is not None},
        began={found.id: found.begun_at or run.now for found, _ in batch},
    )  # fmt: skip
    for found, each in batch:
        _keep(run, found.id, scan.findings[found.id])
        each.state, each.erased_at, each.next_at = "erased", run.now, run.now
        each.counts = {"tables": scan.tables, "columns": scan.columns, "found": len(scan.findings[found.id])}
        found.next_at = run.now
    run.session.flush()
    _settle(run, step)


def _others(run: Run) -> list[tuple[PersonErasure, ErasureStep]]:
    """Other erasures whose residue scan is next, and which nobody is at."""
    rows = run.session.execute(text(NEXT_TOO), {"mine": run.found.id, "most": AT_ONCE}).all()
    steps = run.session.scalars(select(ErasureStep).where(ErasureStep.id.in_([row.id for row in rows]))).all()
    return [(run.session.get_one(PersonErasure, each.erasure_id), each) for each in steps]


def _keep(run: Run, erasure_id: uuid.UUID, findings: tuple[residue.Finding, ...]) -> None:
    """Write down what was found; what was found before and is not there any more, is gone."""
    there = {(each.table, each.column, each.row, each.trace): each for each in findings}
    mine = select(ErasureFinding).where(ErasureFinding.erasure_id == erasure_id)
    known = {
        (each.place_table, each.place_column, each.place_row, each.trace): each for each in run.session.scalars(mine)
    }
    for key, row in known.items():
        if key not in there and row.verdict is None:
            row.verdict, row.judged_at = "gone", run.now
        elif key in there and row.verdict in ("gone", "removed"):
            row.verdict, row.judged_at, row.judged_by = None, None, None  # it is still there, or again
    for key, each in there.items():
        if key not in known:
            run.session.add(ErasureFinding(id=uuid7(), erasure_id=erasure_id, place_table=each.table, place_column=each.column,
                                           place_row=each.row, trace=each.trace, sure=each.sure, found_at=run.now))  # fmt: skip
    run.session.flush()


def _settle(run: Run, step: ErasureStep) -> None:
    still = select(ErasureFinding).where(ErasureFinding.erasure_id == run.found.id, ErasureFinding.verdict.is_(None))
    places = len(run.session.scalars(still).all())
    if not places:
        prove(run, step)
        return
    step.state, step.waits_for, step.next_at = "waiting", "finding", run.now + JUDGED_AGAIN
    step.waits_about = f"{places} place{'s' if places > 1 else ''}"
    note(run, step, "waits", became="found", counts={"places": places})


def _certificate(run: Run, step: ErasureStep) -> None:
    made = certificates.issue(run.session, erasure_id=run.found.id, now=run.now)
    if step.state != "erased":  # committed first: the ledger never names a certificate that was rolled back
        step.state, step.erased_at, step.reference, step.next_at = "erased", run.now, made.number, run.now
        note(run, step, "answered", reference=made.number)
        run.session.flush()
        append(run.session, Action.ERASURE_CERTIFIED, now=run.now, subject_kind="request", subject_id=run.case.request.id,
               certificate=made.number, sha256=made.sha256)  # fmt: skip
        return
    ledger.end(erasure_id=run.found.id, certificate_sha256=made.sha256, now=made.issued_at)
    prove(run, step)


# Erasures that will be here within a minute: begun and held up by nothing, or about to begin.
OTHERS_COME = """
    select exists (
        select from privacy.erasure e join privacy.erasure_step s on s.erasure_id = e.id and s.what = 'residue' and s.state = 'to do'
        where e.id <> :mine and e.finished_at is null and not exists (
            select from privacy.erasure_step b where b.erasure_id = e.id and b.phase < s.phase
              and b.state in ('waiting', 'held', 'failed') and b.next_at > :now and not exists (
                  select from privacy.outbox o where o.dedupe_key = b.key and o.state in ('sent', 'canceled')))
    ) or exists (
        select from privacy.request r left join privacy.erasure e on e.request_id = r.id
        where r.kind = 'delete' and r.state = 'waiting' and r.grace_ends_at <= :now and e.waits_for is null)
"""
NEXT_TOO = """
    select s.id from privacy.erasure e join privacy.erasure_step s on s.erasure_id = e.id and s.what = 'residue'
    where e.id <> :mine and e.finished_at is null and e.traces is not null and s.state = 'to do'
      and not exists (select from privacy.erasure_step b where b.erasure_id = e.id and b.phase < s.phase
                      and b.state not in ('proven', 'exempt'))
    order by e.begun_at limit :most for update skip locked
"""
