"""Accounts, grants, assignments and access reviews, as admins see them; and what everybody sees of their own account.

Row-level security: admins read all accounts, everybody reads their own; no column of a password, secret or code is granted.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, or_, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from core.errors import NotFound
from core.models.platform import Cohort, Program
from core.models.staff import (
    AccessReview,
    Assignment,
    DeclaredMode,
    Invitation,
    Proposal,
    StaffMember,
    StaffSession,
)
from core.words import clean

PAGE_SIZE = 50
LONGEST_SEARCH = 200
Rows = Select[*tuple[Any, ...]]
IDLE = timedelta(minutes=15)
REVIEW_EVERY = timedelta(days=90)
ACCOUNT_STATES = ("active", "invited", "waits for approval", "no code", "ended", "disabled")
ASSIGNMENT_STATES = ("running", "starts later", "ended")


@dataclass(frozen=True)
class AccountFilter:
    """What to look for; an empty one finds all."""

    search: str = ""
    role: str | None = None
    state: str | None = None


@dataclass(frozen=True)
class AccountCursor:
    """The last row of a page: the next page begins behind it."""

    name: str
    id: uuid.UUID


@dataclass(frozen=True)
class AccountRow:
    """One account. ``cohorts`` are assigned today; ``seen_at`` is the last sign of life of any session."""

    id: uuid.UUID
    name: str
    email: str
    role: str
    state: str
    codes: bool
    demo: bool
    cohorts: int
    seen_at: datetime | None


@dataclass(frozen=True)
class AccountPage:
    """Up to ``PAGE_SIZE`` rows by name, how many match in all, and where the next page begins."""

    rows: tuple[AccountRow, ...]
    total: int
    next: AccountCursor | None


@dataclass(frozen=True)
class LiveSession:
    """A session that is not over."""

    id: uuid.UUID
    started_at: datetime
    seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class AssignmentRow:
    """Who may see a cohort's learning data, from when to when (``ends_on`` None: no end yet)."""

    id: uuid.UUID
    staff_id: uuid.UUID
    name: str
    cohort_id: uuid.UUID
    cohort: str
    program: str
    starts_on: date
    ends_on: date | None
    state: str


@dataclass(frozen=True)
class AssignmentCursor:
    """The last row of a page of assignments."""

    cohort: str
    id: uuid.UUID


@dataclass(frozen=True)
class AssignmentPage:
    """Up to ``PAGE_SIZE`` assignments by cohort, how many match in all, and where the next page begins."""

    rows: tuple[AssignmentRow, ...]
    total: int
    next: AssignmentCursor | None


@dataclass(frozen=True)
class ProposalRow:
    """A grant, waiting or decided. Names are those of today; nobody: the command line."""

    id: uuid.UUID
    kind: str
    staff_id: uuid.UUID
    name: str
    before: str | None
    after: str
    reason: str
    proposed_by: str
    mine: bool
    about_me: bool
    proposed_at: datetime
    decision: str | None
    decided_by: str
    decided_at: datetime | None
    alone: bool


@dataclass(frozen=True)
class CodeState:
    """The last one-time code of a person."""

    kind: str
    made_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class Account:
    """One account with everything an admin decides about. Secrets are only told to exist."""

    row: AccountRow
    created_at: datetime
    disabled_at: datetime | None
    ends_at: datetime | None
    password_since: datetime | None
    codes_since: datetime | None
    code: CodeState | None
    sessions: tuple[LiveSession, ...]
    assignments: tuple[AssignmentRow, ...]
    proposals: tuple[ProposalRow, ...]


@dataclass(frozen=True)
class MyAccount:
    """What everybody sees of their own account."""

    name: str
    email: str
    role: str
    created_at: datetime
    password_since: datetime | None
    codes_since: datetime | None
    sessions: tuple[LiveSession, ...]
    assignments: tuple[AssignmentRow, ...]


