"""Batches: the rows that the coming steps see, drawn for several steps at a time and ready on the device.

Blocks begin at multiples of `AHEAD`, wherever a training begins, so that a resumed one meets the very same tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from likewise.base import Base
from likewise.materials import Draw, Materials
from likewise.stack import Stack

AHEAD = 8
"""Steps that are drawn at a time."""


@dataclass(frozen=True)
class Batch:
    """The slot-major rows of one forward pass: in each slot the concept's, then the prior's."""

    noisy: Tensor
    """[B, ...]; what the backbone is given."""
    target: Tensor
    """[B, ...]; what it should answer."""
    levels: Tensor
    """[B]."""
    frames: Tensor
    """[B, 6]; how the pictures were cut."""
    weights: Tensor | None
    """[B]; how much each row counts. None: all alike."""
    texts: Tensor | None
    """[B]; rows among the captions that were encoded once. None where they are encoded at each step."""
    paced: Tensor | None
    """[B, n]; what layers answer to the levels alone, where there are such layers."""
    captions: tuple[str, ...]
    names: tuple[str, ...]

    def tensors(self) -> dict[str, Tensor]:
        """Those of the fields that are tensors, by name: all that a step computes with."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


class Batches:
    """Every batch of a stack, by step. What is drawn follows from (job seed, step) alone."""

    def __init__(
        self,
        base: Base,
        stack: Stack,
        own: Sequence[Materials],
        prior: Sequence[Materials],
        texts: Mapping[str, int],
        pace: Callable[[Tensor], Tensor | None],
        before: Sequence[int],
    ) -> None:
        """`texts` numbers the encoded captions; empty where text is encoded at each step. `pace` answers to levels [n].

        `before` are the steps that each job has done elsewhere: its draws go on from there.
        """
        self.before = before
        self.base, self.stack, self.own, self.prior = base, stack, own, prior
        self.texts, self.pace = texts, pace
        self._first, self._block = -1, list[list[Batch]]()

    def at(self, step: int) -> list[Batch]:
        """The batches of step `step`, counted from 0, whose gradients are added up."""
        first = step - step % AHEAD
        if first != self._first:
            self._block, self._first = self._drawn(first), first
        return self._block[step - first]

    @torch.no_grad()
    def _drawn(self, first: int) -> list[list[Batch]]:
        recipes, device = self.stack.recipes, self.base.device
        count, objective = recipes[0].accumulate, self.base.objective
        draws = [rows for step in range(first, first + AHEAD) for rows in self._rows(step, count)]
        clean, noise, levels, frames = (
            torch.stack([torch.cat([getattr(draw, name) for draw in rows]) for rows in draws])
            for name in ("clean", "noise", "levels", "frames")
        )  # [AHEAD * count, B, ...]
        flat = clean.flatten(0, 1), noise.flatten(0, 1), levels.flatten()
        captions = [tuple(caption for draw in rows for caption in draw.captions) for rows in draws]
        names = [tuple(name for draw in rows for name in draw.names) for rows in draws]
        fields: dict[str, Tensor | None] = {
            "noisy": objective.corrupt(*flat).view(clean.shape),
            "target": objective.target(*flat).view(clean.shape),
            "levels": levels,
            "frames": frames,
            "weights": self._weights(levels),
            "texts": torch.tensor([[self.texts[one] for one in row] for row in captions]) if self.texts else None,
        }  # fmt: skip
        sent = {name: None if value is None else value.to(device) for name, value in fields.items()}
        paced = self.pace(levels.flatten().to(device))
        sent["paced"] = None if paced is None else paced.view(*levels.shape, -1)
        rows = [{name: None if v is None else v[n] for name, v in sent.items()} for n in range(len(draws))]
        batches = [
            Batch(captions=told, names=called, **fields)  # type: ignore[arg-type]
            for fields, told, called in zip(rows, captions, names, strict=True)
        ]
        return [batches[n : n + count] for n in range(0, len(batches), count)]

    def _rows(self, step: int, count: int) -> list[list[Draw]]:
        """The draws of a step's batches, one for each slot."""
        mode = self.stack.recipes[0].prior
        found: list[list[Draw]] = [[] for _ in range(count)]
        for slot, (recipe, job) in enumerate(zip(self.stack.recipes, self.stack.jobs, strict=True)):
            number = step + self.before[slot]
            own = self.own[slot].draw(self.base, recipe, number, "own")
            prior = None
            if mode == "pictures":
                prior = self.prior[slot].draw(self.base, recipe, number, "prior")
            elif mode == "predicted":
                prior = own.called(job.concept.of_class)
            for n, batch in enumerate(found):
                part = own.part(n, count)
                batch.append(part.then(prior.part(n, count)) if prior else part)
        return found

    def _weights(self, levels: Tensor) -> Tensor | None:
        """Weights [n, B] of rows at `levels` [n, B]; None where every recipe counts all alike."""
        recipes = self.stack.recipes
        if all(recipe.snr_gamma is None for recipe in recipes):
            return None
        parts = levels.view(len(levels), len(recipes), -1).unbind(1)
        pairs = zip(parts, recipes, strict=True)
        return torch.cat([self.base.objective.weights(part, r.snr_gamma) for part, r in pairs], 1)
