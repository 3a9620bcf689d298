"""Requests under the policy: what a person asked for, how it went, and the letters about it.

States and the moves between them are rows (:class:`Transition`); a trigger holds every database role to them, and writes a
:class:`RequestMove` for each. What people wrote stands apart in :class:`RequestText` and :class:`Outbox`, and is erased with
them; everything else here is codes, instants and opaque ids, kept as proof.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, ForeignKey, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id, Source
from core.models.labels import Category, Erasure, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
PROPAGATION_STATES = ("planned", "called", "waiting", "done", "canceled")
REQUEST_KINDS = ("access", "export", "correct", "delete", "restrict", "opt_out", "object")
GUARDIAN_KINDS = ("access", "export", "correct", "delete")
CHANNELS = ("e-mail", "form", "phone", "letter", "in person", "platform")
REQUESTERS = ("subject", "parent", "agent")
OPEN_STATES = ("received", "checking", "verified", "to approve", "waiting", "erasing")
FINAL_STATES = ("answered", "refused", "withdrawn", "reactivated", "erased")
IDENTITY = ("not checked", "asked", "confirmed", "failed")
CLOCK_EVENTS = ("start", "pause", "resume", "extend", "stop", "restart")
TEXTS = ("words", "contact", "note", "reason", "evidence")
LONGEST_TEXT = 20_000
OUTBOX_STATES = ("waiting", "sending", "sent", "failed", "canceled")
LETTERS, BY_RULE, CAMPAIGN = 0, 1, 2  # which of them leave first

_RIGHT = "answers a right of clause 7"
_PROOF = {"reason": "proof that promises were kept", "until": "3 years after the event"}
_RECORD = about(reaches="", erasure=Erasure.KEEP, **_PROOF)
_HISTORY = about(reaches="", erasure=Erasure.KEEP, told_by="request_id", **_PROOF)
_NOBODY = about(reaches="", erasure=Erasure.NONE)


def _request() -> Any:
    return mapped_column(ForeignKey(f"{SCHEMA}.request.id"), index=True, info=technical())


def _staff(*, index: bool = True) -> Any:
    return mapped_column(ForeignKey("staff.staff_member.id"), index=index, info=label(Category.STAFF))


def _somebody(export: str) -> Any:
    shown = label(Category.STAFF, export, stands_for="somebody who works here")
    return mapped_column(ForeignKey("staff.staff_member.id"), index=True, info=shown)


def _subject(kind: str) -> Any:
    blank = label(Category.NOBODY, erasure=Erasure.BLANK)
    return mapped_column(ForeignKey(f"platform.{kind}.id"), index=True, info=blank)


class Request(Base):
    """What a student or visitor asked for. An open one gives a privacy officer the identity it needs, no more.

    No subject set: unknown so far. ``guardian_id``: a parent or guardian asks for themselves; it outlives their row. ``due_at``, ``paused_at`` and ``extended_months`` are what the events of
    ``request_clock`` add up to (core.policy.clock). ``received_at``: when any member of staff had it in hand; ``answered_at``:
    when the person was told what is done. ``version`` counts changes: a screen that shows an older one is refused.
    ``grace_ends_at``: the earliest instant of an erasure. ``outcome`` is a code.
    """

    __tablename__ = "request"
    __table_args__ = (
        one_of("kind", REQUEST_KINDS),
        one_of("channel", CHANNELS),
        one_of("requester", REQUESTERS),
        one_of("state", OPEN_STATES + FINAL_STATES),
        one_of("identity", IDENTITY),
        CheckConstraint("num_nonnulls(student_id, visitor_id, guardian_id) <= 1", name="one_subject"),
        CheckConstraint(
            f"guardian_id is null or kind in ({', '.join(repr(kind) for kind in GUARDIAN_KINDS)})", name="guardian_kinds"
        ),
        CheckConstraint(
            f"(state in ({', '.join(repr(s) for s in FINAL_STATES)})) = (closed_at is not null)", name="final_is_closed"
        ),
        CheckConstraint("received_at <= filed_at", name="received_before_filed"),
        CheckConstraint("extended_months between 0 and 2", name="extension_known"),
        CheckConstraint("(paused_at is null) or (state = 'checking')", name="pause_while_checking"),
        CheckConstraint("early or grace_ends_at is null or account_closed_at is null or grace_ends_at > account_closed_at",
                        name="grace_after_closing"),
        Index("ix_request_open", "due_at", "id", postgresql_where=text("closed_at is null")),
        Index("ix_request_open_student", "student_id", postgresql_where=text("closed_at is null")),
        Index("ix_request_open_visitor", "visitor_id", postgresql_where=text("closed_at is null")),
        Index("ix_request_closed", text("closed_at desc"), text("id desc"), postgresql_where=text("closed_at is not null")),
        Index("ix_request_received", "received_at"),
        Index("uq_request_open_student", "kind", "student_id", unique=True,
              postgresql_where=text("closed_at is null and student_id is not null")),
        Index("uq_request_open_visitor", "kind", "visitor_id", unique=True,
              postgresql_where=text("closed_at is null and visitor_id is not null")),
        Index("uq_request_open_guardian", "kind", "guardian_id", unique=True,
              postgresql_where=text("closed_at is null and guardian_id is not null")),
        {"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.KEEP, **_PROOF)},
    )  # fmt: skip

    id: Mapped[Id]
    number: Mapped[int] = mapped_column(
        BigInteger,
        unique=True,
        server_default=text("nextval('privacy.request_number')"),
        info=outside(_RIGHT, "number"),
    )
    form_key: Mapped[uuid.UUID | None] = mapped_column(unique=True, info=technical())
    kind: Mapped[str] = mapped_column(info=outside(_RIGHT, "request"))
    student_id: Mapped[uuid.UUID | None] = _subject("student")
    visitor_id: Mapped[uuid.UUID | None] = _subject("visitor")
    guardian_id: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    channel: Mapped[str] = mapped_column(server_default="e-mail", info=outside(_RIGHT, "how the request came"))
    requester: Mapped[str] = mapped_column(server_default="subject", info=outside(_RIGHT, "who asked"))
    state: Mapped[str] = mapped_column(info=outside(_RIGHT, "state of the request"))
    version: Mapped[int] = mapped_column(server_default="1", info=technical())
    policy_version: Mapped[str | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.policy_version.version"), index=True, info=technical()
    )
    received_at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "request received"))
    filed_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "request written down"))
    filed_by: Mapped[uuid.UUID | None] = _staff()
    owner_id: Mapped[uuid.UUID | None] = _staff()
    due_at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "answer due"))
    paused_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "paused since"))
    extended_months: Mapped[int] = mapped_column(
        SmallInteger, server_default="0", info=outside(_RIGHT, "months of extension")
    )
    answered_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "request answered"))
    identity: Mapped[str] = mapped_column(server_default="not checked", info=outside(_RIGHT, "identity"))
    identity_method: Mapped[str | None] = mapped_column(info=outside(_RIGHT, "how identity was checked"))
    identity_by: Mapped[uuid.UUID | None] = _staff()
    identity_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "identity checked"))
    account_closed_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "account closed"))
    grace_ends_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "reactivation possible until"))
    opted_out_before: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "opted out of mail before closing"))
    early: Mapped[bool] = mapped_column(Boolean, server_default="false", info=outside(_RIGHT, "grace period waived"))
    approvals_needed: Mapped[int] = mapped_column(SmallInteger, server_default="1", info=technical())
    plan_fingerprint: Mapped[str | None] = mapped_column(info=technical())
    outcome: Mapped[str | None] = mapped_column(info=outside(_RIGHT, "outcome"))
    closed_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "request closed"))
    moved_at: Mapped[datetime | None] = mapped_column(info=technical())
    changed_what: Mapped[str | None] = mapped_column(info=technical())
    changed_by: Mapped[uuid.UUID | None] = _staff()
    source: Mapped[Source]


class Transition(Base):
    """A move that a role may make. Data: changed by a migration only, and held by a trigger on ``request``.

    ``from_state`` '' is the filing; ``role`` is a role of staff, "anyone" (signed in) or "system" (the worker).
    ``requires_distinct_actor``: by somebody who neither filed, closed nor owns this request. ``needs_fresh``: identity of the
    staff member confirmed within five minutes. ``point_of_no_return``: nothing leads back.
    """

    __tablename__ = "transition"
    __table_args__ = (one_of("kind", REQUEST_KINDS), {"schema": SCHEMA, "info": _NOBODY})

    kind: Mapped[str] = mapped_column(primary_key=True, info=technical())
    from_state: Mapped[str] = mapped_column(primary_key=True, info=technical())
    to_state: Mapped[str] = mapped_column(primary_key=True, info=technical())
    role: Mapped[str] = mapped_column(primary_key=True, info=technical())
    requires_distinct_actor: Mapped[bool] = mapped_column(server_default="false", info=technical())
    needs_fresh: Mapped[bool] = mapped_column(server_default="false", info=technical())
    point_of_no_return: Mapped[bool] = mapped_column(server_default="false", info=technical())


class RequestMove(Base):
    """One move of a request, written by the trigger. ``moved_by`` None: the worker, or an import."""

    __tablename__ = "request_move"
    __table_args__ = ({"schema": SCHEMA, "info": _HISTORY},)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"), info=technical())
    request_id: Mapped[uuid.UUID] = _request()
    version: Mapped[int] = mapped_column(info=technical())
    from_state: Mapped[str] = mapped_column(info=outside(_RIGHT, "state before"))
    to_state: Mapped[str] = mapped_column(info=outside(_RIGHT, "state after"))
    moved_at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "moved"))
    moved_by: Mapped[uuid.UUID | None] = _somebody("moved by")


class RequestClock(Base):
    """One event of a request's clock; append-only, in the order of the request's versions.

    ``reason`` is a code, ``months`` belongs to an extension.
    """

    __tablename__ = "request_clock"
    __table_args__ = (
        one_of("what", CLOCK_EVENTS),
        UniqueConstraint("request_id", "version", "what"),
        CheckConstraint("(what = 'extend') = (months is not null)", name="extension_has_months"),
        {"schema": SCHEMA, "info": _HISTORY},
    )

    id: Mapped[Id]
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.request.id"), info=technical())
    version: Mapped[int] = mapped_column(info=technical())
    what: Mapped[str] = mapped_column(info=outside(_RIGHT, "what the clock did"))
    at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "at"))
    set_by: Mapped[uuid.UUID | None] = _somebody("set by")
    reason: Mapped[str] = mapped_column(server_default="", info=outside(_RIGHT, "reason"))
    months: Mapped[int | None] = mapped_column(SmallInteger, info=outside(_RIGHT, "months added"))


class RequestText(Base):
    """What somebody wrote about a request: the person's own words, how to reach them, notes, reasons, evidence."""

    __tablename__ = "request_text"
    __table_args__ = (
        one_of("what", TEXTS),
        CheckConstraint(f"char_length(body) between 1 and {LONGEST_TEXT}", name="body_length"),
        {"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.ROW)},
    )

    id: Mapped[Id]
    form_key: Mapped[uuid.UUID | None] = mapped_column(unique=True, info=technical())
    request_id: Mapped[uuid.UUID] = _request()
    student_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.student.id"), index=True, info=technical()
    )
    visitor_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.visitor.id"), index=True, info=technical()
    )
    what: Mapped[str] = mapped_column(info=outside(_RIGHT, "kind of note"))
    body: Mapped[str] = mapped_column(info=outside(_RIGHT, "text", free_text=True))
    written_by: Mapped[uuid.UUID | None] = _staff()
    written_at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "written"))


