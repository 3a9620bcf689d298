"""Versions of the policy. The published row in the database is the truth; ``data/policy/`` seeds version one."""

import json
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

import yaml
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound
from core.models.privacy import PolicyVersion
from core.settings import ROOT

FIRST = "select privacy.publish_first_policy(:version, :at, cast(:document as jsonb), :now)"
VERSIONS = "versions of the policy"
FIRST_VERSION = ROOT / "data" / "policy" / "2026-04-20.yaml"


@dataclass(frozen=True)
class Parameters:
    """What the code takes from the policy. Ages in years; ``grace_days`` times 24 hours; months are calendar months.

    What has a default may be missing in a version: the published ones never change, and the first one does not say it.
    ``visitor_months`` (after the last contact) and ``lapse_notice_days`` (from the notice to the closing) are this company's own
    choice: the policy's text leaves them open.
    """

    version: str
    minimum_age: int
    consent_age: int
    grace_days: int
    email_log_days: int
    answer_months: int
    extension_months: int
    group_minimum: int
    group_rounding: int
    backup_days: int = 35
    suppression_years: int = 3
    visitor_months: int = 12
    lapse_notice_days: int = 30


def in_force(session: Session, at: datetime) -> Parameters:
    """Return the parameters of the version in force at an instant. Raises NotFound before the first version."""
    newest = select(PolicyVersion).where(PolicyVersion.effective_at <= at).order_by(PolicyVersion.effective_at.desc())
    row = session.scalars(newest.limit(1)).first()
    if row is None:
        raise NotFound("No version of the policy is in force yet. Run `python -m core policy load`.", at=at)
    session.info.setdefault(VERSIONS, {})[row.version] = row
    return _parameters(row.version, row.document)


def pinned(session: Session, version: str | None, at: datetime) -> Parameters:
    """Return the parameters of a named version, for a request that was filed under it; without a name, those in force.

    Raises NotFound when there is no such version.
    """
    if version is None:
        return in_force(session, at)
    row = _published(session, version)
    return _parameters(row.version, row.document)


@lru_cache(maxsize=16)
def read(version: str, document: str) -> tuple[Parameters, tuple[str, ...]]:
    """Return the parameters of a version and the third parties it lists, from its document as JSON; read once for each text."""
    known = json.loads(document)
    return _parameters(version, known), _listed(known)


def listed_processors(session: Session, version: str) -> tuple[str, ...]:
    """Return the names of the third parties that a version of the policy lists. Raises NotFound for an unknown version."""
    return _listed(_published(session, version).document)


def _listed(document: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(each["name"]) for each in document.get("processors", ()))


def _published(session: Session, version: str) -> PolicyVersion:
    """A version of the policy, read once in a session: the published ones never change. Raises NotFound for an unknown one."""
    known: dict[str, PolicyVersion] = session.info.setdefault(VERSIONS, {})
    if version not in known:
        row = session.get(PolicyVersion, version)
        if row is None:
            raise NotFound(f"There is no version {version} of the policy.", version=version)
        known[version] = row
    return known[version]


def publish_first_version(session: Session, *, now: datetime) -> str:
    """Write version one from ``data/policy/`` unless there is one; return its name. The later ones: core.privacy.proposals."""
    document = yaml.safe_load(FIRST_VERSION.read_text(encoding="utf-8"))
    _parameters(document["version"], document)
    kept = json.dumps({**document, "effective_at": document["effective_at"].isoformat()})
    first = {"version": document["version"], "at": document["effective_at"], "document": kept, "now": now}
    session.execute(text(FIRST), first)
    return str(document["version"])


def check_document(version: str, document: dict[str, Any]) -> None:
    """Raise BadInput unless a document has the parameters that this program knows, whole numbers above zero, in sense."""
    found = _parameters(version, document)
    if found.minimum_age > found.consent_age:
        raise BadInput(f"In version {version}, the minimum age is above the age of consent.")


def _parameters(version: str, document: dict[str, Any]) -> Parameters:
    given = document.get("parameters", {})
    wanted = {field.name for field in fields(Parameters)} - {"version"}
    needed = {field.name for field in fields(Parameters) if field.default is MISSING} - {"version"}
    if not needed <= set(given) <= wanted or not all(isinstance(value, int) and value > 0 for value in given.values()):
        raise BadInput(f"The parameters of policy {version} are not the ones this program knows: {sorted(wanted)}.")
    return Parameters(version=version, **given)
