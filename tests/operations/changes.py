"""Random changes that tests of operations share, and the plain sums that they are held against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.checkpoints.checkpoint import Checkpoint
from likewise.factors.deltas import weight_change
from likewise.formats._modules import group
from likewise.weights.pending import held
from tests.formats import whole_models

BLOCK = "backbone.down_blocks.0.attentions.0.transformer_blocks.0"
LINEAR, CONV, TEXT = (
    f"{BLOCK}.attn2.to_k",
    "backbone.down_blocks.0.resnets.0.conv1",
    "text.text_model.encoder.layers.0.self_attn.q_proj",
)
SHAPES = {LINEAR: (32, 64), CONV: (32, 32, 3, 3), TEXT: (64, 64)}


def random(*shape: int, seed: int = 0, scale: float = 0.1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def lora(
    seed: int = 0, rank: int = 3, alpha: float = 2.0, paths: tuple[str, ...] = tuple(SHAPES)
) -> Artifact:
    """A LoRA of these layers of the miniature SD 1."""
    tensors = {}
    for n, path in enumerate(paths):
        outer, *inner = SHAPES[path]
        tensors[f"{path}.down"] = random(rank, *inner, seed=seed + n)
        tensors[f"{path}.up"] = random(outer, rank, seed=seed + n + 100)
        tensors[f"{path}.alpha"] = torch.tensor(alpha)
    return Artifact("lora", "sd", f"sks{seed}", "dog", tensors, {"rank": rank}, "some base")


def full(seed: int = 0) -> Artifact:
    """A LyCORIS file with a whole difference, a bias, a norm and a product of two factors."""
    tensors = {
        f"{LINEAR}.diff": random(32, 64, seed=seed),
        f"{CONV}.diff": random(32, 32, 3, 3, seed=seed + 1),
        f"{CONV}.diff_b": random(32, seed=seed + 2),
        f"{BLOCK}.norm1.w_norm": random(32, seed=seed + 3),
        f"{TEXT}.hada_w1_a": random(64, 2, seed=seed + 4), f"{TEXT}.hada_w1_b": random(2, 64, seed=seed + 5),
        f"{TEXT}.hada_w2_a": random(64, 2, seed=seed + 6), f"{TEXT}.hada_w2_b": random(2, 64, seed=seed + 7),
    }  # fmt: skip
    return Artifact("lycoris", "sd", f"full{seed}", "dog", tensors, {"algo": "full"}, "some base")


def changes(artifact: Artifact) -> dict[str, Tensor]:
    """What is added to each layer's weight."""
    return {path: weight_change(own) for path, own in group(artifact.tensors).items()}


def furthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference of any number."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name].reshape(one[name].shape)).abs().max()) for name in one)


def model(folder: Path, version: str = "sd1", seed: int = 0) -> Checkpoint:
    """A random miniature, as a folder of diffusers."""
    return open_checkpoint(whole_models.folder(version, folder, seed))


def tuned(base: Checkpoint, added: Mapping[str, Tensor]) -> Checkpoint:
    """The model with these added to its parameters."""
    return base.replaced({name: held(base.tensors[name].load() + change) for name, change in added.items()})
