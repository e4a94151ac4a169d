"""Gap: whether drawn pictures lean on the training pictures, by likeness to these over likeness to held-out ones.

A new true picture is as like the one as the other, but for the luck of the split; so what real pictures show is taken off.
Above 0 a method has learned its pictures rather than what is in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from likewise.metrics.score import Evidence, Reading, Score, likeness, of_pictures


@dataclass(frozen=True)
class Gap:
    """Mean cosine with the training pictures less that with the held-out ones, less the same of real pictures."""

    name: str = "gap"
    title: str = "Leans on training"
    better: Literal["higher", "lower"] = "lower"
    meaning: str = (
        "How much more drawn pictures look like the pictures that were taught than like the others."
    )
    place: int = 7
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"gap-train-heldout-less-real-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where no picture was held out, or there are too few for the gap of real ones. A blank picture has no gap."""
        drawn, train, held_out = evidence.drawn, evidence.train, evidence.held_out
        usual = real(train, held_out)
        if usual is None or not len(drawn):
            return None
        rows = zip(likeness(drawn, train), likeness(drawn, held_out), drawn.failed, strict=True)
        values = [0.0 if bad else taught - kept - usual for taught, kept, bad in rows]
        return of_pictures(evidence.prompts, values, (-2.0, 2.0))


METRIC = Gap()


def real(train: Reading, held_out: Reading) -> float | None:
    """The gap of real pictures, each left out where it would meet itself; None with fewer than two and one."""
    if len(train) < 2 or not len(held_out):
        return None
    gaps = _others(train, train, True) - _others(train, held_out, False)
    if len(held_out) > 1:
        gaps = torch.cat([gaps, _others(held_out, train, False) - _others(held_out, held_out, True)])
    return float(gaps.mean())


def _others(some: Reading, of: Reading, same: bool) -> torch.Tensor:
    """Each of `some`'s mean cosine with all `of`, without itself where these are the same."""
    cosines = some.vectors @ of.vectors.T
    return (cosines.sum(1) - cosines.diagonal()) / (len(of) - 1) if same else cosines.mean(1)
