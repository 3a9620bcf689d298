"""What is attacked: our releases, and small references of what others do. All answer the same questions.

A *system* is opened on a crowd and gives a reader. A reader answers ``ask(by, where)`` with a table as it is shown (nan: not
shown), tells what its author declares about errors (``bounds``, ``score``: they belong to the test, not to the code under
test), and what it becomes when the crowd changes behind it (``after``): a live table is made anew, a release is not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from core.anon import noise
from core.anon.builder import reconciled
from core.anon.consistency import Estimate
from core.anon.counting import Cell as Key
from core.anon.counting import partitions
from core.anon.method import Method
from core.anon.periods import Period, period_named
from core.anon.reader import Cell, Question, Share, shape_of, share, shown, sums
from core.anon.workload import Family, families
from tests.anon.crowd import COHORTS, DOMAIN, LEVELS, MONTHS, PROGRAMS, QUARTERS, SIZES, Crowd

Where = Mapping[str, frozenset[int]]
NOWHERE: Where = {}
BOUNDS = {"enrollments": (4.0, 2), "milestones": (8.0, 4), "activity": (6.0, 8)}
NAMES = {"program": PROGRAMS, "month": MONTHS, "quarter": QUARTERS, "level": LEVELS, "cohort": COHORTS}
DIMENSION = {"level": "experience"}
# Tables that are offered: the attacks look at all of them.
VIEWS = (
    ("program", "month"),
    ("program", "quarter"),
    ("program", "level"),
    ("cohort",),
    ("program",),
    ("quarter",),
    ("level",),
)
NEVER = -1e6


class Reader(Protocol):
    """What can be asked of a system."""

    def ask(self, by: tuple[str, ...], where: Where = NOWHERE) -> np.ndarray: ...
    def raw(self, by: tuple[str, ...], where: Where = NOWHERE) -> np.ndarray: ...
    def bounds(self, by: tuple[str, ...], where: Where = NOWHERE) -> tuple[np.ndarray, np.ndarray]: ...
    def score(self, by: tuple[str, ...], rest: Crowd) -> np.ndarray: ...
    def rates(self) -> list[tuple[float, float, float]]: ...
    def after(self, changed: Crowd) -> "Reader": ...


System = Callable[[Crowd], Reader]


# References. Each shows a function of the exact table.


@dataclass
class Live:
    """Counts of the crowd as it is now, shown through ``show``; ``lowest`` and ``highest``: what a shown table can stand for."""

    people: Crowd
    show: Callable[[np.ndarray, "Live", tuple[str, ...], Where], np.ndarray]
    lowest: Callable[[np.ndarray], np.ndarray]
    highest: Callable[[np.ndarray], np.ndarray]
    rate: Callable[[int, int], tuple[float, float, float] | None]

    def ask(self, by: tuple[str, ...], where: Where = NOWHERE) -> np.ndarray:
        return self.show(self.people.table(by, where), self, by, where)

    raw = ask

    def bounds(self, by: tuple[str, ...], where: Where = NOWHERE) -> tuple[np.ndarray, np.ndarray]:
        shown_table = self.ask(by, where)
        return np.maximum(self.lowest(shown_table), 0), self.highest(shown_table)

    def score(self, by: tuple[str, ...], rest: Crowd) -> np.ndarray:
        """The log-likelihood of one more person in each cell: what is retained fits, or it does not."""
        retained, base = self.ask(by), rest.table(by)

        def fits(counts: np.ndarray) -> np.ndarray:
            low, high = self.lowest(retained), self.highest(retained)
            same = (counts >= low) & (counts <= high)
            return np.where(same, 0.0, NEVER)

        return fits(base + 1) - fits(base)

    def rates(self) -> list[tuple[float, float, float]]:
        halves = self.people.table(("cohort", "half"))
        found = [self.rate(int(row[1]), int(row.sum())) for row in halves]
        return [each for each in found if each]

    def after(self, changed: Crowd) -> "Live":
        return type(self)(changed, self.show, self.lowest, self.highest, self.rate)


def _exactly(table: np.ndarray) -> np.ndarray:
    return table


def exact(people: Crowd) -> Live:
    """Exact counts behind a role check."""

    def rate(part: int, whole: int) -> tuple[float, float, float] | None:
        return (part / whole, part / whole, part / whole) if whole else None

    return Live(people, lambda counts, *_: counts.astype(float), _exactly, _exactly, rate)


def hide_below_ten(people: Crowd) -> Live:
    """Counts below 10 are hidden, totals are exact: what good peers ship."""

    def rate(part: int, whole: int) -> tuple[float, float, float] | None:
        return (part / whole, part / whole, part / whole) if whole >= 10 else None

    return Live(
        people,
        lambda counts, *_: np.where((counts > 0) & (counts < 10), np.nan, counts.astype(float)),
        lambda table: np.where(np.isnan(table), 1, table),
        lambda table: np.where(np.isnan(table), 9, table),
        rate,
    )


def round_to_five(people: Crowd) -> Live:
    """Every count rounded to 5; shares of groups below 22.5 hidden (HESA)."""

    def rounded(counts: np.ndarray, *_: object) -> np.ndarray:
        return 5.0 * np.floor((counts + 2.5) / 5)

    def rate(part: int, whole: int) -> tuple[float, float, float] | None:
        if whole < 22.5:
            return None
        share_ = 5 * math.floor((part + 2.5) / 5) / (5 * math.floor((whole + 2.5) / 5))
        return (min(share_, 1.0), max((part - 2) / whole, 0), min((part + 2) / whole, 1))

    return Live(people, rounded, lambda table: table - 2, lambda table: table + 2, rate)


class CellKey(Live):
    """Noise of -2 to 2 that follows from the record keys of a cell: the same cell always gets the same noise."""

    def score(self, by: tuple[str, ...], rest: Crowd) -> np.ndarray:
        """The insider recomputes each cell of the living: where that is what is retained, nobody is missing."""
        retained, base, recomputed = self.ask(by), rest.table(by), _keyed(rest, by, NOWHERE)
        possible = np.abs(retained - (base + 1)) <= 2
        return np.where(possible, math.log(1 / 5), NEVER) - np.where(np.abs(recomputed - retained) < 0.5, 0.0, NEVER)


def _keyed(people: Crowd, by: tuple[str, ...], where: Where) -> np.ndarray:
    """The table with the noise that the keys of its cells say."""
    keep = np.ones(people.n, dtype=bool)
    for dimension, values in where.items():
        keep &= np.isin(people.places[dimension], list(values))
    counts = people.table(by, where)
    mixed = np.zeros(counts.shape, dtype=np.uint64)
    np.bitwise_xor.at(mixed, tuple(people.places[dimension][keep] for dimension in by), people.key[keep])
    offset = ((mixed >> np.uint64(20)) % np.uint64(5)).astype(float) - 2
    return np.where(counts == 0, 0.0, np.maximum(counts + offset, 0))


def cell_key(people: Crowd) -> CellKey:
    """Cell-key noise in every table, totals too (ABS, ONS)."""

    def show(_counts: np.ndarray, reader: Live, by: tuple[str, ...], where: Where) -> np.ndarray:
        return _keyed(reader.people, by, where)

    def rate(part: int, whole: int) -> tuple[float, float, float] | None:
        return (part / whole, max((part - 2) / whole, 0), min((part + 2) / whole, 1)) if whole >= 25 else None

    return CellKey(people, show, lambda table: table - 2, lambda table: table + 2, rate)


# Ours: the product's domain, noise, reconciliation and reader; only the SQL that counts is replaced by arrays.

Measure = Callable[[Sequence[int], float, int], Sequence[int]]


def opendp(counts: Sequence[int], sigma: float, units: int) -> Sequence[int]:
    """The noise of the product."""
    return noise.measure(counts, sigma=sigma, units=units).values


def mutant(factor: float) -> Measure:
    """Noise of another width than is claimed."""
    rng = np.random.default_rng()

    def measure(counts: Sequence[int], sigma: float, units: int) -> Sequence[int]:
        return np.asarray(counts) + np.rint(rng.normal(0, factor * sigma, len(counts))).astype(int)  # type: ignore[return-value]

    return measure


def seeded(counts: Sequence[int], sigma: float, units: int) -> Sequence[int]:
    """A mutant: the same noise in every release."""
    rng = np.random.default_rng(1)
    return np.asarray(counts) + np.rint(rng.normal(0, sigma, len(counts))).astype(int)  # type: ignore[return-value]


METHOD = Method("test", 1.0, 1000, families(BOUNDS, capacity=1000), DOMAIN, period_named("2025").first_day,
                period_named("2026").first_day, "")  # fmt: skip
PERIODS = [*(Period(2025, number) for number in (1, 2, 3, 4)), Period(2025)]


def counts_of(people: Crowd, family: Family, period: Period) -> dict[tuple[str, str, str], int]:
    """The exact counts of a release, as the product's SQL would find them in a database of this crowd."""
    inside = {} if period.grain == "year" else {"quarter": frozenset({period.quarter - 1})}
    counts: dict[tuple[str, str, str], int] = {}
    halves = family.name == "milestones"
    tables = {
        "program": people.table(("program", "half") if halves else ("program",), inside),
        "month": people.table(("program", "month"), inside),
        "experience": people.table(("level", "half") if halves else ("program", "level"), inside),
        "cohort": people.table(("cohort", "half") if halves else ("cohort",)),
    }
    for flow in family.of(period.grain):
        for part in partitions(family, flow, period, DOMAIN):
            for k1, k2 in part.cells:
                counts[part.marginal, k1, k2] = int(_count(tables[part.marginal], part.marginal, k1, k2))
    return counts


