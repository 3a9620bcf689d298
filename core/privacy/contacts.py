"""Seeing a person: the whole address of a student, and the record of it."""

import uuid
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import Refused
from core.models.platform import Student
from core.privacy.audit import Action, append, append_once, append_view, guarded
from core.privacy.files import add_file
from core.privacy.sessions import Staff

HTML = "text/html; charset=utf-8"
CSV = "text/csv; charset=utf-8"
MAY_REVEAL = ("program_staff", "privacy_officer")
MAY_READ_AUDIT = ("privacy_officer", "auditor")
MAY_REPORT = ("privacy_officer", "auditor", "admin")
MAY_PROVE = ("privacy_officer", "auditor")
MOST_AT_ONCE = 50


def reveal_contacts(
    session: Session, *, student_ids: list[uuid.UUID], purpose: str, by: Staff, now: datetime
) -> dict[uuid.UUID, str]:
    """Return the e-mail of each student that ``by`` may see, and record that each of them was seen.

    Raises Refused for a role that has no use for a contact, or for more than one page of people at once.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    if by.role not in MAY_REVEAL or len(student_ids) > MOST_AT_ONCE:
        raise Refused(
            "Contacts open to program staff, and to privacy officers for an open request; one page at a time.",
            role=by.role,
        )
    listed = select(Student.id, Student.email).where(Student.id.in_(student_ids))
    found = {row.id: row.email for row in session.execute(listed)}
    append_view(session, person_kind="student", person_ids=sorted(found), purpose=purpose, now=now)
    return found


def record_view(session: Session, *, student_id: uuid.UUID, purpose: str, by: Staff, now: datetime) -> None:
    """Record that one person's record was opened."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    append_view(session, person_kind="student", person_ids=[student_id], purpose=purpose, now=now)


def record_refusal(session: Session, *, what: str, by: Staff, now: datetime) -> None:
    """Record that ``by`` asked for something their role does not open. ``what`` is a code, such as a page's name."""
    identify(session, staff_id=by.id, session_id=by.session_id)
    append(session, Action.REFUSED, now=now, what=what, role=by.role)


def record_command_refusal(session: Session, *, what: str, now: datetime) -> None:
    """Record that a command was refused on the command line, which acts as the system. ``what`` is the command's name."""
    append(session, Action.REFUSED, now=now, what=what, role="system")


def record_closed(session: Session, *, kind: str, subject_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Record that ``by`` asked for one record ("student", "cohort") that is not there or not open to them.

    One line per session and record in 15 minutes: an address that is loaded again says nothing new.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    append_once(session, Action.REFUSED, now=now, subject_kind=kind, subject_id=subject_id, what=kind, role=by.role)


@guarded
def export_list(session: Session, *, what: str, name: str, content: bytes, rows: int, by: Staff, now: datetime) -> str:
    """Let a list leave the dashboard as a CSV through a one-time link; return the secret of the link.

    ``what`` and ``name`` hold no personal data. The number of rows is recorded.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    secret = add_file(session, session_id=by.session_id, name=name, media_type=CSV, content=content, now=now)
    append(session, Action.LIST_EXPORTED, now=now, what=what, rows=rows)
    return secret


def export_audit(session: Session, *, content: bytes, rows: int, by: Staff, now: datetime) -> str:
    """Let lines of the audit leave as a CSV; open while the audit does not verify, because they are the evidence then.

    Raises Refused for a role that the audit is not open to.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    if by.role not in MAY_READ_AUDIT:
        raise Refused("The audit opens to privacy officers and auditors.", role=by.role)
    secret = add_file(session, session_id=by.session_id, name="audit.csv", media_type=CSV, content=content, now=now)
    append(session, Action.LIST_EXPORTED, now=now, what="audit", rows=rows)
    return secret


def export_certificate(session: Session, *, name: str, content: bytes, by: Staff, now: datetime) -> str:
    """Let a certificate of erasure leave, as a page to print or as the signed file; return the secret of the link.

    Raises Refused for a role that certificates are not open to.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    if by.role not in MAY_PROVE:
        raise Refused("Certificates of erasure open to privacy officers and auditors.", role=by.role)
    kind = HTML if name.endswith(".html") else "application/json"
    secret = add_file(session, session_id=by.session_id, name=name, media_type=kind, content=content, now=now)
    append(session, Action.LIST_EXPORTED, now=now, what=f"certificate {name}", rows=1)
    return secret


def export_report(session: Session, *, year: int, content: bytes, rows: int, by: Staff, now: datetime) -> str:
    """Let the yearly report of requests leave as a page to print: figures, nobody's rows; return the secret of the link.

    Raises Refused for a role that the figures are not open to.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    if by.role not in MAY_REPORT:
        raise Refused("The figures of requests open to privacy officers, auditors and admins.", role=by.role)
    name = f"requests-{year}.html"
    secret = add_file(session, session_id=by.session_id, name=name, media_type=HTML, content=content, now=now)
    append(session, Action.LIST_EXPORTED, now=now, what=f"yearly report {year}", rows=rows)
    return secret


def export_policy(session: Session, *, name: str, content: bytes, rows: int, by: Staff, now: datetime) -> str:
    """Let a page about the promises, a sample or the processing record leave, to be printed: nobody's rows; return the link's secret.

    Raises Refused for a role that they are not open to.
    """
    identify(session, staff_id=by.id, session_id=by.session_id)
    if by.role not in MAY_REPORT:
        raise Refused("The promises and their evidence open to privacy officers, auditors and admins.", role=by.role)
    kind = HTML if name.endswith(".html") else "application/json"
    secret = add_file(session, session_id=by.session_id, name=name, media_type=kind, content=content, now=now)
    append(session, Action.LIST_EXPORTED, now=now, what=name, rows=rows)
    return secret
