"""Pictures for the judge's sense of individuals: groups that are alike in class and colour, seen again in other places.

A group is `MEMBERS` individuals that differ in one respect alone: their form, their colours or their marks. Its members are each
other's hard negatives. Every view stands on a ground of its own, at a place and size of its own, once or twice.
"""

from __future__ import annotations

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workshop import shapes, world
from workshop.compose import light, premultiplied, recolour
from workshop.individuals import VIEWS
from workshop.scenes import bank
from workshop.surfaces import SIZE

MEMBERS, SEEN = 5, 4
"""Individuals of a group, and pictures of each."""
PARTS = 5
SOURCES = {"body": 0.55, "portrait": 0.2, "cut": 0.25}
DIFFERENCES = {"form": 0.68, "colour": 0.16, "mark": 0.16}
LEAST_ALIKE = 2
"""Cut-outs of one design and class that a group needs."""


@dataclass
class Seen:
    """Pictures [n, 3, 64, 64] in [-1, 1], what their subjects cover [n, 1, 64, 64], and a number for who each is [n]."""

    pixels: Tensor
    cover: Tensor
    who: Tensor


@dataclass
class Paint:
    """Colours of a body's parts (5, 3) in 0..1, and marks: a kind, a direction times frequency, a limit, a colour."""

    parts: np.ndarray
    kind: int
    waves: np.ndarray
    limit: float
    mark: np.ndarray


