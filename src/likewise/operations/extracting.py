"""Extracting: a LoRA out of two whole models, one of which was trained from the other."""

from __future__ import annotations

import re

from likewise.artifact import Artifact
from likewise.checkpoints.checkpoint import FAMILIES, Checkpoint
from likewise.errors import FormatError
from likewise.factors.deltas import weight_change
from likewise.factors.nearest import Cut, Ledger, Size, clamped, nearest
from likewise.formats._metadata import token_of
from likewise.formats._modules import Modules, ungroup
from likewise.kinds import LOW_RANK
from likewise.operations.merging import mismatch
from likewise.weights.numbers import real

CLAMP = 0.99
"""The quantile that kohya's extraction cuts at."""
_TABLES = re.compile(r".*\b(token|position)_embedding\.weight")
"""Matrices that are looked up and not multiplied with, so that no LoRA can hang there."""


def extract(
    base: Checkpoint, tuned: Checkpoint, size: Size, clamp: float | None = None
) -> tuple[Artifact, Cut]:
    """The LoRA nearest to `tuned - base`, layer by layer, and what it loses; layers that are the same are skipped.

    `clamp` cuts extreme entries of the factors at a quantile, as kohya's script does at 0.99; it only adds error.
    Biases, norms, embeddings and the autoencoder are named as left out where they differ. Raises `FormatError` for
    models of different shape, and where nothing that fits a LoRA differs.
    """
    if base.version != tuned.version or base.tensors.keys() != tuned.tensors.keys():
        raise FormatError(f"{base.origin} and {tuned.origin} are models of different kinds")
    ledger, modules = Ledger(), Modules()
    for name, before in base.tensors.items():
        after = tuned.tensors[name]
        if after is before:
            continue
        if before.shape != after.shape:
            raise FormatError(
                f"{name} is {before.shape} in {base.origin} and {after.shape} in {tuned.origin}"
            )
        change = real(after.load(), name, tuned.origin) - real(before.load(), name, base.origin)
        if not change.any():
            continue
        if not _fits(name, before.shape):
            ledger.leave(name, float(change.norm()))
            continue
        pair = nearest(change, size)
        pair = pair if clamp is None else clamped(pair, clamp)
        path = name.removesuffix(".weight")
        modules[path] = pair
        lost = change - weight_change(pair).reshape(change.shape)
        ledger.keep(path, len(pair["down"]), float(change.norm()), float(lost.norm()))
    if not modules:
        raise FormatError(
            f"no layer of {tuned.origin} differs from {base.origin}", "there is nothing to extract"
        )
    notes = {"prediction": tuned.prediction}
    if base.prediction != tuned.prediction:
        notes["mismatch"] = mismatch((base, tuned))
    token, family = token_of(tuned.metadata, tuned.origin), FAMILIES[base.version]
    made = Artifact(LOW_RANK.mark, family, token, "", ungroup(modules), base=base.origin.stem, notes=notes)
    return made, ledger.cut()


def _fits(name: str, shape: tuple[int, ...]) -> bool:
    """Whether it is the weight of a linear layer or a convolution of the backbone or a text tower."""
    layer = name.endswith(".weight") and len(shape) in (2, 4)
    return layer and not name.startswith("vae.") and not _TABLES.fullmatch(name)
