"""Intervals over replicates and prompts, against sums done by hand and against what they must never do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import brentq

from likewise.errors import EvidenceError
from likewise.statistics.crossed import Crossed, difference, mean
from likewise.statistics.distributions import t_quantile

BY_HAND = np.array([[1.0, 2.0, 3.0, 6.0], [2.0, 2.0, 4.0, 8.0], [3.0, 5.0, 5.0, 7.0]])
TABLES = arrays(float, (3, 6), elements=st.floats(-1, 1, width=32))


def test_variances_are_those_of_the_analysis_of_variance() -> None:
    """Mean squares by hand. Red where `residual` loses its degrees of freedom."""
    found = Crossed.of(BY_HAND)
    rows, columns = BY_HAND.mean(1), BY_HAND.mean(0)
    rest = sum(
        (BY_HAND[r, p] - rows[r] - columns[p] + BY_HAND.mean()) ** 2 for r in range(3) for p in range(4)
    )
    assert found.value == pytest.approx(4.0)
    assert found.rows == pytest.approx(sum((rows - 4) ** 2) / 2 / 3)
    assert found.columns == pytest.approx(sum((columns - 4) ** 2) / 3 / 4)
    assert found.residual == pytest.approx(rest / 6 / 12)
    wanted = max(found.rows - found.residual, 0) + found.columns
    assert found.error() == pytest.approx(math.sqrt(wanted))


def test_the_interval_joins_two_intervals_each_with_its_own_t() -> None:
    """Red where either term takes the other's degrees of freedom."""
    found, estimate = Crossed.of(BY_HAND), mean(BY_HAND)
    wide = 4.302653**2 * (found.rows - found.residual) + 3.182446**2 * found.columns
    assert estimate.high - estimate.value == pytest.approx(math.sqrt(wide), rel=1e-6)
    assert estimate.value - estimate.low == pytest.approx(math.sqrt(wide), rel=1e-6)
    assert (estimate.replicates, estimate.prompts, estimate.freedom) == (3, 4, 2)


def test_prompts_without_any_spread_leave_the_interval_of_the_replicates() -> None:
    rows = np.array([0.2, 0.5, 0.3])
    estimate = mean(np.repeat(rows[:, None], 5, axis=1))
    assert estimate.error == pytest.approx(rows.std(ddof=1) / math.sqrt(3))
    assert estimate.high - estimate.value == pytest.approx(4.302653 * estimate.error, rel=1e-6)


def test_the_error_is_never_below_the_larger_of_its_two_terms() -> None:
    """Red where the maximum goes: residuals that cancel in the means would leave less than either of them."""
    draw = np.random.default_rng(0)
    found = Crossed.of(draw.normal(0, 1, (2000, 3, 20)))
    larger = np.sqrt(np.maximum(found.rows, found.columns))
    assert (found.error() >= larger * (1 - 1e-12)).all()
    plain = np.sqrt(np.maximum(found.rows + found.columns - found.residual, 0))
    assert (plain < larger * 0.999).any()


def test_p_is_the_risk_whose_interval_ends_at_zero() -> None:
    """Against a root found by another program. Red where the search is off by one row of its table."""
    draw = np.random.default_rng(1)
    for size in (0.0, 0.05, 0.3, 1.0):
        found = Crossed.of(draw.normal(size, 0.3, (3, 8)))
        wanted = brentq(lambda risk, one=found: float(one.reach(risk) - abs(one.value)), 1e-9, 1 - 1e-12)
        assert found.p() == pytest.approx(wanted, rel=1e-4)


@given(first=TABLES, second=TABLES)
def test_exchange_mirrors_exactly(first: np.ndarray, second: np.ndarray) -> None:
    one, other = difference(first, second), difference(second, first)
    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)
    assert (one.error, one.freedom) == (other.error, other.freedom)


def test_a_common_fold_effect_cancels() -> None:
    """Red where the two are not paired by replicate."""
    draw = np.random.default_rng(2)
    first, second, fold = draw.normal(0, 1, (3, 9)), draw.normal(0, 1, (3, 9)), draw.normal(0, 50, (3, 1))
    plain, shifted = difference(first, second), difference(first + fold, second + fold)
    assert shifted.value == pytest.approx(plain.value)
    assert shifted.high == pytest.approx(plain.high)
    assert mean(first + fold).error > 10 * mean(first).error


def test_pooled_replicates_are_the_interaction_of_condition_and_replicate() -> None:
    """The textbook's mean square, for three conditions. Red where the mean over pairs becomes another sum."""
    scores = np.random.default_rng(3).normal(0, 1, (3, 4, 7))
    pairs = Crossed.of(scores[[0, 0, 1]] - scores[[1, 2, 2]])
    means = scores.mean(-1)
    inner = means - means.mean(0) - means.mean(1)[:, None] + means.mean()
    interaction = (inner**2).sum() / (2 * 3)
    found = pairs.pooled()
    assert found.freedom == 6
    assert found.rows.min() == pytest.approx(2 * interaction / 4)
    assert (found.rows >= pairs.rows).all()
    assert Crossed.of((scores[0] - scores[1])[None]).pooled().freedom == 3  # a pair alone pools nothing


def test_more_replicates_narrow_what_they_can() -> None:
    found = Crossed.of(np.random.default_rng(4).normal(0, 1, (3, 20)) + np.array([[-1.0], [0.0], [1.0]]))
    assert found.grown(3).reach(0.05) == pytest.approx(found.reach(0.05))
    reaches = [float(found.grown(count).reach(0.05)) for count in (3, 5, 10, 1000)]
    assert reaches == sorted(reaches, reverse=True)
    last = t_quantile(0.975, 19) * math.sqrt(max(found.columns - found.residual, 0))
    assert reaches[-1] >= last


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.zeros((1, 20)), "one replicate"),
        (np.zeros((3, 1)), "prompt"),
        (np.zeros(5), "dimensions"),
        (np.full((3, 4), np.nan), "not a finite number"),
        (np.full((3, 4), np.inf), "not a finite number"),
    ],
)
def test_what_carries_no_interval_is_refused(scores: np.ndarray, said: str) -> None:
    with pytest.raises(EvidenceError, match=said):
        mean(scores)
    with pytest.raises(EvidenceError):
        difference(scores, np.zeros_like(scores))


def test_shapes_that_cannot_be_paired_are_refused() -> None:
    with pytest.raises(EvidenceError, match="3 replicates x 4 prompts and of 3 x 5"):
        difference(np.zeros((3, 4)), np.zeros((3, 5)))


def test_equal_scores_give_no_width_and_p_one() -> None:
    same = Crossed.of(np.zeros((3, 5)))
    assert (float(same.reach(0.05)), float(same.p())) == (0.0, 1.0)
