"""The noise is the one that is declared, and nothing comes out of it when it fails."""

import math
import random
import statistics
from collections import Counter
from fractions import Fraction

import pytest

from core.anon import noise


def exact_sample(sigma2: Fraction, rng: random.Random) -> int:
    """A discrete Gaussian after Canonne, Kamath and Steinke (2020), in whole numbers only: what OpenDP's must look like."""

    def bernoulli_exp(x: Fraction) -> bool:  # true with probability exp(-x)
        while x > 1:
            if not bernoulli_exp(Fraction(1)):
                return False
            x -= 1
        k = 1
        while rng.randrange((x / k).denominator) < (x / k).numerator:
            k += 1
        return k % 2 == 1

    t = math.isqrt(int(sigma2)) + 1
    while True:
        u = rng.randrange(t)
        if not bernoulli_exp(Fraction(u, t)):
            continue
        v = 0
        while bernoulli_exp(Fraction(1)):
            v += 1
        value = (u + t * v) * (1 if rng.randrange(2) else -1)
        if value == 0 and rng.randrange(2):  # zero would come up with either sign
            continue
        if bernoulli_exp((abs(value) - sigma2 / t) ** 2 / (2 * sigma2)):
            return value


def test_it_is_a_discrete_gaussian_of_the_declared_width() -> None:
    drawn = noise.measure([0] * 40000, sigma=4, units=6).values
    assert statistics.pvariance(drawn) == pytest.approx(16, rel=5 * math.sqrt(2 / 40000))
    assert abs(statistics.mean(drawn)) < 5 * 4 / math.sqrt(40000)
    weights = {k: math.exp(-(k**2) / 32) for k in range(-60, 61)}
    counts, total = Counter(drawn), sum(weights.values())
    for k in range(-8, 9):
        share = weights[k] / total
        assert abs(counts[k] / 40000 - share) < 5 * math.sqrt(share / 40000)


def test_an_independent_exact_sampler_agrees() -> None:
    rng = random.Random(3)
    mine = [exact_sample(Fraction(16), rng) for _ in range(4000)]
    theirs = noise.measure([0] * 4000, sigma=4, units=6).values
    for k in range(-4, 5):
        one, other = sum(each <= k for each in mine) / 4000, sum(each <= k for each in theirs) / 4000
        assert abs(one - other) < 5 * math.sqrt(0.5 / 4000)


def test_no_two_draws_are_alike_and_the_cost_is_opendps_own() -> None:
    first, second = (noise.measure([100] * 200, sigma=8, units=12) for _ in range(2))
    assert first.values != second.values
    assert first.cost == pytest.approx(12 / 64)
    assert noise.mechanism().startswith("discrete Gaussian, OpenDP ")


def test_a_failure_tells_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import opendp.prelude as dp

    def broken(*_spaces: object, **_more: object) -> object:
        def fail(values: list[int]) -> list[int]:
            raise ValueError(f"cannot handle {values}")

        return fail

    monkeypatch.setattr(dp.m, "make_gaussian", broken)
    with pytest.raises(noise.NoiseFailed) as failed:
        noise.measure([4711], sigma=4, units=1)
    assert "4711" not in str(failed.value)
    assert failed.value.__cause__ is None and failed.value.__context__ is None
