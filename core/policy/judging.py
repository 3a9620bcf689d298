"""How every promise stands at an instant: the check behind it, and the word of people for what no program can see.

Danger: one check that hangs or fails takes the others along, and a board of yesterday looks like today's. Principle: every check
runs for itself; what could not be run is not proven. Mechanism: a savepoint and a statement timeout for each; any error becomes
evidence with a code, and the next check goes on. Nothing here writes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.errors import AdminError
from core.models.promises import Attestation
from core.models.staff import StaffMember
from core.policy.checks import CHECKS, Check, canaries
from core.policy.evidence import Evidence, State, not_proven, worst
from core.policy.promises import WARNING_DAYS, Promise, promises_of
from core.policy.versions import in_force

SECONDS = 20  # for one statement of a check
Vouched = Mapping[tuple[str, str], "Word"]


@dataclass(frozen=True)
class Judged:
    """How one promise stands: the worst of its places."""

    promise: Promise
    evidence: tuple[Evidence, ...]

    @property
    def state(self) -> State:
        """The worst state of all places."""
        return worst(each.state for each in self.evidence)

    @property
    def told(self) -> Evidence:
        """The evidence that makes the state: of the first place that is as bad as the whole."""
        return next(each for each in self.evidence if each.state is self.state)


@dataclass(frozen=True)
class Word:
    """The newest standing attestation of a place. ``works``: its owner still has an account."""

    given_at: datetime
    expires_on: date
    works: bool


def judge(session: Session, *, now: datetime, checks: Mapping[str, Check] = CHECKS) -> tuple[Judged, ...]:
    """Return how every promise of the version in force stands now."""
    document = session.scalar(
        text("select document from privacy.policy_version where version = :v"), {"v": in_force(session, now).version}
    )
    words = standing_words(session, now=now)
    return tuple(_judged(session, promise, checks, words, now) for promise in promises_of(document))


def standing_words(session: Session, *, now: datetime) -> Vouched:
    """Return the newest attestation of each promise and place that was not withdrawn by then."""
    given = (
        select(Attestation.promise, Attestation.place, Attestation.given_at, Attestation.expires_on, StaffMember.disabled_at)
        .join(StaffMember, StaffMember.id == Attestation.owner_id)
        .where(Attestation.withdrawn_at.is_(None), Attestation.given_at <= now)
        .order_by(Attestation.given_at)
    )  # fmt: skip
    return {(row[0], row[1]): Word(row[2], row[3], row[4] is None) for row in session.execute(given)}


def _judged(session: Session, promise: Promise, checks: Mapping[str, Check], words: Vouched, now: datetime) -> Judged:
    here = replace(_checked(session, promise, checks, now), place=promise.looks)
    vouched = [_vouched(place, what, words.get((promise.id, place)), now) for place, what in promise.attested.items()]
    watched = _canaries(session, promise, now)
    return Judged(promise, (here, *([watched] if watched else []), *vouched))


def _canaries(session: Session, promise: Promise, now: datetime) -> Evidence | None:
    """What synthetic people show, in a place of its own; what could not be asked is not proven."""
    found: list[Evidence | None] = []

    def ask(session: Session, now: datetime) -> Evidence:
        found.append(canaries.seen(session, promise.id, now))
        return found[-1] or not_proven("")

    asked = _run(session, ask, now)
    return found[-1] if found else replace(asked, place=canaries.PLACE)


def _checked(session: Session, promise: Promise, checks: Mapping[str, Check], now: datetime) -> Evidence:
    check = checks.get(promise.id)
    if check is None:
        return not_proven("This program has no check for it: the promise is newer than the program.")
    return _run(session, check, now)


def _run(session: Session, check: Check, now: datetime) -> Evidence:
    try:
        with session.begin_nested():
            session.execute(text(f"set local statement_timeout = '{int(SECONDS * 1000)}ms'"))
            return check(session, now)
    except AdminError as error:
        return not_proven(f"The check could not be run: {error.sentence}")
    except Exception as error:  # noqa: BLE001 - one check that fails must not stop the others; the kind of error is the evidence
        return not_proven(f"The check could not be run ({_kind(error)}).")


def _kind(error: BaseException) -> str:
    original: Any = getattr(error, "orig", None) or error
    return type(original).__name__


def _vouched(place: str, what: str, word: Word | None, now: datetime) -> Evidence:
    """What a person's word is worth now."""
    if word is None:
        return replace(not_proven(f"Nobody has attested it yet. {what}."), place=place)
    figures = {"attested": _day(word.given_at.date()), "until": _day(word.expires_on)}
    today = now.astimezone(UTC).date()
    if word.expires_on <= today:
        return replace(
            not_proven(f"The attestation lapsed on {_day(word.expires_on)}. {what}.", figures=figures), place=place
        )
    if not word.works:
        return Evidence(
            State.AT_RISK,
            "Whoever answers for the attestation has no account any more: renew it.",
            figures,
            place=place,
        )
    if word.expires_on <= today + timedelta(days=WARNING_DAYS):
        return Evidence(
            State.AT_RISK, f"The attestation lapses on {_day(word.expires_on)}: renew it.", figures, place=place
        )
    return Evidence(
        State.HOLDS,
        f"Attested on {_day(word.given_at.date())}, until {_day(word.expires_on)}. {what}.",
        figures,
        place=place,
    )


def _day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"
