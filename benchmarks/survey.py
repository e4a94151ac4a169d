"""How long does the community survey take, and in how much memory?

A rehearsal site of known size is asked for every id over HTTP, as a sample of all there is. Then a process of its own
reads the pages into a store, analyses it and writes the report: seconds, processor seconds and peak memory, stage by
stage. With --coverage N, how often the sample's 95 % interval held the true number of models, of N catalogues.
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
"""Of reading, analysing and reporting 100,000 models on two cores; of any number of models."""
SAMPLED = 1500
"""Ids of each sample whose interval is checked."""


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a fresh process, whose peak memory is then its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def fetch(models: int, folder: Path) -> dict[str, Any]:
    """The pages of every id of a site of so many models, below `folder`; what that took."""
    from likewise.survey import fetching
    from likewise.survey.civitai import Client
    from likewise.survey.rehearsal.catalogue import generate
    from likewise.survey.rehearsal.server import Rehearsal

    catalogue = generate(models)
    began = time.perf_counter()
    with Rehearsal(catalogue) as site, Client(site.url, budget=models, pause=0.0) as client:
        archive = fetching.fetch(fetching.Plan("sample", site.url, size=catalogue.largest_id), folder, client)
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
    from likewise.survey.rehearsal.catalogue import generate
    from likewise.survey.statistics import coverage, members

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
    given = parse(made)
    if given.smoke:
        given.models, given.coverage = (2000,), min(given.coverage, 2)
    rows = measure(given.models)
    settings: dict[str, Any] = {"goal": f"{MOST_SECONDS} s and {MOST_MEGABYTES} MB"}
    if given.coverage:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in covered(given.coverage).items())
        settings["intervals that held the truth"] = f"{shares} (of {given.coverage})"
    finish("survey", rows, settings, write=given.write)


if __name__ == "__main__":
    main()
