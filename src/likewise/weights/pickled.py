"""Reading pickled files of tensors without running anything that they ask for.

The unpickler knows a short list of names and builds tensors and numbers itself; any other name ends the
reading. Both of torch's layouts are understood: the zip archive since 1.6, and the older one.
"""

from __future__ import annotations

import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from likewise.errors import FormatError

if TYPE_CHECKING:
    from torch import Tensor, UntypedStorage


class Inert:
    """Stands for an object of a training framework. Holds what the file said of it and can do nothing."""

    origin = ""
    """The name in the file, such as `pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint`."""

    def __new__(cls, *arguments: Any, **named: Any) -> Inert:
        made = super().__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments: tuple[Any, ...] = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _ParameterDict(dict[str, Any]):
    """`torch.nn.ParameterDict` as a plain dictionary: the first published embeddings are kept in one."""

    def __setstate__(self, state: Any) -> None:
        self.update(state["_parameters"])


class _Call:
    """A function of ours that a pickle may call. No attribute of it can be set from the file."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise FormatError("it tries to change a function")


class _ArrayType:
    """A numpy dtype as far as single numbers need it."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1)", str(code)):
            raise FormatError(f"it holds a number of the unknown type {code!r}")
        self.code, self.order = str(code).lstrip("<>|="), "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"


def _number(dtype: Any, data: Any = None) -> Any:
    letters = {"f2": "e", "f4": "f", "f8": "d", "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q"}
    unsigned = {f"u{width}": letters[f"i{width}"].upper() for width in (1, 2, 4, 8)}
    if not isinstance(dtype, _ArrayType) or not isinstance(data, bytes):
        raise FormatError("it holds a damaged number")
    return struct.unpack(dtype.order + {**letters, **unsigned}[dtype.code], data)[0]


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise FormatError(f"it holds bytes in the encoding {encoding!r}")
    return str(text).encode("latin1")


@dataclass
class Place:
    """Bytes that were left in the file."""

    length: int
    begin: int = 0
    crc: int | None = None
    """The checksum of all of them, where the file has it."""

    def nbytes(self) -> int:
        """As torch's storages tell it."""
        return self.length


@dataclass(frozen=True)
class Type:
    """A type of numbers, as torch calls it: `float32`."""

    name: str

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return WIDTHS[self.name]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Unread:
    """A tensor whose numbers are still in the file."""

    place: Place
    dtype: Type
    offset: int
    """The place of the first number in `place`, counted in numbers."""
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class _Stored:
    """Raw bytes with the type that the file says they have."""

    raw: UntypedStorage | Place
    dtype: Type


