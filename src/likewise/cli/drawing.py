"""`likewise sample`: pictures from prompts, with taught concepts on the base or without."""

from __future__ import annotations

import math
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likewise.cli import terminal
from likewise.cli.app import app
from likewise.cli.naming import taught_files

if TYPE_CHECKING:
    from likewise.gallery import Gallery

SHEET_SIDE = 256
"""Largest side of a picture on the sheet, in pixels."""

Taught = Annotated[
    list[str] | None,
    typer.Option(
        "--with", metavar="RUN[:STRENGTH]", help="A run, any file, or latest: the newest finished run."
    ),
]


@app.command()
def sample(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPT", hidden=True)],
    taught: Taught = None,
    base: Annotated[
        str | None, typer.Option(metavar="BASE", help="The model to draw with; else the run's own.")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", min=1, help="Pictures per prompt.")] = 4,
    seed: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of the first picture; the next count up."),
    ] = 0,
    steps: Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Denoising steps.")] = None,
    guidance: Annotated[
        float | None, typer.Option(metavar="X", min=0, help="How strictly to follow the prompt.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(metavar="PIXELS", min=8, help="Side in pixels; else the base's own.")
    ] = None,
    negative: Annotated[str | None, typer.Option(metavar="PROMPT", help="What not to draw.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where pictures go.")] = None,
) -> None:
    """Draw pictures, with taught concepts or without.

    Each PROMPT goes in quotes. The last picture is a sheet of all.

    \b
    Example:
      likewise sample "a sks dog in the snow" --with latest
      likewise sample "a sks dog" --with runs/2026-11-23-dog-lora-1:0.8 -n 8
    """
    from likewise.cli.progress import drawing
    from likewise.records import check_writable

    sources, strengths = taught_files(taught or [])
    _warn_of_words(prompts)
    out = out or Path("samples") / f"{datetime.now():%Y-%m-%d-%H%M%S}-{_slug(prompts[0])}"
    check_writable(out)
    wanted: dict[str, Any] = {"steps": steps, "guidance": guidance, "size": size, "negative": negative}
    known = {key: value for key, value in wanted.items() if value is not None}
    total = len(prompts) * count
    with drawing(f"drawing {total} picture{'s' if total > 1 else ''}") as watch:
        from likewise.base import Sampler
        from likewise.sampling import sample as draw

        gallery = draw(
            prompts,
            concepts=sources,
            strengths=strengths,
            base=base,
            seeds=range(seed, seed + count),
            sampler=Sampler(**known),
            out=out,
            watch=watch,
        )
    for picture in gallery:
        terminal.result(terminal.short(gallery.folder / picture.file))
    terminal.result(terminal.short(_sheet(gallery, len(prompts))))


def _warn_of_words(prompts: list[str]) -> None:
    """Several prompts of one word each are likelier one prompt without its quotes."""
    if len(prompts) > 2 and not any(" " in prompt for prompt in prompts):
        terminal.say(
            f"drawing {len(prompts)} prompts of one word each; put quotes round a prompt of several",
            "warning",
        )


def _slug(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40].strip("-") or "prompt"


def _sheet(gallery: Gallery, rows: int) -> Path:
    """One picture of all: a row per prompt. Pictures that were in the folder before are on it as well."""
    from PIL import Image

    from likewise.files import write_with

    images: list[Any] = gallery.images()
    side = min(SHEET_SIDE, max(max(image.size) for image in images))
    columns = math.ceil(len(images) / rows)
    sheet = Image.new(
        "RGB", (columns * (side + 4) - 4, math.ceil(len(images) / columns) * (side + 4) - 4), "white"
    )
    for number, image in enumerate(images):
        image.thumbnail((side, side))
        sheet.paste(image, (number % columns * (side + 4), number // columns * (side + 4)))
    return write_with(gallery.folder / "sheet.png", lambda temporary: sheet.save(temporary, "PNG"))
