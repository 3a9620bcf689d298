"""The steps of an erasure: do it, look whether it is gone, and write down what was seen.

Danger: a step that was called is taken for a step that worked; a call whose answer was lost is made again blindly, or never
again. Principle: doing and proving are two parts, and only reading back proves; what leaves for another machine is on record
before, and every attempt reads first. Mechanism: :func:`take` does one part of the same step of one or many erasures in the caller's
transaction; whatever it finds becomes the step's state and a row of evidence. A failure waits longer each time; from the fifth on it is a dead letter with
an owner, and is still tried once an hour.
"""

import secrets
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.models.base import among, insert_many, uuid7
from core.models.erasures import ErasureEvidence
from core.models.requests import Outbox
from core.models.ways import fates
from core.policy.keeping import BY_RETENTION
from core.privacy import letters
from core.privacy.acting import Case
from core.privacy.audit import Action, Line, append_together
from core.privacy.erasure_rows import Found, Rows, Step
from core.privacy.holds import StandingHold, spared_by
from core.privacy.manual_steps import drop_hand, is_confirmed
from core.privacy.outbox import BY_AN_OFFICER
from core.processors import mail
from core.processors.local import Local
from core.processors.manual import Manual
from core.processors.protocol import Became, Capability, Order, Outcome, Person, Processor, Proof
from core.processors.registry import configured

PHASES = {"ledger": 0, "processor": 1, "letter": 2, "database": 3, "residue": 4, "certificate": 5}
ATTEMPTS = 5
AT_MOST, AT_MOST_TOGETHER = 5000, 20_000
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
HELD_AGAIN = timedelta(minutes=15)
BY_HAND_AGAIN, HUMAN_AFTER = timedelta(days=1), timedelta(days=5)
LETTER_AGAIN, LETTER_WAITS = timedelta(minutes=5), timedelta(days=7)
STILL_THERE, UNKNOWN = "still there", "cannot be looked up"


