"""Visitors: one page of them, how many there are, one of them with the follow-up, and how many became students.

Whether a visitor *converted* is derived, never typed: a student with the same e-mail (by its keyed hash, so that another
spelling is the same person) began an enrollment after the visitor asked. A *student already* had the account before they
asked. What is told of a student is the program, the cohort and the status of an enrollment, never how it went. Device
data is not read here: no role of the dashboard may.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import Row, select, text
from sqlalchemy.orm import Session

from core.errors import NotFound
from core.links import platform_link
from core.models.platform import (
    EXPERIENCE_LEVELS,
    VISITOR_STATUS,
    Cohort,
    Enrollment,
    FollowUp,
    Program,
    Student,
    Visitor,
)
from core.reads.listing import PAGE_SIZE, Cursor, Total, pattern
from core.words import masked_email

ANSWER_WORKING_DAYS = 2
CONVERSION_DAYS = 90
VISITOR_COUNT_CAP = 10_000
CONVERTED_COUNT_CAP = 1_000  # each visitor looked at costs two look-ups
VISITOR_SORTS = {"newest": "Newest first", "oldest": "Oldest first", "next": "Next contact first", "name": "By name"}
LEAD_AGES: dict[str, tuple[int, int | None]] = {
    "Up to 7 days": (0, 7),
    "8 to 30 days": (8, 30),
    "31 to 90 days": (31, 90),
    "Older than 90 days": (91, None),
}
MARKS = ("converted", "student already", "asked again", "do not contact")


@dataclass(frozen=True)
class VisitorFilter:
    """What to look for; an empty one finds all.

    ``owner`` is "mine" or "nobody" (or somebody who is gone); ``due`` is "waiting" (nobody answered
    within the promised working days) or "due" (next contact today or before); ``age`` is a key of ``LEAD_AGES``.
    """

    search: str = ""
    program_id: uuid.UUID | None = None
    no_program: bool = False
    level: str | None = None
    statuses: tuple[str, ...] = ()
    age: str | None = None
    owner: str | None = None
    due: str | None = None
    converted: bool | None = None


@dataclass(frozen=True)
class TeamMember:
    """Somebody who follows visitors up, or once did (``works`` False)."""

    id: uuid.UUID
    name: str
    works: bool


@dataclass(frozen=True)
class VisitorRow:
    """One line of the table. ``contact`` is masked; ``marks`` are some of ``MARKS``; ``owner`` in words, None: nobody."""

    id: uuid.UUID
    name: str
    contact: str
    program: str | None
    level: str
    status: str
    owner: str | None
    next_contact_on: date | None
    asked_at: datetime
    marks: tuple[str, ...]
    link: str | None


@dataclass(frozen=True)
class VisitorPage:
    """Up to ``PAGE_SIZE`` rows; ``next`` is None on the last page."""

    rows: tuple[VisitorRow, ...]
    next: Cursor | None


@dataclass(frozen=True)
class VisitorFigures:
    """What needs somebody now. ``oldest`` is when the one who waits longest asked; ``overdue`` is a part of ``due``."""

    waiting: Total
    oldest: datetime | None
    unowned: Total
    due: Total
    overdue: Total


@dataclass(frozen=True)
class Conversion:
    """People who asked in a period, and how many of them enrolled after asking."""

    asked: int
    converted: int

    @property
    def percent(self) -> int | None:
        """The rate; None when nobody asked."""
        return round(100 * self.converted / self.asked) if self.asked else None


@dataclass(frozen=True)
class LaterEnrollment:
    """An enrollment that began after the visitor asked: status and date, never how it went."""

    program: str
    cohort: str
    status: str
    enrolled_at: datetime


@dataclass(frozen=True)
class KnownStudent:
    """The student with the visitor's e-mail. ``before``: the account existed before they asked."""

    id: uuid.UUID
    registered_at: datetime
    before: bool
    enrollments: tuple[LaterEnrollment, ...]


