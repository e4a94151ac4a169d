"""PEFT's settings of a LoRA: which of them are understood, and the scale that they give each layer.

They stand in a folder's `adapter_config.json` and in a diffusers file's `lora_adapter_metadata`. A setting may decide what
the tensors mean, so settings are allowed by a list, and any other is refused by its name.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from likewise.errors import FormatError

WITHOUT_EFFECT = frozenset(
    """
    alora_offsets auto_mapping base_model_name_or_path corda_config ensure_weight_tying eva_config exclude_modules
    inference_mode layers_pattern layers_to_transform loftq_config lora_dropout lora_ga_config megatron_core merge_weights
    peft_type peft_version qalora_group_size revision runtime_config target_modules task_type
    """.split()  # noqa: SIM905
)
"""Settings that say how a LoRA was trained or found its layers. They change nothing about tensors that are there."""
SCALES = frozenset({"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "init_lora_weights"})
"""Settings that `Scales` follows."""
OTHER_TENSORS: Mapping[str, str] = {
    "use_dora": "DoRA",
    "lora_bias": "biases",
    "bias": "biases of the base",
    "enable_lora": "layers that are changed in part",
    "fan_in_fan_out": "transposed weights",
    "modules_to_save": "whole layers beside the LoRA",
    "trainable_token_indices": "rows of a table of words",
    "target_parameters": "parameters that belong to no layer",
    "layer_replication": "layers of the base that are repeated",
    "use_qalora": "inputs that are averaged in groups",
    "use_bdlora": "blocks along a diagonal",
    "alora_invocation_tokens": "a LoRA that acts from a certain word on",
    "arrow_config": "several adapters that a router mixes",
    "kasa_config": "singular values of its own",
    "megatron_config": "layers that are spread over machines",
    "monteclora_config": "factors that are drawn at random",
    "velora_config": "compressed inputs",
}
"""Settings that are understood only where they are off, and what they are for."""
SAME_BASE = frozenset({"gaussian", "eva", "orthogonal", "mica"})
"""Starts that leave the base as it is."""
CHANGED_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""Starts that take part of the base's own weights into the factors, or round the base."""
CONVERTED = ("pissa", "olora", "corda", "lora_ga")
"""Those of them that PEFT itself can convert."""
CONVERSION = "let PEFT convert it: `save_pretrained(..., path_initial_model_for_weight_conversion=...)`"
DEFAULT = 8
"""`r` and `lora_alpha` where a configuration leaves them out."""
LONGEST_PATH, MOST_WAYS = 120, 100_000
"""Letters of a layer's path, and ways in which a pattern may match one. A file could hold a pattern that never ends."""


def read_config(text: str) -> dict[str, Any]:
    """A table in JSON; raises `FormatError` if it is none."""
    try:
        found = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FormatError("the adapter's configuration is no readable table", "fetch it again")
    return found


@dataclass(frozen=True)
class Scales:
    """The rank and alpha that a configuration gives each layer, by PEFT's own rules."""

    rank: int
    alpha: Any
    ranks: Mapping[str, Any]
    alphas: Mapping[str, Any]
    root: bool
    """Whether the scale is `alpha / sqrt(rank)`, rather than `alpha / rank`."""

    @classmethod
    def of(cls, config: Mapping[str, Any], source: object) -> Scales:
        """Raise `FormatError` naming the first setting of `config` that is not understood. `source` is who has it."""
        for name, value in config.items():
            _refuse_setting(name, value, source)
        tables = {name: config.get(name) or {} for name in ("rank_pattern", "alpha_pattern")}
        for name, table in tables.items():
            if not isinstance(table, Mapping):
                raise FormatError(f"{source}: {name} is not a table")
            _refuse_patterns(table, source)
        return cls(
            config.get("r", DEFAULT),
            config.get("lora_alpha", DEFAULT),
            tables["rank_pattern"],
            tables["alpha_pattern"],
            config.get("use_rslora", False) is True,
        )

    def effective(self, path: str, rank: int) -> float:
        """The alpha that gives `alpha / rank` PEFT's scale for the layer at `path`, as its model calls it.

        Raises `FormatError` where it is no number, or where the configuration means another rank.
        """
        alpha = _looked_up(self.alphas, path, self.alpha)
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise FormatError(f"the alpha of {path} is {_shortened(alpha)}, which is no number")
        said = _looked_up(self.ranks, path, self.rank)
        if said != rank:
            raise FormatError(
                f"the configuration gives {path} the rank {_shortened(said)}, and its factors have {rank}"
            )
        return float(alpha) * (math.sqrt(rank) if self.root else 1.0)


