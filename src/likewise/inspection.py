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

from likewise import formats, kinds
from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.checkpoints.single_file import version_of
from likewise.errors import FormatError
from likewise.files import size_of
from likewise.formats import Contents, Identity, Layout
from likewise.formats._hashes import embedding_checksum, hash_file
from likewise.formats._metadata import base_of, trigger_words
from likewise.kinds import WORDS
from likewise.naming.recognition import TITLES
from likewise.weights import read_header
from likewise.weights.finite import refuse_infinite
from likewise.weights.pending import pieces
from likewise.weights.streaming import TensorFile, open_tensors

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
"""Forms of files that are read whole: what is taught in them has a few megabytes."""
_HINT = "files and folders of weights are inspected"
CONVERT = "`likewise convert` writes it as other programs read it"
OWN = "pocket"
"""The bundled base, which no program but this one has."""
UNREAD = "whether all of its numbers are finite is not checked without --hash"
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
    """The number of an embedding's vectors."""
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
        return {**vars(self), "path": str(self.path), "family_title": TITLES.get(self.family, self.family)}


def inspect(path: Path, hashes: bool = False) -> Inspection:
    """Look at a file or folder; with `hashes` it is read whole, numbers included.

    What only the numbers tell (whether all are finite) is not looked at without. Raises `FormatError` for what holds no
    tensors.
    """
    path = Path(path)
    contents = formats.examine(path)
    layout = _layout(contents)
    if layout is None and not contents.shapes and contents.form != "safetensors":
        raise FormatError(f"{path} contains no model weights that likewise recognises", _HINT)
    identity, refusal = _identity(contents, layout)
    if refusal and contents.form == "picture":
        raise refusal
    found = _look(contents, layout, identity, refusal)
    if layout is not None and refusal is None and contents.form in SMALL and not layout.streamed:
        found = _with_artifact(found, layout.read(contents))
    if hashes:
        return _with_hashes(found, layout)
    unread = contents.form in ("safetensors", "folder") or (layout and layout.streamed)
    if unread and found.portability.get("likewise", "").startswith("exact"):
        found = replace(found, notes=[*found.notes, UNREAD])
    return found


def _layout(contents: Contents) -> Layout | None:
    try:
        return formats.recognise(contents)
    except FormatError:
        return None


def _identity(contents: Contents, layout: Layout | None) -> tuple[Identity | None, FormatError | None]:
    """What the layout that knows the file makes of it, or why likewise does not read it."""
    try:
        return (layout or formats.recognise(contents)).identify(contents), None
    except FormatError as error:
        return None, None if layout is None and not formats.foreign(contents) else error


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


