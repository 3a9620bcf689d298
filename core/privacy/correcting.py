"""Corrections: a value that was wrong is entered by one officer and takes effect when another one confirms it.

Danger: whoever gets an address changed gets the account, and the letters; a correction is gone with the next spreadsheet. Principle:
nothing changes on one person's word: the requester's identity is confirmed, one officer enters old and new value, another one
compares both with what the person wrote and confirms with a fresh proof of who they are; the old address is told. What may be
corrected says the label of the column. Mechanism: ``privacy.correction`` and ``privacy.make_corrections``, which asks all of it
again; processors that hold the value are told (propagations "correct"), and until they have it a trigger keeps the new value
where an import brings the old one (migration "correction"). Values stand in that table, which is erased with the person.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Table, insert, select, text, update
from sqlalchemy.orm import Session

from core import keys
from core.errors import BadInput, NotFound, Refused
from core.models.base import Base, uuid7
from core.models.labels import ColumnLabel, TableLabel
from core.models.platform import EXPERIENCE_LEVELS, StudentProfile, Visitor
from core.models.requests import Outbox, Propagation, Request
from core.models.standing import CORRECTED_BECAUSE, Correction
from core.privacy import letters
from core.privacy.acting import (
    MISSING,
    Case,
    Receipt,
    begin,
    change,
    demand_move,
    demand_not_own,
    hold_officer,
    stop_clock,
    subject,
    write_text,
)
from core.privacy.audit import Action, append, append_view, guarded
from core.privacy.rules import ask, in_words
from core.privacy.sessions import Staff, demand_fresh
from core.words import clean

OF_PERSON = {"student": ("platform.student", "platform.student_profile"), "visitor": ("platform.visitor",)}
RETURN_REASONS = ("not what the person wrote", "mistyped here", "wrong person", "not to be corrected here")
WITHOUT_PROVIDER = "csv"  # a source that knows no id of its own: the hash of one is made of the address
EMAIL, LEVEL = "email", "experience_level"


@dataclass(frozen=True)
class CorrectableField:
    """A column that a person may have corrected. ``name`` is its word in exports; ``needed``: it cannot be empty."""

    name: str
    table: str
    column: str
    needed: bool

    @property
    def place(self) -> str:
        """The field as the database names it."""
        return f"{self.table}.{self.column}"


def correctable(person: str) -> tuple[CorrectableField, ...]:
    """Return what a "student" or "visitor" may have corrected, by the labels, in the order of the tables."""
    return tuple(
        CorrectableField(label.export, name, column.name, not column.nullable)
        for name in OF_PERSON[person]
        for column in Base.metadata.tables[name].columns
        if isinstance(label := column.info.get("privacy"), ColumnLabel) and label.correctable
    )


def values_now(session: Session, request: Request) -> dict[str, str | None]:
    """Return what stands now in the fields that may be corrected, by name, as far as whoever acts may see them."""
    person = subject(session, request)
    if person is None:
        raise BadInput("Find out who this is first.")
    profile = session.get(StudentProfile, request.student_id) if request.student_id else None
    return {
        field.name: getattr(profile if field.table.endswith("_profile") else person, field.column, None)
        for field in correctable(kind_of(request))
    }


def kind_of(request: Request) -> str:
    """Return "student" or "visitor"."""
    return "student" if request.student_id is not None else "visitor"


@dataclass(frozen=True)
class OpenedField:
    """A field that may be corrected, and what stands in it now."""

    field: CorrectableField
    value: str | None


@dataclass(frozen=True)
class WaitingValue:
    """One value that waits for the second person, or was decided on. ``form``: in a form left with the same address."""

    name: str
    old_value: str | None
    new_value: str | None
    reason: str
    form: bool


@dataclass(frozen=True)
class OpenedCorrection:
    """What an officer needs to enter or to compare a correction. ``forms``: how many other forms have the same address."""

    fields: tuple[OpenedField, ...]
    waiting: tuple[WaitingValue, ...]
    forms: int


def open_correction(session: Session, *, request_id: uuid.UUID, by: Staff, now: datetime) -> OpenedCorrection:
    """Return what stands and what waits for an open request for correction, and record that the person was seen."""
    hold_officer(session, by)
    request = session.get(Request, request_id)
    if request is None or request.closed_at is not None:
        raise NotFound(MISSING, request_id=request_id)
    stands, own = values_now(session, request), {field.place: field for field in correctable(kind_of(request))}
    names = {field.place: field.name for person in OF_PERSON for field in correctable(person)}
    waiting = tuple(
        WaitingValue(names[each.field], each.old_value, each.new_value, each.reason,
                     each.record_id not in (request.student_id, request.visitor_id))
        for each in proposed(session, request_id)
    )  # fmt: skip
    asked = {"student": request.student_id, "visitor": request.visitor_id}
    forms = session.scalar(text("select count(*) from privacy.forms_of(:student, :visitor)"), asked) or 0
    person = request.student_id or request.visitor_id
    assert person is not None
    append_view(session, person_kind=kind_of(request), person_ids=[person], purpose="request", now=now)
    return OpenedCorrection(
        tuple(OpenedField(field, stands[field.name]) for field in own.values()), waiting, int(forms)
    )


def enter_correction(
    session: Session,
    *,
    request_id: uuid.UUID,
    version: int,
    values: Mapping[str, str],
    reason: str,
    with_forms: bool = False,
    note: str = "",
    by: Staff,
    now: datetime,
) -> Receipt:
    """Enter what is to be corrected; nothing changes before another officer confirms it. Entered again, it replaces what waits.

    ``values`` by the names of :func:`correctable`, only what is new ("" empties what may be empty); ``reason`` one of
    CORRECTED_BECAUSE. ``with_forms``: forms that were left with the same address are theirs, and follow where they hold the same.

    Raises BadInput when nothing would change, a value cannot be used, the address is somebody's, or the identity is open.
    """
    case = begin(session, verb="enter_correction", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    request = case.request
    if request.kind != "correct" or request.state != "verified":
        raise BadInput("A correction is entered for a request for correction whose person is confirmed.")
    demand_not_own(session, request)
    if reason not in CORRECTED_BECAUSE:
        raise BadInput(f"Say why the value is wrong: {', '.join(CORRECTED_BECAUSE)}.")
    rows = _rows(session, request, values, now)
    if with_forms:
        rows += _form_rows(session, request, rows)
    write_text(session, case, "note", note, now=now)
    _drop_waiting(session, request, by, now)
    table: Table = Correction.__table__  # type: ignore[assignment]
    whose = {"request_id": request.id, "student_id": request.student_id, "visitor_id": request.visitor_id}
    with in_words():
        for row in rows:
            session.execute(
                insert(table).values(id=uuid7(), **whose, **row, reason=reason, entered_at=now, entered_by=by.id)
            )
    receipt = change(session, case, now=now, owner_id=request.owner_id or by.id,
                     sentence="Entered. It takes effect when another officer has confirmed it.")  # fmt: skip
    append(session, Action.CORRECTION_ENTERED, now=now, subject_kind="request", subject_id=request_id,
           fields=sorted({str(row["field"]) for row in rows}), reason=reason)  # fmt: skip
    return receipt


@guarded
def confirm_correction(
    session: Session, *, request_id: uuid.UUID, version: int, by: Staff, now: datetime, words: str = ""
) -> Receipt:
    """Confirm, as another person than who entered it: the record is corrected, processors are to follow, the person is told.

    The request is answered with it. An address that was theirs until now gets a letter too, so that nobody loses an account unseen.
    Raises Refused for whoever entered it (unless a single officer is declared), NotFresh, and BadInput when the record changed meanwhile.
    """
    case = begin(session, verb="confirm_correction", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    request = case.request
    demand_not_own(session, request)
    demand_fresh(by, now)
    waiting = proposed(session, request.id)
    if not waiting:
        raise BadInput("There is nothing to confirm: enter what is to be corrected first.")
    if any(each.entered_by == by.id for each in waiting) and not session.scalar(
        text("select privacy.single_officer()")
    ):
        raise Refused("You entered this correction. Another privacy officer has to confirm it.")
    demand_move(session, case, "answered", now)
    fields = sorted({each.field for each in waiting})
    ask(session, "privacy.make_corrections(:id, :now)", id=request.id, now=now)
    session.expire_all()
    _plan(session, request, fields, now)
    _tell(session, case, waiting, words, now)
    values = stop_clock(session, case, now=now, reason="answered")
    receipt = change(session, case, to="answered", now=now, outcome="corrected",
                     sentence="Corrected. The processors are to follow, and the letter waits.", **values)  # fmt: skip
    append(session, Action.CORRECTED, now=now, subject_kind="request", subject_id=request_id, fields=fields)
    return receipt


def return_correction(
    session: Session, *, request_id: uuid.UUID, version: int, reason: str, by: Staff, now: datetime, note: str = ""
) -> Receipt:
    """Send what was entered back: nothing changes. ``reason`` is one of RETURN_REASONS; whoever entered it may take it back, too."""
    case = begin(session, verb="return_correction", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    if reason not in RETURN_REASONS:
        raise BadInput(f"Choose a reason: {', '.join(RETURN_REASONS)}.")
    demand_not_own(session, case.request)
    if not _drop_waiting(session, case.request, by, now):
        raise BadInput("There is nothing to return.")
    write_text(session, case, "note", note, now=now)
    receipt = change(session, case, now=now, sentence="Returned. Nothing was changed; it can be entered anew.")
    append(session, Action.CORRECTION_RETURNED, now=now, subject_kind="request", subject_id=request_id, reason=reason)
    return receipt


def proposed(session: Session, request_id: uuid.UUID) -> list[Correction]:
    """Return what was entered for a request and waits for a second person."""
    waiting = select(Correction).where(Correction.request_id == request_id, Correction.state == "proposed")
    return list(
        session.scalars(waiting.order_by(Correction.field, Correction.id).execution_options(populate_existing=True))
    )


def _rows(session: Session, request: Request, values: Mapping[str, str], now: datetime) -> list[dict[str, object]]:
    known = {field.name: field for field in correctable(kind_of(request))}
    stands = values_now(session, request)
    if unknown := sorted(set(values) - set(known)):
        raise BadInput(f"{', '.join(unknown)} cannot be corrected here. Possible: {', '.join(known)}.")
    rows = []
    for name, typed in values.items():
        field, new = known[name], _cleaned(known[name], typed)
        if new == stands[name]:
            continue
        row: dict[str, object] = {"record_id": request.student_id or request.visitor_id, "field": field.place,
                                  "old_value": stands[name], "new_value": new}  # fmt: skip
        if field.column == EMAIL and new is not None:
            row |= _hashes(session, request, stands[name] or "", new, now)
        rows.append(row)
    if not rows:
        raise BadInput("Nothing would change: write the new value of at least one field.")
    return rows


def _cleaned(field: CorrectableField, typed: str) -> str | None:
    value = clean(typed, what=f"The {field.name}")
    if not value:
        if field.needed:
            raise BadInput(f"The {field.name} cannot be empty.")
        return None
    if field.column == EMAIL and ("@" not in value[1:-1] or any(char.isspace() for char in value)):
        raise BadInput("That is not an e-mail address.")
    if field.column == LEVEL and value not in EXPERIENCE_LEVELS:
        raise BadInput(f"The experience level is one of: {', '.join(EXPERIENCE_LEVELS)}.")
    if field.column == "link" and not value.startswith(("https://", "http://")):
        raise BadInput("A link begins with https://.")
    return value


def _hashes(session: Session, request: Request, old: str, new: str, now: datetime) -> dict[str, object]:
    """The keyed hashes of both addresses; refuses one that is somebody else's."""
    digest = keys.person_hashes()
    made = _made_of(new, getattr(subject(session, request), "source", ""))
    asked = {
        "email": new,
        "hash": made["new_hash"],
        "student": request.student_id,
        "visitor": request.visitor_id,
        "now": now,
    }
    answer = ask(session, "privacy.address_is_free(:email, :hash, :student, :visitor, :now)", **asked)
    if answer == "taken":
        raise BadInput(
            "Another student has this e-mail address already. Two accounts of one person are brought together on the platform."
        )
    if answer == "erased":
        raise BadInput("Somebody with this e-mail address was erased; an older record cannot take it.")
    return {"old_hash": digest(old, "")[0], **made}


