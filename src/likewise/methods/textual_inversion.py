"""Textual Inversion: one to sixteen new word vectors, and nothing else.

Gal et al. 2022 (arXiv 2208.01618). The vectors are parameters of their own, spliced into the tower's look-up where the token
stands, so no other row of the embedding table can move.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.base import Base
from likewise.errors import FormatError, RecipeError
from likewise.kinds import WORDS
from likewise.method import Adapter, Choices, Group, Method
from likewise.recipe import LearningRate, Rate, Steps, TrainingRecipe
from likewise.stack import Span, Stack, stream, to_slots
from likewise.tower import TextTower, Word

logger = logging.getLogger(__name__)


class TextualInversionRecipe(TrainingRecipe):
    """How many vectors, where they start and what holds them."""

    steps: Steps = 3000
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
    `random`: drawn with the table's own spread; `zeros`: nothing, as the web UI starts without words."""
    norm_pull: bool = True
    """After each step pull each vector's length towards the table's mean length (cloneofsimo/lora)."""


class TextualInversionAdapter(Adapter):
    """Vectors that stand for a word in each slot's prompts, of their own for every text tower."""

    trains_text = True

    def __init__(
        self,
        base: Base,
        tokens: Sequence[str],
        vectors: Sequence[Mapping[str, Tensor]],
        starts: Sequence[Mapping[str, Tensor | None]],
    ) -> None:
        """`vectors` [n, width] of each slot by the tower's part, and where their training started; None: nobody knows."""
        self.slots = len(tokens)
        self.spelt = [
            Spelling(t, tokens, [v[t.part] for v in vectors], [s[t.part] for s in starts])
            for t in base.towers
        ]
        self.rates: tuple[Rate, ...] = ()
        self.pulled = torch.zeros(self.slots, device=base.device)
        self.strength = 1.0

    @property
    def strength(self) -> float:
        """0 gives the token back its own meaning; else the vectors are `start + strength * (taught - start)`.

        Files of other programs do not say where their vectors started; these stay as taught, with a warning.
        """
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._strength = value
        for spelling in self.spelt:
            spelling.show(value)

    def place(self, span: Span) -> None:
        """Spell the words in these slots of a batch; the towers then divide every batch among all its slots."""
        super().place(span)
        for spelling in self.spelt:
            spelling.first, spelling.tower.slots = span.first, span.of
        self.strength = self._strength

    def groups(self) -> list[Group]:
        """The vectors."""
        return [Group("vectors", tuple(s.vectors for s in self.spelt), self.rates)] if self.rates else []

    def state(self, slot: int) -> dict[str, Tensor]:
        """`vectors` [n, width] of the first tower, `vectors_2` of the second."""
        return {_key(s.tower): s.vectors[slot, : s.counts[slot]].detach().cpu().clone() for s in self.spelt}

    @torch.no_grad()
    def load(self, slot: int, tensors: Mapping[str, Tensor]) -> None:
        """Take vectors back."""
        for s in self.spelt:
            s.vectors[slot, : s.counts[slot]] = tensors[_key(s.tower)].to(s.vectors)

    def after_step(self, rates: Mapping[str, Tensor]) -> None:
        """`v <- v / |v| * (|v| + k (typical - |v|))` with `k = min(1, 100 rate)`."""
        pull = (rates["vectors"].to(self.pulled) * 100).clamp(max=1) * self.pulled
        for spelling in self.spelt:
            spelling.pull(pull)

    def detach(self) -> None:
        """Forget the words."""
        self.strength = 0.0
        for spelling in self.spelt:
            spelling.tower.slots = spelling.slots_before


class Spelling:
    """Vectors [K, n, width] of one tower, which stand for a word of each slot there."""

    def __init__(
        self,
        tower: TextTower,
        tokens: Sequence[str],
        vectors: Sequence[Tensor],
        starts: Sequence[Tensor | None],
    ) -> None:
        self.tower, self.tokens, self.starts = tower, list(tokens), list(starts)
        weight = tower.table.weight
        self.counts = [len(taught) for taught in vectors]
        padded = torch.zeros(len(tokens), max(self.counts), tower.width, device=weight.device)
        for slot, taught in enumerate(vectors):
            padded[slot, : len(taught)] = taught
        self.vectors = nn.Parameter(padded)
        self.typical = weight.detach().float().norm(dim=1).mean()
        self.words: list[Word] = []
        self.slots_before, tower.slots = tower.slots, len(tokens)
        self.first = 0
        """The slot of the batch that the first token belongs to."""

    def show(self, strength: float) -> None:
        """Let the tower read the words as `strength` asks; 0 takes them away."""
        others = [word for word in self.tower.words if word not in self.words]
        shown = self.vectors if strength in (0.0, 1.0) else self._mixed(strength)
        named = enumerate(zip(self.tokens, self.counts, strict=True))
        words = [Word(token, self.first + k, count, shown, k) for k, (token, count) in named]
        self.words = words if strength else []
        self.tower.words = others + self.words

    @torch.no_grad()
    def _mixed(self, strength: float) -> Tensor:
        mixed = self.vectors.detach().clone()
        for slot, start in enumerate(self.starts):
            if start is None:
                logger.warning(
                    "%r: its file does not say where its vectors started; strength %g does what 1 does",
                    self.tokens[slot],
                    strength,
                )
            else:
                mine, begun = mixed[slot, : len(start)], start.to(mixed)
                mine.copy_(begun + strength * (mine - begun))
        return mixed

    @torch.no_grad()
    def pull(self, share: Tensor) -> None:
        """Bring each vector's length nearer to the table's mean length, by a share [K] for each slot."""
        pull = to_slots(share, self.vectors)
        length = self.vectors.norm(dim=-1, keepdim=True)
        wanted = length + pull * (self.typical - length)
        scaled = self.vectors * wanted / length.clamp_min(1e-12)
        # Where nothing pulls not even rounding may act: a slot that is done stands perfectly still.
        self.vectors.copy_(torch.where((pull > 0) & (length > 0), scaled, self.vectors))


