"""Jobs and stacks: K personalisations that share one frozen base and run as one batch.

Batch rows are *slot-major*: the first `B / K` rows belong to slot 0, and so on. Every stacked tensor leads with the slot
dimension `[K, ...]`. Randomness is counter-based: each draw depends on (job seed, purpose, step) alone, so a job sees the
same pictures, noise and levels alone, stacked, or resumed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from likewise.concept import Concept
from likewise.errors import RecipeError
from likewise.recipe import Recipe, TrainingRecipe

SHARED = (
    "batch_size",
    "accumulate",
    "resolution",
    "precision",
    "optimizer",
    "prior",
    "ema",
    "checkpointing",
    "cuda_graph",
    "checkpoint_every",
    "keep_checkpoints",
    "keep_state",
)


@dataclass(frozen=True)
class Job:
    """One concept taught with one recipe, whose epochs become steps here, where the pictures are known."""

    concept: Concept
    recipe: Recipe

    def __post_init__(self) -> None:
        if isinstance(self.recipe, TrainingRecipe):
            pictures = sum(example.repeats for example in self.concept.examples) * (1 + self.recipe.flip)
            object.__setattr__(self, "recipe", self.recipe.resolved(pictures))


@dataclass(frozen=True)
class Stack:
    """Jobs of one method that train together. They may differ in concept, rank, learning rate, seed and steps.

    Jobs of several methods are `mixed`; their adapters share the slots out (`together`).
    """

    jobs: tuple[Job, ...]
    mixed: bool = False

    def __post_init__(self) -> None:
        if not self.jobs:
            raise RecipeError("nothing to teach: the list of jobs is empty")
        first = self.jobs[0].recipe
        for job in self.jobs[1:]:
            if not self.mixed and type(job.recipe) is not type(first):
                raise RecipeError("jobs in one stack must be of one method", "teach them in separate stacks")
            for key in SHARED:
                one, other = getattr(first, key, None), getattr(job.recipe, key, None)
                if one != other:
                    raise RecipeError(
                        f"jobs in one stack must share {key}: {one!r} and {other!r}",
                        f"set {key} for all of them, or teach them in separate runs",
                    )
        if len(self.jobs) > 1 and isinstance(first, TrainingRecipe) and first.optimizer != "adamw":
            raise RecipeError(
                f"{first.optimizer} has no learning rate per job",
                "use optimizer=adamw, or start one run for each",
            )

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def steps(self) -> int:
        """Steps of the longest job; a shorter one stands still once it is done."""
        return max((recipe.steps for recipe in self.recipes), default=0)

    @property
    def recipes(self) -> list[TrainingRecipe]:
        """The jobs' recipes, of a method that trains; empty for one that does not."""
        return [job.recipe for job in self.jobs if isinstance(job.recipe, TrainingRecipe)]


@dataclass(frozen=True)
class Span:
    """Which slots of a batch an adapter acts on: `count` of them from `first` on, of all `of`."""

    first: int
    count: int
    of: int

    def rows(self, total: int) -> slice:
        """Its rows among `total` slot-major ones; raises `RecipeError` where these do not divide among the slots."""
        if total % self.of:
            raise RecipeError(f"{total} rows do not divide among {self.of} slots")
        each = total // self.of
        return slice(self.first * each, (self.first + self.count) * each)

    @property
    def whole(self) -> bool:
        """Whether it covers every slot."""
        return self.count == self.of


def stream(seed: int, purpose: str, index: int) -> torch.Generator:
    """A CPU generator that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def to_slots(values: Tensor, like: Tensor) -> Tensor:
    """`values` [K], shaped and typed to multiply a stacked tensor `like` [K, ...]."""
    return values.to(like.device, like.dtype).view(-1, *[1] * (like.ndim - 1))


def by_slot(rows: Tensor, slots: int) -> Tensor:
    """Batch rows `[K * b, ...]` as `[K, b, ...]`."""
    return rows.reshape(slots, rows.shape[0] // slots, *rows.shape[1:])
