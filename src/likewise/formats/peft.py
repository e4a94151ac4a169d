"""The PEFT layout: a folder with one adapter for each part of the model, `unet/`, `text_encoder/` and so on.

Each holds `adapter_config.json` and `adapter_model.safetensors`, as `PeftModel.from_pretrained(part, folder / "unet")`
wants them. A folder with an adapter at its top is read too. Low-rank pairs only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.rows import sides
from likewise.files import read_text, write_with
from likewise.formats._dotted import WRITTEN, by_layer
from likewise.formats._metadata import describe, seal
from likewise.formats._modules import (
    Modules,
    Spelled,
    adopt,
    as_tensor,
    at,
    canonical,
    check_layers,
    check_pairs,
    check_types,
    group,
    read_finite,
    rounded,
)
from likewise.formats._peft_config import Scales, read_config
from likewise.formats.diffusers import component_names
from likewise.formats.layout import Contents, Identity, Layout, Saving, Shape, examine
from likewise.kinds import LOW_RANK
from likewise.naming.flat import COMPONENTS, FAMILIES
from likewise.naming.recognition import Layer, belonging
from likewise.weights import write_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
START = "base_model.model."
"""Level that PEFT puts around a model."""
FLATTENED = frozenset({("sd", "text"), ("sdxl", "text"), ("flux", "text")})
"""Towers that have no level `text_model.` in current libraries; those with a projection kept it. PEFT goes by live names."""


class Peft(Layout):
    """A folder of adapters."""

    name = "peft"
    title = "PEFT adapter folder"
    suffix = ""
    kinds = (LOW_RANK,)
    readers = {"PEFT": "exact; CLIP towers need transformers 5.6 or newer", "likewise": "exact"}

    def unsupported(self, artifact: Artifact) -> str | None:
        """Families without published names have no place in it."""
        if artifact.kind in self.kinds and artifact.family not in FAMILIES:
            return f"{self.title} has no names for the layers of {artifact.family}"
        return super().unsupported(artifact)

    def sniff(self, contents: Contents) -> bool:
        return contents.form == "folder" and bool(_adapters(contents.path))

    def identify(self, contents: Contents) -> Identity:
        return _survey(contents)[0].identity(LOW_RANK)

    def read(self, contents: Contents) -> Artifact:
        found, alphas, metadata = _survey(contents)
        pairs: Modules = {}
        for component, folder in _adapters(contents.path).items():
            inner = read_finite(examine(folder / WEIGHTS))
            pairs |= {_named(component, key): dict(own) for key, own in by_layer(inner).items()}
        for name, alpha in alphas.items():
            pairs[name]["alpha"] = as_tensor(alpha)
        whole = Contents(contents.path, "folder", metadata=metadata)
        return adopt(whole, canonical(pairs, found.layers), LOW_RANK, found.family, found.notes)

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        names = component_names(artifact.family)
        modules = group(artifact.tensors)
        facts = {"format": "pt", **describe(artifact, saving)}

        def fill(folder: Path) -> None:
            for part in dict.fromkeys(own.partition(".")[0] for own in modules):
                level = "text_model." if (artifact.family, part) in FLATTENED else ""
                inside = {
                    path.removeprefix(f"{part}.").removeprefix(level): own
                    for path, own in modules.items()
                    if path.startswith(f"{part}.")
                }
                adapter = folder / names[part]
                adapter.mkdir(parents=True)
                text = json.dumps(_config(inside, artifact.base if saving.metadata else ""), indent=2)
                (adapter / CONFIG).write_text(text, encoding="utf-8")
                _write_weights(adapter / WEIGHTS, inside, saving, facts)

        return write_with(path, fill)


def _adapters(folder: Path) -> dict[str, Path]:
    """The adapters in a folder by the component they are for; one at its top has no name."""
    if (folder / CONFIG).is_file():
        return {"": folder}
    return {name: folder / name for name in COMPONENTS if (folder / name / CONFIG).is_file()}


def _survey(contents: Contents) -> tuple[Spelled, dict[str, float], dict[str, str]]:
    """The layers of all adapters in a folder by component and path, the alpha of each, and their files' metadata.

    Raises `FormatError` for settings, names, types and shapes that are not understood.
    """
    shapes: dict[str, Mapping[str, Shape]] = {}
    layers: dict[str, Layer] = {}
    alphas: dict[str, float] = {}
    metadata: dict[str, str] = {}
    for component, folder in _adapters(contents.path).items():
        config, inner = _config_of(folder), examine(folder / WEIGHTS)
        check_types(inner)
        scales = Scales.of(config, folder)
        metadata |= inner.metadata
        if isinstance(base := config.get("base_model_name_or_path"), str):
            metadata["base_model_name_or_path"] = base
        with at(inner):
            keyed = by_layer(inner.shapes)
        if sum(len(own) for own in keyed.values()) != len(inner.shapes):
            raise FormatError(
                f"{inner.path} holds tensors that are of no low-rank pair", "save it without them"
            )
        for key, own in keyed.items():
            name = _named(component, key)
            shapes[name] = own
            part, dotted = name.partition(".")[::2]
            layers[name] = Layer(COMPONENTS[part], dotted, sides(own)[1])
        check_pairs(inner, {_named(component, key): own for key, own in keyed.items()})
        for key, own in keyed.items():
            path = ".".join(filter(None, key))
            with at(inner):
                alphas[_named(component, key)] = scales.effective(path, own["down"][0])
    belongs = belonging(contents.path, layers, metadata)
    found = Spelled(belongs.family, belongs.layers, shapes, belongs.notes)
    check_layers(contents, found)
    return found, alphas, metadata


def _named(component: str, key: tuple[str, str]) -> str:
    """Component and path of a layer; an adapter that does not say its component may have it in the names, or none."""
    root, path = key
    if component:
        return f"{component}.{'.'.join(filter(None, key))}"
    return f"{root}.{path}" if root in COMPONENTS else f"{_guess(path)}.{path}"


def _config_of(folder: Path) -> dict[str, Any]:
    """An adapter's configuration; raises `FormatError` for one of another type than a LoRA's."""
    try:
        config = read_config(read_text(folder / CONFIG))
    except (OSError, UnicodeDecodeError):
        raise FormatError(f"{folder / CONFIG} cannot be read", "fetch the folder again") from None
    if not (folder / WEIGHTS).is_file():
        pickled = (folder / WEIGHTS).with_suffix(".bin")
        hint = (
            "PEFT writes safetensors unless told otherwise" if pickled.is_file() else "fetch the folder again"
        )
        raise FormatError(f"{folder} lacks {WEIGHTS}", hint)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise FormatError(f"{folder} is an adapter of type {kind}; only LORA can be read", None)
    return config


def _guess(path: str) -> str:
    """The component of an adapter that does not say it."""
    if path.startswith(("text_model.", "encoder.layers.")):
        return "text_encoder"
    transformer = path.startswith(("transformer_blocks.", "single_transformer_blocks."))
    return "transformer" if transformer else "unet"


def _config(modules: Modules, base: str) -> dict[str, Any]:
    """A configuration that names every module in full."""
    ranks = {path: int(own["down"].shape[0]) for path, own in modules.items()}
    alphas = {path: float(own["alpha"]) for path, own in modules.items()}
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {path: own for path, own in ranks.items() if own != rank},
        "alpha_pattern": {path: own for path, own in alphas.items() if own != alpha},
        "target_modules": "|".join(re.escape(path) for path in modules),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
    }


def _write_weights(path: Path, modules: Modules, saving: Saving, facts: dict[str, str]) -> None:
    dtype, tensors = saving.torch_dtype(), {}
    for own_path, pair in modules.items():
        up = pair["up"][:, :, None, None] if pair["down"].dim() == 4 else pair["up"]
        for suffix, tensor in {"down": pair["down"], "up": up}.items():
            tensors[f"{START}{own_path}.{WRITTEN[suffix]}"] = rounded(suffix, tensor, dtype)
    write_tensors(path, tensors, seal(facts, tensors))


LAYOUT = Peft()
