"""Step 8: a pool of encoded pictures, so that the backbone never waits for the autoencoder.

Shards of latents (the mean, float16), captions and what things cover are written one by one; more may be added
at any time, also while the backbone trains, and it picks them up when it next looks.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from workshop.common import agree, log_line, options, save_atomic, settle, step_seed
from workshop.compose import Batch, Composer, composer

SEED = 303
SHARD = 1024


def shard_path(folder: Path, number: int) -> Path:
    return folder / "pool" / f"{number:05d}.pt"


@torch.no_grad()
def encode(vae: AutoencoderKL, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (n, 16, 8, 8), the mean, and the share of each cell under a thing (n, 1, 8, 8); full precision."""
    latents = vae.encode(batch.pixels).latent_dist.mode()
    return latents, F.avg_pool2d(batch.cover, batch.cover.shape[-1] // latents.shape[-1])


def encode_shard(vae: AutoencoderKL, known: Composer, number: int, size: int) -> dict[str, object]:
    """One shard: latents, captions and cover of ``size`` pictures."""
    latents, captions, cover = [], [], []
    for k in range(0, size, 64):
        batch = known.batch(min(64, size - k), step_seed(SEED + number, k))
        parts = encode(vae, batch)
        latents.append(parts[0].half().cpu())
        cover.append(parts[1].half().cpu())
        captions += batch.captions
    return {"latents": torch.cat(latents), "captions": captions, "cover": torch.cat(cover)}


class Pool:
    """All shards on disk, for steps of ``n`` pictures; ``refresh`` looks for new ones."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n, self.read = folder, n, 0
        self.latents = self.cover = torch.empty(0)
        self.captions: list[str] = []
        self.refresh()

    def refresh(self) -> int:
        shards = [{"latents": self.latents, "cover": self.cover}] if len(self.latents) else []
        while shard_path(self.folder, self.read).exists():
            shard = torch.load(shard_path(self.folder, self.read))
            self.captions += shard.pop("captions")
            shards.append(shard)
            self.read += 1
        if len(shards) > 1 or not len(self.latents):
            self.latents, self.cover = (torch.cat([s[k] for s in shards]) for k in ("latents", "cover"))
        return len(self.captions)

    def draw(self, step: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Latents (n, 16, 8, 8), cover (n, 1, 8, 8) and captions of a random choice."""
        rows = torch.randint(len(self.captions), (self.n,), generator=generator)
        return self.latents[rows].float(), self.cover[rows].float(), [self.captions[i] for i in rows.tolist()]


class Fresh:
    """The same for every step from pictures that are composed and encoded when they are needed, and seen once.

    For an accelerator, where the backbone would go through a pool of any size many times.
    """

    def __init__(self, vae: AutoencoderKL, known: Composer, n: int) -> None:
        self.vae, self.batches = vae, known.batches(n, SEED)

    def refresh(self) -> int:
        """None is ever kept."""
        return 0

    def draw(self, step: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Latents, cover and captions that follow from the step."""
        batch = self.batches(step)
        return (*encode(self.vae, batch), batch.captions)


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--shards", type=int, default=60, help="how many shards of 1024 there should be")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to share the work out")
    parser.add_argument("--hold-out", action="store_true", help="leave combinations out (World.held_out)")
    args = settle(parser, argv)
    folder = args.folder
    (folder / "pool").mkdir(exist_ok=True)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval().to(args.device)
    known = composer(args, taught=True)
    known.teach(args.hold_out)
    plan, lessons = folder / "pool.plan.json", {"hold_out": args.hold_out, "kinds": known.kinds}
    lessons |= {"drawings": known.world.drawings, "designs": list(known.world.designs)}
    if plan.exists():
        agree(json.loads(plan.read_text(encoding="utf-8")), lessons, plan)
    plan.write_text(json.dumps(lessons) + "\n", encoding="utf-8")
    for number in range(args.first, 1 if args.smoke else args.shards):
        if not shard_path(folder, number).exists():
            began = time.time()
            shard = encode_shard(vae, known, number, 16 if args.smoke else SHARD)
            save_atomic(shard, shard_path(folder, number))
            log_line(
                folder / "pool.jsonl",
                shard=number,
                speed=len(shard["captions"]) / (time.time() - began),
                spread=float(shard["latents"].float().std()),
            )


if __name__ == "__main__":
    main()
