"""Step 8: a pool of encoded pictures, so that the backbone never waits for the autoencoder or the text tower.

Shards of latents (the mean, float16), captions with their token states and what things cover are written
one by one; more may be added at any time, also while the backbone trains, and it picks them up when it next looks.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from workshop.common import agree, log_line, options, save_atomic, settle, step_seed
from workshop.compose import Batch, Composer, composer
from workshop.shapes import PARTS, SHARE
from workshop.words import Words

SEED = 303
SHARD = 1024
BATCH = 64  # pictures that are painted and encoded at a time
TENSORS = ("latents", "cover", "states")


@dataclass
class Lesson:
    """The pictures of one step."""

    latents: torch.Tensor
    """(n, 16, 8, 8)"""
    cover: torch.Tensor
    """(n, 1, 8, 8): the share of each cell under a thing."""
    captions: list[str]
    states: torch.Tensor
    """(n, length, width): what the text tower makes of the captions."""

    def to(self, device: torch.device) -> Lesson:
        """The same on a device."""
        return Lesson(self.latents.to(device), self.cover.to(device), self.captions, self.states.to(device))


def shard_path(folder: Path, number: int) -> Path:
    return folder / "pool" / f"{number:05d}.pt"


@torch.no_grad()
def encode(vae: AutoencoderKL, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (n, 16, 8, 8), the mean, and the share of each cell under a thing (n, 1, 8, 8); full precision."""
    latents = vae.encode(batch.pixels).latent_dist.mode()
    return latents, F.avg_pool2d(batch.cover, batch.cover.shape[-1] // latents.shape[-1])


def lesson(vae: AutoencoderKL, words: Words, batch: Batch) -> Lesson:
    """A batch as the backbone sees it."""
    return Lesson(*encode(vae, batch), batch.captions, words(batch.captions))


def lessons(vae: AutoencoderKL, words: Words, known: Composer, count: int, seed: int) -> Lesson:
    """So many pictures as one lesson."""
    parts = [
        lesson(vae, words, known.batch(min(BATCH, count - k), step_seed(seed, k)))
        for k in range(0, count, BATCH)
    ]
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in TENSORS}
    return Lesson(**joined, captions=[caption for part in parts for caption in part.captions])


def encode_shard(
    vae: AutoencoderKL, words: Words, known: Composer, number: int, size: int
) -> dict[str, object]:
    """One shard of ``size`` pictures."""
    made = lessons(vae, words, known, size, SEED + number)
    tensors = {name: getattr(made, name).half().cpu() for name in TENSORS}
    return {**tensors, "captions": made.captions}


class Pool:
    """All shards on disk, for steps of ``n`` pictures; ``refresh`` looks for new ones.

    Shards are mapped, not read, so that several workers share what the system keeps of them in memory.
    """

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n = folder, n
        self.shards: list[dict[str, torch.Tensor]] = []
        self.captions: list[str] = []
        self.places: list[tuple[int, int]] = []
        self.refresh()

    def refresh(self) -> int:
        while (path := shard_path(self.folder, len(self.shards))).exists():
            shard = torch.load(path, mmap=True)
            captions = shard.pop("captions")
            self.places += [(len(self.shards), row) for row in range(len(captions))]
            self.captions += captions
            self.shards.append(shard)
        return len(self.captions)

    def draw(self, step: int, generator: torch.Generator) -> Lesson:
        """A random choice."""
        rows = torch.randint(len(self.captions), (self.n,), generator=generator).tolist()
        chosen = [(self.shards[shard], row) for shard, row in (self.places[i] for i in rows)]
        latents, cover, states = (
            torch.stack([shard[key][row] for shard, row in chosen]).float()
            for key in ("latents", "cover", "states")
        )
        return Lesson(latents, cover, [self.captions[i] for i in rows], states)


class Fresh:
    """The same for every step from pictures that are composed and encoded when they are needed, and seen once.

    For an accelerator, where the backbone would go through a pool of any size many times.
    """

    def __init__(self, vae: AutoencoderKL, words: Words, known: Composer, n: int) -> None:
        self.vae, self.words, self.batches = vae, words, known.batches(n, SEED)

    def refresh(self) -> int:
        """None is ever kept."""
        return 0

    def draw(self, step: int, generator: torch.Generator) -> Lesson:
        """What follows from the step."""
        return lesson(self.vae, self.words, self.batches(step))


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--shards", type=int, default=60, help="how many shards of 1024 there should be")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to share the work out")
    parser.add_argument("--hold-out", action="store_true", help="leave combinations out (World.held_out)")
    parser.add_argument("--shapes", type=float, default=SHARE, help="share of pictures of what has no name")
    parser.add_argument("--rest", type=float, default=0.0, help="wait so many times as long as a shard took")
    args = settle(parser, argv)
    folder = args.folder
    (folder / "pool").mkdir(exist_ok=True)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval().to(args.device)
    known = composer(args, ("world", *PARTS) if args.shapes else ("world",), taught=True)
    known.teach(args.hold_out, args.shapes)
    plan, settings = folder / "pool.plan.json", {"hold_out": args.hold_out, "kinds": known.kinds}
    settings |= {
        "drawings": known.world.drawings,
        "designs": list(known.world.designs),
        "shapes": args.shapes,
    }
    if plan.exists():
        agree(json.loads(plan.read_text(encoding="utf-8")), settings, plan)
    plan.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    words = Words(folder, args.device)
    for number in range(args.first, 1 if args.smoke else args.shards):
        if not shard_path(folder, number).exists():
            began = time.time()
            shard = encode_shard(vae, words, known, number, 16 if args.smoke else SHARD)
            save_atomic(shard, shard_path(folder, number))
            spent = time.time() - began
            log_line(
                folder / "pool.jsonl",
                shard=number,
                speed=len(shard["captions"]) / spent,
                spread=float(shard["latents"].float().std()),
            )
            time.sleep(args.rest * spent)


if __name__ == "__main__":
    main()
