"""Streaming: safetensors files read and written one tensor at a time, so that memory holds no more than one.

What only moves from file to file passes in pieces, without torch. The order on disk is the one of the `safetensors` library:
equal tensors give an equal payload, whoever wrote it.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.errors import FormatError
from likewise.files import write_with
from likewise.weights import quantised
from likewise.weights.finite import refuse_infinite
from likewise.weights.header import BITS, is_safetensors, read_header
from likewise.weights.pending import PIECE, TORCH, Pending, bytes_of, from_bytes, pieces, raw_bytes, spelled
from likewise.weights.pickled import Place, Unread, unpickle
from likewise.weights.trees import unread_in

if TYPE_CHECKING:
    from torch import Tensor

DIGEST = "payload-sha256".center(64, "_")
"""Stands in metadata for the SHA-256 of the payload, which is known only once the payload is written."""

_RANK = {dtype: place for place, dtype in enumerate(TORCH)}
_LETTERS = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b", "U8": "B"}


class TensorFile:
    """The tensors of a safetensors file, each read when it is asked for; raises `FormatError` if damaged."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.header = read_header(self.path)

    def tensor(self, name: str) -> Tensor:
        """The tensor `name`, in memory of its own (a mapped file would stay in memory page by page)."""
        return self.pending(name).load()

    def number(self, name: str) -> float | None:
        """The value of a tensor of one element, without torch; None for types that plain Python does not know."""
        dtype = self.header.dtypes[name]
        with self.path.open("rb") as file:
            file.seek(self.header.places[name])
            data = file.read(BITS[dtype] // 8)
        if dtype == "BF16":  # the upper half of a float32
            dtype, data = "F32", b"\0\0" + data
        letter = _LETTERS.get(dtype)
        return None if letter is None else float(struct.unpack(f"<{letter}", data)[0])

    def pending(self, name: str) -> Pending:
        """The tensor `name`, to be read later; raises `FormatError` where the file does not have it."""
        if name not in self.header.shapes:
            raise FormatError(f"{self.path} lacks the tensor {name}")
        dtype, shape = self.header.dtypes[name], self.header.shapes[name]
        place = Place(bytes_of(dtype, shape), self.header.places[name])
        return from_bytes(dtype, shape, lambda: _stretch(self.path, name, place))


@dataclass(frozen=True)
class Opened:
    """A file of tensors of either kind, each tensor read when it is asked for, quantised weights as what they mean."""

    tensors: Mapping[str, Pending]
    metadata: Mapping[str, str]
    """Metadata of a safetensors file; pickled ones have none."""
    dtypes: Mapping[str, str]
    """As the file keeps each tensor, where `Pending.dtype` is what is made of it."""
    scaled: frozenset[str] = frozenset()
    """Weights that are codes in the file and came with a scale."""
    tree: Any = field(default=None, repr=False)
    """A pickled file's, with no numbers in it."""


def open_tensors(path: Path) -> Opened:
    """Open a file without reading its numbers; raises `FormatError` if it is damaged, hostile or quantised otherwise."""
    path, tree = Path(path), None
    metadata: Mapping[str, str] = {}
    if is_safetensors(path):
        file = TensorFile(path)
        given, metadata = {name: file.pending(name) for name in file.header.shapes}, file.header.metadata
    else:
        tree = unpickle(path, unread=True)
        given = {name: _unread(path, name, one) for name, one in unread_in(tree, path).items()}
    shapes = {name: one.shape for name, one in given.items()}
    dtypes = {name: one.dtype for name, one in given.items()}
    plan = quantised.plan(path, shapes, dtypes, lambda name: b"".join(map(bytes, pieces(given[name]))))
    kept = {name: dtype for name, dtype in dtypes.items() if name not in plan.beside}
    return Opened(quantised.applied(plan, given), metadata, kept, frozenset(plan.scales), tree)


def _unread(path: Path, name: str, one: Unread) -> Pending:
    dtype = spelled(one)
    steps = [math.prod(one.shape[side + 1 :]) for side in range(len(one.shape))]
    straight = all(
        side == 1 or step == own for side, step, own in zip(one.shape, steps, one.stride, strict=True)
    )
    if straight or 0 in one.shape:
        length, begin = bytes_of(dtype, one.shape), one.place.begin + one.offset * one.dtype.itemsize
        place = one.place if length == one.place.length else Place(length, begin)
        return from_bytes(dtype, one.shape, lambda: _stretch(path, name, place))

    def load() -> Tensor:
        count = one.place.length // one.dtype.itemsize
        stored = from_bytes(dtype, (count,), lambda: _stretch(path, name, one.place)).load()
        return stored.as_strided(one.shape, one.stride, one.offset).contiguous()

    return Pending(dtype, one.shape, load)


def _stretch(path: Path, name: str, place: Place) -> Iterator[bytearray]:
    left, found = place.length, 0
    with path.open("rb") as file:
        file.seek(place.begin)
        while left:
            piece = bytearray(min(left, PIECE))
            if file.readinto(piece) != len(piece):
                raise FormatError(f"{path} ends inside {name}", "fetch the file again")
            left, found = left - len(piece), found if place.crc is None else zlib.crc32(piece, found)
            yield piece
    if found != (place.crc or 0):
        raise FormatError(f"{path}: the numbers of {name} are damaged", "fetch the file again")


def write_streamed(
    path: Path, pending: Mapping[str, Pending], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a safetensors file that is whole or not there, loading one tensor after the other.

    Equal tensors and metadata give equal bytes. `DIGEST` inside a metadata text becomes the payload's SHA-256. Raises
    `FormatError` naming the tensor that holds a number which is not finite.
    """
    facts = dict(sorted((metadata or {}).items()))
    names = in_order((name, one.dtype) for name, one in pending.items())
    header = serialise_header({name: (pending[name].dtype, pending[name].shape) for name in names}, facts)

    def fill(temporary: Path) -> None:
        digest = hashlib.sha256()
        with temporary.open("wb") as file:
            file.write(header)
            for name in names:
                for data in pieces(pending[name], name):
                    refuse_infinite(data, pending[name].dtype, name)
                    digest.update(data)
                    file.write(data)
                    del data  # else it would stay in memory while the next is loaded
            file.seek(0)
            file.write(header.replace(DIGEST.encode(), digest.hexdigest().encode()))

    return write_with(Path(path), fill)


def in_order(dtypes: Iterable[tuple[str, str]]) -> list[str]:
    """Names of (name, type) pairs in the order in which safetensors lays their tensors out; raises `FormatError` for types
    that are never written here."""
    pairs = list(dtypes)
    for name, dtype in pairs:
        if dtype not in _RANK:
            raise FormatError(f"{name} has the type {dtype}, which is not written here")
    return [name for name, _ in sorted(pairs, key=lambda pair: (_RANK[pair[1]], pair[0].encode()))]


def serialise_header(
    entries: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> bytes:
    """Length and header of a file with these tensors (name -> type, shape) in this order."""
    table: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    begin = 0
    for name, (dtype, shape) in entries.items():
        end = begin + bytes_of(dtype, shape)
        table[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    try:
        text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            f"metadata or names hold {error.object[error.start]!r}, which no file can"
        ) from None
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def payload(tensors: Mapping[str, Tensor]) -> Iterator[Any]:
    """The bytes that follow the header in a safetensors file of `tensors`, tensor by tensor."""
    for name in in_order((name, spelled(tensor)) for name, tensor in tensors.items()):
        yield raw_bytes(tensors[name])
