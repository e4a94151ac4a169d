"""The gain of drawing with K taught files at once, beside one after the other, at the same number of rows in a batch.

K LoRAs of rank 8 on the attention layers. One after the other, each draws its pictures in batches of `--rows`; together,
every batch has `--rows` / K rows of each. Where a file's pictures do not fill its last batch, drawing together does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import likewise
from benchmarks.common import cat, finish, numbers, parse, parser, there_and_back
from likewise import methods
from likewise.artifact import Artifact
from likewise.base import Base, Sampler
from likewise.concept import Concept
from likewise.stack import Job, Stack

PROMPT = "a sks cat on a beach"
Clock = Callable[[], float]


def taught(base: Base, count: int) -> list[Artifact]:
    """`count` LoRAs, untrained: what they cost does not depend on their numbers."""
    lora, concept = methods.get("lora"), Concept.read(cat(), token="sks", noun="cat")
    stack = Stack(tuple(Job(concept, lora.recipe(rank=8, seed=seed)) for seed in range(count)))
    with lora.attach(base, stack) as adapter:
        return [
            Artifact("lora", base.family, "sks", "cat", adapter.state(slot), {"rank": 8}, base.name)
            for slot in range(count)
        ]


def seconds(
    base: Base, groups: Sequence[Sequence[Artifact]], pictures: int, sampler: Sampler, clock: Clock
) -> float:
    """The time of so many pictures by every file; the files of a group draw together."""
    began = clock()
    for group in groups:
        with methods.get("lora").restore(base, group):
            rows = pictures * len(group)
            seeds = list(range(pictures)) * len(group)
            assert sum(1 for _ in base.sample([PROMPT] * rows, seeds, sampler, slots=len(group))) == rows
    return clock() - began


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--base", default="pocket")
    made.add_argument("--files", type=int, default=3, help="taught files")
    made.add_argument("--pictures", type=numbers, default=(15, 20), metavar="N,N,...", help="of every file")
    made.add_argument("--rows", type=int, default=15, help="in a batch")
    made.add_argument("--steps", type=int, default=20, help="denoising steps")
    made.add_argument("--rounds", type=int, default=4)
    made.add_argument("--processor-time", action="store_true", help="for a machine that others use as well")
    given = parse(made)
    if given.smoke:
        given.base, given.files, given.pictures, given.rows, given.steps = "tiny:sd", 2, (2,), 2, 2
    clock = time.process_time if given.processor_time else time.perf_counter
    base = likewise.load(given.base)
    files, sampler = taught(base, given.files), Sampler(steps=given.steps, guidance=5.0, batch=given.rows)
    ways = {"one after the other": [[file] for file in files], "together": [files]}
    cases = [(count, way) for count in given.pictures for way in ways]
    times: dict[tuple[int, str], list[float]] = {case: [] for case in cases}
    seconds(base, ways["together"], 1, Sampler(steps=1), clock)
    for count, way in there_and_back(cases, given.rounds):
        times[count, way].append(seconds(base, ways[way], count, sampler, clock))
    rows = [
        {
            "pictures of each": count,
            "files": way,
            "s per picture": median(times[count, way]) / count / given.files,
            "ratio": median(times[count, "one after the other"]) / median(times[count, way]),
        }
        for count, way in cases
    ]
    settings = {"base": given.base, "precision": base.precision, "clock": clock.__name__, "rows": given.rows}
    finish("drawing", rows, settings | {"steps": given.steps, "rounds": given.rounds}, write=given.write)


if __name__ == "__main__":
    main()
