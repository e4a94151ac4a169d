"""Preprocessing: bit for bit what transformers gives CLIP, without torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from likewise.metrics import clip
from likewise.preprocessing import pixels
from tests.metrics.judges import picture


@pytest.mark.parametrize("size", [(300, 224), (224, 301), (257, 257), (640, 427), (100, 90)])
def test_pixels_are_those_of_the_published_preprocessing(size: tuple[int, int]) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    theirs = CLIPImageProcessorPil()(picture(1, size), return_tensors="pt")["pixel_values"]
    ours = pixels([picture(1, size)], resize=224, crop=224, mean=clip.MEAN, std=clip.STD)
    assert ours.shape == theirs.shape
    assert torch.equal(ours, theirs)


def test_the_short_side_is_resized_and_the_middle_kept() -> None:
    wide = np.zeros((50, 100, 3), np.uint8)
    wide[:, 25:75] = 255
    x = pixels([Image.fromarray(wide)], resize=50, crop=50, mean=(0, 0, 0), std=(1, 1, 1))
    assert x.shape == (1, 3, 50, 50)
    assert bool((x == 1).all())
