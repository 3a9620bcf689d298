"""The eraser: begins what is due, goes on with what has begun, and ends only what is proven.

Danger: somebody is erased on an approval that does not hold any more, too early, or twice; or "erased" is said of what was only
asked for. Principle: every guard is asked again in the transaction of the point of no return; each part commits by itself
together with its evidence and the fence of the worker's lease, so that a worker may die, sleep or come twice at any moment;
"erased" is what follows from the steps and is set by nobody. Mechanism: one job per request (core.jobs), parts under one
lease; rows of ``privacy.erasure_step`` in phases (core.privacy.erasure_steps); the trigger on ``request`` asks the same again.

An erasure that does not go on says for what it waits: ``waits_for`` is a code of core.policy.machine.ERASURE_WAITS.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound, Refused
from core.models.base import uuid7
from core.models.erasures import SETTLED, ErasureEvidence, ErasureStep, PersonErasure
from core.models.platform import Student, Visitor
from core.models.requests import Request
from core.policy import listed_processors
from core.policy.machine import number
from core.privacy import below_age, brakes, grace, proving
from core.privacy.acting import Case, change, demand_not_own, of_system, parameters
from core.privacy.audit import Action, append, demand_sound, guarded
from core.privacy.deletion import changed_plan
from core.privacy.erasure_steps import PHASES, Run, fail_step, release, take
from core.privacy.holds import StandingHold, as_officer, holds_on
from core.privacy.rules import ask
from core.privacy.sessions import Staff
from core.processors import local
from core.processors.protocol import Person
from core.processors.registry import third_parties

LETTER = "last letter"
LOOK_AGAIN = timedelta(minutes=15)
AFTER_ERROR = timedelta(minutes=5)
LONGEST_IDLE = "60s"  # longer than any call to a processor may take
MORE = "more"


def erasures_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the deletions to begin, and the erasures that have something to do, longest due first."""
    return list(map(str, session.scalars(text(DUE), {"now": now})))