@dataclass(frozen=True)
class OtherForm:
    """Another time the same person left their details."""

    id: uuid.UUID
    asked_at: datetime
    program: str | None
    status: str


@dataclass(frozen=True)
class FollowUpStep:
    """One step of the follow-up. ``owner`` None in an "owner set" means that nobody owns the visitor any more."""

    step: int
    at: datetime
    by: str
    kind: str
    owner: str | None
    next_contact_on: date | None
    status: str | None
    note: str | None


@dataclass(frozen=True)
class VisitorCard:
    """One visitor (contact masked). ``step`` is the newest step of the follow-up: say it when you change something.

    ``unowned``: nobody owns them, or somebody who does not work on programs any more. ``quiet``: not to be contacted.
    """

    id: uuid.UUID
    name: str
    contact: str
    has_phone: bool
    program: str | None
    level: str
    message: str | None
    status: str
    owner_id: uuid.UUID | None
    owner: str | None
    unowned: bool
    quiet: bool
    next_contact_on: date | None
    asked_at: datetime
    answered_at: datetime | None
    step: int
    student: KnownStudent | None
    other_forms: tuple[OtherForm, ...]
    history: tuple[FollowUpStep, ...]
    link: str | None

    @property
    def marks(self) -> tuple[str, ...]:
        """What stands beside the visitor in the list."""
        known = self.student
        became = bool(known and known.enrollments), bool(known and known.before)
        return _marks(*became, bool(self.other_forms), self.quiet)


def visitor_page(
    session: Session,
    wanted: VisitorFilter,
    *,
    now: datetime,
    sort: str = "newest",
    after: Cursor | None = None,
    limit: int = PAGE_SIZE,
) -> VisitorPage:
    """Return one page within the rights of whoever asks. Raises BadInput for a search that cannot be used."""
    asked = {
        **_arguments(wanted, now),
        "sort": sort,
        "after_value": after.value if after else None,
        "after_id": after.id if after else None,
        "limit": limit + 1,
    }
    found = session.execute(_PAGE, asked).all()
    more = Cursor(found[limit - 1].sort_value, found[limit - 1].proposed) if len(found) > limit else None
    return VisitorPage(tuple(_row(row) for row in found[:limit] if row.id is not None), more)


def visitor_total(session: Session, wanted: VisitorFilter, *, now: datetime, cap: int | None = None) -> Total:
    """Return how many visitors match, counted up to ``cap`` (less far when conversion has to be looked up)."""
    most = cap or (VISITOR_COUNT_CAP if wanted.converted is None else CONVERTED_COUNT_CAP)
    count = int(session.execute(_COUNT, {**_arguments(wanted, now), "cap": most + 1}).scalar_one())
    return Total(min(count, most), count > most)


def visitor_figures(session: Session, *, now: datetime) -> VisitorFigures:
    """Return what needs somebody now, counted by the very filters that lead to the lists."""
    waiting = visitor_total(session, WAITING, now=now)
    oldest = session.execute(_FIND, {**_arguments(WAITING, now), "sort": "oldest", "after_value": None,
                                     "after_id": None, "limit": 1}).first()  # fmt: skip
    return VisitorFigures(
        waiting,
        datetime.fromisoformat(oldest.sort_value) if oldest else None,
        visitor_total(session, UNOWNED, now=now),
        visitor_total(session, DUE, now=now),
        visitor_total(session, DUE, now=now - timedelta(days=1)),
    )


def visitor_conversion(session: Session, *, now: datetime) -> Conversion:
    """Return how many people who asked in the last ``CONVERSION_DAYS`` days enrolled since. Counts only."""
    since = _midnight(now.astimezone(UTC).date() - timedelta(days=CONVERSION_DAYS))
    row = session.execute(text("select * from platform.visitor_conversion(:since)"), {"since": since}).one()
    return Conversion(row.asked, row.converted)


