"""The hypernetwork `.pt` of AUTOMATIC1111's web UI, and of NovelAI before it: per width a pair of small networks.

Dropout is left out of what is read and written. It only acts in training, but its places in the networks shift the
names of what follows, and ComfyUI never turns it off.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats._embeddings import entries
from likewise.formats._metadata import scrub
from likewise.formats.layout import Contents, Layout, Saving
from likewise.kinds import NETWORK
from likewise.weights import read_object, write_object
from likewise.weights.numbers import real, rounded

if TYPE_CHECKING:
    from torch import Tensor

PARTS = ("key", "value")
PORTABLE = (
    "linear", "relu", "leakyrelu", "elu", "swish", "tanh", "sigmoid", "softsign", "mish"
)  # fmt: skip
"""What both the web UI and ComfyUI know, `linear` being none at all."""
ACTIVATIONS = (
    *PORTABLE, "celu", "gelu", "hardshrink", "hardsigmoid", "hardtanh", "logsigmoid", "relu6", "selu", "silu",
    "softplus", "softshrink", "tanhshrink",
)  # fmt: skip
"""The web UI takes every one of torch's. Left out are those with parameters, chance or a view of several numbers."""
SPELLINGS = {"hardswish": "swish"}
INITS = {
    "normal": "Normal", "xavier_uniform": "XavierUniform", "xavier_normal": "XavierNormal",
    "kaiming_uniform": "KaimingUniform", "kaiming_normal": "KaimingNormal",
}  # fmt: skip
NAME = re.compile(r"linear\.(?P<place>\d{1,4})\.(?P<kind>weight|bias)")
OLD_NAME = re.compile(r"linear(?P<place>[1-9])\.(?P<kind>weight|bias)")
"""Names in the first files, whose two layers were counted from 1."""
CANONICAL = re.compile(r"hypernetwork\.(?P<width>\d+)\.(?P<part>key|value)\.(?P<rest>.+)")
SDXL_TEXT = 2048
"""Width of SDXL's text states; no other family's attention has it."""


@dataclass(frozen=True)
class Form:
    """What the networks of one file look like."""

    structure: tuple[float, ...] = (1, 2, 1)
    activation: str = "linear"
    activate_output: bool = False
    layer_norm: bool = False

    def layers(self, width: int) -> list[tuple[int, tuple[int, ...]]]:
        """Place and shape of every weight that a network without dropout has, norms' [out] included."""
        found: list[tuple[int, tuple[int, ...]]] = []
        sides = [int(width * share) for share in self.structure]
        place = 0
        for n, (inputs, outputs) in enumerate(pairwise(sides), start=1):
            found.append((place, (outputs, inputs)))
            last = n == len(sides) - 1
            place += 1 + (self.activation != "linear" and (self.activate_output or not last))
            if self.layer_norm:
                found.append((place, (outputs,)))
                place += 1
        return found


class WebUIHypernetwork(Layout):
    """Networks for the keys and the values of attention, by width."""

    name = "webui_hypernetwork"
    title = "web UI hypernetwork (.pt)"
    suffix = ".pt"
    kinds = (NETWORK,)
    usual = "float32"
    readers = dict.fromkeys(("AUTOMATIC1111", "ComfyUI", "Forge", "likewise"), "exact")

    def sniff(self, contents: Contents) -> bool:
        names = [re.fullmatch(r"\d+\.[01]\.(.+)", name) for name in contents.shapes]
        return contents.form == "pickled" and any(
            match and (NAME.fullmatch(match[1]) or OLD_NAME.fullmatch(match[1])) for match in names
        )

    def read(self, contents: Contents) -> Artifact:
        path, tree = contents.path, entries(read_object(contents.path))
        form = _form(tree, path)
        tensors: dict[str, Tensor] = {}
        for width, pair in tree.items():
            if type(width) is not int:  # the settings have texts for names
                continue
            if width < 1 or not isinstance(pair, tuple | list) or len(pair) != len(PARTS):
                raise FormatError(f"{path}: width {width} has no pair of networks")
            for part, network in zip(PARTS, pair, strict=True):
                tensors |= _network(entries(network), width, part, form, str(path))
        if not tensors:
            raise FormatError(f"{path} gives its widths as texts, which no program reads")
        name, base = tree.get("name"), tree.get("sd_checkpoint_name")
        return Artifact(
            method=NETWORK.mark,
            family="sdxl" if f"hypernetwork.{SDXL_TEXT}.key.linear.0.weight" in tensors else "sd",
            token=name if isinstance(name, str) and name.strip() else path.stem,
            noun="",
            tensors=tensors,
            recipe=_recipe(form),
            base=base if isinstance(base, str) else "",
        )

    def portability(self, contents: Contents) -> dict[str, str]:
        """Where ComfyUI reads the same file otherwise than the web UI, which made it."""
        tree = entries(read_object(contents.path))
        form = _form(tree, contents.path)
        curved = form.activation != "linear"
        reasons = {
            f"it does not know the activation {form.activation}": form.activation not in PORTABLE,
            "it draws differently each time, because dropout stays on": bool(tree.get("use_dropout")),
            "it activates the last layer once more, because of the layer normalisation": form.layer_norm
            and curved,
            "it does not activate the last layer, for lack of `activate_output`": curved
            and "activate_output" not in tree,
        }
        wrong = [reason for reason, holds in reasons.items() if holds]
        return {**self.readers, **({"ComfyUI": "wrong: " + "; ".join(wrong)} if wrong else {})}

    def kept(self, artifact: Artifact) -> Artifact:
        """Without dropout, and with names that do not count its places."""
        form = _form_of(artifact)
        tensors: dict[str, Tensor] = {}
        for width, part, network in _networks(artifact):
            tensors |= _network(network, width, part, form, "the hypernetwork")
        return replace(artifact, tensors=tensors, recipe={**artifact.recipe, **_recipe(form)})

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        dtype, form = saving.torch_dtype(), _form_of(artifact)
        tree: dict[Any, Any] = {}
        for width, _part, network in _networks(self.kept(artifact)):
            values = OrderedDict((name, rounded(tensor, dtype)) for name, tensor in network.items())
            tree[width] = (*tree.get(width, ()), values)
        steps = artifact.recipe.get("steps") if saving.metadata else None
        tree |= {
            "step": steps if isinstance(steps, int) else 0,
            "name": artifact.token or Path(path).stem,
            "layer_structure": [int(share) if share == int(share) else share for share in form.structure],
            "activation_func": form.activation,
            "is_layer_norm": form.layer_norm,
            "weight_initialization": INITS.get(str(artifact.recipe.get("init")), "Normal"),
            "sd_checkpoint": None,
            "sd_checkpoint_name": scrub(artifact.base) if saving.metadata and artifact.base else None,
            "activate_output": form.activate_output,
            "use_dropout": False,
            "dropout_structure": [0] * len(form.structure),
            "last_layer_dropout": False,
            "optional_info": None,
        }
        return write_object(path, tree)


