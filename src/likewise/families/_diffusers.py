"""The parts of diffusers that families compute with, and no more of it.

A family takes them from here, so that a command starts in half the time. Each name is the class of diffusers itself.
"""

from __future__ import annotations

from likewise.narrow import narrowly

# Read from a folder by `_components`, never by diffusers: so it needs no Hub, no text encoders and no quantisers.
ABSENT = ("transformers", "peft", "accelerate", "scipy", "torch._dynamo")
LATE = (
    "diffusers.hooks",
    "diffusers.models.autoencoders",
    "diffusers.models.transformers",
    "diffusers.models.unets",
)

with narrowly(absent=ABSENT, late=LATE):
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.resnet import ResnetBlock2D as ResnetBlock2D
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

__all__ = ["AutoencoderKL", "DPMSolverMultistepScheduler", "UNet2DConditionModel"]
