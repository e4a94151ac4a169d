"""Reading and writing files of tensors. What a file claims is checked, and nothing in it is ever executed.

safetensors is what we write and prefer. Pickled files (`.ckpt`, `.pt`, `.bin`) are read by `pickled`, which runs
nothing, and written by `archive`. What the tensors mean is the business of others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from likewise.errors import FormatError
from likewise.files import write_with
from likewise.weights.archive import write_object
from likewise.weights.pickled import Inert, Unread, brief, unpickle

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

T = TypeVar("T")
MAX_HEADER = 100_000_000
"""Bytes; the bound of the safetensors specification."""
MOST_LEVELS, MOST_NODES = 8, 100_000
"""Of a pickled tree. A few bytes can spell one without end."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64,
    "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself before any tensor."""

    metadata: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """As the file spells them: `F32`, `BF16`, ..."""


def is_safetensors(path: Path) -> bool:
    """Does the file open like safetensors? Its name does not count. Raises `FormatError` if unreadable."""
    start = _start(path)
    # the length of the header may itself look like the start of a pickle or a zip; the brace and the bound tell
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER


def read_header(path: Path) -> Header:
    """The header of a safetensors file, every claim checked against the file's size; imports no torch."""
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER, size - 8):
                raise FormatError("not safetensors, or cut short", "fetch the file again")
            data = json.loads(file.read(length).decode("utf-8"), parse_constant=_no_constant)
        return _checked_header(data, size - 8 - length)
    except FormatError as error:
        raise FormatError(f"{path}: {error.message}", error.hint) from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} has no readable safetensors header: {brief(error)}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors or pickled file, by name, on the CPU; a `state_dict` is opened."""
    path = Path(path)
    if not is_safetensors(path):
        return tensors_in(read_object(path), path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)
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


def tensors_in(tree: Any, path: Path) -> dict[str, Tensor]:
    """The named tensors of what `read_object(path)` gave, opened from its `state_dict` if it has one.

    Names of nested ones are joined by dots, places in lists and tuples counted from 0: `768.0.linear.0.weight`. A
    bare tensor is called "".
    """
    from torch import Tensor

    return _named(tree, path, Tensor)


def unread_in(tree: Any, path: Path) -> dict[str, Unread]:
    """The same of a tree that was read without its data."""
    return _named(tree, path, Unread)


def _named(tree: Any, path: Path, kind: type[T]) -> dict[str, T]:
    # `dict.get(tree, ...)`: a pickle can hang attributes named `get` and `items` on its dictionaries
    inner = dict.get(tree, "state_dict", tree) if isinstance(tree, dict) else tree
    found: dict[str, T] = {}
    for name, tensor in _walk(inner, path, kind):
        if name in found:
            raise FormatError(f"{path} holds two tensors called {name!r}")
        found[name] = tensor
    if not found:
        raise FormatError(f"{path} holds no tensors")
    return found


def _walk(tree: Any, path: Path, kind: type[T]) -> Iterator[tuple[str, T]]:
    """Every tensor of a tree in its order, with its name."""
    pending: list[tuple[tuple[str, ...], Any]] = []
    if isinstance(tree, dict | list | tuple | kind):
        pending = [((), tree)]
    seen = 0
    while pending:
        place, node = pending.pop()
        if isinstance(node, kind):
            yield ".".join(place), node
            continue
        named = dict.items(node) if isinstance(node, dict) else enumerate(node)
        children = [(str(k), child) for k, child in named if isinstance(child, dict | list | tuple | kind)]
        seen += len(children)
        if seen > MOST_NODES or (children and len(place) == MOST_LEVELS):
            raise FormatError(f"{path} is nested beyond all measure", "nothing of it was run")
        pending += [((*place, key), child) for key, child in reversed(children)]


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a safetensors file that is whole or not there; `metadata` is text by text."""
    from safetensors.torch import save_file

    for key, value in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise FormatError(f"metadata {key!r} = {value!r} is not text", "safetensors keeps texts only")
    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        raw = plain.untyped_storage()
        shared = raw.data_ptr() in seen or raw.nbytes() != plain.nbytes
        kept[name] = plain.clone() if shared else plain
        seen.add(kept[name].untyped_storage().data_ptr())
    return write_with(Path(path), lambda temporary: save_file(kept, temporary, dict(metadata or {})))


def _start(path: Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {brief(error)}") from None


def _no_constant(name: str) -> float:
    raise FormatError(f"the header holds {name}, which is no size")


def _checked_header(data: Any, room: int) -> Header:
    """Raise `FormatError` unless `data` describes tensors that lie within `room` bytes."""
    if not isinstance(data, dict):
        raise FormatError("the header is not a table")
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FormatError("the header's metadata is not text by text")
    shapes, dtypes = {}, {}
    for name, entry in data.items():
        match entry:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
                whole = all(type(side) is int and 0 <= side < 2**48 for side in shape)
            case _:
                raise FormatError(f"the header's entry for {name!r} is damaged")
        if not whole or dtype not in BITS or not 0 <= begin <= end <= room:
            raise FormatError(
                f"the tensor {name!r} ({dtype} {shape}) is not in the file", "fetch the file again"
            )
        if math.prod(shape) * BITS[dtype] != (end - begin) * 8:
            raise FormatError(f"the tensor {name!r} ({dtype} {shape}) does not fill its {end - begin} bytes")
        shapes[name], dtypes[name] = tuple(shape), dtype
    return Header(metadata, shapes, dtypes)
