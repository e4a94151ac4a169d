"""Pending: a tensor that is still to be made, its bytes, and what safetensors calls its type.

Nothing here opens a file: whoever makes one says how it is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from likewise.errors import FormatError
from likewise.weights.header import BITS

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from likewise.weights.pickled import Unread

TORCH = {
    "U64": "uint64", "I64": "int64", "F64": "float64", "C64": "complex64", "F32": "float32", "U32": "uint32",
    "I32": "int32", "BF16": "bfloat16", "F16": "float16", "U16": "uint16", "I16": "int16",
    "F8_E8M0": "float8_e8m0fnu", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "I8": "int8",
    "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""What safetensors calls torch's types, in the order in which tensors of them lie in a file."""
PIECE = 1 << 20
"""Bytes that are in memory at a time while a tensor passes from file to file; whole numbers of any type."""


@dataclass(frozen=True)
class Pending:
    """A tensor that is still to be made: what it will be, and how to get it."""

    dtype: str
    """As safetensors spells it."""
    shape: tuple[int, ...]
    load: Callable[[], Tensor]
    read: Callable[[], Iterator[Any]] | None = None
    """Its bytes, `PIECE` by `PIECE`, where they can be had without the tensor."""
    exact: Pending | None = None
    """What it was before it was rounded to `dtype`, if it was."""


def from_bytes(dtype: str, shape: tuple[int, ...], read: Callable[[], Iterator[Any]]) -> Pending:
    """A tensor whose bytes `read` gives, piece by piece."""

    def load() -> Tensor:
        import torch

        made, done = torch.empty(shape, dtype=torch_type(dtype)), 0
        view = memoryview(raw_bytes(made))
        for piece in read():
            view[done : done + len(piece)] = piece
            done += len(piece)
        return made

    return Pending(dtype, shape, load, read)


def pieces(one: Pending, name: str = "a tensor") -> Iterator[Any]:
    """The bytes of `one`, in pieces where it can be read so; raises `FormatError` if it is not as announced."""
    if one.read is not None:
        return one.read()
    tensor = one.load()
    if (spelled(tensor), tuple(tensor.shape)) != (one.dtype, one.shape):
        found = f"{spelled(tensor)} {tuple(tensor.shape)}"
        raise FormatError(f"{name} came as {found}, not as the {one.dtype} {one.shape} that was announced")
    return iter((raw_bytes(tensor),))


def held(tensor: Tensor) -> Pending:
    """A tensor that is in memory already."""
    return Pending(spelled(tensor), tuple(tensor.shape), lambda: tensor)


def bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    """How many bytes a tensor has in a file."""
    return math.prod(shape) * BITS[dtype] // 8


def torch_type(dtype: str) -> torch.dtype:
    """What torch calls a type; raises `FormatError` for one that it does not have."""
    import torch

    if dtype not in TORCH:
        raise FormatError(f"numbers of the type {dtype} are not read here")
    found: torch.dtype = getattr(torch, TORCH[dtype])
    return found


def spelled(tensor: Tensor | Unread) -> str:
    """What safetensors calls the type of `tensor`; raises `FormatError` for one that it cannot keep."""
    name = str(tensor.dtype).removeprefix("torch.")
    for dtype, torch_name in TORCH.items():
        if name == torch_name:
            return dtype
    raise FormatError(f"safetensors keeps no tensors of the type {name}")


def raw_bytes(tensor: Tensor) -> Any:
    """The memory of `tensor` as a flat array of bytes; shared with it if it is contiguous."""
    import torch

    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
