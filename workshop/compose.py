"""Step 3: captioned pictures with exact labels, composed on the fly.

A ``Composer`` turns a seed into a batch: cut-outs are placed, turned, tinted and counted on drawn
scenes or plain colours, and the same choices give the caption and the labels.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from workshop import world
from workshop.common import SIZE, work
from workshop.scenes import bank

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


@dataclass
class Batch:
    """Pictures in [-1, 1], their captions, one label tensor per attribute (-1: not set) and where things are."""

    pixels: torch.Tensor
    captions: list[str]
    labels: dict[str, torch.Tensor]
    cover: torch.Tensor
    """Share of each pixel that a thing covers, (n, 1, size, size)."""


@dataclass
class Plan:
    """Everything that is decided about one picture before it is drawn."""

    cut: int
    thing: int
    style: int
    scene: int = -1
    plain: int = -1
    count: int = 1
    small: bool = False
    tint: int = -1


class Composer:
    """Draws batches from the cut-outs and the scene bank of a work folder.

    ``taught`` is the part of the world that the backbone learns: one drawing of each thing of `TAUGHT` in
    `TAUGHT_DESIGNS`, upright, in one size for each count, and moved by whole cells of latents. A drawing
    is then one set of latents wherever it stands, and not another for every shift, which a small compute
    budget pays for many times over.
    """

    def __init__(
        self,
        folder: Path,
        parts: tuple[str, ...] = ("world",),
        size: int = SIZE,
        variants: int = 400,
        taught: bool = False,
    ) -> None:
        rows = json.loads((folder / "cutouts.json").read_text(encoding="utf-8"))
        keep = [i for i, r in enumerate(rows) if r["part"] in parts]
        self.taught = taught
        if taught:
            keep = [
                i
                for i in keep
                if rows[i]["design"] in world.TAUGHT_DESIGNS
                and world.TAUGHT.get(rows[i]["name"]) == rows[i]["code"]
            ]
        self.rows = [rows[i] for i in keep]
        pictures = torch.from_numpy(np.load(folder / "cutouts.npy", mmap_mode="r")[keep])
        self.levels = [premultiplied(pictures, size), premultiplied(pictures, size // 2)]
        self.scenes = bank(folder / f"scenes_{size}_{variants}.npy", variants, size)
        self.size = size
        self.names = [t.name for t in world.THINGS]
        self.things = {t.name: t for t in world.THINGS}
        self.by_thing: dict[str, list[int]] = {}
        for i, row in enumerate(self.rows):
            self.by_thing.setdefault(row["name"], []).append(i)
        self.known = [n for n in self.by_thing if n in self.things]
        self.others = [n for n in self.by_thing if n not in self.things]
        self.other_share = 0.5

    def plan(self, rng: np.random.Generator) -> Plan:
        """Choose a picture; things are equally likely whatever their number of drawings."""
        names = self.others if self.others and rng.random() < self.other_share else self.known
        name = names[rng.integers(len(names))]
        cut = int(rng.choice(self.by_thing[name]))
        thing = self.names.index(name) if name in self.names else -1
        out = Plan(cut, thing, world.DESIGNS.index(self.rows[cut]["design"]))
        kind = rng.choice(["scene", "plain", "tint", "count", "small"], p=[0.45, 0.30, 0.10, 0.08, 0.07])
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
            return ""
        thing = self.things[self.rows[plan.cut]["name"]]
        noun = thing.many() if plan.count > 1 else thing.name
        if plan.count == 1 and thing.also and rng.random() < 0.2:
            noun = str(rng.choice(thing.also))
        words = ["small"] if plan.small else []
        words += [world.TINTS[plan.tint]] if plan.tint >= 0 else []
        words.append(noun)
        words.insert(0, world.NUMBERS[plan.count - 1] if plan.count > 1 else world.article(words[0]))
        words.append(world.SCENES[SCENES[plan.scene]] if plan.scene >= 0 else background(COLOURS[plan.plain]))
        style = f", {world.DESIGNS[plan.style]} style" if rng.random() < 0.6 else ""
        return " ".join(words) + style

    def ground(self, plan: Plan, rng: np.random.Generator) -> np.ndarray:
        """The picture behind the things, (size, size, 3) in 0..1."""
        if plan.scene >= 0:
            picture = self.scenes[plan.scene, rng.integers(self.scenes.shape[1])]
            picture = picture[:, ::-1] if rng.random() < 0.5 else picture
            return picture.astype(np.float32) / 255
        colour = np.array(world.COLOURS[COLOURS[plan.plain]], np.float32) / 255
        jitter = 0 if plan.plain == 0 else rng.normal(0, 0.02, 3)
        return np.broadcast_to(np.clip(colour + jitter, 0, 1).astype(np.float32), (self.size, self.size, 3))

    def sprites(self, plan: Plan, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
        """The cut-out (premultiplied, tinted) and one 2x3 sampling matrix for each copy."""
        low, high = SMALL if plan.small else SCALES[plan.count]
        scale, flip = rng.uniform(low, high), rng.choice([-1.0, 1.0])
        if self.taught:
            scale = (SMALL_SIDE if plan.small else SIDES[plan.count]) / SIZE
        cut = self.levels[scale < 0.5][plan.cut]
        if plan.tint >= 0:
            cut = recolour(cut, world.COLOURS[world.TINTS[plan.tint]])
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
        return cut, np.stack(mats).astype(np.float32)

    @torch.no_grad()
    def draw(self, plans: list[Plan], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Paint the plans: (n, 3, size, size) in [-1, 1], and what things cover, (n, 1, size, size)."""
        canvas = torch.from_numpy(np.stack([self.ground(p, rng) for p in plans])).permute(0, 3, 1, 2)
        pieces = []
        for i, plan in enumerate(plans):
            cut, mats = self.sprites(plan, rng)
            pieces += [(i, cut, mat) for mat in mats]
        canvas = canvas.clone()
        cover = torch.zeros(len(plans), 1, self.size, self.size)
        for side in {cut.shape[-1] for _, cut, _ in pieces}:
            group = [p for p in pieces if p[1].shape[-1] == side]
            mats = torch.from_numpy(np.stack([m for _, _, m in group]))
            grid = F.affine_grid(mats, [len(group), 4, self.size, self.size], align_corners=False)
            layer = F.grid_sample(torch.stack([c for _, c, _ in group]), grid, align_corners=False)
            soft = F.avg_pool2d(F.pad(layer[:, 3:], (2, 2, 4, 0), mode="replicate"), 5, 1)
            for k, (i, _, _) in enumerate(group):
                if plans[i].scene >= 0:
                    canvas[i] *= 1 - 0.28 * soft[k]
                canvas[i] = canvas[i] * (1 - layer[k, 3]) + layer[k, :3]
                cover[i] = torch.maximum(cover[i], layer[k, 3:])
        return canvas.clamp(0, 1) * 2 - 1, cover

    def batch(self, n: int, seed: int, empty: float = 0.0) -> Batch:
        """A batch that depends on the seed alone; ``empty`` is the share of blank captions."""
        rng = np.random.default_rng(seed)
        plans = [self.plan(rng) for _ in range(n)]
        captions = ["" if rng.random() < empty else self.caption(p, rng) for p in plans]
        pixels, cover = self.draw(plans, rng)
        return Batch(pixels, captions, labels(plans), cover)


