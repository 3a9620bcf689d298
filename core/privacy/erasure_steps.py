"""The steps of an erasure: do it, look whether it is gone, and write down what was seen.

Danger: a step that was called is taken for a step that worked; a call whose answer was lost is made again blindly, or never
again. Principle: doing and proving are two parts, and only reading back proves; what leaves for another machine is on record
before, and every attempt reads first. Mechanism: :func:`take` does one part of one step in the caller's transaction; whatever it
finds becomes the step's state and a row of evidence. A failure waits longer each time; from the fifth on it is a dead letter with
an owner, and is still tried once an hour.
"""

import secrets
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.erasures import ErasureEvidence, ErasureStep, PersonErasure
from core.models.requests import Outbox
from core.models.ways import fates
from core.policy.keeping import BY_RETENTION
from core.privacy import letters
from core.privacy.acting import Case, subject
from core.privacy.audit import Action, append
from core.privacy.holds import StandingHold, spared_by
from core.privacy.manual_steps import drop_hand, is_confirmed
from core.processors import mail
from core.processors.local import Local
from core.processors.manual import Manual
from core.processors.protocol import Became, Capability, Order, Outcome, Person, Processor, Proof
from core.processors.registry import configured

PHASES = {"ledger": 0, "processor": 1, "letter": 2, "database": 3, "residue": 4, "certificate": 5}
ATTEMPTS = 5
AT_MOST = 5000
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
HELD_AGAIN = timedelta(minutes=15)
BY_HAND_AGAIN, HUMAN_AFTER = timedelta(days=1), timedelta(days=5)
LETTER_AGAIN, LETTER_WAITS = timedelta(minutes=5), timedelta(days=7)
STILL_THERE, UNKNOWN = "still there", "cannot be looked up"


@dataclass
class Run:
    """One erasure in the hands of one part: locked, with its steps in order and the holds as they stand now."""

    session: Session
    case: Case
    found: PersonErasure
    steps: list[ErasureStep]
    holds: tuple[StandingHold, ...]
    now: datetime

    @property
    def person(self) -> Person:
        """Whom it is about, by all that finds their rows."""
        found = self.found
        assert found.person_id is not None
        return Person(found.kind, found.person_id, found.request_id, found.email_hash, tuple(found.forms or ()))


def take(run: Run, step: ErasureStep) -> None:
    """Do one part of one step."""
    if holding := _holding(run, step):
        _hold(run, step, holding)
    elif step.what == "letter":
        _letter(run, step)
    else:
        _place(run, step)
    run.session.flush()


def release(run: Run) -> None:
    """Let the steps go on that are not kept by the same holds any more."""
    for step in run.steps:
        if step.state != "held":
            continue
        keeping = tuple(hold.number for hold in run.holds) if step.what == "database" else _holding(run, step)
        if step.waits_about != ", ".join(keeping):
            step.state, step.next_at, step.waits_for, step.waits_about = "to do", run.now, None, ""
            note(run, step, "again", became="released")
    run.session.flush()


def fail_step(run: Run, step: ErasureStep, *, error: str, counts: Mapping[str, int] | None = None) -> None:
    """Put a step back for a later attempt; from the fifth on it is a dead letter, and somebody's."""
    step.attempts += 1
    step.error, step.waits_for, step.waits_about = error, "error", f"{step.place}: {error}"
    step.next_at = run.now + pause_after(step.attempts)
    note(run, step, "failed", error=error, counts=counts)
    _ask_human(run, step)
    if step.attempts >= ATTEMPTS:
        step.state, step.owner_id = "failed", step.owner_id or _owner(run)
    run.session.flush()
    if step.attempts == ATTEMPTS:
        append(run.session, Action.ERASURE_STUCK, now=run.now, subject_kind="request", subject_id=run.case.request.id,
               place=step.place, code=error)  # fmt: skip


def pause_after(attempts: int) -> timedelta:
    """Twice as long after each attempt, an hour at most; the second half is chance."""
    whole = min(FIRST_PAUSE * (1 << min(attempts - 1, 20)), LONGEST_PAUSE)
    return whole * (500 + secrets.randbelow(501)) / 1000


