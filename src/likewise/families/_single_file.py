"""Single-file checkpoints of Stable Diffusion 1.x and 2.x, taken apart into what a diffusers folder holds.

The published layout (CompVis) keeps UNet, autoencoder and text encoder in one file without any configuration.
Sizes are read off the tensors' shapes; head counts and the kind of prediction are not in the shapes and
follow the two published architectures. A guess that matters is told in a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from torch import Tensor

from likewise.errors import BaseError, FormatError
from likewise.weights import is_safetensors, read_header, read_object, read_tensors, tensors_in
from likewise.weights.streaming import Pending, held

Shapes = Mapping[str, tuple[int, ...]]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
CLIP = "cond_stage_model.transformer."
OPEN_CLIP = "cond_stage_model.model."
SD2_BASE_STEP = 875000
"""`global_step` of the published 512-base-ema.ckpt, its only sign of predicting noise (as in diffusers)."""

OPEN_CLIP_NAMES = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


@dataclass(frozen=True)
class Component:
    """One model's configuration and tensors, as a folder would hold them."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Pending]


@dataclass(frozen=True)
class SingleFile:
    """A checkpoint taken apart."""

    unet: Component
    vae: Component
    text: Component
    schedule: Mapping[str, Any]
    open_clip: bool
    """Does it have SD 2's text tower?"""
    notes: tuple[str, ...]
    """What had to be guessed, in sentences."""


def is_single_file(shapes: Shapes) -> bool:
    """Are these the tensors of an SD 1.x or 2.x checkpoint?"""
    text = any(name.startswith((CLIP, OPEN_CLIP)) for name in shapes)
    return text and f"{UNET}input_blocks.0.0.weight" in shapes and f"{VAE}decoder.conv_in.weight" in shapes


def read_single_file(path: Path) -> SingleFile:
    """Take the checkpoint at `path` apart; averaged (EMA) copies are skipped. Raises `BaseError`."""
    try:
        tensors, facts = _read(path)
    except FormatError as error:
        raise BaseError(error.message, error.hint) from error
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if not is_single_file(shapes):
        raise BaseError(
            f"{path} is no Stable Diffusion checkpoint", "it must hold UNet, autoencoder and text encoder"
        )
    open_clip = any(name.startswith(OPEN_CLIP) for name in shapes)
    prediction, notes = _prediction(path, facts, open_clip)
    sample = 96 if open_clip and prediction == "v_prediction" else 64
    try:
        unet, vae = unet_config(shapes, sample), vae_config(shapes)
        text = _open_clip(tensors) if open_clip else _clip(tensors)
        return SingleFile(
            _component(unet, convert_ldm_unet_checkpoint(_under(tensors, UNET), unet)),
            _component(vae, convert_ldm_vae_checkpoint(_under(tensors, VAE), vae)),
            _component(*text),
            _schedule(prediction, "ztsnr" in shapes),
            open_clip,
            notes,
        )
    except (KeyError, IndexError, StopIteration) as error:
        raise BaseError(f"{path} is not laid out as Stable Diffusion is: {error} is missing") from None


