"""Clause 10, and the contact: versions, notices, and a way to reach us."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import yaml
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.policy import in_force
from core.policy.checks.asking import many, number, rows
from core.policy.evidence import Evidence, Link, judged
from core.settings import ROOT, settings

SETTLING = timedelta(hours=1)  # for the worker to end a notice whose last day has come
VERSIONS = """
select v.version, v.effective_at, v.document,
    coalesce(p.significant, (v.document ->> 'significant')::boolean, true) as significant
from privacy.policy_version v left join privacy.policy_proposal p on p.version = v.version and p.decision = 'approved'
where v.effective_at <= :now order by v.effective_at"""
# By version: told, not told, and what waits; a second notice to those whom the first did not reach makes up for it.
NOTICES = """
select c.about, bool_and(c.finished_at is not null) as over, max(c.deadline) as deadline, sum(n.sent)::int as told, sum(n.waiting)::int as waiting,
    coalesce(sum(n.bounced) filter (where not n.again), 0)::int as bounced,
    coalesce(sum(n.missed) filter (where not n.again), 0)::int as missed,
    coalesce(sum(n.sent) filter (where n.again), 0)::int as made_up
from privacy.campaign c cross join lateral (
    select c.audience = 'not reached before' as again,
        coalesce((c.counts ->> 'sent')::int, count(*) filter (where r.state = 'sent')) as sent,
        coalesce((c.counts ->> 'bounced')::int, count(*) filter (where r.state = 'bounced')) as bounced,
        coalesce((c.counts ->> 'not_reached')::int, count(*) filter (where r.state = 'not reached')) as missed,
        count(*) filter (where r.state in ('waiting', 'queued')) as waiting
    from privacy.campaign_recipient r where r.campaign_id = c.id) n
where c.kind = 'policy notice' and c.about = any(:versions) and c.state <> 'canceled'
group by c.about"""
RIGHTS = """
select count(*) from unnest(array['resocode_worker', 'resocode_app', 'resocode_owner', 'resocode_analyst']) r (role),
    unnest(array['insert', 'update', 'delete', 'truncate']) p (verb)
where has_table_privilege(r.role, 'privacy.policy_version', p.verb)
   or p.verb in ('insert', 'update') and has_any_column_privilege(r.role, 'privacy.policy_version', p.verb)"""


def announced(session: Session, now: datetime) -> Evidence:
    """Every significant version after the first was announced to everybody who was active; who was not reached is known."""
    versions = rows(session, VERSIONS, now=now)
    later = [row.version for row in versions[1:] if row.significant]
    figures: dict[str, int | str] = {
        "versions in force until now": len(versions),
        "of them to be announced": len(later),
    }
    query, links = VERSIONS + ";" + NOTICES, (Link("Notices", "notices"),)
    if not later:
        said = "Nothing significant has changed since the first version."
        return judged(False, False, said, figures=figures, query=query)
    notices = {row.about: row for row in rows(session, NOTICES, versions=later)}
    figures |= {
        "told": sum(row.told for row in notices.values()),
        "came back": sum(row.bounced for row in notices.values()),
        "not reached": sum(row.missed for row in notices.values()),
        "of those told in a second notice": sum(row.made_up for row in notices.values()),
        "waiting": sum(row.waiting for row in notices.values()),
    }
    broken, at_risk, sentence = _worst_notice(later, notices, now)
    return judged(broken, at_risk, sentence, figures=figures, query=query, links=links)


def _worst_notice(later: Sequence[str], notices: Mapping[str, Any], now: datetime) -> tuple[bool, bool, str]:
    """Broken or at risk, and why: a version without a notice first, then one whose notice is not over, then who was not reached."""
    for version in reversed(later):
        if version not in notices:
            return True, False, f"{version} is in force, and no notice of it is on record."
    for version in reversed(later):
        told = notices[version]
        if not told.over:
            waits = f"{told.told:,} told, {told.waiting:,} waiting"
            said = f"{version} is in force, and its notice is not over: {waits}."
            return now >= told.deadline + SETTLING, True, said
    newest = notices[later[-1]]
    left = {version: notices[version].bounced + notices[version].missed - notices[version].made_up for version in later}
    sentence = f"{many(newest.told, 'student')} told of {later[-1]}; {newest.bounced:,} came back, {newest.missed:,} not reached."
    return False, max(left.values()) > 0, sentence


def dated(session: Session, now: datetime) -> Evidence:
    """The version in force says its own date, is as it was published, and nobody has the right to change it."""
    current = in_force(session, now)
    versions = rows(session, VERSIONS, now=now)
    changed = [row.version for row in versions if _differs(row.version, row.document)]
    wrong = [
        row.version
        for row in versions
        if row.document.get("version") != row.version
        or f"{row.effective_at:%Y-%m-%d}" not in str(row.document.get("effective_at"))
    ]
    rights = number(session, RIGHTS)
    figures: dict[str, int | str] = {"in force": current.version, "versions": len(versions), "not as published": len({*changed, *wrong}),
                                     "rights to change one": rights}  # fmt: skip
    if changed or wrong or rights:
        what = (
            f"Version {(changed or wrong)[0]} is not what was published."
            if changed or wrong
            else "A role of the dashboard may publish or change versions on its own."
        )
        return judged(True, False, what, figures=figures, query=VERSIONS + ";" + RIGHTS)
    return judged(False, False, f"Version {current.version} is in force, as published; no role of this dashboard may change it, or publish one on its own.", figures=figures,
                  query=VERSIONS + ";" + RIGHTS)  # fmt: skip


def reachable(session: Session, now: datetime) -> Evidence:
    """The policy in force names a contact, or mail of this dashboard has a sender that answers."""
    version = in_force(session, now).version
    contact = session.scalar(
        text("select document ->> 'contact' from privacy.policy_version where version = :v"), {"v": version}
    )
    sender = settings().mail_from
    figures: dict[str, int | str] = {
        "contact in the policy": contact or "none",
        "sender of our mail": "configured" if sender else "none",
    }
    if not contact and not sender:
        return judged(True, False, "Neither the policy nor this dashboard has a contact: set RESOCODE_MAIL_FROM, and name a contact in the next version.",
                      figures=figures)  # fmt: skip
    told = (
        "The policy names a contact"
        if contact
        else "Mail of this dashboard has a sender; the policy's own text names no contact"
    )
    return judged(False, not contact, f"{told}.", figures=figures)


def _differs(version: str, document: dict[str, object]) -> bool:
    """Whether a published version differs from its file, where there is one."""
    file = ROOT / "data" / "policy" / f"{version}.yaml"
    if not file.exists():
        return False
    told = yaml.safe_load(file.read_text(encoding="utf-8"))
    return _hash(told) != _hash(document)


def _hash(document: object) -> str:
    plain = json.dumps(document, sort_keys=True, default=lambda value: value.isoformat())
    return hashlib.sha256(plain.encode()).hexdigest()
