"""Equivalence: what an interval says about a difference, given the margin up to which differences do not matter.

"Not significant" is never read as "the same": that takes an interval inside the margin, which is fixed beforehand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MARGIN = 0.08
"""Up to this much, floor to ceiling, conditions are practically the same. It is about what two careful reproductions of one
method differ by on the published subject benchmark: 0.03 of DINO similarity."""


def read(low: Any, high: Any, margin: float) -> Any:
    """`better`, `worse`, `same` or `undecided` about the first, for numbers or arrays; an array of words.

    An interval inside the margin says `same` (two one-sided tests; Schuirmann 1987, J. Pharmacokinet. Biopharm. 15, 657),
    also where all of it is on one side of zero, but too near to matter. One that ends at zero is open there.
    """
    low, high = np.asarray(low), np.asarray(high)
    inside = (low >= -margin) & (high <= margin)
    return np.select([inside, low >= 0, high <= 0], ["same", "better", "worse"], "undecided")


def beyond(low: Any, high: Any, margin: float) -> Any:
    """Whether the whole interval lies outside the margin, for numbers or arrays."""
    return (np.asarray(low) > margin) | (np.asarray(high) < -margin)
