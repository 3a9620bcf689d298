"""Clauses 7 and 8: how long data is kept."""

from datetime import UTC, datetime, timedelta
from statistics import NormalDist

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.anon.content import check as check_releases
from core.anon.method import adopted
from core.anon.workload import lifetime_cost
from core.policy import in_force
from core.policy.checks import canaries
from core.policy.checks.asking import day, many, number, one
from core.policy.evidence import Evidence, Link, judged, not_proven

LATE = timedelta(hours=24)
LAPSE_DAYS = 7  # within which the worker writes the notice of a subscription that ended
GRACE = """
select
    (select count(*) from privacy.erasure e join privacy.request r on r.id = e.request_id
     where e.begun_at < r.account_closed_at + :grace * interval '24 hours' and not r.early and r.source <> 'canary') as early,
    (select count(*) from platform.student s where s.account_status = 'closed'
        and s.closed_at < cast(:now as timestamptz) - :grace * interval '24 hours' - interval '24 hours'
        and s.id not in (select c.student_id from privacy.canary c)
        and not exists (select from privacy.request r join privacy.erasure e on e.request_id = r.id
            where r.student_id = s.id and r.closed_at is null and e.waits_for in ('hold', 'request'))) as late,
    (select count(*) from platform.student s where s.account_status = 'closed'
        and s.id not in (select c.student_id from privacy.canary c)
        and s.closed_at >= cast(:now as timestamptz) - :grace * interval '24 hours') as in_grace,
    (select count(*) from privacy.erasure e join privacy.request r on r.id = e.request_id
     where e.finished_at is not null and r.source <> 'canary') as done,
    (select count(*) from privacy.erasure_finding f where f.verdict is null) as findings,
    (select count(*) from privacy.brake b where b.answered_at is null) as brakes,
    (select count(*) from privacy.erasure e where e.finished_at is not null
        and not exists (select from privacy.erasure_certificate c where c.erasure_id = e.id)) as uncertified"""
LAPSED = """
select count(*) as lapsed, count(*) filter (where x.id is null) as untold, count(*) filter (where o.state = 'sent') as told
from privacy.lapsed(cast(:before as date)) l
left join privacy.lapse x on x.student_id = l.student_id and x.ended_on = l.ended_on
left join privacy.outbox o on o.dedupe_key = x.notice_key"""
RUN = "select max(r.ended_at) as at from privacy.retention_run r where r.rule = :rule"
OLDEST = "select min(l.sent_at) from platform.email_log l"
OLD = "select count(*) from platform.email_log l where l.sent_at < :limit"
SPENT = "select coalesce(max(l.total), 0) from anon.ledger l"
# Two ways to one figure (a total, and the sum of its parts): what averaging or subtracting them would give away.
WAYS = """
with told as (select c.release_id, c.marginal, c.k1, sum(c.value) as total, max(c.se) as se from anon.cell c where c.marginal <> 'cohort' group by 1, 2, 3)
select coalesce(max(abs(a.total - b.total)), 0) as apart, count(*) as pairs, (select min(c.se) from anon.cell c) as least,
    (select count(*) from anon.cell c where c.se <= 0) as bare
from told a join told b on b.release_id = a.release_id and b.k1 = a.k1 and a.marginal < b.marginal"""
FROZEN = """
select count(*) from unnest(array['anon.release', 'anon.cell', 'anon.ledger', 'anon.method']::regclass[]) t(id)
where not exists (select from pg_trigger g where g.tgrelid = t.id and not g.tgisinternal)
   or exists (select from pg_trigger g where g.tgrelid = t.id and not g.tgisinternal and g.tgenabled <> 'O')"""


def grace(session: Session, now: datetime) -> Evidence:
    """No account was erased before its grace period was over, none is left after it, nothing was found afterwards."""
    rules = in_force(session, now)
    row = one(session, GRACE, now=now, grace=rules.grace_days)
    figures = {"erased too early": row.early, "closed and past the grace period": row.late, "in the grace period": row.in_grace,
               "erased and proven": row.done, "without a certificate": row.uncertified, "findings to judge": row.findings, "brakes on": row.brakes}  # fmt: skip
    links = (
        Link("The requests that are open", "requests", {"view": "open"}),
        Link("Findings", "quarantine", {"view": "findings"}),
    )
    if row.early or row.late or row.uncertified:
        told = [f"{many(row.early, 'account')} erased before {rules.grace_days} days were over"] if row.early else []
        told += [f"{many(row.late, 'closed account')} still here after {rules.grace_days} days"] if row.late else []
        told += [f"{many(row.uncertified, 'erasure')} without a certificate"] if row.uncertified else []
        return judged(True, False, f"{'; '.join(told)}.", figures=figures, query=GRACE, links=links)
    if row.findings or row.brakes:
        sentence = f"{many(row.findings, 'finding')} of the residue scan to judge, {many(row.brakes, 'brake')} on."
        return judged(False, True, sentence, figures=figures, query=GRACE, links=links)
    shown = canaries.proven(session, now)
    if not row.done and shown:
        sentence = f"No account of a real person was due yet; {many(shown, 'canary', 'canaries')} went the whole way, and nothing is left of any."
        return judged(False, False, sentence, figures=figures | {"canaries erased": shown}, query=GRACE)
    if not row.done:
        return not_proven(f"{many(row.in_grace, 'account')} in the grace period, none overdue; none was erased yet, so that nothing shows that it works.",
                          figures=figures, query=GRACE)  # fmt: skip
    return judged(False, False, f"{many(row.done, 'account')} erased and proven, none early, none late; {row.in_grace:,} in the grace period.",
                  figures=figures, query=GRACE)  # fmt: skip


