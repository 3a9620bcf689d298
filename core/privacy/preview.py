"""The plan of a request: made under the policy that it was filed under, and kept with it once it was shown."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.models.requests import DeletionPlan, Request
from core.policy import pinned
from core.privacy.acting import parameters
from core.privacy.holds import holds_together
from core.privacy.plans import Plan, demand_whole, plan_for, plan_under

Preview = Plan


def preview_of(session: Session, request: Request, *, early: bool, now: datetime) -> Plan:
    """Return the plan of a deletion as it would be made now. The same for everybody: nothing in it is counted."""
    return plan_for(
        session,
        student_id=request.student_id,
        visitor_id=request.visitor_id,
        now=now,
        early=early,
        policy_version=parameters(session, request).version,
        with_counts=False,
    )


def fingerprints(session: Session, requests: Sequence[Request], *, now: datetime) -> dict[uuid.UUID, str]:
    """Return what the fingerprint of each request's plan would be now, as the worker: one plan serves all who are under the same holds."""
    holds = holds_together(session, [(each.id, each.student_id, each.visitor_id) for each in requests])
    plans: dict[object, str] = {}
    found = {}
    for request in requests:
        kind = "student" if request.student_id else "visitor"
        rules = pinned(session, parameters(session, request).version, now)
        what = (kind, rules.version, request.early, holds[request.id])
        if what not in plans:
            plans[what] = plan_under(session, kind=kind, rules=rules, holds=holds[request.id], early=request.early).fingerprint  # fmt: skip
        found[request.id] = plans[what]
    return found


def store(session: Session, request: Request, plan: Plan, *, by: Any, now: datetime) -> None:
    """Keep a plan with its request, once. Raises Refused for one that says of something nobody knows what becomes of it."""
    demand_whole(plan)
    same = select(DeletionPlan.id).where(
        DeletionPlan.request_id == request.id, DeletionPlan.fingerprint == plan.fingerprint
    )
    if session.scalar(same) is None:
        session.add(DeletionPlan(request_id=request.id, fingerprint=plan.fingerprint, policy_version=plan.policy_version,
                                 document=plan.document, made_at=now, made_by=by.id if by else None))  # fmt: skip
        session.flush()
