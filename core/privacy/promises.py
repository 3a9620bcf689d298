"""Checking the promises, as the worker; ordering a check; attesting what no program can see; drawing a sample.

Danger: a state that somebody sets. Principle: how a promise stands is written by the worker from evidence and by nobody else; a
change of it stays in the history with what was found. Mechanism: :func:`check_promises` is one job; row-level security lets the
dashboard read states and add attestations in one's own name.
"""

import secrets
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.db import identify
from core.errors import BadInput, NotFound, Refused
from core.models.base import uuid7
from core.models.promises import Attestation, CheckRun, PromiseCheck, PromiseState
from core.policy.checks import CHECKS, Check
from core.policy.evidence import State
from core.policy.judging import Judged, judge
from core.policy.promises import ATTESTED_DAYS, BY_ID
from core.privacy import alerts
from core.privacy.audit import Action, append, guarded
from core.privacy.sessions import Staff, demand_fresh
from core.words import clean, clean_text

EVERY = timedelta(hours=1)
KEEPERS = ("privacy_officer", "admin")
SAMPLERS = ("auditor", "privacy_officer")
LONGEST, SHORTEST = 2000, 20


def checks_due(session: Session, now: datetime) -> list[str]:
    """Return what of the checks is due: an order of somebody, or the hour."""
    if session.scalar(select(CheckRun.id).where(CheckRun.finished_at.is_(None))):
        return ["asked for"]
    last = session.scalar(select(func.max(CheckRun.finished_at)))
    return [] if last is not None and last > now - EVERY else [f"{now:%Y-%m-%d %H}"]


def check_promises(session: Session, *, now: datetime, checks: Mapping[str, Check] = CHECKS) -> dict[str, int]:
    """Run every check, keep how the promises stand and what changed, and raise what is broken; return counts by state."""
    found = judge(session, now=now, checks=checks)
    for each in found:
        _keep(session, each, now)
    counts = Counter(str(each.state) for each in found)
    _finish(session, counts, now)
    alerts.raise_alerts(session, found, now=now)
    return dict(counts)


def _keep(session: Session, found: Judged, now: datetime) -> None:
    evidence = [each.stored() for each in found.evidence]
    before = session.get(PromiseState, found.promise.id, populate_existing=True)
    if before is None or _states(before.evidence) != _states(evidence):
        session.add(PromiseCheck(promise=found.promise.id, at=now, before=before.state if before else None,
                                 state=str(found.state), evidence=evidence))  # fmt: skip
    since = before.since if before is not None and before.state == found.state else now
    proven = now if found.state is State.HOLDS else before.proven_at if before else None
    row = {"promise": found.promise.id, "state": str(found.state), "since": since, "checked_at": now, "proven_at": proven,
           "evidence": evidence}  # fmt: skip
    written = insert(PromiseState).values(row)
    session.execute(written.on_conflict_do_update(index_elements=[PromiseState.promise], set_=row))
    session.flush()


def _states(evidence: Sequence[Mapping[str, object]]) -> list[tuple[object, object]]:
    return [(each["place"], each["state"]) for each in evidence]


def _finish(session: Session, counts: Mapping[str, int], now: datetime) -> None:
    asked = update(CheckRun).where(CheckRun.finished_at.is_(None)).values(finished_at=now, counts=dict(counts))
    if not session.execute(asked.returning(CheckRun.id)).all():
        session.add(CheckRun(asked_at=now, finished_at=now, counts=dict(counts)))


def ask_check(session: Session, *, by: Staff, now: datetime) -> bool:
    """Order a run of all checks, for the next round of the worker. Return False when one is ordered already.

    Raises Refused for another role than privacy officer or admin.
    """
    _demand(session, by, KEEPERS, "Privacy officers and admins order a check.")
    order = insert(CheckRun).values(id=uuid7(), asked_at=now, asked_by=by.id).on_conflict_do_nothing()
    if session.scalar(select(CheckRun.id).where(CheckRun.finished_at.is_(None))):
        return False
    session.execute(order)
    append(session, Action.CHECK_ASKED, now=now)
    return True


