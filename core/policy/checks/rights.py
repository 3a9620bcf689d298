"""Clause 7: the rights. The clocks of requests, by kind."""

from datetime import datetime, timedelta
from functools import partial

from sqlalchemy.orm import Session

from core.policy import in_force
from core.policy.checks.asking import day, many, one
from core.policy.evidence import Evidence, Link, State, judged

KINDS = {
    "RGT-ACCESS": ("access",),
    "RGT-UPDATE": ("correct",),
    "RGT-DELETE": ("delete",),
    "RGT-EXPORT": ("export",),
    "RGT-OPTOUT": ("opt_out", "object"),
}
SOON_DAYS = 3
QUERY = """
select count(*) filter (where r.closed_at is null and r.answered_at is null) as open,
    count(*) filter (where r.closed_at is null and r.answered_at is null and r.paused_at is null and r.due_at < :now) as overdue,
    count(*) filter (where r.closed_at is null and r.answered_at is null and r.paused_at is null
        and r.due_at between :now and :soon) as soon,
    count(*) filter (where r.answered_at is not null and r.received_at > :year) as answered,
    count(*) filter (where r.answered_at > r.due_at and r.received_at > :year) as late,
    max(r.answered_at) as last,
    percentile_cont(0.5) within group (order by extract(epoch from r.answered_at - r.received_at) / 86400)
        filter (where r.answered_at is not null and r.received_at > :year) as median
from privacy.request r where r.kind = any(:kinds) and r.source <> 'canary'"""


def answered(session: Session, now: datetime, *, kinds: tuple[str, ...]) -> Evidence:
    """No request of these kinds is open past its day; how those of the last year went."""
    rules = in_force(session, now)
    values = {
        "now": now,
        "soon": now + timedelta(days=SOON_DAYS),
        "year": now - timedelta(days=365),
        "kinds": list(kinds),
    }
    row = one(session, QUERY, **values)
    figures: dict[str, int | str] = {"open": row.open, "overdue": row.overdue, f"due within {SOON_DAYS} days": row.soon,
                                     "answered in a year": row.answered, "of them late": row.late,
                                     "median days": f"{row.median:.1f}" if row.median is not None else "–",
                                     "last answered": day(row.last) if row.last else "never"}  # fmt: skip
    link = (Link("The requests that are open", "requests", {"view": "open"}),)
    if row.overdue:
        return judged(True, False, f"{many(row.overdue, 'request')} overdue: an answer is due within {many(rules.answer_months, 'month')}.",
                      figures=figures, query=QUERY, links=link)  # fmt: skip
    if row.soon:
        return judged(
            False,
            True,
            f"{many(row.soon, 'request')} due within {SOON_DAYS} days and not answered.",
            figures=figures,
            query=QUERY,
            links=link,
        )
    if row.last is None:
        return Evidence(State.NOT_PROVEN, f"{many(row.open, 'request')} open, none overdue; none was ever answered here, so that nothing shows that it works.",
                        figures, QUERY.strip())  # fmt: skip
    median = f"median {row.median:.1f} days" if row.median is not None else "none within a year"
    return judged(
        False,
        False,
        f"{row.open} open, none overdue; {row.answered} answered in a year, {median}.",
        figures=figures,
        query=QUERY,
    )


CHECKS = {promise: partial(answered, kinds=kinds) for promise, kinds in KINDS.items()}
