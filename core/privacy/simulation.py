"""Whom a new version of the policy would affect: people and rows for each change, and what stays as it was.

Counts only. What is in flight keeps the version under which it began: requests, accounts in their grace period, entries of
the suppression list; the simulation says how many these are instead of counting them as affected.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.models.ways import fates

# For each parameter: what is counted, in words, and the query with :low and :high (the smaller and the larger value), :now.
SIMULATIONS: dict[str, tuple[str, str]] = {
    "minimum_age": (
        "users between the two ages, by their consent record",
        """select count(*), count(*) from privacy.consent c
           where c.birth_date > cast(:now as date) - make_interval(years => :high)
             and c.birth_date <= cast(:now as date) - make_interval(years => :low)""",
    ),
    "consent_age": (
        "users between the two ages, by their consent record",
        """select count(*), count(*) from privacy.consent c
           where c.birth_date > cast(:now as date) - make_interval(years => :high)
             and c.birth_date <= cast(:now as date) - make_interval(years => :low)""",
    ),
    "grace_days": (
        "accounts that are closed and not yet the subject of a deletion; those in their grace period keep theirs",
        """select count(*), count(*) from platform.student s where s.account_status = 'closed' and s.id <> all ((select privacy.living_canaries())::uuid[])
             and not exists (select from privacy.request r where r.student_id = s.id and r.kind = 'delete' and r.closed_at is null)""",
    ),
    "email_log_days": (
        "rows of the mail log between the two ages",
        """select count(distinct coalesce(l.student_id, l.visitor_id)), count(*) from platform.email_log l
           where l.source <> 'canary' and l.sent_at < cast(:now as timestamptz) - make_interval(days => :low)
             and l.sent_at >= cast(:now as timestamptz) - make_interval(days => :high)""",
    ),
    "answer_months": ("nobody now: open requests keep their day", "select 0, 0"),
    "extension_months": ("nobody now: open requests keep theirs", "select 0, 0"),
    "group_minimum": (
        "people in programs whose group is between the two sizes, and such programs",
        """select coalesce(sum(n), 0), count(*) from (
               select count(distinct e.student_id) as n from platform.enrollment e where e.source <> 'canary' group by e.program_id) g
           where g.n >= :low and g.n < :high""",
    ),
    "group_rounding": (
        "figures of the newest week that are told in other steps from the next one on",
        """select 0, count(*) from platform.group_figure f where f.week = (select max(g.week) from platform.group_figure g)""",
    ),
    "backup_days": ("nobody in this database: backups that are made from then on", "select 0, 0"),
    "suppression_years": ("nobody now: entries of the suppression list keep their end", "select 0, 0"),
    "visitor_months": (
        "visitors whose record is between the two ages",
        """select count(*), count(*) from platform.visitor v
           where v.id <> all ((select privacy.canary_forms())::uuid[]) and v.asked_at < cast(:now as timestamptz) - make_interval(months => :low)
             and v.asked_at >= cast(:now as timestamptz) - make_interval(months => :high)""",
    ),
    "lapse_notice_days": ("nobody now: notices that were sent keep their day", "select 0, 0"),
}
PINNED = """
    select (select count(*) from privacy.request r where r.closed_at is null),
        (select count(*) from privacy.request r where r.closed_at is null and r.kind = 'delete' and r.state in ('to approve', 'waiting'))
"""


def simulate(
    session: Session,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    changes: Sequence[Mapping[str, Any]],
    *,
    now: datetime,
) -> dict[str, Any]:
    """Return what a new version would affect: for each change of a parameter or processor, people, rows, and what is counted."""
    found = [told for change in changes if (told := _one(session, change, now)) is not None]
    requests, grace = session.execute(text(PINNED)).one()
    accounts = session.scalar(
        text(
            "select count(*) from platform.student s where s.account_status = 'open' and s.id <> all ((select privacy.living_canaries())::uuid[])"
        )
    )
    return {"affected": found, "pinned_requests": requests, "pinned_deletions": grace, "accounts": accounts}


def _one(session: Session, change: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    if change["what"] == "parameter":
        words, query = SIMULATIONS[change["name"]]
        low, high = sorted(int(str(change[side]).split()[0]) for side in ("before", "after"))
        people, rows = session.execute(text(query), {"low": low, "high": high, "now": now}).one()
        return {"name": change["name"], "people": int(people), "rows": int(rows), "counted": words}
    if change["what"] == "processor":
        receives = any(change["name"] in fate.processors for fate in fates("student"))
        people = (
            session.scalar(
                text(
                    "select count(*) from platform.student s where s.id <> all ((select privacy.living_canaries())::uuid[])"
                )
            )
            or 0
        )
        words = (
            "students whose data it receives, by the labels" if receives else "students; no label says what it receives"
        )
        return {"name": change["name"], "people": people, "rows": 0, "counted": words}
    return None
