"""Placing: what a new file is called, and where programs look for it. Nothing that exists is ever overwritten."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from likewise import formats
from likewise.artifact import Artifact
from likewise.errors import FormatError
from likewise.formats import Saving
from likewise.formats._metadata import scrub
from likewise.kinds import EXTENSIONS
from likewise.operations.subjects import Subject, write_subject

SUFFIXES = frozenset({".safetensors", ".pt", ".bin", ".ckpt", ".png", ".webp"})


@dataclass(frozen=True)
class Wish:
    """How and where somebody wants a file."""

    layout: str = ""
    """Empty: the usual one of its kind."""
    out: Path | None = None
    """A file, or a folder that exists; empty: the current folder."""
    install: Path | None = None
    """A program's folder; the file goes where that looks for its kind."""
    saving: Saving = field(default_factory=Saving)

    def __post_init__(self) -> None:
        """Raise `FormatError` for places that cannot be: before anything is computed for them."""
        if self.out is not None and not self.out.is_dir():
            refuse_place(self.out)


@dataclass(frozen=True)
class Program:
    """A program that draws."""

    name: str
    """As layouts call their readers."""
    marks: tuple[str, ...]
    """Paths of which any gives its folder away."""


PROGRAMS = (
    Program("ComfyUI", ("comfy", "models/checkpoints", "models/loras")),
    Program("Forge", ("modules_forge",)),
    Program("AUTOMATIC1111", ("webui.py", "models/Stable-diffusion", "models/Lora")),
)
"""Programs with folders of their own. Where they look in them is known of each kind."""


def save(subject: Subject, stem: str, wish: Wish) -> Path:
    """Write `subject` as wished, called `stem` where the wish names no file; returns the path.

    Raises `FormatError` for what does not fit the layout or the program, and for paths that exist.
    """
    layout = formats.get(wish.layout or subject.kind.layout).name
    if isinstance(subject, Artifact):
        formats.get(layout).refuse_unsupported(subject)
        subject = replace(subject, base=scrub(subject.base))  # where it lay is nobody else's business
    name = file_name(subject, stem, layout)
    if wish.install is not None:
        target = place_for(wish.install, subject, layout) / name
    elif wish.out is None or wish.out.is_dir():
        target = (wish.out or Path()) / name
    else:
        suffix = formats.get(layout).suffix
        known = not suffix or wish.out.suffix.lower() in SUFFIXES
        target = wish.out if known else wish.out.with_name(wish.out.name + suffix)
    refuse_place(target)
    return write_subject(subject, target, layout, wish.saving)


def refuse_place(path: Path) -> None:
    """Raise `FormatError` unless something new can be put at `path`; never into the folder of a model."""
    if path.exists():
        raise FormatError(f"{path} exists already", "name another file by --out, or remove it")
    above = [folder for folder in path.absolute().parents if folder.exists()]
    if not above[0].is_dir() or not os.access(above[0], os.W_OK):
        raise FormatError(f"nothing can be written to {above[0]}", "name another folder by --out")
    if model := next((folder for folder in above if (folder / "model_index.json").is_file()), None):
        raise FormatError(f"{path} would lie inside the model {model.name}", "name another place by --out")


def program_at(folder: Path) -> Program:
    """The program that is installed in `folder`; raises `FormatError` if it is none that is known."""
    folder = Path(folder).expanduser()
    for program in PROGRAMS:
        if any((folder / mark).exists() for mark in program.marks):
            return program
    known = ", ".join(program.name for program in PROGRAMS)
    raise FormatError(f"{folder} is the folder of no program that is known here", f"known are {known}")


def place_for(folder: Path, subject: Subject, layout: str) -> Path:
    """The folder inside `folder` in which its program looks for `subject`; raises `FormatError` if it has none."""
    program, kind, chosen = program_at(folder), subject.kind, formats.get(layout)
    if program.name not in kind.places:
        method = subject.method if isinstance(subject, Artifact) else kind.mark
        raise FormatError(f"{program.name} does not draw with what {method} taught")
    if program.name not in chosen.readers:
        raise FormatError(f"{program.name} does not read {chosen.title}", f"it reads --to {kind.layout}")
    below = Path(kind.places[program.name])
    place = Path(folder).expanduser() / below
    if below.is_relative_to(EXTENSIONS) and not place.parent.is_dir():
        raise FormatError(
            f"{folder} lacks the extension that {kind.title}s need", f"it lies in {below.parent.as_posix()}"
        )
    return place


def file_name(subject: Subject, stem: str, layout: str) -> str:
    """What a file should be called: embeddings by their word, which programs take from it, others as `stem` says."""
    word = subject.token if isinstance(subject, Artifact) and subject.kind.called else ""
    plain = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", word).strip(". ") or stem
    return plain + formats.get(layout).suffix
