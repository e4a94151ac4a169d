"""What is decided about a picture before it is drawn: thing, place, size, caption, labels.

Everything here is small and needs no torch, so that other processes can plan while an accelerator draws.
A planner's choices follow from the seed alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workshop import shapes, world

SIZE = 64
SCENES, COLOURS = tuple(world.SCENES), tuple(world.COLOURS)
# Centres of one to four copies, in units of the picture.
PLACES = {
    1: ((0.5, 0.56),),
    2: ((0.28, 0.56), (0.72, 0.56)),
    3: ((0.5, 0.3), (0.27, 0.7), (0.73, 0.7)),
    4: ((0.28, 0.3), (0.72, 0.3), (0.28, 0.74), (0.72, 0.74)),
}
SCALES = {1: (0.60, 0.80), 2: (0.38, 0.44), 3: (0.36, 0.42), 4: (0.34, 0.4)}
SMALL = (0.24, 0.32)
# What the backbone is taught: sizes of one to four copies and of small things, and steps of drift, in pixels of 64.
SIDES = {1: 44, 2: 24, 3: 24, 4: 24}
SMALL_SIDE, CELL = 16, 8
# How often a picture is about what. A backbone needs more crowds than a test: there is more to learn in them.
KINDS = {"scene": 0.34, "plain": 0.18, "tint": 0.18, "count": 0.18, "small": 0.12}
LESSONS = {"scene": 0.28, "plain": 0.14, "tint": 0.16, "count": 0.28, "small": 0.14}
# Art outside the world: how often nothing is said of it, and else up to where it is called by its class, by "thing", by its name.
SILENT, NOUNS = 0.1, (0.55, 0.75)


@dataclass
class Plan:
    """One picture: what is on it, in front of what."""

    cut: int
    thing: int
    style: int
    scene: int = -1
    plain: int = -1
    count: int = 1
    small: bool = False
    tint: int = -1

    def context(self) -> str:
        """The name of its scene or colour."""
        return SCENES[self.scene] if self.scene >= 0 else COLOURS[self.plain]


@dataclass
class Order:
    """A batch that only has to be painted: n pictures, m pasted copies, and what is said of them."""

    grounds: np.ndarray
    """(n, 3) whole numbers: scene or -1, which drawing of it, mirrored or not."""
    colours: np.ndarray
    """(n, 3) in 0..1, for the pictures without a scene."""
    copies: np.ndarray
    """(m, 5) whole numbers: picture, which copy in it, level of detail, cut-out, tint or -1; by picture."""
    places: np.ndarray
    """(m, 2, 3): from points of the picture to points of the cut-out, both in -1..1."""
    captions: list[str]
    labels: dict[str, np.ndarray]


class Planner:
    """Chooses pictures from the rows of ``cutouts.json``.

    ``taught`` is the part of a world that its backbone learns: one drawing of each thing of ``drawings`` in
    the world's designs, upright, in one size for each count, and moved by whole cells of latents. A drawing
    is then one set of latents wherever it stands, and not another for every shift, which a small compute
    budget pays for many times over.
    """

    def __init__(
        self,
        folder: Path,
        parts: tuple[str, ...] = ("world",),
        variants: int = 400,
        taught: bool = False,
        known: world.World = world.WORLDS["taught"],
    ) -> None:
        rows = json.loads((folder / "cutouts.json").read_text(encoding="utf-8"))
        self.kept = [i for i, r in enumerate(rows) if r["part"] in parts]
        self.taught, self.variants, self.world = taught, variants, known
        if taught:
            self.kept = [i for i in self.kept if is_taught(rows[i], known)]
        self.rows = [rows[i] for i in self.kept]
        self.names = [t.name for t in known.things]
        self.things = {t.name: t for t in known.things}
        self.by_thing: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            self.by_thing.setdefault(row["name"], []).append(i)
        self.known = [n for n in self.by_thing if n in self.things]
        self.others = [n for n in self.by_thing if n not in self.things]
        self.other_share, self.style_share, self.kinds = 0.5, 0.6, KINDS
        self.describes = False
        """Whether art outside the world is told in words; else it has no caption."""
        self.only: tuple[str, ...] = ()
        """Where set: which values of `World.held_out` a picture may have, as ("",) for what is not held out."""

    def teach(self, hold_out: bool, share: float = 0.0) -> None:
        """Plan lessons for a backbone: more crowds, things that came later twice as often, and nothing held out.

        ``share`` is that of pictures with art outside the world, where the planner has any.
        """
        self.kinds, self.only = LESSONS, ("",) if hold_out else ()
        self.describes, self.other_share = True, share
        self.known += [name for name in self.known if name in self.world.later]

    def allowed(self, row: dict[str, str], place: str) -> bool:
        """Whether `only` allows this art in a scene or on a colour."""
        return not self.only or self.world.held_out(row["name"], row["design"], place) in self.only

    def can_plan(self) -> bool:
        """Whether there is any picture that `only` allows; `plan` would look for one without end."""
        rows = [self.rows[cut] for name in (*self.known, *self.others) for cut in self.by_thing[name]]
        return any(self.allowed(row, place) for row in rows for place in (*SCENES, *COLOURS))

    def plan(self, rng: np.random.Generator) -> Plan:
        """Choose a picture; things are equally likely whatever their number of drawings."""
        while True:
            plan = self._any_plan(rng)
            if self.allowed(self.rows[plan.cut], plan.context()):
                return plan

    def _any_plan(self, rng: np.random.Generator) -> Plan:
        names = self.others if self.others and rng.random() < self.other_share else self.known
        name = names[rng.integers(len(names))]
        return self.plan_of(int(rng.choice(self.by_thing[name])), rng)

    def plan_of(self, cut: int, rng: np.random.Generator) -> Plan:
        """Choose a picture of one cut-out."""
        name = self.rows[cut]["name"]
        thing = self.names.index(name) if name in self.things else -1
        out = Plan(cut, thing, world.DESIGNS.index(self.rows[cut]["design"]))
        kind = rng.choice(list(self.kinds), p=list(self.kinds.values()))
        if kind == "plain":
            out.plain = 0 if rng.random() < 0.5 else int(rng.integers(1, len(COLOURS)))
        elif kind == "scene" or rng.random() < 0.6:
            out.scene = int(rng.integers(len(SCENES)))
        else:
            out.plain = int(rng.integers(len(COLOURS)))
        out.small = kind == "small"
        out.count = int(rng.integers(2, 5)) if kind == "count" else 1
        out.tint = int(rng.integers(len(world.TINTS))) if kind == "tint" else -1
        if out.tint >= 0 and out.plain >= 0 and world.TINTS[out.tint] == COLOURS[out.plain]:
            out.plain = 0
        return out

    def caption(self, plan: Plan, rng: np.random.Generator) -> str:
        """The sentence for a plan; synonyms and the style word come and go. Art outside the world has none."""
        if plan.thing < 0:
            return self._description(plan, rng) if self.describes else ""
        thing = self.things[self.rows[plan.cut]["name"]]
        noun = thing.many() if plan.count > 1 else thing.name
        if plan.count == 1 and thing.also and rng.random() < 0.2:
            noun = str(rng.choice(thing.also))
        style = f", {world.DESIGNS[plan.style]} style" if rng.random() < self.style_share else ""
        return sentence(plan, noun) + style

    def _description(self, plan: Plan, rng: np.random.Generator) -> str:
        """What anybody would call art outside the world; sometimes nothing at all."""
        row, chance = self.rows[plan.cut], rng.random(5)
        if chance[0] < SILENT:
            return ""
        nouns = (row["class"], "thing", row["label"] or row["class"])
        noun = nouns[int(np.searchsorted(NOUNS, chance[1], side="right"))]
        if plan.count > 1:
            noun = shapes.PLURALS.get(noun, noun + "s")
        words = ["round"] if row["round"] and chance[2] < 0.5 else []
        words += [row["colour"]] if row["colour"] and plan.tint < 0 and chance[3] < 0.65 else []
        style = f", {row['design']} style" if chance[4] < 0.4 else ""
        return sentence(plan, noun, tuple(words)) + style

    def order(self, plans: list[Plan], rng: np.random.Generator) -> Order:
        """Settle the background and the place of every copy."""
        grounds = [self._ground(plan, rng) for plan in plans]
        copies, places = [], []
        for i, plan in enumerate(plans):
            scale, mats = self._places(plan, rng)
            copies += [(i, k, int(scale < 0.5), plan.cut, plan.tint) for k in range(plan.count)]
            places.append(mats)
        return Order(
            grounds=np.array([g[:3] for g in grounds], np.int64),
            colours=np.stack([g[3] for g in grounds]),
            copies=np.array(copies, np.int64),
            places=np.concatenate(places),
            captions=[],
            labels=labels(plans),
        )

    def orders(self, n: int, seed: int) -> Order:
        """A whole batch that depends on the seed alone."""
        rng = np.random.default_rng(seed)
        plans = [self.plan(rng) for _ in range(n)]
        captions = []
        for plan in plans:
            rng.random()  # drawn once for blank captions, and still drawn so that a seed keeps its pictures
            captions.append(self.caption(plan, rng))
        order = self.order(plans, rng)
        order.captions = captions
        return order

    def _ground(self, plan: Plan, rng: np.random.Generator) -> tuple[int, int, bool, np.ndarray]:
        """Scene, drawing, mirrored, and the colour where there is no scene."""
        if plan.scene >= 0:
            variant = int(rng.integers(self.variants))
            return plan.scene, variant, bool(rng.random() < 0.5), np.zeros(3, np.float32)
        colour = np.array(world.COLOURS[COLOURS[plan.plain]], np.float32) / 255
        jitter = 0 if plan.plain == 0 else rng.normal(0, 0.02, 3)
        return -1, 0, False, np.clip(colour + jitter, 0, 1).astype(np.float32)

    def _places(self, plan: Plan, rng: np.random.Generator) -> tuple[float, np.ndarray]:
        """The size of the copies in units of the picture, and one 2 x 3 sampling matrix for each."""
        low, high = SMALL if plan.small else SCALES[plan.count]
        scale, flip = rng.uniform(low, high), rng.choice([-1.0, 1.0])
        if self.taught:
            scale = (SMALL_SIDE if plan.small else SIDES[plan.count]) / SIZE
        drift = 0.2 if plan.small else 0.09 if plan.count == 1 else 0.02
        mats = []
        for x, y in PLACES[plan.count]:
            turn = np.radians(rng.uniform(-8, 8))
            right, down = rng.uniform(-drift, drift), rng.uniform(-drift, drift) * 0.7
            if self.taught:
                turn, right, down = 0.0, *(round(v * SIZE / CELL) * CELL / SIZE for v in (right, down))
            cx, cy = 2 * (x + right) - 1, 2 * (y + down) - 1
            spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale
            spin[0] *= flip
            mats.append(np.concatenate([spin, -spin @ np.array([[cx], [cy]])], 1))
        return scale, np.stack(mats).astype(np.float32)


def is_taught(row: dict[str, str], known: world.World) -> bool:
    """Whether the backbone of a world is taught a cut-out: its things' drawings, and art that is not held out."""
    if row["part"] == "world":
        return row["design"] in known.designs and known.drawings.get(row["name"]) == row["code"]
    return not shapes.held_shape(row["code"])