def _look(
    contents: Contents, layout: Layout | None, identity: Identity | None, refusal: FormatError | None
) -> Inspection:
    shown = _opened(contents) if contents.form == "folder" else contents
    layers = identity.layers if identity else {}
    ranks = Counter(own[part][0] for own in layers.values() for part in RANKED if own.get(part))
    return Inspection(
        path=contents.path,
        bytes=size_of(contents.path),
        kind=_kind(shown, layout, identity),
        layout=layout.name if layout else "",
        family=_family(identity, shown),
        tensors=len(shown.shapes),
        parameters=sum(math.prod(shape) for shape in shown.shapes.values()),
        dtypes=dict(Counter(shown.dtypes.values()).most_common()),
        ranks=dict(ranks.most_common()),
        alphas=_alphas(contents),
        vectors=_vectors(contents, layout) if identity else 0,
        trigger_words=trigger_words(shown.metadata),
        base=base_of(shown.metadata) or shown.metadata.get("likewise.base", ""),
        metadata=dict(shown.metadata),
        portability=_portability(contents, layout, refusal),
        notes=[
            *_notes(contents, identity, refusal),
            *([CONVERT] if layout and layout.name == "native" else []),
        ],
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


def _kind(contents: Contents, layout: Layout | None, identity: Identity | None) -> str:
    if layout is None:
        starts = (
            kind for prefix, kind in FRAGMENTS.items() if any(n.startswith(prefix) for n in contents.shapes)
        )
        return next(starts, "unknown: its tensors have names of no layout that is known here")
    method = contents.metadata.get("likewise.method", "")
    if identity is None and len(layout.kinds) == 1:
        return layout.kinds[0].title
    kind = identity.kind if identity else kinds.of(method)
    return kind.title or method


def _family(identity: Identity | None, contents: Contents) -> str:
    """The version of a whole model that is not read, as its names tell it."""
    if identity is None:
        return version_of(contents.shapes) or ""
    return identity.version or _version(identity.family, contents)


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
    if contents.form != "safetensors" or not scalars:
        return {}
    file = TensorFile(contents.path)
    numbers = (file.number(name) for name in scalars)
    return dict(Counter(number for number in numbers if number is not None).most_common())


def _vectors(contents: Contents, layout: Layout | None) -> int:
    if layout is None or layout.kinds != (WORDS,):
        named = contents.shapes.get("vectors", ())
        return named[0] if len(named) == 2 else 0
    return max((shape[0] if len(shape) == 2 else 1 for shape in contents.shapes.values()), default=0)


def _portability(contents: Contents, layout: Layout | None, refusal: FormatError | None) -> dict[str, str]:
    """Nothing is promised of other programs where likewise itself does not understand the file."""
    if refusal is not None:
        return {"likewise": "refuses it"}
    if layout is None:
        return {}
    if contents.scaled:
        return {"likewise": layout.portability(contents).get("likewise", "refuses it")}
    known = layout.portability(contents)
    return {program: known.get(program, "refuses it") for program in dict.fromkeys((*PROGRAMS, *known))}


def _notes(contents: Contents, identity: Identity | None, refusal: FormatError | None) -> list[str]:
    averaged = sum(name.startswith("model_ema.") for name in contents.shapes)
    marks = [name for name in ("v_pred", "ztsnr") if name in contents.shapes]
    notes = [] if refusal is None else [f"likewise does not read it: {refusal}"]
    notes += [text for name, text in identity.notes.items() if name != "portability"] if identity else []
    notes += (
        [f"{averaged} of its tensors are moving averages, which drawing does not need"] if averaged else []
    )
    notes += [f"marked {' and '.join(marks)}: it predicts velocity"] if marks else []
    if contents.metadata.get("likewise.base") == OWN:
        notes.append(f"it fits {OWN}, which comes with likewise: no other program has a model for it")
    if contents.scaled:
        notes.append(
            f"{len(contents.scaled)} of its weights are codes of 8 bits with a scale, which is applied"
        )
    return notes


def _with_hashes(found: Inspection, layout: Layout | None) -> Inspection:
    """With its hashes, and without a promise that its numbers do not keep."""
    if layout is not None and found.portability.get("likewise", "").startswith("exact"):
        try:
            _read_numbers(found.path, layout)
        except FormatError as error:
            note = f"likewise does not read it: {error}"
            found = replace(found, portability={"likewise": "refuses it"}, notes=[*found.notes, note])
    if not found.path.is_file():
        return found
    made = hash_file(found.path)
    hashes = {"sha256": made.sha256, "AutoV1": made.auto_v1, "AutoV2": made.auto_v2}
    if made.payload:
        hashes |= {"payload": made.payload, "AutoV3": made.lora}
    if found.kind == WORDS.title and layout is not None:
        hashes["embedding"] = made.embedding
        refused = found.portability.get("likewise") == "refuses it"
        vectors = None if refused else layout.read(formats.examine(found.path)).tensors.get("vectors")
        if vectors is not None:
            hashes["checksum"] = embedding_checksum(vectors)
    claimed = {
        found.metadata.get(key, "").removeprefix("0x") for key in ("sshs_model_hash", "modelspec.hash_sha256")
    }
    wrong = made.payload and claimed - {"", made.payload}
    differs = ["its tensors are not those that its metadata gives the hash of"] if wrong else []
    return replace(found, hashes=hashes, notes=[*found.notes, *differs])


def _read_numbers(path: Path, layout: Layout) -> None:
    """Raise `FormatError` for numbers that are not finite, tensor by tensor where they are many."""
    if not layout.streamed:
        layout.read(formats.examine(path))
        return
    opened = open_tensors(path) if layout.name == "native" else open_checkpoint(path)
    for name, one in opened.tensors.items():
        for data in pieces(one, name):
            refuse_infinite(data, one.dtype, name)