@guarded
def attest(
    session: Session,
    *,
    places: Sequence[tuple[str, str]],
    statement: str,
    owner_id: uuid.UUID,
    expires_on: date,
    by: Staff,
    now: datetime,
) -> int:
    """Vouch for promises in places that no program can see; return how many. ``places`` are (promise, place).

    ``statement`` says what was looked at, 20 to 2,000 characters, and names no student or visitor; ``owner_id`` answers for it and
    renews it; it lapses on ``expires_on``, a year from now at most. Raises Refused, NotFresh, and BadInput for anything else.
    """
    _demand(session, by, KEEPERS, "Privacy officers and admins attest.")
    demand_fresh(by, now)
    told = clean_text(statement, what="The statement", longest=LONGEST)
    if len(told) < SHORTEST:
        raise BadInput(f"Say what was looked at, in {SHORTEST} characters or more.")
    today = now.astimezone(UTC).date()
    if not today < expires_on <= today + timedelta(days=ATTESTED_DAYS):
        raise BadInput("An attestation lapses within a year: choose a day from tomorrow on, at most a year ahead.")
    if not places:
        raise BadInput("Choose at least one promise.")
    if not session.scalar(text("select privacy.may_own_attestation(:owner)"), {"owner": owner_id}):
        raise BadInput("Whoever answers for it needs an account that is enabled.")
    for promise, place in places:
        if place not in BY_ID[promise].attested if promise in BY_ID else True:
            raise BadInput(f"{promise} has nothing to attest for {place}.", promise=promise, place=place)
        row = {"id": uuid7(), "promise": promise, "place": place, "statement": told, "owner_id": owner_id, "given_by": by.id,
               "given_at": now, "expires_on": expires_on}  # fmt: skip
        session.execute(insert(Attestation).values(row))
        append(session, Action.PROMISE_ATTESTED, now=now, subject_kind="staff", subject_id=owner_id, promise=promise, place=place,
               until=expires_on.isoformat())  # fmt: skip
    return len(places)


@guarded
def withdraw_attestation(session: Session, *, attestation_id: uuid.UUID, by: Staff, now: datetime) -> None:
    """Take an attestation back: the promise is not proven in that place any more. Raises NotFound for one that does not stand."""
    _demand(session, by, KEEPERS, "Privacy officers and admins attest.")
    found = session.get(Attestation, attestation_id, populate_existing=True)
    if found is None or found.withdrawn_at is not None:
        raise NotFound("This attestation does not stand any more.", id=attestation_id)
    mine = update(Attestation).where(Attestation.id == attestation_id).values(withdrawn_at=now, withdrawn_by=by.id)
    session.execute(mine.execution_options(synchronize_session=False))
    append(session, Action.ATTESTATION_WITHDRAWN, now=now, promise=found.promise, place=found.place)


def draw_sample(
    session: Session, *, size: int, closed_from: date, closed_to: date, seed: str = "", by: Staff, now: datetime
) -> uuid.UUID:
    """Draw a random sample of the requests closed in a period (days, both included), and write the draw down.

    The order is that of SHA-256 over "seed:number", so that anybody who has the seed draws the same ones again; without a ``seed``
    one is made. Return the draw's id. Raises Refused for other roles, BadInput for an unusable period, size or seed.
    """
    _demand(session, by, SAMPLERS, "Auditors and privacy officers draw samples.")
    word = clean(seed, what="The seed", longest=64) or secrets.token_hex(8)
    first = datetime.combine(closed_from, datetime.min.time(), UTC)
    last = min(datetime.combine(closed_to + timedelta(days=1), datetime.min.time(), UTC), now)
    if not 1 <= size <= 100 or first >= last:
        raise BadInput("Draw 1 to 100 requests, from a period that has begun and does not end before it starts.")
    draw_id = uuid7()
    asked = {"id": draw_id, "seed": word, "size": size, "a": first, "b": last, "now": now}
    drawn = session.scalar(text("select privacy.draw_sample(:id, :seed, :size, :a, :b, :now)"), asked)
    append(session, Action.SAMPLE_DRAWN, now=now, subject_kind="sample", subject_id=draw_id, seed=word, size=drawn or 0)
    return draw_id


def _demand(session: Session, by: Staff, roles: tuple[str, ...], sentence: str) -> None:
    identify(session, staff_id=by.id, session_id=by.session_id)
    if session.scalar(text("select staff.hold_my_role()")) not in roles:
        raise Refused(sentence, role=by.role)
