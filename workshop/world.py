"""The small world of the pocket model: things, designs, scenes, colours.

Captions, labels and the art selection all follow from these tables and from things.txt; nothing else
names a thing. The order of things, designs, scenes and colours is that of the judge's heads: add at the end.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

DESIGNS = ("fluent", "flat", "noto", "blob", "twemoji", "emojione")

# Faces of smiling, pouting, weary cats: kept out of all training so that they can be taught later.
HELD_OUT = tuple(f"{code:x}" for code in range(0x1F638, 0x1F641))

SCENES = {
    "beach": "on a beach",
    "snow": "in the snow",
    "forest": "in a forest",
    "mountains": "in the mountains",
    "city": "in a city",
    "space": "in space",
    "underwater": "under water",
    "desert": "in the desert",
    "night": "at night",
    "garden": "in a garden",
    "room": "in a room",
    "road": "on a road",
}

COLOURS = {
    "white": (255, 255, 255),
    "black": (24, 24, 28),
    "gray": (150, 152, 156),
    "red": (222, 48, 48),
    "orange": (247, 142, 32),
    "yellow": (252, 214, 50),
    "green": (62, 172, 76),
    "blue": (48, 118, 226),
    "purple": (142, 72, 196),
    "pink": (250, 148, 192),
}
TINTS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
NUMBERS = ("one", "two", "three", "four")
RARE = ("sks", "ohwx", "zwx", "qrt", "vtk", "xjy", "bnz", "kpf")


@dataclass(frozen=True)
class Thing:
    """One noun: how captions call it and which emoji show it."""

    name: str
    codes: tuple[str, ...]
    plural: str = ""
    also: tuple[str, ...] = ()

    def many(self) -> str:
        return self.plural or self.name + "s"


def _thing(line: str) -> Thing:
    """Parse ``name[/plural] [=synonym...] code...``."""
    words = line.split()
    name, _, plural = words[0].partition("/")
    return Thing(
        name=name,
        plural=plural,
        also=tuple(w[1:] for w in words[1:] if w.startswith("=")),
        codes=tuple(w for w in words[1:] if not w.startswith("=")),
    )


def _things(text: str) -> tuple[Thing, ...]:
    return tuple(_thing(line) for line in text.splitlines() if line.strip() and not line.startswith("#"))


THINGS = _things("""
cat =kitty 1f408 1f431
dog =puppy 1f415 1f436
bird 1f426
duck 1f986
fish/fish 1f41f 1f420
horse =pony 1f40e 1f434
rabbit =bunny 1f407 1f430
bear 1f43b
panda 1f43c
lion 1f981
elephant 1f418
monkey 1f412 1f435
penguin 1f427
owl 1f989
turtle =tortoise 1f422
frog 1f438
dragon 1f409 1f432
dinosaur =dino 1f995 1f996
unicorn 1f984
car =automobile 1f697 1f699
bus/buses 1f68c 1f68d
bicycle =bike 1f6b2
airplane =plane 2708
rocket =spaceship 1f680
boat =sailboat 26f5
robot 1f916
toy =teddy 1f9f8
house =home 1f3e0 1f3e1
tree 1f333 1f332
flower 1f33b 1f33c
cactus/cactuses 1f335
mushroom =toadstool 1f344
apple 1f34e
banana 1f34c
pizza 1f355
burger =hamburger 1f354
cake 1f382 1f370
mug =cup 2615
guitar 1f3b8
ball 26bd 1f3c0
clock =alarm 23f0
book 1f4d5 1f4d8
hat 1f3a9 1f452
shoe =sneaker 1f45f
crown 1f451
umbrella 2602
backpack =rucksack 1f392
chair =seat 1fa91
person/people =human 1f9cd 1f9d1
ghost =spook 1f47b
star 2b50
heart 2764
moon =crescent 1f319
""")

# What the first backbone is taught: one drawing of each thing in few designs, as many as two processor cores
# learn well. Animals show their faces, which are large and simple.
TAUGHT = {
    "cat": "1f431",
    "dog": "1f436",
    "rabbit": "1f430",
    "bear": "1f43b",
    "panda": "1f43c",
    "monkey": "1f435",
    "frog": "1f438",
    "owl": "1f989",
    "penguin": "1f427",
    "fish": "1f420",
    "car": "1f697",
    "bus": "1f68c",
    "rocket": "1f680",
    "boat": "26f5",
    "robot": "1f916",
    "house": "1f3e0",
    "tree": "1f333",
    "flower": "1f33c",
    "mushroom": "1f344",
    "apple": "1f34e",
    "mug": "2615",
    "ball": "1f3c0",
    "star": "2b50",
    "heart": "2764",
}

# Taught when the others were known, which had been shown everywhere in both designs: what is held out is of these.
LATER = {
    "bird": "1f426",
    "dragon": "1f432",
    "person": "1f9d1",
    "toy": "1f9f8",
    "duck": "1f986",
    "dinosaur": "1f995",
    "chair": "1fa91",
    "bicycle": "1f6b2",
    "lion": "1f981",
    "banana": "1f34c",
    "crown": "1f451",
    "umbrella": "2602",
}


@dataclass(frozen=True)
class World:
    """What pictures are composed of, and which of it the backbone is taught to draw."""

    name: str
    things: tuple[Thing, ...]
    """All things: their art teaches the autoencoder, the towers and the judge."""
    drawings: dict[str, str]
    """Which emoji the backbone is taught for a thing; a thing that is not here it never sees."""
    designs: tuple[str, ...]
    """In which designs the backbone is taught."""
    later: frozenset[str] = frozenset()
    """Things that came when the others were known: lessons have them twice as often, and only they are held out."""

    def held_out(self, thing: str, design: str, context: str) -> str:
        """As `held_out` says, of the things that it is true of: of all, where none came later."""
        return held_out(thing, design, context) if not self.later or thing in self.later else ""


def _worlds() -> dict[str, World]:
    """The small world of the shipped model, and the whole one, for an accelerator."""
    things = THINGS + _things((Path(__file__).parent / "things.txt").read_text(encoding="utf-8"))
    taught = TAUGHT | LATER
    drawings = {t.name: taught.get(t.name, t.codes[0]) for t in things}
    # Flat has the drawings of fluent: five designs are drawn independently.
    designs = ("fluent", "noto", "blob", "twemoji", "emojione")
    return {
        "taught": World("taught", THINGS, taught, ("noto", "twemoji"), frozenset(LATER)),
        "whole": World("whole", things, drawings, designs),
    }


WORLDS = _worlds()

# Single pictures dropped after looking at the contact sheets: "design code".
DROPPED: frozenset[str] = frozenset({"blob 1f431", "blob 1f3c0", "emojione 1f3c0"})


def held_out(thing: str, design: str, context: str) -> str:
    """Whether a combination is kept from a backbone that is trained with ``--hold-out``, and why.

    ``style``: the thing is never shown in this design (one pair in 25). ``combination``: never in this design
    in this scene or on this colour (one of ten of the rest). Empty: it is taught. A rule of the names alone,
    so that it holds for every world, process and version.
    """
    if one_of(25, thing, design):
        return "style"
    return "combination" if one_of(10, thing, design, context) else ""


def one_of(count: int, *words: str) -> bool:
    """Whether words are among one in ``count``, by their checksum."""
    return zlib.crc32(" ".join(words).encode()) % count == 0


def article(word: str) -> str:
    """``an`` by sound: a unicorn, a ewe, an hourglass."""
    vowel = word[0] in "aeiou" and not word.startswith(("unic", "ewe"))
    return "an" if vowel or word.startswith("hour") else "a"
