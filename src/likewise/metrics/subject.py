"""Subject fidelity: whether the drawn thing looks like the pictured one, in pictures kept out of training.

Held-out references, because scores against the training pictures reward copying (arXiv 2503.06632). The
ceiling is real against real, the floor the untrained base with the class noun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from likewise.metrics.score import Evidence, Reading, Score, likeness, of_pictures, summarise


@dataclass(frozen=True)
class Fidelity:
    """Mean cosine of all held-out x drawn pairs, within each prompt and then over prompts."""

    name: str = "fidelity"
    title: str = "Looks like it"
    better: Literal["higher", "lower"] = "higher"
    meaning: str = "How much the drawn thing looks like your own pictures of it that no method was shown."
    place: int = 0
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"fidelity-heldout-allpairs-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where no picture was held out."""
        if not len(evidence.held_out) or not len(evidence.drawn):
            return None
        return of_pictures(evidence.prompts, likeness(evidence.drawn, evidence.held_out), (-1.0, 1.0))


METRIC = Fidelity()


def ceiling(train: Reading, held_out: Reading) -> Score | None:
    """Real against real: each held-out picture's mean cosine with the training pictures.

    With a single held-out picture the interval is over the training pictures instead.
    """
    if not len(train) or not len(held_out):
        return None
    cosines = held_out.vectors @ train.vectors.T
    values = cosines.mean(1) if len(held_out) > 1 else cosines[0]
    return summarise({str(i): value for i, value in enumerate(values.tolist())}, (-1.0, 1.0))
