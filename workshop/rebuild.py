"""How well shapes that the backbone never saw come back from half-noised latents.

Two hundred cut-outs that are held out of its training (`shapes.held_shape`) stand one by one before scenes and
colours. Noise is put on their latents, and the backbone takes it off again, told the description and told nothing. The
figure is the decoded picture's likeness where the thing is, in decibels, to the same latents decoded without noise. It
says whether a new concept lies inside what the network can draw, whatever words it knows.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from workshop.common import log_line, options, settle
from workshop.compose import Composer, sheet
from workshop.export import average_option, averaged_unet
from workshop.plan import Plan
from workshop.pool import encode
from workshop.train_backbone import SCHEDULE
from workshop.validate import of_held_shapes
from workshop.words import Words

SEED = 909
LEVELS = {"half": 0.5, "most": 0.1}  # the share of the latents' variance that is left
STEPS = 10


def held(known: Composer, count: int) -> list[Plan]:
    """The first ``count`` held-out cut-outs by the order of their codes, each once, and plain to see."""
    rng = np.random.default_rng(SEED)
    cuts = [cut for code in sorted(known.others) for cut in known.by_thing[code]][:count]
    plans = []
    for cut in cuts:
        plan = known.plan_of(cut, rng)
        plan.count, plan.small, plan.tint = 1, False, -1
        plans.append(plan)
    return plans


@torch.no_grad()
def restore(
    unet: UNet2DConditionModel, latents: torch.Tensor, states: torch.Tensor, left: float, seed: int
) -> torch.Tensor:
    """Put noise on latents until ``left`` of their variance is left, and take it off in equal steps."""
    scheduler = DDIMScheduler(**SCHEDULE)
    alphas = scheduler.alphas_cumprod
    start = int((alphas - left).abs().argmin())
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed)).to(latents.device)
    now = alphas[start].sqrt() * latents + (1 - alphas[start]).sqrt() * noise
    times = np.linspace(start, 0, STEPS + 1).round().astype(int)
    for t, then in itertools.pairwise(times):
        a, b = alphas[t], alphas[then] if then else torch.tensor(1.0)
        guess = unet(now, torch.tensor(int(t)), states).sample
        clean, dirt = a.sqrt() * now - (1 - a).sqrt() * guess, a.sqrt() * guess + (1 - a).sqrt() * now
        now = b.sqrt() * clean + (1 - b).sqrt() * dirt
    return now


def likeness(drawn: torch.Tensor, true: torch.Tensor, cover: torch.Tensor) -> float:
    """Mean over pictures of the peak signal to noise ratio where the things are; pictures in [-1, 1]."""
    error = ((drawn.clamp(-1, 1) - true.clamp(-1, 1)) / 2).square().mean(1, keepdim=True)
    error = (error * cover).sum((1, 2, 3)) / cover.sum((1, 2, 3)).clamp(min=1e-6)
    return float((-10 * error.clamp(min=1e-6).log10()).mean())


@torch.no_grad()
def rebuild(unet: UNet2DConditionModel, args: argparse.Namespace) -> dict[str, float]:
    """The likeness at each level, with words and without; writes a sheet of true and restored ones."""
    known, rng = of_held_shapes(args), np.random.default_rng(SEED)
    plans = held(known, args.cutouts)
    captions, batch = [known.caption(plan, rng) for plan in plans], known.paint(known.order(plans, rng))
    vae = AutoencoderKL.from_pretrained(args.folder / "vae").eval().to(args.device)
    words = Words(args.folder, args.device)
    latents = encode(vae, batch)[0]
    true = vae.decode(latents).sample
    found, shown = {}, [true[:32]]
    for level, left in LEVELS.items():
        for told, texts in (("told", captions), ("untold", [""] * len(captions))):
            drawn = vae.decode(restore(unet, latents, words(texts), left, SEED)).sample
            found[f"{level} {told}"] = likeness(drawn, true, batch.cover)
            shown += [drawn[:32]] if told == "told" else []
    sheet(torch.stack(shown, 1).flatten(0, 1), 12, args.folder / "rebuilt.png")
    return found


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, cutouts=(200, 200, 4))
    parser.add_argument("--model", type=Path, default=None, help="a unet folder instead of the checkpoint")
    average_option(parser)
    args = settle(parser, argv)
    if args.model:
        unet, samples = UNet2DConditionModel.from_pretrained(args.model).eval(), 0
    else:
        unet, samples = averaged_unet(args.folder, args.average)
    found = rebuild(unet.to(args.device), args)
    log_line(args.folder / "rebuilt.jsonl", samples=samples, **found)


if __name__ == "__main__":
    main()
