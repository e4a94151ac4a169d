"""The check that a file which was just written is the concept that was taught."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.lowrank import difference
from likewise.formats._modules import group
from likewise.formats.layout import Dtype

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = {"float16": 3e-3, "bfloat16": 2.5e-2, "float32": 1e-5}
"""Relative error of a whole change whose two factors and alpha are each rounded to this precision, with room for luck."""
ROUNDING = {"float16": (2**-11, 2**-25), "bfloat16": (2**-8, 2**-133), "float32": (0.0, 0.0)}
"""Half a step of each precision: relative, and near 0 absolute."""


def verify(artifact: Artifact, again: Artifact, dtype: Dtype) -> None:
    """Raise `FormatError` if `again`, read back from a file, changes a model otherwise than `artifact` does.

    The error may be what the saved precision explains.
    """
    (_verify_changes if artifact.kind.pairs else _verify_values)(artifact, again, dtype)


def _verify_changes(artifact: Artifact, again: Artifact, dtype: Dtype) -> None:
    """Compare layer by layer what is added to the weights, however it is factored; new layers must add nothing."""
    ours, theirs = group(artifact.tensors), group(again.tensors)
    size = error = 0.0
    for path, own in ours.items():
        found = theirs.get(path)
        if found is None or _sides(found) != _sides(own):
            raise FormatError(f"{path} was lost in writing", "please report this; keep the native file")
        whole, apart = difference(own, found)
        size, error = size + whole, error + apart
    error += sum(difference(theirs[path], theirs[path])[0] for path in theirs if path not in ours)
    if not error <= TOLERANCE[dtype] ** 2 * size:
        share = math.sqrt(error / size) if size else math.inf
        raise FormatError(
            f"what {dtype} keeps differs from what was taught by {share:.1%}", "save it in float32"
        )


def _sides(pair: Mapping[str, Tensor]) -> tuple[int, int]:
    """Height and width of the change."""
    return pair["up"].shape[0], pair["down"][0].numel()


def _verify_values(artifact: Artifact, again: Artifact, dtype: Dtype) -> None:
    """Compare every number by itself; as many and more may be written than the precision asks for."""
    for name, before in artifact.tensors.items():
        after = again.tensors.get(name)
        if after is None or after.shape != before.shape:
            raise FormatError(f"{name} was lost in writing", "please report this; keep the native file")
        near, least = ROUNDING[dtype]
        if not before.float().allclose(after.float(), rtol=near, atol=least):
            raise FormatError(f"{dtype} cannot hold the numbers of {name}", "save it in float32, or bfloat16")
