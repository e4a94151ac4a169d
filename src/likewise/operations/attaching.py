"""Attaching: changes of weights that no method of ours leaves behind (the LyCORIS family), put beside the layers of a base.

What a change adds to a layer's weight is computed once and acts beside the frozen layer, so that taking it off leaves the
base bit for bit. Nothing is trained here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.base import Base
from likewise.errors import FormatError
from likewise.factors.deltas import bias_change, weight_change
from likewise.formats._modules import group
from likewise.method import Adapter, Group

Act = Callable[[Tensor, Tensor, Any], Tensor]
"""(input, change of the weight, change of the bias) -> what is added to the output."""


class Changes(Adapter):
    """One artifact's changes of weights and biases, in float32; raises `FormatError` where they do not fit `base`."""

    stacked = False

    def __init__(self, base: Base, artifact: Artifact) -> None:
        modules = _modules(base)
        self._handles: list[Any] = []
        try:
            for path, own in group(artifact.tensors).items():
                if path not in modules:
                    raise FormatError(
                        f"it changes {path}, which {base.name} does not have", "load its own base"
                    )
                self._handles.append(
                    modules[path].register_forward_hook(self._hook(path, modules[path], own))
                )
        except FormatError:
            self.detach()
            raise

    def groups(self) -> Sequence[Group]:
        """Nothing trains."""
        return ()

    def state(self, slot: int) -> dict[str, Tensor]:
        """Nothing is kept: the file that it came from stays as it is."""
        return {}

    def detach(self) -> None:
        """Remove every hook; no weight of the base was touched."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, path: str, module: nn.Module, own: dict[str, Tensor]) -> Callable[..., Tensor | None]:
        act, (weight, bias) = _act(path, module), _change(path, module, own)

        def add(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            if self.strength == 0.0:
                return None  # the very same output: strength 0 is the base exactly
            kind = inputs[0].dtype
            added = act(inputs[0], weight.to(kind), None if bias is None else bias.to(kind))
            return output + (self.strength * added).to(output.dtype)

        return add


def is_plain(base: Base, artifact: Artifact) -> bool:
    """Whether a method reaches every layer on this base that the artifact changes, so that it can restore it itself."""
    reached = base.targets("all", "backbone")
    for part in base.text_parts:
        reached |= base.targets("all", part)
    modules = _modules(base)
    return all(path in reached or path not in modules for path in group(artifact.tensors))


def _modules(base: Base) -> dict[str, nn.Module]:
    """Every module of the backbone and the towers by its canonical path."""
    return {
        f"{part}.{base.canonical(part, path)}": module
        for part, component in base.components().items()
        for path, module in component.named_modules()
        if part != "vae" and path
    }


def _change(path: str, module: nn.Module, own: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """What is added to weight and bias, where the module is and of its shape."""
    before: Any = module.weight
    try:
        weight = weight_change(own, before.detach().cpu()).reshape(before.shape).to(before.device)
        bias = bias_change(own)
        if bias is not None:
            bias = bias.reshape(before.shape[0]).to(before.device)
    except (RuntimeError, FormatError) as error:
        raise FormatError(
            f"the change of {path} does not fit: {str(error).splitlines()[0]}", "load its own base"
        ) from None
    if not bool(weight.isfinite().all()):
        raise FormatError(f"the change of {path} is not finite", "fetch the file again")
    return weight, bias


def _act(path: str, module: nn.Module) -> Act:
    """How a layer acts with another weight and bias; every one of these is linear in both."""
    if isinstance(module, nn.Linear):
        return F.linear
    if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros":
        rest: Any = (module.stride, module.padding, module.dilation, module.groups)
        return lambda x, weight, bias: F.conv2d(x, weight, bias, *rest)
    if isinstance(module, nn.LayerNorm):
        return lambda x, weight, bias: F.layer_norm(x, module.normalized_shape, weight, bias, module.eps)
    if isinstance(module, nn.GroupNorm):
        return lambda x, weight, bias: F.group_norm(x, module.num_groups, weight, bias, module.eps)
    raise FormatError(
        f"it changes {path}, a {type(module).__name__}, beside which nothing can be put",
        "`likewise merge --into` adds it to the weights of its base",
    )
