"""The audit: who did or saw what, provably complete.

Danger: whoever can change the log can change the past. Principle: append-only, gapless, each line bound to the one
before; what the database cannot prove by itself (a cut tail, a restored copy) is proven by signed checkpoints outside
it; while the log does not verify, nothing dangerous is done. Mechanism: ``privacy.append_audit`` writes under a lock
that lasts until the commit, so a line exists exactly when its effect does; :func:`verify` recomputes every hash here, in
Python, and compares every checkpoint; :func:`check` keeps what it found, and :func:`demand_sound` asks for it.

``details`` holds codes, counts and opaque ids, never text about a person.
"""

import dataclasses
import functools
import hashlib
import json
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Row, Text, cast, func, select, text
from sqlalchemy.orm import Session

from core import append_only, db, signing
from core.errors import DatabaseError, Refused
from core.models.privacy import AuditCheck, AuditEvent, AuditSeal
from core.privacy.audit_actions import Action as Action  # whoever writes a line names its kind
from core.settings import settings

DOMAIN = "resocode-audit-1"
CHECKPOINT_DOMAIN = b"resocode-checkpoint-1\n"
SEAL_DOMAIN = b"resocode-seal-1\n"
WHOLE_EVERY = timedelta(days=1)
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


APPEND = "select privacy.append_audit(:at, :action, :kind, :subject, :details)"
APPEND_TOGETHER = """
    select privacy.append_audit(:at, l.action, l.kind, l.subject, l.details) from (
        select * from unnest(cast(:actions as text[]), cast(:kinds as text[]), cast(:subjects as uuid[]), cast(:details as text[]))
            with ordinality as l(action, kind, subject, details, place) order by place offset 0) l
"""


@dataclass(frozen=True)
class Checkpoint:
    """A signed statement about the log: at ``at`` it had ``size`` lines and ended with ``head`` (hex).

    ``lost`` is 0, or the number of lines that had been signed before the database was restored from a backup: the log goes
    on from ``size``, and checkpoints that saw more no longer count.
    """

    at: str
    size: int
    head: str
    public_key: str
    signature: str
    lost: int = 0


@dataclass(frozen=True)
class Gap:
    """A break that two people acknowledged: lines ``first`` to ``last`` prove nothing, those up to ``lost_until`` are gone.

    ``first`` None: signed checkpoints are missing. What was known of these lines before ``checked_at`` no longer counts.
    """

    first: int | None
    last: int
    lost_until: int
    digest: bytes
    head: bytes
    problem: str
    checked_at: datetime
    check_number: int
    confirmed_at: datetime

    @property
    def words(self) -> str:
        """The gap in words: ``lines 3 to 5``."""
        if self.first is None:
            return f"checkpoints before {self.checked_at:%Y-%m-%d %H:%M} UTC"
        to = max(self.last, self.lost_until)
        return f"line {self.first:,}" if to == self.first else f"lines {self.first:,} to {to:,}"

    def covers(self, line: int) -> bool:
        """Whether a line lies in the gap."""
        return self.first is not None and self.first <= line <= max(self.last, self.lost_until)


