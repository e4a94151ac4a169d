"""Verdicts: which of two conditions is better on an axis, whether they are the same, or that it cannot be told. No torch.

A verdict is about this concept, this base and these settings. It rests on several trainings of each condition: one training
tells luck from method no more than one toss tells a coin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from likewise.errors import EvidenceError
from likewise.statistics.crossed import Estimate
from likewise.statistics.equivalence import MARGIN
from likewise.statistics.pairs import Pairs, compare, more_replicates

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Verdict = Literal["better", "worse", "same", "undecided"]
"""About the first of a pair."""


@dataclass(frozen=True)
class Pair:
    """Two conditions on one axis, and what their interval says."""

    first: str
    second: str
    verdict: Verdict
    estimate: Estimate
    """first - second, with the pair's own error. The intervals of all pairs hold together in 95 of 100 comparisons
    (`multiplicity.agreeing`)."""
    p: float
    """Two-sided, adjusted for all pairs by Holm."""
    beyond_margin: bool
    """Whether the whole interval is outside the margin."""
    more_seeds: int | None
    """How many more replicates are expected to settle it; 0 where it is settled, None where no reasonable number is."""


@dataclass(frozen=True)
class Decision:
    """All verdicts on one axis."""

    axis: str
    margin: float
    pairs: tuple[Pair, ...] = ()
    """Every pair once, in the order in which the conditions were given."""
    best: tuple[str, ...] = ()
    """The conditions that are not shown worse than the best, the highest mean first (`pairs.compare`)."""
    refused: str | None = None
    """Why there is no verdict; None where there is one."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The decision that `to_json` described."""
        pairs = tuple(Pair(**pair | {"estimate": Estimate(**pair["estimate"])}) for pair in data["pairs"])
        return cls(**dict(data) | {"pairs": pairs, "best": tuple(data["best"])})


def decide(
    axis: str, scores: Mapping[str, ArrayLike], *, margin: float = MARGIN, alpha: float = 0.05
) -> Decision:
    """Compare all conditions on one axis; `scores` has [replicates, prompts] for each, floor to ceiling.

    Row r of every condition belongs to the same fold, column p to the same prompt. The margin is fixed before one looks, and
    so is `alpha`, the risk of any false `better` or `worse` among all pairs. Whoever looks again after more trainings has
    to share it out: 0.01, 0.015 and 0.025 for three looks. What allows no verdict is refused with the reason, never guessed:
    a single condition, one replicate, other numbers of prompts, a score that is not finite. To exchange two conditions
    mirrors their pair exactly.
    """
    try:
        tables = _stacked(scores)
        found = compare(tables, margin=margin, risk=alpha)
    except EvidenceError as error:
        return Decision(axis, margin, refused=str(error))
    names, means = list(scores), tables.mean((-2, -1))
    best = [names[k] for k in np.argsort(-means, kind="stable") if found.best[k]]
    return Decision(axis, margin, _pairs(names, found, margin, alpha), tuple(best))


def _stacked(scores: Mapping[str, ArrayLike]) -> NDArray[np.float64]:
    """The tables [k, R, P]; raises `EvidenceError` naming the condition that does not fit."""
    if len(scores) < 2:
        raise EvidenceError("a verdict needs two conditions", "compare with another method or other settings")
    tables = {name: np.asarray(table, float) for name, table in scores.items()}
    first, shape = next((name, table.shape) for name, table in tables.items())
    for name, table in tables.items():
        if table.ndim != 2:
            raise EvidenceError(f"{name} has scores of {table.ndim} dimensions, not replicates x prompts")
        for size, wanted, what in zip(table.shape, shape, ("replicates", "prompts"), strict=True):
            if size != wanted:
                raise EvidenceError(
                    f"{name} has {size} {what} and {first} has {wanted}, which cannot be paired",
                    f"compare the {what} that all conditions have",
                )
        if not np.isfinite(table).all():
            hint = "a failed picture counts as the worst score, not as a missing one"
            raise EvidenceError(f"{name} has a score that is not a finite number", hint)
    return np.stack(list(tables.values()))


def _pairs(names: list[str], found: Pairs, margin: float, alpha: float) -> tuple[Pair, ...]:
    errors, wanted = found.own.error(), more_replicates(found, margin, alpha)
    return tuple(
        Pair(
            names[first],
            names[second],
            str(found.verdicts[k]),  # type: ignore[arg-type]
            Estimate(
                float(found.own.value[k]), float(errors[k]), float(found.own.freedom), float(found.low[k]),
                float(found.high[k]), found.own.replicates, found.own.prompts,
            ),
            float(found.p[k]),
            bool(found.beyond[k]),
            wanted[k],
        )
        for k, (first, second) in enumerate(found.indices)
    )  # fmt: skip


def sentence(pair: Pair, titles: Mapping[str, str]) -> str:
    """The verdict in plain English, with the difference and its interval; the better one comes first.

    "Cannot be told apart" is never said as "the same": that is said of an interval inside the margin alone.
    """
    first, second = titles[pair.first], titles[pair.second]
    value, low, high = pair.estimate.value, pair.estimate.low, pair.estimate.high
    if pair.verdict == "worse":
        first, second, value, low, high = second, first, -value, -high, -low
    range_ = f"({_number(low)} to {_number(high)})"
    if pair.verdict in ("better", "worse"):
        more = "; the whole interval is beyond the margin" if pair.beyond_margin else ""
        return f"{first} is better than {second} by {_number(value)} {range_}{more}."
    if pair.verdict == "same":
        return (
            f"{first} and {second} are practically the same: they differ by {_number(value)} {range_}, "
            "which is inside the margin."
        )
    return f"{first} and {second} cannot be told apart yet: they differ by {_number(value)} {range_}. {_wanted(pair)}"


def _wanted(pair: Pair) -> str:
    if pair.more_seeds is None:
        return "More seeds alone are not expected to settle it."
    seeds = "1 more seed of each is" if pair.more_seeds == 1 else f"{pair.more_seeds} more seeds of each are"
    return f"{seeds} expected to settle it."


def _number(value: float) -> str:
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text
