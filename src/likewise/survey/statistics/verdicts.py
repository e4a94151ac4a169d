"""Four-way verdicts on pairs of methods: more, less, practically the same, or undecided.

"Not significant" is never read as "the same": that needs an interval inside a margin fixed beforehand. All
pairs of one axis share the risk of a false alarm (Holm 1979). None of the axes measures quality.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

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

    Student's t with the smaller number of creators less one as degrees of freedom; equality by two one-sided
    tests against the margin; each family of p-values adjusted by Holm. The interval is the plain 95 % one.
    `beyond_margin` says that the difference is surely larger than the margin.
    """
    from scipy.stats import t as student

    known = [one for one in differences if one.creators >= LEAST_CREATORS and one.error > 0]
    freedom = np.array([one.creators - 1 for one in known], float)
    value, error = (np.array([getattr(one, name) for one in known]) for name in ("value", "error"))
    differ = holm(2 * student.sf(np.abs(value) / error, freedom))
    same = holm(student.sf((axis.margin - np.abs(value)) / error, freedom))
    beyond = holm(student.sf((np.abs(value) - axis.margin) / error, freedom))
    reach = student.ppf(1 - ALPHA / 2, freedom) * error
    rows = []
    for one, p_differ, p_same, p_beyond, far in zip(known, differ, same, beyond, reach, strict=True):
        row: Row = {"first": one.first, "second": one.second, "difference": one.value, "error": one.error}
        row |= {"low": one.value - far, "high": one.value + far, "p_differ": p_differ, "p_same": p_same}
        if axis.logarithmic:
            row |= {"ratio": {key: math.exp(row[at]) for key, at in _RATIO}}
        rows.append(
            row | {"verdict": _verdict(one.value, p_differ, p_same), "beyond_margin": p_beyond < ALPHA}
        )
    return rows


_RATIO = (("value", "difference"), ("low", "low"), ("high", "high"))


def _verdict(value: float, p_differ: float, p_same: float) -> str:
    if p_same < ALPHA:  # also where the difference is significant but too small to matter
        return "same"
    return ("more" if value > 0 else "less") if p_differ < ALPHA else "undecided"


def holm(values: np.ndarray) -> list[float]:
    """P-values adjusted so that the chance of one false alarm among them all stays below the level."""
    order = np.argsort(values)
    steps = values[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]


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
    if axis.name == "likes":  # a rate; `log` holds logarithms already
        there = {name: one.map(_log) for name, one in there.items() if one.value > 0}
    return [
        Difference(
            first,
            second,
            there[first].value - there[second].value,
            float(np.nanstd(there[first].replicates - there[second].replicates, ddof=1)),
            min(there[first].creators, there[second].creators),
        )
        for first, second in combinations(there, 2)
    ]


def _log(rate: Any) -> Any:
    """The logarithm, not-a-number for a replicate that drew nobody's likes."""
    return np.log(np.where(np.asarray(rate) > 0, rate, np.nan))
