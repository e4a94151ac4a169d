"""Hypernetwork: small residual networks that change what the keys and values of attention are computed from.

This is the meaning of NovelAI (2022) and of the AUTOMATIC1111 web UI (its `hypernetwork.py`), down to the
names and indices in its files. It is neither a network that outputs weights (Ha, Dai & Le 2016, arXiv
1609.09106) nor HyperDreamBooth (Ruiz et al. 2023, arXiv 2307.06949).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from pydantic import ValidationInfo, field_validator
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from likewise.artifact import Artifact
from likewise.base import Base, Site
from likewise.errors import FormatError, RecipeError, UnsupportedError
from likewise.kinds import NETWORK
from likewise.method import Adapter, Choices, Group, Method
from likewise.recipe import LearningRate, Rate, Recipe, Steps, TrainingRecipe
from likewise.stack import Stack, stream

Part = Literal["key", "value"]
Activation = Literal[
    "linear", "relu", "leakyrelu", "elu", "swish", "tanh", "sigmoid", "softsign", "mish",
    "celu", "gelu", "hardshrink", "hardsigmoid", "hardtanh", "logsigmoid", "relu6", "selu", "silu", "softplus",
    "softshrink", "tanhshrink",
]  # fmt: skip

PARTS: tuple[Part, Part] = ("key", "value")
# What the web UI calls swish is Hardswish, not SiLU.
_SPELT = {"leakyrelu": "leaky_relu", "swish": "hardswish"}
ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor] | None] = {
    name: None if name == "linear" else getattr(F, _SPELT.get(name, name)) for name in get_args(Activation)
}
SHAPE = ("structure", "activation", "activate_output", "layer_norm", "dropout", "sizes")
"""Settings that all jobs of one stack must share, because they decide how the networks are computed."""


class HypernetworkRecipe(TrainingRecipe):
    """The networks' form, in the words of the web UI's "Create hypernetwork" tab."""

    steps: Steps = 10_000
    """Guides for the web UI give 10,000 to 20,000; with a higher rate than its default, fewer do."""
    learning_rate: LearningRate = 1e-5
    """The web UI's default, which may be piecewise: `5e-5:100, 5e-6:1500, 5e-7`. From 5e-5 on, networks for
    Stable Diffusion are known to collapse; small models take more."""
    structure: tuple[float, ...] = (1, 2, 1)
    """Widths of the layers as multiples of the input's. [1, 2, 1] is NovelAI's and the web UI's default."""
    activation: Activation = "linear"
    """Activation between the layers. `linear`, none at all, is NovelAI's layout and the web UI's default;
    `swish` is Hardswish, as there. The web UI knows all of these, which are torch's that act on single numbers;
    ComfyUI knows `mish` and those before it."""
    activate_output: bool = False
    """Whether the last layer is activated too. Off, as in the web UI: a ReLU there could only add."""
    layer_norm: bool = False
    """Layer normalisation after every layer. Off, as in the web UI. Its weights start at N(0, 0.01)."""
    dropout: tuple[float, ...] | None = None
    """Dropout after each layer: one number per entry of `structure`, first and last 0. Empty: none, as in
    the web UI, whose check box stands for 0.3."""
    init: Literal["normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"] = "normal"
    """How weights start; biases start at 0. `normal` is N(0, 0.01), the web UI's default: the start is
    already a small change of the base."""
    sizes: Literal["cross", "all"] | tuple[int, ...] = "cross"
    """Which input widths get networks: `cross` those of attention to the text (NovelAI names cross-attention
    alone), `all` every width of the base (what the web UI ticks), or a list like `[768, 320]`. As there, all
    layers of a width share one pair."""

    @field_validator("structure")
    @classmethod
    def _check_structure(cls, structure: tuple[float, ...]) -> tuple[float, ...]:
        if len(structure) < 2 or structure[0] != 1 or structure[-1] != 1:
            raise ValueError("it must begin and end with 1, like [1, 2, 1]")
        if min(structure) <= 0:
            raise ValueError("it must hold multiples above 0")
        return structure

    @field_validator("sizes")
    @classmethod
    def _check_sizes(cls, sizes: str | tuple[int, ...]) -> str | tuple[int, ...]:
        if isinstance(sizes, tuple) and (not sizes or min(sizes) < 1):
            raise ValueError("it must be cross, all, or a list of widths such as [768]")
        return sizes

    @field_validator("dropout")
    @classmethod
    def _check_dropout(cls, dropout: Any, info: ValidationInfo) -> Any:
        if dropout is None:
            return None
        entries = len(info.data.get("structure", dropout))  # absent where structure itself was refused
        if len(dropout) != entries:
            raise ValueError(f"it needs {entries} numbers, one per entry of structure")
        if dropout[0] != 0 or dropout[-1] != 0:
            raise ValueError("it must begin and end with 0")
        if not all(0 <= p < 1 for p in dropout):
            raise ValueError("each must be at least 0 and below 1")
        return dropout