def active(session: Session, now: datetime) -> Evidence:
    """Whoever's subscription has ended is told, and their data has a day on which it goes."""
    row = one(session, LAPSED, before=now.astimezone(UTC).date() - timedelta(days=LAPSE_DAYS))
    figures = {
        f"subscriptions over for {LAPSE_DAYS} days, account open": row.lapsed,
        "without a notice": row.untold,
        "told by mail": row.told,
    }
    if row.untold:
        sentence = f"{many(row.untold, 'account')} whose subscription ended more than {LAPSE_DAYS} days ago, without a notice and a day of erasure."
    else:
        sentence = f"{many(row.lapsed, 'account')} whose subscription has ended, each with a notice and a day on which it is closed."
    return judged(row.untold, False, sentence, figures=figures, query=LAPSED, links=(Link("Retention", "retention"),))


def mail_logs(session: Session, now: datetime) -> Evidence:
    """No row of the e-mail log is older than the days that the policy names, with a day for the worker."""
    rules = in_force(session, now)
    limit = now - timedelta(days=rules.email_log_days)
    oldest = one(session, OLDEST)[0]
    old = number(session, OLD, limit=limit) if oldest is not None and oldest < limit else 0
    over = oldest is not None and oldest < limit - LATE
    run = one(session, RUN, rule="e-mail logs").at
    figures: dict[str, int | str] = {
        "last run": day(run) if run else "never",
        "oldest row": day(oldest) if oldest else "none",
        f"rows older than {rules.email_log_days} days": old,
    }
    if over:
        sentence = f"{many(old, 'row')} of the e-mail log {'is' if old == 1 else 'are'} older than {rules.email_log_days} days; the oldest is of {day(oldest)}."
    elif oldest is None:
        sentence = "The e-mail log is empty."
    else:
        sentence = f"The oldest row of the e-mail log is of {day(oldest)}: {many((now - oldest).days, 'day')} old, limit {rules.email_log_days}."
    return judged(
        over, False, sentence, figures=figures, query=f"{OLDEST}; {OLD}", links=(Link("Retention", "retention"),)
    )


def anonymized(session: Session, now: datetime) -> Evidence:
    """Releases are frozen, as they were published, and within the budget of a lifetime."""
    found, methods = check_releases(session), adopted(session)
    open_tables = number(session, FROZEN)
    budget = max((method.mu**2 for method in methods), default=0.0)
    spent = lifetime_cost([method.families for method in methods]) if methods else 0.0
    figures: dict[str, int | str] = {"releases": found.releases, "lifetime budget (mu²)": f"{budget:.2f}", "spent at most": f"{spent:.2f}",
                                     "tables that would take a change": open_tables}  # fmt: skip
    attacked, bare = _attacks(session)
    figures |= attacked if found.releases else {}
    query = f"{FROZEN};{SPENT};{WAYS}"
    if not found.sound or spent > budget + 1e-9 or open_tables or bare:
        why = found.problem or (
            "more is spent than the budget of a lifetime"
            if spent > budget + 1e-9
            else "a trigger that refuses changes is gone"
            if open_tables
            else f"{many(bare, 'figure')} without noise"
        )
        return judged(True, False, f"The anonymized figures cannot be trusted: {why}.", figures=figures, query=query)
    if not found.releases:
        return not_proven("Nothing was released yet; nothing outlives a student.", figures=figures, query=query)
    return judged(False, False, f"{many(found.releases, 'release')}, frozen and as published; {spent:.2f} of {budget:.2f} of a lifetime's budget spent at most."
                  f" Whoever guesses whether one account is in them is right {attacked[GUESS]} of the time at best.", figures=figures, query=query)  # fmt: skip


GUESS = "best guess whether one account is in them (by chance 50 %)"


def _attacks(session: Session) -> tuple[dict[str, int | str], int]:
    """What attackers get at most out of everything published so far, who know all of everybody else; and how many figures have no noise.

    What one account has spent is a distance mu between the worlds with it and without it. No test whatever tells these worlds
    apart better than one normal distribution from the same one moved by mu (Gaussian differential privacy); the attacks themselves
    run against our releases in tests/anon.
    """
    normal, mu = NormalDist(), float(session.scalar(text(SPENT)) or 0) ** 0.5
    ways = one(session, WAYS)
    caught = normal.cdf(normal.inv_cdf(0.01) + mu)
    return {
        GUESS: f"{normal.cdf(mu / 2):.0%}",
        "members found at best, with 1 % false alarms": f"{caught:.1%}",
        "least noise of a figure (±)": f"{ways.least or 0:.1f}",
        "ways to one figure that were compared": ways.pairs,
        "most that two ways to one figure differ": f"{ways.apart:.1f}",
    }, ways.bare  # fmt: skip
