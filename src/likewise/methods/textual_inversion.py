"""Textual Inversion: one to sixteen new word vectors, and nothing else.

Gal et al. 2022 (arXiv 2208.01618). The vectors are parameters of their own, spliced into the tower's look-up where the token
stands, so no other row of the embedding table can move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.base import Base
from likewise.errors import FormatError, RecipeError
from likewise.method import Adapter, Group, Method
from likewise.recipe import LearningRate, Rate, TrainingRecipe
from likewise.stack import Stack, stream, to_slots
from likewise.tower import TextTower, Word


class TextualInversionRecipe(TrainingRecipe):
    """How many vectors, where they start and what holds them."""

    steps: int = 3000
    """diffusers' example trains 3000 steps; the paper 5000."""
    learning_rate: LearningRate = 5e-3
    """The paper's rate (rinongal/textual_inversion); kohya's generic 2e-6 learns nothing here."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """The web UI's choice: decay would only pull the vectors to nothing."""
    keep: Literal["fp16", "fp32"] = "fp32"
    """A few kilobytes either way."""
    vectors: Annotated[int, Field(ge=1, le=16)] = 1
    """Vectors per token. More hold more detail and follow prompts less."""
    initialiser: str | None = None
    """Words to start from, one token per vector, cycled when there are fewer (kohya's rule). Empty: the noun;
    `random`: drawn with the table's own spread."""
    norm_pull: bool = True
    """After each step pull each vector's length towards the table's mean length (cloneofsimo/lora)."""


class TextualInversionAdapter(Adapter):
    """Vectors [K, n, width] that stand for a word in each slot's prompts."""

    trains_text = True

    def __init__(self, tower: TextTower, tokens: Sequence[str], counts: Sequence[int]) -> None:
        self.tower, self.slots = tower, len(tokens)
        weight = tower.table.weight
        self.vectors = nn.Parameter(torch.zeros(self.slots, max(counts), tower.width, device=weight.device))
        self.counts = list(counts)
        self.rates: tuple[Rate, ...] = ()
        self.pulled = torch.zeros(self.slots, device=weight.device)
        self.typical = weight.detach().float().norm(dim=1).mean()
        self._words = [Word(token, k, counts[k], self.vectors) for k, token in enumerate(tokens)]
        self._slots_before = tower.slots
        tower.slots = self.slots
        self.strength = 1.0

    @property
    def strength(self) -> float:
        """A switch: 0 gives the token back its own meaning; anything else means the vectors as taught."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = value
        others = [word for word in self.tower.words if word not in self._words]
        self.tower.words = others + (self._words if value else [])

    def groups(self) -> list[Group]:
        """The vectors."""
        return [Group("vectors", (self.vectors,), self.rates)] if self.rates else []

    def state(self, slot: int) -> dict[str, Tensor]:
        """`vectors` [n, width]."""
        return {"vectors": self.vectors[slot, : self.counts[slot]].detach().cpu().clone()}

    def after_step(self, rates: Mapping[str, Tensor]) -> None:
        """`v <- v / |v| * (|v| + k (typical - |v|))` with `k = min(1, 100 rate)`."""
        with torch.no_grad():
            pull = (rates["vectors"].to(self.pulled) * 100).clamp(max=1) * self.pulled
            length = self.vectors.norm(dim=-1, keepdim=True)
            wanted = length + to_slots(pull, self.vectors) * (self.typical - length)
            self.vectors.copy_(
                torch.where(length > 0, self.vectors * wanted / length.clamp_min(1e-12), self.vectors)
            )

    def detach(self) -> None:
        """Forget the words."""
        self.strength = 0.0
        self.tower.slots = self._slots_before


class TextualInversion(Method[TextualInversionRecipe]):
    """New words for the text tower."""

    name = "textual_inversion"
    title = "Textual Inversion"
    paper = "Gal et al. 2022, arXiv 2208.01618"
    summary = (
        "Learns one to sixteen vectors that stand for a new word; the model itself stays as it is. A few kilobytes, can be "
        "used with anything else, follows prompts well, and resembles the subject least closely of the trained methods."
    )
    recipe = TextualInversionRecipe

    def unsupported(self, base: Base) -> str | None:
        """Several towers need a vector each; no family here has them yet."""
        return (
            None
            if len(base.towers) == 1
            else "it reads prompts with several text towers, which is not built yet"
        )

    def attach(self, base: Base, stack: Stack) -> TextualInversionAdapter:
        """Vectors of every job, starting at its initialiser."""
        tower = base.towers[0]
        recipes: list[TextualInversionRecipe] = [job.recipe for job in stack.jobs]  # type: ignore[misc]
        adapter = TextualInversionAdapter(
            tower, [job.concept.token for job in stack.jobs], [recipe.vectors for recipe in recipes]
        )
        adapter.rates = tuple(Rate.parse(recipe.learning_rate) for recipe in recipes)
        adapter.pulled = torch.tensor([float(r.norm_pull) for r in recipes], device=adapter.vectors.device)
        with torch.no_grad():
            for slot, (job, recipe) in enumerate(zip(stack.jobs, recipes, strict=True)):
                adapter.vectors[slot, : recipe.vectors].copy_(_start(tower, recipe, job.concept.noun))
        return adapter

    def restore(self, base: Base, artifacts: Sequence[Artifact]) -> TextualInversionAdapter:
        """The vectors as they were taught."""
        tower = base.towers[0]
        for artifact in artifacts:
            if set(artifact.tensors) != {"vectors"}:
                raise FormatError(
                    f"{artifact.token} has vectors for {' and '.join(sorted(artifact.tensors))}; {base.name} has one tower",
                    "an embedding fits only bases with the same text towers",
                )
        taught = [artifact.tensors["vectors"] for artifact in artifacts]
        for artifact, vectors in zip(artifacts, taught, strict=True):
            if vectors.shape[-1] != tower.width:
                raise FormatError(
                    f"{artifact.token} has vectors of width {vectors.shape[-1]}; {base.name} reads {tower.width}",
                    "an embedding fits only bases with the same text tower",
                )
        adapter = TextualInversionAdapter(tower, [a.token for a in artifacts], [v.shape[0] for v in taught])
        with torch.no_grad():
            for slot, vectors in enumerate(taught):
                adapter.vectors[slot, : vectors.shape[0]].copy_(vectors)
        return adapter


def _start(tower: TextTower, recipe: TextualInversionRecipe, noun: str) -> Tensor:
    table = tower.table.weight.detach().float()
    if recipe.initialiser == "random":
        drawn = torch.randn(recipe.vectors, tower.width, generator=stream(recipe.seed, "vectors", 0))
        return drawn.to(table.device) * table.std()
    ids = tower.ids(recipe.initialiser or noun)
    if not ids:
        raise RecipeError(
            f"initialiser {recipe.initialiser!r} has no tokens", "write one or more words, or random"
        )
    return table[[ids[n % len(ids)] for n in range(recipe.vectors)]]


METHOD = TextualInversion()