@dataclass(frozen=True)
class Layer:
    """What `nn.Sequential` of the web UI holds for one linear layer, and at which indices."""

    linear: int
    norm: int | None
    activated: bool
    dropout: float
    inputs: int
    outputs: int


def layers(recipe: HypernetworkRecipe, width: int) -> list[Layer]:
    """The layers of one network for inputs of `width` features. Activation, norm and dropout count too."""
    found: list[Layer] = []
    index, count = 0, len(recipe.structure) - 1
    for i in range(count):
        inputs, outputs = int(width * recipe.structure[i]), int(width * recipe.structure[i + 1])
        if min(inputs, outputs) < 1:
            raise RecipeError(f"structure {list(recipe.structure)} leaves a layer empty at width {width}")
        last = i == count - 1
        activated = recipe.activation != "linear" and (not last or recipe.activate_output)
        after = index + 1 + activated
        dropout = recipe.dropout[i + 1] if recipe.dropout else 0.0
        norm = after if recipe.layer_norm else None
        found.append(Layer(index, norm, activated, dropout, inputs, outputs))
        index = after + recipe.layer_norm + (dropout > 0)
    return found


class Network(nn.Module):
    """K networks for the keys, or the values, of one width: weights [K, in, out], biases [K, out]."""

    def __init__(self, recipe: HypernetworkRecipe, width: int, slots: int) -> None:
        super().__init__()
        self.layers = layers(recipe, width)
        self.activation = ACTIVATIONS[recipe.activation]
        self.tensors = nn.ParameterDict()
        for layer in self.layers:
            shapes: dict[str, tuple[int, ...]] = {}
            shapes[f"{layer.linear}/weight"] = (layer.inputs, layer.outputs)
            shapes[f"{layer.linear}/bias"] = (layer.outputs,)
            if layer.norm is not None:
                shapes |= {f"{layer.norm}/weight": (layer.outputs,), f"{layer.norm}/bias": (layer.outputs,)}
            for name, shape in shapes.items():
                self.tensors[name] = nn.Parameter(torch.zeros(slots, *shape))

    def forward(self, x: Tensor) -> Tensor:
        """What is added to `x` [K, n, width], of the same shape."""
        for layer in self.layers:
            bias = self.tensors[f"{layer.linear}/bias"].unsqueeze(1)
            x = torch.baddbmm(bias, x, self.tensors[f"{layer.linear}/weight"])
            if layer.activated and self.activation is not None:
                x = self.activation(x)
            if layer.norm is not None:
                scale, shift = self.tensors[f"{layer.norm}/weight"], self.tensors[f"{layer.norm}/bias"]
                x = F.layer_norm(x, (layer.outputs,)) * scale.unsqueeze(1) + shift.unsqueeze(1)
            if layer.dropout and self.training:
                x = F.dropout(x, layer.dropout)
        return x

    @torch.no_grad()
    def start(self, slot: int, recipe: HypernetworkRecipe, index: int) -> None:
        """Draw the first values of one slot, from its job's seed and the network's `index` alone."""
        generator = stream(recipe.seed, "init", index)
        for name, stacked in self.tensors.items():
            if name.endswith("/bias"):
                continue
            if stacked.ndim == 2:  # a norm's weight: the web UI draws it like this whatever `init` says
                stacked[slot] = torch.empty(stacked.shape[1]).normal_(0.0, 0.01, generator=generator)
            else:
                weight = torch.empty(stacked.shape[2], stacked.shape[1])
                stacked[slot] = _draw(weight, recipe, generator).T

    @torch.no_grad()
    def read(self, slot: int, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """Take one slot's values from canonical names."""
        for name, stacked in self.tensors.items():
            key = prefix + name.replace("/", ".")
            if key not in tensors:
                raise FormatError(f"the hypernetwork has no tensor {key}", _DISAGREE)
            value = tensors[key].T if tensors[key].ndim == 2 else tensors[key]
            if value.shape != stacked.shape[1:]:
                raise FormatError(f"{key} has shape {tuple(tensors[key].shape)}", _DISAGREE)
            stacked[slot] = value.to(stacked.dtype)

    def write(self, slot: int, prefix: str) -> dict[str, Tensor]:
        """One slot's values by canonical names, weights as [out, in]."""
        found: dict[str, Tensor] = {}
        for name, stacked in self.tensors.items():
            value = stacked[slot].detach()
            value = value.T if value.ndim == 2 else value
            found[prefix + name.replace("/", ".")] = value.to("cpu", copy=True).contiguous()
        return found


_DISAGREE = "the recipe that came with it describes other networks"


def _draw(weight: Tensor, recipe: HypernetworkRecipe, generator: torch.Generator) -> Tensor:
    if recipe.init == "normal":
        return nn.init.normal_(weight, 0.0, 0.01, generator=generator)
    if recipe.init == "xavier_uniform":
        return nn.init.xavier_uniform_(weight, generator=generator)
    if recipe.init == "xavier_normal":
        return nn.init.xavier_normal_(weight, generator=generator)
    # The web UI asks for leaky ReLU's gain where it applies, but with slope 0, which is ReLU's.
    if recipe.init == "kaiming_uniform":
        return nn.init.kaiming_uniform_(weight, nonlinearity="relu", generator=generator)
    return nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)


