"""A processor that this dashboard cannot reach: a person does it there, attests it with evidence, and a second one confirms.

Danger: asking is taken for proof. Principle: what nobody configured becomes work for people, never a skipped step; it counts as
done when two different persons have said so. Mechanism: one row of ``privacy.manual_step`` for each order; until it is
confirmed the outcome is "waiting" and nothing is proven.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.models.base import uuid7
from core.models.erasure import ManualStep
from core.processors.protocol import Became, Capability, Change, Exported, Line, Order, Outcome, Person, Preview, Proof

DAYS_TO_DO_IT = 14
MANUAL = "manual"


@dataclass(frozen=True)
class Manual:
    """The attested way for the processor ``name``. ``payload``: nothing leaves from here."""

    name: str
    payload: tuple[str, ...] = ()
    capabilities: frozenset[Capability] = frozenset()
    remote: bool = False

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        """Tell that a person has to look there."""
        return Preview((Line(self.name, None),), complete=False, problem=MANUAL)

    def export(self, session: Session, person: Person, *, now: datetime) -> Exported:
        """Tell that a person has to look there."""
        return Exported({}, complete=False, problem=MANUAL)

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        """Ask for the step once; "done" when it is confirmed, "waiting" until then."""
        return self._asked(session, order.person, order.key, "erase", now)

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        """Proven by two persons, or not proven."""
        step = _step(session, order.key)
        return Proof(
            absent=True if step is not None and step.state == "confirmed" else None, error="" if step else "not asked"
        )

    def propagate(self, session: Session, person: Person, change: Change, *, now: datetime) -> Outcome:
        """Ask for the change to be made there."""
        key = change.key or f"{person.request_id or person.id} {self.name} {change.what}"
        return self._asked(session, person, key, "pass on", now)

    def _asked(self, session: Session, person: Person, key: str, what: str, now: datetime) -> Outcome:
        due = now.astimezone(UTC).date() + timedelta(days=DAYS_TO_DO_IT)
        row = {"id": uuid7(), "key": key, "request_id": person.request_id, "processor": self.name, "what": what, "due_on": due,
               "made_at": now, f"{person.kind}_id": person.id}  # fmt: skip
        session.execute(insert(ManualStep).values(row).on_conflict_do_nothing(index_elements=[ManualStep.key]))
        step = _step(session, key)
        assert step is not None
        if step.state == "confirmed":
            return Outcome(Became.DONE, {"confirmed": 1}, reference=str(step.id))
        until = datetime.combine(step.due_on, time.min, UTC)
        return Outcome(Became.WAITING, until=until, error=MANUAL, reference=str(step.id))


def by_hand(
    name: str, session: Session, person: Person, change: Change, *, now: datetime
) -> Outcome:  # fmt: skip
    """Ask a person for a change that a configured processor cannot make by itself."""
    return Manual(name).propagate(session, person, change, now=now)


def _step(session: Session, key: str) -> ManualStep | None:
    return session.scalars(select(ManualStep).where(ManualStep.key == key)).first()
