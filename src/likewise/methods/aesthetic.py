"""Aesthetic embedding: nothing is trained; each prompt is pulled towards the pictures before it is drawn.

Gallego 2022 (arXiv 2209.12330), with the settings of the AUTOMATIC1111 extension. What is kept is one vector,
the mean CLIP feature of the pictures. At sampling time a few gradient steps move a copy of the text encoder
until the prompt's own feature points that way; the encoder itself never changes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.base import Base
from likewise.concept import Concept
from likewise.errors import FormatError, RecipeError
from likewise.kinds import DIRECTION
from likewise.method import Adapter, Choices, Group, Method
from likewise.recipe import Recipe
from likewise.stack import Span, Stack
from likewise.tower import TextOutput, TextTower, Tokens, Twin

KEY = "aesthetic.mean"
Unit = Annotated[float, Field(ge=0, le=1)]


class AestheticRecipe(Recipe):
    """How far each prompt is pulled. Teaching takes no time; `gradient_steps` do, once for every prompt."""

    keep: Literal["fp16", "fp32"] = "fp32"
    """A few kilobytes either way."""
    gradient_steps: NonNegativeInt = 5
    """Steps that the text encoder's copy takes for one prompt. 5 in the web UI's extension, 10 in the
    original script; beyond 20 the prompt itself is lost."""
    gradient_rate: NonNegativeFloat = 1e-4
    """Adam's learning rate in those steps, as in both programs."""
    weight: Unit = 0.9
    """Share of the pulled prompt in what is drawn. 0.9 in the extension, 1 in the original."""
    slerp: bool = False
    """Blend along an arc instead of a line. Off, as in the extension."""
    text: str = ""
    """Words that turn the direction as well. None, as in the extension."""
    negative_text: bool = False
    """Turn away from `text` instead of towards it."""
    angle: Unit = 0.1
    """How far `text` turns the direction, as a share of the whole angle. 0.1 in the extension."""
    steer_negative: bool = False
    """Pull the negative prompt too. The extension does, the original does not; an empty prompt never is."""

    def _idle(self) -> Iterator[tuple[str, str]]:
        if not self.text.strip():
            yield from ((key, "there is no text") for key in ("negative_text", "angle"))
        still = next(
            (key for key in ("gradient_steps", "gradient_rate", "weight") if not getattr(self, key)), None
        )
        if still:
            keys = ("gradient_steps", "gradient_rate", "weight", "slerp", "text", "steer_negative")
            yield from ((key, f"{still}=0 pulls nothing") for key in keys if key != still)


@dataclasses.dataclass(frozen=True)
class Pulled:
    """One prompt after its gradient steps."""

    output: TextOutput
    """The output of one row, in place of the tower's own."""
    similarity: tuple[float, ...]
    """Cosine between the prompt's feature and the target before each step, and after the last."""


class AestheticAdapter(Adapter):
    """A pull on every tower that an embedding is for."""

    def __init__(
        self, base: Base, recipes: Sequence[AestheticRecipe], means: Sequence[Mapping[str, Tensor]]
    ) -> None:
        """`means` gives each slot a row [1, d] by the part of the tower; all slots are for the same towers."""
        self.slots, self.recipes = len(recipes), list(recipes)
        self.pulls = [
            Pull(base, tower, self, [_row(mean[tower.part]) for mean in means])
            for tower in base.towers
            if tower.part in means[0]
        ]
        for pull in self.pulls:
            pull.tower.filters.append(pull.filter)

    def groups(self) -> Sequence[Group]:
        """Nothing trains."""
        return ()

    def state(self, slot: int) -> dict[str, Tensor]:
        """`aesthetic.mean` [1, d] of the first tower, `aesthetic.mean_2` of the second; float32, not normalised."""
        return {_key(pull.tower): pull.means[slot].detach().cpu().clone() for pull in self.pulls}

    def detach(self) -> None:
        """Take the filters off; the towers were never changed."""
        for pull in self.pulls:
            pull.tower.filters[:] = [change for change in pull.tower.filters if change != pull.filter]

    def share(self, slot: int, negative: bool) -> float:
        """How much of a pulled prompt is drawn with, from 0 on."""
        recipe = self.recipes[slot]
        still = recipe.gradient_steps == 0 or recipe.gradient_rate == 0
        return 0.0 if still or (negative and not recipe.steer_negative) else recipe.weight * self.strength


