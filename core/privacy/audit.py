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
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Row, Text, cast, func, select, text
from sqlalchemy.orm import Session

from core import append_only, db, signing
from core.errors import DatabaseError, Refused
from core.models.privacy import AuditCheck, AuditEvent, AuditSeal
from core.settings import settings

DOMAIN = "resocode-audit-1"
CHECKPOINT_DOMAIN = b"resocode-checkpoint-1\n"
SEAL_DOMAIN = b"resocode-seal-1\n"
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
    REFUSED = (
        "refused",
        "Somebody asked for a page, list or action that is not open to them; the action by its name.",
        "what",
        "role",
    )
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
    FILE_DESTROYED = (
        "file destroyed",
        "A file that was kept (an export, evidence of a consent) was destroyed: its key, then its bytes.",
        "kind",
        "why",
    )
    STAFF_ADDED = "staff added", "An account was made.", "role"
    STAFF_DISABLED = "staff disabled", "An account was closed; its sessions ended.", "reason"
    ACCOUNT_END_SET = "account end set", "It was set until when an account signs in, or that it has no end.", "last_day"
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
    CHECK_ASKED = "check of promises asked for", "Somebody ordered a run of all checks before its hour."
    PROMISE_ATTESTED = (
        "promise attested",
        "Somebody vouched for a promise in a place that no program can see; the subject answers for it.",
        "promise",
        "place",
        "until",
    )
    ATTESTATION_WITHDRAWN = "attestation withdrawn", "An attestation was taken back.", "promise", "place"
    ALERT_TOLD = (
        "alert told",
        "Receivers were told that a promise is broken, or not any more.",
        "promise",
        "kind",
        "channel",
        "became",
    )
    SAMPLE_DRAWN = "sample drawn", "A random sample of closed requests was drawn, by its seed.", "seed", "size"
    INCIDENT_OPENED = (
        "incident recorded",
        "A breach of personal data was written down; the 72 hours run.",
        "nature",
        "place",
    )
    INCIDENT_SCOPED = (
        "incident scope set",
        "Somebody said whom an incident concerns.",
        "categories",
        "processors",
        "cohorts",
    )
    INCIDENT_COUNTED = "incident counted", "The worker found whom an incident concerns.", "people"
    INCIDENT_DECIDED = (
        "incident decided",
        "It was decided whether the authority, or the people, are told.",
        "about",
        "decision",
    )
    INCIDENT_NOTIFIED = (
        "authority notified",
        "Somebody recorded that the authority was notified of an incident.",
        "late",
    )
    INCIDENT_NOTED = (
        "incident note filed",
        "A note, a processor's report or correspondence was filed with an incident.",
        "kind",
        "sender",
    )
    INCIDENT_CLOSING = "incident closing asked", "An officer asked to close an incident; another one does it."
    INCIDENT_CLOSED = "incident closed", "A second officer closed an incident."
    POLICY_PROPOSED = (
        "policy proposed",
        "A new version of the policy came as a file.",
        "version",
        "changes",
        "significant",
        "sha256",
    )
    POLICY_PUT_UP = "policy put up", "Somebody put a proposed version up for approval.", "version"
    POLICY_DECIDED = (
        "policy decided",
        "A proposed version was approved, declined or withdrawn.",
        "version",
        "decision",
        "reason",
    )
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
    RESTRICTED = (
        "person restricted",
        'A person\'s data is kept and not used from now on; "asked" says whether they asked for it or a rule set it, never which rule.',
        "asked",
    )
    RESTRICTION_LIFTED = "restriction lifted", "A person's data is used again.", "asked", "reason"
    EXPORT_WAITS = (
        "export waits for judgment",
        "Texts of a file for a person may name somebody else; an officer judges them first.",
        "texts",
    )
    EXPORT_TEXTS_JUDGED = (
        "export texts judged",
        "An officer decided about texts that may name somebody else.",
        "decision",
        "texts",
    )
    EXPORT_BUILT = (
        "export built",
        "The file that answers a request was made: how many records, how many processors were asked and answered.",
        "rows",
        "asked",
        "answered",
    )
    EXPORT_REMADE = "export to be made anew", "An officer let a file be made again."
    EXPORT_HANDED_OUT = "export handed out", "A one-time link to a person's file was made.", "how"
    RESTRICTION_ENDS = (
        "end of a restriction announced",
        "The letter that tells the person of the end of their restriction was written.",
        "reason",
    )
    CORRECTION_ENTERED = (
        "correction entered",
        "An officer entered what is to be corrected; nothing changes before another one confirms it.",
        "fields",
        "reason",
    )
    CORRECTED = "record corrected", "Another officer confirmed a correction; it is in force and passed on.", "fields"
    CORRECTION_RETURNED = "correction returned", "What was entered was sent back; nothing was changed.", "reason"
    RIGHT_ANSWERED = (
        "right answered",
        "A restriction, an opt-out or an objection is in force, and the person was told.",
        "kind",
    )
    WORDS_ERASED = (
        "words of unknown people erased",
        "What was written for closed requests of people whom nobody found was erased after its period.",
        "rows",
    )
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
    LAPSED_CLOSED = (
        "lapsed account closed",
        "An account whose subscription had ended was closed after its notice: a deletion that a rule of the policy approves.",
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
    LETTER_RETRIED = (
        "letter tried again",
        "Somebody let the mail server try a letter again that it had not taken.",
        "kind",
    )
    BOUNCES_READ = (
        "bounces read",
        "Reports of the mail system about letters that came back were read.",
        "bounced",
        "unknown",
    )
    CAMPAIGN_BEGUN = (
        "notices begun",
        "A notice to many people was begun.",
        "kind",
        "channel",
        "audience",
        "about",
    )
    CAMPAIGN_CHANGED = "notices changed", "A notice to many was paused, goes on, or was canceled.", "what"
    CAMPAIGN_SHOWN = "notices shown", "Somebody attested that a notice is shown on the platform.", "people"
    CAMPAIGN_ENDED = (
        "notices ended",
        "A notice was sent to everybody it could reach.",
        "people",
        "sent",
        "bounced",
        "not_reached",
        "unclear",
    )
    CAMPAIGN_REDUCED = "notices reduced", "Who got a notice was erased after its period; the counts stay.", "people"
    WORDING_CHANGED = "wording changed", "A letter's wording got a new version.", "kind", "version"
    STEP_CONFIRMED = (
        "step elsewhere confirmed",
        "What had to follow at a processor was done: it answered so, or two persons did it by hand.",
        "step",
        "processor",
        "how",
    )
    PROCESSOR_WRITTEN = (
        "processor register changed",
        "An admin wrote another version of what the register says of a processor.",
        "processor",
        "fields",
    )
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
    BREAK_PROPOSED = (
        "audit break put up",
        "Somebody asks a second person to acknowledge a break of the audit, so that guarded actions can open again.",
        "first",
        "last",
        "lost",
        "reason",
    )
    BREAK_ACKNOWLEDGED = (
        "audit break acknowledged",
        "A second person acknowledged a break of the audit; every later check names it.",
        "first",
        "last",
        "lost",
        "reason",
    )
    AUDIT_SOUND = "audit found sound", "A check found the audit sound after it had been broken; guarded actions open."
    BACKUPS_REMOVED = "backups removed", "Backups whose last day was over were removed.", "backups"
    AUDIT_RESTORED = (
        "audit restored",
        "The database was restored from a backup: lines that had been signed are lost, and the log goes on from here.",
        "line",
        "lost",
    )
    LEDGER_REPLAYED = (
        "ledger replayed",
        "A restored database learned from the erasure ledger what had happened since its backup.",
        "erasures",
        "erased",
        "canceled",
        "sent_back",
    )
    RECORDS_SET_ASIDE = (
        "records set aside",
        "An import brought records of erased people: refused, or waiting in quarantine.",
        "source",
        "refused",
        "waiting",
    )
    QUARANTINE_DECIDED = (
        "quarantine decided",
        "An officer let a quarantined record in, or discarded it.",
        "decision",
        "reason",
    )
    SUPPRESSION_ENDED = (
        "suppression ended",
        "Entries of the suppression list expired, or quarantined records that nobody decided about.",
        "entries",
        "records",
    )
    ERASURE_CERTIFIED = "erasure certified", "The certificate of an erasure was issued.", "certificate", "sha256"
    FINDING_JUDGED = "finding judged", "An officer judged a finding of the residue scan.", "verdict"
    AGE_DECLARED = "age declared", "An officer recorded what a student said about their age; never what.", "how"
    # Only a minor needs a consent: these lines name the case, which only privacy officers can open, and no person.
    CONSENT_REQUESTED = "consent requested", "A guardian was asked for consent.", "case"
    CONSENT_ENTERED = (
        "consent entered",
        "An officer recorded what a guardian decided, and how that came; a yes waits for another officer.",
        "case",
        "method",
        "outcome",
        "evidence",
    )
    EVIDENCE_OPENED = (
        "evidence of consent opened",
        "An officer made a one-time link to a picture that proves a consent.",
        "case",
    )
    CONSENT_VERIFIED = (
        "consent verified",
        "Another officer verified a guardian's consent (alone: the only officer did); the evidence was destroyed.",
        "case",
        "evidence",
        "alone",
    )
    CONSENT_REFUSED = (
        "consent refused",
        "Another officer refused what was entered as a guardian's consent.",
        "case",
        "reason",
    )
    CONSENT_WITHDRAWN = "consent withdrawn", "A guardian or the student took a consent back.", "case", "who"
    CONSENT_LAPSED = (
        "consent lapsed",
        "A student came of age: the guardian's consent ended, the student is asked anew.",
        "case",
    )
    BIRTH_DATE_GONE = (
        "birth date erased",
        "A student who came of age and was asked anew did not answer: that they are of age is kept, and no date.",
        "case",
    )
    CONSENT_ROUND = (
        "letters to many ordered",
        "An officer ordered letters to everybody who has to answer about age or consent.",
        "kind",
        "people",
    )
    GUARDIAN_CORRECTED = (
        "guardian corrected",
        "A guardian's name or address was mended, because they asked.",
        "case",
    )
    GUARDIAN_FORGOTTEN = (
        "guardian forgotten",
        "A guardian asked for the erasure of their data: no consent refers to them any more, and the worker erases them.",
        "case",
    )
    GUARDIAN_GONE = "guardian erased", "A guardian whom no consent needs any more was erased.", "case"
    BELOW_AGE = (
        "below the minimum age",
        "Somebody below the minimum age was found: the account was closed, its erasure approved by rule.",
        "plan",
    )
    RETENTION_RUN = (
        "retention run",
        "A rule of retention was looked at, and what was past its period went; the row of the run says more.",
        "rule",
        "rows",
        "months",
        "moved_aside",
        "no_longer_held",
        "visitors",
        "other_rows",
        "files",
        "told",
        "closed",
        "renewed",
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
