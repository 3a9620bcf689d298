"""Anonymized releases: what was published, once and for ever, and what keeps anybody from being counted too often.

Schema ``anon`` holds noisy figures about nobody; its rows are never changed (a trigger, and grants, hold every role to
that). :class:`Contribution` is the opposite: personal data in ``platform``, erased with the student.
"""

import uuid
from datetime import date
from typing import Any

from sqlalchemy import CheckConstraint, Date, Double, ForeignKey, Integer, SmallInteger, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base
from core.models.labels import Erasure, about, outside, technical

SCHEMA = "anon"
MOST_SLOTS = 8

_NOBODY = about(reaches="", erasure=Erasure.NONE)
_BOUND = "keeps anybody from being counted too often in anonymized figures (clause 8)"


class Method(Base):
    """A version of the method: the budget, what is counted how often with which noise, and the public domain.

    ``mu`` is the lifetime budget of an account (Gaussian differential privacy). ``first_day`` begins the oldest period.
    ``content_sha256`` (hex) is of the configuration file as it was adopted.
    """

    __tablename__ = "method"
    __table_args__ = ({"schema": SCHEMA, "info": _NOBODY},)

    version: Mapped[str] = mapped_column(primary_key=True, info=technical())
    mu: Mapped[float] = mapped_column(Double, info=technical())
    capacity: Mapped[int] = mapped_column(Integer, info=technical())
    workload: Mapped[dict[str, Any]] = mapped_column(JSONB, info=technical())
    domain: Mapped[dict[str, Any]] = mapped_column(JSONB, info=technical())
    first_day: Mapped[date] = mapped_column(Date, info=technical())
    adopted: Mapped[date] = mapped_column(Date, info=technical())
    content_sha256: Mapped[str] = mapped_column(info=technical())


class Release(Base):
    """One family of figures of one closed period. There is one for ever: a second draw of noise would double the cost.

    A day of publication, no time, so that nothing can be lined up with it. ``cells`` is how many cells belong to it.
    """

    __tablename__ = "release"
    __table_args__ = (
        UniqueConstraint("family", "period"),
        CheckConstraint("first_day <= last_day", name="days_in_order"),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, info=technical())
    method: Mapped[str] = mapped_column(ForeignKey(f"{SCHEMA}.method.version"), index=True, info=technical())
    family: Mapped[str] = mapped_column(info=technical())
    period: Mapped[str] = mapped_column(info=technical())
    first_day: Mapped[date] = mapped_column(Date, info=technical())
    last_day: Mapped[date] = mapped_column(Date, info=technical())
    sigma: Mapped[float] = mapped_column(Double, info=technical())
    mechanism: Mapped[str] = mapped_column(info=technical())
    builder: Mapped[str] = mapped_column(info=technical())
    published: Mapped[date] = mapped_column(Date, info=technical())
    cells: Mapped[int] = mapped_column(Integer, info=technical())
    content_sha256: Mapped[str] = mapped_column(info=technical())


class ReleasedCell(Base):
    """One figure: noise is in ``value`` already (it may be negative), ``se`` is its standard error.

    Dense: every cell of the public domain is there, whether anybody is in it or not.
    """

    __tablename__ = "cell"
    __table_args__ = ({"schema": SCHEMA, "info": _NOBODY},)

    release_id: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.release.id"), primary_key=True, info=technical())
    marginal: Mapped[str] = mapped_column(primary_key=True, info=technical())
    k1: Mapped[str] = mapped_column(primary_key=True, info=technical())
    k2: Mapped[str] = mapped_column(primary_key=True, info=technical())
    value: Mapped[float] = mapped_column(Double, info=technical())
    se: Mapped[float] = mapped_column(Double, info=technical())


class LedgerEntry(Base):
    """What a release may have cost any one account at most, and what all of them together, in squared mu.

    A bound that follows from the method alone; what a real person spent is never written.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        CheckConstraint("spent > 0 and total >= spent", name="grows"),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    seq: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, info=technical())
    release_id: Mapped[int] = mapped_column(ForeignKey(f"{SCHEMA}.release.id"), unique=True, info=technical())
    spent: Mapped[float] = mapped_column(Double, info=technical())
    total: Mapped[float] = mapped_column(Double, info=technical())


class Contribution(Base):
    """That a student was counted once: in which flow, under which key, in which period. Erased with the student.

    The slot bounds by itself how often an account can be counted in a flow: a second row in a slot is refused.
    """

    __tablename__ = "analytics_contribution"
    __table_args__ = (
        UniqueConstraint("student_id", "flow", "key"),
        CheckConstraint(f"slot between 1 and {MOST_SLOTS}", name="slot_bounded"),
        {"schema": "platform", "info": about(reaches="student_id", erasure=Erasure.ROW)},
    )

    student_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("platform.student.id"), primary_key=True, info=technical())
    flow: Mapped[str] = mapped_column(primary_key=True, info=outside(_BOUND, "counted in figures about"))
    slot: Mapped[int] = mapped_column(SmallInteger, primary_key=True, info=technical())
    key: Mapped[str] = mapped_column(info=outside(_BOUND, "counted as"))
    period: Mapped[str] = mapped_column(info=outside(_BOUND, "counted in period"))
