"""The judge's view of the suite: pictures beside the true ones of their own prompt, and tables of it.

The untaught base is at 0 and true pictures are at 1. Also scored, for comparison: the base as it is, and the references
themselves in place of drawings, which is what a method would get that copied them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from torch import Tensor

from benchmarks.suite_card import Subject
from likewise import metrics
from likewise.concept import slug
from likewise.gallery import Gallery
from likewise.metrics.features import Features, read
from likewise.metrics.score import Evidence, Reading, Score, normalise, summarise

AXES = ("subject", "picture", "prompt", "thing", "leak", "drift", "copies")
"""Scores of a row. ``subject``, ``picture``: nearness to the true pictures by the thing, and by the whole picture (0:
untaught base, 1: true pictures). ``prompt``: share of place, colour, number and size asked for that is seen. ``thing``:
share of the things asked for that are seen, where the prompt is for a style. ``leak``: as ``subject``, of pictures asked
for the class alone (0: nothing of the concept in them). ``drift``: how far these pictures are from the untaught base's of
the same noise, as 1 - cosine of the whole picture. ``copies``: share that is nearer to a reference than real ones are."""
SPREAD = ("subject", "picture", "prompt")

Found = dict[tuple[str, str], list[dict[str, float | None]]]
"""(trial, concept) -> scores of each training seed."""


class Scorer:
    """The judge's view of one concept."""

    def __init__(self, judge: Features, subject: Subject, floor: Gallery) -> None:
        self.judge, self.subject = judge, subject
        references, true = subject.pictures()
        self.examples = references
        self.references, self.true = read(judge, references), read(judge, true)
        self.each = len(true) // len(subject.asks)
        self.ids = tuple(slug(text) for text in subject.texts("class", ""))
        base = read(judge, floor.images("asked"))
        self.before = base.appearance
        self.floor = {axis: self.near(base, axis) for axis in ("vectors", "appearance")}
        self.ceiling = {axis: self.top(axis) for axis in self.floor}

    def near(self, drawn: Reading, axis: str) -> Score:
        """Mean cosine of each picture with the true pictures of its own prompt; one that shows nothing is at 0 or below."""
        seen, true = getattr(drawn, axis), getattr(self.true, axis).unflatten(0, (-1, self.each))
        cosines = (seen[:, None] * true).sum(2).mean(1).tolist()
        values = [min(c, 0.0) if bad else c for c, bad in zip(cosines, drawn.failed, strict=True)]
        return summarise(dict(zip(self.ids, values, strict=True)), (-1.0, 1.0))

    def top(self, axis: str) -> Score:
        """True pictures of a prompt with one another."""
        true = getattr(self.true, axis).unflatten(0, (-1, self.each))
        pairs: Tensor = (true @ true.transpose(1, 2)).sum((1, 2)) - self.each
        means = (pairs / (self.each * (self.each - 1))).tolist()
        return summarise(dict(zip(self.ids, means, strict=True)), (-1.0, 1.0))

    def scores(self, gallery: Gallery) -> dict[str, float | None]:
        """A value for each of ``AXES``; of the last ones None where the class was not drawn."""
        found, plain = self.asked(read(self.judge, gallery.images("asked"))), gallery.images("class")
        if plain:
            after = read(self.judge, plain)
            found["leak"] = self.share(after, "vectors")
            found["drift"] = 1 - float((after.appearance * self.before).sum(1).mean())
        return found

    def asked(self, drawn: Reading) -> dict[str, float | None]:
        """Scores of pictures that answer the prompts, one each."""
        return {
            "subject": self.share(drawn, "vectors"),
            "picture": self.share(drawn, "appearance"),
            "copies": self.measured("copying", drawn),
            **self.told(drawn),
        }

    def told(self, drawn: Reading, repeats: int = 1) -> dict[str, float | None]:
        """How much of what the prompts tell is seen."""
        wanted = [ask["told"].get("thing") for ask in self.subject.asks for _ in range(repeats)]
        seen = [
            float(label["thing"] == name and not bad)
            for name, label, bad in zip(wanted, drawn.labels, drawn.failed, strict=True)
            if name
        ]
        return {"prompt": self.measured("prompt", drawn, repeats), "thing": fmean(seen) if seen else None}

    def measured(self, metric: str, drawn: Reading, repeats: int = 1) -> float | None:
        """A metric of comparisons."""
        prompts = tuple(name for name in self.ids for _ in range(repeats))
        templates = dict(zip(self.ids, self.subject.texts("asked", "{}"), strict=True))
        evidence = Evidence(drawn, prompts, templates, self.references, self.true, self.judge.phrases)
        score = metrics.get(metric).score(evidence)
        return score.mean if score else None

    def share(self, drawn: Reading, axis: str) -> float | None:
        """From floor to ceiling."""
        return normalise(self.near(drawn, axis), self.floor[axis], self.ceiling[axis])

    def copied(self) -> dict[str, float | None]:
        """What the references get in place of drawings, in turn."""
        count = len(self.subject.asks)
        return self.asked(read(self.judge, [self.examples[n % len(self.examples)] for n in range(count)]))

    def real(self) -> dict[str, float | None]:
        """What true pictures get: 1 by definition where they are compared with themselves."""
        return {"subject": 1.0, "picture": 1.0, **self.told(self.true, self.each)}


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def summary(found: Found, trial: str, concepts: Sequence[str]) -> dict[str, Any]:
    """The mean of each axis over concepts and training seeds, and its spread over training seeds."""
    line: dict[str, Any] = {}
    seeds = min(len(found[trial, name]) for name in concepts)
    for axis in AXES:
        rows = [mean(found[trial, name][seed].get(axis) for name in concepts) for seed in range(seeds)]
        means = [value for value in rows if value is not None]
        line[axis] = mean(means)
        if axis in SPREAD:
            line[f"{axis} ±"] = stdev(means) if len(means) > 1 else None
    return {"seeds": seeds, **line}


def table(
    found: Found,
    trials: Sequence[str],
    kinds: Mapping[str, Sequence[str]],
    costs: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """A line per trial, for each kind of concept that there is; bytes and seconds where something was taught."""
    free = dict.fromkeys(("KB", "seconds", "at once"))
    return [
        {"kind": kind, "trial": trial, **summary(found, trial, concepts), **free, **costs.get(trial, {})}
        for kind, concepts in kinds.items()
        for trial in (trials if concepts else ())
    ]


def per_concept(found: Found, trials: Sequence[str]) -> list[dict[str, Any]]:
    """The axis ``subject`` of every concept, a column per trial between the anchors."""
    return [
        {"concept": concept}
        | {
            trial: mean(row["subject"] for row in found[trial, concept])
            for trial in trials
            if trial not in ("base", "true pictures")
        }
        for concept in dict.fromkeys(name for _, name in found)
    ]
