"""Weighing: what published tables together say of two methods, and where they contradict themselves.

Only rows of one table, base and run are compared. Differences that are no larger than those between two reproductions of one
method are no difference. Sizes of gaps are never averaged over benchmarks. No torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from likewise.comparison.evidence import Row, Source

Axis = Literal["likeness", "prompt"]
Verdict = Literal["above", "below", "level", "contradicted", "none"]
AXES: tuple[Axis, ...] = ("likeness", "prompt")
REAL = "real pictures"


@dataclass(frozen=True)
class Finding:
    """Two methods in one column of one table, on one base and in one run; each may have rows of several settings."""

    source: Source
    column: str
    base: str
    run: str
    first: tuple[float, ...]
    second: tuple[float, ...]

    @property
    def low(self) -> float:
        """The least that the first is above the second, over their settings."""
        return min(self.first) - max(self.second)

    @property
    def high(self) -> float:
        """The most that the first is above the second, over their settings."""
        return max(self.first) - min(self.second)


def findings(sources: Sequence[Source], first: str, second: str, axis: Axis) -> list[Finding]:
    """Every place where both methods stand beside each other."""
    return [finding for source in sources for finding in _in(source, first, second, axis)]


def _in(source: Source, first: str, second: str, axis: Axis) -> Iterator[Finding]:
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in source.rows:
        groups[row.base, row.run].append(row)
    columns = source.likeness if axis == "likeness" else (source.prompt,)
    for column in columns:
        for (base, run), rows in groups.items():
            values = [
                tuple(row.values[column] for row in rows if row.method == method and column in row.values)
                for method in (first, second)
            ]
            if all(values):
                yield Finding(source, column, base, run, values[0], values[1])


def noise(sources: Sequence[Source]) -> dict[str, float]:
    """By column, the largest difference between two reproductions: one method, one benchmark, the same real pictures."""
    found: dict[str, float] = {}
    for one, other in combinations(sources, 2):
        if one.benchmark != other.benchmark or _real(one) is None or _real(one) != _real(other):
            continue
        for mine in one.rows:
            for theirs in other.rows:
                if mine.method and mine.method == theirs.method:
                    for column in mine.values.keys() & theirs.values.keys():
                        gap = abs(mine.values[column] - theirs.values[column])
                        found[column] = max(found.get(column, 0.0), gap)
    return found


def _real(source: Source) -> Mapping[str, float] | None:
    return next((row.values for row in source.rows if row.name == REAL), None)


def verdict(found: Sequence[Finding], differences: Mapping[str, float]) -> Verdict:
    """What findings say of the first method: `contradicted` where tables, or settings within one, point both ways.

    A finding points one way where some settings differ by more than the noise of its column and none does the other way.
    """
    found = [one for one in found if one.source.decides]
    if not found:
        return "none"
    ways = set()
    for one in found:
        least = differences.get(one.column, 0.0)
        ways |= {"above"} if one.high > least else set()
        ways |= {"below"} if one.low < -least else set()
    if len(ways) == 2:
        return "contradicted"
    return "level" if not ways else "above" if ways == {"above"} else "below"


def flips(found: Sequence[Finding]) -> bool:
    """Whether the sign of the difference changes from one finding to another, or within one."""
    return any(one.high > 0 for one in found) and any(one.low < 0 for one in found)


class Weighed:
    """The tables of one kind of subject, asked about pairs of methods.

    Where none of them has a pair, those of all kinds answer, and it is said that they do.
    """

    def __init__(self, sources: Sequence[Source], kind: str) -> None:
        self.kind = kind
        self.every = sources
        self.own = [one for one in sources if kind in one.kinds]
        self.noise = noise(sources)

    def found(self, first: str, second: str, axis: Axis) -> tuple[list[Finding], bool]:
        """Findings whose authors stand behind an order, and whether they are carried over from other kinds."""
        for sources in (self.own, self.every):
            found = [one for one in findings(sources, first, second, axis) if one.source.decides]
            if found:
                return found, sources is self.every
        return [], False

    def verdict(self, first: str, second: str, axis: Axis) -> Verdict:
        """About `first`."""
        return verdict(self.found(first, second, axis)[0], self.noise)

    def beats(self, first: str, second: str) -> bool:
        """Whether the tables put `first` above `second` on one axis, and on no axis below."""
        said = {self.verdict(first, second, axis) for axis in AXES}
        return "above" in said and "below" not in said

    def largest_noise(self, found: Sequence[Finding]) -> float:
        """The noise that findings were measured against; of several columns the largest."""
        return max((self.noise.get(one.column, 0.0) for one in found), default=0.0)
