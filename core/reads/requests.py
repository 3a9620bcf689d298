"""The desk: the queue of requests, one request with everything about it, and the figures.

Row-level security shows requests to privacy officers; whoever filed one learns from :func:`handed_on` that it was received.
Everything that depends on time is computed for ``now``: a stopped worker makes nothing look on time.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, case, func, or_, select, text, tuple_
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.models.consent import Guardian
from core.models.erasure import ManualStep
from core.models.erasures import PersonErasure
from core.models.platform import Student, Visitor
from core.models.requests import (
    Approval,
    DeletionPlan,
    LetterTemplate,
    Outbox,
    PlanView,
    Propagation,
    Request,
    RequestClock,
    RequestMove,
    RequestText,
)
from core.models.standing import Correction, Restriction
from core.policy import Parameters, pinned
from core.policy.clock import Clock, Tick, fold
from core.policy.machine import STATE_WORDS, NextAction, Situation, next_action, number
from core.reads.erasures import ErasureRead, erasure_of
from core.reads.exports import ExportRead, export_of, export_stages

PAGE_SIZE = 50
VIEWS = ("open", "mine", "to approve", "waiting for the person", "in grace", "closed")
DUE_SOON = timedelta(days=7)
QUARTER = timedelta(days=90)


@dataclass(frozen=True)
class QueueFilter:
    """What the desk shows: a view of VIEWS, and of which kinds (none: all)."""

    view: str = "open"
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueueCursor:
    """The last row of a page: where the next one begins."""

    resting: bool
    at: datetime
    id: uuid.UUID


@dataclass(frozen=True)
class QueueRow:
    """One request in the queue.

    ``who`` is the person's name, or None when unknown (or closed: the identity is not open any more). ``deadline`` is when
    ``what_is_due`` ("answer" or "approval", "erasure", None when closed) is due; ``left`` is negative when overdue. ``used`` is the
    share of the answer's time that is used up, pauses left out.
    """

    id: uuid.UUID
    number: str
    kind: str
    state: str
    state_words: str
    who: str | None
    person: str | None
    received_at: datetime
    what_is_due: str | None
    deadline: datetime | None
    left: timedelta | None
    overdue: bool
    due_soon: bool
    paused: bool
    extended_months: int
    used: float
    owner: str | None
    mine: bool
    early: bool
    version: int
    plan_fingerprint: str | None
    next: NextAction
    closed_at: datetime | None
    outcome: str | None


@dataclass(frozen=True)
class QueuePage:
    """Up to 50 rows; ``after`` is None on the last page."""

    rows: tuple[QueueRow, ...]
    after: QueueCursor | None


@dataclass(frozen=True)
class DeskCounts:
    """The key figures of the desk. Overdue and due soon (7 days) count answers; ``grace_ends_soon`` counts plans that wait
    for approval although the grace period ends within 7 days, or has ended."""

    open: int
    overdue: int
    due_soon: int
    mine: int
    unowned: int
    to_approve: int
    mine_to_approve: int
    waiting_for_person: int
    in_grace: int
    grace_ends_soon: int
    letters_waiting: int


@dataclass(frozen=True)
class AnswerDays:
    """How long answers took, from receipt to answer: the median in days of the last 90 days, and of the 90 before; None when
    none was answered."""

    median: float | None
    before: float | None


@dataclass(frozen=True)
class Event:
    """One thing that happened to a request; ``by`` is a name, None for the worker or an import. ``what`` is "moved", a clock
    event, "approved", "plan opened", "letter", "step" or a kind of text."""

    at: datetime
    what: str
    words: str
    by: str | None


@dataclass(frozen=True)
class TextRow:
    """What somebody wrote. Show it as text, never as markdown."""

    what: str
    body: str
    written_at: datetime
    by: str | None


@dataclass(frozen=True)
class LetterRow:
    """A letter; ``request`` is the number of its request. ``sendable``: it waits and its day has come."""

    id: uuid.UUID
    request_id: uuid.UUID | None
    request: str | None
    kind: str
    subject: str
    body: str
    state: str
    address: str | None
    not_before: datetime
    attempts: int
    error: str | None
    sent_at: datetime | None
    sent_how: str | None
    sendable: bool
    student_id: uuid.UUID | None = None


@dataclass(frozen=True)
class StepRow:
    """What has to follow elsewhere, and whether it did. ``hand`` is its manual step; the rest as in core.models.requests.Propagation."""

    id: uuid.UUID
    what: str
    processor: str
    state: str
    planned_at: datetime
    attempts: int
    next_at: datetime | None
    error: str
    proof: str
    hand: uuid.UUID | None
    done_at: datetime | None
    by: str | None


@dataclass(frozen=True)
class PlanRead:
    """The plan that counts now, who approved it, and who may not. ``document`` holds rows, processors, holds."""

    fingerprint: str
    policy_version: str
    document: dict[str, Any]
    made_at: datetime
    approved_by: tuple[str, ...]
    by_rule: str | None
    needed: int
    seen_by_me: bool


@dataclass(frozen=True)
class RequestPage:
    """Everything about one request, as an officer sees it. Identity is there while the request is open."""

    row: QueueRow
    clock: Clock
    parameters: Parameters
    person_id: uuid.UUID | None
    email: str | None
    account_status: str | None
    subject_is_staff: bool
    own_record: bool
    single_officer: bool
    closed_by_student: bool
    channel: str
    requester: str
    policy_version: str
    filed_at: datetime | None
    filed_by: str | None
    identity: str
    identity_method: str | None
    identity_at: datetime | None
    identity_by: str | None
    answered_at: datetime | None
    account_closed_at: datetime | None
    grace_ends_at: datetime | None
    can_extend: bool
    plan: PlanRead | None
    texts: tuple[TextRow, ...]
    letters: tuple[LetterRow, ...]
    steps: tuple[StepRow, ...]
    timeline: tuple[Event, ...]
    erasure: ErasureRead | None
    export: ExportRead | None


@dataclass(frozen=True)
class HandedOn:
    """What somebody has handed on: that it was received, and no more."""

    number: str
    kind: str
    received_at: datetime
    filed_at: datetime | None


@dataclass(frozen=True)
class KindYear:
    """A year of one kind of request. Days run from receipt to answer; None when none was answered."""

    kind: str
    received: int
    still_open: int
    answered: int
    refused: int
    withdrawn: int
    reactivated: int
    erased: int
    extended: int
    late: int
    median_days: float | None
    longest_days: float | None


@dataclass(frozen=True)
class YearReport:
    """The figures of a yearly report, by kind, of the requests received in that year (UTC)."""

    year: int
    kinds: tuple[KindYear, ...]

    @property
    def received(self) -> int:
        """All requests of the year."""
        return sum(each.received for each in self.kinds)


@dataclass(frozen=True)
class _Around:
    """What the rows of one page need besides themselves, read once."""

    me: uuid.UUID | None
    officer: bool
    alone: bool
    rules: dict[str | None, Parameters]
    ticks: dict[uuid.UUID, list[Tick]]
    names: dict[uuid.UUID, str]
    involved: dict[uuid.UUID, frozenset[uuid.UUID]] = field(default_factory=dict)
    approved: dict[uuid.UUID, frozenset[uuid.UUID]] = field(default_factory=dict)
    seen: frozenset[tuple[uuid.UUID, str]] = frozenset()
    own: frozenset[uuid.UUID] = frozenset()
    waits: dict[uuid.UUID, str] = field(default_factory=dict)
    exports: dict[uuid.UUID, str] = field(default_factory=dict)
    restricted: frozenset[uuid.UUID] = frozenset()
    entered: dict[uuid.UUID, frozenset[uuid.UUID]] = field(default_factory=dict)


def request_queue(
    session: Session, wanted: QueueFilter, *, now: datetime, after: QueueCursor | None = None, size: int = PAGE_SIZE
) -> QueuePage:
    """Return a page of requests, most urgent first: overdue, then due soonest, resting ones last; closed ones newest first."""
    closed = wanted.view == "closed"
    listed = _with_person().where(*_view(session, wanted.view, now))
    if wanted.kinds:
        listed = listed.where(Request.kind.in_(wanted.kinds))
    if closed:
        listed = listed.order_by(Request.closed_at.desc(), Request.id.desc())
        if after:
            listed = listed.where(tuple_(Request.closed_at, Request.id) < tuple_(after.at, after.id))
    else:
        order = (_resting(), _deadline(), Request.id)
        listed = listed.order_by(*order)
        if after:
            listed = listed.where(tuple_(*order) > tuple_(after.resting, after.at, after.id))
    found = session.execute(listed.limit(size + 1)).all()
    around = _around(session, [row.Request for row in found[:size]], now)
    rows = tuple(_row(row, around, now) for row in found[:size])
    return QueuePage(rows, _cursor(found[size - 1].Request, closed) if len(found) > size else None)


def request_page(session: Session, request_id: uuid.UUID, *, now: datetime) -> RequestPage:
    """Return one request. Raises NotFound when there is none or it is not open to whoever asks: one answer."""
    found = session.execute(_with_person().where(Request.id == request_id)).first()
    if found is None:
        raise NotFound("There is no such request, or it is not open to you.", request_id=request_id)
    r: Request = found.Request
    around = _around(session, [r], now)
    names, clock = around.names, _clock(r, around)
    person = _person(session, r)
    asked = {"student": r.student_id, "visitor": r.visitor_id}
    work = session.execute(text("select * from privacy.subject_at_work(:student, :visitor)"), asked).first()
    mine = r.guardian_id is not None and bool(
        session.scalar(text("select privacy.is_my_guardian(:id)"), {"id": r.guardian_id})
    )
    return RequestPage(
        row=_row(found, around, now),
        clock=clock,
        parameters=around.rules[r.policy_version],
        person_id=r.student_id or r.visitor_id or r.guardian_id,
        email=person.email if person else None,
        account_status=person.account_status if isinstance(person, Student) else None,
        subject_is_staff=bool(work and work.staff),
        own_record=bool(work and work.own) or mine,
        single_officer=around.alone,
        closed_by_student=bool(session.scalar(text("select privacy.closed_by_student(:id)"), {"id": r.id})),
        channel=r.channel,
        requester=r.requester,
        policy_version=around.rules[r.policy_version].version,
        filed_at=r.filed_at,
        filed_by=names.get(r.filed_by) if r.filed_by else None,
        identity=r.identity,
        identity_method=r.identity_method,
        identity_at=r.identity_at,
        identity_by=names.get(r.identity_by) if r.identity_by else None,
        answered_at=r.answered_at,
        account_closed_at=r.account_closed_at,
        grace_ends_at=r.grace_ends_at,
        can_extend=r.closed_at is None and clock.extendable(now),
        plan=_plan(session, r, around),
        texts=_texts(session, r),
        letters=_letters(session, r, now),
        steps=_steps(session, r),
        timeline=_timeline(session, r),
        erasure=erasure_of(session, r.id) if r.kind == "delete" else None,
        export=export_of(session, r.id, now=now) if r.kind in ("access", "export") else None,
    )


def desk_counts(session: Session, *, now: datetime) -> DeskCounts:
    """Return the key figures of the desk, for whoever asks; zeros for everybody but privacy officers."""
    is_open = Request.closed_at.is_(None)
    unanswered = and_(is_open, Request.answered_at.is_(None), Request.paused_at.is_(None))
    approving = and_(is_open, Request.state == "to approve")
    me = func.staff.my_id()
    mine_to_approve = and_(approving, *_approvable_by_me())
    wanted: list[ColumnElement[bool]] = [
        is_open,
        and_(unanswered, Request.due_at < now),
        and_(unanswered, Request.due_at >= now, Request.due_at < now + DUE_SOON),
        and_(is_open, Request.owner_id == me),
        and_(is_open, Request.owner_id.is_(None)),
        approving,
        mine_to_approve,
        and_(is_open, Request.paused_at.is_not(None)),
        and_(is_open, Request.state == "waiting"),
        and_(approving, Request.grace_ends_at < now + DUE_SOON),
    ]
    row = session.execute(select(*(func.count().filter(condition) for condition in wanted)).select_from(Request)).one()
    letters = select(func.count()).where(Outbox.state == "waiting", Outbox.not_before <= now)
    return DeskCounts(*tuple(row), session.scalar(letters) or 0)  # type: ignore[call-arg]


def answer_days(session: Session, *, now: datetime) -> AnswerDays:
    """Return how long answers took lately, as far as requests are open to whoever asks."""
    took = func.extract("epoch", Request.answered_at - Request.received_at) / 86400
    median = func.percentile_cont(0.5).within_group(took)
    found = []
    for ends in (now, now - QUARTER):
        answered = and_(Request.answered_at > ends - QUARTER, Request.answered_at <= ends)
        found.append(_number(session.scalar(select(median).select_from(Request).where(answered))))
    return AnswerDays(*found)


def decides_alone(session: Session) -> bool:
    """Return whether the company declared that one officer decides alone, and one is there."""
    return bool(session.scalar(text("select privacy.single_officer()")))


def handed_on(session: Session) -> list[HandedOn]:
    """Return the last 50 requests that whoever asks has handed on, newest first."""
    rows = session.execute(text("select * from privacy.handed_on()"))
    return [HandedOn(number(row.number), row.kind, row.received_at, row.filed_at) for row in rows]


def year_report(session: Session, year: int, *, now: datetime) -> YearReport:
    """Return the figures of a year for officers, admins and auditors; none for everybody else."""
    asked = {"from": datetime(year, 1, 1, tzinfo=UTC), "to": datetime(year + 1, 1, 1, tzinfo=UTC), "now": now}
    rows = session.execute(text("select * from privacy.request_figures(:from, :to, :now)"), asked)
    return YearReport(year, tuple(_kind_year(row) for row in rows))


def outbox_page(session: Session, *, now: datetime, size: int = PAGE_SIZE) -> list[LetterRow]:
    """Return the letters that wait to be sent, those whose day has come first."""
    waiting = Outbox.state.in_(("waiting", "sending", "failed"))
    listed = select(Outbox, Request.number).outerjoin(Request, Request.id == Outbox.request_id).where(waiting)
    rows = session.execute(listed.order_by(Outbox.not_before, Outbox.id).limit(size))
    return [_letter(row, of, now) for row, of in rows]


def wording_versions(session: Session, kind: str) -> list[LetterTemplate]:
    """Return the versions of a letter's wording that people have written, newest first."""
    listed = select(LetterTemplate).where(LetterTemplate.kind == kind).order_by(LetterTemplate.version.desc())
    return list(session.scalars(listed))


