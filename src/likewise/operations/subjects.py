"""Subjects: what operations work on. A whole model stays unread in its file; anything else is an artifact in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from likewise import formats
from likewise.artifact import Artifact
from likewise.checkpoints import open_checkpoint
from likewise.checkpoints.checkpoint import Checkpoint, taught
from likewise.checkpoints.folder import write_folder
from likewise.checkpoints.single_file import write_file
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.formats.checkpoint import facts_of
from likewise.kinds import WEIGHTS
from likewise.weights.pending import Pending

Subject = Artifact | Checkpoint
MERGED = "modelspec.merged_from"
"""ModelSpec's key for the names of what went into a model."""
WHOLE = ("checkpoint", "diffusers_folder")
"""Layouts of whole models, which are streamed."""


def open_subject(path: Path) -> Subject:
    """What is in a file or folder of any layout; raises `FormatError`."""
    contents = formats.examine(path)
    layout = formats.recognise(contents)
    return open_checkpoint(path) if layout.name in WHOLE else formats.open_artifact(contents)


def open_model(path: Path, base: Path | None = None) -> Checkpoint:
    """A whole model; taught weights alone are completed from `base`. Raises `FormatError` for anything else."""
    found = open_subject(path)
    if isinstance(found, Checkpoint):
        return found
    if found.kind != WEIGHTS:
        raise FormatError(f"{path} is no whole model but what {found.method} taught")
    if base is None:
        raise FormatError(f"{path} holds only the weights that were taught", "name its base by --base")
    whole = open_checkpoint(base).replaced(taught(found))
    return replace(whole, velocity=found.notes.get("prediction", whole.prediction) == "v_prediction")


def weights_of(subject: Subject) -> Mapping[str, Pending]:
    """Every tensor of a model, or of an artifact, by its canonical name."""
    return subject.tensors if isinstance(subject, Checkpoint) else taught(subject)


def write_subject(subject: Subject, path: Path, layout: str, saving: Saving) -> Path:
    """Write to a file or folder of a layout, whole or not at all; a model keeps its precision unless told otherwise."""
    if not isinstance(subject, Checkpoint):
        return formats.write(subject, path, layout, saving)
    if layout not in WHOLE:
        raise FormatError(
            f"{formats.get(layout).title} holds no whole models", "`likewise extract` makes a LoRA of one"
        )
    whole = subject.cast(saving.dtype) if saving.dtype else subject
    if layout == "diffusers_folder":
        return write_folder(whole, path)
    facts = facts_of(whole, saving.title or path.stem) if saving.metadata else {}
    merged = subject.metadata.get(MERGED)
    return write_file(whole, path, {**facts, **({MERGED: merged} if merged and saving.metadata else {})})
