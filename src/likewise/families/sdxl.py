"""Stable Diffusion XL and what people train from it: Illustrious, Pony, NoobAI.

Podell et al. 2023 (arXiv 2307.01952). The UNet reads the states of two CLIP towers side by side. It is told besides what the
second tower makes of the whole prompt, and how each picture was cut. Noise or velocity prediction, with or without zero
terminal signal, is read from the scheduler's configuration.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from likewise import families
from likewise.base import Weights
from likewise.errors import BaseError
from likewise.families._advice import MINIATURE, Advice, advice
from likewise.families._clip import ClipTwin, VisionHalf, hub_twin, plain_tokenizer
from likewise.families._clip_text import ClipText, ClipTextConfig, ClipTextProjected
from likewise.families._components import (
    configuration,
    module,
    opened,
    read_config,
    require,
    tokenizer,
)
from likewise.families._diffusers import AutoencoderKL, UNet2DConditionModel
from likewise.families._unet import STABLE_DIFFUSION_BETAS, LatentUNet, target_sets
from likewise.tower import TextOutput, TextTower

logger = logging.getLogger(__name__)

SIZES = 6
"""Numbers that the UNet is told of a picture, in the order of `materials.Frame`."""


@dataclass(frozen=True)
class TextAndFrames:
    """What the UNet is given."""

    states: Tensor
    """[B, T, d + d2], the states of both towers before their last layer."""
    pooled: Tensor
    """[B, p], the second tower's projection of the whole prompt."""
    frames: Tensor | None = None
    """[B, 6], how each picture was cut; None for whole squares of the size that is drawn."""

    def __len__(self) -> int:
        return len(self.states)

    def pick(self, rows: Sequence[int] | Tensor) -> Self:
        """These rows, in this order."""
        chosen = rows if isinstance(rows, Tensor) else list(rows)
        frames = None if self.frames is None else self.frames[chosen]
        return type(self)(self.states[chosen], self.pooled[chosen], frames)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """All rows of `parts`, one after the other; they lose their frames unless all have some."""
        frames = [part.frames for part in parts if part.frames is not None]
        return cls(
            torch.cat([part.states for part in parts]),
            torch.cat([part.pooled for part in parts]),
            torch.cat(frames) if len(frames) == len(parts) else None,
        )

    def framed(self, frames: Tensor) -> Self:
        """The same for pictures that were cut like this."""
        return replace(self, frames=frames)


@dataclass(frozen=True)
class Parts:
    """Everything an SDXL model is made of, before it is one. Text parts come in the order of the towers."""

    unet: Any
    vae: Any
    encoders: Sequence[Any]
    tokenizers: Sequence[Any]
    schedule: Mapping[str, Any]
    """The scheduler's configuration as the folder has it."""
    twins: Sequence[Callable[[], VisionHalf]]
    zeros: bool = True
    """Whether an empty negative prompt is all zeros, rather than read: `force_zeros_for_empty_prompt` of the pipeline."""
    advice: Advice = field(default_factory=Advice)


