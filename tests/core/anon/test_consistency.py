"""Parts add up, and the stated errors are the real ones."""

import random
import statistics

import pytest

from core.anon.consistency import Estimate, best_total, parts_of, variance_of_sum


def test_parts_add_up_to_the_weighted_mean() -> None:
    total = best_total([([10.0], 4.0), ([1.0, 2.0, 4.0], 4.0)])
    assert total == Estimate(pytest.approx((10 * 3 + 7) / 4), pytest.approx(12.0))
    parts = parts_of(total, [1.0, 2.0, 4.0], 4.0)
    assert sum(each.value for each in parts) == pytest.approx(total.value)
    assert parts_of(total, [10.0], 4.0)[0].value == pytest.approx(total.value)


def test_it_is_the_least_squares_solution() -> None:
    import numpy as np

    rng = random.Random(7)
    months, whole = [rng.gauss(20, 4) for _ in range(3)], rng.gauss(60, 4)
    design = np.vstack([np.eye(3), np.ones((1, 3))])
    solved, *_ = np.linalg.lstsq(design, np.array([*months, whole]), rcond=None)
    parts = parts_of(best_total([([whole], 4.0), (months, 4.0)]), months, 4.0)
    assert [each.value for each in parts] == pytest.approx(list(solved))


def test_the_stated_variances_are_the_real_ones() -> None:
    rng = random.Random(11)
    first, pair, contrast, told = [], [], [], None
    for _ in range(20000):
        months, whole = [rng.gauss(0, 4) for _ in range(3)], rng.gauss(0, 4)
        parts = parts_of(best_total([([whole], 4.0), (months, 4.0)]), months, 4.0)
        first.append(parts[0].value)
        pair.append(parts[0].value + parts[1].value)
        contrast.append(parts[0].value - parts[1].value)
        told = parts[0].variance
    assert told == pytest.approx(12)
    for seen, weights in ((first, [1]), (pair, [1, 1]), (contrast, [1, -1])):
        assert statistics.pvariance(seen) == pytest.approx(
            variance_of_sum(weights, sigma=4.0, variance=told or 0), rel=0.06
        )
