"""The certificate of erasure: what was erased where, how that was proven, what remains, why and until when.

Danger: a certificate that says more than is known, that names the person whom nobody should know any more, or that only its
issuer can check. Principle: everything in it follows from the steps, their evidence and the plan that was approved; no person, no
text that somebody typed; whoever has the public key can check it without this program (``bin/verify-certificate``). Mechanism:
canonical JSON (sorted keys, ASCII, no spaces), signed with Ed25519 like the checkpoints of the audit, issued once for each
erasure, and never changed; its SHA-256 stands in the erasure ledger.
"""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core import signing
from core.certified import DOMAIN, Certificate, canonical, told_of
from core.errors import NotFound
from core.models.base import uuid7
from core.models.erasures import ErasureStep, PersonErasure
from core.models.privacy import AuditEvent
from core.models.proof import ErasureCertificate, ErasureFinding
from core.models.requests import Approval, DeletionPlan, Request
from core.policy import pinned
from core.policy.machine import number as request_number
from core.privacy import suppression

KIND, VERSION = "certificate of erasure", 1


def issue(session: Session, *, erasure_id: uuid.UUID, now: datetime) -> Certificate:
    """Issue the certificate of an erasure whose steps are all settled but the last, as the worker. Again: the same one."""
    known = session.scalars(select(ErasureCertificate).where(ErasureCertificate.erasure_id == erasure_id)).first()
    if known is None:
        numbered = int(session.scalar(text("select nextval('privacy.certificate_number')")) or 0)
        told = canonical(_document(session, erasure_id, f"E-{numbered}", now))
        public_key, signature = signing.sign(DOMAIN + told)
        known = ErasureCertificate(
            id=uuid7(), number=numbered, erasure_id=erasure_id, issued_at=now, document=told.decode(),
            sha256=hashlib.sha256(told).hexdigest(), public_key=public_key, signature=signature,
        )  # fmt: skip
        session.add(known)
        session.flush()
    return told_of(known)


def _document(session: Session, erasure_id: uuid.UUID, number: str, now: datetime) -> dict[str, Any]:
    found = session.get(PersonErasure, erasure_id)
    if found is None or found.begun_at is None:
        raise NotFound("There is no such erasure.")
    request = session.get_one(Request, found.request_id)
    plan = session.scalars(select(DeletionPlan).where(DeletionPlan.request_id == request.id,
                                                      DeletionPlan.fingerprint == found.fingerprint)).one()  # fmt: skip
    steps = session.scalars(select(ErasureStep).where(ErasureStep.erasure_id == erasure_id)
                            .order_by(ErasureStep.phase, ErasureStep.place)).all()  # fmt: skip
    lines, head = session.execute(
        select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq.desc()).limit(1)
    ).one()
    return {
        "kind": KIND, "version": VERSION, "number": number, "issued_at": _at(now),
        "request": _request(session, request),
        "plan": {"fingerprint": found.fingerprint, "policy": plan.policy_version, "early": request.early},
        "erasure": {"id": str(erasure_id), "person": found.kind, "begun_at": _at(found.begun_at)},
        "places": [_place(step) for step in steps if step.what in ("database", "processor", "letter")],
        "kept": list(_kept(plan.document["rows"])),
        "kept_elsewhere": list(_kept_elsewhere(plan.document["processors"])),
        "residue": _residue(session, steps, erasure_id),
        "remains": list(_remains(session, request, plan.document["remains"], erasure_id, now)),
        "audit": {"lines": lines, "head": head.hex()},
    }  # fmt: skip


def _request(session: Session, request: Request) -> dict[str, Any]:
    mine = select(func.count(Approval.staff_id), func.max(Approval.rule)).where(
        Approval.request_id == request.id, Approval.fingerprint == request.plan_fingerprint)  # fmt: skip
    people, rule = session.execute(mine).one()
    return {
        "number": request_number(request.number), "received_at": _at(request.received_at),
        "closed_at": _at(request.account_closed_at), "grace_ended_at": _at(request.grace_ends_at),
        "approved_by": f"{people} privacy officers" if people != 1 else "1 privacy officer",
        **({"approved_by": f"rule: {rule}"} if rule and not people else {}),
    }  # fmt: skip


def _place(step: ErasureStep) -> dict[str, Any]:
    """What became of one place. An exempt one says why; counts name tables or kinds of records, and nobody."""
    proven = {"proven_at": _at(step.proven_at)} if step.state == "proven" else {"why": step.error}
    return {"place": step.place, "what": step.what, "state": step.state, "counts": dict(step.counts)} | proven


def _kept(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The tables whose rows stay, by the plan that was approved: what of them is emptied, why they stay, until when."""
    for row in rows:
        if row["action"] in ("keep", "blank") and row["reason"]:
            yield {"table": row["table"], "why": row["reason"], "until": row["until"], "emptied": list(row["columns"])}


def _kept_elsewhere(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The processors that keep something because the law does: why, and until when."""
    for row in rows:
        if row["reason"]:
            yield {"place": row["place"], "why": row["reason"], "until": row["until"]}


def _residue(session: Session, steps: Sequence[ErasureStep], erasure_id: uuid.UUID) -> dict[str, Any]:
    scanned = next((step for step in steps if step.what == "residue"), None)
    judged = select(ErasureFinding.verdict, func.count()).where(ErasureFinding.erasure_id == erasure_id)
    rows = session.execute(judged.group_by(ErasureFinding.verdict)).all()
    verdicts = {str(row[0]): int(row[1]) for row in rows}
    counts = dict(scanned.counts) if scanned else {}
    return {
        "searched_at": _at(scanned.proven_at if scanned else None), "tables": counts.get("tables", 0),
        "columns": counts.get("columns", 0), "judged": verdicts,
    }  # fmt: skip


def _remains(
    session: Session, request: Request, planned: Sequence[dict[str, str]], erasure_id: uuid.UUID, now: datetime
) -> Iterator[dict[str, str]]:
    """What the plan said would remain, with the days that are known by now."""
    rules = pinned(session, request.policy_version, now)
    entries, until = suppression.entries(session, erasure_id)
    for each in planned:
        told = dict(each)
        if "backups" in each["what"]:
            told["until"] = _day(now + timedelta(days=rules.backup_days))
        elif "suppression" in each["why"] and until is not None:
            told |= {"until": _day(until), "entries": str(entries)}
        yield told


def _at(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else ""


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()
