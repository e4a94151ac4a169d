"""Recording: a step's forward and backward pass as CUDA graphs, replayed without the host's part in it.

A step of a small batch launches thousands of kernels, and the host takes longer to launch them than a large GPU to do them.
A recorded pass is launched at once (`torch.cuda.make_graphed_callables`). It computes what was recorded, in the same memory,
so nothing in it may depend on what this side knows: the pass is a function of a batch's tensors alone.

What cannot be recorded is refused with a reason, and a recording is used only after its gradients are those of the plain
pass on another batch than the recorded one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from likewise.base import Base
from likewise.batches import Batch
from likewise.recipe import TrainingRecipe

APART = 0.01
"""By how much a recording's gradients may differ from the plain ones, as a share of their length: sums in another order."""

Compute = Callable[[Batch], tuple[Tensor, Tensor]]
"""A batch's errors [B] and losses [K], with gradients."""


class Pass(nn.Module):
    """The forward pass of a batch, given as its tensors in the order of `Batch.tensors`."""

    def __init__(self, compute: Compute, like: Batch, learned: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self._compute, self._like, self._names = compute, like, list(like.tensors())
        self.learned = nn.ParameterList(learned)  # who records looks here for what gets gradients

    def forward(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        """Errors [B] and losses [K]."""
        given: dict[str, Any] = dict(zip(self._names, tensors, strict=True))
        return self._compute(replace(self._like, captions=(), names=(), **given))


class Recording:
    """Does what the plain pass does, for batches of the recorded one's shapes."""

    def __init__(self, compute: Compute, batch: Batch, learned: Sequence[nn.Parameter]) -> None:
        """Record `batch`; raises what the device raises where it cannot be."""
        given = tuple(batch.tensors().values())
        samples = tuple(one.clone() for one in given)  # they become the memory that batches are copied to
        self._replay: Callable[..., Any] = torch.cuda.make_graphed_callables(
            Pass(compute, batch, learned), samples, allow_unused_input=True
        )

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Errors [B] and losses [K]; the losses carry gradients. The next call writes to the same memory."""
        errors, losses = self._replay(*batch.tensors().values())
        return errors, losses


def record(
    base: Base,
    recipes: Sequence[TrainingRecipe],
    compute: Compute,
    draw: Callable[[int], Batch],
    learned: Sequence[nn.Parameter],
) -> tuple[Recording | None, list[str]]:
    """A recording of a step's pass, where the recipes ask for one; `draw(n)` gives the batch of the n-th coming step.

    Where there can be none, or it is not right on the second batch, None and a sentence that says why.
    """
    if not recipes[0].cuda_graph:
        return None, []
    found, reason = None, refusal(base, recipes, draw(0))
    if not reason:
        found, reason = _recorded(compute, draw, learned)
    return found, [f"cuda_graph=true has no effect: {reason}"] if reason else []


def _recorded(
    compute: Compute, draw: Callable[[int], Batch], learned: Sequence[nn.Parameter]
) -> tuple[Recording | None, str]:
    try:
        recording = Recording(compute, draw(0), learned)
        expected, found = (_slopes(one, draw(1), learned) for one in (compute, recording))
    except (RuntimeError, AssertionError) as error:
        lines = str(error).splitlines() or [type(error).__name__]
        return None, f"this device did not record it: {lines[0]}"
    apart = float((expected - found).norm() / expected.norm().clamp(min=1e-12))
    if not apart <= APART:  # what is not a number is not right either
        return None, f"its gradients differ from the plain ones by {apart:.1%}"
    return recording, ""


def elsewhere(base: Base) -> str:
    """Why nothing can be recorded where a base is; empty where it may be."""
    kind = base.device.type
    return "" if kind == "cuda" else f"this runs on {kind}, and only NVIDIA's GPUs record"


def refusal(base: Base, recipes: Sequence[TrainingRecipe], batch: Batch) -> str:
    """Why the pass of such batches cannot be recorded, as far as that is known before; empty where it may be."""
    recipe = recipes[0]
    if reason := elsewhere(base):
        return reason
    reasons = {
        "what is learned changes how prompts are read, so they are read at each step": batch.texts is None,
        "prior=predicted asks the frozen base in between": recipe.prior == "predicted",
        "checkpointing=true computes the pass in parts": recipe.checkpointing,
        "dropout is drawn anew at each step": any(map(_drops, recipes)),
        "a recording writes over gradients, so it cannot add up several batches": recipe.accumulate > 1,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _drops(recipe: TrainingRecipe) -> bool:
    """Whether a method of this recipe drops anything: one share, or one for each layer."""
    shares = getattr(recipe, "dropout", None) or 0.0
    return any(share > 0 for share in (shares if isinstance(shares, Iterable) else (shares,)))


def _slopes(compute: Compute, batch: Batch, learned: Sequence[nn.Parameter]) -> Tensor:
    """All gradients of a batch side by side, 0 where there is none."""
    losses = compute(batch)[1]
    slopes = torch.autograd.grad(losses.sum(), list(learned), allow_unused=True)
    pairs = zip(slopes, learned, strict=True)
    return torch.cat([torch.zeros_like(p).flatten() if s is None else s.float().flatten() for s, p in pairs])
