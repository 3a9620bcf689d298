"""People and learning: what the platform knows and the dashboard keeps a copy of.

Outcome, scores and progress stand in the learning tables, never on ``enrollment``: row-level security hides rows, not
columns, and program staff read every enrollment. Learning tables repeat ``cohort_id`` so that their policies ask one
indexed column; a composite foreign key keeps the copy true.
"""

import uuid
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import (
    CheckConstraint,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id, Source, SourceKey
from core.models.labels import Category, Erasure, Processor, about, label, outside, technical

SCHEMA = "platform"
ENROLLMENT_STATUS = ("registered", "active", "ended", "withdrawn")
EXPERIENCE_LEVELS = ("beginner", "intermediate", "advanced", "not stated")
RESULT_KINDS = ("distinction", "pass", "fail", "withdrawn")
PROGRESS_STATUS = ("not started", "in progress", "done", "failed")
SUBMISSION_STATUS = ("waiting for review", "passed", "failed")
VISITOR_STATUS = ("new", "answered", "in contact", "lost")
FIGURE_KINDS = ("active", "on plan", "completed", "withdrawn")
HELP_LIMITS = {"quiet_days": 60, "behind_modules": 50, "failed_times": 20, "waiting_days": 60, "clicks_percent": 100}
ROLLUP_KINDS = ("enrolled", "began", "withdrawn", "asked")
FOLLOW_UP_KINDS = ("contact made", "owner set", "next contact set", "status set")

_NOBODY = about(reaches="", erasure=Erasure.NONE)
_STUDENT_ROW = about(reaches="student_id", erasure=Erasure.ROW, processors=(Processor.MONGODB,))


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """Return a check constraint: the column holds one of the values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} in ({listed})", name=f"{column}_known")


class Program(Base):
    """What students enroll in."""

    __tablename__ = "program"
    __table_args__ = (UniqueConstraint("source", "source_key"), {"schema": SCHEMA, "info": _NOBODY})

    id: Mapped[Id]
    code: Mapped[str] = mapped_column(unique=True, info=technical())
    title: Mapped[str] = mapped_column(info=technical())
    source: Mapped[Source]
    source_key: Mapped[SourceKey]


class Cohort(Base):
    """One run of a program, from ``starts_on`` to ``ends_on`` (both included)."""

    __tablename__ = "cohort"
    __table_args__ = (
        UniqueConstraint("source", "source_key"),
        CheckConstraint("ends_on >= starts_on", name="ends_after_start"),
        Index("ix_cohort_starts", text("starts_on desc"), "title"),
        Index("ix_cohort_title", "title"),
        Index(
            "ix_cohort_search",
            text("(lower(title) || ' ' || lower(code)) public.gin_trgm_ops"),
            postgresql_using="gin",
        ),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[Id]
    program_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.program.id"), index=True, info=technical())
    code: Mapped[str] = mapped_column(unique=True, info=technical())
    title: Mapped[str] = mapped_column(info=technical())
    starts_on: Mapped[date] = mapped_column(Date, info=technical())
    ends_on: Mapped[date] = mapped_column(Date, info=technical())
    seats: Mapped[int | None] = mapped_column(SmallInteger, info=technical())
    source: Mapped[Source]
    source_key: Mapped[SourceKey]


class Module(Base):
    """A part of a program. ``cohort_id`` is set when the module belongs to one run only."""

    __tablename__ = "module"
    __table_args__ = (UniqueConstraint("source", "source_key"), {"schema": SCHEMA, "info": _NOBODY})

    id: Mapped[Id]
    program_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.program.id"), index=True, info=technical())
    cohort_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.cohort.id"), index=True, info=technical())
    position: Mapped[int] = mapped_column(SmallInteger, info=technical())
    title: Mapped[str] = mapped_column(info=technical())
    kind: Mapped[str] = mapped_column(info=technical())
    weight: Mapped[Decimal | None] = mapped_column(Numeric(6, 2), info=technical())
    due_day: Mapped[int | None] = mapped_column(SmallInteger, info=technical())
    source: Mapped[Source]
    source_key: Mapped[SourceKey]


class Student(Base):
    """A person with an account on the platform. No age here: it lives in the consent record only.

    ``email_hash`` and ``provider_hash`` are keyed hashes made in Python, compared with the suppression list.
    """

    __tablename__ = "student"
    __table_args__ = (
        UniqueConstraint("source", "source_key"),
        one_of("experience_level", EXPERIENCE_LEVELS),
        one_of("account_status", ("open", "closed")),
        CheckConstraint("(account_status = 'closed') = (closed_at is not null)", name="closed_has_date"),
        Index(
            "ix_student_search",
            text("(lower(name) || ' ' || lower(email)) public.gin_trgm_ops"),
            postgresql_using="gin",
        ),
        Index("ix_student_name", text("lower(name)"), "id"),
        Index("ix_student_closed_at", "closed_at", postgresql_where=text("closed_at is not null")),
        Index("ix_student_closed", "id", postgresql_where=text("account_status = 'closed'")),
        Index("uq_student_email", text("lower(email)"), unique=True),
        {
            "schema": SCHEMA,
            "info": about(
                reaches="id", erasure=Erasure.ROW, processors=(Processor.MONGODB, Processor.VERCEL, Processor.SMTP)
            ),
        },
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(info=label(Category.ACCOUNT, "name", correctable=True))
    email: Mapped[str] = mapped_column(info=label(Category.ACCOUNT, "e-mail", correctable=True))
    experience_level: Mapped[str] = mapped_column(
        server_default="not stated", info=label(Category.PROFILE, "experience level", correctable=True)
    )
    account_status: Mapped[str] = mapped_column(server_default="open", info=label(Category.ACCOUNT, "account status"))
    registered_at: Mapped[datetime] = mapped_column(info=label(Category.ACCOUNT, "account opened"))
    closed_at: Mapped[datetime | None] = mapped_column(info=label(Category.ACCOUNT, "account closed"))
    email_hash: Mapped[bytes] = mapped_column(index=True, info=technical())
    provider_hash: Mapped[bytes] = mapped_column(index=True, info=technical())
    source: Mapped[Source]
    source_key: Mapped[SourceKey]


_RECORDS_ONLY = (Processor.MONGODB,)  # a table that others get a part of, and not this


class StudentProfile(Base):
    """What a student adds about themselves. Apart from ``student``, because those who teach do not need it.

    The media library gets the picture, and none of the words.
    """

    __tablename__ = "student_profile"
    __table_args__ = (
        {
            "schema": SCHEMA,
            "info": about(
                reaches="student_id", erasure=Erasure.ROW, processors=(Processor.MONGODB, Processor.CLOUDINARY)
            ),
        },
    )

    student_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.student.id"), primary_key=True, info=technical()
    )
    phone: Mapped[str | None] = mapped_column(
        info=label(Category.ACCOUNT, "phone", correctable=True, processors=_RECORDS_ONLY)
    )
    headline: Mapped[str | None] = mapped_column(
        info=label(Category.PROFILE, "headline", correctable=True, processors=_RECORDS_ONLY)
    )
    link: Mapped[str | None] = mapped_column(
        info=label(Category.PROFILE, "personal link", correctable=True, processors=_RECORDS_ONLY)
    )
    avatar_url: Mapped[str | None] = mapped_column(info=label(Category.PROFILE, "picture"))
    opted_out_at: Mapped[datetime | None] = mapped_column(
        info=label(Category.PROFILE, "opted out of mail", processors=_RECORDS_ONLY)
    )


class Enrollment(Base):
    """A student's place in a cohort. Status and dates only: how it went stands in ``result``.

    ``ended`` follows the cohort's end, the same day for everyone, so that it tells nothing of an outcome.
    """

    __tablename__ = "enrollment"
    __table_args__ = (
        UniqueConstraint("student_id", "cohort_id"),
        UniqueConstraint("id", "cohort_id"),
        UniqueConstraint("source", "source_key"),
        one_of("status", ENROLLMENT_STATUS),
        CheckConstraint("(status = 'withdrawn') = (withdrawn_at is not null)", name="withdrawn_has_date"),
        Index("ix_enrollment_newest", text("enrolled_at desc"), text("id desc")),
        Index("ix_enrollment_program", "program_id", text("enrolled_at desc"), text("id desc")),
        Index("ix_enrollment_cohort", "cohort_id", text("enrolled_at desc"), text("id desc")),
        Index("ix_enrollment_status", "status", text("enrolled_at desc"), text("id desc")),
        Index(
            "ix_enrollment_unconfirmed",
            text("enrolled_at desc"),
            text("id desc"),
            postgresql_where=text("confirmed_at is null"),
        ),
        Index("ix_enrollment_withdrawn", text("withdrawn_at desc"), postgresql_where=text("withdrawn_at is not null")),
        {"schema": SCHEMA, "info": _STUDENT_ROW},
    )

    id: Mapped[Id]
    student_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.student.id"), info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.cohort.id"), info=technical())
    program_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.program.id"), info=technical())
    status: Mapped[str] = mapped_column(info=label(Category.LEARNING, "enrollment status"))
    enrolled_at: Mapped[datetime] = mapped_column(info=label(Category.LEARNING, "enrolled"))
    started_at: Mapped[datetime | None] = mapped_column(info=label(Category.LEARNING, "started"))
    withdrawn_at: Mapped[datetime | None] = mapped_column(info=label(Category.LEARNING, "withdrawn"))
    confirmed_at: Mapped[datetime | None] = mapped_column(info=label(Category.LEARNING, "confirmation sent"))
    source: Mapped[Source]
    source_key: Mapped[SourceKey]


def _of_enrollment() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["enrollment_id", "cohort_id"], [f"{SCHEMA}.enrollment.id", f"{SCHEMA}.enrollment.cohort_id"]
    )


_ENROLLMENT_ROW = about(reaches="enrollment_id", erasure=Erasure.ROW, processors=(Processor.MONGODB,))
_STAFF_ROW = about(reaches="enrollment_id", erasure=Erasure.ROW)  # written here, sent to nobody


class ModuleProgress(Base):
    """How far a student is in one module."""

    __tablename__ = "module_progress"
    __table_args__ = (
        _of_enrollment(),
        one_of("status", PROGRESS_STATUS),
        Index(
            "uq_module_progress_enrollment",
            "enrollment_id",
            "module_id",
            unique=True,
            postgresql_include=["status", "score"],
        ),
        {"schema": SCHEMA, "info": _ENROLLMENT_ROW},
    )

    id: Mapped[Id]
    enrollment_id: Mapped[uuid.UUID] = mapped_column(info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(index=True, info=technical())
    module_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.module.id"), index=True, info=technical())
    status: Mapped[str] = mapped_column(info=label(Category.LEARNING, "progress"))
    score: Mapped[Decimal | None] = mapped_column(Numeric(5, 2), info=label(Category.LEARNING, "score"))
    started_at: Mapped[datetime | None] = mapped_column(info=label(Category.LEARNING, "module started"))
    done_at: Mapped[datetime | None] = mapped_column(info=label(Category.LEARNING, "module done"))
    active_at: Mapped[datetime | None] = mapped_column(info=label(Category.LEARNING, "last active"))


class Submission(Base):
    """A piece of work handed in. ``score`` is out of 100; None until it is reviewed."""

    __tablename__ = "submission"
    __table_args__ = (
        _of_enrollment(),
        UniqueConstraint("source", "source_key"),
        one_of("status", SUBMISSION_STATUS),
        CheckConstraint("score between 0 and 100", name="score_range"),
        Index("ix_submission_enrollment", "enrollment_id", text("submitted_at desc")),
        Index(
            "ix_submission_waiting",
            "cohort_id",
            "submitted_at",
            postgresql_where=text("status = 'waiting for review'"),
        ),
        Index(
            "ix_submission_failed",
            "cohort_id",
            "enrollment_id",
            "module_id",
            postgresql_where=text("status = 'failed'"),
        ),
        {"schema": SCHEMA, "info": _ENROLLMENT_ROW},
    )

    id: Mapped[Id]
    enrollment_id: Mapped[uuid.UUID] = mapped_column(info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(info=technical())
    module_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.module.id"), index=True, info=technical())
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="1", info=label(Category.LEARNING, "attempt"))
    submitted_at: Mapped[datetime] = mapped_column(info=label(Category.LEARNING, "submitted"))
    status: Mapped[str] = mapped_column(info=label(Category.LEARNING, "review status"))
    score: Mapped[Decimal | None] = mapped_column(Numeric(5, 2), info=label(Category.LEARNING, "score"))
    url: Mapped[str | None] = mapped_column(info=label(Category.LEARNING, "link"))
    source: Mapped[Source]
    source_key: Mapped[SourceKey]


class CodeReview(Base):
    """What a mentor wrote about a submission."""

    __tablename__ = "code_review"
    __table_args__ = (
        _of_enrollment(),
        {"schema": SCHEMA, "info": _ENROLLMENT_ROW},
    )

    id: Mapped[Id]
    submission_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.submission.id"), index=True, info=technical()
    )
    enrollment_id: Mapped[uuid.UUID] = mapped_column(index=True, info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(index=True, info=technical())
    reviewer_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"),
        index=True,
        info=label(Category.STAFF, "reviewed by", stands_for="somebody who teaches"),
    )
    reviewed_at: Mapped[datetime] = mapped_column(info=label(Category.LEARNING, "reviewed"))
    passed: Mapped[bool] = mapped_column(info=label(Category.LEARNING, "passed"))
    comment: Mapped[str] = mapped_column(info=label(Category.LEARNING, "review comment", free_text=True))


class Result(Base):
    """How an enrollment ended. Opens by assignment only."""

    __tablename__ = "result"
    __table_args__ = (
        _of_enrollment(),
        one_of("kind", RESULT_KINDS),
        {"schema": SCHEMA, "info": _ENROLLMENT_ROW},
    )

    enrollment_id: Mapped[uuid.UUID] = mapped_column(primary_key=True, info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(index=True, info=technical())
    kind: Mapped[str] = mapped_column(info=label(Category.LEARNING, "result"))
    decided_at: Mapped[datetime] = mapped_column(info=label(Category.LEARNING, "result decided"))
    source: Mapped[Source]


class Certificate(Base):
    """A certificate that was issued; ``number`` is printed on it."""

    __tablename__ = "certificate"
    __table_args__ = (
        _of_enrollment(),
        {
            "schema": SCHEMA,
            "info": about(
                reaches="enrollment_id", erasure=Erasure.ROW, processors=(Processor.MONGODB, Processor.CLOUDINARY)
            ),
        },
    )

    id: Mapped[Id]
    enrollment_id: Mapped[uuid.UUID] = mapped_column(unique=True, info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(index=True, info=technical())
    number: Mapped[str] = mapped_column(unique=True, info=label(Category.LEARNING, "certificate number"))
    honors: Mapped[bool] = mapped_column(server_default="false", info=label(Category.LEARNING, "with distinction"))
    issued_at: Mapped[datetime] = mapped_column(info=label(Category.LEARNING, "certificate issued"))
    url: Mapped[str | None] = mapped_column(info=label(Category.LEARNING, "certificate link"))
    source: Mapped[Source]


class HelpNote(Base):
    """What somebody who teaches noted about a student who needs help: handled until a day, and a few words.

    The newest note of an enrollment holds. ``handled_until`` None: put back on the list.
    """

    __tablename__ = "help_note"
    __table_args__ = (
        _of_enrollment(),
        CheckConstraint("char_length(note) <= 500", name="short"),
        Index("ix_help_note_enrollment", "enrollment_id", text("written_at desc"), text("id desc")),
        {"schema": SCHEMA, "info": _STAFF_ROW},
    )

    id: Mapped[Id]
    enrollment_id: Mapped[uuid.UUID] = mapped_column(info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(index=True, info=technical())
    handled_until: Mapped[date | None] = mapped_column(Date, info=label(Category.LEARNING, "handled until"))
    note: Mapped[str] = mapped_column(
        server_default="", info=label(Category.LEARNING, "note of those who teach", free_text=True)
    )
    written_by: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("staff.staff_member.id"),
        index=True,
        info=label(Category.STAFF, "noted by", stands_for="somebody who teaches"),
    )
    written_at: Mapped[datetime] = mapped_column(info=label(Category.LEARNING, "noted"))


class HelpLimit(Base):
    """From when on a student of this cohort needs help; a cohort without a row has the usual limits. 0: never."""

    __tablename__ = "help_limit"
    __table_args__ = (
        *(CheckConstraint(f"{name} between 0 and {most}", name=f"{name}_range") for name, most in HELP_LIMITS.items()),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    cohort_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.cohort.id"), primary_key=True, info=technical())
    quiet_days: Mapped[int] = mapped_column(SmallInteger, info=technical())
    behind_modules: Mapped[int] = mapped_column(SmallInteger, info=technical())
    failed_times: Mapped[int] = mapped_column(SmallInteger, info=technical())
    waiting_days: Mapped[int] = mapped_column(SmallInteger, info=technical())
    clicks_percent: Mapped[int] = mapped_column(SmallInteger, info=technical())
    changed_by: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    changed_at: Mapped[datetime] = mapped_column(info=technical())


class ReviewClaim(Base):
    """Who takes the review of a submission. ``staff_id`` None: it was given back. Apart from ``submission``, which is the
    platform's own record."""

    __tablename__ = "review_claim"
    __table_args__ = (
        _of_enrollment(),
        {"schema": SCHEMA, "info": _STAFF_ROW},
    )

    submission_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.submission.id"), primary_key=True, info=technical()
    )
    enrollment_id: Mapped[uuid.UUID] = mapped_column(index=True, info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(index=True, info=technical())
    staff_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"),
        index=True,
        info=label(Category.STAFF, "review taken by", stands_for="somebody who teaches"),
    )
    taken_at: Mapped[datetime] = mapped_column(info=label(Category.LEARNING, "review taken"))


