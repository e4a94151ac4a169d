"""Numbers as bytes: whether every one of them is finite. torch is not needed, and a piece is looked at at a time."""

from __future__ import annotations

from typing import Any

from likewise.errors import FormatError

EXPONENTS = {
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F800000),
    "C64": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
    "F8_E5M2": ("u1", 0x7C),
    "F8_E4M3": ("u1", 0x7F),  # this type has no infinity, and one NaN of either sign
}
"""By type: the whole number to read, and the bits that are set in what is not finite."""
PIECE = 1 << 20


def refuse_infinite(data: Any, dtype: str, name: str) -> None:
    """Raise `FormatError` if the bytes `data` of the tensor `name` hold an infinity or no number at all."""
    if not finite(data, dtype):
        raise infinite(name)


def infinite(name: str) -> FormatError:
    """What is said of the tensor `name` that holds an infinity or no number at all."""
    return FormatError(f"{name} holds numbers that are not finite", "train or fetch what it came from again")


def finite(data: Any, dtype: str) -> bool:
    """Whether all numbers of this type (as safetensors spells it) in `data` are finite. Checkpoint numbers always are."""
    if dtype not in EXPONENTS:
        return True
    import numpy as np

    kind, mask = EXPONENTS[dtype]
    numbers = np.frombuffer(data, kind)
    return not any(
        bool(((numbers[start : start + PIECE] & numbers.dtype.type(mask)) == mask).any())
        for start in range(0, len(numbers), PIECE)
    )
