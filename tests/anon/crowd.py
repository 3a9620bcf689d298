"""Crowds: many people as arrays, skewed as real ones are, and exact counts of them. All of it in one calendar year."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from core.anon.method import CohortEnd, Domain

LEVELS = ("beginner", "intermediate", "advanced", "not stated")
PROGRAMS = tuple("ABCDEF")
MONTHS = tuple(f"2025-{month:02}" for month in range(1, 13))
QUARTERS = tuple(f"2025-Q{number}" for number in range(1, 5))
COHORTS = tuple(f"{program}-{half}" for program in PROGRAMS for half in (1, 2))
SIZES = {"program": 6, "month": 12, "quarter": 4, "level": 4, "cohort": 12, "half": 2, "whole": 2, "one": 1}
ATTRIBUTES = ("program", "month", "level", "side", "half")
COLUMNS = (*ATTRIBUTES, "key")
DOMAIN = Domain(
    {program: f"Program {program}" for program in PROGRAMS},
    tuple(CohortEnd(code, code, code[0], "2025-Q4") for code in COHORTS),
    LEVELS,
)


@dataclass(frozen=True)
class Crowd:
    """One enrollment a person: program (6), month (12), level (4), which of two cohorts (``side``), half reached or not.

    ``key`` is a record key that stays with the person, as cell-key methods need one.
    """

    program: np.ndarray
    month: np.ndarray
    level: np.ndarray
    side: np.ndarray
    half: np.ndarray
    key: np.ndarray

    @property
    def n(self) -> int:
        """How many people."""
        return len(self.program)

    @cached_property
    def places(self) -> dict[str, np.ndarray]:
        """Each dimension of the tables, as the place of each person in it."""
        return {
            "program": self.program, "month": self.month, "quarter": self.month // 3, "level": self.level,
            "cohort": 2 * self.program + self.side, "half": self.half, "one": np.zeros(self.n, dtype=int),
        }  # fmt: skip

    def table(self, by: tuple[str, ...], where: Mapping[str, frozenset[int]] | None = None) -> np.ndarray:
        """The exact counts by some dimensions, of those in ``where``."""
        keep = np.ones(self.n, dtype=bool)
        for dimension, values in (where or {}).items():
            keep &= np.isin(self.places[dimension], list(values))
        shape = tuple(SIZES[dimension] for dimension in by)
        counts = np.zeros(shape, dtype=int)
        np.add.at(counts, tuple(self.places[dimension][keep] for dimension in by), 1)
        return counts

    def but(self, *gone: int) -> "Crowd":
        """The same without some people."""
        return Crowd(*(np.delete(getattr(self, name), gone) for name in COLUMNS))

    def plus(self, person: Mapping[str, int], times: int = 1) -> "Crowd":
        """The same with more people, all alike."""
        more = [np.concatenate([getattr(self, name), np.full(times, person[name])]) for name in ATTRIBUTES]
        return Crowd(*more, np.concatenate([self.key, _keys(np.random.default_rng(self.n), times)]))

    def person(self, number: int) -> dict[str, int]:
        """One person."""
        return {name: int(getattr(self, name)[number]) for name in ATTRIBUTES}


def _keys(rng: np.random.Generator, many: int) -> np.ndarray:
    return rng.integers(1, 2**63, size=many, dtype=np.uint64)


def crowd(n: int, seed: int) -> Crowd:
    """A crowd in which a few programs, months and levels hold most people."""
    rng = np.random.default_rng(seed)

    def skewed(many: int) -> np.ndarray:
        weights = 1.0 / np.arange(1, many + 1) ** 1.1
        return rng.choice(many, size=n, p=rng.permutation(weights / weights.sum()))

    made = Crowd(skewed(6), skewed(12), skewed(4), (rng.random(n) < 0.35).astype(int), np.zeros(n, dtype=int),
                 _keys(rng, n))  # fmt: skip
    rates = rng.choice([0.0, 0.3, 0.5, 0.8, 1.0], size=(6, 2))
    return replace(made, half=(rng.random(n) < rates[made.program, made.side]).astype(int))
