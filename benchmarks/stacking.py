"""The gain of teaching K concepts in one batch, beside teaching one after the other.

Adapter-steps per second (K divided by the time of a step) of K LoRAs of rank 8 on the attention layers, for several K
and pictures per slot. Ratios compare with K = 1 at the same number of pictures, in the same run. Beside them stands what
the frozen base gains from the larger batch by itself: no adapter can make a stack gain more.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

import likewise
from benchmarks.common import cat, finish, numbers, parse, parser, there_and_back
from likewise import methods
from likewise.base import Base
from likewise.cache import Cache
from likewise.concept import Concept
from likewise.stack import Job, Stack
from likewise.train import Training

WARM_UP = 2
Clock = Callable[[], float]


@dataclass(frozen=True)
class Case:
    """So many jobs in one stack, and so many pictures for each in every step."""

    slots: int
    batch: int


def step_times(
    base: Base, concept: Concept, case: Case, steps: int, cache: Cache, clock: Clock
) -> list[float]:
    """Seconds of each step after the warm-up; attaching, encoding and detaching are left out."""
    lora = methods.get("lora")
    recipe = lora.recipe(rank=8, batch_size=case.batch, steps=WARM_UP + steps)
    jobs = [Job(concept, recipe.override({"seed": seed})) for seed in range(case.slots)]
    stack = Stack(tuple(jobs))
    times = []
    with lora.attach(base, stack) as adapter:
        training = iter(Training(base, adapter, stack, cache=cache))
        for _ in range(WARM_UP + steps):
            began = clock()
            next(training)
            times.append(clock() - began)
    return times[WARM_UP:]


def measure(
    base: Base, cases: Sequence[Case], *, steps: int, rounds: int, clock: Clock = time.perf_counter
) -> dict[Case, list[float]]:
    """Seconds of all steps of each case, in turns. `time.process_time` leaves out what other programs take."""
    concept = Concept.read(cat(), token="sks", noun="cat")
    found: dict[Case, list[float]] = {case: [] for case in cases}
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        for case in there_and_back(cases, rounds):
            found[case] += step_times(base, concept, case, steps, cache, clock)
    return found


def base_times(base: Base, case: Case, steps: int, clock: Clock) -> list[float]:
    """Seconds of a forward and backward pass of the base alone, with as many rows as the case has."""
    rows = case.slots * case.batch
    pixels = torch.zeros(rows, 3, base.resolution, base.resolution, device=base.device)
    with torch.no_grad():
        latents = base.encode_images(pixels)[0]
        given = base.encode_prompts(["a cat"] * rows)
    generator = torch.Generator().manual_seed(0)
    levels = base.objective.draw_levels(rows, generator, latents[0, 0].numel()).to(base.device)
    times = []
    for _ in range(WARM_UP + steps):
        began = clock()
        base.denoise(latents.clone().requires_grad_(), levels, given).square().mean().backward()
        times.append(clock() - began)
    return times[WARM_UP:]


def gain(case: Case, seconds: dict[Case, float]) -> float | None:
    """Rows per second against one slot with as many pictures."""
    one = seconds.get(Case(1, case.batch))
    return case.slots * one / seconds[case] if one else None


def main() -> None:
    """Measure, print, and keep if asked."""
    made = parser(__doc__)
    made.add_argument("--base", default="pocket")
    made.add_argument("--slots", type=numbers, default=(1, 2, 4, 8, 16), metavar="K,K,...")
    made.add_argument("--batch", type=numbers, default=(1, 4), metavar="N,N,...", help="pictures per slot")
    made.add_argument("--steps", type=int, default=10, help="per visit; each case is visited --rounds times")
    made.add_argument("--rounds", type=int, default=4)
    made.add_argument("--processor-time", action="store_true", help="for a machine that others use as well")
    given = parse(made)
    if given.smoke:
        given.base, given.slots, given.batch, given.steps, given.rounds = "tiny:sd", (1, 2), (1,), 2, 2
    clock = time.process_time if given.processor_time else time.perf_counter
    base = likewise.load(given.base)
    cases = [Case(slots, batch) for batch in given.batch for slots in given.slots]
    times = measure(base, cases, steps=given.steps, rounds=given.rounds, clock=clock)
    taught = {case: median(seconds) for case, seconds in times.items()}
    alone = {
        case: median([t for _ in range(given.rounds) for t in base_times(base, case, given.steps, clock)])
        for case in cases
    }
    rows = [
        {
            "pictures per slot": case.batch,
            "slots": case.slots,
            "s per step": taught[case],
            "adapter-steps per s": case.slots / taught[case],
            "ratio to one": gain(case, taught),
            "ratio of the base alone": gain(case, alone),
        }
        for case in cases
    ]
    settings = {"base": given.base, "precision": base.precision, "clock": clock.__name__}
    finish("stacking", rows, settings | {"steps": given.steps, "rounds": given.rounds}, write=given.write)


if __name__ == "__main__":
    main()
