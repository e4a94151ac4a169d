"""The learning rate and the number of steps that suit a base, for the recipes that its makers advise.

The recipes of the pocket model stand in workshop/likewise.toml.

A small grid per method on the bundled concept. Nothing that a comparison scores is looked at: its held-out pictures are
left out altogether, two of its training pictures take their place, and the prompts and seeds are others. The rates of a
method train as one stack where it can be stacked, and shorter trainings are read off longer ones on the way.
`likeness` is 0 for the untaught base and 1 for real pictures; `both` is its geometric mean with `prompt`.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import likewise
from benchmarks.common import cat, finish, parse, parser
from likewise import identifier, methods, metrics
from likewise.base import Base, Sampler
from likewise.cache import Cache
from likewise.comparison.protocol import Protocol
from likewise.concept import Concept
from likewise.metrics.features import Panel, panel, read
from likewise.metrics.score import Evidence, Reading, Score, normalise
from likewise.metrics.subject import ceiling
from likewise.planning import settle
from likewise.stack import Job, Stack
from likewise.train import Training

PROMPTS = (
    "a {} in a forest",
    "a {} in the desert",
    "a {} on a pink background",
    "a {} on a red background",
    "a {} on a black background",
    "a small {} in a forest",
    "a small {} in the desert",
)
"""Places and colours of neither a comparison's prompts nor the bundled pictures."""
SEEDS = (100, 101)


@dataclass(frozen=True)
class Grid:
    """Values to try: every rate with every number of steps."""

    rates: tuple[float, ...]
    steps: tuple[int, ...]
    rate_key: str = "learning_rate"
    steps_key: str = "steps"


GRIDS = {
    "aesthetic": Grid((1e-4, 1e-3, 1e-2), (5, 10, 20), "gradient_rate", "gradient_steps"),
    "dreambooth": Grid((1e-4, 2e-4, 4e-4), (75, 150, 300)),
    "hypernetwork": Grid((3e-5, 1e-4, 3e-4), (100, 200, 300)),
    "lora": Grid((3e-4, 6e-4, 1.2e-3, 2.4e-3), (100, 200, 300)),
    "textual_inversion": Grid((5e-4, 1.5e-3, 5e-3), (100, 200, 300)),
}
Drawn = tuple[float, int, list[Any]]


@dataclass(frozen=True)
class Bench:
    """What every trial shares."""

    base: Base
    concept: Concept
    protocol: Protocol
    cache: Cache

    def draw(self, words: str, slots: int = 1) -> list[list[Any]]:
        """Every prompt and seed with `words` in them, one list per slot."""
        rows = self.protocol.rows(words, exact=True)
        texts, seeds = [row.text for row in rows] * slots, [row.seed for row in rows] * slots
        pictures = list(self.base.sample(texts, seeds, self.protocol.sampler, slots=slots))
        return [pictures[slot * len(rows) : (slot + 1) * len(rows)] for slot in range(slots)]


def development(concept: Concept) -> Concept:
    """The comparison's training pictures alone, two of them held out."""
    return replace(concept, examples=concept.examples[:-2], held_out=concept.examples[-2:])


def trials(bench: Bench, name: str, grid: Grid) -> Iterator[Drawn]:
    """(rate, steps, pictures) for the whole grid of a method."""
    method = methods.get(name)
    if not method.trains:
        cells = [(rate, steps) for rate in grid.rates for steps in grid.steps]
        jobs = [_job(bench, name, {grid.rate_key: rate, grid.steps_key: steps}) for rate, steps in cells]
        called = f"{bench.concept.token} {bench.concept.noun}"
        with method.attach(bench.base, Stack(tuple(jobs))):
            drawn = bench.draw(called, len(jobs))
        yield from ((rate, steps, pictures) for (rate, steps), pictures in zip(cells, drawn, strict=True))
        return
    for rates in [grid.rates] if method.stackable else [(rate,) for rate in grid.rates]:
        yield from _trained(bench, name, grid, rates)


def _trained(bench: Bench, name: str, grid: Grid, rates: Sequence[float]) -> Iterator[Drawn]:
    """The draws of a step depend on its number, so step 100 of 600 is the end of a training of 100."""
    shared = {grid.steps_key: max(grid.steps), "schedule": "constant"}
    stack = Stack(tuple(_job(bench, name, {**shared, grid.rate_key: rate}) for rate in rates))
    others = [_class_pictures(bench, job) for job in stack.jobs]
    called = f"{bench.concept.token} {bench.concept.noun}"
    with methods.get(name).attach(bench.base, stack) as adapter:
        training = Training(bench.base, adapter, stack, cache=bench.cache, class_pictures=others)
        for step in training:
            if step.number in grid.steps:
                with training.averaged():
                    drawn = bench.draw(called, len(rates))
                yield from ((rate, step.number, found) for rate, found in zip(rates, drawn, strict=True))