def _place(run: Run, step: ErasureStep) -> None:
    """A place that keeps data: this database, or a third party."""
    processor = _processor(run, step)
    order = Order(run.person, step.key, spared_by(run.holds), AT_MOST, begun=bool(step.counts))
    if step.state == "erased":
        _seen(run, step, processor.verify(run.session, order, now=run.now))
    elif not processor.remote:
        _became(run, step, processor.erase(run.session, order, now=run.now))
    elif step.state != "called":
        step.state, step.waits_for, step.waits_about = "called", None, ""
        note(run, step, "asked")
    else:
        _call(run, step, processor, order)


def _call(run: Run, step: ErasureStep, processor: Processor, order: Order) -> None:
    """A call whose record is committed. Whether an earlier one came through is read first: then there is nothing to do."""
    before = processor.verify(run.session, order, now=run.now)
    if before.absent and before.again_at is None:
        _became(run, step, Outcome(Became.GONE))
    else:
        _became(run, step, processor.erase(run.session, order, now=run.now))


def _ask_human(run: Run, step: ErasureStep) -> None:
    """After five days of trouble a person is asked to do it there, too; whichever works first ends it."""
    if step.what != "processor":
        return
    first = select(func.min(ErasureEvidence.at)).where(
        ErasureEvidence.step_id == step.id, ErasureEvidence.what.in_(("failed", "waits"))
    )
    since = run.session.scalar(first)
    if since is not None and run.now - since >= HUMAN_AFTER:
        Manual(step.place).erase(run.session, Order(run.person, step.key), now=run.now)


def _processor(run: Run, step: ErasureStep) -> Processor:
    """Who does it. What cannot erase or cannot be looked into is a person's work, and so is what two persons said is done."""
    if step.what == "database":
        return Local()
    if is_confirmed(run.session, step.key):
        return Manual(step.place)
    found = configured(step.place)
    return found if {Capability.ERASE, Capability.VERIFY} <= found.capabilities else Manual(step.place)


def _became(run: Run, step: ErasureStep, outcome: Outcome) -> None:
    step.counts = dict(Counter(step.counts) + Counter(outcome.counts))
    step.reference = outcome.reference or step.reference
    step.next_at = run.now
    if outcome.became is Became.MORE:
        step.state = "to do"
        return
    if outcome.became in (Became.DONE, Became.GONE):
        step.state, step.erased_at, step.waits_for, step.waits_about = "erased", run.now, None, ""
    elif outcome.became is Became.WAITING:
        if step.state != "waiting":
            note(run, step, "waits", became=outcome.became, error=outcome.error, reference=outcome.reference)
        _waits(run, step, outcome)
        return
    elif outcome.became is Became.UNCLEAR:
        fail_step(run, step, error=outcome.error or "unclear")
        return
    else:
        step.state = "to do" if step.state == "called" else step.state
        fail_step(run, step, error=outcome.error or "failed")
        return
    note(run, step, "answered", became=outcome.became, counts=outcome.counts, reference=outcome.reference)


def _waits(run: Run, step: ErasureStep, outcome: Outcome) -> None:
    by_hand = outcome.error == "manual"
    step.state, step.waits_for = "waiting", "by hand" if by_hand else "later"
    if not by_hand:
        _ask_human(run, step)
    step.waits_about = step.place
    step.next_at = run.now + BY_HAND_AGAIN if by_hand else max(outcome.until or run.now, run.now + FIRST_PAUSE)


def _seen(run: Run, step: ErasureStep, proof: Proof) -> None:
    """What reading back has shown. Only this proves."""
    if proof.absent is None:
        fail_step(run, step, error=proof.error or UNKNOWN)
    elif not proof.absent:
        step.state = "to do"
        fail_step(run, step, error=STILL_THERE, counts=proof.found)
    elif proof.again_at is not None and proof.again_at > run.now:
        if step.waits_for != "later":
            note(run, step, "looked", became="gone, to be looked at again")
        step.waits_for, step.waits_about, step.next_at = "later", step.place, proof.again_at
    elif step.what == "database" and run.holds:
        _hold(run, step, tuple(hold.number for hold in run.holds))
    else:
        prove(run, step, counts=proof.found)


