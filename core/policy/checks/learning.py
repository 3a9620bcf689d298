"""Clause 4: learning data is seen by the student and assigned mentors only."""

from datetime import datetime

from sqlalchemy.orm import Session

from core.policy.checks import probing
from core.policy.checks.asking import many
from core.policy.evidence import Evidence, judged


def private(session: Session, now: datetime) -> Evidence:
    """Ask every learning table in the name of members of each role: nobody sees a row of a cohort not assigned to them."""
    tables, asked = probing.learning_tables(), probing.members(session, now)
    leaks: list[str] = []
    for member in asked:
        mine = "not (cohort_id = any(:cohorts))" if member.cohorts else "true"
        leaks += [
            f"{member.role.replace('_', ' ')} in {table}" for table in probing.seen(member, dict.fromkeys(tables, mine))
        ]
    figures: dict[str, int | str] = {
        "members asked": len(asked),
        "tables": len(tables),
        "tables with a row too many": len(leaks),
    }
    if leaks:
        sentence = f"Rows of unassigned cohorts are visible: {'; '.join(sorted(set(leaks))[:4])}."
    else:
        sentence = (
            f"Asked as {probing.of_roles(asked)} in {many(len(tables), 'table')}: not one row of an unassigned cohort."
        )
    query = ";\n".join(
        probing.QUESTION.format(table=table, rule="not (cohort_id = any(:assigned))") for table in tables
    )
    return judged(leaks, False, sentence, figures=figures, query=query)
