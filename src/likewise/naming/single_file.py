"""Names of whole models: diffusers' (canonical here) and those of single files (CompVis, Stability AI, OpenCLIP).

Tables and rules only, for any width and number of levels. Nothing here reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from likewise.errors import FormatError
from likewise.naming import unet

UNET = "model.diffusion_model."
VAE = "first_stage_model."
EMA = "model_ema."
TOWERS: Mapping[str, Mapping[str, str]] = {
    "sd1": {"text": "cond_stage_model.transformer."},
    "sd2": {"text": "cond_stage_model.model."},
    "sdxl": {"text": "conditioner.embedders.0.transformer.", "text_2": "conditioner.embedders.1.model."},
}
"""Where a single file of each version keeps its text towers."""
OPEN_CLIP = frozenset({"cond_stage_model.model.", "conditioner.embedders.1.model."})
"""Those that are spelled as in OpenCLIP; the others are spelled as in transformers."""
FOLDERS = {"backbone": "unet", "vae": "vae", "text": "text_encoder", "text_2": "text_encoder_2"}
"""Canonical part -> its folder in a diffusers model."""

_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
OPEN_CLIP_ENDS = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}
OPEN_CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def unet_names(names: Iterable[str]) -> dict[str, str]:
    """Canonical name -> single file's, both without prefix; raises `FormatError` for names that these have not."""
    known = set(names)
    if any(re.match(r"down_blocks\.0\.resnets\.2\.", name) for name in known) or not any(
        re.match(r"down_blocks\.0\.resnets\.1\.", name) for name in known
    ):
        raise FormatError("the UNet has not two layers to a level, as those in single files have")
    first = any(name.startswith("up_blocks.0.attentions.") for name in known)
    made = {}
    for name in known:
        path, _, kind = name.rpartition(".")
        made[name] = f"{unet.to_original(path, first)}.{kind}"
    return made


def unet_names_back(names: Iterable[str]) -> dict[str, str]:
    """Single file's name -> canonical, both without prefix; raises `FormatError` for names that are strange."""
    made = {}
    for name in names:
        path, _, kind = name.rpartition(".")
        back = unet.from_original(path)
        halves = re.fullmatch(r"input_blocks\.(\d+)\.0\.op", path)
        if back == path or (halves and int(halves[1]) % unet.PER_LEVEL):
            raise FormatError(f"the UNet has a strange tensor {name}")
        made[name] = f"{back}.{kind}"
    return made


def vae_name(name: str, levels: int) -> str:
    """A single file's name for diffusers' VAE tensor `name`, both without prefix."""
    new = re.sub(r"up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
    new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
    new = new.replace("down_blocks.", "down.").replace(".downsamplers.0.", ".downsample.")
    new = new.replace(".upsamplers.0.", ".upsample.").replace(".resnets.", ".block.")
    new = new.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    head, found, rest = new.partition("mid_block.attentions.0.")
    layer, _, kind = rest.rpartition(".")
    return f"{head}mid.attn_1.{_VAE_ATTENTION[layer]}.{kind}" if found else new


def vae_name_back(name: str, levels: int) -> str:
    """diffusers' name for a single file's VAE tensor `name`, both without prefix."""
    layers = {new: old for old, new in _VAE_ATTENTION.items()}
    head, found, rest = name.partition("mid.attn_1.")
    if found:
        layer, _, kind = rest.rpartition(".")
        return f"{head}mid_block.attentions.0.{layers[layer]}.{kind}"
    new = re.sub(r"\bup\.(\d+)", lambda m: f"up_blocks.{levels - 1 - int(m[1])}", name)
    new = re.sub(r"mid\.block_(\d)", lambda m: f"mid_block.resnets.{int(m[1]) - 1}", new)
    new = re.sub(r"\bdown\.(\d+)", r"down_blocks.\1", new).replace(".downsample.", ".downsamplers.0.")
    new = new.replace(".upsample.", ".upsamplers.0.").replace(".block.", ".resnets.")
    return new.replace("nin_shortcut", "conv_shortcut").replace(".norm_out", ".conv_norm_out")


def canonical(part: str, name: str) -> str:
    """The canonical name of a folder's tensor: towers have a level `text_model.`, and the VAE its newer words."""
    if part.startswith("text") and name.partition(".")[0] in ("embeddings", "encoder", "final_layer_norm"):
        name = f"text_model.{name}"
    if part == "vae" and ".attentions." in name:
        head, _, rest = name.partition(".attentions.0.")
        layer, _, kind = rest.rpartition(".")
        name = f"{head}.attentions.0.{_OLD_VAE_ATTENTION.get(layer, layer)}.{kind}"
    return f"{part}.{name}"


def averaged(name: str) -> str:
    """Where a single file keeps the moving average of its UNet tensor `name` (`model.diffusion_model....`)."""
    return EMA + name.removeprefix("model.").replace(".", "")