class UsageEvent(Base):
    """What a student did on the platform on one day, counted. Partitioned by month of ``at``."""

    __tablename__ = "usage_event"
    __table_args__ = (
        PrimaryKeyConstraint("at", "id"),
        Index("ix_usage_event_enrollment", "enrollment_id", text("at desc")),
        Index("ix_usage_event_cohort", "cohort_id", text("at desc")),
        {
            "schema": SCHEMA,
            "info": _ENROLLMENT_ROW,
            "postgresql_partition_by": "range (at)",
        },
    )

    at: Mapped[datetime] = mapped_column(info=label(Category.USAGE, "when"))
    id: Mapped[uuid.UUID] = mapped_column(info=technical())
    enrollment_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.enrollment.id"), info=technical())
    cohort_id: Mapped[uuid.UUID] = mapped_column(info=technical())
    kind: Mapped[str] = mapped_column(info=label(Category.USAGE, "what"))
    item: Mapped[str] = mapped_column(info=label(Category.USAGE, "which page"))
    clicks: Mapped[int] = mapped_column(info=label(Category.USAGE, "clicks"))
    source: Mapped[Source]


class EmailLog(Base):
    """One mail that was sent or tried. Partitioned by month of ``sent_at``; gone after the period of clause 8."""

    __tablename__ = "email_log"
    __table_args__ = (
        PrimaryKeyConstraint("sent_at", "id"),
        CheckConstraint("num_nonnulls(student_id, visitor_id) = 1", name="one_recipient"),
        one_of("outcome", ("sent", "bounced", "failed")),
        Index("ix_email_log_student", "student_id"),
        Index("ix_email_log_visitor", "visitor_id"),
        {
            "schema": SCHEMA,
            "info": about(reaches="student_id", erasure=Erasure.ROW, processors=(Processor.SMTP,)),
            "postgresql_partition_by": "range (sent_at)",
        },
    )

    sent_at: Mapped[datetime] = mapped_column(info=outside("proof of delivery for 90 days (clause 8)", "mail sent"))
    id: Mapped[uuid.UUID] = mapped_column(info=technical())
    student_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.student.id"), info=technical())
    visitor_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey(f"{SCHEMA}.visitor.id"), info=technical())
    kind: Mapped[str] = mapped_column(info=outside("what the mail was for (clause 2)", "kind of mail"))
    address: Mapped[str] = mapped_column(info=label(Category.ACCOUNT, "mail address used"))
    outcome: Mapped[str] = mapped_column(info=outside("delivery result, for 90 days (clause 8)", "delivery"))
    source: Mapped[Source]