@dataclass(frozen=True)
class Oversight:
    """How far two persons stand behind grants, and the access review. Dates in UTC.

    ``review_due`` is the due date of the open review, or the day on which the next one has to be over. ``reviews_alone``:
    nobody else is there who could review the one admin's rights. ``confirmed_alone``: how many rights of the open review
    (of the last one, when none is open) their own holder confirmed.
    """

    single_admin: bool
    declared_at: datetime | None
    admins: int
    proposals: int
    review_open: bool
    review_due: date | None
    review_left: int
    reviewed_at: datetime | None
    reviews_alone: bool
    confirmed_alone: int


@dataclass(frozen=True)
class ReviewItem:
    """One right in the open review. ``mine``: another person has to decide it; ``decided_alone``: its own holder did."""

    id: uuid.UUID
    staff_id: uuid.UUID
    name: str
    email: str
    role: str
    current_role: str
    cohort: str | None
    starts_on: date | None
    ends_on: date | None
    verdict: str | None
    decided_by: str | None
    decided_at: datetime | None
    mine: bool
    decided_alone: bool


def account_page(
    session: Session,
    wanted: AccountFilter,
    *,
    now: datetime,
    after: AccountCursor | None = None,
    limit: int = PAGE_SIZE,
) -> AccountPage:
    """Return one page of accounts by name. Raises BadInput for a search that cannot be used."""
    conditions = _account_conditions(wanted, now)
    by_name = func.lower(StaffMember.name)
    listed = _accounts(now).where(*conditions).order_by(by_name, StaffMember.id).limit(limit + 1)
    if after:
        listed = listed.where(or_(by_name > after.name, and_(by_name == after.name, StaffMember.id > after.id)))
    found = [AccountRow(*row) for row in session.execute(listed)]
    total = session.scalar(select(func.count(StaffMember.id)).where(*conditions)) or 0
    more = AccountCursor(found[limit - 1].name.lower(), found[limit - 1].id) if len(found) > limit else None
    return AccountPage(tuple(found[:limit]), total, more)


def account(session: Session, staff_id: uuid.UUID, *, now: datetime) -> Account:
    """Return one account. Raises NotFound when there is none or it is not open to whoever asks: one answer."""
    row = session.execute(_accounts(now).where(StaffMember.id == staff_id)).first()
    if row is None:
        raise NotFound("There is no such account, or it is not open to you.", staff_id=staff_id)
    dates = session.execute(
        select(
            StaffMember.created_at,
            StaffMember.disabled_at,
            StaffMember.ends_at,
            StaffMember.password_since,
            StaffMember.totp_since,
        ).where(StaffMember.id == staff_id)
    ).one()
    return Account(
        AccountRow(*row), *dates, _code(session, staff_id), _sessions(session, staff_id, now),
        _assignments_of(session, staff_id, now), tuple(_proposals(session, Proposal.staff_id == staff_id)),
    )  # fmt: skip


def my_account(session: Session, staff_id: uuid.UUID, *, now: datetime) -> MyAccount:
    """Return the account of whoever asks; row-level security shows nobody else's to them, except to admins."""
    row = session.execute(
        select(
            StaffMember.name, StaffMember.email, StaffMember.role, StaffMember.created_at, StaffMember.password_since,
            StaffMember.totp_since,
        ).where(StaffMember.id == staff_id)
    ).first()  # fmt: skip
    if row is None:
        raise NotFound("There is no such account, or it is not open to you.", staff_id=staff_id)
    return MyAccount(*row, _sessions(session, staff_id, now), _assignments_of(session, staff_id, now))


def open_proposals(session: Session) -> list[ProposalRow]:
    """Return the grants that wait, oldest first."""
    return _proposals(session, Proposal.decided_at.is_(None))


