"""Age: counters only grow, so a method whose models are older looks better than it is.

A cohort table, a check of how downloads grow with age, and a regression that compares models of the same
age, base model and number of versions. Needs statsmodels for the regression.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from likewise.errors import SurveyError
from likewise.statistics.multiplicity import reach_of
from likewise.survey import missing
from likewise.survey.statistics.members import COMPARED, REFERENCE
from likewise.survey.statistics.resampling import LEAST_CREATORS
from likewise.survey.statistics.summary import Row, records
from likewise.survey.statistics.verdicts import Difference

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

FITTED_ON = 8_000
"""Models per method, at random, that the regression is fitted on; rare methods are taken whole."""
BASES = 7
"""Base models that are told apart; the rest are one group."""
_LEAST_MODELS = 20

_COHORTS = """
SELECT method, base_group AS base, strftime(date_trunc('quarter', published), '%Y-%m-%d') AS quarter,
  count(*) AS models, median(downloads) AS median, exp(avg(ln(1 + downloads))) - 1 AS geometric_mean
FROM comparable GROUP BY ALL ORDER BY ALL
"""

_DECAY = """
WITH centred AS (
  SELECT creator, ln(age) - avg(ln(age)) OVER within AS x, ln(1 + downloads) - avg(ln(1 + downloads)) OVER within AS y
  FROM comparable WINDOW within AS (PARTITION BY method, base_group)),
line AS (SELECT sum(x * y) / sum(x * x) AS slope, sum(x * x) AS spread FROM centred HAVING sum(x * x) > 1e-6),
clusters AS (SELECT creator, sum(x * (y - slope * x)) AS score FROM centred, line GROUP BY creator)
SELECT any_value(slope) AS elasticity, sqrt(sum(score * score)) / any_value(spread) AS error,
  count(*) AS creators
FROM clusters, line
"""

_ROWS = """
SELECT method, creator, base_group AS base, downloads::DOUBLE AS downloads, ln(age) AS log_age,
  ln(1 + coalesce(versions, 1)) AS log_versions, coalesce(nsfw, false)::DOUBLE AS nsfw
FROM (SELECT *, row_number() OVER (PARTITION BY method ORDER BY hash(id)) AS place FROM comparable)
WHERE place <= {most} ORDER BY method, place
"""


def prepare(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the temporary view `comparable`: compared methods, with a count and a date, base models grouped."""
    names = ", ".join(f"'{name}'" for name in COMPARED)
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE common_bases AS SELECT base FROM members
        WHERE method IN ({names}) GROUP BY base ORDER BY count(*) DESC, base LIMIT {BASES}""")
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW comparable AS
        SELECT *, CASE WHEN base IN (SELECT base FROM common_bases) THEN base ELSE 'others' END AS base_group
        FROM members WHERE method IN ({names}) AND downloads IS NOT NULL AND age IS NOT NULL""")


def cohorts(connection: duckdb.DuckDBPyConnection) -> list[Row]:
    """Models, median and geometric mean of downloads for each method, base model and quarter of publication."""
    return records(connection, _COHORTS)


def decay(connection: duckdb.DuckDBPyConnection) -> Row | None:
    """How log downloads grow with log age within a method and base model; errors clustered by creator.

    An elasticity of one would mean that downloads per day are a fair measure. Below one they favour what is
    new, above one what is old.
    """
    row = records(connection, _DECAY)[0]
    if not row["error"] or row["creators"] < LEAST_CREATORS:
        return None
    reach = reach_of(row["creators"] - 1) * row["error"]
    return row | {"low": row["elasticity"] - reach, "high": row["elasticity"] + reach}


@dataclass(frozen=True)
class Exposure:
    """The fitted regression: log effects of the methods, their covariance, and how it was fitted.

    `effects` [m] and `covariance` [m, m] are in the order of `methods`; `estimable` [m] says which of them the
    data can tell from the other variables. Contrasts between estimable methods are meaningful, levels are not.
    """

    methods: tuple[str, ...]
    effects: NDArray[np.float64]
    covariance: NDArray[np.float64]
    estimable: tuple[bool, ...]
    creators: dict[str, int]
    dispersion: float
    rows: int
    available: int
    age_effect: tuple[float, float] | None

    def facts(self) -> Row:
        """How it was fitted: rows of those available, dispersion, elasticity at the mean age with its error."""
        elasticity, error = self.age_effect or (None, None)
        return {
            "rows": self.rows, "available": self.available, "dispersion": self.dispersion,
            "elasticity": elasticity, "elasticity_error": error,
            "not_estimable": [m for m, k in zip(self.methods, self.estimable, strict=True) if not k],
        }  # fmt: skip

    def differences(self, wanted: Sequence[str]) -> list[Difference]:
        """Log ratios between all pairs of `wanted` that can be told apart."""
        there = {name: k for k, name in enumerate(self.methods) if self.estimable[k]}
        at = {name: there[name] for name in wanted if name in there}
        return [self._difference(first, second, at) for first, second in combinations(at, 2)]

    def _difference(self, first: str, second: str, at: dict[str, int]) -> Difference:
        a, b = at[first], at[second]
        variance = self.covariance[a, a] + self.covariance[b, b] - 2 * self.covariance[a, b]
        creators = min(self.creators[first], self.creators[second])
        error = math.sqrt(max(variance, 0.0))
        return Difference(first, second, float(self.effects[a] - self.effects[b]), error, creators)

    def ratios(self, reference: str) -> dict[str, Row]:
        """Downloads of each method over those of `reference`, other things equal, with 95 % intervals where there are
        creators enough."""
        at = {name: k for k, name in enumerate(self.methods) if self.estimable[k]}
        if reference not in at:
            return {}
        found: dict[str, Row] = {}
        for name in at:
            one = self._difference(name, reference, at)
            found[name] = {"value": math.exp(one.value), "low": None, "high": None}
            if one.creators >= LEAST_CREATORS:
                reach = reach_of(one.creators - 1) * one.error
                found[name] |= {"low": math.exp(one.value - reach), "high": math.exp(one.value + reach)}
        return found


