"""Clause 9: nobody under the minimum age; under the consent age, a parent or guardian has consented."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from core.policy import in_force
from core.policy.checks.asking import many, number, one
from core.policy.evidence import Evidence, Link, judged

YOUNG = """
select count(*) from privacy.consent c join platform.student s on s.id = c.student_id
where c.birth_date > cast(:today as date) - :age * interval '1 year' and s.account_status = 'open'"""
FOUND = """
select count(*) from privacy.consent c join platform.student s on s.id = c.student_id
where c.birth_date > cast(:today as date) - :age * interval '1 year' and s.account_status = 'closed'"""
UNDECLARED = """
select count(*) from platform.student s where s.account_status = 'open' and not exists (
    select from privacy.consent c where c.student_id = s.id and (c.birth_date is not null or c.adult is not null))"""
MINORS = """
select count(*) as minors,
    count(*) filter (where c.state <> 'verified') as without,
    count(*) filter (where c.state <> 'verified' and not privacy.is_restricted(s.id)) as open
from privacy.consent c join platform.student s on s.id = c.student_id
where s.account_status = 'open' and (c.birth_date > cast(:today as date) - :age * interval '1 year' or c.adult is false)"""


def old_enough(session: Session, now: datetime) -> Evidence:
    """No open account belongs to somebody who gave a birth date below the minimum age."""
    rules = in_force(session, now)
    asked = {"today": now.astimezone(UTC).date(), "age": rules.minimum_age}
    young, found, undeclared = (
        number(session, YOUNG, **asked),
        number(session, FOUND, **asked),
        number(session, UNDECLARED),
    )
    figures = {
        f"open accounts under {rules.minimum_age}": young,
        "found, closed, being erased": found,
        "ages not declared": undeclared,
    }
    if young:
        sentence = (
            f"{many(young, 'open account')} of somebody under {rules.minimum_age}: close and erase, without grace."
        )
    elif undeclared:
        sentence = f"No known age is under {rules.minimum_age}; {many(undeclared, 'student')} never declared one."
    else:
        sentence = f"Every age is declared, none is under {rules.minimum_age}."
    return judged(
        young,
        undeclared,
        sentence,
        figures=figures,
        query=YOUNG + ";" + UNDECLARED,
        links=(Link("Consent", "consent"),),
    )


def consented(session: Session, now: datetime) -> Evidence:
    """Whoever is below the consent age has verified consent, or is restricted until then."""
    rules = in_force(session, now)
    row = one(session, MINORS, today=now.astimezone(UTC).date(), age=rules.consent_age)
    figures = {
        f"students under {rules.consent_age}": row.minors,
        "without verified consent": row.without,
        "of them not restricted": row.open,
    }
    if row.open:
        sentence = f"{many(row.open, 'minor')} without verified consent and not restricted."
    elif row.without:
        sentence = f"{many(row.without, 'minor')} without verified consent, all of them restricted."
    else:
        sentence = f"{many(row.minors, 'student')} under {rules.consent_age}, each with verified consent."
    return judged(row.open, False, sentence, figures=figures, query=MINORS, links=(Link("Consent", "consent"),))
