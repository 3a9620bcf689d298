"""Every question about anonymized figures is a look-up, or a sum of what was published. No question costs anything.

Danger: a filter that nobody foresaw isolates a person; a question that is answered anew each time can be asked until the
noise averages out. Principle: only combinations that were published, or their sums, are offered, and the same question in
any wording, by anybody, on any day, has the same answer. Mechanism: a question is put into one canonical form, which finds
one marginal; its cells are added up; the display rules look at the noisy sum only.

The rules: a count is shown when it is at least 10 and its 90 % margin is at most half of it, else "fewer than about T"; it is
cut off at 0 for display only. A share is shown of at least 25 people (and five standard errors) and never beyond 5 % and 95 %.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from core.anon.consistency import variance_of_sum
from core.anon.method import Domain
from core.anon.workload import MILESTONES

Z90 = 1.6449
SMALLEST_SHOWN = 10
LARGEST_MARGIN = 0.5
SMALLEST_BASE = 25
LARGEST_SHARE_MARGIN = 25
CAPS = (5, 95)
TIMES = ("month", "quarter", "year")
Where = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Question:
    """What is asked: a family, the dimensions of the table, and filters: (dimension, values) each.

    Dimensions: program, cohort, experience, milestone ("50", "100"), month, quarter, year.
    """

    family: str
    by: tuple[str, ...] = ()
    where: Where = ()

    @property
    def canonical(self) -> "Question":
        """The same question in its one form: filters sorted, each value once. The order of ``by`` is the table's."""
        merged: dict[str, set[str]] = {}
        for dimension, values in self.where:
            merged[dimension] = merged[dimension] & set(values) if dimension in merged else set(values)
        by = tuple(dict.fromkeys(self.by))
        return Question(self.family, by, tuple((name, tuple(sorted(merged[name]))) for name in sorted(merged)))

    @property
    def dimensions(self) -> frozenset[str]:
        """Everything that the question names."""
        return frozenset(self.by) | {dimension for dimension, _ in self.where}


@dataclass(frozen=True)
class Cell:
    """A published figure with what its release says about it."""

    period: str
    sigma: float
    marginal: str
    k1: str
    k2: str
    value: float
    se: float


@dataclass(frozen=True)
class Sum:
    """A sum of published figures before any rule of display. ``cells`` is empty when none was published."""

    keys: tuple[str, ...]
    cells: tuple[Cell, ...] = field(default=(), repr=False)

    @property
    def value(self) -> float:
        """The noisy sum; it may be negative."""
        return math.fsum(cell.value for cell in self.cells)

    @property
    def variance(self) -> float:
        """Its variance."""
        return _variance([(cell, 1.0) for cell in self.cells])


@dataclass(frozen=True)
class ReleasedFigure:
    """A figure as it may be shown. ``value`` is None when it is not, and ``why`` says why; ``margin`` holds in 90 % of cases.

    A figure that is not shown is fewer than about ``below``; 0: nothing was published there.
    """

    keys: tuple[str, ...]
    value: int | None
    margin: int
    below: int = 0
    why: str = ""


@dataclass(frozen=True)
class Answer:
    """A table, or the reason why there is none (``refused``)."""

    question: Question
    rows: tuple[ReleasedFigure, ...] = ()
    refused: str = ""


