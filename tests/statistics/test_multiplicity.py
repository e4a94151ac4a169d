"""Holm against the example of his paper's readers and against another program; intervals that agree with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.statistics.multiplicity import agreeing, holm, reach_of

P = st.lists(st.floats(1e-6, 1), min_size=1, max_size=12)


def test_by_hand() -> None:
    """Red where the adjusted values may fall, or the largest counts twice."""
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([[0.9, 0.8], [0.01, 0.02]])) == pytest.approx(np.array([[1, 1], [0.02, 0.02]]))


@given(p=P, alpha=st.floats(0.001, 0.5))
def test_as_the_procedure_is_told(p: list[float], alpha: float) -> None:
    """The smallest first, each against alpha over those that are left, until one fails."""
    rejected = set[int]()
    for place in sorted(range(len(p)), key=p.__getitem__):
        if p[place] * (len(p) - len(rejected)) > alpha:
            break
        rejected.add(place)
    found = holm(np.array(p))
    assert {place for place in range(len(p)) if found[place] <= alpha} == rejected


def test_a_reach_is_that_of_the_tables_and_shares_its_risk() -> None:
    assert reach_of(7) == pytest.approx(2.364624)
    assert reach_of(7, 0.05, tests=5) == reach_of(7, 0.01) == pytest.approx(3.499483)


@given(data=st.data(), p=P)
def test_an_interval_excludes_zero_where_holm_decides(data: st.DataObject, p: list[float]) -> None:
    """Red where no end is moved: the interval of a decided pair may then reach past zero."""
    value = np.array([data.draw(st.floats(-1, 1).filter(bool)) for _ in p])
    reach, adjusted = np.full(len(p), 0.5), np.array(p)
    low, high = agreeing(value, reach, adjusted, 0.05)
    shown = adjusted <= 0.05
    assert ((low >= 0) | (high <= 0))[shown].all()
    assert (low <= value).all()
    assert (value <= high).all()
    assert (low[~shown] == (value - reach)[~shown]).all()
    assert (np.where(value > 0, high, -low) == np.abs(value) + reach).all()  # the far end is never moved
