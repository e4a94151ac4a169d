"""The bootstrap over creators: intervals that know that one person's models rise and fall together.

Each creator is drawn or not as a whole, for all methods at once, so that differences between methods are
resampled too. Every statistic here is a ratio of two sums, which makes a replicate a weighted sum of sums.

Downloads are so unequal that a few creators make most of a sum. A percentile interval of such a sum holds the truth
too rarely: 81 % where it says 95. The intervals here are studentised, those of sums on a logarithmic scale, and their
nominal level is `NOMINAL`; `benchmarks.survey --intervals` measures how often they hold the truth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from likewise.statistics.multiplicity import reach_of

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

REPLICATES = 500
NOMINAL = 0.99
"""The level that intervals are computed at, so that they hold the truth in 95 of 100 surveys: with tails as heavy as
those of downloads, studentised intervals of 95 % hold it in 85 to 95, and of 99 % in 94 to 99."""
LEAST_CREATORS = 10
"""An average over models needs as many creators for an interval and for a verdict."""
LEAST_OF_SUMS = 100
"""A ratio of sums of counts, such as the mean downloads, needs as many: a single creator may hold half of a sum."""
_CHUNK = 4096  # creators whose weights are in memory at once
_POISSON = np.searchsorted(  # number of times a creator is drawn, looked up by 16 random bits
    np.cumsum(np.exp(-1.0) / np.array([1, 1, 2, 6, 24, 120, 720, 5040, 40320])), np.arange(0.5, 65536) / 65536
).astype(np.float32)

SUMS = """
WITH middle AS (SELECT method, median(downloads) AS centre FROM members GROUP BY method)
SELECT creator, method, count(downloads) AS known, sum(downloads) AS downloads,
  sum(ln(1 + downloads)) AS logs, count(*) FILTER (downloads <= centre) AS below,
  sum(likes) FILTER (downloads IS NOT NULL) AS likes,
  sum(downloads) FILTER (likes IS NOT NULL) AS likable, sum(likes) FILTER (votes > 0) AS up, sum(votes) AS votes,
  sum(stars) AS stars, count(stars) AS starred, sum(downloads) FILTER (age IS NOT NULL) AS dated,
  sum(age) FILTER (downloads IS NOT NULL) AS days
FROM members JOIN middle USING (method) GROUP BY creator, method ORDER BY creator
"""


@dataclass(frozen=True)
class Ratio:
    """A statistic as two columns of sums, and how its interval is made.

    `positive` statistics are studentised as logarithms. With fewer creators than `least` there is no interval.
    """

    above: str
    below: str
    positive: bool = True
    least: int = LEAST_OF_SUMS


RATIOS = {
    "mean": Ratio("downloads", "known"),
    "log": Ratio("logs", "known", positive=False, least=LEAST_CREATORS),
    "below": Ratio("below", "known", positive=False, least=LEAST_CREATORS),
    "likes": Ratio("likes", "likable"),
    "approval": Ratio("up", "votes"),
    "stars": Ratio("stars", "starred", positive=False, least=LEAST_CREATORS),
    "per_day": Ratio("dated", "days"),
}
"""What `resample` estimates from the columns of SUMS. `log` is the mean of ln(1 + downloads), `below` the
share of models at or below the median, which turns into an interval of the median."""


@dataclass(frozen=True)
class Resampled:
    """A statistic of one method: the value of the data and that of every replicate [R], each with the standard error
    that its own creators give (by linearisation, of the logarithm where `ratio.positive`), and the creators."""

    value: float
    replicates: NDArray[np.float64]
    spread: float
    spreads: NDArray[np.float64]
    creators: int
    ratio: Ratio

    @property
    def enough(self) -> bool:
        """Whether there are creators enough for an interval."""
        return self.creators >= self.ratio.least

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, studentised (Efron and Tibshirani 1993, 12.5); None with too few creators, or where all are alike."""
        if not self.enough or self.spread <= 1e-7 * max(1.0, abs(self.value)):
            return None
        scaled = np.log if self.ratio.positive else np.asarray
        with np.errstate(divide="ignore", invalid="ignore"):
            centre, drawn = scaled(self.value), scaled(self.replicates)
            pivots = (drawn - centre) / self.spreads
        pivots = pivots[np.isfinite(pivots)]
        if len(pivots) < len(self.replicates) / 2:
            return None
        tail = 50 * (1 - NOMINAL)
        high, low = np.percentile(pivots, (tail, 100 - tail))
        ends = float(centre - low * self.spread), float(centre - high * self.spread)
        return (math.exp(ends[0]), math.exp(ends[1])) if self.ratio.positive else ends

    def over(self, other: Resampled) -> Resampled:
        """The ratio of this statistic to another one's, creator for creator drawn alike; both are positive."""
        return Resampled(
            self.value / other.value,
            _divide(self.replicates, other.replicates),
            math.hypot(self.spread, other.spread),
            np.hypot(self.spreads, other.spreads),
            min(self.creators, other.creators),
            self.ratio,
        )


