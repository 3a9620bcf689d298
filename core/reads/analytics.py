"""Anonymized figures: tables, cohorts, comparisons, and what stands behind them. Reads schema ``anon`` and nothing else.

The same for everybody who is signed in, on any day; the rules stand in core.anon.reader.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.anon.method import CohortEnd, Domain, Method, adopted
from core.anon.periods import Period, quarter_of
from core.anon.reader import (
    Answer,
    Cell,
    Comparison,
    Question,
    ReleasedFigure,
    Shape,
    Share,
    Sum,
    compare,
    shape_of,
    share,
    shown,
    sums,
    unavailable,
)
from core.anon.workload import SMALL_SITE, Family, lifetime_cost
from core.errors import BadInput
from core.models.anon import LedgerEntry, Release, ReleasedCell
from core.models.anon import Method as MethodRow

__all__ = ["Answer", "Comparison", "Question", "ReleasedFigure", "Share"]


@dataclass(frozen=True)
class ReleaseLine:
    """One release as it is listed. ``spent`` and ``total``: what it, and all up to it, can have cost an account (squared mu)."""

    family: str
    period: str
    published: date
    method: str
    sigma: float
    mechanism: str
    cells: int
    spent: float
    total: float
    content_sha256: str


@dataclass(frozen=True)
class AnalyticsState:
    """What stands behind the figures. ``budget`` is mu squared; ``lifetime`` what one account can spend of it in its life at
    most. ``programs`` is by code; ``closes`` is when the next quarter can be published. Empty before the first release."""

    version: str
    mu: float
    budget: float
    lifetime: float
    yearly_only: bool
    families: tuple[Family, ...]
    programs: dict[str, str]
    cohorts: tuple[CohortEnd, ...]
    experience: tuple[str, ...]
    releases: tuple[ReleaseLine, ...]

    @property
    def newest(self) -> ReleaseLine | None:
        """The release of the latest period."""
        return max(self.releases, key=lambda line: (line.published, line.period), default=None)

    @property
    def left(self) -> float:
        """The part of the budget that no release can ever take, in percent."""
        return 100 * max(self.budget - self.lifetime, 0) / self.budget if self.budget else 100.0


@dataclass(frozen=True)
class CohortFigures:
    """A cohort that has ended: learners, those who reached half and all of the program, and the shares."""

    cohort: str
    program: str
    quarter: str
    learners: ReleasedFigure
    half: ReleasedFigure
    whole: ReleasedFigure
    half_share: Share
    whole_share: Share


def released_figures(session: Session, question: Question) -> Answer:
    """Return the table that answers a question, or why it is not offered."""
    asked, methods = question.canonical, adopted(session)
    shape = shape_of(asked, yearly_only=_yearly_only(methods))
    if isinstance(shape, str):
        return Answer(asked, refused=shape)
    found = sums(asked, shape, _cells(session, shape), _domain(methods))
    return Answer(asked, tuple(shown(each) for each in found))


def unavailable_filters(session: Session, question: Question, dimensions: Iterable[str]) -> dict[str, str]:
    """Return, for each dimension by which a question cannot be narrowed, the reason."""
    return unavailable(question.canonical, dimensions, yearly_only=_yearly_only(adopted(session)))


def cohort_figures(session: Session, *, program: str | None = None) -> tuple[CohortFigures, ...]:
    """Return the cohorts that have ended and are published, newest first."""
    domain = _domain(adopted(session))
    where = (("program", (program,)),) if program else ()
    learners = _by_key(session, Question("enrollments", ("cohort",), where), domain)
    reached = _by_key(session, Question("milestones", ("cohort", "milestone"), where), domain)
    titles = {cohort.code: cohort for cohort in domain.cohorts}
    listed = []
    for (code,), base in learners.items():
        half, whole = reached[code, "50"], reached[code, "100"]
        listed.append(
            CohortFigures(
                titles[code].title, domain.programs.get(titles[code].program, ""), titles[code].quarter,
                shown(base), shown(half), shown(whole), share(half, base), share(whole, base),
            )
        )  # fmt: skip
    return tuple(sorted(listed, key=lambda line: (line.quarter, line.cohort), reverse=True))


def compare_programs(
    session: Session, *, family: str, one: str, other: str, milestone: str | None = None, time: str = "quarter"
) -> tuple[Comparison, ...]:
    """Return two programs (codes) side by side, period by period, with the margin of each difference.

    Raises BadInput for a comparison that is not offered.
    """
    domain = _domain(adopted(session))
    where = (("milestone", (milestone,)),) if milestone else ()
    found = _by_key(session, Question(family, ("program", time), where), domain)
    periods = sorted({keys[1] for keys in found})
    if any(program not in domain.programs for program in (one, other)):
        raise BadInput("Compare two programs that are published.")
    return tuple(compare(found[one, period], found[other, period], period=period) for period in periods)


def latest_changes(
    session: Session, *, family: str, milestone: str | None = None, time: str = "quarter"
) -> dict[str, Comparison]:
    """Return, for each program (code), its newest period beside the one before; empty before there are two."""
    domain = _domain(adopted(session))
    where = (("milestone", (milestone,)),) if milestone else ()
    found = _by_key(session, Question(family, ("program", time), where), domain)
    periods = sorted({keys[1] for keys in found})[-2:]
    if len(periods) < 2:
        return {}
    before, now = periods
    return {code: compare(found[code, now], found[code, before], period=now) for code in domain.programs}


def analytics_state(session: Session) -> AnalyticsState:
    """Return method, domain, budget and releases. Before the first release: the empty state."""
    methods = adopted(session)
    listed = (
        select(
            Release.family, Release.period, Release.published, Release.method, Release.sigma, Release.mechanism,
            Release.cells, LedgerEntry.spent, LedgerEntry.total, Release.content_sha256,
        )
        .join(LedgerEntry, LedgerEntry.release_id == Release.id)
        .order_by(Release.id)
    )  # fmt: skip
    releases = tuple(ReleaseLine(*tuple(row)) for row in session.execute(listed))
    if not methods:
        return AnalyticsState("", 1.0, 1.0, 0.0, False, (), {}, (), (), ())
    newest, domain = methods[-1], _domain(methods)
    return AnalyticsState(
        version=newest.version,
        mu=newest.mu,
        budget=newest.mu**2,
        lifetime=lifetime_cost([method.families for method in methods]),
        yearly_only=_yearly_only(methods),
        families=newest.families,
        programs=dict(domain.programs),
        cohorts=domain.cohorts,
        experience=domain.experience,
        releases=releases,
    )


def published_mark(session: Session) -> str | None:
    """Return what changes when, and only when, another release or version of the method stands here; None before the first release, and for
    those who may not read them. Releases never change, so that with the same mark every answer of this module is the same."""
    newest = select(Release.content_sha256).order_by(Release.id.desc()).limit(1)
    versions = select(func.count(MethodRow.version)), select(func.max(MethodRow.content_sha256))
    asked = select(*(one.scalar_subquery() for one in (newest, select(func.count(Release.id)), *versions)))
    row = session.execute(asked).one()
    return None if row[0] is None else " ".join(map(str, row))


def next_closing(today: date) -> Period:
    """Return the next quarter that closes after a day."""
    quarter = quarter_of(today)
    while quarter.closes_on > today:
        quarter = Period(quarter.year - (quarter.quarter == 1), (quarter.quarter - 2) % 4 + 1)
    return quarter.next


def _by_key(session: Session, question: Question, domain: Domain) -> dict[tuple[str, ...], Sum]:
    shape = shape_of(question.canonical)
    if isinstance(shape, str):
        raise BadInput(shape)
    return {each.keys: each for each in sums(question.canonical, shape, _cells(session, shape), domain)}


def _cells(session: Session, shape: Shape) -> list[Cell]:
    listed = (
        select(
            Release.period, Release.sigma, ReleasedCell.marginal, ReleasedCell.k1, ReleasedCell.k2, ReleasedCell.value,
            ReleasedCell.se,
        )
        .join(Release, Release.id == ReleasedCell.release_id)
        .where(Release.family == shape.family, ReleasedCell.marginal == shape.marginal)
        .order_by(Release.first_day, Release.id, ReleasedCell.k1, ReleasedCell.k2)
    )  # fmt: skip
    return [Cell(*row) for row in session.execute(listed)]


def _domain(methods: list[Method]) -> Domain:
    """Everything that any version names; the newest one has the last word on titles."""
    programs: dict[str, str] = {}
    cohorts: dict[str, CohortEnd] = {}
    levels: dict[str, None] = {}
    for method in reversed(methods):
        for code, title in method.domain.programs.items():
            programs.setdefault(code, title)
        for cohort in method.domain.cohorts:
            cohorts.setdefault(cohort.code, cohort)
        levels |= dict.fromkeys(method.domain.experience)
    return Domain(programs, tuple(cohorts.values()), tuple(levels))


def _yearly_only(methods: list[Method]) -> bool:
    return bool(methods) and methods[-1].capacity < SMALL_SITE
