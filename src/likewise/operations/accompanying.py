"""Accompanying files: the picture that programs show for a file, and the notes that web UIs read beside it.

Both lie next to the file under its name and never replace what is there. What drew the picture, which its own metadata may
tell, does not go along.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from likewise import records
from likewise.artifact import Artifact
from likewise.errors import FormatError, RunError
from likewise.files import write_text, write_with
from likewise.formats._metadata import architecture_of, scrub
from likewise.formats.layout import PICTURES
from likewise.operations.subjects import Subject
from likewise.picture import DECODE_ERRORS

SIDE = 512
"""The side of a preview, in pixels; programs show cards of about this size."""
SD_VERSIONS = {"sd1": "SD1", "sd2": "SD2", "sd2-v": "SD2", "sdxl": "SDXL", "flux": "Flux"}
"""As the web UIs call them; the others' files are shown as of an unknown version."""
READ_NOTES = frozenset({"AUTOMATIC1111", "Forge"})
"""Programs that read notes beside a LoRA. ComfyUI reads none."""


@dataclass(frozen=True)
class Beside:
    """What was put next to a file, and what was there before and stayed."""

    made: tuple[Path, ...] = ()
    kept: tuple[Path, ...] = ()


def open_preview(path: Path) -> Image.Image:
    """A picture, no larger than is shown and without metadata; raises `FormatError` if it is none."""
    try:
        with Image.open(path) as found:
            image = found.convert("RGB")
    except DECODE_ERRORS as error:
        raise FormatError(f"{path} is no picture that could be shown: {error}") from None
    image.thumbnail((SIDE, SIDE))
    image.info.clear()
    return image


def preview_of(file: Path) -> Path | None:
    """The last picture that the run which left `file` drew of it; None if there is no such run or picture."""
    run = file.parent
    try:
        if len(records.read_plan(run)["job"]) != 1:  # its pictures are of several concepts
            return None
    except RunError:
        return None
    drawn = sorted((run / "samples").glob("step*/0000.png"))
    return drawn[-1] if drawn else None


def accompany(file: Path, subject: Subject, preview: Image.Image | None, program: str = "") -> Beside:
    """Put `preview` and, for a program that reads them, notes next to `file`, which holds `subject`.

    The picture is `NAME.preview.png`, which all programs know: as `NAME.png` a web UI could take it for an embedding.
    """
    made: list[Path] = []
    kept: list[Path] = []
    if preview is not None and file.is_file() and file.suffix.lower() not in PICTURES:
        picture = file.with_name(f"{file.stem}.preview.png")
        if picture.exists():
            kept.append(picture)
        else:
            made.append(write_with(picture, lambda temporary: preview.save(temporary, "PNG")))
    if program in READ_NOTES and isinstance(subject, Artifact) and subject.kind.delta:
        notes = file.with_name(f"{file.stem}.json")
        if notes.exists():
            kept.append(notes)
        else:
            made.append(write_text(notes, json.dumps(_notes(subject), indent=4, ensure_ascii=False)))
    return Beside(tuple(made), tuple(kept))


def _notes(artifact: Artifact) -> dict[str, str]:
    """What the web UIs put into prompts and on cards."""
    base = f"taught on {scrub(artifact.base)}" if artifact.base else ""
    known = {
        "description": scrub(artifact.noun),
        "sd version": SD_VERSIONS.get(architecture_of(artifact), ""),
        "activation text": scrub(f"{artifact.token} {artifact.noun}".strip()),
        "notes": base,
    }
    return {key: text for key, text in known.items() if text}
