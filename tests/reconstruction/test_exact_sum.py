"""Sums that are exact, whatever the order."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tasks.reconstruction.statistics.exact_sum import ExactSum


@pytest.mark.parametrize("seed", range(3))
def test_sums_are_rounded_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(200, 30)) * 10.0 ** rng.integers(-300, 300, size=(200, 30))
    values[::7] *= -1
    values[0, 0], values[1, 0] = 5e-324, -0.0
    total = ExactSum(30)
    for row in values:
        total.add(row)
    expected = [float(sum(map(Fraction, column))) for column in values.T]
    np.testing.assert_array_equal(total.result(), expected)


def test_order_and_grouping_do_not_matter() -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=(1000, 5)) * np.exp(rng.normal(size=(1000, 5)) * 20)
    halves = [ExactSum(5), ExactSum(5)]
    for number, row in enumerate(values[rng.permutation(1000)]):
        halves[number % 2].add(row)
    joined = ExactSum(5)
    joined.limbs[:] = halves[0].limbs + halves[1].limbs
    whole = ExactSum(5)
    for row in values:
        whole.add(row)
    np.testing.assert_array_equal(joined.result(), whole.result())


def test_overflow_is_an_error() -> None:
    with pytest.raises(FloatingPointError):
        ExactSum(1).add(np.array([np.inf]))
