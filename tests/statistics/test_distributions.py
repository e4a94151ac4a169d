"""Student's t against printed tables."""

from __future__ import annotations

import numpy as np
import pytest

from likewise.statistics.distributions import t_quantile, t_tail

# Two-sided 95 % and one-sided 95 % points, as every statistics book prints them.
TABLE = [(0.975, 1, 12.7062), (0.975, 2, 4.3027), (0.975, 7, 2.3646), (0.975, 30, 2.0423), (0.95, 3, 2.3534)]


@pytest.mark.parametrize(("probability", "freedom", "expected"), TABLE)
def test_quantiles_and_tails_are_those_of_the_tables(
    probability: float, freedom: int, expected: float
) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(expected, abs=5e-5)
    assert t_quantile(1 - probability, freedom) == pytest.approx(-expected, abs=5e-5)
    assert t_tail(expected, freedom) == pytest.approx(1 - probability, abs=1e-5)


def test_many_degrees_of_freedom_give_the_normal_quantile_and_fractions_lie_between() -> None:
    assert t_quantile(0.975, 1e6) == pytest.approx(1.959964, abs=1e-4)
    assert t_quantile(0.975, 3) < t_quantile(0.975, 2.5) < t_quantile(0.975, 2)


def test_arrays_are_taken_as_well() -> None:
    found = t_quantile(0.975, np.array([1.0, 7.0]))
    assert found == pytest.approx([12.7062, 2.3646], abs=5e-5)
