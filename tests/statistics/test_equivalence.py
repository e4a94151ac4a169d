"""The four readings of an interval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from likewise.statistics.equivalence import beyond, read

CASES = [
    (0.1, 0.3, "better", True), (-0.3, -0.1, "worse", True), (0.02, 0.2, "better", False), (-0.05, 0.07, "same", False),
    (0.01, 0.07, "same", False), (-0.05, 0.2, "undecided", False), (0.0, 0.2, "better", False),
    (-0.2, 0.0, "worse", False), (0.0, 0.0, "same", False), (-0.08, 0.08, "same", False),
]  # fmt: skip


@pytest.mark.parametrize(("low", "high", "reading", "outside"), CASES)
def test_readings(low: float, high: float, reading: str, outside: bool) -> None:
    """Red where "not on one side of zero" is taken for "the same"."""
    assert str(read(low, high, 0.08)) == reading
    assert bool(beyond(low, high, 0.08)) is outside


@given(ends=st.lists(st.floats(-1, 1), min_size=2, max_size=2).map(sorted), margin=st.floats(0, 0.5))
def test_exchange_mirrors(ends: list[float], margin: float) -> None:
    low, high = ends
    mirrored = {"better": "worse", "worse": "better"}
    one, other = str(read(low, high, margin)), str(read(-high, -low, margin))
    assert other == mirrored.get(one, one) or (low == high == 0 and margin == 0)


def test_arrays_are_read_at_once() -> None:
    low, high = (np.array([case[k] for case in CASES]) for k in (0, 1))
    assert list(read(low, high, 0.08)) == [case[2] for case in CASES]
