"""Votes and stars: what an average of them says once the number of voters is taken into account.

Two shrinkages: a beta-binomial for thumbs, fitted by likelihood, and the prior weight of stars, by moments.
Neither makes a like a grade of quality: nearly all votes are favourable, and who votes differs by method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.survey.statistics.summary import Row, records

if TYPE_CHECKING:
    import duckdb

FITTED_ON = 20_000
"""Models per method, at random, that a prior of votes is fitted on."""
ASSUMED_WEIGHT = 10.0
"""The prior's weight in ratings where the data cannot say it, within the usual 10 to 30."""

_VOTES = """
SELECT likes::DOUBLE AS up, votes::DOUBLE AS votes FROM (
  SELECT likes, votes, id FROM members WHERE method = ? AND votes > 0 ORDER BY hash(id) LIMIT {most})
"""

_SPREAD = """
WITH rated AS (SELECT stars AS x, raters AS n FROM surveyed WHERE stars IS NOT NULL AND raters > 0),
centre AS (SELECT avg(x) AS m FROM rated)
SELECT count(*) AS models, regr_slope((x - m)**2, 1.0 / n) AS within, regr_intercept((x - m)**2, 1.0 / n) AS between
FROM rated, centre
"""

_STARS = """
SELECT method, count(stars) AS rated, count(*) FILTER (unrated) AS unrated,
  sum(stars) / nullif(count(stars) + count(*) FILTER (unrated), 0) AS unrated_as_zero, avg(stars) AS left_out,
  sum(stars * raters) / nullif(sum(raters) FILTER (stars IS NOT NULL), 0) AS by_votes,
  avg(($weight::DOUBLE * $centre::DOUBLE + raters * stars) / ($weight::DOUBLE + raters)) AS shrunk
FROM members GROUP BY method HAVING count(stars) + count(*) FILTER (unrated) > 0
"""


def votes(connection: duckdb.DuckDBPyConnection, methods: list[str]) -> dict[str, Row]:
    """The beta prior of each method's share of likes, from models that anybody voted on.

    A model's expected share is (alpha + up) / (alpha + beta + votes). Methods with fewer than ten such models
    are left out.
    """
    found = {}
    for method in methods:
        answer = connection.execute(_VOTES.format(most=FITTED_ON), [method]).fetchnumpy()
        up, cast = (np.asarray(answer[name], float) for name in ("up", "votes"))
        if len(up) >= 10:
            alpha, beta = fit_beta_binomial(up, cast)
            found[method] = {
                "alpha": alpha,
                "beta": beta,
                "mean": alpha / (alpha + beta),
                "fitted_on": len(up),
            }
    return found


def fit_beta_binomial(up: Any, votes: Any) -> tuple[float, float]:
    """Alpha and beta of greatest likelihood for `up` [n] of `votes` [n]; both within 1e-3 and 1e4."""
    from scipy.optimize import minimize
    from scipy.special import betaln

    def loss(point: Any) -> float:
        alpha, beta = np.exp(point)
        return -float(np.mean(betaln(alpha + up, beta + votes - up) - betaln(alpha, beta)))

    share = (up.sum() + 1) / (votes.sum() + 2)
    start = np.log([10 * share, 10 * (1 - share)])
    bounds = [(np.log(1e-3), np.log(1e4))] * 2
    alpha, beta = np.exp(minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)
    return float(alpha), float(beta)


def stars(connection: duckdb.DuckDBPyConnection) -> Row | None:
    """Stars four ways for each method, or None where the snapshot has none (newer recordings have thumbs).

    `unrated_as_zero` is the mistake that this survey corrects. `shrunk` is the mean over rated models of
    (weight * centre + sum of stars) / (weight + raters). `weight` is the variance of one rating over the
    variance of models' true means, by moments: the squared distance from the centre is regressed on 1 / raters.
    """
    spread = records(connection, _SPREAD)[0]
    within, between = spread["within"], spread["between"]
    fitted = spread["models"] >= 30 and bool(within and between and within > 0 and between > 0)
    weight = within / between if fitted else ASSUMED_WEIGHT
    row = connection.execute("SELECT avg(stars), bool_or(unrated) FROM surveyed").fetchone()
    if row is None or row[0] is None:
        return None
    prior = {"centre": float(row[0]), "weight": float(weight)}
    methods = {each.pop("method"): each for each in records(connection, _STARS, prior)}
    return prior | {"weight_fitted": fitted, "methods": methods}