def sentence(plan: Plan, noun: str, more: tuple[str, ...] = ()) -> str:
    """The caption with this noun and what ``more`` is said of it, without a style."""
    words = ["small"] if plan.small else []
    words += more
    words += [world.TINTS[plan.tint]] if plan.tint >= 0 else []
    words.append(noun)
    words.insert(0, world.NUMBERS[plan.count - 1] if plan.count > 1 else world.article(words[0]))
    words.append(world.SCENES[SCENES[plan.scene]] if plan.scene >= 0 else background(COLOURS[plan.plain]))
    return " ".join(words)


def background(colour: str) -> str:
    return f"on {world.article(colour)} {colour} background"


def labels(plans: list[Plan]) -> dict[str, np.ndarray]:
    """Exact labels (-1: not set); scene 12 stands for a plain background."""
    columns = {
        "scene": [p.scene if p.scene >= 0 else len(SCENES) for p in plans],
        "plain": [p.plain for p in plans],
        "count": [p.count - 1 for p in plans],
        "tint": [p.tint if p.tint >= 0 else len(world.TINTS) for p in plans],
        "small": [int(p.small) for p in plans],
        "style": [p.style for p in plans],
        "thing": [p.thing for p in plans],
        "cut": [p.cut for p in plans],
    }
    return {k: np.array(v, np.int64) for k, v in columns.items()}