def regress(connection: duckdb.DuckDBPyConnection) -> Exposure | None:
    """Fit downloads ~ method + base model + log versions + adult content, with exposure in days as offset.

    A negative binomial regression (NB2) with a log link. Age enters twice: its logarithm is the offset, and
    the logarithm and its square are free besides, because downloads slow down; at one snapshot the month of
    publication is the same variable as the age, so months are not added. Dispersion is set so that Pearson's
    statistic has its expectation; standard errors are clustered by creator, so they hold if it is wrong.
    Returns None with fewer than two methods of `_LEAST_MODELS` models each, or fewer than `LEAST_CREATORS` creators.
    """
    answer = connection.execute(_ROWS.format(most=FITTED_ON)).fetchnumpy()
    data = {name: np.asarray(values) for name, values in answer.items()}
    names, counts = np.unique(data["method"].astype(str), return_counts=True)
    methods = tuple(str(name) for name, count in zip(names, counts, strict=True) if count >= _LEAST_MODELS)
    if len(methods) < 2 or len(np.unique(data["creator"])) < LEAST_CREATORS:
        return None
    keep = np.isin(data["method"].astype(str), methods)
    data = {name: values[keep] for name, values in data.items()}
    design, tellable, aged = _design(data, methods)
    result, dispersion = _fit(data, design)
    effects, covariance = np.asarray(result.params), np.asarray(result.cov_params())
    kinds, m = data["method"].astype(str), len(methods)
    total = connection.execute("SELECT count(*) FROM comparable").fetchone()
    return Exposure(
        methods, effects[:m], covariance[:m, :m], tellable,
        {name: len(np.unique(data["creator"][kinds == name])) for name in methods}, dispersion,
        len(kinds), int(total[0]) if total else 0,
        (1 + float(effects[m]), float(np.sqrt(covariance[m, m]))) if aged else None,
    )  # fmt: skip


def _design(
    data: dict[str, Any], methods: tuple[str, ...]
) -> tuple[NDArray[np.float64], tuple[bool, ...], bool]:
    """Columns [n, k]: one per method and no constant, then log age unless all are equally old, then the others;
    which methods can be told apart from the rest; whether log age is there.

    A column that others add up to is left out, since the fit inverts a matrix; which one makes no difference
    to what can be told. A method that only ever occurs on a base model of its own cannot be told from that
    base model: its contrast to the reference is then no combination of the rows of all columns.
    """
    kinds, bases = data["method"].astype(str), data["base"].astype(str)
    age = data["log_age"] - np.mean(data["log_age"])
    indicators = [kinds == name for name in methods]
    others = [age, age**2 - np.mean(age**2), data["log_versions"] - np.mean(data["log_versions"])]
    others += [data["nsfw"] - np.mean(data["nsfw"])]
    others += [bases == base for base in np.unique(bases)[1:]]
    design = np.stack([np.asarray(column, float) for column in (*indicators, *others)], axis=1)
    gram = design.T @ design
    row_space = np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ gram
    reference = methods.index(REFERENCE) if REFERENCE in methods else 0
    contrasts = np.eye(len(methods), design.shape[1]) - np.eye(1, design.shape[1], reference)
    tellable = np.abs(contrasts @ row_space - contrasts).max(axis=1) < 1e-6
    beside = np.abs(np.diag(np.linalg.qr(design, mode="r")))  # what each column adds to those before it
    kept = beside > 1e-7 * math.sqrt(len(design))
    return design[:, kept], tuple(bool(one) for one in tellable), bool(kept[len(methods)])


def _fit(data: dict[str, Any], design: NDArray[np.float64]) -> tuple[Any, float]:
    """The fit with clustered errors and the dispersion that it settled on."""
    try:
        from statsmodels.genmod.families import NegativeBinomial
        from statsmodels.genmod.generalized_linear_model import GLM
    except ModuleNotFoundError:
        raise missing("statsmodels") from None
    dispersion, start = 1.0, None
    groups = {"groups": np.asarray(data["creator"], int)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge is asked of the result instead
        for _ in range(8):
            family = NegativeBinomial(alpha=dispersion)
            model = GLM(data["downloads"], design, family=family, offset=data["log_age"])
            fit = model.fit(start_params=start, maxiter=100, cov_type="cluster", cov_kwds=groups)
            start, before = fit.params, dispersion
            dispersion = _dispersion(data["downloads"], fit.mu, design.shape[1], before)
            if abs(dispersion / before - 1) < 0.01:
                break
    if not fit.converged or not np.isfinite(fit.params).all():
        raise SurveyError(
            "the regression on age did not settle", "this is a bug: please report it with the store"
        )
    return fit, before


def _dispersion(counts: Any, mean: Any, parameters: int, start: float) -> float:
    """NB2's alpha for which the sum of (y - mean)^2 / (mean + alpha mean^2) is n less the parameters."""
    alpha, wanted = start, len(counts) - parameters
    for _ in range(50):
        variance = mean + alpha * mean**2
        squares = (counts - mean) ** 2 / variance
        slope = float(np.sum(squares * mean**2 / variance))
        change = (float(squares.sum()) - wanted) / slope
        alpha = min(max(alpha + change, alpha / 4, 1e-4), 1e3)
        if abs(change) < 1e-3 * alpha:
            break
    return float(alpha)
