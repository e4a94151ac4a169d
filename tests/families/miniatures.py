"""What the tests of Stable Diffusion share: prompts, a question to a base, a saved folder, a hostile file."""

import os
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from likewise.families.sd import StableDiffusion

PROMPTS = ["a photo of sks dog", "a red cat on the beach"]


def answer(base: StableDiffusion, prompts: list[str] = PROMPTS) -> Tensor:
    """What `base` answers for fixed noise at two levels."""
    noise = torch.randn(len(prompts), *base.latent_shape(64), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return base.denoise(noise, torch.tensor([10, 800])[: len(prompts)], base.encode_text(prompts))


def save_folder(base: StableDiffusion, folder: Path, **options) -> Path:
    """`base` as plain diffusers saves it."""
    tower = base.towers[0]
    StableDiffusionPipeline(
        vae=base.vae, text_encoder=tower.encoder, tokenizer=tower.tokenizer, unet=base.backbone,
        scheduler=base.scheduler(4), safety_checker=None, feature_extractor=None,
        image_encoder=tower.twin.half.vision, requires_safety_checker=False,
    ).save_pretrained(folder, **options)  # fmt: skip
    return folder


class Hostile:
    """Asks whoever unpickles it to run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)
