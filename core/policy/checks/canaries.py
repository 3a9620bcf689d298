"""What canaries say about a promise: synthetic people were in every store, were erased, and somebody else has looked for them.

Evidence in a place of its own, beside the check of a promise: a trace breaks it, also where every record of ours says "erased".
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from core.policy import in_force
from core.policy.checks.asking import day, many, one, rows
from core.policy.evidence import Evidence, State

PLACE = "canaries"
HERE = ("this database", "files of this dashboard")
OUTSIDE = {"PRC-MONGODB": "MongoDB Atlas", "PRC-CLOUDINARY": "Cloudinary", "PRC-PAYMENTS": "payment gateway"}
# promise → the places in which its canaries are looked for; all of them for whoever promises that everything goes
OF_PROMISE = {
    "RET-GRACE": (*HERE, *OUTSIDE.values()),
    "RGT-DELETE": (*HERE, *OUTSIDE.values()),
    **{promise: (place,) for promise, place in OUTSIDE.items()},
}
EVERY, LATE = timedelta(days=9), timedelta(days=2)
SEEN = """
select c.id, c.gone_at, l.place, l.at, l.seen, l.found, l.error,
    exists (select from privacy.canary_look k where k.canary_id = c.id and k.place = l.place and k.stage = 'planted' and k.seen <> 'found') as blind
from privacy.canary c join lateral (
    select distinct on (k.place) k.* from privacy.canary_look k
    where k.canary_id = c.id and k.stage = 'erased' and k.at <= :now and k.place = any(:places) order by k.place, k.at desc) l on true
where c.gone_at > cast(:now as timestamptz) - interval '1 year' order by c.gone_at desc, l.place"""
STAND = """
select max(c.planted_at) as newest, count(*) filter (where c.gone_at is null) as living,
    count(*) filter (where c.gone_at is null and c.closed_at < cast(:now as timestamptz) - :grace * interval '24 hours' - :late) as overdue,
    count(*) filter (where c.gone_at < cast(:now as timestamptz) - :late and not exists (
        select from privacy.canary_look l where l.canary_id = c.id and l.stage = 'erased')) as unseen,
    (select string_agg(distinct e.waits_for, ', ') from privacy.canary k join privacy.erasure e on e.request_id = k.request_id
     where k.gone_at is null) as waits,
    (select min(r.finished_at) from privacy.check_run r) as since
from privacy.canary c"""


def seen(session: Session, promise: str, now: datetime) -> Evidence | None:
    """Return what canaries say about a promise; None for one that they cannot show, and before the first one has gone its way."""
    places = OF_PROMISE.get(promise)
    if places is None:
        return None
    stand = one(session, STAND, now=now, grace=in_force(session, now).grace_days, late=LATE)
    looks = rows(session, SEEN, now=now, places=list(places))
    known = {look.id for look in looks}
    figures: dict[str, int | str] = {
        "canaries erased in a year, and looked for": len(known),
        "last looked for": day(max(look.at for look in looks)) if looks else "never",
        "places": ", ".join(dict.fromkeys(look.place for look in looks)) or "–",
        "places with a trace": len({(look.id, look.place) for look in looks if look.seen == "found"}),
        "on their way": stand.living,
    }
    state, sentence = _judged(promise, looks, stand, now)
    if state is None:
        return None
    return Evidence(state, sentence, figures, f"{SEEN.strip()};\n{STAND.strip()}", place=PLACE)


def proven(session: Session, now: datetime) -> int:
    """Return how many canaries were erased and are nowhere in this database."""
    looks = rows(session, SEEN, now=now, places=list(HERE))
    bad = {look.id for look in looks if look.seen != "absent" or look.blind}
    return len({look.id for look in looks} - bad)


def _judged(promise: str, looks: Sequence[Any], stand: Any, now: datetime) -> tuple[State | None, str]:
    found = [look for look in looks if look.seen == "found"]
    if found:
        first = found[0]
        where = ", ".join(sorted(first.found)[:3])
        return State.BROKEN, f"A canary that was erased on {day(first.gone_at)} is still in {first.place}: {where}."
    if unclear := [look for look in looks if look.seen == "unclear"]:
        first = unclear[0]
        return (
            State.NOT_PROVEN,
            f"{first.place} could not be read for a canary ({first.error}): nothing is proven there.",
        )
    if blind := [look for look in looks if look.blind]:
        return (
            State.NOT_PROVEN,
            f"Whoever looks did not find a canary that was in {blind[0].place}; finding none proves nothing.",
        )
    if promise in OUTSIDE:
        return (State.HOLDS, _fine(looks)) if looks else (None, "")
    if stand.overdue or stand.unseen:
        late = (
            f"{many(stand.overdue, 'canary', 'canaries')} not erased"
            if stand.overdue
            else f"{many(stand.unseen, 'canary', 'canaries')} not looked for"
        )
        why = f"its erasure waits for: {stand.waits}" if stand.waits else "is a worker on?"
        return State.NOT_PROVEN, f"{late} two days after that was due; {why}" + ("" if why.endswith("?") else ".")
    newest = stand.newest or stand.since
    if newest is not None and newest < now - EVERY:
        told = f"The last canary was planted on {day(stand.newest)}" if stand.newest else "No canary was ever planted"
        return State.AT_RISK, f"{told}; one is due every week: is a worker on?"
    return (State.HOLDS, _fine(looks)) if looks else (None, "")


def _fine(looks: Sequence[Any]) -> str:
    erased, places = len({look.id for look in looks}), len({look.place for look in looks})
    last = day(max(look.at for look in looks))
    return f"{many(erased, 'canary', 'canaries')} erased; in {many(places, 'place')} nothing is left of any, last looked for on {last}."
