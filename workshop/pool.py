"""Step 7: a pool of encoded pictures, so that the backbone never waits for the autoencoder.

Shards of latents (the mean, float16), captions and what things cover are written one by one; more may be added
at any time, also while the backbone trains, and it picks them up when it next looks.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from workshop.common import log_line, save_atomic, step_seed, work
from workshop.compose import Composer

SEED = 303
SHARD = 1024


def shard_path(folder: Path, number: int) -> Path:
    return folder / "pool" / f"{number:05d}.pt"


@torch.no_grad()
def encode_shard(vae: AutoencoderKL, composer: Composer, number: int, size: int) -> dict[str, object]:
    """One shard: (size, 16, 8, 8) latents, their captions, and the share of each cell under a thing."""
    latents, captions, cover = [], [], []
    for k in range(0, size, 64):
        batch = composer.batch(min(64, size - k), step_seed(SEED + number, k))
        latents.append(vae.encode(batch.pixels).latent_dist.mode().half())
        captions += batch.captions
        cover.append(F.avg_pool2d(batch.cover, batch.cover.shape[-1] // latents[-1].shape[-1]).half())
    return {"latents": torch.cat(latents), "captions": captions, "cover": torch.cat(cover)}


class Pool:
    """All shards on disk; ``refresh`` looks for new ones."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.read = folder, 0
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

    def draw(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, list[str]]:
        """Latents (n, 16, 8, 8), cover (n, 1, 8, 8) and captions of a random choice."""
        rows = torch.randint(len(self.captions), (n,), generator=generator)
        return self.latents[rows].float(), self.cover[rows].float(), [self.captions[i] for i in rows.tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=60, help="how many shards of 1024 there should be")
    parser.add_argument("--first", type=int, default=0, help="number of the first, to share the work out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = work(args.smoke)
    (folder / "pool").mkdir(exist_ok=True)
    vae = AutoencoderKL.from_pretrained(folder / "vae").eval()
    composer = Composer(folder, variants=4 if args.smoke else 400, taught=True)
    for number in range(args.first, 1 if args.smoke else args.shards):
        if not shard_path(folder, number).exists():
            began = time.time()
            shard = encode_shard(vae, composer, number, 16 if args.smoke else SHARD)
            save_atomic(shard, shard_path(folder, number))
            log_line(
                folder / "pool.jsonl",
                shard=number,
                speed=len(shard["captions"]) / (time.time() - began),
                spread=float(shard["latents"].float().std()),
            )


if __name__ == "__main__":
    main()