def _count(table: np.ndarray, marginal: str, k1: str, k2: str) -> int:
    row = table[
        {"cohort": COHORTS, "experience": LEVELS if k2 in ("50", "100") else PROGRAMS}.get(marginal, PROGRAMS).index(k1)
    ]
    if k2 in ("50", "100"):
        return row[1] if k2 == "50" else 0
    return row[MONTHS.index(k2)] if marginal == "month" else row[LEVELS.index(k2)] if marginal == "experience" else row


def release(counts: Mapping[tuple[str, str, str], int], family: Family, period: Period, told: Mapping[Key, Estimate],
            measure: Measure) -> list[Cell]:  # fmt: skip
    """One release of exact counts: noise, reconciliation."""
    noisy = measure(list(counts.values()), family.sigma, family.units(period.grain))
    rows = reconciled(METHOD, family, period, dict(zip(counts, noisy, strict=True)), told)
    return [Cell(period.name, family.sigma, *row) for row in rows]


def totals(cells: Sequence[Cell]) -> dict[Key, Estimate]:
    """What a year's levels of experience add up to."""
    found: dict[Key, Estimate] = {}
    for cell in cells:
        if cell.marginal == "program" and not cell.k2:
            known = found.get((cell.k1, ""), Estimate(0.0, 0.0))
            found[cell.k1, ""] = Estimate(known.value + cell.value, known.variance + cell.se**2)
    return found