class DeletionPlan(Base):
    """What an erasure would do, as it was shown: tables, actions, processors, holds, kept reasons. No person in it."""

    __tablename__ = "deletion_plan"
    __table_args__ = (UniqueConstraint("request_id", "fingerprint"), {"schema": SCHEMA, "info": _RECORD})

    id: Mapped[Id]
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.request.id"), info=technical())
    fingerprint: Mapped[str] = mapped_column(info=technical())
    policy_version: Mapped[str] = mapped_column(info=technical())
    document: Mapped[dict[str, Any]] = mapped_column(JSONB, info=technical())
    made_at: Mapped[datetime] = mapped_column(info=technical())
    made_by: Mapped[uuid.UUID | None] = _staff()


class PlanView(Base):
    """Who was shown which plan, and when. Nobody approves what they have not opened."""

    __tablename__ = "plan_view"
    __table_args__ = (Index("ix_plan_view_request_id", "request_id", "staff_id"), {"schema": SCHEMA, "info": _RECORD})

    id: Mapped[Id]
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.request.id"), info=technical())
    fingerprint: Mapped[str] = mapped_column(info=technical())
    staff_id: Mapped[uuid.UUID] = _staff()
    viewed_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))


class Approval(Base):
    """One person's yes to one plan, or (``staff_id`` None) that of a rule of the policy. ``reason`` is a code.

    ``round`` is the version with which the request came to wait for approval: what was taken back does not count again.
    """

    __tablename__ = "approval"
    __table_args__ = (
        UniqueConstraint("request_id", "fingerprint", "staff_id", "round", postgresql_nulls_not_distinct=True),
        CheckConstraint("(staff_id is null) = (rule is not null)", name="person_or_rule"),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.request.id"), info=technical())
    fingerprint: Mapped[str] = mapped_column(info=technical())
    staff_id: Mapped[uuid.UUID | None] = _staff()
    rule: Mapped[str | None] = mapped_column(info=technical())
    round: Mapped[int] = mapped_column(server_default="0", info=technical())
    reason: Mapped[str] = mapped_column(info=technical())
    approved_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))


