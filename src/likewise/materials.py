"""Materials: a job's pictures as latents and its captions, made ready once before the loop.

Latents are kept as mean and standard deviation, because a fresh sample per step is what the base was trained on; caching one
sample would change the data. Each step's rows follow from (job seed, step) alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from likewise.base import Base
from likewise.cache import Cache, key
from likewise.concept import Concept
from likewise.errors import TrainingError
from likewise.recipe import TrainingRecipe
from likewise.stack import stream


class Frame(NamedTuple):
    """How a square was cut from its picture, in pixels: what SDXL is told of each (Podell et al. 2023, 2.2)."""

    height: int
    """Size of the whole picture, before it was resized."""
    width: int
    top: int
    """Corner of the square, in the resized picture."""
    left: int
    target_height: int
    target_width: int


@dataclass(frozen=True)
class Draw:
    """One job's rows of one step. `clean` and `noise` are [b, ...]; `levels` are [b]; `frames` are [b, 6]."""

    clean: Tensor
    noise: Tensor
    levels: Tensor
    frames: Tensor
    captions: list[str]
    names: list[str]

    def part(self, number: int, of: int) -> Draw:
        """The rows of one batch, where a step takes so many."""
        size = len(self.names) // of
        rows = slice(number * size, (number + 1) * size)
        tensors = (self.clean[rows], self.noise[rows], self.levels[rows], self.frames[rows])
        return Draw(*tensors, self.captions[rows], self.names[rows])

    def called(self, caption: Callable[[str], str]) -> Draw:
        """The same rows, each with what `caption` makes of its caption."""
        return replace(self, captions=[caption(text) for text in self.captions])

    def then(self, other: Draw) -> Draw:
        """`other`'s rows behind these."""
        clean, noise, levels, frames = (
            torch.cat([getattr(self, name), getattr(other, name)])
            for name in ("clean", "noise", "levels", "frames")
        )
        captions, names = self.captions + other.captions, self.names + other.names
        return Draw(clean, noise, levels, frames, captions, names)


@dataclass(frozen=True)
class Materials:
    """Latents [n, 2, ...] (mean, std) of a set of pictures, with their frames [n, 6], captions and names."""

    latents: Tensor
    frames: Tensor
    captions: tuple[str, ...]
    names: tuple[str, ...]
    repeats: tuple[int, ...]
    notes: tuple[str, ...] = ()
    """What a person should know of the captions: which of them are cut, a sentence each."""

    def order(self, recipe: TrainingRecipe, step: int, purpose: str) -> list[int]:
        """Which pictures step `step` sees: epochs of all pictures (as often as they repeat), each shuffled anew."""
        deck = [n for n, times in enumerate(self.repeats) for _ in range(times)]
        chosen, count = [], recipe.batch_size * recipe.accumulate
        for position in range(step * count, (step + 1) * count):
            epoch, place = divmod(position, len(deck))
            shuffled = torch.randperm(len(deck), generator=stream(recipe.seed, f"{purpose} order", epoch))
            chosen.append(deck[int(shuffled[place])])
        return chosen

    def draw(self, base: Base, recipe: TrainingRecipe, step: int, purpose: str) -> Draw:
        """The rows of step `step`, counted from 0."""
        rows = self.order(recipe, step, purpose)
        random = stream(recipe.seed, purpose, step)
        pairs = self.latents[rows]
        spread = torch.randn(pairs[:, 0].shape, generator=random)
        noise = torch.randn(pairs[:, 0].shape, generator=random)
        if recipe.noise_offset:
            constant = torch.randn((*noise.shape[:2], *[1] * (noise.ndim - 2)), generator=random)
            noise = noise + recipe.noise_offset * constant
        levels = base.objective.draw_levels(len(rows), random, base.tokens(noise.shape[1:]))
        clean = pairs[:, 0] + pairs[:, 1] * spread
        captions, names = [self.captions[n] for n in rows], [self.names[n] for n in rows]
        return Draw(clean, noise, levels, self.frames[rows], captions, names)


def of_concept(base: Base, concept: Concept, recipe: TrainingRecipe, cache: Cache) -> Materials:
    """The pictures of `concept`, mirrored copies included where the recipe flips."""
    pictures = [example.open() for example in concept.examples]
    captions, notes = _fitted(
        base, [(example.name, concept.caption(example)) for example in concept.examples], concept.words
    )
    names = [example.name for example in concept.examples]
    repeats = [example.repeats for example in concept.examples]
    if recipe.flip:
        pictures += [ImageOps.mirror(picture) for picture in pictures]
        captions, repeats = captions * 2, repeats * 2
        names += [f"{name} (mirrored)" for name in names]
    return replace(of_pictures(base, pictures, captions, names, recipe, cache, repeats), notes=notes)


