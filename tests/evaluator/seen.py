"""What the tests of metrics share: what a metric is given, and its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from likewise import metrics
from likewise.metrics.features import Features
from likewise.metrics.score import Evidence, Reading, Score

SHOWN = ("green-haired-man", "ink-woman", "mosaic-style")
PLAIN = {"white": (255, 255, 255), "blue": (53, 122, 233), "purple": (150, 80, 200), "pink": (250, 150, 190)}


def rows(seen: Reading, chosen: Sequence[int]) -> Reading:
    """Some rows of what was seen, in this order."""
    return seen.pick(chosen)


def evidence(
    judge: Features,
    drawn: Reading,
    train: Reading,
    held_out: Reading,
    prompts: Sequence[str] | None = None,
    templates: Mapping[str, str] | None = None,
) -> Evidence:
    names = tuple(prompts or (str(row) for row in range(len(drawn))))
    texts = templates or {name: "a {}" for name in names}
    return Evidence(drawn, names, texts, train, held_out, judge.phrases)


def score(name: str, found: Evidence) -> Score:
    answer = metrics.get(name).score(found)
    assert answer is not None
    return answer
