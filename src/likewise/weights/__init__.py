"""Reading and writing files of tensors. What a file claims is checked, and nothing in it is ever executed.

safetensors is what we write and prefer. Pickled files (`.ckpt`, `.pt`, `.bin`) are read by `pickled`, which runs
nothing, and written by `archive`. What the tensors mean is the business of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.errors import FormatError
from likewise.weights.archive import write_object
from likewise.weights.header import Header, is_safetensors, read_header
from likewise.weights.pickled import Inert, brief, unpickle
from likewise.weights.quantised import any_companion
from likewise.weights.trees import tensors_in, unread_in

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "Header",
    "Inert",
    "is_safetensors",
    "read_header",
    "read_object",
    "read_shapes",
    "read_tensors",
    "tensors_in",
    "unread_in",
    "write_object",
    "write_tensors",
]


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors or pickled file, by name, on the CPU; a `state_dict` is opened.

    Quantised weights come as what they mean, without what stands beside them in the file.
    """
    path = Path(path)
    safe = is_safetensors(path)
    if any_companion(read_shapes(path)):
        from likewise.weights.streaming import open_tensors

        return {name: one.load() for name, one in open_tensors(path).tensors.items()}
    if not safe:
        return tensors_in(read_object(path), path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise FormatError(f"{path} cannot be read: {brief(error)}") from None


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor, without reading any."""
    path = Path(path)
    if is_safetensors(path):
        return dict(read_header(path).shapes)
    return {name: tensor.shape for name, tensor in unread_in(unpickle(path, unread=True), path).items()}


def read_object(path: Path) -> Any:
    """The whole tree of a pickled file: plain containers, numbers, texts, tensors, `Inert` bystanders.

    Raises `FormatError` naming the first thing in it that is not on the list. Nothing is executed.
    """
    return unpickle(Path(path), unread=False)


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a safetensors file that is whole or not there; `metadata` is text by text.

    Equal tensors and metadata give equal bytes, in any process. Raises `FormatError` naming a tensor that is not finite.
    """
    from likewise.weights.pending import held
    from likewise.weights.streaming import write_streamed

    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise FormatError(f"metadata {key!r} = {value!r} is not text", "safetensors keeps texts only")
    return write_streamed(Path(path), {name: held(tensor) for name, tensor in tensors.items()}, metadata)
