"""The register of processors (clause 5, Art. 28 and 30 GDPR): what people wrote down about each, and how its connection does."""

import uuid
from datetime import date, datetime
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from core.models.base import Base, Id
from core.models.labels import Category, Erasure, about, label, technical
from core.models.platform import one_of

SCHEMA = "privacy"
LEGAL_BASES = ("contract", "consent", "legal obligation", "legitimate interest")
TRANSFER_BASES = (
    "no transfer", "adequacy decision", "EU-US Data Privacy Framework", "standard contractual clauses", "binding corporate rules",
)  # fmt: skip
CIRCUITS = ("closed", "open", "half-open")
LONGEST_TEXT = 500
_NOBODY = about(reaches="", erasure=Erasure.NONE)


def _text() -> Any:
    return mapped_column(server_default="", info=technical())


class ProcessorRecord(Base):
    """What the register says of one processor, as one person wrote it; never changed: the newest version counts.

    "" and None: not filled in yet. ``contract_on``: the day of the contract under Art. 28; ``review_by``: when somebody has to look at
    it again. ``sub_processors``: whom it uses itself. ``transfer_basis``: what allows data outside the European Economic Area.
    """

    __tablename__ = "processor_record"
    __table_args__ = (
        one_of("legal_basis", ("", *LEGAL_BASES)),
        one_of("transfer_basis", ("", *TRANSFER_BASES)),
        CheckConstraint("review_by is null or contract_on is null or review_by > contract_on", name="reviewed_later"),
        CheckConstraint(
            f"greatest(char_length(purpose), char_length(region), char_length(contact)) <= {LONGEST_TEXT}", name="short"
        ),
        Index("uq_processor_record_version", "name", "version", unique=True),
        {"schema": SCHEMA, "info": _NOBODY},
    )

    id: Mapped[Id]
    name: Mapped[str] = mapped_column(info=technical())
    version: Mapped[int] = mapped_column(info=technical())
    purpose: Mapped[str] = _text()
    legal_basis: Mapped[str] = _text()
    contract_on: Mapped[date | None] = mapped_column(Date, info=technical())
    review_by: Mapped[date | None] = mapped_column(Date, info=technical())
    sub_processors: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}", info=technical())
    transfer_basis: Mapped[str] = _text()
    region: Mapped[str] = _text()
    contact: Mapped[str] = _text()
    written_at: Mapped[datetime] = mapped_column(info=technical())
    written_by: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("staff.staff_member.id"), index=True, info=label(Category.STAFF)
    )


class ProcessorHealth(Base):
    """How the connection to one processor does, as all workers see it. ``error`` is the code of the last failure.

    An "open" circuit: after failures in a row nothing is sent until ``opens_at``, when one call may try. "half-open": one worker has
    that turn, until ``opens_at``, and the others wait for how it goes.
    """

    __tablename__ = "processor_health"
    __table_args__ = (one_of("circuit", CIRCUITS), {"schema": SCHEMA, "info": _NOBODY})

    name: Mapped[str] = mapped_column(primary_key=True, info=technical())
    circuit: Mapped[str] = mapped_column(server_default="closed", info=technical())
    failures: Mapped[int] = mapped_column(server_default="0", info=technical())
    opens_at: Mapped[datetime | None] = mapped_column(info=technical())
    worked_at: Mapped[datetime | None] = mapped_column(info=technical())
    failed_at: Mapped[datetime | None] = mapped_column(info=technical())
    error: Mapped[str | None] = mapped_column(info=technical())
