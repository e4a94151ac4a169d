"""Foreseeing: what teaching would take on this machine, before it is begun: time, memory and the size of the file.

A few steps are really taken and thrown away; sizes are counted. Nothing is written but the cache of latents.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from likewise import memory, methods, prior
from likewise.base import Base, Sampler
from likewise.devices import arithmetic
from likewise.errors import CapacityError, UnsupportedError
from likewise.gallery import Gallery
from likewise.method import Adapter
from likewise.planning import Subject, Way, jobs
from likewise.recipe import TrainingRecipe
from likewise.sampling import draw
from likewise.stack import Job, Stack
from likewise.train import Training

TRIED = 4
"""Steps that are taken; the first of them, which warms up, is not counted."""
NUMBER = {"fp16": 2, "fp32": 4}
"""Bytes of a number in the file."""


@dataclass(frozen=True)
class Foreseen:
    """What one method would take for all jobs together."""

    method: str
    steps: int = 0
    seconds: float = 0.0
    """Of teaching, class pictures included, previews not."""
    memory: int = 0
    """Bytes beside the loaded base."""
    free: int = 0
    """Bytes that there are."""
    bytes: int = 0
    """Of one file, less its header."""
    trainable: int = 0
    """Numbers that are learned, per job."""
    problem: str = ""
    """Why it cannot be taught here, in words."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def foresee(base: Base, subject: Subject, way: Way) -> Foreseen:
    """What teaching `subject` on a loaded `base` in this way would take. What cannot be taught there is a `problem`."""
    method = methods.get(way.method)
    if reason := method.unsupported(base):
        return Foreseen(method.name, problem=f"{base.name}: {reason}")
    stack = Stack(jobs(base, [subject], way))
    try:
        with _precise(base, stack), method.attach(base, stack) as adapter:
            found = _weighed(method.name, adapter, stack)
            if not adapter.groups():
                return found
            memory.check(base, adapter, stack, method.title)
            needed, free = sum(memory.parts(base, adapter, stack).values()), memory.available(base.device)
            found = replace(found, steps=stack.steps, memory=round(needed), free=round(free))
            return replace(found, seconds=_seconds(base, adapter, stack))
    except (CapacityError, UnsupportedError) as error:
        return Foreseen(method.name, problem=str(error))


def picture_seconds(base: Base, prompt: str) -> float:
    """Seconds that one picture takes on a loaded base, which is drawn and thrown away."""
    import time

    with tempfile.TemporaryDirectory(prefix="likewise-") as folder:
        begun = time.perf_counter()
        draw(base, [prompt], [0], base.settled(Sampler()), Gallery(Path(folder)))
        return time.perf_counter() - begun


@contextmanager
def _precise(base: Base, stack: Stack) -> Iterator[None]:
    before, base.precision = base.precision, arithmetic(base.device, stack.jobs[0].recipe.precision)
    try:
        yield
    finally:
        base.precision = before


def _weighed(method: str, adapter: Adapter, stack: Stack) -> Foreseen:
    """The size of the file, and how much is learned."""
    width = NUMBER[stack.jobs[0].recipe.keep]
    count = sum(tensor.numel() for tensor in adapter.shared(0).values())
    learned = sum(p.numel() for group in adapter.groups() for p in group.parameters) // len(stack)
    return Foreseen(method, bytes=count * width, trainable=learned)


def _seconds(base: Base, adapter: Adapter, stack: Stack) -> float:
    """Seconds of all steps and of the class pictures that are still to be drawn; the prior's rows double a step."""
    recipes = stack.recipes
    plain = Stack(tuple(_alone(job) for job in stack.jobs))
    training = Training(base, adapter, plain)
    times = [step.seconds for step in islice(training, min(TRIED, stack.steps))]
    each = median(times[1:] or times) * (1 if recipes[0].prior == "none" else 2)
    missing = sum(prior.missing(job.recipe, job.concept) for job in stack.jobs)
    drawing = missing * picture_seconds(base, stack.jobs[0].concept.class_prompt()) if missing else 0.0
    return round(each * stack.steps + drawing, 3)


def _alone(job: Job) -> Job:
    """Without its prior, whose pictures need not be there yet."""
    if not isinstance(job.recipe, TrainingRecipe) or job.recipe.prior == "none":
        return job
    return replace(job, recipe=job.recipe.override({"prior": "none"}))
