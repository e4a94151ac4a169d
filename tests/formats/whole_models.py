"""Miniatures of Stable Diffusion 1, 2 and XL with the conventions of the published ones, saved as plain diffusers does."""

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from likewise.families._clip import plain_tokenizer

VERSIONS = ("sd1", "sd2", "sdxl")
WIDE = 128
"""Width of XL's second tower; the published one is square as well, and wider than the first."""


def unet(version: str) -> UNet2DConditionModel:
    """A UNet of two or, for XL, three levels; XL has one without attention and different depths, as published."""
    options: dict = {
        "sample_size": {"sd1": 64, "sd2": 96, "sdxl": 128}[version], "layers_per_block": 2, "norm_num_groups": 32,
        "cross_attention_dim": 64, "attention_head_dim": 8,
    }  # fmt: skip
    if version == "sd1":
        options |= {
            "block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        }  # fmt: skip
    if version == "sd2":
        options |= {
            "block_out_channels": (64, 128), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "attention_head_dim": (1, 2),
            "use_linear_projection": True,
        }  # fmt: skip
    if version == "sdxl":
        options |= {
            "block_out_channels": (32, 64, 64), "attention_head_dim": (1, 1, 1), "use_linear_projection": True,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 2, 3), "cross_attention_dim": 64 + WIDE,
            "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": WIDE + 6 * 8,
        }  # fmt: skip
    return UNet2DConditionModel(**options)


def vae(version: str) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 64), layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        scaling_factor=0.13025 if version == "sdxl" else 0.18215,
    )  # fmt: skip


def tower(layers: int, activation: str, words: CLIPTokenizer, width: int = 64) -> CLIPTextModel:
    kind = CLIPTextModelWithProjection if width == WIDE else CLIPTextModel
    return kind(CLIPTextConfig(
        vocab_size=len(words), hidden_size=width, intermediate_size=128, num_hidden_layers=layers,
        num_attention_heads=width // 64, hidden_act=activation, projection_dim=width,
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    ))  # fmt: skip


def tokenizer(open_clip: bool) -> CLIPTokenizer:
    """OpenCLIP pads with its id 0, which is an exclamation mark."""
    words = plain_tokenizer()
    if open_clip:
        words.pad_token = "!"
    return words


def pipeline(version: str, seed: int = 0) -> StableDiffusionPipeline | StableDiffusionXLPipeline:
    """A random model of a version; SD 2 predicts velocity. XL's second tower has ten layers, or diffusers takes a
    single file of it for SD 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        scheduler = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1,
            set_alpha_to_one=False, prediction_type="v_prediction" if version == "sd2" else "epsilon",
        )  # fmt: skip
        parts = {"unet": unet(version), "vae": vae(version), "scheduler": scheduler}
        words = tokenizer(open_clip=version == "sd2")
        parts["tokenizer"] = words
        if version == "sdxl":
            second = tokenizer(open_clip=True)
            return StableDiffusionXLPipeline(
                **parts, text_encoder=tower(2, "quick_gelu", words), tokenizer_2=second,
                text_encoder_2=tower(10, "gelu", second, WIDE), add_watermarker=False,
            )  # fmt: skip
        return StableDiffusionPipeline(
            **parts, text_encoder=tower(3, "gelu" if version == "sd2" else "quick_gelu", words),
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip


def folder(version: str, path: Path, seed: int = 0) -> Path:
    """The model as the installed diffusers and transformers save it."""
    pipeline(version, seed).save_pretrained(path)
    return path


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder, by component and by a name without the level that only some versions write."""
    from safetensors.torch import load_file

    return {
        f"{file.parent.name}.{name.removeprefix('text_model.')}": tensor
        for file in sorted(path.glob("*/*.safetensors"))
        for name, tensor in load_file(file).items()
    }