def background(colour: str) -> str:
    return f"on {world.article(colour)} {colour} background"


def premultiplied(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """RGBA bytes (n, h, w, 4) as floats (n, 4, size, size), colour times alpha, averaged down."""
    parts = []
    for chunk in pictures.split(64):
        x = chunk.permute(0, 3, 1, 2).float() / 255
        parts.append(F.adaptive_avg_pool2d(torch.cat([x[:, :3] * x[:, 3:], x[:, 3:]], 1), size))
    return torch.cat(parts)


def recolour(cut: torch.Tensor, colour: tuple[int, int, int]) -> torch.Tensor:
    """Give the coloured parts of a cut-out one hue; art without colour is tinted as a whole."""
    alpha = cut[3:]
    rgb = cut[:3] / alpha.clamp(min=1e-3)
    light = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    solid = alpha[0] > 0.5
    weight = ((rgb.amax(0) - rgb.amin(0) - 0.10) / 0.2).clamp(0, 1)
    if (weight[solid] > 0.5).float().mean() < 0.45:
        weight = torch.maximum(weight, ((light - 0.2) / 0.25).clamp(0, 1))
    mean = (light * weight)[solid].sum() / weight[solid].sum().clamp(min=1e-3)
    ratio = light / mean.clamp(min=0.05)
    target = torch.tensor(colour).view(3, 1, 1) / 255
    painted = target * ratio.clamp(max=1) + (1 - target) * ((ratio - 1) * 0.45).clamp(0, 0.7)
    mixed = rgb * (1 - weight) + painted * weight
    return torch.cat([mixed.clamp(0, 1) * alpha, alpha])


def labels(plans: list[Plan]) -> dict[str, torch.Tensor]:
    """Exact labels; scene 12 stands for a plain background."""
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
    return {k: torch.tensor(v) for k, v in columns.items()}


def sheet(pixels: torch.Tensor, columns: int, path: Path, zoom: int = 2) -> None:
    """Write pictures in [-1, 1] as one PNG."""
    n, _, h, w = pixels.shape
    rows = -(-n // columns)
    pixels = torch.cat([pixels, pixels.new_ones(rows * columns - n, 3, h, w)])
    grid = pixels.view(rows, columns, 3, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    picture = Image.fromarray(((grid.clamp(-1, 1) + 1) * 127.5).round().byte().numpy())
    picture.resize((columns * w * zoom, rows * h * zoom), Image.LANCZOS).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="eight pictures from a tiny scene bank")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = work(args.smoke)
    composer = Composer(folder, variants=4 if args.smoke else 400)
    batch = composer.batch(8 if args.smoke else 64, args.seed)
    sheet(batch.pixels, 8, folder / "composed.png")
    print("\n".join(batch.captions))


if __name__ == "__main__":
    main()
