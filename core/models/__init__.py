"""The tables, each column with its privacy label.

``platform`` holds people and learning, ``privacy`` what the promises need, ``staff`` who works here, ``anon`` the
releases about nobody. The labels are read through :func:`core.models.data_map.data_map`.
"""

from core.models import (
    anon,
    artifacts,
    audit_filter,
    campaigns,
    canaries,
    consent,
    erasure,
    erasures,
    exports,
    incidents,
    platform,
    privacy,
    processors,
    promises,
    proof,
    proposals,
    requests,
    retention,
    shown,
    staff,
    standing,
    syncing,
)
from core.models.base import Base

__all__ = [
    "Base",
    "anon",
    "artifacts",
    "audit_filter",
    "campaigns",
    "canaries",
    "consent",
    "erasure",
    "erasures",
    "exports",
    "incidents",
    "platform",
    "privacy",
    "processors",
    "promises",
    "proof",
    "proposals",
    "requests",
    "retention",
    "shown",
    "staff",
    "standing",
    "syncing",
]
