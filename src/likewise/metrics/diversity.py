"""Diversity: whether another seed gives another picture. A model that has collapsed draws the same one again.

The Vendi score (Friedman & Dieng 2022, arXiv 2210.02410): the exponential of the entropy of the eigenvalues
of K / n, with K the cosines of one prompt's pictures. It counts how many different pictures there are, from 1
to n. Noise raises it too, so it is read only beside fidelity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from likewise.metrics.score import Evidence, Reading, Score, summarise


@dataclass(frozen=True)
class Diversity:
    """Vendi score of the pictures of one prompt, then averaged over prompts."""

    name: str = "diversity"
    title: str = "Varies"
    better: Literal["higher", "lower"] = "higher"
    meaning: str = "How many truly different pictures one prompt gives when only the seed changes."
    place: int = 2
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"diversity-vendi-cosine-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where every prompt was drawn once. Failed pictures add nothing: a prompt of them scores 1."""
        found = counts(evidence.drawn, evidence.prompts)
        if not found:
            return None
        most = max(Counter(evidence.prompts).values())
        return summarise(found, (1.0, float(most)))


METRIC = Diversity()


def counts(drawn: Reading, prompts: Sequence[str]) -> dict[str, float]:
    """The Vendi score of each prompt that was drawn more than once, of the pictures that did not fail."""
    groups: dict[str, list[int]] = {}
    for row, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(row)
    seen = {p: [row for row in rows if not drawn.failed[row]] for p, rows in groups.items() if len(rows) > 1}
    return {prompt: vendi(drawn.appearance[rows]) for prompt, rows in seen.items()}


def vendi(vectors: Tensor) -> float:
    """The effective number of different rows of `vectors` [n, d], each of length 1: from 1 to n."""
    if len(vectors) < 2:
        return 1.0
    wide = vectors.double()
    shares = torch.linalg.eigvalsh(wide @ wide.T / len(wide)).clamp(min=0)
    shares = shares / shares.sum()
    return float(torch.special.entr(shares).sum().exp())