def _tensor(stored: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Tensor | Unread:
    """A view of `stored`, refused unless it lies inside."""
    numbers = [offset, *size, *stride]
    if not isinstance(stored, _Stored) or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise FormatError("it holds a tensor of impossible size")
    steps = [(side - 1) * step for side, step in zip(size, stride, strict=True)]
    last = -1 if 0 in size else offset + sum(steps)
    if (last + 1) * stored.dtype.itemsize > stored.raw.nbytes():
        raise FormatError("it holds a tensor that is larger than its data")
    if isinstance(stored.raw, Place):
        return Unread(stored.raw, stored.dtype, offset, tuple(size), tuple(stride))
    import torch

    empty = torch.empty(0, dtype=getattr(torch, stored.dtype.name))
    return empty.set_(stored.raw, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *_: Any) -> Any:
    return data


STORAGES = {
    "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "DoubleStorage": "float64", "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16",
    "CharStorage": "int8", "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
WIDTHS = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1,
    "uint8": 1, "bool": 1, "uint16": 2, "uint32": 4, "uint64": 8, "float8_e4m3fn": 1, "float8_e5m2": 1,
}  # fmt: skip
"""Every type that a pickle may name, and its bytes."""
HARMLESS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): _Call(lambda *_: {}),
    ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
    ("torch._tensor", "_rebuild_from_type_v2"): _Call(lambda make, _kind, given, _state: make(*given)),
    ("torch.nn.parameter", "Parameter"): _Call(_parameter),
    ("torch.nn.modules.container", "ParameterDict"): _ParameterDict,
    ("torch", "Size"): _Call(lambda sides=(): tuple(sides)),
    ("torch", "device"): _Call(lambda *words: ":".join(str(word) for word in words)),
    ("_codecs", "encode"): _Call(_encode),
    ("numpy", "dtype"): _ArrayType,
    ("numpy.core.multiarray", "scalar"): _Call(_number),
    ("numpy._core.multiarray", "scalar"): _Call(_number),
    **{
        (home, kind.__name__): _Call(kind)
        for home in ("builtins", "__builtin__")
        for kind in (set, frozenset, dict, list, tuple, int, float, bool, str, complex)
    },
}
"""What a pickle may name, and what it gets. Tensors and numbers are built here, not by torch or numpy."""
BYSTANDERS = frozenset(
    f"{home}.{name}"
    for home, known in {
        **dict.fromkeys(
            ("pytorch_lightning.callbacks", "lightning.pytorch.callbacks"),
            "model_checkpoint.ModelCheckpoint early_stopping.EarlyStopping lr_monitor.LearningRateMonitor",
        ),
        "pytorch_lightning.utilities.parsing": "AttributeDict",
        "lightning.fabric.utilities.data": "AttributeDict",
        "lightning_fabric.utilities.data": "AttributeDict",
        "omegaconf.dictconfig": "DictConfig",
        "omegaconf.listconfig": "ListConfig",
        "omegaconf.base": "ContainerMetadata Metadata",
        "omegaconf.nodes": "AnyNode",
        "typing": "Any",
        "argparse": "Namespace",
        "pathlib": "Path PosixPath WindowsPath PurePosixPath",
    }.items()
    for name in known.split()
)
"""Names of training frameworks that real checkpoints mention beside their tensors. They become `Inert`."""


class _Unpickler(pickle.Unpickler):
    """Looks every name up in our list and never imports anything."""

    def __init__(self, file: IO[bytes], store: Callable[[Any, str, int], UntypedStorage | Place]) -> None:
        super().__init__(file, encoding="utf-8")
        self._store = store

    def find_class(self, module: str, name: str) -> Any:
        known = HARMLESS.get((module, name))
        if known is not None:
            return known
        if module in ("torch", "torch.storage") and name in STORAGES:
            return Type(STORAGES[name])
        if module == "torch" and name in WIDTHS:
            return Type(name)
        full = f"{module}.{name}"
        if full in BYSTANDERS:
            return type(name.rpartition(".")[2], (Inert,), {"origin": full})
        raise FormatError(f"it asks for {full}, which is no part of a tensor", "nothing of it was run")

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case ("storage", Type() as dtype, key, _, int(count), *rest) if not any(rest):
                if not 0 <= count < 2**48:
                    raise FormatError("it holds a tensor of impossible size")
                return _Stored(self._store(dtype, str(key), count * dtype.itemsize), dtype)
        raise FormatError("it refers to data in a way that is not known")


def brief(error: Exception) -> str:
    """The first line of what went wrong."""
    lines = str(error).strip().splitlines()
    return (lines[0][:200] if lines else "") or type(error).__name__


def unpickle(path: Path, unread: bool) -> Any:
    """The tree of a pickled file; with `unread` no data is read, and an `Unread` stands for every tensor.

    Raises `FormatError` naming the first thing that is not on the list, before any number is read or torch imported.
    """
    if not unread:
        unpickle(path, unread=True)
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return _unpickle_zip(file, unread)
            file.seek(0)
            return _unpickle_legacy(file, path.stat().st_size, unread)
    except FormatError as error:
        raise FormatError(f"{path} is refused: {error.message}", error.hint) from None
    except Exception as error:  # a hostile or damaged pickle can raise anything; all of it means the same
        reason = f"{path} is damaged or no file of tensors: {brief(error)}"
        raise FormatError(reason, "fetch the file again") from None