def _component(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Component:
    return Component(config, {name: held(tensor) for name, tensor in tensors.items()})


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, and the few facts beside them that tell the kind of prediction."""
    if is_safetensors(path):
        tensors = read_tensors(path)
        facts = dict(read_header(path).metadata)
    else:
        tree = read_object(path)
        tensors = tensors_in(tree, path)
        inner = dict.get(tree, "state_dict", tree)
        steps = [dict.get(table, "global_step") for table in (tree, inner)]
        facts = {}
        for step in steps:
            if isinstance(step, int):
                facts["global_step"] = str(step)
    if "global_step" in tensors:
        facts["global_step"] = str(int(tensors["global_step"]))
    for mark in ("v_pred", "ztsnr"):
        if mark in tensors:
            facts[mark] = "yes"
    return tensors, facts


def _prediction(path: Path, facts: Mapping[str, str], open_clip: bool) -> tuple[str, tuple[str, ...]]:
    """The kind of prediction: from the file, from a `.yaml` beside it, or as usual for its architecture."""
    said = facts.get("modelspec.prediction_type", "").lower()
    if "v_pred" in facts or said in ("v", "v_prediction"):
        return "v_prediction", ()
    if said in ("epsilon", "eps"):
        return "epsilon", ()
    beside = path.with_suffix(".yaml")
    if beside.is_file():
        words = beside.read_text(encoding="utf-8", errors="replace").replace('"', "").replace("'", "")
        velocity = "parameterization: v" in words
        return ("v_prediction" if velocity else "epsilon"), ()
    if not open_clip:
        return "epsilon", ()
    if facts.get("global_step") == str(SD2_BASE_STEP):
        return "epsilon", ()
    note = (
        f"{path.name} does not say whether it predicts noise or velocity; velocity is assumed, as in SD 2.1. "
        f"If it is an SD 2 base model, put {beside.name} beside it with the line `parameterization: eps`"
    )
    return "v_prediction", (note,)


def _schedule(prediction: str, zero: bool) -> dict[str, Any]:
    """Betas that every SD 1 and 2 model was trained with."""
    return {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": prediction,
        "rescale_betas_zero_snr": zero,
    }


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered children there are under `prefix`."""
    return len({name[len(prefix) :].split(".")[0] for name in shapes if name.startswith(prefix)})


def unet_config(shapes: Shapes, sample: int) -> dict[str, Any]:
    """Configuration of `UNet2DConditionModel` from the LDM tensors' shapes.

    Heads: 8 a layer where projections are convolutions (SD 1), of 64 features where they are linear (SD 2).
    """
    first, last = shapes[f"{UNET}input_blocks.0.0.weight"], shapes[f"{UNET}out.2.weight"]
    widths, layers, attends = [0], [0], [False]
    cross, linear = 0, False
    for block in range(1, _count(shapes, f"{UNET}input_blocks.")):
        here = f"{UNET}input_blocks.{block}"
        if f"{here}.0.op.weight" in shapes:
            widths, layers, attends = [*widths, 0], [*layers, 0], [*attends, False]
            continue
        widths[-1], layers[-1] = shapes[f"{here}.0.in_layers.2.weight"][0], layers[-1] + 1
        key = f"{here}.1.transformer_blocks.0.attn2.to_k.weight"
        if key in shapes:
            attends[-1], cross = True, shapes[key][1]
            linear = len(shapes[f"{here}.1.proj_in.weight"]) == 2
    if len(set(layers)) != 1 or not cross or min(widths) == 0:
        raise BaseError(f"a UNet of {layers} layers at widths {widths} is not laid out as Stable Diffusion's")
    down = ["CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends]
    up = ["CrossAttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)]
    return {
        "sample_size": sample,
        "in_channels": first[1],
        "out_channels": last[0],
        "block_out_channels": tuple(widths),
        "layers_per_block": layers[0],
        "down_block_types": tuple(down),
        "up_block_types": tuple(up),
        "cross_attention_dim": cross,
        "attention_head_dim": [width // 64 for width in widths] if linear else 8,
        "use_linear_projection": linear,
    }


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Configuration of `AutoencoderKL` from the LDM tensors' shapes, with the published latent scale."""
    levels = _count(shapes, f"{VAE}encoder.down.")
    widths = [shapes[f"{VAE}encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)]
    return {
        "in_channels": shapes[f"{VAE}encoder.conv_in.weight"][1],
        "out_channels": shapes[f"{VAE}decoder.conv_out.weight"][0],
        "latent_channels": shapes[f"{VAE}decoder.conv_in.weight"][1],
        "block_out_channels": tuple(widths),
        "layers_per_block": _count(shapes, f"{VAE}encoder.down.0.block."),
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "scaling_factor": 0.18215,
    }


def _clip(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """SD 1's text encoder; some files lack the level `text_model.`."""
    found = {name[len(CLIP) :].removeprefix("text_model."): t for name, t in _under(tensors, CLIP).items()}
    return _text_config(found, "quick_gelu"), found


def _open_clip(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """SD 2's text encoder without its last layer, which Stable Diffusion does not use."""
    found: dict[str, Tensor] = {}
    layers = _count({name: () for name in tensors}, f"{OPEN_CLIP}transformer.resblocks.") - 1
    for name, tensor in _under(tensors, OPEN_CLIP).items():
        short = name[len(OPEN_CLIP) :]
        if short in OPEN_CLIP_NAMES:
            found[OPEN_CLIP_NAMES[short]] = tensor
        elif short.startswith("transformer.resblocks."):
            number, _, rest = short.removeprefix("transformer.resblocks.").partition(".")
            if int(number) < layers:
                found.update(_open_clip_layer(f"encoder.layers.{number}.", rest, tensor))
    return _text_config(found, "gelu"), found


def _open_clip_layer(start: str, name: str, tensor: Tensor) -> dict[str, Tensor]:
    """A layer's tensor under transformers' names; queries, keys and values are stacked in OpenCLIP."""
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        return {
            f"{start}self_attn.{part}_proj.{kind}": rows
            for part, rows in zip("qkv", tensor.chunk(3), strict=True)
        }
    module, _, kind = name.rpartition(".")
    return {f"{start}{OPEN_CLIP_LAYER[module]}.{kind}": tensor}


def _text_config(found: Mapping[str, Tensor], activation: str) -> dict[str, Any]:
    """Configuration of `CLIPTextModel`; every CLIP has heads of 64 features and end-of-text as last word."""
    vocabulary, width = found["embeddings.token_embedding.weight"].shape
    layers = {name.split(".")[2] for name in found if name.startswith("encoder.layers.")}
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": found["encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": max(1, width // 64),
        "max_position_embeddings": found["embeddings.position_embedding.weight"].shape[0],
        "hidden_act": activation,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }
