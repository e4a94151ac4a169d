"""Configurations of a diffusers folder, read off shapes, and which of them single files take for granted.

Sizes follow from shapes. Head counts, activations and schedules do not: a single file means those of the published
models, so a model that has others would be misread, and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from likewise.checkpoints.checkpoint import TABLE, Checkpoint
from likewise.errors import FormatError
from likewise.naming import single_file as spelling

Config = dict[str, Any]

SAMPLE = {"sd1": 64, "sd2": 64, "sd2-v": 96, "sdxl": 128}
"""Side of a latent picture, by `Checkpoint.architecture`."""
SCHEDULE: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}
WRITTEN_BY = {"_diffusers_version": "0.30.0"}
UNTOLD: Mapping[str, Config] = {
    "unet": {
        "attention_head_dim": 8, "num_attention_heads": None, "norm_num_groups": 32, "norm_eps": 1e-5,
        "flip_sin_to_cos": True, "freq_shift": 0, "act_fn": "silu",
    },
    "vae": {"scaling_factor": 0.18215, "shift_factor": None, "norm_num_groups": 32, "act_fn": "silu"},
    "text_encoder": {"hidden_act": "quick_gelu", "num_attention_heads": 12, "layer_norm_eps": 1e-5},
    "text_encoder_2": {"hidden_act": "quick_gelu", "num_attention_heads": 12, "layer_norm_eps": 1e-5},
    "scheduler": SCHEDULE,
}  # fmt: skip
"""What shapes do not tell, with the values that a configuration means by leaving it out."""


def configs(whole: Checkpoint) -> dict[str, Config]:
    """`config.json` of every component by folder name, and the scheduler's, as the published models have them."""
    made = {"unet": _unet(whole), "vae": _vae(whole), "scheduler": _scheduler(whole)}
    for part in whole.parts():
        if part.startswith("text"):
            made[spelling.FOLDERS[part]] = _text(whole, part)
    return made


def config_of(whole: Checkpoint, component: str) -> Config:
    """The configuration of `unet`, `vae`, `text_encoder`, ... or `scheduler`: the folder's own, or what a single file means.

    Raises `FormatError` where a folder has none.
    """
    if whole.origin.is_dir():
        file = "scheduler_config.json" if component == "scheduler" else "config.json"
        return read_json(whole.origin / component / file)
    return configs(whole)[component]


def model_index(whole: Checkpoint) -> Config:
    """`model_index.json`; raises `FormatError` for a backbone that no text-to-image pipeline takes."""
    shapes = _shapes(whole, "backbone")
    given, latent = shapes["conv_in.weight"][1], _shapes(whole, "vae")["decoder.conv_in.weight"][1]
    kinds = {latent: "", 2 * latent + 1: "Inpaint"}
    if given not in kinds:
        hint = "depth, upscaling and editing models have other parts, which are not written"
        raise FormatError(f"the UNet of {whole.origin} takes {given} channels for latents of {latent}", hint)
    xl = whole.version == "sdxl"
    index: Config = {
        "_class_name": f"StableDiffusion{'XL' if xl else ''}{kinds[given]}Pipeline",
        **WRITTEN_BY,
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
    }
    for part in whole.parts():
        if part.startswith("text"):
            tail = "_2" if part == "text_2" else ""
            index[spelling.FOLDERS[part]] = ["transformers", _text(whole, part)["architectures"][0]]
            index[f"tokenizer{tail}"] = ["transformers", "CLIPTokenizer"]
    if xl:
        return index | {"force_zeros_for_empty_prompt": True}
    return index | {"safety_checker": [None, None], "requires_safety_checker": False}


def refuse_unusual(whole: Checkpoint) -> None:
    """Raise `FormatError` where a folder's configuration is not what readers of single files will assume."""
    if not whole.origin.is_dir():
        return
    for name, assumed in configs(whole).items():
        file = whole.origin / name / ("scheduler_config.json" if name == "scheduler" else "config.json")
        found = read_json(file)
        for key, default in UNTOLD[name].items():
            has, meant = _plain(found.get(key, default)), _plain(assumed.get(key, default))
            if key == "attention_head_dim":
                has, meant = _per_level(has, whole), _per_level(meant, whole)
            if has != meant:
                raise FormatError(
                    f"{file} has {key} = {has}, but programs take a single file to mean {meant}",
                    "write a diffusers folder instead, which keeps its configuration",
                )


