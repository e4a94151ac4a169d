"""Step 5: the autoencoder, 64 px to 8 x 8 latents of 16 channels.

The encoder is written down at once (see encoder.py), so that latents can be used while the decoder
still learns. The decoder sees slightly noisy latents and may be trained further at any time.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from workshop.common import (
    SIZE,
    Average,
    Course,
    autocast,
    log_line,
    options,
    save_atomic,
    settle,
    step_seed,
)
from workshop.compose import Composer, composer, sheet
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
def psnr(vae: AutoencoderKL, known: Composer, path: Path | None = None, n: int = 64) -> float:
    """Peak signal to noise on fresh pictures, coding by the mean latent."""
    truth = known.batch(n, 987_654_321).pixels
    guess = vae.decode(vae.encode(truth).latent_dist.mode()).sample.clamp(-1, 1)
    if path:
        sheet(torch.stack([truth[:16], guess[:16]], 1).flatten(0, 1), 8, path)
    return float((10 * torch.log10(4 / (guess - truth).square().mean((1, 2, 3)))).mean())


def first(folder: Path, known: Composer, samples: int) -> AutoencoderKL:
    """The saved autoencoder, or a new one with its encoder written from sample pictures."""
    if not (folder / "vae" / "config.json").exists():
        torch.manual_seed(SEED)
        vae = build()
        pixels = [known.batch(64, step_seed(SEED + 1, k)).pixels.cpu() for k in range(samples)]
        write_encoder(vae, torch.cat(pixels))
        keep(vae, folder)
    return AutoencoderKL.from_pretrained(folder / "vae")


def keep(vae: AutoencoderKL, folder: Path) -> None:
    """Save so that a reader at any moment finds a whole file; ``config.json`` comes last, and says that all are there."""
    vae.save_pretrained(folder / "vae.part")
    (folder / "vae").mkdir(exist_ok=True)
    for path in sorted((folder / "vae.part").iterdir(), key=lambda path: path.name == "config.json"):
        os.replace(path, folder / "vae" / path.name)


def step_loss(vae: AutoencoderKL, pixels: torch.Tensor) -> torch.Tensor:
    """Decode the known latents with up to NOISE of Gaussian noise."""
    with torch.no_grad():
        code = vae.encode(pixels).latent_dist.mode()
    code = code + NOISE * torch.rand(len(code), 1, 1, 1, device=code.device) * torch.randn_like(code)
    with autocast(code.device):
        guess = vae.decode(code).sample
    return picture_loss(guess.float(), pixels)


def train(vae: AutoencoderKL, wide: Composer, args: argparse.Namespace) -> AutoencoderKL:
    """The decoder's loop; returns the averaged weights, which are also kept every 500 steps."""
    folder, device = args.folder, args.device
    vae.to(device)
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    weights = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=args.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    average, step, point = Average(vae, 0.998), 0, folder / "vae.pt"
    course = Course(args.steps, args.minutes)
    if point.exists():
        state = torch.load(point, map_location=device)
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.state, average.step, step = state["average"], state["step"], state["step"]
        course.resume(state)
    smooth, began, start = AutoencoderKL.from_config(vae.config).eval().to(device), time.time(), step
    batches = wide.batches(args.batch, SEED)
    while course.share(step) < 1:
        for group in optimizer.param_groups:
            group["lr"] = course.rate(step, args.rate, 100, 0.03)
        torch.manual_seed(step_seed(SEED, step))
        loss = step_loss(vae, batches(step).pixels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        average.update(vae)
        step += 1
        if step % 50 == 0:
            speed = (step - start) * args.batch / (time.time() - began)
            log_line(folder / "vae.jsonl", step=step, loss=loss.item(), speed=speed)
        if step % 500 == 0:
            state = {
                "model": vae.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.state,
                "step": step,
            }
            save_atomic({**state, **course.state()}, point)
            smooth.load_state_dict(average.state)
            keep(smooth, folder)
            log_line(folder / "vae.jsonl", step=step, psnr=psnr(smooth, wide, folder / "vae.png", 32))
    smooth.load_state_dict(average.state)
    keep(smooth, folder)
    return smooth


def main(argv: list[str] | None = None) -> None:
    sizes = {"steps": (8000, 40_000, 3), "batch": (8, 128, 4), "rate": (1e-3, 1e-3, 1e-3)}
    args = settle(options(__doc__, **sizes), argv)
    known = composer(args)
    vae = first(args.folder, known, 1 if args.smoke else 10)
    wide = composer(args, ("world", "other"))
    wide.other_share = 0.3
    smooth = train(vae, wide, args)
    quality = psnr(smooth, known, args.folder / "vae.png")
    log_line(args.folder / "vae.jsonl", done=True, psnr=quality)


if __name__ == "__main__":
    main()
