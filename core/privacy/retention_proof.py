"""Proof that is past its period: closed requests with everything that hangs on them, certificates of erasure, released holds.

Danger: proof goes that somebody still needs; or today's database looks like a restored one, because the ledger outside of it
knows an erasure that it does not know any more. Principle: a request stays while a hold stands on its person, while a decision that
follows from it stands with the person (a correction, a restriction, an objection, an opt-out), and while anything about it is open;
of an erasure its opaque id stays. Mechanism: ``privacy.old_requests`` says which go; no hold can be placed while a part runs; rows
go child before parent along :data:`WITH_A_REQUEST`, and triggers of the database refuse each that is younger than three years.

How many went stands in the row of the run and in the audit, whose own lines stay: they are a chain.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from core.models.erasure import LegalHold
from core.models.proof import ErasureCertificate
from core.policy import Parameters
from core.policy.keeping import day_begins, proof_before

PART = 500
REQUESTS, CERTIFICATES, HOLDS = "closed requests", "certificates of erasure", "released holds"
_ERASURES = "erasure_id in (select e.id from privacy.erasure e where e.request_id = any(:ids))"
_CANARIES = "canary_id in (select c.id from privacy.canary c where c.request_id = any(:ids))"
_OF_REQUEST = "request_id = any(:ids)"
# Child before parent: what goes with a request, and by which of its columns it hangs on it.
WITH_A_REQUEST: Mapping[str, str] = {
    "privacy.erasure_evidence": _ERASURES,
    "privacy.erasure_step": _ERASURES,
    "privacy.erasure_finding": _ERASURES,
    "privacy.erasure": _OF_REQUEST,
    "privacy.canary_look": _CANARIES,
    "privacy.canary_place": _CANARIES,
    "privacy.canary": _OF_REQUEST,
    "privacy.export_text": _OF_REQUEST,
    "privacy.export": _OF_REQUEST,
    "privacy.artifact": "kind = 'export' and owner_id = any(:ids)",
    "privacy.outbox": _OF_REQUEST,
    "privacy.request_text": _OF_REQUEST,
    "privacy.manual_step": _OF_REQUEST,
    "privacy.propagation": _OF_REQUEST,
    "privacy.plan_view": _OF_REQUEST,
    "privacy.approval": _OF_REQUEST,
    "privacy.deletion_plan": _OF_REQUEST,
    "privacy.request_clock": _OF_REQUEST,
    "privacy.request_move": _OF_REQUEST,
}
# What keeps a request as long as it stands itself.
KEEP_A_REQUEST = (
    "privacy.correction",
    "privacy.erasure_certificate",
    "privacy.lapse",
    "privacy.objection",
    "privacy.opt_out",
    "privacy.restriction",
)


def requests_due(session: Session, rules: Parameters, now: datetime) -> bool:
    """Whether a closed request is a whole day past its period and nothing keeps it."""
    return bool(_old(session, proof_before(rules, day_begins(now)), 1))


def requests_part(session: Session, rules: Parameters, now: datetime) -> tuple[dict[str, int], bool]:
    """Remove some closed requests with all that hangs on them; whether there may be more."""
    session.execute(text("lock table privacy.legal_hold in share mode"))
    ids = _old(session, proof_before(rules, now), PART)
    if not ids:
        return {}, False
    session.execute(text(REMEMBER), {"ids": ids, "now": now})
    hanging = (f"delete from {table} where {where}" for table, where in WITH_A_REQUEST.items())  # noqa: S608 - our own words
    other = sum(_gone(session, each, ids) for each in hanging)
    went = _gone(session, "delete from privacy.request where id = any(:ids)", ids)
    counts = {"requests": went, "other rows": other}
    return {name: number for name, number in counts.items() if number}, len(ids) == PART


def oldest_request(session: Session, now: datetime) -> datetime | None:
    """Return when the oldest request was closed that nothing keeps."""
    found: datetime | None = session.scalar(text(OLDEST), {"before": now})
    return found


def certificates_due(session: Session, rules: Parameters, now: datetime) -> bool:
    """Whether a certificate is a whole day past its period."""
    oldest = oldest_certificate(session, now)
    return oldest is not None and oldest <= proof_before(rules, day_begins(now))


def certificates_part(session: Session, rules: Parameters, now: datetime) -> tuple[dict[str, int], bool]:
    """Remove some certificates; whether there may be more. They name no person, so no hold is about them."""
    old = select(ErasureCertificate.id).where(ErasureCertificate.issued_at <= proof_before(rules, now))
    some = old.order_by(ErasureCertificate.issued_at).limit(PART)
    gone = delete(ErasureCertificate).where(ErasureCertificate.id.in_(some)).returning(ErasureCertificate.id)
    return _counted("certificates", len(session.execute(gone).all()))


def oldest_certificate(session: Session, _now: datetime) -> datetime | None:
    """Return when the oldest certificate was issued."""
    return session.scalar(select(func.min(ErasureCertificate.issued_at)))


def holds_due(session: Session, rules: Parameters, now: datetime) -> bool:
    """Whether a released hold is a whole day past its period."""
    oldest = oldest_hold(session, now)
    return oldest is not None and oldest <= proof_before(rules, day_begins(now))


def holds_part(session: Session, rules: Parameters, now: datetime) -> tuple[dict[str, int], bool]:
    """Remove some released holds; whether there may be more."""
    old = select(LegalHold.id).where(LegalHold.released_at <= proof_before(rules, now))
    some = old.order_by(LegalHold.released_at).limit(PART)
    gone = delete(LegalHold).where(LegalHold.id.in_(some)).returning(LegalHold.id)
    return _counted("holds", len(session.execute(gone).all()))


def oldest_hold(session: Session, _now: datetime) -> datetime | None:
    """Return when the hold was released that was released first."""
    return session.scalar(select(func.min(LegalHold.released_at)))


def _old(session: Session, before: datetime, most: int) -> Sequence[uuid.UUID]:
    asked = "select request from privacy.old_requests(:before) where kept is null limit :most"
    return list(session.scalars(text(asked), {"before": before, "most": most}))


def _gone(session: Session, statement: str, ids: Sequence[uuid.UUID]) -> int:
    return len(session.execute(text(f"{statement} returning 1"), {"ids": ids}).all())


def _counted(name: str, number: int) -> tuple[dict[str, int], bool]:
    return ({name: number} if number else {}), number == PART


REMEMBER = """
    insert into privacy.past_erasure (id, gone_at)
    select e.id, :now from privacy.erasure e where e.request_id = any(:ids) and e.begun_at is not null
    on conflict do nothing
"""
OLDEST = "select min(closed_at) from privacy.old_requests(:before) where kept is null"
