"""Quantised weights: what stands beside them in a file, and how the numbers that they mean are made.

Weights of 8 bits with a scale per tensor or per row are read as the scale times the code. All other kinds are refused in a
line, because their codes by themselves are no weights.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from likewise.errors import FormatError
from likewise.weights.pending import Pending

if TYPE_CHECKING:
    from torch import Tensor

CODES = frozenset({"F8_E4M3", "F8_E5M2"})
"""Types whose numbers may be codes that a scale belongs to."""
NUMBERS = frozenset({"F32", "F16", "BF16", "F64"})
_SCALE = re.compile(r"(?P<layer>.*)\.(?:weight_scale|scale_weight)")
_FORMAT = re.compile(r"(?P<layer>.*)\.comfy_quant")
_INPUT = re.compile(r".*\.(?:input_scale|scale_input|activation_scale)")
"""Scales of what goes into a layer. They only serve arithmetic in 8 bits and change no weight."""
_MARKER = re.compile(r"(?P<prefix>.*?)\.?scaled_fp8")
_OTHER = re.compile(
    r".*\.(?:weight_scale_inv|weight_scale_2|scale_weight_2|weight_scale_second|weight_zero_point|zero_point|zeros"
    r"|absmax|quant_map|nested_absmax|nested_quant_map|quant_state(?:\..*)?|SCB|weight_format|qweight|qzeros|scales|qscales"
    r"|g_idx|wscales|wzeros|wtscale|smooth|smooth_factor|smooth_factor_orig|pre_quant_scale|weight_packed|weight_shape"
    r"|weight_global_scale|block_scale|_data|_scale|_shift|_zeropoint|__scale|codebooks|codes|bias_scale"
    r"|_weight_qdata|_weight_scale|_weight_zero_point)"
)
"""Companions of other kinds of quantised weights: bitsandbytes, GPTQ, AWQ, quanto, nunchaku, compressed-tensors, ..."""
_HINT = "fetch the model in 16 bits; its codes alone are no weights"


@dataclass(frozen=True)
class Plan:
    """What is to be done with the quantised weights of a file."""

    scales: Mapping[str, str]
    """Name of the weight -> name of its scale."""
    beside: frozenset[str]
    """Every companion, which is no weight itself."""


def plan(
    source: object,
    shapes: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
    read: Callable[[str], bytes],
) -> Plan:
    """Find the companions among these tensors; `read` gives the bytes of a small one.

    Raises `FormatError` naming the first companion that is not understood.
    """
    scales: dict[str, str] = {}
    beside: set[str] = set()
    for name in shapes:
        if found := _SCALE.fullmatch(name):
            weight = f"{found['layer']}.weight"
            _check_scale(source, name, weight, shapes, dtypes)
            if weight in scales:
                raise FormatError(f"{source}: {weight} has two scales, {scales[weight]} and {name}", _HINT)
            scales[weight] = name
            beside.add(name)
        elif _INPUT.fullmatch(name) or _MARKER.fullmatch(name):
            beside.add(name)
        elif _FORMAT.fullmatch(name):
            _check_format(source, name, read)
            beside.add(name)
        elif _OTHER.fullmatch(name):
            raise FormatError(
                f"{source} holds quantised weights of a kind that is not read here ({name})", _HINT
            )
    for name in beside:
        marked = _MARKER.fullmatch(name)
        prefix = f"{marked['prefix']}." if marked and marked["prefix"] else ""
        bare = [own for own in shapes if marked and own.startswith(prefix) and own not in scales]
        if bare := [own for own in bare if dtypes.get(own) in CODES and own not in beside]:
            raise FormatError(f"{source} is marked {name}, but {bare[0]} has no scale", _HINT)
    return Plan(scales, frozenset(beside))


def applied(made: Plan, given: Mapping[str, Pending]) -> dict[str, Pending]:
    """The tensors without companions; weights that have a scale come as float32, scale times code."""
    return {
        name: scaled(one, given[made.scales[name]]) if name in made.scales else one
        for name, one in given.items()
        if name not in made.beside
    }


def scaled(codes: Pending, scale: Pending) -> Pending:
    """The numbers that 8-bit codes [out, ...] mean: each row, or the whole, times its scale."""

    def load() -> Tensor:
        found, factor = codes.load().float(), scale.load().float()
        return found * (
            factor.reshape(-1, *[1] * (found.dim() - 1)) if factor.numel() > 1 else factor.reshape(())
        )

    return Pending("F32", codes.shape, load)


def _check_scale(
    source: object, name: str, weight: str, shapes: Mapping[str, tuple[int, ...]], dtypes: Mapping[str, str]
) -> None:
    if weight not in shapes:
        raise FormatError(f"{source} has the scale {name}, but no {weight}", "fetch the file again")
    if dtypes.get(weight) not in CODES or dtypes.get(name) not in NUMBERS:
        kinds = f"{dtypes.get(weight)} with a scale of {dtypes.get(name)}"
        raise FormatError(f"{source}: {weight} is {kinds}, which is not read here", _HINT)
    shape, rows = shapes[name], (shapes[weight] or (1,))[0]
    if math.prod(shape) != 1 and not (shape and shape[0] == rows == math.prod(shape)):
        raise FormatError(
            f"{source}: {name} is {shape} for a weight of {shapes[weight]}, which is not read here", _HINT
        )


def _check_format(source: object, name: str, read: Callable[[str], bytes]) -> None:
    """ComfyUI's description of a layer's format, a text in bytes."""
    try:
        kind = json.loads(read(name).decode("utf-8"))["format"]
    except (ValueError, KeyError, TypeError, RecursionError):
        kind = "an unreadable description"
    if kind not in ("float8_e4m3fn", "float8_e5m2"):
        raise FormatError(
            f"{source} holds quantised weights of a kind that is not read here ({name}: {kind})", _HINT
        )


def any_companion(names: Collection[str]) -> bool:
    """Whether any of these names stands beside a quantised weight."""
    return any(
        pattern.fullmatch(name) for name in names for pattern in (_SCALE, _INPUT, _MARKER, _FORMAT, _OTHER)
    )