class Visitor(Base):
    """Someone who left their details in a form."""

    __tablename__ = "visitor"
    __table_args__ = (
        UniqueConstraint("source", "source_key"),
        one_of("status", VISITOR_STATUS),
        one_of("experience_level", EXPERIENCE_LEVELS),
        Index("ix_visitor_asked", text("asked_at desc"), text("id desc")),
        Index("ix_visitor_email", text("lower(email)")),
        Index("ix_visitor_status", "status", text("asked_at desc"), text("id desc")),
        Index("ix_visitor_program", "program_id", text("asked_at desc"), text("id desc")),
        Index("ix_visitor_owner", "owner_id", text("asked_at desc"), text("id desc")),
        Index(
            "ix_visitor_unowned",
            text("asked_at desc"),
            text("id desc"),
            postgresql_where=text("owner_id is null and status in ('new', 'in contact')"),
        ),
        Index(
            "ix_visitor_waiting",
            text("asked_at desc"),
            text("id desc"),
            postgresql_where=text("answered_at is null and status = 'new'"),
        ),
        Index("ix_visitor_next", text("coalesce(next_contact_on, 'infinity'::date)"), "id"),
        Index("ix_visitor_name", text("lower(name)"), "id"),
        Index(
            "ix_visitor_search",
            text("(lower(name) || ' ' || lower(email)) public.gin_trgm_ops"),
            postgresql_using="gin",
        ),
        {"schema": SCHEMA, "info": about(reaches="id", erasure=Erasure.ROW, processors=(Processor.MONGODB,))},
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(info=label(Category.CONTACT, "name", correctable=True))
    email: Mapped[str] = mapped_column(info=label(Category.CONTACT, "e-mail", correctable=True))
    phone: Mapped[str | None] = mapped_column(info=label(Category.CONTACT, "phone", correctable=True))
    program_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.program.id"), info=label(Category.INTEREST, "program of interest")
    )
    experience_level: Mapped[str] = mapped_column(
        server_default="not stated", info=label(Category.INTEREST, "experience level", correctable=True)
    )
    message: Mapped[str | None] = mapped_column(info=label(Category.INTEREST, "message"))
    status: Mapped[str] = mapped_column(server_default="new", info=outside("follow-up by staff", "follow-up"))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), info=label(Category.STAFF, "in contact with", stands_for="program staff")
    )
    next_contact_on: Mapped[date | None] = mapped_column(Date, info=outside("follow-up by staff", "next contact"))
    asked_at: Mapped[datetime] = mapped_column(info=label(Category.CONTACT, "asked for contact"))
    answered_at: Mapped[datetime | None] = mapped_column(info=outside("follow-up by staff", "answered"))
    email_hash: Mapped[bytes] = mapped_column(index=True, info=technical())
    provider_hash: Mapped[bytes] = mapped_column(index=True, info=technical())
    source: Mapped[Source]
    source_key: Mapped[SourceKey]


