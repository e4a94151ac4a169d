"""Binding: whether what was taught shows only where its word is said.

The same prompts are drawn from the same noise with the plain noun in the place of the word. What comes closer to the concept
there than the untaught base's pictures is not tied to the word. `leak` asks the same of other prompts of the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from likewise.metrics.score import Evidence, Score, likeness, of_pictures


@dataclass(frozen=True)
class Binding:
    """Mean cosine with the held-out pictures without the word, less that of the untaught base, picture by picture."""

    name: str = "binding"
    title: str = "Shows without its word"
    better: Literal["higher", "lower"] = "lower"
    meaning: str = "How much closer pictures come to the concept although its word is left out of the prompt."
    place: int = 8
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"binding-heldout-rise-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where nothing was drawn without the word, or no picture was held out."""
        unnamed, before, real = evidence.unnamed, evidence.unnamed_before, evidence.held_out
        if unnamed is None or before is None or not len(unnamed) or not len(real):
            return None
        pairs = zip(likeness(unnamed, real), likeness(before, real), strict=True)
        return of_pictures(evidence.unnamed_prompts, [after - was for after, was in pairs], (-2.0, 2.0))


METRIC = Binding()
