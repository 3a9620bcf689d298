"""Ages and consent, for privacy officers: what needs somebody today, one case with its history, and the counts. Rows carry no name:
who a student is shows on demand (privacy_actions.reveal_consent), and that is recorded."""

import uuid
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.models.artifacts import Artifact
from core.models.campaigns import QUESTION, Campaign
from core.models.consent import Consent, ConsentRound, ConsentStep, Guardian, held_of_guardian
from core.policy import in_force
from core.policy.age import AgeStanding, case_days, of_age_at, standing
from core.reads.listing import Total, total

PAGE_SIZE = 50
MOST_COUNTED = 1_000
# need → what comes next, and for whom
NEEDS = (
    "below",
    "verify",
    "missing",
    "silent",
    "lapsed",
    "not answered",
    "lapsing",
    "requested",
    "not asked",
    "asked",
    "verified",
)
VIEWS: dict[str, tuple[str, ...]] = {
    "to do": ("below", "verify", "missing", "silent"),
    "waiting": ("requested", "asked", "lapsed", "not answered"),
    "lapsing": ("lapsing",),
    "not asked": ("not asked",),
    "verified": ("verified", "lapsing"),
}
Cursor = tuple[int, str, str]


@dataclass(frozen=True)
class ConsentRow:
    """One case: its state, and what is needed next. ``since``: how long it has been so; None: not known. ``mine``: entered by
    whoever looks, so that somebody else decides."""

    student_id: uuid.UUID
    number: str
    state: str
    need: str
    since: datetime | None
    mine: bool


@dataclass(frozen=True)
class ConsentPage:
    """A page of cases; ``after`` leads to the next one, None: there is none."""

    rows: tuple[ConsentRow, ...]
    after: Cursor | None


@dataclass(frozen=True)
class ConsentCounts:
    """How many cases there are of each need, ``MOST_COUNTED`` + 1 standing for more than that; and how many whoever looks may verify."""

    by_need: dict[str, int]
    mine_to_verify: int

    def of(self, *needs: str) -> Total:
        """How many are in one of these needs."""
        return total(sum(self.by_need.get(need, 0) for need in needs), MOST_COUNTED)


@dataclass(frozen=True)
class KnownGuardian:
    """Who consents."""

    name: str
    email: str
    added_at: datetime | None


@dataclass(frozen=True)
class Happened:
    """One step of a case; ``by`` is a name, or "the worker"."""

    what: str
    reason: str
    state: str
    at: datetime
    by: str


@dataclass(frozen=True)
class ConsentCase:
    """One case as an officer works on it. ``restricted``: the bases of clause 9 that stand. ``age``: what the student is now."""

    student_id: uuid.UUID
    number: str
    version: int
    state: str
    age: AgeStanding
    birth_date: date | None
    of_age_at: datetime | None
    declared_at: datetime | None
    asked_at: datetime | None
    answer_by: datetime | None
    guardian: KnownGuardian | None
    requested_at: datetime | None
    reminded_at: datetime | None
    method: str | None
    entered_at: datetime | None
    entered_by: str | None
    mine: bool
    has_evidence: bool
    evidence_gone_at: datetime | None
    verified_at: datetime | None
    verified_by: str | None
    restricted: tuple[str, ...]
    own_record: bool
    changed_by_me: bool
    history: tuple[Happened, ...]


@dataclass(frozen=True)
class Round:
    """An order to write to many: how far it is. ``campaign_id``: it is a notice, and Notices says whom it reached; ``written`` is then
    how many were told, once it is over."""

    kind: str
    people: int
    written: int
    begun_at: datetime
    begun_by: str
    answer_by: datetime | None
    done_at: datetime | None
    campaign_id: uuid.UUID | None = None


def consent_page(session: Session, view: str, *, now: datetime, after: Cursor | None = None) -> ConsentPage:
    """Return 50 cases of a view (a key of VIEWS), most urgent need first, longest so first."""
    rank, since, last_id = after or (None, None, None)
    asked = {**case_days(now, in_force(session, now)), "needs": list(VIEWS[view]), "most": PAGE_SIZE + 1,
             "rank": rank, "since": since, "id": last_id}  # fmt: skip
    rows = session.execute(_CASES, asked).all()
    shown = tuple(
        ConsentRow(row.student_id, f"C-{row.number}", row.state, row.need, row.began, row.mine)
        for row in rows[:PAGE_SIZE]
    )
    last = rows[PAGE_SIZE - 1] if len(rows) > PAGE_SIZE else None
    return ConsentPage(shown, (last.rank, last.exact, str(last.student_id)) if last else None)


def consent_counts(session: Session, *, now: datetime) -> ConsentCounts:
    """Return how many cases there are of each need, counted up to ``MOST_COUNTED``; none for those who do not see to consent."""
    asked = {**case_days(now, in_force(session, now)), "cap": MOST_COUNTED + 1}
    rows = session.execute(_COUNTS, asked).all()
    return ConsentCounts(
        {row.need: row.many for row in rows}, sum(row.many - row.mine for row in rows if row.need == "verify")
    )


def people_to_write_to(
    session: Session, needs: tuple[str, ...], *, now: datetime, cap: int | None = MOST_COUNTED
) -> Total:
    """Return how many people in one of these needs a letter to many would reach, counted up to ``cap`` (None: all of them): nobody who
    had one within a week."""
    asked = {**case_days(now, in_force(session, now)), "needs": list(needs), "cap": None if cap is None else cap + 1}
    reached = session.scalar(_REACH, asked) or 0
    return total(reached, reached if cap is None else cap)


