"""Canaries: a synthetic person a week, kept in every store, erased by the real engine, and looked for by strangers.

Danger: everything says "erased", because everything asks itself. Principle: somebody of whom we know that they were in every store
goes the whole way of a person who leaves, with no step shortened; then somebody else looks for them, who shares no code with what
erased them. Whatever is found breaks the promise that it should be gone. Mechanism: what is due is read from the data, each part is
one transaction that may run again: *plant* (one canary a week, in every table and every connected processor; the looker has to find it
there first), *close* (the account closes itself, a week later), *see to* (its letters reach nobody, steps by hand ask nobody), and
*look* (once it is erased, and every week from then on, for :data:`WATCHED`). Closing to certificate is done by the jobs that do it for
everybody.

A canary is told apart by its record in ``privacy.canary``; the dashboard shows it there, and counts it nowhere.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Select, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core import canary_outside, canary_reader, canary_rows
from core.canary_reader import DATABASE, FILES, Seen
from core.models.base import uuid7
from core.models.canaries import Canary, CanaryLook, CanaryPlace, values
from core.models.erasure import ManualStep
from core.models.erasures import ErasureStep, PersonErasure
from core.models.platform import Student
from core.models.requests import Outbox, Propagation, Request
from core.processors.manual import MANUAL

LIVES = timedelta(days=7)
AGAIN, AFTER_FOUND = timedelta(days=7), timedelta(days=1)
WATCHED = timedelta(days=91)
NOT_CONNECTED = "a canary: this place is not connected, so that nothing was ever there"
NOBODY_TO_WRITE_TO = "a canary: nobody is there to write to"  # also in core.privacy.letters.PUT


def canaries_due(session: Session, now: datetime) -> Sequence[str]:
    """Return what is to do about canaries: "plant 2026-11-23", "plant <place> <id>", "close <id>", "see to <id>", "look"."""
    keys = [] if _of_week(session, monday(now)) else [f"plant {monday(now).isoformat()}"]
    living = select(Canary).where(Canary.gone_at.is_(None)).order_by(Canary.planted_at)
    for canary in session.scalars(living):
        if canary.closed_at is None:
            keys += [f"plant {canary.id} {place}" for place in _missing(session, canary)]
            keys += [f"close {canary.id}"] if canary.planted_at <= now - LIVES else []
        elif _needs_somebody(session, canary):
            keys.append(f"see to {canary.id}")
    return [*keys, "look"] if _to_look_for(session, now) else keys


def go_on(session: Session, *, key: str, now: datetime) -> dict[str, int]:
    """Do what :func:`canaries_due` has named, as the worker. Again: what is done is done."""
    what, _, rest = key.partition(" ")
    if what == "look":
        return _look(session, now)
    if what == "plant" and len(rest) == len("2026-11-23"):
        return plant(session, week=date.fromisoformat(rest), now=now)
    about, _, place = rest.removeprefix("to ").partition(" ")
    canary = session.get(Canary, uuid.UUID(about), with_for_update=True, populate_existing=True)
    if canary is None or canary.gone_at is not None:
        return {}
    if what == "plant":
        return _plant_outside(session, canary, place, now)
    return _close(session, canary, now) if what == "close" else _see_to(session, canary, now)


def plant(session: Session, *, week: date, now: datetime) -> dict[str, int]:
    """Plant the canary of a week in this database, and let the looker find it there, as the worker."""
    made = uuid7()
    who = values(made)
    row = {"id": made, "week": week, "student_id": who.student_id, "visitor_id": who.visitor_id, "planted_at": now}
    new = insert(Canary).values(row).on_conflict_do_nothing(index_elements=[Canary.week]).returning(Canary.id)
    if session.scalar(new) is None:
        return {}
    canary = session.get_one(Canary, made)
    outside = canary_outside.connected()
    rows = canary_rows.plant(session, canary, from_platform=bool(outside.keys() - {canary_reader.PAYMENTS}), now=now)
    session.add(CanaryPlace(canary_id=made, place=DATABASE, records=rows, planted_at=now))
    _keep(session, made, DATABASE, "planted", canary_reader.in_database(session, [made])[made], now)
    return {"planted": 1, "records": rows}


def _plant_outside(session: Session, canary: Canary, place: str, now: datetime) -> dict[str, int]:
    """Plant a canary at a third party; the record of it is written in the same transaction, and the call may be made again."""
    there = canary_outside.connected().get(place)
    if there is None or canary.closed_at is not None:
        return {}
    records = there(values(canary.id), now)
    new = insert(CanaryPlace).values(canary_id=canary.id, place=place, records=records, planted_at=now)
    session.execute(new.on_conflict_do_nothing())
    _keep(session, canary.id, place, "planted", canary_reader.OUTSIDE[place](values(canary.id)), now)
    return {"planted": 1, "records": records}


def _close(session: Session, canary: Canary, now: datetime) -> dict[str, int]:
    """The canary closes its account on the platform. Whoever watches for that makes a deletion of it, as for everybody."""
    if canary.closed_at is not None:
        return {}
    canary_outside.close_on_the_platform(values(canary.id), now)
    closed = update(Student).where(Student.id == canary.student_id, Student.account_status == "open")
    session.execute(closed.values(account_status="closed", closed_at=now).execution_options(synchronize_session=False))
    canary.closed_at = now
    session.flush()
    return {"closed": 1}


def _see_to(session: Session, canary: Canary, now: datetime) -> dict[str, int]:
    """Nobody is written to and nobody goes looking by hand: letters are canceled, steps at places without a canary are exempt."""
    done = 0
    if canary.request_id is None:
        canary.request_id = session.scalar(_request_of(canary))
        session.flush()
        if canary.request_id is not None:
            done += canary_rows.plant_in_request(session, canary, canary.request_id, now=now)
    waiting = update(Outbox).where(Outbox.student_id == canary.student_id, Outbox.state == "waiting")
    letters = session.execute(
        waiting.values(state="canceled", address=None, error=NOBODY_TO_WRITE_TO).returning(Outbox.id)
    ).all()
    steps = _exempt(session, canary, now) + _pass_on_nothing(session, canary)
    closed = select(Request.closed_at).where(Request.id == canary.request_id, Request.state == "erased")
    canary.gone_at = session.scalar(closed)
    if canary.gone_at is not None:
        canary_rows.drop_payment(session, canary)
    session.flush()
    return {
        "records": done,
        "letters canceled": len(letters),
        "steps exempt": steps,
        "erased": int(bool(canary.gone_at)),
    }


def _exempt(session: Session, canary: Canary, now: datetime) -> int:
    """Steps that wait for a person, at places in which this canary never was."""
    erasure = select(PersonErasure.id).where(PersonErasure.request_id == canary.request_id).scalar_subquery()
    planted = select(CanaryPlace.place).where(CanaryPlace.canary_id == canary.id)
    mine = (ErasureStep.erasure_id == erasure, ErasureStep.state == "waiting", ErasureStep.waits_for == "by hand",
            ErasureStep.place.not_in(planted))  # fmt: skip
    exempt = {"state": "exempt", "error": NOT_CONNECTED, "waits_for": None, "waits_about": ""}
    settled = session.execute(update(ErasureStep).where(*mine).values(exempt).returning(ErasureStep.key)).all()
    if settled:
        by_hand = update(ManualStep).where(ManualStep.key.in_([row.key for row in settled]), ManualStep.state == "open")
        session.execute(by_hand.values(state="canceled").execution_options(synchronize_session=False))
        soon = update(PersonErasure).where(PersonErasure.request_id == canary.request_id)
        session.execute(soon.values(next_at=now).execution_options(synchronize_session=False))
    session.expire_all()
    return len(settled)


def _pass_on_nothing(session: Session, canary: Canary) -> int:
    """Nobody has to switch anything off by hand for somebody who does not exist."""
    waiting = update(Propagation).where(
        Propagation.request_id == canary.request_id, Propagation.state == "waiting", Propagation.error == MANUAL
    )
    done = session.execute(waiting.values(state="canceled").returning(Propagation.id)).all()
    if done:
        by_hand = update(ManualStep).where(
            ManualStep.request_id == canary.request_id, ManualStep.what == "pass on", ManualStep.state == "open"
        )
        session.execute(by_hand.values(state="canceled").execution_options(synchronize_session=False))
    session.expire_all()
    return len(done)


def _look(session: Session, now: datetime) -> dict[str, int]:
    """Look for every canary that is due, in every place: one pass over this database for all of them."""
    due = _to_look_for(session, now)
    here, files = canary_reader.in_database(session, due), canary_reader.in_files(due)
    traces = 0
    for each in due:
        seen = {DATABASE: here[each], FILES: files[each]}
        planted = select(CanaryPlace.place).where(CanaryPlace.canary_id == each, CanaryPlace.place != DATABASE)
        for place in session.scalars(planted):
            seen[place] = _outside(place, each)
        for place, found in seen.items():
            _keep(session, each, place, "erased", found, now)
            traces += sum(found.found.values())
    return {"looked for": len(due), "traces": traces}


def _outside(place: str, canary_id: uuid.UUID) -> Seen:
    if place not in canary_outside.connected():
        return Seen(error="not connected any more")
    return canary_reader.OUTSIDE[place](values(canary_id))


def _keep(session: Session, canary_id: uuid.UUID, place: str, stage: str, seen: Seen, now: datetime) -> None:
    row = CanaryLook(canary_id=canary_id, place=place, stage=stage, at=now, seen=seen.word, looked=dict(seen.looked),
                     found=dict(seen.found), error=seen.error)  # fmt: skip
    session.add(row)
    session.flush()


def _of_week(session: Session, week: date) -> bool:
    return session.scalar(select(Canary.id).where(Canary.week == week)) is not None


def _missing(session: Session, canary: Canary) -> list[str]:
    planted = set(session.scalars(select(CanaryPlace.place).where(CanaryPlace.canary_id == canary.id)))
    return sorted(canary_outside.connected().keys() - planted)


def _needs_somebody(session: Session, canary: Canary) -> bool:
    return session.scalar(text(NEEDS), {"id": canary.id}) is not None


def _to_look_for(session: Session, now: datetime) -> list[uuid.UUID]:
    asked = {"now": now, "again": now - AGAIN, "soon": now - AFTER_FOUND, "watched": now - WATCHED}
    return list(session.scalars(text(TO_LOOK_FOR), asked))


def _request_of(canary: Canary) -> "Select[uuid.UUID]":
    return select(Request.id).where(Request.student_id == canary.student_id, Request.kind == "delete")


def monday(now: datetime) -> date:
    """Return the day for whose week a canary is planted now (UTC)."""
    today = now.astimezone(UTC).date()
    return today - timedelta(days=today.weekday())


# A closed canary whose request is not known yet, whose letters wait, which waits for somebody by hand, or which has been erased.
NEEDS = """
    select c.id from privacy.canary c left join privacy.request r on r.student_id = c.student_id and r.kind = 'delete'
    where c.id = :id and (
        (c.request_id is null and r.id is not null)
        or exists (select from privacy.outbox o where o.student_id = c.student_id and o.state = 'waiting')
        or exists (select from privacy.erasure e join privacy.erasure_step s on s.erasure_id = e.id
                   where e.request_id = c.request_id and s.state = 'waiting' and s.waits_for = 'by hand'
                     and s.place not in (select p.place from privacy.canary_place p where p.canary_id = c.id))
        or exists (select from privacy.propagation p where p.request_id = c.request_id and p.state = 'waiting' and p.error = 'manual')
        or exists (select from privacy.request e where e.id = c.request_id and e.state = 'erased'))
"""
# Erased and never looked for, a week ago, or a day ago where something was found or could not be read.
TO_LOOK_FOR = """
    select c.id from privacy.canary c left join lateral (
        select max(l.at) as at, bool_or(l.seen <> 'absent') as bad from privacy.canary_look l
        where l.canary_id = c.id and l.stage = 'erased' and l.at = (
            select max(m.at) from privacy.canary_look m where m.canary_id = c.id and m.stage = 'erased')) n on true
    where c.gone_at is not null and (n.at is null or (n.bad and n.at <= :soon) or (n.at <= :again and c.gone_at > :watched))
    order by c.planted_at
"""