def _with_person() -> Select[Request, str]:
    open_guardian = (Guardian.id == Request.guardian_id) & Request.closed_at.is_(None)
    name = func.coalesce(Student.name, Visitor.name, Guardian.name).label("who")
    joined = select(Request, name).outerjoin(Student, Student.id == Request.student_id)
    return joined.outerjoin(Visitor, Visitor.id == Request.visitor_id).outerjoin(Guardian, open_guardian)


def _view(session: Session, view: str, now: datetime) -> list[ColumnElement[bool]]:
    if view == "closed":
        return [Request.closed_at.is_not(None)]
    conditions: dict[str, list[ColumnElement[bool]]] = {
        "open": [],
        "mine": [Request.owner_id == func.staff.my_id()],
        "to approve": [Request.state == "to approve"],
        "waiting for the person": [Request.paused_at.is_not(None)],
        "in grace": [Request.state.in_(("to approve", "waiting"))],
    }
    return [Request.closed_at.is_(None), *conditions[view]]


def _approvable_by_me() -> list[ColumnElement[bool]]:
    me = func.staff.my_id()
    involved = func.privacy.involved_in(Request.id)
    given = select(Approval.id).where(
        Approval.request_id == Request.id,
        Approval.fingerprint == Request.plan_fingerprint,
        Approval.staff_id == me,
        Approval.round == func.privacy.approval_round(Request.id),
    )
    return [
        or_(func.array_position(involved, me).is_(None), func.privacy.single_officer()),
        ~given.exists(),
    ]