def of_class(
    base: Base, concept: Concept, pictures: Sequence[Image.Image], recipe: TrainingRecipe, cache: Cache
) -> Materials:
    """Pictures of the class, for the prior: the concept's own, then `pictures`, which the base drew of `class_prompts`."""
    own, count = concept.class_pictures, len(pictures)
    if not own and not pictures:
        raise TrainingError("there are no class pictures", "draw some, give some, or set prior=predicted")
    described = [(example.name, concept.class_caption(example)) for example in own]
    captions, notes = _fitted(base, described, (concept.noun,))
    found = of_pictures(
        base,
        [*(example.open() for example in own), *pictures],
        captions + class_prompts(base, concept, count),
        [example.name for example in own] + [f"class picture {n}" for n in range(count)],
        recipe,
        cache,
        [example.repeats for example in own] + [1] * count,
    )
    return replace(found, notes=notes)


def class_prompts(base: Base, concept: Concept, count: int) -> list[str]:
    """What so many drawn class pictures show, the concept's class prompts in turns, as the base reads them whole."""
    prompts = [base.fit(prompt, (concept.noun,)) for prompt in concept.class_prompts()]
    return [prompts[number % len(prompts)] for number in range(count)]


MOST_NOTES = 8


def _fitted(
    base: Base, captions: Sequence[tuple[str, str]], keep: Sequence[str]
) -> tuple[list[str], tuple[str, ...]]:
    """Captions as the base's towers can read them whole, and a sentence for each that had to be cut for it.

    Raises `TrainingError` where not even the words `keep` fit.
    """
    fitted = [base.fit(caption, keep) for _, caption in captions]
    if any(tower.count(caption) > tower.room for caption in fitted for tower in base.towers):
        raise TrainingError(
            f"{keep[0]!r} alone is longer than a prompt of {base.name}", "choose a shorter token"
        )
    cut = [name for (name, caption), read in zip(captions, fitted, strict=True) if read != caption]
    words = f"longer than the {min((t.room for t in base.towers), default=0)} tokens that are read"
    notes = [f"{name}: its caption is {words} and is cut; {keep[0]!r} stays in it" for name in cut]
    if len(cut) > MOST_NOTES:
        shown = ", ".join(cut[:MOST_NOTES])
        notes = [f"{shown} and {len(cut) - MOST_NOTES} more: the captions are {words} and are cut"]
    return fitted, tuple(notes)


def of_pictures(
    base: Base,
    pictures: Sequence[Image.Image],
    captions: Sequence[str],
    names: Sequence[str],
    recipe: TrainingRecipe,
    cache: Cache,
    repeats: Sequence[int] | None = None,
) -> Materials:
    """Crop, encode (or find in the cache) and check; raises `TrainingError` naming a picture that is not finite."""
    size = recipe.resolution or base.resolution
    base.check_side("resolution", size)
    weights = base.fingerprint("vae")
    rows, frames = [], []
    for picture, name in zip(pictures, names, strict=True):
        pixels = square(picture, size)
        found = cache.tensors(
            key("latents", weights, size, hashlib.sha256(pixels.numpy().tobytes()).hexdigest()),
            lambda pixels=pixels, name=name: {"latents": _encode(base, pixels, name)},  # type: ignore[misc]
        )["latents"]
        rows.append(found)
        frames.append(frame(picture, size))
    return Materials(
        torch.stack(rows),
        torch.tensor(frames),
        tuple(captions),
        tuple(names),
        tuple(repeats or [1] * len(rows)),
    )


def frame(picture: Image.Image, size: int) -> Frame:
    """How `square` cuts the middle from `picture`."""
    width, height = picture.size
    scale = size / min(width, height)
    top, left = (round((side * scale - size) / 2) for side in (height, width))
    return Frame(height, width, top, left, size, size)


def square(picture: Image.Image, size: int) -> Tensor:
    """The middle square of `picture` at `size` pixels, [3, size, size] in [-1, 1]."""
    fitted = ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1).float() / 127.5 - 1


@torch.no_grad()
def _encode(base: Base, pixels: Tensor, name: str) -> Tensor:
    mean, std = base.encode_images(pixels.unsqueeze(0).to(base.device))
    found = torch.stack([mean[0], std[0]]).float().cpu()
    if not torch.isfinite(found).all():  # before it is kept in the cache
        raise TrainingError(
            f"the latents of {name} are not finite", "the picture or the autoencoder is damaged"
        )
    return found
