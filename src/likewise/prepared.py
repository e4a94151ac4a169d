"""Prepared: what a step need not compute again of a base that is frozen.

Some layers of a backbone see nothing but the prompt, or nothing but the noise level: they answer the same wherever that is
the same. And a frozen weight is laid out for the processor (`packed`), or on a GPU rounded to bfloat16, once and not at each
call. A layer's `forward` is another for the length of a `with` block only, so everybody else finds the base as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from likewise.base import Base, Conditioning
from likewise.batches import Batch
from likewise.packed import packed

SMALL = 1 << 28
"""Bytes that are worth their memory on any machine."""
ROOM = 8
"""Rounded weights that take more are kept on a GPU alone, of whose memory so many times as much must be free."""
FEW = 256
"""Positions of a picture. For so few in bfloat16 torch's blockwise attention takes a processor up to ten times as long as
the plain product; for many the plain one takes too much memory."""

Forward = Callable[..., Tensor]


class Prepared:
    """Answers and weights that are ready. `texts` are the prompts of the training; None where they change as it learns."""

    def __init__(self, base: Base, texts: Conditioning | None) -> None:
        self.base = base
        with torch.no_grad(), base.autocast():
            self._prompted = _Table(self._to_prompts(texts))
            probe = base.of_levels(torch.zeros(1, dtype=torch.long, device=base.device))
        self._paced = [module for module in probe if _untouched(module)]
        self._before = {m: m.__dict__.get("forward") for m in (*self._prompted.modules, *self._paced)}
        self._sizes = [probe[module].shape[-1] for module in self._paced]
        self._plain_attention = base.precision == "bf16" and base.device.type == "cpu"
        self._layers = self._ready({*self._prompted.modules, *self._paced})

    @torch.no_grad()
    def pace(self, levels: Tensor) -> Tensor | None:
        """What the layers that see the noise level alone answer to `levels` [n], side by side, [n, ...]."""
        if not self._paced:
            return None
        with self.base.autocast():
            answers = self.base.of_levels(levels)
        return torch.cat([answers[module] for module in self._paced], -1)

    @contextmanager
    def answering(self, batch: Batch) -> Iterator[None]:
        """Let the layers answer for the rows of `batch`, for a `with` block."""
        forwards = dict(self._layers)
        if batch.texts is not None:
            forwards |= self._prompted.answers(batch.texts)
        if batch.paced is not None:
            parts = batch.paced.split(self._sizes, -1)
            forwards |= {m: _always(part) for m, part in zip(self._paced, parts, strict=True)}
        plain = self._plain_attention and self.base.tokens(batch.noisy.shape[1:]) <= FEW
        with _forwards(forwards), sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
            yield

    @contextmanager
    def resting(self) -> Iterator[None]:
        """The layers as they are, for a `with` block inside `answering`, whose rows are others."""
        with _forwards(self._before):
            yield

    def _to_prompts(self, texts: Conditioning | None) -> dict[nn.Module, Tensor]:
        """What layers answer to the prompts alone, [n, ...] each; none where that is more than it is worth keeping."""
        if texts is None:
            return {}
        one = {m: a for m, a in self.base.of_prompts(texts.pick([0])).items() if _untouched(m)}
        if len(texts) * sum(a.numel() * a.element_size() for a in one.values()) > SMALL:
            return {}
        every = self.base.of_prompts(texts)
        return {module: every[module] for module in one}

    def _ready(self, besides: set[nn.Module]) -> dict[nn.Module, Forward]:
        """Frozen layers whose weights are laid out, or rounded, once; none where that is not needed or takes too much."""
        if not ready_size(self.base):
            return {}
        narrow = self.base.precision == "bf16"
        dtype = torch.bfloat16 if narrow else torch.float32
        layers = [layer for layer in _frozen(self.base) if layer not in besides]
        if self.base.device.type == "cpu":
            made: dict[Any, Any] = {layer: packed(layer, dtype) for layer in layers}
            return {layer: forward for layer, forward in made.items() if forward is not None}
        kinds = ((layer, _ROUNDED.get(type(layer))) for layer in layers if layer.weight.dtype != dtype)
        return {layer: kind(layer) for layer, kind in kinds if kind is not None}


def ready_size(base: Base) -> int:
    """Bytes of weights that a training makes ready; 0 where that is not needed or takes too much."""
    narrow = base.precision == "bf16"
    size = (2 if narrow else 4) * sum(layer.weight.numel() for layer in _frozen(base))
    if base.device.type == "cpu":
        return 2 * size if 2 * size <= SMALL else 0  # for the way there and the way back
    if not narrow or (size > SMALL and size * ROOM > _free(base.device)):
        return 0
    return size


def _frozen(base: Base) -> list[Any]:
    """The linear and convolution layers of backbone and towers that do not learn."""
    return [
        layer
        for part, component in base.components().items()
        if part == "backbone" or part in base.text_parts
        for layer in component.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and not layer.weight.requires_grad
    ]


def _free(device: torch.device) -> int:
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


class _Table:
    """Answers [n, ..., features] of several layers to n inputs, side by side, so that one look finds those of a batch."""

    def __init__(self, answers: Mapping[nn.Module, Tensor]) -> None:
        self.modules = list(answers)
        self._sizes = [answer.shape[-1] for answer in answers.values()]
        self._values = torch.cat(list(answers.values()), -1) if answers else None

    def answers(self, rows: Tensor) -> dict[nn.Module, Forward]:
        """What takes the layers' place for a batch of `rows` [B]."""
        if self._values is None:
            return {}
        parts = self._values[rows].split(self._sizes, -1)
        return {module: _always(part) for module, part in zip(self.modules, parts, strict=True)}


def _untouched(module: nn.Module) -> bool:
    """Whether what the module answers depends on its input alone: nothing in it learns, and no hook changes its input.

    A hook on the module's output is no matter: it acts on the answer as ever.
    """
    inner: Sequence[nn.Module] = list(module.modules())[1:]
    hooked = module._forward_pre_hooks or any(m._forward_pre_hooks or m._forward_hooks for m in inner)
    return not hooked and not any(p.requires_grad for p in module.parameters())


def _always(answer: Tensor) -> Forward:
    return lambda *_, **__: answer


def _linear(layer: nn.Linear) -> Forward:
    weight, bias = _bf16(layer.weight), _bf16(layer.bias)
    return lambda x: F.linear(x, weight, bias)


def _convolution(layer: nn.Conv2d) -> Forward:
    weight, bias = _bf16(layer.weight), _bf16(layer.bias)
    return lambda x: layer._conv_forward(x, weight, bias)


_ROUNDED: dict[type[nn.Module], Callable[[Any], Forward]] = {nn.Linear: _linear, nn.Conv2d: _convolution}


def _bf16(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().to(torch.bfloat16)


@contextmanager
def _forwards(given: Mapping[nn.Module, Forward | None]) -> Iterator[None]:
    """Give modules another `forward`, for a `with` block; None stands for their class's own."""
    before = {module: module.__dict__.get("forward") for module in given}
    _set(given)
    try:
        yield
    finally:
        _set(before)


def _set(given: Mapping[nn.Module, Forward | None]) -> None:
    for module, forward in given.items():
        if forward is None:
            module.__dict__.pop("forward", None)
        else:
            module.__dict__["forward"] = forward
