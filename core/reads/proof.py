"""Proof of erasures, for privacy officers and auditors: certificates; what was set aside; what the residue scan found."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from core.certified import Certificate, told_of
from core.models.erasures import PersonErasure
from core.models.proof import ErasureCertificate, ErasureFinding, Quarantine, Suppression
from core.models.requests import Request
from core.models.staff import StaffMember
from core.policy.machine import number

PAGE_SIZE = 50


@dataclass(frozen=True)
class CertificatePage:
    """Up to 50 certificates, newest first; ``after`` leads to the next page, None: there is none."""

    rows: tuple[Certificate, ...]
    after: int | None


@dataclass(frozen=True)
class SetAsideRecord:
    """A record in quarantine. ``record``: what it says of the person, None once it was decided about. ``dated_at``: when they
    signed up, by its own word; ``erased_at``: when somebody with this address or id was erased."""

    id: uuid.UUID
    person: str
    why: str
    source: str
    record: dict[str, Any] | None
    dated_at: datetime | None
    erased_at: datetime
    found_at: datetime
    until: datetime
    decision: str | None
    reason: str
    decided_at: datetime | None
    decided_by: str | None


@dataclass(frozen=True)
class RecordPage:
    """Up to 50 records; ``after`` leads to the next page, None: there is none."""

    rows: tuple[SetAsideRecord, ...]
    after: tuple[datetime, uuid.UUID] | None


@dataclass(frozen=True)
class OpenFinding:
    """A place where the residue scan found something, and that nobody has judged yet."""

    id: uuid.UUID
    request_id: uuid.UUID
    request: str
    table: str
    column: str
    row: str
    trace: str
    sure: bool
    found_at: datetime


@dataclass(frozen=True)
class ProofCounts:
    """Certificates; records that wait and that were decided about; open findings; entries of the suppression list, and when the next
    of them ends."""

    certificates: int
    waiting: int
    decided: int
    findings: int
    entries: int
    next_end: datetime | None


@dataclass(frozen=True)
class SuppressionEntry:
    """What keeps old records of one erased person out, without anything about them: kinds of hash ("e-mail", "provider id"), basis,
    when the erasure was, until when it stands, and the request."""

    request: str
    kinds: tuple[str, ...]
    basis: str
    erased_at: datetime
    until: datetime


def suppression_entries(
    session: Session, *, after: tuple[datetime, uuid.UUID] | None = None
) -> tuple[tuple[SuppressionEntry, ...], tuple[datetime, uuid.UUID] | None]:
    """Return 50 erasures with their entries, those that end first; and what leads to the next page. No hash, no person."""
    until, kinds = func.min(Suppression.until), func.array_agg(Suppression.kind.distinct())
    basis, erased = func.min(Suppression.basis), func.min(Suppression.erased_at)
    listed = select(Suppression.erasure_id, kinds, basis, erased, until).group_by(Suppression.erasure_id)
    if after is not None:
        listed = listed.having(tuple_(until, Suppression.erasure_id) > after)
    rows = session.execute(listed.order_by(until, Suppression.erasure_id).limit(PAGE_SIZE + 1)).all()
    of = select(PersonErasure.id, Request.number).join(Request, Request.id == PersonErasure.request_id)
    numbers = {
        row[0]: number(row[1]) for row in session.execute(of.where(PersonErasure.id.in_([row[0] for row in rows])))
    }
    shown = rows[:PAGE_SIZE]
    entries = tuple(
        SuppressionEntry(numbers.get(row[0], "–"), tuple(sorted(row[1])), row[2], row[3], row[4]) for row in shown
    )
    return entries, ((shown[-1][4], shown[-1][0]) if len(rows) > PAGE_SIZE else None)


def certificate_page(session: Session, *, after: int | None = None) -> CertificatePage:
    """Return 50 certificates, newest first."""
    listed = select(ErasureCertificate).order_by(ErasureCertificate.number.desc()).limit(PAGE_SIZE + 1)
    if after is not None:
        listed = listed.where(ErasureCertificate.number < after)
    found = session.scalars(listed).all()
    more = found[PAGE_SIZE - 1].number if len(found) > PAGE_SIZE else None
    return CertificatePage(tuple(told_of(each) for each in found[:PAGE_SIZE]), more)


def erasure_certificate(session: Session, told: str) -> Certificate | None:
    """Return the certificate with this number (E-12), or that of a request (R-7); None when there is none to be seen."""
    kind, _, digits = told.strip().upper().partition("-")
    if not digits.isdigit() or kind not in ("E", "R") or len(digits) > 18:
        return None
    wanted = select(ErasureCertificate)
    if kind == "E":
        wanted = wanted.where(ErasureCertificate.number == int(digits))
    else:
        wanted = wanted.where(ErasureCertificate.document.contains(f'"number":"R-{digits}"', autoescape=True))
    row = session.scalars(wanted.limit(1)).first()
    return told_of(row) if row else None


def set_aside_page(session: Session, view: str, *, after: tuple[datetime, uuid.UUID] | None = None) -> RecordPage:
    """Return 50 quarantined records: those that wait, the oldest first, or those decided about, the newest first."""
    waiting = view == "waiting"
    when: Any = Quarantine.found_at if waiting else Quarantine.decided_at
    order = tuple_(when, Quarantine.id)
    listed = select(Quarantine, StaffMember.name).outerjoin(StaffMember, StaffMember.id == Quarantine.decided_by)
    listed = listed.where(Quarantine.decision.is_(None) if waiting else Quarantine.decision.is_not(None))
    if after is not None:
        listed = listed.where(order > after if waiting else order < after)
    listed = listed.order_by(when if waiting else when.desc(), Quarantine.id if waiting else Quarantine.id.desc())
    found = session.execute(listed.limit(PAGE_SIZE + 1)).all()
    rows = tuple(_record(row[0], row[1]) for row in found[:PAGE_SIZE])
    last = rows[-1] if len(found) > PAGE_SIZE else None
    return RecordPage(
        rows, ((last.found_at if waiting else last.decided_at or last.found_at), last.id) if last else None
    )


def open_findings(session: Session, *, request_id: uuid.UUID | None = None) -> tuple[OpenFinding, ...]:
    """Return what waits for a judgment (at most 200), the oldest first; of one request, or of all."""
    listed = (
        select(ErasureFinding, Request.id, Request.number)
        .join(PersonErasure, PersonErasure.id == ErasureFinding.erasure_id)
        .join(Request, Request.id == PersonErasure.request_id)
        .where(ErasureFinding.verdict.is_(None))
        .order_by(ErasureFinding.found_at, ErasureFinding.id)
    )
    if request_id is not None:
        listed = listed.where(Request.id == request_id)
    return tuple(
        OpenFinding(f.id, of, number(many), f.place_table, f.place_column, f.place_row, f.trace, f.sure, f.found_at)
        for f, of, many in session.execute(listed.limit(200)).all()
    )


def proof_counts(session: Session) -> ProofCounts:
    """Return the figures above both pages, as far as whoever asks may see them."""
    waits = Quarantine.decision.is_(None)
    certificates = session.scalar(select(func.count(ErasureCertificate.id))) or 0
    waiting, decided = session.execute(
        select(func.count().filter(waits), func.count().filter(~waits)).select_from(Quarantine)
    ).one()
    findings = session.scalar(select(func.count(ErasureFinding.id)).where(ErasureFinding.verdict.is_(None))) or 0
    entries, ends = session.execute(select(func.count(Suppression.id), func.min(Suppression.until))).one()
    return ProofCounts(certificates, waiting, decided, findings, entries, ends)


def _record(row: Quarantine, decided_by: str | None) -> SetAsideRecord:
    return SetAsideRecord(
        row.id, row.person, row.why, row.source, row.record, row.dated_at, row.erased_at, row.found_at, row.until, row.decision,
        row.reason, row.decided_at, decided_by,
    )  # fmt: skip
