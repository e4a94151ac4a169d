"""Flattening: a hypernetwork without activations as a change of weights.

Such networks are affine: what they add to the inputs of keys and values is `M x + c`. `W M` is a change of the layer's
weight, exactly; `W c` would be a bias, and attention in Stable Diffusion has none, so that part is lost, and how much it is
gets reported. Other hypernetworks are no change of weights, and refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from likewise.artifact import Artifact
from likewise.checkpoints.checkpoint import DTYPES, Checkpoint, cast
from likewise.errors import FormatError
from likewise.factors.deltas import weight_change
from likewise.factors.nearest import Cut, Ledger, Size, nearest
from likewise.formats._modules import Modules, ungroup
from likewise.kinds import LOW_RANK
from likewise.operations.subjects import MERGED
from likewise.weights.pending import Pending

SITE = re.compile(r"backbone\..*\.attn[12]\.to_(?P<side>[kv])\.weight")
SIDES = {"k": "key", "v": "value"}
Affine = tuple[Tensor, Tensor]
"""`M` [width, width] and `c` [width]."""


def flatten(model: Checkpoint, artifact: Artifact) -> tuple[Checkpoint, Cut]:
    """`model` with a hypernetwork in its attention layers, and what is lost: the constants.

    Raises `FormatError` where the networks are not affine, or no layer of the model has their width.
    """
    ledger, tensors = Ledger(), dict(model.tensors)
    for name, affine in _sites(model, artifact):
        before = model.tensors[name]
        tensors[name] = _changed(before, affine[0])
        change = before.load().float() @ affine[0]
        ledger.keep(
            name.removesuffix(".weight"), int(torch.linalg.matrix_rank(affine[0])), float(change.norm()), 0.0
        )
        _lose(ledger, name, before, affine)
    names = {**model.metadata, MERGED: f"{model.origin.stem}, {artifact.token}"}
    return replace(model, tensors=tensors, metadata=names), ledger.cut()


def flat_lora(model: Checkpoint, artifact: Artifact, size: Size) -> tuple[Artifact, Cut]:
    """The LoRA for `model` nearest to a hypernetwork, and what is lost: small dimensions, and the constants."""
    ledger, modules = Ledger(), Modules()
    for name, affine in _sites(model, artifact):
        before, path = model.tensors[name], name.removesuffix(".weight")
        change = before.load().float() @ affine[0]
        modules[path] = nearest(change, size)
        lost = change - weight_change(modules[path])
        ledger.keep(path, len(modules[path]["down"]), float(change.norm()), float(lost.norm()))
        _lose(ledger, name, before, affine)
    return artifact.remade(LOW_RANK, ungroup(modules)), ledger.cut()


def _lose(ledger: Ledger, name: str, weight: Pending, affine: Affine) -> None:
    """For inputs of unit variance, as after a norm, a matrix adds its Frobenius norm, so the two can be compared."""
    constant = weight.load().float() @ affine[1]
    if constant.any():
        ledger.leave(f"{name.removesuffix('.weight')} (constant)", float(constant.norm()))


def _sites(model: Checkpoint, artifact: Artifact) -> Iterator[tuple[str, Affine]]:
    """The weights of keys and values that the networks of their width act on."""
    activation, norm = artifact.recipe.get("activation", "linear"), artifact.recipe.get("layer_norm", False)
    if activation != "linear" or norm:
        what = "layer normalisation" if norm else f"the activation {activation}"
        raise FormatError(
            f"a hypernetwork with {what} is no fixed change of weights",
            "AUTOMATIC1111 and ComfyUI load it as it is",
        )
    networks: dict[tuple[int, str], Affine] = {}
    found = False
    for name, one in model.tensors.items():
        match = SITE.fullmatch(name)
        if match is None:
            continue
        key = (one.shape[1], SIDES[match["side"]])
        if f"hypernetwork.{key[0]}.{key[1]}.linear.0.weight" in artifact.tensors:
            networks.setdefault(key, _affine(artifact, *key))
            yield name, networks[key]
            found = True
    if not found:
        raise FormatError(
            f"no attention of {model.origin} has the widths of {artifact.token}", "it is for another model"
        )


def _affine(artifact: Artifact, width: int, part: str) -> Affine:
    """All layers of one network as one."""
    prefix = f"hypernetwork.{width}.{part}.linear."
    places = sorted(
        {int(name[len(prefix) :].split(".")[0]) for name in artifact.tensors if name.startswith(prefix)}
    )
    matrix, constant = torch.eye(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    for place in places:
        weight = artifact.tensors[f"{prefix}{place}.weight"].double()
        matrix = weight @ matrix
        constant = weight @ constant + artifact.tensors[f"{prefix}{place}.bias"].double()
    return matrix.float(), constant.float()


def _changed(weight: Pending, matrix: Tensor) -> Pending:
    def load() -> Tensor:
        value = weight.load().float()
        return value + value @ matrix

    return cast(
        Pending("F32", weight.shape, load), weight.dtype if weight.dtype in DTYPES.values() else "F32"
    )