def assignment_page(
    session: Session,
    *,
    now: datetime,
    state: str | None = None,
    program_id: uuid.UUID | None = None,
    search: str = "",
    after: AssignmentCursor | None = None,
    limit: int = PAGE_SIZE,
) -> AssignmentPage:
    """Return one page of assignments by cohort. ``search`` finds parts of a person's name or a cohort's title."""
    by_cohort = func.lower(Cohort.title)
    today = now.astimezone(UTC).date()
    conditions: list[ColumnElement[bool]] = []
    if state:
        conditions.append(_assignment_state(today) == state)
    if program_id:
        conditions.append(Cohort.program_id == program_id)
    if search.strip():
        conditions.append(_like(search, StaffMember.name, Cohort.title, Cohort.code))
    listed = _assignments(today).where(*conditions).order_by(by_cohort, Assignment.id).limit(limit + 1)
    if after:
        listed = listed.where(or_(by_cohort > after.cohort, and_(by_cohort == after.cohort, Assignment.id > after.id)))
    found = [AssignmentRow(*row) for row in session.execute(listed)]
    counted = select(func.count(Assignment.id)).join(Cohort).join(StaffMember, StaffMember.id == Assignment.staff_id)
    total = session.scalar(counted.where(*conditions)) or 0
    more = AssignmentCursor(found[limit - 1].cohort.lower(), found[limit - 1].id) if len(found) > limit else None
    return AssignmentPage(tuple(found[:limit]), total, more)


def assignable(session: Session) -> dict[uuid.UUID, str]:
    """Return the enabled accounts to which a cohort can be assigned (id → name), by name."""
    listed = select(StaffMember.id, StaffMember.name).where(
        StaffMember.role.in_(("instructor", "mentor")), StaffMember.disabled_at.is_(None)
    )
    rows = session.execute(listed.order_by(func.lower(StaffMember.name), StaffMember.id))
    return {row.id: row.name for row in rows}


def oversight(session: Session, *, now: datetime) -> Oversight:
    """Return whether grants are checked by two persons, and where the access review stands."""
    mode = select(DeclaredMode.declared_at).where(DeclaredMode.kind == "single admin", DeclaredMode.ended_at.is_(None))
    admins = select(func.count(StaffMember.id)).where(
        StaffMember.role == "admin", StaffMember.disabled_at.is_(None), StaffMember.password_since.is_not(None)
    )
    waiting = select(func.count(Proposal.id)).where(Proposal.decided_at.is_(None))
    due = session.scalar(select(AccessReview.due_on).where(AccessReview.completed_at.is_(None)))
    last = session.scalar(select(func.max(AccessReview.completed_at)))
    newest = select(AccessReview.confirmed_alone).order_by(AccessReview.started_at.desc()).limit(1)
    next_due = (last + REVIEW_EVERY).astimezone(UTC).date() if last else None
    left = sum(item.verdict is None for item in review_items(session, now=now)) if due else 0
    return Oversight(
        bool(session.scalar(text("select staff.single_admin()"))), session.scalar(mode), session.scalar(admins) or 0,
        session.scalar(waiting) or 0, due is not None, due or next_due, left, last,
        bool(session.scalar(text("select staff.reviews_alone()"))), session.scalar(newest) or 0,
    )  # fmt: skip


def review_items(session: Session, *, now: datetime) -> list[ReviewItem]:
    """Return the rights of the open review, by person; none for roles that do not review."""
    rows = session.execute(text("select * from staff.review_items(:now)"), {"now": now})
    return [
        ReviewItem(r.id, r.staff_id, r.name, r.email, r.role, r.current_role_name, r.cohort, r.starts_on, r.ends_on,
                   r.verdict, r.decided_by, r.decided_at, r.mine, r.decided_alone)
        for r in rows
    ]  # fmt: skip


def _accounts(now: datetime) -> Rows:
    today = now.astimezone(UTC).date()
    taught = select(func.count(func.distinct(Assignment.cohort_id))).where(
        Assignment.staff_id == StaffMember.id, _assignment_state(today) == "running"
    )
    seen = select(func.max(StaffSession.seen_at)).where(StaffSession.staff_id == StaffMember.id)
    return select(
        StaffMember.id, StaffMember.name, StaffMember.email, StaffMember.role, _account_state(now),
        StaffMember.totp_since.is_not(None), StaffMember.demo, taught.scalar_subquery(), seen.scalar_subquery(),
    )  # fmt: skip


def _account_state(now: datetime) -> ColumnElement[str]:
    waits = select(Proposal.id).where(
        Proposal.staff_id == StaffMember.id, Proposal.kind == "account", Proposal.decided_at.is_(None)
    )
    coded = select(Invitation.id).where(
        Invitation.staff_id == StaffMember.id,
        Invitation.used_at.is_(None),
        Invitation.revoked_at.is_(None),
        Invitation.expires_at > now,
    )
    return case(
        (StaffMember.disabled_at.is_not(None), literal("disabled")),
        (StaffMember.ends_at <= now, literal("ended")),
        (waits.exists(), literal("waits for approval")),
        (StaffMember.password_since.is_not(None), literal("active")),
        (coded.exists(), literal("invited")),
        else_=literal("no code"),
    )


