"""How large the backbone's error is on pictures that it does not learn from, for each average that is kept.

Three sets that follow from a seed, all with the same noise: pictures of the kind that are taught (`named`), of the held-out
combinations (`unseen`), and of held-out shapes (`shapes`). Minutes of training show here long before a drawing does,
and which average is the best is seen here.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from workshop.common import log_line, options, settle
from workshop.compose import Composer, composer
from workshop.pool import BATCH, TENSORS, Lesson, lessons
from workshop.shapes import PARTS, held_shape
from workshop.train_backbone import SCHEDULE, build, errors_of
from workshop.words import Words

SEED = 505
LEVELS = 4  # levels of noise for each picture


def of_held_shapes(args: argparse.Namespace) -> Composer:
    """Paints held-out shapes as lessons have the others."""
    known = composer(args, PARTS)
    known.teach(False, 1.0)
    known.taught, known.others = True, [code for code in known.others if held_shape(code)]
    return known


def composers(args: argparse.Namespace) -> dict[str, Composer]:
    """What paints each set; a world in which no combination is held out has no `unseen`."""
    named, unseen = composer(args, taught=True), composer(args, taught=True)
    named.teach(True)
    unseen.teach(True)
    unseen.only = ("combination",)
    known = {"named": named, "unseen": unseen, "shapes": of_held_shapes(args)}
    return {name: planner for name, planner in known.items() if planner.can_plan()}


@torch.no_grad()
def error_of(unet: UNet2DConditionModel, told: Lesson) -> float:
    """Mean error over all levels, with noise that is the same for every model."""
    alphas = DDIMScheduler(**SCHEDULE).alphas_cumprod.to(told.latents.device)
    generator, count, errors = torch.Generator().manual_seed(SEED), len(told.captions), []
    order = (torch.randperm(count, generator=generator) + 0.5) / count
    for level in range(LEVELS):
        times = ((level + order) / LEVELS * len(alphas)).long().to(alphas.device)
        noise = torch.randn(told.latents.shape, generator=generator).to(alphas.device)
        for k in range(0, count, BATCH):
            rows = slice(k, k + BATCH)
            tensors = {name: getattr(told, name)[rows] for name in TENSORS}
            errors.append(errors_of(unet, replace(told, **tensors), alphas, times[rows], noise[rows]))
    return float(torch.cat(errors).mean())


def candidates(args: argparse.Namespace) -> tuple[dict[str, UNet2DConditionModel], int]:
    """The averages of the newest checkpoint and the samples they have seen, or the model of a folder."""
    if args.model:
        return {args.model.name: UNet2DConditionModel.from_pretrained(args.model).eval()}, 0
    state = torch.load(args.folder / "backbone.pt", map_location="cpu", mmap=True)
    found = {}
    for name, weights in {**state["averages"], "last": state["model"]}.items():
        found[name] = build().eval()
        found[name].load_state_dict(weights)
    return found, int(state["samples"])


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, pictures=(384, 384, 4))
    parser.add_argument("--model", type=Path, default=None, help="a unet folder instead of the checkpoint")
    args = settle(parser, argv)
    vae = AutoencoderKL.from_pretrained(args.folder / "vae").eval().to(args.device)
    words, (models, samples) = Words(args.folder, args.device), candidates(args)
    sets = {
        name: lessons(vae, words, known, args.pictures, SEED + number)
        for number, (name, known) in enumerate(composers(args).items())
    }
    for name, unet in models.items():
        unet.to(args.device, memory_format=torch.channels_last)
        found = {kind: error_of(unet, told) for kind, told in sets.items()}
        log_line(args.folder / "validated.jsonl", samples=samples, weights=name, **found)


if __name__ == "__main__":
    main()