def _made_of(email: str, source: str) -> dict[str, object]:
    digest = keys.person_hashes()
    email_hash, provider_hash = digest(email, f"{source}:{keys.normalized_email(email)}")
    return {"new_hash": email_hash, "new_provider_hash": provider_hash if source == WITHOUT_PROVIDER else None}


def _form_rows(session: Session, request: Request, rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """The same corrections in the person's other forms, where they hold the same old value."""
    asked = {"student": request.student_id, "visitor": request.visitor_id}
    forms = session.execute(text("select * from privacy.forms_of(:student, :visitor)"), asked).all()
    columns = {field.column for field in correctable("visitor")}
    more = []
    for form in forms:
        for row in rows:
            column = str(row["field"]).split(".")[-1]
            stands = getattr(form, column, None)
            if column not in columns or not _same(column, stands, row["old_value"]):
                continue
            made = _made_of(str(row["new_value"]), form.source) if column == EMAIL else {}
            place = f"{Visitor.__table__.fullname}.{column}"  # type: ignore[attr-defined]
            more.append({**row, "record_id": form.id, "field": place, "old_value": stands, **made})
    return more


def _same(column: str, one: object, other: object) -> bool:
    if column == EMAIL:
        return keys.normalized_email(str(one)) == keys.normalized_email(str(other))
    return one == other


def _drop_waiting(session: Session, request: Request, by: Staff, now: datetime) -> int:
    waits = update(Correction).where(Correction.request_id == request.id, Correction.state == "proposed")
    with in_words():
        gone = session.execute(waits.values(state="returned", decided_at=now, decided_by=by.id).returning(Correction.id)
                               .execution_options(synchronize_session=False)).all()  # fmt: skip
    return len(gone)


def _plan(session: Session, request: Request, fields: list[str], now: datetime) -> None:
    """Every processor that receives one of these columns is to follow (GDPR 19)."""
    told = sorted({processor for field in fields for processor in _receivers(field)})
    session.add_all(Propagation(request_id=request.id, what="correct", processor=each, planned_at=now) for each in told)
    session.flush()


def _receivers(field: str) -> tuple[str, ...]:
    schema, name, column = field.split(".")
    table = Base.metadata.tables[f"{schema}.{name}"]
    row, own = table.info["privacy"], table.c[column].info["privacy"]
    assert isinstance(row, TableLabel)
    return tuple(map(str, row.processors if own.processors is None else own.processors))


def _tell(session: Session, case: Case, waiting: list[Correction], words: str, now: datetime) -> None:
    """The letter, and one to an address that was theirs: a change that nobody asked for has to be noticed."""
    names = {field.place: field.name for person in OF_PERSON for field in correctable(person)}
    told = ", ".join(dict.fromkeys(names[each.field] for each in waiting))
    letters.queue(session, case, "corrected", now=now, words=words, reason=told)
    own = f"platform.{kind_of(case.request)}.email"
    before = next((each for each in waiting if each.field == own and each.reason != "never theirs"), None)
    if before is not None and before.old_value:
        waits = update(Outbox).where(
            Outbox.address == before.old_value, Outbox.state == "waiting", Outbox.request_id == case.request.id
        )
        session.execute(waits.values(address=before.new_value).execution_options(synchronize_session=False))
        letters.queue(session, case, "address changed", now=now, address=before.old_value)
