"""Transformer names: diffusers' dotted paths of SD 3 and Flux to and from their makers' layout.

The makers keep queries, keys and values (in Flux's single blocks the MLP as well) as one layer, diffusers keeps
them apart, so a published name may stand for several paths: their rows, one below the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from likewise.errors import FormatError

_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_ADDED = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_FLUX = {
    "double_blocks.{n}.img_attn.qkv": tuple(f"transformer_blocks.{{n}}.{part}" for part in _QKV),
    "double_blocks.{n}.txt_attn.qkv": tuple(f"transformer_blocks.{{n}}.{part}" for part in _ADDED),
    "double_blocks.{n}.img_attn.proj": ("transformer_blocks.{n}.attn.to_out.0",),
    "double_blocks.{n}.txt_attn.proj": ("transformer_blocks.{n}.attn.to_add_out",),
    "double_blocks.{n}.img_mlp.0": ("transformer_blocks.{n}.ff.net.0.proj",),
    "double_blocks.{n}.img_mlp.2": ("transformer_blocks.{n}.ff.net.2",),
    "double_blocks.{n}.txt_mlp.0": ("transformer_blocks.{n}.ff_context.net.0.proj",),
    "double_blocks.{n}.txt_mlp.2": ("transformer_blocks.{n}.ff_context.net.2",),
    "double_blocks.{n}.img_mod.lin": ("transformer_blocks.{n}.norm1.linear",),
    "double_blocks.{n}.txt_mod.lin": ("transformer_blocks.{n}.norm1_context.linear",),
    "single_blocks.{n}.linear1": tuple(
        f"single_transformer_blocks.{{n}}.{part}" for part in (*_QKV, "proj_mlp")
    ),
    "single_blocks.{n}.linear2": ("single_transformer_blocks.{n}.proj_out",),
    "single_blocks.{n}.modulation.lin": ("single_transformer_blocks.{n}.norm.linear",),
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
_SD3 = {
    "joint_blocks.{n}.x_block.attn.qkv": tuple(f"transformer_blocks.{{n}}.{part}" for part in _QKV),
    "joint_blocks.{n}.x_block.attn2.qkv": tuple(
        f"transformer_blocks.{{n}}.attn2.{part}" for part in ("to_q", "to_k", "to_v")
    ),
    "joint_blocks.{n}.context_block.attn.qkv": tuple(f"transformer_blocks.{{n}}.{part}" for part in _ADDED),
    "joint_blocks.{n}.x_block.attn.proj": ("transformer_blocks.{n}.attn.to_out.0",),
    "joint_blocks.{n}.x_block.attn2.proj": ("transformer_blocks.{n}.attn2.to_out.0",),
    "joint_blocks.{n}.context_block.attn.proj": ("transformer_blocks.{n}.attn.to_add_out",),
    "joint_blocks.{n}.x_block.mlp.fc1": ("transformer_blocks.{n}.ff.net.0.proj",),
    "joint_blocks.{n}.x_block.mlp.fc2": ("transformer_blocks.{n}.ff.net.2",),
    "joint_blocks.{n}.context_block.mlp.fc1": ("transformer_blocks.{n}.ff_context.net.0.proj",),
    "joint_blocks.{n}.context_block.mlp.fc2": ("transformer_blocks.{n}.ff_context.net.2",),
    "joint_blocks.{n}.x_block.adaLN_modulation.1": ("transformer_blocks.{n}.norm1.linear",),
    "joint_blocks.{n}.context_block.adaLN_modulation.1": ("transformer_blocks.{n}.norm1_context.linear",),
    "x_embedder.proj": ("pos_embed.proj",),
    "context_embedder": ("context_embedder",),
    "t_embedder.mlp.0": ("time_text_embed.timestep_embedder.linear_1",),
    "t_embedder.mlp.2": ("time_text_embed.timestep_embedder.linear_2",),
    "y_embedder.mlp.0": ("time_text_embed.text_embedder.linear_1",),
    "y_embedder.mlp.2": ("time_text_embed.text_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
TABLES = {"flux": _FLUX, "sd3": _SD3}
_WIDTHS = {"proj_mlp": 4}
"""Rows of a part in multiples of the layer's input width, where it is not 1. Both families' MLPs are 4 wide."""


@dataclass(frozen=True)
class Published:
    """A layer as a file names it, and the diffusers paths whose rows it holds, from top to bottom."""

    name: str
    paths: tuple[str, ...]
    turned: bool = False
    """Has a shift and a scale in it that the makers keep in the opposite order."""

    def rows(self, width: int) -> list[int]:
        """How many rows belong to each path of a layer that stacks several; `width` is that of its input."""
        return [width * _WIDTHS.get(path.rpartition(".")[2], 1) for path in self.paths]

    def swaps(self, rows: int, columns: int) -> bool:
        """Whether its output halves change places. SD 3's context norms do so only in the last block, all two high."""
        return self.turned and rows == 2 * columns


def to_original(family: str, path: str) -> Published:
    """The published layer that holds a diffusers path, without `backbone.`; raises `FormatError` if none does."""
    number = re.search(r"\.(\d+)\.", path)
    n = number[1] if number else ""
    name = _backwards(family).get(path.replace(f".{n}.", ".{n}.", 1) if n else path)
    if name is None:
        raise FormatError(f"{path} has no name in the published layout of {family}")
    return _at(family, name, n)


def from_original(family: str, name: str) -> Published:
    """The published layer called `name`; raises `FormatError` if there is none."""
    number = re.search(r"\.(\d+)\.", name)
    template = name
    if number and name.partition(".")[0].endswith("blocks"):
        template = name.replace(f".{number[1]}.", ".{n}.", 1)
    if template not in TABLES[family]:
        raise FormatError(f"{name} is no layer of {family}")
    return _at(family, template, number[1] if number else "")


def _at(family: str, template: str, n: str) -> Published:
    paths = TABLES[family][template]
    turned = paths[0] == "norm_out.linear" or (family == "sd3" and paths[0].endswith("norm1_context.linear"))
    return Published(template.replace("{n}", n), tuple(path.replace("{n}", n) for path in paths), turned)


@cache
def _backwards(family: str) -> Mapping[str, str]:
    return {path: name for name, paths in TABLES[family].items() for path in paths}
