"""Publishing anonymized releases: the verb around core.anon.builder, and the line about it in the audit."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.anon.builder import Due, Published, due_releases, publish
from core.anon.content import Check, check
from core.anon.method import configuration_file, read_configuration
from core.models.anon import Release
from core.models.privacy import AuditEvent
from core.privacy.audit import Action, append, guarded


def releases_due(session: Session, *, now: datetime, file: Path | None = None) -> list[Due]:
    """Return the releases that wait to be published, in order. Looks at no row about a person.

    ``file`` is another configuration than this home's. Raises MethodRefused or OverBudget.
    """
    return due_releases(session, read_configuration(file or configuration_file()), today=_today(now))


@guarded
def publish_release(
    session: Session, *, family: str, period: str, now: datetime, file: Path | None = None
) -> Published:
    """Publish one family of one closed period, once and for ever, as the worker.

    Raises PublishRefused, MethodRefused, OverBudget or NoiseFailed; then nothing was published.
    """
    known = read_configuration(file or configuration_file())
    made = publish(session, known, family=family, period=period, today=_today(now))
    append(
        session, Action.RELEASE_PUBLISHED, now=now, family=family, period=period, method=known.version,
        cells=made.cells, sha256=made.content_sha256,
    )  # fmt: skip
    return made


def verify_releases(session: Session) -> Check:
    """Recompute every hash and the ledger, and compare with what the audit says was published."""
    found = check(session)
    if not found.sound:
        return found
    told = {
        (each["family"], each["period"]): each["sha256"]
        for each in map(
            json.loads,
            session.scalars(select(AuditEvent.details).where(AuditEvent.action == str(Action.RELEASE_PUBLISHED))),
        )
    }
    published = {
        (row.family, row.period): row.content_sha256
        for row in session.execute(select(Release.family, Release.period, Release.content_sha256))
    }
    for name in sorted(told.keys() | published.keys()):
        if told.get(name) != published.get(name):
            return Check(found.releases, found.cells, f"{' '.join(name)} is not what the audit says was published")
    return found


def _today(now: datetime) -> date:
    return now.astimezone(UTC).date()