class FollowUp(Base):
    """One step in following a visitor up: who did what. Only added to.

    ``step`` counts from 1 for each visitor: whoever acts says which step they saw last, and of two people at once only one
    can write the next.
    """

    __tablename__ = "follow_up"
    __table_args__ = (
        one_of("kind", FOLLOW_UP_KINDS),
        one_of("status", VISITOR_STATUS),
        CheckConstraint("char_length(note) <= 1000", name="note_is_short"),
        UniqueConstraint("visitor_id", "step"),
        {"schema": SCHEMA, "info": about(reaches="visitor_id", erasure=Erasure.ROW)},
    )

    id: Mapped[Id]
    visitor_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.visitor.id"), info=technical())
    step: Mapped[int] = mapped_column(SmallInteger, info=technical())
    at: Mapped[datetime] = mapped_column(info=outside("follow-up by staff", "followed up"))
    by_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("staff.staff_member.id"),
        index=True,
        info=label(Category.STAFF, "followed up by", stands_for="program staff"),
    )
    kind: Mapped[str] = mapped_column(info=outside("follow-up by staff", "step"))
    owner_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    next_contact_on: Mapped[date | None] = mapped_column(Date, info=outside("follow-up by staff", "next contact"))
    status: Mapped[str | None] = mapped_column(info=outside("follow-up by staff", "follow-up"))
    note: Mapped[str | None] = mapped_column(info=outside("follow-up by staff", "note", free_text=True))


