"""Artifacts: exports and evidence, kept encrypted in the database until they are handed out, decided about or expired.

Danger: a file with everything about a person lies on a disk, in a backup or in a browser's folder long after it was needed.
Principle: a key per artifact, which is destroyed first and makes everything else worthless; nothing half is ever readable.
Mechanism: the content is cut into parts of half a megabyte, each sealed with AES-256-GCM under the artifact's key together
with its number and whether it is the last one, so that none can be exchanged, left out or cut off unnoticed. That key is
wrapped by one outside the database. The row comes last, in the transaction of the parts: no row, no artifact.

Memory does not grow with the size: :func:`keep` and :func:`read` hold one part at a time.
"""

import hashlib
import secrets
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from core import db, keys
from core.errors import NotFound, SettingsError
from core.models.artifacts import Artifact, ArtifactPart
from core.models.base import Base, uuid7
from core.privacy.audit import Action, append

PART = 512 * 1024
NONCE = 12
_PARTS = Base.metadata.tables["privacy.artifact_part"]
GONE = "This file is not kept any more, or is not open to you."
SUBJECTS = {"export": "request", "evidence": "consent"}


@dataclass(frozen=True)
class Opened:
    """An artifact whose key was unwrapped: what :func:`part` needs, and nothing that outlives the process."""

    id: uuid.UUID
    size: int
    parts: int
    key: bytes


@dataclass(frozen=True)
class Keeping:
    """A file of which everything but the last part and its row is written; ``size`` is that of the whole content, in clear."""

    id: uuid.UUID
    size: int
    row: dict[str, Any]

    @property
    def last(self) -> db.Asked:
        """What writes the rest: most files have one part, so that this is all of it."""
        return db.asked(LAST, **self.row)


def keep(
    session: Session,
    *,
    kind: str,
    name: str,
    media_type: str,
    chunks: Iterable[bytes],
    expires_at: datetime,
    now: datetime,
    owner_id: uuid.UUID | None = None,
    student_id: uuid.UUID | None = None,
    visitor_id: uuid.UUID | None = None,
) -> uuid.UUID:
    """Keep a file until ``expires_at`` and return its id; the caller writes the audit line. See :func:`keeping`."""
    kept = keeping(session, kind=kind, name=name, media_type=media_type, chunks=chunks, expires_at=expires_at, now=now,
                   owner_id=owner_id, student_id=student_id, visitor_id=visitor_id)  # fmt: skip
    session.execute(text(LAST), kept.row)
    return kept.id


def keeping(
    session: Session,
    *,
    kind: str,
    name: str,
    media_type: str,
    chunks: Iterable[bytes],
    expires_at: datetime,
    now: datetime,
    owner_id: uuid.UUID | None = None,
    student_id: uuid.UUID | None = None,
    visitor_id: uuid.UUID | None = None,
) -> Keeping:
    """Keep a file until ``expires_at``, up to its last part: the file is there once ``last`` of what is returned has run, and the caller
    runs it together with what else ends the work (core.db.together), and writes the audit line.

    ``kind`` is "export" (``owner_id``: the request) or "evidence" (of the consent of ``student_id``); ``name`` holds no personal data.
    ``student_id`` or ``visitor_id``: whom it is about, so that their erasure takes it along. The worker keeps any kind, a
    privacy officer evidence only. ``chunks`` is drawn once; what it raises leaves nothing, with the transaction.
    """
    artifact_id, key, digest, size, number = uuid7(), secrets.token_bytes(32), hashlib.sha256(), 0, 0
    cipher = AESGCM(key)
    for content, last in _parts(chunks):
        digest.update(content)
        size += len(content)
        sealed = cipher.encrypt(_nonce(number), content, _seal(artifact_id, number, last=last))
        if not last:
            session.execute(insert(_PARTS).values(artifact_id=artifact_id, number=number, content=sealed))
        number += 1
    master = keys.current("artifacts")
    row = {
        "id": artifact_id,
        "kind": kind,
        "owner_id": owner_id,
        "student_id": student_id,
        "visitor_id": visitor_id,
        "name": name,
        "media_type": media_type,
        "size": size,
        "sha256": digest.hexdigest(),
        "parts": number,
        "wrapped_key": _wrapped(master, artifact_id, key),
        "key_id": master.id,
        "kept_at": now,
        "expires_at": expires_at,
        "content": sealed,
    }
    return Keeping(artifact_id, size, row)