class StableDiffusionXL(LatentUNet):
    """SDXL base models; the refiner, which reads one tower, is not one."""

    family: ClassVar[str] = "sdxl"
    pipelines: ClassVar[tuple[str, ...]] = ("StableDiffusionXLPipeline",)
    versions: ClassVar[tuple[str, ...]] = ("sdxl",)
    miniatures: ClassVar[Mapping[str, bool]] = {"sdxl": False, "sdxl_v": True}
    target_sets: ClassVar[Mapping[str, Mapping[str, str]]] = target_sets("text", "text_2")

    def __init__(self, name: str, parts: Parts, device: str = "cpu") -> None:
        super().__init__(name, parts.unet, parts.vae, parts.schedule)
        self._heed(parts.advice)
        self.zeros = parts.zeros
        self.towers = tuple(
            TextTower(
                tokenizer,
                encoder,
                int(encoder.config.max_position_embeddings),
                part=part,
                layer="penultimate",
            )
            for part, tokenizer, encoder in zip(
                ("text", "text_2"), parts.tokenizers, parts.encoders, strict=True
            )
        )
        for tower, twin in zip(self.towers, parts.twins, strict=True):
            tower.twin = ClipTwin(tower, twin)
        self._check_text(sum(tower.width for tower in self.towers))
        self._check_conditioning(int(parts.encoders[1].config.projection_dim))
        self._freeze(device)

    @classmethod
    def load(cls, source: str, *, device: str = "cpu", weights: Weights = "float32") -> Self:
        """Load a diffusers folder, a single file or a Hub id; raises `BaseError` saying what is wrong."""
        return cls(source, _read(families.locate(source), weights), device)

    @staticmethod
    def tiny_parts(velocity: bool) -> Parts:
        """Random parts of a miniature; one of velocity has zero terminal signal, as NoobAI has it."""
        return _tiny_parts(velocity)

    def condition(self, outputs: Sequence[TextOutput]) -> TextAndFrames:
        """The states of both towers side by side, and the second one's projection."""
        pooled = outputs[1].pooled
        assert pooled is not None, "the second tower projects"
        return TextAndFrames(torch.cat([output.states for output in outputs], -1), pooled)

    def encode_prompts(self, prompts: Sequence[str], *, negative: bool = False) -> TextAndFrames:
        """Conditioning of prompts that are drawn. An empty negative prompt is all zeros where the pipeline says so."""
        given: Any = super().encode_prompts(prompts, negative=negative)
        if negative and self.zeros:
            read = torch.tensor([bool(prompt) for prompt in prompts], device=given.pooled.device)
            return replace(
                given, states=given.states * read.view(-1, 1, 1), pooled=given.pooled * read.view(-1, 1)
            )
        return given

    def denoise(self, noisy: Tensor, levels: Tensor, given: TextAndFrames) -> Tensor:  # type: ignore[override]
        """Predicted noise or velocity for `noisy` [B, C, h, w] at integer time steps `levels` [B]."""
        frames = given.frames
        if frames is None:
            height, width = (side * self.grid for side in noisy.shape[-2:])
            frames = torch.tensor([[height, width, 0, 0, height, width]]).expand(len(noisy), SIZES)
        told = {"text_embeds": given.pooled, "time_ids": frames.to(given.pooled)}
        return self.backbone(noisy, levels, encoder_hidden_states=given.states, added_cond_kwargs=told).sample

    def _check_conditioning(self, pooled: int) -> None:
        unet = self.backbone.config
        told = pooled + SIZES * (unet.addition_time_embed_dim or 0)
        if unet.addition_embed_type != "text_time" or unet.projection_class_embeddings_input_dim != told:
            raise BaseError(
                f"the UNet of {self.name} is not told a prompt of {pooled} numbers and {SIZES} sizes",
                "the refiner of SDXL and other models of its shape cannot be taught; use the base model",
            )


FAMILY = StableDiffusionXL


def _read(path: Path, weights: Weights) -> Parts:
    """A `StableDiffusionXLPipeline` folder or a single file; raises `BaseError` naming what is missing or damaged."""
    require(path, ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler"))
    checkpoint = opened(path)
    for note in checkpoint.notes:
        logger.warning(note)
    kinds: dict[str, Any] = {"text": ClipText, "text_2": ClipTextProjected}
    encoders = [module(checkpoint, part, partial(_encoder, kind), weights) for part, kind in kinds.items()]
    index = read_config(path / "model_index.json") if path.is_dir() else {}
    return Parts(
        unet=module(checkpoint, "backbone", UNet2DConditionModel.from_config, weights),
        vae=module(
            checkpoint, "vae", AutoencoderKL.from_config
        ),  # in float32: it overflows in half precision
        encoders=encoders,
        tokenizers=[tokenizer(checkpoint, part) for part in kinds],
        schedule=configuration(checkpoint, "scheduler"),
        twins=[partial(hub_twin, encoder.config) for encoder in encoders],
        zeros=bool(index.get("force_zeros_for_empty_prompt", True)),
        advice=advice(path),
    )


def _encoder(kind: Any, config: dict[str, Any]) -> nn.Module:
    made: nn.Module = kind(ClipTextConfig.read(config))
    return made


def _tiny_parts(velocity: bool) -> Parts:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokenizers = plain_tokenizer(), plain_tokenizer()
    tokenizers[1].pad_token = "!"
    widths, common = (32, 40), 24
    configs = [
        CLIPTextConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, max_position_embeddings=77, projection_dim=common, hidden_act=activation,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        for tokenizer, width, activation in zip(tokenizers, widths, ("quick_gelu", "gelu"), strict=True)
    ]  # fmt: skip
    encoders = (CLIPTextModel(configs[0]), CLIPTextModelWithProjection(configs[1]))
    halves = [_tiny_half(width, common) for width in widths]
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=2, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), transformer_layers_per_block=(1, 2),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=sum(widths),
        attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=common + SIZES * 8,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=4, scaling_factor=0.13025,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    kind = {"prediction_type": "v_prediction" if velocity else "epsilon", "rescale_betas_zero_snr": velocity}
    twins = [partial(lambda half: half, half) for half in halves]
    return Parts(unet, vae, encoders, tokenizers, {**STABLE_DIFFUSION_BETAS, **kind}, twins, advice=MINIATURE)


def _tiny_half(width: int, common: int) -> VisionHalf:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    seen = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=32,
        patch_size=8, projection_dim=common,
    )  # fmt: skip
    projection = torch.randn(common, width) * width**-0.5
    return VisionHalf(CLIPVisionModelWithProjection(seen), projection, nn.ModuleList())