def prove(run: Run, step: ErasureStep, *, counts: Mapping[str, int] | None = None) -> None:
    """Settle a step for which it was read back that nothing is left."""
    step.state, step.proven_at, step.erased_at = "proven", run.now, step.erased_at or run.now
    step.error, step.waits_for, step.waits_about, step.owner_id = "", None, "", None
    note(run, step, "looked", became="gone", counts=counts)
    run.session.flush()
    drop_hand(run.session, step.key)
    if step.what not in ("processor", "letter", "database"):
        return
    append(run.session, Action.ERASURE_PROVEN, now=run.now, subject_kind="request", subject_id=run.case.request.id,
           place=step.place, rows=sum(step.counts.values()))  # fmt: skip


def exempt(run: Run, step: ErasureStep, reason: str) -> None:
    """Settle a step that is not needed, and say why."""
    step.state, step.error, step.waits_for, step.waits_about = "exempt", reason, None, ""
    note(run, step, "answered", became="not needed", error=reason)


def _letter(run: Run, step: ErasureStep) -> None:
    """The last letter goes out while there is an address: a week at most, by mail or by hand; then it goes without."""
    session, now = run.session, run.now
    letter = session.scalars(select(Outbox).where(Outbox.dedupe_key == step.key).with_for_update()).first()
    if letter is None and subject(session, run.case.request) is None:
        exempt(run, step, "nobody to write to")
    elif letter is None:
        kind = "subscription completion" if run.case.request.source == BY_RETENTION else "completion"
        letters.queue(session, run.case, kind, now=now, dedupe_key=step.key)
        step.state, step.waits_for, step.waits_about, step.next_at = "waiting", "letter", "", now
        note(run, step, "asked")
    elif letter.state == "sent":
        step.reference = letter.sent_how or ""
        prove(run, step)
    elif letter.state == "canceled":
        exempt(run, step, "canceled by an officer")
    elif letter.address is None or now >= letter.written_at + LETTER_WAITS:
        letter.state, letter.address = "canceled", None
        exempt(run, step, "could not be sent")
    else:
        step.state, step.waits_for = "waiting", "letter"
        step.next_at = now + (LETTER_AGAIN if mail.configured() else BY_HAND_AGAIN)


def _holding(run: Run, step: ErasureStep) -> tuple[str, ...]:
    """The holds that keep a step from being taken at all: on everything, or on what a third party received.

    A hold on a part of this database is gone around; the last letter waits, because not everything goes.
    """
    if not run.holds or step.what not in ("processor", "letter", "database"):
        return ()
    received = {fate.table for fate in fates(run.found.kind) if step.place in fate.processors}
    return tuple(
        hold.number
        for hold in run.holds
        if hold.table is None or step.what == "letter" or (step.what == "processor" and hold.table in received)
    )


def _hold(run: Run, step: ErasureStep, numbers: tuple[str, ...]) -> None:
    about = ", ".join(numbers)
    if (step.state, step.waits_about) != ("held", about):
        note(run, step, "waits", became="held", reference=about)
    step.state, step.waits_for, step.waits_about = "held", "hold", about
    step.next_at = run.now + HELD_AGAIN


def _owner(run: Run) -> uuid.UUID | None:
    """Whose dead letter it is: the request's owner, else whoever approved it, else an officer."""
    asked = text("""
        select m.id from staff.staff_member m left join privacy.approval a on a.staff_id = m.id and a.request_id = :id
        where m.role = 'privacy_officer' and m.disabled_at is null
        order by m.id = (select r.owner_id from privacy.request r where r.id = :id) desc nulls last, a.approved_at desc nulls last, m.id
        limit 1""")
    found: uuid.UUID | None = run.session.scalar(asked, {"id": run.case.request.id})
    return found


def note(
    run: Run, step: ErasureStep, what: str, *, became: str = "", error: str = "", reference: str = "",
    counts: Mapping[str, int] | None = None,
) -> None:  # fmt: skip
    """Add to the evidence what was done with a step, or seen of it."""
    run.session.add(
        ErasureEvidence(erasure_id=run.found.id, step_id=step.id, at=run.now, what=what, became=str(became), error=error,
                        reference=reference, counts=dict(counts or {}))
    )  # fmt: skip
