"""What Stable Diffusion and SDXL share: a UNet with cross-attention over latents of a KL autoencoder, and DDPM noise.

Text is the business of each family. Sizes come from the components' configurations, noise and the kind of prediction from
the scheduler's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from likewise.base import Base, Site
from likewise.checkpoints.single_file import version_of
from likewise.errors import BaseError
from likewise.families._advice import Advice
from likewise.families._clip import clip_path
from likewise.families._diffusers import DPMSolverMultistepScheduler, ResnetBlock2D
from likewise.objective import DenoisingObjective, check_prediction
from likewise.solver import Scheduled

SCHEDULE_KEYS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
)
STABLE_DIFFUSION_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}

_ATTENTION = r"transformer_blocks\.\d+\.attn[12]\.(to_q|to_k|to_v|to_out\.0)"
_TRANSFORMER = (
    rf"attentions\.\d+\.(proj_in|proj_out|{_ATTENTION}|transformer_blocks\.\d+\.ff\.net\.(0\.proj|2))"
)
_CONVOLUTIONS = r"(resnets\.\d+\.(conv1|conv2|time_emb_proj|conv_shortcut)|(down|up)samplers\.\d+\.conv)"
_TEXT_ATTENTION = r"text_model\.encoder\.layers\.\d+\.self_attn\.(q_proj|k_proj|v_proj|out_proj)"
_TEXT_ALL = r"text_model\.encoder\.layers\.\d+\.(self_attn\.(q_proj|k_proj|v_proj|out_proj)|mlp\.(fc1|fc2))"

_TOGETHER = ("to_q", "to_k", "to_v", "q_proj", "k_proj", "v_proj")


def target_sets(*text_parts: str) -> dict[str, dict[str, str]]:
    """The three presets of a UNet family whose CLIP towers are the components `text_parts`."""
    return {
        "attention": {"backbone": rf".*\.{_ATTENTION}", **dict.fromkeys(text_parts, _TEXT_ATTENTION)},
        "transformer": {"backbone": rf".*\.{_TRANSFORMER}", **dict.fromkeys(text_parts, _TEXT_ALL)},
        "all": {
            "backbone": rf".*\.({_TRANSFORMER}|{_CONVOLUTIONS})",
            **dict.fromkeys(text_parts, _TEXT_ALL),
        },
    }


class LatentUNet(Base):
    """A base with a UNet and an autoencoder. A family adds its towers and what it tells the UNet of them."""

    versions: ClassVar[tuple[str, ...]]
    """The versions of single files that the family reads, as `checkpoints.single_file.version_of` tells them."""
    miniatures: ClassVar[Mapping[str, bool]]
    """Names of the family's miniatures, and whether each predicts velocity. The first is `tiny`."""
    target_sets: ClassVar[Mapping[str, Mapping[str, str]]] = target_sets("text")

    def __init__(self, name: str, unet: Any, vae: Any, schedule: Mapping[str, Any]) -> None:
        """`schedule` is the scheduler's configuration as a folder has it."""
        super().__init__()
        self.name = name
        self.backbone: Any = unet
        self.vae: Any = vae
        self._schedule = _read_schedule(schedule)
        self.grid = 2 ** (len(vae.config.block_out_channels) - 1)
        self.resolution = int(unet.config.sample_size or 64) * self.grid
        self._check_channels()
        self.objective = DenoisingObjective(
            self.scheduler(1).alphas_cumprod, check_prediction(self._schedule["prediction_type"])
        )

    @classmethod
    def recognises(cls, shapes: Mapping[str, tuple[int, ...]]) -> bool:
        """Whether these are the names of a single file of this family."""
        return version_of(shapes) in cls.versions

    def _heed(self, advice: Advice) -> None:
        """Take what the base's maker advises."""
        self.advice, self.reserved_tokens = advice.recipes, advice.reserved_tokens
        self.guidance, self.judges, self.prompts = advice.guidance, advice.judges, advice.prompts

    @classmethod
    def tiny(cls, seed: int = 0) -> Self:
        """The first of `tiny_variants`."""
        return next(iter(cls.tiny_variants().values()))(seed)

    @classmethod
    def tiny_variants(cls) -> dict[str, Callable[[int], Self]]:
        """Random miniatures by name, each a function of a seed."""
        return {name: partial(cls._miniature, name) for name in cls.miniatures}

    @classmethod
    def _miniature(cls, name: str, seed: int = 0) -> Self:
        family: Any = cls  # a family is made of parts of its own, not of what this class is made of
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made: Self = family(f"tiny:{name}", family.tiny_parts(cls.miniatures[name]))
        return made

    def encode_images(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [B, C, h, w] of the latents of `pixels` [B, 3, H, W] in [-1, 1]."""
        found = self.vae.encode(pixels.to(self.device)).latent_dist
        scale, shift = self._latent_scale
        return (found.mean - shift) * scale, found.std * scale

    def decode(self, latents: Tensor) -> Tensor:
        """Pixels [B, 3, H, W] in [-1, 1]."""
        scale, shift = self._latent_scale
        return self.vae.decode(latents / scale + shift).sample

    @property
    def _latent_scale(self) -> tuple[float, float]:
        return float(self.vae.config.scaling_factor), float(self.vae.config.shift_factor or 0.0)

    def latent_shape(self, size: int) -> tuple[int, ...]:
        """[C, h, w] of a square picture of `size` pixels."""
        return (int(self.backbone.config.in_channels), size // self.grid, size // self.grid)

    def scheduler(self, steps: int) -> DPMSolverMultistepScheduler:
        """DPM-Solver++ (2M; Lu et al. 2022) over this base's own betas, set to `steps`."""
        fresh = DPMSolverMultistepScheduler(**self._schedule, algorithm_type="dpmsolver++", solver_order=2)
        fresh.set_timesteps(steps)
        return fresh

    def solver(self, steps: int, shape: Sequence[int]) -> Scheduled:
        """A fresh `scheduler`; the size of the picture plays no part."""
        return Scheduled(self.scheduler(steps), "DPM++ 2M")

    def recompute(self, on: bool) -> None:
        """Gradient checkpointing of the UNet's blocks (Chen et al. 2016, arXiv 1604.06174)."""
        if on:
            self.backbone.enable_gradient_checkpointing()
        else:
            self.backbone.disable_gradient_checkpointing()

    def sites(self) -> Sequence[Site]:
        """`to_k` and `to_v` of every attention layer, in execution order."""
        return attention_sites(self.backbone)

    def of_prompts(self, given: Any) -> Mapping[nn.Module, Tensor]:
        """`to_k` and `to_v` of cross-attention, [B, T, features] each."""
        # By `forward`: what hooks add to an answer is not the layer's own.
        return {
            site.module: site.module.forward(given.states)
            for site in attention_sites(self.backbone)
            if site.kind == "cross"
        }

    def of_levels(self, levels: Tensor) -> Mapping[nn.Module, Tensor]:
        """The time embedding and, where nothing is added to it, what each ResNet block makes of it, [B, features] each."""
        unet = self.backbone
        told = unet.time_proj(levels)
        embedded = unet.time_embedding(told.float())
        found = {unet.time_proj: told, unet.time_embedding: embedded}
        added = (unet.config.addition_embed_type, unet.config.class_embed_type, unet.config.num_class_embeds)
        if added != (None, None, None) or unet.time_embed_act is not None:
            return found
        blocks = [m for m in unet.modules() if isinstance(m, ResnetBlock2D) and m.time_emb_proj is not None]
        acted = ((m, embedded if m.skip_time_act else m.nonlinearity(embedded)) for m in blocks)
        return found | {m.time_emb_proj: m.time_emb_proj.forward(x) for m, x in acted}

    def sharing(self, paths: Sequence[str]) -> Sequence[Sequence[str]]:
        """Queries, keys and values of one attention layer; where keys and values read the text, the queries stay alone."""
        of_text = {site.path for site in self.sites() if site.kind == "cross"}
        found: dict[tuple[str, bool], list[str]] = {}
        for path in paths:
            layer, _, name = path.rpartition(".")
            found.setdefault((layer if name in _TOGETHER else path, path in of_text), []).append(path)
        return list(found.values())

    def components(self) -> Mapping[str, nn.Module]:
        """`backbone`, the towers' encoders and `vae`."""
        return {
            "backbone": self.backbone,
            **{tower.part: tower.encoder for tower in self.towers},
            "vae": self.vae,
        }

    def canonical(self, part: str, path: str) -> str:
        """The published spelling of a live module path."""
        return clip_path(path) if part.startswith("text") else path

    def _freeze(self, device: str) -> None:
        for module in self.components().values():
            module.requires_grad_(False).eval().to(device)

    def _check_channels(self) -> None:
        unet, latent = self.backbone.config, self.vae.config.latent_channels
        if unet.in_channels != latent or unet.out_channels != latent:
            channels = f"{unet.in_channels} to {unet.out_channels} channels"
            raise BaseError(
                f"the UNet of {self.name} maps {channels}, but its latents have {latent}",
                "inpainting and depth models cannot be taught; use the plain text-to-image model",
            )

    def _check_text(self, width: int) -> None:
        expected = self.backbone.config.cross_attention_dim
        if expected != width:
            raise BaseError(f"{self.name} reads text {expected} wide, but its text encoders give {width}")


def attention_sites(unet: nn.Module) -> list[Site]:
    """The key and value projections of a UNet of diffusers, in execution order; the tree lists the middle last."""
    found = [
        Site(f"backbone.{path}", module, part, int(module.in_features), kind)  # type: ignore[arg-type]
        for path, module in unet.named_modules()
        for suffix, part in ((".to_k", "key"), (".to_v", "value"))
        for layer, kind in ((".attn1", "self"), (".attn2", "cross"))
        if path.endswith(layer + suffix)
    ]
    order = ("backbone.down_blocks", "backbone.mid_block", "backbone.up_blocks")
    return sorted(
        found, key=lambda site: next(n for n, start in enumerate(order) if site.path.startswith(start))
    )


def _read_schedule(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the sampler keeps of a folder's scheduler configuration: its betas and its kind of prediction."""
    kind = str(config.get("_class_name", ""))
    if kind.startswith(("FlowMatch", "EDM")):
        raise BaseError(
            f"the scheduler {kind} is not one of Stable Diffusion", "is this a folder of another family?"
        )
    kept = {key: config[key] for key in SCHEDULE_KEYS if config.get(key) is not None}
    kept.setdefault("prediction_type", "epsilon")
    zero = bool(config.get("rescale_betas_zero_snr", False))
    trailing = zero or config.get("timestep_spacing") == "trailing"
    return {
        **kept,
        "steps_offset": 1,  # without effect here; a pipeline that is given this scheduler warns otherwise
        "rescale_betas_zero_snr": zero,
        "timestep_spacing": "trailing" if trailing else "linspace",
    }
