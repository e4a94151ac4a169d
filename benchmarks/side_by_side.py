"""Trainings of a comparison side by side in processes, against one after the other with one thread and with all.

The same LoRAs on the bundled cat, each taught by itself and drawn from, as `likewise compare` does it. Every case starts its
processes anew, which is part of its time; scoring is left out. `ratio` is the wall-clock time of the first case, one after
the other with one thread, divided by that of the case, both of the same run: above 1 is faster.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks.common import cat, finish, numbers, parse, parser, there_and_back
from likewise.base import Sampler
from likewise.comparison.pool import Pool
from likewise.comparison.preparing import prepare
from likewise.events import TrialEnded
from likewise.placing import here


@dataclass(frozen=True)
class Case:
    """So many processes of so many threads."""

    workers: int
    threads: int


def measure(case: Case, base: str, trainings: int, steps: int) -> tuple[float, float]:
    """Wall-clock seconds until every training is drawn from, and processor seconds of all processes that did it."""
    with tempfile.TemporaryDirectory() as folder:
        comparison = prepare(
            cat(), noun="cat", token="sks", base=base, out=Path(folder) / "out", methods=[], steps=steps,
            conditions=[f"c{n}=lora,rank={8 + n}" for n in range(trainings)], seeds=1, sampler=Sampler(steps=2),
        )  # fmt: skip
        comparison.executor = Pool(case.workers, case.threads)
        left = len(comparison.pending())
        began, before = time.perf_counter(), _children()
        with closing(comparison.start()) as events:  # type: ignore[type-var]
            for event in events:
                if isinstance(event, TrialEnded):
                    if event.row["status"] not in ("done", "skipped"):
                        raise SystemExit(f"{event.trial}: {event.row['reason']}")
                    left -= 1
                    if not left:
                        break
        return time.perf_counter() - began, _children() - before


def _children() -> float:
    """Processor seconds of processes that this one has waited for."""
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--base", default="pocket")
    made.add_argument("--trainings", type=int, default=2)
    made.add_argument("--steps", type=int, default=100)
    made.add_argument("--rounds", type=int, default=2)
    made.add_argument(
        "--threads", type=numbers, metavar="N,N,...", help="one after the other; else 1 and all cores"
    )
    given = parse(made)
    if given.smoke:
        given.base, given.steps, given.rounds = "tiny:sd", 2, 1
    facts = here()
    cores = facts.cores
    in_turn = [Case(1, threads) for threads in given.threads or (1, cores)]
    cases = list(dict.fromkeys([*in_turn, Case(min(cores, given.trainings), 1)]))
    found: dict[Case, list[tuple[float, float]]] = {case: [] for case in cases}
    for case in there_and_back(cases, given.rounds):
        found[case].append(measure(case, given.base, given.trainings, given.steps))
        print(case, found[case][-1], flush=True)
    wall = {case: median(seconds for seconds, _ in times) for case, times in found.items()}
    rows = [
        {
            "processes": case.workers,
            "threads": case.threads,
            "wall-clock s": wall[case],
            "processor s": median(used for _, used in times),
            "ratio": wall[cases[0]] / wall[case],
        }
        for case, times in found.items()
    ]
    settings = {
        "base": given.base,
        "trainings": given.trainings,
        "steps": given.steps,
        "rounds": given.rounds,
    }
    finish(
        "side-by-side", rows, settings | {"busy cores at the start": round(facts.busy, 2)}, write=given.write
    )


if __name__ == "__main__":
    main()
