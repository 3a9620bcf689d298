"""The plan of an erasure: what goes, what is blanked, what stays, why and until when, in this database and at each processor.

Danger: somebody approves one thing and another is done. Principle: what is approved is a document made from the labels, the
policy, the processors and the holds, and nothing that moves by itself, like numbers of rows; its fingerprint is computed anew
before every step, and a different one goes back to approval. Mechanism: :func:`plan_for` reads no list of tables; a column
without a label is a problem in the plan, and a plan with a problem cannot be approved (:func:`demand_whole`).
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound, Refused
from core.models.base import Base
from core.models.data_map import unmapped
from core.models.labels import Erasure, TableLabel
from core.models.retention import MOVED_TO
from core.models.ways import PERSONS, Fate, ancestors, fates, problems
from core.policy import Parameters, listed_processors, pinned
from core.privacy.holds import StandingHold, holds_on
from core.processors import concerned, local
from core.processors.protocol import Capability, Person, Processor

BY_HAND, AUTOMATIC = "by hand", "by itself"
HELD = "hold"


@dataclass(frozen=True)
class PlanRow:
    """What happens in one place. ``table`` "" is a whole processor. ``rows`` None: not known; never part of the fingerprint.

    ``action`` of a table is a word of core.models.labels.Erasure or "hold"; of a processor it is "by itself", "by hand" or
    "hold". ``columns`` are emptied where rows stay; of a processor they are the fields that leave for it. ``held`` names the
    holds that keep some or all of it (H-7); ``below``: only as long as something that points to it is held.
    """

    place: str
    table: str
    action: str
    columns: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    processors: tuple[str, ...] = ()
    reason: str = ""
    until: str = ""
    held: tuple[str, ...] = ()
    below: bool = False
    rows: int | None = None

    @property
    def title(self) -> str:
        """The table, or the processor, in words."""
        return self.table.partition(".")[2].replace("_", " ") if self.table else self.place


@dataclass(frozen=True)
class Remains:
    """What an erasure cannot reach or may not, why, and until when."""

    what: str
    why: str
    until: str


@dataclass(frozen=True)
class Plan:
    """A plan. ``document`` is what is stored, shown and approved: plain data without a person and without counts."""

    kind: str
    policy_version: str
    early: bool
    rows: tuple[PlanRow, ...]
    remains: tuple[Remains, ...]
    holds: tuple[StandingHold, ...]
    problems: tuple[str, ...]

    @cached_property
    def document(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "person": self.kind,
            "policy": self.policy_version,
            "early": self.early,
            "rows": [_stable(row) for row in self.rows if row.table],
            "processors": [_stable(row) for row in self.rows if not row.table],
            "remains": [asdict(each) for each in self.remains],
            "holds": [
                {"number": each.number, "table": each.table, "record": str(each.record or "")} for each in self.holds
            ],
            "problems": list(self.problems),
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON of the document, in hex."""
        return hashlib.sha256(canonical(self.document)).hexdigest()

    @property
    def short(self) -> str:
        """The fingerprint as people compare it: ``7f3a·c21e``."""
        return shortened(self.fingerprint)

    @property
    def held_whole(self) -> bool:
        """True when a hold keeps everything about the person."""
        return any(hold.table is None for hold in self.holds)


def plan_for(
    session: Session,
    *,
    student_id: uuid.UUID | None = None,
    visitor_id: uuid.UUID | None = None,
    now: datetime,
    early: bool = False,
    policy_version: str | None = None,
    with_counts: bool = True,
) -> Plan:
    """Return the plan of erasing one person, as it would be made now, for the worker or a privacy officer with an open case.

    ``policy_version`` is the one that the request was filed under; without it, the one in force. Raises BadInput unless
    exactly one person is named; NotFound when there is no such person, or none that whoever asks may know (without counts
    nobody looks: the plan is the same for everybody).
    """
    if (student_id is None) == (visitor_id is None):
        raise BadInput("A plan is for one student or one visitor.")
    person = Person("student", student_id) if student_id else Person("visitor", visitor_id or uuid.UUID(int=0))
    fate_of = fates(person.kind)
    counted = local.counts(session, person) if with_counts else {}
    if with_counts and not counted.get(fate_of[-1].table):
        raise NotFound("There is no such person, or their record is not open to you.")
    rules = pinned(session, policy_version, now)
    holds = holds_on(session, student_id=student_id, visitor_id=visitor_id)
    return plan_under(session, kind=person.kind, rules=rules, holds=holds, early=early, counted=counted)


