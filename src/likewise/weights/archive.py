"""Writing torch's zip archives with nothing in them but what every reader allows.

`torch.save` adds members that the web UIs' safe loaders refuse by name (`.format_version`, `byteorder`, ...). Here an
archive is `archive/data.pkl`, `archive/version` and `archive/data/N`, stored, with the same bytes for the same tree.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.files import write_with
from likewise.weights.finite import infinite
from likewise.weights.pickled import STORAGES

if TYPE_CHECKING:
    from torch import Tensor

KINDS = {dtype: kind for kind, dtype in STORAGES.items()}
PLAIN = (str, int, float, bool, type(None), list, tuple, dict, OrderedDict)
"""What a tree may be made of besides tensors. Subclasses are other names in the pickle, and refused by readers."""


def write_object(path: Path, tree: Any) -> Path:
    """Write plain containers, texts, numbers and tensors as a `.pt` that is whole or not there.

    `torch.load(weights_only=True)` reads it. Tensors lose their gradients, and views become whole tensors. Raises
    TypeError for anything else in the tree, and `FormatError` naming a tensor that is not finite.
    """
    _check_plain(tree)
    return write_with(Path(path), lambda temporary: _write(temporary, tree))


def _check_plain(node: Any, name: str = "") -> None:
    from torch import Tensor

    if isinstance(node, Tensor):
        if not bool(node.isfinite().all()):
            raise infinite(name or "the tensor")
        if str(node.dtype).removeprefix("torch.") not in KINDS:
            raise TypeError(f"{node.dtype} has no place in a file of tensors")
        return
    if type(node) not in PLAIN:
        raise TypeError(f"{type(node).__name__} has no place in a file of tensors")
    for key in node if isinstance(node, dict) else ():
        _check_plain(key)
    named = (
        node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    )
    for key, child in named:
        _check_plain(child, f"{name}.{key}".removeprefix("."))


def _write(path: Path, tree: Any) -> None:
    program = io.BytesIO()
    pickler = _Pickler(program)
    pickler.dump(tree)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", program.getvalue())
        _add(archive, "version", b"3\n")
        for key, tensor in enumerate(pickler.tensors):
            _add(archive, f"data/{key}", _raw(tensor))


def _add(archive: zipfile.ZipFile, name: str, data: bytes | memoryview) -> None:
    member = zipfile.ZipInfo(f"archive/{name}")  # its date is fixed, so that equal trees give equal files
    with archive.open(member, "w", force_zip64=len(data) >= 1 << 31) as file:
        file.write(data)


def _raw(tensor: Tensor) -> memoryview:
    import torch

    plain = tensor.detach().cpu().contiguous().reshape(-1)
    array: Any = plain.view(torch.uint8).numpy()
    return memoryview(array)


@dataclass(frozen=True)
class _Storage:
    """Stands in the pickle for the raw bytes of tensor number `key`."""

    key: int
    tensor: Tensor


class _Pickler(pickle.Pickler):
    """Spells tensors as torch's own reader expects them: a view of stored bytes."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.tensors: list[Tensor] = []

    def reducer_override(self, value: Any) -> Any:
        import torch

        if not isinstance(value, torch.Tensor):
            return NotImplemented
        self.tensors.append(value)
        steps = torch.empty(value.shape, device="meta").stride()
        stored = _Storage(len(self.tensors) - 1, value)
        hooks: OrderedDict[str, Any] = OrderedDict()
        return torch._utils._rebuild_tensor_v2, (stored, 0, tuple(value.shape), steps, False, hooks)

    def persistent_id(self, value: Any) -> Any:
        import torch

        if not isinstance(value, _Storage):
            return None
        kind = getattr(torch, KINDS[str(value.tensor.dtype).removeprefix("torch.")])
        return ("storage", kind, str(value.key), "cpu", value.tensor.numel())
