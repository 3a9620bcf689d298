"""Small worlds for tests of anonymized releases: programs, cohorts and people with histories one can count by hand.

A world is three programs (A, B, C) of four modules each; every program has one cohort for each quarter of 2025 (``A-1`` …
``A-4``), which begins with that quarter and ends with the next one. Analytics begin on 1 January 2025.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy.orm import Session

from core.anon import noise
from core.anon.builder import Published, due_releases, publish
from core.anon.method import Configuration, read_configuration
from core.anon.periods import Period
from core.importers import loading
from core.importers.loading import make_months
from core.models import platform as p
from core.models import privacy as v
from core.models.requests import FINAL_STATES, Request

LEVELS = ("beginner", "intermediate", "advanced", "not stated")
PROGRAMS = ("A", "B", "C")
TODAY = date(2026, 2, 1)
load = partial(loading.load, now=datetime.combine(TODAY, time.min, UTC))
MODULES = 4


def make_id(*parts: object) -> uuid.UUID:
    """An id by name."""
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, parts)))


@dataclass(frozen=True)
class Place:
    """One enrollment: the days on which modules were done and on which something was looked at."""

    program: str
    cohort: int
    day: date
    done: tuple[date, ...] = ()
    seen: tuple[date, ...] = ()
    certificate: date | None = None


@dataclass(frozen=True)
class Person:
    """One account. ``request`` is (kind, state); ``consent`` a state of the consent record."""

    name: str
    places: tuple[Place, ...] = ()
    level: str = "beginner"
    closed: bool = False
    request: tuple[str, str] | None = None
    consent: str | None = None

    @property
    def id(self) -> uuid.UUID:
        """The id of the student."""
        return make_id("student", self.name)


@dataclass(frozen=True)
class Setting:
    """The configuration file of a world, changed as a test wants it."""

    version: str = "1"
    mu: float = 1
    capacity: int = 1000
    history_quarters: int = 4
    families: Mapping[str, Any] = field(
        default_factory=lambda: {
            "enrollments": {"sigma": 4, "at_most": 2},
            "milestones": {"sigma": 8, "at_most": 4},
            "activity": {"sigma": 6, "at_most": 8},
        }
    )
    programs: tuple[str, ...] = PROGRAMS

    def write(self, folder: Path) -> Configuration:
        """Write it as a file and read it as the product does."""
        programs = {
            code: {"title": f"Program {code}", "cohorts": [f"{code}-{n}" for n in range(1, 5)]}
            for code in self.programs
        }
        document = {
            "version": self.version, "mu": self.mu, "capacity": self.capacity, "history_quarters": self.history_quarters,
            "families": {name: dict(each) for name, each in self.families.items()}, "experience": list(LEVELS), "programs": programs,
        }  # fmt: skip
        file = folder / "analytics.yaml"
        file.write_text(yaml.safe_dump(document), encoding="utf-8")
        return read_configuration(file)

    def but(self, **changes: Any) -> "Setting":
        """The same with changes."""
        return replace(self, **changes)


def build(session: Session, people: Iterable[Person]) -> None:
    """Write catalog and people as the worker role."""
    _catalog(session)
    add_people(session, people)


def add_people(session: Session, people: Iterable[Person]) -> None:
    """Write people into a world that is there."""
    known = list(people)
    students = [
        (each.id, each.name, f"{each.id}@students.example", each.level, "closed" if each.closed else "open",
         _at(date(2024, 1, 1)), _at(date(2026, 1, 20)) if each.closed else None, each.id.bytes, each.id.bytes, "world")
        for each in known
    ]  # fmt: skip
    columns = ("id", "name", "email", "experience_level", "account_status", "registered_at", "closed_at", "email_hash",
               "provider_hash", "source")  # fmt: skip
    load(session, p.Student, columns, students)
    places = [(each, number, place) for each in known for number, place in enumerate(each.places)]
    load(session, p.Enrollment, ("id", "student_id", "cohort_id", "program_id", "status", "enrolled_at", "source"), [
        (make_id(each.name, number), each.id, make_id("cohort", place.program, place.cohort), make_id("program", place.program),
         "active", _at(place.day), "world")
        for each, number, place in places
    ])  # fmt: skip
    load(session, p.ModuleProgress, ("id", "enrollment_id", "cohort_id", "module_id", "status", "done_at"), [
        (uuid.uuid4(), make_id(each.name, number), make_id("cohort", place.program, place.cohort),
         make_id("module", place.program, module), "done", _at(day))
        for each, number, place in places
        for module, day in enumerate(place.done)
    ])  # fmt: skip
    seen = [(day, each, number, place) for each, number, place in places for day in place.seen]
    make_months(session, "usage_event", [day for day, *_ in seen])
    load(session, p.UsageEvent, ("at", "id", "enrollment_id", "cohort_id", "kind", "item", "clicks", "source"), [
        (_at(day), uuid.uuid4(), make_id(each.name, number), make_id("cohort", place.program, place.cohort), "page", "lesson", 1, "world")
        for day, each, number, place in seen
    ])  # fmt: skip
    load(session, p.Certificate, ("id", "enrollment_id", "cohort_id", "number", "honors", "issued_at", "source"), [
        (uuid.uuid4(), make_id(each.name, number), make_id("cohort", place.program, place.cohort), f"C-{each.name}-{number}", False,
         _at(place.certificate), "world")
        for each, number, place in places
        if place.certificate
    ])  # fmt: skip
    for each in known:
        if each.request:
            kind, state = each.request
            closed = _at(TODAY) if state in FINAL_STATES else None
            session.add(Request(kind=kind, state=state, student_id=each.id, received_at=_at(TODAY), filed_at=_at(TODAY),
                                due_at=_at(TODAY) + timedelta(days=30), closed_at=closed, source="world"))  # fmt: skip
        if each.consent:
            session.add(v.Consent(student_id=each.id, state=each.consent, source="world"))
    session.flush()


def _catalog(session: Session) -> None:
    load(session, p.Program, ("id", "code", "title", "source"), [
        (make_id("program", code), code, f"Program {code}", "world") for code in PROGRAMS
    ])  # fmt: skip
    quarters = {number: Period(2025, number) for number in range(1, 5)}
    load(session, p.Cohort, ("id", "program_id", "code", "title", "starts_on", "ends_on", "source"), [
        (make_id("cohort", code, number), make_id("program", code), f"{code}-{number}", f"{code} {number}", quarter.first_day,
         quarter.next.last_day, "world")
        for code in PROGRAMS
        for number, quarter in quarters.items()
    ])  # fmt: skip
    load(session, p.Module, ("id", "program_id", "position", "title", "kind", "source"), [
        (make_id("module", code, number), make_id("program", code), number + 1, f"M{number}", "exercise", "world")
        for code in PROGRAMS
        for number in range(MODULES)
    ])  # fmt: skip


def publish_all(session: Session, file: Configuration, *, today: date = TODAY) -> list[Published]:
    """Publish everything that is closed."""
    return [
        publish(session, file, family=each.family, period=each.period.name, today=today)
        for each in due_releases(session, file, today=today)
    ]


def without_noise(patch: Any, *, plus: int = 0) -> None:
    """Let the builder publish exact counts (plus a number): to see what is counted."""

    def measure(counts: Any, *, sigma: float, units: int) -> noise.Measured:
        return noise.Measured(tuple(int(each) + plus for each in counts), units / sigma**2)

    patch.setattr(noise, "measure", measure)


def _at(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)
