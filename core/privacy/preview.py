"""What an erasure would do, before anybody decides: the plan that is shown, approved and compared at the end of the grace period.

No person and no number of rows in it: rows come and go during the grace period, what happens to them must not.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.models.data_map import data_map
from core.models.labels import Erasure, Processor
from core.models.requests import DeletionPlan, Request
from core.privacy.acting import parameters


@dataclass(frozen=True)
class PlanRow:
    """What happens to one table: ``action`` is a word of core.models.labels.Erasure."""

    table: str
    action: str
    reason: str
    until: str
    processors: tuple[str, ...]


@dataclass(frozen=True)
class Preview:
    """A plan with the fingerprint by which it is approved. ``document`` is what is stored and shown."""

    fingerprint: str
    policy_version: str
    rows: tuple[PlanRow, ...]
    document: dict[str, Any]


def preview_of(session: Session, request: Request, *, early: bool, now: datetime) -> Preview:
    """Return the plan of a deletion as it would be made now."""
    rows = tuple(_rows("student" if request.student_id else "visitor"))
    policy_version = parameters(session, request).version
    document = {
        "subject": "student" if request.student_id else "visitor",
        "policy": policy_version,
        "early": early,
        "rows": [asdict(row) | {"processors": list(row.processors)} for row in rows],
        "processors": [str(each) for each in Processor],
        "holds": [],
    }
    canonical = json.dumps(document, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return Preview(hashlib.sha256(canonical.encode()).hexdigest(), policy_version, rows, document)


def store(session: Session, request: Request, plan: Preview, *, by: Any, now: datetime) -> None:
    """Keep a plan with its request, once."""
    same = select(DeletionPlan.id).where(
        DeletionPlan.request_id == request.id, DeletionPlan.fingerprint == plan.fingerprint
    )
    if session.scalar(same) is None:
        session.add(DeletionPlan(request_id=request.id, fingerprint=plan.fingerprint, policy_version=plan.policy_version,
                                 document=plan.document, made_at=now, made_by=by.id if by else None))  # fmt: skip
        session.flush()


def _rows(subject: str) -> list[PlanRow]:
    ways = {"student": ("id", "student_id", "enrollment_id"), "visitor": ("id", "visitor_id", "student_id")}[subject]
    found: dict[str, PlanRow] = {}
    for label in data_map():
        schema_table = label.table
        if label.reaches not in ways or label.erasure is Erasure.NONE:
            continue
        if label.reaches == "id" and schema_table != f"platform.{subject}":
            continue
        known = found.get(schema_table)
        action = str(label.erasure)
        if known is None or action == Erasure.KEEP:
            processors = tuple(sorted({str(each) for each in label.processors}))
            found[schema_table] = PlanRow(schema_table, action, label.reason, label.until, processors)
    return sorted(found.values(), key=lambda row: row.table)
