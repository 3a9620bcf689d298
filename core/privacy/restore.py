"""After a restore: what the erasure ledger knows and this database does not, and how the database learns it again.

Danger: a backup brings back who was erased since, goes on with deletions that were canceled since, and nobody notices. Principle: a
database that lacks what was written outside of it is behind, whatever the reason; a dashboard with such a database stays closed,
and its workers rest, until ``python -m core restore-check`` has replayed the ledger. Mechanism: :func:`compare` asks one question of
the database (``privacy.compared``) with the ids of the ledger and the size of the newest signed checkpoint of this machine;
:func:`replay` erases again who came back, puts the suppression list back, cancels again, sends approved deletions back to people,
and signs for the lines of the audit that are lost.

Whoever loses database, ledger and checkpoints at once proves nothing: keep them apart (docs/runbook.md).
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from core.errors import AdminError
from core.models.platform import Student, Visitor
from core.models.requests import Request
from core.privacy import audit, ledger, suppression
from core.privacy.acting import change, demand_move, of_system
from core.privacy.audit import Action, append
from core.privacy.deletion import reactivate
from core.privacy.holds import holds_on, spared_by
from core.privacy.ledger import Entry
from core.processors.local import Local
from core.processors.protocol import Became, Order, Person

BASIS = "legitimate interest: what was erased stays erased"
KEPT_DAYS, NOBODY = 365, b"nobody"


class Behind(AdminError):
    """The database is behind the erasure ledger: nothing is shown and nothing done until the ledger was replayed."""


@dataclass(frozen=True)
class Comparison:
    """What differs between ledger and database. ``came_back``: erasures that the database does not know; ``uncanceled``: deletions
    that it would go on with; ``lost_lines`` of the audit; ``unwritten``: erasures that the ledger should have, and has not."""

    came_back: tuple[Entry, ...] = ()
    uncanceled: tuple[uuid.UUID, ...] = ()
    lost_lines: int = 0
    unwritten: tuple[uuid.UUID, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_behind(self) -> bool:
        """True while the dashboard has to stay closed."""
        return bool(self.came_back or self.uncanceled or self.lost_lines or self.unwritten or self.problems)

    @property
    def lines(self) -> list[str]:
        """What differs, in words."""
        told = [f"{len(self.came_back)} erasures are in the ledger and not in the database."] if self.came_back else []
        told += (
            [f"{len(self.uncanceled)} deletions were canceled, and the database would go on with them."]
            if self.uncanceled
            else []
        )
        told += [f"{self.lost_lines:,} signed lines of the audit are not in the database."] if self.lost_lines else []
        told += [f"{len(self.unwritten)} erasures of the database are not in the ledger."] if self.unwritten else []
        return told + list(self.problems)


@dataclass(frozen=True)
class Replayed:
    """What a replay did. ``erased`` counts people who had come back; ``rows`` by table; ``open`` are erasures that had begun and were
    not proven: somebody looks at the processors by hand."""

    known: int = 0
    erased: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    canceled: int = 0
    sent_back: int = 0
    lost_lines: int = 0
    open: tuple[uuid.UUID, ...] = ()


def compare(session: Session, *, now: datetime) -> Comparison:
    """Compare ledger and checkpoints of this machine with the database; as any role, names nobody."""
    known = ledger.read()
    standing = known.standing(now)
    asked = {"erasures": list(known.begun), "canceled": list(known.canceled)}
    found = session.execute(
        text("select * from privacy.compared(cast(:erasures as uuid[]), cast(:canceled as uuid[]))"), asked
    ).one()
    came_back = tuple(standing[each] for each in found.unknown if each in standing)
    lost = max(0, audit.signed_lines() - found.lines)
    return Comparison(came_back, tuple(found.uncanceled), lost, tuple(found.unwritten), known.problems)


def replay(session: Session, *, now: datetime) -> Replayed:
    """Teach a restored database what happened since its backup, as the worker, in one transaction. Again: nothing.

    Raises AdminError when the ledger cannot be trusted or lacks something, or the audit was changed: then a person decides.
    """
    found = compare(session, now=now)
    if found.problems or found.unwritten:
        raise AdminError(
            "The erasure ledger is not whole: " + " ".join(Comparison(unwritten=found.unwritten, problems=found.problems).lines)
            + " Put it back where it was (RESOCODE_LEDGER), from its newest copy; see docs/runbook.md."
        )  # fmt: skip
    if not found.is_behind:
        return Replayed()
    done = Replayed(lost_lines=found.lost_lines, known=len(found.came_back))
    audit.accept_restore(session, now=now)
    proven = ledger.read().erased
    for entry in found.came_back:
        rows = _erase_again(session, entry, now)
        total = {table: done.rows.get(table, 0) + many for table, many in rows.items()}
        done = replace(done, erased=done.erased + bool(rows), rows=done.rows | total,
                       open=done.open if entry.about in proven else (*done.open, entry.about))  # fmt: skip
    canceled = sum(_cancel_again(session, each, now) for each in found.uncanceled)
    done = replace(done, canceled=canceled, sent_back=_send_back(session, now))
    append(session, Action.LEDGER_REPLAYED, now=now, erasures=done.known, erased=done.erased, canceled=done.canceled,
           sent_back=done.sent_back)  # fmt: skip
    return done


def rebuild(session: Session, *, now: datetime) -> int:
    """Write erasures that this database knows and the ledger does not into the ledger again; return how many.

    For a ledger that is lost for good. What only the lost ledger knew is not in it: somebody compares with the certificates.
    """
    unwritten = compare(session, now=now).unwritten
    for erasure_id in unwritten:
        ledger.begin_again(erasure_id=erasure_id, hashes=suppression.kept_hashes(session, erasure_id), now=now)
    return len(unwritten)


def unwritten_cancellations(session: Session, now: datetime) -> Sequence[str]:
    """Return the deletions that were canceled of late and that the ledger does not know to be."""
    known = ledger.read().canceled
    of_late = text(
        """select id from privacy.request where kind = 'delete' and state = 'reactivated' and closed_at > cast(:now as timestamptz) - make_interval(days => :days)"""
    )
    rows = session.scalars(of_late, {"now": now, "days": KEPT_DAYS})
    return [str(each) for each in rows if each not in known]


def _erase_again(session: Session, entry: Entry, now: datetime) -> dict[str, int]:
    """Erase whoever came back under this entry, and keep their old records out again. Nobody there: nothing to do."""
    hashes = [bytes.fromhex(each) for each in entry.hashes]
    rows: dict[str, int] = {}
    for person in _came_back(session, entry, hashes):
        outcome, order = Became.MORE, _order(session, entry, person)
        while outcome is Became.MORE:
            did = Local().erase(session, order, now=now)
            outcome = did.became
            for table, many in did.counts.items():
                rows[table] = rows.get(table, 0) + many
        proof = Local().verify(session, order, now=now)
        if outcome not in (Became.DONE, Became.GONE) or not proof.absent:
            raise AdminError(f"The erasure {entry.about} could not be repeated ({outcome}). Nothing was changed.")
    listed = [(kind, each) for kind in (suppression.MAIL, suppression.PROVIDER) for each in hashes]
    until = entry.until or now
    suppression.suppress(session, erasure_id=entry.about, hashes=listed, basis=BASIS, until=until, now=entry.at)
    return rows


def _order(session: Session, entry: Entry, person: Person) -> Order:
    """What a hold keeps of a part stays; one on everything was released before the erasure began."""
    holds = holds_on(session, **{f"{person.kind}_id": person.id})
    return Order(person, f"{entry.about} again", spared_by(tuple(each for each in holds if each.table is not None)))


def _came_back(session: Session, entry: Entry, hashes: list[bytes]) -> list[Person]:
    """The records of this person that are older than the erasure: by id, and by whatever of them is hashed.

    Each stands for itself (``NOBODY`` is no one's hash): a form that was left later with the same address is somebody new's.
    """
    found = []
    for kind, table, dated in (("student", Student, Student.registered_at), ("visitor", Visitor, Visitor.asked_at)):
        ids = {*([entry.person_id] if entry.person == kind else []), *(entry.forms if kind == "visitor" else ())}
        mine = table.id.in_(ids) | (table.email_hash.in_(hashes) & (dated <= entry.at))
        found += [
            Person(kind, each, email_hash=NOBODY)
            for each in session.scalars(select(table.id).where(mine).order_by(table.id))
        ]
    return found


def _cancel_again(session: Session, request_id: uuid.UUID, now: datetime) -> int:
    case = of_system(session, verb="cancel again", request_id=request_id)
    demand_move(session, case, "reactivated", now)
    reactivate(session, case, now=now, reason="canceled before the restore")
    return 1


def _send_back(session: Session, now: datetime) -> int:
    """Approvals of a backup may have been taken back since: all of them are given anew."""
    approved = select(Request.id).where(Request.kind == "delete", Request.state == "waiting").order_by(Request.id)
    waiting = session.scalars(approved).all()
    for each in waiting:
        _to_approval(session, each, now)
    return len(waiting)


def _to_approval(session: Session, request_id: uuid.UUID, now: datetime) -> None:
    case = of_system(session, verb="send back", request_id=request_id)
    change(session, case, to="to approve", now=now, sentence="")
    append(
        session,
        Action.APPROVAL_TAKEN_BACK,
        now=now,
        subject_kind="request",
        subject_id=request_id,
        reason="database restored",
    )


def behind(engine: Engine, *, now: datetime) -> Comparison:
    """Compare in a transaction of its own, for whoever guards a door."""
    with Session(engine) as session:
        return compare(session, now=now)
