"""How the promises stand and stood, and what they stand on; samples of closed requests. For privacy officers, admins, auditors.

The state at an instant is that of the newest change until then. A state that no worker has looked at for more than a day is told as
not proven: evidence that is too old is none. The *text* of the promises is open to everybody who is signed in.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from core.models.privacy import PolicyVersion
from core.models.promises import Attestation, CheckRun, PromiseAlert, PromiseCheck, PromiseState, SampleDraw
from core.policy.evidence import Evidence, State, not_proven, restored, worst
from core.policy.promises import Promise, promises_of

STALE = timedelta(hours=26)
HISTORY = 20


@dataclass(frozen=True)
class PromiseRow:
    """One promise as it stands. ``since``: when it came to stand so; ``checked_at``: by which run; None: never checked."""

    promise: Promise
    state: State
    since: datetime | None
    checked_at: datetime | None
    proven_at: datetime | None
    evidence: tuple[Evidence, ...]

    @property
    def told(self) -> Evidence:
        """The evidence that makes the state."""
        return next((each for each in self.evidence if each.state is self.state), self.evidence[0])


@dataclass(frozen=True)
class Board:
    """All promises of the version in force at an instant. ``asked_at``: a run that somebody ordered waits since then."""

    version: str
    effective_at: datetime
    rows: tuple[PromiseRow, ...]
    checked_at: datetime | None
    asked_at: datetime | None

    @property
    def counts(self) -> Mapping[State, int]:
        """How many promises stand how."""
        return Counter(row.state for row in self.rows)

    @property
    def worst(self) -> State:
        """The worst of all."""
        return worst(row.state for row in self.rows)


@dataclass(frozen=True)
class StateChange:
    """A change in the history of one promise."""

    at: datetime
    before: str | None
    state: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class AttestationRow:
    """An attestation with the names of who answers for it and who gave it. ``standing``: it counts."""

    id: uuid.UUID
    promise: str
    place: str
    statement: str
    owner_id: uuid.UUID
    owner: str
    given_by: str
    given_at: datetime
    expires_on: date
    withdrawn_at: datetime | None
    standing: bool


@dataclass(frozen=True)
class AlertRow:
    """An alert, without its receiver's address."""

    promise: str
    kind: str
    channel: str
    state: str
    made_at: datetime
    sent_at: datetime | None
    error: str | None


@dataclass(frozen=True)
class Draw:
    """A sample that was drawn: how, from how many, by whom."""

    id: uuid.UUID
    seed: str
    size: int
    closed_from: datetime
    closed_to: datetime
    population: int
    drawn: int
    drawn_by: str
    drawn_at: datetime


@dataclass(frozen=True)
class SampledRequest:
    """A closed request with its evidence and nobody in it. Lists hold codes and instants, in order."""

    number: int
    kind: str
    state: str
    outcome: str | None
    channel: str
    requester: str
    policy_version: str | None
    received_at: datetime
    due_at: datetime
    answered_at: datetime | None
    closed_at: datetime
    extended_months: int
    identity: str
    identity_method: str | None
    early: bool
    grace_ends_at: datetime | None
    approvals: int
    moves: tuple[Mapping[str, Any], ...]
    clock: tuple[Mapping[str, Any], ...]
    letters: tuple[Mapping[str, Any], ...]
    steps: tuple[Mapping[str, Any], ...]
    certificate: int | None
    sha256: str | None

    @property
    def on_time(self) -> bool:
        """Whether the answer came until it was due."""
        return self.answered_at is not None and self.answered_at <= self.due_at


def policy_text(session: Session, *, at: datetime) -> tuple[str, datetime, tuple[Promise, ...]] | None:
    """Return version, date and promises of the policy in force at an instant, for anybody who is signed in; None before the first."""
    row = _version(session, at)
    return (row.version, row.effective_at, promises_of(row.document)) if row else None


def policy_board(session: Session, *, at: datetime, now: datetime) -> Board | None:
    """Return how the promises stood at an instant; at ``now``, how they stand. None before the first version."""
    row = _version(session, at)
    if row is None:
        return None
    runs = select(func.max(CheckRun.finished_at)).where(CheckRun.finished_at <= at)
    checked = session.scalar(runs)
    asked = session.scalar(select(CheckRun.asked_at).where(CheckRun.finished_at.is_(None)))
    known = _at(session, at) if at < now else _now(session, now)
    rows = tuple(known.get(each.id) or _never(each) for each in promises_of(row.document))
    told = {each.id: each for each in promises_of(row.document)}
    rows = tuple(_named(each, told) for each in rows)
    return Board(row.version, row.effective_at, rows, checked, asked if at >= now else None)


def worst_promise(session: Session, *, now: datetime) -> tuple[State, Mapping[State, int], PromiseRow | None] | None:
    """Return the worst state, counts by state, and the first promise that stands so; None where nobody may see it."""
    if session.scalar(text("select staff.my_role()")) not in ("privacy_officer", "admin", "auditor"):
        return None
    board = policy_board(session, at=now, now=now)
    if board is None:
        return None
    first = next((row for row in board.rows if row.state is board.worst), None)
    return board.worst, board.counts, first


def promise_history(session: Session, promise: str, *, at: datetime) -> tuple[StateChange, ...]:
    """Return the last changes of a promise until an instant, newest first."""
    listed = select(PromiseCheck).where(PromiseCheck.promise == promise, PromiseCheck.at <= at)
    rows = session.scalars(listed.order_by(PromiseCheck.at.desc()).limit(HISTORY))
    return tuple(StateChange(row.at, row.before, row.state, _restored(row.evidence)) for row in rows)