def visitor_card(session: Session, visitor_id: uuid.UUID) -> VisitorCard:
    """Return one visitor. Raises NotFound when there is none or when whoever asks may not see them: one answer."""
    row = session.execute(
        select(Visitor, Program.title)
        .outerjoin(Program, Program.id == Visitor.program_id)
        .where(Visitor.id == visitor_id)
    ).first()
    if row is None:
        raise NotFound("There is no such visitor, or the record is closed to your role.", visitor_id=visitor_id)
    v, program = row
    team = program_team(session)
    history = tuple(_history(session, v, {each.id: each.name for each in team}))
    return VisitorCard(
        id=v.id,
        name=v.name,
        contact=masked_email(v.email),
        has_phone=bool(v.phone),
        program=program,
        level=v.experience_level,
        message=v.message,
        status=v.status,
        owner_id=v.owner_id,
        owner=_owner(v.owner_id, team),
        unowned=not any(each.id == v.owner_id and each.works for each in team),
        quiet=bool(_quiet(session, [v.id])),
        next_contact_on=v.next_contact_on,
        asked_at=v.asked_at,
        answered_at=v.answered_at,
        step=history[0].step if history else 0,
        student=_student(session, v),
        other_forms=tuple(_other_forms(session, v)),
        history=history,
        link=platform_link("visitor", v.source, v.source_key),
    )


def program_team(session: Session) -> tuple[TeamMember, ...]:
    """Return who follows visitors up, by name; nobody for those who do not work on programs."""
    rows = session.execute(text("select id, name, works from staff.program_team() order by lower(name), id"))
    return tuple(TeamMember(*row) for row in rows)


def waiting_since(now: datetime) -> datetime:
    """Return the instant before which a visitor has waited longer than the promised working days (Monday to Friday, UTC)."""
    day, left = now.astimezone(UTC).date(), ANSWER_WORKING_DAYS
    while left:
        day -= timedelta(days=1)
        left -= day.weekday() < 5
    return _midnight(day)


WAITING = VisitorFilter(due="waiting")
UNOWNED = VisitorFilter(owner="nobody", statuses=("new", "in contact"), converted=False)
DUE = VisitorFilter(due="due")
_FOUND = (
    "platform.find_visitors(:search, :program, :no_program, :level, cast(:statuses as text[]), :owner,"
    " :due, :became, :since, :until, :waiting, :today, :sort, :after_value, :after_id, :limit)"
)
_FIND = text(f"select id, sort_value from {_FOUND}")  # noqa: S608 - the constant above
# One round trip: the function proposes ids in their order, row-level security decides by the tables what is seen of them.
_PAGE = text(f"""
    with f as materialized (select * from {_FOUND} with ordinality as f(id, sort_value, place))
    select f.id as proposed, f.sort_value, v.id, v.name, v.email, p.title, v.experience_level, v.status, v.next_contact_on, v.asked_at,
        v.source, v.source_key, t.name as owner, t.works, m.became, m.before, m.again, m.quiet
    from f left join platform.visitor v on v.id = f.id left join platform.program p on p.id = v.program_id
    left join staff.program_team() t on t.id = v.owner_id
    left join platform.visitor_marks(array(select f.id from f)) m on m.id = v.id
    order by f.place""")  # noqa: S608 - the constant above
_COUNT = text(
    "select platform.count_visitors(:search, :program, :no_program, :level, cast(:statuses as text[]), :owner, :due, :became,"
    " :since, :until, :waiting, :today, :cap)"
)


