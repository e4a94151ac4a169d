"""Step 10: train the judge's heads on fresh composites with exact labels, with seeds and a network of their own.

A batch shows the world, and of it what the backbone is taught, in equal parts. `train_identity` goes on from here.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from likewise.files import write_text, write_with
from likewise.metrics._judge import LabelNet
from workshop import world
from workshop.common import (
    SIZE,
    Course,
    autocast,
    log_line,
    options,
    save_atomic,
    settle,
    step_seed,
)
from workshop.compose import Batch, Composer, composer
from workshop.plan import COLOURS, SCENES
from workshop.train_vae import NOISE

SEED = 505


def classes(known: world.World) -> dict[str, tuple[str, ...]]:
    """What every head tells apart; only the things differ between worlds."""
    return {
        "scene": (*SCENES, "plain"),
        "plain": COLOURS,
        "count": world.NUMBERS,
        "tint": (*world.TINTS, "none"),
        "small": ("normal", "small"),
        "style": world.DESIGNS,
        "thing": tuple(thing.name for thing in known.things),
    }


@torch.no_grad()
def roughen(pixels: torch.Tensor, vae: AutoencoderKL) -> torch.Tensor:
    """Blur, low resolution, smooth noise or the autoencoder on three of four pictures, as drawn ones have them."""
    kind = torch.randint(8, (len(pixels),)).tolist()
    groups = ((2, 3), (4, 5), (6,), (7,))
    which = [torch.tensor([i for i, k in enumerate(kind) if k in g], dtype=torch.long) for g in groups]
    blurred, lowered, noisy, coded = (rows.to(pixels.device) for rows in which)
    out = pixels.clone()
    if len(coded):
        code = vae.encode(pixels[coded]).latent_dist.mode()
        code += NOISE * torch.rand(len(code), 1, 1, 1, device=code.device) * torch.randn_like(code)
        out[coded] = vae.decode(code).sample
    out[blurred] = F.avg_pool2d(F.pad(pixels[blurred], (1, 1, 1, 1), mode="replicate"), 3, 1)
    for rows in lowered.split(8):  # one resolution for a few pictures: each size is a call of its own
        low = F.interpolate(
            pixels[rows], size=int(torch.randint(28, 52, ())), mode="bilinear", antialias=True
        )
        out[rows] = F.interpolate(low, size=SIZE, mode="bicubic")
    coarse = torch.randn(len(noisy), 3, 16, 16, device=pixels.device) * 0.12
    fine = torch.randn(len(noisy), 3, SIZE, SIZE, device=pixels.device) * 0.03
    out[noisy] += F.interpolate(coarse, size=SIZE, mode="bicubic") + fine
    return out.clamp(-1, 1)


def head_loss(out: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> torch.Tensor:
    """Weighted sum of the heads' errors, each over the pictures that have its label."""
    weights = {"thing": 1.5, "count": 1.0, "scene": 1.0}
    total = torch.zeros((), device=out["scene"].device)
    for head, label in truth.items():
        if head in out:
            wrong = F.cross_entropy(out[head], label, ignore_index=-1, reduction="sum")
            total = total + weights.get(head, 0.5) * wrong / (label >= 0).sum().clamp(min=1)
    return total


def together(parts: list[Batch]) -> Batch:
    """One batch of several."""
    return Batch(
        torch.cat([part.pixels for part in parts]),
        [caption for part in parts for caption in part.captions],
        {name: torch.cat([part.labels[name] for part in parts]) for name in parts[0].labels},
        torch.cat([part.cover for part in parts]),
    )


@torch.no_grad()
def ceilings(judge: LabelNet, known: tuple[Composer, ...], batches: int) -> dict[str, float]:
    """Accuracies on fresh true pictures."""
    judge.eval()
    right = {k: [0, 0] for k in judge.heads}
    for k in range(batches):
        batch = together([one.batch(32, step_seed(SEED + 9, 2 * k + i)) for i, one in enumerate(known)])
        out = judge(batch.pixels)
        for name in right:
            use = batch.labels[name] >= 0
            right[name][0] += int((out[name].argmax(1) == batch.labels[name])[use].sum())
            right[name][1] += int(use.sum())
    result = {k: a / max(1, b) for k, (a, b) in right.items()}
    judge.train()
    return result


def step_loss(judge: LabelNet, vae: AutoencoderKL, told: Batch) -> torch.Tensor:
    """The heads' errors on pictures as drawn ones look."""
    pixels = roughen(told.pixels, vae)
    with autocast(pixels.device):
        out = judge(pixels)
    return head_loss({name: value.float() for name, value in out.items()}, told.labels)


def train(judge: LabelNet, known: tuple[Composer, ...], args: argparse.Namespace) -> None:
    folder, course = args.folder, Course(args.steps, args.minutes)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=args.rate, weight_decay=1e-3)
    step, point = 0, folder / "judge.pt"
    if point.exists():
        state = torch.load(point, map_location=args.device)
        judge.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
        course.resume(state)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval().to(args.device)
    told = [one.batches(args.batch // len(known), SEED + 30 + i) for i, one in enumerate(known)]
    began, start = time.time(), step
    while course.share(step) < 1:
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step, args.rate, 100, 0.02)
        torch.manual_seed(step_seed(SEED, step))
        loss = step_loss(judge, vae, together([one(step) for one in told]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 25 == 0:
            speed = (step - start) * args.batch / (time.time() - began)
            log_line(folder / "judge.jsonl", step=step, loss=loss.item(), speed=speed)
        if step % 200 == 0:
            state = {"model": judge.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            save_atomic({**state, **course.state()}, point)
            log_line(folder / "judge.jsonl", step=step, **ceilings(judge, known, 4))


def main(argv: list[str] | None = None) -> None:
    sizes = {"steps": (2000, 6000, 3), "batch": (128, 1024, 16), "rate": (2e-3, 2e-3, 2e-3)}
    args = settle(options(__doc__, **sizes), argv)
    torch.manual_seed(SEED)
    known = (composer(args), composer(args, taught=True))
    judge = LabelNet({head: len(names) for head, names in classes(args.world).items()}).to(args.device)
    train(judge, known, args)
    result = ceilings(judge, known, 1 if args.smoke else 20)
    weights = {k: v.cpu().contiguous() for k, v in judge.eval().state_dict().items()}
    write_with(args.folder / "labels.safetensors", lambda path: save_file(weights, path))
    write_text(args.folder / "labels.json", json.dumps(result) + "\n")
    log_line(args.folder / "judge.jsonl", done=True, **result)


if __name__ == "__main__":
    main()
