"""Costs: what N pictures cost with each condition, where two conditions cross, and how soon a curve reaches a quality.

Pure functions of measured seconds, so limits and counts may change without teaching again. Costs of different machines
must not meet here. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from likewise.comparison.results import Row
from likewise.comparison.standing import Cost

COUNTS = (1, 10, 100, 1000, 10_000)
"""How many pictures the table of total times is made for."""


@dataclass(frozen=True)
class Crossing:
    """Two conditions whose total times are equal at one number of pictures."""

    pictures: float
    """N at which both cost the same; above 0, and seldom whole."""
    before: str
    """What is cheaper for fewer pictures: cheap to teach, dear to use."""
    after: str
    """What is cheaper for more pictures: dear to teach, cheap to use."""

    @property
    def first(self) -> int:
        """The least whole number of pictures for which `after` is cheaper."""
        return math.floor(self.pictures) + 1


@dataclass(frozen=True)
class Reached:
    """When a learning curve reaches a quality and stays there."""

    seconds: float | None
    """None where it does not within what was observed: the time is censored, not missing."""
    observed: float
    """The last moment of the curve in seconds. A time that is not reached is longer than this."""


def total(cost: Cost, pictures: int) -> float | None:
    """T(N) = seconds + N * sample_seconds, in seconds; None where either is not known."""
    if cost.seconds is None or cost.sample_seconds is None:
        return None
    return cost.seconds + pictures * cost.sample_seconds


def table(costs: Mapping[str, Cost], counts: Sequence[int] = COUNTS) -> dict[str, tuple[float | None, ...]]:
    """T(N) in seconds of every condition, for each N of `counts`."""
    return {name: tuple(total(cost, count) for count in counts) for name, cost in costs.items()}


def crossing(first: tuple[str, Cost], second: tuple[str, Cost]) -> Crossing | None:
    """Where T of the `first` (name, cost) equals that of the `second`; None where one is cheaper for every N > 0.

    With a + N * b and c + N * d the times are equal at N = (c - a) / (b - d). That is no crossing where the lines are
    parallel or N is not above 0, and none is known where a cost is not or where the times per picture are not told apart.
    """
    (one, cost), (other, its) = first, second
    if (
        cost.seconds is None
        or its.seconds is None
        or cost.sample_seconds is None
        or its.sample_seconds is None
    ):
        return None
    slope = cost.sample_seconds - its.sample_seconds
    if slope == 0 or not _apart(cost, its):
        return None
    pictures = (its.seconds - cost.seconds) / slope
    if pictures <= 0:
        return None
    before, after = (one, other) if cost.seconds < its.seconds else (other, one)
    return Crossing(pictures, before, after)


def crossings(costs: Mapping[str, Cost]) -> list[Crossing]:
    """The crossings of all pairs, the one with the fewest pictures first."""
    found = (crossing(first, second) for first, second in combinations(costs.items(), 2))
    return sorted((one for one in found if one), key=lambda one: (one.pictures, one.before, one.after))


def time_to_quality(curve: Iterable[tuple[float, float]], target: float) -> Reached:
    """The first of the (seconds, quality) points that has the target quality, as have all points after it.

    Nothing is interpolated, as a curve says nothing between its points. A quality that is not a number is below every
    target.
    Raises `ValueError` for a curve without points.
    """
    points = sorted(curve, key=lambda point: point[0])
    if not points:
        raise ValueError("a learning curve has one point at least")
    reached: float | None = None
    for seconds, quality in points:
        if not quality >= target:
            reached = None
        elif reached is None:
            reached = seconds
    return Reached(reached, points[-1][0])


def circumstances(rows: Iterable[Row]) -> Iterator[str]:
    """A sentence where times were not all measured alike, or not by trainings with the machine to themselves."""
    taught = [row for row in rows if row.kind == "method" and row.status == "done" and row.machine]
    alone = [row for row in taught if not row.cost.get("shared")] or taught
    ways = sorted({(row.machine.get("side_by_side", 1), row.machine.get("threads", 0)) for row in alone})
    told = [f"{side} at a time with {threads} thread{'s' * (threads != 1)} each" for side, threads in ways]
    if len(ways) > 1:
        yield f"Times do not compare well, as some trainings went on {', others '.join(told)}."
    elif ways and ways[0][0] > 1:
        yield (
            f"Times are of trainings that went on {told[0]}; one that has the machine to itself takes another time "
            "(--workers 1 measures that)."
        )


def _apart(first: Cost, second: Cost) -> bool:
    """Whether every time per picture of one is longer than every one of the other. One trial alone tells nothing of that."""
    slowest, other = first.sample_slowest, second.sample_slowest
    if slowest is None or other is None:
        return False
    return slowest < (second.sample_seconds or 0.0) or other < (first.sample_seconds or 0.0)
