"""Who works here: accounts, sessions, assignments, throttling and one-time file links."""

import uuid
from datetime import date, datetime

from sqlalchemy import BigInteger, CheckConstraint, Date, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, technical
from core.models.platform import one_of

SCHEMA = "staff"
ROLES = ("program_staff", "instructor", "mentor", "privacy_officer", "admin", "auditor")
TEACHING_ROLES = ("instructor", "mentor")
JOB_STATES = ("waiting", "running", "done", "failed", "over")
CODED_ROLES = ("privacy_officer", "admin")  # for whom one-time codes are obligatory
CODE_KINDS = ("invitation", "password reset", "full reset")
PROPOSAL_KINDS = ("account", "role", "enable", "full reset")
DECISIONS = ("approved", "declined", "withdrawn")
VERDICTS = ("confirmed", "removed", "gone")

_STAFF = about(
    reaches="", erasure=Erasure.KEEP, reason="proof of who acted", until="3 years after the last day of work"
)
_SHORT = about(reaches="", erasure=Erasure.NONE)


class StaffMember(Base):
    """Someone who may sign in. ``password_hash`` is bcrypt over a keyed hash (core.privacy.passwords); None: no password yet.
    ``ends_at``: from then on it is as good as disabled; an auditor's account always has one (migration 0032).
    ``totp_secret`` is encrypted (core.privacy.totp); ``totp_step`` is the last half minute whose one-time code was used."""

    __tablename__ = "staff_member"
    __table_args__ = (
        one_of("role", ROLES),
        Index("uq_staff_member_email", text("lower(email)"), unique=True),
        {"schema": SCHEMA, "info": _STAFF},
    )

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(info=label(Category.STAFF))
    name: Mapped[str] = mapped_column(info=label(Category.STAFF))
    role: Mapped[str] = mapped_column(info=label(Category.STAFF))
    password_hash: Mapped[str | None] = mapped_column(info=label(Category.STAFF))
    password_since: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    created_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    disabled_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    ends_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    demo: Mapped[bool] = mapped_column(server_default="false", info=technical())
    totp_secret: Mapped[bytes | None] = mapped_column(info=label(Category.STAFF))
    totp_since: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    totp_step: Mapped[int | None] = mapped_column(BigInteger, info=technical())


class StaffSession(Base):
    """One sign-in. Only SHA-256 hashes of its secrets are kept: of the token that the tab holds in its server-side state,
    of the cookie that brings a reload back, and of the ticket that is exchanged for the cookie once. ``confirmed_at`` is
    the last full proof of who this is: the sign-in, or a later confirmation before something dangerous."""

    __tablename__ = "session"
    __table_args__ = ({"schema": SCHEMA, "info": _SHORT},)

    id: Mapped[Id]
    staff_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    token_hash: Mapped[bytes] = mapped_column(unique=True, info=technical())
    cookie_hash: Mapped[bytes | None] = mapped_column(unique=True, info=technical())
    ticket_hash: Mapped[bytes | None] = mapped_column(unique=True, info=technical())
    ticket_expires_at: Mapped[datetime | None] = mapped_column(info=technical())
    ticket_used_at: Mapped[datetime | None] = mapped_column(info=technical())
    started_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    confirmed_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    seen_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    expires_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    ended_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    end_reason: Mapped[str | None] = mapped_column(info=label(Category.STAFF))


class Throttle(Base):
    """Failed sign-ins in a row, by a keyed hash of the name that was typed (known or not)."""

    __tablename__ = "throttle"
    __table_args__ = ({"schema": SCHEMA, "info": _SHORT},)

    name_hash: Mapped[bytes] = mapped_column(primary_key=True, info=technical())
    failures: Mapped[int] = mapped_column(info=technical())
    failed_at: Mapped[datetime] = mapped_column(info=technical())
    locked_until: Mapped[datetime | None] = mapped_column(info=technical())