class VisitorDevice(Base):
    """The device a visitor used. Apart from ``visitor``: it serves the watch for abuse only (clause 2)."""

    __tablename__ = "visitor_device"
    __table_args__ = (
        {"schema": SCHEMA, "info": about(reaches="visitor_id", erasure=Erasure.ROW, processors=(Processor.VERCEL,))},
    )

    visitor_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.visitor.id"), primary_key=True, info=technical()
    )
    user_agent: Mapped[str] = mapped_column(info=label(Category.DEVICE, "browser"))
    address: Mapped[str] = mapped_column(info=label(Category.DEVICE, "network address"))


class Subscription(Base):
    """The time for which a student may use the platform. ``ends_on`` None: open-ended. ``superseded``: another one of theirs ends
    later (a trigger says so)."""

    __tablename__ = "subscription"
    __table_args__ = (
        CheckConstraint("ends_on is null or ends_on >= starts_on", name="ends_after_start"),
        Index("ix_subscription_last", "ends_on", postgresql_where=text("not superseded")),
        {"schema": SCHEMA, "info": _STUDENT_ROW},
    )

    id: Mapped[Id]
    student_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.student.id"), index=True, info=technical())
    starts_on: Mapped[date] = mapped_column(Date, info=label(Category.ACCOUNT, "subscription starts"))
    ends_on: Mapped[date | None] = mapped_column(Date, index=True, info=label(Category.ACCOUNT, "subscription ends"))
    superseded: Mapped[bool] = mapped_column(server_default=text("false"), info=technical())
    source: Mapped[Source]


