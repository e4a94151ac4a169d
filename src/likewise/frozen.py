"""Frozen: weights that stay in the precision of their file while everything is computed in the precision of its input.

A half-precision model read into float32 takes twice its memory for nothing, as the numbers are the same. Here each layer
widens its weights when it needs them, forward and backward. What trains is float32.

On a processor all layers of a thread widen into the same memory, one after the other, as the system takes ten times as long
to hand out new memory as a layer takes to fill it. So nothing may keep a widened weight.
"""

from __future__ import annotations

import threading
from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

NARROW = (torch.float16, torch.bfloat16)
PIECE = 1 << 18
"""Numbers that are converted at once where float32 lies between, so that these stay in the processor's cache."""


class _Desk(threading.local):
    """A thread's memory for one widened weight, by type; as large as the largest so far."""

    def __init__(self) -> None:
        self.buffers: dict[torch.dtype, Tensor] = {}

    def widened(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """`weight` in `dtype`, laid out alike; it holds until the thread widens the next."""
        if weight.device.type != "cpu" or not _whole(weight):
            # A GPU's allocator keeps its memory.
            return weight.to(dtype)
        count = weight.numel()
        wide = self._buffer(dtype, count)
        flat = weight.as_strided((count,), (1,))
        if weight.dtype == torch.float16 and dtype == torch.bfloat16:
            between = self._buffer(
                torch.float32, PIECE
            )  # torch converts these two three times as slowly without it
            for one, other in zip(flat.split(PIECE), wide.split(PIECE), strict=True):
                other.copy_(between[: len(one)].copy_(one))
        else:
            wide.copy_(flat)
        return wide.as_strided(weight.shape, weight.stride())

    def _buffer(self, dtype: torch.dtype, count: int) -> Tensor:
        buffer = self.buffers.get(dtype)
        if buffer is None or len(buffer) < count:
            with torch.inference_mode(False):  # else nobody could write to it outside of that mode
                buffer = self.buffers[dtype] = torch.empty(count, dtype=dtype)
        return buffer[:count]


_desk = _Desk()


def _whole(weight: Tensor) -> bool:
    """Whether a weight's numbers lie side by side without a gap, in one of the two usual orders."""
    return weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)


def keep_narrow(module: nn.Module) -> nn.Module:
    """Let the linear, convolution and embedding layers of `module` keep half-precision weights; all else becomes float32.

    Returns `module`. A layer whose weight is float32, or learns, computes as it always does.
    """
    for layer in module.modules():
        forward = _FORWARD.get(type(layer))
        if forward is not None and layer.weight.dtype in NARROW:
            layer.forward = MethodType(forward, layer)
            own = [name for name, _ in layer.named_parameters(recurse=False) if name != "weight"]
        else:
            own = [name for name, _ in layer.named_parameters(recurse=False)]
        for name in own:
            parameter = getattr(layer, name)
            if parameter.dtype in NARROW:
                parameter.data = parameter.data.float()
        for name, buffer in layer.named_buffers(recurse=False):
            if buffer.dtype in NARROW:
                setattr(layer, name, buffer.float())
    return module


def _as_usual(layer: Any, x: Tensor) -> bool:
    """Whether nothing has to be converted: the weight is wide, learns, or is of the type that is computed in."""
    return layer.weight.dtype not in NARROW or layer.weight.requires_grad or layer.weight.dtype == _type(x)


def _type(x: Tensor) -> torch.dtype:
    """What is computed in: autocast's choice, else the input's own type.

    Where autocast converted the weights itself, every converted one would be kept for the gradient: a second model.
    """
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    if _as_usual(layer, x):
        return F.linear(x, layer.weight, layer.bias)
    found: Tensor = _Linear.apply(x.to(_type(x)), layer.weight, layer.bias)  # type: ignore[no-untyped-call]
    return found


def _convolution(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if _as_usual(layer, x):
        return nn.Conv2d.forward(layer, x)
    found: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
        x.to(_type(x)), layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
    )
    return found


def _embedding(layer: nn.Embedding, ids: Tensor) -> Tensor:
    return nn.Embedding.forward(layer, ids).float()


_FORWARD: dict[type[nn.Module], Any] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
}


class _Linear(torch.autograd.Function):
    """`x W' + b`, which keeps the narrow weight for its gradient and not the wide one."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        context.save_for_backward(weight)
        return F.linear(x, _desk.widened(weight, x.dtype), None if bias is None else bias.to(x.dtype))

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = context.saved_tensors
        return slopes[0] @ _desk.widened(weight, slopes[0].dtype), None, None


class _Convolution(torch.autograd.Function):
    """A convolution of the same kind."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        context.save_for_backward(weight)
        context.shape, context.how = x.shape, how
        return F.conv2d(x, _desk.widened(weight, x.dtype), None if bias is None else bias.to(x.dtype), *how)

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = context.saved_tensors
        wide = _desk.widened(weight, slopes[0].dtype)
        back = conv2d_input(context.shape, wide, slopes[0], *context.how)
        return (back, None, None, *[None] * len(context.how))
