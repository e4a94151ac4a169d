"""Resizing: fewer dimensions for a LoRA, or a LoRA in place of another factorisation, and what that loses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.deltas import bias_change, needs_weight, weight_change
from likewise.factors.lowrank import Pair, difference
from likewise.factors.nearest import Cut, Ledger, Size, nearest, plain, reduced
from likewise.formats._modules import Modules, group, ungroup
from likewise.kinds import LOW_RANK

if TYPE_CHECKING:
    from torch import Tensor


def resize(artifact: Artifact, size: Size) -> tuple[Artifact, Cut]:
    """The LoRA of a size nearest to what `artifact` changes; at its own rank it is the same change.

    Plain pairs are cut without forming their product; LyCORIS layers by their whole change. Biases and norms are
    named as left out. Raises `FormatError` for what is no change of weights, and for layers whose change depends on the
    weight that it is added to (DoRA, OFT, GLoRA, IA3).
    """
    if not artifact.kind.delta:
        raise FormatError(f"what {artifact.method} taught has no rank", "LoRA and LyCORIS files are resized")
    ledger, modules = Ledger(), Modules()
    for path, own in group(artifact.tensors).items():
        bias = bias_change(own)
        if bias is not None and bias.any():
            ledger.leave(f"{path}.bias", float(bias.norm()))
        made = _cut(path, own, size, ledger)
        if made is not None:
            modules[path] = made
    if not modules:
        raise FormatError("there is no layer in it that a LoRA could change")
    return artifact.remade(LOW_RANK, ungroup(modules)), ledger.cut()


def _cut(path: str, own: Mapping[str, Tensor], size: Size, ledger: Ledger) -> Pair | None:
    pair = plain(own)
    if pair is not None:
        made = reduced(pair, size)
        norm, lost = difference(pair, made)
        ledger.keep(path, len(made["down"]), norm**0.5, lost**0.5)
        return made
    if needs_weight(own):
        raise FormatError(
            f"the change of {path} depends on the weight that it is added to",
            "merge it into its base, then extract a LoRA",
        )
    change = weight_change(own)
    if change.dim() < 2:
        ledger.leave(f"{path}.weight", float(change.norm()))
        return None
    made = nearest(change, size)
    lost_change = change - weight_change(made).reshape(change.shape)
    ledger.keep(path, len(made["down"]), float(change.norm()), float(lost_change.norm()))
    return made
