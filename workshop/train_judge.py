"""Step 9: train the judge on fresh composites, with seeds and a network of its own.

Half of each batch is the world with exact labels; the other half shows a few cut-outs, most of them
from outside the world, in several contexts each, for the identity embedding.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from likewise.metrics.judge import JudgeNet
from workshop import world
from workshop.common import POCKET, SIZE, log_line, save_atomic, step_seed, work
from workshop.compose import COLOURS, SCENES, Batch, Composer, Plan, background, labels

SEED = 505
VIEWS = 4
CLASSES = {
    "scene": (*SCENES, "plain"),
    "plain": COLOURS,
    "count": world.NUMBERS,
    "tint": (*world.TINTS, "none"),
    "small": ("normal", "small"),
    "style": world.DESIGNS,
    "thing": tuple(thing.name for thing in world.THINGS),
}
"""What every head tells apart."""


def phrases() -> dict[str, dict[str, str]]:
    """How captions say a label, for the labels that a prompt can ask for."""
    return {
        "scene": world.SCENES,
        "plain": {colour: background(colour) for colour in COLOURS},
        "count": {number: number for number in world.NUMBERS if number != "one"},
        "tint": {tint: tint for tint in world.TINTS},
        "small": {"small": "small"},
    }


def write_card(path: Path, right: dict[str, float]) -> None:
    """All that likewise knows of the judge besides its weights."""
    card = {
        "id": "pocket-judge-v1",
        "resolution": SIZE,
        "range": [-1, 1],
        "embedding": 64,
        "heads": CLASSES,
        "phrases": phrases(),
        "ceilings": {k: round(v, 4) for k, v in right.items()},
    }
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def views(composer: Composer, cuts: int, seed: int) -> Batch:
    """``VIEWS`` pictures each of some cut-outs, alone, in different contexts and sizes."""
    rng = np.random.default_rng(seed)
    plans = []
    for cut in rng.choice(len(composer.rows), cuts, replace=False):
        for _ in range(VIEWS):
            plan = Plan(
                int(cut),
                -1,
                world.DESIGNS.index(composer.rows[cut]["design"]),
                small=bool(rng.random() < 0.1),
            )
            if rng.random() < 0.7:
                plan.scene = int(rng.integers(len(SCENES)))
            else:
                plan.plain = int(rng.integers(len(COLOURS)))
            plans.append(plan)
    pixels, cover = composer.draw(plans, rng)
    return Batch(pixels, [], labels(plans), cover)


def roughen(pixels: torch.Tensor) -> torch.Tensor:
    """Blur, low resolution and smooth noise, much as a small decoder would leave them."""
    out = pixels.clone()
    for i in range(len(out)):
        kind = int(torch.randint(4, ()))
        if kind == 1:
            out[i] = F.avg_pool2d(F.pad(out[i : i + 1], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
        elif kind == 2:
            side = int(torch.randint(28, 52, ()))
            low = F.interpolate(out[i : i + 1], size=side, mode="bilinear", antialias=True)
            out[i] = F.interpolate(low, size=SIZE, mode="bicubic")[0]
        elif kind == 3:
            coarse = torch.randn(1, 3, 16, 16) * 0.12
            out[i] += F.interpolate(coarse, size=SIZE, mode="bicubic")[0] + torch.randn(3, SIZE, SIZE) * 0.03
    return out.clamp(-1, 1)


def contrast(marks: torch.Tensor, cuts: torch.Tensor) -> torch.Tensor:
    """Supervised contrast: views of one cut-out attract each other."""
    alike = (cuts[:, None] == cuts) & ~torch.eye(len(cuts), dtype=torch.bool)
    logits = (marks @ marks.T / 0.1).masked_fill(torch.eye(len(cuts), dtype=torch.bool), -1e4)
    return -(logits.log_softmax(1) * alike).sum(1).div(alike.sum(1)).mean()


def head_loss(out: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> torch.Tensor:
    weights = {"thing": 1.5, "count": 1.0, "scene": 1.0}
    return sum(
        weights.get(k, 0.5) * F.cross_entropy(out[k], truth[k], ignore_index=-1)
        for k in CLASSES
        if (truth[k] >= 0).any()
    )


@torch.no_grad()
def ceilings(judge: JudgeNet, known: Composer, wide: Composer, batches: int) -> dict[str, float]:
    """Accuracies on fresh true pictures, and how well identities separate."""
    judge.eval()
    right = {k: [0, 0] for k in CLASSES}
    for k in range(batches):
        batch = known.batch(64, step_seed(SEED + 9, k))
        out = judge(batch.pixels)
        for name in right:
            use = batch.labels[name] >= 0
            right[name][0] += int((out[name].argmax(1) == batch.labels[name])[use].sum())
            right[name][1] += int(use.sum())
    result = {k: a / max(1, b) for k, (a, b) in right.items()}
    same, other, nearest = [], [], []
    for k in range(batches):
        batch = views(wide, 16, step_seed(SEED + 10, k))
        marks, cuts = judge(batch.pixels)["identity"], batch.labels["cut"]
        near = (marks @ marks.T).fill_diagonal_(-2)
        alike = (cuts[:, None] == cuts) & ~torch.eye(len(cuts), dtype=torch.bool)
        same.append(near[alike].mean())
        other.append(near[cuts[:, None] != cuts].mean())
        nearest.append((cuts[near.argmax(1)] == cuts).float().mean())
    result |= {
        "identity_same": float(torch.stack(same).mean()),
        "identity_other": float(torch.stack(other).mean()),
    }
    judge.train()
    return {**result, "identity_nearest": float(torch.stack(nearest).mean())}


def train(judge: JudgeNet, known: Composer, wide: Composer, args: argparse.Namespace, folder: Path) -> None:
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-3)
    start, point = 0, folder / "judge.pt"
    if point.exists():
        state = torch.load(point)
        judge.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    began = time.time()
    for step in range(start, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = (
                2e-3
                * min(1, (step + 1) / 100)
                * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
            )
        torch.manual_seed(step_seed(SEED, step))
        told = known.batch(args.batch, step_seed(SEED, step))
        seen = views(wide, args.batch // VIEWS, step_seed(SEED + 1, step))
        out = judge(roughen(torch.cat([told.pixels, seen.pixels])))
        n = len(told.pixels)
        loss = head_loss({k: v[:n] for k, v in out.items()}, told.labels) + contrast(
            out["identity"][n:], seen.labels["cut"]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 25 == 0:
            log_line(
                folder / "judge.jsonl",
                step=step + 1,
                loss=loss.item(),
                speed=(step + 1 - start) * 2 * args.batch / (time.time() - began),
            )
        if (step + 1) % 200 == 0:
            save_atomic(
                {"model": judge.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, point
            )
            log_line(folder / "judge.jsonl", step=step + 1, **ceilings(judge, known, wide, 4))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="default: src/likewise/pocket/judge")
    parser.add_argument(
        "--card-only", action="store_true", help="write the card anew, with the ceilings it has"
    )
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    folder = work(args.smoke)
    out = args.out or (folder / "judge" if args.smoke else POCKET / "judge")
    if args.card_only:
        path = out / "card.json"
        write_card(path, json.loads(path.read_text(encoding="utf-8"))["ceilings"])
        return
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    if args.smoke:
        args.steps, args.batch = 3, 16
    variants = 4 if args.smoke else 400
    known, wide = Composer(folder, variants=variants), Composer(folder, ("world", "other"), variants=variants)
    judge = JudgeNet({head: len(names) for head, names in CLASSES.items()})
    train(judge, known, wide, args, folder)
    result = ceilings(judge, known, wide, 1 if args.smoke else 20)
    out.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in judge.eval().state_dict().items()}, out / "model.safetensors")
    write_card(out / "card.json", result)
    log_line(
        folder / "judge.jsonl", done=True, parameters=sum(p.numel() for p in judge.parameters()), **result
    )


if __name__ == "__main__":
    main()
