"""Four-way verdicts on pairs of methods: more, less, practically the same, or undecided.

Each verdict is read off one interval, which is shown with it: the intervals of an axis hold all together in 95 of 100
surveys (Bonferroni). "Not significant" is never read as "the same": that needs an interval inside a margin fixed
beforehand. None of the axes measures quality.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from likewise.statistics import equivalence
from likewise.statistics.multiplicity import reach_of
from likewise.survey.statistics.resampling import LEAST_CREATORS, Resampled
from likewise.survey.statistics.summary import Row

ALPHA = 0.05


@dataclass(frozen=True)
class Axis:
    """Something that methods are compared on. Differences up to `margin` count as the same.

    `logarithmic` axes hold logarithms, so that differences read as ratios.
    """

    name: str
    title: str
    margin: float
    logarithmic: bool = False


AXES = (
    Axis("log", "Downloads of a typical model, as counted", math.log(1.25), True),
    Axis("adjusted", "Downloads, adjusted for age, base model and versions", math.log(1.25), True),
    Axis("likes", "Likes per download", math.log(1.25), True),
    Axis("approval", "Share of favourable votes", 0.01),
    Axis("stars", "Stars of rated models", 0.1),
)


@dataclass(frozen=True)
class Difference:
    """First method minus second on one axis, with its standard error and the smaller number of creators."""

    first: str
    second: str
    value: float
    error: float
    creators: int


def decide(axis: Axis, differences: Sequence[Difference]) -> list[Row]:
    """The verdict on every pair of one axis: `more`, `less`, `same` or `undecided`, about the first method.

    `low` and `high` are the simultaneous 95 % interval that the verdict is read from: Student's t with the smaller
    number of creators less one as degrees of freedom, its risk divided by the number of pairs. An interval inside the
    margin says `same`, one on one side of zero `more` or `less`. `beyond_margin` says that it is outside the margin.
    """
    known = [one for one in differences if one.creators >= LEAST_CREATORS and one.error > 0]
    rows = []
    for one in known:
        reach = reach_of(one.creators - 1, ALPHA, len(known)) * one.error
        low, high = one.value - reach, one.value + reach
        row: Row = {"first": one.first, "second": one.second, "difference": one.value, "error": one.error}
        row |= {"low": low, "high": high}
        if axis.logarithmic:
            row |= {"ratio": {key: math.exp(row[at]) for key, at in _RATIO}}
        verdict = _WORDS[str(equivalence.read(low, high, axis.margin))]
        rows.append(
            row | {"verdict": verdict, "beyond_margin": bool(equivalence.beyond(low, high, axis.margin))}
        )
    return rows


_RATIO = (("value", "difference"), ("low", "low"), ("high", "high"))
# Nothing here measures quality, so nothing is called better.
_WORDS = {"better": "more", "worse": "less", "same": "same", "undecided": "undecided"}


def all_pairs(
    methods: Sequence[str], found: Mapping[str, Mapping[str, Resampled]], adjusted: Sequence[Difference]
) -> list[Row]:
    """Every axis with the verdicts on all pairs of `methods` that have it; `adjusted` are those of the regression."""
    answers = []
    for axis in AXES:
        differences = adjusted if axis.name == "adjusted" else _resampled(axis, methods, found)
        rows = decide(axis, differences) if differences else []
        answers.append({"axis": axis.name, "title": axis.title, "margin": axis.margin,
                        "logarithmic": axis.logarithmic, "pairs": rows})  # fmt: skip
    return answers


def _resampled(
    axis: Axis, methods: Sequence[str], found: Mapping[str, Mapping[str, Resampled]]
) -> list[Difference]:
    there = {name: found[name][axis.name] for name in methods if axis.name in found.get(name, {})}
    there = {name: one for name, one in there.items() if one.enough}
    if axis.name == "likes":  # a rate; `log` holds logarithms already
        there = {name: one for name, one in there.items() if one.value > 0}
        values = {name: (math.log(one.value), _log(one.replicates)) for name, one in there.items()}
    else:
        values = {name: (one.value, one.replicates) for name, one in there.items()}
    return [
        Difference(
            first,
            second,
            values[first][0] - values[second][0],
            float(np.nanstd(values[first][1] - values[second][1], ddof=1)),
            min(there[first].creators, there[second].creators),
        )
        for first, second in combinations(there, 2)
    ]


def _log(rates: Any) -> Any:
    """The logarithms, not-a-number for a replicate that drew nobody's likes."""
    return np.log(np.where(rates > 0, rates, np.nan))