class Tombstone(Base):
    """What stands for an erased person in rows that the law keeps. It knows nothing but that there was one."""

    __tablename__ = "tombstone"
    __table_args__ = ({"schema": SCHEMA, "info": _NOBODY},)

    id: Mapped[Id]
    erased_at: Mapped[datetime] = mapped_column(info=technical())


class Payment(Base):
    """A payment. Kept for the books: after an erasure it points to a tombstone."""

    __tablename__ = "payment"
    __table_args__ = (
        CheckConstraint("num_nonnulls(student_id, tombstone_id) = 1", name="one_payer"),
        {
            "schema": SCHEMA,
            "info": about(
                reaches="student_id",
                erasure=Erasure.KEEP,
                reason="commercial and tax law",
                until="10 years after the end of the year of payment",
                processors=(Processor.PAYMENTS,),
            ),
        },
    )

    id: Mapped[Id]
    student_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.student.id"), index=True, info=label(Category.NOBODY, erasure=Erasure.BLANK)
    )
    tombstone_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.tombstone.id"), index=True, info=technical()
    )
    paid_at: Mapped[datetime] = mapped_column(info=outside("bookkeeping (clause 5 names the gateways)", "paid"))
    amount_cents: Mapped[int] = mapped_column(info=outside("bookkeeping (clause 5 names the gateways)", "cents"))
    currency: Mapped[str] = mapped_column(info=outside("bookkeeping (clause 5 names the gateways)", "currency"))
    gateway_ref: Mapped[str] = mapped_column(unique=True, info=outside("finds the payment at the gateway", "reference"))
    source: Mapped[Source]