@dataclass(frozen=True)
class Verification:
    """What a check of the whole log found. ``broken_at`` is the first line that is not as it was written; ``head`` is the
    hash of the last line that is (empty: there is none).

    ``last_line`` is the last line that is not as it was written, ``lost_until`` the last one that was seen and is gone (None:
    none), ``digest`` the SHA-256 of what stands from ``broken_at`` to ``last_line``, ``end_head`` the hash that follows.
    ``gaps``: the breaks that were acknowledged before."""

    lines: int
    broken_at: int | None
    problem: str
    checkpoints: int
    signed_at: datetime | None = None
    head: bytes = b""
    last_line: int | None = None
    lost_until: int | None = None
    digest: bytes = b""
    end_head: bytes = b""
    gaps: tuple[Gap, ...] = ()

    @property
    def sound(self) -> bool:
        """True when every line and every checkpoint agree."""
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

    Who acts is not an argument: the database takes it from ``app.staff_id`` of this transaction. Raises ValueError for a
    detail that the kind of line does not name.
    """
    line = Line(action, subject_kind, subject_id, details)
    return int(session.execute(text(APPEND), _told(line, now)).scalar_one())


@dataclass(frozen=True)
class Line:
    """A line that is to be written: what :func:`append` takes."""

    action: Action
    subject_kind: str | None = None
    subject_id: uuid.UUID | None = None
    details: Mapping[str, str | int | bool | list[str] | None] = field(default_factory=dict)


def appending(line: Line, *, now: datetime) -> db.Asked:
    """Return the statement that writes one line, for whoever sends it as the last of several (core.db.together)."""
    return db.asked(APPEND, **_told(line, now))


def _told(line: Line, now: datetime) -> dict[str, Any]:
    return {"at": now, "action": str(line.action), "kind": line.subject_kind, "subject": line.subject_id,
            "details": _canonical(line.action, dict(line.details))}  # fmt: skip


def append_together(session: Session, lines: Sequence[Line], *, now: datetime) -> None:
    """Write several lines in their order, as the last act before the commit: one round trip, and the log is locked once."""
    if not lines:
        return
    told = {
        "at": now, "actions": [str(each.action) for each in lines], "kinds": [each.subject_kind for each in lines],
        "subjects": [each.subject_id for each in lines],
        "details": [_canonical(each.action, dict(each.details)) for each in lines],
    }  # fmt: skip
    written = session.execute(text(APPEND_TOGETHER), told).all()
    assert [row[0] for row in written] == list(range(written[0][0], written[0][0] + len(lines)))


def append_once(
    session: Session,
    action: Action,
    *,
    now: datetime,
    subject_kind: str,
    subject_id: uuid.UUID,
    **details: str | int | bool | list[str] | None,
) -> None:
    """Write one line unless this session left the same one within the last 15 minutes."""
    asked = {"action": str(action), "subject": subject_id, "details": _canonical(action, details), "now": now}
    known = text("select privacy.line_is_recorded(:action, :subject, :details, :now)")
    if not session.scalar(known, asked):
        append(session, action, now=now, subject_kind=subject_kind, subject_id=subject_id, **details)


def append_view(session: Session, *, person_kind: str, person_ids: list[uuid.UUID], purpose: str, now: datetime) -> int:
    """Record that persons were seen: one line per session, person and purpose in 15 minutes. Return the new lines."""
    asked = {
        "at": now,
        "kind": person_kind,
        "persons": person_ids,
        "details": _canonical(Action.PERSON_VIEWED, {"purpose": purpose}),
    }
    return int(session.scalar(text("select privacy.append_views(:at, :kind, :persons, :details)"), asked) or 0)


def verify(session: Session, *, folder: Path | None = None) -> Verification:
    """Recompute the whole chain, and compare it with every signed checkpoint and with the last check.

    Streams; some 200,000 lines a second on one core.
    """
    try:
        known, unreadable = checkpoints(folder), ""
    except DatabaseError as error:
        known, unreadable = [], error.sentence.rstrip(".")
    gaps, unsigned_seal = acknowledged(session)
    heads = _Heads(known, last=_last_sound(session), place=_place(folder), gaps=gaps)
    heads.problem = unreadable or heads.problem or unsigned_seal
    chain = _Chain(heads, gaps=gaps)
    for line in _lines(session):
        chain.takes(line)
    return chain.verdict()


def acknowledged(session: Session) -> tuple[tuple[Gap, ...], str]:
    """Return the breaks that two people acknowledged, in the order of their lines, and what is wrong with one of them."""
    gaps: list[Gap] = []
    for seal in session.scalars(
        select(AuditSeal).where(AuditSeal.confirmed_at.is_not(None)).order_by(AuditSeal.check_number)
    ):
        if not seal_holds(seal):
            return (), "an acknowledgement of a break is not signed by our key"
        made = gap_of(seal)
        # A later one that reaches as far takes an earlier one in.
        gaps = [each for each in gaps if each.first is None or not (made.covers(each.first) and made.last >= each.last)]
        gaps.append(made)
    return tuple(sorted(gaps, key=lambda gap: gap.first or 0)), ""


def gap_of(seal: AuditSeal) -> Gap:
    """Return what an acknowledgement passes over."""
    assert seal.confirmed_at is not None
    return Gap(seal.first_line, seal.last_line or 0, seal.lost_until or 0, seal.digest or b"", seal.end_head or b"", seal.problem,
               seal.checked_at, seal.check_number, seal.confirmed_at)  # fmt: skip


def check(session: Session, *, now: datetime, folder: Path | None = None) -> Verification:
    """Verify the whole log and keep what was found: the dashboard's banner and :func:`demand_sound` go by it.

    A change from sound to broken or back is a line of the audit itself. Works as the worker role.
    """
    before, found = newest_check(session), _as_first_found(newest_check(session), verify(session, folder=folder))
    made = AuditCheck(
        checked_at=now, lines=found.lines, head=found.head, broken_at=found.broken_at, problem=found.problem,
        checkpoints=found.checkpoints, signed_at=found.signed_at, place=_place(folder), last_line=found.last_line,
        lost_until=found.lost_until, digest=found.digest or None, end_head=found.end_head if found.broken_at else None,
    )  # fmt: skip
    session.add(made)
    session.flush()
    was_sound = before is None or not before.problem
    if was_sound and not found.sound:
        append(session, Action.AUDIT_BROKEN, now=now, line=found.broken_at)
    elif found.sound and not was_sound:
        append(session, Action.AUDIT_SOUND, now=now)
    return found


def check_at_start(session: Session, *, now: datetime, folder: Path | None = None) -> bool:
    """Whether the log is sound, for a process that starts: what was added since the last signed checkpoint is verified, and the whole log
    only when that is not enough.

    It is enough while the newest check, of the whole log, is of today and found it sound. Nothing is kept of a look at the end, so that it
    never stands for a check: lines before the checkpoint are compared by the next one, once a day, however often somebody starts.
    """
    newest = newest_check(session)
    fresh = newest is not None and not newest.problem and now - WHOLE_EVERY < newest.checked_at <= now
    if newest is not None and fresh and _goes_on(session, newest, folder):
        return True
    return check(session, now=now, folder=folder).sound


def _goes_on(session: Session, newest: AuditCheck, folder: Path | None) -> bool:
    """Whether the log goes on from its last checkpoint, which we signed, and holds what the newest check has seen."""
    try:
        signed = checkpoints(folder)
        gaps, unsigned_seal = acknowledged(session)
        known = [each for each in signed if not _void(each, gaps)]
        if not known or unsigned_seal or not _signature_holds(known[-1]):
            return False
        chain = _since(session, known[-1:], gaps)
    except DatabaseError:
        return False
    fewer = newest.place == _place(folder) and len(signed) < newest.checkpoints
    return not fewer and chain.count >= newest.lines and _ends_at_least_with(session, newest.lines, newest.head)


def _as_first_found(before: AuditCheck | None, found: Verification) -> Verification:
    """Say of a cut end what the first check said: lines were written behind it since, under numbers that were used before."""
    if before is None or not before.problem or before.broken_at is None or before.last_line is None:
        return found
    cut = found.broken_at is not None and found.last_line is not None and found.last_line < found.broken_at
    if not (cut and before.last_line < before.broken_at and before.lost_until == found.lost_until):
        return found
    return dataclasses.replace(found, broken_at=before.broken_at, last_line=before.last_line, end_head=before.end_head or b"",
                               problem=before.problem)  # fmt: skip


def newest_check(session: Session) -> AuditCheck | None:
    """Return the check that counts now."""
    return session.scalars(select(AuditCheck).order_by(AuditCheck.number.desc()).limit(1)).first()


def demand_sound(session: Session) -> None:
    """Raise Refused while the newest check found the audit broken: what cannot be proved later is not done now.

    The one place that decides; every dangerous verb calls it, through :func:`guarded`.
    """
    newest = newest_check(session)
    if newest is not None and newest.problem:
        raise Refused(
            "The audit does not verify, so guarded actions are closed. Nothing was changed. Views stay open; an admin finds"
            " the way on in the runbook.",
            line=newest.broken_at,
        )


def guarded(verb: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Mark a verb as dangerous: closed while the audit does not verify. Its first argument is the session."""

    @functools.wraps(verb)
    def closed_while_broken(*arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        session = arguments[0] if arguments else named["session"]
        assert isinstance(session, Session)
        demand_sound(session)
        return verb(*arguments, **named)

    closed_while_broken.guarded = True  # type: ignore[attr-defined]
    return closed_while_broken


def checkpoint(session: Session, *, now: datetime, folder: Path | None = None) -> Checkpoint | None:
    """Sign the present end of the log and append it to ``checkpoints.jsonl`` outside the database.

    Return None when the log is empty or nothing was added since the last one. Raises DatabaseError when the log does not
    follow from the last checkpoint: nothing false is signed. Call it in a transaction of its own: a line that is rolled back
    afterwards must not have been signed.
    """
    gaps, _ = acknowledged(session)
    signed = checkpoints(folder)
    known = [each for each in signed if not _void(each, gaps)]
    chain = _since(session, known, gaps)
    if not chain.count or (known and known[-1].size == chain.count):
        return None
    lost = max((each.size for each in signed if each.size > chain.count), default=0)  # acknowledged: the chain is sound
    return _kept(_signed(now, chain.count, chain.head, lost=lost), folder)


def accept_restore(session: Session, *, now: datetime, folder: Path | None = None) -> Checkpoint | None:
    """Sign that the database was restored from a backup: the log goes on from its present end, and what the checkpoints of
    this machine saw behind it is lost. Return None when nothing is lost.

    The loss stays on record for good: in the checkpoints, in every check, and in a line of the log. Raises DatabaseError
    when what is left of the log was changed.
    """
    gaps, _ = acknowledged(session)
    known = [each for each in checkpoints(folder) if not _void(each, gaps)]
    longest = max((each.size for each in standing(known, _signature_holds)), default=0)
    chain = _Chain(_Heads(known), gaps=gaps)
    for line in _lines(session):
        if not chain.takes(line):
            raise DatabaseError(
                f"The audit is broken within what was restored: {chain.problem}. Restore another backup."
            )
    if chain.count >= longest:
        return None
    made = _kept(_signed(now, chain.count, chain.head, lost=longest), folder)
    append(session, Action.AUDIT_RESTORED, now=now, line=chain.count + 1, lost=longest - chain.count)
    return made


def checkpoints(folder: Path | None = None) -> list[Checkpoint]:
    """Return every checkpoint that was signed here, oldest first. Raises DatabaseError when one of them cannot be read."""
    found = []
    try:
        for line in append_only.lines(_file(folder)):
            found.append(Checkpoint(**append_only.parsed(line)))
    except (append_only.Unreadable, TypeError) as error:
        raise DatabaseError(
            f"Line {getattr(error, 'facts', {}).get('line', len(found) + 1)} of the signed checkpoints cannot be read."
        ) from error
    return found


def standing(known: list[Checkpoint], is_signed: Callable[[Checkpoint], bool]) -> list[Checkpoint]:
    """Return the checkpoints that still hold: a restore that was signed takes back those which saw more."""
    held: list[Checkpoint] = []
    for each in known:
        if each.lost and is_signed(each):
            held = [before for before in held if before.size <= each.size]
        held.append(each)
    return held


def _kept(made: Checkpoint, folder: Path | None) -> Checkpoint | None:
    """Write a checkpoint behind the others, unless another process of this machine has just signed as much."""
    line = {name: value for name, value in asdict(made).items() if name != "lost" or value}

    def compose(last: str | None) -> str | None:
        if last is not None and not made.lost and append_only.parsed(last)["size"] >= made.size:
            return None
        return json.dumps(line, sort_keys=True)

    return made if append_only.extend(_file(folder), compose) is not None else None


def unsigned(session: Session, *, folder: Path | None = None) -> int:
    """Return how many lines were added since the last checkpoint of this machine."""
    return size(session) - signed_lines(folder)


def signed_lines(folder: Path | None = None) -> int:
    """Return how many lines the newest checkpoint of this machine has seen."""
    newest = append_only.last(_file(folder))
    return int(append_only.parsed(newest)["size"]) if newest else 0


def size(session: Session) -> int:
    """Return the number of lines."""
    return int(session.scalar(select(func.coalesce(func.max(AuditEvent.seq), 0))) or 0)


class _Chain:
    """The lines as they come by, and the first thing that is wrong with them."""

    def __init__(self, heads: "_Heads", *, count: int = 0, head: bytes = b"", gaps: tuple[Gap, ...] = ()) -> None:
        self.heads, self.count, self.head, self.gaps = heads, count, head, gaps
        self.ahead = [gap for gap in gaps if gap.first is not None and gap.last >= gap.first > count]
        self.sum = hashlib.sha256()
        self.inside = False
        self.problem = ""
        self.broken_at: int | None = None
        self.before = (count, head)
        self.worst: tuple[int, bytes, bytes] | None = None

    def takes(self, line: Row[int, bytes, bytes, str]) -> bool:
        """Add a line; False when it is not the one that was written, or comes after one that is not."""
        seq, previous, own, body = line
        digest = hashlib.sha256(body.encode()).digest()
        problem, at = self._wrong(seq, previous, own, digest)
        self.before = (seq, own)
        if self.problem or problem:
            self.sum.update(own + digest)
        if problem:
            self.worst = (seq, own, self.sum.digest())
            return self._broken(at, problem)
        return not self.problem

    def _wrong(self, seq: int, previous: bytes, own: bytes, digest: bytes) -> tuple[str, int]:
        """What is wrong with a line, and where that begins. After the first thing, lines are compared with each other only."""
        if not self.problem and self.ahead and seq >= (self.ahead[0].first or 0):
            return self._in_gap(self.ahead[0], seq, own, digest)
        last, head = self.before if self.problem else (self.count, self.head)
        if seq != last + 1:
            return f"line {last + 1} is missing", last + 1
        if previous != head or own != digest:
            return f"line {seq} was changed", seq
        if problem := self.heads.contradiction(seq, own):
            return problem, seq
        if not self.problem:
            self.count, self.head = seq, own
        return "", seq

    def _in_gap(self, gap: Gap, seq: int, own: bytes, digest: bytes) -> tuple[str, int]:
        """Pass what two people acknowledged, as it stood then."""
        assert gap.first is not None
        if not self.inside and self.count != gap.first - 1:
            return f"line {self.count + 1} is missing", self.count + 1
        whole = self.sum.copy()
        whole.update(own + digest)
        self.inside = True
        if seq > gap.last or (seq == gap.last and (whole.digest(), own) != (gap.digest, gap.head)):
            return f"what was acknowledged of {gap.words} was changed again", gap.first
        self.sum = whole
        if seq == gap.last:
            self.count, self.head, self.sum, self.inside = seq, own, hashlib.sha256(), False
            self.ahead.pop(0)
        return "", seq

    def verdict(self) -> Verification:
        """What was found, once all lines have come by."""
        end, end_head = self.before
        if not self.problem and self.ahead:
            self._broken(self.ahead[0].first or 1, f"what was acknowledged of {self.ahead[0].words} is missing")
        elif not self.problem and self.count < self.heads.longest:
            self._broken(self.count + 1, f"the log has {self.count} lines, {self.heads.witness}")
        problem = self.problem or self.heads.problem
        found = Verification(
            self.count, self.broken_at, problem, self.heads.count, self.heads.signed_at, self.head, gaps=self.gaps
        )
        if self.broken_at is None:
            return found
        last, head, digest = self.worst or (min(end, self.broken_at - 1), end_head, hashlib.sha256().digest())
        lost = self.heads.longest if self.heads.longest > end else None
        return dataclasses.replace(found, last_line=last, lost_until=lost, digest=digest, end_head=head)

    def _broken(self, at: int, problem: str) -> bool:
        if not self.problem:
            self.broken_at, self.problem = at, problem
        return False


class _Heads:
    """What is known of the log from elsewhere, ready to be compared line by line: checkpoints, and the last sound check."""

    def __init__(
        self, known: list[Checkpoint], *, last: AuditCheck | None = None, place: str = "", gaps: tuple[Gap, ...] = ()
    ) -> None:
        self.count, self.place, self.gaps = len(known), place, gaps
        known = [each for each in known if not _void(each, gaps)]
        self.heads = {each.size: each.head for each in standing(known, _signature_holds)}
        self.longest = max(self.heads, default=0)
        self.witness = f"a signed checkpoint saw {self.longest}"
        self.signed_at = datetime.fromisoformat(known[-1].at) if known else None
        forged = [each.size for each in known if not _signature_holds(each)]
        self.problem = f"the checkpoint at line {forged[0]} is not signed by our key" if forged else ""
        if last is not None:
            self._compare(last)

    def contradiction(self, seq: int, head: bytes) -> str:
        known = self.heads.get(seq)
        return f"line {seq} is not the one that was signed or checked before" if known and known != head.hex() else ""

    def _compare(self, last: AuditCheck) -> None:
        later = [gap for gap in self.gaps if gap.check_number > last.number]
        if last.lines and not any(gap.covers(last.lines) for gap in later):
            self.heads.setdefault(last.lines, last.head.hex())
            if last.lines > self.longest:
                self.longest, self.witness = last.lines, f"the last check saw {last.lines}"
        missing = last.checkpoints > self.count and not any(gap.first is None for gap in later)
        if missing and last.place == self.place and not self.problem:
            self.problem = f"{self.count} signed checkpoints are left of {last.checkpoints}"


def _void(made: Checkpoint, gaps: tuple[Gap, ...]) -> bool:
    """Whether a checkpoint speaks of lines that were acknowledged as broken after it was signed."""
    return any(gap.covers(made.size) and datetime.fromisoformat(made.at) <= gap.checked_at for gap in gaps)


def _since(session: Session, known: list[Checkpoint], gaps: tuple[Gap, ...] = ()) -> _Chain:
    """Verify what was added since the last checkpoint."""
    size, head = (known[-1].size, bytes.fromhex(known[-1].head)) if known else (0, b"")
    chain = _Chain(_Heads(known), count=size, head=head, gaps=gaps)
    for line in _lines(session, after=size):
        if not chain.takes(line):
            break
    if chain.problem or (size and not _ends_at_least_with(session, size, head)):
        raise DatabaseError(
            f"The audit does not follow from its last checkpoint ({chain.problem or 'cut'}). Nothing was signed."
        )
    return chain


def _ends_at_least_with(session: Session, size: int, head: bytes) -> bool:
    return session.scalar(select(AuditEvent.hash).where(AuditEvent.seq == size)) == head


def _folder() -> Path:
    return settings().home / "audit"


def _file(folder: Path | None) -> Path:
    return (folder or _folder()) / "checkpoints.jsonl"


def _place(folder: Path | None) -> str:
    """Where the checkpoints lie that a check compared: each machine has its own file."""
    return f"{socket.gethostname()}:{folder or _folder()}"


def _last_sound(session: Session) -> AuditCheck | None:
    sound = select(AuditCheck).where(AuditCheck.problem == "").order_by(AuditCheck.number.desc())
    return session.scalars(sound.limit(1)).first()


def _lines(session: Session, *, after: int = 0) -> Iterator[Row[int, bytes, bytes, str]]:
    """Every line with the text that its hash is made of: composed there, hashed here, which is three times as fast."""
    a = AuditEvent
    at = func.to_char(func.timezone("UTC", a.at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    columns = (at, a.actor, a.actor_id, a.session_id, a.action, a.subject_kind, a.subject_id)
    parts = [func.coalesce(cast(column, Text), "-") for column in columns]
    body = func.concat_ws("\n", DOMAIN, func.encode(a.previous, "hex"), cast(a.seq, Text), *parts, a.details)
    listed = select(a.seq, a.previous, a.hash, body).where(a.seq > after).order_by(a.seq)
    yield from session.execute(listed.execution_options(yield_per=5000))


def _canonical(action: Action, details: dict[str, Any]) -> str:
    if unnamed := set(details) - set(action.details):
        raise ValueError(f"a line of the kind {action!s} has no detail {', '.join(sorted(unnamed))}")
    return json.dumps(details, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def _signed(now: datetime, lines: int, head: bytes, *, lost: int = 0) -> Checkpoint:
    at = now.astimezone(UTC).isoformat()
    public, signature = signing.sign(statement(at, lines, head.hex(), lost=lost))
    return Checkpoint(at, lines, head.hex(), public, signature, lost)


def _signature_holds(made: Checkpoint) -> bool:
    return signing.is_ours(made.signature, statement(made.at, made.size, made.head, lost=made.lost))


def seal_statement(seal: AuditSeal) -> bytes:
    """Return the bytes that an acknowledgement signs: everything but the signature."""
    at = seal.confirmed_at.astimezone(UTC).isoformat() if seal.confirmed_at else ""
    parts = (seal.check_number, seal.checked_at.astimezone(UTC).isoformat(), seal.first_line, seal.last_line, seal.lost_until,
             (seal.digest or b"").hex(), (seal.end_head or b"").hex(), seal.problem, seal.reason, seal.proposed_by, seal.confirmed_by, at)  # fmt: skip
    return SEAL_DOMAIN + "\n".join(map(str, parts)).encode()


def sign_seal(seal: AuditSeal) -> tuple[str, str]:
    """Return the public key and the signature (hex) of an acknowledgement."""
    return signing.sign(seal_statement(seal))


def seal_holds(seal: AuditSeal) -> bool:
    """Whether one of our keys signed an acknowledgement."""
    return signing.is_ours(seal.signature or "", seal_statement(seal))


def statement(at: str, lines: int, head: str, *, lost: int = 0) -> bytes:
    """Return the bytes that a checkpoint signs."""
    return CHECKPOINT_DOMAIN + f"{at}\n{lines}\n{head}".encode() + (f"\nrestored {lost}".encode() if lost else b"")
