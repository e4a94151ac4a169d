"""The native layout: one safetensors file with the artifact's tensors and facts. Exact in both directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats._deltas import algorithm
from likewise.formats._modules import group, paired, ungroup
from likewise.formats._numbers import real
from likewise.formats.layout import Contents, Layout, Saving
from likewise.weights import read_tensors
from likewise.weights.streaming import Pending, held, spelled, write_streamed

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = "1"
REQUIRED = {"aesthetic": "aesthetic.mean", "textual_inversion": "vectors"}
"""What files of a method hold, however they were taught."""


class Native(Layout):
    """What every run leaves behind."""

    name = "native"
    title = "likewise"
    suffix = ".safetensors"
    methods = frozenset({"aesthetic", "dreambooth", "hypernetwork", "lora", "lycoris", "textual_inversion"})
    readers = {"likewise": "exact"}

    def unsupported(self, artifact: Artifact) -> str | None:
        """Methods of outside packages fit too: nothing is renamed."""
        return None

    def sniff(self, contents: Contents) -> bool:
        return "likewise.version" in contents.metadata

    def read(self, contents: Contents) -> Artifact:
        facts = contents.metadata
        version = facts["likewise.version"]
        if version != VERSION:
            raise FormatError(
                f"{contents.path} has format version {version}; this is version {VERSION}", "update likewise"
            )
        tensors = {
            name: real(tensor, name, contents.path) if tensor.is_floating_point() else tensor
            for name, tensor in read_tensors(contents.path).items()
        }
        method, note = facts.get("likewise.method", ""), "likewise.note."
        if method == "lora":
            tensors = ungroup(paired(contents, group(tensors)))
        if method == "lycoris":
            for own in group(tensors).values():
                algorithm(own)
        if REQUIRED.get(method, "") not in {"", *tensors}:
            raise FormatError(f"{contents.path} lacks the tensor {REQUIRED[method]}", "fetch the file again")
        try:
            return Artifact(
                method=facts["likewise.method"],
                family=facts["likewise.family"],
                token=facts["likewise.token"],
                noun=facts["likewise.noun"],
                tensors=tensors,
                recipe=json.loads(facts["likewise.recipe"]),
                base=facts["likewise.base"],
                notes={n.removeprefix(note): text for n, text in facts.items() if n.startswith(note)},
            )
        except (KeyError, ValueError) as error:
            raise FormatError(f"{contents.path} lacks a readable {error}", "fetch the file again") from None

    def write(self, artifact: Artifact, path: Path, saving: Saving) -> Path:
        facts = {
            "likewise.version": VERSION,
            "likewise.method": artifact.method,
            "likewise.family": artifact.family,
            "likewise.token": artifact.token,
            "likewise.noun": artifact.noun,
            "likewise.base": artifact.base,
            "likewise.recipe": json.dumps(dict(artifact.recipe)),
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
        lambda: tensor.detach().cpu().to(dtype),
    )


LAYOUT = Native()
