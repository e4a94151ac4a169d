"""Preprocessing: pictures as the numbers that a published vision network was trained on.

Pillow and numpy do what the published recipes do, step for step, so that torchvision is not needed. Families and metrics
both look at pictures through this.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def pixels(
    pictures: Sequence[Image.Image],
    *,
    resize: int,
    crop: int,
    mean: Sequence[float],
    std: Sequence[float],
    resample: Image.Resampling = Image.Resampling.BICUBIC,
) -> Tensor:
    """[n, 3, crop, crop]: the short side to `resize`, antialiased, the middle cut out, `(x - mean) / std`."""
    rows = [
        np.asarray(_square(picture, resize, crop, resample), dtype=np.float32) / 255 for picture in pictures
    ]
    array = (np.stack(rows) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def _square(picture: Image.Image, resize: int, crop: int, resample: Image.Resampling) -> Image.Image:
    width, height = picture.size
    short = min(width, height)
    # The long side is cut off, not rounded: torchvision and transformers both do so.
    size = (
        (resize, int(resize * height / width)) if width == short else (int(resize * width / height), resize)
    )
    if size != picture.size:
        picture = picture.resize(size, resample)
    left, top = (size[0] - crop) // 2, (size[1] - crop) // 2
    return picture.crop((left, top, left + crop, top + crop))