def resample(
    connection: duckdb.DuckDBPyConnection,
    sums: str = SUMS,
    ratios: Mapping[str, Ratio] = RATIOS,
    *,
    seed: int = 0,
) -> dict[str, dict[str, Resampled]]:
    """For each method and each ratio of two sums its value and its replicates.

    `sums` is a query that gives creator (numbered from 1), method and one column per sum, in the order of
    creators. A ratio whose denominator is zero is left out. Creators get Poisson weights, which are as good as
    drawing them with replacement and need no knowledge of how many there are (Chamandy et al., 2012).
    """
    pairs = list(ratios.values())
    columns = sorted({name for ratio in pairs for name in (ratio.above, ratio.below)})
    above, below = ([columns.index(getattr(ratio, end)) for ratio in pairs] for end in ("above", "below"))
    totals: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, NDArray[np.int64]] = {}
    random = np.random.default_rng(seed)
    wanted = ", ".join(f"coalesce({name}, 0)::DOUBLE AS {name}" for name in columns)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE sums AS SELECT creator, method, {wanted} FROM ({sums})")
    bounds = connection.execute("SELECT coalesce(max(creator), 0) FROM sums").fetchone()
    for start in range(1, (bounds[0] if bounds else 0) + 1, _CHUNK):
        query = "SELECT * FROM sums WHERE creator >= ? AND creator < ?"
        chunk = connection.execute(query, [start, start + _CHUNK]).fetchnumpy()
        weights = _POISSON[random.integers(0, 65536, (_CHUNK, REPLICATES), dtype=np.uint16)]
        methods = np.asarray(chunk["method"]).astype(str)
        values = np.stack([np.asarray(chunk[name], float) for name in columns])
        rows = np.asarray(chunk["creator"]) - start
        for method in np.unique(methods):
            mine = methods == method
            drawn = np.concatenate([np.ones((mine.sum(), 1), np.float32), weights[rows[mine]]], axis=1)
            a, b = values[above][:, mine], values[below][:, mine]
            totals[method] = totals.get(method, 0.0) + np.stack([a, b, a * a, a * b, b * b]) @ drawn
            counts[method] = counts.get(method, 0) + (b != 0).sum(axis=1)
    found: dict[str, dict[str, Resampled]] = {}
    for method, total in totals.items():
        there = {name: k for k, name in enumerate(ratios) if total[1, k, 0] > 0}
        found[str(method)] = {
            name: _resampled(total[:, k], int(counts[method][k]), ratios[name]) for name, k in there.items()
        }
    return found


def _resampled(sums: NDArray[np.float64], creators: int, ratio: Ratio) -> Resampled:
    """From the sums [5, 1 + R] of a, b, aa, ab and bb over creators, those of the data first."""
    a, b, aa, ab, bb = sums
    value = _divide(a, b)
    squares = np.maximum(aa - 2 * value * ab + value**2 * bb, 0.0)  # of what each creator adds to a - value b
    error = _divide(np.sqrt(squares * creators / max(creators - 1, 1)), b)
    if ratio.positive:
        error = _divide(error, value)
    return Resampled(float(value[0]), value[1:], float(error[0]), error[1:], creators, ratio)


def _divide(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their ratio, not-a-number for a replicate that drew none of the creators that count."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def median_intervals(
    connection: duckdb.DuckDBPyConnection, found: Mapping[str, Mapping[str, Resampled]]
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the median downloads of each method (Woodruff 1952: the share below it, inverted)."""
    ends = {}
    for method, row in found.items():
        share = row.get("below")
        if share is None or not share.enough:
            continue
        reach = min(reach_of(share.creators - 1) * share.spread, 0.5)
        values = connection.execute(
            "SELECT quantile_cont(downloads, [?, ?]) FROM members WHERE method = ?",
            [0.5 - reach, 0.5 + reach, method],
        ).fetchone()
        if values and values[0]:
            ends[method] = (float(values[0][0]), float(values[0][1]))
    return ends
