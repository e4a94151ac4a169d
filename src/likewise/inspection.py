"""Inspection: what is in a file or folder of weights, and which programs load it with what difference.

Only names, shapes and metadata are read, unless hashes are asked for; of safetensors files without torch. What the
weights do is not judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats import Contents, Layout
from likewise.formats._dotted import by_layer as dotted_layers
from likewise.formats._flat import by_layer as flat_layers
from likewise.formats._flat import is_flat
from likewise.formats._flat import survey as survey_flat
from likewise.formats._hashes import embedding_checksum, hash_file
from likewise.formats._metadata import base_of, trigger_words
from likewise.formats._names import family_of
from likewise.formats._whole_file import version_of
from likewise.weights import read_header
from likewise.weights.streaming import TensorFile

KINDS = {
    "lora": "LoRA",
    "lycoris": "LyCORIS",
    "textual_inversion": "embedding",
    "hypernetwork": "hypernetwork",
    "aesthetic": "aesthetic embedding",
    "dreambooth": "whole model",
}
"""What people call the file of a method."""
FAMILIES = {
    "sd": "Stable Diffusion 1 or 2",
    "sd1": "Stable Diffusion 1",
    "sd2": "Stable Diffusion 2",
    "sdxl": "Stable Diffusion XL",
    "sd3": "Stable Diffusion 3",
    "flux": "Flux",
}
FRAGMENTS = {
    "model.diffusion_model.": "UNet of a checkpoint",
    "first_stage_model.": "autoencoder of a checkpoint",
    "cond_stage_model.": "text encoder of a checkpoint",
    "conditioner.embedders.": "text encoders of a checkpoint",
    "control_model.": "ControlNet",
    "down_blocks.": "UNet of a diffusers folder",
    "text_model.": "text encoder of a diffusers folder",
    "encoder.": "autoencoder or text encoder",
}
"""How the names of files begin that are no layout of ours."""
PROGRAMS = ("likewise", "AUTOMATIC1111", "Forge", "ComfyUI", "diffusers", "kohya sd-scripts")
"""Always in the portability report; others where a layout names them."""
SMALL = frozenset({"pickled", "picture"})
"""Kinds of files that are read whole: what is taught in them has a few megabytes."""
RANKED = ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
"""Factors whose first side is the rank."""


@dataclass(frozen=True)
class Inspection:
    """What a look at a file or folder tells. Empty where it does not tell."""

    path: Path
    bytes: int
    kind: str
    """`LoRA`, `embedding`, `whole model`, ..., or that it is unknown."""
    layout: str = ""
    """As `likewise convert --to` calls it."""
    family: str = ""
    """`sd1`, `sd2` or `sd` where it may be either, `sdxl`, `sd3`, `flux`."""
    tensors: int = 0
    parameters: int = 0
    dtypes: Mapping[str, int] = field(default_factory=dict)
    """How many tensors of each type."""
    ranks: Mapping[int, int] = field(default_factory=dict)
    """How many layers of each rank."""
    alphas: Mapping[float, int] = field(default_factory=dict)
    """How many layers of each alpha; layers without one scale by 1."""
    vectors: int = 0
    """Of an embedding."""
    trigger_words: Sequence[str] = ()
    base: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    """By name; empty unless asked for."""
    portability: Mapping[str, str] = field(default_factory=dict)
    """Program -> how it takes the file: `exact`, what differs, or `refuses it`."""
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**vars(self), "path": str(self.path), "family_title": FAMILIES.get(self.family, self.family)}


def inspect(path: Path, hashes: bool = False) -> Inspection:
    """Look at a file or folder; with `hashes` it is read whole. Raises `FormatError` for what holds no tensors."""
    path = Path(path)
    contents = formats.examine(path)
    layout = _layout(contents)
    if layout is None and contents.kind != "safetensors" and not contents.shapes:
        raise FormatError(f"{path} is nothing that is taught or drawn with", "files of weights are inspected")
    if contents.kind == "folder":
        contents = _opened(contents)
    found = _look(contents, layout)
    if layout is not None and contents.kind in SMALL and "dreambooth" not in layout.methods:
        found = _with_artifact(found, layout.read(contents))
    return _with_hashes(found, layout) if hashes and path.is_file() else found


def _layout(contents: Contents) -> Layout | None:
    try:
        return formats.recognise(contents)
    except FormatError:
        return None


def _opened(contents: Contents) -> Contents:
    """A folder with what the headers of its safetensors files show, each name below its subfolder's."""
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for file in sorted(contents.path.glob("**/*.safetensors")):
        header = read_header(file)
        start = "".join(f"{part}." for part in file.relative_to(contents.path).parts[:-1])
        shapes |= {start + name: shape for name, shape in header.shapes.items()}
        dtypes |= {start + name: dtype for name, dtype in header.dtypes.items()}
        metadata |= header.metadata
    return replace(contents, shapes=shapes, dtypes=dtypes, metadata=metadata)


def _look(contents: Contents, layout: Layout | None) -> Inspection:
    layers = _layers(contents)
    ranks = Counter(own[part][0] for own in layers.values() for part in RANKED if own.get(part))
    shapes = contents.shapes
    return Inspection(
        path=contents.path,
        bytes=_bytes(contents.path),
        kind=_kind(contents, layout),
        layout=layout.name if layout else "",
        family=_family(contents, layers),
        tensors=len(shapes),
        parameters=sum(math.prod(shape) for shape in shapes.values()),
        dtypes=dict(Counter(contents.dtypes.values()).most_common()),
        ranks=dict(ranks.most_common()),
        alphas=_alphas(contents),
        vectors=_vectors(contents, layout),
        trigger_words=trigger_words(contents.metadata),
        base=base_of(contents.metadata) or contents.metadata.get("likewise.base", ""),
        metadata=dict(contents.metadata),
        portability=_portability(contents, layout),
        notes=_notes(contents),
    )