class Pull:
    """What pulls the prompts of one tower. It remembers what a prompt became, so each costs its steps once.

    What it remembers is right for the tower as it is.
    """

    def __init__(
        self, base: Base, tower: TextTower, adapter: AestheticAdapter, means: Sequence[Tensor]
    ) -> None:
        self.base, self.tower, self.adapter, self.means = base, tower, adapter, means
        width = _twin(tower).width
        for mean in means:
            if mean.shape[1] != width:
                raise FormatError(
                    f"this aesthetic embedding has {mean.shape[1]} numbers; {base.name} compares {width}",
                    "it fits only bases whose text tower comes from the same CLIP model",
                )
        self._pulled: dict[tuple[int, int, str], Pulled] = {}
        self._targets: dict[int, Tensor] = {}

    def pull(self, prompt: str, slot: int = 0, place: int = 0) -> Pulled:
        """`prompt` pulled towards the pictures of `slot`; `place` is the tower's slot that spells it."""
        key = (slot, place, prompt)
        if key not in self._pulled:
            with self._climbed(prompt, slot, place) as similarity, torch.no_grad():
                every = self.tower.read([prompt] * self.tower.slots)
                mine = TextOutput(
                    every.states[place : place + 1].detach(),
                    None if every.pooled is None else every.pooled[place : place + 1].detach(),
                )
                self._pulled[key] = Pulled(mine, similarity)
        return self._pulled[key]

    def weights(self, prompt: str, slot: int = 0) -> dict[str, Tensor]:
        """The tower's parameters after the steps that `prompt` takes, float32, by their names in its encoder.

        What `weight` makes of the states, and the negative prompt, are not in them.
        """
        with self._climbed(prompt, slot, 0):
            return {name: p.detach().clone() for name, p in self.tower.encoder.named_parameters()}

    @contextmanager
    def _climbed(self, prompt: str, slot: int, place: int) -> Iterator[tuple[float, ...]]:
        """The gradient steps of `prompt`, with the moved weights in the encoder until the end; gives its similarities."""
        recipe, tower, similarity = self.adapter.recipes[slot], self.tower, []
        # Sampling runs without gradients and in mixed precision; these few steps need the opposite.
        exact = torch.autocast(self.base.device.type, enabled=False)
        with torch.inference_mode(False), torch.enable_grad(), exact:
            target, tokens = self._target(slot, place), _one(tower, prompt, place)
            with _copied(tower.encoder) as parameters:
                optimizer = torch.optim.Adam(parameters, lr=recipe.gradient_rate)
                for _ in range(recipe.gradient_steps):
                    found = (_feature(tower, tokens) * target).sum()
                    # Not `backward`: another method's words may stand in the prompt, and must get no gradient.
                    slopes = torch.autograd.grad(-found, parameters, allow_unused=True)
                    for parameter, slope in zip(parameters, slopes, strict=True):
                        parameter.grad = slope
                    optimizer.step()
                    similarity.append(found.item())
                with torch.no_grad():
                    similarity.append((_feature(tower, tokens) * target).sum().item())
                yield tuple(similarity)

    def _target(self, slot: int, place: int) -> Tensor:
        """The direction [1, d] that prompts of `slot` are pulled in: the pictures' mean, turned by `text`."""
        if slot not in self._targets:
            recipe = self.adapter.recipes[slot]
            mean = F.normalize(self.means[slot].to(self.base.device), dim=-1)
            if recipe.text.strip():
                with torch.no_grad():
                    words = _feature(self.tower, _one(self.tower, recipe.text, place), unit=False).float()
                other = F.normalize(mean - words, dim=-1) if recipe.negative_text else words
                # As in the extension, `text` weighs by the length it comes with; Adam ignores the result's.
                mean = F.normalize(slerp(mean, other, recipe.angle), dim=-1)
            self._targets[slot] = mean
        return self._targets[slot]

    def filter(self, prompts: Sequence[str], output: TextOutput, negative: bool) -> TextOutput:
        """A `tower.TextFilter`: each prompt that has words becomes a blend of itself and what it was pulled to."""
        span = self.adapter.span or Span(0, self.adapter.slots, self.adapter.slots)
        own, each = span.rows(len(prompts)), len(prompts) // span.of
        shares = [self.adapter.share(slot, negative) for slot in range(self.adapter.slots)]
        per_place = len(prompts) // self.tower.slots
        rows = [
            row
            for row in range(own.start, own.stop)
            if prompts[row].strip() and shares[row // each - span.first] != 0
        ]
        if not rows:
            return output
        states, pooled = output.states.clone(), None if output.pooled is None else output.pooled.clone()
        for row in rows:
            slot = row // each - span.first
            pulled = self.pull(prompts[row], slot, row // per_place).output
            blend = slerp if self.adapter.recipes[slot].slerp else torch.lerp
            states[row] = blend(states[row : row + 1], pulled.states.to(states), shares[slot])[0]
            if pooled is not None and pulled.pooled is not None:
                pooled[row] = blend(pooled[row : row + 1], pulled.pooled.to(pooled), shares[slot])[0]
        return TextOutput(states, pooled)


def slerp(low: Tensor, high: Tensor, share: float) -> Tensor:
    """The arc from `low` to `high`, by angles over dimension 1 as in the extension; a line where parallel."""
    cosine = (F.normalize(low, dim=1) * F.normalize(high, dim=1)).sum(1, keepdim=True).clamp(-1, 1)
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    arc = (torch.sin((1 - share) * angle) * low + torch.sin(share * angle) * high) / sine
    return torch.where(sine.abs() < 1e-4, torch.lerp(low, high, share), arc)


def _feature(tower: TextTower, tokens: Tokens, unit: bool = True) -> Tensor:
    """The prompt's feature [1, d] in the space of pictures."""
    found = _twin(tower).text_features(tower.encode(tokens, output_hidden_states=True), tokens)
    return F.normalize(found, dim=-1) if unit else found


def _one(tower: TextTower, prompt: str, place: int) -> Tokens:
    """The tokens [1, T] of `prompt` as slot `place` of the tower spells it."""
    every = tower.tokenize([prompt] * tower.slots)
    mine = slice(place, place + 1)
    return replace(every, ids=every.ids[mine], word=every.word[mine], vector=every.vector[mine])


@contextmanager
def _copied(encoder: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Float32 copies stand in for the encoder's parameters; at the end the originals come back, untouched."""
    homes = [(m, name, p) for m in encoder.modules() for name, p in m.named_parameters(recurse=False)]
    copies = {id(p): nn.Parameter(p.detach().float().clone()) for _, _, p in homes}
    try:
        for module, name, original in homes:
            setattr(module, name, copies[id(original)])
        yield list(copies.values())
    finally:
        for module, name, original in homes:
            setattr(module, name, original)


def _row(mean: Tensor) -> Tensor:
    """[1, d] in float32. Published files are [1, d] or [d], float16 or float32; several rows are averaged."""
    rows = mean.detach().float()
    if rows.ndim not in (1, 2) or not rows.numel() or not bool(torch.isfinite(rows).all()):
        raise FormatError(
            f"an aesthetic embedding of shape {list(mean.shape)} is not one row of finite numbers"
        )
    return rows.reshape(-1, rows.shape[-1]).mean(dim=0, keepdim=True)


def _twin(tower: TextTower) -> Twin:
    assert tower.twin is not None, "unsupported() lets no other tower through"
    return tower.twin


class Aesthetic(Method[AestheticRecipe]):
    """Prompts pulled towards the mean of the pictures, at sampling time."""

    name = "aesthetic"
    title = "Aesthetic embedding"
    paper = "Gallego 2022, arXiv 2209.12330"
    summary = (
        "Keeps only the mean CLIP feature of the pictures, a few kilobytes made in a moment, and pulls each "
        "prompt towards it before drawing. It shifts mood and style and cannot learn a subject; every new "
        "prompt costs extra time."
    )
    recipe = AestheticRecipe
    kind = DIRECTION
    space = (
        Choices("gradient_steps", (5, 10, 20, 50)),
        Choices("gradient_rate", (0.25, 1, 5, 25), times=True),
    )
    trains = False

    def unsupported(self, base: Base) -> str | None:
        """Pictures and prompts must be comparable: some tower needs the image half of its CLIP model."""
        if any(tower.twin is not None for tower in base.towers):
            return None
        return (
            "This family has no CLIP text tower, so there is no image space that its prompt could be "
            "pulled towards."
        )

    def attach(self, base: Base, stack: Stack) -> AestheticAdapter:
        """Compare every job's training pictures: that is all the teaching there is."""
        self.check(base, len(stack))
        towers = [tower for tower in base.towers if tower.twin is not None]
        means = [{t.part: _mean(_twin(t), job.concept) for t in towers} for job in stack.jobs]
        return AestheticAdapter(base, [_mine(job.recipe) for job in stack.jobs], means)

    def restore(self, base: Base, artifacts: Sequence[Artifact]) -> AestheticAdapter:
        """Put kept embeddings on `base`; also published ones, whatever their shape and precision.

        One for a single tower acts on that tower alone.
        """
        self.check(base, len(artifacts))
        known = {_key(tower): tower.part for tower in base.towers if tower.twin is not None}
        for artifact in artifacts:
            if KEY not in artifact.tensors:
                raise FormatError("this is not an aesthetic embedding", f"it has no tensor {KEY}")
            if more := sorted(set(artifact.tensors) - set(known)):
                raise FormatError(
                    f"this aesthetic embedding has a tensor {more[0]}, and {base.name} no tower for it",
                    "it fits only bases with the same text towers",
                )
        if len({frozenset(artifact.tensors) for artifact in artifacts}) > 1:
            raise FormatError("these aesthetic embeddings are for different towers", "use them one at a time")
        recipes = [AestheticRecipe().stored(artifact.recipe) for artifact in artifacts]
        means = [{known[key]: mean for key, mean in a.tensors.items()} for a in artifacts]
        return AestheticAdapter(base, recipes, means)


def _key(tower: TextTower) -> str:
    """`aesthetic.mean` for the tower `text`, `aesthetic.mean_2` for `text_2`."""
    return KEY + tower.part.removeprefix("text")


def _mean(twin: Twin, concept: Concept) -> Tensor:
    """Mean feature [1, d] of the training pictures, none of them normalised, 16 in memory at a time."""
    starts = range(0, len(concept.examples), 16)
    chunks = [twin.image_features([e.open() for e in concept.examples[n : n + 16]]) for n in starts]
    return torch.cat(chunks).float().mean(dim=0, keepdim=True)


def _mine(recipe: Recipe) -> AestheticRecipe:
    if not isinstance(recipe, AestheticRecipe):
        raise RecipeError(f"an aesthetic embedding cannot be taught with a {type(recipe).__name__}")
    return recipe


METHOD = Aesthetic()
