"""Everything the workers do, one line each.

A job says what is *due* by looking at the data ("is this week's figure there?"), never at what was done or when it last
ticked: a worker that was off for five days finds what is missing and does it. To add one: a function that returns keys, one
that does the work for a key in the given transaction and returns counts, and a line in ``JOBS``.

``due(session, now)`` changes nothing and returns *every* key that is due. ``run(session, key, now)`` may run again after a
crash, and may find the work already done. For more work than one transaction should carry, do a part and leave the rest
due: with ``again=NOW`` it is taken up at once, with ``MORE`` under the same lease. Keys and counts name no person.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from core import backup, canary, privacy_actions, rollups
from core.anon.method import NotConfigured
from core.importers.statuses import refresh_statuses, statuses_are_due
from core.leases import REVIVED_AFTER
from core.privacy import (
    access_reviews,
    alerts,
    audit,
    audit_seals,
    below_age,
    campaigns,
    consent_watch,
    erasure,
    exports,
    grace,
    housekeeping,
    incidents,
    ledger,
    mail_by_rule,
    promises,
    propagating,
    proposals,
    restore,
    retention,
    sending,
    snapshots,
    suppression,
    unknown_people,
)
from core.settings import settings

MORE, ALONE = "more", "alone"
NOW = timedelta(0)
DAY = timedelta(days=1)
SOON = timedelta(hours=1)  # a dead letter about people who wait to be told
MONTHS_AHEAD = 3
BY_MONTH = ("email_log", "usage_event")


@dataclass(frozen=True)
class Job:
    """One kind of work. The data are asked at most once per ``every``; a worker holds a key for ``lease`` at a time and
    renews it while it lives, for ``longest`` at most; a key that is done is not taken up again within ``again``,
    one that is a dead letter not within ``revived``.

    Counts with ``MORE`` ask for the next part, in a transaction of its own under the same lease. ``failed`` writes down that
    the work for a key failed, with a code: then the data say when it is due again, and not the job.

    ``together`` does the next part of up to ``at_once`` keys in one transaction instead, and returns the counts of each; ``ALONE``
    beside ``MORE`` asks for that key's next part in a transaction of its own. When it raises, halves are tried, down to the one.
    """

    kind: str
    due: Callable[[Session, datetime], Sequence[str]]
    run: Callable[[Session, str, datetime], Mapping[str, int]]
    every: timedelta = timedelta(minutes=1)
    lease: timedelta = timedelta(minutes=1)
    longest: timedelta = timedelta(hours=1)
    again: timedelta = timedelta(minutes=1)
    revived: timedelta = REVIVED_AFTER
    failed: Callable[[Session, str, str, datetime], None] | None = None
    together: Callable[[Session, Sequence[str], datetime], Mapping[str, Mapping[str, int]]] | None = None
    at_once: int = 1

    def part(self, session: Session, keys: Sequence[str], now: datetime) -> Mapping[str, Mapping[str, int]]:
        """Do the next part of each key, in the given transaction; counts by key."""
        if self.together:
            return self.together(session, keys, now)
        return {key: self.run(session, key, now) for key in keys}


def _figures_due(session: Session, now: datetime) -> list[str]:
    return [] if snapshots.figures_taken(session, now=now) else [snapshots.monday(now).isoformat()]


def _take_figures(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return {"moved": refresh_statuses(session, now), "figures": privacy_actions.take_group_figures(session, now=now)}


def _statuses_due(session: Session, now: datetime) -> list[str]:
    return [now.date().isoformat()] if statuses_are_due(session, now) else []


def _refresh_statuses(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return {"moved": refresh_statuses(session, now)}


def _months_due(session: Session, now: datetime) -> list[str]:
    missing = text("""
        select t.name || ' ' || to_char(m, 'YYYY-MM') from unnest(cast(:tables as text[])) as t(name),
            generate_series(date_trunc('month', cast(:today as timestamp)), cast(:today as timestamp) + :ahead * interval '1 month', '1 month') m
        where to_regclass('platform.' || t.name || to_char(m, '"_"YYYY"_"MM')) is null order by 1""")
    asked = {"tables": list(BY_MONTH), "today": now.date(), "ahead": MONTHS_AHEAD}
    return list(session.scalars(missing, asked))


def _make_month(session: Session, key: str, _now: datetime) -> dict[str, int]:
    """A new month locks its table for a moment. Behind a long reader it would make everybody wait: it gives way, and is tried again."""
    table, month = key.split()
    session.execute(text("set local lock_timeout = '500ms'"))
    made = text("select platform.make_months(:table, cast(:day as date), cast(:day as date))")
    return {"made": session.scalar(made, {"table": table, "day": f"{month}-01"}) or 0}


def _leftovers_due(session: Session, now: datetime) -> list[str]:
    return housekeeping.leftovers(session, now=now)


def _tidy(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"dropped": TIDY[key](session, now=now)}


TIDY: dict[str, Callable[..., int]] = {
    "files": privacy_actions.drop_expired_files,
    "sessions": housekeeping.drop_ended_sessions,
    "failures": housekeeping.drop_old_failures,
    "heartbeats": housekeeping.drop_old_heartbeats,
    "jobs": housekeeping.drop_old_jobs,
}


def _unsigned_lines(session: Session, now: datetime) -> list[str]:
    return ["end of the audit"] if audit.unsigned(session) else []


def _sign_audit(session: Session, _key: str, now: datetime) -> dict[str, int]:
    made = privacy_actions.sign_audit(session, now=now)
    return {"lines": made.size if made else 0}


def _check_due(session: Session, now: datetime) -> list[str]:
    newest = audit.newest_check(session)
    if newest is None or newest.checked_at <= now - audit.WHOLE_EVERY:
        return [now.date().isoformat()]
    return ["after an acknowledgement"] if audit_seals.seals_due(session) else []


def _check_audit(session: Session, _key: str, now: datetime) -> dict[str, int]:
    found = privacy_actions.check_audit(session, now=now)
    return {"lines": found.lines, "broken": not found.sound}


def _releases_due(session: Session, now: datetime) -> list[str]:
    """The next release of each family: they go in their order. A site that has configured nothing publishes nothing."""
    try:
        waiting = privacy_actions.releases_due(session, now=now)
    except NotConfigured:
        return []
    return list({each.family: f"{each.family} {each.period.name}" for each in reversed(waiting)}.values())


def _publish(session: Session, key: str, now: datetime) -> dict[str, int]:
    family, _, period = key.partition(" ")
    waiting = privacy_actions.releases_due(session, now=now)
    if (family, period) not in {(each.family, each.period.name) for each in waiting}:
        return {"cells": 0}
    return {"cells": privacy_actions.publish_release(session, family=family, period=period, now=now).cells}


def _rights_gone(session: Session, now: datetime) -> list[str]:
    return ["rights that ended"] if access_reviews.settling_is_due(session, now=now) else []


def _settle_reviews(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return {"over": privacy_actions.settle_access_reviews(session, now=now)}


def _adopt(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"deletions": grace.adopt_closing(session, student_id=uuid.UUID(key), now=now)}


def _heed(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"sent back": grace.heed_sign_of_life(session, request_id=uuid.UUID(key), now=now)}


def _recheck(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"sent back": grace.recheck_plan(session, request_id=uuid.UUID(key), now=now)}


def _acknowledge(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"letters": grace.acknowledge(session, request_id=uuid.UUID(key), now=now)}


def _erase(session: Session, key: str, now: datetime) -> dict[str, int]:
    return erasure.go_on(session, request_id=uuid.UUID(key), now=now)


def _erase_together(session: Session, keys: Sequence[str], now: datetime) -> dict[str, dict[str, int]]:
    came = erasure.go_on_together(session, request_ids=[uuid.UUID(key) for key in keys], now=now)
    return {str(request_id): counts for request_id, counts in came.items()}


def _export(session: Session, key: str, now: datetime) -> dict[str, int]:
    return exports.go_on(session, request_id=uuid.UUID(key), now=now)


def _forget_suppressed(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return suppression.drop_expired(session, now=now)


def _note_cancellation(session: Session, key: str, now: datetime) -> dict[str, int]:
    ledger.cancel(request_id=uuid.UUID(key), now=now)
    return {"lines": 1}


def _send(_session: Session, key: str, now: datetime) -> dict[str, int]:
    return dict(sending.send_lane(lane=int(key), now=now))


def _simulate(session: Session, key: str, now: datetime) -> dict[str, int]:
    return proposals.run_simulation(session, proposal_id=uuid.UUID(key), now=now)


def _count_people(session: Session, key: str, now: datetime) -> dict[str, int]:
    return incidents.count_people(session, incident_id=uuid.UUID(key), now=now)


def _queue_mail(session: Session, key: str, now: datetime) -> dict[str, int]:
    return mail_by_rule.queue_mail(session, kind=key, now=now)


def _go_on_telling(session: Session, key: str, now: datetime) -> dict[str, int]:
    return campaigns.go_on(session, campaign_id=uuid.UUID(key), now=now)


def _reduce_notices(session: Session, key: str, now: datetime) -> dict[str, int]:
    return campaigns.reduce(session, campaign_id=uuid.UUID(key), now=now)


def _pass_on(session: Session, key: str, now: datetime) -> dict[str, int]:
    return propagating.pass_on(session, propagation_id=uuid.UUID(key), now=now)


def _sync_due(session: Session, now: datetime) -> Sequence[str]:
    if settings().mongodb_uri is None:
        return []
    from core.importers import mongodb  # its library is loaded by whoever has such a database

    return mongodb.sync_due(session, now)


def _sync(session: Session, key: str, now: datetime) -> dict[str, int]:
    from core.importers import mongodb

    return mongodb.sync_part(session, key, now)


def _erase_words(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return {"erased": unknown_people.erase_words(session, now=now)}


def _backups_changed(session: Session, now: datetime) -> list[str]:
    return ["folder of backups"] if backup.differs(session, now=now) else []


def _settle_backups(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return {"removed": backup.remove_expired(session, now=now), "recorded": backup.record(session, now=now)}


def _check_promises(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return privacy_actions.check_promises(session, now=now)


def _tell(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {alerts.deliver_alert(session, alert_id=uuid.UUID(key), now=now): 1}


def _close_below_age(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"closed": below_age.close_below_age(session, student_id=uuid.UUID(key), now=now)}


def _mend_below_age(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"opened": below_age.mend(session, request_id=uuid.UUID(key), now=now)}


def _lapse(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"lapsed": consent_watch.lapse(session, student_id=uuid.UUID(key), now=now)}


def _forget_birth_date(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"forgotten": consent_watch.forget_birth_date(session, student_id=uuid.UUID(key), now=now)}


def _settle_age(session: Session, key: str, now: datetime) -> dict[str, int]:
    return {"settled": consent_watch.settle(session, student_id=uuid.UUID(key), now=now)}


def _make_records(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return {"made": consent_watch.make_records(session, now=now)}


def _drop_guardians(session: Session, _key: str, now: datetime) -> dict[str, int]:
    return {"erased": consent_watch.drop_guardians(session, now=now)}


def _write_round(session: Session, key: str, now: datetime) -> dict[str, int]:
    return consent_watch.write_round(session, round_id=uuid.UUID(key), now=now)


def _retain(session: Session, key: str, now: datetime) -> dict[str, int]:
    return retention.go_on(session, rule=key, now=now)


def _rollups_due(session: Session, _now: datetime) -> list[str]:
    return rollups.rollups_due(session)


def _roll_up(session: Session, key: str, _now: datetime) -> dict[str, int]:
    return {"changed": rollups.refresh_rollup(session, key)}


def _canaries(session: Session, key: str, now: datetime) -> dict[str, int]:
    return canary.go_on(session, key=key, now=now)


JOBS: tuple[Job, ...] = (
    Job("roll-ups", _rollups_due, _roll_up, every=timedelta(seconds=15), again=NOW),
    Job("enrollment statuses", _statuses_due, _refresh_statuses, every=timedelta(minutes=15)),
    Job("weekly group figures", _figures_due, _take_figures, lease=timedelta(minutes=5)),
    Job("months ahead", _months_due, _make_month, every=timedelta(hours=1)),
    Job(
        "anonymized releases",
        _releases_due,
        _publish,
        every=timedelta(minutes=15),
        lease=timedelta(minutes=5),
        again=NOW,
    ),
    Job("sync of the platform", _sync_due, _sync, lease=timedelta(minutes=5), longest=timedelta(hours=12), again=NOW),
    Job("tidying", _leftovers_due, _tidy),
    Job("access review", _rights_gone, _settle_reviews, every=timedelta(minutes=15)),
    Job("accounts closed by students", grace.closings_due, _adopt, every=timedelta(minutes=5)),
    Job("signs of life in grace", grace.signs_of_life_due, _heed, every=timedelta(minutes=5)),
    Job("below the minimum age", below_age.found_due, _close_below_age),
    Job("not below the minimum age", below_age.mended_due, _mend_below_age),
    Job("consent that lapses", consent_watch.lapses_due, _lapse),
    Job("birth dates not needed", consent_watch.of_age_and_silent, _forget_birth_date, every=timedelta(minutes=15)),
    Job("restricted for age", consent_watch.restrictions_due, _settle_age),
    Job("consent records", consent_watch.records_missing, _make_records, every=timedelta(minutes=15)),
    Job("guardians not needed", consent_watch.guardians_due, _drop_guardians, every=timedelta(minutes=15)),
    Job("letters about consent", consent_watch.rounds_due, _write_round, again=NOW),
    Job("approved plans", grace.plans_due, _recheck, every=timedelta(minutes=15)),
    Job("acknowledgements", grace.acknowledgements_due, _acknowledge),
    Job(
        "erasures",
        erasure.erasures_due,
        _erase,
        again=NOW,
        failed=erasure.note_failure,
        together=_erase_together,
        at_once=100,
    ),
    Job("propagations", propagating.propagations_due, _pass_on, again=NOW, failed=propagating.note_trouble),
    Job("retention", retention.rules_due, _retain, again=NOW),
    Job("canaries", canary.canaries_due, _canaries, lease=timedelta(minutes=10), again=NOW),
    Job("exports", exports.exports_due, _export, lease=timedelta(minutes=5), again=NOW, failed=exports.note_failure),
    Job("words of unknown people", unknown_people.words_due, _erase_words, every=timedelta(hours=1)),
    Job("suppression list", suppression.suppression_over, _forget_suppressed, every=timedelta(minutes=15)),
    Job("canceled deletions", restore.unwritten_cancellations, _note_cancellation),
    Job("backups", _backups_changed, _settle_backups, every=timedelta(minutes=15)),
    Job(
        "effects of a new policy",
        proposals.simulations_due,
        _simulate,
        every=NOW,
        lease=timedelta(minutes=5),
        again=NOW,
    ),
    Job(
        "whom incidents concern", incidents.counts_due, _count_people, every=NOW, lease=timedelta(minutes=5), again=NOW
    ),
    Job("mail by rule", mail_by_rule.mail_due, _queue_mail, every=timedelta(minutes=5), revived=SOON),
    Job("notices", campaigns.campaigns_due, _go_on_telling, every=NOW, again=NOW, revived=SOON),
    Job("notices over", campaigns.reductions_due, _reduce_notices, every=timedelta(hours=1), again=NOW),
    Job("letters by mail", sending.lanes_due, _send, every=NOW, again=NOW, revived=SOON),
    Job("checks of promises", promises.checks_due, _check_promises, lease=timedelta(minutes=5), again=NOW),
    Job("alerts", alerts.alerts_due, _tell, again=NOW, revived=SOON),
    Job("audit checkpoint", _unsigned_lines, _sign_audit, again=timedelta(minutes=4)),
    Job("audit check", _check_due, _check_audit, lease=timedelta(minutes=5), again=NOW),
)