def _with_artifact(found: Inspection, artifact: Artifact) -> Inspection:
    """What only the content tells: pictures have no names to look at, and pickled files no metadata."""
    vectors = [len(tensor) for name, tensor in artifact.tensors.items() if name.startswith("vectors")]
    return replace(
        found,
        family=found.family or artifact.family,
        tensors=len(artifact.tensors),
        parameters=sum(tensor.numel() for tensor in artifact.tensors.values()),
        vectors=max(vectors, default=0),
        trigger_words=[artifact.token] if artifact.token else [],
        base=artifact.base,
    )


def _kind(contents: Contents, layout: Layout | None) -> str:
    if layout is None:
        starts = (
            kind for prefix, kind in FRAGMENTS.items() if any(n.startswith(prefix) for n in contents.shapes)
        )
        return next(starts, "unknown: its tensors have names of no layout that is known here")
    method = contents.metadata.get("likewise.method", "") or min(layout.methods)
    return KINDS.get(method, method)


def _layers(contents: Contents) -> Mapping[Any, Mapping[str, tuple[int, ...]]]:
    """Shapes by layer and suffix, for the three ways in which low-rank files are spelled."""
    if is_flat(contents.shapes):
        return flat_layers(contents.shapes)
    native: dict[str, dict[str, tuple[int, ...]]] = {}
    if "likewise.version" in contents.metadata:
        for name, shape in contents.shapes.items():
            path, _, suffix = name.rpartition(".")
            native.setdefault(path, {})[suffix] = shape
        return native
    return dotted_layers(contents.shapes)


def _family(contents: Contents, layers: Mapping[Any, Mapping[str, tuple[int, ...]]]) -> str:
    version = version_of(contents.shapes)
    if version or "likewise.family" in contents.metadata:
        return version or contents.metadata["likewise.family"]
    if (contents.path / "model_index.json").is_file():
        xl = any(name.startswith("text_encoder_2.") for name in contents.shapes)
        return "sdxl" if xl else _version("sd", contents)
    if is_flat(contents.shapes):
        try:
            return _version(survey_flat(contents).family, contents)
        except FormatError:
            return ""
    widths = {
        ".".join(key) if isinstance(key, tuple) else key: own["down"][1]
        for key, own in layers.items()
        if len(own.get("down", ())) > 1
    }
    return _version(family_of(widths, (), contents.metadata), contents) if widths else ""


def _version(family: str, contents: Contents) -> str:
    """`sd` as `sd1` or `sd2`, where the width of the text states tells."""
    wide = {
        shape[1]
        for name, shape in contents.shapes.items()
        if "attn2" in name and "to_k" in name and len(shape) > 1
    }
    return (
        {768: "sd1", 1024: "sd2"}.get(max(wide & {768, 1024}, default=0), family)
        if family == "sd"
        else family
    )


def _alphas(contents: Contents) -> dict[float, int]:
    scalars = [n for n, s in contents.shapes.items() if n.endswith(".alpha") and math.prod(s) == 1]
    if contents.kind != "safetensors" or not scalars:
        return {}
    file = TensorFile(contents.path)
    numbers = (file.number(name) for name in scalars)
    return dict(Counter(number for number in numbers if number is not None).most_common())


def _vectors(contents: Contents, layout: Layout | None) -> int:
    if layout is None or "textual_inversion" not in layout.methods or len(layout.methods) > 1:
        named = contents.shapes.get("vectors", ())
        return named[0] if len(named) == 2 else 0
    return max((shape[0] if len(shape) == 2 else 1 for shape in contents.shapes.values()), default=0)


def _portability(contents: Contents, layout: Layout | None) -> dict[str, str]:
    if layout is None:
        return {}
    known = layout.portability(contents)
    return {program: known.get(program, "refuses it") for program in dict.fromkeys((*PROGRAMS, *known))}


def _notes(contents: Contents) -> list[str]:
    averaged = sum(name.startswith("model_ema.") for name in contents.shapes)
    marks = [name for name in ("v_pred", "ztsnr") if name in contents.shapes]
    notes = (
        [f"{averaged} of its tensors are moving averages, which drawing does not need"] if averaged else []
    )
    return notes + ([f"marked {' and '.join(marks)}: it predicts velocity"] if marks else [])


def _with_hashes(found: Inspection, layout: Layout | None) -> Inspection:
    made = hash_file(found.path)
    hashes = {"sha256": made.sha256, "AutoV1": made.auto_v1, "AutoV2": made.auto_v2}
    if made.payload:
        hashes |= {"payload": made.payload, "AutoV3": made.lora}
    if found.kind == KINDS["textual_inversion"] and layout is not None:
        vectors = layout.read(formats.examine(found.path)).tensors.get("vectors")
        hashes["embedding"] = made.embedding
        if vectors is not None:
            hashes["checksum"] = embedding_checksum(vectors)
    claimed = {
        found.metadata.get(key, "").removeprefix("0x") for key in ("sshs_model_hash", "modelspec.hash_sha256")
    }
    wrong = made.payload and claimed - {"", made.payload}
    note = ["its tensors are not those that its metadata gives the hash of"] if wrong else []
    return replace(found, hashes=hashes, notes=[*found.notes, *note])


def _bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
