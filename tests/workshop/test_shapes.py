"""What is said of cut-outs that are no things of the world."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from workshop import shapes, world


def cut(colour: tuple[int, int, int], box: tuple[int, int, int, int], form: str = "ellipse") -> np.ndarray:
    picture = Image.new("RGBA", (128, 128))
    getattr(ImageDraw.Draw(picture), form)(box, fill=(*colour, 255))
    return np.asarray(picture)


@pytest.mark.parametrize("name", world.COLOURS)
def test_a_colour_of_the_world_is_called_by_its_name(name: str) -> None:
    assert shapes.colour_of(cut(world.COLOURS[name], (4, 4, 124, 124))) == name


def test_brown_is_a_dark_orange() -> None:
    assert shapes.colour_of(cut((121, 72, 40), (4, 4, 124, 124))) == "brown"


def test_what_has_many_colours_is_called_by_none() -> None:
    parts = [cut(world.COLOURS[name], (0, 0, 127, 127), "rectangle") for name in ("red", "green", "blue")]
    mixed = np.concatenate([part[:, :42] for part in parts], axis=1)
    assert shapes.colour_of(mixed) == ""


def test_a_disc_is_round_and_a_square_or_an_egg_is_not() -> None:
    red = world.COLOURS["red"]
    assert shapes.is_round(cut(red, (4, 4, 124, 124)))
    assert not shapes.is_round(cut(red, (4, 4, 124, 124), "rectangle"))
    assert not shapes.is_round(cut(red, (24, 4, 104, 124)))


def test_class_words_are_no_things_of_the_world() -> None:
    words = {
        word for thing in world.WORLDS["taught"].things for word in (thing.name, thing.many(), *thing.also)
    }
    assert not set(shapes.CLASSES) & words
    assert shapes.class_of(34) == "animal"
    assert shapes.class_of(99) == "thing"


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("hedgehog", "hedgehog"),
        ("Green salad", "green salad"),
        ("police car", ""),
        ("a b c", ""),
        ("person: red hair", ""),
    ],
)
def test_a_name_is_short_and_holds_no_thing_of_the_world(label: str, name: str) -> None:
    assert shapes.name_of(label) == name


def test_about_one_shape_in_twentyfive_is_held_out() -> None:
    held = [shapes.held_shape(f"{code:x}") for code in range(0x1F300, 0x1F700)]
    assert 0.02 < sum(held) / len(held) < 0.06