def _deadline() -> ColumnElement[Any]:
    """What the queue is ordered by: the answer until it is given, then the end of the grace period."""
    return func.coalesce(case((Request.answered_at.is_not(None), Request.grace_ends_at)), Request.due_at)


def _resting() -> ColumnElement[bool]:
    return or_(Request.paused_at.is_not(None), Request.state == "waiting")


def _cursor(last: Request, closed: bool) -> QueueCursor:
    if closed:
        assert last.closed_at is not None
        return QueueCursor(False, last.closed_at, last.id)
    at = (last.grace_ends_at if last.answered_at else None) or last.due_at
    return QueueCursor(last.paused_at is not None or last.state == "waiting", at, last.id)


def _around(session: Session, found: Sequence[Request], now: datetime) -> _Around:
    ids = [r.id for r in found]
    events = session.scalars(select(RequestClock).where(RequestClock.request_id.in_(ids))).all()
    ticks: dict[uuid.UUID, list[Tick]] = {}
    for e in events:
        ticks.setdefault(e.request_id, []).append(Tick(e.version, e.what, e.at, e.months or 0))
    me, role, alone = session.execute(text("select staff.my_id(), staff.my_role(), privacy.single_officer()")).one()
    deciding = [r for r in found if r.state == "to approve"]
    people = {p for r in found for p in (r.owner_id, r.filed_by, r.identity_by) if p}
    return _Around(
        me=me,
        officer=role == "privacy_officer",
        alone=alone,
        rules={v: pinned(session, v, now) for v in {r.policy_version for r in found}},
        ticks=ticks,
        names=_names(session, people),
        involved=_involved(session, [r for r in found if r in deciding or (r.guardian_id and r.kind == "delete")]),
        approved=_approved(session, deciding),
        seen=_seen(session, deciding, me),
        own=_own(session, found),
        waits=_waits(session, [r.id for r in found if r.state in ("waiting", "erasing")]),
        exports=export_stages(
            session, [r.id for r in found if r.kind in ("access", "export") and r.state == "verified"], now=now
        ),
        restricted=_restricted(session, [r.id for r in found if r.kind == "restrict" and r.closed_at is None]),
        entered=_entered(session, [r.id for r in found if r.kind == "correct" and r.closed_at is None]),
    )


