"""A school of any size, made up: its programs, cohorts, students, enrollments and visitors. Arrays only, no database.

Cohorts follow each other in time and draw their students from newcomers and from those who were there before, so that a
school of any size is made in chunks and never stands in memory as a whole. What is skewed in life is skewed here: some
programs are in demand, January and September are busy, few students come back often.

Times are microseconds and days whole days since 2000-01-01 (UTC). The same sizes, seed and ``now`` make the same school
(with the same numpy: its distributions may change between versions).
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
from faker import Faker
from numpy.random import Generator

from core.importers.blocks import Array
from core.importers.sizes import Sizes

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
UNIX_TO_EPOCH = 946_684_800_000
HOUR, DAY = 3_600_000_000, 86_400_000_000
FIRST_START, LAST_START = -1_100, 75
RECENT_DAYS = 120
PER_STUDENT = 1.3
IN_COHORT = 30
MOST_MODULES = 16
NEWCOMERS = 10_000
REMEMBERED = 40_000
IDLE, RETURNS_OFTEN = 0.04, 5
WITHDRAW, WITHDRAW_BEFORE_START = 0.115, 0.1
BOUNCED = 0.03
LOCALES = {"en_GB": 30, "de_DE": 22, "es_ES": 14, "tr_TR": 10, "fr_FR": 9, "pl_PL": 8, "it_IT": 4, "nl_NL": 3}
SUBJECTS = {
    "PY": "Python", "WEB": "Web", "DATA": "Data Analysis", "JAVA": "Java", "CLOUD": "Cloud", "SEC": "Security", "UX": "User Experience",
    "AI": "Machine Learning", "OPS": "Operations", "SQL": "Databases", "GO": "Go", "RUST": "Rust", "TEST": "Testing", "MOB": "Mobile",
    "GAME": "Game Design", "STAT": "Statistics", "NET": "Networks", "LEAD": "Team Lead", "PROD": "Product", "HW": "Embedded",
}  # fmt: skip
TRACKS = {
    "B": "Basics",
    "E": "Evenings",
    "P": "Professional",
    "I": "Intensive",
    "R": "Returners",
    "L": "Lab",
    "C": "Careers",
}
TOPICS = ("Setup", "Basics", "Lists", "Functions", "Files", "Testing", "Data", "Services", "Errors", "Teamwork", "Design", "Speed",
          "Security", "Delivery", "Review", "Final project")  # fmt: skip


@dataclass(frozen=True)
class Catalog:
    """Programs, modules and cohorts. ``module_id`` and ``project`` are by program and position; cohorts are in order of
    their start. ``size`` counts enrollments, ``newcomers`` new accounts, ``before`` the accounts of earlier cohorts."""

    codes: tuple[str, ...]
    titles: tuple[str, ...]
    program_id: Array
    weeks: Array
    modules: Array
    project: Array
    module_id: Array
    cohort_id: Array
    program: Array
    number: Array
    starts: Array
    ends: Array
    seats: Array
    size: Array
    newcomers: Array
    before: Array


@dataclass(frozen=True)
class People:
    """New accounts. ``closed`` is -1 for an open one; ``level`` and ``locale`` are places in their lists."""

    number: Array
    id: Array
    names: list[str]
    emails: list[str]
    level: Array
    registered: Array
    closed: Array


@dataclass(frozen=True)
class Enrollments:
    """Places in cohorts. ``status`` is a place in ENROLLMENT_STATUS; ``started``, ``withdrawn`` and ``confirmed`` are -1
    where there is none; ``student_id`` and ``emails`` are those of the students."""

    number: Array
    id: Array
    student_id: Array
    emails: list[str]
    cohort: Array
    status: Array
    enrolled: Array
    started: Array
    withdrawn: Array
    confirmed: Array


@dataclass(frozen=True)
class Visitors:
    """People who asked. ``answered`` and ``next_contact`` (a day) are -1 where there is none; ``program`` too."""

    number: Array
    id: Array
    names: list[str]
    emails: list[str]
    program: Array
    level: Array
    status: Array
    asked: Array
    answered: Array
    next_contact: Array


@dataclass(frozen=True)
class Chunk:
    """Some cohorts with whom they brought, and the random numbers for what follows from them."""

    people: People
    enrollments: Enrollments
    visitors: Visitors
    rng: Generator


@dataclass
class _Memory:
    """The newest students, who may come back: their number is ``first`` plus their place."""

    first: int = 0
    id: Array = field(default_factory=lambda: np.empty((0, 16), np.uint8))
    registered: Array = field(default_factory=lambda: np.empty(0, np.int64))
    emails: list[str] = field(default_factory=list)

    def remember(self, people: People) -> None:
        """Add newcomers and forget the oldest."""
        forgotten = max(len(self.emails) + len(people.emails) - REMEMBERED, 0)
        self.first += forgotten
        self.id = np.concatenate((self.id, people.id))[forgotten:]
        self.registered = np.concatenate((self.registered, people.registered))[forgotten:]
        self.emails = [*self.emails, *people.emails][forgotten:]


def instant(now: datetime) -> int:
    """Return the microseconds since the epoch of this module."""
    return (now - EPOCH) // timedelta(microseconds=1)


def uuid7s(times: Array, rng: Generator) -> Array:
    """Return a UUID of version 7 for each time, as rows of 16 bytes."""
    made = rng.integers(0, 256, (len(times), 16), dtype=np.uint8)
    made[:, :6] = (times // 1000 + UNIX_TO_EPOCH).astype(">i8").view(np.uint8).reshape(-1, 8)[:, 2:]
    made[:, 6] = made[:, 6] & 0x0F | 0x70
    made[:, 8] = made[:, 8] & 0x3F | 0x80
    return made


def catalog(sizes: Sizes, now: int) -> Catalog:
    """Return programs and cohorts that fit this many students; some cohorts run today and some start soon."""
    rng = np.random.default_rng([sizes.seed, 0])
    codes, titles = _programs(int(np.clip(round(4 * (sizes.students / 1000) ** 0.5), 3, len(SUBJECTS) * len(TRACKS))))
    modules = rng.integers(10, MOST_MODULES + 1, len(codes))
    weeks = rng.integers(12, 25, len(codes))
    places = np.full(len(codes), now - 1_200 * DAY)
    many = max(round(sizes.students * PER_STUDENT / IN_COHORT), 6)
    starts, program = _starts(many, now // DAY, rng), _in_demand(many, len(codes), rng)
    seats, size = _cohort_sizes(starts, now // DAY, rng)
    before = np.concatenate(([0], np.round(sizes.students * np.cumsum(size) / size.sum()).astype(np.int64)))
    return Catalog(
        codes, titles, uuid7s(places, rng), weeks, modules, _projects(modules, sizes.projects),
        uuid7s(np.repeat(places, MOST_MODULES), rng).reshape(len(codes), MOST_MODULES, 16),
        uuid7s(np.minimum(starts * DAY, now) - 90 * DAY, rng), program, _numbered(program), starts,
        starts + 7 * weeks[program] - 1, seats, size, np.diff(before), before[:-1],
    )  # fmt: skip


def chunks(known: Catalog, sizes: Sizes, now: int) -> Iterator[Chunk]:
    """Yield the school in the order of its cohorts, about ``NEWCOMERS`` new accounts at a time."""
    names, memory, enrollments, visitors = _Names(), _Memory(), 0, 0
    most = int(np.clip(sizes.students // 12, 40, NEWCOMERS))
    bounds = np.unique(np.searchsorted(known.before, np.arange(0, sizes.students, most)).clip(0, len(known.size) - 1))
    for place, (first, last) in enumerate(zip(bounds, [*bounds[1:], len(known.size)], strict=True), start=1):
        rng = np.random.default_rng([sizes.seed, place])
        cohorts = np.arange(first, last)
        made = _chunk(known, cohorts, sizes, now, names, memory, (enrollments, visitors), rng)
        enrollments += len(made.enrollments.number)
        visitors += len(made.visitors.number)
        yield made


def _programs(many: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    both = [(f"{s}-{t}", f"{SUBJECTS[s]} {TRACKS[t]}") for t in TRACKS for s in SUBJECTS][:many]
    return tuple(code for code, _ in both), tuple(title for _, title in both)


def _projects(modules: Array, many: int) -> Array:
    """The last module is a project; the others lie evenly before it."""
    position = np.arange(1, MOST_MODULES + 1)
    every = np.maximum(modules // max(many, 1), 1)[:, None]
    behind = modules[:, None] - position
    placed: Array = (behind >= 0) & (behind % every == 0) & (behind // every < many)
    return placed


def _starts(many: int, today: int, rng: Generator) -> Array:
    """Mondays, more of them lately and in busy seasons; evenly drawn, so that even a small school has running cohorts."""
    days = np.arange(FIRST_START, LAST_START + 1, 7) + today
    days = days - (days + 5) % 7  # day 0 was a Saturday
    of_year = (days % 365.25)[:, None]
    seasons = np.array([(262, 24, 1.6), (18, 16, 1.1), (120, 25, 0.5), (205, 25, -0.6)])
    season = 1 + (seasons[:, 2] * np.exp(-(((of_year - seasons[:, 0]) / seasons[:, 1]) ** 2) / 2)).sum(axis=1)
    weight = np.linspace(0.35, 1, len(days)) * season
    drawn = (np.arange(many) + rng.random(many)) / many
    return days[np.searchsorted(np.cumsum(weight) / weight.sum(), drawn)]


def _in_demand(many: int, programs: int, rng: Generator) -> Array:
    weight = 1 / (np.arange(programs) + 2) ** 0.7
    return rng.choice(programs, many, p=weight / weight.sum())


def _numbered(program: Array) -> Array:
    """The how-manieth cohort of its program each one is, from 1."""
    order = np.argsort(program, kind="stable")
    sorted_ = program[order]
    first = np.searchsorted(sorted_, sorted_)
    numbered = np.empty(len(program), np.int64)
    numbered[order] = np.arange(len(program)) - first + 1
    return numbered


def _cohort_sizes(starts: Array, today: int, rng: Generator) -> tuple[Array, Array]:
    """Seats and enrollments: 20 to 40, now and then a big one; cohorts that start later are not full yet."""
    size = rng.normal(IN_COHORT, 5, len(starts)).clip(18, 42)
    size = np.where(rng.random(len(starts)) < 0.002, size * rng.uniform(4, 10, len(starts)), size)
    fill = np.where(starts > today, 1 - 0.8 * (starts - today) / LAST_START * rng.random(len(starts)), 1)
    return (size // 5 * 5 + 5).astype(np.int64), np.maximum(np.round(size * fill), 2).astype(np.int64)


def _chunk(
    known: Catalog, cohorts: Array, sizes: Sizes, now: int, names: "_Names", memory: _Memory, made: tuple[int, int], rng: Generator
) -> Chunk:  # fmt: skip
    cohort = np.repeat(cohorts, known.newcomers[cohorts])
    enrolled = _enrolled(known.starts[cohort], now, rng)
    idle = rng.random(len(cohort)) < IDLE
    people = _people(int(known.before[cohorts[0]]), enrolled, sizes.seed, now, names, rng)
    memory.remember(people)
    back, again = _returning(known, cohorts, cohort[~idle], memory, rng)
    place = np.concatenate((people.number[~idle], back)) - memory.first
    enrollments = _enrollments(
        known,
        np.concatenate((cohort[~idle], again)),
        place,
        memory,
        np.concatenate((enrolled[~idle], _enrolled(known.starts[again], now, rng))),
        (made[0], now),
        rng,
    )
    return Chunk(people, enrollments, _visitors(people, known, sizes, made[1], now, names, rng), rng)


def _enrolled(starts: Array, now: int, rng: Generator) -> Array:
    """Most enroll some weeks before the start, a few after it, nobody in the future."""
    lead = rng.gamma(2, 11, len(starts)).clip(0.5, 75) * DAY
    late = rng.random(len(starts)) < 0.05
    lead = np.where(late, -rng.uniform(0, 6, len(starts)) * DAY, lead)
    latest = np.full(len(starts), now) - (rng.exponential(6, len(starts)) * DAY + 3 * HOUR)
    moments: Array = np.minimum(starts * DAY + 9 * HOUR - lead, latest).astype(np.int64)
    return moments


def _people(first: int, enrolled: Array, seed: int, now: int, names: "_Names", rng: Generator) -> People:
    many = len(enrolled)
    waited = np.where(rng.random(many) < 0.6, rng.uniform(0.01, 0.5, many) * HOUR, rng.exponential(5, many) * DAY)
    registered = (enrolled - waited).astype(np.int64)
    number = np.arange(first, first + many)
    called, spelled = names.draw(many, rng)
    emails = [f"{local}.{each}@students.example" for local, each in zip(spelled, number.tolist(), strict=True)]
    closed = (now - rng.uniform(0.01, 29.9, many) * DAY).astype(np.int64)
    leaves = (rng.random(many) < 0.0015) & (closed > registered + DAY)
    level = rng.choice(4, many, p=(0.46, 0.27, 0.09, 0.18))
    return People(number, uuid7s(registered, rng), called, emails, level, registered, np.where(leaves, closed, -1))


def _returning(known: Catalog, cohorts: Array, own: Array, memory: _Memory, rng: Generator) -> tuple[Array, Array]:
    """Students of earlier cohorts who fill the seats that newcomers leave; a few come back again and again."""
    free = known.size[cohorts] - np.bincount(own - cohorts[0], minlength=len(cohorts))
    cohort = np.repeat(cohorts, np.maximum(free, 0))
    earlier = np.maximum(known.before[cohort] - memory.first, 0)
    cohort, earlier = cohort[earlier > 0], earlier[earlier > 0]
    chosen = memory.first + (rng.random(len(cohort)) * earlier).astype(np.int64)
    often = (rng.random(len(cohort)) < 0.4) & (chosen - chosen % RETURNS_OFTEN >= memory.first)
    chosen = np.where(often, chosen - chosen % RETURNS_OFTEN, chosen)
    both = np.unique(np.stack((cohort, chosen)), axis=1)
    return both[1], both[0]


def _enrollments(
    known: Catalog, cohort: Array, place: Array, memory: _Memory, enrolled: Array, made: tuple[int, int], rng: Generator
) -> Enrollments:  # fmt: skip
    first, now = made
    enrolled = np.maximum(enrolled, memory.registered[place] + 60_000_000)
    begins, ends = known.starts[cohort] * DAY, (known.ends[cohort] + 1) * DAY
    withdrawn = _withdrawn(enrolled, begins, ends, now, rng)
    left = withdrawn >= 0
    begun = begins <= now
    started = np.where(begun & ~(left & (withdrawn < begins)), np.maximum(begins, enrolled), -1)
    status = np.where(left, 3, np.where(~begun, 0, np.where(ends <= now // DAY * DAY, 2, 1)))
    confirmed = np.where(rng.random(len(cohort)) < BOUNCED, -1, enrolled + 40_000_000)
    number = np.arange(first, first + len(cohort))
    emails = [memory.emails[each] for each in place.tolist()]
    return Enrollments(number, uuid7s(enrolled, rng), memory.id[place], emails, cohort, status, enrolled, started, withdrawn, confirmed)  # fmt: skip


def _withdrawn(enrolled: Array, begins: Array, ends: Array, now: int, rng: Generator) -> Array:
    """When people withdraw: mostly early, some before the first day; -1 for those who stay (until now)."""
    many = len(begins)
    from_ = np.maximum(begins, enrolled)
    later = from_ + rng.beta(1.2, 2.6, many) * (ends - from_ - DAY)
    before = enrolled + rng.uniform(0.05, 0.95, many) * np.maximum(begins - enrolled, HOUR)
    moment = np.where(rng.random(many) < WITHDRAW_BEFORE_START, before, later).astype(np.int64)
    return np.where((rng.random(many) < WITHDRAW) & (moment < now), moment, -1)


def _visitors(
    people: People, known: Catalog, sizes: Sizes, first: int, now: int, names: "_Names", rng: Generator
) -> Visitors:
    """Who asked around the time when these people came; one in seven became one of them, some ask twice."""
    many = int(len(people.number) * sizes.visitors + rng.random())
    whom = rng.integers(0, max(len(people.number), 1), many)
    asked = (people.registered[whom] - rng.exponential(6, many) * DAY - HOUR).astype(np.int64)
    called, spelled = names.draw(many, rng)
    number = np.arange(first, first + many)
    emails = [f"{local}.{each}@visitors.example" for local, each in zip(spelled, number.tolist(), strict=True)]
    for place in np.flatnonzero(rng.random(many) < 1 / 7).tolist():
        called[place], emails[place] = people.names[whom[place]], _spelled_otherwise(people.emails[whom[place]], place)
    for place in np.flatnonzero(rng.random(many) < 0.02).tolist():
        called[place], emails[place] = called[place - 1], emails[place - 1]
    status, answered, next_contact = _followed_up(asked, now, rng)
    program = np.where(rng.random(many) < 0.12, -1, _in_demand(many, len(known.codes), rng) if many else 0)
    level = rng.choice(4, many, p=(0.5, 0.2, 0.05, 0.25))
    return Visitors(number, uuid7s(asked, rng), called, emails, program, level, status, asked, answered, next_contact)


def _followed_up(asked: Array, now: int, rng: Generator) -> tuple[Array, Array, Array]:
    """Status (place in VISITOR_STATUS), when answered, day of the next contact: some wait, some contacts are overdue."""
    many = len(asked)
    after = asked + (rng.gamma(1.3, 0.8, many) * DAY).astype(np.int64)
    waits = (after > now) | (rng.random(many) < 0.003)
    status = np.where(waits, 0, rng.choice(3, many, p=(0.45, 0.25, 0.3)) + 1)
    soon = now // DAY + rng.integers(-9, 22, many)
    return status, np.where(waits, -1, after), np.where((status == 2) & (asked > now - 90 * DAY), soon, -1)


def _spelled_otherwise(email: str, place: int) -> str:
    return (email, email.title(), email.upper(), email.replace("@students", "@Students"))[place % 4]


class _Names:
    """Names of several languages: common ones often, rare ones now and then."""

    def __init__(self) -> None:
        self.parts: list[tuple[list[str], list[str]]] = []
        for number, locale in enumerate(LOCALES):
            faker = Faker(locale)
            faker.seed_instance(number)
            first = dict.fromkeys(faker.first_name() for _ in range(260))
            self.parts.append((list(first)[:120], list(dict.fromkeys(faker.last_name() for _ in range(500)))[:260]))
        self.share = np.array(list(LOCALES.values())) / sum(LOCALES.values())
        self.known: dict[str, str] = {}

    def draw(self, many: int, rng: Generator) -> tuple[list[str], list[str]]:
        """Return names, and their spelling in an address."""
        which = rng.choice(len(self.parts), many, p=self.share).tolist()
        first, last = rng.beta(0.8, 1.6, many).tolist(), rng.beta(0.7, 1.4, many).tolist()
        names = [_name(self.parts[w], one, other) for w, one, other in zip(which, first, last, strict=True)]
        return names, [self.spelled(name) for name in names]

    def spelled(self, name: str) -> str:
        """Only letters of an address, with one dot."""
        if name not in self.known:
            plain = unicodedata.normalize("NFKD", name.translate(_PLAIN)).encode("ascii", "ignore").decode().lower()
            self.known[name] = ".".join("".join(c for c in word if c.isalpha()) for word in plain.split(" ", 1))
        return self.known[name]


_PLAIN = str.maketrans({"ß": "ss", "ł": "l", "Ł": "L", "ı": "i", "ø": "o", "æ": "ae"})


def _name(parts: tuple[list[str], list[str]], first: float, last: float) -> str:
    return f"{parts[0][int(first * len(parts[0]))]} {parts[1][int(last * len(parts[1]))]}"
