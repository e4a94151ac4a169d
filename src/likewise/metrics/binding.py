"""Binding: whether what was taught shows only where its word is said.

The same prompts are drawn from the same noise with the plain noun in the place of the word. What comes closer to the concept
there than the untaught base's pictures is not tied to the word. `leak` asks the same of other prompts of the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from likewise.metrics.score import Evidence, Score, rise


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
        return rise(evidence.unnamed_prompts, evidence.unnamed, evidence.unnamed_before, evidence.held_out)


METRIC = Binding()
