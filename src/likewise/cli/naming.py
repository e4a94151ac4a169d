"""Names: what people call a run, a file of weights or a model, and the files that they mean by it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from likewise.cli.app import find_run
from likewise.errors import BaseError, ConceptError, FormatError, RecipeError, RunError
from likewise.files import expand

WEIGHTS = frozenset({".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf"})
"""How files of weights end, of which no picture does."""


def taught_files(texts: Sequence[str]) -> tuple[list[Path], list[float]]:
    """The files that `RUN[:STRENGTH]` texts name, and a strength for each. A file or folder of weights stands for itself.

    A run stands for its concepts: of one that it taught with several seeds the first file is taken, which is logged.
    """
    files: list[Path] = []
    strengths: list[float] = []
    for text in texts:
        name, strength = _strength(text)
        here = _files_of(find_run(expand(name), finished=True), together=True)
        files += here
        strengths += [strength] * len(here)
    return files, strengths


def one_file(name: str | Path) -> Path:
    """The file or folder of weights that a path, a run or a base's name stands for.

    Raises `FormatError` if a run left several, and `RunError` where there is nothing of that name.
    """
    path = expand(name)
    try:
        found = path if path.exists() else find_run(path, finished=True)
    except RunError:
        if path.parent.exists() and path.parent != Path():
            raise
        try:
            return model(str(name))
        except BaseError:
            pass
        raise
    files = _files_of(found)
    if len(files) != 1:
        raise FormatError(f"{name} left {len(files)} files", "name one of them")
    return files[0]


def model(name: str) -> Path:
    """The folder or single file of a base, named as everywhere; raises `BaseError` with what was tried."""
    from likewise import families

    return families.locate(name)


def refuse_weights(paths: Iterable[Path]) -> None:
    """Raise `ConceptError` where pictures are expected and a file or folder of weights is named."""
    for path in paths:
        path = expand(path)
        folder = any((path / name).is_file() for name in ("adapter_config.json", "model_index.json"))
        if folder or (path.is_file() and path.suffix.lower() in WEIGHTS):
            raise ConceptError(
                f"{path} holds weights, not pictures", f"`likewise inspect {path}` says what it is"
            )


def _files_of(path: Path, *, together: bool = False) -> list[Path]:
    """What a finished run left; what is no run is refused or read later, as it is."""
    from likewise import records

    if not records.is_run(path):
        return [path]
    result = records.finished(path)
    return records.together(path, result) if together else [path / file for file in result["files"]]


def _strength(text: str) -> tuple[str, float]:
    name, colon, number = text.rpartition(":")
    if not colon or expand(text).exists() or re.match(r"[\\/]", number):  # C:\runs has no strength
        return text, 1.0
    try:
        strength = float(number)
    except ValueError:
        strength = math.nan
    if not math.isfinite(strength):
        raise RecipeError(
            f"the strength {number!r} in {text!r} is not a number", "write RUN:0.8, for instance"
        )
    return name, strength