@dataclass(frozen=True)
class Share:
    """A share in percent as it may be shown: None with the reason, or cut off at 5 and 95 (``bound`` "≤" or "≥")."""

    percent: int | None
    margin: int
    bound: str = ""
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two figures side by side. ``verdict``: "more", "fewer", "no clear difference" within the margin, or "too few to compare".

    ``difference`` is None when there is no clear one, or when one of the two is not shown.
    """

    period: str
    one: ReleasedFigure
    other: ReleasedFigure
    difference: int | None
    margin: int
    verdict: str


@dataclass(frozen=True)
class Shape:
    """A published marginal: what it can be asked by. ``times``: the kinds of period it can be told by."""

    family: str
    marginal: str
    dimensions: tuple[str, ...]
    times: tuple[str, ...]


SHAPES = (
    Shape("enrollments", "program", ("program",), ("quarter", "year")),
    Shape("enrollments", "month", ("program",), ("month", "quarter", "year")),
    Shape("enrollments", "experience", ("program", "experience"), ("year",)),
    Shape("enrollments", "cohort", ("cohort", "program"), ()),
    Shape("milestones", "program", ("program", "milestone"), ("quarter", "year")),
    Shape("milestones", "experience", ("experience", "milestone"), ("year",)),
    Shape("milestones", "cohort", ("cohort", "program", "milestone"), ()),
    Shape("activity", "program", ("program",), ("quarter", "year")),
)
FAMILIES = tuple(dict.fromkeys(shape.family for shape in SHAPES))


def shape_of(question: Question, *, yearly_only: bool = False) -> Shape | str:
    """Return the marginal that answers a question, or the reason why none does."""
    if question.family not in FAMILIES:
        return "There is no such family of figures."
    asked = question.dimensions
    if yearly_only and asked & {"month", "quarter", "cohort", "experience"}:
        return "This site offers fewer than 300 places: it gets yearly totals by program only."
    for shape in SHAPES:
        fits = shape.family == question.family and asked <= {*shape.dimensions, *shape.times}
        if fits and ("cohort" in shape.dimensions) == ("cohort" in asked):
            return (
                shape if "milestone" not in shape.dimensions or "milestone" in asked else "Half or all of the program?"
            )
    return _why_not(question.family, asked)


def _why_not(family: str, asked: frozenset[str]) -> str:
    """The reason for a person, most helpful first."""
    if unknown := sorted(asked - {"program", "cohort", "experience", "milestone", *TIMES}):
        return f"{unknown[0].capitalize()} is in no release."
    if "milestone" in asked and family != "milestones":
        return "Milestones belong to progress."
    if "cohort" in asked and asked & set(TIMES):
        return "A cohort is counted once, when it has ended: not by month, quarter or year."
    if family == "activity" and asked & {"experience", "cohort"}:
        return "Activity is published by program and quarter only: more would be too detailed to be anonymous."
    if "experience" in asked and asked & {"month", "quarter"}:
        return "Experience is published by year only: by month or quarter it would be too detailed to be anonymous."
    if "month" in asked and family != "enrollments":
        return "Only enrollments are published by month."
    return "This combination would be too detailed to be anonymous."


def unavailable(question: Question, dimensions: Iterable[str], *, yearly_only: bool = False) -> dict[str, str]:
    """Return, for each dimension that cannot be added to a question, the reason."""
    found = {}
    for dimension in dimensions:
        more = replace(question, where=(*question.where, (dimension, ())))
        if isinstance(reason := shape_of(more, yearly_only=yearly_only), str):
            found[dimension] = reason
    return found


def sums(question: Question, shape: Shape, cells: Sequence[Cell], domain: Domain) -> list[Sum]:
    """Return the sums that answer a canonical question, one for each combination of the values of ``by``, in their order."""
    program_of = {cohort.code: cohort.program for cohort in domain.cohorts}
    places = {name: _place(shape, name, program_of) for name in question.dimensions}
    filters = [(places[name], set(values)) for name, values in question.where]
    kept = [cell for cell in cells if all(place(cell) in values for place, values in filters)]
    if "year" in question.dimensions:
        kept = _whole_years(kept)
    found: dict[tuple[str, ...], list[Cell]] = {}
    for cell in kept:
        found.setdefault(tuple(places[name](cell) for name in question.by), []).append(cell)
    values = [_values(question, name, cells, shape, domain) for name in question.by]
    return [
        Sum(keys, tuple(found.get(keys, ()))) for keys in product(*values) if _belongs(question.by, keys, program_of)
    ]


def shown(total: Sum) -> ReleasedFigure:
    """Return a sum as it may be shown."""
    if not total.cells:
        return ReleasedFigure(total.keys, None, 0, 0, "not published")
    se = math.sqrt(total.variance)
    margin = math.ceil(Z90 * se - 1e-9)
    least = max(SMALLEST_SHOWN, math.ceil(Z90 * se / LARGEST_MARGIN - 1e-9))
    if total.value >= least:
        return ReleasedFigure(total.keys, round(total.value), margin)
    return ReleasedFigure(total.keys, None, margin, least, f"fewer than about {least}")


def share(part: Sum, whole: Sum) -> Share:
    """Return the share of ``part`` in ``whole`` as it may be shown."""
    base = math.sqrt(whole.variance) if whole.cells else 0.0
    if not whole.cells or not part.cells:
        return Share(None, 0, why="not published")
    if whole.value < max(SMALLEST_BASE, 5 * base):
        return Share(None, 0, why="too few people for a share")
    ratio = min(max(part.value / whole.value, 0.0), 1.0)
    margin = math.ceil(100 * Z90 * math.sqrt(part.variance + ratio**2 * whole.variance) / whole.value)
    if margin > LARGEST_SHARE_MARGIN:
        return Share(None, margin, why="the margin is too wide for a share")
    percent, (low, high) = round(100 * ratio), CAPS
    bound = "≤" if percent <= low else "≥" if percent >= high else ""
    return Share(min(max(percent, low), high), margin, bound)


def compare(one: Sum, other: Sum, *, period: str) -> Comparison:
    """Return two sums side by side, with the margin of their difference."""
    first, second = shown(one), shown(other)
    if not one.cells or not other.cells:
        return Comparison(period, first, second, None, 0, "not published")
    se = math.sqrt(_variance([*((cell, 1.0) for cell in one.cells), *((cell, -1.0) for cell in other.cells)]))
    difference, margin = one.value - other.value, math.ceil(Z90 * se - 1e-9)
    if first.value is None and second.value is None:
        return Comparison(period, first, second, None, margin, "too few to compare")
    if abs(difference) < Z90 * se:
        return Comparison(period, first, second, None, margin, "no clear difference")
    told = None if first.value is None or second.value is None else round(difference)
    return Comparison(period, first, second, told, margin, "more" if difference > 0 else "fewer")


def _variance(weighted: Iterable[tuple[Cell, float]]) -> float:
    """Cells of one release that are parts of one whole share a correction; all others are independent."""
    blocks: dict[tuple[str, str, str], list[tuple[Cell, float]]] = {}
    for cell, weight in weighted:
        blocks.setdefault((cell.period, cell.marginal, _whole(cell)), []).append((cell, weight))
    return math.fsum(
        variance_of_sum([weight for _, weight in block], sigma=block[0][0].sigma, variance=block[0][0].se ** 2)
        for block in blocks.values()
    )


def _whole(cell: Cell) -> str:
    """What a cell is a part of, within its release and marginal."""
    return cell.k1 if cell.marginal in ("month", "experience") and cell.k2 not in MILESTONES else f"{cell.k1}/{cell.k2}"


def _place(shape: Shape, dimension: str, program_of: Mapping[str, str]) -> Callable[[Cell], str]:
    """How to read a dimension off a cell."""
    if dimension in ("quarter", "year"):
        return (lambda cell: _quarter(cell)) if dimension == "quarter" else (lambda cell: cell.period[:4])
    if dimension in ("month", "milestone"):
        return lambda cell: cell.k2
    if dimension == "program" and shape.marginal == "cohort":
        return lambda cell: program_of.get(cell.k1, "")
    if dimension == "experience" and shape.family == "enrollments":
        return lambda cell: cell.k2
    return lambda cell: cell.k1


def _quarter(cell: Cell) -> str:
    """The quarter of a cell; "" for a figure of a whole year."""
    return cell.period if "-" in cell.period else ""


def _whole_years(cells: list[Cell]) -> list[Cell]:
    """Only years of which everything is published: a year that is told by quarters needs all four of them."""
    told: dict[str, set[str]] = {}
    for cell in cells:
        told.setdefault(cell.period[:4], set()).add(cell.period)
    return [cell for cell in cells if cell.period[:4] in told[cell.period[:4]] or len(told[cell.period[:4]]) == 4]


def _values(question: Question, dimension: str, cells: Sequence[Cell], shape: Shape, domain: Domain) -> list[str]:
    """The values of a dimension in their order: of the domain, or the periods that are published."""
    if dimension in TIMES:
        place = _place(shape, dimension, {})
        known = sorted({place(cell) for cell in (_whole_years(list(cells)) if dimension == "year" else cells)} - {""})
    elif dimension == "cohort":
        known = [cohort.code for cohort in domain.cohorts if any(cell.k1 == cohort.code for cell in cells)]
    else:
        known = {
            "program": list(domain.programs),
            "experience": list(domain.experience),
            "milestone": list(MILESTONES),
        }[dimension]
    wanted = dict(question.where).get(dimension)
    return known if wanted is None else [value for value in known if value in wanted]


def _belongs(by: tuple[str, ...], keys: tuple[str, ...], program_of: Mapping[str, str]) -> bool:
    """Whether a combination can exist: a cohort belongs to one program."""
    named = dict(zip(by, keys, strict=True))
    return "cohort" not in named or "program" not in named or program_of[named["cohort"]] == named["program"]
