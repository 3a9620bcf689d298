"""Telling people that a promise is broken, once, and that it is not any more, once.

Danger: nobody looks at a board, and what tells everything every hour is not read. Principle: one message when it breaks, one when
it is mended; a check that could not be run is neither. Mechanism: a row for each receiver in the transaction of the check; a job
delivers it and tries again with growing pauses for three days. Messages name no person; receivers stand in the environment.
"""

import hashlib
import json
import urllib.request
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.error import HTTPError

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from core.models.base import uuid7
from core.models.promises import PromiseAlert
from core.policy.evidence import State
from core.policy.judging import Judged
from core.policy.promises import BY_ID, CLAUSES
from core.privacy.audit import Action, append
from core.processors import mail
from core.processors.mail import Delivery
from core.settings import settings

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)
GIVE_UP = timedelta(days=3)
SECONDS = 10.0


def receivers() -> dict[tuple[str, str], str]:
    """Return (channel, key) → address of everybody who is to be told. Mail needs a mail server."""
    known = settings()
    found = {("mail", _key(each)): each for each in known.alert_mail} if mail.configured() else {}
    if known.alert_webhook:
        found["webhook", _key(known.alert_webhook)] = known.alert_webhook
    return found


def raise_alerts(session: Session, found: Sequence[Judged], *, now: datetime) -> int:
    """Write an alert for each promise that is broken and was not told yet, and for each that is mended; return how many."""
    written = 0
    for channel, target in receivers():
        open_ones = _unresolved(session, channel, target)
        for each in found:
            since = open_ones.get(each.promise.id)
            if each.state is State.BROKEN and since is None:
                written += _write(session, each, "broken", now, channel, target, now)
            elif each.state in (State.HOLDS, State.AT_RISK) and since is not None:
                written += _write(session, each, "resolved", since, channel, target, now)
    return written


def alerts_due(session: Session, now: datetime) -> list[str]:
    """Return the alerts that wait to be delivered."""
    due = select(PromiseAlert.id).where(PromiseAlert.state == "waiting", PromiseAlert.next_at <= now)
    return list(map(str, session.scalars(due.order_by(PromiseAlert.made_at, PromiseAlert.id))))


def deliver_alert(session: Session, *, alert_id: uuid.UUID, now: datetime) -> str:
    """Deliver one alert, or say when to try again; return what became of it: "sent", "waiting" or "failed"."""
    alert = session.get(PromiseAlert, alert_id, with_for_update=True, populate_existing=True)
    if alert is None or alert.state != "waiting":
        return "sent"
    address = receivers().get((alert.channel, alert.target))
    answer = _delivered(alert, address) if address else Delivery("refused", "not configured any more")
    alert.attempts, alert.error = alert.attempts + 1, None if answer.outcome == "taken" else answer.code
    if answer.outcome == "taken":
        alert.state, alert.sent_at = "sent", now
    elif answer.outcome == "refused" or now - alert.made_at > GIVE_UP:
        alert.state = "failed"
    else:
        alert.next_at = now + min(FIRST_PAUSE * (1 << min(alert.attempts - 1, 10)), LONGEST_PAUSE)
    if alert.state != "waiting":
        append(
            session,
            Action.ALERT_TOLD,
            now=now,
            promise=alert.promise,
            kind=alert.kind,
            channel=alert.channel,
            became=alert.state,
        )
    session.flush()
    return alert.state


def message(alert: PromiseAlert) -> dict[str, str]:
    """Return what is told, by name. No person: promises, counts and instants."""
    promise = BY_ID.get(alert.promise)
    clause = promise.clause if promise else ""
    return {
        "id": str(alert.id), "promise": alert.promise, "clause": f"{clause} {CLAUSES.get(clause, '')}".strip(),
        "text": promise.text if promise else "", "state": alert.kind, "since": f"{alert.since:%Y-%m-%dT%H:%M:%SZ}",
        "at": f"{alert.made_at:%Y-%m-%dT%H:%M:%SZ}", "sentence": alert.sentence,
    }  # fmt: skip


def _unresolved(session: Session, channel: str, target: str) -> dict[str, datetime]:
    """Promise → since when it was told as broken, and not yet as resolved."""
    later = aliased(PromiseAlert)
    same = (later.promise == PromiseAlert.promise) & (later.since == PromiseAlert.since) & (later.kind == "resolved")
    mine = (later.channel == PromiseAlert.channel) & (later.target == PromiseAlert.target)
    told = select(PromiseAlert.promise, PromiseAlert.since).where(
        PromiseAlert.kind == "broken", PromiseAlert.channel == channel, PromiseAlert.target == target,
        ~select(later.id).where(same & mine).exists(),
    )  # fmt: skip
    return {row[0]: row[1] for row in session.execute(told)}


def _write(
    session: Session, found: Judged, kind: str, since: datetime, channel: str, target: str, now: datetime
) -> int:
    row = {"id": uuid7(), "promise": found.promise.id, "since": since, "kind": kind, "channel": channel, "target": target,
           "sentence": found.told.sentence, "made_at": now, "next_at": now}  # fmt: skip
    written = insert(PromiseAlert).values(row).on_conflict_do_nothing()
    return len(session.execute(written.returning(PromiseAlert.id)).all())


def _delivered(alert: PromiseAlert, address: str) -> Delivery:
    told = message(alert)
    if alert.channel == "webhook":
        return _posted(address, told)
    subject = f"{told['promise']} is {'broken' if alert.kind == 'broken' else 'kept again'}"
    body = (f"Promise {told['promise']} (clause {told['clause']}): {told['text']}\n\n{told['sentence']}\n\n"
            f"{'Broken' if alert.kind == 'broken' else 'It was broken'} since {told['since']}. The page Policy has the evidence.\n")  # fmt: skip
    with mail.Line() as line:  # what is unclear is sent again, with the same Message-ID
        return line.send(mail.Letter(alert.id, address, subject, body, alert.made_at))


def _posted(address: str, told: dict[str, str]) -> Delivery:
    """POST as JSON; a copy that comes twice has the same id."""
    request = urllib.request.Request(  # noqa: S310 - settings allow http(s) only
        address, data=json.dumps(told).encode(), headers={"Content-Type": "application/json", "Idempotency-Key": told["id"]}
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310
            return Delivery("taken", str(response.status))
    except HTTPError as error:
        lasting = 400 <= error.code < 500 and error.code not in (408, 425, 429)
        return Delivery("refused" if lasting else "later", str(error.code))
    except (OSError, ValueError):
        return Delivery("later", "no connection")


def _key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]
