"""LoRA: low-rank changes beside frozen linear and convolution layers.

Hu et al. 2021 (arXiv 2106.09685), brought to Stable Diffusion by cloneofsimo/lora. `W' = W + strength * alpha / rank * up
@ down`, with `up` zero at the start, so that step 0 is the base.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, PositiveFloat
from torch import Tensor, nn

from likewise.artifact import Artifact
from likewise.base import Base
from likewise.errors import FormatError, RecipeError
from likewise.kinds import LOW_RANK
from likewise.method import Adapter, Choices, Group, Method
from likewise.recipe import LearningRate, Rate, Steps, TrainingRecipe
from likewise.stack import Stack, by_slot, stream, to_slots

Size = tuple[int, float]
"""Rank and alpha."""
_Hook = Callable[[nn.Module, Any, Tensor], Tensor | None]


class LoRARecipe(TrainingRecipe):
    """What to change, how finely, and how fast."""

    steps: Steps = 500
    """diffusers' DreamBooth-LoRA example trains 500 steps."""
    learning_rate: LearningRate = 1e-4
    """1e-4 is the usual backbone rate for SD (kohya practice, cloneofsimo); small models take more."""
    text_rate: LearningRate | None = None
    """Learning rate of the text towers' share; half to a tenth of the backbone's. Empty: the towers stay as they are."""
    rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Size of the change. 4 to 32 is usual; file and memory grow in proportion, so 1024 is the most."""
    alpha: PositiveFloat | None = None
    """Scale, as `alpha / rank`. Empty: equal to the rank, as in diffusers. kohya's default is 1."""
    targets: Literal["attention", "transformer", "all"] = "attention"
    """`attention`: its projections; `transformer`: every linear and 1x1 convolution in transformer blocks (kohya's set);
    `all`: the ResNet blocks' layers as well (LoCon)."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the inner features dropped in training."""


@dataclass
class _Layer:
    """Stacked factors beside one frozen module: down [K, R, in, ...], up [K, out, R], scale [K]."""

    down: nn.Parameter
    up: nn.Parameter
    scale: Tensor
    even: float | None
    """The scale, where that of every slot is the same."""


class LoRAAdapter(Adapter):
    """K low-rank changes; smaller ranks are padded with zeros, which no gradient ever reaches."""

    def __init__(
        self, base: Base, modules: Mapping[str, nn.Module], sizes: Mapping[str, Sequence[Size]]
    ) -> None:
        """`sizes` gives each module a rank and an alpha per slot; rank 0 where a slot leaves the module alone."""
        self.sizes = sizes
        self.slots = len(next(iter(sizes.values())))
        self.rates: dict[str, tuple[Rate, ...]] = {}
        self.dropout = 0.0
        self.layers: dict[str, _Layer] = {}
        self.trains_text = any(path.partition(".")[0] in base.text_parts for path in modules)
        for path, module in modules.items():
            inner, outer, kernel = _shape(path, module)
            widest = max(rank for rank, _ in sizes[path])
            down = torch.zeros(self.slots, widest, inner, *kernel, device=base.device)
            up = torch.zeros(self.slots, outer, widest, device=base.device)
            scales = [alpha / max(rank, 1) for rank, alpha in sizes[path]]
            even = scales[0] if len(set(scales)) == 1 else None
            scale = torch.tensor(scales, device=base.device)
            self.layers[path] = _Layer(nn.Parameter(down), nn.Parameter(up), scale, even)
        self._handles = [
            modules[path].register_forward_hook(hook)
            for group in _groups(base, modules)
            for path, hook in zip(group, self._hooks([self.layers[path] for path in group]), strict=True)
        ]

    def initialise(self, seeds: Sequence[int]) -> None:
        """Kaiming-uniform `down` (a = sqrt 5, as kohya and PEFT), zero `up`; each slot from its own seed."""
        with torch.no_grad():
            for n, (path, layer) in enumerate(self.layers.items()):
                for slot, seed in enumerate(seeds):
                    fresh = layer.down[slot, : self.sizes[path][slot][0]]
                    bound = 1 / math.sqrt(fresh[0].numel())
                    drawn = torch.rand(fresh.shape, generator=stream(seed, "lora", n)) * 2 * bound - bound
                    fresh.copy_(drawn)

    def groups(self) -> list[Group]:
        """Backbone factors, then the text towers', each with its own rates."""
        found = []
        for name, rates in self.rates.items():
            mine = [
                layer
                for path, layer in self.layers.items()
                if path.startswith("backbone.") == (name == "backbone")
            ]
            if mine:
                found.append(Group(name, tuple(p for layer in mine for p in (layer.down, layer.up)), rates))
        return found

    def state(self, slot: int) -> dict[str, Tensor]:
        """`<path>.down` [r, in, ...], `<path>.up` [out, r] and a scalar `<path>.alpha` for each module."""
        tensors = {}
        for path, layer in self.layers.items():
            rank, alpha = self.sizes[path][slot]
            if rank:
                tensors[f"{path}.down"] = layer.down[slot, :rank].detach().cpu().clone()
                tensors[f"{path}.up"] = layer.up[slot, :, :rank].detach().cpu().clone()
                tensors[f"{path}.alpha"] = torch.tensor(float(alpha))
        return tensors

    def load(self, slot: int, tensors: Mapping[str, Tensor]) -> None:
        """Copy one artifact's factors into a slot. Files keep 1x1 convolutions with their kernel or without."""
        with torch.no_grad():
            for path, layer in self.layers.items():
                rank = self.sizes[path][slot][0]
                if rank:
                    down, up = layer.down[slot, :rank], layer.up[slot, :, :rank]
                    given = tensors[f"{path}.down"], tensors[f"{path}.up"]
                    if (given[0].numel(), given[1].numel()) != (down.numel(), up.numel()):
                        raise FormatError(
                            f"the factors of {path} are {_sizes(given)}; this base needs {_sizes((down, up))}",
                            "load its own base",
                        )
                    down.copy_(given[0].reshape(down.shape))
                    up.copy_(given[1].reshape(up.shape))

    def detach(self) -> None:
        """Remove every hook; the frozen modules were never touched."""
        for handle in self._handles:
            handle.remove()

    def _hooks(self, layers: Sequence[_Layer]) -> Iterator[_Hook]:
        """A hook for each of `layers`, which read the same tensor, in this order."""
        shared = _Shared(layers)

        def hook(n: int, layer: _Layer) -> _Hook:
            def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
                if self.strength == 0.0:
                    return None
                dropout = self.dropout if torch.is_grad_enabled() else 0.0
                own = slice(None) if self.span is None else self.span.rows(len(output))
                if isinstance(module, nn.Conv2d):
                    scale = layer.scale * self.strength
                    change = _convolve(module, layer, inputs[0][own], scale, dropout).to(output.dtype)
                    return self.on_own_rows(output, lambda rows: rows + change)
                inner = shared.inner(n, inputs[0], own, dropout)
                return self.on_own_rows(output, lambda rows: _raised(rows, inner, layer, self.strength))

            return add

        return (hook(n, layer) for n, layer in enumerate(layers))