@dataclass
class Batch:
    """Erasures that are taken one part further in one transaction. What they have to tell is written for all at the end of it."""

    session: Session
    now: datetime
    lines: list[Line] = field(default_factory=list)
    hands: list[str] = field(default_factory=list)
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = Rows(self.session)

    def saw(
        self, erasure_id: uuid.UUID, what: str, *, step_id: uuid.UUID | None = None, became: str = "", error: str = "", reference: str = "",
        counts: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        """Add to the evidence of an erasure."""
        self.seen.append({"id": uuid7(), "erasure_id": erasure_id, "step_id": step_id, "at": self.now, "what": what, "became": became,
                          "error": error, "reference": reference, "counts": dict(counts or {})})  # fmt: skip

    def write(self) -> None:
        """Write what changed, and the evidence of it: all of a kind by one statement."""
        self.session.flush()
        self.rows.write()
        insert_many(self.session, ErasureEvidence, self.seen)
        self.seen = []

    def saved(self) -> tuple[Any, ...]:
        """Return what :meth:`restore` takes, when everything is written."""
        return self.rows.saved(), list(self.lines), list(self.hands)

    def restore(self, before: tuple[Any, ...]) -> None:
        """Be as before what the database has taken back."""
        rows, self.lines, self.hands = before
        self.rows.restore(rows)
        self.seen = []

    def tell(self, action: Action, case: Case, **details: str | int) -> None:
        """Add a line about a request to the audit."""
        self.lines.append(Line(action, "request", case.request.id, details))

    def close(self) -> None:
        """Write everything, the audit last."""
        self.write()
        if self.hands:
            drop_hand(self.session, *self.hands)
        append_together(self.session, self.lines, now=self.now)
        self.lines, self.hands = [], []


@dataclass
class Run:
    """One erasure in the hands of one part: locked, with its steps in order and the holds as they stand now."""

    batch: Batch
    case: Case
    found: Found
    steps: list[Step]
    holds: tuple[StandingHold, ...]

    @property
    def session(self) -> Session:
        """The session of the batch."""
        return self.batch.session

    @property
    def now(self) -> datetime:
        """The instant of the batch."""
        return self.batch.now

    @property
    def person(self) -> Person:
        """Whom it is about, by all that finds their rows."""
        found = self.found
        assert found.person_id is not None
        return Person(found.kind, found.person_id, found.request_id, found.email_hash, tuple(found.forms or ()))


Taken = Sequence[tuple[Run, Step]]


def take(taken: Taken) -> None:
    """Do one part of a step of the same kind of each erasure."""
    free = []
    for run, step in taken:
        if holding := _holding(run, step):
            _hold(run, step, holding)
        else:
            free.append((run, step))
    what = taken[0][1].what
    if free and what == "letter":
        _letters(free)
    elif free and what == "database":
        _databases(free)
    else:
        for run, step in free:
            _place(run, step)


def alone(run: Run, step: Step) -> bool:
    """Whether the next part of a step may leave for another machine: then nobody else's work shares its transaction."""
    leaves = step.what == "processor" and step.state in ("called", "erased") and not _holding(run, step)
    return leaves and _processor(run, step).remote


def release(run: Run) -> None:
    """Let the steps go on that are not kept by the same holds any more."""
    for step in run.steps:
        if step.state != "held":
            continue
        keeping = tuple(hold.number for hold in run.holds) if step.what == "database" else _holding(run, step)
        if step.waits_about != ", ".join(keeping):
            step.state, step.next_at, step.waits_for, step.waits_about = "to do", run.now, None, ""
            note(run, step, "again", became="released")


def fail_step(run: Run, step: Step, *, error: str, counts: Mapping[str, int] | None = None) -> None:
    """Put a step back for a later attempt; from the fifth on it is a dead letter, and somebody's."""
    step.attempts += 1
    step.error, step.waits_for, step.waits_about = error, "error", f"{step.place}: {error}"
    step.next_at = run.now + pause_after(step.attempts)
    note(run, step, "failed", error=error, counts=counts)
    _ask_human(run, step)
    if step.attempts >= ATTEMPTS:
        step.state, step.owner_id = "failed", step.owner_id or _owner(run)
    if step.attempts == ATTEMPTS:
        run.batch.tell(Action.ERASURE_STUCK, run.case, place=step.place, code=error)


def pause_after(attempts: int) -> timedelta:
    """Twice as long after each attempt, an hour at most; the second half is chance."""
    whole = min(FIRST_PAUSE * (1 << min(attempts - 1, 20)), LONGEST_PAUSE)
    return whole * (500 + secrets.randbelow(501)) / 1000


def _databases(taken: Taken) -> None:
    """This database, each table once for all of them: those whose rows went are read back, of the others rows go."""
    session, now = taken[0][0].session, taken[0][0].now
    erased = [(run, step) for run, step in taken if step.state == "erased"]
    others = [(run, step) for run, step in taken if step.state != "erased"]
    if erased:
        proofs = Local().verify_together(session, [_order(run, step) for run, step in erased], now=now)
        for (run, step), proof in zip(erased, proofs, strict=True):
            _seen(run, step, proof)
    if others:
        most = AT_MOST if len(others) == 1 else AT_MOST_TOGETHER
        outcomes = Local().erase_together(session, [_order(run, step) for run, step in others], at_most=most, now=now)
        for (run, step), outcome in zip(others, outcomes, strict=True):
            _became(run, step, outcome)


def _order(run: Run, step: Step) -> Order:
    return Order(run.person, step.key, spared_by(run.holds), AT_MOST, begun=bool(step.counts))


def _place(run: Run, step: Step) -> None:
    """A place at a third party, or its work by hand."""
    processor, order = _processor(run, step), _order(run, step)
    if step.state == "erased":
        _seen(run, step, processor.verify(run.session, order, now=run.now))
    elif not processor.remote:
        _became(run, step, processor.erase(run.session, order, now=run.now))
    elif step.state != "called":
        step.state, step.waits_for, step.waits_about = "called", None, ""
        note(run, step, "asked")
    else:
        _call(run, step, processor, order)


def _call(run: Run, step: Step, processor: Processor, order: Order) -> None:
    """A call whose record is committed. Whether an earlier one came through is read first: then there is nothing to do."""
    before = processor.verify(run.session, order, now=run.now)
    if before.absent and before.again_at is None:
        _became(run, step, Outcome(Became.GONE))
    else:
        _became(run, step, processor.erase(run.session, order, now=run.now))


def _ask_human(run: Run, step: Step) -> None:
    """After five days of trouble a person is asked to do it there, too; whichever works first ends it."""
    if step.what != "processor":
        return
    first = select(func.min(ErasureEvidence.at)).where(
        ErasureEvidence.step_id == step.id, ErasureEvidence.what.in_(("failed", "waits"))
    )
    since = run.session.scalar(first)
    if since is not None and run.now - since >= HUMAN_AFTER:
        Manual(step.place).erase(run.session, Order(run.person, step.key), now=run.now)


def _processor(run: Run, step: Step) -> Processor:
    """Who does it. What cannot erase or cannot be looked into is a person's work, and so is what two persons said is done."""
    if is_confirmed(run.session, step.key):
        return Manual(step.place)
    found = configured(step.place)
    return found if {Capability.ERASE, Capability.VERIFY} <= found.capabilities else Manual(step.place)


def _became(run: Run, step: Step, outcome: Outcome) -> None:
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


def _waits(run: Run, step: Step, outcome: Outcome) -> None:
    by_hand = outcome.error == "manual"
    step.state, step.waits_for = "waiting", "by hand" if by_hand else "later"
    if not by_hand:
        _ask_human(run, step)
    step.waits_about = step.place
    step.next_at = run.now + BY_HAND_AGAIN if by_hand else max(outcome.until or run.now, run.now + FIRST_PAUSE)


def _seen(run: Run, step: Step, proof: Proof) -> None:
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


def prove(run: Run, step: Step, *, counts: Mapping[str, int] | None = None) -> None:
    """Settle a step for which it was read back that nothing is left."""
    step.state, step.proven_at, step.erased_at = "proven", run.now, step.erased_at or run.now
    step.error, step.waits_for, step.waits_about, step.owner_id = "", None, "", None
    note(run, step, "looked", became="gone", counts=counts)
    run.batch.hands.append(step.key)
    if step.what in ("processor", "letter", "database"):
        run.batch.tell(Action.ERASURE_PROVEN, run.case, place=step.place, rows=sum(step.counts.values()))


def exempt(run: Run, step: Step, reason: str) -> None:
    """Settle a step that is not needed, and say why."""
    step.state, step.error, step.waits_for, step.waits_about = "exempt", reason, None, ""
    note(run, step, "answered", became="not needed", error=reason)


def _letters(taken: Taken) -> None:
    """The last letter goes out while there is an address: a week at most, by mail or by hand; then it goes without."""
    session, now = taken[0][0].session, taken[0][0].now
    mine = select(Outbox).where(among(Outbox.dedupe_key, [step.key for _, step in taken])).order_by(Outbox.id)
    there = {letter.dedupe_key: letter for letter in session.scalars(mine.with_for_update())}
    new: dict[str, list[tuple[Run, Step]]] = {}
    for run, step in taken:
        if letter := there.get(step.key):
            _follow(run, step, letter)
        else:
            kind = "subscription completion" if run.case.request.source == BY_RETENTION else "completion"
            new.setdefault(kind, []).append((run, step))
    for kind, asked in new.items():
        nobody = letters.queue_together(session, [(run.case, step.key) for run, step in asked], kind, now=now)
        for run, step in asked:
            if run.case.request.id in nobody:
                exempt(run, step, "nobody to write to")
            else:
                step.state, step.waits_for, step.waits_about = "waiting", "letter", ""
                step.next_at = now + _letter_again()
                note(run, step, "asked")


def _follow(run: Run, step: Step, letter: Outbox) -> None:
    """What became of a last letter that was written."""
    if letter.state == "sent":
        step.reference = letter.sent_how or ""
        prove(run, step)
    elif letter.state == "canceled":
        exempt(run, step, letter.error or BY_AN_OFFICER)
    elif letter.address is None or run.now >= letter.written_at + LETTER_WAITS:
        letter.state, letter.address = "canceled", None
        exempt(run, step, "could not be sent")
    else:
        step.state, step.waits_for = "waiting", "letter"
        step.next_at = run.now + _letter_again()


def _letter_again() -> timedelta:
    """When to look again for a letter; what became of it wakes its step before."""
    return LETTER_AGAIN if mail.configured() else BY_HAND_AGAIN


def _holding(run: Run, step: Step) -> tuple[str, ...]:
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


def _hold(run: Run, step: Step, numbers: tuple[str, ...]) -> None:
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
    run: Run, step: Step, what: str, *, became: str = "", error: str = "", reference: str = "",
    counts: Mapping[str, int] | None = None,
) -> None:  # fmt: skip
    """Add to the evidence what was done with a step, or seen of it."""
    run.batch.saw(
        run.found.id, what, step_id=step.id, became=str(became), error=error, reference=reference, counts=counts
    )