def read_json(path: Path) -> Config:
    """A JSON table; raises `FormatError` where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FormatError(f"{path} is missing", "the folder is not whole; fetch it again") from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise FormatError(f"{path} is not a table")
    return found


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a table, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _unet(whole: Checkpoint) -> Config:
    shapes = _shapes(whole, "backbone")
    levels = _count(shapes, "down_blocks.")
    widths = [shapes[f"down_blocks.{n}.resnets.0.conv1.weight"][0] for n in range(levels)]
    depths = [_count(shapes, f"down_blocks.{n}.attentions.0.transformer_blocks.") for n in range(levels)]
    linear = whole.version != "sd1"
    cross = [shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")]
    if not cross:
        raise FormatError(f"the UNet of {whole.origin} reads no text")
    config = {
        "_class_name": "UNet2DConditionModel",
        **WRITTEN_BY,
        "sample_size": SAMPLE[whole.architecture],
        "in_channels": shapes["conv_in.weight"][1],
        "out_channels": shapes["conv_out.weight"][0],
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, "down_blocks.0.resnets."),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "cross_attention_dim": cross[0],
        "attention_head_dim": [max(1, width // 64) for width in widths] if linear else 8,
        "use_linear_projection": linear,
    }
    if whole.version == "sdxl":
        inner = shapes["add_embedding.linear_1.weight"][1]
        pooled = _shapes(whole, "text_2")["text_projection.weight"][0]
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (inner - pooled) // 6,  # three sizes of two numbers each
            "projection_class_embeddings_input_dim": inner,
        }
    return config


def _vae(whole: Checkpoint) -> Config:
    shapes = _shapes(whole, "vae")
    levels = _count(shapes, "encoder.down_blocks.")
    return {
        "_class_name": "AutoencoderKL",
        **WRITTEN_BY,
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["decoder.conv_in.weight"][1],
        "block_out_channels": [
            shapes[f"encoder.down_blocks.{n}.resnets.0.conv1.weight"][0] for n in range(levels)
        ],
        "layers_per_block": _count(shapes, "encoder.down_blocks.0.resnets."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "sample_size": SAMPLE[whole.architecture] * 8,
        "scaling_factor": 0.13025 if whole.version == "sdxl" else 0.18215,
    }


def _text(whole: Checkpoint, part: str) -> Config:
    """Every CLIP has heads of 64 features and end-of-text as its last word."""
    shapes = _shapes(whole, part)
    rows, width = shapes[TABLE]
    vocabulary = rows - len(whole.words)
    projected = part == "text_2"
    return {
        "architectures": ["CLIPTextModelWithProjection" if projected else "CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": rows,
        "hidden_size": width,
        "intermediate_size": shapes["text_model.encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(shapes, "text_model.encoder.layers."),
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": shapes["text_model.embeddings.position_embedding.weight"][0],
        "projection_dim": shapes["text_projection.weight"][0] if projected else width,
        "hidden_act": "gelu" if projected or whole.version == "sd2" else "quick_gelu",
        "layer_norm_eps": 1e-5,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": 0 if projected or whole.version == "sd2" else vocabulary - 1,
    }


def _scheduler(whole: Checkpoint) -> Config:
    return {
        "_class_name": "DDIMScheduler",
        **WRITTEN_BY,
        **SCHEDULE,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": whole.prediction,
        "rescale_betas_zero_snr": whole.zero_snr,
        "timestep_spacing": "trailing" if whole.zero_snr else "leading",
    }


def _shapes(whole: Checkpoint, part: str) -> dict[str, tuple[int, ...]]:
    return {name: one.shape for name, one in whole.part(part).items()}


def _count(shapes: Mapping[str, object], prefix: str) -> int:
    return len({name[len(prefix) :].partition(".")[0] for name in shapes if name.startswith(prefix)})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _per_level(heads: Any, whole: Checkpoint) -> list[int]:
    return heads if isinstance(heads, list) else [heads] * _count(whole.part("backbone"), "down_blocks.")
