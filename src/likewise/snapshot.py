"""Snapshot: weights as they were, bit for bit, in as little memory as that takes.

A base that was saved in half precision is kept in half precision. A large snapshot lies beside the memory, in a file
without a name that is gone when nobody needs it any more.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from likewise.cache import home
from likewise.files import storing
from likewise.frozen import NARROW

LARGE = 1 << 28
"""Bytes of full precision. Less than this is not worth a file."""


class Snapshot:
    """Copies of named tensors. `aside` lets a large one lie in a file instead of the memory."""

    def __init__(self, named: Iterable[tuple[str, Tensor]], *, aside: bool) -> None:
        tensors = dict(named)
        size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        self._file = _file() if aside and size > LARGE else None
        self._device = {name: tensor.device for name, tensor in tensors.items()}
        self._dtype = {name: tensor.dtype for name, tensor in tensors.items()}
        self._kept: dict[str, Tensor] = {}
        self._places: dict[str, tuple[int, torch.dtype, torch.Size]] = {}
        for name, tensor in tensors.items():
            kept = narrowest(tensor.detach())
            if self._file is None:
                self._kept[name] = kept
                continue
            self._places[name] = (self._file.tell(), kept.dtype, kept.shape)
            with storing(home() / "snapshot"):
                self._file.write(kept.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())

    def __getitem__(self, name: str) -> Tensor:
        """The tensor as it was, in memory of its own."""
        device, dtype = self._device[name], self._dtype[name]
        if self._file is None:
            return self._kept[name].to(device, dtype, copy=True)
        begin, kept, shape = self._places[name]
        raw = torch.empty(math.prod(shape) * kept.itemsize, dtype=torch.uint8)
        self._file.seek(begin)
        if self._file.readinto(raw.numpy()) != len(raw):
            raise EOFError(f"the snapshot of {name} is cut short")
        return raw.view(kept).reshape(shape).to(device, dtype)

    def close(self) -> None:
        """Forget everything."""
        self._kept.clear()
        if self._file is not None:
            self._file.close()


def narrowest(tensor: Tensor) -> Tensor:
    """A copy of `tensor` in the narrowest type that gives every number back."""
    for dtype in NARROW:
        narrow = tensor.to(dtype)
        if narrow.dtype != tensor.dtype and torch.equal(narrow.to(tensor.dtype), tensor):
            return narrow
    return tensor.clone()


def _file() -> Any:
    with storing(home() / "snapshot"):
        home().mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=home(), prefix=".snapshot-")


class Resting:
    """Frozen modules that are called seldom: their weights lie aside, and are there for the length of each call only.

    Modules that are small together stay as they are. Nobody may look at the weights until `wake`.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._parameters = self._frozen(modules)
        self._handles: list[RemovableHandle] = []
        if not self._parameters:
            return
        names = {id(p): str(n) for n, p in enumerate(self._parameters)}
        self._kept = Snapshot([(names[id(p)], p) for p in self._parameters], aside=True)
        for module in {id(part): part for whole in modules for part in whole.modules()}.values():
            own = [(names[id(p)], p) for p in module.parameters(recurse=False) if id(p) in names]
            if own:
                self._handles.append(module.register_forward_pre_hook(self._fetch(own)))
                self._handles.append(module.register_forward_hook(self._drop(own), always_call=True))
        for parameter in self._parameters:
            parameter.data = _hollow(parameter.data)

    @classmethod
    def size(cls, modules: Sequence[nn.Module]) -> int:
        """Bytes that such a rest frees."""
        return sum(p.numel() * p.element_size() for p in cls._frozen(modules))

    @staticmethod
    def _frozen(modules: Sequence[nn.Module]) -> list[nn.Parameter]:
        found = {id(p): p for module in modules for p in module.parameters() if not p.requires_grad}
        size = sum(p.numel() * p.element_size() for p in found.values())
        return list(found.values()) if size > LARGE else []

    def wake(self) -> None:
        """Bring everything back for good."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for n, parameter in enumerate(self._parameters):
            parameter.data = self._kept[str(n)]
        self._parameters = []

    def _fetch(self, own: Sequence[tuple[str, nn.Parameter]]) -> Callable[..., None]:
        def fetch(*_: Any) -> None:
            for name, parameter in own:
                parameter.data = self._kept[name]

        return fetch

    def _drop(self, own: Sequence[tuple[str, nn.Parameter]]) -> Callable[..., None]:
        def drop(*_: Any) -> None:
            for _name, parameter in own:
                parameter.data = _hollow(parameter.data)

        return drop


def _hollow(tensor: Tensor) -> Tensor:
    """A tensor of the same shape, which modules ask for, that takes no memory."""
    return tensor.new_empty(1).expand(tensor.shape)