class GroupFigure(Base):
    """A weekly figure about a group, for staff without an assignment (design, section 5; core.privacy.snapshots).

    ``percent`` (rounded to 5 points) and ``members_told`` (rounded down to 5) are what people see, absent for groups below
    10. ``part`` of ``members`` is the exact count behind them, as of ``counted_at``; the dashboard's role cannot read it.
    ``program_id`` None: all told programs together.
    """

    __tablename__ = "group_figure"
    __table_args__ = (
        UniqueConstraint("week", "kind", "program_id", postgresql_nulls_not_distinct=True),
        one_of("kind", FIGURE_KINDS),
        CheckConstraint("mod(percent, 5) = 0 and percent between 5 and 95", name="rounded"),
        CheckConstraint("percent is null or (members >= 10 and members_told >= 10)", name="group_of_ten"),
        CheckConstraint("(percent is null) = (members_told is null)", name="told_together"),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[Id]
    week: Mapped[date] = mapped_column(Date, info=technical())
    kind: Mapped[str] = mapped_column(info=technical())
    program_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.program.id"), index=True, info=technical()
    )
    percent: Mapped[int | None] = mapped_column(SmallInteger, info=technical())
    members_told: Mapped[int | None] = mapped_column(info=technical())
    members: Mapped[int] = mapped_column(info=technical())
    part: Mapped[int] = mapped_column(info=technical())
    counted_at: Mapped[datetime] = mapped_column(info=technical())
    taken_at: Mapped[datetime] = mapped_column(info=technical())


