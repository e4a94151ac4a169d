"""Materials: what the rows of a step are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image

from likewise.materials import Materials, square
from likewise.recipe import TrainingRecipe
from tests.bases import tiny

BASE: Any = tiny()


def drawn(**settings: object) -> Any:
    """Sixty-four rows of one picture whose latents have mean 2 and deviation 0.5."""
    latents = torch.stack([torch.full((4, 16, 16), 2.0), torch.full((4, 16, 16), 0.5)])[None]
    recipe = TrainingRecipe().override({"batch_size": 64, **settings})
    return Materials(latents, torch.zeros(1, 6), ("a sks dog",), ("a.png",), (1,)).draw(
        BASE, recipe, 3, "own"
    )


def test_latents_are_sampled_anew_around_their_mean() -> None:
    rows = drawn().clean
    assert abs(float(rows.mean()) - 2.0) < 0.02
    assert abs(float(rows.std()) - 0.5) < 0.02


def test_the_noise_offset_is_one_number_per_row_and_channel() -> None:
    """Without it a channel's mean varies as noise over 256 positions does; with it, by the offset."""
    plain, offset = drawn().noise, drawn(noise_offset=0.5).noise
    assert abs(float(plain.mean((2, 3)).std()) - 1 / 16) < 0.02
    added = offset - plain
    assert torch.allclose(added, added[..., :1, :1].expand_as(added), atol=1e-6)
    assert abs(float(added[..., 0, 0].std()) - 0.5) < 0.08
    assert torch.equal(drawn().levels, drawn(noise_offset=0.0).levels)


def test_the_middle_square_is_what_is_seen() -> None:
    wide = np.zeros((32, 96, 3), np.uint8)
    wide[:, 32:64] = 255
    pixels = square(Image.fromarray(wide), 16)
    assert pixels.shape == (3, 16, 16)
    assert float(pixels.min()) > 0.5
