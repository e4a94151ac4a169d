"""Lengthening: a finished run is taught for more steps, as if it had been longer from the beginning.

With its kept state and a constant rate that is exact, bit for bit on the CPU. Without a state the weights are taken from the
file that the run left, and the optimizer begins anew; both are said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from likewise import formats, records
from likewise.errors import RecipeError, RunError
from likewise.method import Adapter
from likewise.recipe import TrainingRecipe
from likewise.resuming import SavedState
from likewise.stack import Job


def lengthened(jobs: Sequence[Job], more: int) -> tuple[Job, ...]:
    """The jobs with so many steps more than they were asked for."""
    return tuple(
        replace(job, recipe=job.recipe.model_copy(update={"steps": job.recipe.steps + more}))
        if more and isinstance(job.recipe, TrainingRecipe)
        else job
        for job in jobs
    )


def refuse_lengthening(folder: Path, jobs: Sequence[Job], more: int) -> None:
    """Raise unless the run in `folder` is finished and can go on; `more` steps were asked for before."""
    steps = {job.recipe.steps for job in jobs if isinstance(job.recipe, TrainingRecipe)}
    if not steps:
        raise RecipeError(
            f"nothing was trained in {folder}, so there is nothing to go on with", "teach it anew"
        )
    if len(steps) > 1:
        raise RecipeError(f"the jobs of {folder} have different numbers of steps", "teach them one by one")
    if not is_finished(records.read_result(folder), lengthened(jobs, more)):
        raise RunError(f"{folder} is not finished", f"finish it first: likewise teach --resume {folder}")


def is_finished(result: Mapping[str, Any] | None, jobs: Sequence[Job]) -> bool:
    """Whether the result belongs to all steps of the jobs, and not only to those before they were lengthened."""
    steps = max((job.recipe.steps for job in jobs if isinstance(job.recipe, TrainingRecipe)), default=0)
    return result is not None and int(result.get("steps", 0)) >= steps


def remarks(folder: Path, jobs: Sequence[Job]) -> Iterator[str]:
    """What a person should know of a run that goes on beyond the steps that its result has."""
    result = records.read_result(folder)
    if result is None:
        return
    if any(isinstance(job.recipe, TrainingRecipe) and job.recipe.schedule == "cosine" for job in jobs):
        yield (
            f"schedule=cosine had fallen to 0 at step {result['steps']}; the rate now goes on along the curve of all "
            "steps, which is not what they would have given at once"
        )
    if SavedState(folder).step is None:
        kept = jobs[0].recipe.keep
        yield f"no state of the optimizer was kept: it begins anew from the weights in the file ({kept})"


def take_up(adapter: Adapter, folder: Path) -> int:
    """Put the weights of the result on `adapter` where no state is kept; returns the steps that they took."""
    result = records.read_result(folder)
    if result is None or SavedState(folder).step is not None:
        return 0
    for slot, name in enumerate(result["files"]):
        adapter.load(slot, formats.read(Path(folder) / name).tensors)
    return int(result["steps"])
