"""Leak: how much more pictures of the class alone look like the concept once it is taught.

As PRES of DreamBooth (Ruiz et al. 2023, arXiv 2208.12242), but against held-out pictures, and as a rise over what the
untaught base draws from the same noise: a class that looks like the concept anyway is no leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from likewise.metrics.score import Evidence, Score, rise


@dataclass(frozen=True)
class Leak:
    """Mean cosine of class pictures with the held-out ones, after less before."""

    name: str = "leak"
    title: str = "Leaks into the class"
    better: Literal["higher", "lower"] = "lower"
    meaning: str = "How much more pictures that do not ask for the concept look like it, once it is taught."
    place: int = 8
    reads: Literal["pictures", "prompts"] = "pictures"

    def card(self, features: str) -> str:
        """See `Metric`."""
        return f"leak-heldout-rise-v1/{features}"

    def score(self, evidence: Evidence) -> Score | None:
        """None where the class was not drawn before and after, or no picture was held out."""
        return rise(evidence.plain_prompts, evidence.plain, evidence.before, evidence.held_out)


METRIC = Leak()
