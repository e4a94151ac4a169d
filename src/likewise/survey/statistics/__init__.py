"""Everything that is computed from a snapshot of the survey, as plain data for the report and for programs.

It counts which methods people publish and download. Popularity is not quality: likes and downloads follow subject,
fame, age and ease, and nothing here enters a recommendation of a method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from likewise.errors import SurveyError
from likewise.survey.statistics import coverage, exposure, members, ratings, resampling, summary, verdicts
from likewise.survey.statistics.members import COMPARED, METHODS, OTHER, REFERENCE
from likewise.survey.statistics.resampling import Resampled
from likewise.survey.statistics.summary import Row

if TYPE_CHECKING:
    from likewise.survey.store import Snapshot, Store

__all__ = ["analyse"]


def analyse(store: Store, snapshot: int | None = None, *, against: int | None = None, seed: int = 0) -> Row:
    """All statistics of one snapshot, ready for `json.dumps`.

    Without a number it is what `coverage.today` takes; a type that a census of the same time lists in full then comes
    from there (`completed_by`), and the rows of its methods are `full`. Totals, vanished and growth never do.
    `against` is an earlier snapshot of the same ids; without it the newest one that shares models is taken.
    `methods` has a row per entry of `METHODS` that occurs, in that order. What a snapshot cannot say is None
    or empty, never zero. The same store and seed give the same numbers. Raises `SurveyError` for a snapshot
    that is not there or is empty.
    """
    taken = store.snapshot(snapshot) if snapshot else coverage.today(store)
    connection = store.connection
    members.prepare(connection, taken.number)
    site = _site(store, taken, against, seed)
    censuses = {} if snapshot else coverage.completing(store, taken)
    if censuses:
        members.prepare(connection, taken.number, {name: one.number for name, one in censuses.items()})
    exposure.prepare(connection)
    rows = summary.summarise(connection)
    if not rows:
        raise SurveyError(
            f"snapshot {taken.number} of {store.path} holds no model", "likewise survey fetch takes another"
        )
    found = resampling.resample(connection, seed=seed)
    fitted = exposure.regress(connection)
    compared = [name for name in COMPARED if name in rows]
    adjusted = fitted.differences(compared) if fitted else []
    stars = ratings.stars(connection)
    _add_intervals(rows, found, resampling.median_intervals(connection, found))
    _add_ratings(rows, ratings.votes(connection, list(rows)), stars)
    full = members.listed(censuses)
    table = [
        _describe(method) | {"full": method.name in full} | rows[method.name]
        for method in (*METHODS, OTHER)
        if method.name in rows
    ]
    reference = REFERENCE if REFERENCE in compared else next(iter(compared), None)
    return {
        "rehearsal": taken.rehearsal, "snapshot": _facts(taken), "completed_by": [_facts(one) for one in censuses.values()],
        "seed": seed, "replicates": resampling.REPLICATES, "methods": table,
        "mapping": [_describe(method) for method in METHODS], "reference": reference,
        "stars": stars and {key: stars[key] for key in ("centre", "weight", "weight_fitted")},
        "distributions": summary.distributions(connection), "sizes": summary.sizes(connection),
        "others": summary.others(connection),
        "cohorts": exposure.cohorts(connection), "decay": exposure.decay(connection),
        "age": _age(reference, found, fitted), "verdicts": verdicts.all_pairs(compared, found, adjusted),
        **site,
    }  # fmt: skip


def _site(store: Store, taken: Snapshot, against: int | None, seed: int) -> Row:
    """What needs the ids of this very snapshot: the site's totals, what is gone, and growth since an earlier one."""
    before = store.snapshot(against) if against else coverage.earlier(store, taken)
    return {
        "totals": coverage.totals(store, taken),
        "vanished": coverage.vanished(store, taken),
        "growth": coverage.growth(store, taken, before, seed=seed) if before else None,
    }


def _facts(taken: Snapshot) -> Row:
    return {
        "number": taken.number, "taken": taken.taken.isoformat(), "source": taken.source, "mode": taken.mode,
        "parameters": dict(taken.parameters), "nsfw": taken.nsfw, "largest_id": taken.largest_id,
        "complete": taken.complete,
    }  # fmt: skip


def _describe(method: members.Method) -> Row:
    types = [kind if origin is None else f"{kind}, {origin}" for kind, origin in method.types]
    return {
        "method": method.name, "title": method.title, "types": types, "note": method.note,
        "compared": method.compared, "part_of": method.part_of,
    }  # fmt: skip


def _add_intervals(
    rows: dict[str, Row],
    found: Mapping[str, Mapping[str, Resampled]],
    medians: Mapping[str, tuple[float, float]],
) -> None:
    """Put 95 % intervals over creators beside the figures they belong to."""
    for name, row in rows.items():
        have = found.get(name, {})
        row["downloads"] |= {
            "mean_interval": _interval(have.get("mean")),
            "geometric_mean_interval": _interval(have.get("log"), math.expm1),
            "median_interval": medians.get(name),
        }
        row["likes"]["interval"] = _interval(have.get("likes"), lambda rate: 100 * rate)
        row["votes"]["interval"] = _interval(have.get("approval"), lambda share: min(share, 1.0))
        row["per_day"] = {"mean": have["per_day"].value if "per_day" in have else None}
        row["per_day"]["interval"] = _interval(have.get("per_day"))
        row["stars"] = {"interval": _interval(have["stars"])} if "stars" in have else None


def _interval(one: Resampled | None, change: Callable[[float], float] = float) -> tuple[float, float] | None:
    """The ends of an interval, each changed by a function that only grows."""
    ends = one.interval if one else None
    return (change(ends[0]), change(ends[1])) if ends else None


def _add_ratings(rows: dict[str, Row], priors: Mapping[str, Row], stars: Row | None) -> None:
    for name, row in rows.items():
        row["votes"]["prior"] = priors.get(name)
        if stars and name in stars["methods"]:
            row["stars"] = (row["stars"] or {"interval": None}) | stars["methods"][name]


def _age(
    reference: str | None,
    found: Mapping[str, Mapping[str, Resampled]],
    fitted: exposure.Exposure | None,
) -> Row:
    """Downloads over those of the reference three ways: as counted, per day, and by the regression.

    `same_order` compares the methods that have all three; it is None where fewer than two have.
    """
    ratios: dict[str, Row] = {}
    for key, ratio in (("raw", "mean"), ("per_day", "per_day")):
        values = {name: found[name][ratio] for name in COMPARED if ratio in found.get(name, {})}
        base = values.get(reference or "")
        if base is None or base.value <= 0:
            continue
        for name, one in values.items():
            quotient = one.over(base)
            low, high = quotient.interval or (None, None)
            ratios.setdefault(name, {})[key] = {"value": quotient.value, "low": low, "high": high}
    for name, row in (fitted.ratios(reference) if fitted and reference else {}).items():
        ratios.setdefault(name, {})["adjusted"] = row
    orders = {
        key: sorted((n for n in ratios if key in ratios[n]), key=lambda n: -ratios[n][key]["value"])
        for key in ("raw", "per_day", "adjusted")
    }
    everywhere = [name for name in ratios if all(name in order for order in orders.values())]
    shared = {tuple(name for name in order if name in everywhere) for order in orders.values()}
    agree = len(shared) <= 1 if len(everywhere) >= 2 else None
    return {"ratios": ratios, "orders": orders, "same_order": agree, "model": fitted and fitted.facts()}
