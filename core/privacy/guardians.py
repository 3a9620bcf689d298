"""Guardians who ask for themselves: the file of what is held about them, a correction, an erasure. With the clock of every request.

Danger: somebody who only signed for a child is left out of the rights of everybody else; or is shown, with their own data, the
child's. Principle: a guardian gets what the labels say is theirs (core.models.consent.held_of_guardian), and nothing of the
student but that there is one. An erasure ends their consent, so it is done by a second officer. Mechanism: a request names its
guardian (core.privacy.requests.link_subject); the file is made like everybody's (core.privacy.exports) and handed out through the
same one-time link; :func:`answer_guardian` corrects or erases, and is the answer.
"""

import json
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import cells
from core.errors import BadInput, Refused
from core.models.consent import Consent, Guardian, held_of_guardian
from core.policy.machine import number
from core.privacy import consent, export_page, letters
from core.privacy.acting import Case, Receipt, begin, change, demand_move, stop_clock
from core.privacy.audit import Action, append, guarded
from core.privacy.export_build import FORMAT, LEVEL, Buffer, Files, csv_name
from core.privacy.rules import ask
from core.privacy.sessions import Staff, demand_fresh
from core.words import clean

NAME = "parent or guardian"
NOT_IN_IT = (
    "What is held about the student: it is theirs. They can ask for it themselves, or you for them.",
    "Names of people who work here.",
    "Who looked at your records and when (the audit): it holds numbers instead of names and does not lead back to you.",
)
WHY = export_page.Line(
    NAME, ("name", "e-mail", "consent"), ("to know that a parent or guardian agrees (clause 9 of the privacy policy)",), (),
    ("until the student is 18, has another guardian, or is erased",),
)  # fmt: skip


@dataclass(frozen=True)
class GuardianFile:
    """What the file of a guardian is made from. ``rows``: one for each student for whom they are asked."""

    number: str
    kind: str
    policy_version: str
    name: str
    made_at: datetime
    kept_until: datetime
    rows: tuple[dict[str, object], ...]


def held(session: Session, guardian_id: uuid.UUID) -> tuple[dict[str, object], ...]:
    """Return, as the worker, what is held about a guardian: a row for each record that has their address. Empty once they are gone."""
    one = session.get(Guardian, guardian_id, populate_existing=True)
    found = same_address(session, one) if one is not None else ()
    return tuple(held_of_guardian(each, session.get(Consent, each.student_id)) for each in found)


def same_address(session: Session, guardian: Guardian) -> tuple[Guardian, ...]:
    """Return every row of a guardian: who has two children here stands in two records, and is one person."""
    same = select(Guardian).where(func.lower(Guardian.email) == guardian.email.lower()).order_by(Guardian.id)
    return tuple(session.scalars(same, execution_options={"populate_existing": True}))


def chunks(file: GuardianFile) -> Iterator[bytes]:
    """Build the file and return it bit by bit: a page to read, JSON, a CSV, a manifest."""
    buffer = Buffer()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as archive:  # type: ignore[call-overload]
        files = Files(archive, buffer, file.made_at)
        yield from files.add("index.html", [_page(file)])
        if file.rows:
            names = list(file.rows[0])
            lines = ([cells.shown(row.get(name)) for name in names] for row in file.rows)
            yield from files.add(csv_name(NAME), [cells.csv_bytes(names, lines)])
        yield from files.add(
            "data.json", [_json(_head(file) | {"data": {NAME: [cells.as_json(dict(row)) for row in file.rows]}})]
        )
        records = [{"what": NAME, "rows": len(file.rows), "file": csv_name(NAME)}] if file.rows else []
        yield from files.add(
            "manifest.json", [_json(_head(file) | {"records": records, "not_in_it": NOT_IN_IT, "files": files.told})]
        )
    yield buffer.taken()


