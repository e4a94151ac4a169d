"""Layout: whether a prompt still gives as many different pictures as the untaught base draws from the same noise.

The Vendi score less 1 counts pictures beyond the first, so that 0 is a method that draws one picture for every seed, and 1
is the base's own variety. `diversity` has the count itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from likewise.metrics.diversity import counts
from likewise.metrics.score import Evidence, Score, summarise

LEAST = 0.01
"""A base whose pictures of a prompt differ by less than this has no variety to keep."""


@dataclass(frozen=True)
class Layout:
    """(Vendi - 1) of each prompt over the mean (Vendi - 1) of the untaught base, so that the mean is the ratio of means."""

    name: str = "layout"
    title: str = "Keeps variety"
    better: Literal["higher", "lower"] = "higher"
    meaning: str = "How much of the untaught base's variety between seeds is left."
    place: int = 5
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"layout-vendi-ratio-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None without the base's pictures, where every prompt was drawn once, or where the base draws one picture."""
        if evidence.floor is None:
            return None
        own, base = counts(evidence.drawn, evidence.prompts), counts(evidence.floor, evidence.prompts)
        usual = fmean(base.values()) - 1 if base else 0.0
        if usual < LEAST:
            return None
        return summarise({prompt: (count - 1) / usual for prompt, count in own.items()}, (0.0, float("inf")))


METRIC = Layout()
