"""Stable Diffusion 1.x and 2.x, and `pocket`, which has the same layout at another size.

A UNet with cross-attention on one CLIP text tower and a KL autoencoder. Noise or velocity prediction is read
from the scheduler's configuration, every size from the checkpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from likewise import families
from likewise.base import Weights
from likewise.families._advice import MINIATURE, Advice, advice
from likewise.families._clip import (
    ClipTwin,
    TextStates,
    VisionHalf,
    plain_tokenizer,
    read_twin,
)
from likewise.families._clip_text import ClipText, ClipTextConfig
from likewise.families._components import (
    configuration,
    module,
    opened,
    require,
    tokenizer,
)
from likewise.families._diffusers import AutoencoderKL, UNet2DConditionModel
from likewise.families._unet import STABLE_DIFFUSION_BETAS, LatentUNet
from likewise.tower import TextOutput, TextTower

logger = logging.getLogger(__name__)

PROJECTION = "text_projection.weight"
"""What a folder's text encoder may hold besides, for aesthetic embeddings; the backbone does not read it."""


@dataclass(frozen=True)
class Parts:
    """Everything a Stable Diffusion model is made of, before it is one."""

    unet: Any
    vae: Any
    text_encoder: Any
    tokenizer: Any
    schedule: Mapping[str, Any]
    """The scheduler's configuration as the folder has it."""
    twin: Callable[[], VisionHalf]
    advice: Advice = field(default_factory=Advice)
    notes: tuple[str, ...] = ()
    """Guesses that had to be made while reading, in sentences."""


class StableDiffusion(LatentUNet):
    """SD 1.x, SD 2.x and the pocket model."""

    family: ClassVar[str] = "sd"
    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionPipeline",)
    versions: ClassVar[tuple[str, ...]] = ("sd1", "sd2")
    miniatures: ClassVar[Mapping[str, bool]] = {"sd1": False, "sd2": True}

    def __init__(self, name: str, parts: Parts, device: str = "cpu") -> None:
        super().__init__(name, parts.unet, parts.vae, parts.schedule)
        self._heed(parts.advice)
        self.notes = parts.notes
        limit = parts.text_encoder.config.max_position_embeddings
        tower = TextTower(parts.tokenizer, parts.text_encoder, int(limit))
        tower.twin = ClipTwin(tower, parts.twin)
        self.towers = (tower,)
        self._check_text(tower.width)
        self._freeze(device)

    @classmethod
    def load(cls, source: str, *, device: str = "cpu", weights: Weights = "float32") -> Self:
        """Load a diffusers folder, a single file or a Hub id; raises `BaseError` saying what is wrong."""
        return cls(source, _read(families.locate(source), weights), device)

    @staticmethod
    def tiny_parts(velocity: bool) -> Parts:
        """Random parts of SD 1's layout (0.26 M weights, 64 px), or of SD 2's: linear projections and a cut text tower."""
        return _tiny_parts(velocity)

    def condition(self, outputs: Sequence[TextOutput]) -> TextStates:
        """The tower's states [B, T, d]: the last hidden layer after the final norm (SD 2's tower is cut)."""
        return TextStates(outputs[0].states)

    def denoise(self, noisy: Tensor, levels: Tensor, given: TextStates) -> Tensor:  # type: ignore[override]
        """Predicted noise or velocity for `noisy` [B, C, h, w] at integer time steps `levels` [B]."""
        return self.backbone(noisy, levels, encoder_hidden_states=given.states).sample


FAMILY = StableDiffusion


def _read(path: Path, weights: Weights) -> Parts:
    """A `StableDiffusionPipeline` folder or a single file; raises `BaseError` naming what is missing or damaged."""
    require(path, ("unet", "vae", "text_encoder", "tokenizer", "scheduler"))
    checkpoint = opened(path)
    for note in checkpoint.notes:
        logger.warning(note)
    text = ClipTextConfig.read(configuration(checkpoint, "text_encoder"))
    projection = checkpoint.part("text").get(PROJECTION)
    return Parts(
        unet=module(checkpoint, "backbone", UNet2DConditionModel.from_config, weights),
        vae=module(checkpoint, "vae", AutoencoderKL.from_config),
        text_encoder=module(checkpoint, "text", lambda _: ClipText(text), weights, (PROJECTION,)),
        tokenizer=tokenizer(checkpoint, "text"),
        schedule=configuration(checkpoint, "scheduler"),
        twin=lambda: read_twin(path / "image_encoder", projection, text),
        advice=advice(path),
        notes=checkpoint.notes,
    )


def _tiny_parts(velocity: bool) -> Parts:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    tokenizer = plain_tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2 + velocity,
        num_attention_heads=4, max_position_embeddings=77, projection_dim=24, hidden_act="quick_gelu",
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    encoder = CLIPTextModel(text)
    cut = nn.ModuleList([encoder.encoder.layers.pop(-1)] if velocity else [])
    text.num_hidden_layers = 2
    seen = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32,
        patch_size=8, projection_dim=24,
    )  # fmt: skip
    half = VisionHalf(CLIPVisionModelWithProjection(seen), torch.randn(24, 32) * 32**-0.5, cut)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), cross_attention_dim=32,
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=(4, 8) if velocity else 4, use_linear_projection=velocity,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=4, scaling_factor=0.18215,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    schedule = {**STABLE_DIFFUSION_BETAS, "prediction_type": "v_prediction" if velocity else "epsilon"}
    return Parts(unet, vae, encoder, tokenizer, schedule, lambda: half, MINIATURE)