@guarded
def answer_guardian(
    session: Session,
    *,
    request_id: uuid.UUID,
    version: int,
    by: Staff,
    now: datetime,
    guardian_name: str = "",
    guardian_email: str = "",
    confirmation: str = "",
    words: str = "",
) -> Receipt:
    """Do what a guardian asked for, and answer: a correction of name and address, or an erasure.

    An erasure ends the guardian's consent; it needs a fresh proof, the request's number typed (``confirmation``), and another
    officer than the one who filed the request or owns it. Raises BadInput, NotFresh, Refused.
    """
    case = begin(session, verb="answer_guardian", request_id=request_id, version=version, by=by)
    if case.done:
        return case.done
    demand_move(session, case, "answered", now, start=("verified",))
    guardian = session.get(Guardian, case.request.guardian_id) if case.request.guardian_id else None
    if case.request.kind not in ("correct", "delete") or case.request.guardian_id is None:
        raise BadInput("This request is not one of a parent or guardian for a correction or an erasure.")
    if guardian is None:
        outcome = "nothing is held"  # the student came of age meanwhile, or has another guardian
        letters.queue(session, case, "answer", now=now, words=words, reason=outcome)
    elif case.request.kind == "correct":
        outcome = "corrected"
        _correct(session, case, guardian, guardian_name, guardian_email, words, by, now)
    else:
        outcome = "erased"
        _erase(session, case, guardian, confirmation, by, now)
    values = stop_clock(session, case, now=now, reason="answered")
    receipt = change(session, case, to="answered", now=now, outcome=outcome, sentence="Done, and answered. The letter waits in the outbox.",
                     **values)  # fmt: skip
    append(session, Action.REQUEST_ANSWERED, now=now, subject_kind="request", subject_id=request_id, outcome=outcome)
    return receipt


def _correct(
    session: Session, case: Case, guardian: Guardian, name: str, email: str, words: str, by: Staff, now: datetime
) -> None:
    mine = same_address(session, guardian)
    for each in mine:
        name, email = consent.demand_guardian(session, each.student_id, name, email, by=by)
    if all((each.name, each.email) == (name, email) for each in mine):
        raise BadInput("That is what is kept already. Write the value that is right.")
    mended = update(Guardian).where(Guardian.id.in_([each.id for each in mine])).values(name=name, email=email)
    session.execute(mended.execution_options(synchronize_session=False))
    session.refresh(guardian)
    letters.queue(session, case, "answer", now=now, words=words, reason="corrected")
    cases = (
        select(Consent.number)
        .where(Consent.student_id.in_([each.student_id for each in mine]))
        .order_by(Consent.number)
    )
    for case_number in session.scalars(cases).all():
        append(session, Action.GUARDIAN_CORRECTED, now=now, subject_kind="consent", case=consent.numbered(case_number))


def _erase(session: Session, case: Case, guardian: Guardian, confirmation: str, by: Staff, now: datetime) -> None:
    demand_fresh(by, now)
    if clean(confirmation, what="The number").upper() != number(case.request.number):
        raise BadInput(f"Type {number(case.request.number)} to confirm.")
    involved = {case.request.filed_by, case.request.owner_id, case.request.identity_by}
    if by.id in involved and not ask(session, "privacy.single_officer()"):
        raise Refused("You filed this request, own it or checked the identity. Another privacy officer erases.")
    ended = 0
    for each in same_address(session, guardian):
        record = session.get(Consent, each.student_id, with_for_update=True, populate_existing=True)
        if record is not None and record.guardian_id == each.id:
            consent.let_go(session, record, each, by=by, now=now, request_id=case.request.id)
            ended += 1
    if not ended:
        letters.queue(session, case, "answer", now=now, reason="erased")


def _page(file: GuardianFile) -> bytes:
    names = list(file.rows[0]) if file.rows else []
    fields = [(name, any(isinstance(row.get(name), date) for row in file.rows)) for name in names]
    rows = [cells.as_json(row) for row in file.rows]
    tables = [export_page.Table(NAME, (), fields, rows, len(rows), csv_name(NAME))] if rows else []
    return export_page.page(
        name=file.name, number=file.number, kind=file.kind, made_at=file.made_at, kept_until=file.kept_until,
        policy_version=file.policy_version, tables=tables, pictures=(), asked=(),
        context=(WHY,) if file.kind == "access" else (), not_in_it=NOT_IN_IT,
    )  # fmt: skip


def _head(file: GuardianFile) -> dict[str, Any]:
    return {"format": FORMAT, "request": file.number, "kind": file.kind, "made_at": cells.as_json(file.made_at),
            "policy_version": file.policy_version}  # fmt: skip


def _json(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode()
