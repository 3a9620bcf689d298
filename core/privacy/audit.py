"""The audit: who did or saw what, provably complete.

Danger: whoever can change the log can change the past. Principle: append-only, gapless, each line bound to the one
before; what the database cannot prove by itself (a cut tail, a restored copy) is proven by signed checkpoints outside
it. Mechanism: ``privacy.append_audit`` writes under a lock that lasts until the commit, so a line exists exactly when its
effect does; :func:`verify` recomputes every hash here, in Python, and compares the newest checkpoint.

``details`` holds codes, counts and opaque ids, never text about a person.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import Row, func, select, text
from sqlalchemy.orm import Session

from core import keys
from core.models.privacy import AuditEvent
from core.settings import settings

DOMAIN = "resocode-audit-1"
CHECKPOINT_DOMAIN = b"resocode-checkpoint-1\n"


class Action(StrEnum):
    """Every kind of line."""

    SIGNED_IN = "signed in"
    SIGN_IN_FAILED = "sign-in failed"
    SIGNED_OUT = "signed out"
    IDENTITY_CONFIRMED = "identity confirmed"
    CONFIRMATION_FAILED = "confirmation failed"
    SESSION_REFUSED = "session refused"
    REFUSED = "refused"
    PERSON_VIEWED = "person viewed"
    LIST_EXPORTED = "list exported"
    FILE_OPENED = "file opened"
    STAFF_ADDED = "staff added"
    STAFF_DISABLED = "staff disabled"
    STAFF_ENABLED = "staff enabled"
    ROLE_CHANGED = "role changed"
    ASSIGNED = "cohort assigned"
    IMPORTED = "records imported"
    POLICY_PUBLISHED = "policy published"


@dataclass(frozen=True)
class Checkpoint:
    """A signed statement about the log: at ``at`` it had ``size`` lines and ended with ``head`` (hex)."""

    at: str
    size: int
    head: str
    public_key: str
    signature: str


@dataclass(frozen=True)
class Verification:
    """What a check of the whole log found. ``broken_at`` is the first line that is not as it was written."""

    lines: int
    broken_at: int | None
    problem: str
    checkpoints: int

    @property
    def sound(self) -> bool:
        """True when every line and the newest checkpoint agree."""
        return not self.problem


def append(
    session: Session,
    action: Action,
    *,
    now: datetime,
    subject_kind: str | None = None,
    subject_id: uuid.UUID | None = None,
    **details: str | int | bool | list[str] | None,
) -> int:
    """Write one line as the last act before the commit and return its number.

    Who acts is not an argument: the database takes it from ``app.staff_id`` of this transaction.
    """
    written = session.execute(
        text("select privacy.append_audit(:at, :action, :kind, :subject, :details)"),
        {"at": now, "action": str(action), "kind": subject_kind, "subject": subject_id, "details": _canonical(details)},
    )
    return int(written.scalar_one())


def append_view(session: Session, *, person_kind: str, person_ids: list[uuid.UUID], purpose: str, now: datetime) -> int:
    """Record that persons were seen: one line per session, person and purpose in 15 minutes. Return the new lines."""
    written = 0
    for person in person_ids:
        known = text("select privacy.view_is_recorded(:person, :details, :now)")
        details = _canonical({"purpose": purpose})
        if not session.scalar(known, {"person": person, "details": details, "now": now}):
            append(session, Action.PERSON_VIEWED, now=now, subject_kind=person_kind, subject_id=person, purpose=purpose)
            written += 1
    return written


def verify(session: Session, *, folder: Path | None = None) -> Verification:
    """Recompute the whole chain and compare it with every signed checkpoint. Streams; about 100,000 lines a second."""
    previous, expected, heads = b"", 0, _Heads(_checkpoints(folder or _folder()))
    for line in _lines(session):
        expected += 1
        if line.seq != expected:
            return Verification(expected, expected, f"line {expected} is missing", heads.count)
        if line.previous != previous or line.hash != _hash(line):
            return Verification(expected, line.seq, f"line {line.seq} was changed", heads.count)
        previous = line.hash
        if problem := heads.contradiction(line.seq, previous):
            return Verification(expected, line.seq, problem, heads.count)
    if expected < heads.longest:
        problem = f"the log has {expected} lines, a signed checkpoint saw {heads.longest}"
        return Verification(expected, expected + 1, problem, heads.count)
    return Verification(expected, None, heads.problem, heads.count)


def checkpoint(session: Session, *, now: datetime, folder: Path | None = None) -> Checkpoint | None:
    """Sign the present end of the log and append it to ``checkpoints.jsonl`` outside the database.

    Return None when the log is empty or nothing was added since the last one.
    """
    last = session.execute(select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq.desc()).limit(1)).first()
    known = _checkpoints(folder or _folder())
    if last is None or (known and known[-1].size == last.seq):
        return None
    made = _signed(now, last.seq, last.hash)
    file = (folder or _folder()) / "checkpoints.jsonl"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(made), sort_keys=True) + "\n")
    return made


def size(session: Session) -> int:
    """Return the number of lines."""
    return int(session.scalar(select(func.coalesce(func.max(AuditEvent.seq), 0))) or 0)


class _Heads:
    """The checkpoints, ready to be compared line by line."""

    def __init__(self, known: list[Checkpoint]) -> None:
        self.count = len(known)
        self.by_size = {each.size: each for each in known}
        self.longest = max(self.by_size, default=0)
        forged = [each.size for each in known if not _signature_holds(each)]
        self.problem = f"the checkpoint at line {forged[0]} is not signed by our key" if forged else ""

    def contradiction(self, seq: int, head: bytes) -> str:
        signed = self.by_size.get(seq)
        return f"line {seq} is not the one that was signed" if signed and signed.head != head.hex() else ""


def _folder() -> Path:
    return settings().home / "audit"


def _lines(session: Session) -> Iterator[Row[Any]]:
    columns = AuditEvent.__table__.columns
    rows = session.execute(select(*columns).order_by(AuditEvent.seq).execution_options(yield_per=5000))
    yield from rows


def _canonical(details: dict[str, Any]) -> str:
    return json.dumps(details, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _hash(line: Row[Any]) -> bytes:
    at = line.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    parts = [DOMAIN, line.previous.hex(), line.seq, at, line.actor, line.actor_id or "-", line.session_id or "-"]
    parts += [line.action, line.subject_kind or "-", line.subject_id or "-", line.details]
    return hashlib.sha256("\n".join(map(str, parts)).encode()).digest()


def _private_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(keys.current("audit").secret[:32])


def _signed(now: datetime, lines: int, head: bytes) -> Checkpoint:
    key = _private_key()
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    at = now.astimezone(UTC).isoformat()
    return Checkpoint(at, lines, head.hex(), public, key.sign(_statement(at, lines, head.hex())).hex())


def _signature_holds(made: Checkpoint) -> bool:
    for key in keys.keys("audit").values():
        public = Ed25519PrivateKey.from_private_bytes(key.secret[:32]).public_key()
        try:
            public.verify(bytes.fromhex(made.signature), _statement(made.at, made.size, made.head))
        except InvalidSignature:
            continue
        return True
    return False


def _statement(at: str, lines: int, head: str) -> bytes:
    return CHECKPOINT_DOMAIN + f"{at}\n{lines}\n{head}".encode()


def _checkpoints(folder: Path) -> list[Checkpoint]:
    file = folder / "checkpoints.jsonl"
    if not file.exists():
        return []
    return [Checkpoint(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines() if line]
