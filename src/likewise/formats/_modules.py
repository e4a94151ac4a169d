"""Modules: an artifact's tensors by the layer they change, checked when they come from a foreign file.

`{path: {suffix: tensor}}`, where a suffix (`up`, `alpha`, `hada_w1_a`, ...) has no dot in it. What the suffixes
mean is in `_deltas`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors import lowrank as _lowrank
from likewise.formats._metadata import base_of, noun_of, prediction_of, token_of
from likewise.formats.layout import Contents, Identity, Shape
from likewise.kinds import Kind
from likewise.naming.transformer import Published
from likewise.weights import read_tensors
from likewise.weights.numbers import REAL, real

if TYPE_CHECKING:
    from torch import Tensor, dtype

Modules = dict[str, dict[str, "Tensor"]]
_CONVOLUTION = re.compile(
    r"backbone\.(conv_in|conv_out|.*\.(conv1|conv2|conv_shortcut|(down|up)samplers\.\d+\.conv))"
)
_EITHER = re.compile(r"backbone\..*\.(proj_in|proj_out)")
"""1x1 convolutions in SD 1, linear layers in SD 2 and SDXL."""
_WHOLE = (".alpha", ".on_input")
"""Numbers that some programs save as integers."""
_CONTEXT = ("attn2.to_k", "attn2.to_v")


@dataclass(frozen=True)
class Spelled:
    """The layers of a foreign file, by the names that it has for them."""

    family: str
    layers: Mapping[str, Published]
    """The canonical paths of each."""
    shapes: Mapping[str, Mapping[str, Shape]]
    """Shapes of each layer's tensors, by our suffix."""
    notes: Mapping[str, str] = field(default_factory=dict)

    def identity(self, kind: Kind) -> Identity:
        """What the file is."""
        return Identity(kind, self.family, layers=self.shapes, notes=self.notes)


def group(tensors: Mapping[str, Tensor]) -> Modules:
    """Canonical tensors by layer, in the order of the artifact."""
    found: Modules = {}
    for name, tensor in tensors.items():
        path, _, suffix = name.rpartition(".")
        found.setdefault(path, {})[suffix] = tensor
    return found


