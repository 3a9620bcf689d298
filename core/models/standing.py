"""What stands about a person's data because they asked for it, or because a rule says so: restrictions, objections, opt-outs, and
corrections.

One row per decision, written at once and kept when it ends. Nothing here is a column of the person's own record, so that no import
and no sync can overwrite it; ``email_hash`` follows the person's address (a trigger), so that it also holds for forms left with the
same one and for an account that is opened later.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
RESTRICTION_BASES = ("asked", "consent missing", "age not declared")
ASKED = ("asked",)
OPT_OUT_BASES = ("asked", "objection")
END_REASONS = ("lifted", "rule does not hold any more", "refused", "withdrawn", "the person wants it again")
CORRECTED_BECAUSE = ("changed", "mistyped", "never theirs")
CORRECTION_STATES = ("proposed", "in force", "returned")
_RIGHT = "answers a right of clause 7"


def _person(kind: str) -> Any:
    return mapped_column(ForeignKey(f"platform.{kind}.id"), index=True, info=technical())


def _request() -> Any:
    return mapped_column(ForeignKey(f"{SCHEMA}.request.id"), index=True, info=technical())


def _staff() -> Any:
    return mapped_column(ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF))


def _shape(name: str, bases: tuple[str, ...]) -> tuple[Any, ...]:
    """One standing row for a person and basis; whose it is; a table of people, erased with them."""
    return (
        one_of("basis", bases),
        one_of("end_reason", END_REASONS),
        CheckConstraint("num_nonnulls(student_id, visitor_id) = 1", name="one_person"),
        CheckConstraint("(until is null) = (end_reason is null)", name="ended_why"),
        CheckConstraint("until >= since", name="ends_later"),
        Index(f"uq_{name}_standing_student", "student_id", "basis", unique=True,
              postgresql_where=text("until is null and student_id is not null")),
        Index(f"uq_{name}_standing_visitor", "visitor_id", "basis", unique=True,
              postgresql_where=text("until is null and visitor_id is not null")),
        Index(f"ix_{name}_standing", "email_hash", postgresql_where=text("until is null")),
        {"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.ROW)},
    )  # fmt: skip


class Restriction(Base):
    """A person's data is kept and not used (GDPR 18, and clause 9 for minors): docs/privacy.md says what that means per screen.

    ``announced_at``: when the letter that tells the person of the end was written (GDPR 18(3)); needed for the basis "asked".
    """

    __tablename__ = "restriction"
    __table_args__ = _shape("restriction", RESTRICTION_BASES)

    id: Mapped[Id]
    student_id: Mapped[uuid.UUID | None] = _person("student")
    visitor_id: Mapped[uuid.UUID | None] = _person("visitor")
    email_hash: Mapped[bytes] = mapped_column(info=technical())
    basis: Mapped[str] = mapped_column(info=outside(_RIGHT, "restricted because"))
    since: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "restricted since"))
    until: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "restriction ended"))
    request_id: Mapped[uuid.UUID | None] = _request()
    made_by: Mapped[uuid.UUID | None] = _staff()
    ended_by: Mapped[uuid.UUID | None] = _staff()
    end_reason: Mapped[str | None] = mapped_column(info=outside(_RIGHT, "restriction ended because"))
    announced_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "end of the restriction announced"))


class Objection(Base):
    """A person objects: they are not ordered by need of help, and counted in no release (GDPR 21(1))."""

    __tablename__ = "objection"
    __table_args__ = _shape("objection", ASKED)

    id: Mapped[Id]
    student_id: Mapped[uuid.UUID | None] = _person("student")
    visitor_id: Mapped[uuid.UUID | None] = _person("visitor")
    email_hash: Mapped[bytes] = mapped_column(info=technical())
    basis: Mapped[str] = mapped_column(server_default="asked", info=outside(_RIGHT, "objection because"))
    since: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "objected since"))
    until: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "objection ended"))
    request_id: Mapped[uuid.UUID | None] = _request()
    made_by: Mapped[uuid.UUID | None] = _staff()
    ended_by: Mapped[uuid.UUID | None] = _staff()
    end_reason: Mapped[str | None] = mapped_column(info=outside(_RIGHT, "objection ended because"))


class OptOut(Base):
    """A person wants no marketing mail (clause 7). "objection": it came with one, and stays where the rest was refused (GDPR 21(3))."""

    __tablename__ = "opt_out"
    __table_args__ = _shape("opt_out", OPT_OUT_BASES)

    id: Mapped[Id]
    student_id: Mapped[uuid.UUID | None] = _person("student")
    visitor_id: Mapped[uuid.UUID | None] = _person("visitor")
    email_hash: Mapped[bytes] = mapped_column(info=technical())
    basis: Mapped[str] = mapped_column(info=outside(_RIGHT, "no marketing because"))
    since: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "no marketing since"))
    until: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "marketing wanted again"))
    request_id: Mapped[uuid.UUID | None] = _request()
    made_by: Mapped[uuid.UUID | None] = _staff()
    ended_by: Mapped[uuid.UUID | None] = _staff()
    end_reason: Mapped[str | None] = mapped_column(info=outside(_RIGHT, "opt-out ended because"))


class Correction(Base):
    """One value of a person's record that was wrong: entered by one officer, in force once another one confirmed it (GDPR 16).

    ``field`` is "schema.table.column"; ``record_id`` the student or form it stands in. ``reason`` "never theirs": the old value is
    somebody else's. ``old_hash``, ``new_hash`` and ``new_provider_hash`` are the keyed hashes of an e-mail address, made in Python.
    A value that is empty is None.
    """

    __tablename__ = "correction"
    __table_args__ = (
        one_of("reason", CORRECTED_BECAUSE),
        one_of("state", CORRECTION_STATES),
        CheckConstraint("num_nonnulls(student_id, visitor_id) = 1", name="one_person"),
        CheckConstraint("old_value is distinct from new_value", name="changes_something"),
        CheckConstraint("(state = 'proposed') = (decided_at is null)", name="decided_when"),
        Index("uq_correction_proposed", "request_id", "field", "record_id", unique=True, postgresql_where=text("state = 'proposed'")),
        Index("ix_correction_record", "record_id", "field", postgresql_where=text("state = 'in force'")),
        Index("ix_correction_old_hash", "old_hash", postgresql_where=text("state = 'in force' and old_hash is not null")),
        {"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.ROW)},
    )  # fmt: skip

    id: Mapped[Id]
    request_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.request.id"), index=True, info=technical())
    student_id: Mapped[uuid.UUID | None] = _person("student")
    visitor_id: Mapped[uuid.UUID | None] = _person("visitor")
    record_id: Mapped[uuid.UUID] = mapped_column(info=technical())
    field: Mapped[str] = mapped_column(info=outside(_RIGHT, "what was corrected"))
    old_value: Mapped[str | None] = mapped_column(info=outside(_RIGHT, "value before"))
    new_value: Mapped[str | None] = mapped_column(info=outside(_RIGHT, "value after"))
    reason: Mapped[str] = mapped_column(info=outside(_RIGHT, "corrected because"))
    state: Mapped[str] = mapped_column(server_default="proposed", info=outside(_RIGHT, "correction"))
    old_hash: Mapped[bytes | None] = mapped_column(info=technical())
    new_hash: Mapped[bytes | None] = mapped_column(info=technical())
    new_provider_hash: Mapped[bytes | None] = mapped_column(info=technical())
    entered_at: Mapped[datetime] = mapped_column(info=outside(_RIGHT, "correction entered"))
    entered_by: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )
    decided_at: Mapped[datetime | None] = mapped_column(info=outside(_RIGHT, "correction decided"))
    decided_by: Mapped[uuid.UUID | None] = _staff()
