"""Versions of the policy that wait for two people."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, technical

SCHEMA = "privacy"


def _staff() -> Any:
    return mapped_column(ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF))


class PolicyProposal(Base):
    """A new version as it came in a file: put up by one person, decided about by another. ``changes`` and ``significant`` follow
    from the file and the rules; ``simulation`` is what the worker found that would be affected. Only these marks ever change.
    """

    __tablename__ = "policy_proposal"
    __table_args__ = (
        CheckConstraint("decision in ('approved', 'declined', 'withdrawn')", name="decision_known"),
        CheckConstraint("num_nulls(put_up_at, put_up_by) in (0, 2)", name="put_up_whole"),
        CheckConstraint("num_nulls(decision, decided_at, decided_by) in (0, 3)", name="decided_whole"),
        CheckConstraint("decision <> 'approved' or decided_by <> put_up_by", name="two_people"),
        Index("uq_policy_proposal_open", "version", unique=True, postgresql_where=text("decision is null")),
        Index("ix_policy_proposal_filed", text("filed_at desc"), text("id desc")),
        {"schema": SCHEMA, "info": about(reaches="", erasure=Erasure.NONE)},
    )

    id: Mapped[Id]
    version: Mapped[str] = mapped_column(info=technical())
    follows: Mapped[str] = mapped_column(info=technical())
    effective_at: Mapped[datetime] = mapped_column(info=technical())
    document: Mapped[dict[str, Any]] = mapped_column(JSONB, info=technical())
    sha256: Mapped[str] = mapped_column(info=technical())
    changes: Mapped[list[Any]] = mapped_column(JSONB, info=technical())
    significant: Mapped[bool] = mapped_column(Boolean, info=technical())
    filed_at: Mapped[datetime] = mapped_column(info=technical())
    simulation: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info=technical())
    simulated_at: Mapped[datetime | None] = mapped_column(info=technical())
    put_up_at: Mapped[datetime | None] = mapped_column(info=technical())
    put_up_by: Mapped[uuid.UUID | None] = _staff()
    decision: Mapped[str | None] = mapped_column(info=technical())
    reason: Mapped[str] = mapped_column(server_default="", info=technical())
    decided_at: Mapped[datetime | None] = mapped_column(info=technical())
    decided_by: Mapped[uuid.UUID | None] = _staff()
