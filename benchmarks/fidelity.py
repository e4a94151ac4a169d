"""The change of a method's scores when it is taught again with another seed.

The whole comparison on the bundled concept once per training seed, pictures' seeds unchanged: mean and standard
deviation over training seeds of subject fidelity (0: untaught base, 1: real pictures) and of prompt following.
One comparison gives no verdict on methods; this shows how far its numbers can be trusted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import likewise
from benchmarks.common import cat, finish, parse, parser
from likewise.base import Base, Sampler
from likewise.comparison import comparison, results
from likewise.comparison.results import Row
from likewise.events import TrialEnded

AXES = {"fidelity": "normalised", "prompt": "mean"}
"""Metric -> which of its values is averaged."""


def once(base: Base, seed: int, folder: Path, options: Mapping[str, Any]) -> list[Row]:
    """One comparison, whose folder is kept; a second start goes on where the first one stopped."""
    compared = comparison.prepare(cat(), noun="cat", base=base, out=folder, seed=seed, **options)
    for event in compared.start():
        if isinstance(event, TrialEnded):
            print(f"seed {seed}: {event.trial} {event.row['status']}", flush=True)
    return results.Results(folder).rows()


def summarise(found: Sequence[Sequence[Row]]) -> list[dict[str, Any]]:
    """A line per trial that was scored: of how many seeds, and mean and spread of each axis."""
    trials = dict.fromkeys(row.trial for rows in found for row in rows if row.scores)
    lines = []
    for trial in trials:
        mine = [row for rows in found for row in rows if row.trial == trial and row.scores]
        line: dict[str, Any] = {"trial": trial, "seeds": len(mine)}
        for metric, key in AXES.items():
            values = [row.scores.get(metric, {}).get(key) for row in mine]
            known = [value for value in values if value is not None]
            line[metric] = fmean(known) if known else None
            line[f"{metric} ±"] = stdev(known) if len(known) > 1 else None
        lines.append(line)
    return lines


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--base", default="pocket")
    made.add_argument("--methods", default="", metavar="A,B,...", help="else every method")
    made.add_argument("--seeds", type=int, default=3, metavar="N", help="training seeds 0 to N - 1")
    made.add_argument("--out", type=Path, metavar="FOLDER", help="keep the comparisons; again goes on")
    given = parse(made)
    options: dict[str, Any] = {"methods": [name for name in given.methods.split(",") if name]}
    if given.smoke:
        given.base, given.seeds = "tiny:sd", 2
        options |= {"steps": 2, "sampler": Sampler(steps=2), "seeds": (0,), "prior_count": 2}
    base = likewise.load(given.base)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        found = [once(base, seed, folder / f"seed{seed}", options) for seed in range(given.seeds)]
    finish("fidelity", summarise(found), {"base": given.base, "precision": base.precision}, write=given.write)


if __name__ == "__main__":
    main()
