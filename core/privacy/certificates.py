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
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core import signing
from core.certified import DOMAIN, Certificate, canonical, told_of
from core.errors import NotFound
from core.models.base import among, uuid7
from core.models.erasures import ErasureStep, PersonErasure
from core.models.privacy import AuditEvent
from core.models.proof import ErasureCertificate, ErasureFinding
from core.models.requests import Approval, DeletionPlan, Request
from core.policy import pinned
from core.policy.machine import number as request_number
from core.privacy import suppression

KIND, VERSION = "certificate of erasure", 1


def issue_together(
    session: Session, erasure_ids: Sequence[uuid.UUID], *, now: datetime
) -> dict[uuid.UUID, Certificate]:
    """Issue the certificates of erasures whose steps are all settled but the last, as the worker. Again: the same ones."""
    mine = select(ErasureCertificate).where(among(ErasureCertificate.erasure_id, erasure_ids))
    known = {each.erasure_id: each for each in session.scalars(mine)}
    if new := [each for each in erasure_ids if each not in known]:
        numbers = text("select nextval('privacy.certificate_number') from generate_series(1, :many)")
        facts, sign = _facts(session, new), signing.signer()
        for erasure_id, numbered in zip(new, session.scalars(numbers, {"many": len(new)}), strict=True):
            told = canonical(_document(session, facts, erasure_id, f"E-{numbered}", now))
            public_key, signature = sign(DOMAIN + told)
            known[erasure_id] = ErasureCertificate(
                id=uuid7(), number=numbered, erasure_id=erasure_id, issued_at=now, document=told.decode(),
                sha256=hashlib.sha256(told).hexdigest(), public_key=public_key, signature=signature,
            )  # fmt: skip
        session.add_all(known[each] for each in new)
        session.flush()
    return {erasure_id: told_of(each) for erasure_id, each in known.items()}


@dataclass(frozen=True)
class _Facts:
    """What certificates that are issued together say: all of it follows from rows that do not change any more."""

    erasures: dict[uuid.UUID, Any]
    requests: dict[uuid.UUID, Request]
    plans: dict[str, dict[str, Any]]  # by fingerprint: it is the hash of the document
    steps: dict[uuid.UUID, list[Row[Any]]]
    approvals: dict[uuid.UUID, tuple[int, str | None]]
    verdicts: dict[uuid.UUID, dict[str, int]]
    suppressed: dict[uuid.UUID, tuple[int, datetime | None]]
    audit: dict[str, Any]


def _facts(session: Session, erasure_ids: Sequence[uuid.UUID]) -> _Facts:
    e = PersonErasure
    begun = select(e.id, e.request_id, e.kind, e.fingerprint, e.begun_at).where(among(e.id, erasure_ids))
    found = {each.id: each for each in session.execute(begun)}
    if set(found) != set(erasure_ids) or not all(each.begun_at for each in found.values()):
        raise NotFound("There is no such erasure.")
    asked = [each.request_id for each in found.values()]
    of_plan = select(DeletionPlan.fingerprint, DeletionPlan.document).ext(distinct_on(DeletionPlan.fingerprint)).where(
        among(DeletionPlan.request_id, asked), among(DeletionPlan.fingerprint, {each.fingerprint for each in found.values()}))  # fmt: skip
    ordered = (
        select(ErasureStep.__table__)
        .where(among(ErasureStep.erasure_id, erasure_ids))
        .order_by(ErasureStep.phase, ErasureStep.place)
    )
    steps: dict[uuid.UUID, list[Row[Any]]] = {each: [] for each in erasure_ids}
    for step in session.execute(ordered):
        steps[step.erasure_id].append(step)
    given = select(Request.id, func.count(Approval.staff_id).label("people"), func.max(Approval.rule).label("rule")).join(
        Approval, (Approval.request_id == Request.id) & (Approval.fingerprint == Request.plan_fingerprint), isouter=True
    ).where(among(Request.id, asked)).group_by(Request.id)  # fmt: skip
    judged = select(ErasureFinding.erasure_id, ErasureFinding.verdict, func.count()).where(
        among(ErasureFinding.erasure_id, erasure_ids)
    )
    verdicts: dict[uuid.UUID, dict[str, int]] = {each: {} for each in erasure_ids}
    for row in session.execute(judged.group_by(ErasureFinding.erasure_id, ErasureFinding.verdict)):
        verdicts[row[0]][str(row[1])] = int(row[2])
    lines, head = session.execute(
        select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq.desc()).limit(1)
    ).one()
    return _Facts(
        erasures=found,
        requests={each.id: each for each in session.scalars(select(Request).where(among(Request.id, asked)))},
        plans={row.fingerprint: row.document for row in session.execute(of_plan)},
        steps=steps,
        approvals={row[0]: (int(row[1]), row[2]) for row in session.execute(given)},
        verdicts=verdicts,
        suppressed=suppression.entries(session, erasure_ids),
        audit={"lines": lines, "head": head.hex()},
    )


def _document(session: Session, facts: _Facts, erasure_id: uuid.UUID, number: str, now: datetime) -> dict[str, Any]:
    found, steps = facts.erasures[erasure_id], facts.steps[erasure_id]
    request = facts.requests[found.request_id]
    plan = facts.plans[found.fingerprint or ""]
    return {
        "kind": KIND, "version": VERSION, "number": number, "issued_at": _at(now),
        "request": _request(facts, request),
        "plan": {"fingerprint": found.fingerprint, "policy": plan["policy"], "early": request.early},
        "erasure": {"id": str(erasure_id), "person": found.kind, "begun_at": _at(found.begun_at)},
        "places": [_place(step) for step in steps if step.what in ("database", "processor", "letter")],
        "kept": list(_kept(plan["rows"])),
        "kept_elsewhere": list(_kept_elsewhere(plan["processors"])),
        "residue": _residue(steps, facts.verdicts[erasure_id]),
        "remains": list(_remains(session, facts, request, plan["remains"], erasure_id, now)),
        "audit": facts.audit,
    }  # fmt: skip


def _request(facts: _Facts, request: Request) -> dict[str, Any]:
    people, rule = facts.approvals[request.id]
    return {
        "number": request_number(request.number), "received_at": _at(request.received_at),
        "closed_at": _at(request.account_closed_at), "grace_ended_at": _at(request.grace_ends_at),
        "approved_by": f"{people} privacy officers" if people != 1 else "1 privacy officer",
        **({"approved_by": f"rule: {rule}"} if rule and not people else {}),
    }  # fmt: skip


def _place(step: Row[Any]) -> dict[str, Any]:
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


def _residue(steps: Sequence[Row[Any]], verdicts: dict[str, int]) -> dict[str, Any]:
    scanned = next((step for step in steps if step.what == "residue"), None)
    counts = dict(scanned.counts) if scanned else {}
    return {
        "searched_at": _at(scanned.proven_at if scanned else None), "tables": counts.get("tables", 0),
        "columns": counts.get("columns", 0), "judged": verdicts,
    }  # fmt: skip


def _remains(
    session: Session,
    facts: _Facts,
    request: Request,
    planned: Sequence[dict[str, str]],
    erasure_id: uuid.UUID,
    now: datetime,
) -> Iterator[dict[str, str]]:
    """What the plan said would remain, with the days that are known by now."""
    rules = pinned(session, request.policy_version, now)
    entries, until = facts.suppressed.get(erasure_id, (0, None))
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
