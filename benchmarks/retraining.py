"""How far a method's score moves when nothing but luck changes: taught again, drawn again, scored again.

Every method is taught on the same pictures with several training seeds. For each it prints the spread (standard deviation,
in floor-to-ceiling units of likeness) over training seeds, over prompts, over new noise for the same file, and over scoring
the same pictures again. With nine trainings or more it also holds one method against itself: random groups of three
trainings in pairs, each judged as two methods would be, where every winner is a false one.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import likewise
from benchmarks.common import cat, finish, parse, parser
from likewise.base import Base, Sampler
from likewise.comparison import concluding
from likewise.comparison.preparing import prepare
from likewise.comparison.verdicts import decide
from likewise.events import TrialEnded
from likewise.gallery import Gallery
from likewise.metrics.features import panel, read

GROUP = 3
"""Trainings of one side of a pair, as in a standard comparison."""
PAIRS = 1000


def taught(base: Base, folder: Path, replicates: int, options: dict[str, Any]) -> concluding.Frame:
    """All methods with so many seeds on the same pictures; a second start goes on where the first one stopped."""
    comparison = prepare(
        cat(), noun="cat", base=base, out=folder, replicates=replicates, rotations=1, **options
    )
    for event in comparison.start():
        if isinstance(event, TrialEnded):
            print(f"{event.trial}: {event.row['status']}", flush=True)
    return concluding.frame(folder)


def spreads(frame: concluding.Frame, condition: str) -> dict[str, Any]:
    """The spreads of likeness of one condition."""
    prompts = frame.prompts("fidelity", [condition])
    table = frame.array("fidelity", condition, prompts)
    assert table is not None
    pictures = np.array(
        [[one["fidelity"][name] for name in prompts] for one in frame.scores.values[condition]]
    )  # [replicates, prompts, seeds]
    way = float(frame.way.mean())
    by_noise = pictures.mean(1) / way  # of one file, drawn from each noise
    return {
        "method": condition,
        "trainings": len(table),
        "likeness": float(table.mean()),
        "seeds ±": float(table.mean(1).std(ddof=1)) if len(table) > 1 else None,
        "prompts ±": float(table.mean(0).std(ddof=1)),
        "new noise ±": float(np.sqrt(by_noise.var(1, ddof=1).mean())) if by_noise.shape[1] > 1 else None,
    }


def scored_again(base: Base, folder: Path) -> float:
    """The largest change of any number that the judge reads from one gallery, when it reads it twice."""
    judge = panel(base.judges).pictures
    images = Gallery(folder / "trials" / "base" / "gallery").images()
    one, other = (read(judge, images).vectors for _ in range(2))
    return float((one - other).abs().max())


def false_winners(frame: concluding.Frame, condition: str) -> float | None:
    """The share of `PAIRS` random pairs of disjoint groups of one method's trainings in which one group is called better.

    None where there are too few trainings. The pairs share trainings, so the share is surer than it is exact.
    """
    prompts = frame.prompts("composite", [condition])
    table = frame.array("composite", condition, prompts)
    if table is None or len(table) < 3 * GROUP:
        return None
    draw, found = np.random.default_rng(0), 0
    for _ in range(PAIRS):
        chosen = draw.permutation(len(table))[: 2 * GROUP]
        sides = {"one": table[chosen[:GROUP]], "other": table[chosen[GROUP:]]}
        found += decide("composite", sides).pairs[0].verdict in ("better", "worse")
    return found / PAIRS


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--base", default="pocket")
    made.add_argument("--methods", default="", metavar="A,B,...", help="else every method")
    made.add_argument("--trainings", type=int, default=6, metavar="N", help="of every method")
    made.add_argument("--out", type=Path, metavar="FOLDER", help="keep the comparison; again goes on")
    made.add_argument(
        "--read", type=Path, metavar="COMPARISON", help="teach nothing: read one that is finished"
    )
    given = parse(made)
    options: dict[str, Any] = {}
    if given.methods:
        options["methods"] = given.methods.split(",")
    if given.smoke:
        given.base, given.trainings = "tiny:sd", 2
        options |= {"steps": 2, "sampler": Sampler(steps=2), "seeds": (0, 1), "prior_count": 2}
    base = likewise.load(given.base)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.read or given.out or Path(temporary)
        frame = concluding.frame(folder) if given.read else taught(base, folder, given.trainings, options)
        again = scored_again(base, folder)
    names = [name for name in frame.complete if frame.scores.rows[name][0].kind == "method"]
    if not frame.clear:
        print("likeness cannot be told from its floor on this base, so there are no units to give spreads in")
        return
    rows = []
    for name in names:
        false = false_winners(frame, name)
        rows.append(spreads(frame, name) | {"scored again ±": again, "false winners": false})
    settings = {
        "base": given.base,
        "noun": frame.book["noun"],
        "prompts": len(frame.prompts("fidelity", names)),
    }
    settings |= {
        "pictures kept back": "the same" if len(frame.book["folds"]) == 1 else "others for each training"
    }
    finish("retraining", rows, settings, write=given.write)


if __name__ == "__main__":
    main()
