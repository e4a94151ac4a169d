"""Checkpoints: what a whole model looks like on disk, known once, for families that load one and layouts that keep one.

`open_checkpoint` reads a single file or a diffusers folder without loading a tensor.
"""

from __future__ import annotations

from pathlib import Path

from likewise.checkpoints.checkpoint import Checkpoint
from likewise.checkpoints.folder import is_model_folder, open_folder
from likewise.checkpoints.single_file import open_file
from likewise.errors import FormatError

__all__ = ["Checkpoint", "open_checkpoint"]


def open_checkpoint(path: Path, *, averaged: bool = False) -> Checkpoint:
    """The model in a diffusers folder or a single file, unread; raises `FormatError` naming what is missing or strange.

    `averaged` takes the moving averages of a single file's UNet in place of its weights.
    """
    path = Path(path)
    if path.is_dir():
        if not is_model_folder(path):
            raise FormatError(f"{path} is no diffusers model", "it has a model_index.json and a folder unet")
        if averaged:
            raise FormatError(
                f"{path} has one set of weights", "only single files keep moving averages beside"
            )
        return open_folder(path)
    if not path.exists():
        raise FormatError.missing(f"there is no file {path}")
    return open_file(path, averaged)
