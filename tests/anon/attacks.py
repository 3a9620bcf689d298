"""The attacks on a system of figures, each with its pass figure. They take any system (tests/anon/systems.py).

Limits are five standard errors wide, so that an honest release does not fail by chance; what they must catch lies far beyond.
``slack`` and likelihood are the test author's: code that merely claims noise is caught by the audit of the claim (A7).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix

from core.anon.builder import reconciled
from core.anon.consistency import Estimate
from core.anon.counting import partitions
from core.anon.method import CohortEnd, Domain
from core.anon.periods import Period
from core.anon.reader import Cell
from core.anon.workload import Family, cost_so_far
from tests.anon.crowd import ATTRIBUTES, LEVELS, SIZES, Crowd, crowd
from tests.anon.systems import METHOD, PERIODS, VIEWS, Frozen, Measure, Reader, System, totals


@dataclass(frozen=True)
class Finding:
    """What an attack got, and how much would have been too much."""

    attack: str
    what: str
    got: float
    limit: float
    passed: bool


def _at_most(attack: str, what: str, got: float, limit: float) -> Finding:
    return Finding(attack, what, got, limit, bool(got <= limit))


def _at_least(attack: str, what: str, got: float, limit: float) -> Finding:
    return Finding(attack, what, got, limit, bool(got >= limit))


def run(system: System, *, scale: int = 1) -> list[Finding]:
    """Run every attack that needs a reader and nothing else. ``scale`` multiplies the repetitions."""
    found: list[Finding] = []
    for seed in range(scale):
        found += differencing(system, seed)
        found += linear_programs(system, seed)
        found += averaging(system, seed)
        found += sybils(system, seed)
        found += all_or_none(system, seed)
    return found + subtraction(system, releases=6 * scale)


# A1: differencing by filter.


def differencing(system: System, seed: int) -> list[Finding]:
    """A small cell is a margin less the rest, or all less all-but-one, for every view and filter that is offered."""
    people = crowd(400, seed)
    reader = system(people)
    proven, hits, small = 0, 0, []
    for by in (("program", "month"), ("program", "quarter"), ("program", "level")):
        table = people.table(by)
        for cell in zip(*np.where((table > 0) & (table < 10)), strict=True):
            ways = [_own(reader, by, cell), _rest_of_margin(reader, by, cell), _all_but_one(reader, by, cell)]
            low, high = max(low for low, *_ in ways), min(high for _, high, _ in ways)
            truth = int(table[cell])
            small.append(truth)
            proven += math.ceil(low - 1e-6) == math.floor(high + 1e-6) == truth
            guesses = [guess for *_, guess in ways if not math.isnan(guess)]
            hits += any(round(guess) == truth for guess in guesses[:1] or [])
    return [
        _at_most("A1", "small cells proven by differences", proven, 0),
        _at_most("A1", "small cells guessed right", hits, _mode_limit(small)),
    ]


def _mode_limit(values: Sequence[int]) -> float:
    """What guessing the most common value gets right, and five standard errors."""
    mode = max(np.bincount(values)) if values else 0
    return float(mode + 5 * math.sqrt(mode))


Way = tuple[float, float, float]


def _own(reader: Reader, by: tuple[str, ...], cell: tuple[int, ...]) -> Way:
    low, high = reader.bounds(by)
    return float(low[cell]), float(high[cell]), float(reader.ask(by)[cell])


def _rest_of_margin(reader: Reader, by: tuple[str, ...], cell: tuple[int, ...]) -> Way:
    """The row's total less the other cells of the row."""
    row, column = cell
    low, high = (bound[row].copy() for bound in reader.bounds(by))
    total_low, total_high = (bound[row] for bound in reader.bounds((by[0],)))
    others = np.arange(len(low)) != column
    guess = reader.raw((by[0],))[row] - reader.raw(by)[row][others].sum()
    return float(total_low - high[others].sum()), float(total_high - low[others].sum()), float(guess)


