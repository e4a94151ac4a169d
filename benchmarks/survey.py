"""Time and memory of the community survey.

A rehearsal site of known size is asked for every id over HTTP, as a sample of all there is. Then a process of its own
reads the pages into a store, analyses it and writes the report: seconds, processor seconds and peak memory, stage by
stage. With --coverage N, how often the sample's 95 % interval held the true number of models, of N catalogues. With
--intervals N, how often the intervals over creators held the truth, in N samples of catalogues and in N populations of
each of four other shapes, some with much heavier tails; and of how many catalogues a method's mean had an interval.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.common import finish, numbers, parse, parser, table
from likewise.meter import Meter

MOST_SECONDS, MOST_MEGABYTES = 60, 1000
"""Goals: reading, analysing and reporting 100,000 models on two cores; any number of models."""
SAMPLED = 1500
"""Ids of each sample whose interval is checked."""
SHAPES = ("lognormal", "heavier lognormal", "Pareto of index 2", "gamma")
CREATORS = (10, 30, 120, 300, 1000)
LARGE = 60_000
"""Creators of the population that is taken for the truth."""


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a fresh process, whose peak memory is then its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def fetch(models: int, folder: Path) -> dict[str, Any]:
    """The pages of every id of a site of so many models, below `folder`; what that took."""
    from likewise.survey import fetching
    from likewise.survey.civitai import Client
    from likewise.survey.plan import Plan
    from rehearsal.catalogue import generate
    from rehearsal.server import Rehearsal

    catalogue = generate(models)
    began = time.perf_counter()
    with Rehearsal(catalogue) as site, Client(site.url, budget=models, pause=0.0) as client:
        archive = fetching.fetch(Plan("sample", site.url, size=catalogue.largest_id), folder, client)
        pages = sum(file.stat().st_size for file in archive.folder.iterdir())
        return {"requests": client.sent, "s": time.perf_counter() - began, "pages, MB": pages / 1e6}


def read_out(folder: Path) -> list[dict[str, Any]]:
    """Import, analysis and report of the pages below `folder`: a row per stage."""
    from likewise.survey import archive, importing, report
    from likewise.survey import store as stores
    from likewise.survey.statistics import analyse

    (pages,) = archive.find(folder)
    path, rows = folder / "survey.duckdb", []

    def timed(stage: str, function: Callable[[], Any]) -> Any:
        busy = time.process_time()
        with Meter() as meter:
            result = function()
        spent = {"s": meter.seconds, "processor s": time.process_time() - busy}
        rows.append({"stage": stage, **spent, "peak, MB": meter.peak / 1e6})
        return result

    with stores.open(path) as store:
        timed("import", lambda: importing.load(pages.folder, store))
        count = len(store.ids(1))
    with stores.open(path, read_only=True) as store:
        found = timed("analyse", lambda: analyse(store))
    timed("report", lambda: report.build(found, folder / "survey.html"))
    total = {key: sum(row[key] for row in rows) for key in ("s", "processor s")}
    rows.append({"stage": "all", **total, "peak, MB": max(row["peak, MB"] for row in rows)})
    return [{"models": count, **row} for row in rows]


def covered(catalogues: int) -> dict[str, float]:
    """The share of catalogues whose interval for the number of models held the truth, for each compared method."""
    from likewise.survey import store as stores
    from likewise.survey.statistics import coverage, members
    from rehearsal.catalogue import generate

    types = {
        method.name: [kind for kind, origin in method.types if origin is None] for method in members.METHODS
    }
    names = [name for name in members.COMPARED if types[name]]
    inside = dict.fromkeys(names, 0)
    for seed in range(catalogues):
        site = generate(4000, seed=seed)
        asked = np.random.default_rng(seed).choice(site.largest_id, SAMPLED, replace=False) + 1
        with stores.open(Path(":memory:")) as store:
            site.write(store, asked)
            members.prepare(store.connection, 1)
            found = coverage.totals(store, store.snapshot()) or {}
        for name in names:
            truth = sum(site.totals()[kind] for kind in types[name])
            inside[name] += found[name]["low"] <= truth <= found[name]["high"]
    return {name: hits / catalogues for name, hits in inside.items()}


def drawn(draw: np.random.Generator, shape: str, creators: int) -> dict[str, Any]:
    """The columns of `resampling.SUMS` of an invented method, a row per creator.

    A few creators make many models, save in the mildest shape. Favourable votes and likes follow the downloads.
    """
    many = np.minimum(draw.zipf(1.9, creators), 40) if shape != "gamma" else np.ones(creators, int)
    of = np.repeat(np.arange(creators), many)
    count = len(of)
    age = 1.0 + 1400 * draw.random(count) ** 0.7
    if shape == "lognormal":
        rate = np.exp(draw.normal(0, 0.7, creators)[of] + draw.normal(0, 1.2, count)) * age**0.6
    elif shape == "heavier lognormal":
        rate = np.exp(3 + draw.normal(0, 1, creators)[of] + draw.normal(0, 1.6, count))
    elif shape == "Pareto of index 2":
        rate = 30 * (draw.pareto(2.0, count) + 1) * np.exp(draw.normal(0, 0.5, creators))[of]
    else:
        rate = draw.gamma(0.5, 200, count)
    downloads = draw.poisson(rate)
    likes = draw.binomial(downloads, draw.beta(2, 18, count))
    dislikes = draw.binomial(likes, draw.beta(1, 60, count))
    models = {
        "known": np.ones(count), "downloads": downloads, "logs": np.log1p(downloads), "days": age, "dated": downloads,
        "below": downloads <= np.median(downloads), "likes": likes, "likable": downloads, "up": likes,
        "votes": likes + dislikes, "stars": np.ones(count), "starred": np.ones(count),
    }  # fmt: skip
    sums = {name: np.bincount(of, values, creators) for name, values in models.items()}
    return sums | {"creator": np.arange(1, creators + 1), "method": np.full(creators, "it", dtype=object)}


def held(shape: str, creators: int, populations: int, names: Sequence[str]) -> dict[str, float]:
    """The share of populations of a shape whose interval held the truth, for each statistic that most have one of."""
    from likewise.survey import store as stores
    from likewise.survey.statistics.resampling import RATIOS, resample

    large = [drawn(np.random.default_rng(seed), shape, LARGE) for seed in range(1000, 1008)]
    truth = {
        name: sum(one[RATIOS[name].above].sum() for one in large)
        / sum(one[RATIOS[name].below].sum() for one in large)
        for name in names
    }
    inside: dict[str, list[bool]] = {name: [] for name in names}
    with stores.open(Path(":memory:")) as store:
        for seed in range(populations):
            columns = drawn(np.random.default_rng(seed), shape, creators)
            store.connection.register("population", columns)  # `sums` is a table of resample's own
            query = "SELECT * FROM population ORDER BY creator"
            ratios = {name: RATIOS[name] for name in names}
            found = resample(store.connection, query, ratios, seed=seed)["it"]
            for name in names:
                if ends := found[name].interval if name in found else None:
                    inside[name].append(ends[0] <= truth[name] <= ends[1])
    return {name: float(np.mean(hits)) for name, hits in inside.items() if 2 * len(hits) > populations}


def sampled(catalogues: int, models: int = 12_000) -> list[Mapping[str, Any]]:
    """For each method in how many samples of catalogues its mean and median had an interval, and how often it held."""
    from likewise.survey import store as stores
    from likewise.survey.statistics import members, resampling
    from rehearsal.catalogue import generate

    hits: dict[tuple[str, str], list[bool]] = {}
    for seed in range(catalogues):
        site = generate(models, seed=seed)
        asked = np.random.default_rng(seed).choice(site.largest_id, site.largest_id // 3, replace=False) + 1
        with stores.open(Path(":memory:")) as store:
            site.write(store, asked)
            site.write(store)
            members.prepare(store.connection, 2)
            exact = "SELECT method, avg(downloads), median(downloads) FROM members GROUP BY method"
            truth = {name: ends for name, *ends in store.connection.execute(exact).fetchall()}
            members.prepare(store.connection, 1)
            found = resampling.resample(store.connection, seed=seed)
            medians = resampling.median_intervals(store.connection, found)
        for name in members.COMPARED:
            mean = found[name]["mean"].interval if name in found else None
            for what, ends, right in (("mean", mean, 0), ("median", medians.get(name), 1)):
                made = hits.setdefault((name, what), [])
                made += [ends[0] <= truth[name][right] <= ends[1]] if ends else []
    return [
        {
            "method": name,
            "of the": what,
            "with an interval": len(made),
            "held": float(np.mean(made)) if made else None,
        }
        for (name, what), made in hits.items()
    ]


def intervals(populations: int) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """How often intervals held the truth: of samples of catalogues, and by shape and number of creators."""
    names = ("mean", "log", "likes", "approval", "per_day")
    rows = [
        {
            "shape": shape,
            "creators": creators,
            **dict.fromkeys(names),
            **held(shape, creators, populations, names),
        }
        for shape in SHAPES
        for creators in CREATORS
    ]
    return sampled(populations), rows


def measure(sizes: Sequence[int]) -> list[Mapping[str, Any]]:
    """Rows of all stages for each size."""
    rows: list[Mapping[str, Any]] = []
    for models in sizes:
        with TemporaryDirectory(prefix="likewise-") as name:
            fetched = apart(fetch, models, Path(name))
            print(f"\n{table([{'models': models, **fetched}])}", flush=True)
            rows += apart(read_out, Path(name))
    return rows


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--models", type=numbers, default=(100_000, 1_000_000), metavar="N,N,...")
    made.add_argument("--coverage", type=int, default=0, metavar="N", help="catalogues to check intervals on")
    made.add_argument(
        "--intervals", type=int, default=0, metavar="N", help="populations to check intervals on"
    )
    given = parse(made)
    if given.smoke:
        given.models = (2000,)
        given.coverage, given.intervals = min(given.coverage, 2), min(given.intervals, 2)
    rows = measure(given.models)
    settings: dict[str, Any] = {"goal": f"{MOST_SECONDS} s and {MOST_MEGABYTES} MB"}
    if given.coverage:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in covered(given.coverage).items())
        settings["intervals that held the truth"] = f"{shares} (of {given.coverage})"
    if given.intervals:
        for found in intervals(given.intervals):
            print(f"\n{table(found)}", flush=True)
    finish("survey", rows, settings, write=given.write)


if __name__ == "__main__":
    main()
