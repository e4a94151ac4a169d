"""Step 5: the autoencoder, 64 px to 8 x 8 latents of 16 channels.

The encoder is written down at once (see encoder.py), so that latents can be used while the decoder
still learns. The decoder sees slightly noisy latents and may be trained further at any time.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from workshop.common import SIZE, Average, log_line, save_atomic, step_seed, work
from workshop.compose import Composer, sheet
from workshop.encoder import write_encoder

WIDTHS = (16, 32, 64, 128)
LATENTS = 16
SEED = 101
NOISE = 0.15


def build() -> AutoencoderKL:
    """A new autoencoder; narrow where the picture is large."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        latent_channels=LATENTS,
        norm_num_groups=1,
        mid_block_add_attention=False,
        sample_size=SIZE,
        scaling_factor=1.0,
    )


def picture_loss(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """L1 + L2 + difference of neighbouring pixels."""
    edges = sum(F.l1_loss(guess.diff(dim=d), truth.diff(dim=d)) for d in (2, 3))
    return F.l1_loss(guess, truth) + 2 * F.mse_loss(guess, truth) + 0.5 * edges


@torch.no_grad()
def psnr(vae: AutoencoderKL, composer: Composer, path: Path | None = None, n: int = 64) -> float:
    """Peak signal to noise on fresh pictures, coding by the mean latent."""
    truth = composer.batch(n, 987_654_321).pixels
    guess = vae.decode(vae.encode(truth).latent_dist.mode()).sample.clamp(-1, 1)
    if path:
        sheet(torch.stack([truth[:16], guess[:16]], 1).flatten(0, 1), 8, path)
    return float((10 * torch.log10(4 / (guess - truth).square().mean((1, 2, 3)))).mean())


def first(folder: Path, composer: Composer, samples: int) -> AutoencoderKL:
    """The saved autoencoder, or a new one with its encoder written from sample pictures."""
    if not (folder / "vae" / "config.json").exists():
        torch.manual_seed(SEED)
        vae = build()
        write_encoder(
            vae, torch.cat([composer.batch(64, step_seed(SEED + 1, k)).pixels for k in range(samples)])
        )
        keep(vae, folder)
    return AutoencoderKL.from_pretrained(folder / "vae")


def keep(vae: AutoencoderKL, folder: Path) -> None:
    """Save so that a reader at any moment finds a whole file."""
    vae.save_pretrained(folder / "vae.part")
    (folder / "vae").mkdir(exist_ok=True)
    for path in (folder / "vae.part").iterdir():
        os.replace(path, folder / "vae" / path.name)


def step_loss(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """Decode the known latents with up to NOISE of Gaussian noise."""
    with torch.no_grad():
        code = vae.encode(pixels).latent_dist.mode()
    code = code + NOISE * torch.rand(len(code), 1, 1, 1) * torch.randn_like(code)
    return picture_loss(vae.decode(code).sample, pixels)


def train(vae: AutoencoderKL, composer: Composer, args: argparse.Namespace, folder: Path) -> None:
    """The decoder's loop; leaves the averaged weights in ``vae``."""
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    weights = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    average, start, point = Average(vae, 0.998), 0, folder / "vae.pt"
    if point.exists():
        state = torch.load(point)
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.state, average.step, start = state["average"], state["step"], state["step"]
    smooth, began = AutoencoderKL.from_config(vae.config).eval(), time.time()
    for step in range(start, args.steps):
        for group in optimizer.param_groups:
            group["lr"] = (
                args.rate
                * min(1, (step + 1) / 100)
                * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))
            )
        torch.manual_seed(step_seed(SEED, step))
        loss = step_loss(vae, composer.batch(args.batch, step_seed(SEED, step)).pixels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        average.update(vae)
        if (step + 1) % 50 == 0:
            speed = (step + 1 - start) * args.batch / (time.time() - began)
            log_line(folder / "vae.jsonl", step=step + 1, loss=loss.item(), speed=speed)
        if (step + 1) % 500 == 0:
            state = {
                "model": vae.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state,
                "step": step + 1,
            }
            save_atomic(state, point)
            smooth.load_state_dict(average.state)
            keep(smooth, folder)
            log_line(folder / "vae.jsonl", step=step + 1, psnr=psnr(smooth, composer, folder / "vae.png", 32))
    vae.load_state_dict(average.state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = work(args.smoke)
    if args.smoke:
        args.steps, args.batch = 3, 4
    variants = 4 if args.smoke else 400
    known = Composer(folder, variants=variants)
    vae = first(folder, known, 1 if args.smoke else 10)
    composer = Composer(folder, ("world", "other"), variants=variants)
    composer.other_share = 0.3
    train(vae, composer, args, folder)
    keep(vae, folder)
    log_line(folder / "vae.jsonl", done=True, psnr=psnr(vae.eval(), known, folder / "vae.png"))


if __name__ == "__main__":
    main()