def attestations(session: Session, *, now: datetime) -> tuple[AttestationRow, ...]:
    """Return every attestation, newest first; of each promise and place the newest one counts."""
    names = {row.id: row.name for row in session.execute(text("select * from privacy.attestation_owners()"))}
    seen: set[tuple[str, str]] = set()
    found = []
    for row in session.scalars(select(Attestation).order_by(Attestation.given_at.desc(), Attestation.id.desc())):
        standing = (
            row.withdrawn_at is None
            and (row.promise, row.place) not in seen
            and row.expires_on > now.astimezone(UTC).date()
        )
        if row.withdrawn_at is None:
            seen.add((row.promise, row.place))
        found.append(AttestationRow(row.id, row.promise, row.place, row.statement, row.owner_id, names.get(row.owner_id, "–"),
                                    names.get(row.given_by, "–"), row.given_at, row.expires_on, row.withdrawn_at, standing))  # fmt: skip
    return tuple(found)


def attestation_owners(session: Session) -> dict[uuid.UUID, str]:
    """Return id → name of those who may answer for an attestation: privacy officers and admins with an account."""
    rows = session.execute(text("select * from privacy.attestation_owners() where works order by lower(name), id"))
    return {row.id: row.name for row in rows}


def promise_alerts(session: Session) -> tuple[AlertRow, ...]:
    """Return the last alerts, newest first."""
    rows = session.scalars(select(PromiseAlert).order_by(PromiseAlert.made_at.desc(), PromiseAlert.id).limit(HISTORY))
    return tuple(AlertRow(r.promise, r.kind, r.channel, r.state, r.made_at, r.sent_at, r.error) for r in rows)


def sample_draws(session: Session) -> tuple[Draw, ...]:
    """Return the samples that were drawn, newest first."""
    names = {row.id: row.name for row in session.execute(text("select id, name from staff.directory()"))}
    rows = session.scalars(select(SampleDraw).order_by(SampleDraw.drawn_at.desc()).limit(50))
    return tuple(Draw(r.id, r.seed, r.size, r.closed_from, r.closed_to, r.population, len(r.requests), names.get(r.drawn_by, "–"),
                      r.drawn_at) for r in rows)  # fmt: skip


def sampled_requests(session: Session, draw_id: uuid.UUID) -> tuple[SampledRequest, ...]:
    """Return the requests of a draw with their evidence, in the order of the draw."""
    found = session.execute(text("select * from privacy.sample_evidence(:id)"), {"id": draw_id})
    return tuple(_sampled(dict(row._mapping)) for row in found)


def _sampled(values: dict[str, Any]) -> SampledRequest:
    """One row of the function; its lists come as JSON."""
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    del plain["place"]
    return SampledRequest(**plain)


def _version(session: Session, at: datetime) -> PolicyVersion | None:
    newest = select(PolicyVersion).where(PolicyVersion.effective_at <= at).order_by(PolicyVersion.effective_at.desc())
    return session.scalars(newest.limit(1)).first()


def _now(session: Session, now: datetime) -> dict[str, PromiseRow]:
    found = {}
    for row in session.scalars(select(PromiseState)):
        evidence, state = _restored(row.evidence), State(row.state)
        if row.checked_at <= now - STALE:
            old = not_proven(
                f"The last check was on {row.checked_at:%-d %b %Y, %H:%M} UTC; evidence that old proves nothing."
            )
            evidence, state = (old, *evidence), State.BROKEN if state is State.BROKEN else State.NOT_PROVEN
        found[row.promise] = PromiseRow(
            _unnamed(row.promise), state, row.since, row.checked_at, row.proven_at, evidence
        )
    return found


def _at(session: Session, at: datetime) -> dict[str, PromiseRow]:
    """By the newest change until then. When it was checked last follows from the runs."""
    newest = (
        select(PromiseCheck).where(PromiseCheck.at <= at).ext(distinct_on(PromiseCheck.promise)).order_by(PromiseCheck.promise, PromiseCheck.at.desc(), PromiseCheck.id.desc())
    )  # fmt: skip
    run = session.scalar(select(func.max(CheckRun.finished_at)).where(CheckRun.finished_at <= at))
    found = {}
    for row in session.scalars(newest):
        state, checked = State(row.state), run or row.at
        evidence = _restored(row.evidence)
        if checked <= at - STALE:
            old = not_proven(f"The last check before that was on {checked:%-d %b %Y, %H:%M} UTC.")
            evidence, state = (old, *evidence), State.BROKEN if state is State.BROKEN else State.NOT_PROVEN
        found[row.promise] = PromiseRow(_unnamed(row.promise), state, row.at, checked, None, evidence)
    return found


def _restored(kept: Sequence[Mapping[str, Any]]) -> tuple[Evidence, ...]:
    return tuple(restored(each) for each in kept)


def _unnamed(promise: str) -> Promise:
    return Promise(promise, "", "", "", {})


def _named(row: PromiseRow, told: Mapping[str, Promise]) -> PromiseRow:
    return PromiseRow(told[row.promise.id], row.state, row.since, row.checked_at, row.proven_at, row.evidence)


def _never(promise: Promise) -> PromiseRow:
    nothing = not_proven("It was not checked until then: no run of the worker is on record.")
    return PromiseRow(promise, State.NOT_PROVEN, None, None, None, (nothing,))
