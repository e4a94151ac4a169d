"""`likewise check`: what was understood of somebody's pictures, before anything is taught. No torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likewise.cache import home
from likewise.cli import terminal
from likewise.cli.app import Json, app
from likewise.cli.naming import refuse_weights
from likewise.files import expand

if TYPE_CHECKING:
    from likewise.intake import Intake

POCKET_TOKEN = "sks"
"""The word that the bundled base keeps free; `teach` takes it where nobody names one."""
MOST_ROWS = 24
UNCAPTIONED = (
    "No picture has a caption. One such as `a {} in a garden`, in a text file beside it, "
    "keeps the place out of what is learned."
)


@app.command()
def check(
    folder: Annotated[list[Path], typer.Argument(metavar="FOLDER", hidden=True)],
    noun: Annotated[str | None, typer.Option(metavar="NOUN", help="What the pictures show.")] = None,
    token: Annotated[str | None, typer.Option(metavar="WORD", help="The word that will call it.")] = None,
    base: Annotated[
        str,
        typer.Option(
            metavar="BASE", help="The base that will be taught, which reads captions up to a length."
        ),
    ] = "pocket",
    class_pictures: Annotated[
        Path | None,
        typer.Option("--class-pictures", metavar="FOLDER", help="Your own pictures of the class."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Where the contact sheet goes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at pictures before teaching.

    FOLDER may also be a zip, or pictures one by one. Says what is usable, what is not and why. With a noun, captions are
    shown as they will be trained.

    \b
    Example:
      likewise check photos/ --noun dog
    """
    from likewise import intake

    refuse_weights(folder)
    found = intake.read(folder, class_pictures)
    sheet = sheet or home() / "sheets" / _sheet_name(found, folder)
    if sheet.is_dir():
        raise typer.BadParameter(f"{terminal.short(sheet)} is a directory", param_hint="--sheet")
    intake.contact_sheet(found, sheet)
    noun, token = noun or found.noun, token or found.token or POCKET_TOKEN
    captions, remark = trained(found, token, noun, base) if noun else ([], "")
    if as_json:
        rows = found.to_json() | ({"noun": noun, "token": token} if noun else {})
        for row, caption in zip(rows["examples"], captions, strict=False):
            row["trained"] = caption
        terminal.result_json({**rows, "contact_sheet": str(sheet)})
        return
    _show(found, captions)
    terminal.result("")
    terminal.paragraph(f"{_verdict(found)} {remark}".strip())
    for note in found.notes:
        terminal.paragraph(note)
    terminal.result(f"contact sheet: {terminal.short(sheet)}")


def _sheet_name(found: Intake, folder: Sequence[Path]) -> str:
    """Two folders of one name, in different places, have a sheet each."""
    places = "\n".join(os.path.realpath(path) for path in folder)
    mark = hashlib.sha256(places.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"{found.title or 'pictures'}-{mark}.png"


def trained(found: Intake, token: str, noun: str, base: str) -> tuple[list[str], str]:
    """Every caption as it will be trained, and a sentence on those that the base does not read to their end."""
    from likewise.concept import Concept
    from likewise.prompt import shorten

    concept = Concept("checked", token, noun, found.renamed(token, noun))
    whole = [concept.caption(example) for example in concept.examples]
    window = _window(base)
    if window is None:
        return whole, f"Whether {base} reads captions of this length is seen when it is loaded."
    room, count = window
    read = [shorten(text, concept.words, lambda text: count(text) <= room) for text in whole]
    cut = sum(one != other for one, other in zip(whole, read, strict=True))
    longer = f"{_count(cut, 'caption')} longer than the {room} tokens that {base} reads, shown as cut."
    return read, longer if cut else ""


def _window(base: str) -> tuple[int, Callable[[str], int]] | None:
    """How many tokens the base reads, and how to count them; None where that takes more than a tokenizer's file."""
    from likewise.families import POCKET

    folder = POCKET if base == "pocket" else expand(base)
    try:
        shape = json.loads((folder / "text_encoder" / "config.json").read_text(encoding="utf-8"))
        words = (folder / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8")
        limit = int(shape["max_position_embeddings"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(words)
    tokenizer.no_truncation()
    return limit - 2, lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _show(found: Intake, trained: Sequence[str]) -> None:
    """A row per picture, up to `MOST_ROWS`, then one per kind of problem."""
    rows = found.table()[: len(found.examples)]
    captions = trained or [row["caption"] for row in rows]
    pictures = [
        (row["file"], f"{row['width']} x {row['height']}", caption, row["note"])
        for row, caption in zip(rows, captions, strict=True)
    ]
    problems = [(files, "", "", reason) for files, reason in found.grouped()]
    shown = [*pictures[:MOST_ROWS], *problems[:MOST_ROWS]]
    terminal.table(("picture", "pixels", "caption", "note"), shown)
    left = len(pictures) + len(problems) - len(shown)
    if left:
        terminal.result(f"... and {left} more rows; --json has all")


def _verdict(found: Intake) -> str:
    count, groups = len(found.examples), len(found.duplicates)
    parts = [f"{_count(count, 'picture')} usable ({found.layout})"]
    if found.class_pictures:
        parts.append(_count(len(found.class_pictures), "class picture"))
    if found.problems:
        parts.append(_count(len(found.problems), "problem"))
    if groups:
        parts.append(f"{_count(groups, 'group')} of near-duplicates")
    text = ", ".join(parts) + "."
    described = sum(bool(example.caption) for example in found.examples)
    if described < count:
        text += f" {described} of {count} have a caption." if described else f" {UNCAPTIONED}"
    if found.noun:
        text += f" The folder's name says: --token {found.token} --noun {found.noun!r}."
    if count < 4:
        text += " 4 to 20 pictures work best; with fewer than 4 none can be held out for judging."
    return text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
