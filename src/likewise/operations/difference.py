"""Difference: where and how much two files change a model differently. Names and factors do not count."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from likewise.artifact import Artifact
from likewise.checkpoints.checkpoint import Checkpoint
from likewise.errors import FormatError
from likewise.factors.deltas import needs_weight, weight_change
from likewise.factors.lowrank import difference
from likewise.factors.nearest import plain
from likewise.formats._modules import group
from likewise.operations.merging import Layer
from likewise.operations.subjects import Subject, weights_of
from likewise.weights.numbers import real
from likewise.weights.pending import Pending

ROUNDING = 1e-6
"""Relative differences up to this are what float32 leaves when factors are rewritten."""
Norms = tuple[float, float, float]
"""Norms of the first change, of the second, and of their difference."""


@dataclass(frozen=True)
class Difference:
    """Where two subjects differ; names are layers for LoRAs and LyCORIS, else tensors."""

    differences: Mapping[str, float]
    """By name: norm of the difference over the larger of the two norms."""
    total: float
    """The same of everything together, with what only one of them has."""
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """The same everywhere, but for rounding."""
        alone = self.only_first or self.only_second
        return not alone and max(self.differences.values(), default=0.0) <= ROUNDING


def diff(first: Subject, second: Subject) -> Difference:
    """Compare two artifacts or two whole models, one layer in memory at a time.

    Raises `FormatError` for things that have nothing in common, such as a LoRA and an embedding.
    """
    ours, theirs = _places(first), _places(second)
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise FormatError("the two have no layer in common", "compare two files of one kind")
    found = {name: _norms(name, ours[name](), theirs[name]()) for name in shared}
    only_first = tuple(name for name in ours if name not in theirs)
    only_second = tuple(name for name in theirs if name not in ours)
    alone = [_size(ours[name]()) for name in only_first], [_size(theirs[name]()) for name in only_second]
    sizes = [math.hypot(*(norms[n] for norms in found.values()), *alone[n]) for n in (0, 1)]
    apart = math.hypot(*(norms[2] for norms in found.values()), *alone[0], *alone[1])
    return Difference(
        {name: _relative(apart, one, other) for name, (one, other, apart) in found.items()},
        _relative(apart, *sizes),
        only_first,
        only_second,
    )


def _places(subject: Subject) -> dict[str, Callable[[], Layer]]:
    """What is compared, by name: layers of changes, else tensors by themselves."""
    if isinstance(subject, Artifact) and subject.kind.delta:
        return {path: partial(dict, own) for path, own in group(subject.tensors).items()}
    source = subject.origin if isinstance(subject, Checkpoint) else subject.token
    return {name: partial(_alone, source, name, one) for name, one in weights_of(subject).items()}


def _alone(source: object, name: str, one: Pending) -> Layer:
    return {"diff": real(one.load(), name, source)}


def _norms(name: str, first: Layer, second: Layer) -> Norms:
    if first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first):
        size = _size(first)
        return size, size, 0.0
    one, other = plain(first), plain(second)
    if one is not None and other is not None and _sides(one) == _sides(other):
        (ours, lost), (theirs, _) = difference(one, other), difference(other, one)
        return ours**0.5, theirs**0.5, lost**0.5
    changes = _change(first), _change(second)
    if changes[0].numel() != changes[1].numel():
        raise FormatError(f"{name} is of another size in the two", "compare files for one model")
    apart = changes[0].flatten() - changes[1].flatten()
    return float(changes[0].norm()), float(changes[1].norm()), float(apart.norm())


def _sides(pair: Layer) -> tuple[int, int]:
    return pair["up"].shape[0], pair["down"][0].numel()


def _change(layer: Layer) -> Tensor:
    """What a layer adds; where that depends on the weight, its numbers in a row."""
    if needs_weight(layer):
        return torch.cat([layer[name].float().flatten() for name in sorted(layer)])
    biases = [layer[name].float().flatten() for name in ("diff_b", "b_norm") if name in layer]
    return torch.cat([weight_change(layer).flatten(), *biases])


def _size(layer: Layer) -> float:
    return float(_change(layer).norm())


def _relative(apart: float, one: float, other: float) -> float:
    larger = max(one, other)
    return apart / larger if larger else 0.0
