"""Files that leave the dashboard: each through one link, bound to one session, opened once.

Danger: Streamlit's own downloads are served to anyone who has the address. Principle: the bytes wait encrypted in the
database (several machines can serve them) and the address is worthless without its session. Mechanism: row-level
security shows a link to its own session only; a retry within 60 seconds after the first opening still works, because
browsers repeat a broken download by themselves. A link may lead to an artifact (core.privacy.artifacts): its bytes stay where
they are and go out part by part.
"""

import secrets
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from core import keys
from core.models.staff import FileLink
from core.privacy import artifacts
from core.privacy.audit import Action, append
from core.privacy.sessions import digest

LINK_LIFE = timedelta(minutes=15)
ARTIFACT_LINK_LIFE = timedelta(hours=24)  # or the session's end, if that is earlier
RETRY = timedelta(seconds=60)


@dataclass(frozen=True)
class OpenedFile:
    """A file on its way out: its ``content``, or the ``artifact`` whose parts follow (core.privacy.artifacts.part); with a
    ``password`` they leave inside a ZIP that only it opens (core.privacy.sealed)."""

    name: str
    media_type: str
    content: bytes
    artifact: artifacts.Opened | None = None
    password: str | None = None


def add_file(
    session: Session, *, session_id: uuid.UUID, name: str, media_type: str, content: bytes, now: datetime
) -> str:
    """Keep a file for 15 minutes and return the secret part of its address. ``name`` holds no personal data."""
    token = secrets.token_urlsafe(32)
    row = {
        "token_hash": digest(token),
        "session_id": session_id,
        "name": name,
        "media_type": media_type,
        "content": _cipher().encrypt(content),
        "created_at": now,
        "expires_at": now + LINK_LIFE,
    }
    session.execute(insert(FileLink).values(row))
    return token


def link_artifact(
    session: Session,
    *,
    session_id: uuid.UUID,
    artifact_id: uuid.UUID,
    name: str,
    media_type: str,
    now: datetime,
    password: str | None = None,
) -> str:
    """Let a session fetch an artifact once within 24 hours; return the secret part of the address.

    The database lets privacy officers only. ``name`` holds no personal data. With a ``password`` it leaves in a ZIP that only
    the password opens.
    """
    token = secrets.token_urlsafe(32)
    row = {
        "token_hash": digest(token),
        "session_id": session_id,
        "artifact_id": artifact_id,
        "password": _cipher().encrypt(password.encode()) if password else None,
        "name": name,
        "media_type": media_type,
        "created_at": now,
        "expires_at": now + ARTIFACT_LINK_LIFE,
    }
    session.execute(insert(FileLink).values(row))
    return token


def file_exists(session: Session, *, token: str, now: datetime) -> bool:
    """Return whether the link would open now (for HEAD, which consumes nothing)."""
    return _openable(session, token, now) is not None


def open_file(session: Session, *, token: str, now: datetime) -> OpenedFile | None:
    """Return the file and mark it as opened; None when the link is used, expired, unknown or of another session.

    Raises NotFound when it leads to an artifact that is not kept any more.
    """
    link = _openable(session, token, now, lock=True)
    if link is None:
        return None
    kept = artifacts.unwrap(session, link.artifact_id, now=now) if link.artifact_id else None
    if link.opened_at is None:
        opened = update(FileLink).where(FileLink.token_hash == link.token_hash).values(opened_at=now)
        session.execute(opened)
        append(session, Action.FILE_OPENED, now=now, file=link.name)
    content = _cipher().decrypt(link.content) if link.content is not None else b""
    password = _cipher().decrypt(link.password).decode() if link.password is not None else None
    return OpenedFile(link.name, link.media_type, content, kept, password)


def drop_expired_files(session: Session, *, now: datetime) -> int:
    """Delete, as the worker, every file whose time is over; return how many."""
    gone = delete(FileLink).where(FileLink.expires_at <= now).returning(FileLink.token_hash)
    return len(session.execute(gone).all())


def _openable(session: Session, token: str, now: datetime, *, lock: bool = False) -> FileLink | None:
    wanted = select(FileLink).where(FileLink.token_hash == digest(token))
    link = session.scalars(wanted.with_for_update() if lock else wanted).first()
    if link is None or link.expires_at <= now:
        return None
    used_up = link.opened_at is not None and link.opened_at + RETRY <= now
    return None if used_up else link


def _cipher() -> MultiFernet:
    return MultiFernet([Fernet(urlsafe_b64encode(key.secret[:32])) for key in keys.keys("files").values()])