class _Shared:
    """The first factors of layers that read the same tensor, as one product; each takes its share of it."""

    def __init__(self, layers: Sequence[_Layer]) -> None:
        self.layers = list(layers)
        self._x: Tensor | None = None
        self._parts: Sequence[Tensor] = ()

    def inner(self, n: int, x: Tensor, own: slice, dropout: float) -> Tensor:
        """Rows `own` of `x` [K * b, ..., in] through the first factor of layer `n`: [K, rows, R]."""
        if n == 0:
            self._x, self._parts = x, _lowered(x[own], self.layers, dropout)
        if x is not self._x:  # they do not, in this order
            return _lowered(x[own], self.layers[n : n + 1], dropout)[0]
        part = self._parts[n]
        if n == len(self.layers) - 1:
            self._x, self._parts = None, ()
        return part


def _lowered(x: Tensor, layers: Sequence[_Layer], dropout: float) -> Sequence[Tensor]:
    """Rows [K * b, ..., in] through the first factors of their slot: [K, rows, R] for each layer."""
    downs: list[Tensor] = [layer.down for layer in layers]
    down = (torch.cat(downs, 1) if len(downs) > 1 else downs[0]).to(x.dtype)  # [K, sum of R, in]
    inner = torch.bmm(x.reshape(len(down), -1, x.shape[-1]), down.transpose(1, 2))
    inner = F.dropout(inner, dropout) if dropout else inner
    return inner.split([one.shape[1] for one in downs], 2) if len(downs) > 1 else (inner,)


def _raised(output: Tensor, inner: Tensor, layer: _Layer, strength: float) -> Tensor:
    """`output` [K * b, ..., out] and what comes of `inner` [K, rows, R] by the second factor of its slot."""
    if layer.even is None:
        inner, factor = inner * to_slots(layer.scale * strength, inner), 1.0
    else:
        factor = layer.even * strength
    up = layer.up.transpose(1, 2).to(inner.dtype)
    rows = output.reshape(len(up), -1, output.shape[-1])
    return torch.baddbmm(rows, inner, up, alpha=factor).to(output.dtype).view(output.shape)


def _groups(base: Base, modules: Mapping[str, nn.Module]) -> list[Sequence[str]]:
    """Paths of `modules`, in order, those together that read the same tensor and can share a product."""
    alone = [[path] for path, module in modules.items() if isinstance(module, nn.Conv2d)]
    linear = [path for path, module in modules.items() if not isinstance(module, nn.Conv2d)]
    return [*alone, *base.sharing(linear)]