def _form(tree: Mapping[Any, Any], path: Path) -> Form:
    """The settings of a file. What is missing is what the web UI takes it for, which wrote the file."""
    activation = str(tree.get("activation_func") or "linear").lower()
    activation = SPELLINGS.get(activation, activation)
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise FormatError(
            f"{path} has the activation {activation!r}, which is not known here", f"known: {known}"
        )
    shares = tree.get("layer_structure") or (1, 2, 1)
    if not isinstance(shares, list | tuple) or not all(_positive(share) for share in shares):
        raise FormatError(f"{path} has layer_structure {str(shares)[:80]}, which is no list of multiples")
    if len(shares) < 2 or shares[0] != 1 or shares[-1] != 1:
        raise FormatError(
            f"{path} has layer_structure {str(shares)[:80]}, which does not begin and end with 1"
        )
    return Form(
        structure=tuple(float(share) for share in shares),
        activation=activation,
        activate_output=bool(tree.get("activate_output", True)),
        layer_norm=bool(tree.get("is_layer_norm", False)),
    )


def _positive(share: Any) -> bool:
    return type(share) in (int, float) and 0 < share < 1000


def _form_of(artifact: Artifact) -> Form:
    """The settings in a recipe; what it leaves out is the method's default."""
    recipe, usual = artifact.recipe, Form()
    return Form(
        structure=tuple(float(share) for share in recipe.get("structure", usual.structure)),
        activation=str(recipe.get("activation", usual.activation)),
        activate_output=bool(recipe.get("activate_output", usual.activate_output)),
        layer_norm=bool(recipe.get("layer_norm", usual.layer_norm)),
    )


def _recipe(form: Form) -> dict[str, Any]:
    """The part of a recipe that rebuilds the networks."""
    return {
        "structure": list(form.structure),
        "activation": form.activation,
        "activate_output": form.activate_output,
        "layer_norm": form.layer_norm,
        "dropout": None,
    }


def _networks(artifact: Artifact) -> Iterator[tuple[int, str, dict[str, Tensor]]]:
    """Width, part and tensors by the web UI's names of every network, widths in order and keys first."""
    found: dict[tuple[int, str], dict[str, Tensor]] = {}
    for name, tensor in artifact.tensors.items():
        match = CANONICAL.fullmatch(name)
        if not match:
            raise FormatError(f"{name} is no tensor of a hypernetwork")
        found.setdefault((int(match["width"]), match["part"]), {})[match["rest"]] = tensor
    for (width, part), network in sorted(found.items(), key=lambda item: item[0]):
        if any((width, other) not in found for other in PARTS):
            raise FormatError(f"the hypernetwork has networks for only the {part}s of width {width}")
        yield width, part, network


def _network(table: Mapping[Any, Any], width: int, part: str, form: Form, source: str) -> dict[str, Tensor]:
    """Canonical tensors of one network, wherever dropout has shifted its layers to.

    Raises `FormatError` unless the layers, in their order, are those that `form` asks for.
    """
    modules: dict[int, dict[str, Any]] = {}
    for name, tensor in table.items():
        match = NAME.fullmatch(str(name)) or OLD_NAME.fullmatch(str(name))
        if not match:
            raise FormatError(f"{source}: width {width} has the unknown tensor {str(name)[:80]!r}")
        modules.setdefault(int(match["place"]), {})[match["kind"]] = tensor
    wanted = form.layers(width)
    if len(modules) != len(wanted):
        asked = f"{source}: width {width} has {len(modules)} layers for its {part}s, and its settings ask for {len(wanted)}"
        raise FormatError(asked, "the file was damaged or made by another program")
    found: dict[str, Tensor] = {}
    for (said, module), (place, shape) in zip(sorted(modules.items()), wanted, strict=True):
        for kind, side in (("weight", shape), ("bias", shape[:1])):
            where = f"{width} {part} linear.{said}.{kind}"
            tensor = real(module.get(kind), where, source)
            if tuple(tensor.shape) != side:
                raise FormatError(f"{source}: {where} has shape {list(tensor.shape)}, not {list(side)}")
            found[f"hypernetwork.{width}.{part}.linear.{place}.{kind}"] = tensor
    return found


LAYOUT = WebUIHypernetwork()
