"""Metadata: what a shared file says of itself, in the words that other programs read, and reading it back.

`ss_*` and `sshs_*` are kohya's and the web UI's, `modelspec.*` is Stability AI's ModelSpec 1.0.1. No name of a
person and no folder of theirs goes in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

from likewise.artifact import Artifact
from likewise.formats._hashes import legacy_hash, payload_sha256
from likewise.formats.layout import Saving
from likewise.kinds import LOW_RANK

if TYPE_CHECKING:
    from torch import Tensor

ARCHITECTURES = {
    "sd1": ("stable-diffusion-v1", "sd_v1", 512),
    "sd2": ("stable-diffusion-v2-512", "sd_v2", 512),
    "sd2-v": ("stable-diffusion-v2-768-v", "sd_v2_v", 768),
    "sdxl": ("stable-diffusion-xl-v1-base", "sdxl_base_v1-0", 1024),
    "sd3": ("stable-diffusion-3-medium", "sd3", 1024),
    "flux": ("flux-1-dev", "flux1", 1024),
}
"""What ModelSpec and kohya call an architecture, and its native resolution."""
STABILITY = "https://github.com/Stability-AI/generative-models"
FACTS = {"base": "likewise.base", "noun": "likewise.noun"}
"""Our own keys, for what no standard has a place for; a program that does not know them skips them."""
_STARTS_AS_PATH = re.compile(r"(?:file:|~|\.{1,2}[/\\]|[/\\]|[A-Za-z]:[/\\])")
_PATH_INSIDE = re.compile(
    r"(?:file:/{0,2})?(?<![\w:/.])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[^\s/\\\"':,;<>|]+[/\\])+"
)
_WEIGHTS = (".safetensors", ".ckpt", ".pt", ".bin")


def describe(artifact: Artifact, saving: Saving, *, kohya: bool = False) -> dict[str, str]:
    """What a file of `artifact` says of itself, with `kohya` also in kohya's words; empty if `saving.metadata` is off.

    Hashes are missing until `seal` is given the tensors of the file.
    """
    if not saving.metadata or artifact.kind.modelspec is None:
        return {}
    architecture = architecture_of(artifact)
    facts = {
        **_modelspec(artifact, saving, architecture),
        **({FACTS["noun"]: artifact.noun} if artifact.noun else {}),
        **({FACTS["base"]: artifact.base} if artifact.base else {}),
    }
    if kohya:
        facts |= _kohya(artifact, saving, architecture)
    return {key: scrub(text) for key, text in facts.items()}


def seal(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """`metadata` with the hashes of the safetensors file that holds `tensors`; nothing stays nothing."""
    sealed = dict(metadata)
    if "modelspec.sai_model_spec" in sealed:
        digest = payload_sha256(tensors)
        sealed["modelspec.hash_sha256"] = f"0x{digest}"
        if "ss_network_module" in sealed:
            sealed["sshs_model_hash"] = digest
            sealed["sshs_legacy_hash"] = legacy_hash(tensors, sealed)
    return sealed


def modelspec(
    architecture: str, title: str, appended: str = "", side: int | None = None, prediction: str = ""
) -> dict[str, str]:
    """ModelSpec's facts about a file; `architecture` is a key of `ARCHITECTURES`, `appended` is `Kind.modelspec`.

    `prediction` is `epsilon` or `v_prediction`; empty where nobody knows it.
    """
    name, _, native = ARCHITECTURES[architecture]
    published = appended != LOW_RANK.modelspec or architecture == "sdxl"
    facts = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": name + appended,
        "modelspec.implementation": STABILITY if published else "diffusers",
        "modelspec.title": title,
        "modelspec.resolution": f"{side or native}x{side or native}",
        "modelspec.date": datetime.now(UTC).date().isoformat(),
    }
    if prediction:
        facts["modelspec.prediction_type"] = "v" if prediction.startswith("v") else "epsilon"
    return facts


def architecture_of(artifact: Artifact) -> str:
    """A key of `ARCHITECTURES`: the family, and for `sd` the version by the width of its text states."""
    if artifact.family != "sd":
        return artifact.family if artifact.family in ARCHITECTURES else "sd1"
    wide = any(_text_width(name, tuple(tensor.shape)) == 1024 for name, tensor in artifact.tensors.items())
    velocity = artifact.notes.get("prediction", "").startswith("v")
    return ("sd2-v" if velocity else "sd2") if wide else "sd1"


def scrub(text: str) -> str:
    """`text` with every path in it cut down to its last part, so that no folder or user name is left."""
    if _STARTS_AS_PATH.match(text) or (text.endswith(_WEIGHTS) and "://" not in text):
        return PureWindowsPath(text).name
    return _PATH_INSIDE.sub("", text)


def trigger_words(metadata: Mapping[str, str]) -> list[str]:
    """The words that call what was taught, as far as metadata tell: the trigger phrase, else frequent tags."""
    phrase = metadata.get("modelspec.trigger_phrase", metadata.get("likewise.token", "")).strip()
    if phrase:
        return [word for part in phrase.split(",") if (word := part.strip())]
    counted: dict[str, float] = {}
    folders = _table(metadata.get("ss_tag_frequency", ""))
    for tags in folders.values():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int | float):
                counted[tag.strip()] = counted.get(tag.strip(), 0) + count
    most = max(counted.values(), default=0)
    return [tag for tag, count in counted.items() if tag and count == most][:5]


def token_of(metadata: Mapping[str, str], path: Path) -> str:
    """The word to call a file's concept by: its first trigger word, else the file's stem."""
    found = trigger_words(metadata)
    return found[0].split()[0] if found else Path(path).stem


def noun_of(metadata: Mapping[str, str]) -> str:
    """What the concept is, where we wrote it."""
    return metadata.get(FACTS["noun"], "")


def base_of(metadata: Mapping[str, str]) -> str:
    """What the base was called, or nothing."""
    said = (FACTS["base"], "base_model_name_or_path", "ss_sd_model_name", "ss_base_model_version")
    return next((metadata[key] for key in said if metadata.get(key)), "")


def prediction_of(metadata: Mapping[str, str]) -> dict[str, str]:
    """The note of what a file's base predicts, where its metadata say it."""
    said = metadata.get("modelspec.prediction_type", "").lower()
    return {"prediction": "v_prediction" if said.startswith("v") else "epsilon"} if said else {}


