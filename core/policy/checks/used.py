"""Clause 2: how data is used."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from core.anon.content import check as check_releases
from core.models.data_map import data_map
from core.models.labels import Category
from core.policy import in_force
from core.policy.checks.asking import many, number, one, rows
from core.policy.checks.processors import outgoing, policy_processors
from core.policy.evidence import Evidence, Link, judged, not_proven
from core.privacy.mail_kinds import allowed
from core.settings import settings

CERTIFICATE_DAYS = 30
CONFIRMATION_DAYS = 30
SELLING = ("advert", "market", "sale", "sell", "broker", "profil", "retarget")

CERTIFICATES = """
select count(*) filter (where r.decided_at < :late), count(*)
from platform.result r where r.kind in ('pass', 'distinction') and r.decided_at < :soon
  and not exists (select from platform.certificate c where c.enrollment_id = r.enrollment_id)"""
UNCONFIRMED = """
select count(*) from platform.enrollment e
where e.enrolled_at between :since and :until and e.confirmed_at is null and e.status in ('registered', 'active')"""
KINDS = "select kind, count(*) as number from platform.email_log where source <> 'canary' group by kind order by kind"
OPTED_OUT = """
select count(*) from platform.email_log l where l.kind <> all (:allowed) and exists (
    select from privacy.opt_out o where o.student_id = l.student_id and l.sent_at between o.since and coalesce(o.until, 'infinity'))"""
DEVICES = """
select has_any_column_privilege('resocode_app', 'platform.visitor_device', 'select')::int,
    (select count(*) from pg_proc f join pg_namespace n on n.oid = f.pronamespace
     where n.nspname in ('platform', 'privacy', 'staff') and f.prosecdef and f.prosrc ~ '(from|join) platform.visitor_device')"""
WATCHED = """
select (select count(*) from staff.throttle),
    (select count(*) from privacy.audit_event where action = 'sign-in failed' and at > :since),
    (select count(*) from staff.worker_heartbeat where beat_at > :alive),
    (select count(*) from pg_proc f join pg_namespace n on n.oid = f.pronamespace
     where n.nspname = 'staff' and f.proname = 'begin_attempt')"""


def managed(session: Session, now: datetime) -> Evidence:
    """Nobody who passed waits for a certificate longer than 30 days; enrollments of the last 30 days are confirmed."""
    late, due = one(session, CERTIFICATES, late=now - timedelta(days=CERTIFICATE_DAYS), soon=now - timedelta(days=7))
    window = {"since": now - timedelta(days=CONFIRMATION_DAYS), "until": now - timedelta(days=1)}
    unconfirmed = number(session, UNCONFIRMED, **window)
    figures = {
        "certificates due for a week": due,
        "for more than 30 days": late,
        "enrollments not confirmed": unconfirmed,
    }
    sentence = f"{many(late, 'certificate')} due for more than {CERTIFICATE_DAYS} days; {many(unconfirmed, 'new enrollment')} without a confirmation."
    links = (Link("Enrollments without confirmation", "enrollments", {"period": "30 days", "mail": "Not confirmed"}),)
    return judged(
        late, due or unconfirmed, sentence, figures=figures, query=CERTIFICATES + ";" + UNCONFIRMED, links=links
    )


def mail(session: Session, now: datetime) -> Evidence:
    """Every kind in the mail log is one that the policy allows."""
    found: dict[str, int] = {row.kind: row.number for row in rows(session, KINDS)}
    known = allowed()
    other = {kind: count for kind, count in found.items() if kind not in known}
    against = number(session, OPTED_OUT, allowed=sorted(known)) if other else 0
    figures: dict[str, int | str] = {
        "mails in the log": sum(found.values()),
        "kinds": len(found),
        "other kinds": sum(other.values()),
    }
    figures |= {"kinds that are allowed": len(known), "to people who opted out": against}
    if other:
        named = ", ".join(sorted(other)[:5])
        sentence = f"{many(sum(other.values()), 'mail')} of a kind that is neither transactional nor important ({named}), {against:,} of them to people who opted out."
    else:
        sentence = f"{many(sum(found.values()), 'mail')} in the log, all of them transactional or important."
    return judged(other, False, sentence, figures=figures, query=KINDS)


def improved(session: Session, now: datetime) -> Evidence:
    """Analytics shows released figures only, and those are as they were published."""
    found = check_releases(session)
    leaks = number(
        session,
        "select count(*) from information_schema.columns where table_schema = 'anon' and column_name in"
        " ('student_id', 'visitor_id', 'enrollment_id', 'email', 'name')",
    )
    figures: dict[str, int | str] = {
        "releases": found.releases,
        "figures in them": found.cells,
        "columns that name a person": leaks,
    }
    if leaks or not found.sound:
        why = found.problem or "a table of the anonymized plane has a column that leads to a person"
        return judged(True, False, f"The anonymized figures cannot be trusted: {why}.", figures=figures)
    if not found.releases:
        return not_proven("Nothing was released yet: Analytics shows no figure about usage.", figures=figures)
    return judged(False, False, f"{many(found.releases, 'release')} with {found.cells:,} figures, as published; no column leads to a person.",
                  figures=figures)  # fmt: skip


def abuse(session: Session, now: datetime) -> Evidence:
    """Failed sign-ins are throttled and written down, a worker lives, and nothing reads device data."""
    readable, functions = one(session, DEVICES)
    counted, failed, alive, throttle = one(
        session, WATCHED, since=now - timedelta(days=30), alive=now - timedelta(minutes=10)
    )
    figures = {"names being throttled": counted, "failed sign-ins in 30 days": failed, "workers alive": alive,
               "ways of the dashboard to device data": readable + functions}  # fmt: skip
    if readable or functions:
        return judged(
            True,
            False,
            "The dashboard can read device data, which serves the watch for abuse only.",
            figures=figures,
            query=DEVICES,
        )
    if not throttle:
        return judged(True, False, "The function that throttles sign-ins is gone.", figures=figures, query=WATCHED)
    known = settings()
    told = len(known.alert_mail) * (known.smtp_url is not None) + (known.alert_webhook is not None)
    figures["receivers of alerts"] = told
    sentence = f"Sign-ins are throttled; {many(failed, 'failed one')} in 30 days; no screen reads device data."
    if not told:
        sentence = (
            "Nobody is told when a promise breaks: set RESOCODE_ALERT_MAIL (with mail) or RESOCODE_ALERT_WEBHOOK."
        )
    if not alive:
        sentence = "No worker has shown a sign of life for 10 minutes: nothing would be noticed."
    return judged(False, not alive or not told, sentence, figures=figures, query=DEVICES + ";" + WATCHED)


def no_sale(session: Session, now: datetime) -> Evidence:
    """No processor is there for selling or advertising, and learning data is in no payload but the platform database's."""
    listed = policy_processors(session, in_force(session, now).version)
    selling = [name for name, purpose in listed.items() if any(word in purpose.lower() for word in SELLING)]
    learning = {each.export for each in data_map() if each.category is Category.LEARNING and each.export}
    leaving = {
        name: sorted(set(fields) & learning) for name, fields in outgoing(listed).items() if name != "MongoDB Atlas"
    }
    leaking = {name: fields for name, fields in leaving.items() if fields}
    figures: dict[str, int | str] = {
        "processors": len(listed),
        "for selling or advertising": len(selling),
        "that are sent learning data": len(leaking),
    }
    if selling or leaking:
        what = (
            f"{', '.join(selling)} is there for selling or advertising"
            if selling
            else f"{', '.join(leaking)} is sent learning data"
        )
        return judged(True, False, f"{what}.", figures=figures)
    return judged(False, False, f"None of {many(len(listed), 'processor')} is there for selling or advertising; none is sent learning data.",
                  figures=figures)  # fmt: skip
