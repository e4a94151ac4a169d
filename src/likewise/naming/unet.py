"""UNet names: diffusers' dotted paths to and from the layout that CompVis and Stability AI publish.

The two differ by a renumbering of blocks and a few words, so rules suffice and any depth is covered. No model is
looked at.
"""

from __future__ import annotations

import re

from likewise.errors import FormatError

PER_LEVEL = 3
"""Numbered input blocks of a level: two layers and what halves the picture. Every published model has it so."""
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET_BACK = {original: ours for ours, original in _RESNET.items()}
_OUTSIDE_BACK = {original: ours for ours, original in _OUTSIDE.items()}
_OURS = re.compile(
    r"(?:(?P<side>down|up)_blocks\.(?P<level>\d+)|mid_block)"
    r"\.(?P<kind>resnets|attentions|downsamplers|upsamplers)\.(?P<layer>\d+)\.(?P<rest>.+)"
)
_ORIGINAL = re.compile(
    r"(?:(?P<side>input|output)_blocks\.(?P<block>\d+)|middle_block)\.(?P<child>\d+)\.(?P<rest>.+)"
)


def to_original(path: str, attends_first: bool = True) -> str:
    """The published name of a diffusers path, both without `backbone.`; raises `FormatError` if there is none.

    `attends_first`: does the first level of the way up have attention? So it is in SDXL, not in SD 1 and 2; the
    first upsampler's number depends on it.
    """
    if path in _OUTSIDE:
        return _OUTSIDE[path]
    found = _OURS.fullmatch(path)
    if not found:
        raise FormatError(f"{path} has no name in the published UNet layout")
    kind, layer, rest = found["kind"], int(found["layer"]), found["rest"]
    rest = _RESNET.get(rest, rest) if kind == "resnets" else rest
    if found["side"] is None:
        return f"middle_block.{2 * layer if kind == 'resnets' else 1}.{rest}"
    level = int(found["level"])
    if layer >= PER_LEVEL:
        raise FormatError(f"{path} is in a level of more layers than the published UNet layout has room for")
    if kind == "downsamplers":
        return f"input_blocks.{PER_LEVEL * (level + 1)}.0.op"
    if kind == "upsamplers":
        child = 2 if level or attends_first else 1
        return f"output_blocks.{PER_LEVEL * level + 2}.{child}.{rest}"
    child = 0 if kind == "resnets" else 1
    if found["side"] == "down":
        return f"input_blocks.{1 + PER_LEVEL * level + layer}.{child}.{rest}"
    return f"output_blocks.{PER_LEVEL * level + layer}.{child}.{rest}"


def from_original(name: str) -> str:
    """The diffusers path of a published name; a name that is already diffusers' comes back as it is."""
    if name in _OUTSIDE_BACK:
        return _OUTSIDE_BACK[name]
    found = _ORIGINAL.fullmatch(name)
    if not found:
        return name
    child, rest = int(found["child"]), found["rest"]
    if found["side"] is None:
        kind = "attentions.0" if child == 1 else f"resnets.{child // 2}"
        return f"mid_block.{kind}.{_RESNET_BACK.get(rest, rest)}"
    block = int(found["block"])
    level, layer = divmod(block - (found["side"] == "input"), PER_LEVEL)
    side = "down" if found["side"] == "input" else "up"
    if rest == "op":
        return f"{side}_blocks.{level}.downsamplers.0.conv"
    if rest == "conv":
        return f"{side}_blocks.{level}.upsamplers.0.conv"
    if child == 1:
        return f"{side}_blocks.{level}.attentions.{layer}.{rest}"
    return f"{side}_blocks.{level}.resnets.{layer}.{_RESNET_BACK.get(rest, rest)}"


def is_original(name: str) -> bool:
    """Whether this dotted name is spelled as published, not as in diffusers."""
    return name in _OUTSIDE_BACK or _ORIGINAL.fullmatch(name) is not None
