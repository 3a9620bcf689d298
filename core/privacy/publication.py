"""Putting a version of the policy in force, with its line in the audit."""

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import policy
from core.models.privacy import PolicyVersion
from core.privacy.audit import Action, append


def publish_first_version(session: Session, *, now: datetime) -> str:
    """Write version one from ``data/policy/`` unless there is one; return its name."""
    known = session.scalar(select(func.count()).select_from(PolicyVersion))
    version = policy.publish_first_version(session, now=now)
    if not known:
        append(session, Action.POLICY_PUBLISHED, now=now, version=version)
    return version
