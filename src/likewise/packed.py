"""Packed: frozen linear and convolution layers on a processor, with their weights laid out as its kernels want them.

oneDNN lays a weight out anew at each call, which for a picture or two takes longer than the arithmetic. A weight that stays
as it is needs that once, for the way forward and, transposed, for the way back. Nothing here is for weights that learn.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OPS: Any = torch.ops.mkldnn
ONE = [1, 1]


def packed(layer: nn.Module, dtype: torch.dtype) -> Linear | Convolution | None:
    """What computes as `layer` does, in `dtype`; None where this module, or this machine, has nothing better."""
    if not _works(dtype):
        return None
    if type(layer) is nn.Linear:
        return Linear(layer, dtype)
    if type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros":
        return None if isinstance(layer.padding, str) else Convolution(layer, dtype)
    return None


class Linear:
    """`x W' + b` for `x` [..., in]; differentiable by `x` alone."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        self.weight, self.dtype = layer.weight, dtype
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self._there: Tensor | None = None
        self._back: Tensor | None = None

    def __call__(self, x: Tensor) -> Any:
        return _Applied.apply(x.to(self.dtype), self)  # type: ignore[no-untyped-call]

    def there(self, x: Tensor) -> Any:
        """The way forward."""
        if self._there is None:
            self._there = _laid_out(self.weight.detach().to(self.dtype), x)
        return _OPS._linear_pointwise(x.contiguous(), self._there, self.bias, "none", [], "")

    def back(self, slope: Tensor, _: torch.Size) -> Any:
        """The gradient of `x` from that of the answer."""
        if self._back is None:
            self._back = _laid_out(self.weight.detach().to(self.dtype).t().contiguous(), slope)
        return _OPS._linear_pointwise(slope.contiguous(), self._back, None, "none", [], "")


class Convolution:
    """A convolution of `x` [B, C, H, W] with one group, padded by zeros; differentiable by `x` alone."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype) -> None:
        self.weight, self.dtype = layer.weight, dtype
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        how: Any = (layer.padding, layer.stride, layer.dilation)
        self._how: tuple[list[int], ...] = tuple(list(one) for one in how)
        self._there: Tensor | None = None
        self._back: Tensor | None = None

    def __call__(self, x: Tensor) -> Any:
        return _Applied.apply(x.to(self.dtype), self)  # type: ignore[no-untyped-call]

    def there(self, x: Tensor) -> Any:
        """The way forward."""
        padding, stride, dilation = self._how
        if self._there is None:
            self._there = _laid_out(self._weight, x, padding, stride, dilation)
        return _pointwise(x, self._there, self.bias, padding, stride, dilation)

    def back(self, slope: Tensor, shape: torch.Size) -> Any:
        """The gradient of `x`: with a stride of 1 the convolution with the turned, transposed kernel."""
        padding, stride, dilation = self._how
        outer = [d * (k - 1) - p for k, p, d in zip(self.weight.shape[2:], padding, dilation, strict=True)]
        if stride != ONE or min(outer) < 0:
            x = slope.new_empty(1).expand(shape)
            mask = [True, False, False]
            found = torch.ops.aten.convolution_backward(
                slope, x, self._weight, None, stride, padding, dilation, False, [0, 0], 1, mask
            )
            return found[0]
        if self._back is None:
            turned = self._weight.flip(2, 3).transpose(0, 1).contiguous()
            self._back = _laid_out(turned, slope, outer, ONE, dilation)
        return _pointwise(slope, self._back, None, outer, ONE, dilation)

    @property
    def _weight(self) -> Tensor:
        return self.weight.detach().to(self.dtype)


class _Applied(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, layer: Linear | Convolution) -> Tensor:
        context.layer, context.shape = layer, x.shape
        return layer.there(x)

    @staticmethod
    def backward(context: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        return context.layer.back(slopes[0], context.shape), None


def _laid_out(weight: Tensor, x: Tensor, *how: list[int]) -> Any:
    """`weight` as the kernel for inputs like `x` wants it."""
    if not how:
        return _OPS._reorder_linear_weight(weight, x.numel() // x.shape[-1])
    reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
    return reorder(weight.to_mkldnn(), *how, 1, list(x.shape))


def _pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, *how: list[int]) -> Any:
    return _OPS._convolution_pointwise(x, weight, bias, *how, 1, "none", [], "")


@cache
def _works(dtype: torch.dtype) -> bool:
    """Whether this torch, on this processor, computes the same so. The operators are not public, so they are tried."""
    if not torch.backends.mkldnn.is_available():
        return False
    random = torch.Generator().manual_seed(0)
    linear, convolution = nn.Linear(8, 16), nn.Conv2d(8, 16, 3, padding=1)
    try:
        for layer, made, shape in (
            (linear, Linear(linear, dtype), (4, 8)),
            (convolution, Convolution(convolution, dtype), (2, 8, 4, 4)),
        ):
            x = torch.randn(shape, generator=random).to(dtype).float().requires_grad_()
            layer.to(dtype).float()  # its numbers, as they are rounded
            answer, wanted = made(x), layer(x)
            slope = torch.randn(wanted.shape, generator=random).to(dtype)
            # Sums, as slopes of their own would import sympy, which takes half a second of every start.
            found = torch.autograd.grad((answer * slope).sum(), x)[0]
            right = torch.autograd.grad((wanted * slope.float()).sum(), x)[0]
            near = 0.02 if dtype == torch.bfloat16 else 1e-4
            if not (F.mse_loss(answer.float(), wanted) < near**2 and F.mse_loss(found, right) < near**2):
                return False
    except (RuntimeError, AttributeError, TypeError, NotImplementedError):
        return False
    return True