class Assignment(Base):
    """Opens the learning data of one cohort to one staff member from ``starts_on`` to ``ends_on`` (both included).

    One that was ended before it took effect ends on the day before it starts.
    """

    __tablename__ = "assignment"
    __table_args__ = (
        CheckConstraint("ends_on is null or ends_on >= starts_on - 1", name="ends_after_start"),
        Index("ix_assignment_staff", "staff_id", "cohort_id"),
        {"schema": SCHEMA, "info": _STAFF},
    )

    id: Mapped[Id]
    staff_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.staff_member.id"), info=label(Category.STAFF))
    cohort_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("platform.cohort.id"), index=True, info=label(Category.STAFF)
    )
    starts_on: Mapped[date] = mapped_column(Date, info=label(Category.STAFF))
    ends_on: Mapped[date | None] = mapped_column(Date, info=label(Category.STAFF))
    created_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))


class Invitation(Base):
    """A one-time code with which a person chooses a password: an invitation, or a reset. Only SHA-256 of it is kept."""

    __tablename__ = "invitation"
    __table_args__ = (one_of("kind", CODE_KINDS), {"schema": SCHEMA, "info": _STAFF})

    id: Mapped[Id]
    staff_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    kind: Mapped[str] = mapped_column(info=label(Category.STAFF))
    code_hash: Mapped[bytes] = mapped_column(unique=True, info=technical())
    made_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    made_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    expires_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    used_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    revoked_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))


class Proposal(Base):
    """A grant that one admin asked for and another one approves: a new account, another role, an account opened again, or
    new one-time codes for a privacy officer or an admin. ``before`` and ``after`` are roles."""

    __tablename__ = "proposal"
    __table_args__ = (
        one_of("kind", PROPOSAL_KINDS),
        one_of("decision", DECISIONS),
        CheckConstraint("(decision is null) = (decided_at is null)", name="decided_whole"),
        Index("uq_proposal_open", "staff_id", unique=True, postgresql_where=text("decided_at is null")),
        {"schema": SCHEMA, "info": _STAFF},
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(info=label(Category.STAFF))
    staff_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    before: Mapped[str | None] = mapped_column(info=label(Category.STAFF))
    after: Mapped[str] = mapped_column(info=label(Category.STAFF))
    reason: Mapped[str] = mapped_column(info=label(Category.STAFF))
    proposed_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    proposed_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    decision: Mapped[str | None] = mapped_column(info=label(Category.STAFF))
    decided_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    decided_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    alone: Mapped[bool] = mapped_column(server_default="false", info=label(Category.STAFF))


class DeclaredMode(Base):
    """A rule for two persons that a company too small for it declared not to keep, openly: "single admin"."""

    __tablename__ = "declared_mode"
    __table_args__ = (
        one_of("kind", ("single admin",)),
        Index("uq_declared_mode_open", "kind", unique=True, postgresql_where=text("ended_at is null")),
        {"schema": SCHEMA, "info": _STAFF},
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(info=label(Category.STAFF))
    reason: Mapped[str] = mapped_column(info=label(Category.STAFF))
    declared_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    declared_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    ended_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))


class AccessReview(Base):
    """A quarterly look at everybody's rights. Over when every item has a verdict.

    ``confirmed_alone``: how many rights their own holder confirmed, because nobody else is there (single-admin mode).
    """

    __tablename__ = "access_review"
    __table_args__ = (
        Index(
            "uq_access_review_open",
            text("(completed_at is null)"),
            unique=True,
            postgresql_where=text("completed_at is null"),
        ),
        {"schema": SCHEMA, "info": _STAFF},
    )

    id: Mapped[Id]
    started_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    started_at: Mapped[datetime] = mapped_column(info=label(Category.STAFF))
    due_on: Mapped[date] = mapped_column(Date, info=label(Category.STAFF))
    completed_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))
    confirmed_alone: Mapped[int] = mapped_column(default=0, server_default="0", info=label(Category.STAFF))


