"""The audit: who did or saw what, provably complete.

Danger: whoever can change the log can change the past. Principle: append-only, gapless, each line bound to the one
before; what the database cannot prove by itself (a cut tail, a restored copy) is proven by signed checkpoints outside
it; while the log does not verify, nothing dangerous is done. Mechanism: ``privacy.append_audit`` writes under a lock
that lasts until the commit, so a line exists exactly when its effect does; :func:`verify` recomputes every hash here, in
Python, and compares every checkpoint; :func:`check` keeps what it found, and :func:`demand_sound` asks for it.

``details`` holds codes, counts and opaque ids, never text about a person.
"""

import functools
import hashlib
import json
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Row, Text, cast, func, select, text
from sqlalchemy.orm import Session

from core import append_only, signing
from core.errors import DatabaseError, Refused
from core.models.privacy import AuditCheck, AuditEvent
from core.settings import settings

DOMAIN = "resocode-audit-1"
CHECKPOINT_DOMAIN = b"resocode-checkpoint-1\n"
Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


class Action(StrEnum):
    """Every kind of line: its words, when it is written, and the names of its details. docs/audit.md is made from this."""

    when: str
    details: tuple[str, ...]

    def __new__(cls, words: str, when: str, *details: str) -> "Action":
        """Make a kind of line; ``append`` refuses a detail that is not named here."""
        made = str.__new__(cls, words)
        made._value_ = words
        made.when, made.details = when, details
        return made

    SIGNED_IN = "signed in", "Somebody gave the right e-mail and password."
    SIGN_IN_FAILED = "sign-in failed", "Somebody tried to sign in and was not let in.", "reason"
    IDENTITY_CONFIRMED = "identity confirmed", "Somebody proved again who they are, before something dangerous."
    CONFIRMATION_FAILED = "confirmation failed", "Somebody tried to prove again who they are and did not.", "reason"
    SIGNED_OUT = "signed out", "Somebody ended their session."
    SESSION_REFUSED = "session refused", "A tab came back without the cookie of its session; it was signed out."
    REFUSED = "refused", "Somebody asked for a page or list that their role does not open.", "what", "role"
    PERSON_VIEWED = (
        "person viewed",
        "A person's record was opened or their contact shown: once per session, person and purpose in 15 minutes.",
        "purpose",
    )
    COHORT_VIEWED = (
        "cohort viewed",
        "The learning data of a whole cohort was shown: once per session, cohort and purpose in 15 minutes.",
        "purpose",
    )
    HELP_NOTED = "help noted", "A student was marked as handled until a day, or put back on the list.", "handled_until"
    LIMITS_SET = (
        "help limits set",
        "It was set from when on students of a cohort need help.",
        "quiet_days",
        "behind_modules",
        "failed_times",
        "waiting_days",
        "clicks_percent",
    )
    REVIEW_TAKEN = "review taken", "Somebody took the review of a submission."
    REVIEW_GIVEN_BACK = "review given back", "Somebody gave the review of a submission back."
    LIST_EXPORTED = "list exported", "A list was made into a file with a one-time link.", "what", "rows"
    FILE_OPENED = "file opened", "A one-time link was opened for the first time.", "file"
    STAFF_ADDED = "staff added", "An account was made.", "role"
    STAFF_DISABLED = "staff disabled", "An account was closed; its sessions ended.", "reason"
    STAFF_ENABLED = "staff enabled", "A closed account was opened again."
    ROLE_CHANGED = "role changed", "An account got another role; its sessions ended.", "before", "after"
    ASSIGNED = "cohort assigned", "The learning data of a cohort was opened to an account.", "cohort"
    ASSIGNMENT_ENDED = "assignment ended", "The learning data of a cohort was closed to an account again.", "last_day"
    STAFF_INVITED = (
        "staff invited",
        "An account without a password was made, and a one-time code for it.",
        "role",
        "alone",
    )
    CODE_MADE = "one-time code made", "A person without a password got a new one-time code."
    CODE_REFUSED = "one-time code refused", "Somebody typed a one-time code that does not work.", "reason"
    CODE_REDEEMED = (
        "one-time code redeemed",
        "The owner of a one-time code chose a password; their sessions ended.",
        "kind",
    )
    SECRETS_RESET = (
        "sign-in reset",
        "An admin took a password (or everything) away, ended the sessions and made a one-time code.",
        "kind",
        "reason",
    )
    PASSWORD_CHANGED = "password changed", "Somebody changed their own password; their sessions ended."
    CODES_SET_UP = (
        "one-time codes set up",
        "Somebody set up one-time codes or replaced them; their other sessions ended.",
    )
    CODES_REFUSED = "one-time codes refused", "The first code of a new authenticator was wrong."
    CODES_REMOVED = "one-time codes removed", "Somebody whose role needs none turned one-time codes off."
    SESSION_ENDED = "session ended", "A session was ended by hand, by its owner or an admin."
    GRANT_PROPOSED = (
        "grant proposed",
        "An admin asked for more rights for somebody: a role, an enabled account, new one-time codes.",
        "kind",
        "before",
        "after",
        "alone",
    )
    GRANT_DECIDED = (
        "grant decided",
        "A proposal was approved, declined or withdrawn.",
        "kind",
        "before",
        "after",
        "decision",
    )
    SINGLE_ADMIN_DECLARED = "single-admin mode declared", "The only admin declared that nobody checks grants."
    SINGLE_ADMIN_ENDED = "single-admin mode ended", "The declaration was taken back: grants wait for a second admin."
    RESCUE_USED = (
        "rescue used",
        "Somebody with the machine and the database owner's secret let a person in from the command line; the line before says whom.",
        "what",
    )
    REVIEW_STARTED = "access review started", "Everybody's rights were listed, to be confirmed or removed.", "rights"
    RIGHT_CONFIRMED = "right confirmed", "Somebody confirmed one right in the access review.", "review_over"
    RIGHT_REMOVED = "right removed", "Somebody removed one right in the access review.", "reason", "review_over"
    VISITOR_OWNED = "visitor owner set", "A visitor was given to somebody, or to nobody.", "owner"
    VISITOR_PLANNED = "visitor next contact set", "The next contact with a visitor was planned, or none.", "on"
    VISITOR_STATUS = "visitor status set", "Somebody said how a visitor stands.", "before", "after"
    VISITOR_CONTACTED = "visitor contact noted", "Somebody noted that a visitor was contacted.", "status"
    PEOPLE_SEARCHED = (
        "people searched",
        "The search box showed people: how many, never what was typed. Whom it led to is a line of its own.",
        "students",
        "visitors",
    )
    IMPORTED = "records imported", "Records were brought in.", "source", "rows"
    POLICY_PUBLISHED = "policy published", "A version of the privacy policy was put in force.", "version"
    REQUEST_FILED = (
        "request filed",
        "Somebody here wrote down what a person asked for.",
        "kind",
        "channel",
        "requester",
        "known",
    )
    REQUEST_REPEATED = (
        "request filed again",
        "The same was asked again while it is open; the words were kept with it.",
        "kind",
    )
    REQUEST_TAKEN = "request taken", "An officer became the owner of a request."
    SUBJECT_LINKED = "subject of a request found", "An officer said who an unknown person is.", "person"
    IDENTITY_ASKED = "identity asked for", "The person was asked to prove who they are; the clock rests."
    IDENTITY_CHECKED = "identity checked", "An officer recorded how identity was checked.", "method", "outcome"
    CLOCK_PAUSED = "clock paused", "The clock of a request rests while identity is checked.", "reason"
    CLOCK_RESUMED = "clock resumed", "The clock of a request runs on.", "reason"
    ANSWER_EXTENDED = (
        "answer extended",
        "The answer is due later, once, and the person is told why.",
        "months",
        "reason",
    )
    NOTE_ADDED = "note added", "A note was kept with a request."
    REQUEST_REFUSED = "request refused", "A request was refused, with reasons.", "reason"
    REQUEST_WITHDRAWN = "request withdrawn", "A request is not wanted any more.", "reason"
    REQUEST_ANSWERED = "request answered", "A request was answered by hand, with evidence.", "outcome"
    ACCOUNT_CLOSED = (
        "account closed",
        "An account was closed for a deletion (account: false, a visitor has none), and its plan waits for approval.",
        "plan",
        "account",
    )
    ACCOUNT_REACTIVATED = (
        "account reactivated",
        "A closed account was opened again; its deletion is canceled.",
        "reason",
    )
    CLOSING_FOUND = (
        "closing found",
        "A student closed their account on the platform: a deletion that a rule of the policy approves.",
        "plan",
    )
    SIGN_OF_LIFE = (
        "sign of life",
        "A student used the platform during the grace period; the deletion waits for approval again.",
    )
    PLAN_OPENED = "plan opened", "An officer was shown a plan of deletion: once per person and plan.", "plan"
    PLAN_CHANGED = "plan changed", "A plan is not what was shown any more; it goes back to approval.", "plan"
    DELETION_APPROVED = (
        "deletion approved",
        "An officer approved a plan of deletion; given and needed count the approvals.",
        "plan",
        "reason",
        "given",
        "needed",
    )
    EARLY_ASKED = "early deletion asked for", "The grace period is to be waived, in the student's words.", "plan"
    APPROVAL_GONE = (
        "approval fell away",
        "At the end of the grace period those who approved may not any more; the deletion waits for approval again.",
    )
    ERASURE_BEGUN = (
        "erasure begun",
        "The grace period is over, every guard was asked again; nothing leads back.",
        "plan",
    )
    ERASURE_PROVEN = (
        "erasure step proven",
        "One place was read back and holds nothing of the person any more; rows count what went.",
        "place",
        "rows",
    )
    ERASURE_STUCK = (
        "erasure step failed",
        "A step failed for the fifth time and became somebody's; it is still tried once an hour.",
        "place",
        "code",
    )
    ERASURE_RETRIED = (
        "erasure step tried again",
        "An officer took a failed step over and gave it all its attempts again.",
        "place",
    )
    ERASURE_ENDED = "erasure ended", "Every step is proven or not needed; the request is erased.", "steps", "rows"
    BRAKE_ON = (
        "erasures stopped",
        "Too many people were due at once, or a clock could not be right: nothing is erased until somebody answers.",
        "why",
        "due",
    )
    BRAKE_ANSWERED = "erasures let go on", "An officer answered what had stopped the eraser.", "why", "due", "reason"
    BRAKE_PASSED = "clocks agree again", "What had stopped the eraser passed by itself.", "why"
    PLAN_SENT_BACK = (
        "plan sent back",
        "An officer sent a plan back before it was approved; the account is open again and the request begins anew.",
        "reason",
        "account",
    )
    APPROVAL_TAKEN_BACK = "approval taken back", "An approved deletion waits for approval again.", "reason"
    LETTER_WRITTEN = "letter written", "A letter was put into the outbox by hand.", "kind"
    LETTER_SENT = "letter sent", "A letter left, by mail or by hand; its address is forgotten.", "kind", "how"
    LETTER_FAILED = "letter failed", "The mail server did not take a letter; somebody sends it by hand.", "kind", "code"
    LETTER_CANCELED = "letter canceled", "A letter that waited was taken out of the outbox.", "kind"
    WORDING_CHANGED = "wording changed", "A letter's wording got a new version.", "kind", "version"
    STEP_CONFIRMED = "step elsewhere confirmed", "Somebody said that a step at a processor was done.", "step"
    HOLD_PLACED = "hold placed", "A legal hold was placed on a person's data.", "hold", "basis", "scope"
    HOLD_REVIEWED = "hold reviewed", "A legal hold was found to be needed still, and got another day of review.", "hold"
    HOLD_RELEASED = "hold released", "A legal hold was released; what it held goes on.", "hold", "reason"
    MANUAL_TAKEN = "manual step taken", "Somebody took a manual step at a processor over.", "processor", "what"
    MANUAL_ATTESTED = "manual step attested", "Somebody gave evidence of a manual step.", "processor", "what"
    MANUAL_CONFIRMED = "manual step confirmed", "Another person confirmed a manual step.", "processor", "what"
    MANUAL_RETURNED = "manual step returned", "The evidence of a manual step was not enough.", "processor", "what"
    SINGLE_OFFICER = (
        "single officer declared",
        "The company declared that one officer decides alone, or that this is over.",
        "on",
    )
    AUDIT_BROKEN = (
        "audit found broken",
        "A check found the audit not as it was written; guarded actions closed.",
        "line",
    )
    AUDIT_SOUND = "audit found sound", "A check found the audit sound after it had been broken; guarded actions open."
    AUDIT_RESTORED = (
        "audit restored",
        "The database was restored from a backup: lines that had been signed are lost, and the log goes on from here.",
        "line",
        "lost",
    )
    RELEASE_PUBLISHED = (
        "release published",
        "Anonymized figures of a closed period were published, once and for ever.",
        "family",
        "period",
        "method",
        "cells",
        "sha256",
    )


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
class Verification:
    """What a check of the whole log found. ``broken_at`` is the first line that is not as it was written; ``head`` is the
    hash of the last line that is (empty: there is none)."""

    lines: int
    broken_at: int | None
    problem: str
    checkpoints: int
    signed_at: datetime | None = None
    head: bytes = b""

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
    written = session.execute(
        text("select privacy.append_audit(:at, :action, :kind, :subject, :details)"),
        {
            "at": now,
            "action": str(action),
            "kind": subject_kind,
            "subject": subject_id,
            "details": _canonical(action, details),
        },
    )
    return int(written.scalar_one())


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
    heads = _Heads(known, last=_last_sound(session), place=_place(folder))
    heads.problem = unreadable or heads.problem
    chain = _Chain(heads)
    for line in _lines(session):
        if not chain.takes(line):
            break
    return chain.verdict()