def _arguments(wanted: VisitorFilter, now: datetime) -> dict[str, object]:
    youngest, oldest = LEAD_AGES.get(wanted.age or "", (0, None))
    today = now.astimezone(UTC).date()
    return {
        "search": pattern(wanted.search),
        "program": wanted.program_id,
        "no_program": wanted.no_program,
        "level": wanted.level if wanted.level in EXPERIENCE_LEVELS else None,
        "statuses": [s for s in wanted.statuses if s in VISITOR_STATUS] or None,
        "owner": wanted.owner,
        "due": wanted.due,
        "became": None if wanted.converted is None else "yes" if wanted.converted else "no",
        "since": None if oldest is None else _midnight(today - timedelta(days=oldest)),
        "until": _midnight(today - timedelta(days=youngest - 1)) if youngest else None,
        "waiting": waiting_since(now),
        "today": today,
    }


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _row(found: Row[Any]) -> VisitorRow:
    return VisitorRow(
        found.id,
        found.name,
        masked_email(found.email),
        found.title,
        found.experience_level,
        found.status,
        None if found.owner is None else _in_words(found.owner, found.works),
        found.next_contact_on,
        found.asked_at,
        _marks(found.became, found.before, found.again, found.quiet),
        platform_link("visitor", found.source, found.source_key),
    )


def _marks(*held: bool) -> tuple[str, ...]:
    return tuple(mark for mark, holds in zip(MARKS, held, strict=True) if holds)


def _owner(owner_id: uuid.UUID | None, team: tuple[TeamMember, ...]) -> str | None:
    """Who follows a visitor up, in words. Whoever does not work on programs any more owns nobody."""
    found = next((each for each in team if each.id == owner_id), None)
    return None if found is None else _in_words(found.name, found.works)


def _in_words(owner: str, works: bool) -> str:
    return owner if works else f"nobody, {owner} before"


def _quiet(session: Session, ids: list[uuid.UUID]) -> set[uuid.UUID]:
    """Those of these visitors who are not to be contacted: they asked the privacy desk, which is all that is told of it."""
    return set(session.scalars(text("select platform.quiet_visitors(:ids)"), {"ids": ids}))


def _student(session: Session, v: Visitor) -> KnownStudent | None:
    """The student behind the address; of several with one address in different spellings, the one with the oldest account."""
    found = session.scalars(
        select(Student).where(Student.email_hash == v.email_hash).order_by(Student.registered_at, Student.id).limit(1)
    ).first()
    if found is None:
        return None
    listed = (
        select(Program.title, Cohort.title, Enrollment.status, Enrollment.enrolled_at)
        .join(Program, Program.id == Enrollment.program_id)
        .join(Cohort, Cohort.id == Enrollment.cohort_id)
        .join(Student, Student.id == Enrollment.student_id)
        .where(Student.email_hash == v.email_hash, Enrollment.enrolled_at >= v.asked_at)
        .order_by(Enrollment.enrolled_at, Enrollment.id)
    )
    later = tuple(LaterEnrollment(*row) for row in session.execute(listed))
    return KnownStudent(found.id, found.registered_at, found.registered_at < v.asked_at, later)


def _other_forms(session: Session, v: Visitor) -> list[OtherForm]:
    listed = (
        select(Visitor.id, Visitor.asked_at, Program.title, Visitor.status)
        .outerjoin(Program, Program.id == Visitor.program_id)
        .where(Visitor.email_hash == v.email_hash, Visitor.id != v.id)
        .order_by(Visitor.asked_at.desc(), Visitor.id)
        .limit(PAGE_SIZE)
    )
    return [OtherForm(*row) for row in session.execute(listed)]


def _history(session: Session, v: Visitor, names: dict[uuid.UUID, str]) -> list[FollowUpStep]:
    """The newest steps, newest first."""
    listed = select(FollowUp).where(FollowUp.visitor_id == v.id).order_by(FollowUp.step.desc()).limit(PAGE_SIZE)
    return [
        FollowUpStep(
            f.step,
            f.at,
            names.get(f.by_id, "somebody"),
            f.kind,
            names.get(f.owner_id) if f.owner_id else None,
            f.next_contact_on,
            f.status,
            f.note,
        )
        for f in session.scalars(listed)
    ]