def _unpickle_zip(file: IO[bytes], unread: bool) -> Any:
    """torch's zip format (1.6 on): `NAME/data.pkl`, and the raw bytes in `NAME/data/KEY`."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        roots = [
            name.removesuffix("data.pkl") for name in entries if re.fullmatch(r"([^/]+/)?data\.pkl", name)
        ]
        if len(roots) != 1 or any(".." in name.split("/") or name.startswith("/") for name in entries):
            raise FormatError("it is a zip archive, but not one of torch's")
        root = roots[0]
        if f"{root}byteorder" in entries and archive.read(f"{root}byteorder").strip() == b"big":
            raise FormatError("its numbers are big-endian")
        stores: dict[str, UntypedStorage | Place] = {}

        def store(_dtype: Any, key: str, length: int) -> UntypedStorage | Place:
            info = entries[f"{root}data/{key}"]
            if info.compress_type != zipfile.ZIP_STORED or info.file_size < length:
                raise FormatError(f"its data {key!r} is shorter than the tensors in it, or is compressed")
            if key not in stores and unread:
                archive.open(info).close()  # refuses members whose own header says otherwise
                file.seek(info.header_offset + 26)
                named, more = struct.unpack("<HH", file.read(4))
                stores[key] = Place(info.file_size, info.header_offset + 30 + named + more, info.CRC)
            elif key not in stores:
                stores[key] = raw = _room(info.file_size)
                with archive.open(info) as member:
                    _fill(member, raw)
            return stores[key]

        if entries[f"{root}data.pkl"].compress_type != zipfile.ZIP_STORED:
            raise FormatError("it is compressed")
        with archive.open(f"{root}data.pkl") as member:
            return _Unpickler(member, store).load()


def _unpickle_legacy(file: IO[bytes], size: int, unread: bool) -> Any:
    """torch's older format: five pickles (magic, version, machine, object, keys), then the raw bytes."""
    stores: dict[str, tuple[UntypedStorage | Place, int]] = {}

    def store(dtype: Any, key: str, length: int) -> UntypedStorage | Place:
        if length > size:
            raise FormatError("it is shorter than the tensors in it")
        if key not in stores:
            stores[key] = (Place(length) if unread else _room(length), dtype.itemsize)
        return stores[key][0]

    magic, _version, machine = (_Unpickler(file, store).load() for _ in range(3))
    if magic != 0x1950A86A20F9469CFC6C or not isinstance(machine, dict):
        raise FormatError("it is a pickle, but none of torch's")
    if not machine.get("little_endian", True):
        raise FormatError("its numbers are big-endian")
    tree = _Unpickler(file, store).load()
    keys = _Unpickler(file, store).load()
    for key in keys:
        raw, width = stores[str(key)]
        if int.from_bytes(file.read(8), "little") * width != raw.nbytes():
            raise FormatError(f"its data {key!r} has another length than it says")
        if isinstance(raw, Place):
            raw.begin = file.tell()
            if file.seek(raw.length, os.SEEK_CUR) > size:
                raise FormatError("it ends too early", "fetch the file again")
        else:
            _fill(file, raw)
    return tree


def _room(length: int) -> UntypedStorage:
    import torch

    return torch.UntypedStorage(length)


def _fill(file: IO[bytes], raw: UntypedStorage) -> None:
    """Read exactly `raw` bytes; a file that ends before is damaged."""
    import torch

    array: Any = torch.empty(0, dtype=torch.uint8).set_(raw).numpy()
    view = memoryview(array)
    done = 0
    while done < len(view):
        count = file.readinto(view[done : done + (1 << 24)])  # type: ignore[attr-defined]
        if not count:
            raise FormatError("it ends too early", "fetch the file again")
        done += count
