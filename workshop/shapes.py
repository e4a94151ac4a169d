"""What is said of a cut-out that is no thing of the world: its class, its colour, whether it is round, its name.

A backbone that knows only named things draws nothing else. So it is also taught some thousands of cut-outs by
what anybody would call them, and by no words at all, and a new concept lies between shapes that it has met.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np

from workshop import world

# The class words of emojibase's subgroups; what is in none of them is a thing. All are whole tokens of the text tower,
# and none is the name of a thing of the world, which must keep its meaning.
CLASSES = {
    "face": range(12),
    "symbol": (14, 15, 61),
    "hand": range(16, 22),
    "body": (22,),
    "figure": range(23, 32),
    "animal": (13, *range(34, 40)),
    "plant": (40, 41),
    "fruit": (42,),
    "food": range(43, 47),
    "drink": (47,),
    "building": range(51, 54),
    "vehicle": range(54, 57),
    "clothing": (65,),
    "instrument": (68,),
    "tool": (77, 78),
}
PARTS = ("other", "more")  # of the cut-outs
GROUPS = (0, 1, 3, 4, 5, 6, 7)
CATS = 12  # the subgroup of the smiling cats
PLURALS = {"clothing": "clothing", "body": "bodies"}
CLEAR = 0.4  # share of a cut-out's surface that has the colour it is called by
SHARE = 0.3  # of the backbone's pictures
HELD = 25  # one code in so many is kept from all training of the backbone


def held_shape(code: str) -> bool:
    """Whether all drawings of an emoji are kept from the backbone: a rule of the code alone."""
    return world.one_of(HELD, "shape", code)


def class_of(subgroup: int) -> str:
    return next((word for word, numbers in CLASSES.items() if subgroup in numbers), "thing")


def name_of(label: str) -> str:
    """The name where it is one or two plain words, neither of which is a thing of the world."""
    words = label.lower().split()
    known = {word for thing in world.THINGS for word in (thing.name, thing.many(), *thing.also)}
    plain = all(word.isalpha() and word.isascii() and word not in known for word in words)
    return " ".join(words) if plain and len(words) <= 2 else ""


def describe(cut: np.ndarray, facts: Mapping[str, object]) -> dict[str, object]:
    """What is said of an RGBA cut-out whose emoji has these facts in emojibase."""
    said = {"class": class_of(int(facts["subgroup"])), "label": name_of(str(facts["label"]))}
    return said | {"colour": colour_of(cut), "round": is_round(cut)}


def hue_name(red: float, green: float, blue: float) -> str:
    """The word for a colour in 0..1."""
    hue, strength, light = colorsys.rgb_to_hsv(red, green, blue)
    hue *= 360
    if strength < 0.16 or light < 0.16:
        return "white" if light > 0.85 else "black" if light < 0.3 else "gray"
    if (hue < 20 or hue >= 345) and strength < 0.5 and light > 0.8:
        return "pink"
    if 12 <= hue < 45 and light < 0.68:
        return "brown"
    limits = {"red": 14, "orange": 41, "yellow": 68, "green": 165, "blue": 252, "purple": 290, "pink": 345}
    return next((name for name, limit in limits.items() if hue < limit), "red")


def colour_of(cut: np.ndarray) -> str:
    """The colour of the most part of a cut-out; empty where none has enough."""
    pixels = cut[::2, ::2][cut[::2, ::2, 3] > 128][:, :3] // 16
    counts: dict[str, int] = {}
    for colour, count in zip(*np.unique(pixels, axis=0, return_counts=True), strict=True):
        name = hue_name(*((colour * 16 + 8) / 255))
        counts[name] = counts.get(name, 0) + int(count)
    name = max(counts, key=lambda word: counts[word], default="")
    return name if counts and counts[name] >= CLEAR * sum(counts.values()) else ""


def is_round(cut: np.ndarray) -> bool:
    """As high as wide, and covering as much of its box as a disc does."""
    solid = cut[..., 3] > 128
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not len(rows):
        return False
    high, wide = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    disc = float(solid.sum() / (high * wide))
    return bool(abs(high - wide) <= 0.08 * max(high, wide) and abs(disc - np.pi / 4) < 0.04)
