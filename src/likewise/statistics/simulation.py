"""Simulation: how often verdicts are right where the truth is known. No torch, no picture.

It draws scores of conditions as trainings, prompts and pictures make them vary, and hands them to `pairs.compare`, which is
what decides a comparison. What comes out are shares, each with its standard error and, where likewise promises something,
the limits of the promise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.statistics import pairs
from likewise.statistics.equivalence import MARGIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

RISK = 0.05
SEEDS = (0.005, 0.015, 0.03)
"""Standard deviations between seeds of one method, in units of DINO similarity."""
REPLICATES = (3, 5)
UNEQUAL = (0.005, 0.005, 0.015, 0.03, 0.03)
"""Seeds that matter less for some of five methods than for others."""
_BATCH = 2500  # comparisons in memory at once
PATIENCE = 3.0
"""A promise counts as broken where a share is this many standard errors beyond it."""


@dataclass(frozen=True)
class World:
    """What scores vary by: standard deviations in units of DINO similarity, which 0.375 turns into floor to ceiling.

    They are of the size that the published subject benchmarks show. A margin of 0.08 is then 0.03 of DINO similarity, as
    much as two reproductions of one method differ by.
    """

    prompt: float = 0.06
    method_and_prompt: float = 0.03
    picture: float = 0.08
    fold: float = 0.03
    pictures: int = 4
    """For each prompt and training."""
    prompts: int = 20
    span: float = 0.375

    def draw(
        self, random: np.random.Generator, repeats: int, replicates: int, seeds: Sequence[float],
        effects: Sequence[float],
    ) -> NDArray[np.float64]:  # fmt: skip
        """Scores [repeats, k, R, P] of k methods with these spreads between `seeds` [k] and true means `effects` [k].

        `effects` and what is returned are floor to ceiling. Prompts and folds are shared by all methods.
        """
        methods, shape = len(seeds), (repeats, len(seeds), replicates, self.prompts)
        scores = random.normal(0, self.picture / self.pictures**0.5, shape)
        scores += random.normal(0, self.prompt, (repeats, 1, 1, self.prompts))
        scores += random.normal(0, self.method_and_prompt, (repeats, methods, 1, self.prompts))
        scores += random.normal(0, self.fold, (repeats, 1, replicates, 1))
        scores += random.normal(0, 1, (repeats, methods, replicates, 1)) * np.reshape(seeds, (-1, 1, 1))
        return scores / self.span + np.reshape(effects, (-1, 1, 1))


@dataclass(frozen=True)
class Share:
    """How often something happened, in `repeats` simulated comparisons."""

    check: str
    """`false_winner`, `coverage`, `power`, `best` or `permuted`."""
    value: float
    repeats: int
    setting: dict[str, Any] = field(default_factory=dict)
    least: float | None = None
    """What is promised, None where nothing is."""
    most: float | None = None

    @property
    def error(self) -> float:
        """Standard error of `value`."""
        return float(np.sqrt(self.value * (1 - self.value) / self.repeats))

    @property
    def kept(self) -> bool:
        """Whether the promise holds, as far as so many repeats can tell."""
        slack = PATIENCE * max(self.error, 0.5 / self.repeats)
        too_low = self.least is not None and self.value + slack < self.least
        return not (too_low or (self.most is not None and self.value - slack > self.most))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "check": self.check, **self.setting, "share": self.value, "error": self.error, "repeats": self.repeats,
            "least": self.least, "most": self.most, "kept": self.kept,
        }  # fmt: skip


def passing(most: float, repeats: int) -> float:
    """The largest share that is not called beyond `most`, as so many repeats cannot tell it from that."""
    shares = (Share("", count / repeats, repeats, most=most) for count in range(repeats, -1, -1))
    return next(share.value for share in shares if share.kept)


def run(*, repeats: int = 10_000, seed: int = 0, world: World | None = None) -> Iterator[Share]:
    """All checks, one share after the other. The same numbers come from the same `repeats` and `seed`."""
    bench = Bench(world or World(), repeats, np.random.default_rng(seed))
    for replicates in REPLICATES:
        for spread in SEEDS:
            yield from bench.equal(replicates, [spread] * 2)
        for spreads in (*([spread] * 5 for spread in SEEDS), UNEQUAL):
            yield from bench.equal(replicates, spreads)
        yield from bench.apart(replicates)
    for replicates in REPLICATES:
        for spread in SEEDS:
            yield from bench.power(replicates, spread)
    for replicates in REPLICATES:
        yield from bench.permuted(replicates, SEEDS[1])


@dataclass
class Bench:
    """Where comparisons are drawn and judged by the thousand."""

    world: World
    repeats: int
    random: np.random.Generator

    def equal(self, replicates: int, seeds: Sequence[float]) -> Iterator[Share]:
        """Methods without any difference: how often one is declared better, and how often all intervals hold zero.

        An interval of 95 % that holds the truth more often than 98 times in 100 would be needlessly wide.
        """
        wrong, held = [], []
        for found in self._compared(replicates, seeds, [0.0] * len(seeds)):
            wrong.append(np.isin(found.verdicts, ("better", "worse")).any(-1))
            held.append(((found.low <= 0) & (found.high >= 0)).all(-1))
        setting = self._setting(replicates, seeds)
        yield self._share("false_winner", wrong, setting, most=RISK)
        pair = len(seeds) == 2
        yield self._share(
            "coverage", held, setting, least=0.93 if pair else 0.95, most=0.98 if pair else None
        )

    def apart(self, replicates: int) -> Iterator[Share]:
        """Two equal methods whose seeds matter most, far above three others: Holm has only their pair left to decide.

        A false winner here is a wrong word about that pair. The truly best, either of the two, stays among the best.
        """
        wrong, kept = [], []
        effects = [-1.5, -1.0, -0.5, 0.0, 0.0]
        for found in self._compared(replicates, UNEQUAL, effects):
            wrong.append(np.isin(found.verdicts[:, -1], ("better", "worse")))
            kept.append(found.best[:, -1])
        setting = self._setting(replicates, UNEQUAL) | {"effects": effects}
        yield self._share("false_winner", wrong, setting, most=RISK)
        yield self._share("best", kept, setting, least=1 - RISK)

    def power(self, replicates: int, seed: float) -> Iterator[Share]:
        """The first of two methods is better by 0, 1/2, 1 and 2 margins: how often each verdict is given.

        Half a margin is mostly left undecided or called the same, and a true difference of one or two is called the same,
        or the other way round, in 5 of 100 at most.
        """
        for times in (0.0, 0.5, 1.0, 2.0):
            verdicts = np.concatenate(
                [
                    found.verdicts[:, 0]
                    for found in self._compared(replicates, [seed] * 2, [times * MARGIN, 0.0])
                ]
            )
            most = {"better": {0.5: 0.5}, "worse": dict.fromkeys((0.5, 1.0, 2.0), RISK), "same": {2.0: RISK}}
            for verdict in ("better", "same", "undecided", "worse"):
                setting = self._setting(replicates, [seed] * 2) | {"margins": times, "verdict": verdict}
                limit = most.get(verdict, {}).get(times)
                yield self._share("power", [verdicts == verdict], setting, most=limit)

    def permuted(self, replicates: int, seed: float) -> Iterator[Share]:
        """Two different methods whose labels are drawn anew in each replicate and prompt, so that nothing is left to find.

        The p-values are then spread evenly, or lie higher: no p may occur more often than it says. They do lie higher, as
        intervals leave room for luck of seeds, of which permuted labels have none.
        """
        p = []
        for size in self._sizes():
            scores = self.world.draw(self.random, size, replicates, [seed] * 2, [2 * MARGIN, 0.0])
            swap = self.random.integers(0, 2, (size, 1, *scores.shape[2:])).astype(bool)
            scores = np.where(swap, scores[:, ::-1], scores)
            p.append(pairs.compare(scores, margin=MARGIN, risk=RISK).p[:, 0])
        for level in (0.01, 0.05, 0.1, 0.25, 0.5, 0.75):
            setting = self._setting(replicates, [seed] * 2) | {"level": level}
            yield self._share("permuted", [np.concatenate(p) <= level], setting, most=level)

    def _compared(
        self, replicates: int, seeds: Sequence[float], effects: Sequence[float]
    ) -> Iterator[pairs.Pairs]:
        for size in self._sizes():
            scores = self.world.draw(self.random, size, replicates, seeds, effects)
            yield pairs.compare(scores, margin=MARGIN, risk=RISK)

    def _sizes(self) -> Iterator[int]:
        for start in range(0, self.repeats, _BATCH):
            yield min(_BATCH, self.repeats - start)

    def _setting(self, replicates: int, seeds: Sequence[float]) -> dict[str, Any]:
        same = len(set(seeds)) == 1
        return {
            "methods": len(seeds),
            "replicates": replicates,
            "seeds": seeds[0] if same else list(seeds),
        }

    def _share(
        self, check: str, happened: Sequence[Any], setting: dict[str, Any],
        least: float | None = None, most: float | None = None,
    ) -> Share:  # fmt: skip
        return Share(check, float(np.concatenate(happened).mean()), self.repeats, setting, least, most)