def _refuse_setting(name: str, value: Any, source: object) -> None:
    if name in WITHOUT_EFFECT:
        return
    if name == "init_lora_weights":
        _refuse_start(value, source)
    elif name == "use_rslora":
        if value not in (True, False, None):
            raise FormatError(f"{source}: use_rslora is {value!r}, neither true nor false")
    elif name in SCALES:
        return
    elif name in OTHER_TENSORS:
        if value not in (None, False, "none", [], {}, ""):
            what = OTHER_TENSORS[name]
            raise FormatError(f"{source} uses {what} ({name}), which cannot be carried over")
    elif value not in (None, [], {}, "") and not (name.startswith("use_") and value is False):
        raise FormatError(
            f"{source} has the setting {name} = {_shortened(value)}, which is not known here",
            "it may change what the tensors mean, so nothing is done with them",
        )


def _refuse_start(value: Any, source: object) -> None:
    start = value.lower() if isinstance(value, str) else value
    if start in (True, False, None) or (isinstance(start, str) and start in SAME_BASE):
        return
    text = str(start)
    if text.startswith(CHANGED_BASE):
        raise FormatError(
            f"{source} was started by init_lora_weights = {_shortened(value)}, "
            "so it fits only a base that this start changed",
            CONVERSION if text.startswith(CONVERTED) else "merge it into the base that it was trained with",
        )
    raise FormatError(
        f"{source} was started by init_lora_weights = {_shortened(value)}, which is not known here"
    )


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _looked_up(patterns: Mapping[str, Any], path: str, otherwise: Any) -> Any:
    """The value of the first pattern that fits: PEFT's `get_pattern_key`."""
    fitting = (value for key, value in patterns.items() if re.match(_expression(key), path))
    return next(fitting, patterns.get(path, otherwise))


def _expression(key: str) -> str:
    """PEFT's rule: the whole path, or an end of it behind a dot."""
    return rf"(.*\.)?({key})$"


def _refuse_patterns(patterns: Mapping[str, Any], source: object) -> None:
    """Raise `FormatError` for a pattern that is none, or that could keep the machine busy for hours."""
    ways = 0
    for key in patterns:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                ways += _ways(_parser.parse(_expression(key)))
        except (re.error, RecursionError, OverflowError, Warning):
            ways = MOST_WAYS * LONGEST_PATH + 1
        if ways > MOST_WAYS * LONGEST_PATH:
            raise FormatError(
                f"{source}: the pattern {_shortened(key)} of its configuration is not understood",
                "patterns are plain ends of paths, or simple regular expressions",
            )


def _ways(parsed: Any) -> int:
    """In how many ways the engine may try a parsed expression on a path, at most."""
    product = 1
    for kind, given in parsed:
        if kind in (op.LITERAL, op.NOT_LITERAL, op.ANY, op.IN, op.AT):
            continue
        if kind is op.SUBPATTERN:
            product *= _ways(given[-1])
        elif kind is op.BRANCH:
            product *= sum(_ways(one) for one in given[1])
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            least, most, inner = given
            most = min(most, LONGEST_PATH)
            product *= (most - min(least, most) + 1) * _ways(inner) ** most
        else:  # references to groups, looks ahead: PEFT's own files hold none
            raise OverflowError
        if product > MOST_WAYS * LONGEST_PATH:
            raise OverflowError
    return product