def check(session: Session, *, now: datetime, folder: Path | None = None) -> Verification:
    """Verify the whole log and keep what was found: the dashboard's banner and :func:`demand_sound` go by it.

    A change from sound to broken or back is a line of the audit itself. Works as the worker role.
    """
    before, found = newest_check(session), verify(session, folder=folder)
    made = AuditCheck(
        checked_at=now, lines=found.lines, head=found.head, broken_at=found.broken_at, problem=found.problem,
        checkpoints=found.checkpoints, signed_at=found.signed_at, place=_place(folder),
    )  # fmt: skip
    session.add(made)
    session.flush()
    was_sound = before is None or not before.problem
    if was_sound and not found.sound:
        append(session, Action.AUDIT_BROKEN, now=now, line=found.broken_at)
    elif found.sound and not was_sound:
        append(session, Action.AUDIT_SOUND, now=now)
    return found


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
    known = checkpoints(folder)
    chain = _since(session, known)
    if not chain.count or (known and known[-1].size == chain.count):
        return None
    return _kept(_signed(now, chain.count, chain.head), folder)


def accept_restore(session: Session, *, now: datetime, folder: Path | None = None) -> Checkpoint | None:
    """Sign that the database was restored from a backup: the log goes on from its present end, and what the checkpoints of
    this machine saw behind it is lost. Return None when nothing is lost.

    The loss stays on record for good: in the checkpoints, in every check, and in a line of the log. Raises DatabaseError
    when what is left of the log was changed.
    """
    known = checkpoints(folder)
    longest = max((each.size for each in standing(known, _signature_holds)), default=0)
    chain = _Chain(_Heads(known))
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
    newest = append_only.last(_file(folder))
    return size(session) - (append_only.parsed(newest)["size"] if newest else 0)


