"""The noise: exact discrete Gaussian from OpenDP's secure source, never seeded, never kept apart from the sum.

OpenDP also states what the noise protects (its privacy map); the builder compares that with its own reckoning, so that
neither can be wrong alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from core.errors import AdminError


class NoiseFailed(AdminError):
    """No noise, no release: nothing was published."""


@dataclass(frozen=True)
class Measured:
    """Counts with noise in them, and what OpenDP says they cost one account at most (squared mu)."""

    values: tuple[int, ...]
    cost: float


def mechanism() -> str:
    """Return the name of the mechanism, as it is stored with each release."""
    return f"discrete Gaussian, OpenDP {version('opendp')}"


def measure(counts: Sequence[int], *, sigma: float, units: int) -> Measured:
    """Return the counts with noise of standard deviation ``sigma`` in each.

    ``units`` is how many of them one account can change by one. Raises NoiseFailed, without the values, when it cannot be done.
    """
    try:
        import opendp.prelude as dp

        dp.enable_features("contrib")
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T="f64")
        gaussian = dp.m.make_gaussian(*space, scale=float(sigma))
        return Measured(tuple(gaussian(list(map(int, counts)))), 2 * float(gaussian.map(d_in=float(units) ** 0.5)))
    except ImportError:
        raise NoiseFailed("OpenDP is not installed: run `make env`, then publish again.") from None
    except Exception as error:  # noqa: BLE001 - its text and frames could hold the counts: only the kind leaves here
        kind = type(error).__name__
    raise NoiseFailed(f"The noise could not be drawn ({kind}). Nothing was published.")
