"""Random LoRAs for plain diffusers models, and what a reader makes of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.factors.deltas import weight_change
from likewise.formats import Saving
from likewise.formats._modules import group
from likewise.naming import flat as naming
from likewise.naming.flat import COMPONENTS, canonical_text
from likewise.naming.transformer import Published

FULL = Saving("float32")
LAYERS = ("Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D", "CLIPAttention", "CLIPMLP")
"""Parts of a model whose layers people adapt: kohya's set with convolutions."""


def layers(model: nn.Module, inside: tuple[str, ...] = LAYERS) -> dict[str, nn.Module]:
    """Every linear layer and convolution in parts of these classes, by the live path."""
    found: dict[str, nn.Module] = {}
    for root, part in model.named_modules():
        if type(part).__name__ in inside:
            for path, module in part.named_modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    found[f"{root}.{path}".removesuffix(".")] = module
    return found


def canonical(component: str, path: str) -> str:
    """The canonical path of a live one."""
    part = COMPONENTS[component]
    return f"{part}.{path if part == 'backbone' else canonical_text(path)}"


def from_kohya(flat: str, family: str) -> Published:
    """The canonical paths that a flat name stands for."""
    part, rest = naming.flat_part(flat) or ("", "")
    part = "text_2" if family == "flux" and part == "text_3" else part
    return naming.from_dotted(part, naming.unflatten(rest), family)


def lora(
    components: Mapping[str, nn.Module],
    family: str = "sd",
    rank: Callable[[int], int] = lambda n: 2 + n % 2,
    alpha: Callable[[int], float] = lambda n: 1.0 + n % 3,
) -> Artifact:
    """A LoRA of every layer of these components; the n-th layer has `rank(n)` and `alpha(n)`."""
    random = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for component, model in components.items():
        for n, (path, module) in enumerate(layers(model).items()):
            name, shape = canonical(component, path), module.weight.shape
            inner = min(rank(n), *shape[:2])
            tensors[f"{name}.down"] = torch.randn(inner, *shape[1:], generator=random) * 0.1
            tensors[f"{name}.up"] = torch.randn(shape[0], inner, generator=random) * 0.1
            tensors[f"{name}.alpha"] = torch.tensor(float(alpha(n)))
    return Artifact("lora", family, "sks", "dog", tensors, base="some base")


def components(pipe: Any) -> dict[str, nn.Module]:
    """The parts of a pipeline that take a LoRA."""
    names = ("unet", "text_encoder", "text_encoder_2")
    return {name: getattr(pipe, name) for name in names if getattr(pipe, name, None) is not None}


def fused_error(pipe: Any, path: Path, artifact: Artifact) -> float:
    """Largest difference between what plain diffusers does to the weights and what the artifact says."""
    before = copy.deepcopy(components(pipe))
    pipe.load_lora_weights(str(path))
    pipe.fuse_lora(components=list(before))
    pipe.unload_lora_weights()
    return weight_error(before, components(pipe), artifact)


def weight_error(
    before: Mapping[str, nn.Module], after: Mapping[str, nn.Module], artifact: Artifact
) -> float:
    """Largest difference between the change of any parameter and what the artifact says of it."""
    changes, worst, seen = group(artifact.tensors), 0.0, 0
    for component, model in before.items():
        found = dict(after[component].named_parameters())
        for name, old in model.named_parameters():
            path = canonical(component, name).removesuffix(".weight")
            change = found[name].detach() - old.detach()
            if path in changes:
                change = change - weight_change(changes[path]).reshape(old.shape)
                seen += 1
            worst = max(worst, float(change.abs().max()))
    assert seen == len(changes), "layers of the artifact that the models do not have"
    return worst


def same(one: Artifact, other: Artifact) -> bool:
    """Whether all tensors are the same, to the last bit."""
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items()
    )


def change_error(one: Artifact, other: Artifact) -> float:
    """Largest difference between the changes of two artifacts."""
    ours, theirs = group(one.tensors), group(other.tensors)
    assert ours.keys() == theirs.keys()
    pairs = ((weight_change(ours[path]), weight_change(theirs[path])) for path in ours)
    return max(float((a - b.reshape(a.shape)).abs().max()) for a, b in pairs)
