"""The native layout: one safetensors file with the artifact's tensors and facts. Exact in both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from likewise import kinds
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.factors.deltas import check_factors
from likewise.formats._modules import at, check_pairs, check_types, group, paired, ungroup
from likewise.formats.layout import Contents, Identity, Layout, Saving, Shape
from likewise.kinds import ALL, Kind
from likewise.weights import read_tensors
from likewise.weights.numbers import real, rounded
from likewise.weights.pending import Pending, held, spelled
from likewise.weights.streaming import write_streamed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = "1"
FACTS = ("method", "family", "token", "noun", "base", "recipe")
"""What every file says of itself."""
KIND = "likewise.kind"
"""Said where the method's name does not tell the kind: by methods whose name is the mark of no kind."""


class Native(Layout):
    """What every run leaves behind."""

    name = "native"
    title = "likewise"
    suffix = ".safetensors"
    kinds = ALL
    readers = {"likewise": "exact"}

    def unsupported(self, artifact: Artifact) -> str | None:
        """What only its own method understands fits too: nothing is renamed."""
        return None

    def sniff(self, contents: Contents) -> bool:
        return "likewise.version" in contents.metadata

    def identify(self, contents: Contents) -> Identity:
        facts = _facts(contents)
        kind = _kind(contents)
        layers: dict[str, dict[str, Shape]] = {}
        for name, shape in contents.shapes.items():
            path, _, suffix = name.rpartition(".")
            layers.setdefault(path, {})[suffix] = shape
        if kind.delta:
            check_types(contents)
        if kind.pairs:
            check_pairs(contents, layers)
        for path, own in layers.items() if kind.delta and not kind.pairs else ():
            with at(contents, path):
                check_factors(own)
        if lacking := [name for name in kind.required if name not in contents.shapes]:
            raise FormatError(f"{contents.path} lacks the tensor {lacking[0]}", "fetch the file again")
        return Identity(kind, facts["likewise.family"], layers=layers if kind.delta else {})

    def read(self, contents: Contents) -> Artifact:
        kind = self.identify(contents).kind
        facts, note = contents.metadata, "likewise.note."
        tensors = {
            name: real(tensor, name, contents.path) if tensor.is_floating_point() else tensor
            for name, tensor in read_tensors(contents.path).items()
        }
        if kind.pairs:
            tensors = ungroup(paired(group(tensors)))
        return Artifact(
            method=facts["likewise.method"],
            family=facts["likewise.family"],
            token=facts["likewise.token"],
            noun=facts["likewise.noun"],
            tensors=tensors,
            recipe=json.loads(facts["likewise.recipe"]),
            base=facts["likewise.base"],
            notes={n.removeprefix(note): text for n, text in facts.items() if n.startswith(note)},
            declared=kind if KIND in facts else None,
        )

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        facts = {
            "likewise.version": VERSION,
            "likewise.method": artifact.method,
            "likewise.family": artifact.family,
            "likewise.token": artifact.token,
            "likewise.noun": artifact.noun,
            "likewise.base": artifact.base,
            "likewise.recipe": json.dumps(dict(artifact.recipe)),
            **({} if kinds.of(artifact.method) == artifact.kind else {KIND: artifact.kind.name}),
            **{f"likewise.note.{name}": text for name, text in artifact.notes.items()},
        }
        dtype = saving.torch_dtype()
        pending = {name: _kept(tensor, dtype) for name, tensor in artifact.tensors.items()}
        return write_streamed(path, pending, facts)


def _kept(tensor: Tensor, dtype: torch.dtype) -> Pending:
    """The tensor as the file has it, made only when it is written: a whole model does not fit twice."""
    if not tensor.is_floating_point():
        return held(tensor)
    return Pending(
        spelled(tensor.new_empty(0, dtype=dtype)),
        tuple(tensor.shape),
        lambda: rounded(tensor.detach().cpu(), dtype),
    )


def _kind(contents: Contents) -> Kind:
    """What the file says that it is; raises `FormatError` for a kind of another version."""
    said = contents.metadata.get(KIND)
    kind = kinds.of(contents.metadata["likewise.method"]) if said is None else kinds.named(said)
    if kind is None:
        raise FormatError(
            f"{contents.path} is of the kind {said!r}, which is not known here", "update likewise"
        )
    return kind


def _facts(contents: Contents) -> Mapping[str, str]:
    """The metadata of a file; raises `FormatError` for what is missing, and for other versions."""
    facts = contents.metadata
    version = facts["likewise.version"]
    if version != VERSION:
        raise FormatError(
            f"{contents.path} has format version {version}; this is version {VERSION}", "update likewise"
        )
    missing = next((f"'likewise.{name}'" for name in FACTS if f"likewise.{name}" not in facts), "")
    try:
        if not missing and not isinstance(json.loads(facts["likewise.recipe"]), dict):
            missing = "recipe"
    except (ValueError, RecursionError):
        missing = "recipe"
    if missing:
        raise FormatError(f"{contents.path} lacks a readable {missing}", "fetch the file again")
    return facts


LAYOUT = Native()
