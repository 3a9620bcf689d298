"""What the worker watches about ages: birthdays, deadlines, restrictions, guardians who are not needed any more, letters to many.

Danger: a consent that outlives the childhood it was for, a deadline that passes while the worker sleeps, a guardian's address that
nobody removes. Principle: what is due follows from the records and the instant, never from a tick: a worker that was off for five
days finds all of it. Mechanism: each ``…_due`` reads, each partner does it for one key in the worker's transaction; twice changes
nothing.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from core.models.consent import Consent, ConsentRound, Guardian
from core.policy import in_force
from core.policy.age import SILENT_DAYS, AgeStanding, case_days, days, standing
from core.privacy import consent, consent_letters
from core.privacy.audit import Action, append

ANSWER_AFTER_LAPSE = timedelta(days=30)
AT_ONCE = 200
MORE = "more"


def lapses_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the students who are of age by now and whose record still speaks of a minor."""
    return list(map(str, session.scalars(text(LAPSES), case_days(now, in_force(session, now)))))


def lapse(session: Session, *, student_id: uuid.UUID, now: datetime) -> int:
    """End a guardian's consent on the 18th birthday: the student is asked anew, the guardian told; the restriction ends."""
    case = session.get(Consent, student_id, with_for_update=True, populate_existing=True)
    if case is None or str(student_id) not in lapses_due(session, now):
        return 0
    about = consent_letters.pupil(session, student_id, by=None)
    guardian = session.get(Guardian, case.guardian_id) if case.guardian_id else None
    consent.destroy_evidence(session, case, now)
    until = now + ANSWER_AFTER_LAPSE
    consent.change(session, case, "lapsed", now=now, to="lapsed", guardian_id=None, requested_at=None, asked_at=now,
                   answer_by=until, **consent.NO_CONSENT)  # fmt: skip
    consent.settle_restriction(session, case, by=None, now=now)
    key = f"consent:{student_id}:{case.version}"
    consent_letters.write(session, about, "consent lapsed", key=f"{key}:lapsed", until=until, by=None, now=now)
    if guardian is not None:
        consent_letters.write(session, about, "guardian released", to=guardian, key=f"{key}:released", by=None, now=now)
    append(session, Action.CONSENT_LAPSED, now=now, subject_kind="consent", case=consent.numbered(case.number))
    return 1


def of_age_and_silent(session: Session, now: datetime) -> Sequence[str]:
    """Return the students who came of age, were asked anew and let the day pass, and whose birth date is kept still."""
    asked = {"adult": days(now, in_force(session, now)).adult, "now": now}
    return list(map(str, session.scalars(text(SILENT_ADULTS), asked)))


def forget_birth_date(session: Session, *, student_id: uuid.UUID, now: datetime) -> int:
    """Keep of somebody who came of age and does not answer that they are of age, and no date: it was kept to end the consent on time."""
    case = session.get(Consent, student_id, with_for_update=True, populate_existing=True)
    if case is None or str(student_id) not in of_age_and_silent(session, now):
        return 0
    consent.settle_as_adult(session, case, reason="came of age", by=None, now=now)
    append(session, Action.BIRTH_DATE_GONE, now=now, subject_kind="consent", case=consent.numbered(case.number))
    return 1


