"""Step 10: train the judge on fresh composites, with seeds and a network of its own.

Half of each batch has exact labels: the world, and of it what the backbone is taught, in equal parts. The other
half shows a few cut-outs, most of them from outside the world, in several contexts each, for the identity embedding.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from likewise.files import write_text, write_with
from likewise.metrics.judge import JudgeNet
from workshop import world
from workshop.ahead import Ahead
from workshop.common import (
    SIZE,
    Course,
    autocast,
    log_line,
    options,
    save_atomic,
    settle,
    shipped,
    step_seed,
)
from workshop.compose import Batch, Composer, composer
from workshop.fetch import attribution
from workshop.plan import COLOURS, SCENES, Order, Plan, Planner, background
from workshop.train_vae import NOISE

SEED = 505
VIEWS = 4
TEMPERATURE = 0.07
IDS = {"taught": "pocket-judge-v4", "whole": "pocket-judge-whole-v4"}


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


def phrases() -> dict[str, dict[str, str]]:
    """How captions say a label, for the labels that a prompt can ask for."""
    return {
        "scene": world.SCENES,
        "plain": {colour: background(colour) for colour in COLOURS},
        "count": {number: number for number in world.NUMBERS if number != "one"},
        "tint": {tint: tint for tint in world.TINTS},
        "small": {"small": "small"},
    }


def write_card(path: Path, right: dict[str, float], known: world.World) -> None:
    """All that likewise knows of the judge besides its weights."""
    card = {
        "id": IDS[known.name],
        "resolution": SIZE,
        "range": [-1, 1],
        "embedding": 64,
        "heads": classes(known),
        "phrases": phrases(),
        "ceilings": {k: round(v, 4) for k, v in right.items()},
    }
    write_text(path, json.dumps(card, indent=1) + "\n")


def identities(wide: Planner, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """(cut-out, tint or -1) of different things: in their own colours, or all in one and a quarter in another as well.

    In a crowd of one colour only the shape tells a thing, beside its twin of another only the colour. Without
    crowds colour suffices, and an orange star passes for an orange cat.
    """
    cuts = rng.choice(len(wide.rows), count, replace=False).tolist()
    if rng.random() < 0.5:
        return [(cut, -1) for cut in cuts]
    one, other = rng.choice(len(world.TINTS), 2, replace=False).tolist()
    twins = count // 4
    return [(cut, one) for cut in cuts[twins:]] + [(cut, other) for cut in cuts[-twins:]]


def views(wide: Planner, things: list[tuple[int, int]], rng: np.random.Generator) -> Order:
    """``VIEWS`` pictures of each thing, alone, in different contexts and sizes."""
    plans = []
    for cut, tint in things:
        for _ in range(VIEWS):
            style = world.DESIGNS.index(wide.rows[cut]["design"])
            plan = Plan(cut, -1, style, small=bool(rng.random() < 0.1), tint=tint)
            if rng.random() < 0.7:
                plan.scene = int(rng.integers(len(SCENES)))
            else:
                plan.plain = int(rng.integers(len(COLOURS)))
            plans.append(plan)
    return wide.order(plans, rng)


def seen_again(wide: Planner, count: int, seed: int) -> Order:
    """A batch for the identity embedding."""
    rng = np.random.default_rng(seed)
    return views(wide, identities(wide, count, rng), rng)


def who(labels: dict[str, torch.Tensor]) -> torch.Tensor:
    """A number for each picture's thing: its cut-out in its colour."""
    return labels["cut"] * (len(world.TINTS) + 1) + labels["tint"]


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


def contrast(marks: torch.Tensor, things: torch.Tensor) -> torch.Tensor:
    """Supervised contrast: views of one thing attract each other."""
    itself = torch.eye(len(things), dtype=torch.bool, device=things.device)
    alike = (things[:, None] == things) & ~itself
    logits = (marks @ marks.T / TEMPERATURE).masked_fill(itself, -1e4)
    return -(logits.log_softmax(1) * alike).sum(1).div(alike.sum(1)).mean()


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
def ceilings(judge: JudgeNet, known: tuple[Composer, ...], batches: int) -> dict[str, float]:
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