def _restricted(session: Session, ids: list[uuid.UUID]) -> frozenset[uuid.UUID]:
    """The requests for a restriction that stands already."""
    stands = select(Restriction.request_id).where(Restriction.request_id.in_(ids), Restriction.until.is_(None))
    return frozenset(each for each in session.scalars(stands) if each) if ids else frozenset()


def _entered(session: Session, ids: list[uuid.UUID]) -> dict[uuid.UUID, frozenset[uuid.UUID]]:
    """Who entered the corrections that wait for a second person."""
    asked = select(Correction.request_id, Correction.entered_by).where(
        Correction.request_id.in_(ids), Correction.state == "proposed"
    )
    found: dict[uuid.UUID, set[uuid.UUID]] = {}
    for row in session.execute(asked) if ids else ():
        found.setdefault(row.request_id, set()).add(row.entered_by)
    return {key: frozenset(people) for key, people in found.items()}


def _waits(session: Session, ids: list[uuid.UUID]) -> dict[uuid.UUID, str]:
    """For what the erasures wait, as codes; those that go on by themselves are not in it."""
    asked = select(PersonErasure.request_id, PersonErasure.waits_for)
    told = asked.where(PersonErasure.request_id.in_(ids), PersonErasure.waits_for.is_not(None))
    return {row.request_id: row.waits_for for row in session.execute(told)} if ids else {}