def plan_under(
    session: Session,
    *,
    kind: str,
    rules: Parameters,
    holds: tuple[StandingHold, ...],
    early: bool,
    counted: Mapping[str, int | None] | None = None,
) -> Plan:
    """Return the plan for any "student" or "visitor" under these holds: without counts nothing in it is of one person."""
    fate_of = fates(kind)
    rows = [_local_row(fate, holds, (counted or {}).get(fate.table)) for fate in fate_of]
    rows += [
        _remote_row(each, fate_of, holds)
        for each in concerned(kind, listed_processors(session, rules.version))
        if each.name != local.NAME
    ]
    found = (*problems(), *(f"{column} is not in the data map" for column in unmapped(session)))
    return Plan(kind, rules.version, early, tuple(rows), tuple(_remains(rules)), holds, found)


def demand_whole(plan: Plan) -> None:
    """Raise Refused when the labels do not say for everything what becomes of it: then nobody knows what they approve."""
    if plan.problems:
        raise Refused(
            f"The data map is not complete ({plan.problems[0]}), so nobody can say what an erasure does. An admin has to mend it.",
            problems=plan.problems,
        )


def canonical(document: dict[str, Any]) -> bytes:
    """Return plain data as the bytes that are hashed."""
    return json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


def shortened(fingerprint: str) -> str:
    """Return a fingerprint as people compare it: ``7f3a·c21e``."""
    return f"{fingerprint[:4]}·{fingerprint[4:8]}"


def _stable(row: PlanRow) -> dict[str, Any]:
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(row).items()}
    del told["rows"]
    return told


def _local_row(fate: Fate, holds: tuple[StandingHold, ...], rows: int | None) -> PlanRow:
    kept = {hold.number: _keeps(hold, fate) for hold in holds}
    how = set(kept.values())
    return PlanRow(
        place=local.NAME,
        table=fate.table,
        action=HELD if "all" in how else str(fate.action),
        columns=fate.blanked,
        categories=fate.categories,
        processors=fate.processors,
        reason=fate.reason,
        until=fate.until,
        held=tuple(number for number, keeps in kept.items() if keeps),
        below="below" in how and not how & {"all", "some"},
        rows=rows,
    )


def _keeps(hold: StandingHold, fate: Fate) -> str:
    """What a hold keeps of a table: "all" or "some" of its rows, those "below" which something is held, or nothing."""
    if hold.table is None:
        return "all"
    if fate.table in (hold.table, MOVED_TO.get(hold.table)):
        return "some" if hold.record else "all"
    if fate.table == "privacy.legal_hold":
        return "some"  # its own row stays, and leads to the person
    below = ancestors(hold.table) | {PERSONS[hold.kind]}
    return "below" if fate.action is Erasure.ROW and fate.table in below else ""


def _remote_row(processor: Processor, fate_of: tuple[Fate, ...], holds: tuple[StandingHold, ...]) -> PlanRow:
    """A processor keeps the copies of what a hold or the law keeps here, for as long; the rest of its part goes, or waits with them."""
    receives = [fate for fate in fate_of if processor.name in fate.processors]
    tables = {fate.table for fate in receives}
    held = tuple(sorted({hold.number for hold in holds if hold.table is None or hold.table in tables}))
    able = Capability.ERASE in processor.capabilities
    kept = [fate for fate in receives if fate.action is Erasure.KEEP and fate.table.startswith("platform.")]
    return PlanRow(
        place=processor.name,
        table="",
        action=HELD if held else AUTOMATIC if able else BY_HAND,
        columns=tuple(sorted(processor.payload)),
        categories=tuple(sorted({category for fate in receives for category in fate.categories})),
        reason=", ".join(dict.fromkeys(fate.reason for fate in kept)),
        until=", ".join(dict.fromkeys(fate.until for fate in kept)),
        held=held,
    )


def _remains(rules: Parameters) -> Iterator[Remains]:
    audit: TableLabel = Base.metadata.tables["privacy.audit_event"].info["privacy"]
    yield Remains("copies in backups", "they are not changed singly, and not used but for a restore, after which the erasure is repeated",
                  f"at most {rules.backup_days} days after the erasure")  # fmt: skip
    yield Remains("mail that was sent", "it lies with its recipients and cannot be recalled", "the recipients decide")
    yield Remains("a keyed hash of the e-mail address", "so that old records of the person do not come back (suppression list)",
                  f"{rules.suppression_years} years after the erasure")  # fmt: skip
    yield Remains("lines of the audit", f"{audit.reason}; opaque ids, no name", audit.until)
    yield Remains(
        "a line in the erasure ledger and the certificate", "proof of the erasure, without a name", audit.until
    )