def restrictions_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the students whose restriction under clause 9 is not what their consent record asks for."""
    return list(map(str, session.scalars(text(RESTRICTIONS), case_days(now, in_force(session, now)))))


def settle(session: Session, *, student_id: uuid.UUID, now: datetime) -> int:
    """Restrict a student, or end that, as their consent record says; after an import, or when a deadline has passed."""
    case = session.get(Consent, student_id, with_for_update=True, populate_existing=True)
    if case is None:
        return 0
    consent.settle_restriction(session, case, by=None, now=now)
    return 1


def settle_all(session: Session, *, now: datetime) -> int:
    """Settle everybody at once, after a first import: before anybody looks, and before promises are checked. Return how many."""
    return sum(settle(session, student_id=uuid.UUID(each), now=now) for each in restrictions_due(session, now))


def records_missing(session: Session, now: datetime) -> Sequence[str]:
    """Return one key when there are students without a consent record."""
    return ["consent records"] if session.scalar(text(f"select exists ({WITHOUT_RECORD})")) else []


def make_records(session: Session, *, now: datetime) -> int:
    """Give every student a consent record: not declared."""
    made = text(
        f"insert into privacy.consent (student_id, state, source) {WITHOUT_RECORD} on conflict do nothing returning 1"
    )
    return len(session.execute(made).all())


def guardians_due(session: Session, now: datetime) -> Sequence[str]:
    """Return one key when there are guardians whom no consent needs any more, and no hold keeps."""
    return ["guardians"] if session.scalar(text(f"select exists ({NOT_NEEDED})")) else []


def drop_guardians(session: Session, *, now: datetime) -> int:
    """Erase guardians whom no consent needs any more: the student is of age, or another guardian consents."""
    not_needed = list(session.scalars(text(NOT_NEEDED)))
    gone = session.execute(delete(Guardian).where(Guardian.id.in_(not_needed)).returning(Guardian.student_id)).all()
    cases = select(Consent.student_id, Consent.number).where(Consent.student_id.in_({row.student_id for row in gone}))
    numbers = {row.student_id: consent.numbered(row.number) for row in session.execute(cases)}
    for row in gone:
        append(session, Action.GUARDIAN_GONE, now=now, subject_kind="consent", case=numbers.get(row.student_id, "–"))
    return len(gone)


def rounds_due(session: Session, now: datetime) -> Sequence[str]:
    """Return the orders to write to many that are not done."""
    listed = select(ConsentRound.id).where(ConsentRound.done_at.is_(None)).order_by(ConsentRound.begun_at)
    return list(map(str, session.scalars(listed)))


def write_round(session: Session, *, round_id: uuid.UUID, now: datetime) -> dict[str, int]:
    """Write the next letters of one order, 200 at a time; "more" asks for the next part."""
    order = session.get(ConsentRound, round_id, with_for_update=True, populate_existing=True)
    if order is None or order.done_at is not None:
        return {}
    asked = {**case_days(now, in_force(session, now)), "silent": order.begun_at - timedelta(days=SILENT_DAYS),
             "needs": list(consent.TO_REMIND), "most": AT_ONCE}  # fmt: skip
    next_ones = text("select k.student_id, k.need" + consent.TO_WRITE + " order by 1 limit :most")
    found = session.execute(next_ones, asked).all()
    for row in found:
        _write(session, order, row.student_id, row.need, now)
    done = len(found) < AT_ONCE
    values = {"written": order.written + len(found), "done_at": now if done else None}
    session.execute(update(ConsentRound).where(ConsentRound.id == order.id).values(values))
    return {"letters": len(found), **({} if done else {MORE: 1})}


def _write(session: Session, order: ConsentRound, student_id: uuid.UUID, need: str, now: datetime) -> None:
    """One letter of an order; that it was written stands in the record, so that it is not written again."""
    case = session.get(Consent, student_id, with_for_update=True, populate_existing=True)
    if case is None:
        return
    about, key = consent_letters.pupil(session, student_id, by=None), f"round:{order.id}:{student_id}"
    guardian = session.get(Guardian, case.guardian_id) if case.guardian_id and need == "silent" else None
    consent.change(session, case, "reminded", now=now, reminded_at=now)
    kind = "consent reminder" if guardian else "age reminder"
    consent_letters.write(session, about, kind, to=guardian, key=key, until=case.answer_by, by=None, now=now)


def standing_of(session: Session, case: Consent, now: datetime) -> AgeStanding:
    """Return what a student is at an instant."""
    return standing(case.birth_date, case.adult, now, in_force(session, now))


LAPSES = """
    select c.student_id from privacy.consent c join platform.student s on s.id = c.student_id
    where c.birth_date <= :adult and c.state not in ('not needed', 'lapsed') and s.account_status = 'open'
    order by c.birth_date, c.student_id
"""
SILENT_ADULTS = """
    select c.student_id from privacy.consent c
    where c.birth_date <= :adult and c.state = 'lapsed' and c.answer_by <= :now
      and not exists (select from privacy.legal_hold h where h.student_id = c.student_id and h.released_at is null
                      and (h.scope_table is null or h.scope_table = 'privacy.consent'))
    order by c.birth_date, c.student_id
"""
# What a record asks for, against what stands: one row for each difference. The same rule as consent.restricted_for.
RESTRICTIONS = """
    with wanted as (
        select c.student_id, 'consent missing' as basis from privacy.consent c
        where c.state in ('missing', 'requested', 'given', 'refused', 'withdrawn') and c.adult is not true
          and (c.birth_date is null or c.birth_date > :adult)
        union all
        select c.student_id, 'age not declared' from privacy.consent c
        where c.state = 'not needed' and c.adult is null and c.birth_date is null and c.answer_by <= :now
    ), standing as (
        select r.student_id, r.basis from privacy.restriction r
        where r.until is null and r.student_id is not null and r.basis in ('consent missing', 'age not declared')
    )
    select distinct coalesce(w.student_id, s.student_id) from wanted w full join standing s using (student_id, basis)
    where w.basis is null or s.basis is null order by 1
"""
WITHOUT_RECORD = """
    select s.id, 'not needed', s.source from platform.student s
    where not exists (select from privacy.consent c where c.student_id = s.id)
"""
NOT_NEEDED = """
    select g.id from privacy.guardian g
    where not exists (select from privacy.consent c where c.guardian_id = g.id)
      and not exists (select from privacy.legal_hold h where h.student_id = g.student_id and h.released_at is null
                      and (h.scope_table is null or h.scope_table in ('privacy.guardian', 'privacy.consent')))
"""