def _all_but_one(reader: Reader, by: tuple[str, ...], cell: tuple[int, ...]) -> Way:
    """One filter step: everything in the row, less everything in it but one column."""
    row, column = cell
    here = {by[0]: frozenset({int(row)})}
    without = {**here, by[1]: frozenset(range(SIZES[by[1]])) - {int(column)}}
    low_all, high_all = reader.bounds(("one",), here)
    low_but, high_but = reader.bounds(("one",), without)
    guess = reader.raw(("one",), here)[0] - reader.raw(("one",), without)[0]
    return float(low_all[0] - high_but[0]), float(high_all[0] - low_but[0]), float(guess)


# A2b: what is retained less a recount of the living.


def subtraction(system: System, *, releases: int, victims: int = 200, n: int = 400) -> list[Finding]:
    """An insider holds a release of n people and the records of all but one, and asks Bayes for that one's attributes."""
    whole, parts, prior_whole, prior = [], [], [], []
    for seed in range(releases):
        people = crowd(n, 100 + seed)
        reader = system(people)
        logs = [np.log(np.bincount(getattr(people, name), minlength=many)[:many] + 1e-9) - math.log(people.n)
                for name, many in zip(ATTRIBUTES, (6, 12, 4, 2, 2), strict=True)]  # fmt: skip
        guess_prior = [int(each.argmax()) for each in logs]
        for victim in range(victims):
            rest = people.but(victim)
            posterior = _posterior(reader, rest, logs)
            truth = [int(getattr(people, name)[victim]) for name in ATTRIBUTES[:4]]
            best = np.unravel_index(int(posterior.argmax()), posterior.shape)
            whole.append(list(map(int, best)) == truth)
            prior_whole.append(guess_prior[:4] == truth)
            for place, right in enumerate(truth):
                others = tuple(axis for axis in range(4) if axis != place)
                marginal = np.logaddexp.reduce(posterior, axis=others)
                parts.append(int(marginal.argmax()) == right)
                prior.append(guess_prior[place] == right)
    return [
        _at_most("A2b", "deleted people recovered whole", float(np.mean(whole)), max(0.08, float(np.mean(prior_whole)) + 0.05)),
        _at_most("A2b", "attributes of deleted people recovered", float(np.mean(parts)), float(np.mean(prior)) + 0.08),
    ]  # fmt: skip