def go_on(session: Session, *, request_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Do the next part of one erasure: begin it, take one step, or end it. Counts with "more" ask for the next part.

    A worker that is stopped in the middle holds locks: the server ends its transaction, so that another one gets on.
    """
    session.execute(
        text("select set_config('idle_in_transaction_session_timeout', :idle, true)"), {"idle": LONGEST_IDLE}
    )
    case = of_system(session, verb="erase", request_id=request_id)
    if case.request.state == "waiting":
        return _begin(session, case, now)
    if case.request.state != "erasing":
        return {}
    found = _found(session, case.request, now)
    if brake := _stopped(session, now):
        _wait(session, found, brake, "", now)
        return {"waits": 1}
    if found.waits_for == "clock":
        found.waits_for, found.waits_about, found.waits_since = None, "", None
    _lock_person(session, found)
    run = Run(session, case, found, _steps(session, found), _holds(session, found), now)
    release(run)
    if step := _next(run):
        proving.take(run, step) if step.what in proving.STEPS else take(run, step)
        _looks_again(run)
        return {"parts": 1, MORE: 1}
    if all(step.state in SETTLED for step in run.steps):
        return _end(run)
    _looks_again(run)
    return {}


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
    found = _found(session, case.request, now)
    run = Run(session, case, found, _steps(session, found), (), now)
    if case.request.state == "erasing" and (step := _next(run)):
        fail_step(run, step, error=code)
        _looks_again(run)
    else:
        _wait(session, found, "error", code, now, again=AFTER_ERROR)


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


def _begin(session: Session, case: Case, now: datetime) -> dict[str, int]:
    request = case.request
    if request.grace_ends_at is None or request.grace_ends_at > now:
        return {}
    if (
        grace.heed_sign_of_life(session, request_id=request.id, now=now)
        or below_age.mend(session, request_id=request.id, now=now)
        or _sent_back(session, case, now)
    ):
        return {"sent back": 1}
    found = _found(session, request, now)
    if reason := _not_yet(session, request, found, now):
        _wait(session, found, *reason, now)
        return {"waits": 1}
    person = _lock_person(session, found)
    found.email_hash, found.forms = person.email_hash, list(person.forms)
    found.fingerprint, found.begun_at, found.next_at = request.plan_fingerprint, now, now
    found.waits_for, found.waits_about, found.waits_since = None, "", None
    session.flush()
    _plan_steps(session, case, found, now)
    proving.prepare(Run(session, case, found, [], (), now))
    session.add(
        ErasureEvidence(erasure_id=found.id, at=now, what="begun", reference=str(request.plan_fingerprint)[:16])
    )
    change(session, case, to="erasing", now=now, sentence="")
    append(session, Action.ERASURE_BEGUN, now=now, subject_kind="request", subject_id=request.id,
           plan=str(request.plan_fingerprint)[:16])  # fmt: skip
    return {"begun": 1, MORE: 1}


def _sent_back(session: Session, case: Case, now: datetime) -> bool:
    """Send a deletion back to people when its plan is another one, or not approved any more by those who may."""
    if changed_plan(session, case, now=now):
        return True
    if session.scalar(text("select privacy.is_approved(:id)"), {"id": case.request.id}):
        return False
    change(session, case, to="to approve", now=now, sentence="")
    append(session, Action.APPROVAL_GONE, now=now, subject_kind="request", subject_id=case.request.id)
    return True


def _not_yet(session: Session, request: Request, found: PersonErasure, now: datetime) -> tuple[str, str] | None:
    """Why an approved deletion that is due does not begin: its code, and what it is about."""
    if whole := [hold.number for hold in _holds(session, found) if hold.table is None]:
        return "hold", ", ".join(whole)
    if others := session.scalars(text(OTHERS), {"id": request.id}).all():
        return "request", ", ".join(map(number, others))
    try:
        demand_sound(session)
    except Refused:
        return "audit", ""
    brakes.watch_number(session, now=now)
    if brake := _stopped(session, now):
        return brake, ""
    return None


def _stopped(session: Session, now: datetime) -> str | None:
    """The brake that is on: "clock" stops everything, "many" what has not begun."""
    brakes.watch_clock(session, now=now)
    on = {stop.kind for stop in brakes.standing(session)}
    return "clock" if "clock" in on else "many" if "many" in on else None


def _found(session: Session, request: Request, now: datetime) -> PersonErasure:
    """The erasure of a request, made when it is first due."""
    mine = select(PersonErasure).where(PersonErasure.request_id == request.id).with_for_update()
    if found := session.scalars(mine.execution_options(populate_existing=True)).first():
        return found
    found = PersonErasure(id=uuid7(), request_id=request.id, kind="visitor" if request.visitor_id else "student",
                          person_id=request.student_id or request.visitor_id, next_at=now, made_at=now)  # fmt: skip
    session.add(found)
    session.flush()
    return found


def _steps(session: Session, found: PersonErasure) -> list[ErasureStep]:
    mine = select(ErasureStep).where(ErasureStep.erasure_id == found.id).order_by(ErasureStep.phase, ErasureStep.place)
    return list(session.scalars(mine.execution_options(populate_existing=True)))


def _plan_steps(session: Session, case: Case, found: PersonErasure, now: datetime) -> None:
    """Write down every place that has to forget, whether configured or not, and what comes before and after."""
    listed = listed_processors(session, parameters(session, case.request).version)
    wanted = [("processor", name) for name in third_parties(found.kind, listed)]
    wanted += [("letter", LETTER), ("database", local.NAME), *proving.STEPS.items()]
    for what, place in wanted:
        key = f"{case.request.id}:completion:erasure" if what == "letter" else f"{found.id} {place}"
        session.add(ErasureStep(id=uuid7(), erasure_id=found.id, phase=PHASES[what], what=what, place=place, key=key,
                                next_at=now))  # fmt: skip
    session.flush()


def _lock_person(session: Session, found: PersonErasure) -> Person:
    """Lock the person's own rows, so that nothing that points to them comes in meanwhile (a hold, an import); know them all."""
    if found.person_id is None:
        return _person(found)
    own = Student if found.kind == "student" else Visitor
    session.execute(select(own.id).where(own.id == found.person_id).with_for_update())
    person = local.known(session, _person(found))
    forms = select(Visitor.id).where(Visitor.id.in_(person.forms)).order_by(Visitor.id)
    session.execute(forms.with_for_update())
    return person


def _person(found: PersonErasure) -> Person:
    return Person(
        found.kind, found.person_id or uuid.UUID(int=0), found.request_id, found.email_hash, tuple(found.forms or ())
    )


def _holds(session: Session, found: PersonErasure) -> tuple[StandingHold, ...]:
    """Every hold on the person, by whichever of their records; also when the record it was found by is gone."""
    student = found.person_id if found.kind == "student" else None
    forms = local.known(session, _person(found)).forms if found.person_id else ()
    holds = {hold.id: hold for hold in holds_on(session, student_id=student)} if student else {}
    for form in forms:
        holds |= {hold.id: hold for hold in holds_on(session, visitor_id=form)}
    return tuple(sorted(holds.values(), key=lambda hold: hold.number))


def _next(run: Run) -> ErasureStep | None:
    """The first step that is due: nothing before it is open, and its time has come or what it waited for is there."""
    there = set(run.session.scalars(text(WOKEN), {"id": run.found.id}))
    for step in run.steps:
        if _open(run, step) and (step.next_at <= run.now or step.id in there):
            return step
    return None


def _open(run: Run, step: ErasureStep) -> bool:
    """Whether a step may be taken: letter and database go around what is held, what comes after them does not."""
    passing = (*SETTLED, "held") if step.what in ("letter", "database") else SETTLED
    before = [each for each in run.steps if each.phase < step.phase]
    return step.state not in SETTLED and all(each.state in passing for each in before)


def _looks_again(run: Run) -> None:
    """Write down when the erasure has something to do next, and for what it waits until then, since the first time."""
    found, still = run.found, [step for step in run.steps if _open(run, step)]
    found.next_at = min((step.next_at for step in still), default=run.now)
    waiting = [step for step in still if step.next_at > run.now]
    if still and len(waiting) == len(still):
        first = min(waiting, key=lambda step: (step.state != "failed", step.phase, step.place))
        same = [step.waits_about or step.place for step in waiting if step.waits_for == first.waits_for]
        _wait(run.session, found, first.waits_for or "error", ", ".join(dict.fromkeys(same)), run.now,
              again=found.next_at - run.now)  # fmt: skip
    run.session.flush()


def _wait(
    session: Session, found: PersonErasure, what: str, about: str, now: datetime, *, again: timedelta = LOOK_AGAIN
) -> None:
    if (found.waits_for, found.waits_about) != (what, about):
        found.waits_for, found.waits_about, found.waits_since = what, about, now
    found.next_at = now + again
    session.flush()


def _end(run: Run) -> dict[str, int]:
    """Everything is proven: forget what found the person, and let the request be what follows."""
    session, found, now = run.session, run.found, run.now
    found.person_id, found.email_hash, found.forms, found.traces = None, None, None, None
    found.waits_for, found.waits_about, found.waits_since = None, "", None
    session.add(ErasureEvidence(erasure_id=found.id, at=now, what="ended"))
    session.flush()
    found.finished_at = now
    session.flush()
    change(session, run.case, to="erased", now=now, outcome="erased", sentence="")
    rows = sum(sum(step.counts.values()) for step in run.steps if step.what == "database")
    append(session, Action.ERASURE_ENDED, now=now, subject_kind="request", subject_id=run.case.request.id,
           steps=len(run.steps), rows=rows)  # fmt: skip
    return {"erased": 1}


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
    select s.id from privacy.erasure_step s where s.erasure_id = :id and s.state = 'waiting' and (
        exists (select from privacy.manual_step m where m.key = s.key and m.state = 'confirmed')
        or exists (select from privacy.outbox o where o.dedupe_key = s.key and o.state in ('sent', 'canceled')))
"""
# A visitor's deletion does not touch the student, so that two deletions of one person never wait for each other.
OTHERS = """
    select o.number from privacy.request r join privacy.request o on o.id <> r.id and o.closed_at is null
    where r.id = :id and (
        r.student_id is not null and (o.student_id = r.student_id or o.visitor_id in (
            select v.id from platform.visitor v join platform.student s on s.email_hash = v.email_hash where s.id = r.student_id))
        or r.visitor_id is not null and (o.kind <> 'delete' or o.number < r.number) and o.visitor_id in (
            select v.id from platform.visitor v join platform.visitor mine on mine.email_hash = v.email_hash
            where mine.id = r.visitor_id))
    order by o.number
"""
