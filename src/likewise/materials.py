"""Materials: a job's pictures as latents and its captions, made ready once before the loop.

Latents are kept as mean and standard deviation, because a fresh sample per step is what the base was trained on; caching one
sample would change the data. Each step's rows follow from (job seed, step) alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Draw:
    """One job's rows of one step. `clean` and `noise` are [b, ...]; `levels` are [b]."""

    clean: Tensor
    noise: Tensor
    levels: Tensor
    captions: list[str]
    names: list[str]

    def part(self, number: int, of: int) -> Draw:
        """The rows of one batch, where a step takes so many."""
        size = len(self.names) // of
        rows = slice(number * size, (number + 1) * size)
        return Draw(
            self.clean[rows], self.noise[rows], self.levels[rows], self.captions[rows], self.names[rows]
        )


@dataclass(frozen=True)
class Materials:
    """Latents [n, 2, ...] (mean, std) of a set of pictures, with their captions and names."""

    latents: Tensor
    captions: tuple[str, ...]
    names: tuple[str, ...]
    repeats: tuple[int, ...]

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
        tokens = noise.shape[-1] * noise.shape[-2]
        levels = base.objective.draw_levels(len(rows), random, tokens)
        clean = pairs[:, 0] + pairs[:, 1] * spread
        return Draw(clean, noise, levels, [self.captions[n] for n in rows], [self.names[n] for n in rows])


def of_concept(base: Base, concept: Concept, recipe: TrainingRecipe, cache: Cache) -> Materials:
    """The pictures of `concept`, mirrored copies included where the recipe flips."""
    pictures = [example.open() for example in concept.examples]
    captions = [concept.caption(example) for example in concept.examples]
    names = [example.name for example in concept.examples]
    repeats = [example.repeats for example in concept.examples]
    if recipe.flip:
        pictures += [ImageOps.mirror(picture) for picture in pictures]
        captions, repeats = captions * 2, repeats * 2
        names += [f"{name} (mirrored)" for name in names]
    return of_pictures(base, pictures, captions, names, recipe, cache, repeats)


def of_class(
    base: Base, concept: Concept, pictures: Sequence[Image.Image], recipe: TrainingRecipe, cache: Cache
) -> Materials:
    """Pictures of the class noun, for the prior."""
    names = [f"class picture {n}" for n in range(len(pictures))]
    return of_pictures(base, pictures, [concept.class_prompt()] * len(pictures), names, recipe, cache)


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
    if size % base.grid:
        raise TrainingError(
            f"resolution {size} is not a multiple of {base.grid}", f"{base.name} needs it to be"
        )
    weights = base.fingerprint("vae")
    rows = []
    for picture, name in zip(pictures, names, strict=True):
        pixels = square(picture, size)
        found = cache.tensors(
            key("latents", weights, size, hashlib.sha256(pixels.numpy().tobytes()).hexdigest()),
            lambda pixels=pixels, name=name: {"latents": _encode(base, pixels, name)},  # type: ignore[misc]
        )["latents"]
        rows.append(found)
    return Materials(torch.stack(rows), tuple(captions), tuple(names), tuple(repeats or [1] * len(rows)))


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
