"""Counted sizes of files are those of the methods' own tensors on miniatures, and of the published networks."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from likewise import methods
from likewise.base import Base
from likewise.comparison.sizes import RANK, SHAPES, STRUCTURE, VECTORS, Shape, file_bytes
from tests.bases import concept, stack, tiny

BYTES = {"fp16": 2, "fp32": 4}
NETWORKS: dict[str, dict[str, Any]] = {
    "sd": {"block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": 8, "cross_attention_dim": 768},
    "sdxl": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
        "use_linear_projection": True,
    },
}
"""The published configurations, as far as they differ from diffusers' defaults."""


def shape_of(title: str, network: torch.nn.Module, towers: tuple[int, ...]) -> Shape:
    """What of a network decides sizes, read off its modules."""
    keys: list[Any] = [module for name, module in network.named_modules() if name.endswith("attn2.to_k")]
    blocks = dict(Counter(key.out_features for key in keys))
    return Shape(title, sum(p.numel() for p in network.parameters()), blocks, keys[0].in_features, towers)


def towers(base: Base, key: str) -> tuple[int, ...]:
    return tuple(getattr(base.components()[part].config, key) for part in base.text_parts)


@pytest.mark.parametrize("family", NETWORKS)
def test_the_shapes_are_those_of_the_published_networks(family: str) -> None:
    with torch.device("meta"):
        network = UNet2DConditionModel(**NETWORKS[family])
    known = SHAPES[family]
    assert shape_of(known.title, network, known.towers) == known


@pytest.mark.parametrize("variant", ["sd1", "sdxl"])
@pytest.mark.parametrize("method", methods.names())
def test_the_counted_size_is_that_of_what_a_method_keeps(method: str, variant: str, tmp_path: Path) -> None:
    base, chosen = tiny(variant), methods.get(method)
    recipe = chosen.recipe()
    with chosen.attach(base, stack([concept(tmp_path)], [recipe])) as adapter:
        kept = sum(tensor.numel() for tensor in adapter.state(0).values()) * BYTES[recipe.keep]
    # features and words are equally wide in the published towers alone
    key = "projection_dim" if method == "aesthetic" else "hidden_size"
    assert file_bytes(method, shape_of(variant, base.backbone, towers(base, key))) == kept


def test_the_defaults_are_those_of_the_recipes() -> None:
    assert methods.get("lora").recipe().rank == RANK
    assert methods.get("textual_inversion").recipe().vectors == VECTORS
    assert methods.get("hypernetwork").recipe().structure == STRUCTURE


def test_a_method_of_another_package_has_no_counted_size() -> None:
    assert file_bytes("ia3", SHAPES["sd"]) is None
