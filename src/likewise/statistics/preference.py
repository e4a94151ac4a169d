"""Preference: strengths of conditions from people's votes between two pictures, with errors. No torch.

The model is that of Bradley and Terry (1952), with ties after Davidson (1970) and a term for the side on which a picture
stood. It knows votes alone: where they come from and how they are told is not its matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from likewise.statistics.distributions import t_quantile

Choice = Literal["left", "right", "tie", "both_bad"]
CHOICES: tuple[Choice, ...] = ("left", "right", "tie", "both_bad")
ENOUGH = 40
"""Votes of a pair before anything is said about it."""
RIDGE = 0.01
"""Weak ridge on every parameter: it decides only what no vote speaks of, such as two groups never shown together."""
DOUBT = 0.5
"""Votes added for each answer to keep unanimous ones finite: Jeffreys' prior of a share."""
_PRECISION = 1e-10
_LONGEST_STEP = 2.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Vote:
    """Which conditions stood left and right, for which prompt, and what was chosen."""

    left: str
    right: str
    choice: Choice
    prompt: str


@dataclass(frozen=True)
class Interval:
    """A value with the ends of its interval, which are None where one prompt alone gives none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Strength:
    """One condition. Of all who chose a side, `share` would prefer it to an equally placed average rival."""

    name: str
    strength: Interval
    """Log-odds; all strengths together sum to 0."""
    share: Interval
    votes: int
    """Votes in the fit that it took part in."""
    both_bad: int
    """Times it stood in a pair of which both were called bad."""


@dataclass(frozen=True)
class Paired:
    """Two conditions: how often each was chosen, and what may be said."""

    first: str
    second: str
    votes: int
    """Votes in the fit: wins and ties."""
    first_won: int
    second_won: int
    ties: int
    both_bad: int
    difference: Interval
    """First minus second, log-odds."""
    p: float | None
    """Two-sided, after Holm over the pairs with enough votes; None where nothing is tested."""
    said: Literal["first", "second", "undecided", "too few votes"]


@dataclass(frozen=True)
class Preference:
    """What the votes say."""

    strengths: tuple[Strength, ...]
    """The most preferred first."""
    pairs: tuple[Paired, ...]
    position: Interval
    """Log-odds by which the left side is favoured; 0 for a person without a leaning."""
    votes: int
    """Votes in the fit."""
    both_bad: int
    prompts: int
    level: float


@dataclass(frozen=True)
class Consistency:
    """How many pairs were shown twice, the second time mirrored, and how many got the same answer."""

    repeated: int
    agreed: int


def fit(
    votes: Iterable[Vote], *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Preference | None:
    """Strengths, position and what may be said of each pair; None where no vote says anything about an order.

    With the difference d of the strengths of left and right, and the position p, the odds of the three answers are

        left : right : tie = exp((d + p) / 2) : exp(-(d + p) / 2) : nu

    which is Davidson (1970, JASA 65:317) for p = 0, Bradley and Terry (1952, Biometrika 39:324) without ties, and the
    order effect of Davidson and Beaver (1977, Biometrics 33:693) in symmetric form. "Both bad" names no order: it is counted
    and not fitted. `DOUBT` and `RIDGE` keep a clean sweep finite.

    Intervals resample prompts, as pictures of one prompt are alike: percentiles, widened for few prompts P by
    sqrt(P / (P - 1)) and Student's t. In every resample each `DOUBT` weighs by Gamma(1/2), so that unanimous votes have
    Jeffreys' interval and not one of no width. It takes 2 prompts to have an interval.
    """
    votes = list(votes)
    table = _Table(votes)
    if not table.pairs:
        return None
    position = len(table.names)
    doubts = np.array([[[DOUBT] * 2 + [0.0]] * len(table.pairs) + [[DOUBT] * 3]])
    counts = table.by_prompt.sum(axis=0, keepdims=True)
    found = _solve(table.design, np.concatenate([counts, doubts], axis=1))[0]
    drawn = _resampled(table, doubts, found, level, (resamples, seed))
    strengths = [_strength(table, votes, k, found, drawn, level) for k in range(len(table.names))]
    return Preference(
        tuple(sorted(strengths, key=lambda one: -one.strength.value)),
        _paired(table, votes, found, drawn, level),
        _interval(found[position], None if drawn is None else drawn[:, position], level),
        int(counts.sum()),
        sum(vote.choice == "both_bad" for vote in votes),
        len(table.by_prompt),
        level,
    )


def consistency(repeats: Iterable[tuple[Vote, Vote]]) -> Consistency:
    """Compare first and second answers to the same pictures, by which condition was chosen and not by side."""
    pairs = list(repeats)
    return Consistency(len(pairs), sum(_chosen(first) == _chosen(second) for first, second in pairs))


def _chosen(vote: Vote) -> str:
    return {"left": f"={vote.left}", "right": f"={vote.right}"}.get(vote.choice, vote.choice)


class _Table:
    """Votes as counts [prompts, cells, 3]. A cell is a pair and which of the two stood left; its answers are first, second
    and tie.

    `design` [cells + doubts, names + 1] gives d + p of each cell from strengths and position. Behind the cells come a row
    per pair without position, and one of position alone: the places of the doubts.
    """

    def __init__(self, votes: Sequence[Vote]) -> None:
        ordered = [vote for vote in votes if vote.choice != "both_bad"]
        self.names = sorted({name for vote in ordered for name in (vote.left, vote.right)})
        self.pairs = [
            pair
            for pair in combinations(self.names, 2)
            if any({vote.left, vote.right} == set(pair) for vote in ordered)
        ]
        places, prompts = {pair: n for n, pair in enumerate(self.pairs)}, {vote.prompt for vote in ordered}
        rows = {prompt: n for n, prompt in enumerate(sorted(prompts))}
        self.by_prompt = np.zeros((len(rows), 2 * len(self.pairs), 3))
        for vote in ordered:
            mirrored = vote.left > vote.right
            pair = (vote.right, vote.left) if mirrored else (vote.left, vote.right)
            answer = 2 if vote.choice == "tie" else int((vote.choice == "right") != mirrored)
            self.by_prompt[rows[vote.prompt], 2 * places[pair] + mirrored, answer] += 1
        apart = np.zeros((len(self.pairs), len(self.names) + 1))
        for place, pair in enumerate(self.pairs):
            apart[place, [self.names.index(name) for name in pair]] = 1, -1
        cells, alone = np.repeat(apart, 2, axis=0), np.zeros((1, apart.shape[1]))
        cells[:, -1], alone[:, -1] = [1, -1] * len(self.pairs), 1
        self.design = np.concatenate([cells, apart, alone])

    def difference(self, pair: tuple[str, str]) -> Floats:
        """The row of `design` that gives first minus second."""
        return self.design[2 * len(self.pairs) + self.pairs.index(pair)]


def _solve(design: Floats, counts: Floats) -> Floats:
    """Newton's method on the penalised likelihood for every set of counts [R, cells, 3]; answers [R, names + 2].

    The last value is log nu. The likelihood is concave, strictly so by the ridge; long steps are cut.
    """
    names = design.shape[1]
    found = np.zeros((len(counts), names + 1))
    sums = counts.sum(axis=2)
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    for _ in range(200):
        half = found[:, :-1] @ design.T / 2
        odds = np.stack([half, -half, np.broadcast_to(found[:, -1:], half.shape)], axis=2)
        odds = np.exp(odds - odds.max(axis=2, keepdims=True))
        chance = odds / odds.sum(axis=2, keepdims=True)
        lead, tie = chance[..., 0] - chance[..., 1], chance[..., 2]
        rest = counts - sums[..., None] * chance
        slope = np.concatenate([(rest[..., 0] - rest[..., 1]) @ design / 2, rest[..., 2].sum(1)[:, None]], 1)
        slope -= RIDGE * found
        curve = np.zeros((len(counts), names + 1, names + 1))
        curve[:, :-1, :-1] = ((sums * (1 - tie - lead**2) / 4) @ squares).reshape(-1, names, names)
        curve[:, :-1, -1] = curve[:, -1, :-1] = -(sums * lead * tie / 2) @ design
        curve[:, -1, -1] = (sums * tie * (1 - tie)).sum(axis=1)
        curve += RIDGE * np.eye(names + 1)
        step = np.linalg.solve(curve, slope[..., None])[..., 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        found += step * np.minimum(1, _LONGEST_STEP / np.maximum(longest, _PRECISION))
        if longest.max() < _PRECISION:
            break
    return found


def _resampled(
    table: _Table, doubts: Floats, found: Floats, level: float, draws: tuple[int, int]
) -> Floats | None:
    """Solutions [R, names + 2] over resampled prompts, spread around `found` as far as so few prompts ask for."""
    prompts, (resamples, seed) = len(table.by_prompt), draws
    if prompts < 2:
        return None
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples).astype(float)
    counts = np.tensordot(weights, table.by_prompt, axes=1)
    shaky = np.where(doubts > 0, generator.gamma(DOUBT, size=(resamples, *doubts.shape[1:])), 0.0)
    drawn = _solve(table.design, np.concatenate([counts, shaky], axis=1))
    tail = (1 + level) / 2
    wider = np.sqrt(prompts / (prompts - 1)) * t_quantile(tail, prompts - 1) / NormalDist().inv_cdf(tail)
    return found + (drawn - found) * wider


def _interval(value: float, drawn: Floats | None, level: float) -> Interval:
    if drawn is None:
        return Interval(float(value), None, None)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def _strength(
    table: _Table, votes: Sequence[Vote], k: int, found: Floats, drawn: Floats | None, level: float
) -> Strength:
    name, count = table.names[k], len(table.names)
    centred = np.eye(len(found))[k] - np.r_[np.full(count, 1 / count), np.zeros(len(found) - count)]
    strength = _interval(found @ centred, None if drawn is None else drawn @ centred, level)
    rivals = count / (count - 1)  # against the average of the others, whose strengths sum to minus this one's
    ends = [None if end is None else share_of(end * rivals) for end in (strength.low, strength.high)]
    share = Interval(share_of(strength.value * rivals), *ends)
    mine = [vote.choice for vote in votes if name in (vote.left, vote.right)]
    bad = mine.count("both_bad")
    return Strength(name, strength, share, len(mine) - bad, bad)


def share_of(log_odds: float) -> float:
    """The share of decided votes that log-odds mean: 0.5 for 0."""
    return float(1 / (1 + np.exp(-log_odds)))


def _paired(
    table: _Table, votes: Sequence[Vote], found: Floats, drawn: Floats | None, level: float
) -> tuple[Paired, ...]:
    counts = table.by_prompt.sum(axis=0).reshape(-1, 2, 3).sum(axis=1)
    rows, chances = [], {}
    for pair, (first, second, ties) in zip(table.pairs, counts.astype(int).tolist(), strict=True):
        apart = np.r_[table.difference(pair)[:-1], 0, 0]
        differences = None if drawn is None else drawn @ apart
        if differences is not None and first + second + ties >= ENOUGH:
            beyond = min((differences <= 0).sum(), (differences >= 0).sum())
            chances[pair] = min(1.0, 2 * float(beyond + 1) / (len(differences) + 1))
        bad = sum(v.choice == "both_bad" and {v.left, v.right} == set(pair) for v in votes)
        rows.append((pair, (first, second, ties, bad), _interval(float(found @ apart), differences, level)))
    p = _holm(chances)
    return tuple(
        Paired(*pair, sum(n[:3]), *n, between, p.get(pair), _said(between.value, p.get(pair), level))
        for pair, n, between in rows
    )


def _holm(chances: dict[Any, float]) -> dict[Any, float]:
    """p-values after Holm (1979): the k-th smallest of m times m - k + 1, and none below the one before."""
    adjusted, worst = {}, 0.0
    for place, (pair, p) in enumerate(sorted(chances.items(), key=lambda item: item[1])):
        worst = max(worst, min(1.0, p * (len(chances) - place)))
        adjusted[pair] = worst
    return adjusted


def _said(
    difference: float, p: float | None, level: float
) -> Literal["first", "second", "undecided", "too few votes"]:
    if p is None:
        return "too few votes"
    if p > 1 - level:
        return "undecided"
    return "first" if difference > 0 else "second"
