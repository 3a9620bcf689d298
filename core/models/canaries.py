"""Canaries: synthetic people who are kept in every store, erased by the real engine, and looked for by strangers.

Nobody here is a person, so nothing here is personal data: who a canary is follows from its id (:func:`values`), and is written
nowhere else. The ids of its records stay, so that they can be looked for when everything that leads to them is gone.
"""

import hashlib
import uuid
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, Integer, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Erasure, about, technical
from core.models.platform import one_of

SCHEMA = "privacy"
SOURCE = "canary"
DOMAIN = "canary.invalid"
"""Nothing is ever delivered there: RFC 2606 keeps ``.invalid`` out of the domain name system."""
LOOKED = ("planted", "erased")
SEEN = ("found", "absent", "unclear")

_RECORD = about(
    reaches="", erasure=Erasure.KEEP, reason="proof that promises were kept", until="3 years after the event"
)


@dataclass(frozen=True)
class Values:
    """Who a canary is. ``key`` and ``form_key`` are the ids of its account and its form on the platform, as MongoDB writes ids."""

    student_id: uuid.UUID
    visitor_id: uuid.UUID
    enrollment_id: uuid.UUID
    email: str
    name: str
    phone: str
    key: str
    form_key: str


def values(canary_id: uuid.UUID) -> Values:
    """Return who a canary is; the same every time. The telephone number is one that Ofcom
    keeps for fiction, with an extension that no other canary has."""
    token = hashlib.sha256(b"resocode canary" + canary_id.bytes).hexdigest()
    student, visitor, enrollment = (uuid.uuid5(canary_id, what) for what in ("student", "visitor", "enrollment"))
    digits = f"{int(token[30:46], 16) % 10**9:09}"
    phone = f"+44 7700 900{digits[:3]} ext. {digits[3:]}"
    email, name = f"canary-{token[:10]}@{DOMAIN}", f"Canary {token[:10]}"
    return Values(student, visitor, enrollment, email, name, phone, token[:24], token[-24:])


class Canary(Base):
    """One canary, one for each week (``week`` is its Monday). It lives, closes its account, is erased, and is looked for.

    ``student_id`` and ``visitor_id`` are ids without a foreign key: the records go, the ids are looked for. ``request_id``: the
    deletion that its closing became. ``gone_at``: that was carried out.
    """

    __tablename__ = "canary"
    __table_args__ = (
        CheckConstraint("extract(isodow from week) = 1", name="week_is_monday"),
        CheckConstraint("closed_at >= planted_at", name="closed_later"),
        CheckConstraint("gone_at is null or closed_at is not null", name="gone_was_closed"),
        Index("ix_canary_living", "student_id", postgresql_where=text("gone_at is null")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    week: Mapped[date] = mapped_column(Date, unique=True, info=technical())
    student_id: Mapped[uuid.UUID] = mapped_column(unique=True, info=technical())
    visitor_id: Mapped[uuid.UUID] = mapped_column(unique=True, info=technical())
    planted_at: Mapped[datetime] = mapped_column(info=technical())
    closed_at: Mapped[datetime | None] = mapped_column(info=technical())
    request_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.request.id"), index=True, info=technical()
    )
    gone_at: Mapped[datetime | None] = mapped_column(info=technical())


class CanaryPlace(Base):
    """A store in which a canary was planted: this database, or a third party that was connected then."""

    __tablename__ = "canary_place"
    __table_args__ = ({"schema": SCHEMA, "info": _RECORD},)

    canary_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.canary.id"), primary_key=True, info=technical())
    place: Mapped[str] = mapped_column(primary_key=True, info=technical())
    records: Mapped[int] = mapped_column(Integer, info=technical())
    planted_at: Mapped[datetime] = mapped_column(info=technical())


class CanaryLook(Base):
    """What somebody who looked for a canary in one place saw; only added to.

    ``stage`` "planted" is the counter-test: a reader that does not find who is there proves nothing by finding nobody. ``looked``
    says how much was read (tables, columns, documents), ``found`` where something stood and how often. ``error`` is a code.
    """

    __tablename__ = "canary_look"
    __table_args__ = (
        one_of("stage", LOOKED),
        one_of("seen", SEEN),
        CheckConstraint("(seen = 'found') = (found <> '{}')", name="found_is_told"),
        CheckConstraint("(seen = 'unclear') = (error <> '')", name="unclear_says_why"),
        Index("ix_canary_look_canary", "canary_id", "place", text("at desc")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    canary_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.canary.id"), info=technical())
    place: Mapped[str] = mapped_column(info=technical())
    stage: Mapped[str] = mapped_column(info=technical())
    at: Mapped[datetime] = mapped_column(info=technical())
    seen: Mapped[str] = mapped_column(info=technical())
    looked: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=technical())
    found: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"), info=technical())
    error: Mapped[str] = mapped_column(server_default="", info=technical())