@torch.no_grad()
def separation(judge: JudgeNet, wide: Composer, batches: int) -> dict[str, float]:
    """How near pictures of one thing are to each other and to those of fifteen others, in their own colours and all in one.

    `nearest` is the share whose nearest picture shows the same thing.
    """
    judge.eval()
    result = {}
    for case in ("identity", "one_colour"):
        same, other, nearest = [], [], []
        for k in range(batches):
            rng = np.random.default_rng(step_seed(SEED + 10, k))
            tint = int(rng.integers(len(world.TINTS))) if case == "one_colour" else -1
            things = [
                (int(cut), tint) for cut in rng.choice(len(wide.rows), min(16, len(wide.rows)), replace=False)
            ]
            batch = wide.paint(views(wide, things, rng))
            marks, label = judge(batch.pixels)["identity"], who(batch.labels)
            near = (marks @ marks.T).fill_diagonal_(-2)
            alike = label[:, None] == label
            same.append(near[alike & (near > -2)].mean())
            other.append(near[~alike].mean())
            nearest.append((label[near.argmax(1)] == label).float().mean())
        for name, values in {"same": same, "other": other, "nearest": nearest}.items():
            result[f"{case}_{name}"] = float(torch.stack(values).mean())
    judge.train()
    return result


def measured(judge: JudgeNet, known: tuple[Composer, ...], wide: Composer, batches: int) -> dict[str, float]:
    """Everything the card tells of the judge."""
    return ceilings(judge, known, batches) | separation(judge, wide, batches)


def step_loss(judge: JudgeNet, vae: AutoencoderKL, told: Batch, seen: Batch) -> torch.Tensor:
    """Heads on the pictures with labels, contrast on those that show a few cut-outs again and again."""
    pixels, n = roughen(torch.cat([told.pixels, seen.pixels]), vae), len(told.pixels)
    with autocast(pixels.device):
        out = judge(pixels)
    out = {name: value.float() for name, value in out.items()}
    heads = head_loss({k: v[:n] for k, v in out.items()}, told.labels)
    return heads + contrast(out["identity"][n:], who(seen.labels))


def train(judge: JudgeNet, known: tuple[Composer, ...], wide: Composer, args: argparse.Namespace) -> None:
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
    things = min(args.batch // VIEWS, len(wide.rows))
    seen = Ahead(lambda step: seen_again(wide, things, step_seed(SEED + 1, step)), args.device)
    while course.share(step) < 1:
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step, args.rate, 100, 0.02)
        torch.manual_seed(step_seed(SEED, step))
        loss = step_loss(judge, vae, together([one(step) for one in told]), wide.paint(seen(step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 25 == 0:
            speed = (step - start) * 2 * args.batch / (time.time() - began)
            log_line(folder / "judge.jsonl", step=step, loss=loss.item(), speed=speed)
        if step % 200 == 0:
            state = {"model": judge.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            save_atomic({**state, **course.state()}, point)
            log_line(folder / "judge.jsonl", step=step, **measured(judge, known, wide, 4))


def main(argv: list[str] | None = None) -> None:
    sizes = {"steps": (2000, 6000, 3), "batch": (64, 512, 16), "rate": (2e-3, 2e-3, 2e-3)}
    parser = options(__doc__, **sizes)
    parser.add_argument(
        "--out", type=Path, default=None, help="default: src/likewise/pocket/judge; of the whole world, build"
    )
    parser.add_argument(
        "--card-only", action="store_true", help="write the card anew, with the ceilings it has"
    )
    args = settle(parser, argv)
    out = args.out or shipped(args, "judge")
    if args.card_only:
        path = out / "card.json"
        write_card(path, json.loads(path.read_text(encoding="utf-8"))["ceilings"], args.world)
        return
    torch.manual_seed(SEED)
    known, wide = (composer(args), composer(args, taught=True)), composer(args, ("world", "other"))
    judge = JudgeNet({head: len(names) for head, names in classes(args.world).items()}).to(args.device)
    train(judge, known, wide, args)
    result = measured(judge, known, wide, 1 if args.smoke else 20)
    out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.cpu().contiguous() for k, v in judge.eval().state_dict().items()}
    write_with(out / "model.safetensors", lambda path: save_file(weights, path))
    write_card(out / "card.json", result, args.world)
    (out / "ATTRIBUTION.md").write_text(attribution("likewise pocket judge"), encoding="utf-8")
    size = sum(p.numel() for p in judge.parameters())
    log_line(args.folder / "judge.jsonl", done=True, parameters=size, **result)


if __name__ == "__main__":
    main()
