"""Case: everything that one recommendation is made from, by name, with verdicts read from either side.

It answers questions about pairs, costs and the cheapest; what follows from the answers is decided in `recommending` and said
in `reasons`. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from likewise.comparison import costs
from likewise.comparison.limits import UNTAUGHT, Limits
from likewise.comparison.standing import Cost, Standing, titled

if TYPE_CHECKING:
    from likewise.comparison.verdicts import Decision, Pair

PRIMARY = "composite"
"""The axis that decides: likeness times prompt following, both in floor-to-ceiling units."""
WORDS = {
    "composite": "overall score",
    "fidelity": "likeness",
    "prompt": "prompt following",
    "diversity": "diversity",
}
"""What people read for an axis."""
QUALITIES = (PRIMARY, "fidelity", "prompt")
"""Axes of the Pareto front of which more is better. Time and bytes are the others."""
_MIRROR = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Gap:
    """How much a first condition is above a second one on an axis, with the simultaneous interval."""

    verdict: str
    """`better`, `worse`, `same` or `undecided`, about the first."""
    value: float
    low: float
    high: float
    prompts: int
    replicates: int
    more_seeds: int | None
    """How many more replicates are expected to settle it; None where none are."""


def cost_of(one: Standing) -> Cost:
    """What a condition costs from here on: an untaught base needs no file, and neither it nor a file of others is taught."""
    if one.kind in UNTAUGHT:
        return replace(one.cost, bytes=0, seconds=0.0)
    return replace(one.cost, seconds=0.0) if one.kind == "file" else one.cost


class Case:
    """Standings, decisions and limits of one comparison. Where a pair was not decided, `gap` is None."""

    def __init__(
        self, standings: Sequence[Standing], decisions: Mapping[str, Decision], limits: Limits
    ) -> None:
        self.standings = {one.name: one for one in standings}
        self.decision = decisions.get(PRIMARY)
        self.limits = limits
        self._titles = titled({one.name: one.title for one in standings})
        self.floors = [one.name for one in standings if one.kind == "floor"]
        pairs = self.decision.pairs if self.decision else ()
        self._gaps = {(pair.first, pair.second): _gap(pair) for pair in pairs}
        self._gaps |= {(pair.second, pair.first): _mirrored(_gap(pair)) for pair in pairs}

    def gap(self, first: str, second: str) -> Gap | None:
        """`first` - `second` on the primary axis."""
        return self._gaps.get((first, second))

    def verdict(self, first: str, second: str) -> str:
        """About `first`. What was not decided is undecided."""
        gap = self.gap(first, second)
        return gap.verdict if gap else "undecided"

    def within_margin(self, first: str, second: str) -> bool:
        """Whether the whole interval of the difference is inside the margin of what matters."""
        gap, margin = self.gap(first, second), self.decision.margin if self.decision else 0.0
        return gap is not None and -margin < gap.low and gap.high < margin

    def above_floor(self, name: str) -> bool:
        """Whether it is shown better than every untaught base that it was compared with."""
        return all(self.verdict(name, floor) == "better" for floor in self.floors)

    def value(self, name: str, axis: str = PRIMARY) -> float | None:
        """Its mean on an axis; None where it has none."""
        found = self.standings[name].axes.get(axis)
        return found.value if found else None

    def title(self, name: str) -> str:
        """As people call it; where several are called alike, with the name."""
        return self._titles[name]

    def ordered(self, names: Iterable[str]) -> list[str]:
        """By the primary axis, the highest first."""
        return sorted(names, key=lambda name: (-_known(self.value(name), -math.inf), name))

    def cost(self, name: str) -> Cost:
        """What it costs from here on."""
        return cost_of(self.standings[name])

    def total(self, name: str) -> float | None:
        """Seconds for teaching and for as many pictures as the limits name."""
        return costs.total(self.cost(name), self.limits.pictures)

    def cheapest(self, names: Iterable[str]) -> list[str]:
        """The smallest file first, then the shortest time. What is not known comes last."""
        return sorted(names, key=lambda name: (_known(self.cost(name).bytes), _known(self.total(name)), name))

    def dominates(self, first: str, second: str) -> bool:
        """Whether `first` is as good as `second` on every axis that one of them has, and better on one.

        What only one of them has, or what was measured by different cards, is not known to be as good.
        """
        better = False
        for one, other in zip(self._axes(first), self._axes(second), strict=True):
            if one is None and other is None:
                continue
            if one is None or other is None or one[1] != other[1] or one[0] < other[0]:
                return False
            better |= one[0] > other[0]
        return better

    def _axes(self, name: str) -> list[tuple[float, str] | None]:
        """(goodness, card) on each axis; of time and bytes less is better."""
        found = [self.standings[name].axes.get(axis) for axis in QUALITIES]
        prices = (self.total(name), self.cost(name).bytes)
        return [(one.value, one.card) if one else None for one in found] + [
            None if price is None else (-float(price), "") for price in prices
        ]


def _known(value: float | None, otherwise: float = math.inf) -> float:
    return otherwise if value is None else float(value)


def _gap(pair: Pair) -> Gap:
    found = pair.estimate
    ends = (found.value, found.low, found.high)
    return Gap(pair.verdict, *ends, found.prompts, found.replicates, pair.more_seeds)


def _mirrored(gap: Gap) -> Gap:
    verdict = _MIRROR.get(gap.verdict, gap.verdict)
    return replace(gap, verdict=verdict, value=-gap.value, low=-gap.high, high=-gap.low)