def _names(session: Session, people: Iterable[uuid.UUID]) -> dict[uuid.UUID, str]:
    rows = session.execute(text("select * from staff.names_of(:ids)"), {"ids": list(people)})
    return {row.id: row.name for row in rows}


def _involved(session: Session, found: Sequence[Request]) -> dict[uuid.UUID, frozenset[uuid.UUID]]:
    rows = session.execute(
        text("select id, privacy.involved_in(id) as people from unnest(cast(:ids as uuid[])) as id"),
        {"ids": [r.id for r in found]},
    )
    return {row.id: frozenset(row.people or []) for row in rows}


def _approved(session: Session, found: Sequence[Request]) -> dict[uuid.UUID, frozenset[uuid.UUID]]:
    prints = {r.id: r.plan_fingerprint for r in found}
    given: dict[uuid.UUID, set[uuid.UUID]] = {}
    for row in session.scalars(select(Approval).where(Approval.request_id.in_(list(prints)), _of_this_round())):
        if row.staff_id and row.fingerprint == prints[row.request_id]:
            given.setdefault(row.request_id, set()).add(row.staff_id)
    return {key: frozenset(people) for key, people in given.items()}


def _of_this_round() -> ColumnElement[bool]:
    """An approval that was not taken back since."""
    return Approval.round == func.privacy.approval_round(Approval.request_id)


def _seen(session: Session, found: Sequence[Request], me: uuid.UUID | None) -> frozenset[tuple[uuid.UUID, str]]:
    mine = select(PlanView.request_id, PlanView.fingerprint).where(
        PlanView.request_id.in_([r.id for r in found]), PlanView.staff_id == me
    )
    return frozenset((row.request_id, row.fingerprint) for row in session.execute(mine))


def _own(session: Session, found: Sequence[Request]) -> frozenset[uuid.UUID]:
    """The requests whose subject is whoever asks, by e-mail."""
    own = text("""
        select r.id from privacy.request r, lateral privacy.subject_at_work(r.student_id, r.visitor_id) w
        where r.id = any (:ids) and r.closed_at is null and w.own""")
    return frozenset(session.scalars(own, {"ids": [r.id for r in found]}))


