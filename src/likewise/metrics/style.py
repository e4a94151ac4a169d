"""Style: whether a picture is drawn like the person's, whatever it shows. For concepts that are a style.

Similarity of whole pictures sees content too, and may rank another drawing of the same house above a tree in the right
style. Statistics of the channels of a network's middle layers (`features.channels`) have no places and few things in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from likewise.metrics.score import Evidence, Score, of_pictures


@dataclass(frozen=True)
class Style:
    """Mean cosine of style vectors over all held-out x drawn pairs, within each prompt and then over prompts."""

    name: str = "style"
    title: str = "Drawn like it"
    better: Literal["higher", "lower"] = "higher"
    meaning: str = "How much strokes, textures and colours are those of your own pictures, whatever is shown."
    place: int = 6
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"style-heldout-channels-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where no picture was held out, or the features see no style."""
        drawn, real = evidence.drawn, evidence.held_out
        if drawn.style is None or real.style is None or not len(drawn) or not len(real):
            return None
        cosines = (drawn.style @ real.style.T).mean(1).tolist()
        values = [min(c, 0.0) if bad else c for c, bad in zip(cosines, drawn.failed, strict=True)]
        return of_pictures(evidence.prompts, values, (-1.0, 1.0))


METRIC = Style()