class Propagation(Base):
    """What has to follow elsewhere from a decision here, such as "sign-in off": carried out by the worker, or by hand.

    "called": a call left, and its outcome is not known until it is written down. "waiting": for a person (``error`` "manual") or for
    the processor; ``next_at`` says when it is looked at again. ``since``: the first time that it did not go through.
    ``proof`` of what is done: "answered" by the processor, "by hand" with a confirmed manual step, or "recorded" by an officer.
    It follows from a request, or (``restriction_id``, which outlives the restriction) from a restriction that a rule set.
    ``key`` is the one of its manual step and the same in every attempt.
    """

    __tablename__ = "propagation"
    __table_args__ = (
        UniqueConstraint("request_id", "what", "processor", "planned_at"),
        one_of("state", PROPAGATION_STATES),
        one_of("proof", ("", "answered", "by hand", "recorded")),
        CheckConstraint("(state = 'done') = (done_at is not null)", name="done_has_date"),
        CheckConstraint("(state = 'done') = (proof <> '')", name="done_has_proof"),
        CheckConstraint("num_nonnulls(request_id, restriction_id) = 1", name="follows_from_one"),
        Index("uq_propagation_restriction", "restriction_id", "what", "processor", unique=True,
              postgresql_where=text("restriction_id is not null")),
        Index("ix_propagation_open", "planned_at", postgresql_where=text("state in ('planned', 'called', 'waiting')")),
        Index("ix_propagation_done", "processor", "done_at", postgresql_where=text("state = 'done'")),
        {"schema": SCHEMA, "info": _RECORD},
    )  # fmt: skip

    id: Mapped[Id]
    request_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.request.id"), info=technical())
    restriction_id: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    what: Mapped[str] = mapped_column(info=technical())
    processor: Mapped[str] = mapped_column(info=technical())
    state: Mapped[str] = mapped_column(server_default="planned", info=technical())
    planned_at: Mapped[datetime] = mapped_column(info=technical())
    attempts: Mapped[int] = mapped_column(server_default="0", info=technical())
    next_at: Mapped[datetime | None] = mapped_column(info=technical())
    since: Mapped[datetime | None] = mapped_column(info=technical())
    error: Mapped[str] = mapped_column(server_default="", info=technical())
    proof: Mapped[str] = mapped_column(server_default="", info=technical())
    reference: Mapped[str] = mapped_column(server_default="", info=technical())
    done_at: Mapped[datetime | None] = mapped_column(info=technical())
    done_by: Mapped[uuid.UUID | None] = _staff()

    @property
    def key(self) -> str:
        """The key of the manual step that belongs to it."""
        return f"propagation {self.id} {self.processor} {self.what}"


