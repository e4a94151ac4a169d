"""DreamBooth: every weight of the backbone learns "a [token] [noun]", and the class is protected by a prior.

Ruiz et al. 2022 (arXiv 2208.12242). Not a new parametrisation: what is left behind is a model. The prior itself is part
of the recipe and of the loop, so every other method can use it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.base import Base
from likewise.errors import FormatError
from likewise.kinds import WEIGHTS
from likewise.memory import release
from likewise.method import Adapter, Choices, Group, Method
from likewise.recipe import LearningRate, Rate, Steps, TrainingRecipe
from likewise.snapshot import Resting, Snapshot
from likewise.stack import Stack


class DreamBoothRecipe(TrainingRecipe):
    """How fast, and whether the text tower learns as well."""

    steps: Steps = 800
    """diffusers' example with prior preservation trains 800 steps."""
    learning_rate: LearningRate = 2e-6
    """2e-6 to 5e-6 for Stable Diffusion (paper, diffusers, kohya); small models take more."""
    text_rate: LearningRate | None = None
    """Learning rate of the text towers; helps faces, costs memory. Empty: the towers stay as they are."""
    prior: Literal["none", "pictures", "predicted"] = "pictures"
    """What protects the class: `pictures`, your own or drawn once by the base, `predicted` by the frozen base, or `none`."""


class DreamBoothAdapter(Adapter):
    """The base's own weights, unfrozen, beside a snapshot of what they were, which may lie `aside` from the memory."""

    stacked = False

    def __init__(self, base: Base, parts: Sequence[str], *, aside: bool = False) -> None:
        """`parts` are the components whose weights are taught: `backbone`, and towers if they learn as well."""
        self.trains_text = bool(set(parts) & set(base.text_parts))
        self.rates: dict[str, tuple[Rate, ...]] = {}
        self._weights: dict[str, dict[str, nn.Parameter]] = {
            part: {
                f"{part}.{base.canonical(part, name)}": p
                for name, p in base.components()[part].named_parameters()
            }
            for part in parts
        }
        self._others = [module for name, module in base.components().items() if name not in parts]
        self._before, self._resting = Snapshot(self._named(), aside=aside), Resting(())
        self._taught: dict[str, Tensor] = {}
        self._learning: set[str] = set()
        for _, p in self._named():
            p.data = p.data.float()  # a weight that learns needs all its digits, whatever its file kept
        self._strength = 1.0
        self._attached = True

    @property
    def strength(self) -> float:
        """Between 0 and 1 the weights are `before + strength * (taught - before)`, mixed for the duration."""
        return self._strength

    @strength.setter
    def strength(self, value: float) -> None:
        if value == self._strength:
            return
        if self._strength == 1.0:
            self._taught = {name: p.data for name, p in self._named()}
            self._learning = {name for name, p in self._named() if p.requires_grad}
        for name, p in self._named():
            # At 0 they are as they came, narrow where their file was; what learns is wide.
            p.requires_grad_(False)
            if value == 0.0:
                p.data = self._before[name]
            else:
                taught = self._taught[name]
                p.data = (
                    taught if value == 1.0 else torch.lerp(self._before[name].to(taught.dtype), taught, value)
                )
                p.requires_grad_(value == 1.0 and name in self._learning)
        self._strength = value

    def groups(self) -> list[Group]:
        """All backbone weights, then the towers'."""
        found: dict[str, list[nn.Parameter]] = {}
        for part, weights in self._weights.items():
            found.setdefault("backbone" if part == "backbone" else "text", []).extend(weights.values())
        return [Group(name, tuple(found[name]), self.rates[name]) for name in found if name in self.rates]

    def state(self, slot: int) -> dict[str, Tensor]:
        """Every trained weight, by `backbone.` or `text.` and its published path."""
        return {name: p.detach().cpu().clone() for name, p in self._named()}

    @torch.no_grad()
    def load(self, slot: int, tensors: Mapping[str, Tensor]) -> None:
        """Take weights back."""
        for name, p in self._named():
            p.copy_(tensors[name])

    def shared(self, slot: int) -> dict[str, Tensor]:
        """The weights themselves: a second copy of a whole model may not fit."""
        return {name: p.detach() for name, p in self._named()}

    def before_steps(self) -> None:
        """Lay the weights that do not train beside the memory; the steps need none of them, previews fetch them."""
        if self.spare:
            self._resting = Resting(self._others)
            release()

    @property
    def spare(self) -> int:  # type: ignore[override]
        """What the weights take that do not train, where they can rest."""
        return Resting.size(self._others)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Swap the snapshot in, and the taught weights back by pointer."""
        before = self._strength
        self.strength = 0.0
        try:
            yield
        finally:
            self.strength = before

    def detach(self) -> None:
        """Put the snapshot back and freeze."""
        if not self._attached:
            return
        self._attached = False
        self._resting.wake()
        self._taught.clear()
        for name, p in self._named():
            p.data = self._before[name]
            p.grad = None
            p.requires_grad_(False)
        self._before.close()

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        for weights in self._weights.values():
            yield from weights.items()


class DreamBooth(Method[DreamBoothRecipe]):
    """Fine-tuning of the whole backbone."""

    name = "dreambooth"
    title = "DreamBooth"
    paper = "Ruiz et al. 2022, arXiv 2208.12242"
    summary = (
        "Fine-tunes every weight of the backbone on the pictures while a prior keeps the class as it was. Costs the most "
        "memory and leaves a whole model behind; on large bases it usually resembles the subject most closely."
    )
    recipe = DreamBoothRecipe
    kind = WEIGHTS
    space = (
        Choices("learning_rate", (0.25, 0.5, 1, 2, 4), times=True),
        Choices("steps", (0.5, 1, 2), times=True),
    )
    stackable = False

    def attach(self, base: Base, stack: Stack) -> DreamBoothAdapter:
        """Unfreeze the backbone (and the tower where it has a rate)."""
        self.check(base, len(stack))
        recipe: DreamBoothRecipe = stack.jobs[0].recipe  # type: ignore[assignment]
        # A prior that is predicted wants the snapshot at each step, too often to carry it to a GPU.
        aside = recipe.prior != "predicted" or base.device.type == "cpu"
        parts = ("backbone", *(base.text_parts if recipe.text_rate is not None else ()))
        adapter = DreamBoothAdapter(base, parts, aside=aside)
        adapter.rates["backbone"] = (Rate.parse(recipe.learning_rate),)
        if recipe.text_rate is not None:
            adapter.rates["text"] = (Rate.parse(recipe.text_rate),)
        for group in adapter.groups():
            for parameter in group.parameters:
                parameter.requires_grad_(True)
        return adapter

    def restore(self, base: Base, artifacts: Sequence[Artifact]) -> DreamBoothAdapter:
        """Load one taught model's weights over the base's."""
        self.check(base, len(artifacts))
        tensors = artifacts[0].tensors
        parts = {name.partition(".")[0] for name in tensors}
        adapter = DreamBoothAdapter(base, ["backbone", *(part for part in base.text_parts if part in parts)])
        try:
            with torch.no_grad():
                for name, parameter in adapter._named():
                    if name not in tensors or tensors[name].shape != parameter.shape:
                        raise FormatError(
                            f"{name} is missing or of another shape", f"it was taught on {artifacts[0].base}"
                        )
                    parameter.data = tensors[name].to(parameter.device, parameter.dtype).clone()
        except FormatError:
            adapter.detach()
            raise
        return adapter


METHOD = DreamBooth()