def _clock(r: Request, around: _Around) -> Clock:
    ticks = around.ticks.get(r.id) or [Tick(1, "start", r.received_at)]
    return fold(ticks, around.rules[r.policy_version])


def _row(found: Row[Request, str], around: _Around, now: datetime) -> QueueRow:
    r: Request = found.Request
    clock = _clock(r, around)
    what, deadline = _due(r, clock, now)
    left = deadline - now if deadline else None
    return QueueRow(
        id=r.id,
        number=number(r.number),
        kind=r.kind,
        state=r.state,
        state_words=STATE_WORDS[r.state],
        who=found.who,
        person="student" if r.student_id else "visitor" if r.visitor_id else "guardian" if r.guardian_id else None,
        received_at=r.received_at,
        what_is_due=what,
        deadline=deadline,
        left=left,
        overdue=left is not None and left < timedelta() and r.state != "waiting",
        due_soon=left is not None and timedelta() <= left < DUE_SOON,
        paused=r.paused_at is not None,
        extended_months=r.extended_months,
        used=clock.used(now),
        owner=around.names.get(r.owner_id) if r.owner_id else None,
        mine=r.owner_id is not None and r.owner_id == around.me,
        early=r.early,
        version=r.version,
        plan_fingerprint=r.plan_fingerprint,
        next=_next(r, around),
        closed_at=r.closed_at,
        outcome=r.outcome,
    )


def _due(r: Request, clock: Clock, now: datetime) -> tuple[str | None, datetime | None]:
    if r.closed_at is not None:
        return None, None
    if r.answered_at is None:
        return "answer", clock.due(now)
    return ("approval" if r.state == "to approve" else "erasure"), r.grace_ends_at


def _next(r: Request, around: _Around) -> NextAction:
    return next_action(
        Situation(
            kind=r.kind,
            state=r.state,
            known=r.student_id is not None or r.visitor_id is not None or r.guardian_id is not None,
            is_guardian=r.guardian_id is not None,
            is_student=r.student_id is not None,
            paused=r.paused_at is not None,
            me=around.me,
            officer=around.officer,
            own_record=r.id in around.own,
            involved=around.involved.get(r.id, frozenset()),
            approved_by=around.approved.get(r.id, frozenset()),
            approvals_needed=r.approvals_needed,
            plan_seen=(r.id, r.plan_fingerprint) in around.seen,
            alone=around.alone,
            erasure_waits=around.waits.get(r.id, ""),
            export=around.exports.get(r.id, ""),
            restricted=r.id in around.restricted,
            entered_by=around.entered.get(r.id, frozenset()),
        )
    )


def _person(session: Session, r: Request) -> Student | Visitor | Guardian | None:
    if r.guardian_id is not None:
        return session.get(Guardian, r.guardian_id) if r.closed_at is None else None
    if r.student_id is not None:
        return session.get(Student, r.student_id)
    return session.get(Visitor, r.visitor_id) if r.visitor_id is not None else None


def _plan(session: Session, r: Request, around: _Around) -> PlanRead | None:
    same = select(DeletionPlan).where(DeletionPlan.request_id == r.id, DeletionPlan.fingerprint == r.plan_fingerprint)
    plan = session.scalars(same).first()
    if plan is None:
        return None
    given = session.scalars(
        select(Approval)
        .where(Approval.request_id == r.id, Approval.fingerprint == plan.fingerprint, _of_this_round())
        .order_by(Approval.approved_at)
    ).all()
    names = _names(session, [each.staff_id for each in given if each.staff_id])
    seen = _seen(session, [r], around.me)
    return PlanRead(
        plan.fingerprint,
        plan.policy_version,
        plan.document,
        plan.made_at,
        tuple(names.get(each.staff_id, "–") for each in given if each.staff_id),
        next((each.rule for each in given if each.rule), None),
        1 if around.alone else r.approvals_needed,
        (r.id, plan.fingerprint) in seen,
    )


def _texts(session: Session, r: Request) -> tuple[TextRow, ...]:
    rows = session.scalars(
        select(RequestText).where(RequestText.request_id == r.id).order_by(RequestText.written_at, RequestText.id)
    ).all()
    names = _names(session, [row.written_by for row in rows if row.written_by])
    return tuple(TextRow(row.what, row.body, row.written_at, _name(names, row.written_by)) for row in rows)