def publish_year(people: Crowd, measure: Measure = opendp) -> dict[str, list[Cell]]:
    """Everything that is published of a year, by family."""
    published: dict[str, list[Cell]] = {}
    for family in METHOD.families[:2]:
        cells: list[Cell] = []
        for period in PERIODS:
            if family.of(period.grain):
                told = totals(cells) if period.grain == "year" and family.name == "enrollments" else {}
                cells += release(counts_of(people, family, period), family, period, told, measure)
        published[family.name] = cells
    return published


@dataclass
class Frozen:
    """The product's releases and reader. What happens to the crowd afterwards is none of its business."""

    published: dict[str, list[Cell]]

    def _sums(
        self, by: tuple[str, ...], where: Where, *, family: str = "enrollments"
    ) -> tuple[list[object], tuple[int, ...]]:
        real = tuple(name for name in by if name != "one")
        question = Question(
            family,
            tuple(DIMENSION.get(name, name) for name in real),
            tuple(
                (DIMENSION.get(name, name), tuple(NAMES[name][place] for place in values))
                for name, values in where.items()
            ),
        ).canonical
        shape = shape_of(question)
        assert not isinstance(shape, str), shape
        cells = [cell for cell in self.published[family] if cell.marginal == shape.marginal]
        found = sums(question, shape, cells, DOMAIN)
        shape_ = tuple(SIZES[name] if name not in where else len(where[name]) for name in by)
        return list(found), shape_

    def ask(self, by: tuple[str, ...], where: Where = NOWHERE) -> np.ndarray:
        found, shape = self._sums(by, where)
        values = [shown(each) for each in found]  # type: ignore[arg-type]
        return np.array([np.nan if each.value is None else each.value for each in values], dtype=float).reshape(shape)

    def raw(self, by: tuple[str, ...], where: Where = NOWHERE) -> np.ndarray:
        found, shape = self._sums(by, where)
        return np.array([each.value for each in found]).reshape(shape)  # type: ignore[attr-defined]

    def errors(self, by: tuple[str, ...]) -> np.ndarray:
        """The standard errors that the releases state."""
        found, shape = self._sums(by, NOWHERE)
        return np.sqrt([each.variance for each in found]).reshape(shape)  # type: ignore[attr-defined]

    def bounds(self, by: tuple[str, ...], where: Where = NOWHERE) -> tuple[np.ndarray, np.ndarray]:
        """Six standard errors: noise has no end, so nothing is provable; the author declares what is next to impossible."""
        found, shape = self._sums(by, where)
        values = np.array([each.value for each in found]).reshape(shape)  # type: ignore[attr-defined]
        errors = np.sqrt([each.variance for each in found]).reshape(shape)  # type: ignore[attr-defined]
        return np.maximum(np.floor(values - 6 * errors), 0), np.ceil(values + 6 * errors)

    def score(self, by: tuple[str, ...], rest: Crowd) -> np.ndarray:
        """Gaussian log-likelihood of one more person. A level of experience tells only how it differs from its program."""
        known = {("program", "month"): 4.0, ("program", "quarter"): 4.0, ("cohort",): 4.0, ("program", "level"): 4.0}
        if by not in known:
            return np.zeros(rest.table(by).shape)
        left, effect = self.raw(by) - rest.table(by), 1.0
        if by == ("program", "level"):
            left, effect = left - left.mean(axis=1, keepdims=True), 0.75
        return left / known[by] ** 2 - effect / (2 * known[by] ** 2)

    def rates(self) -> list[tuple[float, float, float]]:
        """Shares of cohorts as shown, with what they can stand for."""
        wholes, _ = self._sums(("cohort",), NOWHERE)
        question = Question("milestones", ("cohort",), (("milestone", ("50",)),)).canonical
        shape = shape_of(question)
        assert not isinstance(shape, str)
        halves = sums(question, shape, [c for c in self.published["milestones"] if c.marginal == "cohort"], DOMAIN)
        told: list[Share] = [share(half, whole) for half, whole in zip(halves, wholes, strict=True)]  # type: ignore[arg-type]
        return [
            (each.percent / 100, max(each.percent / 100 - 0.06 * each.margin / 1.645, 0), min(each.percent / 100 + 0.06 * each.margin / 1.645, 1))
            for each in told
            if each.percent is not None
        ]  # fmt: skip

    def after(self, _changed: Crowd) -> "Frozen":
        return self


def frozen(measure: Measure = opendp) -> System:
    """Our system, with some noise."""
    return lambda people: Frozen(publish_year(people, measure))
