"""Numbers out of foreign files, float32 and finite, and into ours, in a precision that can hold them.

What cannot be is refused in a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from likewise.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor, dtype


REAL = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})
"""Types of numbers that are computed with, as safetensors spells them."""


def real(tensor: Any, name: str, source: object) -> Tensor:
    """`tensor` as float32; raises `FormatError` if it is none, holds no real numbers or not only finite ones."""
    from torch import Tensor

    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise FormatError(f"{source}: {name} is no tensor of real numbers")
    try:
        found = tensor.detach().float()
    except RuntimeError:  # types of 4 bits are packed, and torch computes nothing with them
        raise FormatError(
            f"{source}: {name} has numbers of the type {tensor.dtype}, which is not read"
        ) from None
    if not bool(found.isfinite().all()):
        raise FormatError(f"{source}: {name} holds numbers that are not finite", "train or fetch it again")
    return found


def rounded(tensor: Tensor, kept: dtype) -> Tensor:
    """`tensor` in the precision that is saved; raises `FormatError` if a number is too large for it."""
    found = tensor.to(kept)
    if not bool(found.isfinite().all()):
        kind, largest = str(kept).removeprefix("torch."), float(tensor.abs().max())
        raise FormatError(f"{kind} has no numbers as large as {largest:.2g}", "save it in float32")
    return found
