"""The eraser: begins what is due, goes on with what has begun, and ends only what is proven.

Danger: somebody is erased on an approval that does not hold any more, too early, or twice; or "erased" is said of what was only
asked for. Principle: every guard is asked again in the transaction of the point of no return; each part commits by itself
together with its evidence and the fence of the worker's lease, so that a worker may die, sleep or come twice at any moment;
"erased" is what follows from the steps and is set by nobody. Mechanism: one job per request (core.jobs), parts under one
lease; rows of ``privacy.erasure_step`` in phases (core.privacy.erasure_steps); the trigger on ``request`` asks the same again.

An erasure that does not go on says for what it waits: ``waits_for`` is a code of core.policy.machine.ERASURE_WAITS.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound, Refused
from core.models.base import among, insert_many, uuid7
from core.models.erasures import SETTLED, ErasureStep, PersonErasure
from core.models.platform import Student, Visitor
from core.models.requests import Request
from core.policy import listed_processors
from core.policy.machine import number
from core.privacy import below_age, brakes, grace, proving
from core.privacy.acting import (
    Case,
    change,
    change_together,
    demand_not_own,
    of_system,
    of_system_together,
    parameters,
)
from core.privacy.audit import Action, append, demand_sound, guarded
from core.privacy.deletion import changed_plan
from core.privacy.erasure_rows import Found, Step
from core.privacy.erasure_steps import PHASES, Batch, Run, Taken, alone, fail_step, release, take
from core.privacy.holds import StandingHold, as_officer, holds_together
from core.privacy.preview import fingerprints
from core.privacy.rules import ask
from core.privacy.sessions import Staff
from core.processors import local
from core.processors.protocol import Person
from core.processors.registry import third_parties

LETTER = "last letter"
LOOK_AGAIN = timedelta(minutes=15)
AFTER_ERROR = timedelta(minutes=5)
LONGEST_IDLE = "60s"  # longer than any call to a processor may take
MORE, ALONE = "more", "alone"
_ALONE, _PART = {MORE: 1, ALONE: 1}, {"parts": 1}
JOINED = {
    "ledger": "letter",
    "letter": "database",
    "database": "residue",
    "residue": "certificate",
}  # no commit needed between
_NEW: dict[str, Any] = {"state": "to do", "attempts": 0, "waits_about": "", "error": "", "reference": "", "counts": {}}


def erasures_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the deletions to begin, and the erasures that have something to do, longest due first."""
    return list(map(str, session.scalars(text(DUE), {"now": now})))


