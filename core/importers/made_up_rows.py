"""The rows of the made-up school, table by table, as blocks of binary COPY; and the few records that hang on a person.

Ages stand in the consent record only. Addresses lie below reserved domains; nobody here exists.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from core.importers.blocks import Array, Cells, block, ids, numbers, numerics, texts, words
from core.importers.made_up import DAY, HOUR, RECENT_DAYS, Catalog, Chunk, Enrollments, People, Visitors, uuid7s
from core.importers.made_up_work import Learning
from core.importers.sizes import Sizes
from core.models import platform as p
from core.models import privacy as v
from core.models.base import Base

SOURCE = "generated"
CONSENT_STATE = ("not needed", "missing", "given", "verified", "withdrawn", "requested", "refused")
METHOD = ("signed form", "video call")
NOTICES = (-105, -74, -41, -12)
KINDS_OF_MAIL = ("enrollment confirmation", "policy notice", "security notice")
OUTCOMES = ("sent", "bounced", "failed")
GOOD = ("Clear and well tested.", "Works, and reads well.", "Nice: small functions, good names.", "Passed. Think about the empty file next time.",
        "All good; see my note on naming.", "Solid work.")  # fmt: skip
BAD = ("Please handle the empty input, then hand it in again.", "The tests do not run here.", "Half of the task is missing.",
       "Results are wrong for negative numbers.", "Please split the long function.", "It stops with an error at the start.")  # fmt: skip
HEADLINES = (
    "Learning after work",
    "Back to code",
    "Career change",
    "Junior developer",
    "Analyst",
    "Curious",
    "Father of two",
    "Night owl",
)
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64)",
    "Mozilla/5.0 (iPhone)",
    "Mozilla/5.0 (Windows NT 10.0)",
    "Mozilla/5.0 (Macintosh)",
)
MESSAGES = (
    "When does the next cohort start?",
    "Is it possible beside a full-time job?",
    "Do I need to know how to program?",
    "What does it cost?",
)
LESSONS = tuple(f"lesson {number}" for number in range(1, 41))
Hashes = Callable[[str, str], tuple[bytes, bytes]]


@dataclass(frozen=True)
class Block:
    """Some rows of one table."""

    model: type[Base]
    columns: tuple[str, ...]
    rows: int
    content: bytes


@dataclass(frozen=True)
class Setting:
    """What the rows of every chunk need besides the chunk: ``owners`` are ids of program staff who follow visitors up."""

    known: Catalog
    sizes: Sizes
    now: int
    hashes: Hashes
    owners: Sequence[bytes]


def blocks(chunk: Chunk, learned: Learning, setting: Setting) -> Iterator[Block]:
    """Yield the rows of a chunk in an order that foreign keys allow."""
    people, rng = chunk.people, chunk.rng
    yield _students(people, setting)
    yield _profiles(people, rng, setting.now)
    yield from _consents(people, rng, setting.now)
    yield from _money(people, rng, setting)
    yield from _visitors(chunk.visitors, rng, setting)
    yield _enrollments(chunk.enrollments, setting.known)
    yield from _learning(chunk.enrollments, learned, rng, setting)
    yield _mails(chunk, rng, setting)


def _block(model: type[Base], rows: int, **columns: Cells) -> Block:
    return Block(model, tuple(columns), rows, block(list(columns.values())))


def _source(rows: int) -> Cells:
    return words(np.zeros(rows, np.int64), (SOURCE,))


def _time(values: Array) -> Cells:
    """Times of which -1 is none."""
    return numbers(values, "i8", values >= 0)


def _day(values: Array) -> Cells:
    """Days of which -1 is none."""
    return numbers(values, "i4", values >= 0)


def _students(people: People, setting: Setting) -> Block:
    keys = [f"{setting.sizes.seed}-{number}" for number in people.number.tolist()]
    hashes = [setting.hashes(email, f"{SOURCE}:{key}") for email, key in zip(people.emails, keys, strict=True)]
    return _block(
        p.Student, len(keys), id=ids(people.id), name=texts(people.names), email=texts(people.emails),
        experience_level=words(people.level, p.EXPERIENCE_LEVELS), account_status=words((people.closed >= 0) * 1, ("open", "closed")),
        registered_at=_time(people.registered), closed_at=_time(people.closed), email_hash=texts([e for e, _ in hashes]),
        provider_hash=texts([k for _, k in hashes]), source=_source(len(keys)), source_key=texts(keys),
    )  # fmt: skip


def _profiles(people: People, rng: Generator, now: int) -> Block:
    some = np.flatnonzero(rng.random(len(people.number)) < 0.35)
    many, number = len(some), people.number[some].tolist()
    out = np.where(
        rng.random(many) < 0.04, now - (rng.random(many) * (now - people.registered[some])).astype(np.int64), -1
    )
    return _block(
        p.StudentProfile, many, student_id=ids(people.id[some]), phone=texts([f"+49 000 {each:07}" for each in number]),
        headline=words(rng.integers(0, len(HEADLINES), many), HEADLINES),
        link=texts([None if each % 3 else "https://example.org/me" for each in number]),
        avatar_url=texts([None if each % 2 else f"https://images.example.org/{each}.png" for each in number]), opted_out_at=_time(out),
    )  # fmt: skip


def _consents(people: People, rng: Generator, now: int) -> Iterator[Block]:
    """Adults (a yes and no date), one in forty below 18 with a parent and a consent in every state, one in thirty who never said (one in
    five of them was asked)."""
    many, today = len(people.number), now // DAY
    kind = rng.choice(5, many, p=(0.695, 0.245, 0.035, 0.0249, 0.0001))  # born, declared, silent, minor, under 16
    years = np.where(kind == 3, rng.uniform(16, 17.99, many), np.where(kind == 4, rng.uniform(13, 15.9, many), 18.05 + rng.gamma(2.2, 5.5, many).clip(0, 60)))  # fmt: skip
    minor = kind >= 3
    state = np.where(
        kind == 3,
        rng.choice((3, 2, 1, 4, 5, 6), many, p=(0.7, 0.08, 0.08, 0.04, 0.07, 0.03)),
        np.where(kind == 4, 1, 0),
    )
    parent = np.flatnonzero(minor)
    guardian = np.zeros((many, 16), np.uint8)
    guardian[parent] = uuid7s(people.registered[parent], rng)
    checked = np.minimum(people.registered + (rng.gamma(2, 1.5, many) * DAY).astype(np.int64), now - HOUR)
    asked = (kind == 2) & (rng.random(many) < 0.2)
    requested, entered = minor & np.isin(state, (2, 3, 4, 5, 6)), minor & np.isin(state, (2, 3))
    yield _block(
        v.Guardian, len(parent), id=ids(guardian[parent]), student_id=ids(people.id[parent]),
        name=texts([f"Parent of {people.names[each]}" for each in parent.tolist()]),
        email=texts([f"parent.{number}@guardians.example" for number in people.number[parent].tolist()]),
    )  # fmt: skip
    yield _block(
        v.Consent, many, student_id=ids(people.id), birth_date=numbers((today - years * 365.25).astype(np.int64), "i4", minor),
        adult=numbers(np.ones(many), "b1", kind <= 1), declared_at=numbers(people.registered, "i8", kind != 2),
        asked_at=numbers(np.maximum(people.registered, now - 20 * DAY), "i8", asked), answer_by=numbers(np.full(many, now + 10 * DAY), "i8", asked),
        guardian_id=ids(guardian, minor), state=words(state, CONSENT_STATE), requested_at=numbers(people.registered, "i8", requested),
        method=words(people.number % 2, METHOD, entered), entered_at=numbers(np.maximum(checked - HOUR, people.registered), "i8", entered),
        verified_at=numbers(checked, "i8", minor & (state == 3)), source=_source(many),
    )  # fmt: skip


def _money(people: People, rng: Generator, setting: Setting) -> Iterator[Block]:
    """Subscriptions of whole months, open-ended or lapsed, and a payment or two for each."""
    some = np.flatnonzero(rng.random(len(people.number)) < 0.6)
    many, opened = len(some), people.registered[some]
    first = opened // DAY
    last = np.where(rng.random(many) < 0.2, -1, first + 30 * rng.choice((3, 6, 12, 24), many, p=(0.2, 0.35, 0.35, 0.1)))
    yield _block(p.Subscription, many, id=ids(uuid7s(opened, rng)), student_id=ids(people.id[some]), starts_on=_day(first), ends_on=_day(last),
                 source=_source(many))  # fmt: skip
    who = np.repeat(np.arange(many), rng.choice((1, 2, 3), many, p=(0.7, 0.22, 0.08)))
    place = np.arange(len(who)) - np.searchsorted(who, who)
    paid = opened[who] + HOUR + place * 30 * DAY
    who, place, paid = who[paid < setting.now], place[paid < setting.now], paid[paid < setting.now]
    refs = [
        f"gen-{setting.sizes.seed}-{number}-{turn}"
        for number, turn in zip(people.number[some][who].tolist(), place.tolist(), strict=True)
    ]
    yield _block(
        p.Payment, len(who), id=ids(uuid7s(paid, rng)), student_id=ids(people.id[some][who]), paid_at=_time(paid),
        amount_cents=numbers(rng.choice((1900, 4900, 9900, 24900), len(who), p=(0.2, 0.5, 0.2, 0.1)), "i4"), currency=words(place * 0, ("EUR",)),
        gateway_ref=texts(refs), source=_source(len(who)),
    )  # fmt: skip


def _visitors(visitors: Visitors, rng: Generator, setting: Setting) -> Iterator[Block]:
    many, known = len(visitors.number), setting.known
    keys = [f"{setting.sizes.seed}-{number}" for number in visitors.number.tolist()]
    hashes = [
        setting.hashes(email, f"{SOURCE}:visitor:{key}") for email, key in zip(visitors.emails, keys, strict=True)
    ]
    owners = np.frombuffer(b"".join(setting.owners) or bytes(16), np.uint8).reshape(-1, 16)
    owned = (visitors.status == 2) & (visitors.next_contact >= 0) & bool(setting.owners)
    yield _block(
        p.Visitor, many, id=ids(visitors.id), name=texts(visitors.names), email=texts(visitors.emails),
        program_id=ids(known.program_id[visitors.program], visitors.program >= 0),
        experience_level=words(visitors.level, p.EXPERIENCE_LEVELS), message=words(visitors.level, MESSAGES),
        status=words(visitors.status, p.VISITOR_STATUS), owner_id=ids(owners[rng.integers(0, len(owners), many)], owned),
        next_contact_on=_day(visitors.next_contact), asked_at=_time(visitors.asked), answered_at=_time(visitors.answered),
        email_hash=texts([e for e, _ in hashes]), provider_hash=texts([k for _, k in hashes]), source=_source(many), source_key=texts(keys),
    )  # fmt: skip
    addresses = [f"203.0.113.{each}" for each in rng.integers(1, 255, many).tolist()]
    yield _block(
        p.VisitorDevice,
        many,
        visitor_id=ids(visitors.id),
        user_agent=words(visitors.level, AGENTS),
        address=texts(addresses),
    )


def _enrollments(made: Enrollments, known: Catalog) -> Block:
    return _block(
        p.Enrollment, len(made.number), id=ids(made.id), student_id=ids(made.student_id), cohort_id=ids(known.cohort_id[made.cohort]),
        program_id=ids(known.program_id[known.program[made.cohort]]), status=words(made.status, p.ENROLLMENT_STATUS),
        enrolled_at=_time(made.enrolled), started_at=_time(made.started), withdrawn_at=_time(made.withdrawn),
        confirmed_at=_time(made.confirmed), source=_source(len(made.number)),
    )  # fmt: skip


def _learning(made: Enrollments, learned: Learning, rng: Generator, setting: Setting) -> Iterator[Block]:
    known = setting.known

    def of(row: Array) -> dict[str, Cells]:
        return {"enrollment_id": ids(made.id[row]), "cohort_id": ids(known.cohort_id[made.cohort[row]])}

    def module(row: Array, position: Array) -> Cells:
        return ids(known.module_id[known.program[made.cohort[row]], position])

    progress, outcomes, clicks = learned.progress, learned.outcomes, learned.clicks
    born = np.where(progress.started >= 0, progress.started, made.started[progress.row])
    yield _block(
        p.ModuleProgress, len(born), id=ids(uuid7s(born, rng)), **of(progress.row), module_id=module(progress.row, progress.position),
        status=words(progress.status, p.PROGRESS_STATUS), score=numerics(progress.score, progress.score >= 0),
        started_at=_time(progress.started), done_at=_time(progress.done), active_at=_time(progress.active),
    )  # fmt: skip
    yield from _work(made, learned, rng, setting, of, module)
    yield _block(p.Result, len(outcomes.row), **of(outcomes.row), kind=words(outcomes.kind, p.RESULT_KINDS), decided_at=_time(outcomes.decided),
                 source=_source(len(outcomes.row)))  # fmt: skip
    given = outcomes.issued >= 0
    row, issued, kind = outcomes.row[given], outcomes.issued[given], outcomes.kind[given]
    certified = [f"RC-{setting.sizes.seed}-{number}" for number in made.number[row].tolist()]
    yield _block(
        p.Certificate, len(row), id=ids(uuid7s(issued, rng)), **of(row), number=texts(certified), honors=numbers(kind == 0, "b1"),
        issued_at=_time(issued), url=texts([f"https://certificates.example.org/{each}" for each in certified]), source=_source(len(row)),
    )  # fmt: skip
    yield _block(
        p.UsageEvent, len(clicks.row), at=_time(clicks.at), id=ids(uuid7s(clicks.at, rng)), **of(clicks.row),
        kind=words(clicks.lesson * 0, ("page viewed",)), item=words(clicks.lesson, LESSONS), clicks=numbers(clicks.clicks, "i4"),
        source=_source(len(clicks.row)),
    )  # fmt: skip


def _work(
    made: Enrollments, learned: Learning, rng: Generator, setting: Setting, of: Callable[[Array], Any], module: Callable[[Array, Array], Cells]
) -> Iterator[Block]:  # fmt: skip
    work = learned.work
    handed_in = uuid7s(work.submitted, rng)
    urls = [
        f"https://submissions.example.org/{setting.sizes.seed}/{number}/{position}/{attempt}"
        for number, position, attempt in zip(made.number[work.row].tolist(), work.position.tolist(), work.attempt.tolist(), strict=True)
    ]  # fmt: skip
    yield _block(
        p.Submission, len(urls), id=ids(handed_in), **of(work.row), module_id=module(work.row, work.position), attempt=numbers(work.attempt, "i2"),
        submitted_at=_time(work.submitted), status=words(work.status, p.SUBMISSION_STATUS), score=numerics(work.score, work.score >= 0),
        url=texts(urls), source=_source(len(urls)),
    )  # fmt: skip
    read = work.reviewed >= 0
    row, reviewed, passed = work.row[read], work.reviewed[read], work.status[read] == 1
    comment = rng.integers(0, len(GOOD), len(row)) + np.where(passed, 0, len(GOOD))
    yield _block(
        p.CodeReview, len(row), id=ids(uuid7s(reviewed, rng)), submission_id=ids(handed_in[read]), **of(row), reviewed_at=_time(reviewed),
        passed=numbers(passed, "b1"), comment=words(comment, GOOD + BAD),
    )  # fmt: skip


def _mails(chunk: Chunk, rng: Generator, setting: Setting) -> Block:
    """Confirmations of the last months, and notices to those who were there on the day."""
    made, people, now = chunk.enrollments, chunk.people, setting.now
    new = np.flatnonzero(made.enrolled > now - RECENT_DAYS * DAY)
    outcome = np.where(made.confirmed[new] < 0, 1, 0)
    told = np.repeat(
        np.arange(len(people.number)), (setting.sizes.mails + rng.random(len(people.number))).astype(np.int64)
    )
    days = np.array(NOTICES)[rng.integers(0, len(NOTICES), len(told))]
    at = (now // DAY + days) * DAY + 9 * HOUR + (rng.random(len(told)) * 3 * HOUR).astype(np.int64)
    there = people.registered[told] < at
    told, at = told[there], at[there]
    sent = np.concatenate((made.enrolled[new] + 40_000_000, at))
    emails = [made.emails[each] for each in new.tolist()] + [people.emails[each] for each in told.tolist()]
    kind = np.concatenate((new * 0, 1 + (rng.random(len(told)) < 0.2)))
    missed = rng.choice(3, len(told), p=(0.97, 0.02, 0.01))
    return _block(
        p.EmailLog, len(sent), sent_at=_time(sent), id=ids(uuid7s(sent, rng)),
        student_id=ids(np.concatenate((made.student_id[new], people.id[told]))), kind=words(kind, KINDS_OF_MAIL), address=texts(emails),
        outcome=words(np.concatenate((outcome, missed)), OUTCOMES), source=_source(len(sent)),
    )  # fmt: skip
