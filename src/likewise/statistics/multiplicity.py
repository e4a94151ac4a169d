"""Multiplicity: keeping many tests at once honest. No torch; knows nothing of what is tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from likewise.statistics.distributions import t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray


def reach_of(freedom: float, risk: float = 0.05, tests: int = 1) -> float:
    """How many standard errors an interval of Student's t reaches to each side.

    Of `tests` intervals, all hold together with the probability 1 - risk or more (Bonferroni).
    """
    return float(t_quantile(1 - risk / tests / 2, freedom))


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The p-values [..., m] adjusted so that those up to alpha are wrong, any of them, in alpha of all cases at most.

    Holm 1979, Scand. J. Stat. 6, 65. The smallest counts m times, the next m - 1 times, and none less than one before it.
    """
    tests = p.shape[-1]
    order = np.argsort(p, axis=-1, kind="stable")
    counted = np.take_along_axis(p, order, -1) * np.arange(tests, 0, -1)
    adjusted = np.empty_like(counted)
    np.put_along_axis(adjusted, order, np.minimum(np.maximum.accumulate(counted, axis=-1), 1.0), -1)
    return adjusted


def agreeing(
    value: NDArray[np.float64], reach: NDArray[np.float64], p: NDArray[np.float64], risk: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ends of the intervals `value` +- `reach` [..., m], made to agree with the adjusted p-values.

    `reach` is that of intervals at risk / m (Bonferroni), which hold all together. Holm decides more pairs than these, and
    of such a pair he shows the sign and no more. The end that reaches past zero is then moved to zero, where the interval
    is open (Strassburger and Bretz 2008, Stat. Med. 27, 4914, for one side). So each of two promises is kept with the
    probability 1 - risk: all intervals hold before ends are moved, and no sign is wrong.
    """
    low, high = value - reach, value + reach
    shown = p <= risk
    return (
        np.where(shown & (value > 0), np.maximum(low, 0.0), low),
        np.where(shown & (value < 0), np.minimum(high, 0.0), high),
    )
