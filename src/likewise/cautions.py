"""Cautions: settings that have no effect, or that defeat another one, in a sentence each before training begins.

What a single recipe cannot hold is refused by the recipe itself; here is what is allowed and hardly meant.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from likewise.base import Base
from likewise.concept import Concept
from likewise.recipe import Rate, TrainingRecipe
from likewise.stack import Stack, stream
from likewise.train import average_decay, factor


def cautions(base: Base, stack: Stack) -> list[str]:
    """What the person should know of their settings, each sentence once, however many jobs it is true of."""
    found: dict[str, None] = {}
    for job in stack.jobs:
        if isinstance(job.recipe, TrainingRecipe):
            for kind in (_rates(job.recipe), _lengths(job.recipe, job.concept), _losses(base, job.recipe)):
                found |= dict.fromkeys(kind)
    return list(found)


def _rates(recipe: TrainingRecipe) -> Iterator[str]:
    steps = recipe.steps
    rate = Rate.parse(recipe.learning_rate)
    reached = max(rate.at(step) * factor(recipe, step) for step in _turns(recipe, rate))
    if reached == 0:
        yield f"learning_rate={recipe.learning_rate}: nothing is learned at a rate of 0"
        return
    if recipe.warmup >= steps:
        share = factor(recipe, steps - 1)
        advice = f"warmup={steps // 10} leaves room" if steps >= 10 else "leave it out"
        yield (
            f"warmup={recipe.warmup} is not over after the {steps} steps: the learning rate rises to {share:.2g} of "
            f"what is set; {advice}"
        )
    for (_, last), (value, _) in zip(rate.pieces, rate.pieces[1:], strict=False):
        if last is not None and last >= steps:
            yield f"learning_rate: the part {value:g} begins after step {last}, and training ends at {steps}"
    text = getattr(recipe, "text_rate", None)
    if text is not None and not any(value for value, _ in Rate.parse(text).pieces):
        yield "text_rate=0 changes nothing of the text tower and costs its time; leave it out"
    if recipe.optimizer == "prodigy" and 0 < max(value for value, _ in rate.pieces) < 0.1:
        most = max(value for value, _ in rate.pieces)
        yield f"prodigy multiplies the rate it finds by learning_rate={most:g}: 1 is what it is made for"


def _turns(recipe: TrainingRecipe, rate: Rate) -> set[int]:
    """The steps at which the rate may be largest: where a part begins, and where the warm-up ends."""
    begins = {0, recipe.warmup, recipe.steps - 1, *(last for _, last in rate.pieces if last is not None)}
    return {min(step, recipe.steps - 1) for step in begins}


def _lengths(recipe: TrainingRecipe, concept: Concept) -> Iterator[str]:
    usual, steps = type(recipe)().checkpoint_every, recipe.steps
    if recipe.checkpoint_every > steps and recipe.checkpoint_every != usual:
        yield f"checkpoint_every={recipe.checkpoint_every} is more than the {steps} steps: nothing is kept before the end"
    if recipe.ema and average_decay(recipe.ema, steps) < recipe.ema:
        needed = math.ceil((10 * recipe.ema - 1) / (1 - recipe.ema)) + 1
        yield (
            f"ema={recipe.ema:g} is not reached in {steps} steps: the decay of the average rises to "
            f"{average_decay(recipe.ema, steps):.2f}; it takes {needed:,} steps"
        )
    deck = sum(example.repeats for example in concept.examples)
    if (seen := steps * recipe.batch_size * recipe.accumulate) < deck:
        yield f"training sees {seen} of the {deck} pictures of an epoch; more steps, or epochs=1, show them all"


def _losses(base: Base, recipe: TrainingRecipe) -> Iterator[str]:
    if recipe.prior != "none" and recipe.prior_weight == 0:
        yield f"prior={recipe.prior} costs time and has no effect with prior_weight=0"
    if recipe.snr_gamma is not None:
        levels = base.objective.draw_levels(1024, stream(0, "cautions", 0), 64)
        given, none = (base.objective.weights(levels, gamma) for gamma in (recipe.snr_gamma, 1e30))
        if torch.equal(given, none):
            yield f"snr_gamma={recipe.snr_gamma:g} is above the signal of every noise level and has no effect; 5 is usual"
