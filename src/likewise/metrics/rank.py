"""Rank: whether a drawn picture finds the pictured individual among look-alikes of its kind.

Finer-Personalization Rank (arXiv 2512.19026): each drawn picture is a query, the held-out pictures and pictures of others of
the class are a gallery, and the score is how far up the held-out ones come. Where cosines hardly differ between individuals,
their order still does. Look-alikes that the untaught base draws are a start; real ones are harder and better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from likewise.metrics.score import Evidence, Score, of_pictures


@dataclass(frozen=True)
class Rank:
    """Average precision of the held-out pictures in a gallery with look-alikes, by picture."""

    name: str = "rank"
    title: str = "Found among others"
    better: Literal["higher", "lower"] = "higher"
    meaning: str = (
        "How surely a drawn picture leads to your own pictures when others of the same kind lie among them."
    )
    place: int = 4
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"rank-heldout-lookalikes-ap-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None without look-alikes or held-out pictures. A blank picture is a query that finds everything else first."""
        drawn, real, others = evidence.drawn, evidence.held_out, evidence.others
        if others is None or not len(others) or not len(real) or not len(drawn):
            return None
        own, strange = (drawn.vectors @ real.vectors.T).tolist(), (drawn.vectors @ others.vectors.T).tolist()
        worst = average_precision([0.0] * len(real), [0.0] * len(others))
        values = [
            worst if bad else average_precision(near, far)
            for near, far, bad in zip(own, strange, drawn.failed, strict=True)
        ]
        return of_pictures(evidence.prompts, values, (0.0, 1.0))


METRIC = Rank()


def average_precision(wanted: Sequence[float], others: Sequence[float]) -> float:
    """Mean precision at each wanted item, by falling similarity: 1 where all are first. Ties go to the others."""
    order = sorted([(-value, 1) for value in wanted] + [(-value, 0) for value in others])
    found, total = 0, 0.0
    for place, (_, hit) in enumerate(order, 1):
        if hit:
            found += 1
            total += found / place
    return total / len(wanted)
