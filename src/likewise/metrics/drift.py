"""Drift: how far pictures of the class alone move when the concept is taught, the noise being the same.

It does not ask where they move: `leak` asks whether they come to look like the concept. How far another prompt moves a
picture of the untaught base (`spread`) is the measure to hold it against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from likewise.metrics.score import Evidence, Reading, Score, of_pictures


@dataclass(frozen=True)
class Drift:
    """1 - cosine of the whole picture before and after, mean over pairs of the same prompt and noise."""

    name: str = "drift"
    title: str = "Moves the class"
    better: Literal["higher", "lower"] = "lower"
    meaning: str = "How far pictures that do not ask for the concept move when it is taught."
    place: int = 9
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"drift-paired-cosine-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where the class was not drawn before and after. A picture that went blank moved by 1 at least."""
        plain, before = evidence.plain, evidence.before
        if plain is None or before is None or not len(plain):
            return None
        moved = (1 - (plain.appearance * before.appearance).sum(1)).tolist()
        rows = zip(moved, plain.failed, before.failed, strict=True)
        values = [max(far, 1.0) if bad and not was else far for far, bad, was in rows]
        return of_pictures(evidence.plain_prompts, values, (0.0, 2.0))


METRIC = Drift()


def spread(before: Reading, prompts: Sequence[str]) -> float | None:
    """How far the untaught base's pictures of different prompts are from each other: 1 - mean cosine of all such pairs.

    None where there is one prompt. Seeds of one prompt are no measure: a base that draws nearly one picture for a prompt
    would have drifted at the first touch.
    """
    names = list(prompts)
    apart = torch.tensor([[one != other for other in names] for one in names])
    if not apart.any():
        return None
    return 1 - float((before.appearance @ before.appearance.T)[apart].mean())
