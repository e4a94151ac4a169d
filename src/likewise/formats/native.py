"""The native layout: one safetensors file with the artifact's tensors and facts. Exact in both directions."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.weights import read_header, read_tensors, write_tensors

VERSION = "1"


def write(artifact: Artifact, path: Path, dtype: torch.dtype = torch.float32) -> Path:
    """Write atomically; floating tensors are kept in `dtype`."""
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
    tensors = {
        n: t.to(dtype).contiguous() if t.is_floating_point() else t for n, t in artifact.tensors.items()
    }
    write_tensors(path, tensors, facts)
    return path


def read(path: Path) -> Artifact:
    """Read one back; raises `FormatError` for anything that is not ours."""
    facts = read_header(path).metadata
    version = facts.get("likewise.version")
    if version is None:
        raise FormatError(f"{path} was not written by likewise", "community layouts are not read yet")
    if version != VERSION:
        raise FormatError(
            f"{path} has format version {version}; this is version {VERSION}", "update likewise"
        )
    note = "likewise.note."
    return Artifact(
        method=facts["likewise.method"],
        family=facts["likewise.family"],
        token=facts["likewise.token"],
        noun=facts["likewise.noun"],
        tensors={name: t.float() if t.is_floating_point() else t for name, t in read_tensors(path).items()},
        recipe=json.loads(facts["likewise.recipe"]),
        base=facts["likewise.base"],
        notes={name.removeprefix(note): text for name, text in facts.items() if name.startswith(note)},
    )
