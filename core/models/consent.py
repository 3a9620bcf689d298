"""Ages and consent (clause 9): the one place of a birth date, a guardian's consent for minors, and everything that happened to it.

A birth date is kept of minors only, because without it nobody knows when consent ends; whoever is of age has a yes, and no date.
States and the moves between them are rows (:class:`ConsentMove`); a trigger holds every database role to them, and writes a
:class:`ConsentStep` for each change. What somebody is (adult, minor, …) is derived: core.policy.age.
"""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Date, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id, Source
from core.models.labels import Category, Erasure, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
CONSENT_STATES = ("not needed", "missing", "requested", "given", "verified", "refused", "withdrawn", "lapsed")
WITHOUT_CONSENT = ("missing", "requested", "given", "refused", "withdrawn")
METHODS = (
    "signed form",
    "signed electronically",
    "video call",
    "called back on a known number",
    "in person",
)
ROUNDS = ("ask ages", "remind")
_AGE = "clause 9 asks for it, clause 1 does not list it"
_STUDENT_ROW = about(reaches="student_id", erasure=Erasure.ROW)


def _staff() -> Any:
    return mapped_column(ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF))


def _student(*, index: bool = True) -> Any:
    return mapped_column(ForeignKey("platform.student.id"), index=index, info=technical())


class Guardian(Base):
    """A parent or guardian who consents for a student below the consent age. Kept as long as the consent is needed."""

    __tablename__ = "guardian"
    __table_args__ = (Index("ix_guardian_email", text("lower(email)")), {"schema": SCHEMA, "info": _STUDENT_ROW})

    id: Mapped[Id]
    student_id: Mapped[uuid.UUID] = _student()
    name: Mapped[str] = mapped_column(info=outside(_AGE, "guardian's name"))
    email: Mapped[str] = mapped_column(info=outside(_AGE, "guardian's e-mail"))
    added_at: Mapped[datetime | None] = mapped_column(info=outside(_AGE, "guardian known since"))
    added_by: Mapped[uuid.UUID | None] = _staff()


_NEVER = "'-infinity'::timestamp with time zone"


class Consent(Base):
    """The consent record: the only place where an age is kept, and of minors only.

    ``birth_date`` of a minor who gave one; ``adult`` what was declared (None: not declared). ``asked_at`` and ``answer_by``: when
    the student was asked "18 or over?", and until when to answer. ``method``: how the guardian's consent came. ``evidence_id``: an
    artifact, only while it waits to be verified; its SHA-256 stays. ``version`` counts changes: a screen that shows an older one
    is refused. ``changed_what`` and ``changed_reason`` are codes of the last change, which the trigger writes into the history.
    """

    __tablename__ = "consent"
    __table_args__ = (
        one_of("state", CONSENT_STATES),
        one_of("method", METHODS),
        CheckConstraint("adult is not true or birth_date is null", name="adult_without_birth_date"),
        CheckConstraint(
            "state <> 'not needed' or (birth_date is null and adult is distinct from false)", name="minor_needs_consent"
        ),
        CheckConstraint("evidence_id is null or state = 'given'", name="evidence_until_decided"),
        CheckConstraint("(answer_by is null) = (asked_at is null)", name="asked_until"),
        Index("ix_consent_case", "state", "student_id", postgresql_where=text("state <> 'not needed'")),
        Index("ix_consent_silent", "student_id",
              postgresql_where=text("adult is null and birth_date is null and state = 'not needed'")),
        Index("ix_consent_given", text(f"coalesce(entered_at, {_NEVER})"), "student_id", postgresql_where=text("state = 'given'")),
        Index("ix_consent_requested", text(f"coalesce(requested_at, {_NEVER})"), "student_id",
              postgresql_where=text("state = 'requested'")),
        Index("ix_consent_verified", text(f"coalesce(verified_at, {_NEVER})"), "student_id",
              postgresql_where=text("state = 'verified'")),
        Index("ix_consent_changed", "state", text(f"coalesce(changed_at, declared_at, {_NEVER})"), "student_id",
              postgresql_where=text("state <> 'not needed'")),
        Index("ix_consent_answer", "answer_by", "student_id",
              postgresql_where=text("adult is null and birth_date is null and state = 'not needed' and asked_at is not null")),
        Index("ix_consent_not_asked", "student_id",
              postgresql_where=text("adult is null and birth_date is null and state = 'not needed' and asked_at is null")),
        Index("ix_consent_born", "birth_date", postgresql_where=text("birth_date is not null")),
        {"schema": SCHEMA, "info": _STUDENT_ROW},
    )  # fmt: skip

    student_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("platform.student.id"), primary_key=True, info=technical())
    number: Mapped[int] = mapped_column(BigInteger, Identity(always=True), unique=True, info=outside(_AGE, "number"))
    birth_date: Mapped[date | None] = mapped_column(Date, info=outside(_AGE, "birth date"))
    adult: Mapped[bool | None] = mapped_column(Boolean, info=outside(_AGE, "declared to be an adult"))
    declared_at: Mapped[datetime | None] = mapped_column(info=outside(_AGE, "age declared"))
    asked_at: Mapped[datetime | None] = mapped_column(info=outside(_AGE, "asked for the age"))
    answer_by: Mapped[datetime | None] = mapped_column(info=outside(_AGE, "to be answered by"))
    guardian_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.guardian.id"), index=True, info=technical()
    )
    state: Mapped[str] = mapped_column(info=outside(_AGE, "parental consent"))
    requested_at: Mapped[datetime | None] = mapped_column(info=outside(_AGE, "consent asked for"))
    reminded_at: Mapped[datetime | None] = mapped_column(info=outside(_AGE, "last reminder"))
    method: Mapped[str | None] = mapped_column(info=outside(_AGE, "how consent was given"))
    entered_at: Mapped[datetime | None] = mapped_column(info=outside(_AGE, "consent recorded"))
    entered_by: Mapped[uuid.UUID | None] = _staff()
    evidence_id: Mapped[uuid.UUID | None] = mapped_column(info=technical())
    evidence_sha256: Mapped[str | None] = mapped_column(info=technical())
    verified_at: Mapped[datetime | None] = mapped_column(info=outside(_AGE, "consent verified"))
    verified_by: Mapped[uuid.UUID | None] = _staff()
    version: Mapped[int] = mapped_column(server_default="1", info=technical())
    changed_at: Mapped[datetime | None] = mapped_column(info=technical())
    changed_by: Mapped[uuid.UUID | None] = _staff()
    changed_what: Mapped[str | None] = mapped_column(info=technical())
    changed_reason: Mapped[str] = mapped_column(server_default="", info=technical())
    source: Mapped[Source]


