"""Miniature bases and small real pictures that tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from likewise import families, methods
from likewise.base import Base
from likewise.cache import Cache
from likewise.concept import Concept
from likewise.recipe import Recipe
from likewise.run import Run
from likewise.stack import Job, Stack


def _miniatures() -> dict[str, Callable[[int], Base]]:
    """Every family's miniatures by name; a family without `tiny_variants` has one, called like the family."""
    found: dict[str, Callable[[int], Base]] = {}
    for name in families.names():
        family = families.get(name)
        found |= getattr(family, "tiny_variants", lambda name=name, family=family: {name: family.tiny})()
    return found


MINIATURES = _miniatures()
VARIANTS = list(MINIATURES)


def tiny(variant: str = "sd1", seed: int = 0) -> Base:
    """A random miniature, by the name that its family gives it."""
    return MINIATURES[variant](seed)


def pictures(folder: Path, count: int = 4, seed: int = 0) -> Path:
    """`count` smooth random pictures of 72 x 64 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for n in range(count):
        coarse = Image.fromarray(random.integers(0, 255, (4, 4, 3), dtype=np.uint8))
        coarse.resize((72, 64), Image.Resampling.BICUBIC).save(folder / f"{n}.png")
    return folder


def concept(folder: Path, token: str = "sks", noun: str = "dog", seed: int = 0, count: int = 4) -> Concept:
    """A concept of such pictures."""
    return Concept.read(pictures(folder / f"pictures{seed}", count, seed), token=token, noun=noun)


def lora_run(folder: Path, out: Path, **settings: object) -> Run:
    """A small LoRA on `tiny:sd` with settings of its own; pictures and cache are in `folder`."""
    small = {"steps": 12, "rank": 2, "checkpoint_every": 3}
    recipe = methods.get("lora").recipe().override(small | settings)
    return Run("tiny:sd", "lora", (Job(concept(folder), recipe),), out, cache=Cache(folder / "cache"))


def stack(concepts: list[Concept], recipes: list[Recipe]) -> Stack:
    """One job per pair."""
    return Stack(tuple(Job(c, r) for c, r in zip(concepts, recipes, strict=True)))


def scene(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A smooth random picture: unlike others by its seed, and it survives JPEG."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
