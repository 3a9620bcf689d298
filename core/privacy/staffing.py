"""Staff accounts, roles and assignments. Every change ends the sessions it concerns and writes one line to the audit.

Whatever gives somebody more rights is closed while the audit does not verify; closing an account never is.

These run as the worker role (the command line today); the caller opens the transaction.
"""

import uuid
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from core.errors import BadInput, NotFound
from core.models.platform import Cohort
from core.models.staff import ROLES, TEACHING_ROLES, Assignment, StaffMember, StaffSession
from core.privacy import passwords
from core.privacy.audit import Action, append, guarded
from core.words import clean


@dataclass(frozen=True)
class StaffRow:
    """One account, as the command line lists it."""

    email: str
    name: str
    role: str
    enabled: bool
    cohorts: int


@dataclass(frozen=True)
class AssignedCohort:
    """Who teaches (or taught) what."""

    email: str
    cohort: str


@guarded
def add_staff(
    session: Session,
    *,
    email: str,
    name: str,
    role: str,
    password: str,
    now: datetime,
    demo: bool = False,
    digest: str | None = None,
) -> uuid.UUID:
    """Make an account. Raises BadInput when the address is taken, the role unknown or the password easy to guess.

    ``digest``: what is stored for the same password already (accounts of a demonstration share theirs, and a quarter of a second each).
    """
    email, name = clean(email, what="The e-mail"), clean(name, what="The name")
    if "@" not in email[1:-1] or not name:
        raise BadInput("An account needs a name and an e-mail address.")
    if _find(session, email):
        raise BadInput(f"There is an account with {email} already.", email=email)
    digest = digest or passwords.hashed(password, email=email, name=name)
    member = StaffMember(
        email=email, name=name, role=_role(role), password_hash=digest, password_since=now, created_at=now, demo=demo
    )
    session.add(member)
    session.flush()
    append(session, Action.STAFF_ADDED, now=now, subject_kind="staff", subject_id=member.id, role=role)
    return member.id


def disable_staff(session: Session, *, email: str, now: datetime) -> None:
    """Close an account; its sessions end at once."""
    member = _member(session, email)
    member.disabled_at = now
    _end_sessions(session, member, now, "disabled")
    append(session, Action.STAFF_DISABLED, now=now, subject_kind="staff", subject_id=member.id, reason="command line")


@guarded
def enable_staff(session: Session, *, email: str, now: datetime) -> None:
    """Open a disabled account again."""
    member = _member(session, email)
    member.disabled_at = None
    append(session, Action.STAFF_ENABLED, now=now, subject_kind="staff", subject_id=member.id)


@guarded
def change_role(session: Session, *, email: str, role: str, now: datetime) -> None:
    """Give an account another role; its sessions end, its assignments rest unless the new role teaches."""
    member = _member(session, email)
    before, member.role = member.role, _role(role)
    _end_sessions(session, member, now, "role changed")
    append(session, Action.ROLE_CHANGED, now=now, subject_kind="staff", subject_id=member.id, before=before, after=role)


@guarded
def assign(session: Session, *, email: str, cohort: str, starts_on: date, ends_on: date | None, now: datetime) -> None:
    """Open the learning data of a cohort (by its code) to an instructor or mentor, from day to day, both included."""
    member = _member(session, email)
    if member.role not in TEACHING_ROLES:
        raise BadInput(
            f"{email} is {member.role}. Learning data opens to instructors and mentors only; change the role first."
        )
    if ends_on is not None and ends_on < starts_on:
        raise BadInput(f"The assignment would end on {ends_on}, before it starts on {starts_on}.")
    found = session.scalars(select(Cohort).where(Cohort.code == cohort)).first()
    if found is None:
        raise NotFound(f"There is no cohort with the code {cohort}.", cohort=cohort)
    made = Assignment(staff_id=member.id, cohort_id=found.id, starts_on=starts_on, ends_on=ends_on, created_at=now)
    session.add(made)
    session.flush()
    append(session, Action.ASSIGNED, now=now, subject_kind="staff", subject_id=member.id, cohort=str(found.id))


def assignments(session: Session) -> list[AssignedCohort]:
    """Return every assignment ever made, by e-mail and cohort code."""
    listed = (
        select(StaffMember.email, Cohort.code)
        .join(Assignment, Assignment.staff_id == StaffMember.id)
        .join(Cohort, Cohort.id == Assignment.cohort_id)
        .order_by(StaffMember.email, Cohort.code)
    )
    return [AssignedCohort(*row) for row in session.execute(listed)]


def staff_id(session: Session, *, email: str) -> uuid.UUID:
    """Return the id of an account. Raises NotFound when there is none."""
    return _member(session, email).id


def staff_list(session: Session, *, today: date) -> list[StaffRow]:
    """Return all accounts by e-mail, with the number of cohorts assigned today."""
    current = (Assignment.starts_on <= today) & (func.coalesce(Assignment.ends_on, date.max) >= today)
    cohorts = select(func.count(func.distinct(Assignment.cohort_id))).where(
        Assignment.staff_id == StaffMember.id, current
    )
    listed = select(StaffMember, cohorts.scalar_subquery()).order_by(func.lower(StaffMember.email))
    return [StaffRow(m.email, m.name, m.role, m.disabled_at is None, n) for m, n in session.execute(listed)]


def _role(role: str) -> str:
    if role not in ROLES:
        raise BadInput(f"{role!r} is not a role. Choose one of {', '.join(ROLES)}.", role=role)
    return role


def _same_email(email: str) -> ColumnElement[bool]:
    return func.lower(StaffMember.email) == func.lower(email.strip())


def _find(session: Session, email: str) -> StaffMember | None:
    return session.scalars(select(StaffMember).where(_same_email(email)).with_for_update()).first()


def _member(session: Session, email: str) -> StaffMember:
    found = _find(session, email)
    if found is None:
        raise NotFound(f"There is no account with the e-mail {email}.", email=email)
    return found


def _end_sessions(session: Session, member: StaffMember, now: datetime, reason: str) -> None:
    mine = (StaffSession.staff_id == member.id) & StaffSession.ended_at.is_(None)
    session.execute(update(StaffSession).where(mine).values(ended_at=now, end_reason=reason))
