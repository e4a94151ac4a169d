"""The bootstrap over creators: intervals that know that one person's models rise and fall together.

Each creator is drawn or not as a whole, for all methods at once, so that differences between methods are
resampled too. Every statistic here is a ratio of two sums, which makes a replicate a weighted sum of sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

REPLICATES = 500
LEAST_CREATORS = 5
"""With fewer clusters an interval would be an invention."""
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
RATIOS = {
    "mean": ("downloads", "known"),
    "log": ("logs", "known"),
    "below": ("below", "known"),
    "likes": ("likes", "likable"),
    "approval": ("up", "votes"),
    "stars": ("stars", "starred"),
    "per_day": ("dated", "days"),
}
"""What `resample` estimates from the columns of SUMS. `log` is the mean of ln(1 + downloads), `below` the
share of models at or below the median, which turns into an interval of the median."""


@dataclass(frozen=True)
class Resampled:
    """A statistic of one method: the value of the data, that of every replicate [R], and the clusters."""

    value: float
    replicates: NDArray[np.float64]
    creators: int

    @property
    def error(self) -> float:
        """The standard error; not-a-number where replicates are too few."""
        return float(np.nanstd(self.replicates, ddof=1))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %, from percentiles of the replicates; None below `LEAST_CREATORS` creators."""
        if self.creators < LEAST_CREATORS:
            return None
        low, high = np.nanpercentile(self.replicates, (2.5, 97.5))
        return float(low), float(high)

    def map(self, change: Any) -> Resampled:
        """The same for a monotonic function of the statistic that takes arrays, such as `np.expm1`."""
        return Resampled(float(change(self.value)), change(self.replicates), self.creators)

    def over(self, other: Resampled) -> Resampled:
        """The ratio of this statistic to another one's, creator for creator drawn alike."""
        quotients = _divide(self.replicates, other.replicates)
        return Resampled(self.value / other.value, quotients, min(self.creators, other.creators))


def resample(
    connection: duckdb.DuckDBPyConnection,
    sums: str = SUMS,
    ratios: Mapping[str, tuple[str, str]] = RATIOS,
    *,
    seed: int = 0,
) -> dict[str, dict[str, Resampled]]:
    """For each method and each ratio of two sums its value and its replicates.

    `sums` is a query that gives creator (numbered from 1), method and one column per sum, in the order of
    creators. A ratio whose denominator is zero is left out. Creators get Poisson weights, which are as good as
    drawing them with replacement and need no knowledge of how many there are (Chamandy et al., 2012).
    """
    columns = sorted({name for pair in ratios.values() for name in pair})
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
            totals[method] = totals.get(method, 0.0) + values[:, mine] @ drawn
            counts[method] = counts.get(method, 0) + (values[:, mine] != 0).sum(axis=1)
    found: dict[str, dict[str, Resampled]] = {}
    for method, total in totals.items():
        found[str(method)] = {
            name: Resampled(float(ratio[0]), ratio[1:], int(counts[method][columns.index(below)]))
            for name, (above, below) in ratios.items()
            if total[columns.index(below), 0] > 0
            for ratio in [_divide(total[columns.index(above)], total[columns.index(below)])]
        }
    return found


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
        if share is None or share.creators < LEAST_CREATORS:
            continue
        reach = min(1.96 * share.error, 0.5)
        values = connection.execute(
            "SELECT quantile_cont(downloads, [?, ?]) FROM members WHERE method = ?",
            [0.5 - reach, 0.5 + reach, method],
        ).fetchone()
        if values and values[0]:
            ends[method] = (float(values[0][0]), float(values[0][1]))
    return ends
