"""Copying: whether a method hands back its training pictures. Read beside fidelity, never part of an average.

A fixed threshold is wrong on a set of like pictures, so it comes from the person's own: a drawn picture is
flagged when it is nearer to a training picture than any two real pictures are to one another. With few
pictures that line is coarse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from likewise.metrics.score import Evidence, Reading, Score, by_prompt, summarise


@dataclass(frozen=True)
class Copying:
    """Share of pictures that are nearer to a training picture than the real pictures are to each other."""

    name: str = "copying"
    title: str = "Copies"
    better: Literal["higher", "lower"] = "lower"
    meaning: str = (
        "Share of pictures closer to a training picture than any two of your own pictures are to each other."
    )
    place: int = 3
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"copying-nearest-calibrated-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where there are too few real pictures to say what is near."""
        line = threshold(evidence.train, evidence.held_out)
        if line is None or not len(evidence.drawn):
            return None
        nearest = (evidence.drawn.appearance @ evidence.train.appearance.T).amax(1).tolist()
        values = [float(n > line and not bad) for n, bad in zip(nearest, evidence.drawn.failed, strict=True)]
        return summarise(by_prompt(evidence.prompts, values), (0.0, 1.0))


METRIC = Copying()


def threshold(train: Reading, held_out: Reading) -> float | None:
    """The largest similarity between two different real pictures, at least one of them trained on."""
    if not len(train) or len(train) + len(held_out) < 3:
        return None
    others = torch.cat([train.appearance, held_out.appearance]) if len(held_out) else train.appearance
    cosines = others @ train.appearance.T
    cosines[torch.arange(len(train)), torch.arange(len(train))] = -1.0
    return float(cosines.max()) + 1e-5