def _modelspec(artifact: Artifact, saving: Saving, architecture: str) -> dict[str, str]:
    title = saving.title or f"{artifact.token} {artifact.noun}".strip()
    side, prediction = artifact.recipe.get("resolution"), artifact.notes.get("prediction", "")
    facts = modelspec(architecture, title, artifact.kind.modelspec or "", side, prediction)
    return {**facts, **({"modelspec.trigger_phrase": artifact.token} if artifact.token else {})}


def _kohya(artifact: Artifact, saving: Saving, architecture: str) -> dict[str, str]:
    recipe, (_, version, side) = artifact.recipe, ARCHITECTURES[architecture]
    resolution = recipe.get("resolution") or side
    words = f"{artifact.token} {artifact.noun}".strip()
    known = {
        "ss_v2": str(architecture.startswith("sd2")),
        "ss_base_model_version": version,
        "ss_network_module": "networks.lora" if artifact.kind.pairs else "lycoris.kohya",
        "ss_network_dim": _one([_rank(artifact, name) for name in _paths(artifact, ".down")])
        or recipe.get("rank"),
        "ss_network_alpha": _one([float(artifact.tensors[f"{p}.alpha"]) for p in _paths(artifact, ".alpha")]),
        "ss_network_args": json.dumps(_network_args(artifact)),
        "ss_output_name": saving.title or words,
        "ss_sd_model_name": artifact.base,
        "ss_resolution": f"({resolution}, {resolution})",
        "ss_tag_frequency": json.dumps({words: {words: 1}}) if words else None,
        "ss_learning_rate": recipe.get("learning_rate"),
        "ss_unet_lr": recipe.get("learning_rate"),
        "ss_text_encoder_lr": recipe.get("text_rate"),
        "ss_steps": recipe.get("steps"),
        "ss_seed": recipe.get("seed"),
        "ss_optimizer": recipe.get("optimizer"),
        "ss_lr_scheduler": recipe.get("schedule"),
        "ss_prior_loss_weight": recipe.get("prior_weight") if recipe.get("prior", "none") != "none" else None,
        "ss_min_snr_gamma": recipe.get("snr_gamma"),
        "ss_noise_offset": recipe.get("noise_offset"),
    }
    return {key: str(value) for key, value in known.items() if value not in (None, "")}


def _network_args(artifact: Artifact) -> dict[str, str]:
    """Ranks of convolutions, which kohya keeps beside those of linear layers; or the algorithm of LyCORIS."""
    if not artifact.kind.pairs:
        return {key: str(artifact.recipe[key]) for key in ("algo",) if key in artifact.recipe}
    kernels = [
        path
        for path in _paths(artifact, ".down")
        if max(artifact.tensors[f"{path}.down"].shape[2:], default=1) > 1
    ]
    if not kernels:
        return {}
    alphas = [float(artifact.tensors[f"{p}.alpha"]) for p in kernels if f"{p}.alpha" in artifact.tensors]
    found = {"conv_dim": _one([_rank(artifact, path) for path in kernels]), "conv_alpha": _one(alphas)}
    return {key: text for key, text in found.items() if text}


def _paths(artifact: Artifact, suffix: str) -> list[str]:
    return [name.removesuffix(suffix) for name in artifact.tensors if name.endswith(suffix)]


def _rank(artifact: Artifact, path: str) -> int:
    return int(artifact.tensors[f"{path}.down"].shape[0])


def _one(values: list[Any]) -> str:
    """The value that all have in common; `Dynamic`, as other trainers write it, where they differ."""
    distinct = set(values)
    return "" if not distinct else f"{distinct.pop():g}" if len(distinct) == 1 else "Dynamic"


def _text_width(name: str, shape: tuple[int, ...]) -> int:
    """How wide the text states are, as told by one tensor of an artifact; 0 if it does not tell."""
    if name == "vectors" or (".attn2.to_k" in name and name.endswith((".down", ".weight"))):
        return shape[1] if len(shape) > 1 else 0
    return 0


def _table(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