class HypernetworkAdapter(Adapter):
    """Networks on the inputs of every key and value projection whose width has some."""

    training: bool | None = None
    """Whether dropout acts. Empty: wherever gradients are taken, as in training and nowhere else."""

    def __init__(self, base: Base, recipes: Sequence[HypernetworkRecipe], widths: Iterable[int]) -> None:
        _check_equal(recipes)
        self.slots = len(recipes)
        self.rates = tuple(Rate.parse(recipe.learning_rate) for recipe in recipes)
        self.networks: dict[tuple[int, Part], Network] = {
            (width, part): Network(recipes[0], width, self.slots).to(base.device)
            for width in sorted(widths)
            for part in PARTS
        }
        self._handles: list[RemovableHandle] = []

    def connect(self, base: Base) -> None:
        """Start to act on `base`. Last of all, so that what fails before leaves nothing behind."""
        self._handles = [
            site.module.register_forward_pre_hook(self._hook(self.networks[site.width, site.part]))
            for site in base.sites()
            if (site.width, site.part) in self.networks
        ]

    def groups(self) -> Sequence[Group]:
        """All networks, with weight decay as in the web UI (AdamW's 0.01)."""
        parameters = tuple(p for network in self.networks.values() for p in network.parameters())
        return [Group("hypernetwork", parameters, self.rates)]

    def state(self, slot: int) -> dict[str, Tensor]:
        """`hypernetwork.{width}.{key|value}.linear.{i}.{weight|bias}`, as the web UI: weights [out, in]."""
        found: dict[str, Tensor] = {}
        for (width, part), network in self.networks.items():
            found.update(network.write(slot, _prefix(width, part)))
        return found

    def load(self, slot: int, tensors: Mapping[str, Tensor]) -> None:
        """Take networks back."""
        for (width, part), network in self.networks.items():
            network.read(slot, tensors, _prefix(width, part))

    def detach(self) -> None:
        """Remove every hook; no weight of the base was touched."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, network: Network) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...] | None]:
        def change(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
            if self.strength == 0:
                return None
            network.training = torch.is_grad_enabled() if self.training is None else self.training

            def through(x: Tensor) -> Tensor:
                rows = x.reshape(self.slots, -1, x.shape[-1])  # batch rows are slot-major
                added = network(rows.float()).to(x.dtype).reshape(x.shape)  # the networks are kept in float32
                return x + self.strength * added

            return (self.on_own_rows(inputs[0], through), *inputs[1:])

        return change


def _prefix(width: int, part: Part) -> str:
    return f"hypernetwork.{width}.{part}.linear."


def _check_equal(recipes: Sequence[HypernetworkRecipe]) -> None:
    for key in SHAPE:
        one, *others = (getattr(recipe, key) for recipe in recipes)
        if other := [value for value in others if value != one]:
            said = f"hypernetworks in one stack must share {key}: {one!r} and {other[0]!r}"
            raise RecipeError(said, "teach them in separate stacks")


def _widths(base: Base, sizes: Literal["cross", "all"] | tuple[int, ...]) -> set[int]:
    """The widths that a recipe asks for. `cross` falls back to refiners, then to joint attention."""
    sites: Sequence[Site] = base.sites()
    offered = {site.width for site in sites}
    if sizes == "all":
        return offered
    if sizes == "cross":
        for kind in ("cross", "refiner", "joint"):
            found = {site.width for site in sites if site.kind == kind}
            if found:
                return found
        return offered
    unknown = sorted(set(sizes) - offered)
    if unknown:
        raise RecipeError(
            f"sizes: {base.name} has no attention of width {', '.join(map(str, unknown))}",
            f"its widths are {', '.join(map(str, sorted(offered)))}",
        )
    return set(sizes)


class Hypernetwork(Method[HypernetworkRecipe]):
    """One pair of networks, for keys and values, per width, shared by all attention layers of that width."""

    name = "hypernetwork"
    title = "Hypernetwork"
    paper = "NovelAI 2022, https://blog.novelai.net/novelai-improvements-on-stable-diffusion-e10d38db82ac"
    summary = (
        "Small networks rewrite what attention reads its keys and values from; the base keeps its weights. "
        "Made for styles: larger than a LoRA and slower to learn, and what the web UI had before it. "
        "One pair serves every layer of a width, so layers cannot learn different things."
    )
    recipe = HypernetworkRecipe
    kind = NETWORK
    space = (
        Choices("learning_rate", (0.25, 0.5, 1, 2, 4), times=True),
        Choices("steps", (0.5, 1, 2), times=True),
    )

    def alike(self, recipe: HypernetworkRecipe) -> Hashable:
        """The networks' form."""
        return tuple(getattr(recipe, key) for key in SHAPE)

    def unsupported(self, base: Base) -> str | None:
        """A base must offer attention sites."""
        if base.sites():
            return None
        return "it offers no key and value projections whose input could be changed."

    def attach(self, base: Base, stack: Stack) -> HypernetworkAdapter:
        """Put fresh networks on `base`. As in the web UI, their random start already changes it a little."""
        self.check(base, len(stack))
        recipes = [_mine(job.recipe) for job in stack.jobs]
        adapter = HypernetworkAdapter(base, recipes, _widths(base, recipes[0].sizes))
        for index, network in enumerate(adapter.networks.values()):
            for slot, recipe in enumerate(recipes):
                network.start(slot, recipe, index)
        adapter.connect(base)
        return adapter

    def restore(self, base: Base, artifacts: Sequence[Artifact]) -> HypernetworkAdapter:
        """Put taught networks on `base`; their widths are those of the first artifact's tensors."""
        self.check(base, len(artifacts))
        # The tensors say which widths there are: `sizes` is a wish, and means something else on another base.
        recipes = [
            HypernetworkRecipe().override({**artifact.recipe, "sizes": _found(artifact.tensors)})
            for artifact in artifacts
        ]
        widths, offered = _found(artifacts[0].tensors), {site.width for site in base.sites()}
        if not offered & set(widths):
            raise UnsupportedError(
                f"this hypernetwork changes attention of width {', '.join(map(str, widths))}",
                f"the widths of {base.name} are {', '.join(map(str, sorted(offered)))}",
            )
        adapter = HypernetworkAdapter(base, recipes, widths)
        for (width, part), network in adapter.networks.items():
            for slot, artifact in enumerate(artifacts):
                network.read(slot, artifact.tensors, _prefix(width, part))
        for artifact in artifacts:
            more = sorted(set(artifact.tensors) - set(adapter.state(0)))
            if more:
                raise FormatError(f"the hypernetwork has a tensor too many: {more[0]}", _DISAGREE)
        adapter.connect(base)
        return adapter


def _found(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The widths that canonical names speak of, sorted."""
    matches = [
        re.fullmatch(r"hypernetwork\.(\d+)\.(?:key|value)\.linear\.\d+\.(?:weight|bias)", k) for k in tensors
    ]
    if not matches or None in matches:
        raise FormatError(
            "these are not a hypernetwork's tensors", f"found {', '.join(list(tensors)[:3]) or 'none'}"
        )
    return tuple(sorted({int(match.group(1)) for match in matches if match}))


def _mine(recipe: Recipe) -> HypernetworkRecipe:
    if not isinstance(recipe, HypernetworkRecipe):
        raise RecipeError(f"a hypernetwork cannot be taught with a {type(recipe).__name__}")
    return recipe


METHOD = Hypernetwork()
