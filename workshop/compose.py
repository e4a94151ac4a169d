"""Step 3: captioned pictures with exact labels, composed on the fly.

A ``Composer`` turns a seed into a batch: cut-outs are placed, turned, tinted and counted on drawn
scenes or plain colours, and the same choices give the caption and the labels. Cut-outs and scenes lie on its
device; a batch costs one upload of numbers there, whatever its size.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from workshop import world
from workshop.ahead import Ahead
from workshop.common import SIZE, options, settle, step_seed
from workshop.plan import Order, Plan, Planner
from workshop.scenes import bank

SHADOW = 0.28


@dataclass
class Batch:
    """Pictures in [-1, 1], their captions, one label tensor per attribute (-1: not set) and where things are."""

    pixels: torch.Tensor
    captions: list[str]
    labels: dict[str, torch.Tensor]
    cover: torch.Tensor
    """Share of each pixel that a thing covers, (n, 1, size, size)."""


class Composer(Planner):
    """Paints what its planner decides, from the cut-outs and the scene bank of a work folder."""

    def __init__(
        self,
        folder: Path,
        parts: tuple[str, ...] = ("world",),
        size: int = SIZE,
        variants: int = 400,
        taught: bool = False,
        known: world.World = world.WORLDS["taught"],
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(folder, parts, variants, taught, known)
        pictures = np.load(folder / "cutouts.npy", mmap_mode="r")
        levels = [premultiplied(pictures, self.kept, side) for side in (size, size // 2)]
        self.lights = [torch.stack([light(cut) for cut in level]).to(device) for level in levels]
        self.levels = [level.to(device) for level in levels]
        scenes = np.array(bank(folder / f"scenes_{size}_{variants}.npy", variants, size))
        self.scenes = torch.from_numpy(scenes).to(device)
        self.hues = torch.tensor([world.COLOURS[tint] for tint in world.TINTS], device=device) / 255
        self.size, self.device = size, torch.device(device)

    def batch(self, n: int, seed: int) -> Batch:
        """A batch that depends on the seed alone."""
        return self.paint(self.orders(n, seed))

    def batches(self, n: int, seed: int) -> Callable[[int], Batch]:
        """The batch of each step of a training; where an accelerator paints, other processes plan ahead."""
        ahead = Ahead(lambda step: self.orders(n, step_seed(seed, step)), self.device)
        return lambda step: self.paint(ahead(step))

    def draw(self, plans: list[Plan], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Paint the plans: (n, 3, size, size) in [-1, 1], and what things cover, (n, 1, size, size)."""
        batch = self.paint(self.order(plans, rng))
        return batch.pixels, batch.cover

    @torch.no_grad()
    def paint(self, order: Order) -> Batch:
        """Paint what was decided; no work is done picture by picture."""
        canvas = self._grounds(order)
        cover = torch.zeros(len(canvas), 1, self.size, self.size, device=self.device)
        level = order.copies[:, 2]
        for k in np.unique(level):
            layers = self._layers(order, level == k)
            shadow = F.avg_pool2d(F.pad(layers[:, 3:], (2, 2, 4, 0), mode="replicate"), 5, 1)
            owners, numbers = order.copies[level == k, 0], order.copies[level == k, 1]
            shadow *= self._put(SHADOW * (order.grounds[owners, 0] >= 0)).float().view(-1, 1, 1, 1)
            for number in range(numbers.max() + 1):  # copies of one picture lie over each other in order
                rows = self._put(np.flatnonzero(numbers == number))
                at = self._put(owners[numbers == number])
                layer = layers[rows]
                canvas[at] = canvas[at] * (1 - shadow[rows]) * (1 - layer[:, 3:]) + layer[:, :3]
                cover[at] = torch.maximum(cover[at], layer[:, 3:])
        truth = {name: self._put(values) for name, values in order.labels.items()}
        return Batch(canvas.clamp(0, 1) * 2 - 1, order.captions, truth, cover)

    def _put(self, values: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(values)
        if self.device.type == "cuda":  # from ordinary memory the copy would wait for all that is under way
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _grounds(self, order: Order) -> torch.Tensor:
        """What is behind the things, (n, 3, size, size) in 0..1."""
        scene, variant, mirrored = self._put(order.grounds).unbind(1)
        pictures = self.scenes[scene.clamp(min=0), variant]
        pictures = torch.where(mirrored.view(-1, 1, 1, 1) > 0, pictures.flip(2), pictures).float() / 255
        plain = self._put(order.colours).view(-1, 1, 1, 3)
        return torch.where(scene.view(-1, 1, 1, 1) >= 0, pictures, plain).permute(0, 3, 1, 2)

    def _layers(self, order: Order, use: np.ndarray) -> torch.Tensor:
        """Each chosen copy on a picture of its own, premultiplied: (m, 4, size, size)."""
        level = int(order.copies[use, 2][0])
        cut, tint = self._put(order.copies[use][:, 3:]).unbind(1)
        cuts = self.levels[level][cut]
        tinted = self._put(np.flatnonzero(order.copies[use, 4] >= 0))
        cuts[tinted] = recolour(cuts[tinted], self.lights[level][cut[tinted]], self.hues[tint[tinted]])
        grid = F.affine_grid(self._put(order.places[use]), [len(cuts), 4, self.size, self.size], False)
        return F.grid_sample(cuts, grid, align_corners=False)


def composer(args: argparse.Namespace, parts: tuple[str, ...] = ("world",), taught: bool = False) -> Composer:
    """The composer of a step's arguments."""
    return Composer(
        args.folder, parts, variants=args.variants, taught=taught, known=args.world, device=args.device
    )


def premultiplied(pictures: np.ndarray, kept: list[int], size: int) -> torch.Tensor:
    """Chosen RGBA bytes of (n, h, w, 4) as floats (n, 4, size, size), colour times alpha, averaged down.

    Written into one piece of memory, as thousands of small ones would hold several times as much.
    """
    out = torch.empty(len(kept), 4, size, size)
    for k in range(0, len(kept), 64):
        x = torch.from_numpy(pictures[kept[k : k + 64]]).permute(0, 3, 1, 2).float() / 255
        x[:, :3] *= x[:, 3:].clone()
        out[k : k + 64] = F.adaptive_avg_pool2d(x, size)
    return out


def straight(cut: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colours and lightness of premultiplied cut-outs [..., 4, h, w], and how far each pixel is coloured at all."""
    rgb = cut[..., :3, :, :] / cut[..., 3:, :, :].clamp(min=1e-3)
    bright = 0.299 * rgb[..., 0, :, :] + 0.587 * rgb[..., 1, :, :] + 0.114 * rgb[..., 2, :, :]
    return rgb, bright, ((rgb.amax(-3) - rgb.amin(-3) - 0.10) / 0.2).clamp(0, 1)


def light(cut: torch.Tensor) -> torch.Tensor:
    """What recolouring a cut-out needs to know of it: is it without colour, and how light what is painted."""
    _, bright, weight = straight(cut)
    solid = cut[3] > 0.5
    grey = (weight[solid] > 0.5).float().mean() < 0.45
    if grey:
        weight = torch.maximum(weight, ((bright - 0.2) / 0.25).clamp(0, 1))
    mean = (bright * weight)[solid].sum() / weight[solid].sum().clamp(min=1e-3)
    return torch.stack([grey.float(), mean])


def recolour(cuts: torch.Tensor, lights: torch.Tensor, hues: torch.Tensor) -> torch.Tensor:
    """Give the coloured parts of cut-outs one hue each; art without colour is tinted as a whole.

    Shapes: (n, 4, h, w) premultiplied, (n, 2) as `light` has them, (n, 3) in 0..1.
    """
    rgb, bright, weight = straight(cuts)
    grey, mean = lights.view(-1, 2, 1, 1).unbind(1)
    weight = torch.where(
        grey > 0, torch.maximum(weight, ((bright - 0.2) / 0.25).clamp(0, 1)), weight
    ).unsqueeze(1)
    ratio = (bright / mean.clamp(min=0.05)).unsqueeze(1)
    target = hues.view(-1, 3, 1, 1)
    painted = target * ratio.clamp(max=1) + (1 - target) * ((ratio - 1) * 0.45).clamp(0, 0.7)
    mixed = rgb * (1 - weight) + painted * weight
    return torch.cat([mixed.clamp(0, 1) * cuts[:, 3:], cuts[:, 3:]], 1)


def sheet(pixels: torch.Tensor, columns: int, path: Path, zoom: int = 2) -> None:
    """Write pictures in [-1, 1] as one PNG."""
    pixels = pixels.float().cpu()
    n, _, h, w = pixels.shape
    rows = -(-n // columns)
    pixels = torch.cat([pixels, pixels.new_ones(rows * columns - n, 3, h, w)])
    grid = pixels.view(rows, columns, 3, h, w).permute(0, 3, 1, 4, 2).reshape(rows * h, columns * w, 3)
    picture = Image.fromarray(((grid.clamp(-1, 1) + 1) * 127.5).round().byte().numpy())
    picture.resize((columns * w * zoom, rows * h * zoom), Image.LANCZOS).save(path)


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, smoke="eight pictures from a tiny scene bank")
    parser.add_argument("--seed", type=int, default=0)
    args = settle(parser, argv)
    batch = composer(args).batch(8 if args.smoke else 64, args.seed)
    sheet(batch.pixels, 8, args.folder / "composed.png")
    print("\n".join(batch.captions))


if __name__ == "__main__":
    main()
