"""The header of a safetensors file: every claim of it is checked against the file, as strictly as the library does."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from likewise.errors import FormatError
from likewise.weights.pickled import brief

MAX_HEADER = 100_000_000
"""Bytes; the bound of the safetensors specification."""
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64,
    "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
MAGIC = {b"GGUF": "a GGUF file, whose weights are quantised in blocks", b"\x89HDF": "an HDF5 file of Keras"}
"""How files of tensors begin that are of no kind that is read here."""


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself before any tensor."""

    metadata: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    """As the file spells them: `F32`, `BF16`, ..."""
    places: Mapping[str, int] = field(default_factory=dict)
    """Where in the file the numbers of each tensor begin, in bytes."""


def is_safetensors(path: Path) -> bool:
    """Whether the file opens like safetensors. Its name does not count. Raises `FormatError` if unreadable."""
    start = _start(path)
    for magic, what in MAGIC.items():
        if start.startswith(magic):
            raise FormatError(f"{path} is {what}, which is not read", "fetch it as safetensors")
    # the length of the header may itself look like the start of a pickle or a zip; the brace and the bound tell
    return start[8:].lstrip()[:1] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER


def read_header(path: Path) -> Header:
    """The header of a safetensors file, every claim checked against the file's size; imports no torch."""
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER, size - 8):
                raise FormatError("not safetensors, or cut short", "fetch the file again")
            text = file.read(length).decode("utf-8")
        data = json.loads(text, parse_constant=_no_size, parse_int=_size, object_pairs_hook=_table)
        return _checked(data, 8 + length, size - 8 - length)
    except FormatError as error:
        raise FormatError(f"{path}: {error.message}", error.hint) from None
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} has no readable safetensors header: {brief(error)}") from None


def _start(path: Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(16)
    except OSError as error:
        raise FormatError(f"{path} cannot be read: {brief(error)}") from None


def _no_size(name: str) -> float:
    raise FormatError(f"the header holds {name}, which is no size")


def _size(digits: str) -> int:
    return -1 if digits == "-0" else int(digits)


def _table(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A table whose names are all different and can be written. The library takes the last of two, others the first."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        name.encode("utf-8")  # half of a surrogate pair has no place in any file
        if name in found:
            raise FormatError(f"the header has two entries called {name!r}", "fetch the file again")
        found[name] = value
    return found


def _checked(data: Any, start: int, room: int) -> Header:
    """Raise `FormatError` unless `data` describes tensors that fill `room` bytes one after the other."""
    if not isinstance(data, dict):
        raise FormatError("the header is not a table")
    metadata = data.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise FormatError("the header's metadata is not text by text")
    for text in metadata.values():
        text.encode("utf-8")
    shapes, dtypes, spans = {}, {}, {}
    for name, entry in data.items():
        shapes[name], dtypes[name], spans[name] = _entry(name, entry, room)
    end = 0
    for name, (begin, after) in sorted(spans.items(), key=lambda item: item[1]):
        if begin != end:
            what = (
                "has bytes that belong to no tensor before"
                if begin > end
                else "shares bytes with another before"
            )
            raise FormatError(f"the file {what} {name!r}", "fetch the file again")
        end = after
    if end != room:
        raise FormatError(
            f"the file has {room - end} bytes behind its last tensor, and no program reads it",
            "fetch it again",
        )
    return Header(metadata, shapes, dtypes, {name: start + begin for name, (begin, _) in spans.items()})


def _entry(name: str, entry: Any, room: int) -> tuple[tuple[int, ...], str, tuple[int, int]]:
    """Shape, type and span of one tensor."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            whole = all(type(side) is int and 0 <= side < 2**48 for side in shape)
        case _:
            raise FormatError(f"the header's entry for {name!r} is damaged")
    if type(begin) is not int or type(end) is not int:
        raise FormatError(f"the header's entry for {name!r} is damaged")
    if not whole or dtype not in BITS or not 0 <= begin <= end <= room:
        raise FormatError(f"the tensor {name!r} ({dtype} {shape}) is not in the file", "fetch the file again")
    if math.prod(shape) * BITS[dtype] != (end - begin) * 8:
        raise FormatError(f"the tensor {name!r} ({dtype} {shape}) does not fill its {end - begin} bytes")
    return tuple(shape), dtype, (begin, end)
