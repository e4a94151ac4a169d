"""Replays: on a processor, what CUDA graphs do on a GPU, so that what may be recorded can be tested without one.

The operators of a pass are written down with their tensors, and done again on the same memory. So whatever the host put into
a pass (a number, a choice of rows, a Python branch) stays as it was when it was recorded, as in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tape(TorchDispatchMode):
    """Operators with their tensors, in order."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, answer))
        return answer

    @torch.no_grad()
    def replay(self) -> None:
        """Do all of them again; answers go to the memory of the first ones."""
        for func, args, kwargs, kept in self.done:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(kept), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def make_graphed_callables(
    module: nn.Module, samples: Sequence[Tensor], allow_unused_input: bool = False
) -> Callable[..., Any]:
    """As `torch.cuda.make_graphed_callables`, for modules that answer a tuple of tensors."""
    learned = [p for p in module.parameters() if p.requires_grad]
    with Tape() as forward, torch.enable_grad():
        answers = module(*samples)
    slopes_out = [torch.zeros_like(answer) for answer in answers]
    with Tape() as backward:
        slopes = torch.autograd.grad(
            answers, learned, grad_outputs=slopes_out, allow_unused=allow_unused_input
        )

    class Replayed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: Tensor) -> Any:
            for sample, value in zip(samples, given, strict=False):
                sample.copy_(value)
            forward.replay()
            return tuple(answer.detach() for answer in answers)

        @staticmethod
        def backward(ctx: Any, *given: Tensor) -> Any:
            for kept, value in zip(slopes_out, given, strict=True):
                kept.copy_(value)
            backward.replay()
            return (*[None] * len(samples), *[s if s is None else s.detach() for s in slopes])

    return lambda *given: Replayed.apply(*given, *learned)  # type: ignore[no-untyped-call]