class Lineup:
    """Draws groups from what `individuals` rendered and from the cut-outs; `held` takes what is never taught instead."""

    def __init__(self, folder: Path, held: bool = False, variants: int = 400) -> None:
        found = json.loads((folder / "individuals.json").read_text(encoding="utf-8"))
        self.bodies = np.load(folder / "bodies.npy", mmap_mode="r")
        self.portraits = np.load(folder / "portraits.npy", mmap_mode="r")
        self.kinds = _grouped(found["bodies"], held)
        self.companies = _grouped(found["portraits"], held)
        self._take_cuts(folder, held)
        self.scenes = np.load(_scenes(folder, variants), mmap_mode="r")
        there = {"body": self.kinds, "portrait": self.companies, "cut": self.alike}
        self.sources = [source for source in SOURCES if there[source]]
        self.hues = torch.tensor([world.COLOURS[tint] for tint in world.TINTS]) / 255

    def _take_cuts(self, folder: Path, held: bool) -> None:
        rows = json.loads((folder / "cutouts.json").read_text(encoding="utf-8"))
        kept = [
            k
            for k, row in enumerate(rows)
            if row["part"] in shapes.PARTS and shapes.held_shape(row["code"]) == held
        ]
        self.cuts = premultiplied(np.load(folder / "cutouts.npy", mmap_mode="r"), kept, SIZE)
        self.lights = torch.stack([light(cut) for cut in self.cuts])
        alike: dict[str, list[int]] = {}
        for place, k in enumerate(kept):
            alike.setdefault(f"{rows[k]['design']} {rows[k]['class']}", []).append(place)
        self.alike = {name: places for name, places in alike.items() if len(places) >= LEAST_ALIKE}

    def batch(self, groups: int, seed: int) -> Seen:
        """A batch that depends on the seed alone: `groups` times `MEMBERS` times `SEEN` pictures."""
        rng = np.random.default_rng(seed)
        often = np.array([SOURCES[source] for source in self.sources])
        chosen = rng.choice(self.sources, groups, p=often / often.sum())
        return together([self.group(rng, str(source)) for source in chosen])

    def group(self, rng: np.random.Generator, source: str, members: int = MEMBERS, seen: int = SEEN) -> Seen:
        """Individuals of one source that are alike but for one respect."""
        difference = str(rng.choice(list(DIFFERENCES), p=list(DIFFERENCES.values())))
        layers, who = getattr(self, f"_{source}")(rng, difference, members, seen)
        pixels, cover = self.place(layers, rng)
        return Seen(pixels, cover, torch.from_numpy(who))

    def _body(
        self, rng: np.random.Generator, difference: str, members: int, seen: int
    ) -> tuple[Tensor, np.ndarray]:
        own = [kind for kind in self.kinds if kind != "object"]
        kind = (
            "object" if "object" in self.kinds and (rng.random() < 0.4 or not own) else str(rng.choice(own))
        )
        rows = self.kinds[kind]
        paint = a_paint(rng)
        if difference == "form":
            chosen, paints = rng.choice(rows, min(members, len(rows)), replace=False), [paint] * members
        else:
            chosen = np.repeat(rng.choice(rows, 2, replace=False), -(-members // 2))[:members]
            paints = [repainted(paint, difference, rng) for _ in range(members)]
        who = np.repeat(np.arange(len(chosen)), seen)
        views = np.concatenate([row * VIEWS + rng.choice(VIEWS, seen, replace=False) for row in chosen])
        surfaces = torch.from_numpy(np.stack([self.bodies[view] for view in views]))
        return painted(surfaces, [paints[k] for k in who]), who

    def _portrait(
        self, rng: np.random.Generator, _: str, members: int, seen: int
    ) -> tuple[Tensor, np.ndarray]:
        rows = self.companies[str(rng.choice(list(self.companies)))]
        chosen = rng.choice(rows, min(members, len(rows)), replace=False)
        views = np.concatenate([row * VIEWS + rng.choice(VIEWS, seen, replace=False) for row in chosen])
        layers = (
            torch.from_numpy(np.stack([self.portraits[view] for view in views])).permute(0, 3, 1, 2).float()
            / 255
        )
        return torch.cat([layers[:, :3] * layers[:, 3:], layers[:, 3:]], 1), np.repeat(
            np.arange(len(chosen)), seen
        )

    def _cut(
        self, rng: np.random.Generator, difference: str, members: int, seen: int
    ) -> tuple[Tensor, np.ndarray]:
        rows = self.alike[str(rng.choice(list(self.alike)))]
        if difference == "form":
            chosen = rng.choice(rows, min(members, len(rows)), replace=False)
            tints = np.full(len(chosen), rng.integers(len(self.hues)) if rng.random() < 0.6 else -1)
        else:
            chosen = np.repeat(rng.choice(rows), min(members, len(self.hues)))
            tints = rng.permutation(len(self.hues))[: len(chosen)]
        layers = self.cuts[torch.from_numpy(np.asarray(chosen))].clone()
        dyed = torch.from_numpy(np.flatnonzero(tints >= 0))
        if len(dyed):
            lights = self.lights[torch.from_numpy(np.asarray(chosen))][dyed]
            layers[dyed] = recolour(layers[dyed], lights, self.hues[torch.from_numpy(tints)[dyed]])
        who = np.repeat(np.arange(len(chosen)), seen)
        return layers[torch.from_numpy(who)], who

    def place(self, layers: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Put each layer [n, 4, 64, 64] on a ground of its own: pixels in [-1, 1] and cover."""
        n = len(layers)
        layers = layers * torch.cat([_lit(n, rng), torch.ones(n, 1, 1, 1)], 1)
        layers[:, :3] = torch.minimum(layers[:, :3], layers[:, 3:])
        canvas, cover = self._grounds(n, rng), torch.zeros(n, 1, SIZE, SIZE)
        twice = rng.random(n) < 0.12
        for copy in (0, 1):
            rows = np.flatnonzero(twice) if copy else np.arange(n)
            if not len(rows):
                continue
            mats = _places(rng, len(rows), twice[rows], copy)
            grid = F.affine_grid(torch.from_numpy(mats), [len(rows), 4, SIZE, SIZE], align_corners=False)
            pasted = F.grid_sample(layers[torch.from_numpy(rows)], grid, align_corners=False)
            at = torch.from_numpy(rows)
            canvas[at] = canvas[at] * (1 - pasted[:, 3:]) + pasted[:, :3]
            cover[at] = torch.maximum(cover[at], pasted[:, 3:])
        return canvas.clamp(0, 1) * 2 - 1, cover

    def _grounds(self, n: int, rng: np.random.Generator) -> Tensor:
        scene, variant = rng.integers(len(self.scenes), size=n), rng.integers(self.scenes.shape[1], size=n)
        drawn = np.stack([self.scenes[a, b] for a, b in zip(scene, variant, strict=True)])
        drawn = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255
        names = list(world.COLOURS)
        colours = np.array([world.COLOURS[names[k]] for k in rng.integers(len(names), size=n)]) / 255
        colours = (colours + rng.normal(0, 0.05, colours.shape)).clip(0, 1)
        plain = torch.from_numpy(colours).float().view(n, 3, 1, 1).expand(-1, -1, SIZE, SIZE)
        return torch.where(torch.from_numpy(rng.random(n) < 0.3).view(n, 1, 1, 1), plain, drawn).contiguous()


def together(parts: list[Seen]) -> Seen:
    """One batch of several groups, whose individuals stay apart."""
    who, first = [], 0
    for part in parts:
        who.append(part.who + first)
        first += int(part.who.max()) + 1
    return Seen(torch.cat([p.pixels for p in parts]), torch.cat([p.cover for p in parts]), torch.cat(who))


def _grouped(rows: list[dict[str, Any]], held: bool) -> dict[str, np.ndarray]:
    found: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row["held"] == held:
            found.setdefault(row["kind"], []).append(place)
    return {kind: np.array(places) for kind, places in found.items() if len(places) > 1}


def _scenes(folder: Path, variants: int) -> Path:
    path = folder / f"scenes_{SIZE}_{variants}.npy"
    bank(path, variants, SIZE)
    return path


def a_colour(rng: np.random.Generator) -> np.ndarray:
    """One in five is without hue."""
    if rng.random() < 0.2:
        return np.full(3, rng.choice([0.12, 0.35, 0.6, 0.92]))
    return np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.45, 1), rng.uniform(0.45, 1)))


def a_paint(rng: np.random.Generator) -> Paint:
    """Few colours for all parts; half the bodies have marks."""
    few = [a_colour(rng) for _ in range(int(rng.integers(1, 4)))]
    parts = np.stack([few[0], *(few[int(rng.integers(len(few)))] for _ in range(PARTS - 1))])
    if rng.random() < 0.6:
        parts[4] = rng.choice([0.08, 0.95])
    direction = rng.normal(size=3)
    waves = direction / np.linalg.norm(direction) * rng.uniform(3, 14)
    return Paint(
        parts,
        int(rng.integers(1, 4)) if rng.random() < 0.5 else 0,
        waves,
        rng.uniform(-0.3, 0.4),
        a_colour(rng),
    )


def repainted(paint: Paint, difference: str, rng: np.random.Generator) -> Paint:
    """The same with another colour on one of its two largest parts, or with other marks in the same colours."""
    other = a_paint(rng)
    if difference == "mark":
        return Paint(paint.parts, int(rng.integers(0, 4)), other.waves, other.limit, paint.mark)
    parts = paint.parts.copy()
    parts[int(rng.integers(2))] = a_colour(rng)
    return Paint(parts, paint.kind, paint.waves, paint.limit, paint.mark)


def painted(surfaces: Tensor, paints: list[Paint]) -> Tensor:
    """Bytes [n, 6, 64, 64] of `surfaces` as premultiplied colours [n, 4, 64, 64] in 0..1."""
    values = surfaces.float() / 255
    part = surfaces[:, 4].long().clamp(max=PARTS - 1)
    table = torch.from_numpy(np.stack([p.parts for p in paints])).float()
    colour = table.gather(1, part.flatten(1).unsqueeze(2).expand(-1, -1, 3)).view(
        len(paints), *part.shape[1:], 3
    )
    place = (values[:, 1:4] * 2 - 1).permute(0, 2, 3, 1)
    waves = torch.from_numpy(np.stack([p.waves for p in paints])).float().view(-1, 1, 1, 3)
    kind = torch.tensor([p.kind for p in paints]).view(-1, 1, 1)
    limit = torch.tensor([p.limit for p in paints]).view(-1, 1, 1)
    along = (place * waves).sum(3)
    spots = (place * waves.norm(dim=3, keepdim=True)).sin().prod(3) * 2
    half = along / waves.norm(dim=3) * 2
    level = torch.where(kind == 1, along.sin(), torch.where(kind == 2, spots, half))
    marked = (kind > 0) & (level > limit) & (part < 2)
    mark = torch.from_numpy(np.stack([p.mark for p in paints])).float().view(-1, 1, 1, 3)
    colour = torch.where(marked.unsqueeze(3), mark, colour).permute(0, 3, 1, 2) * values[:, :1]
    return torch.cat([colour * values[:, 5:], values[:, 5:]], 1)


def _lit(n: int, rng: np.random.Generator) -> Tensor:
    """A brightness for each picture, a little warmer or colder."""
    gain = rng.uniform(0.78, 1.15, (n, 1)) * rng.uniform(0.95, 1.05, (n, 3))
    return torch.from_numpy(gain).float().view(n, 3, 1, 1)


def _places(rng: np.random.Generator, n: int, twice: np.ndarray, copy: int) -> np.ndarray:
    """(n, 2, 3): from points of the picture to points of the layer."""
    side = np.where(
        twice,
        rng.uniform(22, 30, n),
        np.where(rng.random(n) < 0.1, rng.uniform(16, 26, n), rng.uniform(32, 58, n)),
    )
    scale = side / SIZE
    room = np.maximum(0.06, 0.9 * (1 - scale))
    x, y = (rng.uniform(-1, 1, (2, n)) * room * [[1], [0.8]]) + [[0.0], [0.06]]
    x = np.where(twice, (-0.46, 0.46)[copy] + rng.uniform(-0.05, 0.05, n), x)
    y = np.where(twice, rng.uniform(-0.25, 0.25, n), y)
    turn = np.radians(rng.normal(0, 7, n))
    spin = (
        np.stack([np.stack([np.cos(turn), np.sin(turn)], 1), np.stack([-np.sin(turn), np.cos(turn)], 1)], 1)
        / scale[:, None, None]
    )
    spin[:, 0] *= np.where(rng.random(n) < 0.12, -1, 1)[:, None]
    return np.concatenate([spin, -spin @ np.stack([x, y], 1)[..., None]], 2).astype(np.float32)
