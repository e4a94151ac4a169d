"""Score: a mean over prompts with its interval, and what the metrics share to get there.

Pictures are averaged within a prompt first and prompts afterwards; they are never pooled flat, because
unequal counts would weigh the prompts anew. The interval is over prompts and says nothing of training seeds
(Student's t, 95 %).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
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
    pictures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Every picture's value under its prompt, in the order of the gallery; one value where a metric looks at a
    prompt's pictures together."""
    missed: int = 0
    """Pictures in which nothing could be measured. They are in the mean, at the worst value."""

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
    style: Tensor | None = None
    """[n, s], each row of length 1: how it is drawn, whatever it shows; None where the features do not tell."""
    miniatures: Tensor | None = None
    """[n, 3, 32, 32] in 0 to 1: small copies, for comparing pictures as such. Every reading of pictures has them."""

    def __len__(self) -> int:
        return len(self.failed)

    def pick(self, rows: Sequence[int]) -> Reading:
        """What was seen in some of the pictures, in this order."""
        chosen = list(rows)
        return Reading(
            self.vectors[chosen],
            tuple(self.failed[row] for row in chosen),
            self.appearance[chosen],
            tuple(self.labels[row] for row in chosen) if self.labels else (),
            None if self.style is None else self.style[chosen],
            None if self.miniatures is None else self.miniatures[chosen],
        )

    @classmethod
    def joined(cls, some: Sequence[Reading]) -> Reading:
        """What was seen in several batches, one after the other; each was seen by the same features."""
        styles = [one.style for one in some if one.style is not None]
        small = [one.miniatures for one in some if one.miniatures is not None]
        return cls(
            torch.cat([one.vectors for one in some]),
            tuple(bad for one in some for bad in one.failed),
            torch.cat([one.appearance for one in some]),
            tuple(label for one in some for label in one.labels),
            torch.cat(styles) if styles else None,
            torch.cat(small) if small else None,
        )


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
    floor: Reading | None = None
    """What the untaught base drew for the same prompts from the same noise, row by row with `drawn`."""
    plain: Reading | None = None
    """Drawn with what was taught, from prompts that name the class and not the concept."""
    plain_prompts: tuple[str, ...] = ()
    """The prompt's id, one per picture of `plain`."""
    before: Reading | None = None
    """What the untaught base drew for these, row by row with `plain`."""
    unnamed: Reading | None = None
    """Drawn with what was taught, from some of the prompts, with the plain noun in the place of the taught word."""
    unnamed_prompts: tuple[str, ...] = ()
    """The prompt's id, one per picture of `unnamed`."""
    unnamed_before: Reading | None = None
    """What the untaught base drew for these, row by row with `unnamed`."""
    others: Reading | None = None
    """Look-alikes: other individuals of the class, such as the untaught base draws."""
    drawn_subject: Reading | None = None
    """`drawn`, cut out by `masked.cut_out`."""
    held_out_subject: Reading | None = None
    """`held_out`, cut out by `masked.cut_out`."""
    drawn_rest: Reading | None = None
    """`drawn` without its subject and that of `floor`, by `masked.rest`."""
    floor_rest: Reading | None = None
    """`floor` with the grey of `drawn_rest`, so that the two differ in what is around it alone."""
    train_rest: Reading | None = None
    """`train` without the subject."""
    shown: frozenset[str] = frozenset()
    """Ids of prompts that ask for what a training picture's caption says, so that a right answer is near that picture."""


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
    return {prompt: math.fsum(group) / len(group) for prompt, group in grouped(prompts, values).items()}


def grouped(prompts: Sequence[str], values: Sequence[float]) -> dict[str, tuple[float, ...]]:
    """`values` within each prompt, prompts and values in the order in which they come."""
    groups: dict[str, list[float]] = {}
    for prompt, value in zip(prompts, values, strict=True):
        groups.setdefault(prompt, []).append(value)
    return {prompt: tuple(group) for prompt, group in groups.items()}


def of_pictures(
    prompts: Sequence[str],
    values: Sequence[float],
    limits: tuple[float, float] = (-math.inf, math.inf),
    left_out: int = 0,
) -> Score:
    """The score of one value per picture: averaged within each prompt, then over prompts."""
    score = summarise(by_prompt(prompts, values), limits, left_out)
    return replace(score, pictures=grouped(prompts, values))


def likeness(drawn: Reading, real: Reading) -> list[float]:
    """Each drawn picture's mean cosine with all real ones. A blank one is like nothing, whatever a network finds."""
    cosines = (drawn.vectors @ real.vectors.T).mean(1).tolist()
    return [min(c, 0.0) if bad else c for c, bad in zip(cosines, drawn.failed, strict=True)]


def summarise(
    prompts: Mapping[str, float], limits: tuple[float, float] = (-math.inf, math.inf), left_out: int = 0
) -> Score:
    """The mean over prompts with its t-interval, cut off at `limits`, which no true value can pass."""
    values = list(prompts.values())
    pictures = {prompt: (value,) for prompt, value in prompts.items()}
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Score(mean, None, None, count, None, left_out, dict(prompts), pictures)
    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1) / count)
    half = float(t_quantile((1 + CONFIDENCE) / 2, count - 1)) * error
    low, high = max(limits[0], mean - half), min(limits[1], mean + half)
    return Score(mean, low, high, count, error, left_out, dict(prompts), pictures)


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


def rise(
    prompts: Sequence[str], after: Reading | None, before: Reading | None, real: Reading
) -> Score | None:
    """How much nearer to `real` pictures came from `before` to `after`, of the same prompts and noise.

    None where they were not drawn both times, or `real` is empty.
    """
    if after is None or before is None or not len(after) or not len(real):
        return None
    pairs = zip(likeness(after, real), likeness(before, real), strict=True)
    return of_pictures(prompts, [then - was for then, was in pairs], (-2.0, 2.0))