def _convolve(module: nn.Module, layer: _Layer, x: Tensor, scale: Tensor, dropout: float) -> Tensor:
    """Pictures [K * b, C, H, W]: each slot is one group of a grouped convolution, then a 1x1 `up`."""
    assert isinstance(module, nn.Conv2d)
    slots, rank = layer.down.shape[:2]
    grouped = by_slot(x, slots).transpose(0, 1).flatten(1, 2)  # [b, K * C, H, W]
    weight = layer.down.flatten(0, 1).to(x.dtype)
    inner = F.conv2d(grouped, weight, None, module.stride, module.padding, module.dilation, slots)
    inner = F.dropout(inner, dropout) if dropout else inner
    height, width = inner.shape[-2:]
    flat = inner.view(-1, slots, rank, height * width).permute(1, 3, 0, 2)  # [K, HW, b, R]
    flat = flat.reshape(slots, -1, rank) * to_slots(scale, flat[..., 0])
    outer = torch.bmm(flat, layer.up.transpose(1, 2).to(x.dtype))  # [K, HW * b, out]
    outer = outer.view(slots, height * width, -1, outer.shape[-1]).permute(0, 2, 3, 1)
    return outer.reshape(x.shape[0], -1, height, width)


def _sizes(tensors: tuple[Tensor, Tensor]) -> str:
    return " and ".join("x".join(map(str, tensor.shape)) for tensor in tensors)


def _size(tensors: Mapping[str, Tensor], path: str) -> Size:
    """Rank and alpha of a module in a file; rank 0 where it has none, alpha equal to the rank where it is left out."""
    down = tensors.get(f"{path}.down")
    rank = 0 if down is None else int(down.shape[0])
    return rank, float(tensors.get(f"{path}.alpha", rank))


def _shape(path: str, module: nn.Module) -> tuple[int, int, tuple[int, ...]]:
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, ()
    if isinstance(module, nn.Conv2d) and module.groups == 1:
        return module.in_channels, module.out_channels, tuple(module.kernel_size)
    raise RecipeError(
        f"{path} is a {type(module).__name__}, which has no low-rank form here", "choose other targets"
    )


class LoRA(Method[LoRARecipe]):
    """Low-rank adaptation."""

    name = "lora"
    title = "LoRA"
    paper = "Hu et al. 2021, arXiv 2106.09685"
    summary = (
        "Adds small low-rank matrices beside the layers of the backbone (and, if asked, of the text tower). "
        "A few megabytes, can be dialled up and down and combined; on large bases usually close to full fine-tuning in "
        "likeness."
    )
    recipe = LoRARecipe
    kind = LOW_RANK
    space = (
        Choices("learning_rate", (0.25, 0.5, 1, 2, 4), times=True),
        Choices("rank", (4, 8, 16, 32)),
        Choices("steps", (0.5, 1, 2), times=True),
    )

    def alike(self, recipe: LoRARecipe) -> Hashable:
        """Targets, whether the towers learn, and dropout."""
        return recipe.targets, recipe.text_rate is None, recipe.dropout

    def attach(self, base: Base, stack: Stack) -> LoRAAdapter:
        """Identity-initialised factors for every job; targets and text training must agree across jobs."""
        recipes: list[LoRARecipe] = [job.recipe for job in stack.jobs]  # type: ignore[misc]
        first = recipes[0]
        for recipe in recipes:
            if (recipe.targets, recipe.text_rate is None) != (first.targets, first.text_rate is None):
                raise RecipeError(
                    "jobs in one stack must share their LoRA targets", "teach them in separate stacks"
                )
            if recipe.dropout != first.dropout:
                raise RecipeError(
                    "jobs in one stack must share their dropout", "teach them in separate stacks"
                )
        modules = base.targets(first.targets, "backbone")
        if first.text_rate is not None:
            for part in base.text_parts:
                modules |= base.targets(first.targets, part)
        sizes = [(recipe.rank, recipe.alpha or float(recipe.rank)) for recipe in recipes]
        adapter = LoRAAdapter(base, modules, dict.fromkeys(modules, sizes))
        adapter.initialise([recipe.seed for recipe in recipes])
        adapter.dropout = first.dropout
        adapter.rates["backbone"] = tuple(Rate.parse(recipe.learning_rate) for recipe in recipes)
        if first.text_rate is not None:
            adapter.rates["text"] = tuple(Rate.parse(recipe.text_rate or 0.0) for recipe in recipes)
        return adapter

    def restore(self, base: Base, artifacts: Sequence[Artifact]) -> LoRAAdapter:
        """Read modules, ranks and alphas from the tensors, so that files of other programs load too."""
        everything = base.targets("all", "backbone")
        for part in base.text_parts:
            everything |= base.targets("all", part)
        named = (key.removesuffix(".down") for a in artifacts for key in a.tensors if key.endswith(".down"))
        paths = list(dict.fromkeys(named))
        unknown = [path for path in paths if path not in everything]
        if unknown or not paths:
            what = f"changes {unknown[0]}, which {base.name} does not have" if unknown else "changes nothing"
            raise FormatError(f"this LoRA {what}", "load its own base")
        sizes = {path: [_size(artifact.tensors, path) for artifact in artifacts] for path in paths}
        adapter = LoRAAdapter(base, {path: everything[path] for path in paths}, sizes)
        for slot, artifact in enumerate(artifacts):
            adapter.load(slot, artifact.tensors)
        return adapter


METHOD = LoRA()
