"""The table of the survey: for every method how many, how downloaded, how large, how old, how liked.

Everything is computed inside DuckDB, so a million models need no more of this process's memory than ten.
Intervals are added by `resampling`, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

_COUNTS = """
SELECT method, count(*) AS models, count(DISTINCT creator) AS creators,
  count(*) - count(downloads) AS hidden, count(*) - count(age) AS undated, count(*) FILTER (archived) AS archived,
  {'total': sum(downloads)::DOUBLE, 'mean': avg(downloads), 'geometric_mean': exp(avg(ln(1 + downloads))) - 1,
    'median_of_top_version': median(top_version_downloads)} AS downloads,
  quantile_cont(downloads, [0.25, 0.5, 0.75, 0.9]) AS download_quantiles,
  quantile_cont(size_kb, [0.25, 0.5, 0.75]) AS size_quantiles,
  quantile_cont(age, [0.25, 0.5, 0.75]) AS age_quantiles,
  {'per_100': 100 * sum(likes) FILTER (downloads IS NOT NULL)
      / nullif(sum(downloads) FILTER (likes IS NOT NULL), 0)} AS likes,
  {'models': count(votes), 'unvoted': count(*) FILTER (votes = 0), 'up': sum(likes) FILTER (votes > 0)::DOUBLE,
    'cast': sum(votes)::DOUBLE, 'share': sum(likes) FILTER (votes > 0) / nullif(sum(votes), 0),
    'wilson_low': wilson_low(sum(likes) FILTER (votes > 0), sum(votes)),
    'unvoted_as_zero': avg(CASE WHEN votes = 0 THEN 0 ELSE likes / votes END),
    'left_out': avg(CASE WHEN votes > 0 THEN likes / votes END)} AS votes,
  quantile_cont(wilson_low(likes, votes), [0.25, 0.5, 0.75]) AS vote_bounds
FROM members GROUP BY method
"""

_CONCENTRATION = """
WITH ranked AS (
  SELECT method, downloads::DOUBLE AS d, row_number() OVER within AS i, count(*) OVER within_all AS n
  FROM members WHERE downloads IS NOT NULL
  WINDOW within AS (PARTITION BY method ORDER BY downloads), within_all AS (PARTITION BY method))
SELECT method, 2 * sum(i * d) / nullif(any_value(n) * sum(d), 0) - (any_value(n) + 1) / any_value(n) AS gini,
  sum(d) FILTER (i > n - ceil(n / 100.0)) / nullif(sum(d), 0) AS top_share
FROM ranked GROUP BY method
"""

_HISTOGRAM = """
SELECT method, floor(4 * log10(1 + downloads))::INTEGER AS bin, count(*) AS models
FROM members WHERE downloads IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
BINS_PER_DECADE = 4

_SIZES = """
SELECT method, size_kb, downloads FROM (
  SELECT *, row_number() OVER (PARTITION BY method ORDER BY hash(id)) AS place
  FROM members WHERE size_kb > 0 AND downloads IS NOT NULL) WHERE place <= {most} ORDER BY method, place
"""


def summarise(connection: duckdb.DuckDBPyConnection) -> dict[str, Row]:
    """One row per method that is there, as plain data.

    Downloads are counts, sizes kilobytes of the first file, ages days. `top_share` is what the most
    downloaded hundredth (at least one model) has of all downloads. A model whose count is hidden is in
    `models` and `hidden` and in no figure of downloads.
    """
    rows = {row.pop("method"): row for row in records(connection, _COUNTS)}
    for row in rows.values():
        row["downloads"] |= _named(row.pop("download_quantiles"), "q25", "median", "q75", "p90")
        row["size_kb"] = _named(row.pop("size_quantiles"), "q25", "median", "q75")
        row["age_days"] = _named(row.pop("age_quantiles"), "q25", "median", "q75")
        row["votes"]["bound"] = _named(row.pop("vote_bounds"), "q25", "median", "q75")
        row["downloads"] |= {"gini": None, "top_share": None}
    for row in records(connection, _CONCENTRATION):
        rows[row.pop("method")]["downloads"] |= row
    return rows


def others(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """The types that are no method of likewise, with their numbers of models, the commonest first; None is no type."""
    query = "SELECT type, count(*) AS models FROM members WHERE method = 'other' GROUP BY type ORDER BY models DESC, type"
    return records(connection, query)


def distributions(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[int, int]]:
    """Models per bin of downloads: bin k holds 1 + downloads from 10^(k/4) up to 10^((k+1)/4)."""
    found: dict[str, dict[int, int]] = {}
    for row in records(connection, _HISTOGRAM):
        found.setdefault(row["method"], {})[row["bin"]] = row["models"]
    return found


def sizes(connection: duckdb.DuckDBPyConnection, most: int = 250) -> dict[str, list[tuple[float, int]]]:
    """Size (kB) and downloads of at most `most` models of each method, the same ones every time."""
    found: dict[str, list[tuple[float, int]]] = {}
    for row in records(connection, _SIZES.format(most=most)):
        found.setdefault(row["method"], []).append((row["size_kb"], row["downloads"]))
    return found


def records(connection: duckdb.DuckDBPyConnection, query: str, values: Any = None) -> list[Row]:
    """The answer of a small query as one dictionary per row."""
    answer = connection.execute(query, values)
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _named(values: list[float] | None, *names: str) -> Row:
    return dict(zip(names, values, strict=True)) if values else dict.fromkeys(names)