def size(session: Session) -> int:
    """Return the number of lines."""
    return int(session.scalar(select(func.coalesce(func.max(AuditEvent.seq), 0))) or 0)


class _Chain:
    """The lines as they come by, and the first thing that is wrong with them."""

    def __init__(self, heads: "_Heads", *, count: int = 0, head: bytes = b"") -> None:
        self.heads, self.count, self.head = heads, count, head
        self.problem = ""
        self.broken_at: int | None = None

    def takes(self, line: Row[int, bytes, bytes, str]) -> bool:
        """Add a line; False when it is not the one that was written."""
        seq, previous, own, body = line
        expected = self.count + 1
        if seq != expected:
            return self._broken(expected, f"line {expected} is missing")
        if previous != self.head or own != hashlib.sha256(body.encode()).digest():
            return self._broken(seq, f"line {seq} was changed")
        if problem := self.heads.contradiction(seq, own):
            return self._broken(seq, problem)
        self.count, self.head = seq, own
        return True

    def verdict(self) -> Verification:
        """What was found, once all lines have come by."""
        if not self.problem and self.count < self.heads.longest:
            self._broken(self.count + 1, f"the log has {self.count} lines, {self.heads.witness}")
        problem = self.problem or self.heads.problem
        return Verification(self.count, self.broken_at, problem, self.heads.count, self.heads.signed_at, self.head)

    def _broken(self, at: int, problem: str) -> bool:
        self.broken_at, self.problem = at, problem
        return False


class _Heads:
    """What is known of the log from elsewhere, ready to be compared line by line: checkpoints, and the last sound check."""

    def __init__(self, known: list[Checkpoint], *, last: AuditCheck | None = None, place: str = "") -> None:
        self.count, self.place = len(known), place
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
        if last.lines:
            self.heads.setdefault(last.lines, last.head.hex())
        if last.lines > self.longest:
            self.longest, self.witness = last.lines, f"the last check saw {last.lines}"
        if last.checkpoints > self.count and last.place == self.place and not self.problem:
            self.problem = f"{self.count} signed checkpoints are left of {last.checkpoints}"


def _since(session: Session, known: list[Checkpoint]) -> _Chain:
    """Verify what was added since the last checkpoint."""
    size, head = (known[-1].size, bytes.fromhex(known[-1].head)) if known else (0, b"")
    chain = _Chain(_Heads(known), count=size, head=head)
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


def statement(at: str, lines: int, head: str, *, lost: int = 0) -> bytes:
    """Return the bytes that a checkpoint signs."""
    return CHECKPOINT_DOMAIN + f"{at}\n{lines}\n{head}".encode() + (f"\nrestored {lost}".encode() if lost else b"")
