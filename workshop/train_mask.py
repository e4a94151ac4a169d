"""Step 12: teach the judge where the subject is.

Half of each batch are composed pictures of the world, half are individuals of `lineup`, so that a subject need not be known to be found.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from likewise.files import write_with
from likewise.metrics._judge import MaskNet
from workshop.common import Lesson, log_line, options, settle, step_seed
from workshop.compose import composer
from workshop.lineup import Lineup
from workshop.telling import overlap, pairs
from workshop.train_judge import roughen

SEED = 909


def mask_loss(mask: MaskNet, pixels: Tensor, cover: Tensor) -> Tensor:
    """Cross-entropy and overlap (Dice) of the mask with what subjects cover."""
    logits = mask(pixels)
    found = logits.sigmoid()
    both, all_of = (found * cover).sum((1, 2, 3)), (found + cover).sum((1, 2, 3))
    return F.binary_cross_entropy_with_logits(logits, cover) + (1 - (2 * both + 1) / (all_of + 1)).mean()


def main(argv: list[str] | None = None) -> None:
    sizes = {"steps": (1500, 4000, 3), "batch": (40, 320, 20), "rate": (2e-3, 2e-3, 2e-3)}
    args = settle(options(__doc__, **sizes), argv)
    torch.manual_seed(SEED)
    mask = MaskNet().to(args.device, memory_format=torch.channels_last)
    known, lineup = composer(args, ("world", "other")), Lineup(args.folder, variants=args.variants)
    tests = pairs(Lineup(args.folder, held=True, variants=args.variants))
    vae = AutoencoderKL.from_pretrained(args.folder / "vae").eval().to(args.device)
    lesson = Lesson("mask", mask, args)
    while lesson.open:
        torch.manual_seed(step_seed(SEED, lesson.step))
        one = known.batch(args.batch // 2, step_seed(SEED + 1, lesson.step))
        other = lineup.batch(max(1, args.batch // 40), step_seed(SEED + 2, lesson.step))
        pixels = roughen(torch.cat([one.pixels, other.pixels]), vae)
        lesson.learn(mask_loss(mask, pixels, torch.cat([one.cover, other.cover]).clamp(0, 1)), len(pixels))
        if lesson.step % 200 == 0:
            log_line(lesson.log, step=lesson.step, overlap=overlap(mask, tests))
    weights = {k: v.cpu().contiguous() for k, v in mask.eval().state_dict().items()}
    write_with(args.folder / "mask.safetensors", lambda path: save_file(weights, path))
    log_line(lesson.log, done=True, overlap=overlap(mask, tests))


if __name__ == "__main__":
    main()