class ConsentMove(Base):
    """A move of a consent record that a role may make. Data: changed by a migration only, and held by a trigger.

    ``role`` is "privacy_officer" or "system" (the worker). ``requires_distinct_actor``: by another officer than the one who
    entered the consent. ``needs_fresh``: identity of the staff member confirmed within five minutes.
    """

    __tablename__ = "consent_move"
    __table_args__ = ({"schema": SCHEMA, "info": about(reaches="", erasure=Erasure.NONE)},)

    from_state: Mapped[str] = mapped_column(primary_key=True, info=technical())
    to_state: Mapped[str] = mapped_column(primary_key=True, info=technical())
    role: Mapped[str] = mapped_column(primary_key=True, info=technical())
    requires_distinct_actor: Mapped[bool] = mapped_column(server_default="false", info=technical())
    needs_fresh: Mapped[bool] = mapped_column(server_default="false", info=technical())


class ConsentStep(Base):
    """One change of a consent record, written by the trigger; codes only. ``done_by`` None: the worker, or an import."""

    __tablename__ = "consent_step"
    __table_args__ = (
        Index("ix_consent_step_student_id", "student_id", "version"),
        {"schema": SCHEMA, "info": _STUDENT_ROW},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, server_default=text("gen_random_uuid()"), info=technical())
    student_id: Mapped[uuid.UUID] = _student(index=False)
    version: Mapped[int] = mapped_column(info=technical())
    what: Mapped[str] = mapped_column(info=outside(_AGE, "step"))
    reason: Mapped[str] = mapped_column(server_default="", info=outside(_AGE, "reason"))
    from_state: Mapped[str] = mapped_column(info=technical())
    to_state: Mapped[str] = mapped_column(info=outside(_AGE, "consent then"))
    done_at: Mapped[datetime] = mapped_column(info=outside(_AGE, "when"))
    done_by: Mapped[uuid.UUID | None] = _staff()


class ConsentRound(Base):
    """One order to write to many: "remind" (everybody who is silent). The worker writes the letters; what is left to write follows from
    the records. Nobody is named here. "ask ages", with a deadline, is how it was asked "18 or over?" before that was a notice to
    many (core.privacy.ages_asked)."""

    __tablename__ = "consent_round"
    __table_args__ = (
        one_of("kind", ROUNDS),
        CheckConstraint("(kind = 'ask ages') = (answer_by is not null)", name="asked_until"),
        Index("uq_consent_round_open", "kind", unique=True, postgresql_where=text("done_at is null")),
        Index("ix_consent_round_begun", "kind", text("begun_at desc")),
        {"schema": SCHEMA, "info": about(reaches="", erasure=Erasure.NONE)},
    )

    id: Mapped[Id]
    kind: Mapped[str] = mapped_column(info=technical())
    answer_by: Mapped[datetime | None] = mapped_column(info=technical())
    people: Mapped[int] = mapped_column(info=technical())
    written: Mapped[int] = mapped_column(server_default="0", info=technical())
    begun_at: Mapped[datetime] = mapped_column(info=technical())
    begun_by: Mapped[uuid.UUID] = _staff()
    done_at: Mapped[datetime | None] = mapped_column(info=technical())


# What a guardian did stands in the record of the student; the age and what the student declared are not theirs.
OF_GUARDIAN = ("state", "requested_at", "reminded_at", "method", "entered_at", "verified_at")


def held_of_guardian(guardian: Guardian, case: Consent | None) -> dict[str, object]:
    """Return what is held about a guardian, by the labels' names; of their consent, as long as they are the one who is asked."""
    told: dict[str, object] = {}
    for row, wanted in ((guardian, None), (case, OF_GUARDIAN)):
        if row is None or (row is case and case is not None and case.guardian_id != guardian.id):
            continue
        for column in row.__table__.columns:
            word = column.info["privacy"].export
            if word and (wanted is None or column.name in wanted):
                told[word] = getattr(row, column.name)
    return told
