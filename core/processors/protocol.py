"""One protocol for every place that keeps data about people: this database, each third party of clause 5, a person with a checklist.

Danger: a step that was called is taken for a step that worked. Principle: what goes in and what comes out is written down in
frozen values; doing and proving are two calls; an answer that is not clear is "unclear", never "done". Mechanism: a processor
is anything with these six functions; what it cannot do it says in ``capabilities``, and the caller turns that into manual
work (core.processors.manual), not into silence. ``payload`` names every field that ever leaves for it: a request with
another field is a defect, and the promise "the minimum" is checked against it.

Nothing here commits. A processor that calls another machine is called between two transactions of the caller: what it is
about to do is on record before, what came of it after.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from sqlalchemy.orm import Session


class Capability(StrEnum):
    """What a processor can do by itself. Without it, a person does it and another one confirms it."""

    PREVIEW = "preview"
    EXPORT = "export"
    ERASE = "erase"
    VERIFY = "verify"
    PROPAGATE = "propagate"


class Became(StrEnum):
    """What came of a call. "gone" is success: there was nothing (any more). "unclear": look before doing it again."""

    DONE = "done"
    GONE = "gone"
    MORE = "more"
    WAITING = "waiting"
    UNCLEAR = "unclear"
    FAILED = "failed"


@dataclass(frozen=True)
class Person:
    """About whom: a "student" or "visitor" of this database, and the request for which it is done, if there is one.

    ``email_hash`` and ``forms`` (visitor records left with the same address) are what finds the rest once the person's own
    row is gone: see core.processors.local.known.
    """

    kind: str
    id: uuid.UUID
    request_id: uuid.UUID | None = None
    email_hash: bytes | None = None
    forms: tuple[uuid.UUID, ...] = ()


@dataclass(frozen=True)
class Spared:
    """What a legal hold keeps: everything (no ``table``), all rows of a table, or one record of it."""

    table: str | None = None
    record: uuid.UUID | None = None


@dataclass(frozen=True)
class Order:
    """What an erasure asks for. ``at_most`` rows in one call; ``spared`` stays, and with it what it points to.

    ``key`` is the same in every attempt: a processor that knows idempotency keys gets it. ``begun``: a part of it was done
    before, after whatever has to be looked at first.
    """

    person: Person
    key: str
    spared: tuple[Spared, ...] = ()
    at_most: int = 5000
    begun: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a preview. ``rows`` None: not known."""

    what: str
    rows: int | None


@dataclass(frozen=True)
class Preview:
    """What a processor holds about a person. ``complete`` is False when it could not tell everything; ``problem`` is a code."""

    lines: tuple[Line, ...]
    complete: bool = True
    problem: str = ""


@dataclass(frozen=True)
class Exported:
    """A person's data, by what it is called in an export: rows of label and value. Empty and not complete: it did not answer."""

    records: Mapping[str, tuple[Mapping[str, object], ...]]
    complete: bool = True
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of an erasure or a propagation. ``counts`` is evidence without a person: what, and how many.

    ``until`` says when to look again (WAITING); ``error`` is a code; ``reference`` is the processor's own id of the operation.
    """

    became: Became
    counts: Mapping[str, int] = field(default_factory=dict)
    until: datetime | None = None
    error: str = ""
    reference: str = ""


@dataclass(frozen=True)
class Proof:
    """What was found when looking for what should be gone. ``found`` counts what is still there and should not be.

    ``absent`` None: it could not be looked up, so that nothing is proven. ``again_at``: when to look once more, where copies
    live on for a while.
    """

    absent: bool | None
    found: Mapping[str, int] = field(default_factory=dict)
    again_at: datetime | None = None
    error: str = ""


@dataclass(frozen=True)
class Change:
    """Something to pass on, such as "sign-in off"; ``fields`` are part of the processor's declared payload, as they are now.

    ``key`` is the same in every attempt. Making it twice is harmless, there as here. A processor that does not know such a change
    answers :func:`core.processors.manual.by_hand`, and a person makes it.
    """

    what: str
    fields: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


@runtime_checkable
class Processor(Protocol):
    """A place that keeps data about people. ``name`` is the one of the policy and the labels."""

    @property
    def name(self) -> str:
        """The name under which labels, policy and plans know it."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it does by itself."""

    @property
    def payload(self) -> tuple[str, ...]:
        """Every field that ever leaves for it, by the words of the data map."""

    @property
    def remote(self) -> bool:
        """Whether a call leaves this database, so that its outcome can be lost on the way."""

    def preview(self, session: Session, person: Person, *, now: datetime) -> Preview:
        """Tell what it holds about a person."""

    def export(self, session: Session, person: Person, *, now: datetime) -> Exported:
        """Return what it holds about a person."""

    def erase(self, session: Session, order: Order, *, now: datetime) -> Outcome:
        """Erase what an order names. Doing it again is harmless."""

    def verify(self, session: Session, order: Order, *, now: datetime) -> Proof:
        """Look whether it is gone, by reading and never by what :meth:`erase` answered."""

    def propagate(self, session: Session, person: Person, change: Change, *, now: datetime) -> Outcome:
        """Pass a change on."""