def go_on(session: Session, *, request_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Do the next part of one erasure: begin it, take one step, or end it. Counts with "more" ask for the next part."""
    return go_on_together(session, request_ids=[request_id], now=now)[request_id]


def go_on_together(
    session: Session, *, request_ids: Sequence[uuid.UUID], now: datetime
) -> dict[uuid.UUID, dict[str, int]]:
    """Do the next part of several erasures in one transaction; return the counts of each.

    Whatever is not the straight way (somebody else is at it, a guard says no, a call leaves for another machine) shares its
    transaction with nobody: counts with "alone" ask for that part by itself. A worker that is stopped in the middle holds locks: the
    server ends its transaction, so that another one gets on.
    """
    session.execute(
        text("select set_config('idle_in_transaction_session_timeout', :idle, true)"), {"idle": LONGEST_IDLE}
    )
    batch, single = Batch(session, now), len(request_ids) == 1
    if single:
        cases = [of_system(session, verb="erase", request_id=request_ids[0])]
    else:
        cases = of_system_together(session, verb="erase", request_ids=request_ids)
    came = dict.fromkeys(request_ids, _ALONE) | {case.request.id: {} for case in cases}
    came |= _proceed(batch, [case for case in cases if case.request.state == "erasing"], single=single)
    came |= _begin(batch, [case for case in cases if case.request.state == "waiting"], single=single)
    batch.close()
    return came


def _proceed(batch: Batch, cases: Sequence[Case], *, single: bool) -> dict[uuid.UUID, dict[str, int]]:
    """Take the next step of each erasure that has begun, and what may join it: all steps of a kind together."""
    session, now = batch.session, batch.now
    if not cases:
        return {}
    founds = _founds(batch, cases)
    mine = [founds[case.request.id] for case in cases]
    if brake := _stopped(session, now):
        for found in mine:
            _wait(found, brake, "", now)
        return {case.request.id: {"waits": 1} for case in cases}
    for found in mine:
        if found.waits_for == "clock":
            found.waits_for, found.waits_about, found.waits_since = None, "", None
    people = _lock_people(session, mine)
    runs, woken = _runs(batch, cases, mine, _holds(session, mine, people)), _woken(session, mine)
    for run in runs:
        release(run)
    came, taken = _sort(runs, woken, single=single)
    _take(batch, taken)
    while (taken := _joining(taken, woken)) and _joined(batch, taken, single=single):
        pass
    for run in runs:
        if came.get(run.case.request.id) != _ALONE and not _settled(run):
            _looks_again(run)
        if came.get(run.case.request.id) == _PART and run.found.next_at <= now:
            came[run.case.request.id] = _PART | {MORE: 1}
    ended = [run for run in runs if _settled(run)]
    came |= {run.case.request.id: {"erased": 1} for run in ended}
    _end(batch, ended)
    return came


def _sort(
    runs: Sequence[Run], woken: set[uuid.UUID], *, single: bool
) -> tuple[dict[uuid.UUID, dict[str, int]], dict[str, list[tuple[Run, Step]]]]:
    """The next step of each by its kind, and what is said of it; whoever has to go alone is not among them."""
    came: dict[uuid.UUID, dict[str, int]] = {}
    taken: dict[str, list[tuple[Run, Step]]] = {}
    for run in runs:
        step = _next(run, woken)
        if step and not single and alone(run, step):
            came[run.case.request.id] = _ALONE
        elif step:
            came[run.case.request.id] = _PART
            taken.setdefault(step.what, []).append((run, step))
    return came, taken


def _take(batch: Batch, taken: Mapping[str, Taken]) -> None:
    """Do one part of these steps, a kind at a time; each kind sees what the one before it has written."""
    for what, each in taken.items():
        proving.take(each) if what in proving.STEPS else take(each)
        batch.write()


def _joined(batch: Batch, taken: Mapping[str, Taken], *, single: bool) -> bool:
    """Do steps that may share the transaction of those before them; False when that raised.

    Of one erasure alone everything of them is taken back then: they are next, by themselves, and what raises again is theirs.
    Several are halved by the worker.
    """
    if not single:
        _take(batch, taken)
        return True
    before = batch.saved()
    try:
        with batch.session.begin_nested():
            _take(batch, taken)
    except Exception:  # noqa: BLE001 - told by the next part, of the step that it belongs to
        batch.restore(before)
        return False
    return True


def _joining(taken: Mapping[str, Taken], woken: set[uuid.UUID]) -> dict[str, list[tuple[Run, Step]]]:
    """The steps that are taken in the transaction of the one before them, which is settled and needs no commit between.

    After a failure each goes by itself: then it is clear which one it is.
    """
    joining: dict[str, list[tuple[Run, Step]]] = {}
    for run, step in (pair for each in taken.values() for pair in each if pair[1].state in SETTLED):
        then = _next(run, woken)
        if then and JOINED.get(step.what) == then.what and step.attempts == then.attempts == 0:
            joining.setdefault(then.what, []).append((run, then))
    return joining


def _runs(
    batch: Batch,
    cases: Sequence[Case],
    mine: Sequence[Found],
    holds: Mapping[uuid.UUID, tuple[StandingHold, ...]],
) -> list[Run]:
    steps = _steps(batch, mine)
    return [Run(batch, case, found, steps[found.id], holds[found.id]) for case, found in zip(cases, mine, strict=True)]


def note_failure(session: Session, key: str, code: str, now: datetime) -> None:
    """Write down that the next part of an erasure failed: a back-off, and at last a dead letter with an owner.

    Nothing is written while somebody else is at it: then it is asked again in a minute.
    """
    free = select(Request.id).where(Request.id == uuid.UUID(key)).with_for_update(skip_locked=True)
    if session.scalar(free) is None:
        return
    case = of_system(session, verb="erase", request_id=uuid.UUID(key))
    if case.request.state not in ("waiting", "erasing"):
        return
    batch = Batch(session, now)
    found = _founds(batch, [case])[case.request.id]
    run = Run(batch, case, found, _steps(batch, [found])[found.id], ())
    if case.request.state == "erasing" and (step := _next(run, _woken(session, [found]))):
        fail_step(run, step, error=code)
        _looks_again(run)
    else:
        _wait(found, "error", code, now, again=AFTER_ERROR)
    batch.close()


@guarded
def retry_erasure_step(session: Session, *, step_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Give a step that failed for good all its attempts again, at once; ``by`` sees to it from now on.

    Raises Refused (not a privacy officer, one's own record), NotFound, BadInput for a step that has not failed.
    """
    as_officer(session, by, do="see to erasures")
    step = session.get(ErasureStep, step_id, populate_existing=True)
    if step is None:
        raise NotFound("There is no such step, or it is not open to you.")
    of = select(Request).join(PersonErasure, PersonErasure.request_id == Request.id)
    request = session.scalars(of.where(PersonErasure.id == step.erasure_id)).one()
    demand_not_own(session, request)
    if not ask(session, "privacy.retry_erasure_step(:step, :now)", step=step_id, now=now):
        raise BadInput("Only a step that has failed is tried again; look at it once more.")
    append(session, Action.ERASURE_RETRIED, now=now, subject_kind="request", subject_id=request.id, place=step.place)


def _begin(batch: Batch, cases: Sequence[Case], *, single: bool) -> dict[uuid.UUID, dict[str, int]]:
    """The point of no return, for those whose every guard says yes. Whom one sends back to people goes alone, and is sent back."""
    session, now = batch.session, batch.now
    due = [case for case in cases if case.request.grace_ends_at is not None and case.request.grace_ends_at <= now]
    came: dict[uuid.UUID, dict[str, int]] = {}
    if single and due and _sent_back(session, due[0], now):
        return {due[0].request.id: {"sent back": 1}}
    if not single:
        doubtful = _doubtful(session, due, now)
        came |= {case.request.id: _ALONE for case in due if case.request.id in doubtful}
        due = [case for case in due if case.request.id not in doubtful]
    founds = _founds(batch, due)
    waits = _not_yet(session, due, founds, now)
    for request_id, (what, about) in waits.items():
        _wait(founds[request_id], what, about, now)
    came |= {request_id: {"waits": 1} for request_id in waits}
    going = [case for case in due if case.request.id not in waits]
    if going:
        _begin_all(batch, going, founds)
    return came | {case.request.id: {"begun": 1, MORE: 1} for case in going}


def _begin_all(batch: Batch, cases: Sequence[Case], founds: Mapping[uuid.UUID, Found]) -> None:
    session, now = batch.session, batch.now
    mine = [founds[case.request.id] for case in cases]
    for case, found, person in zip(cases, mine, _lock_people(session, mine), strict=True):
        found.email_hash, found.forms = person.email_hash, list(person.forms)
        found.fingerprint, found.begun_at, found.next_at = case.request.plan_fingerprint, now, now
        found.waits_for, found.waits_about, found.waits_since = None, "", None
        batch.saw(found.id, "begun", reference=str(found.fingerprint)[:16])
        batch.tell(Action.ERASURE_BEGUN, case, plan=str(found.fingerprint)[:16])
    _plan_steps(session, cases, founds, now)
    traces = proving.prepare([Run(batch, case, found, [], ()) for case, found in zip(cases, mine, strict=True)])
    batch.rows.begin(mine, traces)
    change_together(session, cases, to="erasing", now=now)


def _doubtful(session: Session, cases: Sequence[Case], now: datetime) -> set[uuid.UUID]:
    """Those whose approval may not hold any more: a sign of life, the age rule, another plan, an approver who may not."""
    if not cases:
        return set()
    ids = [case.request.id for case in cases]
    prints = fingerprints(session, [case.request for case in cases], now=now)
    approved = set(session.scalars(text(APPROVED), {"ids": ids}))
    return grace.signs_of_life(session, ids) | {
        case.request.id
        for case in cases
        if case.request.source == below_age.SOURCE
        or prints[case.request.id] != case.request.plan_fingerprint
        or case.request.id not in approved
    }


def _sent_back(session: Session, case: Case, now: datetime) -> bool:
    """Send a deletion back to people when its plan is another one, or not approved any more by those who may."""
    request = case.request
    if (
        grace.heed_sign_of_life(session, request_id=request.id, now=now)
        or below_age.mend(session, request_id=request.id, now=now)
        or changed_plan(session, case, now=now)
    ):
        return True
    if session.scalar(text("select privacy.is_approved(:id)"), {"id": request.id}):
        return False
    change(session, case, to="to approve", now=now, sentence="")
    append(session, Action.APPROVAL_GONE, now=now, subject_kind="request", subject_id=request.id)
    return True


def _not_yet(
    session: Session, cases: Sequence[Case], founds: Mapping[uuid.UUID, Found], now: datetime
) -> dict[uuid.UUID, tuple[str, str]]:
    """Why approved deletions that are due do not begin: the code, and what it is about; nothing of those that do."""
    if not cases:
        return {}
    found: dict[uuid.UUID, tuple[str, str]] = {}
    ids = [case.request.id for case in cases]
    mine = [founds[each] for each in ids]
    holds = _holds(session, mine, local.known_together(session, [_person(found) for found in mine]))
    others: dict[uuid.UUID, list[str]] = {}
    for row in session.execute(text(OTHERS), {"ids": ids}):
        others.setdefault(row.id, []).append(number(row.number))
    for each in ids:
        if whole := [hold.number for hold in holds[founds[each].id] if hold.table is None]:
            found[each] = "hold", ", ".join(whole)
        elif each in others:
            found[each] = "request", ", ".join(others[each])
    if all(each in found for each in ids):
        return found
    try:
        demand_sound(session)
        brakes.watch_number(session, now=now)
        stopped = _stopped(session, now)
    except Refused:
        stopped = "audit"
    return dict.fromkeys(ids, (stopped, "")) | found if stopped else found


def _stopped(session: Session, now: datetime) -> str | None:
    """The brake that is on: "clock" stops everything, "many" what has not begun."""
    brakes.watch_clock(session, now=now)
    on = {stop.kind for stop in brakes.standing(session)}
    return "clock" if "clock" in on else "many" if "many" in on else None


def _founds(batch: Batch, cases: Sequence[Case]) -> dict[uuid.UUID, Found]:
    """The erasure of each request, by the request's id; made when it is first due, and locked."""
    if not cases:
        return {}
    mine = among(PersonErasure.request_id, [case.request.id for case in cases])
    found = {each.request_id: each for each in batch.rows.founds(mine, lock=True)}
    new = [case.request for case in cases if case.request.id not in found]
    return found | {each.request_id: each for each in batch.rows.make(new, now=batch.now)}


def _steps(batch: Batch, founds: Sequence[Found]) -> dict[uuid.UUID, list[Step]]:
    found: dict[uuid.UUID, list[Step]] = {each.id: [] for each in founds}
    for step in batch.rows.steps(among(ErasureStep.erasure_id, found)):
        found[step.erasure_id].append(step)
    return found


def _plan_steps(session: Session, cases: Sequence[Case], founds: Mapping[uuid.UUID, Found], now: datetime) -> None:
    """Write down every place that has to forget, whether configured or not, and what comes before and after."""
    concerned, rows = dict[tuple[str, str], tuple[str, ...]](), list[dict[str, Any]]()
    for request in (case.request for case in cases):
        found, version = founds[request.id], parameters(session, request).version
        if (found.kind, version) not in concerned:
            concerned[found.kind, version] = third_parties(found.kind, listed_processors(session, version))
        wanted = [("processor", name) for name in concerned[found.kind, version]]
        for what, place in [*wanted, ("letter", LETTER), ("database", local.NAME), *proving.STEPS.items()]:
            key = f"{request.id}:completion:erasure" if what == "letter" else f"{found.id} {place}"
            rows.append(_NEW | {"id": uuid7(), "erasure_id": found.id, "phase": PHASES[what], "what": what, "place": place,
                                "key": key, "next_at": now})  # fmt: skip
    insert_many(session, ErasureStep, rows)


def _lock_people(session: Session, founds: Sequence[Found]) -> list[Person]:
    """Lock the persons' own rows, so that nothing that points to them comes in meanwhile (a hold, an import); know them all."""
    people = [_person(found) for found in founds]
    for kind, own in (("student", Student), ("visitor", Visitor)):
        ids = [found.person_id for found in founds if found.kind == kind and found.person_id]
        _lock(session, own, ids)
    known = local.known_together(session, people)
    _lock(session, Visitor, [form for person in known for form in person.forms])
    return known


def _lock(session: Session, own: type[Student] | type[Visitor], ids: Sequence[uuid.UUID]) -> None:
    if ids:
        session.execute(select(own.id).where(among(own.id, ids)).order_by(own.id).with_for_update())


def _person(found: Found) -> Person:
    return Person(
        found.kind, found.person_id or uuid.UUID(int=0), found.request_id, found.email_hash, tuple(found.forms or ())
    )


def _holds(
    session: Session, founds: Sequence[Found], people: Sequence[Person]
) -> dict[uuid.UUID, tuple[StandingHold, ...]]:
    """Every hold on each person, by whichever of their records; also when the record it was found by is gone."""
    asked: list[tuple[uuid.UUID, uuid.UUID | None, uuid.UUID | None]] = []
    for found, person in zip(founds, people, strict=True):
        if found.person_id:
            asked += [(found.id, found.person_id, None)] if found.kind == "student" else []
            asked += [(found.id, None, form) for form in person.forms]
    holds = holds_together(session, asked)
    return {found.id: tuple(sorted(holds.get(found.id, ()), key=lambda hold: hold.number)) for found in founds}


def _woken(session: Session, founds: Sequence[Found]) -> set[uuid.UUID]:
    """The steps for which there is what they waited for."""
    return set(session.scalars(text(WOKEN), {"ids": [found.id for found in founds]}))


def _next(run: Run, woken: set[uuid.UUID]) -> Step | None:
    """The first step that is due: nothing before it is open, and its time has come or what it waited for is there."""
    return next((step for step in _opened(run) if step.next_at <= run.now or step.id in woken), None)


def _opened(run: Run) -> list[Step]:
    """The steps that may be taken: letter and database go around what is held, what comes after them does not."""
    left = [step for step in run.steps if step.state not in SETTLED]
    first = min((step.phase for step in left), default=0)
    going = min((step.phase for step in left if step.state != "held"), default=len(PHASES))
    return [step for step in left if step.phase <= (going if step.what in ("letter", "database") else first)]


def _settled(run: Run) -> bool:
    return all(step.state in SETTLED for step in run.steps)


def _looks_again(run: Run) -> None:
    """Write down when the erasure has something to do next, and for what it waits until then, since the first time."""
    found, still = run.found, _opened(run)
    found.next_at = min((step.next_at for step in still), default=run.now)
    waiting = [step for step in still if step.next_at > run.now]
    if still and len(waiting) == len(still):
        first = min(waiting, key=lambda step: (step.state != "failed", step.phase, step.place))
        same = [step.waits_about or step.place for step in waiting if step.waits_for == first.waits_for]
        _wait(found, first.waits_for or "error", ", ".join(dict.fromkeys(same)), run.now, again=found.next_at - run.now)


def _wait(found: Found, what: str, about: str, now: datetime, *, again: timedelta = LOOK_AGAIN) -> None:
    if (found.waits_for, found.waits_about) != (what, about):
        found.waits_for, found.waits_about, found.waits_since = what, about, now
    found.next_at = now + again


def _end(batch: Batch, runs: Sequence[Run]) -> None:
    """Everything is proven: forget what found the persons, and let the requests be what follows."""
    session, now = batch.session, batch.now
    for run in runs:
        batch.saw(run.found.id, "ended")
        rows = sum(sum(step.counts.values()) for step in run.steps if step.what == "database")
        batch.tell(Action.ERASURE_ENDED, run.case, steps=len(run.steps), rows=rows)
    batch.rows.end([run.found for run in runs])
    batch.write()
    batch.rows.finish([run.found for run in runs], now=now)
    if runs:
        change_together(session, [run.case for run in runs], to="erased", now=now, outcome="erased")


DUE = """
    select r.id from privacy.request r left join privacy.erasure e on e.request_id = r.id
    where r.kind = 'delete' and r.closed_at is null
      and (r.state = 'erasing' or r.state = 'waiting' and r.grace_ends_at <= :now)
      and (e.id is null or e.next_at <= :now or exists (
          select from privacy.erasure_step s where s.erasure_id = e.id and s.state = 'waiting' and (
              exists (select from privacy.manual_step m where m.key = s.key and m.state = 'confirmed')
              or exists (select from privacy.outbox o where o.dedupe_key = s.key and o.state in ('sent', 'canceled')))))
    order by r.grace_ends_at, r.id
"""
WOKEN = """
    select s.id from privacy.erasure_step s where s.erasure_id = any(:ids) and s.state = 'waiting' and (
        exists (select from privacy.manual_step m where m.key = s.key and m.state = 'confirmed')
        or exists (select from privacy.outbox o where o.dedupe_key = s.key and o.state in ('sent', 'canceled')))
"""
APPROVED = "select r.id from privacy.request r where r.id = any(:ids) and privacy.is_approved(r.id)"
# A visitor's deletion does not touch the student, so that two deletions of one person never wait for each other.
OTHERS = """
    select r.id, o.number from privacy.request r join lateral (
        select x.number from privacy.request x where r.student_id is not null and x.id <> r.id and x.closed_at is null and (
            x.student_id = r.student_id or x.visitor_id in (
                select v.id from platform.visitor v join platform.student s on s.email_hash = v.email_hash where s.id = r.student_id))
        union all
        select x.number from privacy.request x where r.visitor_id is not null and x.id <> r.id and x.closed_at is null
          and (x.kind <> 'delete' or x.number < r.number) and x.visitor_id in (
            select v.id from platform.visitor v join platform.visitor mine on mine.email_hash = v.email_hash
            where mine.id = r.visitor_id)) o on true
    where r.id = any(:ids) order by r.id, o.number
"""