class Rollup(Base):
    """How many enrollments began ("enrolled"), were withdrawn or visitors asked in a day, month or year (UTC), nobody's rows.

    "began" is "enrolled" by month whatever became of them; grain "date" is a day of all programs together. Counted by the worker from the rows (core.rollups); ``status`` and ``started`` are for "enrolled" only. Exact counts, which the
    dashboard reads only as sums, through functions, for the roles that may know how many there are.
    """

    __tablename__ = "rollup"
    __table_args__ = (
        UniqueConstraint(
            "what", "grain", "begins", "program_id", "status", "started", name="uq_rollup_key", postgresql_nulls_not_distinct=True
        ),
        one_of("what", ROLLUP_KINDS),
        one_of("grain", ("date", "day", "month", "year")),
        CheckConstraint("number > 0", name="somebody"),
        {"schema": SCHEMA, "info": _NOBODY},
    )  # fmt: skip

    id: Mapped[Id]
    what: Mapped[str] = mapped_column(info=technical())
    grain: Mapped[str] = mapped_column(info=technical())
    begins: Mapped[date] = mapped_column(Date, info=technical())
    program_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.program.id"), index=True, info=technical()
    )
    status: Mapped[str | None] = mapped_column(info=technical())
    started: Mapped[bool | None] = mapped_column(info=technical())
    number: Mapped[int] = mapped_column(info=technical())


class RollupChange(Base):
    """A month that has to be counted again, since an instant; written by triggers, taken away by whoever counts."""

    __tablename__ = "rollup_change"
    __table_args__ = (
        one_of("what", tuple(kind for kind in ROLLUP_KINDS if kind != "began")),
        Index("ix_rollup_change_month", "what", "month"),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[Id]
    what: Mapped[str] = mapped_column(info=technical())
    month: Mapped[date] = mapped_column(Date, info=technical())
    at: Mapped[datetime] = mapped_column(info=technical())