def _posterior(reader: Reader, rest: Crowd, logs: Sequence[np.ndarray]) -> np.ndarray:
    """The unnormalized log-posterior over (program, month, level, side)."""
    program, month, level, side = np.ix_(range(6), range(12), range(4), range(2))
    found = logs[0][program] + logs[1][month] + logs[2][level] + logs[3][side]
    scores = {by: reader.score(by, rest) for by in VIEWS}
    found = found + scores["program", "month"][program, month] + scores["program", "quarter"][program, month // 3]
    found = found + scores["program", "level"][program, level] + scores["cohort",][2 * program + side]
    return found + scores["program",][program] + scores["quarter",][month // 3] + scores["level",][level]


# A3: complementary cells by linear programs.


def linear_programs(system: System, seed: int) -> list[Finding]:
    """The unknown table of program x month under everything that is shown: how far can each small cell move?"""
    people = crowd(400, 50 + seed)
    reader = system(people)
    truth = people.table(("program", "month"))
    rows, low, high, guess = _constraints(reader)
    small = np.flatnonzero((truth.ravel() > 0) & (truth.ravel() < 10))[:40]
    matrix, bounds = _both_sides(rows, low, high)
    proven = 0
    for cell in small:
        ends = [_extreme(matrix, bounds, truth.size, cell, sign) for sign in (1, -1)]
        proven += math.ceil(ends[0] - 1e-6) == math.floor(ends[1] + 1e-6) == truth.ravel()[cell]
    nearest = _least_absolute(rows, guess, truth.size)
    hits = sum(round(float(nearest[cell])) == truth.ravel()[cell] for cell in small)
    return [
        _at_most("A3", "small cells proven by linear programs", proven, 0),
        _at_most("A3", "small cells right by least absolute deviations", hits, _mode_limit([int(truth.ravel()[c]) for c in small])),
    ]  # fmt: skip


def _constraints(reader: Reader) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Every shown number about program x month as a sum of its cells, with what it can stand for."""
    cells = np.arange(72).reshape(6, 12)
    rows, low, high, guess = [], [], [], []
    for by, groups in (
        (("program", "month"), [[cell] for cell in cells.ravel()]),
        (("program", "quarter"), [cells[p, 3 * q : 3 * q + 3] for p in range(6) for q in range(4)]),
        (("program",), list(cells)),
        (("quarter",), [cells[:, 3 * q : 3 * q + 3].ravel() for q in range(4)]),
    ):
        below, above = (bound.ravel() for bound in reader.bounds(by))
        for place, group in enumerate(groups):
            row = np.zeros(72)
            row[np.asarray(group)] = 1
            rows.append(row)
            low.append(below[place])
            high.append(above[place])
        guess += list(reader.raw(by).ravel())
    return np.array(rows), np.array(low), np.array(high), np.array(guess)


def _both_sides(rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[csr_matrix, np.ndarray]:
    return csr_matrix(np.vstack([rows, -rows])), np.concatenate([high, -low])


def _extreme(matrix: csr_matrix, bounds: np.ndarray, many: int, cell: int, sign: int) -> float:
    """The smallest (sign 1) or largest (sign -1) value that a cell can have."""
    aim = np.zeros(many)
    aim[cell] = sign
    solved = linprog(aim, A_ub=matrix, b_ub=bounds, bounds=(0, None), method="highs")
    return float(sign * solved.fun) if solved.success else (0.0 if sign == 1 else math.inf)


def _least_absolute(rows: np.ndarray, guess: np.ndarray, many: int) -> np.ndarray:
    """The table that lies closest to all shown numbers (least absolute deviations)."""
    known = ~np.isnan(guess)
    rows, guess = rows[known], guess[known]
    slack = np.eye(len(guess))
    matrix = csr_matrix(np.block([[rows, -slack], [-rows, -slack]]))
    aim = np.concatenate([np.zeros(many), np.ones(len(guess))])
    return linprog(aim, A_ub=matrix, b_ub=np.concatenate([guess, -guess]), bounds=(0, None), method="highs").x[:many]


# A4: averaging.


def averaging(system: System, seed: int, *, ways: int = 200) -> list[Finding]:
    """Ask for one total in many ways, and take the mean."""
    people, rng = crowd(400, 70 + seed), np.random.default_rng(seed)
    reader = system(people)
    one, many, again = [], [], 0.0
    for program in range(6):
        here = {"program": frozenset({program})}
        truth = int(people.table(("one",), here)[0])
        looks = [_in_parts(reader, here, rng) for _ in range(ways)]
        first = [reader.raw(("one",), here)[0] for _ in range(3)]
        again = max(again, float(np.nanstd(first)))
        one.append(round(float(first[0])) == truth if not np.isnan(first[0]) else False)
        many.append(round(float(np.nanmean(looks))) == truth)
    return [
        _at_most("A4", "spread of the same question", again, 1e-9),
        _at_most("A4", "gain of 200 ways over one look", float(np.mean(many)) - float(np.mean(one)), 0.05),
    ]


def _in_parts(reader: Reader, here: dict[str, frozenset[int]], rng: np.random.Generator) -> float:
    """A total as the sum of some parts: a random split of the months or levels."""
    dimension = "month" if rng.random() < 0.7 else "level"
    labels = rng.integers(0, rng.integers(2, 6), SIZES[dimension])
    groups = [frozenset(map(int, np.flatnonzero(labels == label))) for label in np.unique(labels)]
    return float(sum(reader.raw(("one",), {**here, dimension: group})[0] for group in groups))


# A6: dummies.


def sybils(system: System, seed: int) -> list[Finding]:
    """Add 1 to 12 accounts to a cell of a closed period, and read again each time."""
    people = crowd(400, 90 + seed)
    reader = system(people)
    most = 1
    for victim in range(8):
        person = people.person(victim)
        where = {"program": frozenset({person["program"]}), "month": frozenset({person["month"]})}
        seen = {str(reader.after(people.plus(person, more)).ask(("one",), where)[0]) for more in range(13)}
        most = max(most, len(seen))
    return [_at_most("A6", "different answers while dummies are added", most, 1)]


# A8: all or none of a group.


def all_or_none(system: System, seed: int) -> list[Finding]:
    """Shares of 0 % and 100 % tell about everybody in the group."""
    rates = [rate for crowd_seed in range(5) for rate in system(crowd(2000, 200 + 10 * seed + crowd_seed)).rates()]
    proven = sum(low >= 1 - 1e-9 or high <= 1e-9 for _, low, high in rates)
    beyond = sum(not 0.05 - 1e-9 <= shown <= 0.95 + 1e-9 for shown, *_ in rates)
    return [
        _at_most("A8", "groups of which all or none is proven", proven, 0),
        _at_most("A8", "shares beyond 5 % and 95 %", beyond, 0),
    ]


# A7: does the noise keep what it claims? Only for what claims some.


def audit(measure: Measure, *, runs: int, one_by_one: bool = False) -> list[Finding]:
    """Release a year with and without one person, many times; tell the two apart by the best test there is.

    The person does as much as a year allows. The covariance of what is released is the author's: the structure of the releases
    (real code, moved one measured cell at a time) times the declared noise. Too good a guess: less noise than declared. Too bad
    a guess: more noise, or the same noise each time. ``one_by_one`` draws each release by itself.
    """
    year = _Year()
    apart = year.matrix @ year.person
    covariance = (year.matrix * year.sigmas**2) @ year.matrix.T
    weights = np.linalg.pinv(covariance, rcond=1e-9, hermitian=True) @ apart
    distance = math.sqrt(float(apart @ weights))
    scores = [
        (year.releases(counts, measure, runs, one_by_one) @ weights) for counts in (year.base, year.base + year.person)
    ]
    middle = float(weights @ year.matrix @ (year.base + year.person / 2))
    right = int((scores[0] <= middle).sum() + (scores[1] > middle).sum())
    accuracy, error = right / (2 * runs), math.sqrt(0.25 / (2 * runs))
    bound = NormalDist().cdf(distance / 2)
    fresh = [measure([0], 4.0, 1)[0] for _ in range(1000)]
    return [
        _at_most("A7", "distance of the two worlds against the ledger", distance, year.claimed + 1e-9),
        _at_most("A7", "with or without a person", accuracy, bound + 5 * error),
        _at_least("A7", "with or without a person (floor)", accuracy, bound - max(0.05, 5 * error)),
        _at_most(
            "A7", "variance of fresh releases against 16", abs(float(np.var(fresh)) / 16 - 1), 5 * math.sqrt(2 / 1000)
        ),
    ]


class _Year:
    """A year of releases of two programs as linear algebra: what is measured, what is released, what one person changes."""

    def __init__(self) -> None:
        self.method = replace(METHOD, domain=Domain(
            {"A": "A", "B": "B"}, (CohortEnd("A-1", "", "A", "2025-Q4"), CohortEnd("B-1", "", "B", "2025-Q4")), LEVELS))  # fmt: skip
        self.blocks = [(family, period) for family in METHOD.families for period in PERIODS if family.of(period.grain)]
        self.keys = [(family, period, key) for family, period in self.blocks for key in self._cells(family, period)]
        self.sigmas = np.array([family.sigma for family, *_ in self.keys])
        self.base = np.full(len(self.keys), 20.0)
        self.person = np.array(
            [float(self._touched(family.name, period.name, *key)) for family, period, key in self.keys]
        )
        self.matrix = np.array([self._released(np.eye(len(self.keys))[place]) for place in range(len(self.keys))]).T
        self.claimed = math.sqrt(cost_so_far([(family, period.grain) for family, period in self.blocks]))

    def _cells(self, family: Family, period: Period) -> list[tuple[str, str, str]]:
        flows = [
            each for flow in family.of(period.grain) for each in partitions(family, flow, period, self.method.domain)
        ]
        return [(part.marginal, *cell) for part in flows for cell in part.cells]

    def _touched(self, family: str, period: str, marginal: str, k1: str, k2: str) -> bool:
        """Joins both programs in January and February, reaches half and all of both by March, is active all year."""
        if family == "activity":
            return k1 == "A"
        if marginal == "month":
            return (k1, k2) in (("A", "2025-01"), ("B", "2025-02"))
        if marginal == "program":
            return period == "2025-Q1"
        return marginal == "cohort" or "beginner" in (k1, k2)

    def _released(self, measured: np.ndarray) -> list[float]:
        """What the product's reconciliation makes of measured numbers."""
        values: list[float] = []
        place, told = 0, {}
        for family, period in self.blocks:
            names = self._cells(family, period)
            mine = dict(zip(names, measured[place : place + len(names)], strict=True))
            place += len(names)
            rows = reconciled(self.method, family, period, mine, told if family.name == "enrollments" else {})
            if family.name == "enrollments" and period.grain == "quarter":
                told = totals([*_as_cells(told), *(Cell(period.name, family.sigma, *row) for row in rows)])
            values += [row[3] for row in rows]
        return values

    def releases(self, counts: np.ndarray, measure: Measure, runs: int, one_by_one: bool) -> np.ndarray:
        """Many releases of the same counts, one a row."""
        noisy: list[np.ndarray] = []
        place = 0
        for family, period in self.blocks:
            many = len(self._cells(family, period))
            mine = [int(each) for each in counts[place : place + many]]
            place += many
            drawn = (
                [measure(mine, family.sigma, 1) for _ in range(runs)]
                if one_by_one
                else measure(mine * runs, family.sigma, 1)
            )
            noisy.append(np.array(drawn, dtype=float).reshape(runs, many))
        return np.hstack(noisy) @ self.matrix.T


def _as_cells(told: Mapping[tuple[str, str], Estimate]) -> list[Cell]:
    return [Cell("", 4.0, "program", *key, each.value, math.sqrt(each.variance)) for key, each in told.items()]


# A11: not useless.


def usefulness(system: System, *, releases: int) -> list[Finding]:
    """As many cells are shown as by "hide below 10", the margins hold, the errors are small."""
    shown_here = shown_there = covered = told = 0
    errors: list[float] = []
    for seed in range(releases):
        people = crowd(2000, 300 + seed)
        reader = system(people)
        assert isinstance(reader, Frozen)
        for by in (("program", "month"), ("program", "quarter"), ("program", "level"), ("cohort",)):
            truth, seen, off = people.table(by), reader.ask(by), np.abs(reader.raw(by) - people.table(by))
            shown_here += int((~np.isnan(seen)).sum())
            shown_there += int((truth >= 10).sum())
            covered += int((off <= 1.645 * reader.errors(by)).sum())
            told += truth.size
            errors += list(off.ravel())
    return [
        _at_least("A11", "cells shown beside hide-below-10", shown_here / shown_there, 0.9),
        _at_least("A11", "coverage of the margin", covered / told, 0.9 - 5 * math.sqrt(0.09 / told)),
        _at_most("A11", "median error in standard deviations of the noise", float(np.median(errors)) / 4, 1.0),
    ]