def _job(bench: Bench, name: str, settings: dict[str, Any]) -> Job:
    """The base's present advice counts for all that the grid does not set."""
    return Job(bench.concept, settle(bench.base, name, settings))


def _class_pictures(bench: Bench, job: Job) -> list[Any]:
    recipe = job.recipe
    count = recipe.prior_count if recipe.prior == "pictures" else 0
    prompts, seeds = [job.concept.class_prompt()] * count, [500_000 + n for n in range(count)]
    return list(bench.base.sample(prompts, seeds, Sampler(guidance=recipe.prior_guidance)))


class Scorer:
    """The judges' view of the development pictures, and of whatever is drawn."""

    def __init__(self, bench: Bench, judges: Panel) -> None:
        self.bench, self.judge = bench, judges.pictures
        self.train, self.held_out = (
            self.look([example.open() for example in part])
            for part in (bench.concept.examples, bench.concept.held_out)
        )
        self.ceiling = ceiling(self.train, self.held_out)
        self.floor = self.scores(bench.draw(bench.concept.noun)[0])["fidelity"]

    def look(self, pictures: Sequence[Any]) -> Reading:
        """What the judge sees."""
        return read(self.judge, pictures)

    def scores(self, pictures: Sequence[Any]) -> dict[str, Score | None]:
        """Subject fidelity and prompt following."""
        ids = tuple(row.id for row in self.bench.protocol.rows("", exact=True))
        seen = Evidence(
            self.look(pictures),
            ids,
            self.bench.protocol.templates,
            self.train,
            self.held_out,
            self.judge.phrases,
        )
        return {name: metrics.get(name).score(seen) for name in ("fidelity", "prompt")}

    def row(
        self, name: str, rate: float | None, steps: int | None, pictures: Sequence[Any]
    ) -> dict[str, Any]:
        """One line of the table."""
        found = self.scores(pictures)
        fidelity, prompt = found["fidelity"], found["prompt"]
        likeness = normalise(fidelity, self.floor, self.ceiling) if fidelity else None
        both = math.sqrt(max(0.0, likeness) * prompt.mean) if likeness is not None and prompt else None
        return {
            "method": name,
            "rate": f"{rate:g}" if rate is not None else "",
            "steps": steps,
            "fidelity": fidelity.mean if fidelity else None,
            "likeness": likeness,
            "prompt": prompt.mean if prompt else None,
            "both": both,
            "best": "",
        }


def measure(bench: Bench, grids: dict[str, Grid], judges: Panel) -> list[dict[str, Any]]:
    """A row per trial; `best` marks the highest `both` of a method."""
    scorer = Scorer(bench, judges)
    rows = [scorer.row("(untaught)", None, None, bench.draw(bench.concept.noun)[0])]
    for name, grid in grids.items():
        print(f"{name}: {len(grid.rates)} rates, up to {max(grid.steps)} steps", flush=True)
        own = [scorer.row(name, rate, steps, drawn) for rate, steps, drawn in trials(bench, name, grid)]
        own.sort(key=lambda row: (float(row["rate"]), row["steps"]))
        best = max(own, key=lambda row: row["both"] or 0.0)
        best["best"] = "<" if best["both"] else ""
        rows += own
    return rows


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--base", default="pocket")
    made.add_argument("--methods", default=",".join(GRIDS), metavar="A,B,...")
    given = parse(made)
    grids = {name: GRIDS[name] for name in given.methods.split(",")}
    protocol = Protocol(PROMPTS, SEEDS)
    if given.smoke:
        given.base, protocol = "tiny:sd", Protocol(PROMPTS[:2], SEEDS[:1], Sampler(steps=2))
        grids = {name: replace(grid, rates=grid.rates[:2], steps=(1, 2)) for name, grid in grids.items()}
    base = likewise.load(given.base)
    whole = Concept.read(cat(), token=identifier.pick(base), noun="cat", hold_out=None)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(base, development(whole), protocol, Cache(Path(folder)))
        rows = measure(bench, grids, panel(pocket=given.base in ("pocket", "tiny:sd")))
    settings = {"base": given.base, "precision": base.precision}
    settings |= {"prompts": len(protocol.prompts), "seeds": len(protocol.seeds)}
    finish("advice", rows, settings, write=given.write)


if __name__ == "__main__":
    main()
