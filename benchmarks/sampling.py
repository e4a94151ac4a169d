"""The time of a picture, alone and in a batch.

Seconds per picture at 20 guided steps: text, denoising and decoding together, without loading the model.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

import likewise
from benchmarks.common import finish, numbers, parse, parser, there_and_back
from likewise.base import Base, Sampler

PROMPT = "a cat on a beach"


def seconds(base: Base, count: int, steps: int) -> float:
    """The time of `count` pictures in one batch."""
    sampler = Sampler(steps=steps, guidance=5.0, batch=count)
    began = time.perf_counter()
    drawn = sum(1 for _ in base.sample([PROMPT] * count, list(range(count)), sampler))
    assert drawn == count
    return time.perf_counter() - began


def measure(base: Base, batches: Sequence[int], steps: int, rounds: int) -> dict[int, list[float]]:
    """Seconds of each batch size, in turns, after one drawing of each that does not count."""
    found: dict[int, list[float]] = {count: [] for count in batches}
    for count in batches:
        seconds(base, count, min(steps, 2))
    for count in there_and_back(batches, rounds):
        found[count].append(seconds(base, count, steps))
    return found


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--base", default="pocket")
    made.add_argument("--batches", type=numbers, default=(1, 8, 16), metavar="N,N,...")
    made.add_argument("--steps", type=int, default=20, help="denoising steps")
    made.add_argument("--rounds", type=int, default=6)
    given = parse(made)
    if given.smoke:
        given.base, given.batches, given.steps, given.rounds = "tiny:sd", (1, 2), 2, 2
    base = likewise.load(given.base)
    times = measure(base, given.batches, given.steps, given.rounds)
    each = {count: median(found) / count for count, found in times.items()}
    rows = [
        {
            "pictures at once": count,
            "s per picture": each[count],
            "fastest": min(times[count]) / count,
            "slowest": max(times[count]) / count,
            "ratio to one": each[1] / each[count] if 1 in each else None,
        }
        for count in given.batches
    ]
    settings = {"base": given.base, "precision": base.precision, "size": base.resolution}
    finish("sampling", rows, settings | {"steps": given.steps, "rounds": given.rounds}, write=given.write)


if __name__ == "__main__":
    main()
