"""Score: a mean over prompts with its interval, and what the metrics share to get there.

Pictures are averaged within a prompt first and prompts afterwards; they are never pooled flat, because
unequal counts would weigh the prompts anew. The interval is over prompts and says nothing of training seeds
(Student's t, 95 %).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor

from likewise.statistics.distributions import t_quantile

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """A mean and its interval. `low` and `high` are None where one value alone gives no interval."""

    mean: float
    low: float | None
    high: float | None
    n: int
    """How many prompts (or pictures, for a ceiling) were averaged."""
    error: float | None = None
    """Standard error of the mean."""
    left_out: int = 0
    """Prompts that this metric cannot check."""
    prompts: Mapping[str, float] = field(default_factory=dict)
    """The mean of each prompt."""

    def to_json(self) -> dict[str, Any]:
        """What a results row keeps."""
        return {"mean": self.mean, "low": self.low, "high": self.high, "n": self.n}


@dataclass(frozen=True)
class Reading:
    """What was seen in some pictures."""

    vectors: Tensor
    """[n, d], each row of length 1."""
    failed: tuple[bool, ...]
    """Pictures that show nothing, black ones for instance. They count as the worst score, never skipped."""
    appearance: Tensor
    """[n, e], each row of length 1: the whole picture, where `vectors` may look at the subject alone."""
    labels: tuple[Mapping[str, str], ...] = ()
    """Per picture what the judge's heads say, `{"scene": "beach", ...}`; empty where there are no heads."""

    def __len__(self) -> int:
        return len(self.failed)


@dataclass(frozen=True)
class Evidence:
    """Everything a metric may look at: one method's drawn pictures beside the real ones."""

    drawn: Reading
    prompts: tuple[str, ...]
    """The prompt's id, one per drawn picture."""
    templates: Mapping[str, str]
    """Prompt id -> its text with `{}` for the concept."""
    train: Reading
    held_out: Reading
    phrases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Words of a prompt -> {head: label}, all of which must be seen."""
    wordings: Mapping[str, Tensor] = field(default_factory=dict)
    """Prompt id -> [d] in the space of `vectors`: the text with the noun, without the token. Empty where the
    features read no text."""


class Metric(Protocol):
    """One axis. `score` is None where the evidence says nothing on it."""

    name: str
    title: str
    better: Literal["higher", "lower"]
    meaning: str
    """One sentence for people."""
    place: int
    """Its place in a table."""
    reads: Literal["pictures", "prompts"]
    """Which features it is given: those that look at the subject, or those that check the prompt."""

    def card(self, features: str) -> str:
        """The full recipe's versioned id. Numbers with different ids must not be compared."""

    def score(self, evidence: Evidence) -> Score | None:
        """The score of the drawn pictures."""


def by_prompt(prompts: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """The mean of `values` within each prompt, in the order in which the prompts come."""
    groups: dict[str, list[float]] = {}
    for prompt, value in zip(prompts, values, strict=True):
        groups.setdefault(prompt, []).append(value)
    return {prompt: math.fsum(group) / len(group) for prompt, group in groups.items()}


def summarise(
    prompts: Mapping[str, float], limits: tuple[float, float] = (-math.inf, math.inf), left_out: int = 0
) -> Score:
    """The mean over prompts with its t-interval, cut off at `limits`, which no true value can pass."""
    values = list(prompts.values())
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Score(mean, None, None, count, None, left_out, dict(prompts))
    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1) / count)
    half = float(t_quantile((1 + CONFIDENCE) / 2, count - 1)) * error
    low, high = max(limits[0], mean - half), min(limits[1], mean + half)
    return Score(mean, low, high, count, error, left_out, dict(prompts))


def normalise(score: Score, floor: Score | None, ceiling: Score | None) -> float | None:
    """`(score - floor) / (ceiling - floor)`; None where the two anchors cannot be told apart.

    That is where they are less than three standard errors of their difference apart (or an anchor is
    missing): the concept then looks like any of its kind to this metric, and ranking by it would rank noise.
    """
    if floor is None or ceiling is None or not distinguishable(floor, ceiling):
        return None
    return (score.mean - floor.mean) / (ceiling.mean - floor.mean)


def distinguishable(floor: Score, ceiling: Score) -> bool:
    """Whether the ceiling is above the floor by three standard errors. An anchor without an error counts as exact."""
    return ceiling.mean - floor.mean > max(1e-9, 3 * math.hypot(floor.error or 0.0, ceiling.error or 0.0))
