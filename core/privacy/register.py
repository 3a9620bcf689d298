"""The register of processors is written by admins, version by version, each in their own name."""

import uuid
from collections.abc import Sequence
from datetime import date, datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, Refused, Stale
from core.models.base import uuid7
from core.models.processors import LEGAL_BASES, LONGEST_TEXT, TRANSFER_BASES, ProcessorRecord
from core.policy import in_force, listed_processors
from core.privacy.audit import Action, append, guarded
from core.privacy.sessions import Staff
from core.processors.registry import third_parties
from core.words import clean_text

MOST_SUB_PROCESSORS = 100


@guarded
def write_processor_record(
    session: Session, *, name: str, version: int, purpose: str, legal_basis: str, contract_on: date | None, review_by: date | None,
    sub_processors: Sequence[str], transfer_basis: str, region: str, contact: str, by: Staff, now: datetime,
) -> int:  # fmt: skip
    """Write the next version of what the register says of a processor, and return its number. Nothing new: nothing is written.

    ``version`` is the one that the screen shows, 0 for none. Raises Refused (only admins write), Stale, and BadInput for a name that
    neither policy nor data map know, an unknown basis, a review that is not after the contract, or a text that is too long.
    """
    _hold_admin(session, by)
    if name not in _known(session, now):
        raise BadInput("Neither the policy nor the data map names this processor.")
    newest = session.scalars(
        select(ProcessorRecord).where(ProcessorRecord.name == name).order_by(ProcessorRecord.version.desc()).limit(1)
    ).first()
    values = _checked(
        {"purpose": purpose, "region": region, "contact": contact}, legal_basis, transfer_basis, contract_on, review_by, sub_processors
    )  # fmt: skip
    before = {column: getattr(newest, column) if newest else EMPTY.get(column, "") for column in values}
    changed = [column for column, value in values.items() if value != before[column]]
    if not changed:
        return newest.version if newest else 0
    if (newest.version if newest else 0) != version:
        raise Stale("Somebody else wrote this entry since you opened it. Look at it again, then decide.")
    session.add(ProcessorRecord(id=uuid7(), name=name, version=version + 1, written_at=now, written_by=by.id, **values))
    session.flush()
    append(session, Action.PROCESSOR_WRITTEN, now=now, subject_kind="processor", subject_id=_id(name), processor=name,
           fields=", ".join(column.replace("_", " ") for column in changed))  # fmt: skip
    return version + 1


EMPTY: dict[str, object] = {"contract_on": None, "review_by": None, "sub_processors": []}


def _hold_admin(session: Session, by: Staff) -> None:
    identify(session, staff_id=by.id, session_id=by.session_id)
    role = session.scalar(text("select staff.hold_my_role()"))
    if role != "admin":
        raise Refused("Admins write the register of processors. Your role does not, or no longer.", role=role)
    session.execute(select(func.pg_advisory_xact_lock(func.hashtext("register of processors"))))


def _known(session: Session, now: datetime) -> set[str]:
    listed = listed_processors(session, in_force(session, now).version)
    return {*listed, *third_parties("student", listed), *third_parties("visitor", listed)}


def _checked(
    texts: dict[str, str], legal_basis: str, transfer_basis: str, contract_on: date | None, review_by: date | None,
    sub_processors: Sequence[str],
) -> dict[str, object]:  # fmt: skip
    if legal_basis not in ("", *LEGAL_BASES) or transfer_basis not in ("", *TRANSFER_BASES):
        raise BadInput("Choose a legal basis and a transfer basis from the lists.")
    if contract_on and review_by and review_by <= contract_on:
        raise BadInput("The next review comes after the day of the contract.")
    cleaned = {name: clean_text(value, what=f"The {name}", longest=LONGEST_TEXT) for name, value in texts.items()}
    others = [clean_text(each, what="A sub-processor", longest=200) for each in sub_processors]
    others = list(dict.fromkeys(each for each in others if each))
    if len(others) > MOST_SUB_PROCESSORS:
        raise BadInput(f"{MOST_SUB_PROCESSORS} sub-processors at most; name their list instead.")
    return {**cleaned, "legal_basis": legal_basis, "transfer_basis": transfer_basis, "contract_on": contract_on,
            "review_by": review_by, "sub_processors": others}  # fmt: skip


def _id(name: str) -> uuid.UUID:
    """An id of the processor for the audit, the same each time."""
    return uuid.uuid5(uuid.NAMESPACE_DNS, name)