def _letters(session: Session, r: Request, now: datetime) -> tuple[LetterRow, ...]:
    rows = select(Outbox).where(Outbox.request_id == r.id).order_by(Outbox.not_before, Outbox.id)
    return tuple(_letter(row, r.number, now) for row in session.scalars(rows))


def _letter(row: Outbox, request: int | None, now: datetime) -> LetterRow:
    label = number(request) if request is not None else None
    return LetterRow(row.id, row.request_id, label, row.kind, row.subject, row.body, row.state, row.address, row.not_before, row.attempts,
                     row.error, row.sent_at, row.sent_how, row.state in ("waiting", "failed") and row.not_before <= now, row.student_id)  # fmt: skip


def _steps(session: Session, r: Request) -> tuple[StepRow, ...]:
    rows = session.scalars(
        select(Propagation).where(Propagation.request_id == r.id).order_by(Propagation.planned_at, Propagation.what)
    ).all()
    names = _names(session, [row.done_by for row in rows if row.done_by])
    asked = select(ManualStep.key, ManualStep.id).where(ManualStep.key.in_([row.key for row in rows]))
    hands = {row.key: row.id for row in session.execute(asked)}
    return tuple(
        StepRow(row.id, row.what, row.processor, row.state, row.planned_at, row.attempts, row.next_at, row.error, row.proof,
                hands.get(row.key), row.done_at, _name(names, row.done_by))
        for row in rows
    )  # fmt: skip


CLOCK_WORDS = {
    "start": "The clock started",
    "pause": "The clock rests",
    "resume": "The clock runs on",
    "extend": "Answer extended",
    "stop": "The person was told; the clock stopped",
    "restart": "Taken back; the clock runs on",
}


def _timeline(session: Session, r: Request) -> tuple[Event, ...]:
    """What happened, oldest first, from the rows that the steps left."""
    found: list[tuple[datetime, int, str, str, uuid.UUID | None]] = []
    for move in session.scalars(select(RequestMove).where(RequestMove.request_id == r.id)):
        found.append((move.moved_at, move.version * 10, "moved", STATE_WORDS[move.to_state], move.moved_by))
    for tick in session.scalars(select(RequestClock).where(RequestClock.request_id == r.id)):
        words = CLOCK_WORDS[tick.what] + (
            f" ({tick.reason})" if tick.reason and tick.what not in ("start", "stop") else ""
        )
        found.append((tick.at, tick.version * 10 + 1, tick.what, words, tick.set_by))
    for view in session.scalars(select(PlanView).where(PlanView.request_id == r.id)):
        found.append((view.viewed_at, 5, "plan opened", f"Plan {view.fingerprint[:8]} opened", view.staff_id))
    for yes in session.scalars(select(Approval).where(Approval.request_id == r.id)):
        words = f"Plan {yes.fingerprint[:8]} approved" + (f" by rule: {yes.rule}" if yes.rule else f" ({yes.reason})")
        found.append((yes.approved_at, 6, "approved", words, yes.staff_id))
    for letter in session.scalars(select(Outbox).where(Outbox.request_id == r.id, Outbox.sent_at.is_not(None))):
        assert letter.sent_at is not None
        found.append((letter.sent_at, 7, "letter", f"Letter sent: {letter.kind}", letter.sent_by))
    for step in session.scalars(
        select(Propagation).where(Propagation.request_id == r.id, Propagation.done_at.is_not(None))
    ):
        assert step.done_at is not None
        found.append((step.done_at, 8, "step", f"{step.what} at {step.processor}", step.done_by))
    if r.identity_at and r.identity == "failed":
        found.append((r.identity_at, 9, "identity", f"Identity not confirmed ({r.identity_method})", r.identity_by))
    names = _names(session, {each[4] for each in found if each[4]})
    ordered = sorted(found, key=lambda each: (each[0], each[1]))
    return tuple(Event(at, what, words, _name(names, who)) for at, _, what, words, who in ordered)


def _name(names: dict[uuid.UUID, str], who: uuid.UUID | None) -> str | None:
    return names.get(who, "–") if who else None


def _kind_year(row: Row[Any]) -> KindYear:
    days = {"median_days": _number(row.median_days), "longest_days": _number(row.longest_days)}
    return KindYear(**{**row._mapping, **days})


def _number(value: object) -> float | None:
    return float(value) if value is not None else None  # type: ignore[arg-type]
