"""Clause 10, and the contact: versions, notices, and a way to reach us."""

import hashlib
import json
from datetime import datetime

import yaml
from sqlalchemy import text
from sqlalchemy.orm import Session

from core.policy import in_force
from core.policy.checks.asking import many, number, rows
from core.policy.evidence import Evidence, Link, judged
from core.settings import ROOT, settings

VERSIONS = "select version, effective_at, document from privacy.policy_version where effective_at <= :now order by effective_at"
NOTICES = """
select c.about, max(c.deadline) as deadline,
    coalesce(sum(coalesce((c.counts ->> 'sent')::int, r.sent, 0)), 0)::int as told,
    coalesce(sum(coalesce((c.counts ->> 'bounced')::int, r.bounced, 0)), 0)::int as bounced,
    coalesce(sum(coalesce((c.counts ->> 'not reached')::int, r.missed, 0)), 0)::int as missed,
    coalesce(sum(r.waiting) filter (where c.finished_at is null), 0)::int as waiting
from privacy.campaign c left join lateral (
    select count(*) filter (where p.state = 'sent') as sent, count(*) filter (where p.state = 'bounced') as bounced,
        count(*) filter (where p.state = 'not reached') as missed, count(*) filter (where p.state in ('waiting', 'queued')) as waiting
    from privacy.campaign_recipient p where p.campaign_id = c.id and c.reduced_at is null) r on true
where c.about = any(:versions) and c.state <> 'canceled'
group by c.about"""
RIGHTS = """
select has_table_privilege('resocode_worker', 'privacy.policy_version', 'update')::int
     + has_table_privilege('resocode_worker', 'privacy.policy_version', 'delete')::int
     + has_any_column_privilege('resocode_app', 'privacy.policy_version', 'update')::int
     + has_table_privilege('resocode_app', 'privacy.policy_version', 'delete')::int"""


def announced(session: Session, now: datetime) -> Evidence:
    """Every significant version after the first was announced to everybody who was active; who was not reached is known."""
    versions = rows(session, VERSIONS, now=now)
    later = [row.version for row in versions[1:] if row.document.get("significant", True)]
    figures: dict[str, int | str] = {
        "versions in force until now": len(versions),
        "of them to be announced": len(later),
    }
    if not later:
        return judged(
            False, False, "Nothing significant has changed since the first version.", figures=figures, query=VERSIONS
        )
    notices = {row.about: row for row in rows(session, NOTICES, versions=later)}
    silent = [version for version in later if version not in notices]
    newest = notices.get(later[-1])
    links = (Link("Notices", "notices"),)
    query = VERSIONS + ";" + NOTICES
    if newest is not None:
        figures |= {
            "told": newest.told,
            "bounced": newest.bounced,
            "not reached": newest.missed,
            "waiting": newest.waiting,
        }
    if silent:
        return judged(
            True,
            False,
            f"{silent[-1]} is in force, and no notice of it is on record.",
            figures=figures,
            query=query,
            links=links,
        )
    assert newest is not None
    late = newest.waiting > 0 and newest.deadline < now
    missed = newest.waiting or newest.bounced or newest.missed
    sentence = f"{many(newest.told, 'student')} told of {later[-1]}; {newest.bounced:,} bounced, {newest.missed:,} not reached, {newest.waiting:,} waiting."
    return judged(late, missed, sentence, figures=figures, query=query, links=links)


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
            else "A role of the dashboard may change published versions."
        )
        return judged(True, False, what, figures=figures, query=VERSIONS + ";" + RIGHTS)
    return judged(False, False, f"Version {current.version} is in force, as published; no role of this dashboard may change it.", figures=figures,
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
