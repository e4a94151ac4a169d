"""Keeping: what a run has taught, as files: at its end, and of steps on the way where they are asked for."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import likewise
from likewise import formats, methods
from likewise.artifact import Artifact
from likewise.base import Base
from likewise.errors import FormatError
from likewise.events import Event, Saved, Warned
from likewise.formats import Saving
from likewise.stack import Stack

if TYPE_CHECKING:
    from torch import Tensor

KEPT = {"fp16": Saving("float16"), "fp32": Saving("float32")}
STEPS = "steps"
"""The folder of the files of single steps, within a run's."""
FIRST = 16
"""The first kept step is this part of all."""


@dataclass(frozen=True)
class Facts:
    """What every file says of where it comes from."""

    method: str
    base: str
    """What the person called the base."""
    notes: Mapping[str, str]


class Slots(Protocol):
    """What can be asked for one slot's tensors: an adapter, or a part of one."""

    def shared(self, slot: int) -> Mapping[str, Tensor]:
        """The slot's tensors, for who is done with them before the next step."""


def keep(
    base: Base, adapter: Slots, stack: Stack, facts: Facts, folder: Path
) -> Generator[Event, None, list[Path]]:
    """Write a file for every job into `folder`; yields events and returns the paths.

    Numbers that half precision cannot hold are kept in float32, which is said: nothing that was taught may be lost.
    """
    files: list[Path] = []
    for slot, job in enumerate(stack.jobs):
        artifact = Artifact(
            facts.method, base.family, job.concept.token, job.concept.noun, adapter.shared(slot),
            job.recipe.model_dump(mode="json"), facts.base,
            {"likewise": likewise.__version__, **facts.notes}, declared=methods.get(facts.method).kind,
        )  # fmt: skip
        tail = f"-{slot}" if len(stack) > 1 else ""
        path = folder / f"{job.concept.name}-{facts.method}{tail}.safetensors"
        try:
            formats.write(artifact, path, saving=KEPT[job.recipe.keep])
        except FormatError as error:
            if job.recipe.keep == "fp32":
                raise
            yield Warned(f"{error.message}; it is kept in float32 instead")
            formats.write(artifact, path, saving=KEPT["fp32"])
        files.append(path)
        yield Saved(str(path), path.stat().st_size)
    return files


def steps_on_the_way(steps: int, count: int) -> frozenset[int]:
    """The steps before the last whose files are kept, so that there are `count` with the last: evenly on a log scale."""
    if count < 2:
        return frozenset()
    ratio = FIRST ** (1 / (count - 1))
    spaced = {round(steps / ratio**back) for back in range(1, count)}
    return frozenset(step for step in spaced if 0 < step < steps)


def folder_of(run: Path, step: int) -> Path:
    """Where the files of a step lie."""
    return run / STEPS / f"step{step:06d}"


def kept_steps(run: Path) -> dict[int, Path]:
    """Step -> folder, of every step whose files a run has kept, in order."""
    found = {int(folder.name.removeprefix("step")): folder for folder in (run / STEPS).glob("step*")}
    return dict(sorted(found.items()))
