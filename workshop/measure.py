"""Step 13: what the model draws against what it was told, as the judge sees it.

Beside each share stand the judge's ceilings: on the true pictures of the same prompts, and on those after
the autoencoder, since no picture of the model can be sharper than that. ``--unseen`` asks only for what was
held out of the training, for a backbone that was trained with ``--hold-out``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from likewise.metrics._judge import JudgeNet
from likewise.weights import read_tensors
from workshop.common import GUIDANCE, log_line, options, settle, shipped
from workshop.compose import composer, sheet
from workshop.export import average_option, averaged_unet
from workshop.plan import Plan, Planner
from workshop.train_backbone import sample
from workshop.words import Words

SEED = 707
HEADS = ("scene", "plain", "count", "tint", "small", "style", "thing")
UNSEEN = {"combinations": ("combination",), "styles": ("style",)}


def load_judge(folder: Path) -> tuple[JudgeNet, list[str]]:
    """A judge and the things that it tells apart."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    network = JudgeNet({head: len(names) for head, names in card["heads"].items()}, card["embedding"])
    network.load_state_dict(read_tensors(folder / "model.safetensors"))
    return network.eval(), card["heads"]["thing"]


def truth_of(
    known: Planner, plans: list[Plan], prompts: tuple[str, ...], things: list[str]
) -> dict[str, np.ndarray]:
    """What each prompt tells; -1 where it does not tell, or where the judge does not know the thing."""
    truth = known.order(plans, np.random.default_rng(SEED)).labels
    truth["count"] = np.where(truth["count"] > 0, truth["count"], -1)
    truth["small"] = np.where(truth["small"] > 0, truth["small"], -1)
    truth["tint"] = np.where([plan.tint >= 0 for plan in plans], truth["tint"], -1)
    truth["style"] = np.where([prompt.endswith(" style") for prompt in prompts], truth["style"], -1)
    names = [known.rows[plan.cut]["name"] for plan in plans]
    truth["thing"] = np.array([things.index(name) if name in things else -1 for name in names])
    return truth


@torch.no_grad()
def right(network: JudgeNet, pixels: torch.Tensor, truth: dict[str, np.ndarray]) -> dict[str, float]:
    """Share of pictures that each head agrees with, among those whose prompt tells what it names."""
    out, found = network.labels(pixels), {}
    for name in HEADS:
        label = torch.from_numpy(truth[name]).to(pixels.device)
        told = label >= 0
        if told.any():
            found[name] = float((out[name].argmax(1) == label)[told].float().mean())
        if name == "thing" and told.any():
            best = out[name].topk(5, 1).indices == label[:, None]
            found["thing top-5"] = float(best.any(1)[told].float().mean())
    return found


@torch.no_grad()
def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Draw the prompts and judge them; writes a sheet of the first 64, each beside its true picture."""
    known, rng, folder, device = (
        composer(args, taught=True),
        np.random.default_rng(SEED),
        args.folder,
        args.device,
    )
    if args.unseen:
        known.only, known.style_share = UNSEEN[args.unseen], 1.0
    plans = [known.plan(rng) for _ in range(args.prompts)]
    prompts = tuple(known.caption(p, rng) for p in plans)
    true = known.draw(plans, rng)[0]
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval().to(device)
    unet = averaged_unet(folder, args.average)[0].to(device)
    words, drawn = Words(folder, device), []
    for k in range(0, len(prompts), 32):
        latents = sample(unet, words, prompts[k : k + 32], seed=SEED + k, guidance=args.guidance)
        drawn.append(vae.decode(latents).sample.clamp(-1, 1))
    pixels = torch.cat(drawn)
    again = torch.cat([vae.decode(vae.encode(x).latent_dist.mode()).sample for x in true.split(32)])
    name = f"measured-{args.unseen}.png" if args.unseen else "measured.png"
    sheet(torch.stack([true[:64], pixels[:64]], 1).flatten(0, 1), 16, folder / name, zoom=1)
    network, things = load_judge(shipped(args, "judge"))
    truth, network = truth_of(known, plans, prompts, things), network.to(device)
    return {
        "drawn": right(network, pixels, truth),
        "true, after the autoencoder": right(network, again.clamp(-1, 1), truth),
        "true": right(network, true, truth),
    }


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, prompts=(500, 500, 4), guidance=(GUIDANCE,) * 3)
    parser.add_argument("--unseen", choices=UNSEEN, help="only what --hold-out kept from the training")
    average_option(parser)
    args = settle(parser, argv)
    table = measure(args)
    facts = {"samples": averaged_unet(args.folder)[1], "average": args.average, "guidance": args.guidance}
    facts |= {"unseen": args.unseen} if args.unseen else {}
    for name, row in table.items():
        log_line(args.folder / "measured.jsonl", **facts, pictures=name, **row)


if __name__ == "__main__":
    main()
