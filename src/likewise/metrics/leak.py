"""Leak: how much more pictures of the class alone look like the concept once it is taught.

As PRES of DreamBooth (Ruiz et al. 2023, arXiv 2208.12242), but against held-out pictures, and as a rise over what the
untaught base draws from the same noise: a class that looks like the concept anyway is no leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from likewise.metrics.score import Evidence, Score, likeness, of_pictures


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
        plain, before, real = evidence.plain, evidence.before, evidence.held_out
        if plain is None or before is None or not len(plain) or not len(real):
            return None
        pairs = zip(likeness(plain, real), likeness(before, real), strict=True)
        return of_pictures(evidence.plain_prompts, [after - was for after, was in pairs], (-2.0, 2.0))


METRIC = Leak()
