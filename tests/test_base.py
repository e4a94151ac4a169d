"""Base: what every family draws with, and what it refuses before drawing."""

from __future__ import annotations

import math

import pytest
import torch

from likewise import families
from likewise.base import Sampler, to_pictures
from likewise.errors import BaseError, DrawingError, RecipeError
from tests.bases import tiny


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"steps": 1001}, {"guidance": math.nan}, {"guidance": -1.0}, {"size": 0}, {"batch": 0}],
)
def test_settings_that_cannot_be_drawn_are_refused_at_once(settings: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        Sampler(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(RecipeError, match="a seed is a whole number"):
        next(tiny().sample(["a dog"], [seed], Sampler(steps=1)))


def test_a_size_off_the_grid_and_rows_that_do_not_match_are_refused() -> None:
    base = tiny()
    with pytest.raises(RecipeError, match="multiple of"):
        next(base.sample(["a dog"], [0], Sampler(steps=1, size=base.grid + 1)))
    with pytest.raises(RecipeError, match="whole rows"):
        next(base.sample(["a dog"], [0, 1], Sampler(steps=1)))


def test_a_picture_depends_on_its_row_alone() -> None:
    """Neither on the batch it is drawn in nor on its neighbours, as far as the arithmetic allows."""
    base = tiny()
    rows = (["a dog", "a cat", "a mug"], [3, 4, 5])
    alone = list(base.sample(*rows, Sampler(steps=2, batch=1)))
    together = list(base.sample(*rows, Sampler(steps=2, batch=3)))
    for one, other in zip(alone, together, strict=True):
        apart = torch.tensor(list(one.tobytes())).sub(torch.tensor(list(other.tobytes()))).abs().max()
        assert apart <= 1
    assert alone[0].tobytes() != alone[1].tobytes()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_is_no_picture(number: float) -> None:
    pixels = torch.ones(2, 3, 4, 4)
    pixels[1, 0, 0, 0] = number
    white, nothing = to_pictures(pixels)
    assert white is not None
    assert white.getextrema() == ((255, 255),) * 3
    assert nothing is None


@pytest.mark.parametrize("slots", [1, 2])
def test_a_picture_that_is_not_finite_is_named_after_those_before_it_were_given(slots: int) -> None:
    base = tiny()
    decode = base.decode
    broken = iter([False, False, True, False])

    def damaged(latents: torch.Tensor) -> torch.Tensor:
        pixels = decode(latents)
        return torch.stack([row * math.nan if next(broken) else row for row in pixels])

    base.decode = damaged  # type: ignore[method-assign]
    drawn = base.sample(["a dog", "a cat"] * 2, [0, 1, 2, 3], Sampler(steps=1), slots=slots)
    assert [next(drawn).size for _ in range(2)] == [(64, 64)] * 2
    with pytest.raises(DrawingError, match=r"picture 3 of 4 is not finite \('a dog', seed 2\)"):
        next(drawn)


@pytest.mark.parametrize("source", ["", "  "])
def test_a_base_without_a_name_says_so(source: str) -> None:
    with pytest.raises(BaseError, match="has no name"):
        families.load(source)