def _account_conditions(wanted: AccountFilter, now: datetime) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.role:
        found.append(StaffMember.role == wanted.role)
    if wanted.state:
        found.append(_account_state(now) == wanted.state)
    if wanted.search.strip():
        found.append(_like(wanted.search, StaffMember.name, StaffMember.email))
    return found


def _like(search: str, *columns: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    typed = clean(search, what="The search", longest=LONGEST_SEARCH).lower()
    return or_(*(func.lower(column).contains(typed, autoescape=True) for column in columns))


def _sessions(session: Session, staff_id: uuid.UUID, now: datetime) -> tuple[LiveSession, ...]:
    listed = (
        select(StaffSession.id, StaffSession.started_at, StaffSession.seen_at, StaffSession.expires_at)
        .where(
            StaffSession.staff_id == staff_id,
            StaffSession.ended_at.is_(None),
            StaffSession.expires_at > now,
            StaffSession.seen_at > now - IDLE,
        )
        .order_by(StaffSession.seen_at.desc())
    )
    return tuple(LiveSession(*row) for row in session.execute(listed))


def _assignment_state(today: date) -> ColumnElement[str]:
    return case(
        (func.coalesce(Assignment.ends_on, date.max) < today, literal("ended")),
        (Assignment.starts_on > today, literal("starts later")),
        else_=literal("running"),
    )


def _assignments(today: date) -> Rows:
    return (
        select(
            Assignment.id, Assignment.staff_id, StaffMember.name, Cohort.id, Cohort.title, Program.title,
            Assignment.starts_on, Assignment.ends_on, _assignment_state(today),
        )
        .join(Cohort, Cohort.id == Assignment.cohort_id)
        .join(Program, Program.id == Cohort.program_id)
        .join(StaffMember, StaffMember.id == Assignment.staff_id)
    )  # fmt: skip


def _assignments_of(session: Session, staff_id: uuid.UUID, now: datetime) -> tuple[AssignmentRow, ...]:
    listed = _assignments(now.astimezone(UTC).date()).where(Assignment.staff_id == staff_id)
    newest = listed.order_by(func.coalesce(Assignment.ends_on, date.max).desc(), Cohort.title, Assignment.id)
    return tuple(AssignmentRow(*row) for row in session.execute(newest))


def _proposals(session: Session, condition: ColumnElement[bool]) -> list[ProposalRow]:
    about, asker, decider = aliased(StaffMember), aliased(StaffMember), aliased(StaffMember)
    me = func.staff.my_id()
    listed: Rows = (
        select(
            Proposal.id, Proposal.kind, Proposal.staff_id, about.name, Proposal.before, Proposal.after, Proposal.reason,
            func.coalesce(asker.name, "the command line"), func.coalesce(Proposal.proposed_by == me, False),
            Proposal.staff_id == me, Proposal.proposed_at, Proposal.decision, func.coalesce(decider.name, ""),
            Proposal.decided_at, Proposal.alone,
        )
        .join(about, about.id == Proposal.staff_id)
        .outerjoin(asker, asker.id == Proposal.proposed_by)
        .outerjoin(decider, decider.id == Proposal.decided_by)
        .where(condition)
        .order_by(Proposal.decided_at.is_not(None), Proposal.proposed_at, Proposal.id)
    )  # fmt: skip
    return [ProposalRow(*row) for row in session.execute(listed)]


def _code(session: Session, staff_id: uuid.UUID) -> CodeState | None:
    newest = (
        select(Invitation.kind, Invitation.made_at, Invitation.expires_at, Invitation.used_at, Invitation.revoked_at)
        .where(Invitation.staff_id == staff_id)
        .order_by(Invitation.made_at.desc(), Invitation.id.desc())
        .limit(1)
    )
    row = session.execute(newest).first()
    return CodeState(*row) if row else None
