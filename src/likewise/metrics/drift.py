"""Drift: how far pictures of the class alone move when the concept is taught, the noise being the same.

It does not ask where they move: `leak` asks whether they come to look like the concept. How far another seed alone moves a
picture of the untaught base (`unrest`) is the measure to hold it against.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from likewise.metrics.score import Evidence, Reading, Score, grouped, of_pictures, summarise


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


def unrest(before: Reading, prompts: Sequence[str]) -> Score | None:
    """How far the untaught base's pictures of one prompt are from each other: 1 - mean cosine of all pairs, by prompt.

    None where every prompt was drawn once.
    """
    rows = grouped(prompts, list(range(len(before))))
    found = {}
    for prompt, few in rows.items():
        if len(few) > 1:
            seen = before.appearance[torch.tensor([int(row) for row in few])]
            pairs = len(few) * (len(few) - 1)
            found[prompt] = 1 - float(((seen @ seen.T).sum() - seen.square().sum()) / pairs)
    return summarise(found, (0.0, 2.0)) if found else None