class TextualInversion(Method[TextualInversionRecipe]):
    """New words for the text tower."""

    name = "textual_inversion"
    title = "Textual Inversion"
    paper = "Gal et al. 2022, arXiv 2208.01618"
    summary = (
        "Learns one to sixteen vectors that stand for a new word; the model itself stays as it is. A few kilobytes, can be "
        "used with anything else and follows prompts well; on large bases it usually resembles the subject least closely "
        "of the trained methods."
    )
    recipe = TextualInversionRecipe
    kind = WORDS
    space = (
        Choices("learning_rate", (0.25, 0.5, 1, 2, 4), times=True),
        Choices("vectors", (1, 2, 4, 8, 16)),
        Choices("steps", (0.5, 1, 2), times=True),
    )

    def attach(self, base: Base, stack: Stack) -> TextualInversionAdapter:
        """Vectors of every job for every tower, starting at the job's initialiser."""
        recipes: list[TextualInversionRecipe] = [job.recipe for job in stack.jobs]  # type: ignore[misc]
        starts = [
            {tower.part: _start(tower, recipe, recipe.vectors, job.concept.noun) for tower in base.towers}
            for job, recipe in zip(stack.jobs, recipes, strict=True)
        ]
        adapter = TextualInversionAdapter(base, [job.concept.token for job in stack.jobs], starts, starts)
        adapter.rates = tuple(Rate.parse(recipe.learning_rate) for recipe in recipes)
        adapter.pulled = torch.tensor([float(r.norm_pull) for r in recipes], device=base.device)
        return adapter

    def restore(self, base: Base, artifacts: Sequence[Artifact]) -> TextualInversionAdapter:
        """The vectors as they were taught."""
        taught = [_by_tower(base, artifact) for artifact in artifacts]
        starts = [
            {tower.part: _started(tower, artifact, len(vectors[tower.part])) for tower in base.towers}
            for artifact, vectors in zip(artifacts, taught, strict=True)
        ]
        return TextualInversionAdapter(base, [a.token for a in artifacts], taught, starts)


def _key(tower: TextTower) -> str:
    """`vectors` for the tower `text`, `vectors_2` for `text_2`."""
    return "vectors" + tower.part.removeprefix("text")


def _by_tower(base: Base, artifact: Artifact) -> dict[str, Tensor]:
    """An embedding's vectors [n, width] by the tower's part; raises `FormatError` where they do not fit."""
    known = {_key(tower): tower for tower in base.towers}
    if set(artifact.tensors) != set(known):
        raise FormatError(
            f"{artifact.token} has vectors for {' and '.join(sorted(artifact.tensors))}; "
            f"{base.name} wants {' and '.join(sorted(known))}",
            "an embedding fits only bases with the same text towers",
        )
    for key, tower in known.items():
        width = artifact.tensors[key].shape[-1]
        if width != tower.width:
            raise FormatError(
                f"{artifact.token} has vectors of width {width}; {base.name} reads {tower.width}",
                "an embedding fits only bases with the same text tower",
            )
    return {tower.part: artifact.tensors[key] for key, tower in known.items()}


def _started(tower: TextTower, artifact: Artifact, count: int) -> Tensor | None:
    """The vectors that training started from, by the recipe in the file; None where another program wrote it."""
    if not artifact.noun or "initialiser" not in artifact.recipe:
        return None
    told = {key: artifact.recipe[key] for key in ("initialiser", "seed") if key in artifact.recipe}
    return _start(tower, TextualInversionRecipe().override(told), count, artifact.noun)


def _start(tower: TextTower, recipe: TextualInversionRecipe, count: int, noun: str) -> Tensor:
    """The `count` vectors [n, width] that a job's training starts from."""
    table = tower.table.weight.detach().float()
    if recipe.initialiser == "zeros":
        return torch.zeros(count, tower.width, device=table.device)
    if recipe.initialiser == "random":
        drawn = torch.randn(count, tower.width, generator=stream(recipe.seed, _key(tower), 0))
        return drawn.to(table.device) * table.std()
    ids = tower.ids(recipe.initialiser or noun)
    if not ids:
        raise RecipeError(
            f"initialiser {recipe.initialiser!r} has no tokens", "write one or more words, random or zeros"
        )
    return table[[ids[n % len(ids)] for n in range(count)]]


METHOD = TextualInversion()
