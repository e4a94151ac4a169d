"""Checkpoints: the kept steps of one run beside one another, on development prompts and pictures that it did not see.

It answers which step to take: the earliest that cannot be told from the best. Its intervals are over prompts, so they are
about these files and say nothing of teaching again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from likewise import families, intake, keeping, records
from likewise.base import Base
from likewise.comparison import concluding
from likewise.comparison.banks import bank_for
from likewise.comparison.comparison import Comparison
from likewise.comparison.design import Condition
from likewise.comparison.kinds import guess_kind
from likewise.comparison.protocol import Protocol
from likewise.comparison.split import check_split
from likewise.concept import Concept, Fold
from likewise.errors import ConceptError, RunError
from likewise.run import Run
from likewise.statistics.distributions import t_quantile

logger = logging.getLogger(__name__)
SEEDS = (0, 1)
LEVEL = 0.95


@dataclass(frozen=True)
class Point:
    """One kept step."""

    step: int
    name: str
    """The condition's name."""
    value: float
    """Likeness times prompt following, both in floor-to-ceiling units."""
    low: float
    high: float
    """95 %, over prompts."""
    behind: bool
    """Whether it is shown worse than the best step (paired t over prompts, one-sided at 5 %)."""


def prepare(
    folder: Path,
    *,
    pictures: intake.Source | None = None,
    base: Base | str | None = None,
    out: Path | None = None,
) -> Comparison:
    """A comparison of the kept steps of a finished run, judged by `pictures` of it that the run was not taught.

    Without `pictures`, those that the run itself held out are used. Raises `RunError` where no steps were kept, and
    `ConceptError` where there is nothing to judge by.
    """
    result, run = records.finished(folder), Run.open(folder)
    kept = keeping.kept_steps(folder)
    if not kept:
        raise RunError(
            f"{folder} kept no steps on the way",
            "a run keeps them only where it was begun with keep_checkpoints=8: teach once more with that",
        )
    loaded = families.load(base or records.base_of(folder)) if not isinstance(base, Base) else base
    concept, fold = _judged(run.jobs[0].concept, pictures)
    if len(run.jobs) > 1:
        logger.warning(
            "%s taught %d at once; the steps of the first are compared", folder.name, len(run.jobs)
        )
    files = {step: next(iter(sorted(place.glob("*.safetensors")))) for step, place in kept.items()}
    files[int(result["steps"])] = folder / result["files"][0]
    kind, why = guess_kind(concept.noun)
    bank = bank_for(kind, loaded.prompts, loaded.name)
    tried = (*bank.select("development", "use"), *bank.select("development", "class"))
    protocol = Protocol(tried, SEEDS, loaded.settled(None), size="checkpoints", kind=kind, kind_reason=why)
    words = f"{concept.token} {concept.noun}"
    steps = [
        Condition(f"step-{step}", f"Step {step}", "file", words, run.method, given={"step": step}, file=file)
        for step, file in files.items()
    ]
    floor = Condition("base", "Untrained base", "floor", concept.noun)
    return Comparison(
        out or folder / "checkpoints",
        loaded.name,
        concept,
        [floor, *steps],
        protocol,
        (fold,),
        loaded=loaded,
    )


def _judged(concept: Concept, pictures: intake.Source | None) -> tuple[Concept, Fold]:
    """The concept with all its pictures, and which of them judge."""
    held = concept.held_out
    if pictures is not None:
        held = Concept.read(pictures, token=concept.token, noun=concept.noun).examples
    if not held:
        raise ConceptError(
            "no picture is left to judge by, as the run was taught all of them",
            "give others: --pictures FOLDER",
        )
    check_split(replace(concept, held_out=held), development=(), test=())
    count = len(concept.examples)
    fold = Fold(0, tuple(range(count)), tuple(range(count, count + len(held))))
    return replace(concept, examples=(*concept.examples, *held), held_out=(), groups=()), fold


def curve(folder: Path) -> list[Point]:
    """The kept steps of a comparison that `prepare` made and that is finished, in order of steps."""
    frame = concluding.frame(folder)
    steps = {
        one["name"]: int(one["settings"]["step"])
        for one in frame.book["conditions"]
        if "step" in one["settings"]
    }
    names = sorted((name for name in steps if name in frame.complete), key=steps.__getitem__)
    prompts = frame.prompts("composite", names) if names else []
    arrays = {name: frame.array("composite", name, prompts) for name in names}
    found = {name: array[0] for name, array in arrays.items() if array is not None}
    if not found or len(prompts) < 2:
        raise RunError(
            f"{folder} has no scores of steps that could be compared", "see its report for the reasons"
        )
    best = max(found, key=lambda name: float(found[name].mean()))
    return [_point(steps[name], name, row, found[best]) for name, row in found.items()]


def earliest(points: Sequence[Point]) -> Point:
    """The earliest step that is not shown worse than the best."""
    return next(point for point in points if not point.behind)


def _point(step: int, name: str, row: concluding.Array, best: concluding.Array) -> Point:
    count = len(row)
    error, lag = row.std(ddof=1) / np.sqrt(count), best - row
    half = float(t_quantile((1 + LEVEL) / 2, count - 1)) * error
    value = float(row.mean())
    behind = lag.mean() > float(t_quantile(LEVEL, count - 1)) * lag.std(ddof=1) / np.sqrt(count)
    return Point(step, name, value, value - float(half), value + float(half), bool(behind))
