"""Breaches of personal data: the register that GDPR article 33(5) asks for, with its clock, decisions and proof of notices.

The record itself names nobody. Whom an incident concerns stands in :class:`IncidentPerson`, written by the worker from the
scope, and goes with the person.
"""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, outside, technical
from core.models.platform import one_of

SCHEMA = "privacy"
NATURES = ("confidentiality", "integrity", "availability")
AUTHORITY = ("undecided", "notify", "not needed")
PEOPLE = ("undecided", "tell", "not needed")
NOTE_KINDS = ("note", "report of a processor", "correspondence")

_RECORD = about(
    reaches="", erasure=Erasure.KEEP, reason="record of breaches (GDPR article 33(5))", until="5 years after its end"
)
_TOLD = "who has to be told of a breach (GDPR article 34)"


def _staff() -> Any:
    return mapped_column(ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF))


class Incident(Base):
    """One breach. ``aware_at`` starts the 72 hours; ``scope`` says whom it concerns (categories, processors, cohorts; empty:
    everybody) and ``counted`` what the worker found for it. Texts are written without names.
    """

    __tablename__ = "incident"
    __table_args__ = (
        one_of("nature", NATURES),
        one_of("authority", AUTHORITY),
        one_of("people", PEOPLE),
        CheckConstraint("num_nulls(closed_at, closed_by) in (0, 2)", name="closed_whole"),
        CheckConstraint("closed_by <> close_asked_by", name="two_people"),
        CheckConstraint("aware_at <= opened_at", name="aware_before_opened"),
        Index("ix_incident_aware", text("aware_at desc"), text("id desc")),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    form_key: Mapped[uuid.UUID] = mapped_column(unique=True, info=technical())
    number: Mapped[int] = mapped_column(
        BigInteger, unique=True, server_default=text("nextval('privacy.incident_number')"), info=technical()
    )
    title: Mapped[str] = mapped_column(info=technical())
    nature: Mapped[str] = mapped_column(info=technical())
    place: Mapped[str] = mapped_column(info=technical())
    summary: Mapped[str] = mapped_column(info=technical())
    aware_at: Mapped[datetime] = mapped_column(info=technical())
    opened_at: Mapped[datetime] = mapped_column(info=technical())
    opened_by: Mapped[uuid.UUID] = _staff()
    scope: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info=technical())
    counted: Mapped[dict[str, Any] | None] = mapped_column(JSONB, info=technical())
    affected: Mapped[int | None] = mapped_column(Integer, info=technical())
    counted_at: Mapped[datetime | None] = mapped_column(info=technical())
    authority: Mapped[str] = mapped_column(server_default="undecided", info=technical())
    authority_reason: Mapped[str] = mapped_column(server_default="", info=technical())
    authority_at: Mapped[datetime | None] = mapped_column(info=technical())
    authority_by: Mapped[uuid.UUID | None] = _staff()
    notified_at: Mapped[datetime | None] = mapped_column(info=technical())
    notified_reference: Mapped[str] = mapped_column(server_default="", info=technical())
    people: Mapped[str] = mapped_column(server_default="undecided", info=technical())
    people_reason: Mapped[str] = mapped_column(server_default="", info=technical())
    people_at: Mapped[datetime | None] = mapped_column(info=technical())
    people_by: Mapped[uuid.UUID | None] = _staff()
    campaign_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey(f"{SCHEMA}.campaign.id"), index=True, info=technical()
    )
    close_asked_at: Mapped[datetime | None] = mapped_column(info=technical())
    close_asked_by: Mapped[uuid.UUID | None] = _staff()
    closed_at: Mapped[datetime | None] = mapped_column(info=technical())
    closed_by: Mapped[uuid.UUID | None] = _staff()


def left_to_do(incident: Incident) -> list[str]:
    """Return what is left to do before an incident is closed, in words."""
    steps = (
        (incident.counted_at is None, "say whom it concerns"),
        (incident.authority == "undecided", "decide about the authority"),
        (incident.authority == "notify" and incident.notified_at is None, "notify the authority"),
        (incident.people == "undecided", "decide about the people"),
        (incident.people == "tell" and incident.campaign_id is None, "tell the people"),
    )
    return [words for needed, words in steps if needed]


class IncidentNote(Base):
    """Something that was filed with an incident: a note, the report of a processor, correspondence. Only added to."""

    __tablename__ = "incident_note"
    __table_args__ = (
        one_of("kind", NOTE_KINDS),
        UniqueConstraint("form_key"),
        Index("ix_incident_note_incident_id", "incident_id", "filed_at"),
        {"schema": SCHEMA, "info": _RECORD},
    )

    id: Mapped[Id]
    form_key: Mapped[uuid.UUID] = mapped_column(info=technical())
    incident_id: Mapped[uuid.UUID] = mapped_column(ForeignKey(f"{SCHEMA}.incident.id"), info=technical())
    kind: Mapped[str] = mapped_column(info=technical())
    sender: Mapped[str] = mapped_column(server_default="", info=technical())
    reference: Mapped[str] = mapped_column(server_default="", info=technical())
    body: Mapped[str] = mapped_column(info=technical())
    filed_at: Mapped[datetime] = mapped_column(info=technical())
    filed_by: Mapped[uuid.UUID] = _staff()


class IncidentPerson(Base):
    """A student whom an incident concerns, as the worker found them for its scope."""

    __tablename__ = "incident_person"
    __table_args__ = ({"schema": SCHEMA, "info": about(reaches="student_id", erasure=Erasure.ROW)},)

    incident_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey(f"{SCHEMA}.incident.id"), primary_key=True, info=technical()
    )
    student_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("platform.student.id"), primary_key=True, index=True, info=technical()
    )
    found_at: Mapped[datetime] = mapped_column(info=outside(_TOLD, "concerned by an incident"))
