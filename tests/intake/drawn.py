"""Small real pictures, and what was understood of them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from likewise import intake


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (96, 64)) -> Path:
    """A smooth random picture, unlike others by its seed, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
    return path


def pack(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of these members."""
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def captions(found: intake.Intake) -> dict[str, str | None]:
    """Caption by name."""
    return {name: example.caption for name, example in zip(found.names, found.examples, strict=True)}


def reasons(found: intake.Intake) -> dict[str, str]:
    """Why each file is not used."""
    return {problem.file: problem.reason for problem in found.problems}


def class_names(found: intake.Intake) -> set[str]:
    """The files of the class pictures."""
    return {example.name for example in found.class_pictures}