def ungroup(modules: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The inverse of `group`."""
    return {f"{path}.{suffix}": t for path, own in modules.items() for suffix, t in own.items()}


def read_finite(contents: Contents) -> dict[str, Tensor]:
    """Every tensor of the file, floats as float32; raises `FormatError` for values that are not finite."""
    return {
        name: real(tensor, name, contents.path)
        if tensor.is_floating_point() or not name.endswith(_WHOLE)
        else tensor
        for name, tensor in read_tensors(contents.path).items()
    }


def as_tensor(number: float) -> Tensor:
    """A number as a tensor without dimensions."""
    import torch

    return torch.tensor(float(number))


def rounded(suffix: str, tensor: Tensor, kept: dtype) -> Tensor:
    """A tensor in the precision that is saved; an alpha that would change by it, and integers, stay as they are.

    Raises `FormatError` if a number is too large for it.
    """
    inexact = suffix == "alpha" and float(tensor.to(kept)) != float(tensor)
    if inexact or not tensor.is_floating_point():
        return tensor
    found = tensor.to(kept)
    if not bool(found.isfinite().all()):
        kind = str(kept).removeprefix("torch.")
        raise FormatError(
            f"{kind} has no numbers as large as {float(tensor.abs().max()):.2g}", "save it in float32"
        )
    return found


def adopt(
    contents: Contents, modules: Modules, kind: Kind, family: str, notes: Mapping[str, str]
) -> Artifact:
    """The artifact of a foreign file: token, noun and base from its metadata, or the token from its name."""
    recipe: dict[str, Any] = {}
    if not kind.pairs:
        from likewise.factors.deltas import algorithm

        kinds = [algorithm(own) for own in modules.values()]
        recipe["algo"] = max(sorted(set(kinds)), key=kinds.count)
    return Artifact(
        method=kind.mark,
        family=family,
        token=token_of(contents.metadata, contents.path),
        noun=noun_of(contents.metadata),
        tensors=ungroup(modules),
        recipe=recipe,
        base=base_of(contents.metadata),
        notes={**prediction_of(contents.metadata), **notes},
    )


@contextmanager
def at(contents: Contents, layer: str = "") -> Iterator[None]:
    """Say in a `FormatError` which file, and which layer if one is named, it is about."""
    try:
        yield
    except FormatError as error:
        place = f"{contents.path}: {layer}" if layer else str(contents.path)
        raise FormatError(f"{place}: {error.message}", error.hint) from None


def check_types(contents: Contents) -> None:
    """Raise `FormatError` naming a tensor whose numbers are not real ones; alphas may be whole."""
    for name, dtype in contents.dtypes.items():
        if dtype not in REAL and not name.endswith(_WHOLE):
            raise FormatError(f"{contents.path}: {name} is no tensor of real numbers but of {dtype}")


def check_pairs(contents: Contents, layers: Mapping[str, Mapping[str, Shape]]) -> None:
    """Raise `FormatError` naming a low-rank pair that is torn or does not fit, by the shapes of each layer's tensors.

    Right are `down` [r, in, ...], `up` [out, r, ...] and one number `alpha`, if any.
    """
    for path, own in layers.items():
        if "down" not in own or "up" not in own:
            raise FormatError(
                f"{contents.path}: {path} has only half of a low-rank pair", "fetch the file again"
            )
        down, up = own["down"], own["up"]
        rank = down[0] if len(down) in (2, 4) else 0
        if not rank or len(up) not in (2, 4) or up[1] != rank or not math.prod(down) or not math.prod(up):
            raise FormatError(f"{contents.path}: the factors of {path}, {up} and {down}, do not fit together")
        more = sorted(own.keys() - {"down", "up", "alpha"})
        if more or math.prod(up[1:]) != rank or math.prod(own.get("alpha", ())) != 1:
            raise FormatError(f"{contents.path}: the tensors of {path} are of shapes that no reader takes")


def check_layers(contents: Contents, found: Spelled) -> None:
    """Raise `FormatError` for layers whose rows are not those of the paths they stand for, and for paths changed twice."""
    seen: set[str] = set()
    for name, own in found.shapes.items():
        layer = found.layers[name]
        rows = layer.rows(own["down"][1])
        if len(rows) > 1 and sum(rows) != own["up"][0]:
            high = own["up"][0]
            raise FormatError(f"{contents.path}: {name} has {high} rows, not {' + '.join(map(str, rows))}")
        refuse_double(contents, layer, seen)


def refuse_double(contents: Contents, layer: Published, seen: set[str]) -> None:
    """Note the paths of `layer` in `seen`; raise `FormatError` where one is there already."""
    for path in layer.paths:
        if path in seen:
            raise FormatError(f"{contents.path} changes {path} twice", "fetch the file again")
        seen.add(path)


def paired(modules: Modules) -> Modules:
    """Low-rank pairs that `check_pairs` has let pass: `down` [r, in, ...], `up` [out, r] and a scalar `alpha`.

    A missing alpha is the rank (kohya's rule, which all readers share).
    """
    return {path: _pair(own) for path, own in modules.items()}


def _pair(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    import torch

    alpha = own.get("alpha", torch.tensor(float(own["down"].shape[0])))
    return {"down": own["down"], "up": own["up"].flatten(1), "alpha": alpha.float().reshape(())}


def canonical(pairs: Modules, layers: Mapping[str, Published]) -> Modules:
    """Pairs that `check_pairs` has let pass, by canonical path.

    Layers that a file keeps as one are taken apart, and swapped halves are put in our order.
    """
    found: Modules = {}
    for name, pair in paired(pairs).items():
        layer = layers[name]
        if layer.swaps(pair["up"].shape[0], pair["down"].shape[1]):
            pair = _lowrank.swapped(pair)
        rows = layer.rows(pair["down"].shape[1])
        parts = _lowrank.split(pair, rows) if len(rows) > 1 else [pair]
        found |= zip(layer.paths, parts, strict=True)
    return _shaped(found)


def _shaped(modules: Modules) -> Modules:
    """Low-rank pairs of canonical paths with `down` in the layer's own shape: 1x1 convolutions are kept both ways.

    Where neither the path nor the width of the text states tells, it stays as it is.
    """
    context = next((own["down"].shape[1] for path, own in modules.items() if path.endswith(_CONTEXT)), 0)
    projections = {768: True, 1024: False, 2048: False}.get(context)
    found: Modules = {}
    for path, own in modules.items():
        either = _EITHER.fullmatch(path) is not None
        convolution = projections if either else _CONVOLUTION.fullmatch(path) is not None
        down = own["down"]
        if convolution and down.dim() == 2:
            down = down[:, :, None, None]
        if convolution is False and down.dim() == 4 and down[0, 0].numel() == 1:
            down = down.flatten(1)
        found[path] = {**own, "down": down}
    return found