def read(session: Session, artifact_id: uuid.UUID, *, now: datetime) -> Iterator[bytes]:
    """Return the content, part by part. Raises NotFound at once when it is gone, expired or not open to this session.

    The worker reads any; the dashboard only through a link of the session at hand (core.privacy.files). Raises NotFound on
    the way, too, when a part is missing or is not what was kept.
    """
    opened = unwrap(session, artifact_id, now=now)
    return (part(session, opened=opened, number=number) for number in range(opened.parts))


def unwrap(session: Session, artifact_id: uuid.UUID, *, now: datetime) -> Opened:
    """Open an artifact's key. Raises NotFound when it is gone, expired or not open to this session."""
    asked = select(Artifact.id, Artifact.size, Artifact.parts, Artifact.wrapped_key, Artifact.key_id)
    row = session.execute(asked.where(Artifact.id == artifact_id, Artifact.expires_at > now)).first()
    if row is None or row.wrapped_key is None:
        raise NotFound(GONE, artifact_id=artifact_id)
    return Opened(row.id, row.size, row.parts, _unwrapped(row.key_id, artifact_id, row.wrapped_key))


def part(session: Session, *, opened: Opened, number: int) -> bytes:
    """Return one part in clear; any transaction will do. Raises NotFound when it is missing or was tampered with."""
    asked = select(ArtifactPart.content).where(ArtifactPart.artifact_id == opened.id, ArtifactPart.number == number)
    sealed = session.scalar(asked)
    if sealed is None:
        raise NotFound(GONE, artifact_id=opened.id, number=number)
    seal = _seal(opened.id, number, last=number == opened.parts - 1)
    try:
        return AESGCM(opened.key).decrypt(_nonce(number), sealed, seal)
    except InvalidTag as error:
        raise NotFound("This file is damaged and is not handed out. Make it anew.", artifact_id=opened.id) from error


def destroy(session: Session, artifact_id: uuid.UUID, *, why: str, now: datetime) -> bool:
    """Destroy an artifact: its key, then its parts; the row stays as proof. Returns False when that was done before.

    ``why`` is one of core.models.artifacts.ARTIFACT_ENDS. The worker destroys any; a privacy officer evidence only.
    Raises NotFound.
    """
    asked = text("select kind, owner_id, done from privacy.destroy_artifact(:id, :why, :now)")
    row = session.execute(asked, {"id": artifact_id, "why": why, "now": now}).first()
    if row is None:
        raise NotFound(GONE, artifact_id=artifact_id)
    if row.done:
        whose = (
            row.owner_id if row.kind == "export" else None
        )  # that somebody had to prove a consent says that they are a minor
        append(session, Action.FILE_DESTROYED, now=now, subject_kind=SUBJECTS[row.kind], subject_id=whose, kind=row.kind, why=why)  # fmt: skip
    return bool(row.done)


def artifacts_due(session: Session, now: datetime) -> list[str]:
    """Return, as the worker, the ids of artifacts whose time is over, oldest first."""
    over = select(Artifact.id).where(Artifact.expires_at <= now, Artifact.destroyed_at.is_(None))
    return [str(each) for each in session.scalars(over.order_by(Artifact.expires_at, Artifact.id))]


def _parts(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Cut a stream of any chunks into parts of one size, the last one marked; an empty stream has one empty part."""
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) > PART:
            yield bytes(held[:PART]), False
            del held[:PART]
    yield bytes(held), True


def _nonce(number: int) -> bytes:
    """Every key seals one artifact only, and every number once: the number is nonce enough."""
    return number.to_bytes(NONCE)


def _seal(artifact_id: uuid.UUID, number: int, *, last: bool) -> bytes:
    return artifact_id.bytes + number.to_bytes(8) + bytes([last])


def _wrapped(master: keys.Key, artifact_id: uuid.UUID, key: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE)
    return nonce + AESGCM(master.secret[:32]).encrypt(nonce, key, artifact_id.bytes)


def _unwrapped(key_id: str, artifact_id: uuid.UUID, wrapped: bytes) -> bytes:
    master = keys.keys("artifacts").get(key_id)
    if master is None:
        raise SettingsError(f"The key artifacts.{key_id} is missing; files kept under it cannot be opened.")
    return AESGCM(master.secret[:32]).decrypt(wrapped[:NONCE], wrapped[NONCE:], artifact_id.bytes)


LAST = """
    with last_part as (
        insert into privacy.artifact_part (artifact_id, number, content) values (:id, :parts - 1, :content))
    insert into privacy.artifact (id, kind, owner_id, student_id, visitor_id, name, media_type, size, sha256, parts, wrapped_key, key_id,
        kept_at, expires_at)
    values (:id, :kind, :owner_id, :student_id, :visitor_id, :name, :media_type, :size, :sha256, :parts, :wrapped_key, :key_id, :kept_at,
        :expires_at)
"""
