"""Parts add up: weighted least squares over everything that was measured about one number.

The months of a quarter and the quarter itself were measured apart, each with noise of its own. The numbers that lie closest
to all of them (weighted by how exact each is) and add up are the best estimate, and this is it in closed form:

    total  = mean of what each way of adding up says, weighted by 1 / (cells x sigma^2)
    part   = what was measured + an equal share of (total - sum of the parts as measured)

Nothing here looks at data: it works on noisy numbers only (post-processing costs no budget).
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A number and its variance."""

    value: float
    variance: float


def best_total(ways: Sequence[tuple[Sequence[float], float]]) -> Estimate:
    """Return the weighted least squares estimate of a total that was measured in several ways: (parts, sigma) each."""
    weights = [1 / (len(parts) * sigma**2) for parts, sigma in ways]
    sums = [sum(parts) for parts, _ in ways]
    return Estimate(
        sum(weight * each for weight, each in zip(weights, sums, strict=True)) / sum(weights), 1 / sum(weights)
    )


def parts_of(total: Estimate, measured: Sequence[float], sigma: float) -> list[Estimate]:
    """Return the parts that lie closest to what was measured and add up to the total."""
    many, share = len(measured), (total.value - sum(measured)) / len(measured)
    variance = sigma**2 * (1 - 1 / many) + total.variance / many**2
    return [Estimate(each + share, variance) for each in measured]


def variance_of_sum(weights: Sequence[float], *, sigma: float, variance: float) -> float:
    """Return the variance of a weighted sum of cells that are parts of one total.

    Each has ``variance``; two of them have the covariance ``variance - sigma^2`` (they share the same correction).
    """
    return sigma**2 * sum(weight**2 for weight in weights) + (variance - sigma**2) * sum(weights) ** 2
