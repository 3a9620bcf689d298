"""The register of processors (Art. 28 and 30 GDPR): what people wrote down, what the data map says, and how each connection does."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.orm import Session

from core.models.campaigns import MailPace
from core.models.data_map import data_map
from core.models.labels import Processor as Named
from core.models.processors import ProcessorHealth, ProcessorRecord
from core.policy import in_force, listed_processors
from core.processors import registry
from core.processors.manual import Manual
from core.processors.protocol import Capability

FILLED_IN = {"purpose": "purpose", "legal_basis": "legal basis", "contract_on": "contract", "review_by": "next review",
             "sub_processors": "sub-processors", "transfer_basis": "transfer basis", "region": "region"}  # fmt: skip


@dataclass(frozen=True)
class ProcessorEntry:
    """One processor. Of the record, "" and None are not filled in yet, and named in ``missing``; ``version`` 0: nobody wrote one.

    ``receives``: the data map's words for what it gets from the platform; ``sent``: for what leaves from this dashboard.
    ``connected``: it does its part by itself, as far as ``abilities`` say (the mail provider takes letters); otherwise people do. ``stuck_since``: something does not
    go through. ``circuit`` "open": nothing is sent until ``opens_at``; "half-open": one call tries.
    """

    name: str
    listed: bool
    version: int
    purpose: str
    legal_basis: str
    contract_on: date | None
    review_by: date | None
    sub_processors: tuple[str, ...]
    transfer_basis: str
    region: str
    contact: str
    written_at: datetime | None
    written_by: str | None
    receives: tuple[str, ...]
    sent: tuple[str, ...]
    connected: bool
    abilities: tuple[str, ...]
    propagated_at: datetime | None
    verified_at: datetime | None
    open: int
    stuck_since: datetime | None
    circuit: str
    opens_at: datetime | None
    failures: int
    worked_at: datetime | None
    failed_at: datetime | None
    error: str | None

    @property
    def missing(self) -> tuple[str, ...]:
        """What nobody has filled in, in words."""
        return tuple(words for column, words in FILLED_IN.items() if not getattr(self, column))

    def overdue(self, today: date) -> bool:
        """True when there is no contract on record, or its review is past."""
        return self.contract_on is None or (self.review_by is not None and self.review_by < today)

    @property
    def troubled(self) -> bool:
        """True when its circuit is not closed, its last call failed, or something waits there because it did not go through."""
        failed_last = self.failed_at is not None and (self.worked_at is None or self.failed_at > self.worked_at)
        return self.circuit != "closed" or failed_last or self.stuck_since is not None


@dataclass(frozen=True)
class RecordVersion:
    """One version of what the register says of a processor: when, by whom, and what changed in it, in words."""

    version: int
    written_at: datetime
    written_by: str
    changed: tuple[str, ...]


def processor_register(session: Session, *, now: datetime) -> tuple[ProcessorEntry, ...]:
    """Return every processor that the policy in force or the data map names, or that the register knows, by name."""
    policy = listed_processors(session, in_force(session, now).version)
    receives = _receives()
    records = {record.name: record for record in _newest(session)}
    health = {row.name: row for row in session.scalars(select(ProcessorHealth))} | _mail(session, now)
    asked = text("select * from privacy.processor_activity()")
    activity = {row.name: row for row in session.execute(asked)}
    names = _names(session)
    return tuple(
        _entry(name, name in policy, records.get(name), health.get(name), activity.get(name), receives.get(name, ()), names)
        for name in sorted({*policy, *receives, *records}, key=str.casefold)
    )  # fmt: skip


def processor_history(session: Session, name: str) -> tuple[RecordVersion, ...]:
    """Return the versions of one record, newest first."""
    mine = select(ProcessorRecord).where(ProcessorRecord.name == name).order_by(ProcessorRecord.version)
    names, before, found = _names(session), None, []
    for record in session.scalars(mine):
        changed = tuple(
            words for column, words in (*FILLED_IN.items(), ("contact", "contact"))
            if getattr(record, column) != (getattr(before, column) if before else getattr(EMPTY, column))
        )  # fmt: skip
        found.append(RecordVersion(record.version, record.written_at, names.get(record.written_by, "–"), changed))
        before = record
    return tuple(reversed(found))


EMPTY = ProcessorRecord(purpose="", legal_basis="", sub_processors=[], transfer_basis="", region="", contact="")


def _entry(
    name: str, listed: bool, record: ProcessorRecord | None, health: ProcessorHealth | None, activity: Any,
    receives: tuple[str, ...], names: Mapping[uuid.UUID, str],
) -> ProcessorEntry:  # fmt: skip
    known, doing = record or EMPTY, registry.configured(name)
    connected = type(doing) is not Manual
    return ProcessorEntry(
        name=name,
        listed=listed,
        version=record.version if record else 0,
        purpose=known.purpose,
        legal_basis=known.legal_basis,
        contract_on=known.contract_on,
        review_by=known.review_by,
        sub_processors=tuple(known.sub_processors),
        transfer_basis=known.transfer_basis,
        region=known.region,
        contact=known.contact,
        written_at=record.written_at if record else None,
        written_by=names.get(record.written_by, "–") if record else None,
        receives=receives,
        sent=tuple(sorted(doing.payload)) if connected else (),
        connected=connected,
        abilities=tuple(str(each) for each in Capability if each in doing.capabilities),
        propagated_at=activity.propagated_at if activity else None,
        verified_at=activity.verified_at if activity else None,
        open=activity.open if activity else 0,
        stuck_since=activity.stuck_since if activity else None,
        circuit=health.circuit if health and connected else "closed",
        opens_at=health.opens_at if health else None,
        failures=health.failures if health else 0,
        worked_at=health.worked_at if health else None,
        failed_at=health.failed_at if health else None,
        error=health.error if health else None,
    )


def _mail(session: Session, now: datetime) -> dict[str, ProcessorHealth]:
    """How the line to the mail server does: its letters are paced by core.privacy.sending, which keeps that in a row of its own."""
    pace = session.get(MailPace, 1)
    if pace is None:
        return {}
    rests = pace.closed_until is not None and pace.closed_until > now
    return {str(Named.SMTP): ProcessorHealth(
        name=str(Named.SMTP), circuit="open" if rests else "closed", failures=pace.failures, opens_at=pace.closed_until,
        worked_at=pace.last_taken_at, failed_at=pace.closed_since, error=pace.code or None)}  # fmt: skip


def _newest(session: Session) -> Iterator[ProcessorRecord]:
    newest = select(ProcessorRecord.name, func.max(ProcessorRecord.version)).group_by(ProcessorRecord.name)
    yield from session.scalars(
        select(ProcessorRecord).where(tuple_(ProcessorRecord.name, ProcessorRecord.version).in_(newest))
    )


def _receives() -> dict[str, tuple[str, ...]]:
    """By processor, the data map's words for what it gets."""
    found: dict[str, set[str]] = {}
    for label in data_map():
        for name in label.processors if label.export else ():
            found.setdefault(str(name), set()).add(label.export)
    return {name: tuple(sorted(words)) for name, words in found.items()}


def _names(session: Session) -> dict[uuid.UUID, str]:
    return {row.id: row.name for row in session.execute(text("select id, name from staff.directory()"))}
