"""The PEFT layout: a folder with one adapter for each part of the model, `unet/`, `text_encoder/` and so on.

Each holds `adapter_config.json` and `adapter_model.safetensors`, as `PeftModel.from_pretrained(part, folder / "unet")`
wants them. A folder with an adapter at its top is read too. Low-rank pairs only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.files import write_with
from likewise.formats._dotted import WRITTEN, apply_config, by_layer, read_config
from likewise.formats._metadata import describe, seal
from likewise.formats._modules import Modules, adopt, canonical, group, read_finite, rounded
from likewise.formats._names import COMPONENTS, FAMILIES, family_of, from_dotted
from likewise.formats.diffusers import component_names
from likewise.formats.layout import Contents, Layout, Saving, examine
from likewise.weights import write_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
START = "base_model.model."
FLATTENED = frozenset({("sd", "text"), ("sdxl", "text"), ("flux", "text")})
"""Towers that have no level `text_model.` in current libraries; those with a projection kept it. PEFT goes by live names."""
REFUSED = {"use_dora": "DoRA", "lora_bias": "biases", "fan_in_fan_out": "transposed weights"}
"""Settings that no other layout has a place for."""


class Peft(Layout):
    """A folder of adapters."""

    name = "peft"
    title = "PEFT adapter folder"
    suffix = ""
    methods = frozenset({"lora"})
    readers = {"PEFT": "exact; CLIP towers need transformers 5.6 or newer", "likewise": "exact"}

    def unsupported(self, artifact: Artifact) -> str | None:
        """Families without published names have no place in it."""
        if artifact.method in self.methods and artifact.family not in FAMILIES:
            return f"{self.title} has no names for the layers of {artifact.family}"
        return super().unsupported(artifact)

    def sniff(self, contents: Contents) -> bool:
        return contents.kind == "folder" and bool(_adapters(contents.path))

    def read(self, contents: Contents) -> Artifact:
        pairs: Modules = {}
        metadata: dict[str, str] = {}
        for component, folder in _adapters(contents.path).items():
            inner = examine(folder / WEIGHTS)
            metadata |= inner.metadata
            pairs |= _read_adapter(component, folder, inner)
        parts = {name: COMPONENTS[name.partition(".")[0]] for name in pairs}
        paths = {name: name.partition(".")[2] for name in pairs}
        wide = {f"{parts[n]}.{paths[n]}": own["down"].shape[1] for n, own in pairs.items() if "down" in own}
        family = family_of(wide, (), metadata)
        layers = {name: from_dotted(parts[name], paths[name], family) for name in pairs}
        whole = Contents(contents.path, "folder", metadata=metadata)
        return adopt(whole, canonical(whole, pairs, layers), "lora", family, {})

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        names = component_names(artifact.family)
        modules = group(artifact.tensors)
        facts = {"format": "pt", **describe(artifact, saving, self.name)}

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


def _read_adapter(component: str, folder: Path, contents: Contents) -> Modules:
    """An adapter's pairs by component and path, with the alphas of its configuration."""
    try:
        config = read_config((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise FormatError(f"{folder / CONFIG} cannot be read", "fetch the folder again") from None
    kind = config.get("peft_type")
    if kind != "LORA":
        raise FormatError(f"{folder} is an adapter of type {kind}; only LORA can be read", None)
    for setting, what in REFUSED.items():
        if config.get(setting):
            raise FormatError(f"{folder} uses {what} ({setting}), which cannot be carried over")
    tensors = {name.removeprefix(START): tensor for name, tensor in read_finite(contents).items()}
    found: Modules = {}
    for (root, path), own in by_layer(tensors).items():
        dotted = f"{root}.{path}" if root else path
        found[f"{component or _guess(dotted)}.{dotted}"] = dict(own)
    if sum(len(own) for own in found.values()) != len(tensors):
        raise FormatError(
            f"{contents.path} holds tensors that are of no low-rank pair", "save it without them"
        )
    for name in {key.partition(".")[0] for key in found}:
        apply_config(found, name, config)
    return found


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