class AccessReviewItem(Base):
    """One right in a review: an account with its role (no assignment), or one assignment. "gone": it ended meanwhile."""

    __tablename__ = "access_review_item"
    __table_args__ = (
        one_of("verdict", VERDICTS),
        CheckConstraint("(verdict is null) = (decided_at is null)", name="decided_whole"),
        {"schema": SCHEMA, "info": _STAFF},
    )

    id: Mapped[Id]
    review_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.access_review.id"), index=True, info=technical())
    staff_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    role: Mapped[str] = mapped_column(info=label(Category.STAFF))
    assignment_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.assignment.id"), index=True, info=label(Category.STAFF)
    )
    verdict: Mapped[str | None] = mapped_column(info=label(Category.STAFF))
    decided_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    decided_at: Mapped[datetime | None] = mapped_column(info=label(Category.STAFF))


class FileLink(Base):
    """A file that waits to be fetched once, by the session that asked for it. ``content`` is encrypted.

    Instead of a content it may lead to an artifact (core.models.artifacts); with ``password``, encrypted too, that leaves as
    a ZIP which only the password opens.
    """

    __tablename__ = "file_link"
    __table_args__ = (
        CheckConstraint("num_nonnulls(content, artifact_id) = 1", name="one_content"),
        CheckConstraint("password is null or artifact_id is not null", name="password_for_artifact"),
        {"schema": SCHEMA, "info": _SHORT},
    )

    token_hash: Mapped[bytes] = mapped_column(primary_key=True, info=technical())
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.session.id"), index=True, info=technical())
    name: Mapped[str] = mapped_column(info=technical())
    media_type: Mapped[str] = mapped_column(info=technical())
    content: Mapped[bytes | None] = mapped_column(info=technical())
    artifact_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("privacy.artifact.id"), index=True, info=technical()
    )
    password: Mapped[bytes | None] = mapped_column(info=technical())
    created_at: Mapped[datetime] = mapped_column(info=technical())
    expires_at: Mapped[datetime] = mapped_column(index=True, info=technical())
    opened_at: Mapped[datetime | None] = mapped_column(info=technical())


class WorkerHeartbeat(Base):
    """When each worker last said that it lives. ``seen_at`` is the same by the clock of the database (core.timekeeping)."""

    __tablename__ = "worker_heartbeat"
    __table_args__ = ({"schema": SCHEMA, "info": _SHORT},)

    worker: Mapped[str] = mapped_column(primary_key=True, info=technical())
    beat_at: Mapped[datetime] = mapped_column(info=technical())
    seen_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"), info=technical())


class WorkerJob(Base):
    """A job of the workers: what of ``kind`` is due, for which ``key``; held by a lease and its ``fence`` (core.leases).

    ``failed`` is a dead letter, ``over`` one that nobody needs any more. ``error`` is a code, ``result`` holds counts.
    """

    __tablename__ = "job"
    __table_args__ = (
        UniqueConstraint("kind", "key"),
        one_of("state", JOB_STATES),
        CheckConstraint("(state = 'running') = (lease_until is not null)", name="running_has_lease"),
        Index("ix_job_open", "kind", "next_at", "key", postgresql_where=text("state in ('waiting', 'running')")),
        {"schema": SCHEMA, "info": _SHORT},
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(info=technical())
    key: Mapped[str] = mapped_column(info=technical())
    state: Mapped[str] = mapped_column(server_default="waiting", info=technical())
    attempts: Mapped[int] = mapped_column(server_default="0", info=technical())
    next_at: Mapped[datetime] = mapped_column(info=technical())
    lease_owner: Mapped[str | None] = mapped_column(info=technical())
    lease_until: Mapped[datetime | None] = mapped_column(info=technical())
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0", info=technical())
    error: Mapped[str | None] = mapped_column(info=technical())
    result: Mapped[dict[str, int] | None] = mapped_column(JSONB, info=technical())
    created_at: Mapped[datetime] = mapped_column(info=technical())
    finished_at: Mapped[datetime | None] = mapped_column(info=technical())