def consent_case(session: Session, student_id: uuid.UUID, *, now: datetime) -> ConsentCase | None:
    """Return one case with its history, newest step first; None where there is none, or none that is open to whoever asks."""
    case = session.get(Consent, student_id, populate_existing=True)
    if case is None:
        return None
    steps = session.scalars(
        select(ConsentStep).where(ConsentStep.student_id == student_id).order_by(ConsentStep.version.desc()).limit(100)
    ).all()
    names = _names(session, {case.entered_by, case.verified_by, *(step.done_by for step in steps)})
    guardian = session.get(Guardian, case.guardian_id, populate_existing=True) if case.guardian_id else None
    rules, me = in_force(session, now), session.scalar(text("select staff.my_id()"))
    gone_at = _evidence_gone(session, case, now)
    bases = (
        "select basis from privacy.restriction where student_id = :id and until is null and basis <> 'asked' order by 1"
    )
    return ConsentCase(
        student_id=student_id,
        number=f"C-{case.number}",
        version=case.version,
        state=case.state,
        age=standing(case.birth_date, case.adult, now, rules),
        birth_date=case.birth_date,
        of_age_at=of_age_at(case.birth_date, rules) if case.birth_date else None,
        declared_at=case.declared_at,
        asked_at=case.asked_at,
        answer_by=case.answer_by,
        guardian=KnownGuardian(guardian.name, guardian.email, guardian.added_at) if guardian else None,
        requested_at=case.requested_at,
        reminded_at=case.reminded_at,
        method=case.method,
        entered_at=case.entered_at,
        entered_by=names.get(case.entered_by),
        mine=case.entered_by is not None and case.entered_by == me,
        has_evidence=case.evidence_id is not None and gone_at is None,
        evidence_gone_at=gone_at,
        verified_at=case.verified_at,
        verified_by=names.get(case.verified_by),
        restricted=tuple(session.scalars(text(bases), {"id": student_id})),
        own_record=bool(session.scalar(text("select privacy.is_my_own(:id, null)"), {"id": student_id})),
        changed_by_me=case.changed_by is not None and case.changed_by == me,
        history=tuple(_happened(step, names) for step in steps),
    )


def _evidence_gone(session: Session, case: Consent, now: datetime) -> datetime | None:
    """Since when the evidence that a case still names is not kept any more, undecided for too long; None: it is, or there is none."""
    if case.evidence_id is None:
        return None
    kept = select(Artifact.destroyed_at, Artifact.expires_at).where(Artifact.id == case.evidence_id)
    row = session.execute(kept).first()
    if row is None:
        return case.entered_at
    expired: datetime | None = row.expires_at if row.expires_at <= now else None
    return row.destroyed_at or expired


def guardian_copy(session: Session, student_id: uuid.UUID) -> tuple[tuple[str, str], ...]:
    """Return what is held about the guardian of a case, as they may have it (GDPR 15): by the labels' names, purpose and period first."""
    case = session.get(Consent, student_id, populate_existing=True)
    guardian = session.get(Guardian, case.guardian_id, populate_existing=True) if case and case.guardian_id else None
    if case is None or guardian is None:
        return ()
    told = [
        ("purpose", "to know that a parent or guardian agrees (clause 9)"),
        ("kept until", "the student is 18, has another guardian, or is erased"),
    ]
    told += [(word, _plain(value)) for word, value in held_of_guardian(guardian, case).items()]
    return tuple(told)


def _plain(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else "" if value is None else str(value)


def consent_rounds(session: Session, *, most: int = 5) -> tuple[Round, ...]:
    """Return the last orders to write to many, newest first."""
    orders = session.scalars(select(ConsentRound).order_by(ConsentRound.begun_at.desc()).limit(most)).all()
    asked = select(Campaign).where(Campaign.kind == QUESTION).order_by(Campaign.begun_at.desc()).limit(most)
    questions = session.scalars(asked).all()
    names = _names(session, {*(row.begun_by for row in orders), *(row.begun_by for row in questions)})
    rows = [
        Round(
            row.kind, row.people, row.written, row.begun_at, names.get(row.begun_by) or "–", row.answer_by, row.done_at
        )
        for row in orders
    ]
    rows += [
        Round("ask ages", row.recipients, (row.counts or {}).get("sent", 0), row.begun_at, names.get(row.begun_by) or "–",
              datetime.fromisoformat(row.audience_values["answer_by"]), row.finished_at, row.id)
        for row in questions
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda row: row.begun_at, reverse=True)[:most])


def _happened(step: ConsentStep, names: dict[uuid.UUID | None, str]) -> Happened:
    by = names.get(step.done_by, "–") if step.done_by else "the worker"
    return Happened(step.what, step.reason, step.to_state, step.done_at, by)


def _names(session: Session, ids: set[uuid.UUID | None]) -> dict[uuid.UUID | None, str]:
    asked = {"ids": [each for each in ids if each is not None]}
    return {row.id: row.name for row in session.execute(text("select * from staff.names_of(:ids)"), asked)}


_CASES = text(
    "select k.student_id, k.number, k.state, k.need, k.rank, k.began, k.mine, k.since::text as exact from privacy.consent_page(cast(:needs as text[]), :adult, :allowed, :soon, :silent, :now, :rank,"
    " cast(:since as timestamptz), cast(:id as uuid), :most) k"
)
_COUNTS = text("select * from privacy.consent_counts(:adult, :allowed, :soon, :silent, :now, :cap)")
_REACH = text("select privacy.consent_reach(cast(:needs as text[]), :adult, :allowed, :soon, :silent, :now, :cap)")