class LetterTemplate(Base):
    """A version of a letter's wording; the highest one counts. What the product ships is version 0, in core/privacy/letters.py."""

    __tablename__ = "letter_template"
    __table_args__ = ({"schema": SCHEMA, "info": _NOBODY},)

    kind: Mapped[str] = mapped_column(primary_key=True, info=technical())
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, info=technical())
    subject: Mapped[str] = mapped_column(info=technical())
    body: Mapped[str] = mapped_column(info=technical())
    written_at: Mapped[datetime] = mapped_column(info=technical())
    written_by: Mapped[uuid.UUID | None] = _staff()


class Outbox(Base):
    """One letter: to be sent not before an instant, once for each ``dedupe_key``. The address is blanked once it was sent.

    ``sent_how`` is "mail" or "by hand"; ``error`` is a code of the last attempt. ``priority``: letters that people wrote (0), mail
    by rule about ``about_id`` (1), campaigns (2); only the first are kept as text, the others are written when they leave.
    ``claim`` is the ticket of whoever is sending it, on ``lane``; ``unclear``: it may have arrived twice. ``bounced_at``: it came back.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        one_of("state", OUTBOX_STATES),
        CheckConstraint("(state = 'sent') = (sent_at is not null)", name="sent_has_date"),
        CheckConstraint("state <> 'sent' or address is null", name="sent_has_no_address"),
        Index("ix_outbox_waiting", "priority", "not_before", "id", postgresql_where=text("state = 'waiting'")),
        Index("ix_outbox_sending", "lane", postgresql_where=text("state = 'sending'")),
        {"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.ROW)},
    )

    id: Mapped[Id]
    dedupe_key: Mapped[str] = mapped_column(unique=True, info=technical())
    request_id: Mapped[uuid.UUID | None] = _request()
    student_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.student.id"), index=True, info=technical()
    )
    visitor_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("platform.visitor.id"), index=True, info=technical()
    )
    kind: Mapped[str] = mapped_column(info=outside(_RIGHT, "kind of letter"))
    template_version: Mapped[int] = mapped_column(info=technical())
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0", info=technical())
    campaign_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.campaign.id"), index=True, info=technical()
    )
    about_id: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    address: Mapped[str | None] = mapped_column(info=outside(_RIGHT, "sent to"))
    subject: Mapped[str] = mapped_column(server_default="", info=outside(_RIGHT, "subject"))
    body: Mapped[str] = mapped_column(server_default="", info=outside(_RIGHT, "letter"))
    state: Mapped[str] = mapped_column(server_default="waiting", info=outside(_RIGHT, "delivery"))
    not_before: Mapped[datetime] = mapped_column(info=technical())
    attempts: Mapped[int] = mapped_column(server_default="0", info=technical())
    error: Mapped[str | None] = mapped_column(info=technical())
    lane: Mapped[int | None] = mapped_column(SmallInteger, info=technical())
    claim: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    tried_at: Mapped[datetime | None] = mapped_column(info=technical())
    unclear: Mapped[bool] = mapped_column(Boolean, server_default=text("false"), info=technical())
    bounced_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "letter came back"))
    written_at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "letter written"))
    written_by: Mapped[uuid.UUID | None] = _staff()
    sent_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "letter sent"))
    sent_by: Mapped[uuid.UUID | None] = _staff()
    sent_how: Mapped[str | None] = mapped_column(info=technical())


class Declaration(Base):
    """Something the company declares about itself, such as "single officer"; in force from ``since`` to ``until``."""

    __tablename__ = "declaration"
    __table_args__ = (
        Index("uq_declaration_standing", "what", unique=True, postgresql_where=text("until is null")),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[Id]
    what: Mapped[str] = mapped_column(info=technical())
    since: Mapped[datetime] = mapped_column(info=technical())
    until: Mapped[datetime | None] = mapped_column(info=technical())
